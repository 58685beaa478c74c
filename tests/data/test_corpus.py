"""The text reader: formats, documents, memory, and files that cannot be read."""

import gzip
import lzma
import os
import random
import tracemalloc

import pytest

from data.command import UsageError
from data.corpus import MAX_DOCUMENT, find_texts, read_documents

WIKI = """<doc id="12" url="http://en.wikipedia.org/wiki?curid=12" title="Anarchism">
Anarchism

Anarchism is a political philosophy.
It is <b>not</b> a doc.

</doc>
<doc id="25" url="x" title="Autism > a title">
Autism

Autism is a disorder.
</doc>
"""
WIKI_DOCUMENTS = [
    "Anarchism\nAnarchism is a political philosophy.\nIt is <b>not</b> a doc.",
    "Autism\nAutism is a disorder.",
]


def read(path):
    return list(read_documents([path]))


@pytest.mark.parametrize("name", ["text", "text.txt", "text.gz", "text.xz"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress])
def test_what_a_file_is_packed_with_is_told_by_its_content(tmp_path, name, pack):
    path = tmp_path / name
    path.write_bytes(pack(WIKI.encode()))
    assert read(path) == WIKI_DOCUMENTS


def test_outside_of_blocks_blank_lines_and_the_end_of_a_file_end_a_document(tmp_path):
    path = tmp_path / "plain"
    path.write_bytes("\ufeffone\r\ntwo\r\n\r\n  \t\nthrée\n\n\n".encode() + WIKI.encode() + b"last")
    assert read(path) == ["one\ntwo", "thrée", *WIKI_DOCUMENTS, "last"]
    other = tmp_path / "other"
    other.write_text("four")
    assert list(read_documents([path, other]))[-2:] == ["last", "four"]


def test_a_block_that_is_not_closed_keeps_its_text(tmp_path):
    path = tmp_path / "cut"
    path.write_text(WIKI[: WIKI.index("It is")] + WIKI[WIKI.index('<doc id="25"') : -30])
    assert read(path) == ["Anarchism\nAnarchism is a political philosophy.", "Autism"]


def test_any_documents_written_with_blank_lines_between_come_back(tmp_path):
    generator = random.Random(0)
    for number in range(50):
        documents = [
            "\n".join(
                "".join(generator.choices("ab é水\u2028\x85\x1c.", k=9)) + "x"
                for _ in range(generator.randint(1, 4))
            )
            for _ in range(generator.randint(1, 5))
        ]
        path = tmp_path / str(number)
        path.write_bytes("\n\n".join(documents).encode())
        assert read(path) == documents


@pytest.mark.parametrize("separator", ["\n", " ", ""], ids=["lines", "one line", "one word"])
def test_a_document_without_end_is_handed_on_in_parts_and_nothing_is_lost(tmp_path, separator):
    path = tmp_path / "long"
    text = separator.join(["wörd水"] * 400_000)
    path.write_bytes(text.encode())
    parts = read(path)
    assert len(parts) >= 2
    assert max(map(len, parts)) <= MAX_DOCUMENT + 2**20
    joined = "".join(parts)
    assert joined.replace("\n", "").replace(" ", "") == text.replace("\n", "").replace(" ", "")


def test_a_large_file_takes_the_memory_of_a_document(tmp_path):
    path = tmp_path / "large.gz"
    with gzip.open(path, "wb", 1) as file:
        for _ in range(300):
            file.write((("some words of text " * 50 + "\n") * 100 + "\n").encode())
    tracemalloc.start()
    size = sum(map(len, read_documents([path])))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size > 28_000_000
    assert peak < 2_000_000


def test_folders_are_read_in_the_order_of_their_paths_without_hidden_files(tmp_path):
    for name in ("b/two.txt", "a/one.txt", "a/.hidden", ".git/x", "c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    found = [str(path.relative_to(tmp_path)) for path in find_texts([tmp_path])]
    assert found == ["a/one.txt", "b/two.txt", "c.txt"]
    # named files keep the order in which they are named
    assert [path.name for path in find_texts([tmp_path / "c.txt", tmp_path / "a"])] == [
        "c.txt", "one.txt",
    ]  # fmt: skip


def test_texts_that_are_not_there_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"missing\.txt does not exist"):
        find_texts([tmp_path / "missing.txt"])
    with pytest.raises(UsageError, match="empty holds no files"):
        find_texts([tmp_path / "empty"])
    with pytest.raises(UsageError, match="no text is named"):
        find_texts([])


def test_a_pipe_is_refused_and_never_waited_for(tmp_path):
    # texts are read twice, for their hash and for their words, and a pipe gives them once
    (tmp_path / "texts").mkdir()
    os.mkfifo(tmp_path / "texts" / "pipe")
    (tmp_path / "texts" / "more.txt").write_text("anna")
    ends = os.pipe()
    os.write(ends[1], b"anna saw boats")
    os.close(ends[1])
    try:
        for text in ("pipe", "../texts", f"/dev/fd/{ends[0]}", "/dev/zero"):
            with pytest.raises(ValueError, match=r"^text .* is a pipe or a device, .*save it as"):
                find_texts([tmp_path / "texts" / text])
    finally:
        os.close(ends[0])
    with (tmp_path / "texts" / "more.txt").open() as file:  # as `< more.txt` gives it
        assert read(*find_texts([f"/dev/fd/{file.fileno()}"])) == ["anna"]


LINES = b"".join(b"line %d of the text\n" % n for n in range(1, 20001))
HOSTILE = {
    "zero bytes": (b"one\ntwo\x00\n", "is binary: a zero byte in line 2"),
    "UTF-16": ("one\ntwo\n".encode("utf-16"), "line 1"),
    "Latin-1": (b"one\n\ncaf\xe9\n", "is not UTF-8: byte 0xe9 in line 3"),
    "cut character": (b"one\ncaf\xc3", "is not UTF-8: byte 0xc3 in line 2"),
    "cut xz": (lzma.compress(LINES)[:-40], "cannot be unpacked after line"),
    "cut gz": (gzip.compress(LINES)[:-40], "cannot be unpacked after line"),
    "xz, only its beginning": (lzma.compress(LINES)[:10], "after line 0 (the file is cut)"),
    "damaged xz": (lzma.compress(LINES)[:200] + b"x" * 99, "damaged"),
    "damaged gz": (gzip.compress(LINES)[:200] + b"x" * 99, "damaged"),
    "gz with a wrong checksum": (gzip.compress(LINES)[:-8] + b"12345678", "damaged"),
    "gz with something after it": (gzip.compress(LINES) + b"12345678", "damaged"),
    "binary in gz": (gzip.compress(b"\x00" * 99), "is binary"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_cannot_be_read_is_named_with_the_place(tmp_path, name):
    content, words = HOSTILE[name]
    path = tmp_path / "hostile"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read(path)
    message = str(caught.value)
    assert str(path) in message and words in message and "\n" not in message
