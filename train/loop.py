"""THE loop: autocast, loss scaling, accumulation, clipping, schedule - on one screen.

Every training command calls `train`. It knows nothing of questions or tweets: `make_batch` turns
item numbers into tensors, `loss_sum` runs the model, `evaluate` scores it.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from data.batches import BatchPlan
from data.command import CommandError
from train.checkpoint import TrainState
from train.optim import learning_rate
from train.options import TrainOptions
from train.run import Run

EXIT_NONFINITE = 3
MAX_SKIPS = 20  # consecutive; a scale halved so often means real NaN, not overflow


class Batch(Protocol):
    """What `make_batch` gives: tensors that can be moved."""

    def to(self, device: torch.device, non_blocking: bool = False) -> Any: ...


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    plan: BatchPlan,
    options: TrainOptions,
    state: TrainState,
    run: Run,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    make_batch: Callable[[Any], Batch],
    loss_sum: Callable[[nn.Module, Any], Tensor],
    evaluate: Callable[[], None],
) -> None:
    """Train from `state.update` to the end of the plan, or until the run is asked to stop.

    Args:
        model: on `device`.
        optimizer: of the model's parameters.
        scaler: enabled for float16 only.
        plan: which items form which update.
        options: rates and intervals.
        state: changed in place.
        run: log, checkpoints, stop requests.
        device: where batches go.
        amp_dtype: autocast dtype, None for float32.
        make_batch: (B,) item numbers -> batch.
        loss_sum: (model, batch on device) -> scalar, summed over the items of the batch.
        evaluate: scores the model, logs it, keeps the best one; or makes itself due again.

    Raises:
        CommandError: a non-finite loss or gradient (status 3); the weights are still the last good.
    """
    skips = 0
    while (state.evaluation_due or state.update < plan.total_updates) and not run.stop_requested:
        if state.evaluation_due:
            state.evaluation_due = False
            evaluate()  # it is due again if a signal stopped it: first thing after a resume
            if not state.evaluation_due:
                run.save(model, optimizer, scaler, state)
            continue
        model.train()
        seed_update(options.seed, state.update)
        lr = learning_rate(options, state.update, plan.total_updates)
        for group in optimizer.param_groups:
            group["lr"] = lr
        parts = plan.micro_batches(state.update)
        size = sum(len(part) for part in parts)
        loss = torch.zeros((), device=device)
        for part in parts:
            batch = make_batch(part).to(device, non_blocking=True)
            with torch.autocast(device.type, amp_dtype, enabled=amp_dtype is not None):
                part_loss = loss_sum(model, batch) / size  # the update's size: parts may be unequal
            scaler.scale(part_loss).backward()  # type: ignore[no-untyped-call]
            loss += part_loss.detach()
        scaler.unscale_(optimizer)  # so that the clip sees true gradients
        grad_norm = clip_grad_norm_(model.parameters(), options.clip_norm or math.inf)
        loss_value, norm_value = torch.stack([loss, grad_norm]).tolist()
        if not scaler.is_enabled():
            refuse_nonfinite(loss_value, norm_value, state.update)
        scale = scaler.get_scale()
        scaler.step(optimizer)  # skipped by the scaler if a gradient is inf or nan
        scaler.update()
        optimizer.zero_grad(set_to_none=True)
        if scaler.get_scale() < scale:  # skipped: the same update again, with the smaller scale
            skips, state.skipped = skips + 1, state.skipped + 1
            run.log("skip", update=state.update + 1, scale=scale)
            if skips >= MAX_SKIPS:
                refuse_nonfinite(loss_value, norm_value, state.update)
            continue
        skips = 0
        epoch, ends_epoch = plan.epoch_of(state.update), plan.ends_epoch(state.update)
        state.update += 1
        run.log_update(state.update, epoch, loss_value, lr, norm_value, size, scale)
        every = options.eval_every
        state.evaluation_due = ends_epoch or (every > 0 and state.update % every == 0)
        if not state.evaluation_due and state.update % options.save_every == 0:
            run.save(model, optimizer, scaler, state)
    if state.update != run.saved_update:  # stopped between two checkpoints
        run.save(model, optimizer, scaler, state)


def seed_update(seed: int, update: int, rank: int = 0) -> None:
    """Seed all generators for one update, so that dropout needs no stored state to resume.

    The three numbers are mixed by a product with odd constants modulo 2**63 (splitmix64's), which
    keeps neighbouring updates' streams apart.
    """
    mixed = (
        (seed + 1) * 0x9E3779B97F4A7C15 + update * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB
    )
    torch.manual_seed((mixed ^ (mixed >> 31)) % 2**63)


def refuse_nonfinite(loss: float, grad_norm: float, update: int) -> None:
    """Stop before an update (counted from 0) that would fill the weights with inf or nan.

    Raises:
        CommandError: with status 3.
    """
    if not (math.isfinite(loss) and math.isfinite(grad_norm)):
        raise CommandError(
            f"update {update + 1} has loss {loss} and gradient norm {grad_norm} and was not made; "
            "start a new run with a lower --lr, a longer --warmup or --amp-dtype bf16 "
            "(--model RUN begins from this run's best model)",
            EXIT_NONFINITE,
        )
