"""TriviaQA 1.0, the reading-comprehension sets (Joshi et al. 2017): qa/*.json and evidence/.

A question comes with documents that were found for it, its answer with aliases, and nobody marked
where in a document the answer stands: that is found here. Every pair of question and document is a
question of its own.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from data.convert.audit import Tally
from data.convert.options import TriviaQAOptions
from data.convert.passages import WORD, Fields, Passage, Question, distinct, ends_inside_word
from data.convert.reading import Source
from minibert.strict_json import shown

FOLDERS = {"EntityPages": "wikipedia", "SearchResults": "web"}
MOST_DOCUMENT = 16 << 20  # bytes; the largest page has under 1
WIDEST_GAP = 3  # characters between two words of an answer
SHORTEST = 3  # letters and digits of an alias that is found whatever its case and punctuation
_LETTERS = re.compile(r"[^\W_]+")


def passages(source: Source, tally: Tally, options: TriviaQAOptions) -> Iterator[Passage]:
    """Every pair of question and document.

    Args:
        source: qa/{wikipedia,web}-*.json.
        tally: told of everything.
        options: of the command.

    Raises:
        ValueError: a question that is not in this layout, or an evidence file that is missing,
            unreadable or outside of the evidence folder.
    """
    evidence = Path(options.evidence or source.path.resolve().parent.parent / "evidence")
    digest, files = hashlib.sha256(), 0
    for number, (line, record) in enumerate(source.elements("Data")):
        where = f"{source.path}: line {line}, Data[{number}],"
        fields = Fields(record, where)
        question_id, text = fields.text("QuestionId"), fields.text("Question")
        aliases = _aliases(record.get("Answer"), fields) if "Answer" in record else None
        for key, folder in FOLDERS.items():
            for document in fields.list(key) if key in record else []:
                page = Fields(document, f"{where} has a document that")
                name = page.text("Filename")
                identifier = f"{question_id}--{name}"
                tally.read += 1
                content = _read(evidence / folder, name, where, digest)
                files += 1
                context, cut = _begin(content, options.words)
                if not context:
                    tally.drop("the document has no text", identifier, line)
                    continue
                if cut:
                    tally.note(f"documents cut after {options.words} words", identifier, line)
                question = Question(identifier, text, line)
                if aliases is None:
                    question.impossible = None
                else:
                    question.answers = find_answers(context, aliases)
                    if not question.answers:
                        beyond = cut and find_answers(content, aliases)
                        question.impossible = (
                            f"the answer stands only behind the first {options.words} words"
                            if beyond
                            else "the answer does not stand in the document"
                        )
                title = document.get("Title")
                yield Passage(title if isinstance(title, str) else "", context, [question])
    tally.source = {"evidence_files": files, "evidence_sha256": digest.hexdigest()}


def _aliases(answer: Any, fields: Fields) -> list[str]:
    """All forms of an answer: its value, aliases and their normalized forms."""
    if not isinstance(answer, dict):
        raise fields.error("has an 'Answer' that is no object")
    entry = Fields(answer, f"{fields.where} has an answer that")
    forms = [entry.text("Value"), *entry.list("Aliases"), *answer.get("NormalizedAliases", [])]
    if not all(isinstance(form, str) for form in forms):
        raise fields.error("has an answer with an alias that is no text")
    return list(dict.fromkeys(forms))


def _read(folder: Path, name: str, where: str, digest: "hashlib._Hash") -> str:
    """An evidence document, whose bytes go into a digest as well.

    Raises:
        ValueError: with the place of the question that names it.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise ValueError(
            f"{where} names the evidence file {shown(name)}, which is no name inside of a folder"
        )
    path = folder / name
    try:
        with path.open("rb") as file:
            content = file.read(MOST_DOCUMENT + 1)
    except OSError as error:
        raise ValueError(
            f"{where} names the evidence file {path}, which cannot be read ({error.strerror}); "
            "give the folder that holds wikipedia/ and web/ as --evidence"
        ) from None
    digest.update(content)
    if len(content) > MOST_DOCUMENT:
        raise ValueError(f"{where} names {path}, which is larger than {MOST_DOCUMENT >> 20} MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where} names {path}, which is not UTF-8 text (byte {error.start})"
        ) from None


def _begin(content: str, words: int) -> tuple[str, bool]:
    """The document up to the end of its first words, and whether there are more."""
    content = content.strip()
    if not words:
        return content, False
    for number, word in enumerate(WORD.finditer(content), 1):
        if number == words:
            return content[: word.end()], word.end() < len(content)
    return content, False


def find_answers(context: str, aliases: list[str]) -> list[tuple[str, int]]:
    """Where an answer stands, in all its forms: each form's first place, the first of all first.

    Words are compared, whatever their case and the punctuation between them, so that no answer
    begins or ends inside a word. (An alias of one or two letters must stand as it is spelled: "C++"
    is no answer in "vitamin C".) Of forms that begin at the same place the longest comes first.

    Args:
        context: to look in.
        aliases: forms of the answer.

    Returns:
        (text, first character), each text once.
    """
    spans = [match.span() for match in _LETTERS.finditer(context)]
    words = [_fold(context[begin:end]) for begin, end in spans]
    line = " " + " ".join(words) + " "
    places = set()
    for alias in aliases:
        wanted = [_fold(word) for word in _LETTERS.findall(alias)]
        if sum(map(len, wanted)) < SHORTEST:
            places.update(_as_spelled(context, alias.strip()))
            continue
        form = " " + " ".join(wanted) + " "
        at = line.find(form)
        while at >= 0:
            first = line.count(" ", 0, at)
            last = first + len(wanted) - 1
            gaps = [spans[w + 1][0] - spans[w][1] for w in range(first, last)]
            if max(gaps, default=0) <= WIDEST_GAP:
                places.add((spans[first][0], spans[last][1]))
                break
            at = line.find(form, at + 1)
    ordered = sorted(places, key=lambda place: (place[0], -place[1]))
    return distinct((context[begin:end], begin) for begin, end in ordered)


def _as_spelled(context: str, alias: str) -> list[tuple[int, int]]:
    """The first place of an alias that stands between other characters than letters and digits."""
    at = context.find(alias) if alias else -1
    while at >= 0:
        end = at + len(alias)
        if not ends_inside_word(context, alias, at):
            return [(at, end)]
        at = context.find(alias, at + 1)
    return []


def _fold(word: str) -> str:
    return word.casefold()
