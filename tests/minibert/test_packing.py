"""minibert/packing.py: packing keeps every real token, its position and its place."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from minibert import PackedBatch

LENGTHS = (5, 1, 7, 2)
T = 9


def padded_inputs(left: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """(B, T) ids, mask and token types, padded on one side with ids that are not 0."""
    generator = torch.Generator().manual_seed(7)
    columns = torch.arange(T)
    lengths = torch.tensor(LENGTHS)[:, None]
    mask = columns >= T - lengths if left else columns < lengths
    ids = torch.randint(1, 100, (len(LENGTHS), T), generator=generator)
    types = torch.randint(0, 2, (len(LENGTHS), T), generator=generator)
    return ids, mask.long(), types


@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_from_padded_keeps_the_real_tokens_in_order_with_their_columns(left: bool) -> None:
    ids, mask, types = padded_inputs(left)
    batch = PackedBatch.from_padded(ids, mask, types)
    wanted = [
        (int(ids[b, t]), int(types[b, t]), t)
        for b in range(len(LENGTHS))
        for t in range(T)
        if mask[b, t]
    ]
    columns = (batch.input_ids, batch.token_type_ids, batch.position_ids)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == wanted
    assert batch.lengths == LENGTHS and all(type(length) is int for length in batch.lengths)
    assert batch.cu_seqlens.tolist() == [0, 5, 6, 13, 15]
    assert batch.cu_seqlens.dtype == torch.int32
    assert (batch.num_tokens, batch.num_sequences) == (15, 4)
    assert (batch.max_length, batch.padded_length) == (7, T)


@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_pad_and_unpad_are_inverses_and_pad_restores_the_original_shape(left: bool) -> None:
    ids, mask, types = padded_inputs(left)
    batch = PackedBatch.from_padded(ids, mask, types)
    assert torch.equal(batch.pad(batch.input_ids), ids * mask)
    assert torch.equal(batch.pad(batch.input_ids, fill=-7), torch.where(mask.bool(), ids, -7))
    assert torch.equal(batch.padding_mask, mask.bool())
    values = torch.randn(batch.num_tokens, 3, 2, dtype=torch.float64)
    padded = batch.pad(values, fill=9.5)
    assert padded.shape == (len(LENGTHS), T, 3, 2) and padded.dtype == torch.float64
    assert bool((padded[~mask.bool()] == 9.5).all())
    assert torch.equal(batch.unpad(padded), values)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int32, torch.float32, torch.uint8])
def test_a_mask_of_any_dtype_means_the_same(dtype: torch.dtype) -> None:
    ids, mask, types = padded_inputs()
    batch = PackedBatch.from_padded(ids.int(), mask.to(dtype), types.int())
    assert batch.input_ids.dtype == batch.token_type_ids.dtype == torch.int64
    assert torch.equal(batch.input_ids, PackedBatch.from_padded(ids, mask, types).input_ids)


def test_without_mask_and_types_all_tokens_are_real_and_of_type_0() -> None:
    ids, _, _ = padded_inputs()
    batch = PackedBatch.from_padded(ids)
    assert batch.lengths == (T,) * 4
    assert torch.equal(batch.pad(batch.input_ids), ids)
    assert not batch.token_type_ids.any()


@pytest.mark.parametrize("with_types", [False, True])
def test_three_ways_to_pack_give_the_same_batch(with_types: bool) -> None:
    ids, mask, types = padded_inputs()
    types = types if with_types else torch.zeros_like(types)
    padded = PackedBatch.from_padded(ids, mask, types if with_types else None)
    id_lists = [ids[b, :n].tolist() for b, n in enumerate(LENGTHS)]
    type_lists = [types[b, :n].tolist() for b, n in enumerate(LENGTHS)]
    listed = PackedBatch.from_sequences(id_lists, type_lists if with_types else None)
    flat = PackedBatch.from_flat(padded.input_ids, padded.token_type_ids, list(LENGTHS))
    for batch in (listed, flat):
        for name in ("input_ids", "token_type_ids", "position_ids", "cu_seqlens"):
            assert torch.equal(getattr(batch, name), getattr(padded, name)), name
            assert getattr(batch, name).dtype == getattr(padded, name).dtype, name
        assert batch.lengths == padded.lengths
        assert batch.padded_length == max(LENGTHS)


def test_gradients_flow_through_pad_and_unpad_to_real_tokens_only() -> None:
    ids, mask, _ = padded_inputs(left=True)
    batch = PackedBatch.from_padded(ids, mask)
    values = torch.randn(batch.num_tokens, 2, requires_grad=True)
    weight = torch.randn(len(LENGTHS), T, 2)
    (batch.pad(values) * weight).sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, weight[mask.bool()])
    wide = torch.randn(len(LENGTHS), T, 2, requires_grad=True)
    batch.unpad(wide).sum().backward()
    assert wide.grad is not None
    assert torch.equal(wide.grad, mask[..., None].expand_as(wide).float())


@pytest.mark.parametrize(
    "mask",
    [[[1, 0, 1, 0], [1, 1, 1, 1]], [[0, 1, 1, 0], [1, 1, 0, 1]], [[1, 1, 1, 1], [1, 0, 0, 1]]],
)
def test_a_mask_with_a_hole_is_refused_with_its_row(mask: list[list[int]]) -> None:
    row = 0 if mask[0] == [1, 0, 1, 0] else 1
    with pytest.raises(ValueError, match=f"row {row} of attention_mask has a hole"):
        PackedBatch.from_padded(torch.ones(2, 4, dtype=torch.long), torch.tensor(mask))


def test_padding_on_both_sides_is_one_run_and_keeps_its_columns() -> None:
    batch = PackedBatch.from_padded(torch.tensor([[9, 3, 4, 9]]), torch.tensor([[0, 1, 1, 0]]))
    assert batch.input_ids.tolist() == [3, 4] and batch.position_ids.tolist() == [1, 2]
    assert batch.pad(batch.input_ids).tolist() == [[0, 3, 4, 0]]


def test_a_row_without_real_tokens_is_refused_with_its_number() -> None:
    mask = torch.tensor([[1, 1], [0, 0], [1, 0]])
    with pytest.raises(ValueError, match="row 1 of attention_mask has no real token"):
        PackedBatch.from_padded(torch.ones(3, 2, dtype=torch.long), mask)


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4), (0, 4), (0,)])
def test_ids_that_are_no_matrix_of_rows_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"input_ids have shape .* expected \(B, T\)"):
        PackedBatch.from_padded(torch.ones(shape, dtype=torch.long))


@pytest.mark.parametrize("name", ["attention_mask", "token_type_ids"])
def test_another_shape_than_the_ids_is_refused_by_name(name: str) -> None:
    ids = torch.ones(2, 4, dtype=torch.long)
    with pytest.raises(ValueError, match=rf"{name} has shape \(2, 3\), expected \(2, 4\)"):
        PackedBatch.from_padded(ids, **{name: ids[:, :3]})


@pytest.mark.parametrize(
    ("sequences", "types", "message"),
    [
        ([], None, "at least one sequence"),
        ([[1], []], None, "none empty"),
        ([[1, 2], [3]], [[0], [0, 1]], r"token_types have lengths \[1, 2\], expected \[2, 1\]"),
        ([[1, 2]], [[0, 0], [0]], "token_types have lengths"),
    ],
)
def test_lists_that_do_not_make_a_batch_are_refused(
    sequences: Sequence[Sequence[int]], types: Sequence[Sequence[int]] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        PackedBatch.from_sequences(sequences, types)


def test_lengths_that_do_not_sum_to_the_tokens_are_refused() -> None:
    ids = torch.ones(5, dtype=torch.long)
    with pytest.raises(ValueError, match="lengths sum to 4, input_ids have 5"):
        PackedBatch.from_flat(ids, ids, [3, 1])
    with pytest.raises(ValueError, match="token_type_ids 4 tokens"):
        PackedBatch.from_flat(ids, ids[:4], [3, 2])


def test_pad_refuses_values_of_another_batch() -> None:
    batch = PackedBatch.from_sequences([[1, 2, 3]])
    with pytest.raises(ValueError, match="values have 4 rows, expected 3 tokens"):
        batch.pad(torch.zeros(4, 2))


def test_to_moves_every_tensor_and_nothing_else() -> None:
    batch = PackedBatch.from_sequences([[1, 2, 3], [4]])
    _ = batch.padded_index  # what was computed on one device must not be carried to another
    moved = batch.to("meta")
    for name in ("input_ids", "token_type_ids", "position_ids", "cu_seqlens", "padded_index"):
        assert getattr(moved, name).is_meta, name
    assert (moved.lengths, moved.padded_length) == (batch.lengths, batch.padded_length)
    assert not batch.input_ids.is_meta


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_batch_on_the_gpu_pads_as_on_the_cpu_without_waiting_for_it() -> None:
    ids, mask, types = padded_inputs()
    batch = PackedBatch.from_padded(ids, mask, types)
    torch.cuda.set_sync_debug_mode("error")
    try:
        moved = batch.to("cuda", non_blocking=True)
        padded, real = moved.pad(moved.input_ids), moved.padding_mask
        unpadded = moved.unpad(padded)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(padded.cpu(), ids * mask) and torch.equal(real.cpu(), mask.bool())
    assert torch.equal(unpadded.cpu(), batch.input_ids)


def test_a_batch_without_padding_is_padded_and_unpadded_without_a_copy() -> None:
    batch = PackedBatch.from_sequences([[1, 2, 3], [4, 5, 6]])
    values = torch.arange(12.0).view(6, 2)
    padded = batch.pad(values)
    assert batch.is_rectangular and padded.shape == (2, 3, 2)
    assert padded.data_ptr() == values.data_ptr() == batch.unpad(padded).data_ptr()
    assert torch.equal(batch.unpad(padded), values)
    assert not PackedBatch.from_sequences([[1, 2, 3], [4, 5]]).is_rectangular
    left = PackedBatch.from_padded(torch.ones(2, 3).long(), torch.tensor([[0, 1, 1], [0, 1, 1]]))
    assert not left.is_rectangular and left.pad(torch.ones(4)).tolist() == [[0, 1, 1]] * 2


def test_unpad_refuses_another_shape_than_pad_makes() -> None:
    batch = PackedBatch.from_sequences([[1, 2], [3]])
    for wrong in ((2, 3), (3, 2), (1, 4), (4,), (4, 2)):
        with pytest.raises(ValueError, match=r"expected \(B, T, \.\.\.\) with \(B, T\) = \(2, 2\)"):
            batch.unpad(torch.zeros(wrong))


@pytest.mark.parametrize("other", [-10_000.0, 2.0, 0.5, float("nan")])
def test_a_mask_of_other_values_than_0_and_1_is_refused(other: float) -> None:
    mask = torch.tensor([[1.0, 1.0, other]])
    with pytest.raises(ValueError, match=f"attention_mask holds {other}, expected 1 at real"):
        PackedBatch.from_padded(torch.tensor([[1, 2, 3]]), mask)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.complex64])
@pytest.mark.parametrize("name", ["input_ids", "token_type_ids"])
def test_ids_that_are_no_whole_numbers_are_refused(name: str, dtype: torch.dtype) -> None:
    given = {"input_ids": torch.tensor([[1, 2, 3]]), "token_type_ids": torch.tensor([[0, 0, 1]])}
    given[name] = given[name].to(dtype)
    with pytest.raises(ValueError, match=f"{name} are {dtype}, expected whole numbers"):
        PackedBatch.from_padded(**given)


def test_batches_compare_by_identity() -> None:
    one, other = (PackedBatch.from_sequences([[1, 2], [3]]) for _ in range(2))
    assert one == one and one != other and len({one, other}) == 2
