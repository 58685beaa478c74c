"""Rounds in which both sides take turns, ratios per round, and one table of them.

A machine's speed drifts (heat, neighbours), so an absolute time says little about code. Every side
runs once in every round, the side that begins changes from round to round, and the ratio is taken
within the round: what slows one side slows the other.
"""

import gc
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One comparison of the table.

    Attributes:
        what: what was measured, against which peer.
        ours: one figure per round.
        peer: the peer's, in the same rounds; empty for a row without a peer.
        unit: "s", "MiB" or another.
        goal: peer / ours that the project promises; None for a row that only informs.
        most: instead of a goal for the ratio, the largest value allowed for ours.
        least: instead of these, the smallest.
    """

    what: str
    ours: Sequence[float]
    peer: Sequence[float] = ()
    unit: str = "s"
    goal: float | None = None
    most: float | None = None
    least: float | None = None

    @property
    def ratios(self) -> list[float]:
        """peer / ours of every round; above 1 ours is better."""
        return [theirs / mine for mine, theirs in zip(self.ours, self.peer, strict=bool(self.peer))]

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached by the median; None without a goal."""
        if self.most is not None:
            return statistics.median(self.ours) < self.most
        if self.least is not None:
            return statistics.median(self.ours) >= self.least
        return None if self.goal is None else statistics.median(self.ratios) >= self.goal

    def cells(self) -> list[str]:
        """The row's texts, in the order of HEADINGS."""
        goal = "" if self.goal is None else f">= {self.goal:g}x"
        if self.most is not None:
            goal = f"ours < {self.most:g} {self.unit}"
        if self.least is not None:
            goal = f"ours >= {self.least:g} {self.unit}"
        verdict = {None: "", True: "met", False: "MISSED"}[self.met]
        return [
            self.what,
            _spread(self.ours, f" {self.unit}"),
            _spread(self.peer, f" {self.unit}") if self.peer else "",
            _spread(self.ratios, "x") if self.peer else "",
            str(len(self.ours)),
            goal,
            verdict,
        ]


HEADINGS = ["what", "ours", "peer", "peer / ours", "rounds", "goal", "verdict"]


def _spread(values: Sequence[float], unit: str) -> str:
    """Median with minimum and maximum: "0.241 s (0.238-0.25)"."""
    middle, least, most = (
        f"{value:.0f}" if value >= 100 else f"{value:.3g}"
        for value in (statistics.median(values), min(values), max(values))
    )
    return f"{middle}{unit} ({least}-{most})"


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table, its columns aligned."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )


def alternate(
    sides: Mapping[str, Callable[[int], object]], rounds: int, *, warm_up: int = 1
) -> dict[str, list[float]]:
    """Run every side once a round.

    Args:
        sides: name -> what to time; it gets the number of the round, so that every side of a round
            can work on the same part of the data. On a GPU it must wait for the result itself.
        rounds: timed ones.
        warm_up: rounds before them that are not counted.

    Returns:
        Name -> seconds of every round.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    gc.collect()
    gc.freeze()  # the collector would walk the inputs again and again, at either side's expense
    try:
        for number in range(-warm_up, rounds):
            names = list(sides) if number % 2 == 0 else list(sides)[::-1]
            for name in names:
                begin = time.perf_counter()
                result = sides[name](max(number, 0))
                if number >= 0:
                    seconds[name].append(time.perf_counter() - begin)
                del result  # outside the measurement, and before the next one
            print(".", end="", file=sys.stderr, flush=True)
    finally:
        gc.unfreeze()
    print(file=sys.stderr)
    return seconds
