"""What every training command does around the loop: machine, folder, dry run, start, end.

A command reads its data and model into a `Work`, and says what comes after a finished run.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from torch import nn

from data.batches import BatchPlan
from data.ranks import ALONE, Ranks
from minibert.device import choose_amp_dtype, choose_device
from train.checkpoint import TrainState
from train.disk import disk_need, refuse_without_room
from train.dry_run import print_plan
from train.earlier_run import earlier_run_aside
from train.loop import Task, train
from train.onlooker import Onlooker, restore_together
from train.optim import make_optimizer
from train.options import TrainOptions
from train.picture import draw_training
from train.restarts import note_begun, note_coming, seconds_before
from train.resuming import saved_run
from train.run import Run
from train.run_folder import held_folder

OptionsT = TypeVar("OptionsT", bound=TrainOptions)


@dataclass(frozen=True)
class Work:
    """What a command has read and is about to train.

    Attributes:
        options: of the command, with the files that it made for itself.
        model: on its device.
        plan: which items form which update.
        task: batches, losses, evaluation.
        identity: of data and model; compared when resuming.
        run_class: of the run folder.
        counted: what the log counts in an update, "windows".
        answers: entries in the prediction files, for which the disk must have room.
        finish: (run, scores of the best model) -> exit status, after a finished run.
        vocabulary_bytes: of the words that are saved beside the model, where they are many.
    """

    options: TrainOptions
    model: nn.Module
    plan: BatchPlan
    task: Task
    identity: dict[str, Any]
    run_class: type[Run]
    counted: str
    answers: int
    finish: Callable[[Any, dict[str, Any]], int]
    vocabulary_bytes: int = 0


def run_training(
    command: str,
    options: OptionsT,
    read_work: Callable[
        [OptionsT, Path, torch.device, torch.dtype | None, dict[str, Any] | None], Work
    ],
    ranks: Ranks = ALONE,
) -> int:
    """Read, train, evaluate, say where everything is.

    Of several ranks each reads and trains; only the first sees the run folder, writes and speaks.

    Args:
        command: "squad" for `python -m train.squad`.
        options: of the command.
        read_work: (options, run folder, device, autocast dtype or None, identity of the run to
            resume or None) -> what is to be trained, described on the way.
        ranks: that train together.

    Returns:
        The exit status.
    """
    started = time.monotonic() - seconds_before(ranks)
    if options.threads:
        torch.set_num_threads(options.threads)
    options = replace(options, threads=torch.get_num_threads())
    if options.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else cuBLAS is refused
        torch.use_deterministic_algorithms(True)
    device = ranks.together(
        lambda: choose_device(options.device, ranks.local_rank, ranks.local_size)
    )
    ranks.use(device)
    amp_dtype = choose_amp_dtype(device, options.amp_dtype) if options.amp else None
    folder = Path(options.output_dir)
    with ExitStack() as held:
        place = ranks.together(lambda: held.enter_context(held_place(folder, options, ranks)))
        overwrites = options.overwrite and not options.dry_run and ranks.is_first
        with earlier_run_aside(folder) if overwrites else nullcontext():
            saved = ranks.first(lambda: saved_run(folder)["inputs"] if options.resume else None)
            work = ranks.together(lambda: read_work(options, place, device, amp_dtype, saved))
            model, plan, task = work.model, work.plan, work.task
            optimizer = make_optimizer(model, options)
            scaler = torch.amp.GradScaler(device.type, enabled=amp_dtype is torch.float16)
            need = disk_need(model, options, work.answers) + 2 * work.vocabulary_bytes
            if options.dry_run:
                print_plan(
                    model, optimizer, scaler, plan, options, folder, device, amp_dtype, task, need,
                    ranks,
                )  # fmt: skip
            ranks.first(lambda: refuse_without_room(folder, need))
            if options.dry_run:
                return 0
            left = minutes_left(options.max_minutes, started)
            note_coming(folder, options, ranks)
            run_class = work.run_class if ranks.is_first else Onlooker
            run = ranks.together(
                lambda: run_class(
                    folder, replace(work.options, max_minutes=left), work.identity,
                    plan.total_updates, work.counted, device.type, ranks,
                )
            )  # fmt: skip
            note_begun(folder, ranks)
        try:
            state = restore_together(run, model, optimizer, scaler)
            if options.resume:
                run.print(f"resumed after update {state.update} of {plan.total_updates}")
            if ranks.size > 1:
                run.print(f"ranks: {ranks.size}, each with its share of every update")
            run.watch_signals()
            train(model, optimizer, scaler, plan, options, state, run, device, amp_dtype, task)
            run.stop_status = max(ranks.gather(run.stop_status))
            return ranks.first(lambda: say_results(command, work, state, run))
        finally:
            run.close()


@contextmanager
def held_place(folder: Path, options: TrainOptions, ranks: Ranks) -> Iterator[Path]:
    """Hold the run folder, on the first rank; a spare folder for what another one has to write."""
    if ranks.is_first:
        with held_folder(folder, options):
            yield folder
    else:
        with TemporaryDirectory() as spare:
            yield Path(spare)


def minutes_left(max_minutes: float, started: float) -> float:
    """--max-minutes without what reading has taken, for it counts; 0 stays "no limit"."""
    spent = (time.monotonic() - started) / 60
    return max(max_minutes - spent, 1e-6) if max_minutes else 0.0


def say_results(command: str, work: Work, state: TrainState, run: Run) -> int:
    """Draw the picture, say where everything is, or how to go on; the exit status."""
    picture = draw_training(run.folder, run.options.pictures)
    total = work.plan.total_updates
    if not work.task.is_finished(state, total):
        run.print(
            f"stopped after update {state.update} of {total}; go on with:\n"
            f"  python -m train.{command} --resume --output-dir {run.folder}"
        )
        return run.stop_status
    metrics = json.loads((run.folder / "metrics.json").read_bytes())
    run.print(f"\nbest model: after update {state.best_update}")
    for name, value in metrics.items():
        if isinstance(value, int | float):  # not the tables of a classifier
            number = f"{value:10.4f}" if isinstance(value, float) else f"{value:5}"
            run.print(f"  {name:24} {number}")
    run.print(f"run folder: {run.folder}\nmodel:      {run.folder / 'best'}")
    if picture is not None:
        run.print(f"picture:    {picture}")
    return work.finish(run, metrics)
