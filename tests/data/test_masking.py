"""Masks: how many, which, what stands there instead, and that nothing but the block decides."""

import math
import time

import numpy as np
import pytest

from data.blocks import Blocks, collate_masked
from data.masking import Masking
from data.tokenization import Tokenizer
from data.tokenizer_files import SPECIAL_TOKENS

WORDS = [f"w{n}" for n in range(60)]
PIECES = [f"##p{n}" for n in range(40)]
TOKENS = [*SPECIAL_TOKENS, *WORDS, *PIECES]
LENGTH = 66


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer({token: n for n, token in enumerate(TOKENS)}, lowercase=True)


@pytest.fixture(scope="module")
def blocks(tokenizer):
    """A stream of words of one to four pieces, with [SEP] and [UNK] among them."""
    generator = np.random.default_rng(0)
    stream = generator.integers(5, len(TOKENS), 6400 * (LENGTH - 2) - 20)
    stream[generator.random(len(stream)) < 0.02] = tokenizer.sep_id
    stream[generator.random(len(stream)) < 0.02] = tokenizer.unk_id
    return Blocks(stream.astype(np.uint16), tokenizer.cls_id, tokenizer.sep_id)


def items(blocks, epoch=0, numbers=None):
    numbers = np.arange(blocks.count(LENGTH)) if numbers is None else np.array(numbers)
    return np.stack([np.full_like(numbers, LENGTH), np.full_like(numbers, epoch), numbers], 1)


def masked_parts(blocks, batch):
    """Original ids (B, T), ids as seen, which are chosen; 0 and False behind a short block."""
    seen = batch.packed.pad(batch.packed.input_ids).numpy()
    chosen = np.zeros(len(batch.packed.input_ids), np.bool_)
    chosen[batch.rows.numpy()] = True
    original = batch.packed.input_ids.clone()
    original[batch.rows] = batch.labels
    padded = batch.packed.pad
    import torch

    return padded(original).numpy(), seen, padded(torch.from_numpy(chosen)).numpy()


def within_binomial_bounds(successes, draws, rate):
    """Five standard deviations: a right implementation fails once in two million seeds."""
    return abs(successes - draws * rate) <= 5 * math.sqrt(draws * rate * (1 - rate))


@pytest.mark.parametrize("whole_word", [False, True])
def test_80_10_10_of_15_percent_and_never_a_special_token(tokenizer, blocks, whole_word):
    draws = changed = masked = kept = ordinary = 0
    randoms = np.zeros(len(TOKENS), np.int64)
    special = [tokenizer.vocabulary[token] for token in SPECIAL_TOKENS]
    for epoch in range(4):
        masking = Masking.of(tokenizer, whole_word=whole_word, seed=3)
        batch = collate_masked(blocks, masking, items(blocks, epoch))
        original, seen, chosen = masked_parts(blocks, batch)
        assert not np.isin(original[chosen], special).any()
        assert (seen[~chosen] == original[~chosen]).all()
        draws += chosen.sum()
        masked += (seen[chosen] == tokenizer.mask_id).sum()
        other = (seen != original) & (seen != tokenizer.mask_id)
        changed += other.sum()
        kept += (seen == original)[chosen].sum()
        randoms += np.bincount(seen[other], minlength=len(TOKENS))
        ordinary += (~np.isin(original, special)).sum()
    assert draws >= 200_000
    assert within_binomial_bounds(masked, draws, 0.8)
    # one random token in 100 is the one that stood there
    assert within_binomial_bounds(changed, draws, 0.1 * 99 / 100)
    assert within_binomial_bounds(kept, draws, 0.1 + 0.1 / 100)
    assert not randoms[special].any()
    # every ordinary token is as likely as any other: chi squared of 99 degrees, 5 deviations
    expected = randoms.sum() / 100
    statistic = ((randoms[5:] - expected) ** 2 / expected).sum()
    assert abs(statistic - 99) < 5 * math.sqrt(2 * 99)
    assert abs(draws / ordinary - 0.15) < 0.003  # rounded in every block of 60


def test_the_number_is_exactly_15_percent_of_the_ordinary_tokens_of_each_block(tokenizer, blocks):
    masking = Masking.of(tokenizer)
    original, _, chosen = masked_parts(blocks, collate_masked(blocks, masking, items(blocks)))
    ordinary = (original >= 5).sum(1)
    assert (chosen.sum(1) == np.rint(0.15 * ordinary)).all()
    assert len(set(chosen.sum(1).tolist())) > 1


def test_every_place_of_a_block_is_chosen_as_often_as_any_other(tokenizer):
    plain = np.full(6400 * (LENGTH - 2), 7, np.uint16)
    blocks = Blocks(plain, tokenizer.cls_id, tokenizer.sep_id)
    masking = Masking.of(tokenizer)
    _, _, chosen = masked_parts(blocks, collate_masked(blocks, masking, items(blocks)))
    per_place = chosen.sum(0)[1:-1]
    assert all(within_binomial_bounds(n, 6400, 10 / 64) for n in per_place)
    # and whether one place is chosen says nothing of its neighbour beyond the fixed number
    both = (chosen[:, 1:-2] & chosen[:, 2:-1]).sum()
    assert within_binomial_bounds(both, 6400 * 63, 10 / 64 * 9 / 63)


def test_whole_words_are_masked_whole(tokenizer, blocks):
    masking = Masking.of(tokenizer, whole_word=True)
    original, _, chosen = masked_parts(blocks, collate_masked(blocks, masking, items(blocks)))
    continues = original >= 5 + len(WORDS)
    ordinary = original >= 5
    same_word = continues[:, 1:] & ordinary[:, :-1]
    assert same_word.sum() > 50_000
    assert (chosen[:, 1:] == chosen[:, :-1])[same_word].all()
    # pieces alone would not: the test can fail
    pieces = Masking.of(tokenizer)
    _, _, chosen = masked_parts(blocks, collate_masked(blocks, pieces, items(blocks)))
    assert not (chosen[:, 1:] == chosen[:, :-1])[same_word].all()


@pytest.mark.parametrize("whole_word", [False, True])
def test_a_block_is_masked_the_same_way_in_whatever_batch_it_comes(tokenizer, blocks, whole_word):
    masking = Masking.of(tokenizer, whole_word=whole_word, seed=1)
    last = blocks.count(LENGTH) - 1
    numbers = [5, last, 77, 0, 4000]
    together = collate_masked(blocks, masking, items(blocks, 2, numbers))
    begins = together.packed.cu_seqlens.tolist()
    for place, number in enumerate(numbers):
        alone = collate_masked(blocks, masking, items(blocks, 2, [number]))
        begin, end = begins[place : place + 2]
        mine = (together.rows >= begin) & (together.rows < end)
        assert alone.packed.input_ids.equal(together.packed.input_ids[begin:end])
        assert alone.rows.equal(together.rows[mine] - begin)
        assert alone.labels.equal(together.labels[mine])
        assert alone.weights.equal(together.weights[mine])
        assert alone.weights.sum().item() == pytest.approx(1)


def test_epochs_seeds_and_blocks_have_masks_of_their_own(tokenizer):
    # equal text everywhere, so that only the numbers can make a difference
    blocks = Blocks(np.full(640, 7, np.uint16), tokenizer.cls_id, tokenizer.sep_id)
    seen = [
        tuple(collate_masked(blocks, Masking.of(tokenizer, seed=seed), chosen).rows.tolist())
        for seed in (0, 1, 2**31 - 1)
        for epoch in (0, 1, 2)
        for chosen in [items(blocks, epoch, [number]) for number in range(10)]
    ]
    assert len(set(seen)) == len(seen) == 90
    # two epochs share no more than chance has it
    first, second = (
        collate_masked(blocks, Masking.of(tokenizer), items(blocks, epoch)).rows.tolist()
        for epoch in (0, 1)
    )
    assert len(set(first) & set(second)) < 0.3 * len(first)


def test_a_block_without_ordinary_tokens_has_nothing_to_predict(tokenizer):
    stream = np.array([tokenizer.unk_id] * 64 + [7] + [tokenizer.sep_id] * 63, np.uint16)
    blocks = Blocks(stream, tokenizer.cls_id, tokenizer.sep_id)
    for whole_word in (False, True):
        masking = Masking.of(tokenizer, whole_word=whole_word)
        batch = collate_masked(blocks, masking, items(blocks))
        assert batch.rows.tolist() == [LENGTH + 1]  # one token at least, where there is one
        assert batch.labels.tolist() == [7]


def test_building_batches_is_fast(tokenizer, blocks):
    masking = Masking.of(tokenizer, whole_word=True)
    fastest = math.inf
    for start in range(0, 2000, 400):
        chosen = items(blocks, 0, range(start, start + 400))
        begin = time.process_time()
        batch = collate_masked(blocks, masking, chosen)
        fastest = min(fastest, time.process_time() - begin)
    rate = batch.packed.num_tokens / fastest
    print(f"{rate:,.0f} tokens/s")
    assert rate > 20 * 11_000  # less than 5 % of a step of 4 layers x 128 on such a core
