"""How much disk a run needs, and the refusal to begin where it is not there."""

import shutil
from pathlib import Path

from torch import nn

from data.failures import EXIT_DISK, CommandError
from train.options import TrainOptions

ANSWER_BYTES = 200  # of one entry of nbest.json: a text of some words and three numbers
MARGIN_BYTES = 1 << 20  # log, picture, vocabulary


def disk_need(model: nn.Module, options: TrainOptions, answers: int) -> int:
    """Bytes that a run folder grows to.

    A checkpoint holds the weights and Adam's two moments, in float32; one more stands while the
    oldest is replaced. The best model and its answers stand twice while a better one takes over.

    Args:
        model: with its parameters.
        options: keep_checkpoints.
        answers: entries in the prediction files: dev questions times listed answers.
    """
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    checkpoints = (options.keep_checkpoints + 1) * 3 * weights
    return checkpoints + 2 * (weights + answers * ANSWER_BYTES) + MARGIN_BYTES


def disk_free(folder: Path) -> int:
    """Free bytes where a folder is or would be made."""
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return shutil.disk_usage(existing).free


def refuse_without_room(folder: Path, need: int) -> None:
    """Compare what a run needs with what is free; what it holds already, after a resume, counts.

    Raises:
        CommandError: with both numbers (status 4).
    """
    held = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    free = disk_free(folder)
    if need - held > free:
        raise CommandError(
            f"the run needs {_size(need - held)} on the disk of {folder}, where {_size(free)} are "
            "free; make room, lower --keep-checkpoints, or name another --output-dir",
            EXIT_DISK,
        )


def _size(count: int) -> str:
    """Bytes for people: 1.23 GB, 4.5 MB."""
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
