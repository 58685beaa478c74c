"""`squad_file` and `python -m data.download` against a file host on loopback."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from data import download
from data.download import GIT_BLOB_IDS, git_blob_id, squad_file
from minibert.files import cache_folder
from tests.loopback import LoopbackServer, clean_environment
from tests.loopback import git_blob_id as blob_id_of

ROOT = Path(__file__).parents[2]
NAME = "dev-v2.0.json"
CONTENT = b'{"version": "v2.0", "data": []}' * 20_000  # 620 kB: more than one chunk


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackServer]:
    """A host with one file, CONTENT, which passes for the official one; cached below tmp_path."""
    for key in [key for key in os.environ if "proxy" in key.lower()]:
        monkeypatch.delenv(key)
    monkeypatch.setitem(GIT_BLOB_IDS, NAME, blob_id_of(CONTENT))
    with LoopbackServer() as running:
        running.files[f"mirror/{NAME}"] = CONTENT
        monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("MINIBERT_SQUAD_URL", f"{running.url}/mirror/")
        yield running


def cached(tmp_path: Path) -> list[str]:
    folder = tmp_path / "cache" / "squad"
    return os.listdir(folder) if folder.is_dir() else []


def test_a_file_is_downloaded_once_and_no_draft_is_left(
    server: LoopbackServer, tmp_path: Path
) -> None:
    path = squad_file(NAME)
    assert path == tmp_path / "cache" / "squad" / NAME
    assert path.read_bytes() == CONTENT
    assert cached(tmp_path) == [NAME]
    assert squad_file(NAME) == path
    assert [request[:2] for request in server.requests] == [("GET", f"mirror/{NAME}")]


def test_a_download_is_readable_as_the_users_umask_says(
    server: LoopbackServer, tmp_path: Path
) -> None:
    (tmp_path / "plain").touch()
    assert squad_file(NAME).stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_folder_and_address_can_be_given(server: LoopbackServer, tmp_path: Path) -> None:
    server.files[f"other/{NAME}"] = CONTENT
    path = squad_file(NAME, folder=tmp_path / "mine", base_url=f"{server.url}/other")
    assert path == tmp_path / "mine" / NAME
    assert server.requests[0][1] == f"other/{NAME}"


def test_a_damaged_cached_file_is_downloaded_anew(server: LoopbackServer, tmp_path: Path) -> None:
    path = squad_file(NAME)
    stat = path.stat()
    with path.open("r+b") as stream:
        stream.write(b"!")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # not to be told by size and time
    assert squad_file(NAME).read_bytes() == CONTENT
    with path.open("r+b") as stream:
        stream.write(b"!")
    server.close()
    with pytest.raises(ValueError, match=rf"{NAME} is damaged in .* cannot be reached"):
        squad_file(NAME)


@pytest.mark.parametrize(
    ("fault", "part"),
    [
        ("flip", "gave something else than dev-v2.0.json: its git blob id is"),
        ("short", "gave something else than dev-v2.0.json: its git blob id is"),
        ("cut", f"was cut after {len(CONTENT) // 2} of {len(CONTENT)} bytes"),
        (404, "answered 404"),
        (503, "answered 503"),
        ("endless", "sends more than 1000000 bytes"),
        ("gone", "cannot be reached"),
    ],
)
def test_a_failed_download_is_one_sentence_and_leaves_nothing(
    server: LoopbackServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str | int,
    part: str,
) -> None:
    monkeypatch.setattr(download, "_MAX_BYTES", 1_000_000)
    server.faults[f"mirror/{NAME}"] = fault
    if fault == "gone":
        server.close()
    with pytest.raises(ValueError) as caught:
        squad_file(NAME)
    text = str(caught.value)
    for wanted in (part, f"{server.url}/mirror/{NAME}", "--demo", "--train-file, --dev-file"):
        assert wanted in text
    assert "\n" not in text
    assert cached(tmp_path) == []


def test_a_redirect_is_followed_to_the_web_only_and_what_comes_is_verified(
    server: LoopbackServer, tmp_path: Path
) -> None:
    path = f"mirror/{NAME}"
    with LoopbackServer() as other:
        other.files = {NAME: CONTENT, "page": b"<!DOCTYPE html>Please log in."}
        server.redirects = {path: f"{other.url}/page"}
        with pytest.raises(ValueError, match=f"gave something else than {NAME}"):
            squad_file(NAME)
        (tmp_path / "secret").write_bytes(CONTENT)
        for address in (f"file://{tmp_path}/secret", f"/{path}"):
            server.redirects = {path: address}
            with pytest.raises(
                ValueError, match=r"answered 302; try again, or give train\.squad local files"
            ):
                squad_file(NAME)
        assert cached(tmp_path) == []
        server.redirects = {path: f"{other.url}/{NAME}"}
        assert squad_file(NAME).read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written_is_named(server: LoopbackServer, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()  # a file where the folder should be
    with pytest.raises(
        ValueError, match=rf"cannot be stored in {tmp_path}/cache/squad: .*MINIBERT"
    ):
        squad_file(NAME)


def test_only_official_names_and_web_addresses_are_taken(server: LoopbackServer) -> None:
    with pytest.raises(ValueError, match=r"'\.\./x' is no official SQuAD file; those are train-v2"):
        squad_file("../x")
    with pytest.raises(ValueError, match="does not begin with https://"):
        squad_file(NAME, base_url="file:///etc")
    assert server.requests == []


def test_the_cache_folder_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MINIBERT_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == tmp_path / ".cache" / "minibert"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "minibert"
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "ours"))
    assert cache_folder() == tmp_path / "ours"


def test_the_real_dev_file_has_the_blob_id_we_ask_for(tmp_path: Path) -> None:
    folder = os.environ.get("MINIBERT_DATA")
    if not folder:
        pytest.skip("MINIBERT_DATA does not name the folder of real data files")
    assert git_blob_id(Path(folder) / "squad" / "dev-v1.1.json") == GIT_BLOB_IDS["dev-v1.1.json"]


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "data.download", *words],
        env=clean_environment(**environment),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_command_lists_and_fails_in_one_line(server: LoopbackServer, tmp_path: Path) -> None:
    settings = {"MINIBERT_CACHE": str(tmp_path), "MINIBERT_SQUAD_URL": server.url}
    folder = tmp_path / "squad"
    folder.mkdir()
    (folder / "dev-v1.1.json").write_bytes(b"{}")
    done = run(**settings)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"train-v2.0.json  not here  {folder / 'train-v2.0.json'}",
        f"dev-v2.0.json    not here  {folder / 'dev-v2.0.json'}",
        f"train-v1.1.json  not here  {folder / 'train-v1.1.json'}",
        f"dev-v1.1.json    damaged   {folder / 'dev-v1.1.json'}",
    ]
    done = run("dev-v1.1.json", **settings)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: dev-v1.1.json is damaged in ")
    assert "answered 404" in done.stderr and done.stderr.count("\n") == 1
