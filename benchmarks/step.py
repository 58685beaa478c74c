"""The training step beside transformers': forward, loss, backward, clip, AdamW, batch building.

Ours is train.loop.train itself, over batches in random order. The peer is BertForQuestionAnswering
(sdpa) in a bare loop, leaner than its Trainer, with the same fused AdamW, groups and clipping, and
DataCollatorWithPadding over ready-made features, three ways:

    padded to 384   every batch, as run_qa does unless told otherwise
    dynamic         to the longest window of the batch
    grouped         dynamic, in the order of its LengthGroupedSampler (sorted mega-batches of 50
                    batches), which gives up random order

All four work on the same windows in every round. Those are a sample of one grouped mega-batch:
every k-th of its batches, the offset changing with the round, so that short and long ones have
their share. Ours, padded and dynamic get them shuffled, in batches of the same size; only grouped
keeps its order. So no normalisation is needed: a round has the same tokens on every side.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from benchmarks.timing import Row, alternate
from benchmarks.workload import (
    BATCH_SIZE,
    OPTIONS,
    SIZES,
    TRAIN_FILE,
    as_features,
    copy_weights,
    make_ours,
    make_peer,
    make_peer_tokenizer,
    read_windows,
    synchronise,
)
from data.batches import BatchPlan, SpanBatch, collate
from data.windows import Ints, Windows
from minibert.heads import span_loss_sum
from train.checkpoint import TrainState
from train.loop import train
from train.optim import make_optimizer
from train.run import Run

MEGA_BATCH = 50  # batches, LengthGroupedSampler's own
GOALS = {"padded to 384": 2.3, "dynamic": 1.7, "grouped": 0.97}


class NoRun:
    """Stands in for a run folder: nothing is logged or saved."""

    stop_requested = False
    saved_update = 0

    def log(self, *values: Any, **more: Any) -> None: ...

    def log_update(self, *values: Any) -> None: ...

    def save(self, *values: Any) -> None: ...


def measure(folder: Path, quick: bool) -> list[Row]:
    """Three rows: 4 layers x 256 wide, batch 16, dropout 0.1, two threads."""
    torch.set_num_threads(2)
    return step_rows(
        folder, "small", torch.device("cpu"), None,
        rounds=3 if quick else 9, batches=2 if quick else 8,
    )  # fmt: skip


def step_rows(
    folder: Path,
    size: str,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    rounds: int,
    batches: int,
) -> list[Row]:
    """Time training.

    Args:
        folder: of the data files.
        size: of the model, a key of SIZES.
        device: of both models.
        amp_dtype: autocast dtype, None for float32; float16 with a GradScaler.
        rounds: timed ones.
        batches: updates of every side in a round.
    """
    windows = read_windows(folder, TRAIN_FILE)
    model, peer_model = make_ours(SIZES[size]), make_peer(SIZES[size])
    copy_weights(model, peer_model)
    ours = our_step(model.to(device), windows, device, amp_dtype)
    peer = peer_step(peer_model.to(device), make_peer_tokenizer(folder), device, amp_dtype)
    draws = [draw(windows, batches, number) for number in range(rounds)]
    features = {w: as_features(windows, [w])[0] for chosen in draws for w in chosen.tolist()}

    def our_round(number: int) -> None:
        ours(np.random.default_rng(number).permutation(draws[number]))

    def peer_round(number: int, shuffled: bool, padding: str | bool) -> None:
        order = draws[number]
        if shuffled:
            order = np.random.default_rng(number).permutation(order)
        peer([features[w] for w in order.tolist()], padding)

    seconds = alternate(
        {
            "ours": our_round,
            "padded to 384": lambda number: peer_round(number, True, "max_length"),
            "dynamic": lambda number: peer_round(number, True, True),
            "grouped": lambda number: peer_round(number, False, True),
        },
        rounds,
    )
    name = "training step" if amp_dtype is None else f"training step, {amp_dtype}"
    return [
        Row(
            f"{name}, {batches} x {BATCH_SIZE} windows, {size}: {how}",
            seconds["ours"],
            seconds[how],
            goal=goal if size == "small" else None,
        )
        for how, goal in GOALS.items()
    ]


def draw(windows: Windows, batches: int, number: int) -> Ints:
    """(batches * 16,) every k-th batch of one mega-batch of the grouped order, long ones first."""
    from transformers.trainer_pt_utils import LengthGroupedSampler

    generator = torch.Generator().manual_seed(number)
    sampler = LengthGroupedSampler(
        BATCH_SIZE, lengths=windows.lengths.tolist(), generator=generator
    )
    mega = np.array(list(sampler))[BATCH_SIZE * MEGA_BATCH :][: BATCH_SIZE * MEGA_BATCH]
    every = MEGA_BATCH // batches
    return mega.reshape(MEGA_BATCH, BATCH_SIZE)[number % every :: every][:batches].ravel()


def our_step(
    model: nn.Module, windows: Windows, device: torch.device, amp_dtype: torch.dtype | None
) -> Callable[[Ints], None]:
    """A function that trains on windows, in the order given, through train.loop."""
    optimizer = make_optimizer(model, OPTIONS)
    scaler = torch.amp.GradScaler(device.type, enabled=amp_dtype is torch.float16)

    def loss_sum(model: nn.Module, batch: SpanBatch) -> torch.Tensor:
        logits = model(batch.packed)
        return span_loss_sum(logits, batch.packed, batch.start_positions, batch.end_positions)

    def step(chosen: Ints) -> None:
        plan, run = BatchPlan(len(chosen), BATCH_SIZE, 1, 1, 0), cast(Run, NoRun())
        train(
            model, optimizer, scaler, plan, OPTIONS, TrainState(), run, device, amp_dtype,
            make_batch=lambda items: collate(windows, chosen[items]),
            loss_sum=loss_sum,
            evaluate=lambda: None,
        )  # fmt: skip
        synchronise(device)

    return step


def peer_step(
    model: nn.Module, tokenizer: Any, device: torch.device, amp_dtype: torch.dtype | None
) -> Callable[[list[dict[str, Any]], str | bool], None]:
    """A function that trains transformers' model on features, in the order given."""
    from transformers import DataCollatorWithPadding

    optimizer = make_optimizer(model, OPTIONS)
    for group in optimizer.param_groups:
        group["lr"] = OPTIONS.lr
    scaler = torch.amp.GradScaler(device.type, enabled=amp_dtype is torch.float16)

    def run(features: list[dict[str, Any]], padding: str | bool) -> None:
        collator: Any = DataCollatorWithPadding(tokenizer, padding=padding)
        model.train()
        for begin in range(0, len(features), BATCH_SIZE):
            batch = collator(features[begin : begin + BATCH_SIZE]).to(device)
            with torch.autocast(device.type, amp_dtype, enabled=amp_dtype is not None):
                loss = model(**batch).loss
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            clip_grad_norm_(model.parameters(), OPTIONS.clip_norm)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
        synchronise(device)

    return run
