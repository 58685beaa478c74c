"""The table of tables: trained on one set, scored on every set; text, Markdown and CSV.

Takes plain figures (of `eval.predict.score_predictions`), one dictionary for each seed. Beside the
F1 of sets that are known by name stand the published cells and the difference to them. A table of
several ways to train on one set is shown by eval/variants.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import NamedTuple

from data.overlap import Overlap
from eval import text_table
from eval.published import TABLES, published_f1
from eval.spread import Spread
from eval.text_table import Column, shown_time

# Of what a cell was scored with, and how a heading says it.
MEASURES = {
    "f1": "F1",
    "exact": "exact match",
    "HasAns_f1": "F1 of the questions that have an answer",
    "HasAns_exact": "exact match of the questions that have an answer",
    "NoAns_f1": "questions without an answer that are scored as unanswered",
    "no_null_f1": "F1 of the questions that have an answer, the null answer off",
    "no_null_exact": "exact match of the questions that have an answer, the null answer off",
}
SHOWN = ("f1", "exact", "HasAns_f1", "NoAns_f1", "no_null_f1")  # on the terminal and in Markdown
WIDTH = 100  # characters of a line
_OVERLAP = "Contexts of the column's questions that the row's training file has too (questions)"
COSTS = "What a training took: updates made, time of a pass without evaluations, most memory"
_NONE = (None, None)


class Cost(NamedTuple):
    """What one training took.

    Attributes:
        updates: optimizer updates made.
        epoch_seconds: of one pass over the training set, without evaluations.
        peak_mib: the most memory: of a GPU's tensors, else of the process.
    None for what is not known.
    """

    updates: float | None
    epoch_seconds: float | None
    peak_mib: float | None


@dataclass(frozen=True)
class Table:
    """What is known of a matrix so far.

    Attributes:
        rows: names of the sets that were trained on.
        columns: names of the sets that are answered.
        seeds: runs that each cell has in the end.
        cells: (row, column) -> seed -> scores, of its finished runs.
        questions: column -> questions in it.
        overlaps: (row, column) -> contexts that the column's questions share with the row's.
        note: what was trained, in a sentence.
        costs: row -> seed -> what its finished runs took.
        first: the row that the others are compared with, where rows are ways to train on one set.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    seeds: int
    cells: Mapping[tuple[str, str], Mapping[int, Mapping[str, float]]]
    questions: Mapping[str, int]
    overlaps: Mapping[tuple[str, str], Overlap]
    note: str
    costs: Mapping[str, Mapping[int, Cost]] = field(default_factory=dict)
    first: str | None = None

    def values(self, row: str, column: str, measure: str) -> dict[int, float]:
        """By seed, of a cell's finished runs; none where the set has no such questions."""
        runs = self.cells.get((row, column), {})
        return {seed: scores[measure] for seed, scores in runs.items() if measure in scores}

    def spread(self, row: str, column: str, measure: str) -> Spread | None:
        """A cell's mean and deviation, in percent; None where it has no values."""
        values = list(self.values(row, column, measure).values())
        return Spread.of(values) if values else None

    def cost(self, row: str) -> Cost:
        """Means over a row's runs, each of those for which it is known."""
        costs = self.costs.get(row, {}).values()
        known = {
            name: [value for cost in costs if (value := getattr(cost, name)) is not None]
            for name in Cost._fields
        }
        return Cost(**{name: fmean(values) if values else None for name, values in known.items()})

    def said(self, row: str, column: str, measure: str) -> str:
        """A cell as it is shown: "72.0 ± 2.8", "50.0 (1 of 2)" with a run missing, "-"."""
        spread = self.spread(row, column, measure)
        if spread is None:
            return "-"
        return spread.said() + self.missing(len(self.values(row, column, measure)))

    def missing(self, runs: int) -> str:
        """Behind a figure of so many runs: " (1 of 2)", or nothing where it is of all seeds."""
        return "" if runs == self.seeds else f" ({runs} of {self.seeds})"

    def measures(self) -> list[str]:
        """Those shown of which at least one cell has a figure; F1 always."""
        return [
            name
            for name in SHOWN
            if name == "f1" or any(self.spread(r, c, name) for r in self.rows for c in self.columns)
        ]

    def differences(self, row: str, column: str) -> dict[str, tuple[float, float | None]]:
        """Published F1 of a cell, by table, and ours less it (None before there is one)."""
        ours = self.spread(row, column, "f1")
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
        names: list[str] = []
        columns: dict[str, list[str]] = {column: [] for column in table.columns}
        for row in table.rows:
            names.append(row)
            found = {c: table.differences(row, c) for c in table.columns if measure == "f1"}
            published = [name for name in TABLES if any(name in cell for cell in found.values())]
            names += [f"  {name}" for name in published]
            for column, cells in columns.items():
                cells.append(table.said(row, column, measure))
                cells += [_difference(found[column].get(name)) for name in published]
        if measure == "f1":
            names.append("questions")
            for column, cells in columns.items():
                cells.append(f"{table.questions[column]:,}")
        shown = text_table.as_text(_columns("", names, columns), WIDTH)
        blocks.append(f"{MEASURES[measure]}\n{shown}")
    if table.costs:
        blocks.append(f"{COSTS}\n{text_table.as_text(_cost_columns(table), WIDTH)}")
    blocks.append(f"{_OVERLAP}\n{text_table.as_text(_shared(table), WIDTH)}")
    return "\n\n".join(blocks) + "\n"


def as_markdown(table: Table) -> str:
    """A page: the tables of `as_text`."""
    parts = [f"{table.note} Percent, {table.of_seeds}; rows: trained on, columns: answered."]
    for measure in table.measures():
        columns = {}
        for column in table.columns:
            cells = []
            for row in table.rows:
                found = table.differences(row, column) if measure == "f1" else {}
                beside = (f"<br>{name} {_difference(cell)}" for name, cell in found.items())
                cells.append(table.said(row, column, measure) + "".join(beside))
            head = f"{column} ({table.questions[column]:,})" if measure == "f1" else column
            columns[head] = cells
        parts.append(text_table.as_markdown(_columns(MEASURES[measure], table.rows, columns)))
    if table.costs:
        parts.append(f"{COSTS}:\n\n{text_table.as_markdown(_cost_columns(table))}")
    parts.append(f"{_OVERLAP}:\n\n{text_table.as_markdown(_shared(table))}")
    return "\n\n".join(parts) + "\n"


def _columns(head: str, names: Sequence[str], columns: Mapping[str, Sequence[str]]) -> list[Column]:
    """The names of the rows and the columns {heading: cells}, all beginning at one place."""
    return [Column(name, cells, right=False) for name, cells in [(head, names), *columns.items()]]


def _cost_columns(table: Table) -> list[Column]:
    return [Column("", table.rows, right=False), *cost_columns(table, table.rows)]


def cost_columns(table: Table, rows: Sequence[str]) -> list[Column]:
    """What trainings of some rows took, means over their runs."""
    costs = [table.cost(row) for row in rows]
    return [
        Column("updates", [_or_dash(cost.updates, "{:,.0f}".format) for cost in costs]),
        Column("an epoch", [_or_dash(cost.epoch_seconds, shown_time) for cost in costs]),
        Column("peak memory", [_or_dash(cost.peak_mib, "{:,.0f} MiB".format) for cost in costs]),
    ]


def _or_dash(value: float | None, say: Callable[[float], str]) -> str:
    return "-" if value is None else say(value)


def _difference(cell: tuple[float, float | None] | None) -> str:
    if cell is None:
        return ""
    value, difference = cell
    return f"{value:.1f}" if difference is None else f"{value:.1f} ({difference:+.1f})"


def _shared(table: Table) -> list[Column]:
    """Contexts of a column's questions that a row's training file has, and questions on them."""
    shared = {c: [table.overlaps[row, c] for row in table.rows] for c in table.columns}
    texts = {
        column: [f"{s.contexts:,} ({s.questions:,})" if s.contexts else "0" for s in cells]
        for column, cells in shared.items()
    }
    return _columns("", table.rows, texts)


def as_csv(table: Table) -> str:
    """One line a cell, every measure with its deviation, the published F1 and differences to it."""
    records = []
    for row, column in ((row, column) for row in table.rows for column in table.columns):
        values: dict[str, float | None] = {}
        for measure in MEASURES:
            values[measure], values[f"{measure}_sd"] = table.spread(row, column, measure) or _NONE
        found = table.differences(row, column)
        for name in TABLES:
            values[f"{name}_f1"], values[f"minus_{name}"] = found.get(name, _NONE)
        shared = table.overlaps[row, column]
        values |= table.cost(row)._asdict()
        records.append(
            {
                "train": row,
                "eval": column,
                "runs": len(table.cells.get((row, column), ())),
                "questions": table.questions[column],
                **{name: _figure(value) for name, value in values.items()},
                "shared_contexts": shared.contexts,
                "shared_questions": shared.questions,
            }
        )
    return text_table.as_csv(records)


def as_runs_csv(table: Table) -> str:
    """One line for each finished run and answered set, every measure: for tables of your own."""
    records = []
    for (row, column), runs in table.cells.items():
        for seed, scores in runs.items():
            cost = table.costs.get(row, {}).get(seed, Cost(None, None, None))
            figures = {measure: scores.get(measure) for measure in MEASURES} | cost._asdict()
            shown = {name: _figure(value) for name, value in figures.items()}
            records.append({"train": row, "eval": column, "seed": seed, **shown})
    return text_table.as_csv(records)


def _figure(value: float | None) -> str:
    """Counts as they are; nothing for what is not known."""
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.4f}"
