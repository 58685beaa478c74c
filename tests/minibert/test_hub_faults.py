"""A Hub that fails, lies or goes away, and a cache that was damaged afterwards."""

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minibert.heads import BertForQuestionAnswering
from minibert.hub import find_model
from minibert.hub_cache import verify
from tests.loopback import LoopbackServer, git_blob_id
from tests.minibert.test_hub import FILES, NAME, ask, write_folder

WEIGHTS = "model.safetensors"


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer() as running:
        yield running


def test_what_is_not_a_hub_is_said_to_be_none_and_the_cached_commit_serves(
    server: LoopbackServer, tmp_path: Path
) -> None:
    full = tmp_path / "full"
    server.add_model(NAME, FILES)
    (found,) = ask(server, full, {"name": NAME})
    faults = ("no X-Repo-Commit", "no ETag", "a page")
    names = []
    for number, fault in enumerate(faults):
        for file in ("config.json", WEIGHTS):
            names.append(f"acme/{number}-{file[0]}")
            server.add_model(names[-1], FILES)
            server.faults[f"{names[-1]}/{file}"] = fault
    for name, result in zip(
        names, ask(server, tmp_path / "empty", *({"name": name} for name in names)), strict=True
    ):
        assert "what answers is not a Hub: check HF_ENDPOINT" in result["error"]
        assert name in result["error"] and "\n" not in result["error"]
    for fault in faults:
        server.faults = {f"{NAME}/config.json": fault}
        assert ask(server, full, {"name": NAME}) == [found]


def test_a_download_that_is_cut_goes_on_where_it_was(
    server: LoopbackServer, tmp_path: Path
) -> None:
    files = {**FILES, WEIGHTS: os.urandom(21 << 20)}  # huggingface_hub keeps steps of 10 MiB
    server.add_model(NAME, files)
    server.faults = {f"{NAME}/{WEIGHTS}": ["cut"], f"{NAME}/vocab.txt": ["cut"]}
    (found,) = ask(server, tmp_path, {"name": NAME}, HASTY="1")
    for file in (WEIGHTS, "vocab.txt"):
        assert (Path(found["folder"]) / file).read_bytes() == files[file]
    ranges = [headers["range"] for _, _, headers in server.requests if "range" in headers]
    assert ranges == [f"bytes={10 << 20}-"]


def test_too_many_requests_are_waited_for_as_long_as_the_hub_says(
    server: LoopbackServer, tmp_path: Path
) -> None:
    server.add_model(NAME, FILES)
    server.faults = {f"{NAME}/config.json": 429}
    (refused,) = ask(server, tmp_path, {"name": NAME})
    assert "too many requests (429): wait 1 s, or `hf auth login`" in refused["error"]
    server.faults = {f"{NAME}/{WEIGHTS}": [429]}
    begin = time.monotonic()
    (found,) = ask(server, tmp_path, {"name": NAME})
    assert (Path(found["folder"]) / WEIGHTS).read_bytes() == FILES[WEIGHTS]
    assert time.monotonic() - begin > 1


def test_a_hub_gone_between_two_files_is_said_and_the_next_start_asks_for_the_rest_only(
    server: LoopbackServer, tmp_path: Path
) -> None:
    server.add_model(NAME, FILES)
    server.faults[f"{NAME}/{WEIGHTS}"] = 503
    (refused,) = ask(server, tmp_path, {"name": NAME}, HASTY="1")
    for part in (WEIGHTS, NAME, "the Hub answered 503: try again later", str(tmp_path)):
        assert part in refused["error"]
    server.faults.clear()
    server.requests.clear()
    (found,) = ask(server, tmp_path, {"name": NAME})
    got = [path.rsplit("/", 1)[1] for method, path, _ in server.requests if method == "GET"]
    assert got == [WEIGHTS, "vocab.txt", "tokenizer_config.json"]

    def go(method: str, path: str) -> None:
        if path.endswith(WEIGHTS):
            server.close()
            raise ConnectionAbortedError

    server.hook = go
    (gone,) = ask(server, tmp_path / "empty", {"name": NAME}, HASTY="1")
    assert "the Hub cannot be reached" in gone["error"] and WEIGHTS in gone["error"]
    assert ask(server, tmp_path, {"name": NAME}) == [found]


def test_only_files_are_asked_for_so_no_listing_can_name_others(
    server: LoopbackServer, tmp_path: Path
) -> None:
    server.add_model(NAME, FILES)
    ask(server, tmp_path, {"name": NAME})
    assert {method for method, _, _ in server.requests} == {"GET", "HEAD"}
    for _, path, headers in server.requests:
        assert path.startswith((f"{NAME}/resolve/", f"large/{NAME}/"))
        assert headers["host"].split(":")[0] in ("127.0.0.1", "localhost")


@pytest.mark.parametrize(
    "name",
    [
        "../up", "/none/up", "~none/up", "a/../b", "a//b", "C:\\models\\up", "c:up", "a\0b",
        "\\\\host\\share", "//host/share", "http://127.0.0.1/a", "file:///etc", "acme/tiny\n",
        "acme/" + "x" * 200, ".", "-", "acme/tiny.git",
    ],
)  # fmt: skip
def test_a_name_with_a_path_in_it_is_refused_without_a_request(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError) as refused:
        find_model(name)
    assert "neither a folder nor a name like" in str(refused.value) or name == "."
    assert "\n" not in str(refused.value) and "\0" not in str(refused.value)
    assert os.listdir(tmp_path) == []


# --- the cache


class Cache:
    """A model in the layout of huggingface_hub's cache."""

    def __init__(self, folder: Path) -> None:
        self.blobs, self.snapshot = folder / "blobs", folder / "snapshots" / ("a" * 40)
        self.blobs.mkdir()
        self.snapshot.mkdir(parents=True)
        for file, content in FILES.items():
            large = file == WEIGHTS
            name = hashlib.sha256(content).hexdigest() if large else git_blob_id(content)
            (self.blobs / name).write_bytes(content)
            (self.snapshot / file).symlink_to(Path("..", "..", "blobs", name))

    def verify(self, file: str) -> None:
        verify(self.snapshot / file, NAME, lambda: "no request is made")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "ours"))
    return Cache(tmp_path)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def swap(path: Path) -> None:
    other = next(blob for blob in path.resolve().parent.iterdir() if blob != path.resolve())
    first, second = path.read_bytes(), other.read_bytes()
    path.write_bytes(second)
    other.write_bytes(first)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 10240\n"
PAGE = b"<!DOCTYPE html><html><body>Please log in.</body></html>"
DAMAGES = {
    "one bit": flip,
    "another file": swap,
    "overwritten through the link": lambda path: path.write_bytes(b"mine"),
    "a git-lfs pointer": lambda path: path.write_bytes(POINTER),
    "a page": lambda path: path.write_bytes(PAGE),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "empty": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", [WEIGHTS, "config.json"])
@pytest.mark.parametrize("known", [False, True])
def test_a_damaged_blob_is_named_with_both_hashes_and_the_way_to_get_it_again(
    cache: Cache, file: str, damage: str, known: bool
) -> None:
    path = cache.snapshot / file
    if known:  # that it was good is noted
        cache.verify(file)
    DAMAGES[damage](path)
    content = path.read_bytes()
    hashed = hashlib.sha256(content).hexdigest() if file == WEIGHTS else git_blob_id(content)
    with pytest.raises(ValueError) as refused:
        cache.verify(file)
    real = path.resolve()
    for part in (f"{file} of {NAME} is damaged", hashed, real.name, f"delete {real} and run again"):
        assert part in str(refused.value)


def test_a_good_blob_is_hashed_once_until_its_size_time_or_inode_changes(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = []
    digest = hashlib.file_digest

    def counting(stream, kind):  # type: ignore[no-untyped-def]
        hashed.append(stream.name)
        return digest(stream, kind)

    monkeypatch.setattr(hashlib, "file_digest", counting)
    blob = (cache.snapshot / WEIGHTS).resolve()

    def hashings() -> int:
        hashed.clear()
        cache.verify(WEIGHTS)
        return len(hashed)

    assert [hashings(), hashings(), hashings()] == [1, 0, 0]
    stat = blob.stat()
    os.utime(blob, ns=(stat.st_atime_ns, stat.st_mtime_ns - 10**12))  # a clock that is set back
    assert [hashings(), hashings()] == [1, 0]
    stat = blob.stat()
    blob.rename(blob.with_name("old"))
    blob.write_bytes(FILES[WEIGHTS])
    os.utime(blob, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert [hashings(), hashings()] == [1, 0]
    for note in (cache.blobs.parent / "ours" / "verified").iterdir():
        note.write_bytes(b"\0 damaged")
    assert [hashings(), hashings()] == [1, 0]


def test_a_link_that_leads_nowhere_or_names_no_hash_is_not_trusted(cache: Cache) -> None:
    outside = cache.blobs.parent / "outside.json"
    outside.write_bytes(FILES["config.json"])
    (cache.snapshot / "config.json").unlink()
    (cache.snapshot / "config.json").symlink_to(outside)
    with pytest.raises(ValueError, match=r"its hash is not known: outside\.json"):
        cache.verify("config.json")


# --- what the Hub may truly have in the place of a file


def test_a_pointer_or_a_page_in_the_place_of_a_file_is_called_by_its_name(tmp_path: Path) -> None:
    config = (
        b'{"model_type": "bert", "vocab_size": 4, "hidden_size": 2, "num_attention_heads": 1, '
        b'"num_hidden_layers": 1, "intermediate_size": 2}'
    )
    for number, (content, name) in enumerate(((POINTER, "git-lfs pointer"), (PAGE, "HTML page"))):
        files = {"config.json": config, WEIGHTS: content}
        folder = write_folder(tmp_path / f"weights-{number}", files)
        with pytest.raises(ValueError, match=name) as refused:
            BertForQuestionAnswering.from_pretrained(str(folder))
        assert str(folder / WEIGHTS) in str(refused.value)
        folder = write_folder(tmp_path / f"config-{number}", {"config.json": content, WEIGHTS: b""})
        with pytest.raises(ValueError, match="JSON") as refused:
            BertForQuestionAnswering.from_pretrained(str(folder))
        assert str(folder / "config.json") in str(refused.value)
