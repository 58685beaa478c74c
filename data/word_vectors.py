"""Pretrained word vectors in GloVe's text format: a line is a word, and its numbers after spaces.

word2vec's and fastText's text files are the same behind a first line of two whole numbers, how many
words there are and how many numbers each has; it is read, and the file held to it.

The file is read line by line, each of them checked, and only the vectors of wanted words are kept.
A word may hold spaces (glove.840B has ". . ."), as long as none of its parts is a number.
"""

import re
from codecs import BOM_UTF8
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from minibert.strict_json import counted, shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NUMBER = rb"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_IS_NUMBER = re.compile(_NUMBER)
_IS_HEAD = re.compile(rb"(\d{1,9}) (\d{1,9})")
_MOST_WIDTH = 10_000
_LARGEST = 1e4  # of a number; training would not survive it


class WordVectors(NamedTuple):
    """What a file says of a vocabulary's words.

    Attributes:
        values: (V, E) float32, zeros where the file lacks the word.
        found: (V,) bool.
        lines: words of the file.
    """

    values: "NDArray[np.float32]"
    found: "NDArray[np.bool_]"
    lines: int


def read_vectors(path: Path, ids: Mapping[str, int], size: int) -> WordVectors:
    """Read a file, strictly.

    Args:
        path: GloVe's text format, UTF-8; the first vector says how many numbers each has.
        ids: word -> row of the result.
        size: V, rows of the result.

    Raises:
        ValueError: not readable, or a line that is no word with its numbers: wrong width, not a
            number, a word that stands there twice, other bytes than UTF-8, not as many words as
            the first line says.
    """
    import numpy as np

    rows: dict[int, bytes] = {}
    seen: dict[str, int] = {}
    width = 0
    promised: tuple[int, ...] = ()  # words and numbers of each, by word2vec's first line
    try:
        file = path.open("rb")
    except OSError as error:
        raise ValueError(f"--vectors {path} cannot be read ({error.strerror})") from None
    with file:
        for number, line in enumerate(file, 1):
            if number == 1:
                line = line.removeprefix(BOM_UTF8)
            line = line.rstrip(b"\r\n").rstrip(b" ")
            if number == 1 and (head := _IS_HEAD.fullmatch(line)):
                promised = tuple(map(int, head.groups()))
                continue
            if not width:
                width = _first_width(f"{path}: line {number}", line.split(b" "))
                if promised and promised[1] != width:
                    raise ValueError(
                        f"{path}: line 1 promises {counted(promised[1], 'number')} a word, line 2 "
                        f"has {width}; it is not the whole file, or its first line is of another"
                    )
                is_usual = re.compile(rb"([^ ]+)((?: %s){%d})" % (_NUMBER, width))
            usual = is_usual.fullmatch(line)  # a look at each number in turn takes thrice as long
            if usual is not None:
                word, numbers = usual.groups()
            else:
                word, numbers = _split_line(f"{path}: line {number}", line, width)
            try:
                text = word.decode()
            except UnicodeDecodeError:
                raise ValueError(
                    f"{path}: line {number} is not UTF-8 text; convert the file"
                ) from None
            if text in seen:
                raise ValueError(
                    f"{path}: line {number} repeats the word {shown(text)} of line "
                    f"{seen[text]}; take one of them out"
                )
            seen[text] = number
            row = ids.get(text)
            if row is not None:
                rows[row] = numbers
    if not seen:
        raise ValueError(f"{path} holds no word; expected a word and its numbers on each line")
    if promised and promised[0] != len(seen):
        raise ValueError(
            f"{path}: line 1 promises {counted(promised[0], 'word')}, but there are {len(seen)}; "
            "it is not the whole file"
        )
    values, found = np.zeros((size, width), np.float32), np.zeros(size, np.bool_)
    for row, numbers in rows.items():
        values[row] = np.array(numbers.split(), np.float64)
        found[row] = True
        if not (np.abs(values[row]) <= _LARGEST).all():
            wanted = next(word for word, place in ids.items() if place == row)
            raise ValueError(
                f"{path}: line {seen[wanted]} has a number beyond {_LARGEST:g} in the "
                f"vector of {shown(wanted)}"
            )
    return WordVectors(values, found, len(seen))


def _first_width(place: str, parts: list[bytes]) -> int:
    """Numbers on each line, by those that the first one ends with.

    Args:
        place: file and line, for the sentence.
        parts: of the line.

    Raises:
        ValueError: one sentence.
    """
    behind = list(map(_IS_NUMBER.fullmatch, parts[1:]))
    width = next((n for n, number in enumerate(reversed(behind)) if not number), len(behind))
    if any(behind[: len(behind) - width]):  # a word of several parts has no number among them
        strange = next(part for part, number in zip(parts[1:], behind, strict=True) if not number)
        raise ValueError(
            f"{place} has {shown(strange.decode('utf-8', 'replace'))} where a number is expected"
        )
    if not 1 <= width < _MOST_WIDTH:
        raise ValueError(
            f"{place} has {counted(width, 'number')}, expected a word and 1 to {_MOST_WIDTH - 1} "
            "numbers with one space between them"
        )
    return width


def _split_line(place: str, line: bytes, width: int) -> tuple[bytes, bytes]:
    """The word, of several parts, and its numbers.

    Args:
        place: file and line, for the sentence.
        line: without its end.
        width: numbers expected.

    Raises:
        ValueError: one sentence.
    """
    parts = line.split(b" ")
    spare = len(parts) - width  # parts of the word
    if spare < 1 or (spare > 1 and any(map(_IS_NUMBER.fullmatch, parts[1:spare]))):
        raise ValueError(
            f"{place} has {counted(len(parts) - 1, 'number')}, expected {width} as on the first"
        )
    if b"" in parts[:spare]:
        raise ValueError(
            f"{place} has two spaces side by side, or one before its word; expected one between "
            "its parts"
        )
    word, numbers = b" ".join(parts[:spare]), parts[spare:]
    for text in numbers:
        if _IS_NUMBER.fullmatch(text) is None:
            raise ValueError(
                f"{place} has {shown(text.decode('utf-8', 'replace'))} where a number is expected"
            )
    return word, b" ".join(numbers)
