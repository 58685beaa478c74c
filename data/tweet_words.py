"""The rules of cleaning that need words: stop words, lemmas, stems. All of them are nltk's.

Words are told apart by nltk's TweetTokenizer, which knows emoticons, hashtags and addresses (it
also decodes HTML entities), and joined again by spaces. WordNet and the stop words are data that
nltk does not bring along; without them a rule is refused, never skipped. nltk is imported when a
rule is first asked for, because that takes seconds.
"""

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

LANGUAGE = "english"


def tokenize_tweet(text: str) -> list[str]:
    """A tweet -> its words, emoticons and punctuation marks.

    >>> tokenize_tweet("Don't :-) #flu @anna http://t.co/x...")
    ["Don't", ':-)', '#flu', '@anna', 'http://t.co/x', '...']
    """
    words: list[str] = _tokenizer().tokenize(text)
    return words


def drop_stop_words(words: list[str]) -> list[str]:
    """The words that are none of nltk's English stop words, in any case.

    >>> drop_stop_words(["The", "flu", "is", "not", "over"])
    ['flu', 'over']
    """
    stop_words = _stop_words()
    return [word for word in words if word.lower() not in stop_words]


def lemmatize(word: str) -> str:
    """A word -> its base form in WordNet: of a verb if it can be one, else of a noun, an adjective
    or an adverb, since nothing here tells which it is; a word that WordNet lacks stays.

    >>> [lemmatize(word) for word in ("was", "vaccinated", "Children", "measles", "Pfizer")]
    ['be', 'vaccinate', 'child', 'measles', 'Pfizer']
    """
    return _lemma(word)


def stem(word: str) -> str:
    """A word -> its stem by Snowball's English rules (Porter 2001), in lower case.

    >>> [stem(word) for word in ("Vaccinated", "vaccines", "vaccination", "#flu", "can't")]
    ['vaccin', 'vaccin', 'vaccin', '#flu', "can't"]
    """
    if not word.replace("'", "").replace("-", "").isalpha():
        return word
    found: str = _stemmer().stem(word)
    return found


def word_rule(*, stop_words: bool, words: str) -> Callable[[str], str]:
    """The rule for a whole text.

    Args:
        stop_words: drop them.
        words: keep, lemmatize or stem.

    Raises:
        ValueError: data of nltk's is not there.
    """
    change: dict[str, Callable[[str], str]] = {"lemmatize": lemmatize, "stem": stem}
    changed = change.get(words, str)
    if stop_words:
        _stop_words()
    changed("words")  # what is missing is missed now, not at the first text that has words

    def apply(text: str) -> str:
        found = tokenize_tweet(text)
        if stop_words:
            found = drop_stop_words(found)
        return " ".join(map(changed, found))

    return apply


@cache
def _tokenizer() -> Any:
    from nltk.tokenize import TweetTokenizer

    # Looking for phone numbers takes time that grows with the square of a run of digits.
    return TweetTokenizer(match_phone_numbers=False)


@cache
def _stemmer() -> Any:
    from nltk.stem.snowball import SnowballStemmer

    return SnowballStemmer(LANGUAGE)


@cache
def _stop_words() -> frozenset[str]:
    return frozenset(_corpus("stopwords", "--no-clean-stop-words").words(LANGUAGE))


@lru_cache(maxsize=100_000)
def _lemma(word: str) -> str:
    wordnet = _corpus("wordnet", "--clean-words stem")
    found = (wordnet.morphy(word.lower(), part_of_speech) for part_of_speech in "vnar")
    return next(filter(None, found), word)


@cache
def _corpus(name: str, instead: str) -> Any:
    """A corpus of nltk's; or the sentence that it is not there, and what flag does without."""
    import nltk.corpus

    corpus = getattr(nltk.corpus, name)
    try:
        corpus.ensure_loaded()
    except LookupError:
        raise ValueError(
            f"nltk's {name} data is in no folder that nltk looks into; get it with python -m "
            f"nltk.downloader {name}, name the folder that holds it as corpora/{name} in "
            f"NLTK_DATA, or do without: {instead}"
        ) from None
    return corpus
