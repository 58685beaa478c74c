"""docs/results.md and the README's table say what the files say that they are made from."""

from pathlib import Path

import pytest

from data.overlap import Overlap
from eval.matrix import Cost, Table, as_runs_csv
from eval.spread import Spread
from tests import results_pages
from tests.results_pages import PAGES, ROOT, figure, made, read_runs, tables_of


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_table_is_stale(page: Path) -> None:
    content = page.read_text(encoding="utf-8")
    assert content.count("<!-- made: ") == content.count("<!-- end -->") > 0
    assert made(page) == content, "run: python -m tests.results_pages"


def test_a_figure_that_changes_makes_the_readme_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = results_pages.RESULTS.read_text(encoding="utf-8")
    ratio = figure(tables_of(content), "Speed", "the same, with n-best lists", "peer / ours")
    assert content.count(f"| {ratio} |") == 1
    changed = tmp_path / "results.md"
    changed.write_text(content.replace(f"| {ratio} |", "| 1.23x (1-2) |"), encoding="utf-8")
    monkeypatch.setattr(results_pages, "RESULTS", changed)
    page = made(ROOT / "README.md")
    assert "1.23x" in page and page != (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_pages_tables_are_found_by_heading_row_and_column() -> None:
    page = "# A\n\n| x | y |\n| --- | --- |\n| one | 1 |\n| one, two | |\n"
    page += "\n## B\n\n| z |\n|---|\n| 3 |\n"
    tables = tables_of(page)
    assert figure(tables, "A", "one", "y") == "1" and figure(tables, "A", "one,", "y") == ""
    assert figure(tables, "B", "3", "z") == "3"
    with pytest.raises(ValueError, match="unpack"):
        figure(tables, "A", "o", "y")  # two lines begin so


def test_the_csv_of_runs_is_read_as_the_table_that_wrote_it(tmp_path: Path) -> None:
    cells = {
        ("base", "squad"): {0: {"f1": 50.0}, 1: {"f1": 52.0}},
        ("slow", "squad"): {0: {"f1": 40.0, "exact": 39.0}},
    }
    costs = {
        "base": {0: Cost(419, 10.0, None), 1: Cost(421, 14.0, None)},
        "slow": {0: Cost(None, None, 512.0)},
    }
    none = dict.fromkeys(cells, Overlap(0, 0))
    table = Table(["base", "slow"], ["squad"], 2, cells, {}, none, "", costs, first="base")
    path = tmp_path / "runs.csv"
    path.write_text(as_runs_csv(table))
    again = read_runs(path)
    assert again == table
    assert again.spread("base", "squad", "f1") == Spread(51.0, pytest.approx(2**0.5))
    assert again.said("slow", "squad", "f1") == "40.0 (1 of 2)"
    assert again.cost("base") == (420.0, 12.0, None)
    path.write_text(path.read_text().replace(",updates,", ",update,"))
    with pytest.raises(KeyError, match="updates"):
        read_runs(path)
