"""The table of several ways to train on one set, and its picture."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data.overlap import Overlap
from eval.matrix import Cost, Table
from eval.variants import as_markdown, as_text, columns, differences, said_difference
from eval.variants_plot import variants_picture


def scores(f1: float) -> dict[str, float]:
    return {"f1": f1, "exact": f1 - 10, "no_null_f1": f1 + 2}


@pytest.fixture
def table() -> Table:
    """Three ways, two seeds; one run of the third is missing, and the second's other seed."""
    return Table(
        rows=["linear", "constant", "never-made"],
        columns=["squad"],
        seeds=2,
        cells={
            ("linear", "squad"): {0: scores(70.0), 1: scores(74.0)},
            ("constant", "squad"): {1: scores(71.0), 0: scores(69.0)},
        },
        questions={"squad": 11_873},
        overlaps=dict.fromkeys(
            [("linear", "squad"), ("constant", "squad"), ("never-made", "squad")], Overlap(0, 0)
        ),
        note="Start: embedded.",
        costs={"linear": {0: Cost(900, 30.0, 512.0), 1: Cost(1_900, 34.0, 514.0)}},
        first="linear",
    )


def test_differences_are_of_runs_with_the_same_seed(table: Table) -> None:
    assert sorted(differences(table, "constant", "squad", "f1")) == [71.0 - 74, 69.0 - 70]
    assert said_difference(table, "constant", "squad", "f1") == "-2.0 ± 1.4"
    assert said_difference(table, "never-made", "squad", "f1") == "-"


def test_a_difference_says_how_many_seeds_it_is_of_where_some_have_no_pair(table: Table) -> None:
    del table.cells["constant", "squad"][0]
    assert said_difference(table, "constant", "squad", "f1") == "-3.0 (1 of 2)"
    table.cells["constant", "squad"][0] = scores(69.0)
    del table.cells["linear", "squad"][0]
    assert said_difference(table, "constant", "squad", "f1") == "-3.0 (1 of 2)"
    line = as_text(table).splitlines()[5]
    assert line.split("  ")[0] == "constant" and "70.0 ± 1.4  -3.0 (1 of 2)" in line


def test_a_way_is_a_line_with_scores_differences_and_costs(table: Table) -> None:
    lines = as_text(table).splitlines()
    assert "the difference to linear" in lines[0]
    assert "Updates, an epoch, peak memory: what a training took: updates made, time" in lines[0]
    assert "do not compare closely those of rows made at different times" in lines[0]
    assert lines[2] == "Answered: squad (11,873 questions)"
    assert [line.split("  ")[0] for line in lines[4:7]] == ["linear", "constant", "never-made"]
    assert lines[4].split()[1:] == "72.0 ± 2.8 62.0 ± 2.8 74.0 ± 2.8 1,400 32 s".split()
    assert lines[5].split()[1:] == (
        "70.0 ± 1.4 -2.0 ± 1.4 60.0 ± 1.4 72.0 ± 1.4 -2.0 ± 1.4 - -".split()
    )
    assert lines[6].split()[1:] == ["-"] * 7
    assert lines[8].strip() == "peak memory" and lines[9].split() == ["linear", "513", "MiB"]
    assert "| constant | 70.0 ± 1.4 | -2.0 ± 1.4 | 60.0 ± 1.4 |" in as_markdown(table)


def test_a_part_of_the_ways_can_be_shown(table: Table) -> None:
    names, f1, beside, *_ = columns(table, "squad", ["constant", "linear"])
    assert names.cells == ["constant", "linear"]
    assert (f1.heading, f1.cells) == ("F1", ["70.0 ± 1.4", "72.0 ± 2.8"])
    assert (beside.heading, beside.cells) == ("vs first", ["-2.0 ± 1.4", ""])


def test_measures_that_no_run_has_are_left_out(table: Table) -> None:
    headings = [column.heading for column in columns(table, "squad", table.rows)]
    assert "HasAns F1" not in headings and "F1, null off" in headings


def test_contexts_seen_in_training_are_told(table: Table) -> None:
    table.overlaps["constant", "squad"] = Overlap(3, 12)
    assert "3 contexts of which are in a training file" in as_text(table)


def test_the_pictures_title_stands_over_its_panels_beside_long_names(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    drawn: list[Any] = []
    monkeypatch.setattr(
        "eval.variants_plot.save_figure", lambda figure, path, grid: drawn.append(figure)
    )
    variants_picture(replace(table, rows=["linear", "constant", "a-long-name" * 4]), tmp_path)
    (figure,) = drawn
    figure.draw_without_rendering()
    first, *_, last = (axes.get_position() for axes in figure.axes)
    (title,) = figure.texts
    assert title.get_position()[0] == pytest.approx((first.x0 + last.x1) / 2, abs=0.01)


def test_the_picture_has_a_panel_for_each_measure(table: Table, tmp_path: Path) -> None:
    path = tmp_path / "variants.svg"
    assert variants_picture(table, path) == path
    drawn = path.read_text()
    assert "F1, null off" in drawn and "never-made" in drawn
    table.cells.clear()
    assert variants_picture(table, path) == path  # nothing is finished yet
