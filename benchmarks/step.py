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
from dataclasses import dataclass
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
from data.ranks import ALONE
from data.tokenized_squad import Ints
from data.windows import Windows
from minibert.heads import span_loss_sum
from train.checkpoint import TrainState
from train.loop import Batch, Task, train
from train.optim import make_optimizer
from train.run import Run

MEGA_BATCH = 50  # batches, LengthGroupedSampler's own
GOALS = {"padded to 384": 2.3, "dynamic": 1.7, "grouped": 0.97}


class NoRun:
    """Stands in for a run folder: nothing is logged or saved."""

    ranks = ALONE
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
        rounds=3 if quick else 9, batches=2 if quick else 4,
    )  # fmt: skip


def step_rows(
    folder: Path,
    size: str,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    rounds: int,
    batches: int,
    batch_size: int = BATCH_SIZE,
) -> list[Row]:
    """Time training; the arguments are those of `step_sides`."""
    sides = step_sides(folder, size, device, amp_dtype, rounds, batches, batch_size)
    seconds = alternate(sides, rounds)
    arithmetic = "" if amp_dtype is None else f", {str(amp_dtype).removeprefix('torch.')}"
    return [
        Row(
            f"training step, {size}{arithmetic}, {batches} x {batch_size} windows: {how}",
            seconds["ours"],
            seconds[how],
            goal=goal if size == "small" and amp_dtype is None else None,
        )
        for how, goal in GOALS.items()
    ]


def step_sides(
    folder: Path,
    size: str,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    rounds: int,
    batches: int,
    batch_size: int,
) -> dict[str, Callable[[int], None]]:
    """The work of every side, as `alternate` wants it.

    Args:
        folder: of the data files.
        size: of the model, a key of SIZES.
        device: of both models.
        amp_dtype: autocast dtype, None for float32; float16 with a GradScaler.
        rounds: of them, each with its own windows.
        batches: updates of every side in a round.
        batch_size: windows in an update.
    """
    work = Rounds.draw(folder, rounds, batches, batch_size)
    model, peer_model = make_ours(SIZES[size]), make_peer(SIZES[size])
    copy_weights(model, peer_model)
    ours = our_step(model.to(device), work.windows, device, amp_dtype, batch_size)
    peer = peer_step(
        peer_model.to(device), make_peer_tokenizer(folder), device, amp_dtype, batch_size
    )
    return {"ours": lambda number: ours(work.shuffled(number)), **work.peer_sides(peer)}


PeerStep = Callable[[list[dict[str, Any]], str | bool], None]


@dataclass(frozen=True)
class Rounds:
    """The windows of every round.

    Attributes:
        windows: of the training file.
        draws: (batches * batch_size,) windows of each round, in the grouped order.
        features: window -> what the peer gets.
    """

    windows: Windows
    draws: list[Ints]
    features: dict[int, dict[str, Any]]

    @classmethod
    def draw(cls, folder: Path, rounds: int, batches: int, batch_size: int) -> "Rounds":
        """Draw them, and make the peer's features, which are not measured."""
        windows = read_windows(folder, TRAIN_FILE)
        draws = [draw(windows, batches, batch_size, number) for number in range(rounds)]
        features = {w: as_features(windows, [w])[0] for chosen in draws for w in chosen.tolist()}
        return cls(windows, draws, features)

    def shuffled(self, number: int) -> Ints:
        """The windows of a round in random order."""
        return np.random.default_rng(number).permutation(self.draws[number])

    def peer_sides(self, step: PeerStep, name: str = "{}") -> dict[str, Callable[[int], None]]:
        """What the peer does in a round, in each of its ways.

        Args:
            step: trains on features, with a padding of DataCollatorWithPadding.
            name: of a side, from that of the way.
        """

        def side(padding: str | bool, grouped: bool) -> Callable[[int], None]:
            def work(number: int) -> None:
                order = self.draws[number] if grouped else self.shuffled(number)
                step([self.features[w] for w in order.tolist()], padding)

            return work

        return {
            name.format("padded to 384"): side("max_length", False),
            name.format("dynamic"): side(True, False),
            name.format("grouped"): side(True, True),
        }


def draw(windows: Windows, batches: int, batch_size: int, number: int) -> Ints:
    """Every k-th batch of one mega-batch of the grouped order, (batches * batch_size,) windows."""
    from transformers.trainer_pt_utils import LengthGroupedSampler

    lengths = windows.lengths.tolist()
    generator = torch.Generator().manual_seed(number)
    order = np.array(list(LengthGroupedSampler(batch_size, lengths=lengths, generator=generator)))
    # the sampler makes at least four mega-batches; the first begins with the longest window of all
    size = min(len(lengths) // (batch_size * 4), MEGA_BATCH)
    mega = order[batch_size * size :][: batch_size * size].reshape(size, batch_size)
    every = max(size // batches, 1)
    return mega[number % every :: every][:batches].ravel()


def our_step(
    model: nn.Module,
    windows: Windows,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    batch_size: int = BATCH_SIZE,
) -> Callable[[Ints], None]:
    """A function that trains on windows, in the order given, through train.loop."""

    def loss_sum(model: nn.Module, batch: SpanBatch) -> torch.Tensor:
        logits = model(batch.packed)
        return span_loss_sum(logits, batch.packed, batch.start_positions, batch.end_positions)

    def make_batch(chosen: Ints) -> SpanBatch:
        return collate(windows, chosen)

    return our_updates(model, make_batch, loss_sum, device, amp_dtype, batch_size)


def our_updates(
    model: nn.Module,
    make_batch: Callable[[Ints], Batch],
    loss_sum: Callable[[nn.Module, Any], torch.Tensor],
    device: torch.device,
    amp_dtype: torch.dtype | None,
    batch_size: int,
) -> Callable[[Ints], None]:
    """A function that trains on any items, in the order given, through train.loop."""
    optimizer = make_optimizer(model, OPTIONS)
    scaler = torch.amp.GradScaler(device.type, enabled=amp_dtype is torch.float16)

    def step(chosen: Ints) -> None:
        plan, run = BatchPlan(len(chosen), batch_size, 1, 1, 0), cast(Run, NoRun())
        task = Task(lambda items: make_batch(chosen[items]), loss_sum, list, lambda *_: None)
        train(model, optimizer, scaler, plan, OPTIONS, TrainState(), run, device, amp_dtype, task)
        synchronise(device)

    return step


def peer_step(
    model: nn.Module,
    tokenizer: Any,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    batch_size: int = BATCH_SIZE,
) -> PeerStep:
    """A function that trains transformers' model on features, in the order given."""
    from transformers import DataCollatorWithPadding

    updates = peer_updates(model, device, amp_dtype, batch_size)

    def run(features: list[dict[str, Any]], padding: str | bool) -> None:
        updates(features, DataCollatorWithPadding(tokenizer, padding=padding))

    return run


def peer_updates(
    model: nn.Module, device: torch.device, amp_dtype: torch.dtype | None, batch_size: int
) -> Callable[[list[dict[str, Any]], Any], None]:
    """A function that trains any model of transformers' on features, with a collator of theirs."""
    optimizer = make_optimizer(model, OPTIONS)
    for group in optimizer.param_groups:
        group["lr"] = OPTIONS.lr
    scaler = torch.amp.GradScaler(device.type, enabled=amp_dtype is torch.float16)

    def run(features: list[dict[str, Any]], collator: Any) -> None:
        model.train()
        for begin in range(0, len(features), batch_size):
            batch = collator(features[begin : begin + batch_size]).to(device)
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
