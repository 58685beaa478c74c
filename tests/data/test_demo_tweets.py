"""The demo's tweets: honest (no sentence twice), balanced, and not to be told by single words."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data.batches import encode_labelled
from data.cleaning import RECIPES
from data.demo_tweets import (
    CLASSES,
    DEMO_TWEETS,
    DEV_TWEETS,
    FRAMES,
    TRAIN_TWEETS,
    write_demo_tweets,
)
from data.tokenization import Tokenizer
from data.tweets import TweetData, read_tweets
from minibert.hub import EMBEDDED_FOLDER

ROOT = Path(__file__).parents[2]
Splits = tuple[TweetData, TweetData]
SENTENCE = re.compile(
    "|".join(re.escape(s).replace(r"\{it\}", ".+?") for frame in FRAMES for s in frame), re.I
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The tweets of seed 0."""
    return write_demo_tweets(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def splits(files: tuple[Path, Path]) -> Splits:
    """Train and dev."""
    return read_tweets(files[0]), read_tweets(files[1])


def test_the_same_seed_gives_the_same_bytes_in_another_process(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    code = f"from data.demo_tweets import *; write_demo_tweets({str(tmp_path)!r}, 0)"
    environment = os.environ | {"PYTHONHASHSEED": "4711"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=environment)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dev.csv", "train.csv"]
    for path in files:
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    assert write_demo_tweets(tmp_path, 1)[1].read_bytes() != files[1].read_bytes()


def test_three_classes_share_the_tweets_about_evenly(splits: Splits) -> None:
    for split, size in zip(splits, (TRAIN_TWEETS, DEV_TWEETS), strict=True):
        assert len(split) == size
        assert set(split.label_names) == set(CLASSES)
        assert split.counts.min() > 0.25 * size and split.counts.max() < 0.42 * size


def test_no_sentence_of_dev_is_in_train_whatever_stands_around_it(splits: Splits) -> None:
    said = [[SENTENCE.search(text) for text in split.texts] for split in splits]
    assert all(found for one in said for found in one)
    train, dev = ([found[0].lower() for found in one if found] for one in said)
    assert not set(train) & set(dev)
    assert len(set(train)) == len(train) and len(set(dev)) == len(dev)
    for name in ("light", "report-stem"):
        train, dev = (RECIPES[name].clean(split.texts) for split in splits)
        assert not set(train) & set(dev)


def test_a_bag_of_words_cannot_tell_the_classes(splits: Splits) -> None:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    words = CountVectorizer(token_pattern=r"\w+", min_df=2)
    model = LogisticRegression(max_iter=2000).fit(
        words.fit_transform(splits[0].texts), splits[0].labels
    )
    right = model.predict(words.transform(splits[1].texts)) == splits[1].labels
    assert np.mean(right) < 0.45


def test_what_is_held_and_what_is_asked_has_the_same_words() -> None:
    for held, asked in FRAMES:
        words = (Counter(re.findall(r"\w+", text.lower())) for text in (held, asked))
        assert next(words) == next(words) and held != asked


def test_they_look_like_tweets(splits: Splits) -> None:
    text = "\n".join(splits[0].texts)
    for mark in (
        r"https://t\.example/\w{6}$",
        r"(?<!\S)@\w+_ondrea",
        r"#\w",
        r"^RT @",
        r"\b[A-Z]{5}",
    ):
        assert len(re.findall(mark, text, re.MULTILINE)) > 10, mark
    assert sum(not line.isascii() for line in splits[0].texts) > 100
    assert not re.search(r"[{}]|\s\s", text.replace("\n", "|"))


def test_a_few_are_cut_behind_what_tells_their_class(splits: Splits) -> None:
    tokenizer, most = Tokenizer.from_folder(EMBEDDED_FOLDER), int(DEMO_TWEETS["max_length"])
    for split in splits:
        cut = encode_labelled(split.texts, split.labels, tokenizer, most).cut
        assert 0.01 < len(cut) / len(split) < 0.1
        for text in split.texts:
            found = SENTENCE.search(text)
            assert found and len(tokenizer.encode([text[: found.end()]])[0]) <= most - 2
