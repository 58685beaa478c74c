"""The order of training is a pure function, and a batch holds its windows exactly."""

import math
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from data.batches import BatchPlan, collate
from data.squad import Answer, SquadExample
from data.tokenization import Tokenizer
from data.tokenized_squad import tokenize_squad
from data.tokenizer_files import SPECIAL_TOKENS
from data.windows import Windows, make_windows

ROOT = Path(__file__).parents[2]
SIZES = list(product(range(1, 26), range(1, 8)))  # items, micro-batches in an update


def plan(
    size: int = 23, batch_size: int = 5, accumulate: int = 3, epochs: float = 2, seed: int = 1
) -> BatchPlan:
    return BatchPlan(size, batch_size, accumulate, epochs, seed)


# --- the order


def test_every_item_comes_once_in_every_epoch_whatever_the_sizes() -> None:
    for size, accumulate in SIZES:
        for batch_size in (1, 3, 8, 40):
            made = plan(size, batch_size, accumulate)
            for epoch in range(2):
                updates = range(
                    epoch * made.updates_per_epoch, (epoch + 1) * made.updates_per_epoch
                )
                items = np.concatenate([made.items(update) for update in updates])
                assert sorted(items.tolist()) == list(range(size))


def test_the_last_update_of_an_epoch_has_the_rest_and_all_others_are_full() -> None:
    for size, batch_size in SIZES:
        made = plan(size, batch_size)
        assert made.updates_per_epoch == math.ceil(size / batch_size)
        sizes = [len(made.items(update)) for update in range(made.total_updates)]
        rest = size % batch_size or batch_size
        assert sizes == ([batch_size] * (made.updates_per_epoch - 1) + [rest]) * 2


def test_micro_batches_are_the_update_in_parts_that_differ_by_at_most_one() -> None:
    for size, accumulate in SIZES:
        for batch_size in (1, 4, 7, 24):
            made = plan(size, batch_size, accumulate)
            for update in range(made.updates_per_epoch):
                parts = made.micro_batches(update)
                sizes = [len(part) for part in parts]
                assert np.array_equal(np.concatenate(parts), made.items(update))
                assert len(parts) == min(accumulate, sum(sizes))
                assert min(sizes) >= 1 and max(sizes) - min(sizes) <= 1


def test_accumulating_moves_no_window_to_another_update() -> None:
    for update in range(10):
        items = plan(accumulate=1).items(update)
        for accumulate in range(2, 8):
            made = plan(accumulate=accumulate)
            assert np.array_equal(made.items(update), items)
            assert np.array_equal(np.concatenate(made.micro_batches(update)), items)


def test_an_update_needs_nothing_of_those_before_it() -> None:
    """A resumed run asks for update 7 first."""
    forward = [plan().items(update).tolist() for update in range(10)]
    backward = [plan().items(update).tolist() for update in reversed(range(10))]
    assert forward == backward[::-1]
    np.random.seed(5)  # the global generator must not matter
    assert plan().items(7).tolist() == forward[7]


def test_the_order_is_the_same_in_another_process() -> None:
    code = "from data.batches import BatchPlan; print(BatchPlan(23, 5, 3, 2, 1).order(1).tolist())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(plan().order(1).tolist())


def test_the_order_changes_with_the_seed_and_with_the_epoch_and_with_nothing_else() -> None:
    orders = {tuple(plan(seed=seed).order(epoch).tolist()) for seed in (1, 2) for epoch in (0, 1)}
    assert len(orders) == 4
    other = plan(batch_size=7, accumulate=1, epochs=9)
    assert np.array_equal(other.order(1), plan().order(1))
    assert plan().order(0).tolist() != sorted(plan().order(0).tolist())


@pytest.mark.parametrize(
    ("epochs", "updates"), [(1, 5), (2, 10), (0.5, 3), (1.2, 6), (0.01, 1), (3, 15)]
)
def test_a_fraction_of_an_epoch_ends_within_a_pass(epochs: float, updates: int) -> None:
    made = plan(epochs=epochs)
    assert made.total_updates == updates
    ends = [update for update in range(updates) if made.ends_epoch(update)]
    assert ends == sorted({*range(4, updates, 5), updates - 1})
    assert [made.epoch_of(update) for update in range(updates)] == [u // 5 for u in range(updates)]


def test_a_plan_can_end_after_any_number_of_updates() -> None:
    for size, batch_size in product((*range(1, 40), 999, 131_944, 10**8 + 7), (1, 3, 16, 256)):
        made = plan(size, batch_size)
        for updates in (*range(1, 60), 997, 10**6 + 3, 10**8):
            ending = made.ending_after(updates)
            assert ending.total_updates == updates
            assert ending.ends_epoch(updates - 1)
    assert np.array_equal(plan().ending_after(7).items(6), plan().items(6))
    assert plan().ending_after(0) == plan()


def test_one_item_and_a_batch_larger_than_the_data_are_one_update() -> None:
    made = plan(size=1, batch_size=8, accumulate=4, epochs=1)
    assert made.total_updates == 1 and made.ends_epoch(0)
    assert [part.tolist() for part in made.micro_batches(0)] == [[0]]


# --- the tensors


@pytest.fixture(scope="module")
def windows() -> Windows:
    """Ten windows of 6 to 9 tokens, among them one of an empty context."""
    words = "a b c d e f g h".split()
    tokenizer = Tokenizer(
        {token: i for i, token in enumerate([*SPECIAL_TOKENS, *words])}, lowercase=True
    )
    rows = [("a b c d e f g h", "c", 4), ("b", "b", 0), ("", None, 0), ("h g f e d c b", "b", 12)]
    examples = [
        SquadExample(
            f"{n}", "", "a " * n, context, (Answer(text, start),) if text else (), text is None
        )
        for n, (context, text, start) in enumerate(rows, 1)
    ]
    return make_windows(tokenize_squad(examples, tokenizer), max_length=9, doc_stride=1)


def test_a_batch_holds_the_ids_types_positions_and_labels_of_its_windows(windows: Windows) -> None:
    rng = np.random.default_rng(0)
    assert sorted(set(windows.lengths.tolist())) == [6, 8, 9] and len(windows) == 10
    for _ in range(50):
        chosen = rng.integers(0, len(windows), rng.integers(1, 9))  # any order, also repeated
        batch = collate(windows, chosen)
        packed = batch.packed
        rows = [windows.input_ids(w) for w in chosen.tolist()]
        first = windows.first[chosen].tolist()
        assert packed.lengths == tuple(len(row) for row in rows)
        assert packed.lengths == tuple(windows.lengths[chosen].tolist())
        assert packed.input_ids.tolist() == [i for row in rows for i in row]
        assert packed.token_type_ids.tolist() == [
            int(t >= f) for row, f in zip(rows, first, strict=True) for t in range(len(row))
        ]
        assert packed.position_ids.tolist() == [t for row in rows for t in range(len(row))]
        assert packed.cu_seqlens.tolist() == [0, *np.cumsum(packed.lengths).tolist()]
        assert batch.start_positions.tolist() == windows.start_positions[chosen].tolist()
        assert batch.end_positions.tolist() == windows.end_positions[chosen].tolist()
        for tensor in (packed.input_ids, packed.token_type_ids, batch.start_positions):
            assert tensor.dtype == torch.int64


def test_the_first_context_token_has_type_1_and_the_separator_before_it_type_0(
    windows: Windows,
) -> None:
    batch = collate(windows, np.array([0])).packed
    assert batch.token_type_ids.tolist() == [0, 0, 0] + [1] * (len(batch.input_ids) - 3)
    assert int(batch.input_ids[2]) == int(batch.input_ids[-1]) == windows.tokens.sep_id


def test_collating_leaves_the_windows_as_they_were(windows: Windows) -> None:
    batch = collate(windows, np.arange(4))
    before = windows.start_positions.copy()
    batch.start_positions.zero_()
    assert np.array_equal(windows.start_positions, before)


def test_moving_a_batch_moves_all_its_tensors(windows: Windows) -> None:
    moved = collate(windows, np.arange(3)).to("meta")
    tensors = (moved.packed.input_ids, moved.packed.cu_seqlens, moved.start_positions)
    assert {tensor.device.type for tensor in (*tensors, moved.end_positions)} == {"meta"}
    assert moved.packed.lengths == collate(windows, np.arange(3)).packed.lengths


def test_a_fraction_of_passes_is_not_off_by_one_for_a_rounding_of_floats() -> None:
    for updates in (10, 100, 1000):
        for part in range(1, 300):
            made = BatchPlan(updates, 1, 1, float(f"{part / 100:.2f}"), 0)
            assert made.total_updates == -(-part * updates // 100), (part, updates)
    assert BatchPlan(100, 1, 1, 1e-12, 0).total_updates == 1
