"""The optimizer, its parameter groups, and the learning rate as a pure function of the update."""

from typing import Any

import torch
from torch import Tensor, nn

from data.batches import ROUNDING
from train.options import TrainOptions


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups: weights that decay, and biases and LayerNorm parameters that do not.

    Decided by module type, since names differ between families (DistilBERT's norms are not called
    LayerNorm, and a name pattern misses them). Loshchilov and Hutter 2019; google-research/bert's
    optimization.py excludes the same parameters.

    Args:
        model: any; every parameter lands in exactly one group, a tied one with its first module.
        weight_decay: of the first group.
    """
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    unique: set[int] = set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in unique:
                continue
            unique.add(id(parameter))
            keep = name == "bias" or isinstance(module, nn.LayerNorm)
            (plain if keep else decayed).append(parameter)
    everything = {id(parameter) for parameter in model.parameters()}
    assert unique == everything, "the two groups are a partition of the parameters"
    assert len(decayed) + len(plain) == len(everything)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]


def make_optimizer(model: nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
    """AdamW (decoupled decay) or Adam (decay as L2), in the fused implementation.

    Betas 0.9, 0.999 and eps 1e-8 are torch's and transformers' defaults. The learning rate is set
    before every update from `learning_rate`, and is 0 here. The moments are allocated here and
    not by the first step, so that a step needs no memory: it is made as a whole or not at all.
    """
    groups = parameter_groups(model, options.weight_decay)
    kind = torch.optim.AdamW if options.optimizer == "adamw" else torch.optim.Adam
    optimizer = kind(groups, lr=0.0, betas=(0.9, 0.999), eps=1e-8, fused=True)
    for parameter in model.parameters():
        optimizer.state[parameter] = {
            "step": torch.zeros((), device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimizer


def step_if(is_good: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Make an optimizer's step or leave all as it is, decided on the device: nobody waits for it.

    Args:
        is_good: () bool, on the device of the parameters.
        optimizer: fused; those read the two attributes that GradScaler.step sets for them, too.
    """
    vars(optimizer).update(found_inf=(~is_good).float(), grad_scale=None)
    try:
        optimizer.step()
    finally:
        del vars(optimizer)["found_inf"], vars(optimizer)["grad_scale"]


def warmup_updates(warmup: float, total: int) -> int:
    """`--warmup` in updates: below 1 it is a fraction of all updates, rounded down.

    0.29 of 100 updates are 29, though the product of the two floats is a little less.
    """
    return int(warmup * total * (1 + ROUNDING)) if warmup < 1 else min(int(warmup), total)


def linear_decay(update: int, total: int, warmup: int) -> float:
    """Factor on the learning rate: up from 0 over the warm-up, then down to 0 at `total`.

    Worked example, total 10, warmup 2: 0, 1/2, 1, 7/8, 6/8, ... 1/8 (google-research/bert,
    optimization.py; the same as transformers' linear schedule).

    Args:
        update: optimizer updates already made, 0 .. total - 1.
        total: updates of the whole training.
        warmup: updates of warm-up.
    """
    if update < warmup:
        return update / warmup
    return max(0.0, (total - update) / max(1, total - warmup))


def learning_rate(options: TrainOptions, update: int, total: int) -> float:
    """The learning rate of one update (counted from 0), from nothing but its number."""
    warmup = warmup_updates(options.warmup, total)
    factor = linear_decay(update, total, warmup)
    if options.lr_schedule == "constant" and update >= warmup:
        factor = 1.0
    return options.lr * factor
