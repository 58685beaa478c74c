"""A vocabulary learnt from text: the same every time, and the same ids here and in transformers."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from data.tokenization import Tokenizer
from data.tokenizer_files import SPECIAL_TOKENS
from data.vocabulary import train_vocabulary
from tests.data.texts import write_text
from tests.forked import forked

ROOT = Path(__file__).resolve().parents[2]
EXTRA = "Ünïcödé naïve 水と火 €5 x² 100% e-mail@home don't [MASK] [SEP] ##x\n\n"


def rich_text():
    """Many distinct words, with rare characters, so that a hash table's order would show."""
    generator = random.Random(0)
    letters = [chr(code) for code in (*range(97, 123), *range(0x3B1, 0x3CA), *range(0x430, 0x450))]
    weights = [1 / (1 + n) for n in range(len(letters))]
    words = [
        "".join(generator.choices(letters, weights, k=generator.randint(1, 9))) for _ in range(3000)
    ]
    return EXTRA * 3 + " ".join(generator.choices(words, k=20_000))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text"
    path.write_text(rich_text())
    return path


@pytest.fixture(scope="module", params=[True, False], ids=["lowercase", "cased"])
def folder(request, text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabulary")
    flag = "--lowercase" if request.param else "--no-lowercase"
    status, output, errors = forked(
        "data.vocabulary", text, "--size", 600, "--out", folder, flag, "--max-length", 64,
        "--characters", 120,
    )  # fmt: skip
    assert (status, errors) == (0, "") and output == f"600 tokens in {folder}\n"
    return folder


def test_the_special_tokens_come_first_and_the_size_is_as_asked(folder):
    tokens = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert tuple(tokens[:5]) == SPECIAL_TOKENS
    assert len(tokens) == len(set(tokens)) == 600
    assert any(len(token.removeprefix("##")) > 4 for token in tokens)  # words were merged


def test_the_same_text_gives_the_same_vocabulary_in_any_process(folder, text, tmp_path):
    flag = "--lowercase" if Tokenizer.from_folder(folder).lowercase else "--no-lowercase"
    for number in range(2):  # processes of their own: a hash table's order differs between them
        again = tmp_path / str(number)
        command = [sys.executable, "-m", "data.vocabulary", text, "--size", "600", "--out", again]
        subprocess.run(
            [*command, flag, "--max-length", "64", "--characters", "120"], cwd=ROOT, check=True
        )
        for name in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"):
            assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_transformers_reads_it_to_the_same_ids(folder, text):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.BertTokenizerFast.from_pretrained(folder)
    ours = Tokenizer.from_folder(folder)
    sample = text.read_text().replace("[MASK]", "").replace("[SEP]", "")[:20_000]
    (ids,) = ours.encode([sample])
    assert ids == theirs(sample, add_special_tokens=False)["input_ids"]
    assert theirs.model_max_length == 64 and theirs.mask_token_id == ours.mask_id == 4
    # every word of the text can be read: only characters beyond the alphabet are unknown
    assert ids.count(ours.unk_id) < 0.01 * len(ids)


def test_characters_are_the_most_frequent_ones_and_lower_case_folds():
    text = ["Aa aA bb b ć c, dd zzz " * 9]
    tokenizer = train_vocabulary(text, text, size=100, characters=4)
    assert {token for token in tokenizer.tokens if len(token) == 1} == {"a", "b", "z", "c"}
    assert "[UNK]" in (tokenizer.tokens[i] for i in tokenizer.encode(["d"])[0])
    cased = train_vocabulary(text, text, size=100, lowercase=False)
    assert {"A", "ć"} <= set(cased.tokens) and not {"A", "ć"} & set(tokenizer.tokens)


def test_a_text_without_enough_pieces_gives_a_smaller_vocabulary_and_says_so(tmp_path):
    path = write_text(tmp_path / "text", 5)
    status, output, _ = forked("data.vocabulary", path, "--out", tmp_path / "out")
    tokenizer = Tokenizer.from_folder(tmp_path / "out")
    assert status == 0 and tokenizer.vocab_size < 300
    assert f"{tokenizer.vocab_size} tokens" in output and "fewer than --size 8192" in output


@pytest.mark.parametrize(
    ("content", "words", "expected"),
    [
        (b" \n\n", [], "the text is empty"),
        (b"a\x00", [], "is binary"),
        (b"word", ["--size", "5"], "--size is 5, expected 100"),
        (b"word", ["--sise", "5"], "did you mean --size?"),
        (rich_text().encode(), ["--size", "110"], "has no room for words"),
    ],
)
def test_what_cannot_be_learnt_from_is_answered_in_one_sentence(tmp_path, content, words, expected):
    path = tmp_path / "text"
    path.write_bytes(content)
    out = tmp_path / "out"
    status, _, errors = forked("data.vocabulary", path, "--out", out, *words)
    assert status == 2 and errors.startswith("error: ") and errors.count("\n") == 1
    assert expected in errors
    assert not out.exists()
