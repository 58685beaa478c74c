"""Natural Questions: both layouts, agreement of annotators, spans, what becomes impossible.

All records are made here (little.py); of the original layout there is no authentic sample."""

from pathlib import Path
from typing import Any

import pytest

from data.convert import nq
from tests.data.convert.little import (
    LEAD,
    LIST,
    PAGE,
    TABLE,
    annotation,
    converted,
    original,
    simplified,
    span,
    texts,
    write_lines,
)

ANNA = span("Anna", "Berg")
CONTEXT = (
    "The old mill stands by the river and was built by Anna Berg in 1801 of oak , as everybody "
    "knows ."
)
RECORDS = [
    simplified(1, annotation(LEAD, ANNA)),
    simplified(-2, annotation(LEAD)),
    simplified(3, annotation()),
    simplified(4, annotation(LEAD, verdict="YES")),
    simplified(5, annotation(LIST, (LIST[0] + 5, LIST[0] + 6), (LIST[0] + 2, LIST[0] + 3))),
    simplified(6, annotation(TABLE, span("2", "2"))),
]


def test_every_kind_of_record_becomes_what_docs_datasets_says(tmp_path: Path) -> None:
    passages, tally = converted("nq", write_lines(tmp_path / "a.gz", *RECORDS))
    assert texts(passages) == {
        "1": ["Anna Berg"],
        "-2": "a long answer only",
        "3": "no answer on the page",
        "4": "the answer is yes or no",
        "5": ["Anna Bo"],
        "6": ["2"],
    }
    assert tally.read == 6
    assert [passage.context for passage in passages[:4]] == [CONTEXT] * 4
    assert passages[0].title == "The Mill (Anna's)"
    assert passages[-1].context == "Wheels 2"


def test_both_layouts_give_the_same_output(tmp_path: Path) -> None:
    first = converted("nq", write_lines(tmp_path / "a.gz", *RECORDS))
    second = converted("nq", write_lines(tmp_path / "b", *map(original, RECORDS), packed=False))
    assert first == second and len(first[0]) >= 5


def test_a_cut_is_that_of_the_whole_split(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [PAGE, "", " ", "a", " a  b ", "a b c d e", "  "]
    for block in (1, 2, 3, 7, 1024):
        monkeypatch.setattr(nq, "_BLOCK", block)
        for text in texts:
            whole = text.split(" ")
            for begin in range(len(whole)):
                for end in range(begin + 1, len(whole) + 1):
                    assert nq._cut(text, begin, end) == whole[begin:end], (text, begin, end)
            for end in (len(whole) + 1, len(whole) + 9):
                assert len(nq._cut(text, 0, end)) < end
                assert nq._cut(text, end - 1, end) == []


def five(*said: dict[str, Any]) -> dict[str, Any]:
    return simplified(1, *said, *[annotation()] * (5 - len(said)))


@pytest.mark.parametrize(
    ("record", "answers"),
    [
        (five(annotation(LEAD, ANNA)), "no answer on the page"),
        (five(annotation(LEAD, ANNA), annotation(LEAD)), "a long answer only"),
        (five(annotation(LEAD, ANNA), annotation(LEAD, ANNA)), ["Anna Berg"]),
        (
            five(
                annotation(LEAD, span("Berg", "Berg")),
                annotation(LEAD, ANNA),
                annotation(LEAD, ANNA),
                annotation(TABLE, span("2", "2")),
            ),
            ["Anna Berg", "Berg"],
        ),
        (five(annotation(TABLE), *[annotation(LEAD, ANNA)] * 2, annotation(TABLE)), ["Anna Berg"]),
        (five(*[annotation(TABLE)] * 3, *[annotation(LEAD, ANNA)] * 2), "a long answer only"),
        (five(annotation(LEAD, verdict="NO"), annotation(LEAD, ANNA)), "the answer is yes or no"),
    ],
)
def test_of_five_annotators_two_must_agree(
    record: dict[str, Any], answers: object, tmp_path: Path
) -> None:
    assert texts(converted("nq", write_lines(tmp_path / "a", record))[0]) == {"1": answers}


def test_unanswered_questions_and_tables_can_be_left_out(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a", *RECORDS)
    passages, tally = converted("nq", path, unanswered="leave-out", passages="paragraphs")
    assert list(texts(passages)) == ["1", "-2", "4"]
    assert tally.left_out == {
        "no answer on the page": 1,
        "the passage is a list": 1,
        "the passage is a table": 1,
    }
    assert tally.examples["no answer on the page"] == [("3", 3)]


def test_what_cannot_be_used_is_dropped_by_reason(tmp_path: Path) -> None:
    nowhere = simplified(1, annotation())
    nowhere["long_answer_candidates"] = []
    path = write_lines(
        tmp_path / "a",
        nowhere,
        simplified(2, annotation((11, 13))),
        simplified(3, annotation(LEAD, TABLE)),
        simplified(4, annotation(LEAD, span("<B>", "<B>"))),
    )
    passages, tally = converted("nq", path)
    assert passages == []
    assert tally.dropped == {
        "no answer, and no passage on the page": 1,
        "the passage has no text": 1,
        "no short answer inside the long one": 2,
    }
    assert tally.noted == {
        "short answers outside the long one, left out": 1,
        "short answers of HTML alone, left out": 1,
    }


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in RECORDS[0].items() if name != key}


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (without("example_id"), "line 2 has no number or text 'example_id'"),
        (without("question_text"), "line 2 has no text 'question_text'"),
        (without("document_text"), "line 2 has no text 'document_text'"),
        (without("annotations"), "line 2 has no list 'annotations'"),
        (simplified(1, annotation((9, 9999))), r"line 2 has the passage \(9, 9999\)"),
        (
            simplified(1, {"long_answer": 3}),
            "line 2 has an annotation that has no object 'long_answer'",
        ),
        ({"data": [], "version": "1.1"}, "line 2 has no number or text 'example_id'"),
    ],
)
def test_another_layout_is_refused_with_file_and_line(
    record: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "a.jsonl", RECORDS[0], record)
    with pytest.raises(ValueError, match=f"a.jsonl: {words}"):
        converted("nq", path)
