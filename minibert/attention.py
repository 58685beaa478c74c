"""Self-attention over a packed batch: which token mixes with which, and by which kernel.

Five ways to compute the same thing (Vaswani et al. 2017, section 3.2.1); `choose_kernel` is the
one place that picks:

    explicit       pads, computes scores and probs step by step, fires every tap; the reference
    per sequence   one scaled_dot_product_attention call per sequence, or with dropout its plain
                   products; no mask, nothing padded
    varlen         one flash call over the packed tokens (torch.nn.attention.varlen); no dropout
    flash          the same kernel by the operator beneath it, which has dropout
    padded         pads, one fused call with a padding mask, takes the real tokens back

A CPU runs sequence by sequence (two to three times faster there than one padded call, forward and
backward); a GPU pays for every launch, so it gets one call: over the packed tokens in half
precision, padded in float32 and where the flash kernels do not run. Sequences of one length, as in
pretraining, need no padding for one call: a CPU then makes it, too.
"""

from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minibert.dropout import Dropout, dropout
from minibert.packing import PackedBatch

Kernel = Literal["explicit", "per sequence", "varlen", "flash", "padded"]

LARGEST_FLASH_HEAD = 256  # and a multiple of 8


def choose_kernel(
    device: torch.device, dtype: torch.dtype, head_size: int, rate: float, explicit: bool
) -> Kernel:
    """The kernel for an input.

    Args:
        device: of query, key and value.
        dtype: of them.
        head_size: K.
        rate: of dropout on the probabilities, 0 in evaluation.
        explicit: whether scores and probs are wanted, which fused kernels never make.
    """
    if explicit:
        return "explicit"
    if device.type == "cpu":
        return "per sequence"
    half = dtype in (torch.float16, torch.bfloat16)
    if half and head_size <= LARGEST_FLASH_HEAD and head_size % 8 == 0 and has_flash(device):
        return "flash" if rate else "varlen"
    return "padded"


@cache
def has_flash(device: torch.device) -> bool:
    """Whether torch's flash kernels run there: NVIDIA's GPUs from Ampere (2020) on."""
    return (
        device.type == "cuda"
        and torch.version.cuda is not None
        and torch.cuda.get_device_capability(device) >= (8, 0)
    )


class AttentionCore(nn.Module):
    """softmax(query key^T / sqrt(K)) value within each sequence.

    The submodules `scores` and `probs` are taps: identities through which the explicit kernel
    passes those activations once a layer, so that any forward hook sees (or changes) them.

    Args:
        head_size: K.
        dropout: rate on the probabilities, in training.
    """

    def __init__(self, head_size: int, dropout: float) -> None:
        super().__init__()
        self.scale = head_size**-0.5
        self.dropout = Dropout(dropout)
        self.explicit = False
        self.scores = nn.Identity()
        self.probs = nn.Identity()

    def forward(self, query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch) -> Tensor:
        """Mix the value vectors of each sequence.

        Args:
            query: (N, H, K) float.
            key: (N, H, K) float.
            value: (N, H, K) float.
            batch: where the sequences begin and end.

        Returns:
            (N, H, K), the context vectors.
        """
        rate = self.dropout.p if self.training else 0.0
        kernel = choose_kernel(query.device, query.dtype, query.shape[-1], rate, self.explicit)
        if kernel == "explicit":
            return self._explicit(query, key, value, batch)
        if kernel == "per sequence":
            return per_sequence(query, key, value, batch, rate, self.scale)
        if kernel == "varlen":
            return varlen(query, key, value, batch)
        if kernel == "flash":
            return flash(query, key, value, batch, rate, self.scale)
        return padded(query, key, value, batch, rate, self.scale)

    def _explicit(self, query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch) -> Tensor:
        query, key, value = (_pad_heads(x, batch) for x in (query, key, value))  # (B, H, T, K)
        scores = query @ key.transpose(-2, -1) * self.scale  # (B, H, T, T)
        scores = self.scores(scores)
        # The dtype's minimum, not -inf: a row of a padding query stays finite.
        pad_keys = ~batch.padding_mask[:, None, None, :]  # (B, 1, 1, T)
        scores = scores.masked_fill(pad_keys, torch.finfo(scores.dtype).min)
        probs = self.probs(scores.softmax(-1))  # (B, H, T, T)
        context = self.dropout(probs) @ value  # (B, H, T, K)
        return batch.unpad(context.transpose(1, 2))  # (N, H, K)


def _pad_heads(x: Tensor, batch: PackedBatch) -> Tensor:
    """(N, H, K) -> (B, H, T, K)."""
    return batch.pad(x).transpose(1, 2)


def per_sequence(
    query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch, rate: float, scale: float
) -> Tensor:
    """One call a sequence; one for all where they are of one length. (N, H, K) -> (N, H, K)."""
    if batch.is_rectangular:
        query, key, value = (_pad_heads(x, batch) for x in (query, key, value))  # (B, H, T, K)
        return batch.unpad(_attend(query, key, value, rate, scale).transpose(1, 2))
    lengths = list(batch.lengths)
    pieces = []
    for q, k, v in zip(*(torch.split(x, lengths) for x in (query, key, value)), strict=True):
        # (1, H, T_b, K): the fused kernel takes no fewer dimensions
        q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
        pieces.append(_attend(q, k, v, rate, scale)[0].transpose(0, 1))  # (T_b, H, K)
    return torch.cat(pieces)  # (N, H, K)


def _attend(query: Tensor, key: Tensor, value: Tensor, rate: float, scale: float) -> Tensor:
    """(B, H, T, K) without padding -> (B, H, T, K), on a CPU."""
    if not rate and query.dtype != torch.bfloat16:
        return F.scaled_dot_product_attention(query, key, value, scale=scale)
    # With dropout torch's fused CPU kernel gives way to these products and its own slow dropout; in
    # bfloat16 it is half as fast as they are.
    scores = query * scale @ key.transpose(-2, -1)  # (B, H, T, T)
    probs = torch.softmax(scores, -1, dtype=scores.dtype)  # autocast's would be in float32
    return (dropout(probs, rate) if rate else probs) @ value


def varlen(query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch) -> Tensor:
    """torch.nn.attention.varlen: half precision, no dropout. (N, H, K) -> (N, H, K)."""
    # Its scale is 1 / sqrt(K) by itself; torch 2.10 lets none be named.
    from torch.nn.attention.varlen import varlen_attn

    bounds, longest = batch.cu_seqlens, batch.max_length
    mixed: Tensor = varlen_attn(  # type: ignore[assignment]  # a pair if asked for one
        query, key, value, bounds, bounds, longest, longest
    )
    return mixed  # (N, H, K)


def flash(
    query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch, rate: float, scale: float
) -> Tensor:
    """The operator beneath `varlen`, with dropout at `rate`. (N, H, K) -> (N, H, K)."""
    # varlen_attn calls this operator with a dropout of 0. The public way to one with dropout is
    # scaled_dot_product_attention over nested tensors, which ends here, too, but whose wrapping
    # takes the host longer than bert-base's layer takes the GPU (docs/log.md).
    bounds, longest = batch.cu_seqlens, batch.max_length
    mixed: Tensor = torch.ops.aten._flash_attention_forward(
        query, key, value, bounds, bounds, longest, longest, rate, False, False, scale=scale
    )[0]
    return mixed  # (N, H, K)


def padded(
    query: Tensor, key: Tensor, value: Tensor, batch: PackedBatch, rate: float, scale: float
) -> Tensor:
    """One call over the padded batch, with a mask. (N, H, K) -> (N, H, K)."""
    # No mask where nothing is padded: that lets the flash kernel in.
    mixed = F.scaled_dot_product_attention(
        _pad_heads(query, batch),  # (B, H, T, K)
        _pad_heads(key, batch),
        _pad_heads(value, batch),
        attn_mask=None
        if batch.is_rectangular
        else batch.padding_mask[:, None, None, :],  # (B, 1, 1, T)
        dropout_p=rate,
        scale=scale,
    )
    return batch.unpad(mixed.transpose(1, 2))  # (N, H, K)
