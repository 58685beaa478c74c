"""SQuAD v1.1 and v2.0 files -> examples, with every record checked.

The format is that of the official files: {"version", "data": [{"title", "paragraphs": [{"context",
"qas": [{"id", "question", "answers": [{"text", "answer_start"}], "is_impossible"}]}]}]}.

A record that cannot be read stops with a sentence naming it. An answer whose text does not stand at
its offset is moved if it stands at exactly one place at most two characters away; every such repair
is counted. Anything else is refused: no example is dropped in silence.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from minibert.strict_json import counted, named, read_object, shown

REPAIR_DISTANCE = 2  # characters; the off-by-one and off-by-two errors of known files


@dataclass(frozen=True, slots=True)
class Answer:
    """A gold answer: `context[start : start + len(text)] == text`.

    Attributes:
        text: exact piece of the context.
        start: characters from the start of the context.
    """

    text: str
    start: int

    @property
    def end(self) -> int:
        """First character after the answer."""
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class SquadExample:
    """One question. The context string is shared by all questions of its paragraph.

    Attributes:
        id: unique in its file.
        title: the article's title, "" where the file has none.
        question: as in the file.
        context: as in the file.
        answers: gold answers, empty for an impossible question (and in files without answers).
        is_impossible: True where the context does not answer the question.
    """

    id: str
    title: str
    question: str
    context: str
    answers: tuple[Answer, ...]
    is_impossible: bool


@dataclass(frozen=True, slots=True)
class SquadData:
    """What a file held.

    Attributes:
        path: the file.
        examples: in file order.
        has_impossible: True for v2 data (some question is impossible).
        repaired: ids of answers whose offset was corrected.
        unmarked: ids of questions without answers, but not marked impossible, in a file where
            others have answers or a mark; they count as impossible.
    """

    path: Path
    examples: list[SquadExample]
    has_impossible: bool
    repaired: list[str] = field(default_factory=list)
    unmarked: list[str] = field(default_factory=list)

    @property
    def has_answers(self) -> bool:
        """Whether the right answers are known: some question has one, or is marked impossible (in a
        test file none is either)."""
        return any(example.answers or example.is_impossible for example in self.examples)

    def question(self, identifier: str) -> SquadExample:
        """The question of an id.

        Raises:
            ValueError: there is none.
        """
        for example in self.examples:
            if example.id == identifier:
                return example
        raise ValueError(
            f"--id {named(identifier)} is no question of {self.path}; "
            f"its first is {named(self.examples[0].id)}"
        )


def read_squad(path: str | Path) -> SquadData:
    """Read and check a SQuAD file.

    Args:
        path: a .json file, v1.1 or v2.0.

    Raises:
        ValueError: not JSON, not SQuAD, no question at all, or a bad record, which is named.
        OSError: the file cannot be opened.
    """
    path = Path(path)
    articles = _articles(path)
    examples: list[SquadExample] = []
    repaired: list[str] = []
    seen: set[str] = set()
    for a, article in enumerate(articles):
        where = f"data[{a}]"
        title = (article.get("title") or "") if isinstance(article, dict) else ""
        if not isinstance(title, str):
            raise ValueError(f"{path}: {where} has the title {shown(title)}, expected text")
        for p, paragraph in enumerate(_list(path, article, "paragraphs", where)):
            where = f"data[{a}].paragraphs[{p}]"
            context = _string(path, paragraph, "context", where)
            for q, qa in enumerate(_list(path, paragraph, "qas", where)):
                where = f"data[{a}].paragraphs[{p}].qas[{q}]"
                identifier = _string(path, qa, "id", where)
                where = f"question {named(identifier)}"
                if identifier in seen:
                    raise ValueError(
                        f"{path}: {where} occurs twice; ids must be unique, remove or rename one"
                    )
                seen.add(identifier)
                question = _string(path, qa, "question", where)
                impossible = qa.get("is_impossible", False)
                if not isinstance(impossible, bool):
                    raise ValueError(
                        f"{path}: {where}: is_impossible is {shown(impossible)}, expected true or "
                        "false"
                    )
                given = _list(path, qa, "answers", where, optional=True)
                if given and not context.strip():
                    raise ValueError(f"{path}: {where} has a blank context; correct the file")
                answers = tuple(
                    _answer(path, answer, context, where, repaired, identifier) for answer in given
                )
                if impossible and answers:
                    raise ValueError(
                        f"{path}: {where} is marked impossible but has "
                        f"{counted(len(answers), 'answer')}; correct the file"
                    )
                examples.append(
                    SquadExample(identifier, title, question, context, answers, impossible)
                )
    if not examples:
        raise ValueError(f"{path} holds no questions; expected a SQuAD v1.1 or v2.0 file")
    # v2 marks "no answer" twice, by flag and by an empty list. Where other questions of the file
    # have answers or the flag an empty list alone means it too; a file without either is a test
    # file.
    unmarked: list[str] = []
    if any(example.answers or example.is_impossible for example in examples):
        for e, example in enumerate(examples):
            if not example.answers and not example.is_impossible:
                unmarked.append(example.id)
                examples[e] = replace(example, is_impossible=True)
    has_impossible = any(example.is_impossible for example in examples)
    return SquadData(path, examples, has_impossible, repaired, unmarked)


def _articles(path: Path) -> list[Any]:
    document = read_object(path, "a SQuAD .json file")
    if "data" not in document:
        raise ValueError(f"{path} has no top-level 'data' list; expected a SQuAD v1.1 or v2.0 file")
    return _list(path, document, "data", "the file")


def _list(path: Path, record: Any, key: str, where: str, *, optional: bool = False) -> list[Any]:
    value = record.get(key) if isinstance(record, dict) else None
    if value is None and optional and isinstance(record, dict):
        return []
    if not isinstance(value, list):
        raise ValueError(f"{path}: {where} has no list '{key}'; expected the SQuAD format")
    return value


def _string(path: Path, record: Any, key: str, where: str) -> str:
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, str):
        raise ValueError(f"{path}: {where} has no text '{key}'; expected the SQuAD format")
    return value


def _answer(
    path: Path, record: Any, context: str, where: str, repaired: list[str], identifier: str
) -> Answer:
    """Check that the answer stands where it says; move it if exactly one near place holds it."""
    text = _string(path, record, "text", f"an answer of {where}")
    start = record.get("answer_start")
    if not isinstance(start, int) or isinstance(start, bool):
        raise ValueError(
            f"{path}: {where}: answer_start is {shown(start)}, expected a number of characters"
        )
    if not text:
        raise ValueError(
            f"{path}: {where} has an answer without text; use an empty list for no answer"
        )
    place = find_near(context, text, start)
    if place is not None:
        if place != start:
            repaired.append(identifier)
        return Answer(text, place)
    found = context[max(0, start) : max(0, start) + len(text)]
    raise ValueError(
        f"{path}: {where}: answer {shown(text)} is not at its answer_start {shown(start)} "
        f"(there stands {shown(found)}); correct the file"
    )


def find_near(context: str, text: str, start: int) -> int | None:
    """Where a text stands: at `start`, or at exactly one place at most REPAIR_DISTANCE away.

    Args:
        context: to look in.
        text: not empty.
        start: characters from the start of the context.

    Returns:
        The place in characters; None where the text stands nowhere near, or at several places.
    """
    if 0 <= start and context.startswith(text, start):
        return start
    near = [
        place
        for place in range(max(0, start - REPAIR_DISTANCE), start + REPAIR_DISTANCE + 1)
        if context.startswith(text, place)
    ]
    return near[0] if len(near) == 1 else None
