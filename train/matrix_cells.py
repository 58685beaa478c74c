"""Making the cells of a matrix: train, answer, score; several processes may share the work.

OUT/trained/NAME.json    a run is finished; its folder is OUT/runs/NAME
OUT/cells/NAME.json      a cell is finished: its key and its scores; written last, whole or not
OUT/answers/NAME/        the cell's answers, which eval.squad scores again
OUT/locks/NAME.lock      who makes that run or cell at the moment; free when the process has ended

NAME ends in a hash of all that a run or a cell depends on (train/matrix_plan.py). Whatever kills a
process, what is finished is never made again, and a run goes on from its last checkpoint.
"""

import gc
import math
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from data.squad import read_squad
from eval.answerer import Answerer
from eval.matrix import Cost
from eval.predict import score_predictions
from eval.prediction_files import write_json, write_predictions
from eval.run_log import damage_told, epoch_seconds, read_log, updates_per_epoch
from minibert.files import write_file
from minibert.locks import InUse, lock_file, sign
from minibert.strict_json import read_object
from train.best import ANSWER_FILES, METRICS
from train.earlier_run import options_file
from train.faults import give_back_memory
from train.matrix_plan import Cell, Training, as_command, resume_arguments, squad_arguments
from train.matrix_values import as_flags
from train.squad_options import read_options
from train.stopping import STOP_SIGNALS

ANSWERS_LISTED = 1  # per question in nbest.json: the best one, for scores without the null answer


class Machine(NamedTuple):
    """Where a process computes; of no account for what a cell is.

    Attributes:
        device: as --device of train.squad.
        threads: as --threads.
    """

    device: str
    threads: int

    @property
    def flags(self) -> list[str]:
        """For `train.squad`; what nobody chose is left to it."""
        device = [] if self.device == "auto" else ["--device", self.device]
        return device + (["--threads", str(self.threads)] if self.threads else [])


class Folder:
    """OUT: where everything of a matrix is kept.

    Attributes:
        path: OUT.
        data: parts of split files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path / "data"

    def run(self, training: Training) -> Path:
        """Of a training: its run folder."""
        return self.path / "runs" / training.name

    def has_begun(self, training: Training) -> bool:
        """Whether there is something to go on with."""
        return options_file(self.run(training)).exists()

    def is_trained(self, training: Training) -> bool:
        """Whether its best model is final, and there."""
        return (
            self._mark(training).exists() and (self.run(training) / "best" / "config.json").exists()
        )

    def mark_trained(self, training: Training, command: str) -> None:
        """Note that a run is finished, and what it cost."""
        cost = training_cost(self.run(training))
        _write(self._mark(training), {"key": training.key, "command": command, **cost._asdict()})

    def cost(self, training: Training) -> Cost | None:
        """Of a finished run; None before, or where an earlier version noted less and the run is
        not there to say it."""
        path = self._mark(training)
        noted = read_object(path, "a finished training of a matrix") if path.exists() else {}
        if noted.keys() >= set(Cost._fields):
            return Cost(**{name: noted[name] for name in Cost._fields})
        return training_cost(self.run(training)) if self.is_trained(training) else None

    def _mark(self, training: Training) -> Path:
        """The file of a finished run."""
        return self.path / "trained" / f"{training.name}.json"

    def cell(self, cell: Cell) -> Path:
        """Its file."""
        return self.path / "cells" / f"{cell.name}.json"

    def scores(self, cell: Cell) -> dict[str, float] | None:
        """Of a finished cell.

        Raises:
            ValueError: its file was changed.
        """
        path = self.cell(cell)
        if not path.exists():
            return None
        saved = read_object(path, "a cell of a matrix")
        if saved.get("key") != cell.key or not isinstance(saved.get("scores"), dict):
            raise ValueError(f"{path} is not the cell of its name; delete it, and it is made again")
        scores: dict[str, float] = saved["scores"]
        return scores

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Hold a run or a cell.

        Raises:
            InUse: another process does.
        """
        path = self.path / "locks" / f"{name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with lock_file(path) as lock:
            sign(lock, f"process {os.getpid()} on {socket.gethostname()}")
            yield


def training_cost(run: Path) -> Cost:
    """What a finished run took, from its log.

    Raises:
        ValueError: the log is damaged.
    """
    updates, evals = read_log(run / "log.jsonl")
    with damage_told(run):
        peaks = [line["time"]["peak_mib"] for line in evals if "peak_mib" in line["time"]]
        return Cost(
            updates=updates[-1]["update"],
            epoch_seconds=epoch_seconds(updates, updates_per_epoch(evals)),
            peak_mib=max(peaks, default=None),
        )


def _write(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, values)


def make_cells(
    folder: Folder, training: Training, cells: Sequence[Cell], machine: Machine
) -> tuple[int, str]:
    """Train, if need be, and fill a training's missing cells.

    Args:
        folder: OUT.
        training: of all the cells.
        cells: those wanted, finished or not.
        machine: this one.

    Returns:
        The exit status of a training that was stopped, else 0; and who makes some of this at the
        moment, "" if nobody does.
    """
    missing = [cell for cell in cells if not folder.cell(cell).exists()]
    if not missing:
        return 0, ""
    if not folder.is_trained(training):
        try:
            with folder.held(training.name):
                if not folder.is_trained(training):
                    status = _train(folder, training, machine)
                    if status:
                        return status, ""
        except InUse as held:
            return 0, str(held)
    answerer, busy = None, ""
    for cell in missing:
        try:
            with folder.held(cell.name):
                if folder.cell(cell).exists():
                    continue
                if cell.answered.name == training.data.name:
                    _take_over(folder, cell)
                    continue
                answerer = answerer or _load(folder, training, machine)
                _answer(folder, cell, answerer)
        except InUse as held:
            busy = str(held)
    return 0, busy


def _train(folder: Folder, training: Training, machine: Machine) -> int:
    """Run train.squad here, as its own command would; 0 if the run is finished."""
    from train.squad import main as train_squad

    run = folder.run(training)
    arguments = squad_arguments(training, run)
    command = as_command(arguments)
    if folder.has_begun(training):
        arguments = resume_arguments(training, run)
    arguments = [*arguments, *machine.flags]
    print(f"\n--- {training.title}: training\n{as_command(arguments)}", flush=True)
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    threads = torch.get_num_threads()
    gc.collect()
    give_back_memory()  # of the training before this one, which is not to count in this one's peak
    try:
        status = train_squad(arguments)
    finally:
        for number, handler in handlers.items():  # those of a run that is over do nothing
            if handler is not None:  # it was not set from Python
                signal.signal(number, handler)
        torch.use_deterministic_algorithms(False)  # a set's own setting, and no other's
        torch.set_num_threads(threads)  # a run that goes on may have had its own number
    if status == 0:
        folder.mark_trained(training, command)
    return status


def _load(folder: Folder, training: Training, machine: Machine) -> Answerer:
    """A run's best model."""
    options = read_options(as_flags(training.row.settings))
    return Answerer.load(
        str(folder.run(training)),
        device=machine.device,
        amp=options.amp,
        amp_dtype=options.amp_dtype,
    )


def _take_over(folder: Folder, cell: Cell) -> None:
    """Fill the cell of the set that the run was trained on: its best model has answered it."""
    run, answers = folder.run(cell.training), folder.path / "answers" / cell.name
    answers.mkdir(parents=True, exist_ok=True)
    for name in ANSWER_FILES:
        if (run / name).exists():
            write_file(answers / name, (run / name).read_bytes())
    _write_cell(folder, cell, read_object(run / METRICS, "the scores of a run"))


def _answer(folder: Folder, cell: Cell, answerer: Answerer) -> None:
    """Answer and score another set's questions."""
    data = read_squad(cell.answered.dev.path)
    windows, decoded, loss = answerer.decode(data.examples, ANSWERS_LISTED)
    threshold = answerer.settings.threshold(data.has_impossible)
    scores = score_predictions(data.examples, decoded, threshold, windows) | {"loss": loss}
    write_predictions(
        folder.path / "answers" / cell.name, [example.id for example in data.examples], decoded,
        threshold=threshold, with_null=math.isfinite(threshold),
    )  # fmt: skip
    _write_cell(folder, cell, scores)


def _write_cell(folder: Folder, cell: Cell, scores: dict[str, float]) -> None:
    """Its file, which comes last; and a line for people."""
    if "null_threshold" not in scores and "HasAns_f1" in scores:  # the null answer is off anyway
        scores = scores | {f"no_null_{name}": scores[f"HasAns_{name}"] for name in ("exact", "f1")}
    training = cell.training
    values = {
        "train": training.row.name,
        "eval": cell.answered.name,
        "seed": training.seed,
        "scores": scores,
        "key": cell.key,
    }
    _write(folder.cell(cell), values)
    print(
        f"--- {training.title}, answers {cell.answered.name}: F1 {scores['f1']:.2f}, EM "
        f"{scores['exact']:.2f} on {scores['total']:,.0f} questions",
        flush=True,
    )
