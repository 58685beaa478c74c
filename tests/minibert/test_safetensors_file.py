"""minibert/safetensors_file.py: a damaged or disguised file is one sentence, never a load."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from minibert.safetensors_file import check_safetensors, read_safetensors

# two tensors of 6 and 4 float32: 24 + 16 bytes
TENSORS = {"first": torch.arange(6.0).view(2, 3), "second": torch.arange(4.0)}
GOOD = save(TENSORS, {"format": "pt"})


def file_of(header: bytes, data: bytes = bytes(40), length: int | None = None) -> bytes:
    return (len(header) if length is None else length).to_bytes(8, "little") + header + data


def entry(shape: Any = (2, 3), offsets: Any = (0, 24), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def header_of(**entries: Any) -> bytes:
    return json.dumps(entries).encode()


FIRST, SECOND = entry(), entry([4], [24, 40])


def changed(**values: Any) -> bytes:
    """A file whose first tensor's entry is changed, and the second as it was."""
    return file_of(header_of(first=FIRST | values, second=SECOND))


DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty or cut (0 bytes)"),
    "7 bytes": (GOOD[:7], "is empty or cut (7 bytes)"),
    "8 bytes": (GOOD[:8], "is cut inside its header"),
    "cut header": (GOOD[:40], "is cut inside its header"),
    "1 byte short": (GOOD[:-1], f"should be {len(GOOD)} bytes long, is {len(GOOD) - 1}"),
    "1 byte more": (GOOD + b"\0", f"should be {len(GOOD)} bytes long, is {len(GOOD) + 1}"),
    "length 2^63": (file_of(b"{}", length=1 << 63), "9223372036854775808 bytes long, at most"),
    "length 100 MB": (file_of(b"{}", length=100_000_001), "100000001 bytes long, at most 1000000"),
    "pickle": (b"\x80\x02}q\x00X\x06\x00\x00\x00weightq\x01.", "is a pickle, not"),
    "zipped pickle": (b"PK\x03\x04" + bytes(30), "is a pickle in a zip archive, not"),
    "web page": (b"<!DOCTYPE html><html></html>", "is an HTML page, not"),
    "lfs pointer": (b"version https://git-lfs.github.com/spec/v1\n", "is a git-lfs pointer, not"),
    "not utf-8": (file_of(b'{"\xff": 1}'), "broken header: it is not UTF-8 text (byte 2)"),
    "not json": (file_of(b"{nothing}"), "broken header: it is not JSON (Expecting property name"),
    "a list": (file_of(b"[]"), "broken header: it does not begin with {"),
    "space first": (file_of(b" " + header_of(first=FIRST, second=SECOND)), "does not begin with {"),
    "deep nest": (file_of(b'{"a":' * 50_000), "broken header: it is nested too deeply"),
    "huge number": (changed(shape=[2, 3]).replace(b"[2, 3]", b"[" + b"9" * 5000 + b"]"), "header"),
    "duplicate name": (
        file_of(header_of(first=FIRST)[:-1] + b"," + header_of(first=FIRST, second=SECOND)[1:]),
        "broken header: it has the key 'first' twice in one object",
    ),
    "metadata null": (file_of(header_of(__metadata__=None)), "__metadata__ is not an object"),
    "metadata number": (file_of(header_of(__metadata__={"a": 1})), "__metadata__ is not an object"),
    "entry null": (file_of(header_of(first=None)), "'first' should have exactly dtype, shape"),
    "missing field": (file_of(header_of(first={"dtype": "F32"})), "'first' should have exactly"),
    "extra field": (changed(colour="red"), "'first' should have exactly dtype, shape and"),
    "unknown dtype": (changed(dtype="F31"), "'first' has the unknown dtype 'F31'"),
    "dtype list": (changed(dtype=["F32"]), "'first' has the unknown dtype ['F32']"),
    "negative shape": (changed(shape=[-2, -3]), "'first' has [-2, -3] where whole numbers"),
    "fraction": (changed(shape=[2.0, 3]), "'first' has [2.0, 3] where whole numbers"),
    "shape no list": (changed(shape=6), "'first' has 6 where whole numbers"),
    "negative offset": (changed(data_offsets=[-24, 0]), "'first' has [-24, 0] where whole"),
    "three offsets": (changed(data_offsets=[0, 24, 24]), "has data_offsets [0, 24, 24]"),
    "reversed": (changed(data_offsets=[24, 0]), "needs 24 bytes, has data_offsets [24, 0]"),
    "another size": (changed(shape=[2, 2]), "shape [2, 2] and dtype F32 needs 16 bytes, has"),
    "overflow": (changed(shape=[1 << 62, 1 << 62]), "bytes, has data_offsets [0, 24]"),
    "overlap": (
        file_of(header_of(first=FIRST, second=entry([4], [20, 36])), bytes(36)),
        "tensor 'second' overlaps the tensor before it",
    ),
    "hole": (
        file_of(header_of(first=FIRST, second=entry([4], [28, 44])), bytes(44)),
        "tensor 'second' leaves a hole before it",
    ),
    "late start": (
        file_of(header_of(first=entry(offsets=[8, 32])), bytes(32)),
        "tensor 'first' leaves a hole before it",
    ),
    "6,000 tensors": (
        file_of(header_of(**{f"{n}": entry([0], [0, 0]) for n in range(6_000)}), b""),
        "it names 6000 tensors, at most 5000",
    ),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_one_sentence_that_names_it(damage: str, tmp_path: Path) -> None:
    content, message = DAMAGED[damage]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read_safetensors(path)
    text = str(caught.value)
    assert text.startswith(f"{path} ") and message in text and "\n" not in text


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        read_safetensors(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="is a folder, expected a safetensors file"):
        read_safetensors(tmp_path)


def test_a_good_file_reads_as_it_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    tensors = TENSORS | {
        "half": torch.randn(3, 1).half(),
        "brain": torch.randn(3).bfloat16(),
        "whole": torch.arange(5),
        "truth": torch.tensor(True),
        "none": torch.zeros(0, 4),
    }
    path.write_bytes(save(tensors))
    read = read_safetensors(path)
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype and torch.equal(read[name], tensor), name


@pytest.mark.parametrize("header_bytes", [0x280, 0x300, 0x480, 0x3C3C])
def test_a_header_whose_size_looks_like_a_pickle_or_a_page_is_neither(
    header_bytes: int, tmp_path: Path
) -> None:
    header = header_of(first=FIRST, second=SECOND)
    content = file_of(header + b" " * (header_bytes - len(header)), GOOD[-40:])
    assert content[:1] in (b"\x80", b"<", b"\0")  # 640 = 0x280 begins with a pickle's bytes 80 02
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    assert torch.equal(read_safetensors(path)["first"], TENSORS["first"])


def test_any_changed_header_byte_is_refused_in_one_sentence_or_changes_only_a_name(
    tmp_path: Path,
) -> None:
    path = tmp_path / "model.safetensors"
    refused = 0
    for place in range(len(GOOD) - 40):
        for value in (GOOD[place] ^ 1, GOOD[place] ^ 128, 0):
            path.write_bytes(GOOD[:place] + bytes([value]) + GOOD[place + 1 :])
            try:
                read = read_safetensors(path)
            except ValueError as error:
                assert str(error).startswith(f"{path} ") and "\n" not in str(error)
                refused += 1
            else:
                assert sorted(tensor.numel() for tensor in read.values()) == [4, 6]
    assert refused > 2 * (len(GOOD) - 40)


def test_the_check_alone_reads_no_tensor(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    size = 1 << 35  # 32 GB, none of them on the disk
    header = header_of(first=entry([size], [0, size], "U8"))
    path.write_bytes(file_of(header, b""))
    with path.open("r+b") as file:
        file.truncate(8 + len(header) + size)
    check_safetensors(path)
