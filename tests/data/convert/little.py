"""Little files in the documented layouts, made here: none of their words is published anywhere."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data.convert.audit import Tally
from data.convert.options import OPTIONS
from data.convert.passages import Passage, Question
from data.convert.reading import Source
from data.convert.shards import SETS

PAGE = (
    "The Mill - wiki <H1> The Mill </H1> <P> Short . </P> "
    "<P> The old mill stands by the river and was built by Anna Berg in 1801 <B> of </B> oak , as "
    "everybody knows . </P> <Table> <Tr> <Td> Wheels </Td> <Td> 2 </Td> </Tr> </Table> "
    "<Ul> <Li> Anna </Li> <Li> Bo </Li> </Ul>"
)
TOKENS = PAGE.split(" ")


def span(first: str, last: str) -> tuple[int, int]:
    """The tokens of PAGE from the first one to the last one that are so spelled, half-open."""
    begin = TOKENS.index(first)
    return begin, TOKENS.index(last, begin) + 1


LEAD = (12, TOKENS.index("</P>", 12) + 1)
TABLE, LIST = span("<Table>", "</Table>"), span("<Ul>", "</Ul>")
CANDIDATES = [(8, 12), LEAD, TABLE, LIST]


def annotation(
    long: tuple[int, int] | None = None, *shorts: tuple[int, int], verdict: str = "NONE"
) -> dict[str, Any]:
    """What one annotator says of PAGE."""
    ends = long or (-1, -1)
    return {
        "long_answer": {"start_token": ends[0], "end_token": ends[1], "candidate_index": 0},
        "short_answers": [{"start_token": a, "end_token": b} for a, b in shorts],
        "yes_no_answer": verdict,
    }


def simplified(identifier: int, *annotations: dict[str, Any]) -> dict[str, Any]:
    """A record of Natural Questions in the simplified layout."""
    return {
        "example_id": identifier,
        "question_text": f"question {identifier}",
        "document_url": "https://example.org//w/index.php?title=The_Mill_(Anna%27s)&amp;oldid=1",
        "document_text": PAGE,
        "long_answer_candidates": [
            {"start_token": a, "end_token": b, "top_level": True} for a, b in CANDIDATES
        ],
        "annotations": list(annotations),
    }


def original(record: dict[str, Any]) -> dict[str, Any]:
    """The same record in the original layout, as documented; no authentic sample is at hand."""
    record = dict(record)
    tokens = record.pop("document_text").split(" ")
    record["document_html"] = " ".join(tokens)
    record["document_title"] = "The Mill (Anna's)"
    record["document_tokens"] = [
        {"token": token.replace("_", " "), "html_token": token[0] == "<", "start_byte": 0}
        for token in tokens
    ]
    return record


def quac(*turns: tuple[str, list[tuple[str, int]]], context: str = "Anna built the mill.") -> Any:
    """A QuAC file of one section: (id, references, of which the first is the original)."""
    return {
        "data": [
            {
                "title": "The Mill",
                "background": "x",
                "section_title": "y",
                "paragraphs": [
                    {
                        "id": "C_0",
                        "context": context + " CANNOTANSWER",
                        "qas": [
                            {
                                "id": identifier,
                                "question": f"{identifier}?",
                                "followup": "n",
                                "yesno": "x",
                                "orig_answer": answer(*references[0]),
                                "answers": [answer(*reference) for reference in references],
                            }
                            for identifier, references in turns
                        ],
                    }
                ],
            }
        ]
    }


def answer(text: str, start: int) -> dict[str, Any]:
    return {"text": text, "answer_start": start}


def write_lines(path: Path, *records: Any, packed: bool = True) -> Path:
    """A file of JSON lines."""
    content = "".join(json.dumps(record) + "\n" for record in records).encode()
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


def write_json(path: Path, value: Any) -> Path:
    """A JSON file over several lines."""
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
    return path


def converted(name: str, path: Path, **options: Any) -> tuple[list[Passage], Tally]:
    """What a converter makes of a file, in this process."""
    tally = Tally()
    made = OPTIONS[name](out="unused.json", inputs=(str(path),), **options)
    with Source(path) as source:
        return list(SETS[name](source, tally, made)), tally


def questions(passages: list[Passage]) -> Iterator[tuple[str, Question]]:
    """Every question with its context, each answer at its place."""
    for passage in passages:
        for question in passage.questions:
            for text, start in question.answers:
                assert text and passage.context[start : start + len(text)] == text
            yield passage.context, question


def texts(passages: list[Passage]) -> dict[str, list[str] | str | None]:
    """Id -> the answers' texts, or why there are none."""
    return {
        question.id: [text for text, _ in question.answers] or question.impossible
        for _, question in questions(passages)
    }
