"""QuAC v0.2 (Choi et al. 2018), train_v0.2.json and val_v0.2.json.

A section of an article and a dialogue about it. Every turn becomes a question of its own, without
what was said before. The word CANNOTANSWER, which ends every published context and is the answer to
what it does not tell, is no part of the context here: a model would learn to point at it.
"""

from collections.abc import Iterator

from data.convert.audit import Tally
from data.convert.options import QuACOptions
from data.convert.passages import Fields, Passage, Question, distinct, place
from data.convert.reading import Source

NO_ANSWER = "CANNOTANSWER"


def passages(source: Source, tally: Tally, options: QuACOptions) -> Iterator[Passage]:
    """Every section with its questions.

    Args:
        source: one JSON file.
        tally: told of everything.
        options: of the command.

    Raises:
        ValueError: an article that is not in this layout.
    """
    for number, (line, record) in enumerate(source.elements("data")):
        where = f"{source.path}: line {line}, data[{number}],"
        title = record.get("title")
        for paragraph in Fields(record, where).list("paragraphs"):
            section = Fields(paragraph, f"{where} has a paragraph that")
            context = section.text("context")
            if context.endswith(NO_ANSWER):
                context = context[: -len(NO_ANSWER)].rstrip()
            questions = []
            for turn in section.list("qas"):
                question = _question(Fields(turn, f"{where} has a question that"), line)
                tally.read += 1
                if _convert(question, turn, context, tally, where):
                    questions.append(question)
            if questions:
                yield Passage(title if isinstance(title, str) else "", context, questions)


def _question(fields: Fields, line: int) -> Question:
    return Question(fields.text("id"), fields.text("question"), line)


def _convert(question: Question, turn: object, context: str, tally: Tally, where: str) -> bool:
    """Give a question its answers; whether it is kept.

    `orig_answer`, of whoever took part in the dialogue, comes first and trains; the other
    references follow. Where at least half of the references say CANNOTANSWER there is no answer,
    else these references are left out (the official scorer's rule).
    """
    fields = Fields(turn, f"{where} has a question that")
    given = [fields.get("orig_answer", dict, "object"), *fields.list("answers")]
    answers = []
    for answer in given:
        answer_fields = Fields(answer, f"{where} has an answer that")
        answers.append((answer_fields.text("text"), answer_fields.number("answer_start")))
    spans = [answer for answer in answers if answer[0] != NO_ANSWER]
    references = [text for text, _ in answers[1:]] or [answers[0][0]]
    if 2 * references.count(NO_ANSWER) >= len(references) or not spans:
        question.impossible = "CANNOTANSWER"
        return True
    if len(spans) < len(answers):
        tally.note(
            "questions that some references answer and others do not", question.id, question.line
        )
    placed = (place(context, *span, tally, question.id, question.line) for span in spans)
    question.answers = distinct(answer for answer in placed if answer is not None)
    if not question.answers:
        tally.drop("no answer stands at its offset", question.id, question.line)
        return False
    return True
