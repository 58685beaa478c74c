"""Dev tweets that also stand in the training file: how many, and the scores without them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from data.cleaning import CleaningOptions
from data.tweets import ReadingOptions, find_shared
from eval.dev_items import DevItems, class_scores
from eval.finished_run import FinishedRun
from eval.run_groups import Group
from eval.spread import Spread
from minibert.files import file_sha256

OptionsT = TypeVar("OptionsT")


@dataclass(frozen=True)
class Shared:
    """Attributes:
    raw: dev texts that stand in the training file as they are.
    cleaned: those that are equal to a training text after the runs' own cleaning.
    scores: accuracy, macro_f1 and weighted_f1 without the latter, in percent.
    """

    raw: int
    cleaned: int
    scores: dict[str, Spread]


def leave_out_shared(group: Group, items: Sequence[DevItems]) -> Shared:
    """Read the files as the runs read them, and score what they cannot have seen in training.

    Args:
        group: runs of one training file and one cleaning.
        items: of each of them.

    Raises:
        ValueError: a file that is not there any more or is another, or no text is left.
    """
    run = group.runs[0]
    train_file, dev_file = (Path(str(run.options.get(f"{name}_file"))) for name in ("train", "dev"))
    reading = _options(ReadingOptions, run)
    try:
        cleaning = _options(CleaningOptions, run).cleaning()
    except TypeError as error:  # a list where a word should be
        raise ValueError(f"{run.folder / 'options.json'} is damaged: {error}") from None
    train = reading.read(train_file)
    dev = reading.read(dev_file, train.label_names)
    for name, file in (("train", train_file), ("dev", dev_file)):
        if file_sha256(file) != run.settings[f"{name}-file"].identity:
            raise ValueError(
                f"{file} is not the {name} file of {run.folder}, its content has changed; bring "
                "the file back"
            )
    raw = find_shared(dev, train)
    cleaned = find_shared(
        replace(dev, texts=cleaning.clean(dev.texts)),
        replace(train, texts=cleaning.clean(train.texts)),
    )
    shared = {str(line) for line in dev.lines[cleaned].tolist()}
    kept = np.array([line not in shared for line in items[0].gold])
    if not kept.any():
        raise ValueError(f"all texts of {dev_file} also stand in {train_file}; nothing is left")
    scores = [class_scores(one, len(run.classes), kept) for one in items]
    spreads = {key: Spread.of([one[key] for one in scores]) for key in scores[0]}
    return Shared(len(raw), len(cleaned), spreads)


def _options(kind: type[OptionsT], run: FinishedRun) -> OptionsT:
    """The run's own values of some options; one that is younger than the run has its default."""
    saved: Mapping[str, Any] = run.options
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: saved[name] for name in names if name in saved})
