"""--overwrite: the earlier run steps aside inside its folder until the new one has begun.

RUN/.overwriting/   the earlier run is on its way out, or back; the new one has touched nothing
RUN/.overwritten/   all of it; what else lies in RUN is the new run's

The new run has begun when it has its options.json: only then is the earlier one deleted. A start
that fails before puts it back. One that is killed leaves one of these folders, from which the next
start, whatever it is, can tell what to do (`settle`). All of this happens under the folder's lock.
"""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data.command import UsageError
from train.folders import remove
from train.run_files import belongs, never_began

MOVING = ".overwriting"
ASIDE = ".overwritten"
OPTIONS = "options.json"


def options_file(folder: Path) -> Path:
    """RUN/options.json, or where `settle` will take it from."""
    if not (folder / OPTIONS).exists():
        for name in (MOVING, ASIDE):
            if (folder / name / OPTIONS).exists():
                return folder / name / OPTIONS
    return folder / OPTIONS


def settle(folder: Path) -> None:
    """Finish what an overwriting start left undone: the earlier run comes back, or is deleted if
    the new one has begun."""
    if (folder / MOVING).is_dir():
        _move_back(folder)
    if (folder / ASIDE).is_dir():
        if (folder / OPTIONS).exists():
            shutil.rmtree(folder / ASIDE, ignore_errors=True)
            return
        for path in folder.iterdir():
            if belongs(path.name):
                remove(path)
        os.rename(folder / ASIDE, folder / MOVING)
        _move_back(folder)


@contextmanager
def earlier_run_aside(folder: Path) -> Iterator[None]:
    """Delete the run in a folder, if it holds one, only if the block, which begins a new one,
    ends well; else put it back. The folder is locked, and settled."""
    if never_began(folder):
        yield
        return
    if (folder / ASIDE).exists():
        raise UsageError(f"{folder / ASIDE} cannot be deleted; delete it, then run again")
    try:
        (folder / MOVING).mkdir()
        for path in sorted(folder.iterdir()):
            if belongs(path.name):
                os.rename(path, folder / MOVING / path.name)
        os.rename(folder / MOVING, folder / ASIDE)
        yield
    except BaseException:
        with _undisturbed():
            if (folder / ASIDE).is_dir():
                (folder / OPTIONS).unlink(missing_ok=True)  # the new run has not begun after all
            settle(folder)
        raise
    shutil.rmtree(folder / ASIDE, ignore_errors=True)


def _move_back(folder: Path) -> None:
    for path in sorted((folder / MOVING).iterdir()):
        os.rename(path, folder / path.name)
    (folder / MOVING).rmdir()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No second signal stops the way back; it takes milliseconds, and then the process ends."""
    signals = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]
    before = {}
    with suppress(ValueError):  # only the main thread may set them
        for number in filter(None, signals):
            before[number] = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
