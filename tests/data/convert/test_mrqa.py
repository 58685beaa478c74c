"""MRQA: inclusive spans, detected answers. There is no authentic sample: the layout is documented
in the shared task's repository."""

from pathlib import Path
from typing import Any

import pytest

from tests.data.convert.little import converted, texts, write_lines

HEADER = {"header": {"dataset": "MillQA", "split": "train"}}
CONTEXT = "[PAR] Anna built the old mill in 1801 ."


def detected(text: str, *spans: tuple[int, int]) -> dict[str, Any]:
    return {"text": text, "char_spans": [list(span) for span in spans], "token_spans": [[0, 0]]}


def record(*answers: dict[str, Any]) -> dict[str, Any]:
    return {
        "context": CONTEXT,
        "context_tokens": [["[PAR]", 0]],
        "qas": [
            {
                "qid": f"q{number}",
                "question": "?",
                "question_tokens": [["?", 0]],
                "answers": [],
                "detected_answers": [answer] if answer else [],
            }
            for number, answer in enumerate(answers)
        ],
    }


def test_the_ends_of_spans_are_inclusive(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.gz", HEADER, record(detected("Anna", (6, 9))))
    passages, tally = converted("mrqa", path)
    assert passages[0].questions[0].answers == [("Anna", 6)]
    assert passages[0].title == "MillQA" and tally.read == 1 and tally.noted == {}


def test_an_answer_is_the_contexts_text_at_its_first_span(tmp_path: Path) -> None:
    answers = (
        detected("OLD  mill", (21, 28), (0, 3)),
        detected("built", (12, 16)),
        detected("1801", (3, 6)),
        detected("", (3, 6)),
        detected("Anna"),
        {},
    )
    passages, tally = converted("mrqa", write_lines(tmp_path / "a", HEADER, record(*answers)))
    assert texts(passages) == {"q0": ["old mill"], "q1": ["built"]}
    assert tally.noted == {
        "answers that differ in case or white space from the context's": 1,
        "answers whose span was 1 or 2 characters off, repaired": 1,
        "answers not at their span, left out": 1,
        "answers without text, left out": 1,
        "answers without a place, left out": 1,
    }
    assert tally.dropped == {"no answer stands at its span": 3, "no answer was detected": 1}


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([record()], "line 1 has no object 'header'"),
        ([HEADER, {"context": "x"}], "line 2 has no list 'qas'"),
        (
            [HEADER, record({"text": "x", "char_spans": [[1]]})],
            "line 2 has an answer that has char",
        ),
        ([HEADER, record({"text": "x", "char_spans": [[1, "2"]]})], "no pairs of whole numbers"),
    ],
)
def test_another_layout_is_refused_with_file_and_line(
    records: list[Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=words):
        converted("mrqa", write_lines(tmp_path / "a.jsonl", *records))
