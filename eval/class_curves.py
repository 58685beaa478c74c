"""A classifier's one-vs-rest ROC and precision-recall curves, and how far to believe its scores.

Plain numpy; every figure is scikit-learn's to 1e-12. Where it has no value, nobody has to guess:

- A class without texts, or with no others, has no ROC curve; one without texts has no
  precision-recall curve. It is None, and the macro means are over the classes that have one
  (scikit-learn warns, and counts some of them as 0 or as nan).
- Equal scores are one point of a curve: which of their texts comes first never matters.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class RocCurve(NamedTuple):
    """True against false positive rate, from (0, 0) to (1, 1), and the area below.

    Attributes:
        false_positive_rates: (K,) ascending.
        true_positive_rates: (K,) ascending.
        area: 0.5 for a guess. Half of it counts for two texts of equal score.
    """

    false_positive_rates: Floats
    true_positive_rates: Floats
    area: float


class PrecisionRecall(NamedTuple):
    """Precision against recall, from recall 0 on, and the average precision.

    Attributes:
        precisions: (K,), 1 at the first point, where nothing is chosen.
        recalls: (K,) ascending.
        average_precision: sum of precision x gain in recall, with no straight line between points.
    """

    precisions: Floats
    recalls: Floats
    average_precision: float


class RocCurves(NamedTuple):
    """One-vs-rest curves of all classes; None for those that have none.

    Attributes:
        classes: of each class.
        micro: of all n x C decisions together.
        macro: mean of the classes' curves at every false positive rate; its area is the mean area.
    """

    classes: tuple[RocCurve | None, ...]
    micro: RocCurve
    macro: RocCurve | None


class PrecisionRecalls(NamedTuple):
    """One-vs-rest curves of all classes; None for those that have none.

    Attributes:
        classes: of each class.
        micro: of all n x C decisions together.
        macro: mean of the classes' average precisions.
    """

    classes: tuple[PrecisionRecall | None, ...]
    micro: PrecisionRecall
    macro: float | None


class Reliability(NamedTuple):
    """Confidence (probability of the predicted class) beside accuracy, in M equally wide bins.

    Attributes:
        edges: (M + 1,) 0 to 1. A bin holds its upper edge and not its lower one, but 0 itself.
        counts: (M,) texts.
        confidences: (M,) mean confidence; nan in an empty bin.
        accuracies: (M,) share of right predictions; nan in an empty bin.
        expected_error: expected calibration error, the mean over texts of |accuracy - confidence|
            of their bin (Naeini et al. 2015; Guo et al. 2017, arXiv 1706.04599).
    """

    edges: Floats
    counts: Integers
    confidences: Floats
    accuracies: Floats
    expected_error: float


def roc_curve(is_positive: Any, scores: Any) -> RocCurve | None:
    """ROC curve of one yes-no question; None if all are positive, or none is.

    Args:
        is_positive: (n,) bool.
        scores: (n,) float, higher for positive.
    """
    hits, alarms = _cumulated(is_positive, scores)
    if not hits[-1] or not alarms[-1]:
        return None
    rates = alarms / alarms[-1], hits / hits[-1]
    return RocCurve(*rates, _area(*rates))


def precision_recall_curve(is_positive: Any, scores: Any) -> PrecisionRecall | None:
    """Precision-recall curve of one yes-no question; None if there is no positive.

    Arguments as for `roc_curve`.
    """
    hits, alarms = _cumulated(is_positive, scores)
    if not hits[-1]:
        return None
    precisions = np.append(1.0, hits[1:] / (hits + alarms)[1:])
    recalls = hits / hits[-1]
    return PrecisionRecall(precisions, recalls, float((np.diff(recalls) * precisions[1:]).sum()))


def roc_curves(labels: Any, scores: Any) -> RocCurves:
    """One-vs-rest ROC curves.

    Args:
        labels: (n,) right classes, 0 to C - 1.
        scores: (n, C), probabilities or any scores that grow with them.

    Raises:
        ValueError: shapes that do not fit, a class that is not one of the C, nan or infinity.
    """
    is_class, scores = _one_vs_rest(labels, scores)
    classes = tuple(map(roc_curve, is_class.T, scores.T))
    micro = roc_curve(is_class.ravel(), scores.ravel())
    assert micro is not None  # every text is of one class and not of another
    found = [curve for curve in classes if curve is not None]
    return RocCurves(classes, micro, _mean_curve(found) if found else None)


def precision_recall_curves(labels: Any, scores: Any) -> PrecisionRecalls:
    """One-vs-rest precision-recall curves; arguments and errors as for `roc_curves`."""
    is_class, scores = _one_vs_rest(labels, scores)
    classes = tuple(map(precision_recall_curve, is_class.T, scores.T))
    micro = precision_recall_curve(is_class.ravel(), scores.ravel())
    assert micro is not None
    averages = [curve.average_precision for curve in classes if curve is not None]
    return PrecisionRecalls(classes, micro, float(np.mean(averages)) if averages else None)


def reliability(labels: Any, probabilities: Any, bins: int = 15) -> Reliability:
    """How far a classifier's probabilities can be believed.

    Args:
        labels: (n,) right classes, 0 to C - 1.
        probabilities: (n, C), each row with sum 1.
        bins: M; 15 as in Guo et al.

    Raises:
        ValueError: as for `roc_curves`, or scores that are no probabilities.
    """
    _, probabilities = _one_vs_rest(labels, probabilities)
    sums = probabilities.sum(1)
    if probabilities.min() < 0 or np.abs(sums - 1).max() > 1e-4:
        row = int(np.argmax(np.maximum(-probabilities.min(1), np.abs(sums - 1))))
        raise ValueError(
            f"row {row} of the probabilities has sum {sums[row]:.6g} and least value "
            f"{probabilities[row].min():.6g}, expected sum 1 and none below 0; apply a softmax"
        )
    edges = np.linspace(0.0, 1.0, bins + 1)
    confidence = probabilities.max(1)
    is_right = probabilities.argmax(1) == np.asarray(labels)
    places = np.searchsorted(edges[1:-1], confidence)
    counts = np.bincount(places, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0 / 0 is nan, as said
        confidences = np.bincount(places, confidence, bins) / counts
        accuracies = np.bincount(places, is_right, bins) / counts
    gaps = np.abs(accuracies - confidences)[counts > 0]
    error = float((gaps * counts[counts > 0]).sum() / len(confidence))
    return Reliability(edges, counts.astype(np.int64), confidences, accuracies, error)


def checked_classes(what: str, values: Any, num_classes: int) -> Integers:
    """(n,) int64 of classes, or a ValueError that names the first that is none."""
    array = np.asarray(values)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"the {what} have shape {array.shape}, expected (n,) with n at least 1")
    if array.dtype.kind not in "iu":
        raise ValueError(f"the {what} are {array.dtype}, expected whole numbers")
    wrong = np.flatnonzero((array < 0) | (array >= num_classes))
    if len(wrong):
        raise ValueError(
            f"the {what} hold {array[wrong[0]]} at place {wrong[0]}, expected 0 to "
            f"{num_classes - 1}"
        )
    return array.astype(np.int64)


def checked_scores(scores: Any) -> Floats:
    """(n, C) float64 of finite scores, or a ValueError."""
    array = np.asarray(scores)
    if array.ndim != 2 or not len(array) or array.shape[1] < 2:
        raise ValueError(f"the scores have shape {array.shape}, expected (n, C) with C at least 2")
    if array.dtype.kind not in "fiu":
        raise ValueError(f"the scores are {array.dtype}, expected numbers")
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array).all(1))[0])
        raise ValueError(f"row {row} of the scores is not finite: {array[row].tolist()}")
    return array.astype(np.float64)


def _one_vs_rest(labels: Any, scores: Any) -> tuple[NDArray[np.bool_], Floats]:
    """(n, C) whether the text is of the class, and its checked scores."""
    checked = checked_scores(scores)
    right = checked_classes("labels", labels, checked.shape[1])
    if len(right) != len(checked):
        raise ValueError(f"there are {len(right)} labels and {len(checked)} rows of scores")
    return right[:, None] == np.arange(checked.shape[1]), checked


def _cumulated(is_positive: Any, scores: Any) -> tuple[Integers, Integers]:
    """(K,) positives and negatives at or above each different score, falling; (0, 0) first."""
    positive, values = np.asarray(is_positive, dtype=bool), np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or values.shape != positive.shape or not np.isfinite(values).all():
        raise ValueError(
            f"the scores have shape {values.shape} for texts of shape {positive.shape}, expected "
            "(n,) finite numbers for each"
        )
    if not len(values):
        raise ValueError("there are no texts, so there is no curve")
    order = np.argsort(-values, kind="stable")
    falling = values[order]
    ends = np.append(np.flatnonzero(falling[1:] != falling[:-1]), len(falling) - 1)
    hits = np.cumsum(positive[order])[ends]
    return np.append(0, hits), np.append(0, ends + 1 - hits)


def _area(x: Floats, y: Floats) -> float:
    """Under straight lines between the points."""
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())


def _mean_curve(curves: Sequence[RocCurve]) -> RocCurve:
    """The mean true positive rate at every false positive rate.

    Where curves rise straight up, the mean does too: every rate is there twice, with the lower and
    the upper end of the rise. So the area is the mean of the areas, as on no fixed grid.
    """
    grid = np.unique(np.concatenate([curve.false_positive_rates for curve in curves]))
    low, high = np.mean([_ends(curve, grid) for curve in curves], axis=0)
    rates = np.repeat(grid, 2), np.stack([low, high], 1).ravel()
    return RocCurve(*rates, _area(*rates))


def _ends(curve: RocCurve, grid: Floats) -> tuple[Floats, Floats]:
    """Lower and upper true positive rate of a curve at each false positive rate of a grid."""
    x, first = np.unique(curve.false_positive_rates, return_index=True)
    last = np.append(first[1:], len(curve.false_positive_rates)) - 1
    low, high = curve.true_positive_rates[first], curve.true_positive_rates[last]
    left = np.searchsorted(x, grid, side="right") - 1
    right = np.searchsorted(x, grid, side="left")
    width = np.where(right > left, x[right] - x[left], 1.0)
    between = high[left] + (grid - x[left]) / width * (low[right] - high[left])
    is_point = right == left
    return np.where(is_point, low[left], between), np.where(is_point, high[left], between)
