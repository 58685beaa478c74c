"""Attention alone on a GPU, forward and backward: the kernels that a packed batch could have.

Ours are those of minibert.attention. Beside them: nested tensors, the public way to packed
attention with dropout, and a batch padded to its longest window, which is what the others do.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.timing import Row, alternate
from benchmarks.workload import synchronise
from data.batches import collate
from data.windows import Windows
from minibert import attention
from minibert.packing import PackedBatch

HEADS, HEAD_SIZE, RATE = 12, 64, 0.1
CALLS = 20  # of forward and backward in a round


def attention_rows(
    windows: Windows, device: torch.device, dtype: torch.dtype, rounds: int, batch_size: int
) -> list[Row]:
    """The kernels beside the padded one, with dropout and without.

    Args:
        windows: real ones.
        device: a GPU with flash kernels.
        dtype: float16 or bfloat16.
        rounds: timed ones.
        batch_size: windows in the batch, the same in every round.
    """
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(windows), generator=generator)[:batch_size].numpy()
    batch = collate(windows, chosen).packed.to(device)
    shape = (batch.num_tokens, HEADS, HEAD_SIZE)
    inputs = [torch.randn(shape, device=device, dtype=dtype, requires_grad=True) for _ in range(3)]
    scale = HEAD_SIZE**-0.5
    kernels: dict[str, Callable[[], Tensor]] = {
        "padded, dropout 0.1": lambda: attention.padded(*inputs, batch, RATE, scale),
        "flash, dropout 0.1": lambda: attention.flash(*inputs, batch, RATE, scale),
        "nested, dropout 0.1": lambda: nested(*inputs, batch, RATE),
        "padded, no dropout": lambda: attention.padded(*inputs, batch, 0.0, scale),
        "flash, no dropout": lambda: attention.flash(*inputs, batch, 0.0, scale),
        "varlen, no dropout": lambda: attention.varlen(*inputs, batch),
    }

    def side(kernel: Callable[[], Tensor]) -> Callable[[int], None]:
        def work(number: int) -> None:
            for _ in range(CALLS):
                kernel().sum().backward()  # type: ignore[no-untyped-call]
            synchronise(device)

        return work

    seconds = alternate({name: side(kernel) for name, kernel in kernels.items()}, rounds)
    what = f"attention, {batch_size} windows, {batch.num_tokens} tokens, {CALLS} calls"
    return [
        Row(f"{what}: {name}", took, seconds[f"padded, {name.split(', ')[1]}"])
        for name, took in seconds.items()
        if not name.startswith("padded")
    ]


def nested(query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch, rate: float) -> Tensor:
    """scaled_dot_product_attention over jagged nested tensors: (N, H, K) -> (N, H, K)."""
    shortest, longest = min(batch.lengths), batch.max_length
    bounds = batch.cu_seqlens.to(torch.int64)
    q, k, v = (
        torch.nested.nested_tensor_from_jagged(
            x, bounds, min_seqlen=shortest, max_seqlen=longest
        ).transpose(1, 2)
        for x in (query, key, value)
    )
    mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=rate)
    values: Tensor = mixed.transpose(1, 2).values()  # type: ignore[no-untyped-call]
    return values
