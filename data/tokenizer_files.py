"""The files of a published WordPiece tokenizer -> its vocabulary and settings.

Models come with vocab.txt, or tokenizer.json (vocabulary and normalisation), or both, and most with
tokenizer_config.json, whose settings win, as in transformers. Everything read is checked here, so
that data.tokenization can trust it.
"""

from pathlib import Path
from typing import Any

from minibert.strict_json import read_object, shown

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_EXPECTED = "the tokenizer file of a BERT model"
MAX_WORD_CHARACTERS = 100  # a longer word becomes [UNK], as in every published tokenizer.json
LONGEST_INPUT = 512  # tokens; what BERT was published with, where the files do not say


def read_tokenizer_files(folder: str | Path) -> tuple[dict[str, int], dict[str, Any]]:
    """A model folder -> token to id, and the other arguments of data.tokenization.Tokenizer.

    Where no file says whether text is lower-cased, a vocabulary with an upper-case letter in it
    (outside tokens in brackets) is a cased one.

    Raises:
        ValueError: no vocabulary, an unreadable file, or another kind of tokenizer.
    """
    folder = Path(folder)
    settings: dict[str, Any] = {}
    path = folder / "tokenizer.json"
    if path.exists():
        vocabulary, settings = _read_tokenizer_json(path)
    elif (path := folder / "vocab.txt").exists():
        vocabulary = read_vocabulary(path)
    else:
        raise ValueError(
            f"{folder} has neither tokenizer.json nor vocab.txt; give the folder of a BERT model"
        )
    config_path = folder / "tokenizer_config.json"
    config = read_object(config_path, _EXPECTED) if config_path.exists() else {}
    for theirs, ours in (
        ("do_lower_case", "lowercase"),
        ("strip_accents", "strip_accents"),
        ("tokenize_chinese_chars", "split_chinese_characters"),
    ):
        # Only strip_accents has a meaning for null: as the lower-casing.
        if config.get(theirs) is not None or (theirs in config and theirs == "strip_accents"):
            settings[ours] = _true_or_false(config_path, theirs, config[theirs])
    if settings.get("lowercase") is None:
        settings["lowercase"] = not any(
            token != token.lower() and not (token.startswith("[") and token.endswith("]"))
            for token in vocabulary
        )
    for token in _part(config_path, config, "added_tokens_decoder").values():
        _added_content(config_path, token)
    length = config.get("model_max_length")
    # transformers writes 1e30 where it does not know the length
    known = type(length) is int and 0 < length < 10**6
    return vocabulary, settings | {
        "max_length": length if known else LONGEST_INPUT,
        "source": str(path),
    }


def read_vocabulary(path: str | Path) -> dict[str, int]:
    """vocab.txt -> token to id; a byte-order mark and Windows line ends are not part of tokens.

    Raises:
        ValueError: not UTF-8, or a token on two lines (their numbers are named).
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected one token a line")
    try:
        lines = path.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text (byte {error.start}); expected one token a line"
        ) from None
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}); expected one token a line"
        ) from None
    vocabulary: dict[str, int] = {}
    for number, token in enumerate(lines):
        if token in vocabulary:
            raise ValueError(
                f"{path} has the token {shown(token)} on lines {vocabulary[token] + 1} and "
                f"{number + 1}; each token must stand once"
            )
        vocabulary[token] = number
    return vocabulary


def _true_or_false(path: Path, key: str, value: Any) -> bool | None:
    """The value, which may also be null."""
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{path} has {key} {shown(value)}, expected true, false or null")
    return value


def _added_content(path: Path, token: Any) -> str:
    """The text of an added token, which must be one of BERT's five.

    Others are found in a text as wholes before it is cut into words; here they would be cut too, in
    silence, and every later id would be another than in training.
    """
    if not isinstance(token, dict) or not isinstance(token.get("content"), str):
        raise ValueError(f"{path} has an added token without content; get the file again")
    content: str = token["content"]
    if content not in SPECIAL_TOKENS:
        raise ValueError(
            f"{path} adds the token {shown(content)}, which text would have to be searched for; "
            f"only {' '.join(SPECIAL_TOKENS)} can be added"
        )
    return content


def _part(path: Path, values: dict[str, Any], key: str) -> dict[str, Any]:
    """An object inside a file, {} where it is null or not there."""
    part = values.get(key) or {}
    if not isinstance(part, dict):
        raise ValueError(f"{path} has a {type(part).__name__} as {key}, expected a JSON object")
    return part


def _read_tokenizer_json(path: Path) -> tuple[dict[str, int], dict[str, Any]]:
    """The vocabulary and normalisation of a WordPiece tokenizer.json."""
    values = read_object(path, _EXPECTED)
    model = _part(path, values, "model")
    kind = model.get("type", "WordPiece" if "continuing_subword_prefix" in model else None)
    vocabulary = model.get("vocab")
    if kind != "WordPiece" or not isinstance(vocabulary, dict):
        raise ValueError(f"{path} is a {shown(kind)} tokenizer, expected WordPiece (BERT's)")
    if model.get("continuing_subword_prefix", "##") != "##":
        raise ValueError(f"{path} marks continued words other than with ##, which BERT uses")
    normalizer = _part(path, values, "normalizer")
    for key, expected in (("normalizer", "BertNormalizer"), ("pre_tokenizer", "BertPreTokenizer")):
        found = _part(path, values, key).get("type", expected)
        if found != expected:
            raise ValueError(f"{path} has the {key} {shown(found)}, expected {expected}")
    added = values.get("added_tokens") or []
    added = added if isinstance(added, list) else [added]
    for token in added:
        vocabulary.setdefault(_added_content(path, token), token.get("id"))
    unusable = next((token for token, i in vocabulary.items() if type(i) is not int), None)
    if unusable is not None:
        raise ValueError(f"{path} gives the token {shown(unusable)} no whole number as id")
    for token in added:
        content, other = token["content"], token.get("id")
        if vocabulary[content] != other:
            raise ValueError(
                f"{path} gives the token {content} the ids {vocabulary[content]} and "
                f"{shown(other)}; get the file again"
            )
    settings = {
        ours: _true_or_false(path, theirs, normalizer[theirs])
        for theirs, ours in (
            ("lowercase", "lowercase"),
            ("strip_accents", "strip_accents"),
            ("handle_chinese_chars", "split_chinese_characters"),
        )
        if normalizer.get(theirs) is not None
    }
    return vocabulary, settings
