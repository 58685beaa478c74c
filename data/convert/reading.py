"""One input file, read once from start to end, in memory that does not grow with it.

A file may be gzip (told by its first bytes). Lines, elements of a JSON array and fields of a csv
row are bounded, so that a file which unpacks to an endless line is refused, not read.
"""

import codecs
import csv
import hashlib
import io
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from data.convert.scanner import MOST_BYTES, Scanner
from minibert.strict_json import counted, parse_object, shown

_CHUNK = 1 << 20  # bytes, or characters
_PIECE = 1 << 16  # bytes of gzip data
_ARCHIVES = {b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}

Record = dict[str, Any]


class _Watched(io.RawIOBase):
    """A file that hashes what is read from it and tells how much that was."""

    def __init__(self, path: Path, progress: Callable[[int], None]) -> None:
        self._file = path.open("rb", buffering=0)
        self._progress = progress
        self.digest = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer) or 0
        self.digest.update(memoryview(buffer)[:count])
        self._progress(count)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _Unpacked(io.RawIOBase):
    """The content of a gzip file, in larger pieces than Python's GzipFile has, and all of it.

    Where the file is cut, GzipFile may keep the last lines to itself; here they come first, then
    the error, so that its line is the right one.
    """

    def __init__(self, packed: Any) -> None:
        self._packed = packed
        self._member = zlib.decompressobj(31)  # 31: a gzip header and its checksum

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            held = self._member.unconsumed_tail or self._member.unused_data
            if self._member.eof:  # zeros may follow, and other members
                held = held.lstrip(b"\0")
                while not held and (piece := self._packed.read(_PIECE)):
                    held = piece.lstrip(b"\0")
                if not held:
                    return 0
                self._member = zlib.decompressobj(31)
            held = held or self._packed.read(_PIECE)
            if not held:
                raise EOFError
            content = self._member.decompress(held, len(buffer))
            if content:
                buffer[: len(content)] = content
                return len(content)


class Source:
    """An input file. Use it in a `with` statement and read it once.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, progress: Callable[[int], None] = lambda count: None) -> None:
        """Open the file.

        Args:
            path: plain or gzip.
            progress: called with every number of bytes that was read, as they lie on disk.

        Raises:
            ValueError: it is missing or an archive.
        """
        self.path = path
        try:
            self._watched = _Watched(path, progress)
        except OSError as error:
            raise ValueError(f"{path} cannot be read ({error.strerror})") from None
        raw: Any = io.BufferedReader(self._watched, _PIECE)
        first = raw.peek(8)
        for magic, kind in _ARCHIVES.items():
            if first.startswith(magic):
                raise ValueError(f"{path} is a {kind} archive; unpack it and name what is inside")
        is_gzip = first.startswith(b"\x1f\x8b")
        self._stream: Any = io.BufferedReader(_Unpacked(raw), _CHUNK) if is_gzip else raw
        self._raw = raw

    def __enter__(self) -> "Source":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()
        self._raw.close()

    def sha256(self) -> str:
        """Digest of the file as it lies on disk; whatever is still unread is read for it."""
        while self._raw.read(_CHUNK):
            pass
        return self._watched.digest.hexdigest()

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Every line with its number, counted from 1, and its line break.

        Raises:
            ValueError: a line that is too long or empty, or damaged gzip data; with file and line.
        """
        number = 0
        try:
            while line := self._stream.readline(MOST_BYTES):
                number += 1
                if len(line) == MOST_BYTES:
                    raise ValueError(f"is longer than {MOST_BYTES >> 20} MiB")
                if number == 1 and line[257:262] == b"ustar":
                    raise ValueError("begins a tar archive; unpack it and name what is inside")
                yield number, line
        except (EOFError, zlib.error) as error:
            raise self.bad(number + 1, _gzip_words(error)) from None
        except ValueError as error:
            if type(error) is not ValueError or str(error).startswith(str(self.path)):
                raise
            raise self.bad(number, str(error)) from None

    def objects(
        self, parse: Callable[[bytes], Record] = parse_object
    ) -> Iterator[tuple[int, Record]]:
        """The JSON object of every line, with the line's number.

        Args:
            parse: what reads a line.

        Raises:
            ValueError: with file and line.
        """
        for number, line in self.lines():
            try:
                record = parse(line)
            except ValueError as error:
                words = str(error).replace("at line 1, column", "at column")
                raise self.bad(number, f"{words}; expected one JSON object a line") from None
            yield number, record

    def elements(self, key: str) -> Iterator[tuple[int, Record]]:
        """The objects of the array that a JSON file has under a key at its top, with their lines.

        Raises:
            ValueError: not such a file, or damaged; with file and line.
        """
        scanner = Scanner(self._characters())
        found = False
        inside = ""  # of the array, and where
        try:
            scanner.expect("{")
            while scanner.peek() != "}":
                name = scanner.value()
                scanner.expect(":")
                if name != key:
                    scanner.value()
                elif found:
                    raise ValueError(f"has the key {shown(key)} twice in one object")
                else:
                    found = True
                    scanner.expect("[")
                    count = 0
                    while scanner.peek() != "]":
                        inside = f", {key}[{count}],"
                        line, element = scanner.line, scanner.value()
                        if not isinstance(element, dict):
                            kind = type(element).__name__
                            raise ValueError(f"holds a {kind} in {shown(key)}, expected an object")
                        yield line, element
                        scanner.comma("]")
                        count += 1
                    scanner.expect("]")
                    inside = ""
                scanner.comma("}")
            scanner.expect("}")
            if scanner.peek():
                raise ValueError("has more behind the end of its JSON object")
            if not found:
                raise ValueError(f"is the last of an object without {shown(key)}")
        except (EOFError, zlib.error) as error:
            raise self.bad(f"{scanner.line}{inside}", _gzip_words(error)) from None
        except UnicodeDecodeError:
            raise self.bad(f"{scanner.line}{inside}", "is not UTF-8 text") from None
        except ValueError as error:
            if str(error).startswith(str(self.path)):
                raise
            words = f"{error}; expected a JSON object with {shown(key)}"
            raise self.bad(f"{scanner.line}{inside}", words) from None

    def rows(self, *needed: str) -> Iterator[tuple[int, dict[str, str]]]:
        """The rows of a csv file with a header, with the line on which each begins.

        Args:
            needed: columns that must be there.

        Raises:
            ValueError: with file and line.
        """
        earlier = csv.field_size_limit(MOST_BYTES)  # of the whole process: put back at the end
        reader = csv.reader(self._text_lines(), strict=True)
        begin = 1
        header: list[str] | None = None
        try:
            for fields in reader:
                if header is None:
                    header = fields
                    missing = [name for name in needed if name not in header]
                    if missing:
                        raise self.bad(
                            begin,
                            f"names no column {missing[0]!r} but {', '.join(map(shown, header))}",
                        )
                elif len(fields) != len(header):
                    raise self.bad(
                        begin, f"has {counted(len(fields), 'field')}, expected {len(header)}"
                    )
                else:
                    yield begin, dict(zip(header, fields, strict=True))
                begin = reader.line_num + 1
        except csv.Error as error:
            raise self.bad(begin, f"begins a row that is not csv ({error})") from None
        finally:
            csv.field_size_limit(earlier)
        if header is None:
            raise ValueError(f"{self.path} is empty")

    def bad(self, line: int | str, words: str) -> ValueError:
        """What is wrong with a line, as an error that names it: "FILE: line 7 " and the words."""
        return ValueError(f"{self.path}: line {line} {words}")

    def _text_lines(self) -> Iterator[str]:
        for number, line in self.lines():
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise self.bad(number, "is not UTF-8 text") from None

    def _characters(self) -> Iterator[str]:
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
        while content := self._stream.read(_CHUNK):
            yield decoder.decode(content)
        yield decoder.decode(b"", final=True)


def _gzip_words(error: Exception) -> str:
    if isinstance(error, EOFError):
        return "is cut: the gzip data ends too soon; get the file again"
    return f"lies in damaged gzip data ({error}); get the file again"
