"""eval/paired.py: McNemar's test equals scipy's binomial, the bootstrap has its coverage."""

import numpy as np
import pytest

from eval.paired import EXACT_UP_TO, bootstrap_difference, bootstrap_mean_difference, mcnemar


def answers(both, first, second, neither):
    """Right and wrong of two systems, by how often each case occurs."""
    cases = [(True, True)] * both + [(True, False)] * first
    cases += [(False, True)] * second + [(False, False)] * neither
    one, other = np.array(cases).T
    return one, other


@pytest.mark.parametrize(
    ("first", "second"), [(0, 0), (1, 0), (3, 3), (5, 14), (14, 5), (60, 41), (0, 40), (900, 1000)]
)
def test_the_p_value_is_the_exact_binomials(first, second):
    stats = pytest.importorskip("scipy.stats", reason="scipy, the oracle, is not installed")
    result = mcnemar(*answers(7, first, second, 9))
    assert (result.only_first, result.only_second) == (first, second)
    wanted = stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert result.p_value == pytest.approx(wanted, rel=1e-12)


def test_many_differences_are_chi_squared_and_join_the_exact_ones():
    stats = pytest.importorskip("scipy.stats", reason="scipy, the oracle, is not installed")
    first, second = EXACT_UP_TO // 2 + 120, EXACT_UP_TO // 2 - 119
    many = mcnemar(*answers(5, first, second, 5))
    statistic = (first - second - 1) ** 2 / (first + second)
    assert many.p_value == pytest.approx(stats.chi2.sf(statistic, 1), rel=1e-10)
    fewer = mcnemar(*answers(5, first - 1, second, 5))
    assert fewer.p_value == pytest.approx(stats.binomtest(first - 1, EXACT_UP_TO).pvalue, rel=1e-10)
    assert many.p_value == pytest.approx(fewer.p_value, rel=0.05)


def test_the_worked_example_of_3_against_0():
    # of 2^3 outcomes two are as one-sided: 3 to 0 and 0 to 3
    assert mcnemar([True] * 3, [False] * 3).p_value == 2 / 8


def test_the_interval_is_repeatable_and_holds_the_difference():
    generator = np.random.default_rng(1)
    first, second = generator.random(300), generator.random(300) + 0.1
    once, again, other = (
        bootstrap_mean_difference(first, second, samples=500, seed=seed) for seed in (0, 0, 1)
    )
    assert once == again != other
    assert once.difference == pytest.approx((first - second).mean(), abs=1e-12)
    assert once.low < once.difference < once.high and once.level == 0.95
    # the standard error of a mean of differences is sd / sqrt(n)
    spread = 2 * 1.96 * (first - second).std() / np.sqrt(300)
    assert once.high - once.low == pytest.approx(spread, rel=0.15)
    narrower = bootstrap_mean_difference(first, second, samples=500, level=0.5)
    assert narrower.high - narrower.low < (once.high - once.low) / 2


def test_systems_that_err_on_the_same_items_have_no_spread():
    scores = np.random.default_rng(2).random(100)
    interval = bootstrap_mean_difference(scores + 0.25, scores, samples=50)
    assert interval[:3] == pytest.approx((0.25, 0.25, 0.25), abs=1e-12)


def test_any_measure_can_be_resampled():
    labels = np.array([0, 1] * 50)
    first, second = labels.copy(), 1 - labels
    interval = bootstrap_difference(
        lambda chosen: float(
            (first == labels)[chosen].mean() - (second == labels)[chosen].mean()
        ),
        len(labels), samples=20,
    )  # fmt: skip
    assert interval[:3] == (1.0, 1.0, 1.0)


def test_19_of_20_intervals_hold_the_true_difference():
    held = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        first, second = generator.random(80) < 0.7, generator.random(80) < 0.6
        interval = bootstrap_mean_difference(first, second, samples=300, seed=seed)
        held += interval.low <= 0.1 <= interval.high
    assert 86 <= held <= 100  # a percentile interval of 80 items; 3 deviations around 95


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mcnemar([True], [True, False]), r"shape \(1,\) and \(2,\), expected \(n,\) twice"),
        (lambda: mcnemar([], []), "expected .n,. twice"),
        (lambda: mcnemar([1, 0], [0, 1]), "the answers are int64 and int64, expected bool"),
        (lambda: bootstrap_mean_difference([[1.0]], [[1.0]]), "expected .n,. twice"),
        (lambda: bootstrap_mean_difference([1.0], [1.0], samples=0), "are 1, 0 and 0.95, expected"),
        (lambda: bootstrap_mean_difference([1.0], [1.0], level=1.0), "between 0 and 1"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
