"""Which windows form an update, and their tensors.

A batch is a pure function of (seed, epoch, position): there is no loader state, so a resumed run
continues with exactly the windows it would have had, and changing the number of micro-batches moves
no window to another update. (The same idea as Composer's and MLPerf's sample counting.)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Self

import numpy as np

from data.tokenized_squad import Ints
from data.windows import Windows

if TYPE_CHECKING:
    import torch

    from data.tokenization import Tokenizer
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

    def epochs_without_gain(self, best: int, update: int) -> int:
        """Whole epochs that have passed until after `update` since the one with the update `best`.

        An epoch in the middle of which the best was found does not count.
        """
        return update // self.updates_per_epoch - -(-best // self.updates_per_epoch)

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
        from minibert.transfer import move

        return move(self, device, non_blocking)


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
    lengths, types_0 = windows.lengths[chosen], windows.segment[chosen]
    segments = np.stack([types_0, lengths - types_0], 1).ravel()  # first, second, first, ...
    types = np.repeat(np.tile([0, 1], len(chosen)), segments)
    packed = PackedBatch.from_flat(
        torch.tensor(pieces, dtype=torch.int64), torch.from_numpy(types), lengths.tolist()
    )
    return SpanBatch(
        packed,
        torch.from_numpy(windows.start_positions[chosen]),
        torch.from_numpy(windows.end_positions[chosen]),
    )


@dataclass(frozen=True, eq=False)
class LabelledTexts:
    """Texts as token ids, with their classes; text t owns [bounds[t], bounds[t + 1]) of the ids.

    Attributes:
        ids: (M,) int64, of word pieces, [CLS] and [SEP] included, or of a baseline's terms.
        bounds: (R + 1,) int64.
        labels: (R,) int64.
        cut: texts that were longer than max_length.
    """

    ids: Ints
    bounds: Ints
    labels: Ints
    cut: Ints

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> Ints:
        """(R,) tokens of each text."""
        return np.diff(self.bounds)


def encode_labelled(
    texts: Sequence[str], labels: Ints, tokenizer: "Tokenizer", max_length: int
) -> LabelledTexts:
    """Tokenize texts once; of a longer one the first pieces are kept.

    "[SEP]" and "[MASK]" typed in a text are words like any others.

    Args:
        texts: R of them; an empty one is [CLS] [SEP].
        labels: (R,) int64.
        tokenizer: of the model.
        max_length: tokens of a text at most, [CLS] and [SEP] included; at least 2.
    """
    pieces = tokenizer.encode_with_offsets(texts)
    sizes = np.diff(pieces.bounds)
    kept = np.minimum(sizes, max_length - 2)
    bounds = np.concatenate([[0], np.cumsum(kept + 2)])
    ids = np.empty(bounds[-1], np.int64)
    ids[bounds[:-1]], ids[bounds[1:] - 1] = tokenizer.cls_id, tokenizer.sep_id
    within = np.arange(kept.sum()) - np.repeat(np.cumsum(kept) - kept, kept)
    source = np.repeat(pieces.bounds[:-1], kept) + within
    ids[np.repeat(bounds[:-1] + 1, kept) + within] = pieces.ids[source]
    return LabelledTexts(ids, bounds, labels, np.flatnonzero(sizes > kept))


@dataclass(frozen=True, eq=False)
class ClassBatch:
    """A packed batch of texts and their classes.

    Attributes:
        packed: the tokens of B texts.
        labels: (B,) int64.
    """

    packed: "PackedBatch"
    labels: "torch.Tensor"

    def to(self, device: "torch.device | str", non_blocking: bool = False) -> "ClassBatch":
        """The same batch with its tensors on `device`."""
        from minibert.transfer import move

        return move(self, device, non_blocking)


def collate_labelled(texts: LabelledTexts, chosen: Ints) -> ClassBatch:
    """Cut the chosen texts out of the flat array.

    Args:
        texts: all of them.
        chosen: (B,) indices, in the order wanted.
    """
    import torch

    from minibert.packing import PackedBatch

    begins, ends = texts.bounds[chosen].tolist(), texts.bounds[chosen + 1].tolist()
    ids = np.concatenate([texts.ids[b:e] for b, e in zip(begins, ends, strict=True)])
    packed = PackedBatch.from_flat(
        torch.from_numpy(ids),
        torch.zeros(len(ids), dtype=torch.int64),
        texts.lengths[chosen].tolist(),
    )
    return ClassBatch(packed, torch.from_numpy(texts.labels[chosen]))
