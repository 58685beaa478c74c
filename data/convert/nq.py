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
_TITLE = re.compile(r"[?&;]title=([^&]*)")
_KINDS = {"<p>": "paragraph", "<table>": "table", "<tr>": "table"}  # others are parts of lists

_BLOCK = 1024  # characters in which spaces are counted before they are looked for one by one

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
        tokens = _page(record, fields)
        tally.read += 1
        long, reason, shorts = _agreed(fields.list("annotations"), where)
        if long is None:
            if options.unanswered == "leave-out":
                tally.leave_out("no answer on the page", identifier, line)
                continue
            long = _lead(fields.list("long_answer_candidates"), tokens, where)
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


def _page(record: Record, fields: Fields) -> Tokens:
    """How to get at the page's tokens, in either layout.

    The simplified one has them between single spaces, the original one as objects, with spaces in
    a token where the simplified one has "_".
    """
    if "document_tokens" in record:
        listed = fields.list("document_tokens")
    else:
        text = fields.text("document_text")

    def tokens(span: Span) -> list[str]:
        begin, end = span
        found: list[str] = []
        if 0 <= begin < end:
            if "document_tokens" not in record:
                found = _cut(text, begin, end)
            else:
                try:
                    found = [token["token"].replace(" ", "_") for token in listed[begin:end]]
                except (TypeError, KeyError, AttributeError):
                    raise fields.error("has document_tokens without a text 'token'") from None
        if len(found) != end - begin or not found:
            raise fields.error(f"has the passage {span}, which is none of its page's tokens")
        return found

    return tokens


def _cut(text: str, begin: int, end: int) -> list[str]:
    """`text.split(" ")[begin:end]`, without the thousands of tokens before and behind.

    To split a whole page takes longer than to read its record.
    """
    first = _skip(text, 0, begin)
    if first < 0:
        return []
    last = _skip(text, first, end - begin)
    return text[first : last - 1 if last >= 0 else None].split(" ")


def _skip(text: str, at: int, count: int) -> int:
    """The place behind so many spaces from a place on; -1 where there are fewer."""
    while (here := text.count(" ", at, at + _BLOCK)) < count:
        at, count = at + _BLOCK, count - here
        if at >= len(text):
            return -1
    for _ in range(count):
        at = text.index(" ", at) + 1
    return at


def _agreed(annotations: list[Any], where: str) -> tuple[Span | None, str, list[Span]]:
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


def _lead(candidates: list[Any], tokens: Tokens, where: str) -> Span | None:
    """The first paragraph of some length on a page without an answer; else its first passage."""
    first: Span | None = None
    for candidate in candidates:
        fields = Fields(candidate, f"{where} has a candidate that")
        if candidate.get("top_level") is not True:
            continue
        span = fields.number("start_token"), fields.number("end_token")
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
    named = _TITLE.search(address) if isinstance(address, str) else None
    if named is None:
        return ""
    return html.unescape(urllib.parse.unquote(named[1])).replace("_", " ")
