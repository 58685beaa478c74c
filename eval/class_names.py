"""What classes are called in pictures: names that can be drawn, that fit, and that differ."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Sequence

from data.ledger import listed

LONGEST = 24  # characters of a name


def drawable_names(names: Sequence[str], missing: Collection[str]) -> tuple[list[str], str]:
    """Names without those that no font can draw, and a line that says so.

    Args:
        names: of the C classes.
        missing: characters that no installed font has.

    Returns:
        C names, "class 2" in place of one that cannot be drawn, and the line, "" if all can.
    """
    strange = [number for number, name in enumerate(names) if set(name) & set(missing)]
    drawn = [f"class {n}" if n in strange else name for n, name in enumerate(names)]
    if not strange:
        return drawn, ""
    told = listed([f"class {number} is {names[number]}" for number in strange])
    return drawn, f"in the pictures {told}, since no installed font has all their characters"


def short_names(names: Sequence[str]) -> list[str]:
    """Names on one line that fit a legend and differ as the names do.

    A long name loses its middle; of those that then look alike the part is shown where they begin
    to differ; if even that is not enough, their numbers go before them.

    >>> short_names(["pro", "against any vaccine for children", "against any drug of the firm"])
    ['pro', 'against any …or children', 'against any …of the firm']
    >>> short_names([f"what people of group {n} think of vaccines" for n in "AB"])
    ['…A think of vaccines', '…B think of vaccines']
    """
    plain = [" ".join(name.split()) or '""' for name in names]
    short = [name if len(name) <= LONGEST else _without_middle(name) for name in plain]
    for alike in _alike(short):
        shared = os.path.commonprefix([plain[n] for n in alike])  # noqa: RUF071  of letters
        word = re.split(r"[\W_]", shared)[-1]  # in which they begin to differ
        for n in alike:
            short[n] = f"…{_cut(plain[n][len(shared) - min(len(word), 8) :], LONGEST - 1)}"
    for alike in _alike(short):
        for n in alike:
            short[n] = f"{n}: {_cut(plain[n], LONGEST - 4)}"
    return short


def width(name: str) -> int:
    """Its width in letters; a Chinese character is as wide as two."""
    return sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in name)


def _without_middle(name: str) -> str:
    half = LONGEST // 2
    return f"{name[:half]}…{name[1 - half :]}"


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _alike(names: Sequence[str]) -> list[list[int]]:
    """Which of the names are equal."""
    places = defaultdict(list)
    for n, name in enumerate(names):
        places[name].append(n)
    return [alike for alike in places.values() if len(alike) > 1]
