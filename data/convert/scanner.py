"""A walk through JSON text of any length, one value in memory at a time."""

import json
import re
from collections.abc import Iterator
from typing import Any

from minibert.strict_json import DECODER, in_words

_SPACE = re.compile(r"[ \t\n\r]*")
MOST_BYTES = 64 << 20  # of a line or an array element; the largest page of Natural Questions has 10


class Scanner:
    """Walks through JSON text of any length, holding one value at a time.

    Attributes:
        line: of the next character, counted from 1.
    """

    def __init__(self, chunks: Iterator[str]) -> None:
        self.line = 1
        self._chunks = chunks
        self._text = ""
        self._at = 0  # next character
        self._ended = False

    def peek(self) -> str:
        """The next character that is no white space; "" at the end."""
        while True:
            at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            self._advance(at)
            if at < len(self._text):
                return self._text[at]
            if self._ended:
                return ""
            self._more()

    def expect(self, character: str) -> None:
        """Step over a character.

        Raises:
            ValueError: another stands there.
        """
        found = self.peek()
        if found != character:
            what = f"has {found!r}" if found else "ends"
            raise ValueError(f"{what} where {character!r} should stand")
        self._at += 1

    def comma(self, end: str) -> None:
        """Step over a comma, or stand before the end of the array or object."""
        if self.peek() == end:
            return
        self.expect(",")
        if self.peek() == end:
            raise ValueError(f"has a comma before {end!r}")

    def value(self) -> Any:
        """Read a value.

        Raises:
            ValueError: it is not JSON, or longer than MOST_BYTES characters.
        """
        self.peek()
        while True:
            try:
                with in_words():
                    value, end = DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                # what is cut by the end of what is held is a string, or a word or number there
                cut = error.msg.startswith("Unterminated") or error.pos + 16 > len(self._text)
                if self._ended or not cut:
                    self._advance(min(error.pos, len(self._text)))
                    what = error.msg.removesuffix(" at")  # of "Unterminated string starting at"
                    raise ValueError(f"is not JSON ({what})") from None
            else:
                if end < len(self._text) or self._ended:  # else a number may go on
                    self._advance(end)
                    return value
            if len(self._text) - self._at > MOST_BYTES:
                raise ValueError(f"begins a value that is no JSON, or over {MOST_BYTES >> 20} MiB")
            self._more()

    def _advance(self, at: int) -> None:
        self.line += self._text.count("\n", self._at, at)
        self._at = at

    def _more(self) -> None:
        """Read on, twice as much as is held: a long value is tried a few times, not often."""
        pieces = [self._text[self._at :]]
        wanted = max(len(pieces[0]), 1)
        while wanted > 0 and not self._ended:
            piece = next(self._chunks, None)
            if piece is None:
                self._ended = True
            else:
                pieces.append(piece)
                wanted -= len(piece)
        self._text, self._at = "".join(pieces), 0
