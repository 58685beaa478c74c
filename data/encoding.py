"""Text files of any origin -> UTF-8, or a sentence that names the line which is something else.

Text is UTF-8, or UTF-16 and UTF-32 where their byte-order mark says so. Windows-1252 has to be
asked for, because nothing in a file tells it from its relatives; it is refused where a line is
UTF-8, and a file in which lines are both is refused in any case.
"""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from minibert.strict_json import shown

ENCODINGS = ("utf-8", "windows-1252")  # of files without byte-order mark

_BOMS = (  # UTF-32's little-endian mark begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


def split_lines(content: bytes) -> Iterator[bytes]:
    """The lines of a file with their ends, which are \\n, \\r\\n or \\r, one at a time."""
    return (match[0] for match in _LINE.finditer(content))


def read_utf8(path: Path, expected: str, encoding: str = "utf-8") -> bytes:
    """The content of a file as UTF-8, without byte-order mark and zero bytes.

    Args:
        path: the file.
        expected: what it should be, for the message: "CSV or TSV".
        encoding: one of ENCODINGS; a byte-order mark wins over it.

    Raises:
        ValueError: one sentence that names the file.
    """
    if encoding not in ENCODINGS:
        raise ValueError(f"the encoding is {shown(encoding)}, expected {' or '.join(ENCODINGS)}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected {expected}")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; expected {expected}") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); expected {expected}") from None
    for bom, name in _BOMS:
        if content.startswith(bom):
            encoding = name
            content = content.removeprefix(bom) if name == "utf-8" else content
            break
    if encoding in ("utf-16", "utf-32"):
        content = _decode(path, content, encoding).encode()
    else:
        _check_lines(path, content, encoding)
        if encoding != "utf-8":
            content = _decode(path, content, encoding).encode()
    if b"\x00" in content:
        line = _line_of(content, content.index(b"\x00"))
        raise ValueError(
            f"{path}: line {line} holds a zero byte; expected text, with a byte-order mark if it "
            "is UTF-16"
        )
    return content


def _decode(path: Path, content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        before = content[: error.start].decode(encoding, "replace").encode()
        raise ValueError(
            f"{path}: line {_line_of(before, len(before))} is not {encoding} "
            f"({_bytes(error)}); convert the file to UTF-8"
        ) from None


def _check_lines(path: Path, content: bytes, encoding: str) -> None:
    """Refuse what is not UTF-8, or not Windows-1252 where that was asked for."""
    utf8 = other = 0  # the first line of each kind
    where = ""
    for number, line in enumerate(split_lines(content), 1):
        if line.isascii():
            continue
        try:
            line.decode()
            utf8 = utf8 or number
        except UnicodeDecodeError as error:
            where = where or _bytes(error)
            other = other or number
    if utf8 and other:
        raise ValueError(
            f"{path} mixes encodings: line {utf8} is UTF-8, line {other} is not ({where}); convert "
            "all of it to UTF-8"
        )
    if other and encoding == "utf-8":
        raise ValueError(
            f"{path}: line {other} is not UTF-8 ({where}); convert the file, or read it with "
            "--encoding windows-1252 if it is that"
        )
    if utf8 and encoding != "utf-8":
        raise ValueError(
            f"{path}: line {utf8} is UTF-8, which --encoding {encoding} would garble; leave the "
            "flag out"
        )


def _bytes(error: UnicodeDecodeError) -> str:
    return f"byte 0x{error.object[error.start]:02x}"


def _line_of(content: bytes, place: int) -> int:
    """The line, counted from 1, that a byte stands in."""
    return sum(1 for _ in re.finditer(rb"\r\n|\r|\n", content[:place])) + 1
