"""The reader: official files whole, every bad record named, nothing dropped in silence."""

import json
from pathlib import Path
from typing import Any

import pytest

from data.squad import Answer, SquadExample, read_squad

CONTEXT = "Velmora lies on the Isk. The Isk is long, and Velmora is old."


def document() -> dict[str, Any]:
    """A v2 file of three questions, the last of them impossible."""
    qas = [
        {
            "id": "q1",
            "question": "Where?",
            "answers": [
                {"text": "the Isk", "answer_start": 16},
                {"text": "on the Isk", "answer_start": 13},
            ],
            "is_impossible": False,
        },
        {"id": "q2", "question": "Old?", "answers": [{"text": "Velmora", "answer_start": 46}]},
        {"id": "q3", "question": "Who?", "answers": [], "is_impossible": True},
    ]
    return {
        "version": "v2.0",
        "data": [{"title": "Towns", "paragraphs": [{"context": CONTEXT, "qas": qas}]}],
    }


def question(file: dict[str, Any], number: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = file["data"][0]["paragraphs"][0]["qas"][number]
    return found


def written(folder: Path, content: object) -> Path:
    path = folder / "squad.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def refusal(folder: Path, content: object) -> str:
    """The message, which is one line that names the file."""
    path = written(folder, content)
    with pytest.raises(ValueError) as caught:
        read_squad(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message.removeprefix(str(path))


# --- what is read


def test_examples_come_in_file_order_with_everything_the_file_says(tmp_path: Path) -> None:
    data = read_squad(written(tmp_path, document()))
    answers = (Answer("the Isk", 16), Answer("on the Isk", 13))
    assert data.examples == [
        SquadExample("q1", "Towns", "Where?", CONTEXT, answers, False),
        SquadExample("q2", "Towns", "Old?", CONTEXT, (Answer("Velmora", 46),), False),
        SquadExample("q3", "Towns", "Who?", CONTEXT, (), True),
    ]
    assert data.has_impossible and data.has_answers
    assert data.repaired == data.unmarked == []
    for example in data.examples:
        for answer in example.answers:
            assert CONTEXT[answer.start : answer.end] == answer.text


def test_a_v1_file_has_no_impossible_questions(tmp_path: Path) -> None:
    file = document()
    del question(file)["is_impossible"], file["version"], file["data"][0]["title"]
    file["data"][0]["paragraphs"][0]["qas"].pop()
    data = read_squad(written(tmp_path, file))
    assert not data.has_impossible and data.has_answers
    assert [example.title for example in data.examples] == ["", ""]


@pytest.mark.parametrize("answers", ["absent", None, []])
def test_a_file_without_any_answers_is_a_test_file_not_an_impossible_one(
    answers: object, tmp_path: Path
) -> None:
    file = document()
    for number in range(3):
        record = question(file, number)
        record.pop("is_impossible", None)
        record["answers"] = answers
        if answers == "absent":
            del record["answers"]
    data = read_squad(written(tmp_path, file))
    assert not data.has_answers and not data.has_impossible and data.unmarked == []
    assert len(data.examples) == 3


def test_an_unmarked_question_without_answers_counts_as_impossible_and_is_listed(
    tmp_path: Path,
) -> None:
    file = document()
    question(file, 1)["answers"] = []
    data = read_squad(written(tmp_path, file))
    assert [example.is_impossible for example in data.examples] == [False, True, True]
    assert data.unmarked == ["q2"]


def test_a_file_with_nothing_but_impossible_questions_has_its_right_answers(tmp_path: Path) -> None:
    file = document()
    for number in range(3):
        question(file, number).update(answers=[], is_impossible=True)
    data = read_squad(written(tmp_path, file))
    assert data.has_answers and data.has_impossible and data.unmarked == []
    del question(file, 1)["is_impossible"]
    data = read_squad(written(tmp_path, file))
    assert data.unmarked == ["q2"] and all(example.is_impossible for example in data.examples)


def test_a_byte_order_mark_and_every_line_end_are_read(tmp_path: Path) -> None:
    text = json.dumps(document(), indent=1).replace("\n", "\r\n")
    data = read_squad(written(tmp_path, b"\xef\xbb\xbf" + text.encode()))
    assert len(data.examples) == 3


def test_the_context_string_is_shared_by_its_questions(tmp_path: Path) -> None:
    examples = read_squad(written(tmp_path, document())).examples
    assert examples[0].context is examples[2].context


@pytest.mark.parametrize(
    "text", ["e\u0301te\u0301", "\U0001f469\u200d\U0001f52c", "a\x00b", "\xa0x"]
)
def test_offsets_count_characters_of_any_kind(text: str, tmp_path: Path) -> None:
    file = document()
    context = f"\U0001f600\u0301 {text} \ud55c\u05d0 end"
    file["data"][0]["paragraphs"][0]["context"] = context
    start = context.index(text)
    file["data"][0]["paragraphs"][0]["qas"] = [
        {"id": "a", "question": "?", "answers": [{"text": text, "answer_start": start}]}
    ]
    (example,) = read_squad(written(tmp_path, file)).examples
    assert example.context[example.answers[0].start : example.answers[0].end] == text


@pytest.mark.parametrize(
    ("name", "questions", "impossible", "contexts"),
    [
        ("dev-v1.1.json", 10570, 0, 2067),
        ("dev-v2.0.json", 11873, 5945, 1204),
        ("train-v2.0-subset.json", 14822, 2945, 2429),
    ],
)
def test_no_question_of_the_real_files_is_lost_or_changed(
    name: str, questions: int, impossible: int, contexts: int, real_data: Path
) -> None:
    data = read_squad(real_data / "squad" / name)
    assert len(data.examples) == questions
    assert sum(example.is_impossible for example in data.examples) == impossible
    assert len({example.context for example in data.examples}) == contexts
    assert data.repaired == data.unmarked == []


# --- offsets


@pytest.mark.parametrize("off", [-2, -1, 1, 2])
def test_an_answer_off_by_one_or_two_is_moved_and_counted(off: int, tmp_path: Path) -> None:
    file = document()
    question(file, 1)["answers"][0]["answer_start"] += off
    data = read_squad(written(tmp_path, file))
    assert data.examples[1].answers == (Answer("Velmora", 46),)
    assert data.repaired == ["q2"]


def test_every_repaired_answer_of_a_question_counts(tmp_path: Path) -> None:
    file = document()
    for answer in question(file)["answers"]:
        answer["answer_start"] += 1
    assert read_squad(written(tmp_path, file)).repaired == ["q1", "q1"]


@pytest.mark.parametrize("start", [0, 51, 57, 1000, -1, -7, 10**30])
def test_an_answer_three_or_more_characters_off_is_refused_by_id(
    start: int, tmp_path: Path
) -> None:
    file = document()
    # It stands at 54, which is also 7 characters before the end: no place to count from.
    question(file, 1)["answers"][0] = {"text": "is old", "answer_start": start}
    message = refusal(tmp_path, file)
    assert f"question q2: answer 'is old' is not at its answer_start {start}" in message


def test_an_answer_near_two_places_is_refused_not_guessed(tmp_path: Path) -> None:
    file = document()
    file["data"][0]["paragraphs"][0] = {
        "context": "ananas",
        "qas": [{"id": "q", "question": "?", "answers": [{"text": "an", "answer_start": 1}]}],
    }
    assert "question q: answer 'an' is not at its answer_start 1 (there stands 'na')" in refusal(
        tmp_path, file
    )


def test_an_answer_just_before_the_context_is_moved_to_its_beginning(tmp_path: Path) -> None:
    file = document()
    question(file, 1)["answers"][0]["answer_start"] = -1
    data = read_squad(written(tmp_path, file))
    assert data.examples[1].answers[0].start == 0 and data.repaired == ["q2"]


def test_a_long_answer_does_not_flood_the_message(tmp_path: Path) -> None:
    file = document()
    question(file, 1)["answers"][0]["text"] = "x" * 10_000
    assert len(refusal(tmp_path, file)) < 300


# --- bad records, each named


def changed(number: int | None, **values: object) -> dict[str, Any]:
    """The document with values set in a question (None: in the paragraph); "absent" deletes."""
    file = document()
    record = file["data"][0]["paragraphs"][0] if number is None else question(file, number)
    for key, value in values.items():
        record[key] = value
        if value == "absent":
            del record[key]
    return file


BAD_RECORDS = [
    (changed(1, id="q1"), ": question q1 occurs twice"),
    (changed(1, id=7), ": data[0].paragraphs[0].qas[1] has no text 'id'"),
    (changed(1, id="absent"), ": data[0].paragraphs[0].qas[1] has no text 'id'"),
    (changed(1, question=None), ": question q2 has no text 'question'"),
    (changed(1, answers="Velmora"), ": question q2 has no list 'answers'"),
    (changed(1, answers=[{"text": "Velmora"}]), ": question q2: answer_start is None"),
    (
        changed(1, answers=[{"text": "Velmora", "answer_start": "46"}]),
        ": question q2: answer_start is '46', expected a number",
    ),
    (
        changed(1, answers=[{"text": "Velmora", "answer_start": 46.0}]),
        ": question q2: answer_start is 46.0",
    ),
    (
        changed(1, answers=[{"text": "Velmora", "answer_start": True}]),
        ": question q2: answer_start is True",
    ),
    (changed(1, answers=[{"answer_start": 46}]), ": an answer of question q2 has no text 'text'"),
    (changed(1, answers=["Velmora"]), ": an answer of question q2 has no text 'text'"),
    (
        changed(1, answers=[{"text": "", "answer_start": 3}]),
        ": question q2 has an answer without text; use an empty list",
    ),
    (changed(1, is_impossible="yes"), ": question q2: is_impossible is 'yes', expected true"),
    (changed(1, is_impossible=True), ": question q2 is marked impossible but has 1 answer;"),
    (changed(None, context="absent"), ": data[0].paragraphs[0] has no text 'context'"),
    (changed(None, qas={}), ": data[0].paragraphs[0] has no list 'qas'"),
    (changed(None, qas=["q"]), ": data[0].paragraphs[0].qas[0] has no text 'id'"),
    (changed(None, qas=[]), " holds no questions"),
    ({"data": [{"title": "x"}]}, ": data[0] has no list 'paragraphs'"),
    ({"data": [{"paragraphs": [None]}]}, ": data[0].paragraphs[0] has no text 'context'"),
    ({"data": ["x"]}, ": data[0] has no list 'paragraphs'"),
    ({"data": []}, " holds no questions"),
    ({"data": {}}, ": the file has no list 'data'"),
    ({"q1": "a prediction"}, " has no top-level 'data' list"),
    ([document()], " holds a list in place of a JSON object; expected a SQuAD .json file"),
]


@pytest.mark.parametrize(("file", "message"), BAD_RECORDS, ids=[m for _, m in BAD_RECORDS])
def test_a_bad_record_is_named(file: object, message: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, file).startswith(message)


def test_a_blank_context_with_an_answer_is_named(tmp_path: Path) -> None:
    file = changed(None, context="   ")
    file["data"][0]["paragraphs"][0]["qas"] = [
        {"id": "q", "question": "?", "answers": [{"text": " ", "answer_start": 1}]}
    ]
    assert refusal(tmp_path, file).startswith(": question q has a blank context")


# --- bad files


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", " is empty"),
        (b" \n\t\n", " is empty"),
        (b"\xef\xbb\xbf", " is empty"),
        (b"null", " holds a NoneType in place of a JSON object"),
        (b"<html>moved</html>", " is not JSON (Expecting value at line 1, column 1)"),
        (b'{"data": [', " is not JSON (Expecting value at line 1, column 11)"),
        (b'{"data": []}\n{"data": []}\n', " is not JSON (Extra data at line 2, column 1)"),
        (b"\x80\x04}q\x00.", " is not UTF-8 text (byte 0)"),
        ("{}".encode("utf-16"), " is not UTF-8 text (byte 0)"),
        (b"[" * 100_000, " is nested too deeply"),
        (b'{"data": ' * 100_000, " is nested too deeply"),
        (
            b'{"data": ' + b"1" * 5000 + b"}",
            " holds a number of thousands of digits; expected a SQuAD",
        ),
        (
            b'{"data": [], "data": []}',
            " has the key 'data' twice in one object; expected a SQuAD .json file",
        ),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else None,
)
def test_a_file_that_is_no_squad_file_is_refused_in_a_sentence(
    content: bytes, message: str, tmp_path: Path
) -> None:
    assert refusal(tmp_path, content).startswith(message)


def test_a_key_that_stands_twice_deep_inside_is_refused(tmp_path: Path) -> None:
    text = json.dumps(document()).replace('"question": "Old?"', '"question": "A", "question": "B"')
    assert "has the key 'question' twice" in refusal(tmp_path, text)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.json does not exist"):
        read_squad(tmp_path / "none.json")
    with pytest.raises(ValueError, match="is a folder, expected a SQuAD"):
        read_squad(tmp_path)
