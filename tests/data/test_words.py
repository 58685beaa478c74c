"""Words as ids: split, cut, counted, saved and read."""

import json

import numpy as np
import pytest

from data.words import Words, inverse_document_frequencies, split_texts, terms

SPLIT = [["b", "a", "b"], ["a", "c"], ["b", "d", "a"]]


def vocabulary(**changes):
    return Words.of_texts(SPLIT, **{"ngrams": 1, "min_texts": 1, "most": 0} | changes)


def test_texts_are_split_as_tweets_in_lower_case_and_cut():
    split, cut = split_texts(["Don't @Anna :-) #FLU", "a b c d e", ""], 4)
    assert split == [["don't", "@anna", ":-)", "#flu"], ["a", "b", "c", "d"], []]
    assert cut == [1]


@pytest.mark.parametrize(
    ("ngrams", "expected"),
    [(1, "a|b|c|d"), (2, "a|b|c|d|a b|b c|c d"), (4, "a|b|c|d|a b|b c|c d|a b c|b c d|a b c d")],
)
def test_terms_are_words_and_their_runs(ngrams, expected):
    assert list(terms("abcd", ngrams)) == expected.split("|")


def test_the_vocabulary_has_the_words_of_most_texts_first_and_0_is_unknown():
    words, texts_with = vocabulary()
    assert words.ids == {"a": 1, "b": 2, "c": 3, "d": 4} and len(words) == 5
    assert texts_with.tolist() == [0, 3, 2, 1, 1]  # texts, not occurrences
    assert list(vocabulary(min_texts=2)[0].ids) == ["a", "b"]
    assert list(vocabulary(most=3)[0].ids) == ["a", "b", "c"]
    runs = list(vocabulary(ngrams=2)[0].ids)
    assert runs == ["a", "b", "a b", "a c", "b a", "b d", "c", "d", "d a"]


def test_a_training_file_without_words_is_refused():
    with pytest.raises(ValueError, match=r"no word stands in 4 texts .* lower --min-texts"):
        vocabulary(min_texts=4)


def test_texts_become_ids_and_an_empty_one_is_the_unknown_word():
    words, _ = vocabulary(min_texts=2)
    labels = np.array([0, 1, 0])
    texts = words.encode_labelled([["b", "new", "a"], [], ["c"]], labels, [0])
    assert texts.ids.tolist() == [2, 0, 1, 0, 0]
    assert texts.lengths.tolist() == [3, 1, 1] and texts.cut.tolist() == [0]


def test_unknown_words_are_counted_and_runs_are_not():
    words, _ = vocabulary(ngrams=2)
    told = words.describe_unknown([["b", "new", "a"], ["new", "newer", "a", "c"]])
    assert told == "unknown words: 3 of 7 (2 different), 42.9%"
    assert words.describe_unknown([[]]) == "unknown words: 0 of 0 (0 different), 0.0%"


def test_idf_is_smooth_and_0_of_the_unknown_word():
    idf = inverse_document_frequencies(np.array([0, 3, 1]), 3)
    assert idf.tolist() == pytest.approx([0, 1, np.log(2) + 1]) and idf.dtype == np.float32


def test_a_saved_vocabulary_comes_back(tmp_path):
    words, _ = Words.of_texts([["naïve", "💉", '"']], ngrams=2, min_texts=1, most=0)
    words.save(tmp_path)
    again = Words.from_folder(tmp_path)
    assert again.ids == words.ids and list(again.ids) == list(words.ids) and again.ngrams == 2
    with pytest.raises(ValueError, match=r"words.json has 5 words, the model 8; bring"):
        again.require_size(9, tmp_path)


def test_half_a_pair_of_surrogates_is_a_word_that_comes_back(tmp_path):
    words, _ = Words.of_texts([["\ud83d", "naïve"]], ngrams=1, min_texts=1, most=0)
    words.save(tmp_path)
    assert Words.from_folder(tmp_path).ids == words.ids


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "does not exist"),
        ("[]", "holds a list"),
        ('{"words": ["a"]}', "ngrams None, expected ngrams from 1 to 5"),
        ('{"words": ["a"], "ngrams": 6}', "ngrams 6"),
        ('{"words": ["a"], "ngrams": true}', "ngrams True"),
        ('{"words": ["a"], "ngrams": 1, "more": 1}', "keys"),
        ('{"words": "a", "ngrams": 1}', "expected a list of texts"),
        ('{"words": ["a", 1], "ngrams": 1}', "expected a list of texts"),
        ('{"words": ["a", "b", "a"], "ngrams": 1}', "has the word 'a' twice"),
    ],
)
def test_a_damaged_vocabulary_is_one_sentence(tmp_path, text, sentence):
    if text is not None:
        (tmp_path / "words.json").write_text(text)
    with pytest.raises(ValueError, match=rf"words\.json .*{sentence}"):
        Words.from_folder(tmp_path)


def test_a_vocabulary_is_written_for_people(tmp_path):
    vocabulary()[0].save(tmp_path)
    assert json.loads((tmp_path / "words.json").read_bytes()) == {
        "ngrams": 1, "words": ["a", "b", "c", "d"],
    }  # fmt: skip
