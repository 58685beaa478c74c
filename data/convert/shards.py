"""One process for each input file; what is finished survives whatever ends the rest.

PARTS/00003.json     the file's tally, its input's digest, and what the part was made from; written
                     last: without it, or made from something else, the part is made anew
PARTS/00003.part     one article a line, each behind a comma
PARTS/00003.rows     figures of every question (audit.ROW)

A part depends on its input file and the options alone, so the number of processes changes nothing.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.convert import mrqa, newsqa, nq, quac, triviaqa
from data.convert.audit import (
    FITS_NONE,
    MAY_NOT_FIT,
    MID_WORD,
    MOST_QUESTION,
    NEVER_FITS,
    ROW,
    STRIDE,
    SURELY_FITS,
    WINDOW,
    Tally,
)
from data.convert.options import Options
from data.convert.passages import WORD, Passage, Question, ends_inside_word
from data.convert.reading import Source
from minibert.files import write_file

if TYPE_CHECKING:
    from data.tokenization import Tokenizer

FORMAT = 1  # raise it where a part would come out otherwise than before
SETS: dict[str, Callable[[Source, Tally, Any], Iterator[Passage]]] = {
    "triviaqa": triviaqa.passages,
    "nq": nq.passages,
    "quac": quac.passages,
    "newsqa": newsqa.passages,
    "mrqa": mrqa.passages,
}


@dataclass(frozen=True)
class Shard:
    """An input file and where its part lies.

    Attributes:
        number: of the file, counted from 0, in the order of the output.
        path: of the input.
        parts: folder.
        options: of the command.
    """

    number: int
    path: Path
    parts: Path
    options: Options

    def file(self, suffix: str) -> Path:
        """A file of the part."""
        return self.parts / f"{self.number:05d}.{suffix}"

    def made_from(self) -> dict[str, Any]:
        """What decides about the part."""
        status = self.path.stat()
        return {
            "format": FORMAT,
            "path": str(self.path),
            "bytes": status.st_size,
            "modified": status.st_mtime_ns,
            "options": self.options.of_parts(),
        }

    def finished(self) -> dict[str, Any] | None:
        """The content of the part's .json, if the part is whole and made from this input."""
        try:
            made: dict[str, Any] = json.loads(self.file("json").read_bytes())
            sizes = {suffix: self.file(suffix).stat().st_size for suffix in ("part", "rows")}
            return made if made["from"] == self.made_from() and made["sizes"] == sizes else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remove(self) -> None:
        """Delete the part, whatever there is of it."""
        for suffix in ("json", "part", "rows"):
            self.file(suffix).unlink(missing_ok=True)


def convert_shard(shard: Shard, progress: Callable[[int], None] = lambda count: None) -> None:
    """Convert one input file into its part.

    Args:
        shard: which.
        progress: called with every number of bytes that was read of the input.

    Raises:
        ValueError: the input is not what it should be; one sentence with file and line.
        OSError: the part cannot be written.
    """
    made_from = shard.made_from()
    tally = Tally()
    windows = Windows(shard.options.vocabulary)
    with Source(shard.path, progress) as source:
        with shard.file("part").open("wb") as part, shard.file("rows").open("wb") as rows:
            for passage in SETS[shard.options.set_name](source, tally, shard.options):
                part.write(b",\n" + article(passage))
                rows.write(figures(passage, tally, windows))
            for file in (part, rows):
                file.flush()
                os.fsync(file.fileno())
        made = {
            "from": made_from,
            "sizes": {suffix: shard.file(suffix).stat().st_size for suffix in ("part", "rows")},
            "sha256": source.sha256(),
            "tally": asdict(tally),
        }
    write_file(shard.file("json"), json.dumps(made).encode())


def article(passage: Passage) -> bytes:
    """The passage as an article of the SQuAD v2 format, on one line."""
    questions = []
    for question in passage.questions:
        entry: dict[str, Any] = {"id": question.id, "question": question.text}
        entry["answers"] = [
            {"text": text, "answer_start": start} for text, start in question.answers
        ]
        if question.impossible is not None:
            entry["is_impossible"] = question.impossible != ""
        questions.append(entry)
    made = {
        "title": passage.title,
        "paragraphs": [{"context": passage.context, "qas": questions}],
    }
    try:
        return json.dumps(made, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a surrogate pair has to be escaped
        return json.dumps(made).encode()


def figures(passage: Passage, tally: Tally, windows: "Windows") -> bytes:
    """The rows of a passage's questions (see audit.ROW), every answer checked once more.

    Raises:
        RuntimeError: an answer is not where it is said to be: a mistake of the converter.
    """
    context = passage.context
    base = hashlib.blake2b(_bytes(passage.title + "\0" + context), digest_size=8)
    rows = []
    for question in passage.questions:
        flags = 0
        for text, start in question.answers:
            if not text or context[start : start + len(text)] != text:
                raise RuntimeError(f"{text!r} is not at {start} in the context of {question.id}")
            if ends_inside_word(context, text, start):
                flags |= MID_WORD
        if question.answers:
            flags |= windows.flag(passage, question)
        for flag in (MID_WORD, MAY_NOT_FIT, FITS_NONE):
            if flags & flag:
                tally.flag(flag, question.id, question.line)
        content = base.copy()
        content.update(_bytes(repr((question.text, question.answers, question.impossible))))
        rows.append(
            ROW.pack(
                _digest(hashlib.blake2b(_bytes(question.id), digest_size=8).digest()),
                _digest(content.digest()),
                question.line,
                len(context),
                len(question.text),
                len(question.answers[0][0]) if question.answers else 0,
                tally.reason(question.impossible, question.id, question.line),
                flags,
            )
        )
    return b"".join(rows)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _digest(content: bytes) -> int:
    return int.from_bytes(content, "little")


class Windows:
    """Whether an answer is whole in one of the windows of 384 tokens that share 128.

    A token has at least one character that is no white space, and a word at least one token: an
    answer of at most 129 characters surely fits, one of more than 381 words surely does not. In
    between the tokenizer decides, where there is one.
    """

    def __init__(self, vocabulary: str) -> None:
        """Args:
        vocabulary: folder of a tokenizer, or "".
        """
        self._folder = vocabulary
        self._tokenizer: Tokenizer | None = None

    def flag(self, passage: Passage, question: Question) -> int:
        """0, MAY_NOT_FIT or FITS_NONE, of the first answer."""
        text, start = question.answers[0]
        if len(text) <= SURELY_FITS or sum(map(len, words := WORD.findall(text))) <= SURELY_FITS:
            return 0
        if len(words) > NEVER_FITS:
            return FITS_NONE
        if not self._folder:
            return MAY_NOT_FIT
        from data.squad import Answer, SquadExample
        from data.tokenization import Tokenizer
        from data.tokenized_squad import tokenize_squad
        from data.windows import make_windows

        if self._tokenizer is None:
            self._tokenizer = Tokenizer.from_folder(Path(self._folder))
        answers = (Answer(text, start),)
        example = SquadExample(question.id, "", question.text, passage.context, answers, False)
        tokens = tokenize_squad([example], self._tokenizer, MOST_QUESTION)
        lost = make_windows(tokens, max_length=WINDOW, doc_stride=STRIDE).lost
        return FITS_NONE if lost else 0
