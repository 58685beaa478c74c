"""Mean and deviation in words."""

from eval.spread import Spread


def test_a_spread_is_said_with_its_deviation_if_it_has_one() -> None:
    assert Spread.of([70.0, 74.0]).said() == "72.0 ± 2.8"
    assert Spread.of([70.0]).said(2) == "70.00"
    assert Spread(2.0, 0.5).said(sign="+") == "+2.0 ± 0.5"
    assert Spread(-2.0, 0.5).said(2, sign="+", width=6) == "-2.00 ±   0.50"
