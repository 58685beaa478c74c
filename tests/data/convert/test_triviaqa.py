"""TriviaQA: evidence, aliases, words kept."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from data.convert.triviaqa import find_answers
from tests.data.convert.little import converted, texts, write_json

ANSWER = {
    "Value": "Anna Berg",
    "Aliases": ["A. Berg", "Anna  Berg"],
    "NormalizedAliases": ["a berg"],
}


@pytest.fixture
def qa(tmp_path: Path) -> Path:
    """A question with one web document, in the published folders."""
    (tmp_path / "qa").mkdir()
    for folder in ("web/7", "wikipedia"):
        (tmp_path / "evidence" / folder).mkdir(parents=True)
    (tmp_path / "evidence/web/7/7_1.txt").write_text("Built by ANNA BERG, of oak.")
    (tmp_path / "evidence/wikipedia/Mill.txt").write_text("Nobody knows who built it.")
    return write_json(tmp_path / "qa" / "web-train.json", {"Data": [record()], "Version": 1.0})


def record(**changes: Any) -> dict[str, Any]:
    made = {
        "QuestionId": "tc_1",
        "Question": "Who built the mill?",
        "Answer": ANSWER,
        "EntityPages": [{"Filename": "Mill.txt", "Title": "Mill"}],
        "SearchResults": [{"Filename": "7/7_1.txt", "Title": "Mills", "Rank": 0}],
    }
    return {name: value for name, value in (made | changes).items() if value is not None}


def test_every_pair_of_question_and_document_is_a_question(qa: Path) -> None:
    passages, tally = converted("triviaqa", qa)
    assert texts(passages) == {
        "tc_1--Mill.txt": "the answer does not stand in the document",
        "tc_1--7/7_1.txt": ["ANNA BERG"],
    }
    assert tally.read == 2 and [passage.title for passage in passages] == ["Mill", "Mills"]


def test_a_document_is_cut_after_whole_words_and_stays_as_it_is(qa: Path) -> None:
    document = qa.parents[1] / "evidence/web/7/7_1.txt"
    document.write_text("\n One  two\nthree, four Anna Berg")
    passages, tally = converted("triviaqa", qa, words=3)
    assert passages[1].context == "One  two\nthree,"
    assert texts(passages)["tc_1--7/7_1.txt"] == "the answer stands only behind the first 3 words"
    assert tally.noted == {"documents cut after 3 words": 2}
    passages, _ = converted("triviaqa", qa, words=0)
    assert passages[1].questions[0].answers == [("Anna Berg", 21)]


def test_the_evidence_that_was_read_is_in_the_audit(qa: Path) -> None:
    _, tally = converted("triviaqa", qa)
    evidence = qa.parents[1] / "evidence"
    read = [(evidence / name).read_bytes() for name in ("wikipedia/Mill.txt", "web/7/7_1.txt")]
    digest = hashlib.sha256(b"".join(read)).hexdigest()
    assert tally.source == {"evidence_files": 2, "evidence_sha256": digest}


def test_a_test_file_has_questions_without_answers(qa: Path) -> None:
    write_json(qa, {"Data": [record(Answer=None)]})
    passages, _ = converted("triviaqa", qa)
    assert texts(passages) == {"tc_1--Mill.txt": None, "tc_1--7/7_1.txt": None}


@pytest.mark.parametrize(
    ("context", "aliases", "found"),
    [
        ("In New York, York is old.", ["York"], [("York", 7)]),
        ("Yorkshire", ["York"], []),
        ("the U.S.A. and the USA", ["U.S.A.", "USA"], [("U.S.A", 4), ("USA", 19)]),
        ("Vitamin C, and C++ too", ["C++"], [("C++", 15)]),
        ("at 10 to 1", ["1"], [("1", 9)]),
        ("Lewis, (Harry) Sinclair", ["lewis harry sinclair"], [("Lewis, (Harry) Sinclair", 0)]),
        ("York\n\n\n\nEngland", ["York England", "York"], [("York", 0)]),
        ("York, England", ["York", "York England"], [("York, England", 0), ("York", 0)]),
        ("STRASSE und Straße", ["Straße"], [("STRASSE", 0)]),
        ("nothing", ["", "?!"], []),
    ],
)
def test_answers_are_whole_words_whatever_their_case_and_punctuation(
    context: str, aliases: list[str], found: list[tuple[str, int]]
) -> None:
    assert find_answers(context, aliases) == found


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("7/none.txt", "which cannot be read .No such file or directory.; give the folder"),
        ("../web/7/7_1.txt", "which is no name inside of a folder"),
        ("/etc/passwd", "which is no name inside of a folder"),
        ("a\\..\\b", "which is no name inside of a folder"),
        ("a\0b", "which is no name inside of a folder"),
        ("", "which is no name inside of a folder"),
        ("7", "which cannot be read .Is a directory."),
    ],
)
def test_evidence_that_is_missing_or_outside_is_refused_with_file_and_line(
    qa: Path, name: str, words: str
) -> None:
    write_json(qa, {"Data": [record(SearchResults=[{"Filename": name, "Title": "x"}])]})
    with pytest.raises(
        ValueError, match=f"web-train.json: line 3, Data.0., names the evidence .*{words}"
    ):
        converted("triviaqa", qa)


def test_evidence_that_is_no_text_is_refused(qa: Path) -> None:
    (qa.parents[1] / "evidence/web/7/7_1.txt").write_bytes(b"ab\xff")
    with pytest.raises(
        ValueError, match=r"line 3, Data.0., names .*7_1.txt, which is not UTF-8 text"
    ):
        converted("triviaqa", qa)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"QuestionId": None}, "line 3, Data.0., has no text 'QuestionId'"),
        ({"Answer": []}, "line 3, Data.0., has an 'Answer' that is no object"),
        ({"Answer": {"Value": "x"}}, "line 3, Data.0., has an answer that has no list 'Aliases'"),
        ({"Answer": {"Value": "x", "Aliases": [3]}}, "an answer with an alias that is no text"),
        ({"SearchResults": "x"}, "line 3, Data.0., has no list 'SearchResults'"),
    ],
)
def test_another_layout_is_refused_with_file_and_line(
    qa: Path, changes: dict[str, Any], words: str
) -> None:
    write_json(qa, {"Data": [record(**changes)]})
    with pytest.raises(ValueError, match=words):
        converted("triviaqa", qa)
