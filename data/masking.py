"""Which tokens of a block are to be predicted, and what stands in their place.

15 % of a block's ordinary tokens are chosen; of these 80 % become [MASK], 10 % a random token, 10 %
stay (Devlin et al. 2019, section 3.1). Choices are drawn anew for every pass over the text. They
are a function of (seed, epoch, block) and the place in the block alone: no generator has a state,
so a block is masked the same way in whatever batch it comes, and a resumed run needs nothing.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.tokenization import Tokenizer
from data.tokenized_squad import Ints
from data.tokenizer_files import SPECIAL_TOKENS

Words64 = NDArray[np.uint64]
Claims = NDArray[np.bool_]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLY_1, _MULTIPLY_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_LAST = np.uint64(2**64 - 1)
_KEY, _ACTION, _TOKEN = 0, 1, 2  # the three numbers drawn for every place in a block


@dataclass(frozen=True)
class Masking:
    """How blocks are masked.

    Attributes:
        rate: part of a block's ordinary tokens that is predicted, at least one token.
        whole_word: choose words, and with a word all its pieces.
        seed: of all choices.
        mask_id: of [MASK].
        ordinary: (tokens that are not special,) int64, from which random tokens come.
        is_special: (V,) bool, never predicted.
        continues: (V,) bool, a piece (##ing) that belongs to the word before it.
    """

    rate: float
    whole_word: bool
    seed: int
    mask_id: int
    ordinary: Ints
    is_special: Claims
    continues: Claims

    @classmethod
    def of(
        cls, tokenizer: Tokenizer, *, rate: float = 0.15, whole_word: bool = False, seed: int = 0
    ) -> "Masking":
        """Masking for a tokenizer's ids."""
        is_special = np.zeros(tokenizer.vocab_size, np.bool_)
        is_special[[tokenizer.vocabulary[token] for token in SPECIAL_TOKENS]] = True
        continues = np.array([token.startswith("##") for token in tokenizer.tokens])
        ordinary = np.flatnonzero(~is_special)
        return cls(rate, whole_word, seed, tokenizer.mask_id, ordinary, is_special, continues)

    def choose(self, ids: Ints, is_token: Claims, epoch: int, blocks: Ints) -> Claims:
        """The tokens to be predicted.

        Args:
            ids: (B, T) tokens of B blocks, anything at padding.
            is_token: (B, T) False at padding.
            epoch: pass over the text.
            blocks: (B,) their numbers.

        Returns:
            (B, T) bool. For n ordinary tokens round(rate * n) are chosen, with `whole_word` as near
            to that as whole words come; at least one token or word where there is any.
        """
        may = is_token & ~self.is_special[ids]
        wanted = np.maximum(np.rint(self.rate * may.sum(1, keepdims=True)), 1)  # (B, 1)
        columns = np.arange(ids.shape[1])
        starts = np.ones_like(may)  # of words; without `whole_word` every token is one
        if self.whole_word:
            starts[:, 1:] = ~(self.continues[ids[:, 1:]] & may[:, 1:] & may[:, :-1])
        ends = np.ones_like(may)
        ends[:, :-1] = starts[:, 1:]
        first = np.maximum.accumulate(np.where(starts, columns, 0), 1)
        last = np.where(ends, columns, ids.shape[1])
        last = np.minimum.accumulate(last[:, ::-1], 1)[:, ::-1]
        keys = np.take_along_axis(self._draw(_KEY, epoch, blocks[:, None], columns), first, 1)
        keys[~may] = _LAST
        # In the order of the keys words are shuffled, and a word's pieces still stand together.
        order = np.argsort(keys, axis=1, kind="stable")
        before = columns - np.take_along_axis(columns - first, order, 1)  # tokens of earlier words
        length = np.take_along_axis(last - first + 1, order, 1)  # of this word
        taken = (2 * before + length <= 2 * wanted) | (before == 0)
        chosen = np.zeros_like(may)
        np.put_along_axis(chosen, order, taken, 1)
        return chosen & may

    def replace(self, ids: Ints, chosen: Claims, epoch: int, blocks: Ints) -> Ints:
        """The blocks as the model sees them.

        Args:
            ids: (B, T).
            chosen: (B, T) from `choose`.
            epoch: pass over the text.
            blocks: (B,) their numbers.

        Returns:
            (B, T) a changed copy.
        """
        row, column = chosen.nonzero()
        action = _unit(self._draw(_ACTION, epoch, blocks[row], column))
        token = self._draw(_TOKEN, epoch, blocks[row], column) % np.uint64(len(self.ordinary))
        seen = ids.copy()
        kept = ids[row, column]
        seen[row, column] = np.where(
            action < 0.8, self.mask_id, np.where(action < 0.9, self.ordinary[token], kept)
        )
        return seen

    def shifts(self, length: int, positions: int, epoch: int, blocks: Ints) -> Ints:
        """How far behind their own places the tokens of blocks stand.

        Args:
            length: tokens of a block.
            positions: of the model, not fewer.
            epoch: pass over the text.
            blocks: (B,) their numbers.

        Returns:
            (B,) from 0 to positions - length. The first and the last are likelier than those
            between, so that the positions at the ends, which few shifts reach, are not rarer.
        """
        count = positions - length + 1 + 2 * (length - 2)
        column = np.array([length - 2])  # one behind the block's tokens
        drawn = self._draw(_KEY, epoch, blocks[:, None], column)[:, 0] % np.uint64(count)
        return np.clip(drawn.astype(np.int64) - (length - 2), 0, positions - length)

    def _draw(self, what: int, epoch: int, blocks: Ints, columns: Ints) -> Words64:
        """Random 64-bit words for places in blocks, in the shape that the two broadcast to."""
        state = _mix(np.array([self.seed], np.uint64) + _GOLDEN)
        state = _mix(state ^ np.uint64(epoch))
        state = _mix(state ^ blocks.astype(np.uint64))
        return _mix(state + (3 * columns + what + 1).astype(np.uint64) * _GOLDEN)


def _mix(words: Words64) -> Words64:
    """splitmix64's finaliser (Steele, Lea, Flood 2014): neighbours become unrelated."""
    words = (words ^ (words >> np.uint64(30))) * _MULTIPLY_1
    words = (words ^ (words >> np.uint64(27))) * _MULTIPLY_2
    return words ^ (words >> np.uint64(31))


def _unit(words: Words64) -> NDArray[Any]:
    """64-bit words -> numbers from 0 to below 1."""
    return (words >> np.uint64(11)) * 2.0**-53
