"""Which dropouts ran: for tests of where the architecture has them."""

from typing import Any

import pytest
from torch import Tensor
from torch.nn import functional as F

from minibert import attention
from minibert import dropout as dropout_module

Calls = list[tuple[str, float, tuple[int, ...]]]


def record_dropouts(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Note (function, rate, shape) of every dropout from now on, ours and fused attention's.

    A fused call's shape is that of its probabilities.
    """
    calls: Calls = []
    plain, plain_fused = dropout_module.dropout, F.scaled_dot_product_attention

    def dropout(x: Tensor, rate: float) -> Tensor:
        calls.append(("dropout", rate, tuple(x.shape)))
        return plain(x, rate)

    def fused(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        if rate := options.get("dropout_p", 0.0):
            calls.append(("fused", rate, (*query.shape[:-1], key.shape[-2])))
        return plain_fused(query, key, value, **options)

    monkeypatch.setattr(dropout_module, "dropout", dropout)
    monkeypatch.setattr(attention, "dropout", dropout)
    monkeypatch.setattr(F, "scaled_dot_product_attention", fused)
    return calls
