"""The run folder: options, environment, log, checkpoints, and when to stop.

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
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from data.command import EXIT_DISK, EXIT_INTERRUPTED, EXIT_TERMINATED, CommandError, UsageError
from train.best import MODEL, publish, seal, staged
from train.checkpoint import (
    PREFIX,
    TrainState,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
    set_aside,
    verify_checkpoint,
)
from train.environment import record_start
from train.folders import tidy
from train.options import TrainOptions
from train.resuming import write_options
from train.run_folder import lock_folder, remove_leftovers

STOP_SIGNALS = {signal.SIGINT: EXIT_INTERRUPTED, signal.SIGTERM: EXIT_TERMINATED}


class Run:
    """One start of a run in its folder.

    Args:
        folder: RUN.
        options: of the command.
        inputs: what identifies the data and the model; compared when resuming.
        total_updates: of the whole training.
        items: what the progress bar counts, "windows".
        device: the kind of device it runs on.

    Attributes:
        folder: RUN.
        stop_status: exit status of the signal that asked to stop, 0 if none did.
        saved_update: updates made in the newest checkpoint, 0 without one.

    Raises:
        UsageError: another process has the folder, or began a run there a moment ago.
    """

    def __init__(
        self,
        folder: Path,
        options: TrainOptions,
        inputs: dict[str, Any],
        total_updates: int,
        items: str,
        device: str = "cpu",
    ) -> None:
        self.folder = folder
        self.options = options
        self.items = items
        self.stop_status = 0
        self._interruptible = False
        self.saved_update = 0
        self._started = time.monotonic()
        self._last = self._started
        self._total = total_updates
        self._bar: tqdm[Any] | None = None
        self._checkpoints = folder / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(folder)
        remove_leftovers(folder)
        self._changes = write_options(folder, options, inputs)
        # Unbuffered: what is written counts as written, and closing it cannot fail again.
        self._log = (folder / "log.jsonl").open("ab", buffering=0)
        record_start(folder / "env.json", device)

    # ---- log

    def log(self, event: str, times: dict[str, float] | None = None, **values: Any) -> None:
        """Append one line: the event, its values, and the time apart from them."""
        elapsed = round(time.monotonic() - self._started, 3)
        line = {"event": event, **values, "time": {"elapsed_s": elapsed, **(times or {})}}
        rest = memoryview((json.dumps(line, allow_nan=False) + "\n").encode())
        with self._disk_errors("the log"):
            while rest:
                rest = rest[self._log.write(rest) :]

    def log_update(
        self,
        update: int,
        epoch: int,
        loss: float,
        lr: float,
        grad_norm: float,
        size: int,
        scale: float,
    ) -> None:
        """Log one update and move the progress bar.

        Args:
            update: updates made, this one included.
            epoch: passes finished before it.
            loss: mean over the update's items.
            lr: learning rate it was made with.
            grad_norm: before clipping.
            size: items in it.
            scale: loss scale, 1 without a scaler.
        """
        now = time.monotonic()
        rate = size / max(now - self._last, 1e-9)
        self._last = now
        self.log(
            "update",
            {f"{self.items}_per_s": round(rate, 2)},
            update=update,
            epoch=epoch,
            loss=loss,
            lr=lr,
            grad_norm=grad_norm,
            size=size,
            scale=scale,
        )
        if self._bar is None:
            # disable=None: silent where stderr is no terminal
            self._bar = tqdm(total=self._total, initial=update - 1, unit="update", disable=None)
        self._bar.set_postfix_str(f"loss {loss:.3f}, {rate:.0f} {self.items}/s", refresh=False)
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
            UsageError: there are checkpoints, but all are damaged; they are left as they are.
        """
        tidy(self.folder, MODEL)
        tidy(self._checkpoints, PREFIX)
        found = list_checkpoints(self._checkpoints)
        damaged: list[tuple[Path, str]] = []
        while found and (damage := verify_checkpoint(found[-1])):
            damaged.append((found.pop(), damage))
        if damaged and not found:
            what = "; ".join(f"{folder.name}: {damage}" for folder, damage in damaged)
            raise UsageError(
                f"--resume: every checkpoint in {self._checkpoints} is damaged ({what}); nothing "
                "was changed: bring back a good copy, or begin again with --overwrite"
            )
        for folder, damage in damaged:
            print(
                f"warning: {folder.name} is damaged ({damage}); set aside as "
                f"{set_aside(folder).name}, going on from {found[-1].name}",
                file=sys.stderr,
            )
        state, log_bytes = TrainState(), 0
        if found:
            state, log_bytes = load_checkpoint(found[-1], model, optimizer, scaler)
        if self._log.seek(0, os.SEEK_END) < log_bytes:
            print("warning: log.jsonl is shorter than the checkpoint knows it", file=sys.stderr)
        else:
            self._log.truncate(log_bytes)
            self._log.seek(log_bytes)
        self.saved_update = state.update
        publish(self.folder, state.best_update, resumed=True)
        lines = (self.folder / "log.jsonl").read_bytes().splitlines()
        logged = sum(line.startswith(b'{"event": "change"') for line in lines)
        for change in self._changes[logged:]:
            self.log("change", after_update=state.update, **change)
        return state

    # ---- stopping

    @property
    def stop_requested(self) -> bool:
        """Whether a signal came or the time is up."""
        return self.stop_status != 0 or self.out_of_time

    @property
    def out_of_time(self) -> bool:
        """Whether --max-minutes have passed since this start."""
        limit = self.options.max_minutes
        return limit > 0 and time.monotonic() - self._started >= limit * 60

    def watch_signals(self) -> None:
        """Ctrl-C or SIGTERM: finish the update, save, stop. A second one stops at once."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_signal)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block that a signal ends where it stands: long work that can be made again.

        Raises:
            KeyboardInterrupt: a signal came, now or just before.
        """
        try:
            self._interruptible = True
            if self.stop_status:
                raise KeyboardInterrupt
            yield
        finally:
            self._interruptible = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        status = STOP_SIGNALS[signal.Signals(number)]
        if self.stop_status:
            _tell(f"stopped at once; the last good checkpoint is of update {self.saved_update}")
            os._exit(status)
        self.stop_status = status
        _tell("stopping after this update, then saving; again stops at once")
        if self._interruptible:
            raise KeyboardInterrupt

    def close(self) -> None:
        """End the progress bar and the log."""
        if self._bar is not None:
            self._bar.close()
        self._log.close()
        self._lock.close()


def _tell(text: str) -> None:
    """A line on stderr from inside a signal handler, where print may be in the middle of one."""
    with suppress(OSError):
        os.write(2, f"\n{text}\n".encode())
