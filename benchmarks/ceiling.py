"""How fast a device multiplies at best, and what a token of BERT costs: the two halves of MFU."""

import time

import numpy as np
import torch

from benchmarks.workload import synchronise
from data.tokenized_squad import Ints
from minibert.config import BertConfig

SIDE = 8192  # of the square matrices; 1.1e12 operations a product
REPEATS = 50


def matrix_ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of the largest plain matrix product, the best of three tries.

    Args:
        device: where.
        dtype: of the matrices.
    """
    side, repeats = (SIDE, REPEATS) if device.type == "cuda" else (256, 3)
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = 0.0
    for _ in range(3):
        left @ right
        synchronise(device)
        begin = time.perf_counter()
        for _ in range(repeats):
            left @ right
        synchronise(device)
        best = max(best, 2 * side**3 * repeats / (time.perf_counter() - begin))
    return best


def operations_a_token(config: BertConfig, lengths: Ints) -> float:
    """Operations of a forward pass, for an average real token; training takes three times that.

    A multiplication and an addition are two. Linear layers, and both products of attention, which
    a token of a window of L tokens has L partners for; nothing else counts (Chowdhery et al. 2022,
    appendix B).

    Args:
        config: of the model.
        lengths: (W,) tokens of the windows.
    """
    width, inner = config.hidden_size, config.intermediate_size
    linear = 2 * (4 * width * width + 2 * width * inner)
    partners = float(np.square(lengths, dtype=np.float64).sum() / lengths.sum())
    return config.num_hidden_layers * (linear + 4 * width * partners)
