"""Whose folder it is: refuse to mix runs, lock it, put an overwritten one back."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from data.command import UsageError
from train.options import TrainOptions

# Everything that a run writes: --overwrite deletes nothing else.
RUN_NAMES = frozenset(
    ".lock options.json env.json log.jsonl metrics.json predictions.json null_odds.json "
    "na_probs.json nbest.json training.png checkpoints best demo".split()
)
# What a killed process leaves: files and folders being written or replaced, the next best model.
_LEFTOVER = re.compile(r"\.(.+\.\d+\.(tmp|partial)|best-\d+|best\.(tmp|old))")


def check_folder(folder: Path, options: TrainOptions) -> None:
    """Refuse to mix two runs in one folder, before any work is done.

    Raises:
        UsageError: the folder holds something and neither --resume nor --overwrite was given, or
            --overwrite would delete a folder that is no run.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--output-dir {folder} is a file, expected a folder")
    begun = next(
        parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists()
    )
    if not options.dry_run and not os.access(begun, os.W_OK):
        raise UsageError(f"--output-dir {folder} cannot be written, {begun} does not allow it")
    if options.dry_run or not folder.is_dir():
        return
    if (folder / ".lock").exists():
        lock_folder(folder).close()
    if options.resume or never_began(folder):
        return
    if not options.overwrite:
        raise UsageError(
            f"--output-dir {folder} is not empty; go on with --resume, begin again with "
            "--overwrite, or name another folder"
        )
    foreign = sorted(
        path.name
        for path in folder.iterdir()
        if path.name not in RUN_NAMES and not _LEFTOVER.fullmatch(path.name)
    )
    if foreign or not (folder / "env.json").exists():
        what = f"holds {', '.join(foreign[:3])}" if foreign else "is not a run folder"
        raise UsageError(f"--overwrite: {folder} {what}; nothing was deleted, name another folder")
    for name in ("model", "from_scratch", "train_file", "dev_file"):
        given = getattr(options, name, None)
        if not given or not Path(given).exists():
            continue
        if folder.resolve() in (Path(given).resolve(), *Path(given).resolve().parents):
            raise UsageError(
                f"--overwrite would delete --{name.replace('_', '-')} {given}; nothing was "
                "deleted, name another --output-dir"
            )


def never_began(folder: Path) -> bool:
    """Whether a folder holds no more than a start leaves that failed or was killed early."""
    return all(
        path.name in ("demo", ".lock") or _LEFTOVER.fullmatch(path.name)
        for path in folder.iterdir()
    )


def lock_folder(folder: Path) -> IO[bytes]:
    """Hold the run folder until the file is closed or the process ends, however it ends.

    Raises:
        UsageError: another process holds it.
    """
    file = (folder / ".lock").open("a+b")
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # Windows has no such lock
        pass
    except OSError:
        file.seek(0)
        owner = file.read(20).decode("ascii", "replace").strip()
        file.close()
        who = f"process {owner}" if owner.isdecimal() else "another process"
        raise UsageError(
            f"{folder} is in use by {who}; wait for it, or name another --output-dir"
        ) from None
    file.truncate(0)  # an earlier owner's number; being in append mode, writing starts at the end
    file.write(f"{os.getpid()}\n".encode())
    file.flush()
    return file


def remove_leftovers(folder: Path) -> None:
    """Delete the half-written files of a process that was killed; the folder is locked."""
    for path in folder.iterdir():
        if _LEFTOVER.fullmatch(path.name) and path.is_file():
            path.unlink()


@contextmanager
def earlier_run_aside(folder: Path, options: TrainOptions) -> Iterator[None]:
    """With --overwrite, delete the earlier run only if the block ends well; else put it back."""
    aside = folder.with_name(f".{folder.name}.overwritten")
    replacing = options.overwrite and not options.dry_run and (folder.is_dir() or aside.is_dir())
    if replacing:
        if aside.is_dir() and (not folder.is_dir() or never_began(folder)):
            shutil.rmtree(folder, ignore_errors=True)  # of an overwriting start that was killed
        else:
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
    try:
        yield
    except BaseException:
        if replacing:
            shutil.rmtree(folder, ignore_errors=True)
            aside.rename(folder)
        raise
    if replacing:
        shutil.rmtree(aside)
