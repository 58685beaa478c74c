"""Pictures of a classifier: ROC, precision-recall, confusion, reliability.

As in eval/plots.py, which begins and ends every picture: without matplotlib one line on stderr says
what was skipped, and the file's ending (.png, .svg, .pdf) chooses the format.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.class_curves import precision_recall_curves, reliability, roc_curves
from eval.class_names import drawable_names, short_names, width
from eval.classification import confusion_matrix, predicted_classes
from eval.plots import GREY, RED, drawing, legend_above, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from eval.class_curves import Floats, Integers, PrecisionRecalls, Reliability, RocCurves

# Okabe and Ito's colours (2008), told apart with any colour vision; dashes tell them apart in grey.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = (
    *("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5))),
    *((0, (10, 3)), (0, (6, 1.5, 1.5, 1.5, 1.5, 1.5))),
)

_CHARACTER = 0.075  # inches, about, in small letters
_LIGHT_BLUE = "#8db8dc"


def roc_picture(curves: "RocCurves", names: Sequence[str], path: str | Path) -> Path | None:
    """ROC of every class, of all decisions (micro) and of the mean curve (macro) in one picture.

    Args:
        curves: of `eval.class_curves.roc_curves`.
        names: of the C classes; one without a curve is named in the legend.
        path: file to write.

    Returns:
        The path, or None if there is no matplotlib.
    """
    figure = _figure_with_legend(path, names)
    if figure is None:
        return None
    axes = _square(figure, "false positive rate", "true positive rate")
    axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls=":", label="a guess (0.500)")
    for number, (name, curve) in enumerate(zip(_shown(names), curves.classes, strict=True)):
        if curve is None:
            axes.plot([], [], " ", label=f"{name} (no curve)")
            continue
        label = f"{name} ({curve.area:.3f})"
        x, y = curve.false_positive_rates, curve.true_positive_rates
        axes.plot(x, y, lw=1.8, label=label, **_style(number))
    for kind, mean, dashes in (("micro", curves.micro, "-"), ("macro", curves.macro, DASHES[2])):
        if mean is not None:
            x, y = mean.false_positive_rates, mean.true_positive_rates
            label = f"{kind} average ({mean.area:.3f})"
            axes.plot(x, y, color="black", lw=1.4, ls=dashes, label=label)
    _legend_beside(figure, "area under the curve")
    return save_figure(figure, path)


def precision_recalls_picture(
    curves: "PrecisionRecalls", names: Sequence[str], path: str | Path
) -> Path | None:
    """Precision-recall curve of every class and of all decisions (micro) in one picture.

    Arguments as for `roc_picture`, with curves of `eval.class_curves.precision_recall_curves`.
    """
    figure = _figure_with_legend(path, names)
    if figure is None:
        return None
    axes = _square(figure, "recall", "precision")
    for number, (name, curve) in enumerate(zip(_shown(names), curves.classes, strict=True)):
        if curve is None:
            axes.plot([], [], " ", label=f"{name} (no curve)")
            continue
        label = f"{name} ({curve.average_precision:.3f})"
        # A point's precision holds for the recall gained since the point before.
        axes.step(curve.recalls, curve.precisions, lw=1.8, label=label, **_style(number))
    micro = curves.micro
    label = f"micro average ({micro.average_precision:.3f})"
    axes.step(micro.recalls, micro.precisions, color="black", lw=1.4, label=label)
    if curves.macro is not None:
        axes.plot([], [], " ", label=f"macro average ({curves.macro:.3f})")
    _legend_beside(figure, "average precision")
    return save_figure(figure, path)


def confusion_picture(confusion: "Integers", names: Sequence[str], path: str | Path) -> Path | None:
    """Confusion matrix: numbers of texts, and their share of the right class as depth of colour.

    Args:
        confusion: of `eval.classification.confusion_matrix`.
        names: of the C classes.
        path: file to write.

    Returns:
        The path, or None if there is no matplotlib.
    """
    short = _shown(names)
    longest = max(map(width, short))
    small = 7 if len(names) > 8 else 9
    cells = 0.6 + 0.8 * min(len(names), 12)  # inches
    slanted = longest * _CHARACTER > 0.9 * cells / len(names)
    margins = 1.7 + longest * _CHARACTER, 0.7 + (0.6 * longest * _CHARACTER if slanted else 0)
    figure = new_figure(path, cells + margins[0], cells + margins[1])
    if figure is None:
        return None
    axes = figure.subplots()
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    any_text = confusion.sum(1) > 0  # of a class without texts there are no shares
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(names) <= 20:  # of more, no number could be read
        for row, column in np.ndindex(confusion.shape):
            share = shares[row, column]
            told = f"{confusion[row, column]:,}" + (f"\n{share:.0%}" if any_text[row] else "")
            axes.text(
                column, row, told,
                ha="center", va="center", fontsize=small, color="white" if share > 0.5 else "black",
            )  # fmt: skip
    axes.set_xticks(range(len(names)), short, fontsize=small)
    if slanted:
        for label in axes.get_xticklabels():
            label.set(rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), short, fontsize=small)
    axes.set(xlabel="predicted class", ylabel="right class")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, label="share of the right class")
    bar.ax.yaxis.set_major_formatter(lambda share, place: f"{share:.0%}")
    bar.outline.set_visible(False)
    return save_figure(figure, path, grid=False)


def reliability_picture(reliability: "Reliability", path: str | Path) -> Path | None:
    """Accuracy against confidence, bin by bin, above the number of texts in each.

    Args:
        reliability: of `eval.class_curves.reliability`.
        path: file to write.

    Returns:
        The path, or None if there is no matplotlib.
    """
    figure = new_figure(path, 5.6, 6.2)
    if figure is None:
        return None
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    left, widths = reliability.edges[:-1], np.diff(reliability.edges)
    filled = reliability.counts > 0
    upper.bar(
        left[filled], reliability.accuracies[filled], widths[filled], align="edge",
        color=_LIGHT_BLUE, ec="white", lw=0.8, label="accuracy of the bin",
    )  # fmt: skip
    upper.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--", label="ideal")
    points = reliability.confidences[filled], reliability.accuracies[filled]
    upper.plot(*points, "o", color=RED, ms=5, label="at its mean confidence")
    upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    legend_above(upper)
    error = reliability.expected_error
    figure.suptitle(f"expected calibration error {100 * error:.1f} %", fontsize=11)
    lower.bar(left, reliability.counts, widths, align="edge", color=GREY, ec="white", lw=0.8)
    lower.set(xlabel="confidence (probability of the predicted class)", ylabel="texts")
    return save_figure(figure, path)


def _square(figure: "Figure", xlabel: str, ylabel: str) -> "Axes":
    axes = figure.subplots()
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02), xlabel=xlabel, ylabel=ylabel)
    axes.set_aspect("equal")
    return axes


def _figure_with_legend(path: str | Path, names: Sequence[str]) -> "Figure | None":
    """Room for square axes and, beside them, a legend of all classes and their averages."""
    height = max(4.8, 0.9 + 0.2 * (len(names) + 3))  # inches
    longest = max(map(width, [*_shown(names), "macro average"]))
    return new_figure(path, height + 1.1 + (longest + 8) * _CHARACTER, height)


def _style(number: int) -> dict[str, Any]:
    """Colour and dashes of a class: 36 pairs before one comes again."""
    turn = number // len(COLORS)
    return {"color": COLORS[number % len(COLORS)], "ls": DASHES[turn % len(DASHES)]}


def _legend_beside(figure: "Figure", title: str) -> None:
    """To the right of the axes, where it can cover no curve."""
    figure.legend(loc="outside right upper", title=title, fontsize=9, frameon=False)


def _shown(names: Sequence[str]) -> list[str]:
    """Names that fit a legend, and that matplotlib shows as they are."""
    plain = [name.replace("$", r"\$") for name in short_names(names)]  # no formula
    return [f" {name}" if name.startswith("_") else name for name in plain]  # "_..." is left out


def draw_all(
    labels: "Integers",
    probabilities: "Floats",
    names: Sequence[str],
    folder: Path,
    ending: str = "png",
) -> list[Path]:
    """All four pictures of a classifier: roc, precision_recall, confusion, reliability.

    They decide nothing: whatever goes wrong with them is a warning.

    Args:
        labels: (n,) right classes.
        probabilities: (n, C).
        names: of the C classes.
        folder: where they go.
        ending: "png", "svg" or "pdf".

    Returns:
        Those that were drawn.
    """
    confusion = confusion_matrix(labels, predicted_classes(probabilities), len(names))
    roc, recalls, matrix, calibration = (
        folder / f"{name}.{ending}"
        for name in ("roc", "precision_recall", "confusion", "reliability")
    )
    try:
        with drawing("".join(names)) as missing:
            shown, told = drawable_names(names, missing)
            drawn = [
                roc_picture(roc_curves(labels, probabilities), shown, roc),
                precision_recalls_picture(
                    precision_recall_curves(labels, probabilities), shown, recalls
                ),
                confusion_picture(confusion, shown, matrix),
                reliability_picture(reliability(labels, probabilities), calibration),
            ]
        if told:
            print(told, file=sys.stderr)
    except Exception as error:  # of a library, of a disk
        what = " ".join(str(error).split()) or type(error).__name__
        print(f"warning: the pictures could not be drawn ({what})", file=sys.stderr)
        return []
    return [path for path in drawn if path is not None]
