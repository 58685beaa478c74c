"""Dropout (Srivastava et al. 2014) that costs little on a CPU.

torch's CPU dropout draws one Bernoulli number an element from a serial generator, 15 to 25 % of a
training step. Here a quarter of the draws do: each 64-bit random word decides four elements.
"""

import torch
from torch import Tensor, nn

_VALUES = 2**16  # of a 16-bit word


class Dropout(nn.Dropout):
    """nn.Dropout by `dropout`; like it, an identity in evaluation and at a rate of 0."""

    def forward(self, x: Tensor) -> Tensor:
        """(...) float -> the same shape and dtype."""
        return dropout(x, self.p) if self.training and self.p else x


def dropout(x: Tensor, rate: float) -> Tensor:
    """Zero each element with probability `rate` and scale the others, so that the mean stays.

    Drawn from torch's default generator, so `torch.manual_seed` repeats it, with any number of
    threads.

    Args:
        x: (...) float.
        rate: above 0, below 1. On a CPU it is rounded to a multiple of 2**-16 (0.1 to 0.100006),
            and the kept elements are scaled by what that keeps.

    Returns:
        The same shape and dtype.
    """
    if x.device.type != "cpu":
        return nn.functional.dropout(x, rate)
    dropped = min(max(round(rate * _VALUES), 1), _VALUES - 1)  # of the values of a word
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    words = draws.view(torch.int16)[: x.numel()].view(x.shape)
    kept = words >= dropped - _VALUES // 2
    return x * kept.to(x.dtype).mul_(_VALUES / (_VALUES - dropped))
