"""Blocks and their order: every token once a pass, long blocks last, nothing but numbers decide."""

from dataclasses import replace

import numpy as np
import pytest

from data.blocks import BlockPlan, Blocks, collate_masked, split_held_out
from data.masking import Masking
from data.tokenization import Tokenizer
from data.tokenizer_files import SPECIAL_TOKENS

CLS, SEP = 2, 3


def make_blocks(tokens):
    # every token is its own place in the stream, so that a lost or repeated one shows
    return Blocks(np.arange(10, 10 + tokens, dtype=np.uint32), CLS, SEP)


def make_plan(blocks, **changes):
    values = {
        "batch_size": 12, "accumulate": 1, "epochs": 3.0, "seed": 0, "length": 8,
        "long_length": 32, "long_fraction": 0.5,
    } | changes  # fmt: skip
    return BlockPlan(
        size=blocks.count(values["length"]), long_size=blocks.count(values["long_length"]), **values
    )


@pytest.mark.parametrize("tokens", [600, 601, 605, 606, 607])
@pytest.mark.parametrize("length", [8, 32])
def test_every_token_is_in_exactly_one_block(tokens, length):
    blocks = make_blocks(tokens)
    ids, sizes = blocks.cut(length, np.arange(blocks.count(length)))
    assert (sizes[:-1] == length - 2).all() and 1 <= sizes[-1] <= length - 2
    kept = np.concatenate([row[:size] for row, size in zip(ids, sizes, strict=True)])
    assert kept.tolist() == blocks.ids.tolist()
    assert not ids[-1, sizes[-1] :].any()


@pytest.mark.parametrize("accumulate", [1, 5])
def test_an_epoch_trains_every_token_exactly_once_in_both_lengths(accumulate):
    blocks = make_blocks(5000)
    plan = make_plan(blocks, accumulate=accumulate, epochs=4.0)
    passes: dict[tuple[int, int], list[int]] = {}
    for update in range(plan.total_updates):
        for part in plan.micro_batches(update):
            length, epoch = part[0, :2].tolist()
            ids, sizes = blocks.cut(length, part[:, 2])
            for row, size in zip(ids, sizes, strict=True):
                passes.setdefault((length, epoch), []).extend(row[:size].tolist())
    # half of four passes with blocks that hold 6 of 8 tokens, half with blocks that hold 30 of 32
    assert [length for length, _ in passes] == [8, 8, 32, 32, 32]
    assert len({epoch for _, epoch in passes}) == 5  # no two passes share masks
    *whole, last = passes.values()
    for tokens in whole:
        assert sorted(tokens) == blocks.ids.tolist()
    assert len(set(last)) == len(last) < 5000
    orders = [tuple(tokens[:50]) for tokens in passes.values()]
    assert len(set(orders)) == 5 and tuple(sorted(orders[0])) != orders[0]


def test_the_last_updates_are_long_with_as_many_tokens():
    blocks = make_blocks(60_000)
    plan = make_plan(blocks, batch_size=64, epochs=1.0, long_fraction=0.1, accumulate=4)
    lengths = [plan.items(update)[0, 0] for update in range(plan.total_updates)]
    assert plan.total_updates == 157 and lengths == [8] * 141 + [32] * 16
    assert [plan.length_of(update) for update in range(157)] == lengths
    assert blocks.tokens(plan.items(0)) == 64 * 8 and blocks.tokens(plan.items(150)) == 16 * 32
    assert [update for update in range(157) if plan.ends_epoch(update)] == [140, 156]
    assert [len(part) for part in plan.micro_batches(150)] == [4] * 4


@pytest.mark.parametrize("updates", [1, 10, 157, 1000])
def test_a_part_of_the_given_number_of_updates_is_long(updates):
    made = make_plan(make_blocks(60_000), batch_size=64, epochs=1.0, long_fraction=0.1)
    assert made.first_long == 141
    plan = made.ending_after(updates)
    assert plan.total_updates == updates
    assert plan.first_long == updates - round(0.1 * updates)
    assert plan.length_of(updates - 1) == (8 if updates == 1 else 32)


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_all_updates_may_have_one_length(fraction):
    blocks = make_blocks(1000)
    plan = make_plan(blocks, long_fraction=fraction)
    lengths = {int(plan.items(update)[0, 0]) for update in range(plan.total_updates)}
    assert lengths == {32 if fraction else 8}


def test_parts_of_an_update_move_no_block_to_another():
    blocks = make_blocks(3000)
    plan = make_plan(blocks)
    for update in range(plan.total_updates):
        parts = replace(plan, accumulate=5).micro_batches(update)
        assert np.concatenate(parts).tolist() == plan.items(update).tolist()


def test_a_batch_holds_cls_tokens_sep():
    tokenizer = Tokenizer(
        {token: n for n, token in enumerate([*SPECIAL_TOKENS, *"abcdefghij"])}, lowercase=True
    )
    blocks = Blocks(np.array([5, 6, 7, 3, 8, 9, 10, 11], np.uint16), CLS, SEP)
    items = np.array([[8, 0, 1], [8, 0, 0]])
    batch = collate_masked(blocks, Masking.of(tokenizer, rate=0.5), items)
    original = batch.packed.input_ids.clone()
    original[batch.rows] = batch.labels
    assert original.tolist() == [CLS, 10, 11, SEP, CLS, 5, 6, 7, 3, 8, 9, SEP]
    assert batch.packed.lengths == (4, 8)
    assert batch.packed.position_ids.tolist() == [*range(4), *range(8)]
    assert not batch.packed.token_type_ids.any()
    assert len(batch.rows) == 1 + 2  # round(0.5 * 2), round(0.5 * 5)
    assert batch.weights.tolist() == [1, 0.5, 0.5]
    assert batch.to("cpu").labels.equal(batch.labels)


def test_the_last_documents_are_held_out_whole():
    ids = np.array([5, 6, 3, 7, 3, 8, 9, 3, 5, 3], np.uint16)  # four documents
    ends = np.flatnonzero(ids == 3)
    train, held = split_held_out(ids, ends, 0.25)
    assert train.tolist() == [5, 6, 3, 7, 3, 8, 9] and held.tolist() == [5]
    train, held = split_held_out(ids, ends, 0.001)
    assert held.tolist() == [5]
    train, held = split_held_out(ids, ends, 0.5)
    assert train.tolist() == [5, 6, 3, 7] and held.tolist() == [8, 9, 3, 5]
    train, held = split_held_out(ids[:3], ends[:1], 0.5)
    assert train.tolist() == [] and held.tolist() == [5, 6]
    train, held = split_held_out(ids, ends, 0)
    assert len(train) == 9 and len(held) == 0


def test_blocks_at_random_positions_are_the_same_blocks_elsewhere():
    tokenizer = Tokenizer(
        {token: n for n, token in enumerate([*SPECIAL_TOKENS, *"abcdefghij"])}, lowercase=True
    )
    blocks = Blocks(np.array([5, 6, 7, 3, 8, 9, 10, 11], np.uint16), CLS, SEP)
    masking, items = Masking.of(tokenizer, rate=0.5), np.array([[8, 0, 1], [8, 0, 0]])
    plain = collate_masked(blocks, masking, items)
    spread = collate_masked(blocks, masking, items, positions=40)
    assert spread.packed.input_ids.equal(plain.packed.input_ids)
    assert spread.rows.equal(plain.rows) and spread.labels.equal(plain.labels)
    places = spread.packed.position_ids.split(list(spread.packed.lengths))
    for row, length in zip(places, (4, 8), strict=True):
        assert row[0] == 0  # [CLS] stays in front
        assert (row[1:].diff() == 1).all() and 1 <= row[1] and row[-1] <= 39
        assert len(row) == length
    # padded kernels find each token where its position says
    padded = spread.packed.pad(spread.packed.input_ids)
    assert padded.shape == (2, 40) and padded[1, places[1][3]] == spread.packed.input_ids[4 + 3]


def test_every_position_is_trained_about_as_often_as_any_other():
    plain = np.full(6 * 20_000, 7, np.uint16)
    blocks = Blocks(plain, CLS, SEP)
    tokenizer = Tokenizer(
        {token: n for n, token in enumerate([*SPECIAL_TOKENS, *"abcdefghij"])}, lowercase=True
    )
    numbers = np.arange(20_000)
    shifts = Masking.of(tokenizer).shifts(8, 40, 3, numbers)
    assert shifts.min() == 0 and shifts.max() == 32
    counts = np.zeros(40)
    for place in range(1, 8):
        counts += np.bincount(shifts + place, minlength=40)
    assert counts[0] == 0 and counts[1:].max() < 2 * counts[1:].min()
    assert (shifts != Masking.of(tokenizer).shifts(8, 40, 4, numbers)).any()
    # a block as long as the model has one place only
    assert not Masking.of(tokenizer).shifts(40, 40, 3, numbers).any()
    assert blocks.count(8) == 20_000
