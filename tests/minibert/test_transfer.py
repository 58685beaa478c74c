"""minibert/transfer.py: the same tensors behind one copy."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from minibert import PackedBatch
from minibert.transfer import Staged, move, stage


@dataclass(frozen=True, eq=False)
class Batch:
    name: str
    empty: Tensor
    packed: PackedBatch
    flags: Tensor
    rates: Tensor


def make_batch() -> Batch:
    return Batch(
        "one",
        torch.zeros((0, 4), dtype=torch.float16),
        PackedBatch.from_sequences([[5, 6, 7], [8]]),
        torch.tensor([True, False, True]),
        torch.tensor([[0.5, 2.0], [1.0, -1.0]]).T,  # not contiguous
    )


def parts(batch: Batch) -> list[Tensor]:
    packed = batch.packed
    return [
        batch.empty, packed.input_ids, packed.token_type_ids, packed.position_ids,
        packed.cu_seqlens, batch.flags, batch.rates,
    ]  # fmt: skip


def test_what_arrives_is_what_was_sent() -> None:
    batch = make_batch()
    arrived = stage(batch).to("cpu")
    for sent, got in zip(parts(batch), parts(arrived), strict=True):
        assert torch.equal(sent, got) and sent.dtype == got.dtype
    assert arrived.name == "one" and arrived.packed.lengths == (3, 1)


def test_all_tensors_are_parts_of_one_copy_each_aligned() -> None:
    arrived = stage(make_batch()).to("cpu")
    storages = {tensor.untyped_storage().data_ptr() for tensor in parts(arrived)}
    assert len(storages) == 1
    assert all(x.storage_offset() * x.element_size() % 16 == 0 for x in parts(arrived))


def test_moving_to_another_device_copies_once(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = make_batch()
    copies = []
    plain = Tensor.to

    def counted(self: Tensor, *args: object, **options: object) -> Tensor:
        copies.append(self.dtype)
        return plain(self, *args, **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(Tensor, "to", counted)
    moved = move(batch, "meta")
    assert copies == [torch.uint8]
    assert all(tensor.is_meta for tensor in parts(moved))


def test_moving_to_where_it_is_returns_it() -> None:
    batch = make_batch()
    assert move(batch, "cpu") is batch
    assert batch.packed.to("cpu") is batch.packed


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_pinned_batch_reaches_the_gpu_without_waiting_for_it() -> None:
    batch = make_batch()
    staged: Staged[Batch] = stage(batch, pin=True)
    assert staged.buffer.is_pinned()
    torch.cuda.set_sync_debug_mode("error")
    try:
        moved = staged.to("cuda", non_blocking=True)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for sent, got in zip(parts(batch), parts(moved), strict=True):
        assert torch.equal(sent, got.cpu())
