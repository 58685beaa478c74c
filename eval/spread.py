"""Mean and deviation of a few runs' values; plain figures, no model."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """Attributes:
    mean: of some runs' values.
    deviation: their sample deviation (n - 1); None of a single run.
    """

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """At least one value."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)

    def said(self, decimals: int = 1, *, sign: str = "", width: int = 0) -> str:
        """In words: "72.0 ± 2.8", and "72.0" of a single run.

        Args:
            decimals: of both.
            sign: "+" for one before every mean, as differences have it.
            width: characters of the deviation at least.
        """
        mean = f"{self.mean:{sign}.{decimals}f}"
        if self.deviation is None:
            return mean
        return f"{mean} ± {f'{self.deviation:.{decimals}f}'.rjust(width)}"
