"""Full-length blocks of a corpus, the order in which they train, and their tensors.

The documents are one stream of tokens with [SEP] between them. A block is the next L - 2 tokens of
the stream, whatever sentences and articles end or begin in it, between [CLS] and [SEP] (RoBERTa's
"full sentences", Liu et al. 2019, section 4.2): its attention crosses articles. The last block is
as long as what is left. So every token of the stream is in exactly one block of a length, and
nothing is cut away or padded.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data.batches import BatchPlan
from data.masking import Masking
from data.tokenized_squad import Ints

if TYPE_CHECKING:
    import torch

    from minibert.packing import PackedBatch


@dataclass(frozen=True)
class Blocks:
    """A stream of tokens, cut into blocks of any length.

    Attributes:
        ids: (tokens,) unsigned integers, [SEP] between documents.
        cls_id: begins every block.
        sep_id: ends every block.
    """

    ids: NDArray[Any]
    cls_id: int
    sep_id: int

    def count(self, length: int) -> int:
        """Blocks of `length` tokens, the last one possibly shorter."""
        return -(-len(self.ids) // (length - 2))

    def cut(self, length: int, blocks: Ints) -> tuple[Ints, Ints]:
        """Blocks without their [CLS] and [SEP].

        Args:
            length: tokens of a block, [CLS] and [SEP] included.
            blocks: (B,) numbers below `count(length)`.

        Returns:
            ids (B, length - 2), 0 behind the end of the last block, and sizes (B,).
        """
        room = length - 2
        ids = np.zeros((len(blocks), room), np.int64)
        sizes = np.minimum(room, len(self.ids) - room * blocks)
        for row, begin, size in zip(ids, (room * blocks).tolist(), sizes.tolist(), strict=True):
            row[:size] = self.ids[begin : begin + size]
        return ids, sizes

    def tokens(self, items: Ints) -> int:
        """Tokens of the blocks in `BlockPlan.items`, their [CLS] and [SEP] included."""
        room = items[:, 0] - 2
        return int((np.minimum(room, len(self.ids) - room * items[:, 2]) + 2).sum())


@dataclass(frozen=True)
class BlockPlan(BatchPlan):
    """Which blocks form an update: short ones, then, for the last updates, long ones.

    The long blocks are cut from the same stream, as many in an update as have the short ones'
    tokens, and are shuffled for themselves: each is trained once before any comes again.

    Attributes:
        length: tokens of a block.
        long_length: tokens of a block in the last updates.
        long_size: blocks of that length in the stream.
        long_fraction: part of all updates that take them, from 0 to 1.
    """

    length: int
    long_length: int
    long_size: int
    long_fraction: float

    @cached_property
    def first_long(self) -> int:
        """The first update (counted from 0) with long blocks; `total_updates` without any."""
        return self.total_updates - round(self.long_fraction * self.total_updates)

    @cached_property
    def _long(self) -> BatchPlan:
        batch_size = max(1, self.batch_size * self.length // self.long_length)
        return BatchPlan(self.long_size, batch_size, self.accumulate, self.epochs, self.seed)

    def length_of(self, update: int) -> int:
        """Tokens of a block of an update (counted from 0)."""
        return self.length if update < self.first_long else self.long_length

    def ends_epoch(self, update: int) -> bool:
        """Whether an update is the last of its pass, of the short blocks, or of the training."""
        return super().ends_epoch(update) or update + 1 == self.first_long

    def items(self, update: int) -> Ints:
        """(B, 3) the blocks of one update: length, epoch, number.

        The epoch tells passes over the text apart: short ones are counted from 0, long ones on from
        there, so that no two passes share order or masks.
        """
        if update < self.first_long:
            epoch, length, blocks = self.epoch_of(update), self.length, super().items(update)
        else:
            long, update = self._long, update - self.first_long
            passes = -(-self.first_long // self.updates_per_epoch)
            epoch, length = passes + long.epoch_of(update), self.long_length
            position = update % long.updates_per_epoch
            blocks = long.order(epoch)[position * long.batch_size :][: long.batch_size]
        return np.stack([np.full_like(blocks, length), np.full_like(blocks, epoch), blocks], 1)


@dataclass(frozen=True)
class MaskedBatch:
    """A packed batch of masked blocks and what was there before.

    Attributes:
        packed: the tokens of B blocks, as the model sees them.
        rows: (M,) int64, the packed tokens to be predicted.
        labels: (M,) int64, their ids.
        weights: (M,) float32, 1 / predicted tokens of the block, so that every block weighs 1.
    """

    packed: "PackedBatch"
    rows: "torch.Tensor"
    labels: "torch.Tensor"
    weights: "torch.Tensor"

    def to(self, device: "torch.device | str", non_blocking: bool = False) -> "MaskedBatch":
        """The same batch with its tensors on `device`."""
        from minibert.transfer import move

        return move(self, device, non_blocking)


def collate_masked(
    blocks: Blocks, masking: Masking, items: Ints, positions: int | None = None
) -> MaskedBatch:
    """Cut blocks out of the stream and mask them.

    Args:
        blocks: the stream.
        masking: how.
        items: (B, 3) length, epoch and number of each block, as `BlockPlan.items` gives them; one
            length and one epoch.
        positions: of the model, at a random part of which the tokens behind [CLS] then stand, as if
            the block were a part of the longest one; None means from the first on.
    """
    import torch

    from minibert.packing import PackedBatch

    (length, epoch), numbers = items[0, :2].tolist(), items[:, 2]
    assert (items[:, :2] == items[0, :2]).all(), "an update has one length and one epoch"
    ids, sizes = blocks.cut(length, numbers)
    is_token = np.arange(length - 2) < sizes[:, None]
    chosen = masking.choose(ids, is_token, epoch, numbers)
    seen = masking.replace(ids, chosen, epoch, numbers)
    # the padding after a short block's last token is dropped with this matrix
    matrix = np.full((len(ids), length), blocks.cls_id)
    matrix[:, 1:-1] = seen
    matrix[np.arange(len(ids)), sizes + 1] = blocks.sep_id
    flat = matrix[np.arange(length) < sizes[:, None] + 2]
    row, column = chosen.nonzero()
    starts = np.cumsum(sizes + 2) - (sizes + 2)
    weights = (1 / np.maximum(chosen.sum(1), 1))[row].astype(np.float32)
    packed = PackedBatch.from_flat(
        torch.from_numpy(flat),
        torch.zeros(len(flat), dtype=torch.int64),
        (sizes + 2).tolist(),
    )
    if positions is not None:
        shifts = masking.shifts(length, positions, epoch, numbers)
        places = packed.position_ids
        behind_cls = (places > 0) * torch.from_numpy(shifts)[packed.sequence_index]
        packed = replace(packed, position_ids=places + behind_cls, padded_length=positions)
    return MaskedBatch(
        packed,
        torch.from_numpy(starts[row] + 1 + column),
        torch.from_numpy(ids[row, column]),
        torch.from_numpy(weights),
    )


def split_held_out(
    ids: NDArray[Any], ends: NDArray[np.int64], fraction: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    """A corpus's stream -> the training part and the held-out last documents.

    Args:
        ids: (tokens,) [SEP] after every document.
        ends: (documents,) the places of the [SEP].
        fraction: of the documents that is held out, rounded, at least one; 0 = none.

    Returns:
        Two streams, without the [SEP] after their last documents.
    """
    held = max(1, round(fraction * len(ends))) if fraction else 0
    if not held:
        return ids[: ends[-1]], ids[:0]
    first_held = int(ends[-held - 1]) + 1 if held < len(ends) else 0
    return ids[: max(0, first_held - 1)], ids[first_held : ends[-1]]
