"""Start and end logits -> answers: exact search over all valid spans, n-best, null score.

A span is a pair of context tokens of one window, start <= end < start + max_answer_length, and its
score is start logit + end logit (Devlin et al. 2019, section 4.2). The usual recipe looks only at
the 20 best starts x the 20 best ends and can miss the best valid span; here the search is exact and
cheaper. Per start, the best end it may take is a sliding maximum of the end logits. Let s be that
best score of the n-th best start: n starts have a span of score >= s, so no span below s is among
the n best, and no start whose best score is below s can have one. What is left is small.

Logits of different windows are compared as they are, without a softmax per window. The null score
is the minimum over an example's windows of the [CLS] start + end logit, and the answer is "" iff
null score - best score > threshold (section 4.3). Everything is deterministic: of equal scores the
earlier start wins, then the shorter span.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.integer[Any]]

BLOCK_WINDOWS = 128  # windows searched at a time: the working set stays in the cache
LOWEST = np.finfo(np.float32).min


class Candidate(NamedTuple):
    """A possible answer: `text == context[start:end]`, score == start_logit + end_logit."""

    text: str
    start: int
    end: int
    start_logit: float
    end_logit: float
    score: float


class Spans(NamedTuple):
    """The best spans of an example as columns, best first; several may have the same text."""

    start: Integers  # (S,) first character
    end: Integers  # (S,) the character after the last
    start_logit: Floats  # (S,)
    end_logit: Floats  # (S,)
    score: Floats  # (S,)

    def take(self, places: Any) -> "Spans":
        """Those at some places (an index array, or a slice)."""
        start, end, start_logit, end_logit, score = self
        return Spans(
            start[places], end[places], start_logit[places], end_logit[places], score[places]
        )


@dataclass(frozen=True, eq=False)
class Decoded:
    """What the model says of one example.

    Attributes:
        context: the example's.
        spans: of all its windows; empty if no window has context.
        n_best: candidates wanted.
        null_score: score of "no answer", the minimum over windows of the [CLS] start + end logit.
        null_start_logit: its start logit.
        null_end_logit: its end logit.
    """

    context: str
    spans: Spans
    n_best: int
    null_score: float
    null_start_logit: float
    null_end_logit: float

    @cached_property
    def candidates(self) -> list[Candidate]:
        """The best spans with distinct texts, best first, at most n_best; made when asked for."""
        return [Candidate(*row) for row in zip(*self.candidate_columns(), strict=True)]

    def candidate_columns(self) -> list[list[Any]]:
        """The candidates as six lists: texts, starts, ends, start logits, end logits, scores."""
        context = self.context
        starts, ends, *rest = [column.tolist() for column in self.spans]
        texts = [context[start:end] for start, end in zip(starts, ends, strict=True)]
        columns = [texts, starts, ends, *rest]
        if len(set(texts)) < len(texts):
            # Of equal texts the first place stays: going backwards it is put in last.
            places = sorted({texts[i]: i for i in range(len(texts) - 1, -1, -1)}.values())
            columns = [list(map(column.__getitem__, places)) for column in columns]
        if len(columns[0]) > self.n_best:
            columns = [column[: self.n_best] for column in columns]
        return columns

    @property
    def null_odds(self) -> float:
        """Null score - best score (log odds of "no answer"); +inf where there is no candidate."""
        scores = self.spans.score
        return self.null_score - scores.item(0) if len(scores) else math.inf

    def answer(self, threshold: float = 0.0) -> str:
        """The best candidate's text, or "" iff there is none or null_odds > threshold.

        Data without impossible questions is answered with `threshold=math.inf`.
        """
        if not len(self.spans.score) or self.null_odds > threshold:
            return ""
        return self.context[self.spans.start.item(0) : self.spans.end.item(0)]


def find_spans(
    start_logits: Floats,
    end_logits: Floats,
    bounds: Integers,
    first: Integers,
    count: Integers,
    *,
    n_best: int,
    max_answer_length: int,
) -> tuple[Floats, NDArray[np.int32], NDArray[np.int32]]:
    """Find the n best spans of every window, exactly, among all valid pairs.

    K below is n_best, or less where no window can have so many spans: what is asked for does not
    decide how much memory is taken.

    Args:
        start_logits: (N,) float32, all windows one after another.
        end_logits: (N,) float32.
        bounds: (W + 1,) integers; window w owns tokens bounds[w] to bounds[w + 1], the first of
            which is its [CLS].
        first: (W,) integers, place inside the window of its first context token.
        count: (W,) integers, number of its context tokens; 0 is allowed.
        n_best: spans wanted per window.
        max_answer_length: tokens in the longest span.

    Returns:
        Scores (W, K) float32, best first, and the spans' starts and ends (W, K) int32, inclusive,
        counted from the window's first context token. Where a window has fewer spans the rest is
        -inf and -1. Ties: the earlier start, then the shorter span.

    Raises:
        ValueError: n_best or max_answer_length below 1, or a logit that is not finite.
    """
    if n_best < 1 or max_answer_length < 1:
        raise ValueError(
            f"n_best is {n_best} and max_answer_length is {max_answer_length}; both must be >= 1"
        )
    start_logits = np.asarray(start_logits, np.float32)
    end_logits = np.asarray(end_logits, np.float32)
    for name, logits in (("start_logits", start_logits), ("end_logits", end_logits)):
        finite = np.isfinite(logits)
        if not finite.all():
            raise ValueError(
                f"{name} has {np.count_nonzero(~finite)} of {logits.size} values that are not "
                "finite; the model's weights or its arithmetic are broken"
            )
    windows = len(count)
    longest = int(count.max(initial=0))
    n_best = min(n_best, max(1, longest * min(max_answer_length, longest)))
    scores = np.full((windows, n_best), -np.inf, np.float32)
    starts = np.full((windows, n_best), -1, np.int32)
    ends = np.full((windows, n_best), -1, np.int32)
    begin = np.asarray(bounds[:-1] + first, np.int64)
    order = np.argsort(count, kind="stable")  # windows of like length share a block: little padding
    order = order[np.searchsorted(count[order], 1) :]  # windows without context have no span
    for place in range(0, len(order), BLOCK_WINDOWS):
        block = order[place : place + BLOCK_WINDOWS]
        scores[block], starts[block], ends[block] = _search_block(
            start_logits, end_logits, begin[block], count[block], n_best, max_answer_length
        )
    return scores, starts, ends


def _search_block(
    start_logits: Floats,
    end_logits: Floats,
    begin: NDArray[np.int64],
    count: Integers,
    n_best: int,
    max_answer_length: int,
) -> tuple[Floats, Integers, Integers]:
    """`find_spans` for B windows of at least one context token each; returns three (B, n_best)."""
    rows, length = len(count), int(count.max())
    band = min(max_answer_length, length)  # tokens in the longest span that can occur
    column = np.arange(length)
    outside = column >= count[:, None]  # (B, T)
    index = np.minimum(begin[:, None] + column, len(start_logits) - 1)
    start = np.where(outside, -np.inf, start_logits[index])  # (B, T)
    end = np.full((rows, length + band - 1), -np.inf, np.float32)  # (B, T + band - 1)
    end[:, :length] = np.where(outside, -np.inf, end_logits[index])

    best = start + _sliding_maximum(end, band)  # (B, T): the best score of each start
    # (B,): the n-th best of it; a window of fewer starts keeps every span, whoever its neighbours
    floor = np.full(rows, LOWEST, np.float32)
    if n_best <= length:
        floor = np.maximum(np.partition(best, length - n_best, axis=1)[:, length - n_best], LOWEST)
    place = np.flatnonzero(best >= floor[:, None])  # (R,) starts, by window; all ties stay
    row = place // length
    kept_start = place - row * length

    reach = np.lib.stride_tricks.sliding_window_view(end, band, axis=1)  # (B, T, band), no copy
    span = start[row, kept_start, None] + reach[row, kept_start]  # (R, band)
    found = np.flatnonzero(span >= floor[row, None])  # (S,) spans, by window, start, length
    place = found // band
    row, starts, span = row[place], kept_start[place], span.ravel()[found]
    ends = starts + found - place * band

    # One row per window, then a stable sort: the order of equal scores is the order of discovery.
    per_row = np.bincount(row, minlength=rows)  # (B,)
    begin = np.cumsum(per_row) - per_row
    width = max(n_best, int(per_row.max()))
    table = np.full((rows, width), np.inf, np.float32)
    table[row, np.arange(len(row)) - begin[row]] = -span
    ranked = np.argsort(table, axis=1, kind="stable")[:, :n_best]  # (B, n_best)
    there = ranked < per_row[:, None]
    place = np.minimum(begin[:, None] + ranked, len(row) - 1)
    return (
        np.where(there, span[place], -np.inf),
        np.where(there, starts[place], -1),
        np.where(there, ends[place], -1),
    )


def _sliding_maximum(values: Floats, width: int) -> Floats:
    """Maximum over each `width` neighbours, by doubling: (B, T + width - 1) -> (B, T)."""
    done = 1
    while done < width:
        step = min(done, width - done)
        values = np.maximum(values[..., :-step], values[..., step:])
        done += step
    return values


def decode(
    start_logits: Floats,
    end_logits: Floats,
    bounds: Integers,
    first: Integers,
    count: Integers,
    window_example: Integers,
    token_begin: Integers,
    char_starts: Integers,
    char_ends: Integers,
    contexts: Sequence[str],
    *,
    n_best: int = 20,
    max_answer_length: int = 30,
) -> list[Decoded]:
    """Read the answers to all examples out of the logits of all their windows.

    An example's candidates are the n best spans of each of its windows, ranked together by score,
    then earlier start, then shorter; of equal texts the best stays.

    Args:
        start_logits: (N,) float32, as for `find_spans`, like the next four.
        end_logits: (N,) float32.
        bounds: (W + 1,) integers.
        first: (W,) integers.
        count: (W,) integers.
        window_example: (W,) integers, the window's example; ascending from 0, none left out.
        token_begin: (W,) integers, place of the window's first context token in the next two.
        char_starts: (C,) integers, first character of each context token in its example's context.
        char_ends: (C,) integers, the character after its last one.
        contexts: the E examples' contexts.
        n_best: candidates kept per window and per example.
        max_answer_length: tokens in the longest answer.

    Returns:
        One `Decoded` per example, in order.

    Raises:
        ValueError: an example without a window, or what `find_spans` refuses.
    """
    examples = len(contexts)
    windows_of = np.bincount(window_example, minlength=examples)  # (E,)
    if len(windows_of) != examples or not windows_of.all() or (np.diff(window_example) < 0).any():
        raise ValueError(
            f"window_example must name each of the {examples} examples at least once, in order"
        )
    scores, starts, ends = find_spans(
        start_logits, end_logits, bounds, first, count,
        n_best=n_best, max_answer_length=max_answer_length,
    )  # fmt: skip
    start_logits = np.asarray(start_logits, np.float32)
    end_logits = np.asarray(end_logits, np.float32)
    window, rank = np.nonzero(starts >= 0)  # (S,): window after window, best first
    starts, ends = starts[window, rank], ends[window, rank]
    begin = token_begin[window]
    characters = char_starts[begin + starts], char_ends[begin + ends]
    begin = (bounds[:-1] + first)[window]
    logits = start_logits[begin + starts], end_logits[begin + ends]
    spans = Spans(*characters, *logits, scores[window, rank])
    example = np.asarray(window_example)[window]
    # A tokenizer may give a token no character of its own; that is no answer. And the windows of
    # one example are neighbours, so only its own spans have to change places.
    order = np.flatnonzero(spans.end > spans.start)
    mixed = np.flatnonzero(windows_of[example[order]] > 1)
    keys = (spans.end, spans.start, -spans.score, example)
    order[mixed] = order[mixed][np.lexsort([key[order[mixed]] for key in keys])]
    spans = spans.take(order)
    edges = np.searchsorted(example[order], np.arange(examples + 1)).tolist()

    cls = bounds[:-1]
    null_scores = start_logits[cls] + end_logits[cls]  # (W,)
    by_null = np.lexsort((null_scores, window_example))  # lowest first within its example
    null = by_null[np.cumsum(windows_of) - windows_of]  # (E,): the window with the lowest
    null_columns = (null_scores[null], start_logits[cls][null], end_logits[cls][null])
    return [
        Decoded(context, spans.take(slice(low, high)), n_best, *nulls)
        for context, low, high, *nulls in zip(
            contexts, edges[:-1], edges[1:], *(c.tolist() for c in null_columns), strict=True
        )
    ]
