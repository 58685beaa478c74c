"""What a resumed run goes on from: its newest whole checkpoint, and the log up to there.

Looking changes nothing, so that a start that is refused leaves the run as it was.
"""

import sys
from io import FileIO
from pathlib import Path

from data.command import UsageError
from train.best import MODEL, missing_part
from train.checkpoint import PREFIX, TrainState, list_checkpoints, set_aside, verify_checkpoint
from train.options import TrainOptions

_UPDATE, _EVAL = b'{"event": "update"', b'{"event": "eval"'


def newest_whole(run: Path) -> tuple[Path | None, list[tuple[Path, str]]]:
    """The newest undamaged checkpoint, and the newer ones with what is wrong with them.

    Returns:
        None as checkpoint if the run was stopped before it had saved one.

    Raises:
        UsageError: all checkpoints are damaged, or all that there were are gone.
    """
    checkpoints = run / "checkpoints"
    found = list_checkpoints(checkpoints)
    damaged: list[tuple[Path, str]] = []
    while found and (damage := verify_checkpoint(found[-1])):
        damaged.append((found.pop(), damage))
    if found:
        return found[-1], damaged
    if damaged:
        what = "; ".join(f"{folder.name}: {damage}" for folder, damage in damaged)
        raise UsageError(
            f"--resume: every checkpoint in {checkpoints} is damaged ({what}); nothing was "
            "changed: bring back a good copy, or begin again with --overwrite"
        )
    if lost := _sign_of_lost_checkpoints(run):
        raise UsageError(
            f"--resume: {checkpoints} holds no checkpoint, but {lost}; nothing was changed: bring "
            "back the checkpoints, or begin again with --overwrite"
        )
    return None, []


def _sign_of_lost_checkpoints(run: Path) -> str:
    """What tells that a run without checkpoints has had some; "" if it never did.

    The folder is made before the first update, and every evaluation comes after a save.
    """
    checkpoints = run / "checkpoints"
    log = run / "log.jsonl"
    lines = log.read_bytes().splitlines() if log.is_file() else []
    updates = sum(line.startswith(_UPDATE) for line in lines)
    if checkpoints.exists() and not checkpoints.is_dir():
        return "is a file"
    if (run / MODEL).exists():
        return f"{MODEL}/ is there"
    if any(line.startswith(_EVAL) for line in lines):
        return f"log.jsonl tells of {updates} updates and an evaluation"
    if checkpoints.is_dir():
        return "damaged ones are" if any(checkpoints.glob("damaged-*")) else ""
    return f"log.jsonl tells of {updates} updates" if updates else ""


def refuse_beyond_end(state: TrainState, total: int, options: TrainOptions) -> None:
    """A run cannot go back to an end that it has passed.

    Args:
        state: of the newest checkpoint.
        total: updates of the whole training.
        options: of this start, which say where it ends.

    Raises:
        UsageError: more updates are made than the plan has now.
    """
    if state.update <= total:
        return
    made = f"--resume: {state.update} updates are made"
    if options.updates:
        raise UsageError(f"{made}, more than --updates {total}; name as many or more")
    raise UsageError(
        f"{made}, but --epochs {options.epochs:g} of these batches are only {total}; name as many "
        "epochs or more"
    )


def set_all_aside(damaged: list[tuple[Path, str]], update: int) -> None:
    """Rename damaged checkpoints, and say so.

    Args:
        damaged: folders with what is wrong with them.
        update: of the checkpoint that the run goes on from.
    """
    for folder, damage in damaged:
        print(
            f"warning: {folder.name} is damaged ({damage}); set aside as "
            f"{set_aside(folder).name}, going on from {PREFIX}{update:06d}",
            file=sys.stderr,
        )


def forget_lost_best(run: Path, state: TrainState, results: tuple[str, ...]) -> None:
    """Where a part of the best model is gone, have the present model evaluated and take its place.

    Args:
        run: the run folder, with everything published.
        state: of the run, which has had a best model; changed in place.
        results: the JSON files that an evaluation leaves.
    """
    if missing := missing_part(run, results):
        print(
            f"warning: {missing} of the best model is gone or damaged; the model as it is now is "
            "evaluated, and is the best so far",
            file=sys.stderr,
        )
        state.best_score, state.best_update, state.evaluation_due = None, 0, True


def cut_log(log: FileIO, path: Path, length: int) -> None:
    """Cut the log to what a checkpoint knows of; it ends with a whole line whatever was done to it.

    Args:
        log: open for appending.
        path: of the log.
        length: bytes that the checkpoint knows.
    """
    content = path.read_bytes()[:length]
    end = content.rfind(b"\n") + 1
    if end != length:
        print(
            f"warning: log.jsonl has {end} bytes of whole lines where the checkpoint knows of "
            f"{length}; it was cut or changed, and goes on from there",
            file=sys.stderr,
        )
    log.truncate(end)
    log.seek(end)
