"""train/ahead.py: whatever is asked in whatever order, the batch is that of its items."""

import threading
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from minibert import transfer
from train.ahead import Ahead


@dataclass(frozen=True, eq=False)
class Batch:
    ids: Tensor

    def to(self, device, non_blocking=False):
        return transfer.move(self, device, non_blocking)


class Maker:
    """Makes batches, and notes which, and on which thread."""

    def __init__(self):
        self.made = []

    def __call__(self, items):
        self.made.append((items.tolist(), threading.current_thread().name))
        if 13 in items:
            raise ValueError("item 13")
        return Batch(torch.from_numpy(items * 10))


@pytest.fixture
def ahead(monkeypatch):
    """Built ahead as for a GPU, on the CPU; no memory is pinned, which needs one."""
    plain_stage, plain_to = transfer.stage, transfer.Staged.to
    monkeypatch.setattr(transfer, "stage", lambda batch, pin: plain_stage(batch))
    monkeypatch.setattr(
        transfer.Staged, "to", lambda self, device, non_blocking: plain_to(self, "cpu")
    )
    made = Ahead(Maker(), torch.device("cuda"))
    yield made
    made.close()


def items(*numbers):
    return np.array(numbers)


def test_the_next_batch_is_built_on_the_thread_while_this_one_is_used(ahead):
    parts = [items(1, 2), items(3), items(4, 5)]
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        assert ahead.batch(part, following).ids.tolist() == (part * 10).tolist()
    numbers, threads = zip(*ahead.make_batch.made, strict=True)
    assert list(numbers) == [[1, 2], [3], [4, 5]]
    assert threads[0] == "MainThread" and all(name.startswith("batches") for name in threads[1:])


def test_a_rank_without_parts_gets_no_batch(ahead):
    assert list(ahead.batches([], items(1))) == []
    got = [batch.ids.tolist() for batch in ahead.batches([items(1), items(2)], items(3))]
    assert got == [[10], [20]]
    assert ahead.batch(items(3), None).ids.tolist() == [30]
    assert [made for made, _ in ahead.make_batch.made] == [[1], [2], [3]]


def test_another_batch_than_announced_is_built_at_once(ahead):
    ahead.batch(items(1), items(2))
    assert ahead.batch(items(7, 8), items(9)).ids.tolist() == [70, 80]  # an update in halves
    assert ahead.batch(items(9), None).ids.tolist() == [90]
    assert ahead.batch(items(9), None).ids.tolist() == [90]


def test_an_error_of_the_thread_is_raised_where_its_batch_is_asked_for(ahead):
    assert ahead.batch(items(1), items(13)).ids.tolist() == [10]
    with pytest.raises(ValueError, match="item 13"):
        ahead.batch(items(13), None)
    assert ahead.batch(items(2), None).ids.tolist() == [20]


def test_on_a_cpu_nothing_is_built_ahead():
    maker = Maker()
    ahead = Ahead(maker, torch.device("cpu"))
    assert ahead.batch(items(1), items(2)).ids.tolist() == [10]
    assert maker.made == [([1], "MainThread")]
    ahead.close()
