"""A lock file: held by one process at a time, free again however that process ends."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO


class InUse(Exception):
    """Another process holds the lock.

    Attributes:
        owner: what it wrote into the lock file, "" if nothing.
    """

    def __init__(self, owner: str) -> None:
        super().__init__(owner or "another process")
        self.owner = owner


def lock_file(path: Path, *, wait: bool = False) -> IO[bytes]:
    """Open and lock a file, made if need be; it is locked until it is closed.

    Its holder may delete it: who waits for it then makes a new one.

    Args:
        path: the file. It is no more than a lock: what is to be kept whole is another file.
        wait: until another process that holds it is through.

    Raises:
        InUse: another process holds it.
        OSError: it cannot be opened; ELOOP where a symbolic link stands in its place.
    """
    while True:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        file = os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0)
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except ImportError:  # Windows has no such lock
            return file
        except BlockingIOError:
            owner = file.read(200).decode("utf-8", "replace").strip()
            file.close()
            raise InUse(owner) from None
        except OSError as error:
            print(
                f"warning: {path.parent} cannot be locked ({error.strerror}); see to it that no "
                "other process works there",
                file=sys.stderr,
            )
            return file
        # Whoever held it may have deleted it since it was opened; then it locks nothing.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path, follow_symlinks=False)):
                return file
        file.close()


def sign(lock: IO[bytes], owner: str) -> None:
    """Write into a lock file who holds it, over an earlier owner's name."""
    lock.truncate(0)
    lock.write(f"{owner}\n".encode())
