"""Files that are whole or not there at all, and where this project keeps its own.

Everything that a run, a prediction or a saved model leaves behind is written by `write_file`.
Imports neither torch nor anything of ours, so that every package and every command may use it.
"""

import hashlib
import os
from pathlib import Path


def cache_folder() -> Path:
    """The user's cache folder: MINIBERT_CACHE, else minibert/ in XDG_CACHE_HOME or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(os.environ.get("MINIBERT_CACHE") or os.path.join(home, "minibert"))


def refuse_pipe(what: str, path: Path) -> None:
    """Refuse a pipe or a device where a file is read more than once: it gives its content once.

    Args:
        what: is read there, for the message: "--train-file".
        path: what is not there at all is left to its reader.

    Raises:
        ValueError: naming both.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError(
            f"{what} {path} is a pipe or a device, which gives its content once, but it is read "
            "twice; save it as a file and name that"
        )


def file_sha256(path: Path) -> str:
    """sha256 of a file's content, hexadecimal, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_file(path: Path, content: bytes) -> None:
    """Write a file so that at any moment the old or the new content is on disk, whole.

    The content is flushed before the name changes, and the folder after it, so that a file that
    is there when this returns is there after a power cut. A symbolic link stays one: the file
    behind it is replaced. A pipe or a device is written to. The mode is that of any new file (0666
    less the umask).

    Raises:
        OSError: disk full or not writable; what was there before is untouched.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        path.write_bytes(content)  # a pipe or a device (/dev/stdout): nothing to be kept whole
        return
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write_flushed(temporary, content)
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, f"{error.strerror} while writing", str(path)) from error
        raise
    flush_folder(path.parent)


def write_flushed(path: Path, content: bytes) -> None:
    """Write a file and flush it to disk, in place."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def flush_folder(folder: Path) -> None:
    """Make the names in a folder durable (a no-op where folders cannot be opened)."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
