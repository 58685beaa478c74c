"""QuAC: CANNOTANSWER, references, offsets."""

from pathlib import Path

import pytest

from tests.data.convert.little import converted, quac, texts, write_json

NONE = ("CANNOTANSWER", 21)
ANNA, MILL = ("Anna", 0), ("the mill", 11)


def test_the_word_cannotanswer_is_no_part_of_the_context(tmp_path: Path) -> None:
    passages, tally = converted("quac", write_json(tmp_path / "a", quac(("q#0", [ANNA]))))
    assert passages[0].context == "Anna built the mill." and passages[0].title == "The Mill"
    assert tally.read == 1 and passages[0].questions[0].answers == [ANNA]


def test_the_original_answer_trains_and_half_of_the_references_make_it_impossible(
    tmp_path: Path,
) -> None:
    turns = (
        ("one", [MILL, ANNA, MILL]),
        ("none", [NONE]),
        ("half", [ANNA, NONE]),
        ("most", [ANNA, ANNA, NONE]),
        ("original not", [NONE, ANNA, ANNA]),
    )
    passages, tally = converted("quac", write_json(tmp_path / "a", quac(*turns)))
    assert texts(passages) == {
        "one": ["the mill", "Anna"],
        "none": "CANNOTANSWER",
        "half": "CANNOTANSWER",
        "most": ["Anna"],
        "original not": ["Anna"],
    }
    assert tally.noted == {"questions that some references answer and others do not": 2}


def test_an_offset_is_repaired_where_one_near_place_has_the_answer(tmp_path: Path) -> None:
    turns = (
        ("off by two", [("built", 7)]),
        ("two places", [("aa", 3)]),
        ("far", [("Anna", 9)]),
        ("empty", [("", 3)]),
        ("spaces", [(" built ", 4)]),
    )
    content = quac(*turns, context="Anna built aaaaa mill.")
    content["data"][0]["paragraphs"][0]["qas"][1]["answers"][0]["answer_start"] = 10
    content["data"][0]["paragraphs"][0]["qas"][1]["orig_answer"]["answer_start"] = 10
    passages, tally = converted("quac", write_json(tmp_path / "a", content))
    assert texts(passages) == {"off by two": ["built"], "spaces": ["built"]}
    assert tally.dropped == {"no answer stands at its offset": 3}
    assert tally.noted["answers whose offset was 1 or 2 characters off, repaired"] == 2
    assert tally.noted["answers not at their offset, left out"] == 4
    assert tally.noted["answers without text, left out"] == 2


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("orig_answer", "has a question that has no object 'orig_answer'"),
        ("id", "has a question that has no text 'id'"),
    ],
)
def test_another_layout_is_refused_with_file_and_line(key: str, words: str, tmp_path: Path) -> None:
    content = quac(("q#0", [ANNA]))
    del content["data"][0]["paragraphs"][0]["qas"][0][key]
    with pytest.raises(ValueError, match=f"a.json: line 3, data.0., {words}"):
        converted("quac", write_json(tmp_path / "a.json", content))
