"""The run folder: options, environment, log, checkpoints.

RUN/options.json     what was asked, the inputs' sha256, so that a resumed run can compare
RUN/env.json         versions, threads, device, one entry for every start
RUN/log.jsonl        one strict-JSON line per event; times in their own object, so that the rest
                     of a resumed run's log compares bit for bit with an uninterrupted one
RUN/checkpoints/     see train/checkpoint.py
RUN/best/            see train/best.py
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from tqdm import tqdm

from data.failures import EXIT_DISK, CommandError
from data.ranks import ALONE, Ranks
from minibert.files import flush_folder
from train.best import METRICS, MODEL, PREDICTIONS, publish, seal, staged
from train.checkpoint import PREFIX, TrainState, load_checkpoint, save_checkpoint
from train.environment import record_start
from train.folders import tidy
from train.options import TrainOptions
from train.peak_memory import peak_mib, reset_peak
from train.recovery import (
    cut_log,
    forget_lost_best,
    newest_whole,
    refuse_beyond_end,
    set_all_aside,
)
from train.resuming import refuse_useless_changes, write_options
from train.run_files import remove_leftovers, remove_reports
from train.stopping import Stopping

if TYPE_CHECKING:
    from train.loop import Update


class Run(Stopping):
    """One start of a run in its folder. A new run begins here, a resumed one in `restore`.

    Args:
        folder: RUN, held by `held_folder`.
        options: of the command.
        inputs: what identifies the data and the model; compared when resuming.
        total_updates: of the whole training.
        items: what the progress bar counts, "windows".
        device: the kind of device it runs on.
        ranks: the processes that train together; this is the first, and the others have an
            `Onlooker`.

    Attributes:
        folder: RUN.

    Raises:
        UsageError: a run has begun in the folder.
    """

    results: tuple[str, ...] = (METRICS, PREDICTIONS)  # what an evaluation leaves beside best/

    def __init__(
        self,
        folder: Path,
        options: TrainOptions,
        inputs: dict[str, Any],
        total_updates: int,
        items: str,
        device: str = "cpu",
        ranks: Ranks = ALONE,
    ) -> None:
        super().__init__(options.max_minutes, ranks)
        self.folder = folder
        self.options = options
        self.items = items
        self._last = self._started
        self._total = total_updates
        self._bar: tqdm[Any] | None = None
        self._checkpoints = folder / "checkpoints"
        self._inputs = inputs
        self._device = device
        self._changes: list[dict[str, Any]] = []
        self._open = ExitStack()
        self._log: FileIO
        if not options.resume:
            self._begin()

    def _begin(self) -> None:
        """Say in the folder what this start does; from here on it is changed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.folder)
        self._changes = write_options(self.folder, self.options, self._inputs)
        # Unbuffered: what is written counts as written, and closing it cannot fail again.
        log = (self.folder / "log.jsonl").open("ab", buffering=0)
        self._log = self._open.enter_context(log)
        reset_peak(self._device)
        record_start(self.folder / "env.json", self._device, self.ranks.size)

    # ---- log

    def log(self, event: str, times: dict[str, float] | None = None, **values: Any) -> None:
        """Append one line: the event, its values, and the time apart from them."""
        times = {"elapsed_s": round(time.monotonic() - self._started, 3), **(times or {})}
        if event == "eval" and (peak := peak_mib(self._device)) is not None:
            times["peak_mib"] = round(peak, 1)
        line = {"event": event, **values, "time": times}
        rest = memoryview((json.dumps(line, allow_nan=False) + "\n").encode())
        with self._disk_errors("the log"):
            while rest:
                rest = rest[self._log.write(rest) :]

    def log_update(self, update: int, epoch: int, lr: float, size: int, made: "Update") -> None:
        """Log one update and move the progress bar.

        Args:
            update: updates made, this one included.
            epoch: passes finished before it.
            lr: learning rate it was made with.
            size: items in it.
            made: its loss, gradient norm and loss scale.
        """
        now = time.monotonic()
        rate = size / max(now - self._last, 1e-9)
        self._last = now
        self.log(
            "update",
            {f"{self.items}_per_s": round(rate, 2)},
            update=update,
            epoch=epoch,
            loss=made.loss,
            lr=lr,
            grad_norm=made.grad_norm,
            size=size,
            scale=made.scale,
        )
        if self._bar is None:
            # disable=None: silent where stderr is no terminal
            self._bar = tqdm(total=self._total, initial=update - 1, unit="update", disable=None)
        self._bar.set_postfix_str(f"loss {made.loss:.3f}, {rate:.0f} {self.items}/s", refresh=False)
        self._bar.update()

    def print(self, text: str) -> None:
        """A line for the person who watches, above the progress bar."""
        tqdm.write(text, file=sys.stdout)

    # ---- checkpoints and the best model

    @contextmanager
    def _disk_errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CommandError(
                f"{what} could not be written ({error}); the last good checkpoint is of update "
                f"{self.saved_update}: make room, then --resume",
                EXIT_DISK,
            ) from error

    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        state: TrainState,
    ) -> None:
        """Write a checkpoint that belongs to the log as it is now; then the best model is that
        which the checkpoint names.

        Raises:
            CommandError: it cannot be written (status 4); earlier ones are untouched.
        """
        keep = self.options.keep_checkpoints
        with self._disk_errors(f"the checkpoint of update {state.update}"):
            os.fsync(self._log.fileno())
            log_bytes = self._log.tell()
            save_checkpoint(self._checkpoints, model, optimizer, scaler, state, log_bytes, keep)
        self.saved_update = state.update
        with self._disk_errors("the best model"):
            publish(self.folder, state.best_update)
        self._last = time.monotonic()

    @contextmanager
    def staged_best(self, state: TrainState) -> Iterator[Path]:
        """A folder for a new best model (in best/), its answers and scores (*.json).

        They take their places when the next checkpoint is saved.

        Raises:
            CommandError: they cannot be written (status 4).
        """
        folder = staged(self.folder, state.best_update)
        with self._disk_errors("the best model"):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                yield folder
                seal(folder)
            except OSError:
                shutil.rmtree(folder, ignore_errors=True)
                raise

    def restore(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler
    ) -> TrainState:
        """Go back to the newest undamaged checkpoint and cut the log to it; start anew without one.

        Raises:
            UsageError: there is nothing to go on from, or nothing to go on to; nothing was changed.
        """
        state, log_bytes = TrainState(), 0
        if self.options.resume:
            tidy(self._checkpoints, PREFIX)
            newest, damaged = newest_whole(self.folder)
            if newest is not None:
                state, log_bytes = load_checkpoint(newest, model, optimizer, scaler)
            refuse_beyond_end(state, self._total, self.options)
            if state.update == self._total and not state.evaluation_due:
                refuse_useless_changes(self.folder, self.options, self._inputs)
            self._begin()
            set_all_aside(damaged, state.update)
            remove_reports(self.folder, state.update)
            cut_log(self._log, self.folder / "log.jsonl", log_bytes)
            tidy(self.folder, MODEL)
        if not self._checkpoints.is_dir():  # a resumed run whose log tells of updates misses it
            self._checkpoints.mkdir()
            flush_folder(self.folder)
        self.saved_update = state.update
        publish(self.folder, state.best_update, resumed=True)
        if state.best_score is not None:
            forget_lost_best(self.folder, state, self.results)
        lines = (self.folder / "log.jsonl").read_bytes().splitlines()
        logged = sum(line.startswith(b'{"event": "change"') for line in lines)
        for change in self._changes[logged:]:
            self.log("change", after_update=state.update, **change)
        return state

    def close(self) -> None:
        """End the progress bar and the log."""
        if self._bar is not None:
            self._bar.close()
        self._open.close()
