"""Whose folder it is: refuse to mix runs, put an overwritten one back, compare a resumed one."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from data.command import UsageError
from train.options import TrainOptions

# Options that a resumed run may be given anew: they change nothing that is computed.
FREE_OPTIONS = frozenset(
    "resume overwrite output_dir max_minutes save_every keep_checkpoints dry_run".split()
)
# Everything that a run writes: --overwrite deletes nothing else.
RUN_NAMES = frozenset(
    ".lock options.json env.json log.jsonl metrics.json predictions.json null_odds.json "
    "na_probs.json nbest.json training.png checkpoints best demo".split()
)


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
    if options.resume or options.dry_run or not folder.is_dir():
        return
    if {path.name for path in folder.iterdir()} <= {"demo", ".lock"}:  # a start that failed
        return
    if not options.overwrite:
        raise UsageError(
            f"--output-dir {folder} is not empty; go on with --resume, begin again with "
            "--overwrite, or name another folder"
        )
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in RUN_NAMES)
    if foreign or not (folder / "env.json").exists():
        what = f"holds {', '.join(foreign[:3])}" if foreign else "is not a run folder"
        raise UsageError(f"--overwrite: {folder} {what}; nothing was deleted, name another folder")


@contextmanager
def earlier_run_aside(folder: Path, options: TrainOptions) -> Iterator[None]:
    """With --overwrite, delete the earlier run only if the block ends well; else put it back."""
    aside = folder.with_name(f".{folder.name}.overwritten")
    replacing = options.overwrite and not options.dry_run and folder.is_dir()
    if replacing:
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


def saved_run(folder: Path) -> dict[str, Any]:
    """RUN/options.json of a run to resume: {"options": ..., "inputs": ...}.

    Raises:
        UsageError: there is none.
    """
    path = folder / "options.json"
    if not path.exists():
        raise UsageError(f"--resume: {folder} is not a run folder (it has no options.json)")
    saved = read_json(path)
    if (
        not isinstance(saved, dict)
        or not isinstance(saved.get("options"), dict)
        or not isinstance(saved.get("inputs"), dict)
        or not {"seed", "batch_size", "lr"} <= set(saved["options"])
    ):
        raise UsageError(f"--resume: {path} is damaged or not of a run; start a new run")
    return saved


def refuse_changes(options: TrainOptions, saved: dict[str, Any], given: set[str]) -> None:
    """A resumed run computes what it would have computed: changed options are refused, all at once.

    Args:
        options: of this start.
        saved: the run's own options.
        given: names of the flags on this start's command line.

    Raises:
        UsageError: with old and new values.
    """
    changed = [
        f"--{name.replace('_', '-')} {saved[name]!r} -> {getattr(options, name)!r}"
        for name in sorted(given - FREE_OPTIONS)
        if name in saved and saved[name] != getattr(options, name)
    ]
    if changed:
        raise UsageError(
            f"--resume: the run was started with other settings ({'; '.join(changed)}); leave them "
            "out, or start a new run"
        )


def known_options(saved: dict[str, Any], options_class: type[TrainOptions]) -> dict[str, Any]:
    """The saved values of options that this version still has."""
    names = {field.name for field in fields(options_class)}
    return {name: value for name, value in saved.items() if name in names}


def read_json(path: Path) -> Any:
    """A JSON file's value.

    Raises:
        UsageError: it is damaged.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise UsageError(f"{path} is not JSON ({error})") from None
