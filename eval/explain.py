"""One question's inside as a page: `python -m eval.explain` writes one self-contained HTML file.

    python -m eval.explain --model runs/demo --out page.html --data-file dev.json --id QUESTION
    python -m eval.explain --model runs/demo --out page.html --question "Who?" --context-file a.txt

The page shows start and end scores over the context, the best spans, the map of all spans, what
each layer would answer, the attention of every head, and which words the answer rests on. It loads
nothing, and forbids itself to: text in it cannot become anything but text.
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.command import UsageError, option, parse, run_command
from data.options import check_range
from eval.options import MOST_ANSWERS, AnswerOptions, read_context
from eval.prediction_files import check_file
from minibert.files import write_file

if TYPE_CHECKING:
    from data.squad import SquadExample

TEMPLATE = Path(__file__).with_name("explain.html")
MOST_STEPS = 1000


@dataclass(frozen=True, kw_only=True)
class ExplainOptions(AnswerOptions):
    """Options of `python -m eval.explain`, beside those of the model."""

    question: str | None = option(None, help="a question of your own; with --context-file")
    context_file: str | None = option(
        None, help="text file that may hold the answer", metavar="FILE", alias="context"
    )
    data_file: str | None = option(
        None, help="SQuAD v1.1 or v2.0 .json file with the question; with --id", metavar="FILE",
        alias="data",
    )  # fmt: skip
    id: str | None = option(None, help="which of its questions", metavar="QUESTION")
    out: str = option(help="the HTML file to write", metavar="FILE")
    window: int | None = option(
        None, help="window whose inside is shown, from 0 (default: that of the best span)"
    )
    top: int = option(20, help="best spans listed")
    steps: int = option(
        32,
        help="points at which gradients tell what each word adds; doubled, up to 256, until the "
        "parts sum up",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("window", self.window, 0)
        check_range("top", self.top, 1, MOST_ANSWERS)
        check_range("steps", self.steps, 1, MOST_STEPS)
        asked = self.question is not None or self.context_file is not None
        looked_up = self.data_file is not None or self.id is not None
        if asked and looked_up:
            mine = "--question" if self.question is not None else "--context-file"
            theirs = "--data-file" if self.data_file is not None else "--id"
            raise UsageError(f"{mine} and {theirs} contradict each other; give one of them")
        if (self.question is None) != (self.context_file is None):
            raise UsageError("--question needs --context-file, and --context-file needs --question")
        if (self.data_file is None) != (self.id is None):
            raise UsageError("--data-file needs --id, and --id needs --data-file")
        if not asked and not looked_up:
            raise UsageError(
                "which question? give --question and --context-file, or --data-file and --id"
            )


def main(argv: list[str]) -> int:
    """Write the page of one question."""
    options = parse(
        ExplainOptions, argv, prog="eval.explain",
        description="How a model answers one question, as one HTML page that needs no network.",
        epilog='examples:\n  python -m eval.explain --model runs/demo --question "Who built the '
        'tower?" \\\n      --context-file town.txt --out page.html\n'
        "  python -m eval.explain --model runs/squad --data-file dev-v2.0.json \\\n"
        "      --id 56ddde6b9a695914005b9628 --out page.html",
    )  # fmt: skip
    from data.squad import read_squad

    out = Path(options.out)
    check_file("--out", out)
    for flag, read in (
        ("--data-file", options.data_file),
        ("--context-file", options.context_file),
    ):
        if read is not None and out.exists() and Path(read).exists() and out.samefile(read):
            raise UsageError(f"--out {out} is the file of {flag}; give another name")
    if options.data_file is not None:
        data = read_squad(options.data_file)
        example, is_known = data.question(options.id or ""), data.has_answers
        answerer = options.load()
        threshold = options.threshold(answerer, data)
    else:
        example, is_known = _own_question(options), False
        answerer = options.load()
        threshold = answerer.null_threshold
    from eval.explanation import explain

    values = explain(
        answerer,
        example,
        threshold=threshold,
        is_known=is_known,
        window=options.window,
        top=options.top,
        steps=options.steps,
    )
    values["model"]["name"] = options.model
    values["file"] = options.data_file or options.context_file
    page = render(values)
    write_file(out, page)
    print(f"{out}: {len(page):,} bytes; the answer is {values['answer'] or '(no answer)'!r}")
    return 0


def _own_question(options: ExplainOptions) -> "SquadExample":
    """--question and --context-file as an example.

    Raises:
        UsageError: a file that cannot be read, or empty text.
    """
    from data.squad import SquadExample

    question, path = options.question or "", options.context_file or ""
    context = read_context("--context-file", path)
    for what, text in (("--question", question), (f"--context-file {path}", context)):
        if not text.strip():
            raise UsageError(f"{what} is empty, expected text")
    return SquadExample("", "", question, context, (), False)


def render(values: dict[str, Any]) -> bytes:
    """The page with these values in it.

    Text of the question, the context or a file's name stands in one JSON block only, all ASCII,
    with nothing in it that could end a script. The page's own script and style are allowed by
    their hashes, and nothing else: no network, no other script, no form.
    """
    page = TEMPLATE.read_text(encoding="utf-8")
    hashes = {
        tag: " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
            for text in re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        )
        for tag in ("script", "style")
    }
    policy = (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    block = json.dumps(values, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        block = block.replace(character, f"\\u{ord(character):04x}")
    before, middle, after = re.split(r"\{\{POLICY\}\}|\{\{VALUES\}\}", page)
    return f"{before}{policy}{middle}{block}{after}".encode()


if __name__ == "__main__":
    run_command(main)
