"""What `python -m eval.compare` shows of runs: columns of tables, records for other programs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from eval.dev_items import Difference
from eval.finished_run import CLASSIFY, SQUAD
from eval.paired import Interval
from eval.run_groups import Group, differing, pooled_deviations
from eval.shared_texts import Shared
from eval.spread import Spread
from eval.text_table import Column, shown_time

# score of metrics.json -> its heading and decimals
SCORES = {
    CLASSIFY: {
        "accuracy": ("accuracy", 2),
        "macro_f1": ("macro F1", 2),
        "weighted_f1": ("weighted F1", 2),
        "weighted_precision": ("w. precision", 2),
        "macro_roc_auc": ("macro AUC", 3),
        "calibration_error": ("ECE", 3),
        "loss": ("loss", 3),
    },
    SQUAD: {
        "exact": ("EM", 2),
        "f1": ("F1", 2),
        "HasAns_exact": ("HasAns EM", 2),
        "HasAns_f1": ("HasAns F1", 2),
        "NoAns_exact": ("NoAns EM = F1", 2),
        "loss": ("loss", 3),
    },
}
COMPARED = {CLASSIFY: ("accuracy", "macro_f1"), SQUAD: ("exact", "f1")}


@dataclass(frozen=True, eq=False)
class Row:
    """A line of the tables.

    Attributes:
        group: its runs.
        difference: to the baseline, None of the baseline itself.
        shared: its scores without some texts, with --leave-out-shared.
    """

    group: Group
    difference: Difference | None
    shared: Shared | None = None


def score_columns(task: str, rows: Sequence[Row]) -> list[Column]:
    """What differs, scores, what it took."""
    groups = [row.group for row in rows]
    settings = [
        Column(name, cells, right=all(map(_is_number, cells)))
        for name, cells in differing(groups).items()
    ]
    if any(len(group.runs) > 1 for group in groups):
        settings.append(Column("n", [str(len(group.runs)) for group in groups]))
    scores: dict[str, Column] = {}
    for key, (heading, decimals) in SCORES[task].items():
        spreads = [group.spread(key) for group in groups]
        if any(spreads):
            scores[key] = Column(heading, spread_texts(spreads, decimals))
    if "NoAns_exact" not in scores:  # v1.1: every question has an answer
        scores = {key: column for key, column in scores.items() if not key.startswith("HasAns")}
    took = [
        Column("updates", [_listed(group, lambda run: str(run.updates)) for group in groups]),
        Column("best epoch", [_listed(g, lambda run: f"{run.best_epoch:.3g}") for g in groups]),
        Column("time/epoch", [shown_time(group.epoch_seconds) for group in groups]),
    ]
    return [_names(rows), *settings, *scores.values(), *took]


def _names(rows: Sequence[Row]) -> Column:
    return Column("run", [row.group.name for row in rows], right=False)


def _listed(group: Group, text: Callable[[Any], str]) -> str:
    """A value of each run, of equal ones only one."""
    return ", ".join(dict.fromkeys(map(text, group.runs)))


def _is_number(text: str) -> bool:
    return text.replace(".", "").replace("e-", "").isdigit() or text == "-"


def spread_texts(spreads: Sequence[Spread | None], decimals: int) -> list[str]:
    """Means, with deviations behind them, below each other.

    >>> spread_texts([Spread(62.5, 12.5), Spread(8.25, 1.125), Spread(50, None)], 1)
    ['62.5 ± 12.5', '8.2 ±  1.1', '50.0       ']
    """
    texts = ["-" if spread is None else spread.said(decimals) for spread in spreads]
    width = max(len(text.partition(" ± ")[2]) for text in texts)
    blank = " " * (width and width + 3)
    return [
        spread.said(decimals, width=width) if spread and " ± " in text else text + blank
        for spread, text in zip(spreads, texts, strict=True)
    ]


def difference_columns(task: str, rows: Sequence[Row], baseline: Group) -> list[Column]:
    """Differences to the baseline: points and interval, pooled deviations, McNemar's p."""
    others = [row for row in rows if row.difference is not None]
    columns = [_names(others)]
    for key in COMPARED[task]:
        heading = SCORES[task][key][0]
        intervals = [row.difference.scores[key] for row in others if row.difference]
        columns.append(Column(heading, interval_texts(intervals)))
        pooled = [pooled_deviations(row.group.values(key), baseline.values(key)) for row in others]
        if any(value is not None for value in pooled):
            cells = ["-" if value is None else f"{value:+.1f}" for value in pooled]
            columns.append(Column("in dev.", cells))
    p_values = [row.difference.mcnemar for row in others if row.difference]
    if any(p_values):
        cells = ["-" if p is None else shown_p(p.p_value) for p in p_values]
        columns.append(Column("McNemar p", cells))
    return columns


def interval_texts(intervals: Sequence[Interval]) -> list[str]:
    """Differences in points with their intervals, below each other.

    >>> interval_texts([Interval(0.5, -1, 2, 0.95), Interval(10.25, 8, 12.5, 0.95)])
    [' +0.50 [-1.00,  +2.00]', '+10.25 [+8.00, +12.50]']
    """
    # "+ 0.0" so that a rounded -0.00 has no minus
    cells = [[f"{round(value, 2) + 0.0:+.2f}" for value in interval[:3]] for interval in intervals]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligned = [
        [cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in cells
    ]
    return [f"{middle} [{low}, {high}]" for middle, low, high in aligned]


def shown_p(value: float) -> str:
    """A probability with three decimals.

    >>> [shown_p(value) for value in (1, 0.0416, 0.0001)]
    ['1.000', '0.042', '< 0.001']
    """
    return f"{value:.3f}" if value >= 0.0005 else "< 0.001"


def shared_columns(rows: Sequence[Row]) -> list[Column]:
    """With --leave-out-shared: how many texts are shared, and the scores without them."""
    shared = [row.shared for row in rows if row.shared is not None]
    counts = [
        Column("shared raw", [str(one.raw) for one in shared]),
        Column("shared cleaned", [str(one.cleaned) for one in shared]),
    ]
    scores = []
    for key in ("accuracy", "macro_f1", "weighted_f1"):
        heading, decimals = SCORES[CLASSIFY][key]
        scores.append(Column(heading, spread_texts([s.scores[key] for s in shared], decimals)))
    return [_names(rows), *counts, *scores]


def records(task: str, rows: Sequence[Row], baseline: Group) -> list[dict[str, Any]]:
    """One flat record a row, with every score of metrics.json, unrounded.

    Returns:
        run, runs, seeds; every setting that differs; {score}, {score}_deviation; updates,
        best_epoch, seconds_per_epoch; of all rows but the baseline's {score}_difference, _low,
        _high, _pooled_deviations of the two scores that are compared, mcnemar_p; with
        --leave-out-shared shared_raw, shared_cleaned, {score}_without_shared.
    """
    settings = differing([row.group for row in rows])
    keys = dict.fromkeys(key for row in rows for run in row.group.runs for key in run.metrics)
    found = []
    for number, row in enumerate(rows):
        group = row.group
        record: dict[str, Any] = {
            "run": group.name,
            "runs": ", ".join(str(run.folder) for run in group.runs),
            "seeds": len(group.runs),
            **{name: cells[number] for name, cells in settings.items()},
        }
        for key in keys:
            mean, deviation = group.spread(key) or (None, None)
            record |= {key: mean, f"{key}_deviation": deviation}
        record["updates"] = _listed(group, lambda run: str(run.updates))
        record["best_epoch"] = _listed(group, lambda run: f"{run.best_epoch:.6g}")
        record["seconds_per_epoch"] = group.epoch_seconds
        for key in COMPARED[task]:
            interval = row.difference and row.difference.scores[key]
            record[f"{key}_difference"], record[f"{key}_low"], record[f"{key}_high"] = (
                interval[:3] if interval else (None, None, None)
            )
            pooled = pooled_deviations(group.values(key), baseline.values(key))
            record[f"{key}_pooled_deviations"] = pooled if interval else None
        test = row.difference and row.difference.mcnemar
        record["mcnemar_p"] = test.p_value if test else None
        if row.shared:
            record |= {"shared_raw": row.shared.raw, "shared_cleaned": row.shared.cleaned}
            for key, spread in row.shared.scores.items():
                record[f"{key}_without_shared"] = spread.mean
        found.append(record)
    return found
