"""The names of what a run writes into its folder, and of what a killed process leaves there."""

import re
from pathlib import Path

LOCK = ".lock"
# Beside these a run writes pictures, and a report of each update that it refused to make.
RUN_NAMES = frozenset(
    "options.json env.json log.jsonl metrics.json predictions.json null_odds.json na_probs.json "
    "nbest.json checkpoints best demo".split()
)
_PICTURE = re.compile(r"(training|roc|precision_recall|confusion|reliability)\.(png|svg|pdf)")
_REPORT = re.compile(r"nonfinite-update-(\d+)\.json")
# What a killed process leaves: files and folders being written or replaced, the next best model.
_LEFTOVER = re.compile(r"\.(.+\.\d+\.(tmp|partial)|best-\d+|best\.(tmp|old))")


def belongs(name: str) -> bool:
    """Whether a name in a run folder is of something that a run wrote, its lock apart."""
    return name in RUN_NAMES or any(
        pattern.fullmatch(name) for pattern in (_PICTURE, _REPORT, _LEFTOVER)
    )


def never_began(folder: Path) -> bool:
    """Whether a folder holds no more than a start leaves that failed or was killed early."""
    return all(
        path.name in ("demo", LOCK) or _LEFTOVER.fullmatch(path.name) for path in folder.iterdir()
    )


def remove_leftovers(folder: Path) -> None:
    """Delete the half-written files of a process that was killed; the folder is locked."""
    for path in folder.iterdir():
        if _LEFTOVER.fullmatch(path.name) and path.is_file():
            path.unlink()


def remove_reports(folder: Path, after: int) -> None:
    """Delete the reports of updates that are still to be made, or to be refused again.

    Args:
        folder: RUN, locked.
        after: updates made.
    """
    for path in folder.iterdir():
        report = _REPORT.fullmatch(path.name)
        if report and int(report[1]) > after:
            path.unlink()
