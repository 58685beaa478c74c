"""Natural Questions (Kwiatkowski et al. 2019), .jsonl[.gz], the original layout and the simplified.

A record is a page and one question with 1 (train) or 5 (dev) annotations. The context is the long
answer: the passage's tokens that are no HTML, joined by single spaces. The simplified layout is
made of the original's tokens (the set's own simplify_nq_data.py): both give the same output.
"""

import html
import re
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from data.convert.audit import Tally
from data.convert.options import NQOptions
from data.convert.passages import Fields, Passage, Question, distinct, trim
from data.convert.reading import Record, Source

LEAST_LEAD = 20  # tokens of the paragraph that stands for a page without an answer
SEVERAL = 3  # annotations from which on two must agree
_TAG = re.compile(r"</?[A-Za-z!][^<>]*>$")
_KINDS = {"<p>": "paragraph", "<table>": "table", "<tr>": "table"}  # others are parts of lists

Span = tuple[int, int]  # tokens of the page, half-open
Tokens = Callable[[Span], list[str]]  # a span of the page -> its tokens


def passages(source: Source, tally: Tally, options: NQOptions) -> Iterator[Passage]:
    """Every record that is kept, as a passage with one question.

    Args:
        source: of either layout, also mixed.
        tally: told of everything.
        options: of the command.

    Raises:
        ValueError: a line that is not such a record.
    """
    for line, record in source.objects():
        where = f"{source.path}: line {line}"
        fields = Fields(record, where)
        identifier = str(fields.get("example_id", (int, str), "number or text"))
        question = Question(identifier, fields.text("question_text"), line)
        tokens, size = _page(record, fields)
        tally.read += 1
        long, reason, shorts = _agreed(fields.list("annotations"), where, size)
        if long is None:
            if options.unanswered == "leave-out":
                tally.leave_out("no answer on the page", identifier, line)
                continue
            long = _lead(fields.list("long_answer_candidates"), tokens, where, size)
            if long is None:
                tally.drop("no answer, and no passage on the page", identifier, line)
                continue
        passage = tokens(long)
        kind = _KINDS.get(passage[0].lower(), "list")
        if options.passages == "paragraphs" and kind != "paragraph":
            tally.leave_out(f"the passage is a {kind}", identifier, line)
            continue
        context = " ".join(_plain(passage))
        if not context.strip():
            tally.drop("the passage has no text", identifier, line)
            continue
        for span in shorts:
            inside = span[0] - long[0], span[1] - long[0]
            if not 0 <= inside[0] < inside[1] <= len(passage):
                tally.note("short answers outside the long one, left out", identifier, line)
                continue
            text = " ".join(_plain(passage[slice(*inside)]))
            if not text.strip():
                tally.note("short answers of HTML alone, left out", identifier, line)
                continue
            before = _plain(passage[: inside[0]])
            start = len(" ".join(before)) + 1 if before else 0
            question.answers.append(trim(text, start, tally, identifier, line))
        question.answers = distinct(question.answers)
        if shorts and not question.answers:
            tally.drop("no short answer inside the long one", identifier, line)
            continue
        question.impossible = "" if question.answers else reason
        tally.note(f"passages that are a {kind}", identifier, line)
        yield Passage(_title(record), context, [question])


def _page(record: Record, fields: Fields) -> tuple[Tokens, int]:
    """How to get at the page's tokens, and their number."""
    if "document_text" in record:
        return _simplified(fields.text("document_text"))
    if "document_tokens" not in record:
        fields.text("document_text")  # says that it is missing
    return _original(fields.list("document_tokens"), fields)


def _simplified(text: str) -> tuple[Tokens, int]:
    """`document_text`: tokens between single spaces."""
    import numpy as np

    # Splitting thousands of tokens to use a hundred would take longer than reading the record.
    content = text.encode("utf-8", "surrogatepass")
    spaces = np.flatnonzero(np.frombuffer(content, np.uint8) == ord(" "))
    size = len(spaces) + 1

    def tokens(span: Span) -> list[str]:
        begin = int(spaces[span[0] - 1]) + 1 if span[0] else 0
        end = int(spaces[span[1] - 1]) if span[1] < size else len(content)
        return content[begin:end].decode("utf-8", "surrogatepass").split(" ")

    return tokens, size


def _original(listed: list[Any], fields: Fields) -> tuple[Tokens, int]:
    """`document_tokens`: objects with a "token", in which simplified pages have "_" for spaces."""

    def tokens(span: Span) -> list[str]:
        try:
            return [token["token"].replace(" ", "_") for token in listed[span[0] : span[1]]]
        except (TypeError, KeyError, AttributeError):
            raise fields.error("has document_tokens without a text 'token'") from None

    return tokens, len(listed)


def _agreed(annotations: list[Any], where: str, size: int) -> tuple[Span | None, str, list[Span]]:
    """What the annotators say: passage (or None), why it would be impossible, short answers.

    Of three and more annotators two must agree that there is a long answer, and two that there is a
    short one (the set's own evaluation asks the same of its five). The passage is the one that most
    chose, of equals the one with more short answers, then the first. The short answers are those of
    all who chose it, the most frequent first; several spans of one annotator count as the smallest
    span that holds them all (Alberti et al. 2019).
    """
    needed = 2 if len(annotations) >= SEVERAL else 1
    longs: list[Span] = []
    shorts: list[tuple[Span, Span]] = []
    verdicts = 0
    for annotation in annotations:
        fields = Fields(annotation, f"{where} has an annotation that")
        answer = Fields(
            fields.get("long_answer", dict, "object"), f"{where} has a long_answer that"
        )
        long = answer.number("start_token"), answer.number("end_token")
        if long[0] < 0:
            continue
        if not long[0] < long[1] <= size:
            raise ValueError(f"{where} has the long answer {long} on a page of {size} tokens")
        longs.append(long)
        spans = [
            Fields(short, f"{where} has a short answer that")
            for short in fields.list("short_answers")
        ]
        ends = [(short.number("start_token"), short.number("end_token")) for short in spans]
        if ends:
            shorts.append((long, (min(begin for begin, _ in ends), max(end for _, end in ends))))
        elif fields.text("yes_no_answer").upper() != "NONE":
            verdicts += 1
    if len(longs) < needed:
        return None, "no answer on the page", []
    answered = Counter(long for long, _ in shorts)
    chosen = max(longs, key=lambda long: (longs.count(long), answered[long]))
    mine = Counter(short for long, short in shorts if long == chosen)
    if len(shorts) >= needed and mine:
        return chosen, "", [span for span, _ in mine.most_common()]
    if len(shorts) + verdicts >= needed and verdicts:
        return chosen, "the answer is yes or no", []
    return chosen, "a long answer only", []


def _lead(candidates: list[Any], tokens: Tokens, where: str, size: int) -> Span | None:
    """The first paragraph of some length on a page without an answer; else its first passage."""
    first: Span | None = None
    for candidate in candidates:
        fields = Fields(candidate, f"{where} has a candidate that")
        if candidate.get("top_level") is not True:
            continue
        span = fields.number("start_token"), fields.number("end_token")
        if not 0 <= span[0] < span[1] <= size:
            raise ValueError(f"{where} has the candidate {span} on a page of {size} tokens")
        first = first or span
        if span[1] - span[0] >= LEAST_LEAD and tokens((span[0], span[0] + 1))[0].lower() == "<p>":
            return span
    return first


def _plain(tokens: Sequence[str]) -> list[str]:
    """The tokens that are no HTML, told by their look in both layouts (as `html_token` says it)."""
    return [token for token in tokens if token[:1] != "<" or not _TAG.match(token)]


def _title(record: Record) -> str:
    """The page's title: given in the original layout, part of the address in the simplified."""
    title = record.get("document_title")
    if isinstance(title, str):
        return title
    address = record.get("document_url")
    if not isinstance(address, str):
        return ""
    query = urllib.parse.urlsplit(html.unescape(address)).query
    named = urllib.parse.parse_qs(query).get("title", [""])[0]
    return named.replace("_", " ")
