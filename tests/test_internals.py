"""The tour in docs/internals.md: its code runs and prints what stands below it.

`python -m tests.test_internals` writes what it prints now into the page.
"""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest
import torch

PAGE = Path(__file__).parents[1] / "docs" / "internals.md"
STOP = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```\n", re.DOTALL)
NUMBER = re.compile(r"-?\d+\.\d+")


def run_stops(page: str) -> list[tuple[str, str]]:
    """(what the page says that a stop prints, what it prints), each stop after the one before."""
    names: dict[str, Any] = {}
    stops = []
    with contextlib.chdir(PAGE.parents[1]):  # files are named as seen from the project's folder
        try:
            for code, said in STOP.findall(page):
                with contextlib.redirect_stdout(io.StringIO()) as output:
                    exec(compile(code, str(PAGE), "exec"), names)
                stops.append((said, output.getvalue()))
        finally:
            torch.set_printoptions(profile="default")  # the first stop changes them
    return stops


def assert_alike(said: str, printed: str) -> None:
    """Equal but for white space and one unit in the last place of a number: machines round so."""
    assert NUMBER.sub("#", said).split() == NUMBER.sub("#", printed).split(), printed
    for ours, theirs in zip(NUMBER.findall(said), NUMBER.findall(printed), strict=True):
        unit = 10.0 ** -len(ours.partition(".")[2])
        assert abs(float(ours) - float(theirs)) <= 1.01 * unit, (ours, theirs)


def test_every_stop_of_the_tour_prints_what_the_page_says() -> None:
    page = PAGE.read_text()
    assert page.count("```python") == len(STOP.findall(page))
    assert len(re.findall(r"^## \d+\. ", page, re.MULTILINE)) == 10
    stops = run_stops(page)
    assert len(stops) >= 10
    for said, printed in stops:
        assert_alike(said, printed)


def test_the_comparison_forgives_rounding_only() -> None:
    assert_alike("a  0.30 -1.00\n", "a 0.31\n-1.01")
    for printed in ("a 0.32 -1.00", "b 0.30 -1.00", "a 0.30", "a 0.30 1.00"):
        with pytest.raises(AssertionError):
            assert_alike("a 0.30 -1.00", printed)


def main() -> None:
    page = PAGE.read_text()
    outputs = iter([printed for _, printed in run_stops(page)])
    page = STOP.sub(lambda stop: f"```python\n{stop[1]}```\n\n```text\n{next(outputs)}```\n", page)
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
