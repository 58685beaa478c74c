"""NewsQA: the three layouts, what workers agree on, spans over lines."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from tests.data.convert.little import converted, texts, write_json

STORY = "Anna built a mill.\n\n\n\nIt has two wheels, made by Bo.\n"
ID = "./cnn/stories/abc.story"


def story(*consensus: dict[str, Any]) -> Any:
    return {
        "version": "1",
        "data": [
            {
                "storyId": ID,
                "type": "train",
                "text": STORY,
                "questions": [{"q": "who?", "consensus": one, "answers": []} for one in consensus],
            }
        ],
    }


def write_rows(path: Path, *rows: dict[str, str]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def row(ranges: str, validated: str = "", bad: str = "0.0", **more: str) -> dict[str, str]:
    return {
        "story_id": ID,
        "question": "who?",
        "answer_char_ranges": ranges,
        "is_question_bad": bad,
        "validated_answers": validated,
        "story_text": STORY,
    } | more


def test_the_consensus_of_the_combined_json_is_the_answer(tmp_path: Path) -> None:
    path = write_json(
        tmp_path / "combined.json",
        story(
            {"s": 0, "e": 5},
            {"noAnswer": True},
            {"badQuestion": True},
            {"s": 11, "e": 24},
            {"s": 18, "e": 20},
            {"s": 3, "e": 3},
            {"s": 40, "e": 400},
        ),
    )
    passages, tally = converted("newsqa", path)
    assert len(passages) == 1
    assert texts(passages) == {
        "abc#0": ["Anna"],
        "abc#1": "the workers found no answer",
        "abc#3": ["a mill.\n\n\n\nIt"],
    }
    assert tally.left_out == {"the workers found the question bad": 1}
    assert tally.dropped == {
        "an answer of no characters": 2,
        "the answer stands behind the end of the story": 1,
    }
    assert tally.noted == {"answers trimmed of white space": 2, "answers over several lines": 1}
    assert tally.read == 7


def test_a_row_of_the_combined_csv_is_what_most_workers_say(tmp_path: Path) -> None:
    rows = [
        row("0:4|None|5:10", '{"none": 1, "0:4": 2}'),
        row("0:4|5:10|5:10"),
        row("0:4|5:10", '{"0:4": 1, "none": 1}'),
        row("None|None", bad="0.5"),
        row("None|0:4", '{"badQuestion": 2, "0:4": 1}'),
        row("None|None|0:4", bad="0.25"),
        row("0:4,22:24|0:4,22:24|5:10"),
    ]
    passages, tally = converted("newsqa", write_rows(tmp_path / "a.csv", *rows))
    assert texts(passages) == {
        "abc#0": ["Anna"],
        "abc#1": ["built"],
        "abc#2": "the workers found no answer",
        "abc#5": "the workers found no answer",
        "abc#6": ["Anna"],
    }
    assert len(passages) == 1 and passages[0].context == STORY
    assert tally.left_out == {"the workers found the question bad": 2}
    assert tally.noted == {"answers of several spans, the first taken": 1}


def test_tokens_of_a_split_csv_become_characters_across_lines(tmp_path: Path) -> None:
    made = [
        {"story_id": ID, "story_text": STORY, "question": "?", "answer_token_ranges": ranges}
        for ranges in ("0:1", "3:5", "5:6,0:1", "", "7:400", "2:2")
    ]
    made.append(made[0] | {"story_id": "./cnn/stories/other.story", "story_text": "Bo"})
    passages, tally = converted("newsqa", write_rows(tmp_path / "train.csv", *made))
    assert texts(passages) == {
        "abc#0": ["Anna"],
        "abc#1": ["mill.\n\n\n\nIt"],
        "abc#2": ["has"],
        "abc#3": "the workers found no answer",
        "other#0": ["Bo"],
    }
    assert [len(passage.questions) for passage in passages] == [4, 1]
    assert sum(tally.dropped.values()) == 2


def test_the_rule_for_votes_agrees_with_the_makers_own_consensus(
    real_data: Path, tmp_path: Path
) -> None:
    path = real_data / "qa/newsqa/combined-json/combined-newsqa-data-v1.json"
    rows = []
    for one in json.loads(path.read_bytes())["data"]:
        for question in one["questions"]:
            given = [
                ",".join(
                    "None" if "s" not in a else f"{a['s']}:{a['e']}" for a in w["sourcerAnswers"]
                )
                for w in question["answers"]
            ]
            votes = {
                f"{a['s']}:{a['e']}" if "s" in a else "none": a["count"]
                for a in question.get("validatedAnswers", [])
            }
            rows.append(
                row(
                    "|".join(given),
                    json.dumps(votes) if votes else "",
                    str(question["isQuestionBad"]),
                    story_id=one["storyId"],
                    story_text=one["text"],
                )
            )
    from_json, tally = converted("newsqa", path)
    from_rows, again = converted("newsqa", write_rows(tmp_path / "a.csv", *rows))
    assert texts(from_rows) == texts(from_json) and len(texts(from_json)) == 23
    assert again.left_out == tally.left_out == {"the workers found the question bad": 4}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"story_id": ID, "question": "?"}], "line 1 names no column 'story_text'"),
        ([{"story_id": ID, "question": "?", "story_text": "x"}], "line 2 has neither answer_char"),
        ([row("0:4"), row("0-4")], "line 8 has the answer range '0-4', expected BEGIN:END"),
        ([row("0:4", "{")], "line 2 has validated_answers that are no votes"),
        ([row("None", bad="7")], "line 2 has is_question_bad '7', expected 0 to 1"),
    ],
)
def test_another_layout_is_refused_with_file_and_line(
    rows: list[dict[str, str]], words: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"a.csv: {words}"):
        converted("newsqa", write_rows(tmp_path / "a.csv", *rows))
