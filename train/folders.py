"""Folders that are whole or not there: flushed to disk, swapped in one step, never half deleted.

A folder is written under a hidden name beside its place, flushed (`flush_tree`), and put in place
(`replace_folder`). A process that is killed in between leaves hidden names only; `tidy` settles
them when the run is taken up again.
"""

import ctypes
import os
import re
import shutil
import sys
from pathlib import Path

from minibert.files import flush_folder

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
# Hidden names in use here: .NAME.tmp is being written, .NAME.old was replaced or is being deleted.
_WRITING = re.compile(r"\.(.+)\.tmp")
_REPLACED = re.compile(r"\.(.+)\.old")


def temporary_of(folder: Path) -> Path:
    """Where a folder is written before it is put in place."""
    return folder.with_name(f".{folder.name}.tmp")


def flush_tree(folder: Path) -> None:
    """Flush every file below a folder, then the names, innermost first."""
    for inside, _, names in os.walk(folder, topdown=False):
        for name in names:
            descriptor = os.open(Path(inside, name), os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        flush_folder(Path(inside))


def replace_folder(new: Path, place: Path) -> None:
    """Put a finished folder in its place, also where an older one stands; durable on return.

    On Linux the two change names in one step, so that at any moment the old or the new one stands
    there. Elsewhere the old one steps aside first; killed just then, `tidy` puts it back.
    """
    if not place.exists():
        os.rename(new, place)
    else:
        old = place.with_name(f".{place.name}.old")
        remove(old)
        if exchange(new, place):
            os.rename(new, old)
        else:
            os.rename(place, old)
            os.rename(new, place)
        flush_folder(place.parent)
        remove(old)
    flush_folder(place.parent)


def remove_folder(folder: Path) -> None:
    """Rename, then delete: a half-deleted folder never looks like a whole one."""
    dead = temporary_of(folder)
    remove(dead)
    os.rename(folder, dead)
    remove(dead)


def remove(path: Path) -> None:
    """Delete a folder with all it holds; of a link, which somebody put in its place, the link."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def tidy(parent: Path, begin: str) -> None:
    """Settle what a killed process left: unfinished folders go, a folder that had only stepped
    aside comes back.

    Args:
        parent: where the folders are.
        begin: how their names begin; others are let alone.
    """
    for path in sorted(parent.glob(f".{begin}*")):
        if not path.is_dir():
            continue
        if _WRITING.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)
        elif replaced := _REPLACED.fullmatch(path.name):
            if (parent / replaced[1]).exists():
                shutil.rmtree(path, ignore_errors=True)
            else:
                os.rename(path, parent / replaced[1])


def exchange(one: Path, other: Path) -> bool:
    """Let two names change places in one step (Linux, renameat2); False where that cannot be."""
    if sys.platform != "linux":
        return False
    sys.audit("os.rename", str(one), str(other), -1, -1)  # seen like any other renaming
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "renameat2"):
        return False
    names = (os.fsencode(one), os.fsencode(other))
    return bool(library.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0)
