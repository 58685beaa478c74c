"""The span search against its definition: every pair tried, one by one."""

import json
import math

import numpy as np
import pytest

from eval.prediction_files import n_best_entries, write_json, write_predictions
from eval.spans import Candidate, Decoded, Spans, decode, find_spans


def layout(rng, counts, question=(3, 9)):
    """Boundaries of windows "[CLS] question [SEP] context [SEP]" with these context lengths."""
    counts = np.asarray(counts)
    first = rng.integers(*question, size=len(counts))
    return np.concatenate([[0], np.cumsum(first + counts + 1)]), first, counts


def brute_force(start, end, bounds, first, count, n_best, max_answer_length):
    """Definition: all pairs of every window, ordered by score, then start, then length."""
    windows = []
    for w in range(len(count)):
        origin = bounds[w] + first[w]
        pairs = [
            (start[origin + s] + end[origin + e], s, e)
            for s in range(count[w])
            for e in range(s, min(count[w], s + max_answer_length))
        ]
        windows.append(sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2]))[:n_best])
    return windows


def as_lists(found):
    scores, starts, ends = found
    return [
        [(score, s, e) for score, s, e in zip(*row, strict=True) if s >= 0]
        for row in zip(scores, starts, ends, strict=True)
    ]


@pytest.mark.parametrize("levels", [1, 2, 4, 1000, None])
@pytest.mark.parametrize("n_best", [1, 5, 20])
@pytest.mark.parametrize("max_answer_length", [1, 2, 7, 30, 500])
def test_the_n_best_spans_are_those_of_the_definition(levels, n_best, max_answer_length):
    """Integer logits of few levels make nearly every score a tie; 1 level, all of them."""
    rng = np.random.default_rng([levels or 0, n_best, max_answer_length])
    bounds, first, count = layout(rng, [0, 1, 2, 3, 0, 7, 13, 20, 21, 41, 1])
    size = (2, bounds[-1])
    logits = rng.normal(0, 3, size) if levels is None else rng.integers(0, levels, size)
    start, end = logits.astype(np.float32)
    scores, starts, ends = find_spans(
        start, end, bounds, first, count, n_best=n_best, max_answer_length=max_answer_length
    )
    wanted = brute_force(start, end, bounds, first, count, n_best, max_answer_length)
    assert as_lists((scores, starts, ends)) == wanted
    assert (scores.dtype, starts.dtype, ends.dtype) == (np.float32, np.int32, np.int32)
    most = min(n_best, 41 * min(max_answer_length, 41))
    assert scores.shape == starts.shape == ends.shape == (len(count), most)
    assert ((starts >= 0) == np.isfinite(scores)).all() and ((starts < 0) == (ends < 0)).all()


def test_many_windows_in_several_blocks_are_each_searched_alone():
    """Windows of like length are searched together; none may leak into its neighbours."""
    rng = np.random.default_rng(7)
    bounds, first, count = layout(rng, rng.integers(0, 40, 300))
    start, end = rng.integers(-3, 4, (2, bounds[-1])).astype(np.float32)
    outside = np.ones(bounds[-1], bool)
    for w in range(len(count)):
        outside[bounds[w] + first[w] : bounds[w] + first[w] + count[w]] = False
    start[outside] = end[outside] = 1e6  # question, [CLS] and [SEP] must never be part of a span
    found = find_spans(start, end, bounds, first, count, n_best=6, max_answer_length=5)
    assert as_lists(found) == brute_force(start, end, bounds, first, count, 6, 5)


def test_very_large_and_very_small_logits_are_ordered_like_the_others():
    bounds, first, count = np.array([0, 6]), np.array([2]), np.array([3])
    start = np.array([0, 0, -3e38, 1e30, -1e-40, 0], np.float32)
    end = np.array([0, 0, -0.0, 0.0, -1e30, 0], np.float32)
    found = find_spans(start, end, bounds, first, count, n_best=9, max_answer_length=3)
    assert as_lists(found) == brute_force(start, end, bounds, first, count, 9, 3)


def test_no_window_at_all_gives_empty_arrays():
    nothing = np.zeros(0, np.int64)
    scores, starts, _ = find_spans(
        np.zeros(0, np.float32), np.zeros(0, np.float32), np.zeros(1, np.int64), nothing, nothing,
        n_best=3, max_answer_length=4,
    )  # fmt: skip
    assert scores.shape == starts.shape == (0, 1)


@pytest.mark.parametrize("max_answer_length", range(1, 7))
@pytest.mark.parametrize("n_best", range(1, 13))
def test_every_small_window_has_the_spans_of_the_definition_beside_any_neighbour(
    n_best, max_answer_length
):
    """Also where n_best exceeds the starts of every window, but not their spans."""
    rng = np.random.default_rng([n_best, max_answer_length])
    for longest in range(7):
        for levels in (2, 5, None):
            counts = rng.permutation(np.arange(longest + 1).repeat(2))
            bounds, first, count = layout(rng, counts)
            size = (2, bounds[-1])
            logits = rng.normal(0, 3, size) if levels is None else rng.integers(0, levels, size)
            start, end = logits.astype(np.float32)
            found = as_lists(
                find_spans(
                    start, end, bounds, first, count,
                    n_best=n_best, max_answer_length=max_answer_length,
                )
            )  # fmt: skip
            assert found == brute_force(start, end, bounds, first, count, n_best, max_answer_length)
            for w in range(len(count)):  # alone as in company
                alone = find_spans(
                    start, end, bounds[w : w + 2], first[w : w + 1], count[w : w + 1],
                    n_best=n_best, max_answer_length=max_answer_length,
                )  # fmt: skip
                assert as_lists(alone) == [found[w]]


def test_more_spans_than_there_can_be_take_no_memory():
    bounds, first, count = np.array([0, 8, 16]), np.array([2, 2]), np.array([5, 3])
    scores, starts, _ = find_spans(
        np.zeros(16, np.float32), np.zeros(16, np.float32), bounds, first, count,
        n_best=10**12, max_answer_length=10**9,
    )  # fmt: skip
    assert scores.shape == (2, 25)
    assert (starts >= 0).sum(1).tolist() == [15, 6]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_refused_by_name(bad):
    bounds, first, count = np.array([0, 6]), np.array([2]), np.array([3])
    end = np.zeros(6, np.float32)
    end[4] = bad
    with pytest.raises(ValueError, match="end_logits has 1 of 6 values that are not finite"):
        find_spans(
            np.zeros(6, np.float32), end, bounds, first, count, n_best=1, max_answer_length=1
        )


@pytest.mark.parametrize("n_best, max_answer_length", [(0, 30), (20, 0), (-1, 5)])
def test_limits_below_one_are_refused(n_best, max_answer_length):
    bounds, first, count = np.array([0, 6]), np.array([2]), np.array([3])
    zeros = np.zeros(6, np.float32)
    with pytest.raises(ValueError, match="must be >= 1"):
        find_spans(
            zeros, zeros, bounds, first, count, n_best=n_best, max_answer_length=max_answer_length
        )


class Scene:
    """Two examples: the first has one window, the second two that share the word "is"."""

    contexts = ("the the cat", "Rome is old")
    bounds = np.array([0, 6, 11, 16])
    first = np.array([2, 2, 2])
    count = np.array([3, 2, 2])
    window_example = np.array([0, 1, 1])
    token_begin = np.array([0, 3, 4])
    char_starts = np.array([0, 4, 8, 0, 5, 8])
    char_ends = np.array([3, 7, 11, 4, 7, 11])

    def __init__(self):
        self.start = np.full(16, -9, np.float32)
        self.end = np.full(16, -9, np.float32)

    def put(self, window, token, start=None, end=None):
        place = self.bounds[window] + (0 if token is None else self.first[window] + token)
        if start is not None:
            self.start[place] = start
        if end is not None:
            self.end[place] = end

    def decode(self, **options):
        return decode(
            self.start, self.end, self.bounds, self.first, self.count, self.window_example,
            self.token_begin, self.char_starts, self.char_ends, self.contexts, **options,
        )  # fmt: skip


def spans(*rows):
    """Rows of (start, end, start logit, end logit, score) as columns."""
    kinds = (np.int64, np.int64, np.float32, np.float32, np.float32)
    columns = zip(kinds, zip(*rows, strict=True), strict=True)
    return Spans(*(np.array(values, kind) for kind, values in columns))


def test_equal_texts_are_listed_once_with_their_best_place():
    scene = Scene()
    scene.put(0, 0, 2, 2)
    scene.put(0, 1, 3, 3)
    texts = [candidate.text for candidate in scene.decode()[0].candidates]
    assert texts.count("the") == 1 and len(texts) == len(set(texts))
    assert scene.decode()[0].candidates[0] == Candidate("the", 4, 7, 3.0, 3.0, 6.0)


def test_windows_of_an_example_are_ranked_together_by_raw_logits():
    scene = Scene()
    scene.put(1, 1, 1, 1)  # "is" as seen by the first window
    scene.put(2, 0, 4, 2)  # the same word in the second window, which is surer
    scene.put(1, 0, 2.5, 2.5)
    found = scene.decode()[1].candidates
    assert [(c.text, c.score) for c in found[:2]] == [("is", 6.0), ("Rome", 5.0)]
    assert found[0].start_logit == 4.0 and found[0].end_logit == 2.0
    assert found == sorted(found, key=lambda c: (-c.score, c.start, c.end))


def test_the_null_score_is_the_lowest_of_the_windows():
    scene = Scene()
    scene.put(1, None, 5, 1)
    scene.put(2, None, 1, 2)
    scene.put(1, 0, 2, 2)
    one = scene.decode()[1]
    assert (one.null_score, one.null_start_logit, one.null_end_logit) == (3.0, 1.0, 2.0)
    assert one.null_odds == -1.0
    assert (one.answer(), one.answer(-1.0), one.answer(-1.5)) == ("Rome", "Rome", "")


def test_the_answer_is_empty_only_above_the_threshold():
    decoded = Decoded("x y", spans((0, 1, 1, 1, 2)), 20, 2.5, 1.0, 1.5)
    assert decoded.null_odds == 0.5
    assert decoded.answer() == "" and decoded.answer(0.5) == "x" and decoded.answer(math.inf) == "x"


def test_an_example_without_context_has_no_candidate_and_no_answer():
    scene = Scene()
    scene.count = np.array([0, 2, 2])
    decoded = scene.decode()[0]
    assert decoded.candidates == [] and decoded.null_odds == math.inf
    assert decoded.answer(math.inf) == ""


def test_a_token_without_characters_is_no_answer():
    scene = Scene()
    scene.char_ends = scene.char_ends.copy()
    scene.char_ends[0] = 0
    scene.put(0, 0, 9, 9)
    assert all(candidate.text for candidate in scene.decode()[0].candidates)


def test_every_text_is_the_slice_of_its_context_and_n_best_is_a_limit():
    rng = np.random.default_rng(3)
    scene = Scene()
    scene.start, scene.end = rng.normal(size=(2, 16)).astype(np.float32)
    for n_best in (1, 2, 20):
        for context, decoded in zip(scene.contexts, scene.decode(n_best=n_best), strict=True):
            assert 1 <= len(decoded.candidates) <= n_best
            for c in decoded.candidates:
                assert c.text == context[c.start : c.end]
                assert c.score == np.float32(c.start_logit) + np.float32(c.end_logit)


def test_decoding_agrees_with_the_definition_on_random_examples():
    rng = np.random.default_rng(11)
    tokens = rng.integers(0, 30, 40)  # context tokens per example
    contexts, char_starts, char_ends, token_offset = [], [], [], []
    for n in tokens:
        words = [f"w{rng.integers(0, 9)}" for _ in range(n)]
        begins = np.cumsum([0] + [len(word) + 1 for word in words])[: len(words)]
        token_offset.append(len(char_starts))
        contexts.append(" ".join(words))
        char_starts += begins.tolist()
        char_ends += [b + len(word) for b, word in zip(begins.tolist(), words, strict=True)]
    window_example, token_begin, counts = [], [], []
    for example, n in enumerate(tokens):
        for begin in range(0, max(1, n - 4), 6):  # overlapping windows of 10 tokens
            window_example.append(example)
            token_begin.append(token_offset[example] + begin)
            counts.append(min(10, n - begin))
    bounds, first, count = layout(rng, counts)
    start, end = rng.integers(0, 6, (2, bounds[-1])).astype(np.float32)
    char_starts, char_ends = np.array(char_starts), np.array(char_ends)
    decoded = decode(
        start, end, bounds, first, count, np.array(window_example), np.array(token_begin),
        char_starts, char_ends, contexts, n_best=8, max_answer_length=4,
    )  # fmt: skip
    spans = brute_force(start, end, bounds, first, count, 8, 4)
    for example, context in enumerate(contexts):
        mine = [w for w in range(len(count)) if window_example[w] == example]
        pool = [
            (-score, char_starts[token_begin[w] + s], char_ends[token_begin[w] + e])
            for w in mine
            for score, s, e in spans[w]
        ]
        texts = dict.fromkeys(context[b:e] for _, b, e in sorted(pool))
        assert [c.text for c in decoded[example].candidates] == list(texts)[:8]
        nulls = [start[bounds[w]] + end[bounds[w]] for w in mine]
        assert decoded[example].null_score == min(nulls)


@pytest.mark.parametrize("wrong", [[0, 0, 0], [0, 0, 2], [1, 0, 1], [1, 1, 1]])
def test_examples_without_windows_are_refused(wrong):
    scene = Scene()
    scene.window_example = np.array(wrong)
    with pytest.raises(ValueError, match="window_example must name each of the 2 examples"):
        scene.decode()


def test_probabilities_are_a_softmax_over_candidates_and_null():
    decoded = Decoded("a b", spans((0, 1, 2, 1, 3), (2, 3, 1, 0, 1)), 20, 2.0, 0.5, 1.5)
    entries = n_best_entries(decoded)
    assert [entry["text"] for entry in entries] == ["a", "", "b"]
    weights = np.exp([3.0, 2.0, 1.0])
    assert np.allclose([e["probability"] for e in entries], weights / weights.sum(), atol=1e-15)
    assert entries[1] == entries[1] | {"start": None, "end": None, "start_logit": 0.5}
    without = n_best_entries(decoded, with_null=False)
    assert [entry["text"] for entry in without] == ["a", "b"]
    assert math.isclose(sum(entry["probability"] for entry in without), 1.0)


def test_an_answer_stands_before_a_null_of_the_same_score():
    decoded = Decoded("a b", spans((0, 1, 2, 1, 3), (2, 3, 1, 0, 1)), 20, 1.0, 0.5, 0.5)
    assert [entry["text"] for entry in n_best_entries(decoded)] == ["a", "b", ""]
    assert [entry["probability"] for entry in n_best_entries(decoded)][1:] == [
        pytest.approx(1 / (math.exp(2) + 2))
    ] * 2


def test_huge_scores_do_not_overflow_the_probabilities():
    decoded = Decoded("a", spans((0, 1, 9e4, 0, 9e4)), 20, -9e4, 0.0, -9e4)
    assert [entry["probability"] for entry in n_best_entries(decoded)] == [1.0, 0.0]


def test_the_files_of_a_run_say_the_same_thing(tmp_path):
    scene = Scene()
    scene.put(0, 2, 3, 3)
    scene.put(1, None, 3, 4)
    scene.put(2, None, 9, 9)
    scene.put(2, 1, 1, 1)
    ids = ["q1", "q\u00e9"]
    decoded = scene.decode()
    returned = write_predictions(tmp_path / "run", ids, decoded)
    names = ("predictions", "null_odds", "na_probs", "nbest")
    files = {
        name: json.loads((tmp_path / "run" / f"{name}.json").read_text("utf-8")) for name in names
    }
    assert files["predictions"] == returned == {"q1": "cat", "q\u00e9": ""}
    assert files["null_odds"] == {"q1": -24.0, "q\u00e9": 5.0}
    assert files["na_probs"]["q\u00e9"] == pytest.approx(1 / (1 + math.exp(-5)), abs=1e-15)
    assert files["na_probs"]["q1"] == pytest.approx(math.exp(-24), rel=1e-12)
    assert files["nbest"]["q\u00e9"][0]["text"] == "" and files["nbest"]["q1"][0]["text"] == "cat"
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == sorted(
        f"{n}.json" for n in names
    )


def test_questions_without_context_are_written_as_strict_json(tmp_path):
    scene = Scene()
    scene.count = np.array([0, 2, 2])
    write_predictions(tmp_path, ["a", "b"], scene.decode(), threshold=math.inf, with_null=False)

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    for path in tmp_path.iterdir():
        json.loads(path.read_text("utf-8"), parse_constant=refuse)
    assert json.loads((tmp_path / "na_probs.json").read_text())["a"] == 1.0
    assert json.loads((tmp_path / "nbest.json").read_text())["a"] == []


def test_a_value_that_json_lacks_leaves_the_old_file_in_place(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        write_json(path, {"a": math.nan})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
