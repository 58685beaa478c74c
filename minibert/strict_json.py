"""JSON that somebody else wrote: read strictly, and quoted briefly in error messages.

Python's own reader lets the last of two equal keys win, takes NaN for a number, and answers a file
that is nested too deeply with a RecursionError. Here each of these is a sentence about the file.
All four packages read their JSON through this module, which imports nothing of ours.

Memory: five to ten times the file where it is mostly text, as every file of this field; at most
fifty times where it is nothing but brackets (tests/test_fuzz.py measures it).
"""

import json
import reprlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 60
_BRIEF.maxlevel, _BRIEF.maxlist, _BRIEF.maxdict = 2, 4, 2


def shown(value: Any) -> str:
    """A value of a file for a message: its repr on one line, the middle of long ones left out."""
    return _BRIEF.repr(value)


def named(identifier: str) -> str:
    """An id for a message: as it stands if it is short and printable, else quoted."""
    return identifier if identifier.isprintable() and len(identifier) <= 60 else shown(identifier)


def counted(number: int, noun: str) -> str:
    """A number of things for a message: 1 column, 2 columns, 3,000 classes."""
    plural = "es" if noun.endswith("s") else "s"
    return f"{number} {noun}" if number == 1 else f"{number:,} {noun}{plural}"


@contextmanager
def in_words() -> Iterator[None]:
    """What DECODER raises, as words that follow the file's name; JSONDecodeError as it is."""
    try:
        yield
    except (json.JSONDecodeError, Refused):
        raise
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except ValueError:  # int() takes 4,300 digits at most
        raise ValueError("holds a number of thousands of digits") from None


def parse_object(content: bytes) -> dict[str, Any]:
    """The JSON object that a file, or a line of one, holds; a byte-order mark is no part of it.

    Raises:
        ValueError: what is wrong, as words that follow the file's name: "is empty", "is not JSON
            (Expecting value at line 1, column 1)", "has the key 'id' twice in one object", ...
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (byte {error.start})") from None
    if not text or text.isspace():
        raise ValueError("is empty")
    try:
        with in_words():
            value = DECODER.decode(text)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        what = error.msg.removesuffix(" at")  # of "Unterminated string starting at"
        raise ValueError(f"is not JSON ({what} at {place})") from None
    if not isinstance(value, dict):
        raise ValueError(f"holds a {type(value).__name__} in place of a JSON object")
    return value


def read_object(path: Path, expected: str) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        path: the file.
        expected: what it should be, for the message: "a SQuAD .json file".

    Raises:
        ValueError: one sentence that names the file.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected {expected}")
    try:
        return parse_object(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; expected {expected}") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); expected {expected}") from None
    except ValueError as error:
        raise ValueError(f"{path} {error}; expected {expected}") from None


class Refused(ValueError):
    """Valid for Python's reader, not for ours."""


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        twin = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise Refused(f"has the key {shown(twin)} twice in one object")
    return record


def _refuse_constant(name: str) -> None:
    raise Refused(f"holds {name}, which is not JSON")


# The rule itself, for readers that walk through a file too large to be held.
DECODER = json.JSONDecoder(object_pairs_hook=_without_twins, parse_constant=_refuse_constant)
