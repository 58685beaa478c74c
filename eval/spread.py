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
