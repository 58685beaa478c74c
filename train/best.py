"""The best model so far, with its answers and scores: they change together, or not at all.

An evaluation with a new best score writes all of it below RUN/.best-000500/, where no reader looks:
best/ (the model), predictions.json, metrics.json and the others. Then the checkpoint is saved whose
state says that update 500 is the best, and only then do the files move to their places. Killed
before the checkpoint is there, the hidden folder is thrown away and the evaluation made again;
killed after it, the next start finishes the moves. So what RUN holds is always what the newest
checkpoint knows of.
"""

import hashlib
import os
import shutil
from pathlib import Path

from minibert.files import file_sha256, flush_folder
from minibert.strict_json import parse_object
from train.folders import flush_tree, replace_folder

MODEL = "best"
_DIGEST = "sha256"
METRICS, PREDICTIONS = "metrics.json", "predictions.json"
ANSWER_FILES = (PREDICTIONS, "nbest.json", "null_odds.json", "na_probs.json")


def staged(run: Path, update: int) -> Path:
    """Where the evaluation after an update writes its files."""
    return run / f".{MODEL}-{update:06d}"


def seal(folder: Path) -> None:
    """Flush everything staged to disk, with a digest by which `publish` knows the model again."""
    (folder / _DIGEST).write_text(_digest(folder / MODEL), encoding="ascii")
    flush_tree(folder)
    flush_folder(folder.parent)


def publish(run: Path, update: int, resumed: bool = False) -> None:
    """Move what was staged after the best update to its places; drop what no checkpoint knows of.

    Args:
        run: the run folder.
        update: `best_update` of the newest checkpoint; nothing happens if it is in place already.
        resumed: whether an earlier process may have been killed in the middle of this.
    """
    folder = staged(run, update)
    for other in run.glob(f".{MODEL}-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    if not folder.is_dir():
        return
    model, digest = folder / MODEL, folder / _DIGEST
    if digest.is_file():  # else it was never finished, and nothing in it is moved
        for name in (METRICS, *ANSWER_FILES):
            if (folder / name).is_file():
                os.replace(folder / name, run / name)
        # After a kill in the middle, what lies here may be the earlier best, already exchanged.
        if model.is_dir():
            if not resumed or digest.read_text(encoding="ascii") != _digest(run / MODEL):
                replace_folder(model, run / MODEL)
        flush_folder(run)
    shutil.rmtree(folder)


def missing_part(run: Path, results: tuple[str, ...]) -> str | None:
    """The first of the best model's parts that is not in its place or cannot be read, by name.

    Args:
        run: the run folder.
        results: the JSON files that every evaluation of this kind of run leaves.
    """
    if not all((run / MODEL / name).is_file() for name in ("config.json", "model.safetensors")):
        return f"{MODEL}/"
    for name in results:
        try:
            parse_object((run / name).read_bytes())
        except (OSError, ValueError):
            return name
    return None


def _digest(folder: Path) -> str:
    """One sha256 over names and contents of a folder's files; "" without the folder."""
    if not folder.is_dir():
        return ""
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        total.update(f"{path.name} {file_sha256(path)}\n".encode())
    return total.hexdigest()
