"""Which windows form an update, and their tensors.

A batch is a pure function of (seed, epoch, position): there is no loader state, so a resumed run
continues with exactly the windows it would have had, and changing the number of micro-batches moves
no window to another update. (The same idea as Composer's and MLPerf's sample counting.)
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Self

import numpy as np

from data.windows import Ints, Windows

if TYPE_CHECKING:
    import torch

    from minibert.packing import PackedBatch

ROUNDING = 1e-9  # of a product of floats: nobody means a difference so small


@dataclass(frozen=True)
class BatchPlan:
    """The order of training.

    Attributes:
        size: training items (windows).
        batch_size: items in one update; the last update of an epoch has the rest.
        accumulate: micro-batches an update is split into; their sizes differ by at most 1.
        epochs: passes over the data; a fraction ends within a pass.
        seed: of the order.
    """

    size: int
    batch_size: int
    accumulate: int
    epochs: float
    seed: int

    @property
    def updates_per_epoch(self) -> int:
        """Updates in one pass."""
        return math.ceil(self.size / self.batch_size)

    @property
    def total_updates(self) -> int:
        """Updates in the whole training: 0.07 passes of 100 updates are 7, though the product of
        the two floats is a little more than 7."""
        return math.ceil(self.epochs * self.updates_per_epoch * (1 - ROUNDING))

    def ending_after(self, updates: int) -> Self:
        """The same order with another end.

        Args:
            updates: in the whole training, at most 10**8; 0 leaves the plan as it is.
        """
        return replace(self, epochs=updates / self.updates_per_epoch) if updates else self

    def epoch_of(self, update: int) -> int:
        """The pass that an update (counted from 0) belongs to, counted from 0."""
        return update // self.updates_per_epoch

    def ends_epoch(self, update: int) -> bool:
        """Whether an update is the last of its pass, or of the training."""
        return (update + 1) % self.updates_per_epoch == 0 or update + 1 == self.total_updates

    def order(self, epoch: int) -> Ints:
        """(size,) the items of one pass in the order of training; each once."""
        return _permutation(self.size, self.seed, epoch)

    def items(self, update: int) -> Ints:
        """The items of one update (counted from 0)."""
        epoch, position = divmod(update, self.updates_per_epoch)
        return self.order(epoch)[position * self.batch_size :][: self.batch_size]

    def micro_batches(self, update: int) -> list[Ints]:
        """The items of one update, split; never an empty part."""
        items = self.items(update)
        return np.array_split(items, min(self.accumulate, len(items)))


@lru_cache(maxsize=2)  # every update of a pass asks for the same one
def _permutation(size: int, seed: int, epoch: int) -> Ints:
    return np.random.default_rng((seed, epoch)).permutation(size)


@dataclass(frozen=True, eq=False)  # tensors have no single answer to ==
class SpanBatch:
    """A packed batch of windows and where their answers are.

    Attributes:
        packed: the tokens of B windows.
        start_positions: (B,) int64, token of the window where the answer begins; 0 for none.
        end_positions: (B,) int64, token of the window where it ends, inclusive; 0 for none.
    """

    packed: "PackedBatch"
    start_positions: "torch.Tensor"
    end_positions: "torch.Tensor"

    def to(self, device: "torch.device | str", non_blocking: bool = False) -> "SpanBatch":
        """The same batch with its tensors on `device`."""
        return SpanBatch(
            self.packed.to(device, non_blocking),
            self.start_positions.to(device, non_blocking=non_blocking),
            self.end_positions.to(device, non_blocking=non_blocking),
        )


def collate(windows: Windows, chosen: Ints) -> SpanBatch:
    """Cut the chosen windows out of the flat token arrays.

    Args:
        windows: all of them.
        chosen: (B,) indices, in the order wanted.
    """
    import torch

    from minibert.packing import PackedBatch

    pieces: list[int] = []
    for w in chosen.tolist():
        pieces += windows.input_ids(w)
    first, lengths = windows.first[chosen], windows.lengths[chosen]
    segments = np.stack([first, lengths - first], 1).ravel()  # question part, context part, ...
    types = np.repeat(np.tile([0, 1], len(chosen)), segments)
    packed = PackedBatch.from_flat(
        torch.tensor(pieces, dtype=torch.int64), torch.from_numpy(types), lengths.tolist()
    )
    return SpanBatch(
        packed,
        torch.from_numpy(windows.start_positions[chosen]),
        torch.from_numpy(windows.end_positions[chosen]),
    )
