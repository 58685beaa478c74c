"""Pictures are drawn where matplotlib is, skipped with a line where it is not."""

import sys

import pytest

from eval.plots import centred_mean, scorer_pictures, training_curves
from eval.thresholds import Curve

UPDATES = [
    {"event": "update", "update": u, "epoch": (u - 1) // 100, "loss": 5 / u, "lr": 1e-4 / u}
    for u in range(1, 201)
]
EVALS = [
    {"event": "eval", "update": 100, "epoch": 1, "loss": 2.0, "exact": 40.0, "f1": 50.0},
    {"event": "eval", "update": 200, "epoch": 2, "loss": 1.5, "exact": 50.0, "f1": 60.0},
]
CURVE = Curve([1.0, 1.0, 0.5], [0.0, 0.5, 1.0], 75.0)


def test_the_mean_around_a_place_takes_equally_many_from_both_sides():
    assert centred_mean([1.0, 2.0, 6.0, 4.0, 5.0], 3) == pytest.approx([1.0, 3.0, 4.0, 5.0, 5.0])
    assert centred_mean([1.0, 2.0], 1) == [1.0, 2.0] and centred_mean([], 3) == []


def texts(figure):
    """What is written in a figure."""
    found = []
    for axes in figure.axes:
        found += [axes.get_xlabel(), axes.get_ylabel(), axes.get_title()]
        found += axes.get_legend_handles_labels()[1]
    return " | ".join(found)


@pytest.fixture
def saved(monkeypatch):
    """The figures saved in a test."""
    figure = pytest.importorskip("matplotlib.figure", reason="needs matplotlib").Figure
    figures = []
    save = figure.savefig

    def remember(self, *arguments, **options):
        figures.append(self)
        save(self, *arguments, **options)

    monkeypatch.setattr(figure, "savefig", remember)
    return figures


def test_training_curves_show_every_measure_with_its_unit(tmp_path, saved):
    path = tmp_path / "new" / "loss.png"
    assert training_curves(UPDATES + EVALS, path) == path
    assert path.read_bytes().startswith(b"\x89PNG")
    assert len(saved[0].axes) == 3
    for part in (
        "update (optimizer steps)", "loss (nats)", "dev score (%)", "learning rate",
        "train, each update", "mean of the epoch", "dev", "F1, best 60.0", "exact match, best 50.0",
    ):  # fmt: skip
        assert part in texts(saved[0])
    raw = saved[0].axes[0].lines[0]
    assert list(raw.get_ydata()) == [x["loss"] for x in UPDATES] and raw.get_alpha() < 0.5


def test_the_mean_of_each_epoch_is_drawn_over_its_updates(tmp_path, saved):
    training_curves(UPDATES, tmp_path / "x.png")
    segments = [c.get_segments()[0] for c in saved[0].axes[0].collections]
    mean = sum(x["loss"] for x in UPDATES[100:]) / 100
    assert len(segments) == 2
    assert segments[1].ravel() == pytest.approx([100, mean, 200, mean])


@pytest.mark.parametrize(
    "lines, panels", [(UPDATES[:1], 2), (UPDATES[:5], 2), (EVALS, 2), ([*UPDATES, *EVALS], 3)]
)
def test_only_measures_that_the_log_has_get_a_panel(tmp_path, saved, lines, panels):
    noise = [{"event": "start"}, {"event": "eval", "update": 1, "epoch": 0, "f1": None}]
    assert training_curves([*noise, *lines], tmp_path / "x.svg") is not None
    assert len(saved[0].axes) == panels


def test_an_empty_log_draws_nothing(tmp_path, capsys):
    assert training_curves([{"event": "start"}], tmp_path / "x.png") is None
    assert "nothing to draw" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_the_scorer_draws_the_five_official_files(tmp_path, saved):
    curves = {"exact": CURVE, "f1": CURVE, "oracle": CURVE}
    drawn = scorer_pictures(curves, [0.1, 0.2], [0.9, 1.5], tmp_path / "images")
    names = ["pr_exact", "pr_f1", "pr_oracle", "na_prob_hist_hasAns", "na_prob_hist_noAns"]
    assert [path.name for path in drawn] == [f"{name}.png" for name in names]
    assert all(path.stat().st_size > 1000 for path in drawn)
    assert "average precision 75.0 %" in texts(saved[0])
    assert "1 lie outside 0 to 1" in texts(saved[4]) and "outside" not in texts(saved[3])
    assert len(scorer_pictures({}, [], [0.5], tmp_path)) == 1


def test_without_matplotlib_one_line_names_the_picture_that_was_skipped(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert training_curves(UPDATES, tmp_path / "loss.png") is None
    assert capsys.readouterr().err == (
        f"skipped the picture {tmp_path / 'loss.png'}: matplotlib is not installed\n"
    )
    assert scorer_pictures({"f1": CURVE}, [0.1], [0.2], tmp_path) == []
    assert capsys.readouterr().err.count("\n") == 3
