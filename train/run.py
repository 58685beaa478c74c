"""The run folder: options, environment, log, checkpoints, and when to stop.

RUN/options.json     what was asked, the inputs' sha256, so that a resumed run can compare
RUN/env.json         versions, threads, device, one entry for every start
RUN/log.jsonl        one strict-JSON line per event; times in their own object, so that the rest
                     of a resumed run's log compares bit for bit with an uninterrupted one
RUN/checkpoints/     see train/checkpoint.py
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import IO, Any

import torch
from torch import nn
from tqdm import tqdm

from data.command import (
    EXIT_DISK,
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    CommandError,
    UsageError,
)
from minibert.weights import write_file
from train.checkpoint import (
    TrainState,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
    verify_checkpoint,
)
from train.environment import environment
from train.options import TrainOptions
from train.run_folder import read_json

# Of these a resumed run has only what its own command line says.
UNSAVED_OPTIONS = frozenset("resume overwrite output_dir max_minutes dry_run".split())
STOP_SIGNALS = {signal.SIGINT: EXIT_INTERRUPTED, signal.SIGTERM: EXIT_TERMINATED}


class Run:
    """One start of a run in its folder.

    Args:
        folder: RUN.
        options: of the command.
        inputs: what identifies the data and the model; compared when resuming.
        total_updates: of the whole training.
        items: what the progress bar counts, "windows".

    Attributes:
        folder: RUN.
        stop_status: exit status of the signal that asked to stop, 0 if none did.
        saved_update: updates made in the newest checkpoint, 0 without one.
    """

    def __init__(
        self,
        folder: Path,
        options: TrainOptions,
        inputs: dict[str, Any],
        total_updates: int,
        items: str,
    ) -> None:
        self.folder = folder
        self.options = options
        self.items = items
        self.stop_status = 0
        self.saved_update = 0
        self._started = time.monotonic()
        self._last = self._started
        self._total = total_updates
        self._bar: tqdm[Any] | None = None
        self._checkpoints = folder / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(folder)
        if not options.resume:
            saved = {"options": _stored(options), "inputs": inputs}
            write_file(folder / "options.json", _json_bytes(saved))
        starts = read_json(folder / "env.json") if (folder / "env.json").exists() else []
        write_file(folder / "env.json", _json_bytes([*starts, environment()]))
        self._log = (folder / "log.jsonl").open("ab")

    # ---- log

    def log(self, event: str, times: dict[str, float] | None = None, **values: Any) -> None:
        """Append one line: the event, its values, and the time apart from them."""
        elapsed = round(time.monotonic() - self._started, 3)
        line = {"event": event, **values, "time": {"elapsed_s": elapsed, **(times or {})}}
        self._log.write((json.dumps(line, allow_nan=False) + "\n").encode())
        self._log.flush()

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

    # ---- checkpoints

    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        state: TrainState,
    ) -> None:
        """Write a checkpoint that belongs to the log as it is now.

        Raises:
            CommandError: it cannot be written (status 4); earlier ones are untouched.
        """
        os.fsync(self._log.fileno())
        keep = self.options.keep_checkpoints
        log_bytes = self._log.tell()
        try:
            save_checkpoint(self._checkpoints, model, optimizer, scaler, state, log_bytes, keep)
        except OSError as error:
            raise CommandError(
                f"the checkpoint of update {state.update} could not be written ({error}); the last "
                f"good one is of update {self.saved_update}: make room, then --resume",
                EXIT_DISK,
            ) from error
        self.saved_update = state.update
        self._last = time.monotonic()

    def restore(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler
    ) -> TrainState:
        """Go back to the newest undamaged checkpoint and cut the log to it; start anew without one.

        Raises:
            CommandError: there are checkpoints, but all are damaged (status 4).
        """
        found = list_checkpoints(self._checkpoints)
        for folder in reversed(found):
            damage = verify_checkpoint(folder)
            if damage is None:
                state, log_bytes = load_checkpoint(folder, model, optimizer, scaler)
                self._log.truncate(log_bytes)
                self._log.seek(log_bytes)
                self.saved_update = state.update
                return state
            aside = folder.with_name(f"damaged-{folder.name}")
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)
            print(f"warning: {folder.name} is damaged ({damage}); set aside", file=sys.stderr)
        if found:
            raise CommandError(f"no undamaged checkpoint is left in {self._checkpoints}", EXIT_DISK)
        self._log.truncate(0)
        self._log.seek(0)
        return TrainState()

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

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        # os.write: print fails if the signal came in the middle of another print
        status = STOP_SIGNALS[signal.Signals(number)]
        if self.stop_status:
            with contextlib.suppress(OSError):
                os.write(2, b"\nstopped at once; go on from the last checkpoint with --resume\n")
            os._exit(status)
        self.stop_status = status
        with contextlib.suppress(OSError):
            os.write(2, b"\nstopping after this update, then saving; again stops at once\n")

    def close(self) -> None:
        """End the progress bar and the log."""
        if self._bar is not None:
            self._bar.close()
        self._log.close()
        self._lock.close()


def _lock(folder: Path) -> IO[bytes]:
    """Hold the run folder until the file is closed or the process ends, however it ends.

    Raises:
        UsageError: another process holds it.
    """
    file = (folder / ".lock").open("ab")
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # Windows has no such lock
        pass
    except OSError:
        file.close()
        raise UsageError(
            f"{folder} is in use by another run; wait for it, or name another --output-dir"
        ) from None
    return file


def _stored(options: TrainOptions) -> dict[str, Any]:
    return {name: v for name, v in asdict(options).items() if name not in UNSAVED_OPTIONS}


def _json_bytes(value: Any) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()
