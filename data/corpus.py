"""Plain text for pretraining, one document after another, in constant memory.

Files are read as they are or through gzip or xz, told by their first bytes, not by their names. In
them a document is

- a WikiExtractor block: the lines between `<doc ...>` and `</doc>`, of which the first is the title
  (the two markup lines are dropped, the title stays); or
- outside of such blocks, lines up to the next blank line or the file's end.

A document of more than a million characters is handed on in parts, each as a document of its own,
so that a file without a single blank line needs no more memory than any other.
"""

import codecs
import gzip
import lzma
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from data.command import UsageError
from minibert.files import refuse_pipe

MAX_DOCUMENT = 1_000_000  # characters
_MAX_LINE = 1 << 20  # bytes read at once
_GZIP, _XZ = b"\x1f\x8b", b"\xfd7zXZ\x00"
_BOM = b"\xef\xbb\xbf"


def find_texts(named: Iterable[str | Path]) -> list[Path]:
    """The files that the user means: those named, and all below named folders, sorted by path.

    Files and folders whose names begin with a dot are passed over inside a folder.

    Raises:
        ValueError: nothing named, something that is not there or is a pipe, or a folder without
            files.
    """
    found: list[Path] = []
    for name in named:
        path = Path(name)
        if not path.is_dir():
            if not path.exists():
                raise UsageError(f"text {path} does not exist; name text files or folders of them")
            found.append(path)
            continue
        inside = []
        for folder, folders, files in os.walk(path):
            folders[:] = [name for name in folders if not name.startswith(".")]
            inside += [Path(folder, name) for name in files if not name.startswith(".")]
        if not inside:
            raise UsageError(f"text folder {path} holds no files; name one that does")
        found += sorted(inside)
    for path in found:
        refuse_pipe("text", path)
    if not found:
        raise UsageError("no text is named; name text files or folders of them")
    return found


def read_documents(paths: Iterable[Path]) -> Iterator[str]:
    """The documents of text files, in the order of the files; none is blank.

    Lines are as in the file, joined by a newline.

    Raises:
        UsageError: a file that is binary, not UTF-8, damaged or cut, with the line it was seen in.
    """
    for path in paths:
        yield from _split_documents(_read_lines(path))


def _split_documents(lines: Iterator[str]) -> Iterator[str]:
    """Lines of one file -> its documents."""
    document: list[str] = []
    size, in_block = 0, False
    for line in lines:
        is_begin = line.startswith("<doc ") and line.endswith(">")
        is_end = line == "</doc>"
        is_blank = not line or line.isspace()
        if is_begin or is_end or (is_blank and not in_block) or size > MAX_DOCUMENT:
            if document:
                yield "\n".join(document)
            document, size = [], 0
        if is_begin or is_end:
            in_block = is_begin
        elif not is_blank:
            document.append(line)
            size += len(line) + 1
    if document:
        yield "\n".join(document)


def _read_lines(path: Path) -> Iterator[str]:
    """The lines of one file without their ends; one of more than a megabyte comes in parts."""
    number, decoder = 1, codecs.getincrementaldecoder("utf-8")()
    try:
        with _open(path) as file:
            # A part of a long line may end inside a character, whose rest the decoder waits for.
            while line := file.readline(_MAX_LINE):
                if number == 1:
                    line = line.removeprefix(_BOM)
                if b"\x00" in line:
                    raise UsageError(
                        f"{path} is binary: a zero byte in line {number}; expected text in UTF-8, "
                        "plain or as .gz or .xz"
                    )
                text = decoder.decode(line)
                yield text.rstrip("\r\n")
                number += line.endswith(b"\n")
            decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x} in line {number}; "
            "convert it, or name another file"
        ) from None
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        reason = "the file is cut" if isinstance(error, EOFError) else f"damaged: {error}"
        raise UsageError(
            f"{path} cannot be unpacked after line {number - 1} ({reason}); get the file again"
        ) from None


def _open(path: Path) -> IO[bytes] | gzip.GzipFile:
    """The unpacked bytes of a file."""
    with path.open("rb") as file:
        first = file.read(len(_XZ))
    if first.startswith(_GZIP):
        return gzip.open(path, "rb")
    if first == _XZ:
        return lzma.open(path, "rb")
    return path.open("rb")
