"""WordPiece tokenizer with character offsets, from a model folder's vocab.txt or tokenizer.json.

The matching itself is the `tokenizers` library's; this module reads the settings that published
models scatter over three files, checks them, and builds one tokenizer from them. Special tokens are
added by the batches, never found in text: "[SEP]" typed in a tweet or a context is plain text.
(Devlin et al. 2019, section 3; the rules are those of google-research/bert's tokenization.py.)
"""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
MAX_WORD_CHARACTERS = 100  # a longer word becomes [UNK], as in every published tokenizer.json
_SURROGATES = re.compile("[\ud800-\udfff]")


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
        ValueError: a special token is missing, or ids have gaps.
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
            raise ValueError(f"{source} has ids with gaps; expected 0 to {len(vocabulary) - 1}")
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
        """Read tokenizer.json or vocab.txt, with tokenizer_config.json where there is one.

        Settings in tokenizer_config.json win over tokenizer.json's, as in transformers. Where
        neither says so, a vocabulary with an upper-case letter in it is a cased one.

        Raises:
            ValueError: no vocabulary, an unreadable file, or another kind of tokenizer.
        """
        folder = Path(folder)
        settings: dict[str, Any] = {}
        if (folder / "tokenizer.json").exists():
            vocabulary, settings = _read_tokenizer_json(folder / "tokenizer.json")
            source = str(folder / "tokenizer.json")
        elif (folder / "vocab.txt").exists():
            vocabulary = read_vocabulary(folder / "vocab.txt")
            source = str(folder / "vocab.txt")
        else:
            raise ValueError(f"{folder} has neither tokenizer.json nor vocab.txt")
        config = {}
        if (folder / "tokenizer_config.json").exists():
            config = _read_json(folder / "tokenizer_config.json")
        names = {
            "do_lower_case": "lowercase",
            "strip_accents": "strip_accents",
            "tokenize_chinese_chars": "split_chinese_characters",
        }
        settings |= {ours: config[theirs] for theirs, ours in names.items() if theirs in config}
        if settings.get("lowercase") is None:
            settings["lowercase"] = not any(
                token not in SPECIAL_TOKENS and token != token.lower() for token in vocabulary
            )
        length = config.get("model_max_length", 512)
        # transformers writes 1e30 where it does not know the length
        settings["max_length"] = length if isinstance(length, int) and length < 10**6 else 512
        return cls(vocabulary, source=source, **settings)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Texts -> word-piece ids, without special tokens."""
        encodings = self._backend.encode_batch_fast(
            [_encodable(text) for text in texts], add_special_tokens=False
        )
        return [encoding.ids for encoding in encodings]

    def encode_with_offsets(self, texts: Sequence[str]) -> TokenizedTexts:
        """Texts -> flat ids and the characters of the original text that each piece covers."""
        encodings = self._backend.encode_batch(
            [_encodable(text) for text in texts], add_special_tokens=False
        )
        bounds = np.zeros(len(encodings) + 1, np.int64)
        np.cumsum([len(encoding) for encoding in encodings], out=bounds[1:])
        ids = np.empty(bounds[-1], np.int32)
        offsets = np.empty((bounds[-1], 2), np.int32)
        for t, encoding in enumerate(encodings):
            if len(encoding):
                ids[bounds[t] : bounds[t + 1]] = encoding.ids
                offsets[bounds[t] : bounds[t + 1]] = encoding.offsets
        return TokenizedTexts(ids, offsets[:, 0].copy(), offsets[:, 1].copy(), bounds)

    def save(self, folder: str | Path) -> None:
        """Write tokenizer.json, tokenizer_config.json and vocab.txt, as the Hub has them."""
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
            temporary = folder / f".{name}.{os.getpid()}.tmp"
            temporary.write_text(text, encoding="utf-8", newline="\n")
            os.replace(temporary, folder / name)

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


def read_vocabulary(path: str | Path) -> dict[str, int]:
    """vocab.txt -> token to id; a byte-order mark and Windows line ends are not part of tokens.

    Raises:
        ValueError: not UTF-8, or a token on two lines (their numbers are named).
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text; expected one token a line") from None
    vocabulary: dict[str, int] = {}
    for number, line in enumerate(lines):
        token = line.removesuffix("\r")
        if token in vocabulary:
            raise ValueError(
                f"{path} has the token {token!r} on lines {vocabulary[token] + 1} and {number + 1}; "
                "each token must stand once"
            )
        vocabulary[token] = number
    return vocabulary


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error})") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds a {type(values).__name__}, expected a JSON object")
    return values


def _read_tokenizer_json(path: Path) -> tuple[dict[str, int], dict[str, Any]]:
    """The vocabulary and normalisation of a WordPiece tokenizer.json."""
    values = _read_json(path)
    model = values.get("model") or {}
    normalizer = values.get("normalizer") or {}
    kind = model.get("type", "WordPiece" if "continuing_subword_prefix" in model else None)
    vocabulary = model.get("vocab")
    if kind != "WordPiece" or not isinstance(vocabulary, dict):
        raise ValueError(f"{path} is a {kind} tokenizer, expected WordPiece (BERT's)")
    if normalizer.get("type") not in ("BertNormalizer", None):
        raise ValueError(
            f"{path} normalises text with {normalizer['type']}, expected BertNormalizer"
        )
    if model.get("continuing_subword_prefix", "##") != "##":
        raise ValueError(f"{path} marks continued words other than with ##, which BERT uses")
    for token in values.get("added_tokens") or []:
        vocabulary.setdefault(token["content"], token["id"])
    settings = {}
    if normalizer:
        settings = {
            "lowercase": normalizer.get("lowercase"),
            "strip_accents": normalizer.get("strip_accents"),
            "split_chinese_characters": normalizer.get("handle_chinese_chars", True),
        }
    return vocabulary, settings


def _encodable(text: str) -> str:
    """Lone surrogates, which UTF-8 cannot hold, become U+FFFD: the same number of characters."""
    return _SURROGATES.sub("\ufffd", text)
