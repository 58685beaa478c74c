"""`find_model` against a Hub on loopback, with the real huggingface_hub in a process of its own."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minibert.hub import find_model
from tests.loopback import LoopbackServer, clean_environment, git_blob_id

ROOT = Path(__file__).parents[2]
NAME = "acme/tiny-bert"
FILES = {
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": bytes(range(256)) * 40,
    "tokenizer_config.json": b'{"do_lower_case": false}',
    "vocab.txt": b"[PAD]\n[UNK]\n",
    "pytorch_model.bin": b"\x80\x02never",
    "README.md": b"not asked for",
}
INDEX = "model.safetensors.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
NO_WEIGHTS = {key: FILES[key] for key in ("config.json", "tokenizer_config.json", "vocab.txt")}

# huggingface_hub reads HF_ENDPOINT and HF_HOME when it is imported: each set needs a new process.
CLIENT = """
import json, os, sys, time, warnings
from minibert.hub import find_model
if "HASTY" in os.environ:  # the library's waiting between its tries is not waited for
    time.sleep = lambda seconds: None
for call in json.loads(sys.argv[1]):
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = find_model(call.pop("name"), **call)
        ours = [str(one.message) for one in told if one.category is UserWarning]
        result = {"folder": str(found.folder), "commit": found.commit}
        print(json.dumps(result | ({"warned": ours[0]} if ours else {})))
    except ValueError as error:
        print(json.dumps({"error": str(error)}))
"""


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer() as running:
        yield running


def ask(
    server: LoopbackServer, home: Path, *calls: dict[str, Any], **environment: str
) -> list[dict[str, str]]:
    """The result of `find_model(**call)` for every call: folder and commit, or error."""
    settings = {
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(home),
        "MINIBERT_CACHE": str(home / "ours"),
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, json.dumps(calls)],
        env=clean_environment(**settings),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def index_of(*shards: object) -> bytes:
    weight_map = {f"weight.{number}": shard for number, shard in enumerate(shards)}
    return json.dumps({"metadata": {}, "weight_map": weight_map}).encode()


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for file, content in files.items():
        (folder / file).write_bytes(content)
    return folder


def test_a_name_is_downloaded_without_pickle_and_a_pinned_commit_asks_nothing_again(
    server: LoopbackServer, tmp_path: Path
) -> None:
    commit = server.add_model(NAME, FILES)
    (found,) = ask(server, tmp_path, {"name": NAME})
    folder = Path(found["folder"])
    wanted = {"config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt"}
    assert {entry.name: entry.read_bytes() for entry in folder.iterdir()} == {
        key: FILES[key] for key in wanted
    }
    assert found["commit"] == commit
    assert not any("pytorch_model" in path for _, path, _ in server.requests)

    server.requests.clear()
    assert ask(server, tmp_path, {"name": NAME}) == [found]
    assert [request[0] for request in server.requests] == ["HEAD"]  # has the branch moved?

    server.requests.clear()
    pinned = {"name": NAME, "revision": commit}
    local = {"name": NAME, "local_files_only": True}
    assert ask(server, tmp_path, pinned, local, {**pinned, **local}) == [found] * 3
    assert server.requests == []


def test_an_optional_file_is_fetched_and_verified_where_the_model_has_it(
    server: LoopbackServer, tmp_path: Path
) -> None:
    settings = {"qa_settings.json": b'{"max_length": 99}'}
    server.add_model(NAME, {**FILES, **settings})
    wanted = {"name": NAME, "optional": ["qa_settings.json"]}
    found, without = ask(server, tmp_path, wanted, {"name": NAME})
    path = Path(found["folder"]) / "qa_settings.json"
    assert path.read_bytes() == settings["qa_settings.json"] and "warned" not in found
    assert without == found
    path.resolve().write_bytes(b'{"max_length": 98}')
    (damaged,) = ask(server, tmp_path, wanted)
    assert "qa_settings.json of acme/tiny-bert is damaged" in damaged["error"]


def test_of_an_optional_file_that_is_not_there_the_hub_is_asked_once(
    server: LoopbackServer, tmp_path: Path
) -> None:
    commit = server.add_model(NAME, FILES)
    wanted = {"name": NAME, "optional": ["qa_settings.json"]}
    ask(server, tmp_path, {"name": NAME})
    (unknown,) = ask(server, tmp_path, {**wanted, "local_files_only": True})
    assert unknown["warned"] == (
        f"whether {NAME} has a qa_settings.json is not known (local_files_only is set); going on "
        "without it"
    )
    (found,) = ask(server, tmp_path, wanted)
    assert "warned" not in found and not (Path(found["folder"]) / "qa_settings.json").exists()
    server.requests.clear()
    pinned, local = {**wanted, "revision": commit}, {**wanted, "local_files_only": True}
    assert ask(server, tmp_path, pinned, local) == [found] * 2
    assert server.requests == []


def test_without_weights_none_are_downloaded(server: LoopbackServer, tmp_path: Path) -> None:
    server.add_model(NAME, FILES)
    (found,) = ask(server, tmp_path, {"name": NAME, "weights": False})
    assert "model.safetensors" not in os.listdir(found["folder"])
    assert (Path(found["folder"]) / "vocab.txt").is_file()


def test_all_files_are_of_one_commit_though_the_branch_moves_meanwhile(
    server: LoopbackServer, tmp_path: Path
) -> None:
    first = server.add_model(NAME, FILES)
    moved = {**FILES, "vocab.txt": b"[PAD]\n[UNK]\nmoved\n", "model.safetensors": b"moved" * 99}

    def move(method: str, path: str) -> None:
        if path.endswith("model.safetensors"):
            server.add_model(NAME, moved)

    server.hook = move
    (found,) = ask(server, tmp_path, {"name": NAME})
    assert found["commit"] == first
    assert (Path(found["folder"]) / "vocab.txt").read_bytes() == FILES["vocab.txt"]
    (after,) = ask(server, tmp_path, {"name": NAME})
    assert after["commit"] == server.add_model(NAME, moved)
    assert (Path(after["folder"]) / "vocab.txt").read_bytes() == moved["vocab.txt"]


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("symlinks", [True, False])
def test_a_flipped_bit_is_found_and_deleting_the_file_is_the_remedy(
    server: LoopbackServer, tmp_path: Path, file: str, symlinks: bool
) -> None:
    server.add_model(NAME, FILES)
    server.faults[f"{NAME}/{file}"] = "flip"
    environment = {} if symlinks else {"HF_HUB_DISABLE_SYMLINKS": "1"}
    (found,) = ask(server, tmp_path, {"name": NAME}, **environment)
    bad = FILES[file][:-1] + bytes([FILES[file][-1] ^ 1])

    def hashed(content: bytes) -> str:
        large = file == "model.safetensors"
        return hashlib.sha256(content).hexdigest() if large else git_blob_id(content)

    for part in (f"{file} of {NAME}", hashed(bad), hashed(FILES[file])):
        assert part in found["error"]
    bad_path = Path(found["error"].split("delete ")[1].split(" and run again")[0])
    assert bad_path.read_bytes() == bad
    bad_path.unlink()
    server.faults.clear()
    (found,) = ask(server, tmp_path, {"name": NAME}, **environment)
    assert (Path(found["folder"]) / file).read_bytes() == FILES[file]


def test_a_blob_is_hashed_once_until_it_changes(server: LoopbackServer, tmp_path: Path) -> None:
    commit = server.add_model(NAME, FILES)
    (found,) = ask(server, tmp_path, {"name": NAME})
    blob = (Path(found["folder"]) / "model.safetensors").resolve()
    stat = blob.stat()
    with blob.open("r+b") as stream:
        stream.write(b"\xff")
    os.utime(blob, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    pinned = {"name": NAME, "revision": commit}
    assert ask(server, tmp_path, pinned) == [found]  # same size, time and inode: not hashed again
    os.utime(blob, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    (found,) = ask(server, tmp_path, pinned)
    assert "model.safetensors of acme/tiny-bert is damaged" in found["error"]


def test_a_cache_that_keeps_no_hashes_is_not_trusted_unverified_offline(
    server: LoopbackServer, tmp_path: Path
) -> None:
    server.add_model(NAME, FILES)
    local = {"name": NAME, "local_files_only": True}
    (found,) = ask(server, tmp_path, {"name": NAME})
    for link in Path(found["folder"]).iterdir():  # as on Windows: files instead of links to blobs
        content = link.read_bytes()
        link.unlink()
        link.write_bytes(content)
    (result,) = ask(server, tmp_path, local)
    assert f"{found['folder']}/config.json cannot be verified" in result["error"]
    assert ask(server, tmp_path, {"name": NAME}) == [found]  # the Hub is asked for the hashes
    assert ask(server, tmp_path, local) == [found]  # and need not be asked again


def test_what_the_hub_refuses_is_said_in_one_sentence_without_the_token(
    server: LoopbackServer, tmp_path: Path
) -> None:
    faults: dict[str, str | int] = {
        "gated": "gated",
        "refused": "refused",
        "busy": 429,
        "down": 503,
    }
    for name, fault in faults.items():
        server.add_model(f"acme/{name}", FILES)
        server.faults[f"acme/{name}/config.json"] = fault
    server.add_model("acme/short", FILES)
    server.faults["acme/short/model.safetensors"] = "short"
    server.add_model("acme/no-config", {"vocab.txt": b"x\n"})
    server.add_model("acme/no-weights", NO_WEIGHTS)
    expected = {
        "acme/none": "no folder or Hub model has this name",
        "acme/gated": "terms",
        "acme/refused": "the Hub refused the access token (401)",
        "acme/busy": "too many requests (429)",
        "acme/down": "the Hub answered 503",
        "acme/no-config": "the Hub has no such file of it (404)",
        "acme/short": "the file came short",
        "acme/no-weights": "no model.safetensors in acme/no-weights (revision main) on the Hub",
        "not/a/name": "'not/a/name' is neither a folder nor a name like",
        "../up": "'../up' is neither a folder nor a name like",
        "": "'' is neither a folder nor a name like",
    }
    start = time.monotonic()
    results = ask(server, tmp_path, *({"name": name} for name in expected), HF_TOKEN="hf_secret")
    assert time.monotonic() - start < 15  # no waiting through a library's retries
    assert any(headers.get("authorization") for _, _, headers in server.requests)
    for (name, part), result in zip(expected.items(), results, strict=True):
        assert part in result["error"] and name in result["error"]
        assert "hf_secret" not in result["error"] and "\n" not in result["error"]
        if "the cache" in result["error"]:
            assert str(tmp_path) in result["error"] and "revision main" in result["error"]
            assert "--demo" in result["error"] and "local folder" in result["error"]


def test_a_revision_is_a_branch_or_commit_that_exists(
    server: LoopbackServer, tmp_path: Path
) -> None:
    server.add_model(NAME, FILES)
    other = server.add_model(NAME, {**FILES, "vocab.txt": b"other\n"}, branch="refs/pr/1")
    names = ("refs/pr/1", "nope", "a/../../../up", "/up", "")
    results = ask(server, tmp_path, *({"name": NAME, "revision": name} for name in names))
    assert results[0]["commit"] == other
    assert "revision nope" in results[1]["error"]
    assert "no such branch, tag or commit" in results[1]["error"]
    assert all("is not the name of a branch" in result["error"] for result in results[2:])


def test_large_files_come_from_another_host_which_never_sees_the_token(
    server: LoopbackServer, tmp_path: Path
) -> None:
    server.add_model(NAME, FILES)
    with LoopbackServer() as storage:
        storage.add_model(NAME, FILES)
        server.large_url = storage.large_url
        (found,) = ask(server, tmp_path, {"name": NAME}, HF_TOKEN="hf_secret")
        assert (Path(found["folder"]) / "model.safetensors").read_bytes() == FILES[
            "model.safetensors"
        ]
        assert [request[0] for request in storage.requests] == ["GET"]
        assert "hf_secret" not in repr(storage.requests)
    assert "hf_secret" in repr(server.requests)


def test_a_name_of_one_word_follows_the_hubs_rename(server: LoopbackServer, tmp_path: Path) -> None:
    commit = server.add_model("google-bert/bert-base-uncased", FILES)
    server.aliases["bert-base-uncased"] = "google-bert/bert-base-uncased"
    (found,) = ask(server, tmp_path, {"name": "bert-base-uncased"})
    assert found["commit"] == commit
    assert (Path(found["folder"]) / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_shards_are_those_the_index_lists(server: LoopbackServer, tmp_path: Path) -> None:
    shards = {shard: shard.encode() for shard in SHARDS}
    sharded = {**NO_WEIGHTS, INDEX: index_of(*SHARDS, SHARDS[0]), **shards}
    server.add_model(NAME, sharded)
    server.add_model("acme/gap", {key: sharded[key] for key in sharded if key != SHARDS[1]})
    found, gap = ask(server, tmp_path, {"name": NAME}, {"name": "acme/gap"})
    assert {entry.name for entry in Path(found["folder"]).iterdir()} == set(sharded)
    assert SHARDS[1] in gap["error"] and INDEX in gap["error"]

    folder = write_folder(tmp_path / "folder", sharded)
    assert find_model(folder).folder == folder
    (folder / SHARDS[1]).unlink()
    with pytest.raises(ValueError, match=f"no {SHARDS[1]} in the folder"):
        find_model(folder)


@pytest.mark.parametrize(
    "shard",
    [
        "../up.safetensors",
        "/etc/up.safetensors",
        "a/b.safetensors",
        "a\\b.safetensors",
        "c:up.safetensors",
        ".safetensors",
        "up.safetensors\n",
        "pytorch_model.bin",
        7,
        None,
        [],
    ],
)
def test_a_shard_with_a_path_in_its_name_is_refused(tmp_path: Path, shard: object) -> None:
    folder = write_folder(tmp_path / "folder", {**NO_WEIGHTS, INDEX: index_of(SHARDS[0], shard)})
    (folder / SHARDS[0]).write_bytes(b"x")
    (tmp_path / "up.safetensors").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"not a plain|expected a safetensors index"):
        find_model(folder)


def test_a_hostile_index_on_the_hub_writes_nothing_outside_the_cache(
    server: LoopbackServer, tmp_path: Path
) -> None:
    server.add_model(NAME, {**NO_WEIGHTS, INDEX: index_of("../../../../../up.safetensors")})
    (found,) = ask(server, tmp_path / "home", {"name": NAME})
    assert "names the shard '../../../../../up.safetensors'" in found["error"]
    assert not any("up.safetensors" in path for _, path, _ in server.requests)
    assert os.listdir(tmp_path) == ["home"]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"weight_map": []}', b'{"weight_map": {}}']
)
def test_an_index_without_weights_is_refused(tmp_path: Path, content: bytes) -> None:
    folder = write_folder(tmp_path / "folder", {**NO_WEIGHTS, INDEX: content})
    with pytest.raises(ValueError, match=r"expected a safetensors index"):
        find_model(folder)


def test_a_pickle_is_not_opened_and_how_to_convert_it_is_said(
    server: LoopbackServer, tmp_path: Path
) -> None:
    pickled = {**NO_WEIGHTS, "pytorch_model.bin": b"\x80\x02never"}
    server.add_model(NAME, pickled)
    (found,) = ask(server, tmp_path, {"name": NAME})
    assert f"no model.safetensors in {NAME}" in found["error"]
    assert "save_pretrained" in found["error"]
    assert not any(method == "GET" and path.endswith(".bin") for method, path, _ in server.requests)
    folder = write_folder(tmp_path / "folder", pickled)
    with pytest.raises(ValueError, match=r"only pytorch_model\.bin, a pickle.*save_pretrained"):
        find_model(folder)


def test_a_hub_that_does_not_answer_means_the_cached_commit(
    server: LoopbackServer, tmp_path: Path
) -> None:
    server.add_model(NAME, FILES)
    call = {"name": NAME}
    full, empty = tmp_path / "full", tmp_path / "empty"
    (found,) = ask(server, full, call)
    server.faults[f"{NAME}/config.json"] = 503
    assert ask(server, full, call) == [found]
    assert ask(server, full, call, HF_HUB_OFFLINE="1") == [found]
    (unasked,) = ask(server, empty, call, HF_HUB_OFFLINE="1")
    (local,) = ask(server, empty, {**call, "local_files_only": True})
    server.close()
    assert ask(server, full, call) == [found]
    start = time.monotonic()
    (gone,) = ask(server, empty, call)
    assert time.monotonic() - start < 10
    reasons = ("HF_HUB_OFFLINE is set", "local_files_only is set", "the Hub cannot be reached")
    for result, reason in zip((unasked, local, gone), reasons, strict=True):
        for part in (NAME, "revision main", str(empty), reason, "--demo", "local folder"):
            assert part in result["error"]


def test_offline_a_half_filled_cache_is_not_taken_for_a_whole_model(
    server: LoopbackServer, tmp_path: Path
) -> None:
    server.add_model(NAME, FILES)
    (found,) = ask(server, tmp_path, {"name": NAME})
    folder = Path(found["folder"])
    call = {"name": NAME, "local_files_only": True}
    (folder / "tokenizer_config.json").unlink()  # it says that this vocabulary is cased
    (result,) = ask(server, tmp_path, call)
    assert "tokenizer_config.json of acme/tiny-bert (revision main) is not in the cache" in str(
        result
    )
    (folder / "model.safetensors").unlink()
    (result,) = ask(server, tmp_path, call)
    assert "model.safetensors of acme/tiny-bert (revision main) is not in the cache" in str(result)
    assert ask(server, tmp_path, {"name": NAME}) == [found]


def test_an_existing_folder_wins_over_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path / "google-bert" / "bert-base-uncased", FILES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # importing it fails
    found = find_model("google-bert/bert-base-uncased")
    assert found.folder.resolve() == tmp_path / "google-bert" / "bert-base-uncased"
    assert (found.source, found.commit) == ("google-bert/bert-base-uncased", None)
    with pytest.raises(ValueError, match="local folder, revision main"):
        find_model("google-bert/bert-base-uncased", revision="main")
    with pytest.raises(ValueError, match=r"acme/other is no folder.*huggingface-hub"):
        find_model("acme/other")


def test_a_run_folder_means_its_best_model(tmp_path: Path) -> None:
    run = write_folder(tmp_path / "run", {"options.json": b"{}"})
    with pytest.raises(ValueError, match=r"no config\.json in the folder .*found: options\.json"):
        find_model(run)
    best = write_folder(run / "best", FILES)
    assert find_model(str(run)).folder == best


def test_a_folder_without_weights_is_refused_unless_they_are_not_wanted(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", NO_WEIGHTS)
    assert find_model(folder, weights=False).folder == folder
    with pytest.raises(ValueError, match=r"no model\.safetensors in the folder .*found: config"):
        find_model(folder)
    with pytest.raises(ValueError, match="is a file; give the folder"):
        find_model(folder / "config.json")
