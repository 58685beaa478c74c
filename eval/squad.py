"""Exact match and F1 by the rules of the official SQuAD v1.1 and v2.0 scorer; same command line.

    python -m eval.squad DATA PREDICTIONS [-n NA_PROBS] [-t THRESH] [-o OUT] [-p IMAGES] [-v]

The rules (Rajpurkar et al. 2018; evaluate-v2.0.py), with the corners that decide the last digit:

- Texts are compared in normal form: lower case, ASCII punctuation dropped (unicode dashes and
  quotes stay), the words a, an, the blanked out, white space squeezed.
- F1 counts shared words with repetition; where either side has no word it is 1 if both have none.
- Every gold answer counts and the best one scores. Golds without a normal form ("the", "...") are
  dropped; if none is left the only right answer is the empty one.
- A question "has an answer" if its list of golds is not empty, whatever `is_impossible` says.
- With no-answer probabilities an answer is taken back where probability > threshold, strictly;
  the question then scores 1 if it has no gold and 0 if it has one.

v2 data is told from v1 by the data: NoAns_* keys appear where a question has no gold answer. The
command reads ids and gold texts only, as the official one does, so files that a stricter reader
would refuse (no context, wrong offsets) are scored all the same.
"""

import json
import math
import re
import string
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from data.command import parser, run_command

_DROP_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_ARTICLES = frozenset(("a", "an", "the"))


class GoldAnswer(Protocol):
    """A gold answer; `data.squad.Answer` is one."""

    @property
    def text(self) -> str: ...


class Question(Protocol):
    """A question with its gold answers; `data.squad.SquadExample` is one."""

    @property
    def id(self) -> str: ...
    @property
    def answers(self) -> Sequence[GoldAnswer]: ...


Gold = Mapping[str, Sequence[str]] | Iterable[Question]  # {id: gold texts} or examples


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


@lru_cache(maxsize=1 << 17)
def normal_words(text: str) -> tuple[str, ...]:
    """The words of a text's normal form; texts match exactly iff these are equal."""
    text = text.lower().translate(_DROP_PUNCTUATION)
    if text.isascii() and text.isprintable():
        # Only letters, digits and blanks are left, so words are what stands between blanks.
        return tuple([word for word in text.split() if word not in _ARTICLES])
    return tuple(_ARTICLE.sub(" ", text).split())  # a unicode dash bounds a word as well


def _word_f1(gold: tuple[str, ...], prediction: tuple[str, ...]) -> float:
    """Harmonic mean of precision and recall of the words, 0 to 1."""
    if gold == prediction:
        return 1.0
    same = sum(
        min(gold.count(word), prediction.count(word)) for word in set(gold).intersection(prediction)
    )
    if not same:
        return 0.0
    precision, recall = same / len(prediction), same / len(gold)
    return (2 * precision * recall) / (precision + recall)


def gold_texts(gold: Gold) -> dict[str, Sequence[str]]:
    """{id: gold texts} of a mapping or of examples, in order; of equal ids the last counts."""
    if isinstance(gold, Mapping):
        return dict(gold)
    return {question.id: [answer.text for answer in question.answers] for question in gold}


def raw_scores(
    gold: Gold, predictions: Mapping[str, str]
) -> tuple[dict[str, int], dict[str, float]]:
    """Exact match (0 or 1) and F1 (0 to 1) per question, no threshold applied.

    Raises:
        ValueError: no question at all, or a question without prediction.
    """
    texts = gold_texts(gold)
    _require("predictions", predictions, texts)
    exact: dict[str, int] = {}
    f1: dict[str, float] = {}
    for identifier, answers in texts.items():
        words = normal_words(predictions[identifier])
        golds = [form for form in map(normal_words, answers) if form] or [()]
        exact[identifier] = int(words in golds)
        f1[identifier] = 1.0 if words in golds else max(_word_f1(form, words) for form in golds)
    return exact, f1


def score(
    gold: Gold,
    predictions: Mapping[str, str],
    na_probs: Mapping[str, float] | None = None,
    na_prob_thresh: float = 1.0,
) -> dict[str, float]:
    """What the official scorer prints.

    Args:
        gold: examples, or {id: gold texts}; the texts of an unanswerable question are empty.
        predictions: {id: text}; ids that are not in `gold` do not count.
        na_probs: {id: estimate that there is no answer}; any increasing measure serves.
        na_prob_thresh: an answer whose estimate exceeds it counts as "".

    Returns:
        exact, f1, total, then HasAns_* and NoAns_* where there are such questions, all in percent;
        with `na_probs` also best_exact, best_exact_thresh, best_f1, best_f1_thresh.

    Raises:
        ValueError: no question at all, or a question without prediction or estimate.
    """
    texts = gold_texts(gold)
    exact, f1 = raw_scores(texts, predictions)
    if na_probs is not None:
        _require("no-answer probabilities", na_probs, texts)
    for identifier, answers in texts.items():
        if (0.0 if na_probs is None else na_probs[identifier]) > na_prob_thresh:
            exact[identifier] = int(not answers)
            f1[identifier] = float(not answers)
    metrics: dict[str, float] = {}
    parts = {"": list(texts), "HasAns_": [i for i in texts if texts[i]]}
    parts["NoAns_"] = [i for i in texts if not texts[i]]
    for prefix, ids in parts.items():
        if ids:
            metrics[prefix + "exact"] = 100.0 * sum(exact[i] for i in ids) / len(ids)
            metrics[prefix + "f1"] = 100.0 * sum(f1[i] for i in ids) / len(ids)
            metrics[prefix + "total"] = len(ids)
    if na_probs is not None:
        metrics |= best_thresholds(texts, predictions, na_probs)
    return metrics


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
    _require("null odds", null_odds, texts)
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


def _require(what: str, given: Mapping[str, object], texts: Mapping[str, object]) -> None:
    """Refuse `given` unless it has every question of the data."""
    if not texts:
        raise ValueError("the data holds no questions, so there is nothing to score")
    missing = [identifier for identifier in texts if identifier not in given]
    if missing:
        raise ValueError(
            f"the {what} lack {len(missing)} of the data's {len(texts)} questions (the first is "
            f"{missing[0]}); give every question a value, or the data set that was predicted"
        )


def read_gold(path: str | Path) -> dict[str, list[str]]:
    """{id: gold texts} of a SQuAD file, in file order; nothing else in it is looked at.

    Raises:
        ValueError: not JSON or not SQuAD, with the place.
        OSError: the file cannot be opened.
    """
    gold: dict[str, list[str]] = {}
    where = "the file"
    try:
        for a, article in enumerate(_read_object(path, "a SQuAD file")["data"]):
            for p, paragraph in enumerate(article["paragraphs"]):
                where = f"data[{a}].paragraphs[{p}]"
                for qa in paragraph["qas"]:
                    gold[qa["id"]] = [answer["text"] for answer in qa["answers"]]
                    if not all(isinstance(text, str) for text in (qa["id"], *gold[qa["id"]])):
                        raise TypeError("an id or a text that is not a string")
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is not in SQuAD format: {where}: {error}") from None
    return gold


def _read_values(path: str | Path, what: str, kind: type | tuple[type, ...]) -> dict[str, Any]:
    """A JSON object {id: value} whose values are all of one kind."""
    values = _read_object(path, what)
    for identifier, value in values.items():
        if not isinstance(value, kind) or isinstance(value, bool) or value != value:
            raise ValueError(
                f"{path}: the value of {identifier} is {json.dumps(value)[:40]}, expected {what}"
            )
    return values


def _read_object(path: str | Path, what: str) -> dict[str, Any]:
    try:
        document = json.loads(Path(path).read_bytes())
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}); expected {what}") from None
    if not isinstance(document, dict):
        raise ValueError(f"{path} holds no JSON object; expected {what}")
    return document


def main(argv: list[str]) -> int:
    """`python -m eval.squad`."""
    arguments = parser(
        "eval.squad", "Score predictions on a SQuAD file by the official rules (EM and F1)."
    )
    add = arguments.add_argument
    add("data_file", metavar="DATA", help="SQuAD v1.1 or v2.0 JSON file")
    add("pred_file", metavar="PREDICTIONS", help="JSON file {id: answer text}")
    add("--out-file", "-o", metavar="F", help="write the metrics here, not to stdout")
    add("--na-prob-file", "-n", metavar="F", help="JSON file {id: probability of no answer}")
    add(
        "--na-prob-thresh", "-t", metavar="T", type=float, default=1.0,
        help="take an answer back if its no-answer probability exceeds this (default: 1.0)",
    )  # fmt: skip
    add("--out-image-dir", "-p", metavar="D", help="with -n: folder for curves and histograms")
    add("--verbose", "-v", action="store_true", help="say on stderr what was read")
    add("--debug", action="store_true", help="show the traceback of an error")
    if not argv:
        arguments.print_help()
        return 1
    options, unknown = arguments.parse_known_args(argv)
    arguments.refuse_unknown(unknown)

    gold = read_gold(options.data_file)
    predictions = _read_values(options.pred_file, "predictions {id: text}", str)
    na_probs = None
    if options.na_prob_file:
        na_probs = _read_values(options.na_prob_file, "probabilities {id: number}", (int, float))
    for identifier in gold:
        if identifier not in predictions:
            print(f"Missing prediction for {identifier}")
    if options.verbose:
        answered = sum(bool(predictions.get(identifier)) for identifier in gold)
        unused = sum(identifier not in gold for identifier in predictions)
        print(
            f"{len(gold)} questions, {sum(map(bool, gold.values()))} with gold answers, "
            f"{answered} answered; {unused} predictions for other questions",
            file=sys.stderr,
        )
    metrics = score(gold, predictions, na_probs, options.na_prob_thresh)
    if na_probs is not None and options.out_image_dir:
        from eval.plots import scorer_pictures

        curves = precision_recall(gold, predictions, na_probs)
        metrics |= {f"pr_{name}_ap": curve.average_precision for name, curve in curves.items()}
        scorer_pictures(
            curves,
            [na_probs[i] for i in gold if gold[i]],
            [na_probs[i] for i in gold if not gold[i]],
            options.out_image_dir,
        )
    if options.out_file:
        from eval.spans import write_json

        write_json(options.out_file, metrics)
    else:
        print(json.dumps(metrics, indent=2))
    return 0


if __name__ == "__main__":
    run_command(main)
