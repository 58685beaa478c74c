"""How good a classifier is: accuracy, precision, recall, F1, confusion; `score` has everything.

Plain numpy on (n,) right classes and (n, C) scores; every figure is scikit-learn's to 1e-12, as a
share from 0 to 1. Curves and calibration are in eval/class_curves.py.

- Of equal scores the lowest class is the predicted one.
- Precision, recall and F1 are 0 where their denominator is (scikit-learn's zero_division=0). The
  macro mean is over the classes that occur, as right or as predicted: one that does neither says
  nothing about the classifier.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from eval.class_curves import (
    Floats,
    Integers,
    checked_classes,
    checked_scores,
    precision_recall_curves,
    reliability,
    roc_curves,
)


class Rates(NamedTuple):
    """Precision, recall and F1 of a class or a mean of them, 0 to 1."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class ClassRates:
    """What a confusion matrix says.

    Attributes:
        accuracy: share of right predictions.
        classes: precision, recall and F1 of each class.
        support: texts of each class.
        macro: unweighted mean over the classes that occur.
        micro: of all decisions together; for one class a text all three are the accuracy.
        weighted: mean over the classes, weighted with their support.
    """

    accuracy: float
    classes: tuple[Rates, ...]
    support: tuple[int, ...]
    macro: Rates
    micro: Rates
    weighted: Rates


def predicted_classes(scores: Any) -> Integers:
    """(n, C) scores -> (n,) classes of the highest; of equal ones the lowest class."""
    return np.asarray(checked_scores(scores).argmax(1), dtype=np.int64)


def confusion_matrix(labels: Any, predictions: Any, num_classes: int) -> Integers:
    """(C, C) counts: the row is the right class, the column the predicted one.

    Args:
        labels: (n,) right classes, 0 to C - 1.
        predictions: (n,) predicted classes.
        num_classes: C.

    Raises:
        ValueError: no text, unequal numbers of them, or a class that is not one of the C.
    """
    right = checked_classes("labels", labels, num_classes)
    predicted = checked_classes("predictions", predictions, num_classes)
    if len(right) != len(predicted):
        raise ValueError(f"there are {len(right)} labels and {len(predicted)} predictions")
    counts = np.bincount(right * num_classes + predicted, minlength=num_classes**2)
    return counts.astype(np.int64).reshape(num_classes, num_classes)


def class_rates(confusion: Integers) -> ClassRates:
    """Accuracy, precision, recall and F1 of a confusion matrix (C, C)."""
    hits, support, chosen = np.diagonal(confusion), confusion.sum(1), confusion.sum(0)
    # (C, 3); F1 = 2 hits / (texts + predictions), the harmonic mean of the two
    rates = np.stack(
        [_shares(hits, chosen), _shares(hits, support), _shares(2 * hits, support + chosen)], 1
    )
    accuracy = float(hits.sum() / confusion.sum())
    return ClassRates(
        accuracy=accuracy,
        classes=tuple(Rates(*row) for row in rates.tolist()),
        support=tuple(support.tolist()),
        macro=Rates(*rates[support + chosen > 0].mean(0).tolist()),
        micro=Rates(accuracy, accuracy, accuracy),
        weighted=Rates(*np.average(rates, axis=0, weights=support).tolist()),
    )


def score(labels: Any, probabilities: Any, names: Sequence[str]) -> dict[str, Any]:
    """Everything as one JSON object: shares in percent, areas and errors from 0 to 1.

    Args:
        labels: (n,) right classes, 0 to C - 1.
        probabilities: (n, C), each row with sum 1.
        names: of the C classes.

    Returns:
        accuracy; {macro,weighted}_{precision,recall,f1}; {macro,micro}_{roc_auc,average_precision};
        calibration_error; total; per_class {name: precision, recall, f1, roc_auc,
        average_precision, total}; confusion, rows the right class. None where there is no value.

    Raises:
        ValueError: as for `reliability`, or names that are not C.
    """
    if np.ndim(probabilities) == 2 and np.shape(probabilities)[1] != len(names):
        raise ValueError(
            f"there are {np.shape(probabilities)[1]} scores a text, {len(names)} names"
        )
    calibration = reliability(labels, probabilities)
    confusion = confusion_matrix(labels, predicted_classes(probabilities), len(names))
    rates = class_rates(confusion)
    roc, curves = roc_curves(labels, probabilities), precision_recall_curves(labels, probabilities)
    metrics: dict[str, Any] = {"accuracy": 100.0 * rates.accuracy}
    for mean, values in (("macro", rates.macro), ("weighted", rates.weighted)):
        metrics |= {f"{mean}_{key}": 100.0 * value for key, value in values._asdict().items()}
    metrics |= {
        "macro_roc_auc": roc.macro and roc.macro.area,
        "micro_roc_auc": roc.micro.area,
        "macro_average_precision": curves.macro,
        "micro_average_precision": curves.micro.average_precision,
        "calibration_error": calibration.expected_error,
        "total": int(confusion.sum()),
        "per_class": {
            name: {
                **{key: 100.0 * value for key, value in rates.classes[i]._asdict().items()},
                "roc_auc": (curve := roc.classes[i]) and curve.area,
                "average_precision": (other := curves.classes[i]) and other.average_precision,
                "total": rates.support[i],
            }
            for i, name in enumerate(names)
        },
        "confusion": confusion.tolist(),
    }
    return metrics


def _shares(part: Integers, whole: Integers) -> Floats:
    """part / whole, 0 where the whole is."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
