"""What a converter makes of a record: a passage with its questions, every answer in its place."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from data.convert.audit import Tally
from data.squad import find_near


@dataclass(slots=True)
class Question:
    """A question that is kept.

    Attributes:
        id: unique in the set.
        text: as published.
        line: of its file, counted from 1.
        answers: (text, first character in the passage); the first one trains.
        impossible: why the passage does not answer it; "" where there are answers, None where the
            file does not tell the answers (a test set).
    """

    id: str
    text: str
    line: int
    answers: list[tuple[str, int]] = field(default_factory=list)
    impossible: str | None = ""


@dataclass(slots=True)
class Passage:
    """A context and what is asked about it.

    Attributes:
        title: of the article, may be "".
        context: in which answers stand.
        questions: at least one.
    """

    title: str
    context: str
    questions: list[Question]


def place(
    context: str, text: str, start: int, tally: Tally, identifier: str, line: int
) -> tuple[str, int] | None:
    """An answer where its file says it stands, or one or two characters beside it.

    Args:
        context: of the question.
        text: of the answer, as published.
        start: characters from the start of the context, as published.
        tally: told of an answer that is empty, moved, trimmed or not there.
        identifier: of the question.
        line: of the question.

    Returns:
        Text and start, without white space at the edges; None where there is no such answer.
    """
    if not text.strip():
        tally.note("answers without text, left out", identifier, line)
        return None
    found = find_near(context, text, start)
    if found is None:
        tally.note("answers not at their offset, left out", identifier, line)
        return None
    if found != start:
        tally.note("answers whose offset was 1 or 2 characters off, repaired", identifier, line)
    return trim(text, found, tally, identifier, line)


def trim(text: str, start: int, tally: Tally, identifier: str, line: int) -> tuple[str, int]:
    """An answer without the white space at its edges, which no token holds."""
    bare = text.strip()
    if bare != text:
        tally.note("answers trimmed of white space", identifier, line)
        start += len(text) - len(text.lstrip())
    return bare, start


def distinct(answers: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """The answers, each text once and where it came first: the scorer compares texts only."""
    first: dict[str, int] = {}
    for text, start in answers:
        first.setdefault(text, start)
    return list(first.items())


def ends_inside_word(context: str, text: str, start: int) -> bool:
    """Whether an answer begins or ends between two letters or digits."""
    end = start + len(text)
    return (start > 0 and context[start - 1].isalnum() and text[0].isalnum()) or (
        end < len(context) and context[end].isalnum() and text[-1].isalnum()
    )


WORD = re.compile(r"\S+")


class Fields:
    """A record of a file, and the sentence about a field that is not as it should be."""

    __slots__ = ("_record", "where")

    def __init__(self, record: Any, where: str) -> None:
        """Take a record.

        Args:
            record: an object of the file.
            where: "FILE: line 7", to begin the sentence.
        """
        self._record, self.where = record, where

    def get(self, name: str, kind: type | tuple[type, ...], words: str) -> Any:
        """A field of a type, which `words` name for the message.

        Raises:
            ValueError: it is missing or of another type.
        """
        value = self._record.get(name) if isinstance(self._record, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.error(f"has no {words} {name!r}")
        return value

    def text(self, name: str) -> str:
        """A field with text."""
        return str(self.get(name, str, "text"))

    def list(self, name: str) -> list[Any]:
        """A field with a list."""
        value: list[Any] = self.get(name, list, "list")
        return value

    def number(self, name: str) -> int:
        """A field with a whole number."""
        return int(self.get(name, int, "whole number"))

    def error(self, words: str) -> ValueError:
        """What is wrong with the record, as an error that begins with its place."""
        return ValueError(f"{self.where} {words}; see docs/datasets.md for the layouts")
