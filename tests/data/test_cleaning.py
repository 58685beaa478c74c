"""Cleaning: every worked example, every flag, and no text that breaks a rule."""

import doctest
import inspect
import random
import time
from dataclasses import fields
from pathlib import Path

import pytest

import data.cleaning
from data.cleaning import RECIPES, RULES, Cleaning, CleaningOptions
from data.command import UsageError, parse
from data.tweets import read_tweets

TWEET = (
    "RT @anna_b: Sooo   GOOD &amp; safe 💉👍🏽!!! #FluShot2021 "
    "https://t.co/x?a=1&copy=2, mail me@who.int"
)


def test_every_rule_has_a_worked_example_and_it_holds() -> None:
    assert doctest.testmod(data.cleaning).failed == 0
    for name, rule in inspect.getmembers(data.cleaning, inspect.isfunction):
        if rule.__module__ == "data.cleaning" and not name.startswith("_"):
            assert ">>> " in (rule.__doc__ or ""), name


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("raw", TWEET),
        (
            "light",
            "RT @user: Soo GOOD & safe syringe thumbs up sign !!! #FluShot2021 http, "
            "mail me@who.int",
        ),
    ],
)
def test_a_recipe_by_hand(recipe: str, expected: str) -> None:
    assert RECIPES[recipe].clean([TWEET]) == [expected]


FLAGS = [
    (["--clean-entities"], "RT @a & b"),
    (["--clean-urls", "drop"], "x y"),
    (["--clean-urls", "replace"], "x http y"),
    (["--clean-retweets"], "@a hm"),
    (["--clean-mentions", "drop"], "hi !"),
    (["--clean-mentions", "replace"], "hi @user !"),
    (["--clean-hashtags", "split"], "Flu Shot now"),
    (["--clean-hashtags", "drop"], "now"),
    (["--clean-emoji", "name"], "so hot beverage"),
    (["--clean-emoji", "drop"], "so"),
    (["--clean-repeats"], "soo"),
    (["--clean-lowercase"], "not me"),
    (["--clean-punctuation"], "a b"),
    (["--clean-numbers"], "covid"),
]
BEFORE = {
    "--clean-entities": "RT @a &amp; b", "--clean-urls": "x https://t.co/1 y",
    "--clean-retweets": "RT @a hm", "--clean-mentions": "hi @anna !",
    "--clean-hashtags": "#FluShot now", "--clean-emoji": "so ☕", "--clean-repeats": "soooo",
    "--clean-lowercase": "NOT me", "--clean-punctuation": "a, b!", "--clean-numbers": "covid19",
}  # fmt: skip


@pytest.mark.parametrize(("words", "after"), FLAGS, ids=lambda value: str(value))
def test_every_flag_is_its_rule_alone(words: list[str], after: str) -> None:
    options = parse(CleaningOptions, words, prog="x", description="")
    assert options.cleaning().clean([BEFORE[words[0]]]) == [after]
    assert options.cleaning().rules() == [
        rule
        for field in fields(Cleaning)
        for value, rule in RULES[field.name].items()
        if value == getattr(options, f"clean_{field.name}")
    ]


def test_flags_change_single_rules_of_a_recipe() -> None:
    words = "--clean light --clean-emoji keep --no-clean-repeats --clean-lowercase".split()
    cleaning = parse(CleaningOptions, words, prog="x", description="").cleaning()
    assert cleaning == Cleaning(entities=True, urls="replace", mentions="replace", lowercase=True)
    assert CleaningOptions().cleaning() == RECIPES["raw"] == Cleaning()
    assert {field.name for field in fields(Cleaning)} == set(RULES)
    with pytest.raises(UsageError, match="--clean is 'some', expected one of raw, light"):
        CleaningOptions(clean="some").cleaning()
    with pytest.raises(
        ValueError, match="the rule urls is 'no', expected one of 'keep', 'replace'"
    ):
        CleaningOptions(clean_urls="no").cleaning()


def test_raw_leaves_every_character_and_others_single_spaces() -> None:
    text = "  a \n\t b\u00a0 "
    assert Cleaning().clean([text]) == [text]
    assert Cleaning(lowercase=True).clean([text, " \n"]) == ["a b", ""]


def test_any_text_is_cleaned_and_cleaning_twice_changes_no_more() -> None:
    generator = random.Random(0)
    pieces = [
        "@", "#", "&", "amp;", "&#55296;", "&#x110000;", "http://", "www.", ".", "a", "aaa", "RT ",
        "é", "\ud800", "\u200d", "\ufe0f", "😂", "👍🏽", "🇺", "🇺🇸", "1️⃣", "\u20e3", "水", "_", "9",
        " ", "\n", "A", "Ab", "'", "”", "\x00", "İ",
    ]  # fmt: skip
    cleaning = Cleaning(
        urls="drop", retweets=True, mentions="drop", hashtags="split", emoji="drop",
        lowercase=True, punctuation=True, numbers=True,
    )  # fmt: skip
    for _ in range(2000):
        text = "".join(generator.choices(pieces, k=generator.randint(0, 12)))
        once = cleaning.clean([text])
        assert cleaning.clean(once) == once, repr(text)
        for recipe in ("raw", "light"):
            assert len(RECIPES[recipe].clean([text])) == 1


@pytest.mark.parametrize("piece", ["www.", "http://)", "@", "#1", "a", "&#1", "\u200d", "😂\u200d"])
def test_a_long_text_of_one_piece_takes_no_longer_than_its_length(piece: str) -> None:
    """131,072 characters, the longest text that is read; a slow rule would take minutes."""
    everything = Cleaning(
        entities=True, urls="replace", retweets=True, mentions="replace", hashtags="split",
        emoji="name", repeats=True, lowercase=True, punctuation=True, numbers=True,
    )  # fmt: skip
    begin = time.process_time()
    everything.clean([piece * (131_072 // len(piece))])
    assert time.process_time() - begin < 10


def test_the_real_tweets_keep_no_address_and_lose_no_text(real_data: Path) -> None:
    texts = read_tweets(real_data / "tweets/vaccine_validation_set.csv").texts
    light = RECIPES["light"].clean(texts)
    assert not [text for text in light if "://" in text or "&amp;" in text]
    assert all(light)
    assert RECIPES["raw"].clean(texts) == texts
