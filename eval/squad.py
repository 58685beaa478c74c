"""Exact match and F1 by the rules of the official SQuAD v1.1 and v2.0 scorer; same command line.

    python -m eval.squad DATA PREDICTIONS [-n NA_PROBS] [-t THRESH] [-o OUT] [-p IMAGES] [-v]
    python -m eval.squad DATA PREDICTIONS --no-null-answer [-o OUT] [-v]

How single answers are compared is in eval/exact_f1.py. Of the whole:

- A question "has an answer" if its list of golds is not empty, whatever `is_impossible` says.
- With no-answer probabilities an answer is taken back where probability > threshold, strictly;
  the question then scores 1 if it has no gold and 0 if it has one.

v2 data is told from v1 by the data: NoAns_* keys appear where a question has no gold answer. The
command reads ids and gold texts only, as the official one does, so files that a stricter reader
would refuse (no context, wrong offsets) are scored all the same.

Which ids count is official too, but nothing is passed over. A question without prediction is named
as the official script names it, and then refused in a sentence where that one fails on a KeyError.
Predictions for other questions do not count, and an id that the data has twice counts once, with
its last golds: both are a warning on stderr. An id that a prediction file has twice is refused: the
official script takes the last, so that its figure would depend on the order of the file.

--no-null-answer is ours: it scores the questions that have an answer, and looks at no other, for
predictions that were made with the null answer off. An "" among them is counted on stderr.
"""

import json
import math
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.command import UsageError, parser, run_command
from eval.exact_f1 import Gold, gold_texts, raw_scores, require
from eval.prediction_files import check_file, check_folder, write_json
from eval.thresholds import best_thresholds, precision_recall
from minibert.strict_json import counted, named, read_object, shown

MOST = sys.float_info.max


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
        require("no-answer probabilities", na_probs, texts)
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


def read_gold(path: str | Path) -> dict[str, list[str]]:
    """{id: gold texts} of a SQuAD file, in file order; nothing else in it is looked at.

    Raises:
        ValueError: it cannot be read, is not JSON or not SQuAD, with the place.
    """
    gold: dict[str, list[str]] = {}
    twice: dict[str, None] = {}
    where = "the file"
    try:
        for a, article in enumerate(read_object(Path(path), "a SQuAD file")["data"]):
            for p, paragraph in enumerate(article["paragraphs"]):
                where = f"data[{a}].paragraphs[{p}]"
                for qa in paragraph["qas"]:
                    if qa["id"] in gold:
                        twice[qa["id"]] = None
                    gold[qa["id"]] = [answer["text"] for answer in qa["answers"]]
                    if not all(isinstance(text, str) for text in (qa["id"], *gold[qa["id"]])):
                        raise TypeError("an id or a text that is not a string")
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is not in SQuAD format: {where}: {error}") from None
    if not gold:
        raise ValueError(f"{path} holds no questions, so there is nothing to score")
    if twice:
        warnings.warn(
            f"{path} has {counted(len(twice), 'id')} more than once (the first is "
            f"{named(min(twice))}); as in the official scorer each counts once, with its "
            "last answers",
            stacklevel=2,
        )
    return gold


def _read_values(path: str | Path, what: str, kind: type | tuple[type, ...]) -> dict[str, Any]:
    """A JSON object {id: value} whose values are all of one kind."""
    values = read_object(Path(path), what)
    for identifier, value in values.items():
        usable = isinstance(value, kind) and not isinstance(value, bool)
        # 1e999 reads as an infinity, and no float holds a whole number of 400 digits
        if not usable or (not isinstance(value, str) and not -MOST <= value <= MOST):
            raise ValueError(
                f"{path}: the value of {named(identifier)} is {shown(value)}, expected {what}"
            )
    return values


def main(argv: list[str]) -> int:
    """`python -m eval.squad`."""
    arguments = parser(
        "eval.squad", "Score predictions on a SQuAD file by the official rules (EM and F1)."
    )
    arguments.allow_abbrev = True  # as the official script's
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
    add(
        "--no-null-answer", action="store_true",
        help="score only the questions that have an answer",
    )  # fmt: skip
    add("--debug", action="store_true", help="show the traceback of an error")
    if not argv:
        arguments.print_help()
        return 1
    options, unknown = arguments.parse_known_args(argv)
    arguments.refuse_unknown(unknown)

    if math.isnan(options.na_prob_thresh):
        raise UsageError("-t is nan, expected a number; nothing exceeds nan")
    if options.no_null_answer and (options.na_prob_file or options.na_prob_thresh != 1.0):
        flag = f"-n {options.na_prob_file}" if options.na_prob_file else "-t"
        raise UsageError(f"--no-null-answer and {flag} contradict each other; give one of them")
    if options.out_file:
        check_file("-o", Path(options.out_file))
    if options.out_image_dir:
        check_folder("-p", Path(options.out_image_dir))
        if not options.na_prob_file:
            warnings.warn(f"-p {options.out_image_dir} writes nothing without -n", stacklevel=2)
    gold = read_gold(options.data_file)
    predictions = _read_values(options.pred_file, "predictions {id: text}", str)
    na_probs = None
    if options.na_prob_file:
        na_probs = _read_values(options.na_prob_file, "probabilities {id: number}", (int, float))
    scored, which = gold, "questions"
    if options.no_null_answer:
        which = "questions with an answer"
        scored = {identifier: texts for identifier, texts in gold.items() if texts}
        if not scored:
            raise UsageError(
                f"{options.data_file} has no question with an answer, so --no-null-answer leaves "
                "nothing to score"
            )
    for identifier in scored:
        if identifier not in predictions:
            print(f"Missing prediction for {named(identifier)}")
    unused = [identifier for identifier in predictions if identifier not in gold]
    if unused:
        warnings.warn(
            f"{options.pred_file} has {counted(len(unused), 'prediction')} for questions "
            f"that are not in {options.data_file} (the first is {named(unused[0])}); not counted",
            stacklevel=2,
        )
    if options.verbose:
        answered = sum(bool(predictions.get(identifier)) for identifier in gold)
        print(
            f"{counted(len(gold), 'question')}, {sum(map(bool, gold.values()))} with gold answers, "
            f"{answered} answered; {counted(len(unused), 'prediction')} for other questions",
            file=sys.stderr,
        )
    require(f"predictions of {options.pred_file}", predictions, scored, which)
    empty = [identifier for identifier in scored if not predictions[identifier]]
    if options.no_null_answer and empty:
        warnings.warn(
            f'{options.pred_file} answers "" to {len(empty)} of the {len(scored)} questions that '
            f"are scored (the first is {named(empty[0])}); it was probably made with the null "
            "answer on",
            stacklevel=2,
        )
    if na_probs is not None:
        require(f"no-answer probabilities of {options.na_prob_file}", na_probs, gold)
    metrics = score(scored, predictions, na_probs, options.na_prob_thresh)
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
        write_json(options.out_file, metrics)
    else:
        print(json.dumps(metrics, indent=2))
    return 0


if __name__ == "__main__":
    run_command(main)
