"""Decoding and scoring beside the usual recipes, alternately, on the windows of the real dev files.

    python -m benchmarks.decoding --data FOLDER     (FOLDER/squad/dev-v*.json, FOLDER/vocab/)

Decoding's peer is the algorithm of transformers' utils_qa.py (postprocess_qa_predictions): per
window the 20 best starts x the 20 best ends, both sorted out of all tokens, invalid pairs dropped,
the 20 best pairs of a question kept. It is written anew here and gets plain lists, where the
original also reads each window out of an Arrow table. Timed are answers and null odds alone, and
the same with the n-best lists and their probabilities; no file is written. Answers may differ only
where the pruned search misses the best valid span, which is checked and counted.

The scorer's peer normalizes every text at every comparison, as the official script does.

The logits are synthetic and seeded. Timed are peaked ones: four plausible spans a window, one of
them best, with slopes around their ends (a fine-tuned model's n-best list is mostly variants of a
few phrases), and a quiet rest. Compared are also flat ones, as an untrained model gives them.
"""

import gc
import math
import re
import statistics
import string
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from data.command import UsageError, option, parse, run_command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from data.windows import Windows

N_BEST, MAX_ANSWER_LENGTH = 20, 30
MAX_LENGTH, DOC_STRIDE = 384, 128
VOCABULARY = "bert-base-uncased-vocab.txt"


@dataclass(frozen=True)
class Options:
    """Options of `python -m benchmarks.decoding`."""

    data: str = option(help="folder with squad/dev-v1.1.json, squad/dev-v2.0.json and vocab/")
    rounds: int = option(9, help="timed rounds of each side")
    questions: int = option(2000, help="questions in a timed round, 0 for all")
    seed: int = option(0, help="of the synthetic logits")

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.questions < 0:
            raise UsageError("--rounds must be at least 1 and --questions at least 0")


class Answers(NamedTuple):
    """What both sides make: per question the answer, the null odds and the n-best list."""

    texts: dict[str, str]
    null_odds: dict[str, float]
    n_best: dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Task:
    """Windows with logits, in our layout and as the rows and lists of the peer."""

    windows: "Windows"
    start_logits: "NDArray[np.float32]"
    end_logits: "NDArray[np.float32]"
    bounds: "NDArray[np.int64]"
    rows: "NDArray[np.float32]"  # (2, W, MAX_LENGTH), padded
    offsets: list[list[Any]]  # per window and token: its (first, end) characters, or None
    has_null: bool


def synthetic_logits(windows: "Windows", seed: int, peaked: bool) -> "NDArray[np.float32]":
    """(2, N) start and end logits of all windows, one after another."""
    import numpy as np

    rng = np.random.default_rng(seed)
    lengths, count = windows.lengths, windows.count
    begin = np.cumsum(lengths) - lengths
    context = begin + windows.first
    logits = rng.normal(-7.5, 1.5, (2, lengths.sum()))  # the quiet rest
    for _ in range(4 if peaked else 0):  # plausible spans; one of them is best
        height = rng.normal(0.0, 3.5, len(count))
        start = rng.integers(0, count)
        end = np.minimum(start + rng.geometric(0.35, len(count)) - 1, count - 1)
        for side, peak in enumerate((start, end)):
            for away in range(-6, 7):  # words around a peak are half believed in: a hill
                place = peak + away
                inside = (place >= 0) & (place < count)
                value = height - 2.0 - abs(away) + rng.normal(0, 1.0, len(count))
                value += 2.0 + rng.normal(0, 0.7, len(count)) if away == 0 else 0.0
                at = (context + place)[inside]
                logits[side, at] = np.maximum(logits[side, at], value[inside])
    logits[:, begin] = rng.normal(0.0 if peaked else -7.5, 3.0, len(count))  # [CLS]
    return logits.astype(np.float32)


def make_task(
    path: Path, vocabulary: Path, seed: int, questions: int, peaked: bool = True
) -> tuple[Task, dict[str, list[str]]]:
    """The task of one dev file, and its gold answers {id: texts}."""
    import numpy as np

    from data.squad import read_squad
    from data.tokenization import Tokenizer
    from data.tokenized_squad import tokenize_squad
    from data.tokenizer_files import read_vocabulary
    from data.windows import make_windows

    data = read_squad(path)
    examples = data.examples[: questions or None]
    tokenizer = Tokenizer(read_vocabulary(vocabulary), lowercase=True)
    windows = make_windows(
        tokenize_squad(examples, tokenizer), max_length=MAX_LENGTH, doc_stride=DOC_STRIDE
    )
    flat = synthetic_logits(windows, seed, peaked)
    bounds = np.concatenate([[0], np.cumsum(windows.lengths)])
    rows = np.full((2, len(windows), MAX_LENGTH), -100, np.float32)
    offsets: list[list[Any]] = []
    tokens = windows.tokens.context_tokens
    for w in range(len(windows)):
        rows[:, w, : windows.lengths[w]] = flat[:, bounds[w] : bounds[w + 1]]
        own = slice(windows.token_begin[w], windows.token_begin[w] + windows.count[w])
        characters = zip(
            tokens.char_starts[own].tolist(), tokens.char_ends[own].tolist(), strict=True
        )
        offsets.append([*[None] * int(windows.first[w]), *characters, None])
    task = Task(windows, flat[0], flat[1], bounds, rows, offsets, data.has_impossible)
    return task, {e.id: [answer.text for answer in e.answers] for e in examples}


def ours(task: Task, lists: bool = True) -> Answers:
    """Exact search, eval.spans; with the n-best lists or without."""
    from eval.prediction_files import n_best_entries
    from eval.spans import decode

    tokens = task.windows.tokens
    decoded = decode(
        task.start_logits, task.end_logits, task.bounds, task.windows.first, task.windows.count,
        task.windows.example, task.windows.token_begin, tokens.context_tokens.char_starts,
        tokens.context_tokens.char_ends, [tokens.contexts[c] for c in tokens.context_of.tolist()],
        n_best=N_BEST, max_answer_length=MAX_ANSWER_LENGTH,
    )  # fmt: skip
    threshold = 0.0 if task.has_null else math.inf
    by_id = {e.id: one for e, one in zip(tokens.examples, decoded, strict=True)}
    return Answers(
        {i: one.answer(threshold) for i, one in by_id.items()},
        {i: one.null_odds for i, one in by_id.items()},
        {i: n_best_entries(d, with_null=task.has_null) for i, d in by_id.items() if lists},
    )


def pruned_search(task: Task, lists: bool = True) -> Answers:
    """The peer: the 20 best starts x the 20 best ends, pair by pair."""
    import numpy as np

    examples = task.windows.tokens.examples
    windows_of: list[list[int]] = [[] for _ in examples]
    for w, e in enumerate(task.windows.example.tolist()):
        windows_of[e].append(w)
    answers = Answers({}, {}, {})
    for example, windows in zip(examples, windows_of, strict=True):
        pairs: list[dict[str, Any]] = []
        null: dict[str, Any] | None = None
        for w in windows:
            start, end, offsets = task.rows[0, w], task.rows[1, w], task.offsets[w]
            cls_score = start[0] + end[0]
            if null is None or cls_score < null["score"]:
                null = {"place": (0, 0), "score": cls_score, "start_logit": start[0]}
                null["end_logit"] = end[0]
            best_starts = np.argsort(start)[: -N_BEST - 1 : -1].tolist()
            best_ends = np.argsort(end)[: -N_BEST - 1 : -1].tolist()
            for s in best_starts:
                for e in best_ends:
                    if s >= len(offsets) or e >= len(offsets):  # padding
                        continue
                    if offsets[s] is None or offsets[e] is None:  # not of the context
                        continue
                    if len(offsets[s]) < 2 or len(offsets[e]) < 2:
                        continue
                    if e < s or e - s + 1 > MAX_ANSWER_LENGTH:
                        continue
                    pairs.append(
                        {
                            "place": (offsets[s][0], offsets[e][1]),
                            "score": start[s] + end[e],
                            "start_logit": start[s],
                            "end_logit": end[e],
                        }
                    )
        assert null is not None
        if task.has_null:
            pairs.append(null)
        kept = sorted(pairs, key=lambda pair: pair["score"], reverse=True)[:N_BEST]
        if task.has_null and all(pair is not null for pair in kept):
            kept.append(null)
        for pair in kept:
            place = pair.pop("place")
            pair["text"] = example.context[place[0] : place[1]]
        if not kept or (len(kept) == 1 and kept[0]["text"] == ""):
            kept.insert(0, {"text": "empty", "start_logit": 0.0, "end_logit": 0.0, "score": 0.0})
        null_score = null["score"]
        if lists:
            scores = np.array([pair.pop("score") for pair in kept])
            weights = np.exp(scores - scores.max())
            for pair, probability in zip(kept, weights / weights.sum(), strict=True):
                pair["probability"] = probability
            answers.n_best[example.id] = [
                {k: float(v) if isinstance(v, np.floating) else v for k, v in pair.items()}
                for pair in kept
            ]
        best = next(pair for pair in kept if pair["text"])
        odds = float(null_score - best["start_logit"] - best["end_logit"])
        answers.texts[example.id] = "" if task.has_null and odds > 0 else best["text"]
        answers.null_odds[example.id] = odds
    return answers


def plain_scores(
    gold: Mapping[str, Sequence[str]], predictions: Mapping[str, str]
) -> tuple[dict[str, int], dict[str, float]]:
    """The scorer's peer: EM and F1 with every text normalized at every comparison."""

    def normal(text: str) -> str:
        text = "".join(c for c in text.lower() if c not in set(string.punctuation))
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())

    def f1(answer: str, prediction: str) -> float:
        golden, given = normal(answer).split(), normal(prediction).split()
        shared = sum((Counter(golden) & Counter(given)).values())
        if not golden or not given:
            return float(golden == given)
        return 2 * shared / (len(golden) + len(given))

    exact, overlap = {}, {}
    for i, answers in gold.items():
        texts = [text for text in answers if normal(text)] or [""]
        exact[i] = max(int(normal(text) == normal(predictions[i])) for text in texts)
        overlap[i] = max(f1(text, predictions[i]) for text in texts)
    return exact, overlap


def alternate(rounds: int, *sides: Callable[[], object]) -> list[list[float]]:
    """Seconds of each side, run in turn; which side begins changes from round to round."""
    gc.collect()
    gc.freeze()  # the collector would walk the inputs again and again, at either side's expense
    seconds: list[list[float]] = [[] for _ in sides]
    for r in range(rounds):
        order = range(len(sides)) if r % 2 == 0 else reversed(range(len(sides)))
        for side in order:
            begin = time.perf_counter()
            result = sides[side]()
            seconds[side].append(time.perf_counter() - begin)
            del result  # outside the measurement, and before the next one
    gc.unfreeze()
    return seconds


def report(what: str, seconds: list[list[float]]) -> None:
    """Medians with minimum and maximum in milliseconds, and the ratio of the medians."""
    parts = [
        f"{name} {statistics.median(s) * 1e3:7.0f} ms ({min(s) * 1e3:.0f}-{max(s) * 1e3:.0f})"
        for name, s in zip(("ours", "peer"), seconds, strict=True)
    ]
    ratio = statistics.median(seconds[1]) / statistics.median(seconds[0])
    print(f"  {what:<24} {parts[0]}   {parts[1]}   {ratio:5.1f}x   {len(seconds[0])} rounds")


def compare(what: str, exact: Answers, pruned: Answers) -> None:
    """Print where the answers differ; fail unless the exact search scores higher there."""

    def best_score(entries: list[dict[str, Any]]) -> float:
        best = next(entry for entry in entries if entry["text"])
        return float(best["start_logit"] + best["end_logit"])

    different = [i for i, text in exact.texts.items() if text != pruned.texts[i]]
    gains = []
    better = 0
    longer = 0
    for i, entries in exact.n_best.items():
        gain = best_score(entries) - best_score(pruned.n_best[i])
        if gain < -1e-5:
            raise AssertionError(f"{i}: the exact search missed a span of the pruned one")
        better += gain > 1e-5
        if i in different:
            gains.append(gain)
        texts = {entry["text"] for entry in pruned.n_best[i]}
        floor = min(entry["start_logit"] + entry["end_logit"] for entry in pruned.n_best[i])
        longer += any(
            entry["text"] not in texts and entry["start_logit"] + entry["end_logit"] > floor + 1e-5
            for entry in entries
        )
    if any(gain <= 1e-5 for gain in gains):
        raise AssertionError("an answer differs although the best spans score the same")
    total = len(exact.texts)
    print(
        f"  {what}: same answer to {total - len(different)} of {total} questions; the pruned "
        f"search misses the best span of {better}, which changes {len(different)} answers (ours "
        f"score up to {max(gains, default=0.0):.2f} higher), and some n-best text of {longer}"
    )


def cold_scores(gold: Mapping[str, Sequence[str]], predictions: Mapping[str, str]) -> object:
    """Our scorer, with nothing remembered from the round before."""
    from eval.exact_f1 import normal_words, raw_scores

    normal_words.cache_clear()
    return raw_scores(gold, predictions)


def compare_scorers(gold: Mapping[str, Sequence[str]], predictions: Mapping[str, str]) -> None:
    """Fail unless both scorers say the same."""
    from eval.exact_f1 import raw_scores

    exact, f1 = raw_scores(gold, predictions)
    plain_exact, plain_f1 = plain_scores(gold, predictions)
    if exact != plain_exact or any(abs(f1[i] - plain_f1[i]) > 1e-12 for i in f1):
        raise AssertionError("the scorers disagree")


def main(argv: list[str]) -> int:
    """`python -m benchmarks.decoding`."""
    options = parse(
        Options, argv, prog="benchmarks.decoding",
        description="Time decoding and scoring beside utils_qa's and the official algorithm.",
    )  # fmt: skip
    folder = Path(options.data)
    vocabulary = folder / "vocab" / VOCABULARY
    for name in ("dev-v1.1.json", "dev-v2.0.json"):
        path = folder / "squad" / name
        task, gold = make_task(path, vocabulary, options.seed, 0)
        print(f"{name}: {len(gold)} questions, {len(task.windows)} windows")
        exact = ours(task)
        compare("peaked logits", exact, pruned_search(task))
        flat, _ = make_task(path, vocabulary, options.seed, 0, peaked=False)
        compare("flat logits", ours(flat), pruned_search(flat))
        del flat
        if options.questions:
            task, _ = make_task(path, vocabulary, options.seed, options.questions)
        print(f"  decoding {len(task.windows.tokens.examples)} questions")
        for lists, what in ((False, "answers, null odds"), (True, "... and n-best lists")):
            mine, peer = partial(ours, task, lists), partial(pruned_search, task, lists)
            report(what, alternate(options.rounds, mine, peer))
        print(f"  scoring {len(gold)} questions")
        compare_scorers(gold, exact.texts)
        cold = partial(cold_scores, gold, exact.texts)
        plain = partial(plain_scores, gold, exact.texts)
        report("nothing remembered", alternate(options.rounds, cold, plain))
    return 0


if __name__ == "__main__":
    run_command(main)
