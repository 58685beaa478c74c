"""NewsQA 1.0 (Trischler et al. 2017), as its makers' tools leave it: .json, .csv, split .csv.

    combined-newsqa-data-v1.json    stories with questions; answers in characters, and the consensus
    combined-newsqa-data-v1.csv     a row for each question; answers in characters, of every worker
    split_data/{train,dev,test}.csv a row for each question; tokenized, answers in tokens

The answer is what the workers agreed on. A question gets the id of its story, and its number there.
"""

import math
from collections import Counter
from collections.abc import Iterator
from enum import Enum
from pathlib import PurePosixPath

from data.convert.audit import Tally
from data.convert.options import NewsQAOptions
from data.convert.passages import WORD, Fields, Passage, Question, trim
from data.convert.reading import Source
from minibert.strict_json import DECODER, shown

Span = tuple[int, int]  # characters, or tokens, half-open
NONE, BAD = "none", "badQuestion"  # keys of validated_answers


class Verdict(Enum):
    """What workers say who give no span."""

    NO_ANSWER = "no answer"
    BAD_QUESTION = "bad question"


def passages(source: Source, tally: Tally, options: NewsQAOptions) -> Iterator[Passage]:
    """Stories with their questions. In a csv file rows of one story that follow each other are one.

    Args:
        source: a file of any of the three layouts.
        tally: told of everything.
        options: of the command.

    Raises:
        ValueError: a record that is in none of these layouts.
    """
    if source.path.name.lower().removesuffix(".gz").endswith(".csv"):
        return _from_rows(source, tally)
    return _from_stories(source, tally)


def _from_stories(source: Source, tally: Tally) -> Iterator[Passage]:
    """The combined JSON."""
    for count, (line, record) in enumerate(source.elements("data")):
        where = f"{source.path}: line {line}, data[{count}],"
        fields = Fields(record, where)
        story, context = fields.text("storyId"), fields.text("text")
        questions = []
        for number, asked in enumerate(fields.list("questions")):
            entry = Fields(asked, f"{where} has a question that")
            question = Question(f"{_name(story)}#{number}", entry.text("q"), line)
            consensus = entry.get("consensus", dict, "object")
            verdict: Verdict | Span
            if consensus.get("badQuestion") is True:
                verdict = Verdict.BAD_QUESTION
            elif consensus.get("noAnswer") is True:
                verdict = Verdict.NO_ANSWER
            else:
                ends = Fields(consensus, f"{where} has a consensus that")
                verdict = ends.number("s"), ends.number("e")
            if _decide(question, verdict, context, tally):
                questions.append(question)
        if questions:
            yield Passage("", context, questions)


def _from_rows(source: Source, tally: Tally) -> Iterator[Passage]:
    """The combined csv, or a split one."""
    held: Passage | None = None
    numbers: Counter[str] = Counter()
    for line, row in source.rows("story_id", "question", "story_text"):
        story, context = row["story_id"], row["story_text"]
        identifier = f"{_name(story)}#{numbers[story]}"
        numbers[story] += 1
        question = Question(identifier, row["question"], line)
        if "answer_token_ranges" in row:
            verdict = _from_tokens(row["answer_token_ranges"], question, context, tally, source)
        elif "answer_char_ranges" in row:
            verdict = _vote(row, question, tally, source)
        else:
            raise source.bad(
                line, "has neither answer_char_ranges nor answer_token_ranges; see docs/datasets.md"
            )
        if _decide(question, verdict, context, tally):
            if held is not None and held.context != context:
                yield held
                held = None
            held = held or Passage("", context, [])
            held.questions.append(question)
    if held is not None:
        yield held


def _decide(question: Question, verdict: Verdict | Span, context: str, tally: Tally) -> bool:
    """Give a question what was agreed on; whether it is kept."""
    tally.read += 1
    about = question.id, question.line
    if verdict is Verdict.BAD_QUESTION:
        tally.leave_out("the workers found the question bad", *about)
        return False
    if verdict is Verdict.NO_ANSWER:
        question.impossible = "the workers found no answer"
        return True
    begin, end = verdict
    if not 0 <= begin < end:
        tally.drop("an answer of no characters", *about)
        return False
    if end > len(context):
        tally.drop("the answer stands behind the end of the story", *about)
        return False
    text, start = trim(context[begin:end], begin, tally, *about)
    if not text:
        tally.drop("an answer of no characters", *about)
        return False
    if "\n" in text:
        tally.note("answers over several lines", *about)
    question.answers = [(text, start)]
    return True


def _vote(row: dict[str, str], question: Question, tally: Tally, source: Source) -> Verdict | Span:
    """What the workers agreed on, of a row of the combined csv.

    Where answers were validated, the one with most votes, of equals "none" and then the first; else
    the answer that most workers gave, of equals the first. "None" becomes a bad question where at
    least half of them called it so. On the combined JSON, which has the makers' own verdict beside
    these fields, the rule agrees (tests/data/convert/test_newsqa.py).
    """
    validated = row.get("validated_answers", "").strip()
    if validated:
        votes = _votes(validated, question, source)
    else:
        votes = Counter(given.strip() for given in row["answer_char_ranges"].split("|"))
        votes[NONE] = votes.pop("None", 0) + votes.pop("", 0)
    most = max(votes.values())
    winners = [answer for answer, count in votes.items() if count == most]
    chosen = NONE if NONE in winners else winners[0]
    if chosen == NONE and _share(row.get("is_question_bad", ""), question, source) < 0.5:
        return Verdict.NO_ANSWER
    if chosen in (NONE, BAD):
        return Verdict.BAD_QUESTION
    return _first_span(chosen, question, tally, source)


def _votes(validated: str, question: Question, source: Source) -> Counter[str]:
    """`validated_answers`: a JSON object of answers and votes."""
    try:
        votes = DECODER.decode(validated)
    except ValueError:
        votes = None
    if (
        not isinstance(votes, dict)
        or not votes
        or not all(isinstance(count, int) for count in votes.values())
    ):
        raise source.bad(
            question.line, f"has validated_answers that are no votes: {shown(validated)}"
        )
    return Counter(votes)


def _share(text: str, question: Question, source: Source) -> float:
    """`is_question_bad`: a part of the workers, "" for none."""
    try:
        share = float(text or 0)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise source.bad(question.line, f"has is_question_bad {shown(text)}, expected 0 to 1")
    return share


def _from_tokens(
    ranges: str, question: Question, context: str, tally: Tally, source: Source
) -> Verdict | Span:
    """An answer in tokens, which stand between white space, as characters."""
    if ranges.strip() in ("", "None"):
        return Verdict.NO_ANSWER
    begin, end = _first_span(ranges, question, tally, source)
    places = [match.span() for match in WORD.finditer(context)]
    if not 0 <= begin < end:
        return 0, 0
    if end > len(places):
        return 0, len(context) + 1  # counted as behind the end
    return places[begin][0], places[end - 1][1]


def _first_span(ranges: str, question: Question, tally: Tally, source: Source) -> Span:
    """The first of "12:14,20:21"."""
    spans = ranges.split(",")
    if len(spans) > 1:
        tally.note("answers of several spans, the first taken", question.id, question.line)
    begin, _, end = spans[0].partition(":")
    try:
        return int(begin), int(end)
    except ValueError:
        raise source.bad(
            question.line, f"has the answer range {shown(ranges)}, expected BEGIN:END"
        ) from None


def _name(story: str) -> str:
    """The hash in "./cnn/stories/HASH.story"."""
    return PurePosixPath(story).stem
