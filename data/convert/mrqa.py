"""MRQA 2019 shared task (Fisch et al.), .jsonl[.gz]: 18 sets in one layout.

The first line is a header, every other one a context with its questions. Answers are found in the
context already ("detected_answers"); the ends of their `char_spans` are inclusive.
"""

from collections.abc import Iterator
from typing import Any

from data.convert.audit import Tally
from data.convert.options import MRQAOptions
from data.convert.passages import Fields, Passage, Question, distinct, trim
from data.convert.reading import Source
from data.squad import find_near


def passages(source: Source, tally: Tally, options: MRQAOptions) -> Iterator[Passage]:
    """Every context with its questions; the title is the name of the set.

    Args:
        source: one JSON line file.
        tally: told of everything.
        options: of the command.

    Raises:
        ValueError: no header, or a line that is not in this layout.
    """
    title = ""
    for line, record in source.objects():
        where = f"{source.path}: line {line}"
        if line == 1:
            header = Fields(record, where).get("header", dict, "object")
            title = header.get("dataset") if isinstance(header.get("dataset"), str) else ""
            continue
        fields = Fields(record, where)
        context = fields.text("context")
        questions = []
        for asked in fields.list("qas"):
            entry = Fields(asked, f"{where} has a question that")
            question = Question(entry.text("qid"), entry.text("question"), line)
            tally.read += 1
            detected = entry.list("detected_answers")
            answers = [
                answer
                for one in detected
                for answer in _answers(
                    Fields(one, f"{where} has an answer that"), context, tally, question
                )
            ]
            question.answers = distinct(answers)
            if question.answers:
                questions.append(question)
            else:
                reason = "no answer stands at its span" if detected else "no answer was detected"
                tally.drop(reason, question.id, line)
        if questions:
            yield Passage(title, context, questions)


def _answers(
    fields: Fields, context: str, tally: Tally, question: Question
) -> Iterator[tuple[str, int]]:
    """The first place of a detected answer, as the context has it.

    The published text may differ from the context in case and white space; where it differs in
    more, its characters are looked for at most two places away.
    """
    text, spans = fields.text("text"), fields.list("char_spans")
    about = question.id, question.line
    if not spans:
        tally.note("answers without a place, left out", *about)
        return
    if not text.strip():
        tally.note("answers without text, left out", *about)
        return
    begin, end = _ends(spans[0], fields)
    stands = context[begin:end]
    if stands == text or _folded(stands) == _folded(text):
        if stands != text:
            tally.note("answers that differ in case or white space from the context's", *about)
        yield trim(stands, begin, tally, *about)
        return
    found = find_near(context, text, begin)
    if found is None:
        tally.note("answers not at their span, left out", *about)
        return
    tally.note("answers whose span was 1 or 2 characters off, repaired", *about)
    yield trim(text, found, tally, *about)


def _ends(span: Any, fields: Fields) -> tuple[int, int]:
    """First character and first one behind, of a span with both ends inside."""
    if (
        not isinstance(span, list)
        or len(span) != 2
        or not all(isinstance(end, int) and not isinstance(end, bool) for end in span)
        or span[0] < 0
    ):
        raise fields.error("has char_spans that are no pairs of whole numbers")
    return span[0], span[1] + 1


def _folded(text: str) -> str:
    return "".join(text.lower().split())
