"""One file, read once: lines, array elements and rows, bounded; every damage has file and line."""

import csv
import gzip
import hashlib
import json
import random
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.convert import reading, scanner
from data.convert.reading import Source

DOCUMENT = {
    "Version": 1.25,
    "skipped": [{"Data": [1, 2]}, "]}", None, -17],
    "Data": [
        {"text": 'a "quoted" ] } , \u00e9 \U0001f600 \\', "number": 12345678901234567890},
        {},
        {"nested": [[], {"a": [True, False, None]}], "long": "x" * 50},
    ],
    "last": 0,
}


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 1 << 20])
@pytest.mark.parametrize("packed", [False, True])
def test_elements_are_those_of_json_loads_wherever_the_pieces_end(
    chunk: int, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_CHUNK", chunk)
    path = tmp_path / "a.json"
    for indent in (None, 2):
        content = b"\xef\xbb\xbf" + json.dumps(DOCUMENT, indent=indent, ensure_ascii=False).encode()
        path.write_bytes(gzip.compress(content) if packed else content)
        with Source(path) as source:
            found = list(source.elements("Data"))
        assert [element for _, element in found] == DOCUMENT["Data"]
        assert [line for line, _ in found] == ([1] * 3 if indent is None else [15, 19, 20])


def test_the_digest_is_that_of_the_file_as_it_lies_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    member = gzip.compress(b'{"a": 1}\n' * 100_000)
    path.write_bytes(member + b"\0" * 1000 + member + b"\0" * 100_000)
    counts: list[int] = []
    with Source(path, counts.append) as source:
        assert next(source.objects())[0] == 1
        assert source.sha256() == hashlib.sha256(path.read_bytes()).hexdigest()
    with Source(path) as source:
        assert sum(1 for _ in source.objects()) == 200_000
        assert source.sha256() == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sum(counts) == path.stat().st_size


def lines(path: Path) -> None:
    with Source(path) as source:
        for _ in source.objects():
            pass


def elements(path: Path) -> None:
    with Source(path) as source:
        for _ in source.elements("data"):
            pass


def rows(path: Path) -> None:
    with Source(path) as source:
        for _ in source.rows("a"):
            pass


LINES = b"".join(b'{"a": "%d"}\n' % number for number in range(50_000))
PACKED = gzip.compress(LINES, mtime=0)


@pytest.mark.parametrize(
    ("read", "content", "words"),
    [
        (lines, PACKED[: len(PACKED) // 2], r"line \d{3,5} is cut: the gzip data ends too soon"),
        (lines, PACKED[:-3], "line 50001 is cut: the gzip data ends too soon"),
        (lines, PACKED[:-8] + bytes(8), r"line \d{5} lies in damaged gzip data"),
        (lines, LINES[:51], r"line 5 is not JSON \(Unterminated string starting at column 7\)"),
        (lines, b'{"a": 1}\n\n{"a": 2}\n', "line 2 is empty"),
        (lines, b'{"a": 1}\n[3]\n', "line 2 holds a list in place of a JSON object"),
        (lines, b'{"a": 1}\n{"a": 1, "a": 2}\n', "line 2 has the key 'a' twice in one object"),
        (lines, b'{"a": 1}\n{"a": NaN}\n', "line 2 holds NaN, which is not JSON"),
        (lines, b'{"a": 1}\n{"a": "\xff"}\n', r"line 2 is not UTF-8 text \(byte 7\)"),
        (lines, b'{"a": ' * 100_000, "line 1 is nested too deeply"),
        (elements, b'{"data": [{"a": 1},\n {"a": "x', "line 2, data.1., is not JSON .Unterm"),
        (elements, b'{"data": [{"a": 1},\n', "line 2, data.1., is not JSON"),
        (elements, b'{"data": [{"a": 1}\n', "line 2, data.0., ends where ',' should stand"),
        (elements, b'{"data": [{"a": 1}]\n', "line 2 ends where ',' should stand"),
        (elements, b'{"data": [{"a": 1}]}\n{', "line 2 has more behind the end"),
        (elements, b'{"data": [{"a": 1} 2]}', "line 1, data.0., has '2' where ',' should stand"),
        (elements, b'{"data": [{"a": 1},]}', "line 1, data.0., has a comma before ']'"),
        (elements, b'{"data": [{"a": 1}, 7]}', "line 1, data.1., holds a int in"),
        (elements, b'{"data": [], "data": []}', "line 1 has the key 'data' twice"),
        (elements, b'{"data": [{"a": 1, "a": 2}]}', "line 1, data.0., has the key 'a' twice"),
        (elements, b'{"data": [{"a": NaN}]}', "line 1, data.0., holds NaN"),
        (elements, b'{"data": {"a": 1}}', "line 1 has '{' where '\\[' should stand"),
        (elements, b'{"Data": []}', "line 1 is the last of an object without 'data'"),
        (elements, b'{"data": [{"a": \xff}]}', "line 1 is not UTF-8 text"),
        (elements, b"[]", "line 1 has '\\[' where '{' should stand"),
        (elements, b"", "line 1 ends where '{' should stand"),
        (elements, b'{"data": [' + b'{"a":' * 100_000, "line 1, data.0., is nested too deeply"),
        (elements, b'{"data": [{"a": ' + b"1" * 5000, "line 1, data.0., holds a number of"),
        (rows, b'a,b\n1,2\n"x\ny,3\n', "line 3 begins a row that is not csv"),
        (rows, b"a,b\n1,2\n1\n", "line 3 has 1 field, expected 2"),
        (rows, b"b,c\n1,2\n", "line 1 names no column 'a' but 'b', 'c'"),
        (rows, b"a,b\n1,\xff\n", "line 2 is not UTF-8 text"),
        (rows, b"", " is empty"),
        (lines, b"\x00" * 257 + b"ustar\x00\n", "line 1 begins a tar archive; unpack it"),
        (lines, gzip.compress(b"\x00" * 257 + b"ustar\x00\n", mtime=0), "line 1 begins a tar"),
        (lines, b"BZh91AY", "is a bzip2 archive; unpack it"),
    ],
)  # fmt: skip
def test_damage_is_one_sentence_with_file_and_line(
    read: Callable[[Path], None], content: bytes, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"a.file:? ?{words}") as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_a_zip_archive_is_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.json.gz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../evil", "x")
    with pytest.raises(ValueError, match=r"a.json.gz is a zip archive; unpack it"):
        lines(path)


@pytest.mark.parametrize(
    ("read", "begin"), [(lines, b'{"a": "'), (elements, b'{"data": [{"a": "'), (rows, b'a\n"')]
)
def test_a_file_that_unpacks_to_an_endless_value_is_refused_in_little_memory(
    read: Callable[[Path], None],
    begin: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (reading, scanner):
        monkeypatch.setattr(module, "MOST_BYTES", 1 << 20)
    path = tmp_path / "bomb.gz"
    filler = (b"x" * 999 + b"\n") * 200_000 if read is rows else b"x" * 200_000_000
    path.write_bytes(gzip.compress(begin + filler, 1))
    assert path.stat().st_size < 2_000_000
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"bomb.gz: line \d+,? .*(is longer|begins a)"):
            read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20_000_000


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    generator = random.Random(0)
    element = json.dumps({"text": "".join(chr(generator.randint(97, 122)) for _ in range(3000))})
    peaks = []
    for count in (1_000, 10_000):
        path = tmp_path / "a.json"
        path.write_text('{"data": [' + ",\n".join([element] * count) + "]}", encoding="utf-8")
        tracemalloc.start()
        elements(path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert path.stat().st_size > 30_000_000
    assert peaks[1] < peaks[0] * 1.2 < 15_000_000


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none.json cannot be read .No such file"):
        Source(tmp_path / "none.json")


def test_a_row_that_runs_over_lines_has_the_line_on_which_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfa,b\r\n"x\n\ny",1\r\nz,2\r\n')
    with Source(path) as source:
        limit = csv.field_size_limit()
        found: list[tuple[int, Any]] = list(source.rows("a", "b"))
        assert csv.field_size_limit() == limit  # that of other readers in this process
    assert found == [(2, {"a": "x\n\ny", "b": "1"}), (5, {"a": "z", "b": "2"})]


def test_a_flood_of_white_space_is_passed_over_quickly(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(gzip.compress(b" \n" * (16 << 20) + b'{"data": []}', 1))
    begin = time.process_time()
    elements(path)
    assert time.process_time() - begin < 1.5  # 0.15 s; character by character, 3 s
