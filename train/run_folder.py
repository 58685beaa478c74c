"""Whose folder it is: refuse to mix runs, and hold the folder from the first look to the end."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from data.command import UsageError
from data.options import flag
from minibert.locks import InUse, lock_file, sign
from minibert.strict_json import parse_object
from train.earlier_run import ASIDE, MOVING, OPTIONS, settle
from train.options import TrainOptions
from train.run_files import LOCK, belongs, never_began


@contextmanager
def held_folder(folder: Path, options: TrainOptions) -> Iterator[None]:
    """Hold a run folder, made if need be, until the block or the process ends, however it ends.

    Nothing is touched before the lock is held. A folder in which no run has begun is left as it
    was found.

    Raises:
        UsageError: another process holds it, or it is not the place for this start.
    """
    _check_place(folder, options)
    if options.dry_run:
        _check_content(folder, options)
        yield
        return
    if not os.path.lexists(folder / LOCK):
        _check_content(folder, options)  # without leaving a trace in what is no run folder
    made = [path for path in (folder.absolute(), *folder.absolute().parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    lock = _lock(folder)
    try:
        settle(folder)
        _check_content(folder, options)
        sign(lock, str(os.getpid()))
        yield
    finally:
        with suppress(OSError):
            if [path.name for path in folder.iterdir()] == [LOCK]:
                (folder / LOCK).unlink()
            for path in made:
                path.rmdir()
        lock.close()


def _check_place(folder: Path, options: TrainOptions) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--output-dir {folder} is a file, expected a folder")
    begun = next(
        parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists()
    )
    if not options.dry_run and not os.access(begun, os.W_OK):
        raise UsageError(f"--output-dir {folder} cannot be written, {begun} does not allow it")


def _check_content(folder: Path, options: TrainOptions) -> None:
    """Refuse a folder that holds something, if neither --resume nor --overwrite was given, or if
    --overwrite would delete what is no run."""
    if options.resume or not folder.is_dir() or never_began(folder):
        return
    if not options.overwrite:
        raise UsageError(
            f"--output-dir {folder} is not empty; go on with --resume, begin again with "
            "--overwrite, or name another folder"
        )
    foreign = sorted(
        path.name
        for path in folder.iterdir()
        if not belongs(path.name) and path.name not in (LOCK, MOVING, ASIDE)
    )
    if foreign or not _is_run(folder):
        what = f"holds {', '.join(foreign[:3])}" if foreign else "is not a run folder"
        raise UsageError(f"--overwrite: {folder} {what}; nothing was deleted, name another folder")
    for name in ("model", "from_scratch", "config", "train_file", "dev_file", "texts"):
        value = getattr(options, name, None) or ()
        for given in (value,) if isinstance(value, str) else value:
            if not Path(given).exists():
                continue
            if folder.resolve() in (Path(given).resolve(), *Path(given).resolve().parents):
                what = given if name == "texts" else f"{flag(name)} {given}"
                raise UsageError(
                    f"--overwrite would delete {what}; nothing was deleted, name another "
                    "--output-dir"
                )


def _is_run(folder: Path) -> bool:
    """Whether a folder has a run's env.json or its options.json, which comes first."""
    for place in (folder, folder / MOVING, folder / ASIDE):
        if (place / "env.json").is_file():
            return True
        with suppress(OSError, ValueError):
            if {"options", "inputs"} <= parse_object((place / OPTIONS).read_bytes()).keys():
                return True
    return False


def _lock(folder: Path) -> IO[bytes]:
    """The open lock file, which is locked until it is closed.

    Raises:
        UsageError: another process holds it, or a link stands in its place.
    """
    try:
        return lock_file(folder / LOCK)
    except InUse as held:
        who = f"process {held.owner}" if held.owner.isdecimal() else "another process"
        raise UsageError(
            f"{folder} is in use by {who}; wait for it, or name another --output-dir"
        ) from None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise UsageError(
            f"{folder / LOCK} is a symbolic link, expected a run's own lock file; delete it"
        ) from None
