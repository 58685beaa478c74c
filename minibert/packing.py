"""Batches without padding: the real tokens of all sequences, one after another.

A batch of B sequences with N tokens in all is a handful of (N,) tensors and the sequence lengths.
Everything in BERT but attention treats tokens one by one, so embeddings, linear layers, LayerNorm,
GELU and dropout work on (N, D) and never compute a padding token; attention alone looks at the
sequence boundaries. (The idea: "unpadding", Krell et al. 2021, arXiv 2107.02027; MosaicBERT.)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from minibert.transfer import move


@dataclass(frozen=True, eq=False)  # tensors have no single answer to ==
class PackedBatch:
    """The real tokens of a batch and where its sequences begin.

    Attributes:
        input_ids: (N,) int64, ids of word pieces; of words or terms, for a baseline.
        token_type_ids: (N,) int64, 0 in the first segment, 1 in the second.
        position_ids: (N,) int64, the column that each token would have in a padded (B, T) matrix,
            which is also its position in the sequence for the position embedding.
        lengths: tokens of each sequence; plain integers: reading them never waits for a GPU.
        cu_seqlens: (B + 1,) int32, cumulative lengths; sequence b is
            [cu_seqlens[b], cu_seqlens[b + 1]).
        padded_length: T, columns of the padded matrix that `pad` makes.
    """

    input_ids: Tensor
    token_type_ids: Tensor
    position_ids: Tensor
    lengths: tuple[int, ...]
    cu_seqlens: Tensor
    padded_length: int

    @classmethod
    def from_sequences(
        cls, sequences: Sequence[Sequence[int]], token_types: Sequence[Sequence[int]] | None = None
    ) -> "PackedBatch":
        """Pack lists of ids.

        Args:
            sequences: B lists of word-piece ids, none empty.
            token_types: B lists of the same lengths; None means all 0.

        Raises:
            ValueError: no sequence, an empty one, or token types of another length.
        """
        lengths = [len(sequence) for sequence in sequences]
        ids = torch.tensor([i for sequence in sequences for i in sequence], dtype=torch.int64)
        if token_types is None:
            types = torch.zeros_like(ids)
        elif [len(sequence) for sequence in token_types] != lengths:
            raise ValueError(
                f"token_types have lengths {[len(t) for t in token_types]}, expected {lengths}"
            )
        else:
            types = torch.tensor([t for row in token_types for t in row], dtype=torch.int64)
        return cls.from_flat(ids, types, lengths)

    @classmethod
    def from_flat(
        cls, input_ids: Tensor, token_type_ids: Tensor, lengths: Sequence[int]
    ) -> "PackedBatch":
        """Pack tensors that already lie one sequence after another.

        Args:
            input_ids: (N,) int64.
            token_type_ids: (N,) int64.
            lengths: B lengths with sum N, none 0.

        Raises:
            ValueError: no sequence, an empty one, or lengths that do not sum to N.
        """
        if not lengths or min(lengths) < 1:
            raise ValueError(
                f"lengths are {list(lengths)}, expected at least one sequence and none empty"
            )
        if sum(lengths) != len(input_ids) or len(input_ids) != len(token_type_ids):
            raise ValueError(
                f"lengths sum to {sum(lengths)}, input_ids have {len(input_ids)} and "
                f"token_type_ids {len(token_type_ids)} tokens; expected the same number"
            )
        ends = torch.tensor(lengths).cumsum(0)
        # not repeat_interleave: it wakes all threads, which a busy machine pays dearly for
        positions = torch.cat([torch.arange(length) for length in lengths])
        cu_seqlens = torch.cat([ends.new_zeros(1), ends]).to(torch.int32)
        return cls(
            input_ids, token_type_ids, positions, tuple(lengths), cu_seqlens, int(max(lengths))
        )

    @classmethod
    def from_padded(
        cls,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> "PackedBatch":
        """Pack a padded matrix, padded on the right or on the left.

        Position ids are column indices, as in transformers, also with padding on the left.

        Args:
            input_ids: (B, T) integer.
            attention_mask: (B, T), 1 or True at real tokens, else 0; None means all are real.
            token_type_ids: (B, T) integer; None means all 0.

        Raises:
            ValueError: ids that are no whole numbers, shapes differ, a mask has other values or a
                hole in it, or a row has no real token.
        """
        if input_ids.dim() != 2 or not len(input_ids):
            raise ValueError(
                f"input_ids have shape {tuple(input_ids.shape)}, expected (B, T) with B at least 1"
            )
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        for name, value in (("attention_mask", mask), ("token_type_ids", types)):
            if value.shape != input_ids.shape:
                raise ValueError(
                    f"{name} has shape {tuple(value.shape)}, expected {tuple(input_ids.shape)}"
                )
        for name, value in (("input_ids", input_ids), ("token_type_ids", types)):
            if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
                raise ValueError(f"{name} are {value.dtype}, expected whole numbers")
        real = mask.bool()
        if not torch.equal(real.to(mask.dtype), mask):
            # a mask to be added to scores, 0 and -10000, would pack the padding
            other = mask[mask != real.to(mask.dtype)][0].item()
            raise ValueError(
                f"attention_mask holds {other}, expected 1 at real tokens and 0 at padding"
            )
        sizes = real.sum(1)
        if not bool((sizes > 0).all()):
            row = int((sizes == 0).nonzero()[0])
            raise ValueError(f"row {row} of attention_mask has no real token; remove the row")
        columns = torch.arange(input_ids.shape[1], device=input_ids.device)
        first = real.int().argmax(1, keepdim=True)
        run = (columns >= first) & (columns < first + sizes[:, None])
        if not torch.equal(run, real):
            row = int((run != real).any(1).nonzero()[0])
            raise ValueError(
                f"row {row} of attention_mask has a hole; expected one run of real tokens"
            )
        ends = sizes.cumsum(0)
        return cls(
            input_ids=input_ids[real].to(torch.int64),
            token_type_ids=types[real].to(torch.int64),
            position_ids=columns.expand_as(input_ids)[real],
            lengths=tuple(sizes.tolist()),
            cu_seqlens=torch.cat([ends.new_zeros(1), ends]).to(torch.int32),
            padded_length=input_ids.shape[1],
        )

    @property
    def num_tokens(self) -> int:
        """N, real tokens in the batch."""
        return len(self.input_ids)

    @property
    def num_sequences(self) -> int:
        """B, sequences in the batch."""
        return len(self.lengths)

    @property
    def max_length(self) -> int:
        """Tokens of the longest sequence."""
        return max(self.lengths)

    @property
    def is_rectangular(self) -> bool:
        """Whether the padded matrix has no padding: the packed tensors are it already."""
        return self.num_tokens == self.num_sequences * self.padded_length

    @cached_property
    def sequence_index(self) -> Tensor:
        """(N,) int64: the sequence that each token is of."""
        device = self.cu_seqlens.device
        # output_size spares a GPU the wait for the sum of the lengths.
        return torch.repeat_interleave(
            torch.arange(self.num_sequences, device=device),
            self.cu_seqlens.diff().to(torch.int64),
            output_size=self.num_tokens,
        )

    @cached_property
    def padded_index(self) -> Tensor:
        """(N,) int64: the place of each token in a flattened (B * T,) padded matrix."""
        return self.sequence_index * self.padded_length + self.position_ids

    @cached_property
    def padding_mask(self) -> Tensor:
        """(B, T) bool, True at real tokens."""
        return self.pad(torch.ones_like(self.input_ids, dtype=torch.bool))

    def pad(self, values: Tensor, fill: float = 0) -> Tensor:
        """Spread (N, ...) over a padded (B, T, ...).

        Args:
            values: (N, ...), any dtype.
            fill: what stands at padding.

        Returns:
            A new tensor, or a view where the batch is rectangular.
        """
        if len(values) != self.num_tokens:
            raise ValueError(f"values have {len(values)} rows, expected {self.num_tokens} tokens")
        rest = values.shape[1:]
        if self.is_rectangular:
            return values.reshape(self.num_sequences, self.padded_length, *rest)
        flat = values.new_full((self.num_sequences * self.padded_length, *rest), fill)
        flat = flat.index_copy(0, self.padded_index, values)
        return flat.view(self.num_sequences, self.padded_length, *rest)

    def unpad(self, values: Tensor) -> Tensor:
        """Take the real tokens of (B, T, ...) back to (N, ...); the inverse of `pad`.

        Raises:
            ValueError: values of another B or T, whose tokens would be others'.
        """
        wanted = (self.num_sequences, self.padded_length)
        if values.shape[:2] != wanted:
            raise ValueError(
                f"values have shape {tuple(values.shape)}, expected (B, T, ...) with (B, T) = "
                f"{wanted}"
            )
        if self.is_rectangular:
            return values.flatten(0, 1)
        return values.flatten(0, 1).index_select(0, self.padded_index)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "PackedBatch":
        """The same batch with its tensors on `device`, in one copy."""
        return move(self, device, non_blocking)
