"""The heat map of a matrix: F1 of every pair of sets. Figures begin and end in eval/plots.py."""

from pathlib import Path

from eval.matrix import Table
from eval.plots import GREY, new_figure, save_figure

_CELL = 1.15  # inches
_DARK = 0.6  # of the highest F1: from there on the writing is white


def matrix_picture(table: Table, path: str | Path) -> Path | None:
    """Draw F1, its deviation, and the differences to published cells.

    Args:
        table: of a matrix; cells without a finished run stay empty.
        path: file to write.

    Returns:
        The path, or None if there is no matplotlib.
    """
    wide, high = len(table.columns), len(table.rows)
    figure = new_figure(path, max(3.6, 1.6 + _CELL * wide), 1.1 + _CELL * 0.8 * high)
    if figure is None:
        return None
    axes = figure.subplots()
    scores = {(r, c): table.spread(r, c, "f1") for r in table.rows for c in table.columns}
    best = max((score.mean for score in scores.values() if score), default=100.0) or 100.0
    values = [[s.mean if (s := scores[r, c]) else float("nan") for c in table.columns]
              for r in table.rows]  # fmt: skip
    axes.imshow(values, cmap="Blues", vmin=0, vmax=best * 1.15, aspect="auto")
    for y, row in enumerate(table.rows):
        for x, column in enumerate(table.columns):
            score = scores[row, column]
            color = "white" if score and score.mean > _DARK * best else "black"
            said = table.said(row, column, "f1")
            axes.text(x, y - 0.12, said, ha="center", va="center", color=color, fontsize=12)
            beside = [
                f"{name} {difference:+.1f}"
                for name, (_, difference) in table.differences(row, column).items()
                if difference is not None
            ]
            axes.text(
                x, y + 0.22, "\n".join(beside), ha="center", va="center", color=color, fontsize=7.5
            )
    axes.set_xticks(range(wide), [f"{c}\n{table.questions[c]:,} questions" for c in table.columns])
    axes.set_yticks(range(high), list(table.rows))
    axes.tick_params(length=0, labelsize=9)
    axes.xaxis.tick_top()
    axes.set_ylabel("trained on", color=GREY)
    axes.set_title(f"F1 (%), {table.of_seeds}", fontsize=10)
    for side in axes.spines.values():
        side.set_visible(False)
    return save_figure(figure, path, grid=False)
