"""A classifier's pictures name every class, cover no curve, and are skipped without matplotlib."""

import doctest
import sys

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

import eval.class_names
import eval.class_plots
from eval.class_curves import precision_recall_curves, reliability, roc_curves
from eval.class_names import LONGEST, short_names
from eval.class_plots import (
    _style,
    confusion_picture,
    precision_recalls_picture,
    reliability_picture,
    roc_picture,
)
from eval.classification import confusion_matrix
from tests.eval.test_plots import saved  # noqa: F401  a fixture

NAMES = ["neutral", "anti-vax", "pro-vax", "_a very long name of a class $x$ 4"]


def make(classes=4, texts=60):
    """(labels, probabilities); the last class has no text."""
    generator = np.random.default_rng(5)
    labels = generator.integers(0, classes - 1, texts)
    powers = np.exp(generator.normal(size=(texts, classes)) + 1.5 * np.eye(classes)[labels])
    return labels, powers / powers.sum(1, keepdims=True)


def draw_all(folder, ending="png", classes=4, names=NAMES):
    labels, probabilities = make(classes)
    confusion = confusion_matrix(labels, probabilities.argmax(1), classes)
    return [
        roc_picture(roc_curves(labels, probabilities), names, folder / f"roc.{ending}"),
        precision_recalls_picture(
            precision_recall_curves(labels, probabilities), names, folder / f"pr.{ending}"
        ),
        confusion_picture(confusion, names, folder / f"confusion.{ending}"),
        reliability_picture(reliability(labels, probabilities), folder / f"reliability.{ending}"),
    ]


def legend_of(figure):
    return figure.legends[0] if figure.legends else figure.axes[0].get_legend()


@pytest.mark.parametrize(("ending", "begin"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_four_pictures_in_either_format(tmp_path, saved, ending, begin):  # noqa: F811
    for path in draw_all(tmp_path / "new", ending):
        assert path.read_bytes().startswith(begin) and path.stat().st_size > 5000
    assert len(saved) == 4


def test_every_class_is_named_with_its_figure_and_the_averages_too(tmp_path, saved):  # noqa: F811
    draw_all(tmp_path)
    curves = roc_curves(*make())
    written = [text.get_text() for text in legend_of(saved[0]).get_texts()]
    assert written[0] == "a guess (0.500)"
    assert written[1:4] == [
        f"{name} ({curve.area:.3f})"
        for name, curve in zip(NAMES[:3], curves.classes[:3], strict=True)
    ]
    assert written[4] == " _a very long…class \\$x\\$ 4 (no curve)"
    assert written[5:] == [
        f"micro average ({curves.micro.area:.3f})", f"macro average ({curves.macro.area:.3f})"
    ]  # fmt: skip
    written = [text.get_text() for text in legend_of(saved[1]).get_texts()]
    macro = precision_recall_curves(*make()).macro
    assert len(written) == 6 and written[-1] == f"macro average ({macro:.3f})"
    axes = saved[2].axes[0]
    labels, probabilities = make()
    confusion = confusion_matrix(labels, probabilities.argmax(1), 4)
    cells = [text.get_text().split("\n")[0] for text in axes.texts]
    assert cells == [str(count) for count in confusion.ravel()]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "right class")
    assert [label.get_text() for label in axes.get_yticklabels()][:3] == NAMES[:3]
    error = reliability(labels, probabilities).expected_error
    assert saved[3].get_suptitle() == f"expected calibration error {100 * error:.1f} %"


@pytest.mark.parametrize("classes", [2, 4, 9, 26])
def test_no_legend_covers_the_axes_and_no_two_classes_look_alike(
    tmp_path, saved, classes  # noqa: F811
):  # fmt: skip
    names = [f"class number {i} of the file" for i in range(classes)]
    draw_all(tmp_path, classes=classes, names=names)
    for figure in (saved[0], saved[1], saved[3]):
        legend, axes = legend_of(figure).get_window_extent(), figure.axes[0].get_window_extent()
        assert not axes.shrunk(0.999, 0.999).overlaps(legend)
    looks = [tuple(map(str, _style(number).values())) for number in range(24)]
    assert len(set(looks)) == 24


def test_the_worked_examples_of_names_hold():
    assert doctest.testmod(eval.class_names).failed == 0


@pytest.mark.parametrize(
    "names",
    [
        [f"the_same_long_beginning_of_a_name_{i}_and_the_same_long_end_of_it" for i in range(12)],
        [f"{'a' * 30}{i}{'b' * 30}{j}{'c' * 30}" for i in "12" for j in "12"],
        ["", " ", "a" * 99, "a" * 98, "a" * 30 + "b" * 69, "a  b", "a b"],
    ],
)
def test_long_names_fit_and_differ(names):
    short = short_names(names)
    assert len(set(short)) == len(names) and max(map(len, short)) <= LONGEST


def font_of(letters, path):
    """A font that has a square for each of some letters, known to matplotlib from now on."""
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for corner in ((100, 800), (900, 800), (900, 0)):
        pen.lineTo(corner)
    pen.closePath()
    square = pen.glyph()
    built = FontBuilder(1000)
    built.setupGlyphOrder([".notdef", "square"])
    built.setupCharacterMap({ord(letter): "square" for letter in letters})
    built.setupGlyf({".notdef": square, "square": square})
    built.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 0)})
    built.setupHorizontalHeader(ascent=800, descent=-200)
    built.setupNameTable({"familyName": "Squares Sans", "styleName": "Regular"})
    built.setupOS2()
    built.setupPost()
    built.save(path)
    font_manager.fontManager.addfont(path)


CHINESE = ["中立", "反对疫苗", "pro"]


@pytest.mark.parametrize(("lacks", "shown"), [("", CHINESE), ("疫", ["中立", "class 1", "pro"])])
def test_names_are_drawn_in_a_font_that_has_them_or_by_number_with_a_line(
    tmp_path, saved, monkeypatch, capsys, recwarn, lacks, shown  # noqa: F811
):  # fmt: skip
    known = [f for f in font_manager.fontManager.ttflist if f.name.startswith(("DejaVu", "Last"))]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", known)
    font_of(set("".join(CHINESE)) - set(lacks), tmp_path / "squares.ttf")
    drawn = eval.class_plots.draw_all(*make(3), CHINESE, tmp_path)
    assert len(drawn) == 4 and not list(recwarn)  # of a glyph that is missing
    assert [label.get_text() for label in saved[2].axes[0].get_yticklabels()] == shown
    line = "in the pictures class 1 is 反对疫苗, since no installed font has all their characters\n"
    assert capsys.readouterr().err == (line if lacks else "")


def test_without_matplotlib_one_line_names_each_picture_that_was_skipped(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert draw_all(tmp_path) == [None] * 4 and not list(tmp_path.iterdir())
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4 and all(line.endswith("is not installed") for line in lines)


def test_thirty_six_classes_have_lines_of_their_own():
    styles = [_style(number) for number in range(36)]
    assert all(style not in styles[:number] for number, style in enumerate(styles))


def test_a_class_without_texts_has_no_shares_in_the_confusion_matrix(tmp_path, saved):  # noqa: F811
    draw_all(tmp_path)
    told = [text.get_text() for text in saved[2].axes[0].texts]
    assert told[-4:] == ["0"] * 4 and all("%" in text for text in told[:-4])
