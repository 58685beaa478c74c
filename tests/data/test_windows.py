"""Windows and labels beside run_qa's and Google's algorithms, on real files and by hand."""

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.batches import collate
from data.inspector import main
from data.ledger import ledger
from data.squad import Answer, SquadExample, read_squad
from data.tokenization import Tokenizer
from data.tokenized_squad import tokenize_squad
from data.tokenizer_files import SPECIAL_TOKENS, read_vocabulary
from data.windows import Windows, make_windows

ROOT = Path(__file__).parents[2]
Span = tuple[int, int]


# --- the algorithm of transformers' run_qa, with its tokenizer


@dataclass(frozen=True)
class PeerWindow:
    """One row of what transformers' tokenizer returns for a question and a context."""

    ids: list[int]
    types: list[int]
    offsets: list[Span]

    def label(self, answer: Answer | None) -> Span:
        """The rule of prepare_train_features; the token after the context has the offset (0, 0)."""
        if answer is None:
            return 0, 0
        first = self.types.index(1)
        last = len(self.ids) - 2
        if self.offsets[first][0] > answer.start or self.offsets[last][1] < answer.end:
            return 0, 0
        while first < len(self.offsets) and self.offsets[first][0] <= answer.start:
            first += 1
        while self.offsets[last][1] >= answer.end:
            last -= 1
        return first - 1, last + 1


def run_qa_windows(
    pairs: Sequence[tuple[str, str]], tokenizer: Any
) -> dict[tuple[str, str], list[PeerWindow]]:
    """Question and context -> their windows at 384 tokens, 128 of them shared."""
    found: dict[tuple[str, str], list[PeerWindow]] = {pair: [] for pair in pairs}
    for begin in range(0, len(pairs), 500):
        chosen = pairs[begin : begin + 500]
        encoded = tokenizer(
            [question.lstrip() for question, _ in chosen],
            [context for _, context in chosen],
            truncation="only_second",
            max_length=384,
            stride=128,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_attention_mask=False,
            padding=False,
        )
        for row, source in enumerate(encoded["overflow_to_sample_mapping"]):
            window = PeerWindow(
                encoded["input_ids"][row],
                encoded["token_type_ids"][row],
                encoded["offset_mapping"][row],
            )
            found[chosen[source]].append(window)
    return found


@dataclass(frozen=True)
class Case:
    """Both dev files under one vocabulary: ours, and run_qa's windows of every pair in them."""

    casing: str
    windows: dict[str, Windows]
    peer: dict[tuple[str, str], list[PeerWindow]]


FILES = ("dev-v1.1.json", "dev-v2.0.json")


@pytest.fixture(scope="module", params=["uncased", "cased"])
def case(request: pytest.FixtureRequest, real_data: Path) -> Case:
    from transformers import BertTokenizerFast

    vocabulary = read_vocabulary(real_data / "vocab" / f"bert-base-{request.param}-vocab.txt")
    lowercase = request.param == "uncased"
    tokenizer = Tokenizer(vocabulary, lowercase=lowercase)
    windows = {
        name: make_windows(
            tokenize_squad(read_squad(real_data / "squad" / name).examples, tokenizer)
        )
        for name in FILES
    }
    pairs = {(e.question, e.context): 0 for w in windows.values() for e in w.tokens.examples}
    peer = BertTokenizerFast(vocab=vocabulary, do_lower_case=lowercase)
    return Case(request.param, windows, run_qa_windows(list(pairs), peer))


COUNTS = {
    ("uncased", "dev-v1.1.json"): 10_784,
    ("uncased", "dev-v2.0.json"): 12_134,
    ("cased", "dev-v1.1.json"): 10_822,
    ("cased", "dev-v2.0.json"): 12_199,
}
STEP_COUNTS = {("uncased", "dev-v1.1.json"): 10_833, ("uncased", "dev-v2.0.json"): 12_232}


@pytest.mark.parametrize("name", FILES)
def test_windows_ids_types_and_labels_of_the_dev_files_are_those_of_run_qa(
    case: Case, name: str
) -> None:
    windows = case.windows[name]
    assert len(windows) == COUNTS[case.casing, name]
    w = 0
    for e, example in enumerate(windows.tokens.examples):
        answer = example.answers[0] if example.answers else None
        for peer in case.peer[example.question, example.context]:
            assert windows.example[w] == e
            assert windows.input_ids(w) == peer.ids
            first, length = int(windows.first[w]), int(windows.lengths[w])
            assert peer.types == [0] * first + [1] * (length - first)
            label = int(windows.start_positions[w]), int(windows.end_positions[w])
            assert label == peer.label(answer), example.id
            w += 1
    assert w == len(windows)


@pytest.mark.parametrize("name", FILES)
def test_every_token_of_a_context_is_in_a_window_of_every_question(case: Case, name: str) -> None:
    windows = case.windows[name]
    length = np.diff(windows.tokens.context_tokens.bounds)[windows.tokens.context_of]
    end = windows.start + windows.count
    new = np.diff(windows.example, prepend=-1) > 0
    assert (windows.start[new] == 0).all()
    assert (windows.start[~new] == end[:-1][~new[1:]] - 128).all()
    assert (end[np.append(new[1:], True)] == length).all()
    assert windows.lengths.max() == 384


@pytest.mark.parametrize("name", FILES)
def test_an_answer_goes_to_labels_and_back_or_is_listed(case: Case, name: str) -> None:
    windows = case.windows[name]
    assert_answers_return_or_are_listed(windows)
    assert windows.lost == []
    assert 0 < len(windows.misaligned) < 0.005 * len(windows.tokens.examples)
    assert windows.tokens.cut_questions == []


def assert_answers_return_or_are_listed(windows: Windows) -> None:
    """Characters -> labels -> characters is the identity, or the question is listed."""
    pieces = windows.tokens.context_tokens
    inside = windows.token_begin - windows.first  # + place in the window = index into the pieces
    returned: dict[int, set[Span]] = {}
    for w in np.flatnonzero(windows.start_positions).tolist():
        begin = pieces.char_starts[inside[w] + windows.start_positions[w]]
        end = pieces.char_ends[inside[w] + windows.end_positions[w]]
        returned.setdefault(int(windows.example[w]), set()).add((int(begin), int(end)))
    for e, example in enumerate(windows.tokens.examples):
        if not example.answers:
            assert e not in returned
            assert example.id not in windows.lost + windows.misaligned
            continue
        answer = example.answers[0]
        assert (example.id in windows.lost) == (e not in returned)
        for begin, end in returned.get(e, ()):
            left, right = begin - answer.start, answer.end - end  # characters left out
            assert (example.id in windows.misaligned) == (left < 0 or right < 0)
            assert (example.id in windows.trimmed) == (left > 0 or right > 0)
            assert begin < answer.end and end > answer.start
            own = slice(*pieces.bounds[windows.tokens.context_of[e] :][:2])
            starts, ends = pieces.char_starts[own], pieces.char_ends[own]
            # no token has a character of what was left out
            assert not ((starts < begin) & (ends > answer.start)).any()
            assert not ((ends > end) & (starts < answer.end)).any()
            if left <= 0 and right <= 0 and example.id not in windows.misaligned:
                assert example.context[begin:end] == answer.text


# --- Google's windows


def google_spans(length: int, room: int, step: int) -> list[Span]:
    """(start, length) of run_squad.py's document spans."""
    spans = []
    start = 0
    while start < length:
        size = min(length - start, room)
        spans.append((start, size))
        if start + size == length:
            break
        start += min(size, step)
    return spans


@pytest.mark.parametrize("name", FILES)
def test_with_a_doc_step_the_windows_are_those_of_google(case: Case, name: str) -> None:
    tokens = case.windows[name].tokens
    windows = make_windows(tokens, max_length=384, doc_step=128)
    assert len(windows) == STEP_COUNTS.get((case.casing, name), len(windows))
    lengths = np.diff(tokens.context_tokens.bounds)[tokens.context_of].tolist()
    expected = [
        (e, start, size)
        for e, length in enumerate(lengths)
        for start, size in google_spans(length, 384 - 3 - len(tokens.question_ids[e]), 128)
    ]
    ours = zip(
        windows.example.tolist(), windows.start.tolist(), windows.count.tolist(), strict=True
    )
    assert list(ours) == expected
    assert_answers_return_or_are_listed(windows)


# --- small cases, without files


WORDS = ["a", "b", "c", "d", "e", "f", "g", "##x", "##y", "(", ")", "-", "1895", "1943", ".", "q"]
JAMO = ["\u1100", "##\u1161", "##\u11a8"]  # the parts of the syllable U+AC01
TOKENIZER = Tokenizer(
    {token: i for i, token in enumerate([*SPECIAL_TOKENS, *WORDS, *JAMO])}, lowercase=True
)


def example(context: str, answer: str | None = None, start: int = -1, **more: Any) -> SquadExample:
    """A question about a context; the answer is at its first place unless `start` says where."""
    answers: tuple[Answer, ...] = ()
    if answer is not None:
        answers = (Answer(answer, context.index(answer) if start < 0 else start),)
    values = {"id": "id", "title": "", "question": "q", "is_impossible": answer is None, **more}
    return SquadExample(context=context, answers=answers, **values)


def cut(examples: Sequence[SquadExample], longest_question: int = 64, **settings: Any) -> Windows:
    return make_windows(tokenize_squad(examples, TOKENIZER, longest_question), **settings)


def texts(windows: Windows) -> list[str]:
    return [
        " ".join(TOKENIZER.tokens[i] for i in windows.input_ids(w)) for w in range(len(windows))
    ]


def labels(windows: Windows) -> list[Span]:
    return list(zip(windows.start_positions.tolist(), windows.end_positions.tolist(), strict=True))


def test_windows_and_labels_by_hand() -> None:
    windows = cut([example("a b c d e f g", "d e")], max_length=8, doc_stride=2)
    assert texts(windows) == [
        "[CLS] q [SEP] a b c d [SEP]",
        "[CLS] q [SEP] c d e f [SEP]",
        "[CLS] q [SEP] e f g [SEP]",
    ]
    assert labels(windows) == [(0, 0), (4, 5), (0, 0)]
    assert windows.start.tolist() == [0, 2, 4] and windows.count.tolist() == [4, 4, 3]
    assert windows.first.tolist() == [3, 3, 3] and windows.lengths.tolist() == [8, 8, 7]
    assert windows.lost == windows.misaligned == []


def test_a_doc_step_counts_from_start_to_start() -> None:
    windows = cut([example("a b c d e f g", "d e")], max_length=8, doc_step=3)
    assert texts(windows) == ["[CLS] q [SEP] a b c d [SEP]", "[CLS] q [SEP] d e f g [SEP]"]
    assert labels(windows) == [(0, 0), (3, 4)]
    assert len(cut([example("a b c d e f g h")], max_length=8, doc_step=4)) == 2


def test_a_context_that_fills_one_window_gets_no_second_one() -> None:
    assert len(cut([example("a b c d", "d")], max_length=8, doc_stride=2)) == 1
    assert len(cut([example("a b c d e", "d")], max_length=8, doc_stride=2)) == 2


def test_an_answer_at_the_last_token_of_a_window_is_labelled_there() -> None:
    """There run_qa's search goes on into the [SEP], whose offset is (0, 0)."""
    windows = cut([example("a b c d e f g", "d")], max_length=8, doc_stride=2)
    assert labels(windows) == [(6, 6), (4, 4), (0, 0)]


def test_an_answer_wider_than_every_window_is_lost_and_listed() -> None:
    windows = cut([example("a b c d e f g", "b c d e f", id="wide")], max_length=8, doc_stride=2)
    assert labels(windows) == [(0, 0)] * 3
    assert windows.lost == ["wide"]


def test_a_wide_step_loses_answers_that_a_narrow_one_keeps() -> None:
    question = example("a b c d e f g", "c d e")
    assert cut([question], max_length=8, doc_stride=0).lost == ["id"]
    assert cut([question], max_length=8, doc_stride=2).lost == []


def test_an_impossible_question_is_labelled_with_cls_and_never_lost() -> None:
    windows = cut([example("a b c d e f")], max_length=8, doc_stride=2)
    assert labels(windows) == [(0, 0), (0, 0)] and windows.lost == []


def test_only_the_first_gold_answer_labels() -> None:
    two = example("a b c", "c")
    two = SquadExample(**{f: getattr(two, f) for f in two.__slots__} | {
        "answers": (Answer("c", 4), Answer("a", 0))
    })  # fmt: skip
    assert labels(cut([two])) == [(5, 5)]


@pytest.mark.parametrize(
    ("context", "answer", "tokens", "listed"),
    [
        ("a (1895-1943). b", "1895", "1895", ""),
        ("a (1895-1943). b", "1895-1943", "1895 - 1943", ""),
        ("a dxy b", "dx", "d ##x", ""),
        ("a 1895 b", "89", "1895", "misaligned"),
        ("a dxy b", "y b", "##y b", ""),
        ("a  b c", " b", "b", "trimmed"),
        ("a  b c", "b ", "b", "trimmed"),
        ("a \n b\u00a0 c", "\n b\u00a0", "b", "trimmed"),
        ("a 1895 b", " 18", "1895", "misaligned trimmed"),
        ("A b", "A", "a", ""),
        ("a\u0301 b", "a\u0301", "a", "trimmed"),  # the accent is dropped and has no token
        ("c \xe1 b", "\xe1", "a", ""),
        (" a b ", " a b ", "a b", "trimmed"),
    ],
)
def test_the_label_is_the_run_of_tokens_that_have_a_character_of_the_answer(
    context: str, answer: str, tokens: str, listed: str
) -> None:
    windows = cut([example(context, answer)])
    ((begin, end),) = labels(windows)
    found = windows.input_ids(0)[begin : end + 1]
    assert " ".join(TOKENIZER.tokens[i] for i in found) == tokens
    assert windows.misaligned == (["id"] if "misaligned" in listed else [])
    assert windows.trimmed == (["id"] if "trimmed" in listed else [])
    assert windows.lost == []


@pytest.mark.parametrize(("answer", "start"), [(" ", 0), (" ", 2), (" ", 4), ("a", 1), ("b ", 3)])
def test_an_answer_of_nothing_but_white_space_is_lost(answer: str, start: int) -> None:
    windows = cut([example(" a b ", answer, start), example("b", "b", id="other")])
    assert labels(windows)[0] == {" ": (0, 0), "a": (3, 3), "b ": (4, 4)}[answer]
    assert windows.lost == (["id"] if answer == " " else [])
    assert windows.misaligned == [] and windows.trimmed == (["id"] if answer == "b " else [])


def test_white_space_is_left_out_of_labels_but_not_of_the_gold_text(tmp_path: Path) -> None:
    answers = [{"text": " d e ", "answer_start": 5}]
    asked = {"id": "id", "question": "q", "answers": answers}
    paragraph = {"context": "a b c d e f", "qas": [asked]}
    (tmp_path / "f.json").write_text(json.dumps({"data": [{"paragraphs": [paragraph]}]}))
    squad = read_squad(tmp_path / "f.json")
    windows = cut(squad.examples)
    assert squad.examples[0].answers == (Answer(" d e ", 5),)
    assert labels(windows) == [(6, 7)]
    assert ledger(squad, windows) == [
        "trimmed answers: 1 (white space at their edge is not labelled): id"
    ]


def test_tokens_that_share_a_character_are_labelled_together() -> None:
    """run_qa labels the last of them as start and the first as end: a span that ends before it
    begins."""
    windows = cut([example("a \uac01 b", "\uac01")])
    assert texts(windows) == ["[CLS] q [SEP] a \u1100 ##\u1161 ##\u11a8 b [SEP]"]
    assert labels(windows) == [(4, 6)] and windows.misaligned == []
    # A window that begins inside the syllable does not hold it.
    windows = cut([example("a \uac01 b", "\uac01")], max_length=7, doc_stride=2)
    assert windows.start.tolist() == [0, 1, 2]
    assert labels(windows) == [(0, 0), (3, 5), (0, 0)]


def test_empty_contexts_and_blank_questions_give_one_window_each() -> None:
    examples = [
        example("", id="1"),
        example("\x00 ", id="2"),
        example("a b", "a", id="3", question="  "),
        example("", id="4", question=""),
    ]
    windows = cut(examples)
    assert texts(windows) == [
        "[CLS] q [SEP] [SEP]",
        "[CLS] q [SEP] [SEP]",
        "[CLS] [SEP] a b [SEP]",
        "[CLS] [SEP] [SEP]",
    ]
    assert labels(windows) == [(0, 0), (0, 0), (2, 2), (0, 0)]
    assert windows.count.tolist() == [0, 0, 2, 0]
    assert collate(windows, np.arange(4)).packed.lengths == (4, 4, 5, 3)


def test_a_context_of_which_nothing_remains_loses_its_answer() -> None:
    windows = cut([example("\x00\x00", "\x00"), example("a", "a", id="2")])
    assert labels(windows) == [(0, 0), (3, 3)] and windows.lost == ["id"]


def test_a_long_question_is_cut_and_counted() -> None:
    examples = [
        example("a b", "a", id="fits", question="q " * 5),
        example("a b", "a", id="long", question="q " * 6),
    ]
    windows = cut(examples, longest_question=5)
    assert windows.tokens.cut_questions == ["long"]
    assert windows.first.tolist() == [7, 7] and windows.lengths.tolist() == [10, 10]


def test_a_context_with_a_word_of_over_a_hundred_characters_is_listed() -> None:
    long, longest = "x" * 101, "a" * 100
    examples = [
        example(f"a {long} b", long, id="1"),
        example(f"a {longest} b"),
        example(f"a {long} b", "b", id="3"),
        example("x " * 101),
    ]
    windows = cut(examples)
    assert windows.tokens.long_words == ["1", "3"]
    assert labels(windows)[0] == (4, 4) and windows.misaligned == windows.lost == []


def test_equal_contexts_are_tokenized_once_and_questions_keep_their_order() -> None:
    examples = [example("a b", "a", id="1"), example("c"), example("a b", "b", id="3")]
    windows = cut(examples)
    assert windows.tokens.contexts == ["a b", "c"]
    assert windows.tokens.context_of.tolist() == [0, 1, 0]
    assert windows.example.tolist() == [0, 1, 2]
    assert labels(windows) == [(3, 3), (0, 0), (4, 4)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_length": 8, "doc_stride": 4}, "leaves 4 context tokens beside question long"),
        ({"max_length": 4, "doc_stride": 0}, "leaves 0 context tokens beside question long"),
        ({"max_length": 0}, "--max-length 0 leaves 0 context tokens beside question long"),
        ({"max_length": -5}, "--max-length -5 leaves 0 context tokens"),
        (
            {"max_length": 8, "doc_step": 5},
            r"too few for --doc-step 5; raise --max-length or lower",
        ),
        ({"max_length": 8, "doc_step": 0}, "--doc-step is 0, expected at least 1"),
        ({"max_length": 8, "doc_step": -3}, "--doc-step is -3, expected at least 1"),
        ({"max_length": 8, "doc_stride": -1}, "--doc-stride is -1, expected 0 or more"),
    ],
)
def test_an_impossible_length_stride_or_step_is_refused(
    settings: dict[str, int], message: str
) -> None:
    examples = [example("a b", "a", id="short", question=""), example("a b", "a", id="long")]
    with pytest.raises(ValueError, match=message):
        cut(examples, **settings)


@pytest.mark.parametrize("flag", ["max_length", "doc_stride", "doc_step"])
def test_a_number_that_no_array_holds_is_refused_by_its_flag(flag: str) -> None:
    settings = {"max_length": 8, "doc_stride": 1} | {flag: 10**30}
    with pytest.raises(ValueError, match=f"--{flag.replace('_', '-')} is 10{{30}}, expected at mo"):
        cut([example("a")], **settings)


def test_no_questions_and_a_question_length_of_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="no questions to make windows of"):
        tokenize_squad([], TOKENIZER)
    with pytest.raises(ValueError, match="--max-question-length is 0, expected at least 1"):
        tokenize_squad([example("a")], TOKENIZER, 0)


ALPHABET = [
    "a", "B", "dxy", "(1895-1943).", "\xe1", "a\u0301", "\uac01", "\u6771\u4eac", "\u05e9\u05b8",
    "\U0001f469\u200d\U0001f52c", "\u0130", "\ufb01", "x" * 101,
    "[SEP]", "[MASK]", "\ud83d", "\u202edxy\u202c", "\u0627\u0644",
]  # fmt: skip
GLUE = [" ", " ", "  ", "", "\n", "\xa0", "\u200d", "\x00", "\r\n", "\t"]


def test_answers_of_5000_hostile_contexts_return_or_are_listed() -> None:
    rng = random.Random(3)
    examples = []
    for number in range(5000):
        pieces = (rng.choice(ALPHABET) + rng.choice(GLUE) for _ in range(rng.randint(1, 14)))
        context = "".join(pieces)
        begin = rng.randrange(len(context))
        answer = context[begin : begin + rng.randint(1, 12)]
        examples.append(example(context, answer, begin, id=str(number)))
    for settings in ({"doc_stride": 3}, {"doc_stride": 0}, {"doc_step": 2}):
        windows = cut(examples, max_length=12, **settings)
        assert_answers_return_or_are_listed(windows)
        label = np.array(labels(windows))
        assert (label[:, 0] <= label[:, 1]).all()
        named = label[label[:, 0] > 0]
        assert len(named) > 1000 and len(windows.lost) > 100 and len(windows.misaligned) > 100
        inside = label[:, 0] > 0
        assert (label[inside, 0] >= windows.first[inside]).all()
        assert (label[inside, 1] < (windows.first + windows.count)[inside]).all()


def test_windows_tile_every_context_whatever_the_lengths() -> None:
    rng = random.Random(4)
    for _ in range(300):
        length, room, step = rng.randint(1, 40), rng.randint(1, 12), rng.randint(1, 12)
        step = min(step, room)
        question = example(" ".join("abcdefg"[i % 7] for i in range(length)))
        by_step = cut([question], max_length=room + 4, doc_step=step)
        by_stride = cut([question], max_length=room + 4, doc_stride=room - step)
        spans = list(zip(by_step.start.tolist(), by_step.count.tolist(), strict=True))
        assert spans == google_spans(length, room, step)
        assert (by_step.start == by_stride.start).all() and (by_step.count == by_stride.count).all()
        assert all(b == a + step for (a, _), (b, _) in pairwise(spans))


# --- the inspector


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """A little data set and vocabulary, as the flags that name them."""
    (tmp_path / "vocab.txt").write_text("".join(f"{token}\n" for token in TOKENIZER.tokens))
    qas = [
        {"id": "fits", "question": "q", "answers": [{"text": "d e", "answer_start": 6}]},
        {"id": "wide", "question": "q", "answers": [{"text": "b c d e f", "answer_start": 2}]},
        {"id": "none", "question": "q q q", "answers": [], "is_impossible": True},
        {"id": "bare", "question": "q", "answers": []},
        {"id": "off", "question": "q", "answers": [{"text": "g", "answer_start": 11}]},
    ]
    more = [{"id": "part", "question": "q", "answers": [{"text": "89", "answer_start": 3}]}]
    paragraphs = [
        {"context": "a b c d e f g", "qas": qas},
        {"context": "a 1895 b", "qas": more},
    ]
    (tmp_path / "dev.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    return ["--data-file", str(tmp_path / "dev.json"), "--model", str(tmp_path)]


LITTLE = ["--max-length", "9", "--doc-stride", "2", "--max-question-length", "2"]


def test_the_inspector_shows_every_window_of_a_question(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*files, *LITTLE, "--id", "fits"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"windows of {files[-1]}: at most 9 tokens, stride 2",
        "question fits: 'q'",
        "  1 tokens",
        "  answer 'd e', characters 6-9",
        "context: 13 characters, 7 tokens",
        "window 0: 9 tokens",
        "  holds context tokens 0-5, characters 0-9",
        "  'a b c d e'",
        "  holds the answer; label 6, 7 = 'd e'",
        "window 1: 8 tokens",
        "  holds context tokens 3-7, characters 6-13",
        "  'd e f g'",
        "  holds the answer; label 3, 4 = 'd e'",
    ]


@pytest.mark.parametrize(
    ("question", "lines"),
    [
        (
            "wide",
            ["LOST: no window holds the whole answer", "does not hold the whole answer; label"],
        ),
        (
            "none",
            ["2 tokens, CUT at --max-question-length", "impossible", "there is no answer; label"],
        ),
        ("off", ["answer 'g', characters 12-13, its offset REPAIRED"]),
        (
            "part",
            ["MISALIGNED: the answer begins or ends", "holds the answer; label 4, 4 = '1895'"],
        ),
    ],
)
def test_the_inspector_flags_what_went_wrong_with_a_question(
    question: str, lines: list[str], files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [*LITTLE, "--max-length", "8", "--doc-stride", "1", "--id", question]
    assert main([*files, *settings]) == 0
    shown = [line.strip() for line in capsys.readouterr().out.splitlines()]
    for line in lines:
        assert any(one.startswith(line) for one in shown), line


def test_the_inspector_adds_up_a_file(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*files, *LITTLE]) == 0
    shown = [line.strip() for line in capsys.readouterr().out.splitlines()[2:]]
    assert shown[:3] == [
        "6 questions, 2 of them impossible",
        "2 contexts, 10 tokens",
        "12 windows; several for 5 questions",
    ]
    assert shown[3] == (
        "101 tokens in all windows; a window has 8 (p50), 9 (p90), 9 (max); 50.0% have --max-length"
    )
    assert shown[4:] == [
        "lost answers: 1 (no window holds them, so they train as no answer): wide",
        "misaligned answers: 1 (they begin or end inside a token): part",
        "trimmed answers: 0",
        "cut questions: 1 (longer than --max-question-length or the room): none",
        "over-long words: 0",
        "repaired answers: 1 (their offset was 1 or 2 characters off): off",
        "unmarked questions: 1 (without answers, so read as impossible): bare",
    ]


def test_the_inspector_refuses_an_unknown_question_and_a_folder_without_vocabulary(
    files: list[str], tmp_path: Path
) -> None:
    with pytest.raises(
        ValueError, match=r"--id x is no question of .*dev\.json; its first is fits"
    ):
        main([*files, "--id", "x"])
    with pytest.raises(ValueError, match="is neither a folder nor a name like"):
        main([*files[:3], str(tmp_path / "nowhere")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"has neither tokenizer\.json nor vocab\.txt"):
        main([*files[:3], str(tmp_path / "empty")])


def test_the_inspector_runs_as_the_command_data_windows(files: list[str]) -> None:
    command = [sys.executable, "-m", "data.windows"]
    done = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "6 questions" in done.stdout
    done = subprocess.run(
        [*command, "--idd", "x", *files], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: unknown flag --idd; did you mean --id?\n"


def test_the_inspector_takes_its_file_with_or_without_a_flag(
    files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []
    for words in (files, [files[1], *files[2:]], [*files[2:], files[1]]):
        assert main([*words, "--id", "fits"]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] == shown[2]
    assert main([files[1], "--id", "fits"]) == 0  # the words of the embedded model
    assert capsys.readouterr().out.startswith("windows of embedded: at most 384 tokens, stride 128")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--max-length", "0"], "--max-length is 0, expected at least 1"),
        (["--doc-stride", "-1"], "--doc-stride is -1, expected at least 0"),
        (["--doc-stride", "1", "--doc-step", "1"], "--doc-stride and --doc-step contradict"),
        (["--max-question-length", "0"], "--max-question-length is 0, expected at least 1"),
        (["--max-length", "1000001"], "--max-length 1000001 is more than the model's"),
        (["other.json"], "DATA and --data-file contradict each other"),
    ],
)
def test_the_inspector_checks_its_flags_as_the_answering_commands_do(
    files: list[str], words: list[str], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        main([*files, *words])
    with pytest.raises(ValueError, match="no file is named; give DATA"):
        main([])
    with pytest.raises(ValueError, match="2 files are named, expected one"):
        main(["a.json", "b.json"])
