"""Commands with a model of the Hub: no request where none is needed, and the token stays here."""

import getpass
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.forked import forked
from tests.loopback import LoopbackServer, clean_environment
from tests.place import Place

ROOT = Path(__file__).parents[1]
NAME = "acme/tiny-qa"
TOKEN = "hf_verySecretToken"

# One process, because huggingface_hub reads its settings when it is imported; each command in a
# child of its own. A line in: [[command, words, environment], ...]; a line out: their results.
DRIVER = """
import json, resource, sys
from tests.forked import forked
for line in sys.stdin:
    assert "huggingface_hub" not in sys.modules
    results = []
    for command, words, settings in json.loads(line):
        def prepare():
            if size := int(settings.get("LARGEST_FILE", 0)):
                resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        results.append(forked(command, *words, environment=settings, prepare=prepare))
    print(json.dumps(results), flush=True)
"""


class Driver:
    """Runs commands against a Hub on loopback, with a token."""

    def __init__(self, server: LoopbackServer, home: Path) -> None:
        self.home = home
        settings = {
            "HF_ENDPOINT": server.url, "HF_HOME": str(home / "hub"), "HF_TOKEN": TOKEN,
            "MINIBERT_CACHE": str(home / "ours"), "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", DRIVER], env=clean_environment(**settings),
            cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *commands: tuple[str, list[str]], **settings: str) -> list[tuple[int, str, str]]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps([[*c, settings] for c in commands]) + "\n")
        self.process.stdin.flush()
        return [tuple(result) for result in json.loads(self.process.stdout.readline())]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """In the home of a user with a telling name; the model he began with says where he got it."""
    home = tmp_path_factory.mktemp("homes") / "alice-private"
    made = Place(home / "files")
    config = json.loads((made.folder / "model" / "config.json").read_text())
    config |= {"_name_or_path": str(home / "elsewhere")}
    (made.folder / "model" / "config.json").write_text(json.dumps(config))
    tokenizer = {"do_lower_case": True, "name_or_path": str(home), "special_tokens_map_file": "~/x"}
    (made.folder / "model" / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    settings = {"HOME": str(home), "USER": "alice-private", "HF_TOKEN": TOKEN}
    words = made.words("train.squad", made.run)
    status, _, errors = forked("train.squad", *words, environment=settings)
    assert status == 0, errors
    return made


@pytest.fixture(scope="module")
def server(place: Place) -> Iterator[LoopbackServer]:
    best = place.run / "best"
    with LoopbackServer() as running:
        files = {path.name: path.read_bytes() for path in best.iterdir()}
        running.add_model(NAME, files)
        yield running


@pytest.fixture(scope="module")
def driver(server: LoopbackServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    running = Driver(server, tmp_path_factory.mktemp("driver"))
    yield running
    running.process.communicate()


def commands_with(model: list[str], place: Place, out: Path) -> list[tuple[str, list[str]]]:
    """Every command that takes a model of the Hub."""
    training = place.words("train.squad", out / "run")
    training[:2] = model
    words = {c: place.words(c, out / c)[2:] for c in ("eval.predict", "eval.answer")}
    return [("train.squad", training), *((c, [*model, *rest]) for c, rest in words.items())]


def files_below(folder: Path) -> Iterator[tuple[Path, bytes]]:
    return ((path, path.read_bytes()) for path in folder.rglob("*") if path.is_file())


def test_after_one_download_nothing_is_asked_pinned_offline_or_resumed_and_no_token_leaks(
    driver: Driver, place: Place, server: LoopbackServer, tmp_path: Path
) -> None:
    commit = server.add_model(
        NAME, {p.name: p.read_bytes() for p in (place.run / "best").iterdir()}
    )
    training, _, answering = commands_with(["--model", NAME], place, tmp_path / "first")
    results = driver.run(training, answering)
    assert [(status, errors) for status, _, errors in results] == [(0, "")] * 2
    assert any(path.endswith("/qa_settings.json") for _, path, _ in server.requests)
    assert commit in results[0][1]  # the training says which commit it began with
    asked = [headers for _, _, headers in server.requests if "authorization" in headers]
    assert asked and all(headers["host"].startswith("127.0.0.1") for headers in asked)

    server.requests.clear()
    pinned = commands_with(["--model", NAME, "--revision", commit], place, tmp_path / "pinned")
    resumed = ("train.squad", ["--resume", "--output-dir", str(tmp_path / "first" / "run")])
    again = driver.run(pinned[1], resumed)
    offline = commands_with(["--model", NAME], place, tmp_path / "offline")
    again += driver.run(*offline, HF_HUB_OFFLINE="1")
    assert [(status, errors) for status, _, errors in again] == [(0, "")] * 5
    assert again[4][1] == results[1][1]  # the same answer
    assert server.requests == []

    failing = {"acme/refusing": "refused", "acme/page": "a page"}
    for name, fault in failing.items():
        server.add_model(name, {"config.json": b"{}"})
        server.faults[f"{name}/config.json"] = fault
    words = ["--question", "who ?", "--context", "the river", "--debug"]
    failed = driver.run(*(("eval.answer", ["--model", name, *words]) for name in failing))
    assert [status for status, _, _ in failed] == [2] * 2
    assert all("Traceback" in errors for _, _, errors in failed)
    assert TOKEN in repr(server.requests)
    assert TOKEN not in repr([*results, *again, *failed])
    for path, content in (*files_below(tmp_path), *files_below(driver.home)):
        assert TOKEN.encode() not in content, path


def test_a_disk_that_is_full_under_the_hubs_cache_leaves_with_4(
    driver: Driver, place: Place, tmp_path: Path
) -> None:
    answering = commands_with(["--model", NAME], place, tmp_path)[2]
    ((status, _, errors),) = driver.run(answering, LARGEST_FILE="4000", HF_HOME=str(tmp_path))
    assert (status, errors.count("\n")) == (4, 1), errors
    assert f"model.safetensors of {NAME}" in errors and "File too large" in errors


def test_a_hub_cache_that_cannot_be_written_is_named(
    driver: Driver, place: Place, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    answering = commands_with(["--model", NAME], place, tmp_path)[2]
    ((status, _, errors),) = driver.run(answering, HF_HOME=str(tmp_path / "file"))
    assert (status, errors.count("\n")) == (2, 1), errors
    assert f"could not be downloaded into {tmp_path}/file/hub: Not a directory" in errors


def test_a_saved_model_says_nothing_of_the_machine_it_was_made_on(
    place: Place, tmp_path: Path
) -> None:
    """Nor does one that began from a folder given with ~, or from another run."""
    home = place.folder.parent
    other = place.words("train.squad", tmp_path / "other")
    other[:2] = ["--model", f"~/{place.run.relative_to(home)}"]
    settings = {"HOME": str(home), "USER": "alice-private"}
    status, _, errors = forked("train.squad", *other, environment=settings)
    assert status == 0, errors
    private = {str(home), "alice-private", "~/", str(tmp_path), str(Path.home()) + "/", TOKEN}
    private |= {name for name in (socket.gethostname(), getpass.getuser()) if len(name) > 5}
    for folder in (place.run / "best", tmp_path / "other" / "best"):
        names = set(os.listdir(folder))
        assert names >= {"README.md", "config.json", "model.safetensors", "tokenizer_config.json"}
        for path, content in files_below(folder):
            if path.suffix == ".safetensors":  # behind the names any bytes may stand
                content = content[: 8 + int.from_bytes(content[:8], "little")]
            for word in private:
                assert word.encode() not in content, (path, word)
