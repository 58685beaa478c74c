"""Ask a trained model: one question and context, or many as JSON lines on standard input.

    python -m eval.answer --model runs/demo --question "Who ...?" --context "..."
    python -m eval.answer --model runs/demo --context-file article.txt --question "Who ...?" --top 3
    cat questions.jsonl | python -m eval.answer --model runs/demo

Each line is answered as soon as it is read. A line of input is
{"question": ..., "context": ..., "id": optional}; a line of output is {"id", "answer", "start",
"end", "null_score", "null_odds", "top": [...]}.
"""

import codecs
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from data.command import UsageError, option, parse, run_command
from minibert.strict_json import parse_object, shown

if TYPE_CHECKING:
    from eval.answerer import Answerer
    from eval.spans import Decoded

_LINE = '{"question": text, "context": text}'
SEARCHED = 20  # spans looked at per window at least: several may read the same


@dataclass(frozen=True)
class AnswerOptions:
    """Options of `python -m eval.answer`."""

    model: str = option(help="run folder, model folder, or Hub name")
    question: str | None = option(None, help="one question (else JSON lines are read from stdin)")
    context: str | None = option(None, help="the text that may hold the answer")
    context_file: str | None = option(None, help="a text file with the context")
    top: int = option(1, help="answers shown, best first")
    json: bool = option(False, help="JSON also for one question")
    revision: str | None = option(None, help="Hub branch, tag or commit")
    null_threshold: float | None = option(
        None, help='answer "" where null score - best score is above it (default: the model\'s own)'
    )
    device: str = option("auto", help="auto, cpu, cuda, cuda:N or mps")

    def __post_init__(self) -> None:
        if self.null_threshold is not None and not math.isfinite(self.null_threshold):
            raise UsageError(f"--null-threshold is {self.null_threshold}, expected a number")
        if self.top < 1:
            raise UsageError(f"--top is {self.top}, expected at least 1")
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
        AnswerOptions, argv, prog="eval.answer",
        description="Answer questions from their contexts with a trained model.",
        epilog='example:\n  python -m eval.answer --model runs/demo --question "Who built the '
        'tower?" --context "..."',
    )  # fmt: skip
    context = options.context
    if options.context_file is not None:
        try:
            context = Path(options.context_file).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise UsageError(
                f"--context-file {options.context_file} is not UTF-8 text (byte {error.start})"
            ) from None
        except OSError as error:
            raise UsageError(
                f"--context-file {options.context_file} cannot be read ({error.strerror})"
            ) from None

    from eval.answerer import Answerer

    answerer = Answerer.load(options.model, options.revision, options.device).with_settings(
        null_threshold=options.null_threshold
    )
    if options.question is None or context is None:
        return _answer_lines(answerer, sys.stdin.buffer, options.top)
    decoded = answer_many(answerer, [(options.question, context)], options.top)[0]
    reply = _reply(answerer, decoded, options.top)
    if options.json:
        print(json_line(reply))
        return 0
    print(reply["answer"] or "(no answer)")
    if options.top > 1:
        for one in reply["top"]:
            print(f"  {one['score']:9.3f}  [{one['start']}:{one['end']}]  {one['text']}")
        print(f"  {reply['null_score']:9.3f}  no answer")
    return 0


def answer_many(
    answerer: "Answerer", questions: list[tuple[str, str]], top: int = 1
) -> "list[Decoded]":
    """Decode (question, context) pairs.

    Args:
        answerer: model, tokenizer, settings.
        questions: pairs; a context may be of any length.
        top: candidates wanted.
    """
    from data.squad import SquadExample

    examples = [
        SquadExample(str(n), "", question, context, (), False)
        for n, (question, context) in enumerate(questions)
    ]
    n_best = max(SEARCHED, top)
    while True:
        decoded = answerer.decode(examples, n_best=n_best)[1]
        # Fewer texts than asked for, though the search found all the spans it was allowed to: look
        # deeper, since spans that read the same count once.
        short = any(len(one.candidates) < top and len(one.spans.score) >= n_best for one in decoded)
        if not short:
            return decoded
        n_best *= 4


def answer_question(answerer: "Answerer", question: str, context: str) -> str:
    """The answer as a piece of the context, "" where the model finds none."""
    return answer_many(answerer, [(question, context)])[0].answer(answerer.null_threshold)


def _reply(answerer: "Answerer", decoded: "Decoded", top: int) -> dict[str, Any]:
    answer = decoded.answer(answerer.null_threshold)
    best = decoded.candidates[0] if answer else None
    return {
        "answer": answer,
        "start": best.start if best else None,
        "end": best.end if best else None,
        "null_score": decoded.null_score,
        "null_odds": decoded.null_odds if decoded.candidates else None,
        "top": [candidate._asdict() for candidate in decoded.candidates[:top]],
    }


def _answer_lines(answerer: "Answerer", lines: BinaryIO, top: int) -> int:
    """JSON lines in, JSON lines out; a line that cannot be answered gets {"id", "error"}.

    Returns:
        0, or 2 if any line was wrong.
    """
    status = 0
    for number, line in enumerate(lines, 1):
        if not line.removeprefix(codecs.BOM_UTF8).strip():
            continue
        try:
            identifier, question, context = read_line(number, line)
            decoded = answer_many(answerer, [(question, context)], top)[0]
            reply = {"id": identifier, **_reply(answerer, decoded, top)}
        except ValueError as error:
            reply, status = {"id": number, "error": str(error)}, 2
        print(json_line(reply), flush=True)
    return status


def read_line(number: int, line: bytes) -> tuple[str | float | None, str, str]:
    """(id, question, context) of a line of input; the id is the line's number where it has none.

    Raises:
        UsageError: it is not such an object.
    """
    where = f"line {number} of standard input"
    try:
        values = parse_object(line)
    except ValueError as error:
        raise UsageError(f"{where} {error}; expected {_LINE}") from None
    for key in ("question", "context"):
        if not isinstance(values.get(key), str):
            raise UsageError(f"{where} has no text {key!r}; expected {_LINE}")
    identifier = values.get("id", number)
    usable = identifier is None or type(identifier) in (str, int, float)
    if not usable or identifier in (math.inf, -math.inf):  # 1e999 reads as an infinity
        raise UsageError(f"{where} has the id {shown(identifier)}, expected text or a number")
    return identifier, values["question"], values["context"]


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
