"""THE loop: autocast, loss scaling, accumulation, clipping, schedule - on one screen.

Every training command calls `train`, which calls `make_update` again and again. Neither knows of
questions or tweets: a `Task` turns item numbers into tensors, runs the model and scores it.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from data.batches import BatchPlan
from data.failures import is_out_of_memory
from data.ranks import Ranks
from data.tokenized_squad import Ints
from train.ahead import Ahead
from train.checkpoint import TrainState
from train.faults import give_back_memory, halve_micro_batches, refuse_nonfinite, renew
from train.gradients import Gradients
from train.onlooker import follow_first
from train.optim import learning_rate, step_if
from train.options import TrainOptions
from train.run import Run

TRIM_EVERY = 100  # updates; a trim costs about one update's time in a hundred
MAX_SKIPS = 20  # consecutive; a scale halved so often means real NaN, not overflow


class Batch(Protocol):
    """What `make_batch` gives: tensors that can be moved."""

    def to(self, device: torch.device, non_blocking: bool = False) -> Any: ...


@dataclass(frozen=True)
class Task:
    """What is trained.

    Attributes:
        make_batch: (B,) item numbers -> batch.
        loss_sum: (model, batch on device) -> scalar, summed over the items of the batch.
        item_ids: (B,) item numbers -> what the user calls them, for reports.
        evaluate: (state, run) -> scores the model, logs it, keeps the best one; or makes itself
            due again.
        size: (B,) item numbers -> what the log counts of them, the items themselves or tokens.
        weight: (B,) item numbers -> what their loss sum is divided by to be a mean: their number,
            or the sum of their weights.
        ends_early: state after an evaluation -> whether the training ends before its plan does.
    """

    make_batch: Callable[[Ints], Batch]
    loss_sum: Callable[[nn.Module, Any], Tensor]
    item_ids: Callable[[Ints], list[str]]
    evaluate: Callable[[TrainState, Any], None]
    size: Callable[[Ints], int] = len
    weight: Callable[[Ints], float] = len
    ends_early: Callable[[TrainState], bool] = lambda state: False

    def is_finished(self, state: TrainState, total_updates: int) -> bool:
        """Whether there is nothing left to train or to evaluate."""
        if state.evaluation_due:
            return False
        return state.update >= total_updates or self.ends_early(state)


class Update(NamedTuple):
    """One update, made or refused.

    Attributes:
        losses: of the micro-batches; their sum is the mean over the update's items.
        grad_norm: of the unscaled gradients, before clipping.
        scale: loss scale it was made with, 1 without a scaler.
    """

    losses: list[float]
    grad_norm: float
    scale: float

    @property
    def loss(self) -> float:
        """Mean over the update's items."""
        return math.fsum(self.losses) if all(map(math.isfinite, self.losses)) else math.nan

    @property
    def is_finite(self) -> bool:
        """Whether the optimizer made its step; else no weight was changed."""
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)


def make_update(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    gradients: Gradients,
    batches: Iterable[Any],
    weight: float,
    clip_norm: float,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    loss_sum: Callable[[nn.Module, Any], Tensor],
) -> Update:
    """One optimizer step over all micro-batches; the gradients are left for reports.

    Of several ranks each runs its own `batches`, and all make the same step. `weight` is that of
    the update's items on all ranks, since micro-batches may be unequal.
    """
    losses = []
    for batch in batches:
        with torch.autocast(device.type, amp_dtype, enabled=amp_dtype is not None):
            loss = loss_sum(model, batch) / weight
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
    gradients.sum()  # over the ranks, if there are several
    scaler.unscale_(optimizer)  # so that the clip sees true gradients
    grad_norm = get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    told, is_good = gradients.tell(losses, grad_norm)
    if clip_norm:  # by nothing where the norm is infinite: reports want the gradients as they are
        clip_grads_with_norm_(model.parameters(), clip_norm, grad_norm.where(is_good, 0))
    step_if(is_good, optimizer)
    values, norm = gradients.read(told)  # here the host waits for the device
    update = Update(values, norm, scaler.get_scale())
    scaler.update()  # a smaller scale after an overflow
    return update


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
    task: Task,
) -> None:
    """Train from `state.update` to the end of the plan, or until the run is asked to stop.

    Args:
        model: on `device`.
        optimizer: of the model's parameters, with its moments allocated.
        scaler: enabled for float16 only.
        plan: which items form which update.
        options: rates and intervals.
        state: changed in place.
        run: log, checkpoints, stop requests.
        device: where batches go.
        amp_dtype: autocast dtype, None for float32.
        task: batches, losses, scores.

    Of several ranks (`run.ranks`) each calls this with equal arguments, and only the first one's
    `run` writes.

    Raises:
        CommandError: a non-finite loss or gradient (status 3; the weights are still the last good
            ones), or too little memory for a single item (status 5).
    """
    skips, ranks = 0, run.ranks
    gradients = Gradients(model, ranks)
    ahead = Ahead(task.make_batch, device)
    plan = replace(plan, accumulate=ranks.round_up(max(plan.accumulate, state.accumulate)))
    while not task.is_finished(state, plan.total_updates) and not ranks.any(run.stop_requested):
        if state.evaluation_due:
            state.evaluation_due = False
            task.evaluate(state, run)  # a signal that stops it makes it due again
            follow_first(state, ranks)
            if not state.evaluation_due:
                run.save(model, optimizer, scaler, state)
            continue
        model.train()
        seed_update(options.seed, state.update, ranks.rank)
        lr = learning_rate(options, state.update, plan.total_updates)
        for group in optimizer.param_groups:
            group["lr"] = lr
        parts = plan.micro_batches(state.update)
        batches = ahead.batches(ranks.share(parts), next_part(plan, state.update, ranks))
        weight = sum(map(task.weight, parts))
        try:
            with gradients.attempt(len(parts)):
                made = make_update(
                    model, optimizer, scaler, gradients, batches, weight, options.clip_norm, device,
                    amp_dtype, task.loss_sum,
                )  # fmt: skip
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            plan = halve_micro_batches(plan, state, run, error)
            scaler = renew(scaler, device)  # it may have stopped half-way
            optimizer.zero_grad(set_to_none=True)
            continue  # the same update again
        if not made.is_finite:
            skips, state.skipped = skips + 1, state.skipped + 1
            run.log("skip", update=state.update + 1, scale=made.scale)
            if not scaler.is_enabled() or skips == MAX_SKIPS or math.isfinite(made.grad_norm):
                items = map(task.item_ids, parts)
                ranks.first(partial(refuse_nonfinite, run.folder, state.update, model, made, items))
            optimizer.zero_grad(set_to_none=True)
            continue  # the same update again, with the smaller scale
        optimizer.zero_grad(set_to_none=True)
        skips = 0
        epoch, ends_epoch = plan.epoch_of(state.update), plan.ends_epoch(state.update)
        state.update += 1
        run.log_update(state.update, epoch, lr, sum(map(task.size, parts)), made)
        if device.type == "cpu" and state.update % TRIM_EVERY == 0:
            give_back_memory()
        every = options.eval_every
        state.evaluation_due = ends_epoch or (every > 0 and state.update % every == 0)
        # before an evaluation too: whatever fails there, the updates are not lost
        if state.evaluation_due or state.update % options.save_every == 0:
            run.save(model, optimizer, scaler, state)
    ahead.close()
    if state.update != run.saved_update:  # stopped between two checkpoints
        run.save(model, optimizer, scaler, state)


def next_part(plan: BatchPlan, update: int, ranks: Ranks) -> Ints | None:
    """The micro-batch that this rank wants first after an update (counted from 0)."""
    if update + 1 >= plan.total_updates:
        return None
    return next(iter(ranks.share(plan.micro_batches(update + 1))), None)


def seed_update(seed: int, update: int, rank: int = 0) -> None:
    """Seed all generators for one update, so that dropout needs no stored state to resume.

    The three numbers are mixed by a product with odd constants modulo 2**63 (splitmix64's), which
    keeps neighbouring updates' streams apart.
    """
    mixed = (
        (seed + 1) * 0x9E3779B97F4A7C15 + update * 0xBF58476D1CE4E5B9 + rank * 0x94D049BB133111EB
    )
    torch.manual_seed((mixed ^ (mixed >> 31)) % 2**63)
