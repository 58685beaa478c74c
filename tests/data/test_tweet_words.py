"""Stop words, lemmas and stems: with a folder of nltk's data, and without one."""

import doctest
from collections.abc import Iterator
from pathlib import Path

import nltk.corpus
import pytest

import data.tweet_words
from data.cleaning import RECIPES, Cleaning
from data.tweet_words import lemmatize, word_rule
from tests.data.nltk_folder import write_nltk_folder
from tests.forked import forked


def forget() -> None:
    """Neither nltk nor we remember what was loaded, or that it was not there."""
    for function in ("_corpus", "_stop_words", "_lemma"):
        getattr(data.tweet_words, function).cache_clear()
    nltk.corpus.wordnet._unload()
    nltk.corpus.stopwords._unload()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder, the only one in which nltk looks for its data."""
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    forget()
    yield tmp_path
    forget()


def test_every_worked_example_holds(folder: Path) -> None:
    write_nltk_folder(folder)
    result = doctest.testmod(data.tweet_words)
    assert result.failed == 0 and result.attempted == 4


def test_the_report_recipe_drops_stop_words_and_lemmatizes(folder: Path) -> None:
    write_nltk_folder(folder)
    text = "RT @anna The Children was NOT vaccinated, 3 shots of fears &amp; us! http://t.co/x 💉"
    assert RECIPES["report"].clean([text, "The"]) == ["child vaccinate shot fear us", ""]


def test_lemmas_are_those_of_a_verb_before_those_of_a_noun(folder: Path) -> None:
    write_nltk_folder(folder)
    assert lemmatize("Spoke") == "speak"  # not the noun
    assert lemmatize("us") == "us"  # not the plural of u
    assert lemmatize("#vaccines") == "#vaccines"


@pytest.mark.parametrize(
    ("cleaning", "corpus", "instead"),
    [
        (Cleaning(words="lemmatize"), "wordnet", "--clean-words stem"),
        (Cleaning(stop_words=True), "stopwords", "--no-clean-stop-words"),
        (RECIPES["report"], "stopwords", "--no-clean-stop-words"),
    ],
)
def test_without_its_data_a_rule_is_refused_not_skipped(
    cleaning: Cleaning, corpus: str, instead: str, folder: Path
) -> None:
    with pytest.raises(ValueError) as caught:
        cleaning.rules()
    message = str(caught.value)
    assert "\n" not in message and message.startswith(f"nltk's {corpus} data is in no folder")
    assert "NLTK_DATA" in message and message.endswith(instead)
    write_nltk_folder(folder)  # once it is there, it is found
    assert cleaning.rules()


def test_the_command_says_so_before_it_reads(folder: Path, tmp_path: Path) -> None:
    status, output, errors = forked("data.tweets", "missing.csv", "--clean", "report")
    assert (status, output) == (2, "") and errors.startswith("error: nltk's stopwords data")


def test_the_report_with_stems_needs_no_data(folder: Path) -> None:
    text = "The Children were vaccinated, can't wait! #GetVaccinated 💉 http://t.co/x"
    assert RECIPES["report-stem"].clean([text]) == ["the children were vaccin can t wait getvaccin"]


def test_words_are_the_tweet_tokenizer_s() -> None:
    rule = word_rule(stop_words=False, words="stem")
    text = "Vaccines :-) #FluShots @Annas_shots http://t.co/shots it's"
    assert rule(text) == "vaccin :-) #FluShots @Annas_shots http://t.co/shots it"
    assert rule("") == ""
