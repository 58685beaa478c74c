"""The files of a prediction run: answers, null odds, no-answer probabilities, n-best lists."""

import json
import math
import operator
import sys
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.command import UsageError
from minibert.files import write_file

if TYPE_CHECKING:
    from eval.spans import Decoded


def n_best_entries(decoded: "Decoded", *, with_null: bool = True) -> list[dict[str, Any]]:
    """The candidates and "no answer", best first, as Google's nbest_predictions.json lists them.

    Args:
        decoded: one example's answers.
        with_null: list "no answer" as well: text "", start and end None, the [CLS] logits. Leave it
            out for data without impossible questions.

    Returns:
        One {text, probability, start, end, start_logit, end_logit} each; start and end are
        half-open characters. The probabilities are a softmax of the scores of exactly these
        entries, so they sum to 1 and rank answers of one question; they are no calibrated chances.
    """
    texts, starts, ends, start_logits, end_logits, scores = decoded.candidate_columns()
    null = decoded.null_score
    best = max([*scores[:1], null]) if with_null else max(scores[:1], default=0.0)
    weights = [math.exp(score - best) for score in scores]
    null_weight = math.exp(null - best) if with_null else 0.0
    total = sum(weights) + null_weight
    entries: list[dict[str, Any]] = [
        {
            "text": text,
            "probability": weight / total,
            "start": start,
            "end": end,
            "start_logit": start_logit,
            "end_logit": end_logit,
        }
        for text, weight, start, end, start_logit, end_logit in zip(
            texts, weights, starts, ends, start_logits, end_logits, strict=True
        )
    ]
    if with_null:
        # At equal scores the answer stands before the null.
        place = bisect_right(scores, -null, key=operator.neg)
        no_answer = {
            "text": "",
            "probability": null_weight / total,
            "start": None,
            "end": None,
            "start_logit": decoded.null_start_logit,
            "end_logit": decoded.null_end_logit,
        }
        entries.insert(place, no_answer)
    return entries


def write_predictions(
    folder: str | Path,
    ids: Sequence[str],
    decoded: "Sequence[Decoded]",
    *,
    threshold: float = 0.0,
    with_null: bool = True,
) -> dict[str, str]:
    """Write the prediction files of a run.

    predictions.json {id: text}, null_odds.json {id: null score - best score}, na_probs.json
    {id: sigmoid of the null odds} (what `--na-prob-file` wants: the official scorer's default
    threshold of 1.0 and its histograms mean probabilities), nbest.json {id: `n_best_entries`}.

    Args:
        folder: where; it is made if it does not exist.
        ids: the examples' ids.
        decoded: their answers, in the same order.
        threshold: of the null odds, in logits; `math.inf` where every question has an answer.
        with_null: list "no answer" in nbest.json.

    Returns:
        What predictions.json holds.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    by_id = dict(zip(ids, decoded, strict=True))
    predictions = {i: one.answer(threshold) for i, one in by_id.items()}
    # JSON has no infinity: a question without any candidate gets the largest odds there are.
    odds = {i: min(one.null_odds, sys.float_info.max) for i, one in by_id.items()}
    n_best = {i: n_best_entries(one, with_null=with_null) for i, one in by_id.items()}
    write_json(folder / "predictions.json", predictions)
    write_json(folder / "null_odds.json", odds)
    write_json(folder / "na_probs.json", {i: _sigmoid(value) for i, value in odds.items()})
    write_json(folder / "nbest.json", n_best)
    return predictions


def check_folder(flag: str, folder: Path) -> None:
    """Refuse a folder to write into that cannot be made, before any work is done.

    Raises:
        UsageError: it, or what it should lie in, is a file.
    """
    there = next((place for place in (folder, *folder.parents) if place.exists()), folder)
    if there.exists() and not there.is_dir():
        raise UsageError(
            f"{flag} {folder} cannot be a folder: {there} is a file; give another name"
        )


def check_file(flag: str, path: Path) -> None:
    """Refuse a file to write that cannot be made, before any work is done.

    Raises:
        UsageError: it is a folder, or what it should lie in is not one.
    """
    if path.is_dir():
        raise UsageError(f"{flag} {path} is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise UsageError(f"{flag} {path} cannot be written: there is no folder {path.parent}")


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def write_json(path: str | Path, mapping: Mapping[str, Any]) -> None:
    """Write a JSON object, one line per key, so that the file is whole or not there at all.

    Raises:
        ValueError: a NaN or an infinity, which JSON does not have.
        OSError: the file cannot be written.
    """
    for ascii_only in (False, True):
        dump = json.JSONEncoder(ensure_ascii=ascii_only, allow_nan=False).encode
        try:
            lines = ",\n".join(f"{dump(key)}: {dump(value)}" for key, value in mapping.items())
            content = f"{{\n{lines}\n}}\n".encode()
            break
        except UnicodeEncodeError:  # half a surrogate pair in somebody's text: JSON escapes it
            continue
        except ValueError:
            raise ValueError(
                f"{path} was to hold NaN or an infinity, which JSON has not; it is not written"
            ) from None
    write_file(Path(path), content)
