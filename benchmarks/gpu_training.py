"""Training on a GPU in mixed precision: rounds beside transformers, memory, and a steady minute.

Ours is train.loop.train, in up to three forms: as `train.squad --amp` runs it, with `--compile`,
and with `--attention-dropout 0`. The peer is transformers' model in the bare loop of
benchmarks.step: sdpa, and flash-attn where that package is installed; as it is and compiled.
"""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from benchmarks.ceiling import operations_a_token
from benchmarks.step import NoRun, Rounds, our_step, peer_step
from benchmarks.timing import Row, alternate
from benchmarks.workload import (
    OPTIONS,
    SIZES,
    TRAIN_FILE,
    copy_weights,
    make_ours,
    make_peer,
    make_peer_tokenizer,
    read_windows,
    synchronise,
)
from data.batches import BatchPlan, collate
from data.tokenized_squad import Ints
from minibert.heads import BertForQuestionAnswering, span_loss_sum
from train.checkpoint import TrainState
from train.loop import Task, train
from train.model_inputs import set_dropout
from train.optim import make_optimizer
from train.run import Run

# of the configuration's dropout, 0.1 and 0.1, on both sides
GOALS = {"padded to 384": 3.5, "dynamic": 2.2, "grouped": 1.3}
TOKENS_A_SECOND = 0.7e6  # the goal for bert-base
TWO_EPOCHS = 2 * 131_754  # windows of SQuAD v2's training file at 384 tokens and a stride of 128
SECONDS = 70.0  # the goal for them
WARM_UP = 10  # updates before a steady training: compilation, the allocator's blocks

Side = Callable[[int], None]


@dataclass(frozen=True)
class Setting:
    """One configuration to measure.

    Attributes:
        folder: of the data files.
        device: of all models.
        size: of them, a key of SIZES.
        dtype: of autocast, None for float32; float16 with a GradScaler.
        batch_size: windows in an update.
        batches: updates of every side in a round.
        rounds: timed ones.
        compiled: measure the compiled forms, too.
    """

    folder: Path
    device: torch.device
    size: str
    dtype: torch.dtype | None
    batch_size: int
    batches: int
    rounds: int
    compiled: bool

    @property
    def name(self) -> str:
        """For a row: "base, bfloat16"."""
        return f"{self.size}, {str(self.dtype or torch.float32).removeprefix('torch.')}"


def our_model(setting: Setting, compiled: bool, attention: bool) -> BertForQuestionAnswering:
    """Ours on the device.

    Args:
        setting: its size.
        compiled: as by --compile.
        attention: with dropout on the probabilities; without, as by --attention-dropout 0.
    """
    model = make_ours(SIZES[setting.size])
    set_dropout(model, None, None if attention else 0.0)
    if compiled:
        model.encoder.compile_layers()
    return model.to(setting.device)


def training_sides(setting: Setting) -> dict[str, Side]:
    """The work of every side, as `alternate` wants it."""
    work = Rounds.draw(setting.folder, setting.rounds, setting.batches, setting.batch_size)
    tokenizer = make_peer_tokenizer(setting.folder)
    forms = {"ours": (False, True), "ours, attention dropout 0": (False, False)}
    if setting.compiled:
        forms["ours, compiled"] = (True, True)
    sides: dict[str, Side] = {}
    for name, (compiled, attention) in forms.items():
        step = our_step(
            our_model(setting, compiled, attention), work.windows, setting.device, setting.dtype,
            setting.batch_size,
        )  # fmt: skip
        sides[name] = lambda number, step=step: step(work.shuffled(number))
    for attention_kind in peer_attentions(setting):
        for compiled in {False, setting.compiled}:
            peer = make_peer(SIZES[setting.size], attention_kind)
            copy_weights(make_ours(SIZES[setting.size]), peer)
            peer.to(setting.device)
            if compiled:
                peer.compile(dynamic=True)  # type: ignore[no-untyped-call]
            step_ = peer_step(peer, tokenizer, setting.device, setting.dtype, setting.batch_size)
            kind = "" if attention_kind == "sdpa" else f", {attention_kind}"
            sides |= work.peer_sides(step_, "{}" + kind + (", compiled" if compiled else ""))
    return sides


def peer_attentions(setting: Setting) -> list[str]:
    """The attn_implementation that transformers can have here."""
    from transformers.utils import is_flash_attn_2_available

    half = setting.device.type == "cuda" and setting.dtype is not None
    flash = half and is_flash_attn_2_available()  # type: ignore[no-untyped-call]
    return ["sdpa", "flash_attention_2"] if flash else ["sdpa"]


def training_rows(setting: Setting) -> list[Row]:
    """Our forms beside every side of the peer, in time and, on a GPU, in memory."""
    sides = training_sides(setting)
    seconds = alternate(sides, setting.rounds)
    ours = {name: took for name, took in seconds.items() if name.startswith("ours")}
    promised = setting.size == "base" and setting.dtype is torch.bfloat16
    rows = [
        Row(
            f"{mine.replace('ours', 'training')}, {setting.name}, "
            f"{setting.batches} x {setting.batch_size} windows: {how}",
            ours[mine],
            took,
            goal=GOALS[how.split(",")[0]] if promised and mine == "ours" else None,
        )
        for mine in ours
        for how, took in seconds.items()
        if how not in ours
    ]
    return rows + (memory_rows(setting, sides) if setting.device.type == "cuda" else [])


def memory_rows(setting: Setting, sides: dict[str, Side]) -> list[Row]:
    """Peak of the memory that torch holds in a round of training, above what it held before.

    Args:
        setting: of the sides.
        sides: warm, as a measurement of their time leaves them.
    """
    growth: dict[str, list[float]] = {}
    gc.collect()  # models of other parts must not vanish in the middle
    for name, work in sides.items():
        for number in range(min(setting.rounds, 3)):
            torch.cuda.reset_peak_memory_stats(setting.device)
            before = torch.cuda.memory_allocated(setting.device)
            work(number)
            peak = torch.cuda.max_memory_allocated(setting.device)
            growth.setdefault(name, []).append((peak - before) / 2**20)
    what = f"GPU memory, training, {setting.name}, {setting.batch_size} windows"
    return [
        Row(f"{what}: {how}", growth["ours"], theirs, "MiB")
        for how, theirs in growth.items()
        if not how.startswith("ours")
    ]


class Clock(NoRun):
    """Stands in for a run folder: counts tokens, and stops after a time.

    Args:
        seconds: to train for.
        piece: seconds that one figure is the mean of.
        device: waited for at the end of a piece.
    """

    def __init__(self, seconds: float, piece: float, device: torch.device) -> None:
        self.pieces: list[tuple[float, int]] = []  # seconds, tokens
        self._device, self._piece, self._seconds = device, piece, seconds
        self._tokens = 0
        self._warm_up = WARM_UP
        self._begin = 0.0

    @property
    def stop_requested(self) -> bool:  # type: ignore[override]
        """Whether the time is up."""
        return sum(seconds for seconds, _ in self.pieces) >= self._seconds

    def log_update(self, *values: Any) -> None:
        """Count the tokens of an update; the last value but one is its size."""
        now = time.perf_counter()
        if self._warm_up:
            self._warm_up -= 1
            synchronise(self._device)
            self._begin = time.perf_counter()
            return
        self._tokens += values[3]
        if now - self._begin >= self._piece:
            synchronise(self._device)
            now = time.perf_counter()
            self.pieces.append((now - self._begin, self._tokens))
            self._begin, self._tokens = now, 0


def steady_rows(
    setting: Setting, ceiling: float, seconds: float, compiled: bool, attention: bool
) -> list[Row]:
    """Tokens a second of a training that goes on, its MFU, and what two epochs would take.

    Args:
        setting: what to train.
        ceiling: operations a second of a matrix product on the device.
        seconds: to train for.
        compiled: as by --compile.
        attention: with dropout on the probabilities.
    """
    windows = read_windows(setting.folder, TRAIN_FILE)
    model = our_model(setting, compiled, attention)
    optimizer = make_optimizer(model, OPTIONS)
    scaler = torch.amp.GradScaler(setting.device.type, enabled=setting.dtype is torch.float16)
    clock = Clock(seconds, seconds / 6, setting.device)

    def tokens(items: Ints) -> int:
        return int(windows.lengths[items].sum())

    def loss_sum(model: torch.nn.Module, batch: Any) -> torch.Tensor:
        logits = model(batch.packed)
        return span_loss_sum(logits, batch.packed, batch.start_positions, batch.end_positions)

    plan = BatchPlan(len(windows), setting.batch_size, 1, 1e5, 0)
    task = Task(
        lambda items: collate(windows, items), loss_sum, list, lambda *_: None, size=tokens,
        ends_early=lambda state: clock.stop_requested,
    )  # fmt: skip
    train(
        model, optimizer, scaler, plan, OPTIONS, TrainState(), cast(Run, clock), setting.device,
        setting.dtype, task,
    )  # fmt: skip
    rates = [count / took for took, count in clock.pieces]
    each = operations_a_token(SIZES[setting.size], windows.lengths) * 3
    epochs = [TWO_EPOCHS * float(windows.lengths.mean()) / rate for rate in rates]
    form = ("compiled, " if compiled else "") + ("" if attention else "attention dropout 0, ")
    what = f"{form}{setting.name}, {setting.batch_size} windows an update, {seconds:g} s"
    promised = setting.size == "base" and attention
    return [
        Row(
            f"steady training, {what}", [rate / 1e6 for rate in rates], unit="M tokens/s",
            least=TOKENS_A_SECOND / 1e6 if promised else None,
        ),
        Row(f"its MFU of {ceiling / 1e12:.0f} TFLOP/s", [100 * r * each / ceiling for r in rates],
            unit="%"),
        Row(
            f"two epochs of SQuAD v2 at that speed, computed: {TWO_EPOCHS:,} windows of "
            f"{windows.lengths.mean():.0f} tokens",
            epochs,
            most=SECONDS if promised else None,
        ),
    ]  # fmt: skip
