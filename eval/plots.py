"""Pictures: training curves, the scorer's curves and histograms.

The only file that imports matplotlib, and only when a picture is drawn; a classifier's pictures
(eval/class_plots.py) begin and end here too. Without it one line on stderr says which picture was
skipped, and the caller goes on. The file's ending (.png, .svg, .pdf) chooses its format.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from eval.thresholds import Curve

BLUE, RED, GREEN, GREY = "#1f6fb4", "#d1495b", "#2e8b57", "#8a8f98"


def training_curves(log_lines: Iterable[Mapping[str, Any]], path: str | Path) -> Path | None:
    """Loss per update and per epoch, dev loss and scores, and the learning rate of one run.

    Args:
        log_lines: the lines of log.jsonl. Read are {"event": "update", "update", "epoch", "loss",
            "lr"} and {"event": "eval", "update", "epoch", "loss", "exact", "f1", "macro_f1",
            "accuracy"}; `update` counts from 1, the losses are means per window, text or masked
            token, the scores are percents. Other events and missing or null values are passed over.
        path: file to write.

    Returns:
        The path, or None if there is no matplotlib or nothing to draw.
    """
    lines = list(log_lines)
    updates = [x for x in lines if x.get("event") == "update" and x.get("loss") is not None]
    evals = [x for x in lines if x.get("event") == "eval"]
    dev_losses = _points(evals, "loss")
    dev_scores = {
        "F1": _points(evals, "f1"),
        "exact match": _points(evals, "exact"),
        "macro F1": _points(evals, "macro_f1"),
        "accuracy": _points(evals, "accuracy"),
    }
    rates = _points(updates, "lr")
    found = {"loss": updates or dev_losses, "score": any(dev_scores.values()), "rate": rates}
    panels = [name for name, there in found.items() if there]
    if not panels:
        print(f"skipped the picture {path}: the log has nothing to draw yet", file=sys.stderr)
        return None
    heights = {"loss": 3.6, "score": 2.6, "rate": 1.6}  # inches
    figure = new_figure(path, 7.5, 0.4 + sum(heights[name] for name in panels))
    if figure is None:
        return None
    grid = figure.subplots(
        len(panels), 1, sharex=True, squeeze=False, height_ratios=[heights[name] for name in panels]
    )
    axes: dict[str, Axes] = dict(zip(panels, grid[:, 0], strict=True))
    if "loss" in axes:
        _losses(axes["loss"], updates, dev_losses)
    if "score" in axes:
        for (label, points), color in zip(dev_scores.items(), (RED, GREY, RED, BLUE), strict=True):
            if points:
                label += f", best {max(value for _, value in points):.1f}"
                axes["score"].plot(*_columns(points), "o-", color=color, ms=4, label=label)
        axes["score"].set_ylabel("dev score (%)")
        legend_above(axes["score"])
    if "rate" in axes:
        axes["rate"].plot(*_columns(rates), color=GREEN)
        axes["rate"].set_ylabel("learning rate")
        axes["rate"].ticklabel_format(axis="y", scilimits=(0, 0), useMathText=True)
        axes["rate"].set_ylim(bottom=0)
    last = axes[panels[-1]]
    last.set_xlabel("update (optimizer steps)")
    last.locator_params(axis="x", integer=True)
    last.set_xlim(0, max(x["update"] for x in updates + evals) * 1.02)
    return save_figure(figure, path)


def _losses(axes: "Axes", updates: list[Any], dev: list[tuple[float, float]]) -> None:
    """Raw and smoothed training loss, its mean per epoch as dashes, dev loss as points."""
    losses = _points(updates, "loss")
    steps, values = _columns(losses)
    width = len(values) // 40 | 1  # odd: the mean around an update
    smooth = width >= 3
    if values:
        label = "train, each update" if smooth else "train"
        axes.plot(steps, values, color=BLUE, alpha=0.25 if smooth else 1, lw=0.8, label=label)
    if smooth:
        label = f"mean of {width} updates"
        inner = slice(width // 2, -(width // 2))  # at the ends it would be the mean of a few
        axes.plot(steps[inner], centred_mean(values, width)[inner], color=BLUE, lw=1.8, label=label)
    by_epoch: dict[int, list[tuple[float, float]]] = {}
    for x, point in zip(updates, losses, strict=True):
        by_epoch.setdefault(x["epoch"], []).append(point)
    label = "mean of the epoch"
    for members in by_epoch.values():
        mean = sum(value for _, value in members) / len(members)
        begin, end = members[0][0] - 1, members[-1][0]
        axes.hlines(mean, begin, end, color="black", lw=1.2, ls=(0, (4, 2)), label=label)
        label = "_"  # the legend names it once
        if begin > 0:
            axes.axvline(begin, color=GREY, lw=0.6, ls=":")
    if dev:
        axes.plot(*_columns(dev), "o-", color=RED, ms=4, label="dev")
    axes.set_ylabel("loss (nats)")
    # A few wild updates must not flatten the rest of the curve.
    shown = sorted(values)[: max(1, round(0.995 * len(values)))] + [value for _, value in dev]
    axes.set_ylim(0, max(shown) * 1.08 or 1)
    legend_above(axes)


def centred_mean(values: Sequence[float], width: int) -> list[float]:
    """Mean of the `width` (odd) values around each place; of as many as there are at the ends."""
    sums = [0.0, *accumulate(values)]
    means = []
    for place in range(len(values)):
        reach = min(width // 2, place, len(values) - 1 - place)
        means.append((sums[place + reach + 1] - sums[place - reach]) / (2 * reach + 1))
    return means


def _points(lines: Iterable[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    """(update, value) of every line that has the value."""
    return [(float(x["update"]), float(x[key])) for x in lines if x.get(key) is not None]


def _columns(points: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def scorer_pictures(
    curves: Mapping[str, "Curve"],
    answerable: Sequence[float],
    impossible: Sequence[float],
    folder: str | Path,
) -> list[Path]:
    """The official scorer's pictures, under its file names: pr_*.png and na_prob_hist_*.png.

    Args:
        curves: of `eval.thresholds.precision_recall`.
        answerable: no-answer probabilities of the questions that have an answer.
        impossible: those of the questions that have none.
        folder: it is made if it does not exist.

    Returns:
        The files written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    measure = {"exact": "exact match", "f1": "F1", "oracle": "is there an answer at all"}
    drawn = [
        precision_recall_picture(curve, folder / f"pr_{name}.png", measure.get(name, name))
        for name, curve in curves.items()
    ]
    for name, values, what in (
        ("hasAns", answerable, "questions with an answer"),
        ("noAns", impossible, "questions without an answer"),
    ):
        if values:
            drawn.append(na_prob_picture(values, folder / f"na_prob_hist_{name}.png", what))
    return [path for path in drawn if path is not None]


def precision_recall_picture(curve: "Curve", path: str | Path, measure: str) -> Path | None:
    """One precision-recall curve; `measure` says what counts as right."""
    figure = new_figure(path, 5.0, 4.2)
    if figure is None:
        return None
    axes = figure.subplots()
    axes.fill_between(curve.recalls, curve.precisions, step="post", color=BLUE, alpha=0.15, lw=0)
    axes.step(curve.recalls, curve.precisions, where="post", color=BLUE)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.set_title(f"{measure}: average precision {curve.average_precision:.1f} %", fontsize=11)
    return save_figure(figure, path)


def na_prob_picture(values: Sequence[float], path: str | Path, what: str) -> Path | None:
    """Histogram of no-answer probabilities, 20 bins from 0 to 1, as shares of the questions."""
    figure = new_figure(path, 5.0, 4.2)
    if figure is None:
        return None
    axes = figure.subplots()
    weights = [100.0 / len(values)] * len(values)
    axes.hist(values, bins=20, range=(0.0, 1.0), weights=weights, color=BLUE, ec="white", lw=0.6)
    axes.set(xlim=(0, 1), xlabel="probability of no answer", ylabel="share of these questions (%)")
    outside = sum(not 0.0 <= value <= 1.0 for value in values)
    note = f"\n{outside:,} lie outside 0 to 1 and are not shown" if outside else ""
    axes.set_title(f"{len(values):,} {what}{note}", fontsize=11)
    return save_figure(figure, path)


def new_figure(path: str | Path, width: float, height: float) -> "Figure | None":
    """An empty figure of that many inches, or None and a line on stderr without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print(f"skipped the picture {path}: matplotlib is not installed", file=sys.stderr)
        return None
    # A Figure made by hand draws on the Agg canvas (or the svg one): no window, no global state.
    return Figure(figsize=(width, height), layout="constrained")


@contextmanager
def drawing(text: str) -> Iterator[set[str]]:
    """Draw with fonts that have a text's characters: the usual one, and others for what it lacks.

    Yields:
        The characters that no installed font has; none without matplotlib, which draws nothing.
    """
    try:
        from matplotlib import font_manager, rc_context, rcParams
        from matplotlib.ft2font import FT2Font
    except ImportError:
        yield set()
        return
    families = list(rcParams["font.family"])
    usual = font_manager.findfont(font_manager.FontProperties())
    missing = {ord(letter) for letter in text if not letter.isspace()}
    missing -= FT2Font(usual).get_charmap().keys()
    found: dict[str, set[int]] = {}
    if missing:
        # upright ones without serifs first; "Last Resort" has a box for everything
        for font in sorted(
            font_manager.fontManager.ttflist,
            key=lambda f: (f.style != "normal", f.weight != 400, "Sans" not in f.name, f.name),
        ):
            if font.name not in found and not font.name.startswith("Last Resort"):
                with suppress(Exception):  # a damaged file: another font may do
                    found[font.name] = missing & FT2Font(font.fname).get_charmap().keys()
    while any(missing & letters for letters in found.values()):
        best = max(found, key=lambda name: len(missing & found[name]))
        families.append(best)
        missing -= found[best]
    with rc_context({"font.family": families}):
        yield set(map(chr, missing))


def legend_above(axes: "Axes") -> None:
    """One row above the axes, where it can cover no curve."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        axes.legend(
            handles, labels, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(labels),
            frameon=False, fontsize=9, borderaxespad=0.2, columnspacing=1.4,
        )  # fmt: skip


def save_figure(figure: "Figure", path: str | Path, *, grid: bool = True) -> Path:
    """Write a picture in the house's style, whole or not at all."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        if grid:
            axes.grid(axis="y", color="#e5e7eb", lw=0.8)
            axes.set_axisbelow(True)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = BytesIO()
    file_format = path.suffix.removeprefix(".") or "png"
    # tight: whatever the layout does, nothing at the edge is cut off
    figure.savefig(drawn, dpi=140, format=file_format, bbox_inches="tight", pad_inches=0.08)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(drawn.getvalue())
        os.replace(partial, path)  # so that an earlier picture stays until the new one is whole
    finally:
        partial.unlink(missing_ok=True)
    return path
