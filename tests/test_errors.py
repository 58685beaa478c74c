"""Every row of docs/errors.md: one sentence, exit 2, nothing written, a traceback on request."""

import importlib.metadata
import re
from pathlib import Path

import pytest

from tests.errors_table import LIBRARIES, PAGE, ROWS, cell, ours, page, prepare, run_command_of
from tests.reliability import figure

COMMANDS = [number for number, row in enumerate(ROWS) if isinstance(row.ours, tuple)]


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of everything in a folder."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("number", COMMANDS, ids=lambda n: f"{ROWS[n].section}: {ROWS[n].input}")
def test_bad_input_is_one_sentence_and_exit_2_and_nothing_written(
    number: int, tmp_path: Path
) -> None:
    row = ROWS[number]
    prepare(row, tmp_path)
    before = listing(tmp_path)
    status, output, errors = run_command_of(row, tmp_path, "--debug")
    assert listing(tmp_path) == before
    if row.works:
        assert status == 0 and errors == "" and row.works in output
        return
    assert status == 2
    assert errors.startswith("Traceback (most recent call last):")
    sentence = ours(number)  # of a run without --debug
    assert "Traceback" not in sentence and len(sentence) < 400
    assert errors.count("\n") > 3 and sentence.split(" ")[-1] in errors.splitlines()[-1]


def test_the_sentences_name_the_file_the_folder_or_the_flag() -> None:
    named = re.compile(
        r"\b(model|dev|train|predictions|na_probs|metrics|argument|vectors|nq|hotpot|quac|quca|matrix"
        r"|wikipedia-dev|one|http)\b|--max-length|--only|mask"
    )
    for number, row in enumerate(ROWS):
        assert row.works or named.search(ours(number)), ours(number)
    figure("D6", f"{len(ROWS)} bad inputs")


def test_the_page_says_what_minibert_says() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    shown = [line.rsplit(" | ", 1) for line in lines if line.startswith("| ") and "`" in line]
    for number, (row, (rest, last)) in enumerate(zip(ROWS, shown, strict=True)):
        assert rest.startswith(f"| {row.input} | "), "run python -m tests.errors_table"
        assert last == f"{cell(ours(number))} |", "run python -m tests.errors_table"


def test_the_page_says_what_the_libraries_say() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in LIBRARIES:
        if f"{name} {importlib.metadata.version(name)}" not in text:
            pytest.skip(f"the page was made with another version of {name}")
    assert page() == text, "run python -m tests.errors_table"
