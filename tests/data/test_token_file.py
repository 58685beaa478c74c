"""The token file: right ids, made once, whole or not at all, whatever the number of processes."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

import data.token_file
from data.command import UsageError
from data.corpus import read_documents
from data.token_file import tokenize_corpus
from data.tokenization import Tokenizer
from data.tokenizer_files import SPECIAL_TOKENS
from data.vocabulary import train_vocabulary
from tests.data.texts import SENTENCES, write_text


@pytest.fixture(scope="module")
def tokenizer():
    return train_vocabulary(SENTENCES, SENTENCES, size=150)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("text") / "text", 400)


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(data.token_file, "_CHUNK", 5000)


def test_the_ids_are_the_tokenizers_with_sep_after_each_document(text, tokenizer, tmp_path):
    extra = tmp_path / "extra"
    extra.write_text("odd\twhite\x0bspace\u2003here\x1cand\xa0there [SEP] [MASK]\r\nanna\n")
    corpus = tokenize_corpus([text, extra], tokenizer, tmp_path / "tokens")
    documents = list(read_documents([text, extra]))
    expected = [i for ids in tokenizer.encode(documents) for i in [*ids, tokenizer.sep_id]]
    assert corpus.ids.dtype == np.uint16 and corpus.ids.tolist() == expected
    assert corpus.counts == {
        "documents": 401,
        "tokens": len(expected),
        "characters": sum(map(len, documents)),
        "unknown": expected.count(tokenizer.unk_id),
    }
    assert (np.diff(corpus.document_ends()) > 1).all() and len(corpus.document_ends()) == 401
    assert corpus.names == ["text", "extra"]


def test_a_large_vocabulary_gets_four_bytes_a_token(tmp_path):
    tokens = [*SPECIAL_TOKENS, *(f"w{n}" for n in range(70_000))]
    tokenizer = Tokenizer({token: n for n, token in enumerate(tokens)}, lowercase=True)
    path = tmp_path / "text"
    path.write_text("w1 w69999")
    corpus = tokenize_corpus([path], tokenizer, tmp_path / "tokens")
    assert corpus.ids.dtype == np.uint32 and corpus.ids.tolist() == [6, 70_004, 3]


def test_the_number_of_processes_changes_nothing(text, tokenizer, tmp_path, small_chunks):
    made = [tokenize_corpus([text], tokenizer, tmp_path / str(jobs), jobs) for jobs in (1, 2)]
    assert made[0].path.read_bytes() == made[1].path.read_bytes()
    sidecars = [json.loads(corpus.path.with_suffix(".json").read_bytes()) for corpus in made]
    assert sidecars[0] == sidecars[1]


def test_forgetting_words_changes_nothing(text, tokenizer, tmp_path, small_chunks, monkeypatch):
    whole = tokenize_corpus([text], tokenizer, tmp_path / "whole")
    monkeypatch.setattr(data.token_file, "_REMEMBERED", 10)
    forgetful = tokenize_corpus([text], tokenizer, tmp_path / "forgetful")
    assert whole.sha256 == forgetful.sha256


def test_a_file_is_made_once_and_another_one_for_other_text_or_vocabulary(
    text, tokenizer, tmp_path, monkeypatch
):
    folder = tmp_path / "tokens"
    first = tokenize_corpus([text], tokenizer, folder)
    made = []
    write = data.token_file._write_tokens
    monkeypatch.setattr(data.token_file, "_write_tokens", lambda *a: made.append(a) or write(*a))
    copy = tmp_path / "elsewhere"
    copy.write_bytes(text.read_bytes())
    assert tokenize_corpus([copy], tokenizer, folder).path == first.path  # content, not name
    assert made == []
    copy.write_text(text.read_text() + "\none more\n")
    assert tokenize_corpus([copy], tokenizer, folder).path != first.path
    cased = Tokenizer(tokenizer.vocabulary, lowercase=False)
    assert tokenize_corpus([text], cased, folder).path != first.path
    assert len(made) == 2


@pytest.mark.parametrize("damage", ["flip a bit", "cut", "sidecar", "no sidecar", "leftover"])
def test_a_damaged_file_is_made_anew_and_told(text, tokenizer, tmp_path, capsys, damage):
    corpus = tokenize_corpus([text], tokenizer, tmp_path)
    content, sidecar = corpus.path.read_bytes(), corpus.path.with_suffix(".json")
    if damage == "flip a bit":
        corpus.path.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    elif damage == "cut":
        corpus.path.write_bytes(content[:-2])
    elif damage == "sidecar":
        sidecar.write_bytes(sidecar.read_bytes()[:40])
    else:  # killed while it was written: no warning, since nothing was ever finished
        sidecar.unlink()
        if damage == "leftover":
            corpus.path.rename(corpus.path.with_name(f".{corpus.path.name}.tmp"))
    again = tokenize_corpus([text], tokenizer, tmp_path)
    assert again.path.read_bytes() == content
    assert ("is damaged" in capsys.readouterr().err) == (damage not in ("no sidecar", "leftover"))
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".lock", ".tokens"]


def test_nothing_is_left_where_the_text_turns_out_bad(text, tokenizer, tmp_path):
    bad = tmp_path / "bad"
    bad.write_bytes(text.read_bytes() + b"\xff")
    folder = tmp_path / "tokens"
    for jobs in (1, 2):
        with pytest.raises(UsageError, match="bad is not UTF-8"):
            tokenize_corpus([text, bad], tokenizer, folder, jobs)
    bad.write_text("\u200b\n")  # a character that the tokenizer drops
    with pytest.raises(UsageError, match="not a single token"):
        tokenize_corpus([bad], tokenizer, folder)
    assert {path.suffix for path in folder.iterdir()} == {".lock"}


def test_processes_end_with_a_killed_parent(text, tokenizer, tmp_path, monkeypatch):
    """SIGKILL cannot be answered by the parent, so its processes watch it."""
    reached = tmp_path / "children"

    def slow_chunks(documents):
        yield from ([next(documents)] for _ in range(2))
        while not all(Path(f"/proc/{pid}").exists() for pid in children()):
            time.sleep(0.01)
        reached.write_text(" ".join(map(str, children())))
        time.sleep(60)

    def children():
        return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()

    if not Path("/proc/self/task").exists():
        pytest.skip("needs Linux's /proc")
    child = os.fork()
    if child == 0:
        try:
            monkeypatch.setattr(data.token_file, "_chunks", slow_chunks)
            tokenize_corpus([text], tokenizer, tmp_path / "tokens", 2)
        finally:
            os._exit(1)
    while not reached.exists():
        time.sleep(0.02)
    pids = reached.read_text().split()
    assert pids
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    deadline = time.monotonic() + 20
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, "tokenizing processes outlive their parent"
        time.sleep(0.05)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
