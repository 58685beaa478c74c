"""The options that every training command has; a command's own dataclass adds its data and task."""

import os
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.command import UsageError, option
from data.options import PICTURES

OPTIMIZERS = ("adamw", "adam")
SCHEDULES = ("linear", "constant")
MOST_UPDATES = 10**8  # of a training: `BatchPlan.ending_after` is exact up to there


@dataclass(frozen=True)
class TrainOptions:
    """How to train, whatever the task. Units: updates are optimizer steps.

    Raises:
        UsageError: a value outside its range, naming the flag.
    """

    epochs: float = option(2.0, help="passes over the training set", group="training")
    updates: int = option(
        0, help="updates in all, in place of --epochs, 0 = by --epochs", group="training"
    )
    batch_size: int = option(
        16, help="training items in one update, over all micro-batches and ranks", group="training"
    )
    accumulate: int = option(
        1, help="micro-batches of an update, over all ranks, to save memory", group="training"
    )
    lr: float = option(3e-5, help="highest learning rate", group="training")
    lr_schedule: str = option(
        "linear", help="after warm-up: to zero, or level", choices=SCHEDULES, group="training"
    )
    warmup: float = option(
        0.1, help="updates of linear warm-up; below 1, a fraction of all updates", group="training"
    )
    optimizer: str = option("adamw", help="AdamW or Adam", choices=OPTIMIZERS, group="training")
    weight_decay: float = option(
        0.01, help="on weights, never on biases and norms (adam: as L2)", group="training"
    )
    clip_norm: float = option(1.0, help="largest gradient norm, 0 = off", group="training")
    dropout: float | None = option(
        None, help="takes the place of the model's dropout rates", group="training"
    )
    attention_dropout: float | None = option(
        None,
        help="of the attention probabilities alone; 0 spares a GPU their masks",
        group="training",
    )
    seed: int = option(0, help="of weights, order and dropout", group="training")

    amp: bool = option(False, help="mixed precision (autocast)", group="machine")
    amp_dtype: str = option(
        "auto",
        help="auto: bf16 where the hardware has it, else fp16 with GradScaler",
        choices=("auto", "bf16", "fp16"),
        group="machine",
    )
    compile: bool = option(
        False, help="fuse a layer's pointwise parts with torch.compile (GPU)", group="machine"
    )
    device: str = option("auto", help="auto, cpu, cuda, cuda:N or mps", group="machine")
    threads: int = option(0, help="CPU threads, 0 = torch's own choice", group="machine")
    deterministic: bool = option(
        False, help="refuse operations that are not deterministic", group="machine"
    )

    output_dir: str = option("", help="run folder (default: runs/TASK-TIME)", group="run")
    overwrite: bool = option(False, help="delete an earlier run in the folder first", group="run")
    resume: bool = option(
        False, help="go on with the run in --output-dir, with its own options", group="run"
    )
    allow_change: str = option(
        "", help="with --resume: settings that may differ, as in lr,seed", group="run"
    )
    eval_every: int = option(0, help="updates between evaluations, 0 = once an epoch", group="run")
    save_every: int = option(500, help="updates between checkpoints", group="run")
    keep_checkpoints: int = option(2, help="newest checkpoints kept", group="run")
    max_minutes: float = option(
        0.0, help="save and stop after so many minutes, 0 = no limit", group="run"
    )
    pictures: str = option("png", help="format of the pictures", choices=PICTURES, group="run")
    dry_run: bool = option(False, help="print what would be done, and the time", group="run")

    def __post_init__(self) -> None:
        checks = {
            "--epochs": (self.epochs, 0 < self.epochs < 1e6, "more than 0"),
            "--updates": (self.updates, 0 <= self.updates < MOST_UPDATES, "0 to 99999999"),
            "--batch-size": (self.batch_size, self.batch_size >= 1, "at least 1"),
            "--accumulate": (
                self.accumulate,
                1 <= self.accumulate <= self.batch_size,
                f"1 to --batch-size {self.batch_size}",
            ),
            "--lr": (self.lr, 0 < self.lr < 10, "more than 0 (and below 10)"),
            "--warmup": (self.warmup, 0 <= self.warmup < 1e9, "0 or more"),
            "--weight-decay": (self.weight_decay, 0 <= self.weight_decay < 1, "0 to below 1"),
            "--clip-norm": (self.clip_norm, 0 <= self.clip_norm < 1e9, "0 or more"),
            "--dropout": (self.dropout, 0 <= (self.dropout or 0) < 1, "0 to below 1"),
            "--attention-dropout": (
                self.attention_dropout,
                0 <= (self.attention_dropout or 0) < 1,
                "0 to below 1",
            ),
            "--seed": (self.seed, 0 <= self.seed < 2**31, "0 to 2147483647"),
            "--threads": (self.threads, self.threads >= 0, "0 or more"),
            "--eval-every": (self.eval_every, self.eval_every >= 0, "0 or more"),
            "--save-every": (self.save_every, self.save_every >= 1, "at least 1"),
            "--keep-checkpoints": (self.keep_checkpoints, self.keep_checkpoints >= 1, "at least 1"),
            "--max-minutes": (self.max_minutes, 0 <= self.max_minutes < 1e9, "0 or more"),
        }
        for flag, (value, good, wanted) in checks.items():
            if not good:
                raise UsageError(f"{flag} is {value}, expected {wanted}")
        if not self.output_dir and (self.resume or self.overwrite):
            flag = "--resume" if self.resume else "--overwrite"
            raise UsageError(f"{flag} needs --output-dir, the run folder that is meant")
        if self.amp_dtype != "auto" and not self.amp:
            raise UsageError(f"--amp-dtype {self.amp_dtype} does nothing without --amp; add it")
        if self.resume and self.overwrite:
            raise UsageError("--resume and --overwrite contradict each other; give one of them")
        if self.allow_change and not self.resume:
            raise UsageError("--allow-change does nothing without --resume; leave it out")
        if self.resume and self.dry_run:
            raise UsageError("--dry-run plans a new run; leave out --resume")


def in_full(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options whose local files are named in full, so that a run can be resumed from any folder.

    Args:
        values: of all options, or of those that are given. A model may have a name instead.
    """
    files, folders = ("train_file", "dev_file", "vectors"), ("model", "from_scratch")
    paths = {
        name: absolute(value)
        for name in (*files, *folders)
        if (value := values.get(name)) and (name in files or Path(value).is_dir())
    }
    return {**values, **paths}


def absolute(path: str) -> str:
    """A path in full and without its .., unless one of them leads back through a link."""
    plain, whole = os.path.abspath(path), Path(path).absolute()
    return plain if os.path.realpath(plain) == os.path.realpath(whole) else str(whole)


def refuse_two_ends(options: TrainOptions, given: Set[str]) -> None:
    """--epochs and --updates both say where a training ends.

    Args:
        options: of this start, with those of the run that it resumes.
        given: names of the flags on this start's command line.

    Raises:
        UsageError: --epochs is given where --updates counts.
    """
    if not options.updates or "epochs" not in given:
        return
    if "updates" in given:
        raise UsageError("--epochs and --updates contradict each other; give one of them")
    raise UsageError(
        f"--epochs would change nothing, the run has --updates {options.updates}; leave it out, or "
        "add --updates 0"
    )
