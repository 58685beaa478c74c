"""What log.jsonl of a run says: its updates, its evaluations, and how long a pass took."""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minibert.strict_json import parse_object

SLOWEST = 0.005  # items a second that the log, with two decimals, tells from none


def read_log(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The updates and the evaluations that log.jsonl tells of.

    Raises:
        ValueError: it cannot be read, or a line is not JSON.
    """
    try:
        rows = path.read_bytes().splitlines()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}); expected a run's log"
        ) from None
    found: dict[Any, list[dict[str, Any]]] = {"update": [], "eval": []}
    for number, row in enumerate(rows, 1):
        try:
            line = parse_object(row)
        except ValueError as error:
            raise ValueError(f"{path}: line {number} {error}; the log is damaged") from None
        found.get(str(line.get("event")), []).append(line)
    return found["update"], found["eval"]


@contextmanager
def damage_told(folder: Path) -> Iterator[None]:
    """Around what takes values out of a run's log and options.

    Raises:
        ValueError: for one that is not there, or is not of its type.
    """
    try:
        yield
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(
            f"{folder} is damaged: log.jsonl or options.json has not what a run writes "
            f"({type(error).__name__}: {error})"
        ) from None


def updates_per_epoch(evals: Sequence[Mapping[str, Any]]) -> int:
    """Updates of a pass over the training set.

    Args:
        evals: the log's lines, with update and epoch (maybe a fraction); at least one.

    Raises:
        LookupError, TypeError, ArithmeticError: a last line that lacks one of these.
    """
    per_epoch: int = round(evals[-1]["update"] / evals[-1]["epoch"])
    return per_epoch


def epoch_seconds(updates: Sequence[Mapping[str, Any]], per_epoch: int) -> float:
    """Time of one pass: the median of the whole ones, else what there is made longer to a whole.

    An update's time is its size / its speed: unlike the clock of the log it begins anew neither
    with a resumed run nor counts evaluations and checkpoints.

    Args:
        updates: the log's lines, with size, epoch and time.{texts,windows}_per_s.
        per_epoch: updates in a pass.

    Raises:
        LookupError, TypeError, AttributeError: a line that lacks one of these.
    """
    epochs: dict[int, list[float]] = defaultdict(list)
    for line in updates:
        speeds = [value for key, value in line["time"].items() if key.endswith("_per_s")]
        epochs[line["epoch"]].append(line["size"] / max(speeds[0], SLOWEST))
    whole = [sum(times) for times in epochs.values() if len(times) == per_epoch]
    if whole:
        return statistics.median(whole)
    return statistics.fmean(time for times in epochs.values() for time in times) * per_epoch
