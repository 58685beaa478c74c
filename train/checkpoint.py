"""Checkpoints that resume exactly: one folder each, whole or not at all, no pickle.

    checkpoints/update-000500/
      model.safetensors       the weights, under our names
      optimizer.safetensors   Adam's moments and step counts, under the parameters' names
      state.json              counters, scaler, length of the log
      manifest.json           sha256 of the other files

Dropout is seeded from the update's number and batches are a function of it, so no generator state
is stored. A folder is written under a temporary name, flushed to disk, then put in place. What is
read back is checked value by value: a checkpoint that cannot be trusted is a damaged one.
"""

import hashlib
import json
import math
import re
import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from data.command import UsageError
from minibert.files import flush_folder, write_flushed
from minibert.strict_json import parse_object, shown
from train.folders import remove_folder, replace_folder, temporary_of
from train.resuming import FORMAT, refuse_newer_format

PREFIX = "update-"
MANIFEST = "manifest.json"
_NUMBERED = re.compile(rf"{PREFIX}\d{{1,15}}", re.ASCII)
_FILES = frozenset(("model.safetensors", "optimizer.safetensors", "state.json"))
_SCALER = frozenset(
    ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker")
)


@dataclass
class TrainState:
    """What a checkpoint must hold beside weights, optimizer and scaler.

    Attributes:
        update: optimizer updates made.
        skipped: updates the scaler refused, in all; each was tried again with a smaller scale.
        best_score: highest score of an evaluation so far, None before the first.
        best_update: updates made when it was reached.
        accumulate: micro-batches in an update that memory allowed, if more than the options ask.
        evaluation_due: whether the evaluation that belongs after `update` is still to be made.
    """

    update: int = 0
    skipped: int = 0
    best_score: float | None = None
    best_update: int = 0
    accumulate: int = 1
    evaluation_due: bool = False


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    state: TrainState,
    log_bytes: int,
    keep: int,
) -> Path:
    """Write one checkpoint, then remove the oldest of those before it.

    Args:
        folder: RUN/checkpoints.
        model: weights.
        optimizer: Adam or AdamW of all the model's parameters.
        scaler: loss scale.
        state: counters.
        log_bytes: length of log.jsonl that belongs to this state.
        keep: checkpoints to leave, at least 1: this one and those just before it. One of a later
            update is not ours to judge.

    Returns:
        The checkpoint's folder.

    Raises:
        OSError: disk full or not writable; earlier checkpoints are untouched.
    """
    final = folder / f"{PREFIX}{state.update:06d}"
    weights = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}
    values = {
        "format": FORMAT,
        "state": asdict(state),
        "scaler": scaler.state_dict(),
        "log_bytes": log_bytes,
    }
    files = {
        "model.safetensors": save(weights, {"format": "pt"}),
        "optimizer.safetensors": save(_optimizer_tensors(model, optimizer)),
        "state.json": (json.dumps(values, indent=2, allow_nan=False) + "\n").encode(),
    }
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files[MANIFEST] = json.dumps(sums, indent=2).encode()
    temporary = temporary_of(final)
    shutil.rmtree(temporary, ignore_errors=True)
    if not folder.exists():
        folder.mkdir(parents=True)
        flush_folder(folder.parent)
    temporary.mkdir()
    try:
        for name, content in files.items():
            write_flushed(temporary / name, content)
        flush_folder(temporary)
        replace_folder(temporary, final)  # it stands there already if its evaluation was put off
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    earlier = [path for path in list_checkpoints(folder) if update_of(path) < state.update]
    for old in earlier[: max(0, len(earlier) - keep + 1)]:
        remove_folder(old)
    return final


def list_checkpoints(folder: Path) -> list[Path]:
    """Finished checkpoints, oldest first."""
    found = (path for path in folder.glob(f"{PREFIX}*") if path.is_dir())
    return sorted((path for path in found if _NUMBERED.fullmatch(path.name)), key=update_of)


def update_of(folder: Path) -> int:
    """The number of updates in a checkpoint's name."""
    return int(folder.name.removeprefix(PREFIX))


def load_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> tuple[TrainState, int]:
    """Put one checkpoint back, bit for bit.

    Args:
        folder: one of `list_checkpoints`, verified by `verify_checkpoint`.
        model: of the same sizes.
        optimizer: of this model.
        scaler: as when saved.

    Returns:
        The counters and the length of log.jsonl that belongs to them, in bytes.

    Raises:
        ValueError: the checkpoint belongs to another model.
    """
    saved = _read_state(folder)
    parameters = dict(model.named_parameters())
    try:
        tensors = load((folder / "model.safetensors").read_bytes())
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if shapes != {name: tuple(parameter.shape) for name, parameter in parameters.items()}:
            raise ValueError(f"{folder} was saved by a model of other sizes; start a new run")
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(tensors[name])
        _restore_optimizer(model, optimizer, load((folder / "optimizer.safetensors").read_bytes()))
    except (SafetensorError, KeyError) as error:
        raise ValueError(
            f"{folder} was saved by another model ({error}); start a new run"
        ) from None
    if scaler.is_enabled() and saved.scaler:  # a run in another precision saved none
        scaler.load_state_dict(saved.scaler)
    return saved.state, saved.log_bytes


def verify_checkpoint(folder: Path) -> str | None:
    """None if every file of a checkpoint is as it was written, else what is wrong.

    Raises:
        UsageError: a later version wrote it.
    """
    try:
        try:
            sums = parse_object((folder / MANIFEST).read_bytes())
        except ValueError as error:
            return f"{MANIFEST} {error}"
        if sums.keys() != _FILES:
            return f"{MANIFEST} lists {shown(sorted(sums))}, expected {', '.join(sorted(_FILES))}"
        for name, wanted in sums.items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != wanted:
                return f"{name} does not match its sha256"
        update = _read_state(folder).state.update
    except UsageError:
        raise
    except (OSError, ValueError) as error:
        return " ".join(str(error).split())
    return None if update == update_of(folder) else f"it holds update {update}"


@dataclass(frozen=True)
class _Saved:
    """What state.json holds."""

    state: TrainState
    scaler: dict[str, Any]
    log_bytes: int


def _read_state(folder: Path) -> _Saved:
    """RUN/checkpoints/.../state.json, every value of the kind and size it can have.

    Raises:
        ValueError: what is wrong with it.
        UsageError: a later version wrote it.
    """
    path = folder / "state.json"
    try:
        values = parse_object(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"state.json {error}") from None
    refuse_newer_format(path, values)
    state, scaler = values.get("state"), values.get("scaler")
    if not isinstance(state, dict) or not isinstance(scaler, dict):
        raise ValueError("state.json lacks its counters or its scaler")
    unknown = state.keys() - {field.name for field in fields(TrainState)}
    if unknown or "update" not in state:
        raise ValueError(f"state.json has {shown(sorted(state))} as counters")
    if scaler and scaler.keys() != _SCALER:
        raise ValueError(f"state.json has {shown(sorted(scaler))} as scaler")
    made, log_bytes = TrainState(**state), values.get("log_bytes")
    sound = {
        "update": _is_count(made.update),
        "skipped": _is_count(made.skipped),
        "best_score": made.best_score is None or _is_number(made.best_score),
        "best_update": _is_count(made.best_update),
        "accumulate": _is_count(made.accumulate) and made.accumulate > 0,
        "evaluation_due": isinstance(made.evaluation_due, bool),
        "log_bytes": _is_count(log_bytes),
        "scaler": all(_is_number(value) and value >= 0 for value in scaler.values()),
    }
    if not all(sound.values()):
        wrong = ", ".join(name for name, good in sound.items() if not good)
        raise ValueError(f"state.json has a wrong value of {wrong}")
    return _Saved(made, scaler, int(values["log_bytes"]))


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 53


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def set_aside(folder: Path) -> Path:
    """Rename a damaged checkpoint so that it is looked at no more, and never over an earlier one.

    Returns:
        Where it is now: damaged-NAME, or damaged-NAME.2 and so on.
    """
    place, number = folder.with_name(f"damaged-{folder.name}"), 1
    while place.exists():
        number += 1
        place = folder.with_name(f"damaged-{folder.name}.{number}")
    folder.rename(place)
    flush_folder(folder.parent)
    return place


def _optimizer_order(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Parameter names in the order in which the optimizer numbers them."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(p)] for group in optimizer.param_groups for p in group["params"]]


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    order = _optimizer_order(model, optimizer)
    return {
        f"{order[number]}:{key}": torch.as_tensor(value).detach().cpu().contiguous()
        for number, entry in optimizer.state_dict()["state"].items()
        for key, value in entry.items()
    }


def _restore_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]
) -> None:
    number = {name: n for n, name in enumerate(_optimizer_order(model, optimizer))}
    entries: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        parameter, key = name.rsplit(":", 1)
        entries.setdefault(number[parameter], {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": entries})
