"""Standard input, output and error as a command finds them: closed, deserted, or of a poor locale.

`open_streams` is for every command. `outlive_readers` is for commands whose work matters more than
who is listening: hours of training go on when `| head` has read enough, when the terminal is gone,
or when the disk that standard output goes to is full.
"""

import io
import os
import sys
from typing import Any


def open_streams() -> None:
    """Make the standard streams usable, whatever the shell left of them.

    A stream that was closed at the start (`>&-`) becomes the null device: without it the next file
    opened would get its number, and with it whatever a library prints. A character that the locale
    cannot show (LC_ALL=C) is printed as an escape, `\\xe9`, instead of ending the command; what is
    read is UTF-8 in any locale, as JSON is.
    """
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # open() takes the lowest free number, which is the missing one
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))
        elif isinstance(stream, io.TextIOWrapper):
            if name == "stdin":
                stream.reconfigure(encoding="utf-8", errors="surrogateescape")
            else:
                stream.reconfigure(errors="backslashreplace")


def outlive_readers() -> None:
    """From here on, what can no longer be printed is dropped; printing never fails.

    Lines are shown as they are printed, also in a pipe or a file.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        stream.flush()
        unheard = io.BufferedWriter(_Unheard(stream.fileno(), "w", closefd=False))
        text = io.TextIOWrapper(unheard, stream.encoding, stream.errors, line_buffering=True)
        setattr(sys, name, text)


def mute_broken() -> None:
    """Send what waits to be printed; where that fails, turn the stream into the null device."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            _discard(stream.fileno())


def _discard(descriptor: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)


class _Unheard(io.FileIO):
    """A descriptor that turns into the null device when it can no longer be written."""

    def write(self, content: Any, /) -> int:
        try:
            written = super().write(content)
        except OSError:
            _discard(self.fileno())
            return len(content)
        # None: a pipe that does not wait is full; what its reader cannot take now is dropped
        return len(content) if written is None else written
