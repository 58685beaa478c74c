"""What runs said of each item of their dev file, and by how much they differ on the same items.

Tweets bring their right labels in predictions.json; answers are scored again on the file of
questions. Both must give the scores of metrics.json, else something here is of another run.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.ledger import listed
from eval.classification import class_rates, confusion_matrix
from eval.exact_f1 import raw_scores
from eval.finished_run import CLASSIFY, FinishedRun
from eval.paired import Interval, McNemar, bootstrap_difference, bootstrap_mean_difference, mcnemar
from minibert.strict_json import named, shown

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
MOST_OFF = 1e-3  # of the sum of a text's probabilities from 1


@dataclass(frozen=True, eq=False)
class DevItems:
    """One run's n dev items, in the order of their ids, which is the same for every run.

    Attributes:
        gold: {id or line: right label, or right answers}; n of them.
        right: (n,) bool, whether label or answer is exactly right.
        f1: (n,) F1 of an answer, 0 to 1; of tweets the same as `right`.
        labels: (n,) right classes; empty of answers.
        predicted: (n,) predicted classes; empty of answers.
    """

    gold: Mapping[str, Any]
    right: NDArray[np.bool_]
    f1: Floats
    labels: Ints
    predicted: Ints


def tweet_items(run: FinishedRun) -> DevItems:
    """The tweets of a classifier's run.

    Raises:
        ValueError: predictions that are damaged, or do not give the run's scores.
    """
    number = {name: c for c, name in enumerate(run.classes)}
    path = run.folder / "predictions.json"
    try:
        gold = {line: run.predictions[line]["label"] for line in sorted(run.predictions)}
        entries = [run.predictions[line] for line in gold]
        labels = np.array([number[entry["label"]] for entry in entries], np.int64)
        predicted = np.array([number[entry["predicted"]] for entry in entries], np.int64)
        for line, entry in zip(gold, entries, strict=True):
            if "probabilities" in entry:  # scores are of the predicted classes, without them
                _check_probabilities(f"{path}: line {named(line)}", entry, number)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is damaged: it is not what train.classify writes "
            f"({type(error).__name__}: {error})"
        ) from None
    right = labels == predicted
    items = DevItems(gold, right, right.astype(np.float64), labels, predicted)
    _require_scores(run, class_scores(items, len(number)), "predictions.json")
    return items


def _check_probabilities(place: str, entry: Mapping[str, Any], classes: Mapping[str, int]) -> None:
    """Refuse an entry of predictions.json whose probabilities are none, or not of its class.

    Raises:
        ValueError: one sentence.
    """
    row = entry["probabilities"]
    if row.keys() != classes.keys():
        raise ValueError(
            f"{place} has probabilities of {listed([shown(name) for name in row])}, expected "
            f"{listed([shown(name) for name in classes])}; the file is damaged"
        )
    total = math.fsum(row.values())
    if not (min(row.values()) >= 0 and abs(total - 1) <= MOST_OFF):
        raise ValueError(
            f"{place} has probabilities with sum {total:.6g} and least value "
            f"{min(row.values()):.6g}, expected sum 1 and none below 0; the file is damaged"
        )
    if row[entry["predicted"]] < max(row.values()):
        raise ValueError(
            f"{place} has {shown(entry['predicted'])} as predicted, but another class has the "
            "highest probability; the file is damaged"
        )


def class_scores(items: DevItems, classes: int, chosen: Any = slice(None)) -> dict[str, float]:
    """Accuracy, macro-F1 and weighted F1 in percent of chosen tweets, as metrics.json has them."""
    rates = class_rates(confusion_matrix(items.labels[chosen], items.predicted[chosen], classes))
    return {
        "accuracy": 100 * rates.accuracy,
        "macro_f1": 100 * rates.macro.f1,
        "weighted_f1": 100 * rates.weighted.f1,
    }


def answer_items(run: FinishedRun, gold: Mapping[str, Sequence[str]], path: Path) -> DevItems:
    """The questions of a SQuAD run.

    Args:
        run: with {id: answer} as predictions.
        gold: {id: right answers} of its dev file.
        path: that file, for messages.

    Raises:
        ValueError: predictions that are damaged, or are not of this file.
    """
    if not all(isinstance(answer, str) for answer in run.predictions.values()):
        raise ValueError(
            f"{run.folder / 'predictions.json'} is damaged: an answer in it is not text"
        )
    advice = "name its dev file with --data-file"
    _refuse_other_ids(run.folder, run.predictions, path, gold, advice)
    gold = {identifier: list(gold[identifier]) for identifier in sorted(gold)}
    exact, f1 = raw_scores(gold, run.predictions)
    right, scores = np.array(list(exact.values()), bool), np.array(list(f1.values()))
    means = {"exact": 100 * float(right.mean()), "f1": 100 * float(scores.mean())}
    _require_scores(run, means, str(path))
    none = np.zeros(0, np.int64)
    return DevItems(gold, right, scores, none, none)


def _require_scores(run: FinishedRun, scores: Mapping[str, float], source: str) -> None:
    for name, value in scores.items():
        told = run.metrics.get(name)
        if told is None or not math.isclose(told, value, rel_tol=1e-9, abs_tol=1e-9):
            raise ValueError(
                f"{run.folder / 'metrics.json'} has {name} {_number(told)}, but with {source} it "
                f"is {_number(value)}; one of them is damaged, or is not of this run"
            )


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def refuse_other_items(first: Path, second: Path, gold: Mapping[str, Any], other: Any) -> None:
    """Two runs were scored on the same dev items: ids and right answers are equal.

    Args:
        first: name of the one.
        second: of the other.
        gold: {id: right answer} of the first.
        other: of the second.

    Raises:
        ValueError: what differs.
    """
    _refuse_other_ids(first, gold, second, other, "compare runs on one dev file")
    changed = [i for i in gold if gold[i] != other[i]]
    if changed:
        i = changed[0]
        raise ValueError(
            f"{first} and {second} have not the same dev items: {len(changed)} of {len(gold)} have "
            f"other right answers (the first is {named(i)}: {shown(gold[i])} and "
            f"{shown(other[i])}); compare runs on one dev file"
        )


def _refuse_other_ids(
    first: Path, ids: Mapping[str, Any], second: Path, others: Mapping[str, Any], advice: str
) -> None:
    for place, here, there in ((first, ids, others), (second, others, ids)):
        only = [i for i in here if i not in there]
        if only:
            raise ValueError(
                f"{first} and {second} have not the same dev items: {len(only)} of {len(here)} are "
                f"only in {place} (the first is {named(only[0])}); {advice}"
            )


@dataclass(frozen=True)
class Difference:
    """Of two runs, or of two groups of runs, on the same items.

    Attributes:
        scores: {"accuracy" and "macro_f1", or "exact" and "f1": first minus second, in points}.
        mcnemar: of right and wrong items; None where a group is of several runs.
    """

    scores: dict[str, Interval]
    mcnemar: McNemar | None


def difference(
    task: str,
    first: Sequence[DevItems],
    second: Sequence[DevItems],
    classes: int,
    samples: int,
) -> Difference:
    """By how much runs are better than others, with intervals over resampled items.

    A group's score is the mean of its runs'.

    Args:
        task: "classify" or "squad".
        first: items of each run of the first group.
        second: of the second, the same items.
        classes: C of a classifier.
        samples: of the bootstrap.
    """

    def means(values: str) -> Interval:
        one, other = (
            np.mean([getattr(items, values) for items in group], 0) for group in (first, second)
        )
        return bootstrap_mean_difference(one, other, samples=samples)

    if task == CLASSIFY:
        f1 = bootstrap_difference(
            macro_f1_difference(
                first[0].labels,
                [items.predicted for items in first],
                [items.predicted for items in second],
                classes,
            ),
            len(first[0].labels),
            samples=samples,
        )
        scores = {"accuracy": means("right"), "macro_f1": f1}
    else:
        scores = {"exact": means("right"), "f1": means("f1")}
    alone = len(first) == len(second) == 1
    return Difference(
        {name: _in_points(interval) for name, interval in scores.items()},
        mcnemar(first[0].right, second[0].right) if alone else None,
    )


def _in_points(interval: Interval) -> Interval:
    return Interval(
        100 * interval.difference, 100 * interval.low, 100 * interval.high, interval.level
    )


def macro_f1_difference(
    labels: Ints, first: Sequence[Ints], second: Sequence[Ints], classes: int
) -> Callable[[Ints], float]:
    """The measure for `bootstrap_difference`: mean macro-F1 of some runs minus that of others.

    Resampled thousands of times, texts that all runs treat alike are counted together.

    Args:
        labels: (n,) right classes, 0 to C - 1.
        first: (n,) predicted classes of each run on the one side.
        second: the same on the other.
        classes: C.

    Returns:
        (m,) numbers of texts -> difference, from -1 to 1.
    """
    kinds, kind_of = np.unique(np.stack([labels, *first, *second]), axis=1, return_inverse=True)
    kind_of = kind_of.reshape(-1)
    is_class = np.eye(classes)
    right, predicted = is_class[kinds[0]], is_class[kinds[1:]]  # (K, C), (R, K, C)
    hits, marks = 2 * predicted * right, predicted + right
    sides = [1 / len(first)] * len(first) + [-1 / len(second)] * len(second)

    def measure(chosen: Ints) -> float:
        counts = np.bincount(kind_of[chosen], minlength=kinds.shape[1]).astype(np.float64)
        top, bottom = counts @ hits, counts @ marks  # (R, C); F1 = 2 hits / (texts + predictions)
        occurs = bottom > 0  # the others are no part of the mean, as in eval/classification.py
        f1 = np.divide(top, bottom, out=np.zeros_like(top), where=occurs)
        return float(f1.sum(1) / occurs.sum(1) @ sides)

    return measure
