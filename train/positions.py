"""The table of position embeddings that a pretraining starts with."""

import math
from dataclasses import replace

import torch

from minibert.heads import BertForMaskedLM


def start_as_sinusoids(positions: torch.Tensor, deviation: float) -> None:
    """Overwrite random position embeddings with sine and cosine waves (Vaswani et al. 2017, 3.5).

    They are trained on from there. Near positions are alike from the first update on, so that
    attention finds neighbours sooner, and the positions behind `--length`, which only the last
    updates train, are no strangers to it.

    Args:
        positions: (P, D) float, overwritten.
        deviation: of their elements (root mean square), as large as that of random ones.
    """
    longest, width = positions.shape
    steps = torch.arange(0, width, 2) / width
    angles = torch.arange(longest)[:, None] * 10000.0**-steps  # (P, D / 2, rounded up)
    waves = torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :width]
    with torch.no_grad():
        positions.copy_(waves * deviation * math.sqrt(2))


def add_positions(model: BertForMaskedLM, count: int) -> None:
    """Give a trained model more positions, in place: its own as they are, the new ones waves.

    Args:
        model: with P positions.
        count: positions afterwards, more than P.
    """
    table = model.encoder.embeddings.position
    wider = torch.nn.Embedding(count, table.embedding_dim)
    start_as_sinusoids(wider.weight, model.config.initializer_range)
    with torch.no_grad():
        wider.weight[: table.num_embeddings] = table.weight
    model.encoder.embeddings.position = wider
    model.config = model.encoder.config = replace(model.config, max_position_embeddings=count)
