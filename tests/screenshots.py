"""The pictures of docs/explain.md, made in one go from a trained demo model.

    python -m tests.screenshots runs/demo        # writes docs/explain-*.png

Needs chromium and chromedriver (tests/browser.py). The questions are the demo's own, so that
the pictures hold no text but the demo's.
"""

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image  # comes with matplotlib

from data.demo import write_demo
from data.squad import SquadExample, read_squad
from eval.answerer import Answerer
from eval.explain import render
from eval.explanation import explain
from tests.browser import open_browser

DOCS = Path(__file__).parents[1] / "docs"
MOST_BYTES = 150_000


def page_of(answerer: Answerer, example: SquadExample, name: str, file: str) -> bytes:
    """The page of one question."""
    values = explain(answerer, example, threshold=answerer.null_threshold, is_known=True)
    values["model"]["name"], values["file"] = name, file
    return render(values)


def main(model: str) -> None:
    """Write three pictures: context and windows; attention, dark; spans and layers."""
    answerer = Answerer.load(model, device="cpu")
    with tempfile.TemporaryDirectory() as folder, open_browser((1240, 900)) as browser:
        examples = read_squad(write_demo(folder).dev).examples
        answered = next(e for e in examples if e.id.startswith("dev/long/") and e.answers)
        impossible = next(e for e in examples if e.id.startswith("dev/long/") and not e.answers)
        for example, scheme, name, sections in (
            (answered, "light", "context", ("header", "#context")),
            (answered, "dark", "attention", ("#attention",)),
            (impossible, "light", "spans", ("#spans", "#layers")),
        ):
            page = Path(folder) / "page.html"
            page.write_bytes(page_of(answerer, example, "runs/demo", "dev.json"))
            browser.prefer(scheme)
            browser.open(page)
            picture = Image.open(io.BytesIO(browser.picture_of(*sections)))
            path = DOCS / f"explain-{name}.png"
            picture.convert("RGB").quantize(255, Image.Quantize.MAXCOVERAGE).save(
                path, optimize=True
            )
            size = path.stat().st_size
            assert size <= MOST_BYTES, f"{path} has {size} bytes"
            print(f"{path}: {size:,} bytes; {example.id}")


if __name__ == "__main__":
    main(sys.argv[1])
