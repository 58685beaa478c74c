"""The table of a matrix as text, Markdown, CSV and picture."""

import csv
import io
import sys
from pathlib import Path

import pytest

from data.overlap import Overlap
from eval.matrix import Cost, Table, as_csv, as_markdown, as_runs_csv, as_text
from eval.matrix_plot import matrix_picture
from eval.published import PAPER, REPORT, SETS, published_f1
from eval.spread import Spread


def scores(f1: float) -> dict[str, float]:
    return {"f1": f1, "exact": f1 - 10, "HasAns_f1": f1 + 1, "no_null_f1": f1 + 2}


@pytest.fixture
def table() -> Table:
    """Two rows, three columns; one cell has both seeds, one has one of them, the others none."""
    pairs = [(row, column) for row in ("squad", "nq") for column in ("squad", "nq", "mine")]
    return Table(
        rows=["squad", "nq"],
        columns=["squad", "nq", "mine"],
        seeds=2,
        cells={
            ("squad", "squad"): {3: scores(70.0), 4: scores(74.0)},
            ("nq", "squad"): {4: scores(50.0)},
        },
        questions={"squad": 11_873, "nq": 253, "mine": 7},
        overlaps={pair: Overlap(0, 0) for pair in pairs} | {("squad", "nq"): Overlap(3, 1_234)},
        note="Start: embedded.",
        costs={"squad": {3: Cost(400, 100.0, 200.0), 4: Cost(402, 140.0, None)}},
    )


def test_means_and_sample_deviations(table: Table) -> None:
    assert table.spread("squad", "squad", "f1") == Spread(72.0, pytest.approx(2.8284271))
    assert table.spread("nq", "squad", "f1") == Spread(50.0, None)
    assert table.spread("nq", "nq", "f1") is None
    assert table.spread("squad", "squad", "NoAns_f1") is None  # v1 data has no such questions
    assert table.measures() == ["f1", "exact", "HasAns_f1", "no_null_f1"]


def test_the_text_has_ours_the_published_cells_and_what_is_missing(table: Table) -> None:
    lines = as_text(table).splitlines()
    assert lines[0].endswith("Percent, means of 2 seeds ± sample deviation. Start: embedded.")
    assert lines[2:10] == [
        "F1",
        "           squad          nq    mine",
        "squad      72.0 ± 2.8     -     -",
        "  report   31.7 (+40.3)   26.3",
        "  paper    75.6 (-3.6)    48.7",
        "nq         50.0 (1 of 2)  -     -",
        "  paper    53.5 (-3.5)    73.5",
        "questions  11,873         253   7",
    ]
    assert "squad  0      3 (1,234)  0" in lines
    assert not any("without an answer that" in line for line in lines)


def test_the_markdown_says_the_same(table: Table) -> None:
    page = as_markdown(table)
    assert "| F1 | squad (11,873) | nq (253) | mine (7) |\n| --- | --- | --- | --- |\n" in page
    assert "| squad | 72.0 ± 2.8<br>report 31.7 (+40.3)<br>paper 75.6 (-3.6) | -<br>report" in page
    assert "| squad | 0 | 3 (1,234) | 0 |" in page
    for block in page.split("\n\n"):
        if block.startswith("|"):
            assert {line.count(" | ") for line in block.splitlines()} == {3}


def test_names_with_a_bar_and_many_columns_break_no_table(table: Table) -> None:
    names = [f"set|{number}" for number in range(20)]
    pairs = {(row, column): Overlap(0, 0) for row in ("squad",) for column in names}
    wide = Table(["squad"], names, 2, {}, dict.fromkeys(names, 7), pairs, "Start: embedded.")
    assert max(map(len, as_text(wide).splitlines()[1:])) <= 100
    row = next(line for line in as_markdown(wide).splitlines() if line.startswith("| F1"))
    assert row.count(" | ") == 20 and "set\\|3 (7)" in row


def test_the_csv_has_a_line_for_each_cell_and_an_empty_field_for_what_is_not_known(
    table: Table,
) -> None:
    lines = list(csv.DictReader(io.StringIO(as_csv(table))))
    assert [(line["train"], line["eval"], line["runs"]) for line in lines] == [
        ("squad", "squad", "2"), ("squad", "nq", "0"), ("squad", "mine", "0"),
        ("nq", "squad", "1"), ("nq", "nq", "0"), ("nq", "mine", "0"),
    ]  # fmt: skip
    first = lines[0]
    assert (first["f1"], first["f1_sd"], first["exact"]) == ("72.0000", "2.8284", "62.0000")
    assert (first["report_f1"], first["minus_report"]) == ("31.7000", "40.3000")
    assert (first["paper_f1"], first["minus_paper"]) == ("75.6000", "-3.6000")
    assert (first["NoAns_f1"], first["questions"]) == ("", "11873")
    assert (lines[1]["shared_contexts"], lines[1]["shared_questions"]) == ("3", "1234")
    assert (lines[1]["f1"], lines[1]["report_f1"], lines[1]["minus_report"]) == ("", "26.3000", "")
    assert lines[3]["f1_sd"] == lines[3]["report_f1"] == ""
    assert lines[2]["paper_f1"] == ""


def test_what_a_row_took_is_a_mean_over_what_is_known(table: Table) -> None:
    assert table.cost("squad") == Cost(401.0, 120.0, 200.0)
    assert table.cost("nq") == Cost(None, None, None)
    assert "squad      401   2.0 min      200 MiB" in as_text(table).splitlines()
    first, _, _, other, *_ = csv.DictReader(io.StringIO(as_csv(table)))
    costs = [[line[name] for name in Cost._fields] for line in (first, other)]
    assert costs == [["401.0000", "120.0000", "200.0000"], ["", "", ""]]


def test_the_csv_of_runs_has_a_line_for_each_seed(table: Table) -> None:
    lines = list(csv.DictReader(io.StringIO(as_runs_csv(table))))
    names = ("train", "eval", "seed", "f1", "no_null_f1", "NoAns_f1", *Cost._fields)
    assert [tuple(line[name] for name in names) for line in lines] == [
        ("squad", "squad", "3", "70.0000", "72.0000", "", "400", "100.0000", "200.0000"),
        ("squad", "squad", "4", "74.0000", "76.0000", "", "402", "140.0000", ""),
        ("nq", "squad", "4", "50.0000", "52.0000", "", "", "", ""),
    ]


def test_the_published_tables_are_whole_but_for_the_row_that_the_report_left_empty() -> None:
    assert list(PAPER) == list(SETS) and set(SETS) - set(REPORT) == {"nq"}
    assert all(len(row) == 5 for row in (*PAPER.values(), *REPORT.values()))
    assert published_f1("report", "squad", "squad") == 31.7
    assert published_f1("paper", "newsqa", "newsqa") == 60.1
    assert published_f1("paper", "triviaqa", "quac") == 20.4
    assert published_f1("report", "nq", "squad") is None
    assert published_f1("paper", "squad", "mine") is published_f1("paper", "mine", "nq") is None


def test_the_picture_is_drawn_and_skipped_in_one_line_without_matplotlib(
    table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path = tmp_path / "matrix.svg"
    assert matrix_picture(table, path) == path
    assert path.read_bytes().startswith(b"<?xml")
    path.unlink()
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert matrix_picture(table, path) is None
    assert not path.exists()
    assert capsys.readouterr().err == (f"skipped the picture {path}: matplotlib is not installed\n")
