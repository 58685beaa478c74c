"""1,500 damaged inputs of the five sets: each is converted, or refused in one sentence of ours."""

import csv
import gzip
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.convert.audit import Tally
from data.convert.options import OPTIONS
from data.convert.reading import Source
from data.convert.shards import SETS, Windows, article, figures
from tests.data.convert.little import LEAD, annotation, original, quac, simplified, span
from tests.mutations import mutate_bytes, mutate_json, mutate_lines

RECORD = simplified(1, annotation(LEAD, span("Anna", "Berg")), annotation(LEAD), annotation())
QUAC = quac(("q#0", [("Anna", 0), ("mill", 15)]), ("q#1", [("CANNOTANSWER", 21)]))
TRIVIA = {
    "Data": [
        {
            "QuestionId": "tc_1",
            "Question": "Who?",
            "Answer": {"Value": "Anna", "Aliases": ["A. B."], "NormalizedAliases": ["anna"]},
            "SearchResults": [{"Filename": "1.txt", "Title": "x"}],
        }
    ]
}
NEWS = {
    "data": [
        {
            "storyId": "./cnn/a.story",
            "text": "Anna built a mill.",
            "questions": [
                {"q": "who?", "consensus": {"s": 0, "e": 5}},
                {"q": "why?", "consensus": {"noAnswer": True}},
            ],
        }
    ]
}
MRQA = {
    "context": "Anna built a mill.",
    "qas": [
        {
            "qid": "q0",
            "question": "who?",
            "detected_answers": [{"text": "Anna", "char_spans": [[0, 3]]}],
        }
    ],
}


def rows(*columns: str) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    values = {
        "story_id": "./cnn/a.story",
        "question": "who?",
        "story_text": 'Anna "built",\n\na mill.',
        "answer_char_ranges": "0:4|None|0:4,5:6",
        "is_question_bad": "0.25",
        "validated_answers": '{"none": 1, "0:4": 2}',
        "answer_token_ranges": "0:1,2:3",
    }
    for _ in range(3):
        writer.writerow([values[column] for column in columns])
    return text.getvalue().encode()


STORY = ("story_id", "question", "story_text")
COMBINED = rows(*STORY, "answer_char_ranges", "is_question_bad", "validated_answers")
SPLIT = rows(*STORY, "answer_token_ranges")


def line(record: Any, before: bytes = b"") -> Callable[[random.Random], bytes]:
    sound = json.dumps(record).encode() + b"\n"

    def damage(generator: random.Random) -> bytes:
        content = before + mutate_json(record, generator) + b"\n" + sound
        if generator.random() < 0.2:
            packed = gzip.compress(content, mtime=0)
            return mutate_bytes(packed, generator) if generator.random() < 0.5 else packed
        return content

    return damage


def document(value: Any) -> Callable[[random.Random], bytes]:
    return lambda generator: mutate_json(value, generator)


KINDS: dict[str, tuple[str, str, Callable[[random.Random], bytes]]] = {
    "nq": ("nq", "a.jsonl", line(RECORD)),
    "nq original": ("nq", "a.jsonl", line(original(RECORD))),
    "mrqa": ("mrqa", "a.jsonl", line(MRQA, b'{"header": {"dataset": "x"}}\n')),
    "quac": ("quac", "a.json", document(QUAC)),
    "triviaqa": ("triviaqa", "a.json", document(TRIVIA)),
    "newsqa": ("newsqa", "a.json", document(NEWS)),
    "newsqa combined": ("newsqa", "a.csv", lambda g: mutate_lines(COMBINED, g)),
    "newsqa split": ("newsqa", "a.csv", lambda g: mutate_lines(SPLIT, g)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_input_is_converted_or_refused_in_one_sentence(kind: str, tmp_path: Path) -> None:
    name, file, damage = KINDS[kind]
    generator = random.Random(kind)
    path = tmp_path / "qa" / file
    path.parent.mkdir()
    (tmp_path / "evidence" / "web").mkdir(parents=True)
    (tmp_path / "evidence" / "web" / "1.txt").write_text("Built by Anna.")
    options = OPTIONS[name](out="x.json", inputs=("y",))
    converted = refused = 0
    for _ in range(190):
        path.write_bytes(damage(generator))
        tally = Tally()
        try:
            with Source(path) as source:
                for passage in SETS[name](source, tally, options):
                    figures(passage, tally, Windows(""))
                    json.loads(article(passage))
                    for question in passage.questions:
                        assert bool(question.answers) == (question.impossible == "")
            converted += 1
        except ValueError as error:
            message = str(error)
            assert type(error) is ValueError, repr(error)
            assert message.startswith(str(path)) and message.isprintable(), repr(message)
            assert len(message) < 700, message
            refused += 1
    assert converted > 5 and refused > 30, (converted, refused)
