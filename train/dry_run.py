"""`--dry-run`: windows are counted by the caller; here are updates, disk, and measured time."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from data.batches import BatchPlan
from data.failures import is_out_of_memory
from data.ranks import ALONE, Ranks
from train.ahead import Ahead
from train.disk import disk_free
from train.faults import renew, with_twice_the_parts
from train.gradients import Gradients
from train.largest_part import largest_that_fits
from train.loop import Task, make_update, seed_update
from train.options import TrainOptions

TIMED_UPDATES = 3  # after one to warm up
MOST = 4096  # items of a micro-batch that anybody would want


def print_plan(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    plan: BatchPlan,
    options: TrainOptions,
    folder: Path,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    task: Task,
    need: int,
    ranks: Ranks = ALONE,
) -> None:
    """Print what a run would take, from a few real updates on a model that is then thrown away.

    Args:
        model: on `device`; its weights are spoilt.
        optimizer: of the model.
        scaler: enabled for float16 only.
        plan: of the whole training.
        options: of the command.
        folder: of the run, not created.
        device: where batches go.
        amp_dtype: autocast dtype, None for float32.
        task: batches and losses; nothing is evaluated.
        need: bytes the run folder will take.
        ranks: that train together; the times are those of all of them.
    """
    model.train()
    gradients, ahead = Gradients(model, ranks), Ahead(task.make_batch, device)
    plan = replace(plan, accumulate=ranks.round_up(plan.accumulate))
    seconds: list[float] = []
    while len(seconds) < min(TIMED_UPDATES + 1, plan.total_updates):
        started = time.monotonic()
        seed_update(options.seed, len(seconds), ranks.rank)
        parts = plan.micro_batches(len(seconds))
        try:
            with gradients.attempt(len(parts)):
                make_update(
                    model, optimizer, scaler, gradients, ahead.batches(ranks.share(parts), None),
                    sum(map(task.weight, parts)), options.clip_norm, device, amp_dtype,
                    task.loss_sum,
                )  # fmt: skip
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or plan.accumulate >= plan.batch_size:
                raise
            plan = with_twice_the_parts(plan, error)
            scaler = renew(scaler, device)
            optimizer.zero_grad(set_to_none=True)
            print(f"out of memory: a run would go on with --accumulate {plan.accumulate}")
            continue
        optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.monotonic() - started)
    typical = sorted(seconds[1:] or seconds)[len(seconds[1:]) // 2]
    minutes = typical * plan.total_updates / 60
    print(f"time: {typical:.2f} s an update, about {minutes:.1f} minutes without evaluations")
    free = disk_free(folder) / 1e9
    print(f"disk: {need / 1e9:.2f} GB for checkpoints, best model and answers, {free:.1f} GB free")
    if has_its_own_memory(device):
        print(f"GPU memory: {torch.cuda.max_memory_allocated(device) / 1e9:.2f} GB")

        def fits(number: int) -> bool:
            items = np.resize(plan.items(0), number)
            fresh = renew(scaler, device)  # one that ran out of memory has not ended its update
            try:
                with gradients.attempt(ranks.size):
                    make_update(
                        model, optimizer, fresh, gradients, ahead.batches([items], None), number,
                        options.clip_norm, device, amp_dtype, task.loss_sum,
                    )  # fmt: skip
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                error.__traceback__ = None  # its frames hold the update's tensors
                return False
            finally:
                optimizer.zero_grad(set_to_none=True)
                torch.cuda.empty_cache()
            return True

        largest = largest_that_fits(fits, len(parts[0]), min(plan.size, MOST))
        print(f"largest micro-batch that fits: {largest}{' or more' if largest == MOST else ''}")
    ahead.close()


def has_its_own_memory(device: torch.device) -> bool:
    """Whether running out of memory on a device ends nothing but the try."""
    return device.type == "cuda"
