"""The largest micro-batch that a device has memory for, found by trying."""

from collections.abc import Callable

PRECISION = 8  # the answer is within an eighth


def largest_that_fits(fits: Callable[[int], bool], first: int, most: int) -> int:
    """The largest number that fits, up to an eighth too small; 0 if not even 1 does.

    Doubles from the first try on until one does not fit, then halves what lies between.

    Args:
        fits: tries a number; true up to some number, false above it.
        first: number to begin with, at least 1.
        most: largest number that is of interest.
    """
    fitting, failing, number = 0, most + 1, min(first, most)
    while fitting < most and failing - fitting > max(1, fitting // PRECISION):
        if fits(number):
            fitting = number
        else:
            failing = number
        number = min(2 * fitting, most) if failing > most else (fitting + failing) // 2
    return fitting
