"""WordPiece tokenizer with character offsets.

The matching itself is the `tokenizers` library's, to which this module hands every distinct word
once. Special tokens are added by the batches, never found in text: "[SEP]" typed in a tweet or a
context is plain text. (Devlin et al. 2019, section 3; the rules are those of google-research/bert's
tokenization.py.)
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from data.tokenizer_files import MAX_WORD_CHARACTERS, SPECIAL_TOKENS, read_tokenizer_files
from minibert.files import write_file
from minibert.strict_json import shown

WORDS_A_LINE = 1024  # words handed to the library as one text
_SURROGATES = re.compile("[\ud800-\udfff]")
_NO_LINE = re.compile("[\r\n\ud800-\udfff]")


@dataclass(frozen=True)
class TokenizedTexts:
    """Word pieces of many texts in flat arrays; text t owns [bounds[t], bounds[t + 1]).

    Attributes:
        ids: (M,) int32.
        char_starts: (M,) int32, first character of each piece in its own original text.
        char_ends: (M,) int32, the character after the piece.
        bounds: (number of texts + 1,) int64.
    """

    ids: NDArray[np.int32]
    char_starts: NDArray[np.int32]
    char_ends: NDArray[np.int32]
    bounds: NDArray[np.int64]


class Tokenizer:
    """Text to word-piece ids.

    Args:
        vocabulary: token -> id, ids 0..V-1, with the five special tokens.
        lowercase: lower-case and (unless told otherwise) strip accents before matching.
        strip_accents: None means: as `lowercase`.
        split_chinese_characters: put spaces around CJK characters.
        max_length: longest model input, written to tokenizer_config.json.

    Raises:
        ValueError: a special token is missing, the ids have gaps, or a token could not be a line
            of vocab.txt.
    """

    def __init__(
        self,
        vocabulary: dict[str, int],
        *,
        lowercase: bool,
        strip_accents: bool | None = None,
        split_chinese_characters: bool = True,
        max_length: int = 512,
        source: str = "the vocabulary",
    ) -> None:
        missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
        if missing:
            raise ValueError(f"{source} lacks the special tokens {', '.join(missing)}; add them")
        if sorted(vocabulary.values()) != list(range(len(vocabulary))):
            raise ValueError(
                f"{source} has {len(vocabulary)} tokens, expected the ids 0 to "
                f"{len(vocabulary) - 1}, each once"
            )
        unwritable = next(filter(_NO_LINE.search, vocabulary), None)
        if unwritable is not None:
            raise ValueError(
                f"{source} has the token {shown(unwritable)}, with a line end or half a character "
                "in it, which no text can match and no vocab.txt hold; take it out"
            )
        self.vocabulary = vocabulary
        self.lowercase = lowercase
        self.strip_accents = strip_accents
        self.split_chinese_characters = split_chinese_characters
        self.max_length = max_length
        self.pad_id, self.unk_id, self.cls_id, self.sep_id, self.mask_id = (
            vocabulary[token] for token in SPECIAL_TOKENS
        )
        self.tokens = sorted(vocabulary, key=vocabulary.__getitem__)
        self._backend = self._make_backend()

    @property
    def vocab_size(self) -> int:
        """V, number of tokens."""
        return len(self.tokens)

    @classmethod
    def from_folder(cls, folder: str | Path) -> "Tokenizer":
        """The tokenizer of a model folder, or of a run folder's best/.

        See data.tokenizer_files for what is read.

        Raises:
            ValueError: no vocabulary, an unreadable file, or another kind of tokenizer.
        """
        folder = Path(folder)
        if (folder / "best" / "vocab.txt").is_file() and not (folder / "vocab.txt").exists():
            folder = folder / "best"
        vocabulary, settings = read_tokenizer_files(folder)
        return cls(vocabulary, **settings)

    def require_ids(self, count: int, source: str) -> None:
        """Refuse a model that has no ids for the last of these tokens.

        Args:
            count: ids that the model has, vocab_size in its config.json.
            source: of model and tokenizer, for the message.

        Raises:
            ValueError: with both numbers.
        """
        if self.vocab_size > count:
            raise ValueError(
                f"{source}: the tokenizer has {self.vocab_size} tokens, the model only {count}; "
                "they do not belong together"
            )

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Texts -> word-piece ids, without special tokens."""
        pieces = self.encode_with_offsets(texts)
        ids, bounds = pieces.ids.tolist(), pieces.bounds.tolist()
        return [ids[begin:end] for begin, end in pairwise(bounds)]

    def encode_with_offsets(self, texts: Sequence[str]) -> TokenizedTexts:
        """Texts -> flat ids and the characters of the original text that each piece covers.

        What lies between two spaces, here called a word, has the same pieces wherever it stands,
        because no rule of the tokenizer looks past a space. So each distinct word is tokenized once
        and copied from there; of the 254 thousand in SQuAD v1.1's dev contexts 41 thousand are.
        """
        words_of = [text.split(" ") for text in texts]
        words = list(chain.from_iterable(words_of))
        number = {word: n for n, word in enumerate(dict.fromkeys(words))}
        # (number of words,) which distinct word stands there
        word = np.fromiter(map(number.__getitem__, words), np.int64, len(words))
        distinct = self._encode_words(list(number))
        sizes = np.diff(distinct.bounds)[word]  # pieces of each word
        piece_bounds = _cumulative(sizes)
        # Piece by piece: where it is among the pieces of the distinct words.
        source = np.arange(piece_bounds[-1]) + np.repeat(
            distinct.bounds[word] - piece_bounds[:-1], sizes
        )
        text_bounds = _cumulative([len(words) for words in words_of])  # in words
        lengths = np.fromiter(map(len, number), np.int64, len(number))
        begins = _cumulative(lengths[word] + 1)  # characters of all texts, one after another
        begins = begins[:-1] - np.repeat(begins[text_bounds[:-1]], np.diff(text_bounds))
        shift = np.repeat(begins, sizes).astype(np.int32)
        return TokenizedTexts(
            ids=distinct.ids[source],
            char_starts=distinct.char_starts[source] + shift,
            char_ends=distinct.char_ends[source] + shift,
            bounds=piece_bounds[text_bounds],
        )

    def _encode_words(self, words: Sequence[str]) -> TokenizedTexts:
        """Words without spaces -> their pieces, with characters counted from the word's start.

        Joined to lines again, because the library takes longer to hand over a thousand results than
        to tokenize a thousand words.
        """
        lines = [
            _encodable(" ".join(words[first : first + WORDS_A_LINE]))
            for first in range(0, len(words), WORDS_A_LINE)
        ]
        encodings = self._backend.encode_batch(lines, add_special_tokens=False)
        sizes = [len(encoding) for encoding in encodings]
        total = sum(sizes)
        flat = chain.from_iterable(encoding.ids for encoding in encodings)
        ids = np.fromiter(flat, np.int32, total)
        flat = chain.from_iterable(chain.from_iterable(e.offsets for e in encodings))
        offsets = np.fromiter(flat, np.int64, 2 * total).reshape(-1, 2)  # start, end in the line
        begins = _cumulative([len(word) + 1 for word in words])  # each word's, line after line
        offsets += np.repeat(begins[:-1:WORDS_A_LINE], sizes)[:, None]
        owner = begins.searchsorted(offsets[:, 0], "right") - 1
        offsets -= begins[owner, None]
        return TokenizedTexts(
            ids,
            offsets[:, 0].astype(np.int32),
            offsets[:, 1].astype(np.int32),
            _cumulative(np.bincount(owner, minlength=len(words))),
        )

    def save(self, folder: str | Path) -> None:
        """Write tokenizer.json, tokenizer_config.json and vocab.txt, as the Hub has them.

        Raises:
            OSError: disk full or not writable; each file is the old one or the new one, whole.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        hub = self._make_backend()
        hub.add_special_tokens(list(SPECIAL_TOKENS))
        hub.post_processor = processors.TemplateProcessing(
            single="[CLS]:0 $A:0 [SEP]:0",
            pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
            special_tokens=[("[CLS]", self.cls_id), ("[SEP]", self.sep_id)],
        )
        config = {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": self.lowercase,
            "strip_accents": self.strip_accents,
            "tokenize_chinese_chars": self.split_chinese_characters,
            "model_max_length": self.max_length,
            "pad_token": "[PAD]",
            "unk_token": "[UNK]",
            "cls_token": "[CLS]",
            "sep_token": "[SEP]",
            "mask_token": "[MASK]",
        }
        for name, text in (
            ("tokenizer.json", hub.to_str(pretty=True)),
            ("tokenizer_config.json", json.dumps(config, indent=2) + "\n"),
            ("vocab.txt", "".join(f"{token}\n" for token in self.tokens)),
        ):
            write_file(folder / name, text.encode())

    def _make_backend(self) -> Backend:
        backend = Backend(
            models.WordPiece(
                vocab=self.vocabulary,
                unk_token="[UNK]",
                continuing_subword_prefix="##",
                max_input_chars_per_word=MAX_WORD_CHARACTERS,
            )
        )
        backend.normalizer = normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=self.split_chinese_characters,
            strip_accents=self.strip_accents,
            lowercase=self.lowercase,
        )
        backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        backend.decoder = decoders.WordPiece(prefix="##")
        return backend


def _cumulative(sizes: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Sizes of n things that lie one after another -> their n + 1 bounds."""
    bounds = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=bounds[1:])
    return bounds


def _encodable(text: str) -> str:
    """Lone surrogates, which UTF-8 cannot hold, become U+FFFD: the same number of characters."""
    return _SURROGATES.sub("\ufffd", text)
