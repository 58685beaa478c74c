"""Ask a trained model: one question and context, or many as JSON lines on standard input.

    python -m eval.answer --model runs/demo --question "Who ...?" --context "..."
    python -m eval.answer --model runs/demo --context-file article.txt --question "Who ...?" --top 3
    cat questions.jsonl | python -m eval.answer --model runs/demo

Each line is answered as soon as it is read. A line of input is
{"question": ..., "context": ..., "id": optional}; a line of output is {"id", "answer", "start",
"end", "null_score", "null_odds", "question_cut", "top": [...]}, or {"id", "line", "error"} where it
cannot be answered. The id is the caller's, or else the line's number.
"""

import codecs
import json
import math
import sys
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from data.command import UsageError, option, parse, run_command
from data.options import check_range
from eval.options import MOST_ANSWERS, AnswerOptions, read_context
from minibert.strict_json import parse_object, shown

if TYPE_CHECKING:
    from eval.answerer import Answerer
    from eval.spans import Decoded

_LINE = '{"question": text, "context": text}'
SEARCHED = 20  # spans looked at per window at least: several may read the same


@dataclass(frozen=True, kw_only=True)
class AskOptions(AnswerOptions):
    """Options of `python -m eval.answer`, beside those of the model."""

    question: str | None = option(None, help="one question (else JSON lines are read from stdin)")
    context: str | None = option(None, help="the text that may hold the answer")
    context_file: str | None = option(None, help="a text file with the context")
    top: int = option(1, help="answers shown, best first")
    json: bool = option(False, help="JSON also for one question")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("top", self.top, 1, MOST_ANSWERS)
        if self.context is not None and self.context_file is not None:
            raise UsageError("--context and --context-file contradict each other; give one of them")
        has_context = self.context is not None or self.context_file is not None
        if (self.question is not None) != has_context:
            raise UsageError(
                "--question needs --context or --context-file, and they need --question"
            )


def main(argv: list[str]) -> int:
    """Answer one question, or all on standard input."""
    options = parse(
        AskOptions, argv, prog="eval.answer",
        description="Answer questions from their contexts with a trained model.",
        epilog='example:\n  python -m eval.answer --model runs/demo --question "Who built the '
        'tower?" --context "..."',
    )  # fmt: skip
    context = options.context
    if options.context_file is not None:
        context = read_context("--context-file", options.context_file)
    answerer = options.load()
    if options.question is None or context is None:
        return _answer_lines(answerer, sys.stdin.buffer, options.top)
    reply = _reply(answerer, "", options.question, context, options.top)
    if options.json:
        print(json_line(reply))
        return 0
    print(reply["answer"] or "(no answer)")
    if options.top > 1:
        for one in reply["top"]:
            print(f"  {one['score']:9.3f}  [{one['start']}:{one['end']}]  {one['text']}")
        if math.isfinite(answerer.null_threshold):  # else "" is not among what may be answered
            print(f"  {reply['null_score']:9.3f}  no answer")
    return 0


def answer_one(
    answerer: "Answerer", question: str, context: str, top: int = 1
) -> "tuple[Decoded, bool]":
    """Decode one question.

    Args:
        answerer: model, tokenizer, settings.
        question: cut if it is longer than the settings allow.
        context: of any length.
        top: candidates wanted.

    Returns:
        Its answers, and whether the question was cut.
    """
    from data.squad import SquadExample

    example = SquadExample("", "", question, context, (), False)
    n_best = max(SEARCHED, top)
    while True:
        windows, (decoded,), _ = answerer.decode([example], n_best)
        # Fewer texts than asked for, though the search found all the spans it was allowed to: look
        # deeper, since spans that read the same count once.
        if len(decoded.candidates) >= top or len(decoded.spans.score) < n_best:
            return decoded, bool(windows.tokens.cut_questions)
        n_best *= 4


def answer_question(answerer: "Answerer", question: str, context: str) -> str:
    """The answer as a piece of the context, "" where the model finds none."""
    return answer_one(answerer, question, context)[0].answer(answerer.null_threshold)


def _reply(
    answerer: "Answerer", where: str, question: str, context: str, top: int
) -> dict[str, Any]:
    """What is printed of one question; `where` it stands begins the warning if it was cut."""
    decoded, question_cut = answer_one(answerer, question, context, top)
    if question_cut:
        warnings.warn(
            f"{where}the question was cut to its first {answerer.settings.question_room} tokens; "
            "see --max-question-length and --max-length",
            stacklevel=2,
        )
    answer = decoded.answer(answerer.null_threshold)
    best = decoded.candidates[0] if answer else None
    return {
        "answer": answer,
        "start": best.start if best else None,
        "end": best.end if best else None,
        "null_score": decoded.null_score,
        "null_odds": decoded.null_odds if decoded.candidates else None,
        "question_cut": question_cut,
        "top": [candidate._asdict() for candidate in decoded.candidates[:top]],
    }


def _answer_lines(answerer: "Answerer", lines: BinaryIO, top: int) -> int:
    """JSON lines in, JSON lines out; a line that cannot be answered gets {"id", "line", "error"}.

    Returns:
        0, or 2 if any line was wrong.
    """
    status = 0
    for number, line in enumerate(lines, 1):
        if not line.removeprefix(codecs.BOM_UTF8).strip():
            continue
        identifier: str | float | None = number
        try:
            where = f"line {number} of standard input"
            values = read_line(where, line)
            identifier = read_id(where, values, number)
            question, context = read_question(where, values)
            reply = _reply(answerer, f"line {number}: ", question, context, top)
        except ValueError as error:
            reply, status = {"line": number, "error": str(error)}, 2
        print(json_line({"id": identifier, **reply}), flush=True)
    return status


def read_line(where: str, line: bytes) -> dict[str, Any]:
    """The JSON object in a line of input.

    Raises:
        UsageError: there is none.
    """
    try:
        return parse_object(line)
    except ValueError as error:
        raise UsageError(f"{where} {error}; expected {_LINE}") from None


def read_id(where: str, values: dict[str, Any], number: int) -> str | float | None:
    """The id of a line of input; the line's number where it has none.

    Raises:
        UsageError: it cannot be given back as it came.
    """
    identifier: str | float | None = values.get("id", number)
    usable = identifier is None or type(identifier) in (str, int, float)
    if not usable or identifier in (math.inf, -math.inf):  # 1e999 reads as an infinity
        raise UsageError(f"{where} has the id {shown(identifier)}, expected text or a number")
    return identifier


def read_question(where: str, values: dict[str, Any]) -> tuple[str, str]:
    """The question and the context of a line of input.

    Raises:
        UsageError: one of them is not there, or no text.
    """
    for key in ("question", "context"):
        if not isinstance(values.get(key), str):
            raise UsageError(f"{where} has no text {key!r}; expected {_LINE}")
    return values["question"], values["context"]


def json_line(values: dict[str, Any]) -> str:
    """One line; a character that stdout cannot hold, such as a lone surrogate in UTF-8, is escaped
    with everything else, in JSON's own way."""
    text = json.dumps(values, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(values)
    return text


if __name__ == "__main__":
    run_command(main)
