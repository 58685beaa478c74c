"""The tokenizer beside transformers' on real and hostile text, and the files it is read from."""

import json
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.squad import read_squad
from data.tokenization import TokenizedTexts, Tokenizer
from data.tokenizer_files import SPECIAL_TOKENS, read_vocabulary

WORDS = ["the", "town", "##s", "is", "old", "1", "##8", "-", "(", ")", ".", "e", "x", "[", "]"]
LITTLE = {token: i for i, token in enumerate([*SPECIAL_TOKENS, *WORDS, "sep"])}


def vocabulary_file(folder: Path, casing: str) -> Path:
    """The official vocabulary in the folder of real data."""
    return folder / "vocab" / f"bert-base-{casing}-vocab.txt"


@pytest.fixture(scope="module", params=["uncased", "cased"])
def both(
    request: pytest.FixtureRequest, real_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Tokenizer, Any]:
    """Our tokenizer of a published vocabulary, and transformers'."""
    from transformers import BertTokenizerFast

    folder = tmp_path_factory.mktemp(request.param)
    text = vocabulary_file(real_data, request.param).read_bytes()
    (folder / "vocab.txt").write_bytes(text)
    lowercase = request.param == "uncased"
    peer = BertTokenizerFast.from_pretrained(folder, do_lower_case=lowercase)
    return Tokenizer.from_folder(folder), peer


def little(**settings: Any) -> Tokenizer:
    return Tokenizer(LITTLE, **{"lowercase": True, **settings})


def assert_equal(ours: TokenizedTexts, texts: list[str], peer: Any) -> None:
    """Ids and offsets of every text are those of transformers."""
    for first in range(0, len(texts), 1000):
        encoded = peer(
            texts[first : first + 1000],
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        for t, (ids, offsets) in enumerate(
            zip(encoded["input_ids"], encoded["offset_mapping"], strict=True), first
        ):
            begin, end = ours.bounds[t : t + 2]
            assert ours.ids[begin:end].tolist() == ids, texts[t]
            spans = np.stack([ours.char_starts[begin:end], ours.char_ends[begin:end]], 1)
            assert spans.tolist() == [list(span) for span in offsets], texts[t]


def assert_sound(ours: TokenizedTexts, texts: list[str]) -> None:
    """Offsets lie inside their text, are never empty, and never go back."""
    text = np.repeat(np.arange(len(texts)), np.diff(ours.bounds))
    starts, ends = ours.char_starts, ours.char_ends
    assert (starts >= 0).all() and (starts < ends).all()
    assert (ends <= np.array([len(t) for t in texts])[text]).all()
    same = text[1:] == text[:-1]
    assert (np.diff(starts)[same] >= 0).all() and (np.diff(ends)[same] >= 0).all()
    # Tokens follow one another, or share one character: the parts of a Hangul syllable.
    shared = (starts[1:] == starts[:-1]) & (ends[1:] == ends[:-1])
    assert (same <= (shared | (starts[1:] >= ends[:-1]))).all()


# --- real text


def test_contexts_and_questions_of_both_dev_files_tokenize_as_in_transformers(
    both: tuple[Tokenizer, Any], real_data: Path
) -> None:
    tokenizer, peer = both
    files = (read_squad(real_data / "squad" / f"dev-{v}.json").examples for v in ("v1.1", "v2.0"))
    texts = list({t: 0 for file in files for e in file for t in (e.context, e.question)})
    assert len(texts) > 18_000
    ours = tokenizer.encode_with_offsets(texts)
    assert_equal(ours, texts, peer)
    assert_sound(ours, texts)
    some = texts[:50]
    assert tokenizer.encode(some) == [
        ours.ids[begin:end].tolist() for begin, end in pairwise(ours.bounds[: len(some) + 1])
    ]


# --- hostile text

ODD = {
    "empty": ["", " ", "   ", "\t\n", " \u3000\xa0 "],
    "controls": ["a\x00b", "\x00", " \x00 a", "a\ufffdb", "\x7f\x80x", "a\u200bb", "\ufeffa"],
    "soft hyphen": ["a\xadb", "\xad"],
    "spaces": ["a\xa0b", "a\u2003b c", "a\u2028b", " first", "last ", "two  spaces", "a\r\nb"],
    "accents": ["caf\xe9", "cafe\u0301", "\u0301a", "a \u0301b", "\u0344", "\xc5str\xf6m"],
    "casing": ["\u0130stanbul \u0131I", "\u01c5", "\xdf \u1e9e", "\u03a3\u03c2", "\u0130\u0307"],
    "reordered marks": ["a\u0323\u0301", "a\u0301\u0323", "\u1e69", "x \u0301\u0323\u0345y"],
    "Chinese": ["\u6771\u4eactower", "\u6771\u4eac", "\U00020000\U00020001", "\u8c48\uf900"],
    "Japanese": ["\u65e5\u672c\u8a9e\u306e\u6587", "\uff76\uff80 \uff21\uff22"],
    "Hangul": ["\ud55c\uad6d\uc5b4", "\uac01", "\u1100\u1161\u11a8", "a\ud55cb", "\ud55c \uad6d"],
    "Hebrew": ["\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd", "\u202b\u05d0\u05d1\u202c"],
    "Arabic": ["\u0627\u0644\u0639\u064e\u0631\u064e\u0628\u0650\u064a\u0651\u0629"],
    "Indian": ["\u0915\u094d\u0937\u0924\u094d\u0930\u093f\u092f", "\u0958", "\u0ba4\u0bae\u0bbf"],
    "emoji": ["\U0001f469\u200d\U0001f52c", "\U0001f44d\U0001f3fd!", "\u2764\ufe0fx"],
    "flags": ["\U0001f3f3\ufe0f\u200d\U0001f308 flag", "\U0001f1ee\U0001f1f8"],
    "long words": ["a" * 100, "a" * 101, "A" * 101 + " b", "\xe9" * 101, "1" * 5000],
    "long Chinese": ["\u6771" * 150],
    "punctuation": ["(1895-1943).", "a..b", "$1,000.50%", "\xbfqu\xe9?", "a_b^c`d~", "U.S."],
    "quotes": ["\u201cquoted\u201d\u2014dash\u2026"],
    "ligatures": ["\ufb01n", "\u212b", "\xbd \xb2", "\u0149"],
}


@pytest.mark.parametrize("kind", list(ODD))
def test_odd_text_tokenizes_as_in_transformers(kind: str, both: tuple[Tokenizer, Any]) -> None:
    tokenizer, peer = both
    texts = [
        *ODD[kind],
        " ".join(ODD[kind]),
        "".join(ODD[kind]),
        *(f"in {t} on" for t in ODD[kind]),
    ]
    ours = tokenizer.encode_with_offsets(texts)
    assert_equal(ours, texts, peer)
    assert_sound(ours, texts)


def hostile_texts(count: int) -> list[str]:
    """Seeded texts of everything at once, with many spaces and repeated words."""
    rng = random.Random(1)
    ranges = [
        (0x0, 0x250), (0x2B0, 0x370), (0x370, 0x400), (0x591, 0x600), (0x900, 0x980),
        (0x1100, 0x1200), (0xAC00, 0xAC40), (0x1DC0, 0x2070), (0x3040, 0x3100), (0x4E00, 0x4E40),
        (0xF900, 0xFB50), (0xFE00, 0x10000), (0x1D160, 0x1D200), (0x1F300, 0x1F650),
        (0xE0000, 0xE0080), (0x2F800, 0x2F840),
    ]  # fmt: skip
    everything = [chr(c) for low, high in ranges for c in range(low, high)]
    odd = [character for texts in ODD.values() for text in texts for character in text[:50]]
    words = ["of", "the", "1895", "e\u0301", "한", "\u0323\u0301", "x\u0344"]
    pools = [everything, odd, words, [*odd, *words]]
    texts = []
    for _ in range(count):
        pool = rng.choice(pools)
        pieces = (
            " " if rng.random() < 0.25 else rng.choice(pool) for _ in range(rng.randint(0, 25))
        )
        texts.append("".join(pieces))
    return texts


def test_hostile_texts_tokenize_as_in_transformers(both: tuple[Tokenizer, Any]) -> None:
    tokenizer, peer = both
    texts = hostile_texts(6000)
    ours = tokenizer.encode_with_offsets(texts)
    assert_equal(ours, texts, peer)
    assert_sound(ours, texts)


@pytest.mark.parametrize(
    "settings",
    [
        {"lowercase": True, "strip_accents": False},
        {"lowercase": False, "strip_accents": True},
        {"lowercase": True, "split_chinese_characters": False},
    ],
    ids=lambda settings: " ".join(settings),
)
def test_every_setting_tokenizes_hostile_text_as_in_transformers(
    settings: dict[str, bool], real_data: Path
) -> None:
    from transformers import BertTokenizerFast

    vocabulary = read_vocabulary(vocabulary_file(real_data, "uncased"))
    peer = BertTokenizerFast(
        vocab=vocabulary,
        do_lower_case=settings["lowercase"],
        strip_accents=settings.get("strip_accents"),
        tokenize_chinese_chars=settings.get("split_chinese_characters", True),
    )
    texts = hostile_texts(1500)
    ours = Tokenizer(vocabulary, **settings).encode_with_offsets(texts)
    assert_equal(ours, texts, peer)
    assert_sound(ours, texts)


def test_a_text_has_the_same_pieces_alone_as_among_others() -> None:
    texts = hostile_texts(400)
    tokenizer = little()
    together = tokenizer.encode_with_offsets(texts)
    for t, text in enumerate(texts):
        alone = tokenizer.encode_with_offsets([text])
        begin, end = together.bounds[t : t + 2]
        for name in ("ids", "char_starts", "char_ends"):
            assert np.array_equal(getattr(alone, name), getattr(together, name)[begin:end])


def test_more_words_than_fit_one_line_of_the_library_keep_their_offsets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = hostile_texts(200)
    whole = little().encode_with_offsets(texts)
    monkeypatch.setattr("data.tokenization.WORDS_A_LINE", 3)
    parts = little().encode_with_offsets(texts)
    for name in ("ids", "char_starts", "char_ends", "bounds"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))


def test_pieces_and_their_characters_by_hand() -> None:
    pieces = little().encode_with_offsets(["The  Towns (18)", "", "é is"])
    tokens = [WORDS[i - len(SPECIAL_TOKENS)] for i in pieces.ids]
    assert tokens == ["the", "town", "##s", "(", "1", "##8", ")", "e", "is"]
    spans = list(zip(pieces.char_starts.tolist(), pieces.char_ends.tolist(), strict=True))
    assert spans == [
        (0, 3), (5, 9), (9, 10), (11, 12), (12, 13), (13, 14), (14, 15), (0, 1), (2, 4)
    ]  # fmt: skip
    assert pieces.bounds.tolist() == [0, 7, 7, 9]
    assert pieces.ids.dtype == pieces.char_starts.dtype == pieces.char_ends.dtype == np.int32


def test_no_texts_and_texts_without_words_give_no_pieces() -> None:
    assert little().encode([]) == []
    assert little().encode(["", "  ", "\x00"]) == [[], [], []]
    assert little().encode_with_offsets([]).bounds.tolist() == [0]


def test_a_special_token_typed_in_a_text_is_plain_text() -> None:
    tokenizer = little()
    (ids,) = tokenizer.encode(["[SEP] the [CLS][PAD]"])
    assert not {tokenizer.sep_id, tokenizer.cls_id, tokenizer.pad_id} & set(ids)
    assert [tokenizer.tokens[i] for i in ids][:4] == ["[", "sep", "]", "the"]


def test_a_lone_surrogate_is_left_out_and_moves_nothing() -> None:
    # U+FFFD, which takes its place, is then cleaned away like a control character.
    pieces = little().encode_with_offsets(["the \ud800 town", "\udfffthe town"])
    assert pieces.ids.tolist() == [LITTLE["the"], LITTLE["town"]] * 2
    assert pieces.char_starts.tolist() == [0, 6, 1, 5]
    assert pieces.char_ends.tolist() == [3, 10, 4, 9]


def test_a_word_of_over_a_hundred_characters_is_one_unknown_token() -> None:
    tokenizer = little()
    pieces = tokenizer.encode_with_offsets(["e" + "x" * 99, "x" * 101 + " the"])
    assert tokenizer.encode(["x" * 101]) == [[tokenizer.unk_id]]
    assert pieces.char_ends[-2:].tolist() == [101, 105]
    assert pieces.ids[-1] == LITTLE["the"]


# --- files


def write(folder: Path, **files: object) -> Path:
    """vocab / tokenizer / config -> vocab.txt / tokenizer.json / tokenizer_config.json."""
    names = {"vocab": "vocab.txt", "tokenizer": "tokenizer.json", "config": "tokenizer_config.json"}
    folder.mkdir(exist_ok=True)
    for key, content in files.items():
        path = folder / names[key]
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


VOCAB_TXT = "".join(f"{token}\n" for token in LITTLE)


def tokenizer_json(**changes: object) -> dict[str, Any]:
    return {
        "added_tokens": [{"id": i, "content": t} for i, t in enumerate(SPECIAL_TOKENS)],
        "normalizer": {
            "type": "BertNormalizer",
            "lowercase": True,
            "strip_accents": None,
            "handle_chinese_chars": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "continuing_subword_prefix": "##", "vocab": dict(LITTLE)},
        **changes,
    }


def refusal(folder: Path, **files: object) -> str:
    with pytest.raises(ValueError) as caught:
        Tokenizer.from_folder(write(folder / "bad", **files))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_both_files_of_a_model_give_the_same_tokenizer(
    both: tuple[Tokenizer, Any], tmp_path: Path
) -> None:
    tokenizer, peer = both
    peer.save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").unlink(missing_ok=True)
    (tmp_path / "tokenizer_config.json").unlink()
    from_json = Tokenizer.from_folder(tmp_path)
    assert from_json.vocabulary == tokenizer.vocabulary
    assert from_json.lowercase == tokenizer.lowercase
    assert from_json.split_chinese_characters == tokenizer.split_chinese_characters
    texts = [text for texts in ODD.values() for text in texts]
    assert from_json.encode(texts) == tokenizer.encode(texts)


def test_what_we_save_loads_in_transformers_and_here_with_the_same_ids(
    both: tuple[Tokenizer, Any], tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    tokenizer, _ = both
    tokenizer.save(tmp_path)
    peer = AutoTokenizer.from_pretrained(tmp_path)
    texts = hostile_texts(1000)
    assert_equal(tokenizer.encode_with_offsets(texts), texts, peer)
    question, context = peer("town?", "The town.").input_ids, peer("The town.").input_ids
    ids = tokenizer.encode(["town?", "The town."])
    assert question == [tokenizer.cls_id, *ids[0], tokenizer.sep_id, *ids[1], tokenizer.sep_id]
    assert context == [tokenizer.cls_id, *ids[1], tokenizer.sep_id]
    assert peer("town?", "The").token_type_ids == [0] * (len(ids[0]) + 2) + [1, 1]
    special = (peer.pad_token_id, peer.unk_token_id, peer.mask_token_id, peer.model_max_length)
    assert special == (tokenizer.pad_id, tokenizer.unk_id, tokenizer.mask_id, 512)
    again = Tokenizer.from_folder(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    for loaded in (again, Tokenizer.from_folder(tmp_path)):
        assert vars(loaded).keys() == vars(tokenizer).keys()
        for name in set(vars(tokenizer)) - {"_backend"}:
            assert getattr(loaded, name) == getattr(tokenizer, name)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "tokenizer_config.json",
        "vocab.txt",
    ]


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("strip_accents", [True, False, None])
@pytest.mark.parametrize("split", [True, False])
def test_every_setting_survives_saving(
    lowercase: bool, strip_accents: bool | None, split: bool, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    made = little(
        lowercase=lowercase,
        strip_accents=strip_accents,
        split_chinese_characters=split,
        max_length=77,
    )
    made.save(tmp_path)
    (tmp_path / "vocab.txt").unlink()
    loaded = Tokenizer.from_folder(tmp_path)
    settings = ("lowercase", "strip_accents", "split_chinese_characters", "max_length")
    assert [getattr(loaded, name) for name in settings] == [lowercase, strip_accents, split, 77]
    texts = [text for texts in ODD.values() for text in texts]
    assert_equal(loaded.encode_with_offsets(texts), texts, AutoTokenizer.from_pretrained(tmp_path))


def test_the_settings_of_tokenizer_config_win(tmp_path: Path) -> None:
    config = {"do_lower_case": False, "strip_accents": True, "tokenize_chinese_chars": False}
    for source in ({"tokenizer": tokenizer_json()}, {"vocab": VOCAB_TXT}):
        loaded = Tokenizer.from_folder(
            write(tmp_path / next(iter(source)), config=config, **source)
        )
        assert (loaded.lowercase, loaded.strip_accents) == (False, True)
        assert not loaded.split_chinese_characters


def test_settings_that_are_null_or_absent_leave_those_of_tokenizer_json(tmp_path: Path) -> None:
    normalizer = {
        "type": "BertNormalizer",
        "lowercase": False,
        "strip_accents": True,
        "handle_chinese_chars": False,
    }
    config: dict[str, Any] = {"do_lower_case": None, "tokenize_chinese_chars": None}
    folder = write(tmp_path, tokenizer=tokenizer_json(normalizer=normalizer), config=config)
    loaded = Tokenizer.from_folder(folder)
    assert (loaded.lowercase, loaded.strip_accents) == (False, True)
    assert not loaded.split_chinese_characters
    loaded = Tokenizer.from_folder(write(tmp_path, config={"strip_accents": None}))
    assert loaded.strip_accents is None  # null has a meaning here: as the lower-casing


@pytest.mark.parametrize(
    ("extra", "lowercase"),
    [([], True), (["[unused1]", "[URL]"], True), (["Town"], False), (["##S"], False)],
)
def test_a_vocabulary_with_an_upper_case_letter_is_cased_where_no_file_says(
    extra: list[str], lowercase: bool, tmp_path: Path
) -> None:
    folder = write(tmp_path, vocab=VOCAB_TXT + "".join(f"{token}\n" for token in extra))
    assert Tokenizer.from_folder(folder).lowercase == lowercase
    write(folder, config={"do_lower_case": not lowercase})
    assert Tokenizer.from_folder(folder).lowercase != lowercase


def test_the_casing_of_the_published_vocabularies_is_seen(both: tuple[Tokenizer, Any]) -> None:
    tokenizer, peer = both  # made from vocab.txt alone, transformers' with the casing given
    assert tokenizer.lowercase == peer.do_lower_case


@pytest.mark.parametrize(
    ("length", "expected"),
    [(128, 128), (1e30, 512), (10**30, 512), (None, 512), (0, 512), ("512", 512)],
)
def test_the_length_limit_is_read_where_it_means_something(
    length: object, expected: int, tmp_path: Path
) -> None:
    folder = write(tmp_path, vocab=VOCAB_TXT, config={"model_max_length": length})
    assert Tokenizer.from_folder(folder).max_length == expected


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n").removesuffix(b"\r\n"),
        lambda text: text.removesuffix(b"\n"),
    ],
    ids=["byte-order mark", "Windows lines", "both, no last line end", "no last line end"],
)
def test_a_vocabulary_is_read_through_a_byte_order_mark_and_any_line_ends(
    rewrite: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    folder = write(tmp_path, vocab=rewrite(VOCAB_TXT.encode()))
    assert Tokenizer.from_folder(folder).vocabulary == LITTLE


def test_unusual_separators_inside_a_token_do_not_end_its_line(tmp_path: Path) -> None:
    folder = write(tmp_path, vocab=VOCAB_TXT + "a\u2028b\n\x0c\n\x85\n")
    assert list(read_vocabulary(folder / "vocab.txt"))[-3:] == ["a\u2028b", "\x0c", "\x85"]


def test_a_token_on_two_lines_is_named_with_both(tmp_path: Path) -> None:
    message = refusal(tmp_path, vocab=VOCAB_TXT + "##s\n")
    assert "vocab.txt has the token '##s' on lines 8 and 22;" in message


def test_a_model_without_ids_for_all_tokens_is_refused_with_both_numbers() -> None:
    vocabulary = {token: number for number, token in enumerate([*SPECIAL_TOKENS, "a", "b"])}
    tokenizer = Tokenizer(vocabulary, lowercase=True)
    for enough in (7, 8, 30_522):
        tokenizer.require_ids(enough, "here")
    with pytest.raises(ValueError, match=r"^here: the tokenizer has 7 tokens, the model only 6; "):
        tokenizer.require_ids(6, "here")


def test_all_missing_special_tokens_are_named(tmp_path: Path) -> None:
    text = VOCAB_TXT.replace("[SEP]\n", "").replace("[UNK]\n", "")
    assert "vocab.txt lacks the special tokens [UNK], [SEP]; add them" in refusal(
        tmp_path, vocab=text
    )


def test_a_token_that_only_stands_among_the_added_ones_has_the_id_given_there(
    tmp_path: Path,
) -> None:
    vocabulary = {token: i for token, i in LITTLE.items() if token != "[MASK]"}
    folder = write(tmp_path, tokenizer=broken_model(vocab=vocabulary))
    assert Tokenizer.from_folder(folder).mask_id == LITTLE["[MASK]"]


def broken_model(**changes: object) -> dict[str, Any]:
    return tokenizer_json(model=tokenizer_json()["model"] | changes)


BAD_FILES = [
    ({}, "has neither tokenizer.json nor vocab.txt"),
    ({"vocab": b""}, "lacks the special tokens [PAD], [UNK], [CLS], [SEP], [MASK]"),
    ({"vocab": b"\xff\xfe["}, "vocab.txt is not UTF-8 text"),
    ({"tokenizer": b""}, "tokenizer.json is empty; expected the tokenizer file of a BERT model"),
    ({"tokenizer": b"[" * 100_000}, "tokenizer.json is nested too deeply"),
    ({"tokenizer": b"\xff"}, "tokenizer.json is not UTF-8 text (byte 0)"),
    ({"tokenizer": []}, "tokenizer.json holds a list in place of a JSON object"),
    ({"tokenizer": {}}, "is a None tokenizer, expected WordPiece"),
    ({"tokenizer": broken_model(type="BPE")}, "is a 'BPE' tokenizer, expected WordPiece"),
    ({"tokenizer": broken_model(vocab=[["a", 0.5]])}, "expected WordPiece"),
    ({"tokenizer": broken_model(continuing_subword_prefix="@@")}, "other than with ##"),
    ({"tokenizer": broken_model(vocab={**LITTLE, "new": "7"})}, "gives the token 'new' no whole"),
    ({"tokenizer": broken_model(vocab={**LITTLE, "new": True})}, "gives the token 'new' no whole"),
    ({"tokenizer": broken_model(vocab={**LITTLE, "new": 99})}, "has 22 tokens, expected the ids"),
    ({"tokenizer": broken_model(vocab={**LITTLE, "new": 3})}, "has 22 tokens, expected the ids"),
    ({"tokenizer": tokenizer_json(model=["x"])}, "has a list as model"),
    ({"tokenizer": tokenizer_json(normalizer={"type": "NFKC"})}, "has the normalizer 'NFKC'"),
    (
        {"tokenizer": tokenizer_json(pre_tokenizer={"type": "ByteLevel"})},
        "has the pre_tokenizer 'ByteLevel', expected BertPreTokenizer",
    ),
    ({"tokenizer": tokenizer_json(added_tokens=["x"])}, "has an added token without content"),
    (
        {"tokenizer": tokenizer_json(added_tokens=[{"id": 21, "content": "[ENT]"}])},
        "adds the token '[ENT]', which text would have to be searched for; only [PAD] [UNK] [CLS] ",
    ),
    (
        {"tokenizer": tokenizer_json(added_tokens=[{"id": 5, "content": "old"}])},
        "adds the token 'old'",
    ),
    (
        {"tokenizer": tokenizer_json(added_tokens=[{"id": 5, "content": "[CLS]"}])},
        "gives the token [CLS] the ids 2 and 5; get the file again",
    ),
    (
        {"tokenizer": tokenizer_json(added_tokens={"id": 5, "content": "[CLS]"})},
        "gives the token [CLS] the ids 2 and 5",
    ),
    (
        {"vocab": VOCAB_TXT, "config": {"added_tokens_decoder": {"21": {"content": "[ENT]"}}}},
        "tokenizer_config.json adds the token '[ENT]'",
    ),
    (
        {"tokenizer": broken_model(vocab={**LITTLE, "a\nb": 21})},
        "has the token 'a\\nb', with a line",
    ),
    ({"tokenizer": broken_model(vocab={**LITTLE, "\r": 21})}, "has the token '\\r', with a line"),
    ({"tokenizer": broken_model(vocab={**LITTLE, "\ud800": 21})}, "token '\\ud800', with a line"),
    (
        {"tokenizer": tokenizer_json(normalizer={"lowercase": "no"})},
        "has lowercase 'no', expected true, false or null",
    ),
    ({"vocab": VOCAB_TXT, "config": "{"}, "tokenizer_config.json is not JSON"),
    (
        {"vocab": VOCAB_TXT, "config": {"do_lower_case": "false"}},
        "has do_lower_case 'false', expected true, false or null",
    ),
]


@pytest.mark.parametrize(("files", "message"), BAD_FILES, ids=[m for _, m in BAD_FILES])
def test_a_bad_file_is_refused_in_a_sentence(
    files: dict[str, object], message: str, tmp_path: Path
) -> None:
    assert message in refusal(tmp_path, **files)
