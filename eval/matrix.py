"""The table of tables: trained on one set, scored on every set; text, Markdown and CSV.

Takes plain figures (of `eval.predict.score_predictions`), one dictionary for each seed. Beside the
F1 of sets that are known by name stand the published cells and the difference to them.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import NamedTuple

from data.overlap import Overlap
from eval.published import TABLES, published_f1

# Of what a cell was scored with, and how a heading says it.
MEASURES = {
    "f1": "F1",
    "exact": "exact match",
    "HasAns_f1": "F1 of the questions that have an answer",
    "HasAns_exact": "exact match of the questions that have an answer",
    "NoAns_f1": 'questions without an answer that got ""',
    "no_null_f1": "F1 of the questions that have an answer, the null answer off",
    "no_null_exact": "exact match of the questions that have an answer, the null answer off",
}
SHOWN = ("f1", "exact", "HasAns_f1", "NoAns_f1", "no_null_f1")  # on the terminal and in Markdown
_NOTHING = "-"


class Score(NamedTuple):
    """Of one cell over its seeds, in percent; the deviation is the sample's, None for one seed."""

    mean: float
    deviation: float | None
    seeds: int

    def __str__(self) -> str:
        return f"{self.mean:.1f}" + ("" if self.deviation is None else f" ± {self.deviation:.1f}")


@dataclass(frozen=True)
class Table:
    """What is known of a matrix so far.

    Attributes:
        rows: names of the sets that were trained on.
        columns: names of the sets that are answered.
        seeds: runs that each cell has in the end.
        cells: (row, column) -> scores of its finished runs.
        questions: column -> questions in it.
        overlaps: (row, column) -> contexts that the column's questions share with the row's.
        note: what was trained, in a sentence.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    seeds: int
    cells: Mapping[tuple[str, str], Sequence[Mapping[str, float]]]
    questions: Mapping[str, int]
    overlaps: Mapping[tuple[str, str], Overlap]
    note: str

    def score(self, row: str, column: str, measure: str) -> Score | None:
        """A cell's mean and deviation; None where no run is finished or the set has no such
        questions."""
        values = [run[measure] for run in self.cells.get((row, column), ()) if measure in run]
        if not values:
            return None
        return Score(mean(values), stdev(values) if len(values) > 1 else None, len(values))

    def measures(self) -> list[str]:
        """Those shown of which at least one cell has a figure; F1 always."""
        return [
            name
            for name in SHOWN
            if name == "f1" or any(self.score(r, c, name) for r in self.rows for c in self.columns)
        ]

    def runs(self, score: Score) -> str:
        """What to say of a cell with runs missing."""
        return "" if score.seeds == self.seeds else f" ({score.seeds} of {self.seeds})"

    def differences(self, row: str, column: str) -> dict[str, tuple[float, float | None]]:
        """Published F1 of a cell, by table, and ours less it (None before there is one)."""
        ours = self.score(row, column, "f1")
        return {
            name: (value, ours.mean - value if ours else None)
            for name in TABLES
            if (value := published_f1(name, row, column)) is not None
        }

    @property
    def of_seeds(self) -> str:
        """What the figures are means of."""
        return f"means of {self.seeds} seeds ± sample deviation" if self.seeds > 1 else "one seed"


def as_text(table: Table) -> str:
    """For a terminal: a block for each measure, under F1 the differences to published cells, and
    which contexts were trained on."""
    blocks = [f"Rows: trained on; columns: answered. Percent, {table.of_seeds}. {table.note}"]
    for measure in table.measures():
        lines = [["", *table.columns]]
        for row in table.rows:
            lines.append([row, *(_cell(table, row, column, measure) for column in table.columns)])
            if measure == "f1":
                lines += _published_lines(table, row)
        if measure == "f1":
            lines.append(["questions", *(f"{table.questions[c]:,}" for c in table.columns)])
        blocks.append(f"{MEASURES[measure]}\n{_aligned(lines)}")
    lines = [["", *table.columns]]
    lines += [[row, *(_shared(table, row, column) for column in table.columns)]
              for row in table.rows]  # fmt: skip
    blocks.append(f"{_OVERLAP}\n{_aligned(lines)}")
    return "\n\n".join(blocks) + "\n"


_OVERLAP = "Contexts of the column's questions that the row's training file has too (questions)"


def _cell(table: Table, row: str, column: str, measure: str) -> str:
    score = table.score(row, column, measure)
    return f"{score}{table.runs(score)}" if score else _NOTHING


def _published_lines(table: Table, row: str) -> list[list[str]]:
    found = [table.differences(row, column) for column in table.columns]
    return [
        [f"  {name}", *(_difference(cell[name]) if name in cell else "" for cell in found)]
        for name in TABLES
        if any(name in cell for cell in found)
    ]


def _difference(cell: tuple[float, float | None]) -> str:
    value, difference = cell
    return f"{value:.1f}" if difference is None else f"{value:.1f} ({difference:+.1f})"


def _shared(table: Table, row: str, column: str) -> str:
    shared = table.overlaps[row, column]
    return f"{shared.contexts:,} ({shared.questions:,})" if shared.contexts else "0"


def _aligned(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def as_markdown(table: Table) -> str:
    """A page: the tables of `as_text`."""
    parts = [f"{table.note} Percent, {table.of_seeds}; rows: trained on, columns: answered."]
    for measure in table.measures():
        head = MEASURES[measure]
        columns = [f"{c} ({table.questions[c]:,})" if measure == "f1" else c for c in table.columns]
        rows = []
        for row in table.rows:
            words = []
            for column in table.columns:
                word = _cell(table, row, column, measure)
                if measure == "f1":
                    word += "".join(
                        f"<br>{name} {_difference(cell)}"
                        for name, cell in table.differences(row, column).items()
                    )
                words.append(word)
            rows.append([row, *words])
        parts.append(_markdown([head, *columns], rows))
    rows = [[row, *(_shared(table, row, c) for c in table.columns)] for row in table.rows]
    parts.append(f"{_OVERLAP}:\n\n{_markdown(['', *table.columns], rows)}")
    return "\n\n".join(parts) + "\n"


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_csv(table: Table) -> str:
    """One line a cell, every measure with its deviation, the published F1 and differences to it."""
    columns = [part for name in MEASURES for part in (name, f"{name}_sd")]
    columns += [part for name in TABLES for part in (f"{name}_f1", f"minus_{name}")]
    head = ["train", "eval", "runs", "questions", *columns, "shared_contexts", "shared_questions"]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    for row in table.rows:
        for column in table.columns:
            values: list[float | None] = []
            for measure in MEASURES:
                score = table.score(row, column, measure)
                values += [score.mean, score.deviation] if score else [None, None]
            found = table.differences(row, column)
            for name in TABLES:
                values += found.get(name, (None, None))
            runs = len(table.cells.get((row, column), ()))
            words = ["" if value is None else f"{value:.4f}" for value in values]
            shared = table.overlaps[row, column]
            writer.writerow([row, column, runs, table.questions[column], *words, *shared])
    return stream.getvalue()
