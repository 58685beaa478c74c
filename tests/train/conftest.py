"""Fixtures of the tests of training."""

import pytest


@pytest.fixture
def small_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo of a few passages, here and in forked children: for what does not depend on them."""
    monkeypatch.setattr("data.demo.TRAIN_ENTRIES", 6)
    monkeypatch.setattr("data.demo.DEV_ENTRIES", 2)
    monkeypatch.setattr("train.matrix_demo.ENTRIES", (6, 2))
    monkeypatch.setattr("data.demo_tweets.TRAIN_TWEETS", 40)
    monkeypatch.setattr("data.demo_tweets.DEV_TWEETS", 20)
