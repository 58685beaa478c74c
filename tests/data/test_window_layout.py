"""The mistakes of a report, switched on: ids, token types, labels and answers by hand."""

import numpy as np
import pytest

from data.batches import collate
from data.layout import Layout
from data.qa_settings import QASettings, make_example_windows
from data.squad import Answer, SquadExample
from data.tokenization import Tokenizer
from data.tokenizer_files import SPECIAL_TOKENS
from eval.answerer import WindowLogits, decode_windows

WORDS = "who a b c d e f g h".split()
TOKENIZER = Tokenizer(
    {token: n for n, token in enumerate([*SPECIAL_TOKENS, *WORDS])}, lowercase=True
)
CLS, SEP, WHO = 2, 3, 5
CONTEXT = "a b c d e f g h"  # ids 6 to 13


def make_windows(text, **layout):
    answer = Answer(text, CONTEXT.index(text))
    example = SquadExample("q", "", "who", CONTEXT, (answer,), is_impossible=False)
    settings = QASettings(max_length=8, doc_stride=2, **layout)
    return make_example_windows([example], TOKENIZER, settings)


def test_the_context_may_stand_first():
    windows = make_windows("d", context_first=True)
    assert [windows.input_ids(w) for w in range(len(windows))] == [
        [CLS, 6, 7, 8, 9, SEP, WHO, SEP],
        [CLS, 8, 9, 10, 11, SEP, WHO, SEP],
        [CLS, 10, 11, 12, 13, SEP, WHO, SEP],
    ]
    batch = collate(windows, np.arange(3))
    assert batch.packed.token_type_ids.tolist() == [0, 0, 0, 0, 0, 0, 1, 1] * 3
    assert batch.start_positions.tolist() == batch.end_positions.tolist() == [4, 2, 0]
    assert windows.lengths.tolist() == [8, 8, 8]


@pytest.mark.parametrize(
    ("context_first", "places"), [(False, [1, 1, 1]), (True, [6, 6, 4])], ids=["plain", "context"]
)
def test_every_window_says_where_its_question_begins(context_first, places):
    windows = make_windows("d", context_first=context_first, doc_step=3)  # the last is shorter
    assert windows.question_first.tolist() == places
    assert [windows.input_ids(w)[place] for w, place in enumerate(places)] == [WHO, WHO, WHO]


@pytest.mark.parametrize("context_first", [False, True])
def test_answers_are_read_where_the_context_stands(context_first):
    windows = make_windows("d e", context_first=context_first)
    bounds = np.concatenate([[0], np.cumsum(windows.lengths)])
    start, end = np.full((2, bounds[-1]), -5.0, np.float32)
    begin = bounds[1]  # the second window holds "c d e f"
    start[begin + windows.start_positions[1]] = end[begin + windows.end_positions[1]] = 5.0
    (decoded,) = decode_windows(WindowLogits(start, end, bounds, 0.0), windows)
    assert decoded.answer(0.0) == "d e"


def test_a_truncated_context_has_one_window_and_loses_what_is_behind():
    assert len(make_windows("d", truncate=True)) == 1
    assert make_windows("d", truncate=True).lost == []
    behind = make_windows("h", truncate=True)
    assert behind.lost == ["q"] and behind.start_positions.tolist() == [0]
    assert behind.input_ids(0) == make_windows("h").input_ids(0)


def test_without_token_types_all_are_of_the_first():
    windows = make_windows("d", token_types=False)
    assert not collate(windows, np.arange(3)).packed.token_type_ids.any()
    plain = make_windows("d")
    types = collate(plain, np.arange(3)).packed.token_type_ids.tolist()
    assert types == [0, 0, 0, 1, 1, 1, 1, 1] * 3
    assert windows.start_positions.tolist() == plain.start_positions.tolist()


def test_a_models_layout_is_saved_with_it(tmp_path):
    settings = QASettings(truncate=True, context_first=True, token_types=False)
    settings.save(tmp_path)
    read = QASettings.from_folder(tmp_path, 512)
    assert read == settings and read.layout == Layout(True, True, False)
    assert read.window == "384 tokens, one a question, the context first, no token types"
    (tmp_path / "qa_settings.json").write_text('{"truncate": 1}')
    with pytest.raises(ValueError, match="truncate is 1, expected true or false"):
        QASettings.from_folder(tmp_path, 512)
