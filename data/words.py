"""Words and runs of words as ids, for the classifiers that know no word pieces.

A text is split by nltk's TweetTokenizer, in lower case. The vocabulary is that of the training set;
id 0 is the unknown word. With `ngrams` above 1 a text is the bag of its words and of its runs of up
to so many words, joined by spaces, as in scikit-learn's vectorizers.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from data.tweet_words import tokenize_tweet
from minibert.files import write_file
from minibert.strict_json import counted, read_object, shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from data.batches import LabelledTexts

WORDS_FILE = "words.json"
UNKNOWN = 0
MOST_NGRAMS = 5
_KEYS = {"ngrams", "words"}


def split_texts(texts: Sequence[str], max_length: int) -> tuple[list[list[str]], list[int]]:
    """Texts -> their words in lower case, the first `max_length` of each; and which were longer.

    >>> split_texts(["Don't PANIC :-)", "one two three four"], 3)
    ([["don't", 'panic', ':-)'], ['one', 'two', 'three']], [1])
    """
    split = [[word.lower() for word in tokenize_tweet(text)] for text in texts]
    cut = [t for t, words in enumerate(split) if len(words) > max_length]
    return [words[:max_length] for words in split], cut


def terms(words: Sequence[str], ngrams: int) -> Iterator[str]:
    """Words, then runs of two, up to `ngrams` of them.

    >>> list(terms(["get", "your", "shot"], 2))
    ['get', 'your', 'shot', 'get your', 'your shot']
    """
    yield from words
    for size in range(2, ngrams + 1):
        for start in range(len(words) - size + 1):
            yield " ".join(words[start : start + size])


@dataclass(frozen=True, eq=False)
class Words:
    """A vocabulary.

    Attributes:
        ids: term -> its id, from 1 on without a gap.
        ngrams: longest run of words that is a term.
    """

    ids: dict[str, int]
    ngrams: int = 1

    def __len__(self) -> int:
        """V, the unknown word included."""
        return len(self.ids) + 1

    @classmethod
    def of_texts(
        cls, split: Sequence[Sequence[str]], *, ngrams: int, min_texts: int, most: int
    ) -> tuple["Words", "NDArray[np.int64]"]:
        """The terms of a training set, those of the most texts first, then by alphabet.

        Args:
            split: words of R texts.
            ngrams: longest run of words that is a term.
            min_texts: texts that a term stands in at least.
            most: terms at most, 0 = no limit.

        Returns:
            The vocabulary, and (V,) int64, the texts that each id stands in (0 of id 0).

        Raises:
            ValueError: no term stands in so many texts.
        """
        import numpy as np

        counts = Counter(term for words in split for term in set(terms(words, ngrams)))
        kept = sorted(
            (term for term, count in counts.items() if count >= min_texts),
            key=lambda term: (-counts[term], term),
        )[: most or None]
        if not kept:
            raise ValueError(
                f"no word stands in {min_texts} texts of the training file; lower --min-texts"
            )
        words = cls({term: number for number, term in enumerate(kept, 1)}, ngrams)
        return words, np.array([0, *(counts[term] for term in kept)], np.int64)

    def encode_labelled(
        self, split: Sequence[Sequence[str]], labels: "NDArray[np.int64]", cut: Sequence[int]
    ) -> "LabelledTexts":
        """Words -> ids of their terms, 0 where one is unknown.

        Args:
            split: words of R texts; one that would be empty is the unknown word alone.
            labels: (R,) int64.
            cut: texts that `split_texts` shortened.
        """
        import numpy as np

        from data.batches import LabelledTexts

        find = self.ids.get
        rows = [
            [find(term, UNKNOWN) for term in terms(words, self.ngrams)] or [UNKNOWN]
            for words in split
        ]
        bounds = np.cumsum([0, *map(len, rows)])
        flat = np.fromiter(chain.from_iterable(rows), np.int64, int(bounds[-1]))
        return LabelledTexts(flat, bounds, labels, np.array(cut, np.int64))

    def describe_unknown(self, split: Sequence[Sequence[str]]) -> str:
        """How many of the words are unknown, and how many different ones; runs do not count."""
        unknown = Counter(word for words in split for word in words if word not in self.ids)
        total = sum(map(len, split))
        return (
            f"unknown words: {unknown.total()} of {total} ({len(unknown)} different), "
            f"{unknown.total() / max(total, 1):.1%}"
        )

    def save(self, folder: Path) -> None:
        """Write words.json into a model's folder."""
        write_file(folder / WORDS_FILE, self.to_bytes())

    def to_bytes(self) -> bytes:
        """The contents of words.json.

        A word that is not Unicode text (half of a pair of surrogates, as "\\ud83d" in a JSON file
        leaves it) cannot be written as UTF-8: all that is not ASCII is escaped then.
        """
        values = {"ngrams": self.ngrams, "words": list(self.ids)}
        try:
            return (json.dumps(values, ensure_ascii=False, indent=0) + "\n").encode()
        except UnicodeEncodeError:
            return (json.dumps(values, indent=0) + "\n").encode()

    @classmethod
    def from_folder(cls, folder: Path) -> "Words":
        """The vocabulary saved with a model.

        Raises:
            ValueError: there is none, or it is not what `save` writes.
        """
        path = folder / WORDS_FILE
        values = read_object(path, "the vocabulary of a baseline")
        ngrams, words = values.get("ngrams"), values.get("words")
        if values.keys() != _KEYS or type(ngrams) is not int or not 1 <= ngrams <= MOST_NGRAMS:
            raise ValueError(
                f"{path} has the keys {shown(sorted(values))} and ngrams {shown(ngrams)}, expected "
                f"ngrams from 1 to {MOST_NGRAMS}, and words"
            )
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError(f"{path} has words {shown(words)}, expected a list of texts")
        ids = {word: number for number, word in enumerate(words, 1)}
        if len(ids) < len(words):
            twice = Counter(words).most_common(1)[0][0]
            raise ValueError(f"{path} has the word {shown(twice)} twice; bring the file back")
        return cls(ids, ngrams)

    def require_size(self, vocab_size: int, folder: Path) -> None:
        """Refuse a vocabulary of another model.

        Raises:
            ValueError: the model has more or fewer ids.
        """
        if len(self) != vocab_size:
            raise ValueError(
                f"{folder / WORDS_FILE} has {counted(len(self) - 1, 'word')}, the model "
                f"{vocab_size - 1}; bring the file back"
            )


def inverse_document_frequencies(
    texts_with: "NDArray[np.int64]", texts: int
) -> "NDArray[np.float32]":
    """(V,) ln((1 + R) / (1 + R_v)) + 1, as scikit-learn smooths it; 0 of the unknown id.

    Args:
        texts_with: (V,) training texts that each id stands in.
        texts: R of them.
    """
    import numpy as np

    idf = np.log((1 + texts) / (1 + texts_with)) + 1
    idf[UNKNOWN] = 0
    return idf.astype(np.float32)
