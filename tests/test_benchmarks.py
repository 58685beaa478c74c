"""The parts of benchmarks/ that decide; the measuring itself is run by hand."""

import pytest

from benchmarks.pretraining import Options, mean_and_deviation, run_words, verdict
from data.command import UsageError
from train.squad_options import read_options


def test_pretraining_must_be_worth_a_third_and_stand_clear_of_the_seeds_noise() -> None:
    sentence, reached = verdict([9.0, 10.0, 11.0], [13.0, 14.0, 15.0])
    assert reached and "1.40x" in sentence and "4.0 pooled deviations" in sentence
    assert not verdict([9.0, 10.0, 11.0], [11.0, 12.0, 13.0])[1]  # too small a ratio
    sentence, reached = verdict([8.0, 10.0, 12.0], [9.0, 14.0, 19.0])  # too noisy
    assert not reached and sentence.endswith("MISSED")
    assert not verdict([13.0, 14.0, 15.0], [9.0, 10.0, 11.0])[1]


def test_means_are_shown_with_their_deviation_where_there_is_one() -> None:
    assert mean_and_deviation([1.0, 2.0, 3.0]) == "2.00 +- 1.00"
    assert mean_and_deviation([1.5]) == "1.50"


@pytest.mark.parametrize("side", ["--model", "--from-scratch"])
def test_both_sides_are_commands_that_train_squad_takes(side: str) -> None:
    options = read_options([*run_words(Options(demo=True)), side, "embedded"])
    assert (options.demo, options.updates, options.seed) == (True, 60, 0)
    assert (options.from_scratch == "embedded") == (side == "--from-scratch")


def test_options_that_mean_nothing_are_refused() -> None:
    for values in ({"jobs": 0}, {"seeds": -1}, {"demo": True, "data": "somewhere"}):
        with pytest.raises(UsageError):
            Options(**values)  # type: ignore[arg-type]
