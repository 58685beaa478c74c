"""Pictures: training curves, the scorer's curves and histograms, scores against the null threshold.

The only file that imports matplotlib, and only when a picture is drawn. Without it one line on
stderr says which picture was skipped, and the caller goes on. The file's ending (.png, .svg, .pdf)
chooses its format.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from eval.squad import Curve, ThresholdCurve

BLUE, RED, GREEN, GREY = "#1f6fb4", "#d1495b", "#2e8b57", "#8a8f98"


def training_curves(log_lines: Iterable[Mapping[str, Any]], path: str | Path) -> Path | None:
    """Loss per update and per epoch, dev loss and scores, and the learning rate of one run.

    Args:
        log_lines: the lines of log.jsonl. Read are {"event": "update", "update", "epoch", "loss",
            "lr"} and {"event": "eval", "update", "epoch", "loss", "exact", "f1"}; `update` counts
            from 1, the losses are means per window, the scores are percents. Other events and
            missing or null values are passed over.
        path: file to write.

    Returns:
        The path, or None if there is no matplotlib or nothing to draw.
    """
    lines = list(log_lines)
    updates = [x for x in lines if x.get("event") == "update" and x.get("loss") is not None]
    evals = [x for x in lines if x.get("event") == "eval"]
    if not updates and not evals:
        return _skip(path, "the log has no losses yet")
    figure = _figure(path, 7.5, 8.0)
    if figure is None:
        return None
    loss_axes, score_axes, lr_axes = figure.subplots(
        3, 1, sharex=True, gridspec_kw={"height_ratios": [3, 2, 1]}
    )
    _losses(loss_axes, updates, [x for x in evals if x.get("loss") is not None])

    for key, label, color in (("f1", "F1", RED), ("exact", "exact match", GREY)):
        points = [(x["update"], x[key]) for x in evals if x.get(key) is not None]
        if points:
            score_axes.plot(*zip(*points, strict=True), "o-", color=color, ms=4, label=label)
            best = max(points, key=lambda point: point[1])
            if key == "f1":
                score_axes.annotate(
                    f"best {best[1]:.1f}", best, (0, 6), textcoords="offset points",
                    ha="center", color=color, fontsize=9,
                )  # fmt: skip
    score_axes.set_ylabel("dev score (%)")
    score_axes.margins(y=0.2)
    _legend(score_axes, "lower right")

    rates = [(x["update"], x["lr"]) for x in updates if x.get("lr") is not None]
    if rates:
        lr_axes.plot(*zip(*rates, strict=True), color=GREEN)
    lr_axes.set_ylabel("learning rate")
    lr_axes.set_xlabel("update (optimizer steps)")
    lr_axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0), useMathText=True)
    lr_axes.set_ylim(bottom=0)
    lr_axes.set_xlim(0, max(x["update"] for x in updates + evals) * 1.02 + 0.5)
    return _save(figure, path)


def _losses(axes: "Axes", updates: list[Any], evals: list[Any]) -> None:
    """Raw and smoothed training loss, its mean per epoch as steps, dev loss as points."""
    steps = [x["update"] for x in updates]
    losses = [float(x["loss"]) for x in updates]
    width = max(1, len(losses) // 50)
    axes.plot(steps, losses, color=BLUE, alpha=0.25, lw=0.8, label="train, each update")
    if width > 1:
        name = f"train, mean of {width} updates"
        axes.plot(steps, running_mean(losses, width), color=BLUE, lw=1.8, label=name)
    by_epoch: dict[int, list[Any]] = {}
    for x in updates:
        by_epoch.setdefault(x["epoch"], []).append(x)
    name = "train, mean of the epoch"
    for epoch, members in sorted(by_epoch.items()):
        mean = sum(float(x["loss"]) for x in members) / len(members)
        ends = (members[0]["update"] - 1, members[-1]["update"])
        axes.hlines(mean, *ends, color="black", lw=1.2, ls=(0, (4, 2)), label=name)
        if epoch != max(by_epoch):
            axes.axvline(ends[1], color=GREY, lw=0.6, ls=":")
        name = "_"  # the legend names it once
    if evals:
        points = [(x["update"], x["loss"]) for x in evals]
        axes.plot(*zip(*points, strict=True), "o-", color=RED, ms=4, label="dev")
    axes.set_ylabel("loss (nats per window)")
    # A few wild first updates must not flatten the rest of the curve.
    shown = [*sorted(losses)[: max(1, round(0.995 * len(losses)))], *(x["loss"] for x in evals)]
    axes.set_ylim(0, max(shown) * 1.08 or 1)
    _legend(axes, "upper right")


def running_mean(values: Sequence[float], width: int) -> list[float]:
    """Mean of the last `width` values at each place (of all so far, at the beginning)."""
    means, total = [], 0.0
    for place, value in enumerate(values):
        total += value - (values[place - width] if place >= width else 0.0)
        means.append(total / min(place + 1, width))
    return means


def threshold_picture(
    curve: "ThresholdCurve", path: str | Path, *, threshold: float = 0.0
) -> Path | None:
    """EM and F1 against the null threshold, with the run's threshold and the best F1 marked.

    Args:
        curve: of `eval.squad.threshold_curve`.
        path: file to write.
        threshold: the run's, in logits.
    """
    figure = _figure(path, 7.0, 4.2)
    if figure is None:
        return None
    axes = figure.subplots()
    for values, label, color in ((curve.f1, "F1", RED), (curve.exact, "exact match", BLUE)):
        axes.step(curve.thresholds, values, where="post", color=color, label=label)
    best = max(range(len(curve.f1)), key=curve.f1.__getitem__)
    axes.plot(curve.thresholds[best], curve.f1[best], "o", color=RED, ms=5)
    axes.annotate(
        f"best F1 {curve.f1[best]:.1f} at {curve.thresholds[best]:.2f}",
        (curve.thresholds[best], curve.f1[best]), (0, 7), textcoords="offset points",
        ha="center", color=RED, fontsize=9,
    )  # fmt: skip
    axes.axvline(threshold, color=GREY, lw=1, ls="--", label=f"this run: {threshold:g}")
    axes.set_xlabel("null threshold (logits): higher answers more questions")
    axes.set_ylabel("score (% of all questions)")
    axes.margins(y=0.15)
    _legend(axes, "best")
    return _save(figure, path)


def scorer_pictures(
    curves: Mapping[str, "Curve"],
    answerable: Sequence[float],
    impossible: Sequence[float],
    folder: str | Path,
) -> list[Path]:
    """The official scorer's pictures, under its file names: pr_*.png and na_prob_hist_*.png.

    Args:
        curves: of `eval.squad.precision_recall`.
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
    figure = _figure(path, 5.0, 4.2)
    if figure is None:
        return None
    axes = figure.subplots()
    axes.fill_between(curve.recalls, curve.precisions, step="post", color=BLUE, alpha=0.15, lw=0)
    axes.step(curve.recalls, curve.precisions, where="post", color=BLUE)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    axes.set_title(f"{measure}: average precision {curve.average_precision:.1f} %", fontsize=11)
    return _save(figure, path)


def na_prob_picture(values: Sequence[float], path: str | Path, what: str) -> Path | None:
    """Histogram of no-answer probabilities, 20 bins from 0 to 1, as shares of the questions."""
    figure = _figure(path, 5.0, 4.2)
    if figure is None:
        return None
    axes = figure.subplots()
    weights = [100.0 / len(values)] * len(values)
    axes.hist(values, bins=20, range=(0.0, 1.0), weights=weights, color=BLUE, ec="white", lw=0.6)
    axes.set(xlim=(0, 1), xlabel="probability of no answer", ylabel="share of these questions (%)")
    axes.set_title(f"{len(values):,} {what}", fontsize=11)
    outside = sum(not 0.0 <= value <= 1.0 for value in values)
    if outside:
        note = f"{outside:,} values outside 0..1 are not shown"
        axes.text(0.5, 0.95, note, transform=axes.transAxes, ha="center", va="top", color=RED)
    return _save(figure, path)


def _figure(path: str | Path, width: float, height: float) -> "Figure | None":
    """An empty figure of that many inches, or None and a line on stderr without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        _skip(path, "matplotlib is not installed (pip install matplotlib)")
        return None
    # A Figure made by hand draws on the Agg canvas (or the svg one): no window, no global state.
    return Figure(figsize=(width, height), layout="constrained")


def _skip(path: str | Path, reason: str) -> None:
    print(f"skipped the picture {path}: {reason}", file=sys.stderr)


def _legend(axes: "Axes", place: str) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc=place, fontsize=9, frameon=False)


def _save(figure: "Figure", path: str | Path) -> Path:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e5e7eb", lw=0.8)
        axes.set_axisbelow(True)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140)
    return path
