"""Which contexts two SQuAD files share, white space apart: what was seen before it was asked."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from data.squad import read_squad

_DIGEST_BYTES = 8  # two of a million contexts are taken for one with a chance of 1 in 37 million


@dataclass(frozen=True)
class Contexts:
    """What a file asks, and of which contexts.

    Attributes:
        questions: in the file.
        impossible: of these.
        has_answers: whether the right answers are known; False for a test file.
        by_context: digest of every distinct context, its white space squeezed -> questions on it.
    """

    questions: int
    impossible: int
    has_answers: bool
    by_context: Mapping[str, int]


class Overlap(NamedTuple):
    """What two files share, counted in the second one."""

    contexts: int
    questions: int


def read_contexts(path: str | Path) -> Contexts:
    """Read a SQuAD file, and keep of its contexts no more than digests.

    Raises:
        ValueError: no SQuAD file.
    """
    data = read_squad(path)
    digests: dict[str, str] = {}
    by_context: Counter[str] = Counter()
    for example in data.examples:
        if example.context not in digests:
            digests[example.context] = context_digest(example.context)
        by_context[digests[example.context]] += 1
    impossible = sum(example.is_impossible for example in data.examples)
    return Contexts(len(data.examples), impossible, data.has_answers, by_context)


def context_digest(context: str) -> str:
    """16 hexadecimal digits of a context; white space makes no difference to them."""
    plain = " ".join(context.split()).encode(errors="surrogatepass")
    return hashlib.blake2b(plain, digest_size=_DIGEST_BYTES).hexdigest()


def overlap(train: Contexts, evaluated: Contexts) -> Overlap:
    """Contexts of the evaluated file that the training file has too, and the questions on them."""
    shared = evaluated.by_context.keys() & train.by_context.keys()
    return Overlap(len(shared), sum(evaluated.by_context[digest] for digest in shared))
