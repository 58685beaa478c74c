"""Fixtures of the tests of training."""

import pytest


@pytest.fixture
def small_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo of a few passages, here and in forked children: for what does not depend on them."""
    monkeypatch.setattr("data.demo.TRAIN_ENTRIES", 6)
    monkeypatch.setattr("data.demo.DEV_ENTRIES", 2)
