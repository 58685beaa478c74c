"""Exact match and F1 of single answers, by the rules of the official SQuAD scorer.

The rules (Rajpurkar et al. 2018; evaluate-v2.0.py), with the corners that decide the last digit:

- Texts are compared in normal form: lower case, ASCII punctuation dropped (unicode dashes and
  quotes stay), the words a, an, the blanked out, white space squeezed.
- F1 counts shared words with repetition; where either side has no word it is 1 if both have none.
- Every gold answer counts and the best one scores. Golds without a normal form ("the", "...") are
  dropped; if none is left the only right answer is the empty one.
"""

import re
import string
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Protocol

from minibert.strict_json import named

_DROP_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_ARTICLES = frozenset(("a", "an", "the"))


class GoldAnswer(Protocol):
    """A gold answer; `data.squad.Answer` is one."""

    @property
    def text(self) -> str: ...


class Question(Protocol):
    """A question with its gold answers; `data.squad.SquadExample` is one."""

    @property
    def id(self) -> str: ...
    @property
    def answers(self) -> Sequence[GoldAnswer]: ...


Gold = Mapping[str, Sequence[str]] | Iterable[Question]  # {id: gold texts} or examples


@lru_cache(maxsize=1 << 17)
def normal_words(text: str) -> tuple[str, ...]:
    """The words of a text's normal form; texts match exactly iff these are equal."""
    text = text.lower().translate(_DROP_PUNCTUATION)
    if text.isascii() and text.isprintable():
        # Only letters, digits and blanks are left, so words are what stands between blanks.
        return tuple([word for word in text.split() if word not in _ARTICLES])
    return tuple(_ARTICLE.sub(" ", text).split())  # a unicode dash bounds a word as well


def _word_f1(gold: tuple[str, ...], prediction: tuple[str, ...]) -> float:
    """Harmonic mean of precision and recall of the words, 0 to 1."""
    if gold == prediction:
        return 1.0
    same = sum(
        min(gold.count(word), prediction.count(word)) for word in set(gold).intersection(prediction)
    )
    if not same:
        return 0.0
    precision, recall = same / len(prediction), same / len(gold)
    return (2 * precision * recall) / (precision + recall)


def gold_texts(gold: Gold) -> dict[str, Sequence[str]]:
    """{id: gold texts} of a mapping or of examples, in order; of equal ids the last counts."""
    if isinstance(gold, Mapping):
        return dict(gold)
    return {question.id: [answer.text for answer in question.answers] for question in gold}


def raw_scores(
    gold: Gold, predictions: Mapping[str, str]
) -> tuple[dict[str, int], dict[str, float]]:
    """Exact match (0 or 1) and F1 (0 to 1) per question, no threshold applied.

    Raises:
        ValueError: no question at all, or a question without prediction.
    """
    texts = gold_texts(gold)
    require("predictions", predictions, texts)
    exact: dict[str, int] = {}
    f1: dict[str, float] = {}
    for identifier, answers in texts.items():
        words = normal_words(predictions[identifier])
        golds = [form for form in map(normal_words, answers) if form] or [()]
        exact[identifier] = int(words in golds)
        f1[identifier] = 1.0 if words in golds else max(_word_f1(form, words) for form in golds)
    return exact, f1


def require(
    what: str, given: Mapping[str, object], texts: Mapping[str, object], which: str = "questions"
) -> None:
    """Refuse `given` unless it has every question in `texts`; `which` of the data's these are."""
    if not texts:
        raise ValueError("the data holds no questions, so there is nothing to score")
    missing = [identifier for identifier in texts if identifier not in given]
    if missing:
        raise ValueError(
            f"the {what} lack {len(missing)} of the data's {len(texts)} {which} (the first is "
            f"{named(missing[0])}); give every question a value, or the data set that was predicted"
        )
