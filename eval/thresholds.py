"""Scores against thresholds: the official search, the best possible ones, precision and recall."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from eval.exact_f1 import Gold, gold_texts, raw_scores, require


class Curve(NamedTuple):
    """A precision-recall curve: points from left to right, and the area below it in percent."""

    precisions: list[float]
    recalls: list[float]
    average_precision: float


class ThresholdCurve(NamedTuple):
    """EM and F1 in percent of all questions, were each threshold (ascending) applied."""

    thresholds: list[float]
    exact: list[float]
    f1: list[float]


def best_thresholds(
    gold: Gold, predictions: Mapping[str, str], na_probs: Mapping[str, float]
) -> dict[str, float]:
    """The official search for the thresholds of the best EM and F1, quirks included.

    It starts from "nothing is answered" (threshold 0.0), adds one question at a time in the order
    of `na_probs` even among equal ones, and takes 1 off for every non-empty text of a question
    without gold, though "the" would score 1 there. `best_metrics` has none of these habits.

    Returns:
        best_exact, best_exact_thresh, best_f1, best_f1_thresh; the scores in percent.
    """
    texts = gold_texts(gold)
    exact, f1 = raw_scores(texts, predictions)
    order = sorted((i for i in na_probs if i in texts), key=na_probs.__getitem__)
    measures: dict[str, Mapping[str, float]] = {"exact": exact, "f1": f1}
    found: dict[str, float] = {}
    for name, scores in measures.items():
        current: float = sum(not answers for answers in texts.values())
        best, threshold = current, 0.0
        for i in order:
            current += scores[i] if texts[i] else -bool(predictions[i])
            if current > best:
                best, threshold = current, na_probs[i]
        found[f"best_{name}"] = 100.0 * best / len(texts)
        found[f"best_{name}_thresh"] = threshold
    return found


def threshold_curve(
    gold: Gold, best_texts: Mapping[str, str], null_odds: Mapping[str, float]
) -> ThresholdCurve:
    """EM and F1 at every threshold that matters, each exactly what a run with it would score.

    Args:
        gold: examples, or {id: gold texts}.
        best_texts: {id: best non-empty text}, before any threshold; so thresholds above the one of
            the run are explored too, which finished predictions no longer allow.
        null_odds: {id: null score - best score}; an answer stands iff its odds <= threshold.
    """
    texts = gold_texts(gold)
    require("null odds", null_odds, texts)
    kept = raw_scores(texts, best_texts)
    empty = raw_scores(texts, dict.fromkeys(texts, ""))
    order = sorted((i for i in texts if best_texts[i]), key=null_odds.__getitem__)
    exact, f1 = float(sum(empty[0].values())), math.fsum(empty[1].values())
    per_question = 100.0 / len(texts)
    # The first point answers nothing: a threshold below all odds.
    lowest = null_odds[order[0]] - 1.0 if order else 0.0
    curve = ThresholdCurve([lowest], [exact * per_question], [f1 * per_question])
    for place, i in enumerate(order):
        exact += kept[0][i] - empty[0][i]
        f1 += kept[1][i] - empty[1][i]
        if place + 1 == len(order) or null_odds[order[place + 1]] != null_odds[i]:
            curve.thresholds.append(null_odds[i])
            curve.exact.append(exact * per_question)
            curve.f1.append(f1 * per_question)
    return curve


def best_metrics(
    gold: Gold, best_texts: Mapping[str, str], null_odds: Mapping[str, float]
) -> dict[str, float]:
    """The best EM and F1 any null threshold could give, and the lowest threshold that gives it.

    An oracle: the thresholds are chosen on the very questions that are scored.
    Arguments as for `threshold_curve`; the keys are those of `best_thresholds`.
    """
    curve = threshold_curve(gold, best_texts, null_odds)
    found: dict[str, float] = {}
    for name, values in (("exact", curve.exact), ("f1", curve.f1)):
        place = values.index(max(values))
        found[f"best_{name}"] = values[place]
        found[f"best_{name}_thresh"] = curve.thresholds[place]
    return found


def precision_recall(
    gold: Gold, predictions: Mapping[str, str], na_probs: Mapping[str, float]
) -> dict[str, Curve]:
    """The official curves "exact", "f1" and "oracle", answering more and more questions.

    "oracle" judges na_probs alone, as if every answer to an answerable question were right.
    Empty where no question has an answer.
    """
    texts = gold_texts(gold)
    exact, f1 = raw_scores(texts, predictions)
    answerable = sum(bool(answers) for answers in texts.values())
    order = sorted((i for i in na_probs if i in texts), key=na_probs.__getitem__)
    if not answerable:
        return {}
    curves: dict[str, Curve] = {}
    perfect = dict.fromkeys(texts, 1)
    measures: dict[str, Mapping[str, float]] = {"exact": exact, "f1": f1, "oracle": perfect}
    for name, scores in measures.items():
        precisions, recalls, area, right = [1.0], [0.0], 0.0, 0.0
        for place, i in enumerate(order):
            right += scores[i] if texts[i] else 0.0
            if place + 1 == len(order) or na_probs[order[place + 1]] != na_probs[i]:
                precision, recall = right / (place + 1), right / answerable
                area += precision * (recall - recalls[-1])
                precisions.append(precision)
                recalls.append(recall)
        curves[name] = Curve(precisions, recalls, 100.0 * area)
    return curves
