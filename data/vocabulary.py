"""A WordPiece vocabulary of one's own: `python -m data.vocabulary TEXT... --out FOLDER`.

The merges are the `tokenizers` library's. Its numbering of continued characters (##a) follows the
order of a hash table, which differs from run to run; here the alphabet is counted first and handed
over in order, so that the same text always gives the same vocabulary.
"""

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.command import UsageError, option, parse, run_command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from data.tokenization import Tokenizer

LEAST_SIZE = 100  # tokens


@dataclass(frozen=True)
class Options:
    """Options of `python -m data.vocabulary`."""

    out: str = option(help="folder for vocab.txt and the tokenizer's files", metavar="FOLDER")
    texts: tuple[str, ...] = option(
        (), help="text files or folders, plain, .gz or .xz", metavar="TEXT", positional=True
    )
    size: int = option(8192, help="tokens of the vocabulary, the five special ones included")
    lowercase: bool = option(True, help="fold case and strip accents, as bert-base-uncased does")
    characters: int = option(
        0, help="most frequent characters kept, others become [UNK]; 0 = --size / 32, at least 64"
    )
    max_length: int = option(512, help="longest model input, noted beside the vocabulary")

    def __post_init__(self) -> None:
        if not LEAST_SIZE <= self.size <= 1_000_000:
            raise UsageError(f"--size is {self.size}, expected {LEAST_SIZE} to 1000000")
        if not 0 <= self.characters <= self.size // 2:
            raise UsageError(
                f"--characters is {self.characters}, expected 0 to half of --size, {self.size // 2}"
            )
        if self.max_length < 1:
            raise UsageError(f"--max-length is {self.max_length}, expected at least 1")


def train_vocabulary(
    documents: Iterable[str],
    documents_again: Iterable[str],
    *,
    size: int,
    lowercase: bool = True,
    characters: int = 0,
    max_length: int = 512,
) -> "Tokenizer":
    """Learn word pieces from text.

    Args:
        documents: the text.
        documents_again: the same text once more, for the second of two passes over it.
        size: tokens wanted; fewer come out where the text has fewer pieces that occur twice.
        lowercase: as in `Tokenizer`.
        characters: most frequent characters kept, 0 = size / 32, at least 64.
        max_length: as in `Tokenizer`.

    Raises:
        UsageError: no text.
    """
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, normalizers, pre_tokenizers, trainers

    from data.tokenization import Tokenizer
    from data.tokenizer_files import SPECIAL_TOKENS

    backend = Backend(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    counts, continued = _count_characters(map(backend.normalizer.normalize_str, documents))
    # most frequent first, the smaller code point first where they are equal
    order = (-counts).argsort(kind="stable")[: characters or max(64, size // 32)]
    alphabet = [chr(code) for code in order.tolist() if counts[code]]
    if not alphabet:
        raise UsageError("the text is empty; name files with text in them")
    pieces = [f"##{character}" for character in alphabet if continued[ord(character)]]
    if len(SPECIAL_TOKENS) + len(alphabet) + len(pieces) >= size:
        raise UsageError(
            f"--size {size} has no room for words beside {len(alphabet)} characters, "
            f"{len(pieces)} of them also inside words; raise it, or lower --characters"
        )
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=2,
        special_tokens=[*SPECIAL_TOKENS, *pieces],
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    backend.train_from_iterator(documents_again, trainer)
    return Tokenizer(
        backend.get_vocab(with_added_tokens=False), lowercase=lowercase, max_length=max_length
    )


def _count_characters(texts: Iterator[str]) -> tuple["NDArray[np.int64]", "NDArray[np.bool_]"]:
    """How often each character stands in normalised texts, and whether ever inside a word.

    Returns:
        (0x110000,) int64 by code point, and (0x110000,) bool.
    """
    import numpy as np

    points = 0x110000
    counts, continued = np.zeros(points, np.int64), np.zeros(points, np.bool_)
    spaces, alone = np.zeros(points, np.bool_), np.zeros(points, np.bool_)
    for text in texts:
        codes = np.frombuffer(text.encode("utf-32-le", "replace"), np.uint32)
        seen = np.bincount(codes)
        for code in np.flatnonzero(seen * (counts[: len(seen)] == 0)).tolist():
            category = unicodedata.category(chr(code))
            spaces[code] = chr(code).isspace()
            # BertPreTokenizer makes a word of each of these; CJK characters have spaces around them
            alone[code] = category[0] == "P" or (code < 128 and category[0] == "S")
        counts[: len(seen)] += seen
        breaks = spaces[codes] | alone[codes]
        continued[codes[1:][~breaks[1:] & ~breaks[:-1]]] = True
    counts[spaces] = 0
    return counts, continued


def main(argv: list[str]) -> int:
    """Learn a vocabulary and write it."""
    options = parse(
        Options,
        argv,
        prog="data.vocabulary",
        description="Learn a WordPiece vocabulary from plain text.",
    )
    from data.corpus import find_texts, read_documents

    paths = find_texts(options.texts)
    tokenizer = train_vocabulary(
        read_documents(paths),
        read_documents(paths),
        size=options.size,
        lowercase=options.lowercase,
        characters=options.characters,
        max_length=options.max_length,
    )
    tokenizer.save(Path(options.out))
    print(f"{tokenizer.vocab_size} tokens in {options.out}")
    if tokenizer.vocab_size < options.size:
        print(f"  fewer than --size {options.size}: the text has no more pieces that occur twice")
    return 0


if __name__ == "__main__":
    run_command(main)
