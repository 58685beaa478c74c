"""What is promised, which test holds it, and the figures that the tests measured: one page.

    python -m tests.reliability      runs those tests and writes docs/reliability.md

A test says what it measured with `figure("R2", "82 kill points, 0 differences")`.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reliability.md"
FILE_VARIABLE = "MINIBERT_FIGURES"

# id -> what is promised; the ids stand in the tests' calls of `figure`
PROMISES = {
    "R1": "A resumed run is the uninterrupted one: weights, optimizer, log, answers, bit for bit",
    "R2": "SIGKILL at any moment loses at most the work since the last checkpoint",
    "R3": "A damaged checkpoint is noticed, set aside, and the one before is used",
    "R4": "Saved means on disk: file, folder, name, in this order",
    "R5": "Rotation never leaves fewer good checkpoints; the best model is never rotated out",
    "R6": "A full disk costs nothing that was saved, and is foreseen where it can be",
    "R7": "SIGTERM and SIGINT save and leave within seconds; a second one leaves at once",
    "R8": "A run resumed with other settings is refused, with the list",
    "R9": "Two runs in one folder are impossible",
    "R10": "Saving over the model in use is safe",
    "R11": "Run folders of earlier formats stay readable",
    "T1": "k micro-batches are one batch",
    "T2": "The short last update has its true weight; every window once an epoch",
    "T3": "The learning rate is a formula of the update's number",
    "T4": "A step that the scaler skips advances nothing and is tried again",
    "T5": "Inf and NaN never reach a weight; the run stops and names the items",
    "T9": "Out of memory costs time, not windows: the micro-batches halve",
    "T10": "The same seed gives the same bits",
    "T12": "Training learns, and from shuffled labels it does not",
    "D1": "No question disappears: as many answers out as questions in",
    "D2": "An answer is exactly context[start:end]",
    "D3": "Every training answer is in a window, or is listed",
    "D4": "Scores are those of the official rules",
    "D6": "Bad input is answered in one sentence, and nothing is half-written",
    "D7": "Whatever a file holds, only our own two kinds of error come out",
    "S1": "No pickle is ever opened",
    "S2": "Weights load completely or not at all",
    "S3": "A safetensors file is checked before it is loaded",
    "S4": "What the Hub delivers is verified by its content",
    "S5": "Works offline; a pinned model asks nothing",
    "S6": "A token is never shown, stored, or sent to another host",
    "S7": "No name leads out of its folder",
    "S9": "Every version is pinned",
    "S10": "A saved model holds no path, user or host",
    "E1": "Every command leaves with the status that the table says",
    "E2": "Odd surroundings: locale, pipes, paths, clocks, read-only folders",
}

_figures: list[dict[str, str]] = []


def figure(promise: str, text: str) -> None:
    """Note what the running test measured for a promise."""
    assert promise in PROMISES, promise
    test = os.environ["PYTEST_CURRENT_TEST"].rsplit(" ", 1)[0]
    _figures.append({"promise": promise, "test": test.split("[")[0], "figure": text})


def write_figures() -> None:
    """At the end of a test session: leave the figures where the page's maker wants them."""
    if path := os.environ.get(FILE_VARIABLE):
        Path(path).write_text(json.dumps(_figures))


def measure() -> list[dict[str, str]]:
    """Run every test file that notes a figure; the figures."""
    files = sorted(
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if "figure(" in path.read_text(encoding="utf-8")
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json"
        environment = {**os.environ, FILE_VARIABLE: str(path)}
        command = [sys.executable, "-m", "pytest", *files]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        figures: list[dict[str, str]] = json.loads(path.read_bytes())
        return figures


def page(figures: list[dict[str, str]]) -> str:
    """docs/reliability.md.

    Raises:
        SystemExit: a promise that no test measured.
    """
    if missing := sorted(set(PROMISES) - {entry["promise"] for entry in figures}):
        sys.exit(f"no test measured {', '.join(missing)} (is MINIBERT_DATA set?)")
    lines = [
        "# Reliability",
        "",
        "Promise by promise: the test that holds it, and what that test measured.",
        "`make reliability` runs the tests and writes this page; they are part of `make test`.",
        "",
        "| | promise | measured | test |",
        "|---|---|---|---|",
    ]
    for promise, text in PROMISES.items():
        own = [entry for entry in figures if entry["promise"] == promise]
        measured = "; ".join(dict.fromkeys(entry["figure"] for entry in own))
        tests = ", ".join(
            f"`{name.removeprefix('tests/')}`" for name in dict.fromkeys(e["test"] for e in own)
        )
        lines.append(f"| {promise} | {text} | {measured} | {tests} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(measure()), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
