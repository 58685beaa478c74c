"""The table of several ways to train on one set: a row for each, beside the first one.

Differences are of runs with the same seed. These begin with the same new weights where a way leaves
the model as it is, and see the same order where it leaves the number of windows as it is; elsewhere
a pair shares only its number. What a way is worth is the mean of the differences, and their
deviation says how far to believe it.
"""

from collections.abc import Sequence

from eval import text_table
from eval.matrix import COSTS, MEASURES, WIDTH, Table, cost_columns
from eval.spread import Spread
from eval.text_table import Column

HEADINGS = {
    "f1": "F1",
    "exact": "EM",
    "HasAns_f1": "HasAns F1",
    "NoAns_f1": "NoAns F1",
    "no_null_f1": "F1, null off",
}
COMPARED = ("f1", "no_null_f1")


def differences(table: Table, row: str, column: str, measure: str) -> list[float]:
    """Of a row to the first one, for every seed that has both."""
    ours, theirs = (table.values(name, column, measure) for name in (row, table.first or row))
    return [ours[seed] - theirs[seed] for seed in ours if seed in theirs]


def said_difference(table: Table, row: str, column: str, measure: str) -> str:
    """As it is shown: "-2.0 ± 1.4", "-2.0 (1 of 2)" where not all seeds have both, "-" if none."""
    values = differences(table, row, column, measure)
    return Spread.of(values).said(sign="+") + table.missing(len(values)) if values else "-"


def columns(table: Table, answered: str, rows: Sequence[str]) -> list[Column]:
    """Scores on one answered set, differences to the first row, and what the trainings took.

    Args:
        table: whose `first` row is among its rows.
        answered: the set.
        rows: which of the table's, in this order.
    """
    made = [Column("", rows, right=False)]
    for measure, heading in HEADINGS.items():
        if not any(table.values(row, answered, measure) for row in rows):
            continue
        made.append(Column(heading, [table.said(row, answered, measure) for row in rows]))
        if measure in COMPARED:
            cells = [
                "" if row == table.first else said_difference(table, row, answered, measure)
                for row in rows
            ]
            made.append(Column("vs first", cells))
    return [*made, *cost_columns(table, rows)]


def as_text(table: Table) -> str:
    """For a terminal: a block for each answered set."""
    blocks = [_introduction(table)]
    for answered in table.columns:
        shown = text_table.as_text(columns(table, answered, table.rows), WIDTH)
        blocks.append(f"{_asked(table, answered)}\n{shown}")
    return "\n\n".join(blocks) + "\n"


def as_markdown(table: Table) -> str:
    """A page: the tables of `as_text`."""
    parts = [_introduction(table)]
    for answered in table.columns:
        shown = text_table.as_markdown(columns(table, answered, table.rows))
        parts.append(f"{_asked(table, answered)}:\n\n{shown}")
    return "\n\n".join(parts) + "\n"


def _introduction(table: Table) -> str:
    return (
        f"Percent, {table.of_seeds}. {table.note} Vs first: the difference to {table.first}, of "
        f"runs with the same seed. F1, null off: {MEASURES['no_null_f1']}. Updates, an epoch, peak "
        f"memory: {COSTS[0].lower()}{COSTS[1:]}. Times are by the clock of a machine that may do "
        "other things: do not compare closely those of rows made at different times."
    )


def _asked(table: Table, answered: str) -> str:
    shared = max((table.overlaps[row, answered].contexts for row in table.rows), default=0)
    seen = f", {shared:,} contexts of which are in a training file" if shared else ""
    return f"Answered: {answered} ({table.questions[answered]:,} questions{seen})"
