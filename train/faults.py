"""What may go wrong inside an update, and how the run goes on or stops: memory, inf and NaN."""

import ctypes
import json
import math
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import torch
from torch import nn

from data.batches import BatchPlan
from data.failures import EXIT_MEMORY, EXIT_NONFINITE, CommandError
from minibert.files import write_file
from train.checkpoint import TrainState
from train.run import Run

if TYPE_CHECKING:
    from train.loop import Update

NONFINITE_REPORT = "nonfinite-update-{:06d}.json"


def halve_micro_batches(
    plan: BatchPlan, state: TrainState, run: Run, error: BaseException
) -> BatchPlan:
    """A plan with twice as many micro-batches: the same updates from less memory.

    The windows of every update and their weights stay what they were, so with dropout off the
    mathematics does not change. The number is kept in `state`, so that a resumed run starts with
    it, and the log gets a line.

    Args:
        plan: that was too large.
        state: of the run, changed in place.
        run: for log and warning.
        error: torch's.

    Raises:
        CommandError: a micro-batch is a single item already (status 5).
    """
    reason = (str(error) or type(error).__name__).splitlines()[0]
    if plan.accumulate >= plan.batch_size:
        raise CommandError(
            f"out of memory in update {state.update + 1} with one item at a time ({reason}); use "
            "shorter windows (--max-length), --amp, a smaller model, or a larger device",
            EXIT_MEMORY,
        )
    smaller = with_twice_the_parts(plan, error)
    state.accumulate = smaller.accumulate
    run.log("memory", update=state.update + 1, accumulate=state.accumulate)
    print(
        f"warning: out of memory in update {state.update + 1}; going on with --accumulate "
        f"{state.accumulate}, the same windows in every update ({reason})",
        file=sys.stderr,
    )
    return smaller


def with_twice_the_parts(plan: BatchPlan, error: BaseException) -> BatchPlan:
    """A plan whose micro-batches are half as large, with the memory of a failed update given back.

    Args:
        plan: that was too large.
        error: torch's, which loses its traceback.
    """
    error.__traceback__ = None  # its frames hold the tensors of the failed update
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # what is left is in pieces of the old sizes
    return replace(plan, accumulate=min(2 * plan.accumulate, plan.batch_size))


def give_back_memory() -> None:
    """Return to the system what was freed (glibc; nothing elsewhere).

    Batches without padding have ever new sizes, and the allocator keeps what is freed in pieces of
    the old ones: over a thousand updates the process grew to three times what it used.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def renew(scaler: torch.amp.GradScaler, device: torch.device) -> torch.amp.GradScaler:
    """A scaler with the same scale and counts that has not begun an update.

    An update that ran out of memory may have called `unscale_`, which a scaler allows once.
    """
    fresh = torch.amp.GradScaler(device.type, enabled=scaler.is_enabled())
    fresh.load_state_dict(scaler.state_dict())
    return fresh


def refuse_nonfinite(
    folder: Path, update: int, model: nn.Module, made: "Update", ids: Iterable[list[str]]
) -> NoReturn:
    """Stop before an update that would fill the weights with inf or nan, and say where it began.

    RUN/nonfinite-update-N.json gets the loss and the items of every micro-batch, and the parameters
    whose gradients are not finite; numbers as strings where JSON has none for them.

    Args:
        folder: RUN.
        update: counted from 0.
        model: with the gradients of the update.
        made: the update.
        ids: per micro-batch, what the user calls its items.

    Raises:
        CommandError: always, with status 3.
    """
    parameters = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all())
    ]
    micro_batches = [
        {"loss": _number(loss), "items": items}
        for loss, items in zip(made.losses, ids, strict=True)
    ]
    report = {
        "update": update + 1,
        "grad_norm": _number(made.grad_norm),
        "scale": made.scale,
        "micro_batches": micro_batches,
        "nonfinite_gradients": parameters,
        "nonfinite_weights": [
            name for name, p in model.named_parameters() if not bool(p.isfinite().all())
        ],
    }
    path = folder / NONFINITE_REPORT.format(update + 1)
    write_file(path, (json.dumps(report, indent=2, allow_nan=False) + "\n").encode())
    raise CommandError(
        f"update {update + 1} has loss {made.loss} and gradient norm {made.grad_norm} and was not "
        f"made, see {path}; start a new run with a lower --lr, a longer --warmup or --amp-dtype "
        "bf16 (--model RUN begins from this run's best model)",
        EXIT_NONFINITE,
    )


def refuse_evaluation(update: int, what: str) -> NoReturn:
    """Stop where an evaluation's scores are not numbers: they compare with nothing.

    Args:
        update: updates made, all of them saved.
        what: was found, and where.

    Raises:
        CommandError: always, with status 3.
    """
    raise CommandError(
        f"the evaluation after update {update} has {what}; the updates are saved: start a new run "
        "with a lower --lr, a longer --warmup or --amp-dtype bf16",
        EXIT_NONFINITE,
    )


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
