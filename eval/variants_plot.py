"""The picture of several ways to train on one set: every run a dot, every way's mean a bar."""

from pathlib import Path

from eval.matrix import Table
from eval.plots import BLUE, GREY, RED, new_figure, save_figure
from eval.variants import COMPARED, HEADINGS

_ROW = 0.3  # inches


def variants_picture(table: Table, path: str | Path) -> Path | None:
    """Draw F1, and F1 with the null answer off, of every row on the first answered set.

    Args:
        table: whose `first` row is the one that the others are compared with.
        path: file to write.

    Returns:
        The path, or None if there is no matplotlib.
    """
    answered = table.columns[0]
    measures = [m for m in COMPARED if any(table.values(row, answered, m) for row in table.rows)]
    panels = measures or [COMPARED[0]]
    figure = new_figure(path, 3.2 + 3.4 * len(panels), 1.3 + _ROW * len(table.rows))
    if figure is None:
        return None
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, measure in zip(grid, panels, strict=True):
        first = table.spread(table.first or "", answered, measure)
        if first is not None:
            axes.axvline(first.mean, color=GREY, lw=1, ls="--", zorder=1)
        for place, row in enumerate(table.rows):
            spread = table.spread(row, answered, measure)
            if spread is None:
                continue
            color, bar = BLUE if row == table.first else RED, [spread.mean] * 2
            axes.plot(bar, [place - 0.3, place + 0.3], color=color, lw=2.2, zorder=3)
            values = list(table.values(row, answered, measure).values())
            axes.plot(values, [place] * len(values), "o", color=color, ms=4.5, alpha=0.6, zorder=2)
        axes.set_xlabel(f"{HEADINGS[measure]} (%)")
        axes.grid(color="#e5e7eb", lw=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(axis="y", length=0)
    grid[0].set_yticks(range(len(table.rows)), list(table.rows))
    grid[0].set_ylim(len(table.rows) - 0.4, -0.6)
    title = figure.suptitle(
        f"{answered}, {table.questions[answered]:,} questions: every run and each row's mean",
        fontsize=10,
    )
    # Only a layout that is made knows where the panels are, beside names of any length.
    figure.draw_without_rendering()
    title.set_x((grid[0].get_position().x0 + grid[-1].get_position().x1) / 2)
    return save_figure(figure, path, grid=False)
