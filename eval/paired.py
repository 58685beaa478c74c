"""Two systems on the same items: is one really better? McNemar's test, paired bootstrap.

Plain numpy, for any items: tweets, questions, right or wrong, or with a score each.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Up to so many items on which two systems differ, McNemar's test sums the binomial exactly.
EXACT_UP_TO = 10_000


class McNemar(NamedTuple):
    """Attributes:
    only_first: items that only the first system has right.
    only_second: items that only the second has right.
    p_value: two-sided probability of a difference at least as large between equally good systems.
    """

    only_first: int
    only_second: int
    p_value: float


class Interval(NamedTuple):
    """Attributes:
    difference: first minus second on the items as they are.
    low: lower end of the interval of the difference over resampled items.
    high: its upper end.
    level: share of the resampled differences in it, 0.95 for instance.
    """

    difference: float
    low: float
    high: float
    level: float


def mcnemar(first_right: Any, second_right: Any) -> McNemar:
    """McNemar's test of two systems' right and wrong answers (McNemar 1947).

    Only the items count that one system has right and the other wrong: of n such, equally good
    systems win n / 2 each. The tail of that binomial is summed exactly; beyond EXACT_UP_TO items
    it is chi-squared with continuity correction.

    Args:
        first_right: (n,) bool, the items that the first system has right.
        second_right: (n,) bool, in the same order.

    Raises:
        ValueError: other shapes, or values that are not bool.
    """
    first, second = _pair(first_right, second_right)
    if first.dtype != bool or second.dtype != bool:
        raise ValueError(f"the answers are {first.dtype} and {second.dtype}, expected bool")
    wins = int((first & ~second).sum())
    losses = int((second & ~first).sum())
    differing, fewer = wins + losses, min(wins, losses)
    if differing > EXACT_UP_TO:
        statistic = max(abs(wins - losses) - 1, 0) ** 2 / differing
        return McNemar(wins, losses, math.erfc(math.sqrt(statistic / 2)))
    tail = ways = 1  # of 2 ** differing outcomes, those in which the fewer side wins 0, 1, 2, ...
    for number in range(fewer):
        ways = ways * (differing - number) // (number + 1)
        tail += ways
    return McNemar(wins, losses, min(1.0, 2 * tail / 2**differing))


def bootstrap_difference(
    measure: Callable[[NDArray[np.int64]], float],
    items: int,
    *,
    samples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of any measure's difference between two systems (Efron 1979).

    Both systems are measured on the same drawn items, so what makes an item hard for both cancels.

    Args:
        measure: (items,) numbers of items, each maybe several times -> first minus second on them.
        items: how many there are.
        samples: how often they are drawn again.
        seed: the same seed gives the same interval, with one version of numpy.
        level: between 0 and 1.

    Raises:
        ValueError: no item, no sample, or another level.
    """
    if items < 1 or samples < 1 or not 0 < level < 1:
        raise ValueError(
            f"items, samples and level are {items}, {samples} and {level}, expected at least 1, "
            "at least 1, and between 0 and 1"
        )
    generator = np.random.default_rng(seed)
    drawn = [measure(generator.integers(0, items, items)) for _ in range(samples)]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return Interval(float(measure(np.arange(items))), low, high, level)


def bootstrap_mean_difference(
    first: Any, second: Any, *, samples: int = 10_000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Interval of the difference of two systems' mean scores: accuracy, EM, F1 of answers.

    Args:
        first: (n,) the first system's score of each item, or whether it is right.
        second: (n,) the second's, in the same order.
        samples, seed, level: as for `bootstrap_difference`.

    Raises:
        ValueError: other shapes, or what `bootstrap_difference` refuses.
    """
    one, other = _pair(first, second)
    differences = one.astype(np.float64) - other.astype(np.float64)
    return bootstrap_difference(
        lambda chosen: float(differences[chosen].mean()),
        len(differences), samples=samples, seed=seed, level=level,
    )  # fmt: skip


def _pair(first: Any, second: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    one, other = np.asarray(first), np.asarray(second)
    if one.ndim != 1 or one.shape != other.shape or not len(one):
        raise ValueError(
            f"the two systems have values of shape {one.shape} and {other.shape}, expected (n,) "
            "twice: the same items in the same order"
        )
    return one, other
