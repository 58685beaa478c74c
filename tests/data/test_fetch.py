"""`python -m data.download SET` against a file host on loopback: cut, resumed, verified."""

import fcntl
import hashlib
import os
import random
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data import download, fetch, sources
from data.command import UsageError
from data.failures import CommandError
from data.fetch import SUMS, Source
from tests.loopback import LoopbackServer

CONTENT = random.Random(0).randbytes(3_000_000)  # three chunks
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "dev/a.jsonl.gz"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackServer]:
    """A host with one file, which is the set "quac"; nothing is waited for."""
    for key in [key for key in os.environ if "proxy" in key.lower()]:
        monkeypatch.delenv(key)
    monkeypatch.setattr(fetch, "_WAITS", (0.0, 0.0))
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "cache"))
    with LoopbackServer() as running:
        running.files[NAME] = CONTENT
        offer(monkeypatch, running, SHA256)
        yield running


def offer(monkeypatch: pytest.MonkeyPatch, server: LoopbackServer, sha256: str | None) -> None:
    """Have the set "quac" be the one file, with a sha256 that is known or not."""
    one = Source(NAME, f"{server.url}/{NAME}", len(CONTENT), sha256)
    monkeypatch.setattr(sources, "sources", lambda name: [one])


def get(folder: Path, *words: str) -> Path:
    """Run the command; where the file should be."""
    assert download.main(["quac", "--folder", str(folder), *words]) == 0
    return folder / "quac" / NAME


def ranges(server: LoopbackServer) -> list[str]:
    """The Range of each request."""
    return [headers.get("range", "") for _, _, headers in server.requests]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "quac").rglob("*") if path.is_file())


def test_a_set_is_fetched_verified_and_recorded_once(
    server: LoopbackServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = get(tmp_path)
    assert path.read_bytes() == CONTENT
    assert left(tmp_path) == [SUMS, "a.jsonl.gz"]
    assert (tmp_path / "quac" / SUMS).read_text() == f"{SHA256}  {NAME}\n"
    said = capsys.readouterr().out
    assert f"{path}\n" in said and "next: python -m data.convert quac" in said
    get(tmp_path)
    assert len(server.requests) == 1


@pytest.mark.parametrize("fault", [404, "a redirect"])
def test_where_nothing_came_nothing_is_left(
    server: LoopbackServer, tmp_path: Path, fault: int | str
) -> None:
    if fault == 404:
        server.faults[NAME] = 404
    else:
        server.redirects[NAME] = "file:///etc/hostname"
    with pytest.raises(ValueError, match="answered"):
        get(tmp_path)
    assert left(tmp_path) == []


def test_newsqa_keeps_no_other_set_from_coming(
    server: LoopbackServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match="newsqa is left to you"):
        download.main(["newsqa", "quac", "--folder", str(tmp_path)])
    assert (tmp_path / "quac" / NAME).read_bytes() == CONTENT
    assert "docker build" in capsys.readouterr().out


def test_an_empty_folder_is_not_the_cache(server: LoopbackServer) -> None:
    with pytest.raises(UsageError, match="--folder is empty"):
        download.main(["quac", "--folder", ""])
    assert not server.requests


def test_a_set_goes_into_the_cache_where_no_folder_is_given(
    server: LoopbackServer, tmp_path: Path
) -> None:
    assert download.main(["quac"]) == 0
    assert (tmp_path / "cache" / "quac" / NAME).read_bytes() == CONTENT


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_cut_file_goes_on_where_it_was_in_the_same_call(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sha256: str | None
) -> None:
    offer(monkeypatch, server, sha256)
    server.etags[NAME] = '"one"'
    server.faults[NAME] = ["cut", "cut", 503, "cut"]
    assert get(tmp_path).read_bytes() == CONTENT
    half, more = 1_500_000, 2_250_000
    cut = 2_625_000
    wanted = ["", f"bytes={half}-", f"bytes={more}-", f"bytes={more}-", f"bytes={cut}-"]
    assert ranges(server) == wanted
    assert {headers.get("if-range") for _, _, headers in server.requests[1:]} == {'"one"'}


def test_a_cut_file_goes_on_in_the_next_call_after_the_host_was_away(
    server: LoopbackServer, tmp_path: Path
) -> None:
    server.faults[NAME] = ["cut", 503, 503, 503]
    with pytest.raises(ValueError, match="answered 503; what has come is kept: run again"):
        get(tmp_path)
    assert left(tmp_path) == [".a.jsonl.gz.part", ".a.jsonl.gz.part.tag"]
    assert (tmp_path / "quac" / "dev" / ".a.jsonl.gz.part").read_bytes() == CONTENT[:1_500_000]
    assert get(tmp_path).read_bytes() == CONTENT
    assert ranges(server)[-1] == "bytes=1500000-"


def test_a_process_killed_in_the_middle_loses_what_it_had_not_written(
    server: LoopbackServer, tmp_path: Path
) -> None:
    child = os.fork()
    if child == 0:
        read, seen = fetch._read, []

        def read_twice(response: Any) -> bytes:
            seen.append(response)
            if len(seen) == 3:
                os.kill(os.getpid(), signal.SIGKILL)
            return read(response)

        fetch._read = read_twice
        get(tmp_path)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    had = (tmp_path / "quac" / "dev" / ".a.jsonl.gz.part").stat().st_size
    assert had == 2 << 20
    assert get(tmp_path).read_bytes() == CONTENT
    assert ranges(server) == ["", f"bytes={had}-"]


def test_a_part_of_another_version_is_not_continued(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, server, None)
    server.etags[NAME] = '"old"'
    server.files[NAME] = bytes(3_000_000)
    server.faults[NAME] = ["cut", 404]
    with pytest.raises(ValueError, match="answered 404; the file may have moved"):
        get(tmp_path)
    server.etags[NAME] = '"new"'
    server.files[NAME] = CONTENT
    assert get(tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_without_ranges_or_versions_it_begins_again(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sha256: str | None
) -> None:
    offer(monkeypatch, server, sha256)
    server.faults[NAME] = ["cut", "whole"]
    assert get(tmp_path).read_bytes() == CONTENT
    assert ranges(server) == ["", "bytes=1500000-" if sha256 else ""]


def test_a_part_that_was_whole_already_only_gets_its_name(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the last byte and the renaming."""
    part = tmp_path / "quac" / "dev" / ".a.jsonl.gz.part"
    for sha256, requests in ((SHA256, 0), (None, 1)):
        offer(monkeypatch, server, sha256)
        server.etags[NAME] = '"one"'
        part.parent.mkdir(parents=True)
        part.write_bytes(CONTENT)
        part.with_name(f"{part.name}.tag").write_text('"one"')
        assert get(tmp_path).read_bytes() == CONTENT
        assert len(server.requests) == requests
        shutil.rmtree(tmp_path / "quac")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("flip", f"gave something else than {NAME}: its sha256 is"),
        ("short", "is 1500000 bytes long, expected 3000000"),
        (404, "answered 404; the file may have moved"),
        (503, "answered 503; what has come is kept"),
        ("endless", "sends more than 3000000 bytes"),
        ("gone", "cannot be reached"),
    ],
)
def test_a_failed_fetch_is_one_sentence_and_never_leaves_a_wrong_file(
    server: LoopbackServer, tmp_path: Path, fault: str | int, said: str
) -> None:
    server.faults[NAME] = fault
    if fault == "gone":
        server.close()
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        get(tmp_path)
    assert "\n" not in str(caught.value) and f"{server.url}/{NAME}" in str(caught.value)
    assert "a.jsonl.gz" not in left(tmp_path)


def test_another_range_than_was_asked_for_is_refused(
    server: LoopbackServer, tmp_path: Path
) -> None:
    server.faults[NAME] = ["cut", "elsewhere"]
    with pytest.raises(ValueError, match="answered with another part than was asked for"):
        get(tmp_path)


def test_a_wrong_file_is_not_kept_as_a_part(server: LoopbackServer, tmp_path: Path) -> None:
    server.faults[NAME] = ["flip"]
    with pytest.raises(ValueError, match="gave something else"):
        get(tmp_path)
    assert left(tmp_path) == []
    assert get(tmp_path).read_bytes() == CONTENT


def test_a_redirect_is_followed_with_its_range(server: LoopbackServer, tmp_path: Path) -> None:
    with LoopbackServer() as other:
        other.files["there"] = CONTENT
        other.faults["there"] = ["cut"]
        server.redirects[NAME] = f"{other.url}/there"
        assert get(tmp_path).read_bytes() == CONTENT
        assert ranges(other) == ["", "bytes=1500000-"]


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_damaged_file_is_told_by_its_sum_and_comes_anew(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sha256: str | None,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    offer(monkeypatch, server, sha256)
    path = get(tmp_path)
    with path.open("r+b") as stream:
        stream.write(b"!")
    assert get(tmp_path).read_bytes() == CONTENT
    assert f"{path} is damaged or of another version" in capsys.readouterr().out


def test_without_room_nothing_is_begun(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=2_999_999)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    with pytest.raises(CommandError, match=r"needs 0\.00 GB in .*/quac, where 0\.00 GB") as caught:
        get(tmp_path)
    assert caught.value.status == 4
    assert server.requests == [] and not (tmp_path / "quac").exists()


def test_a_dry_run_asks_nobody_and_writes_nothing(
    server: LoopbackServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    get(tmp_path, "--dry-run")
    assert server.requests == [] and not (tmp_path / "quac").exists()
    said = capsys.readouterr().out
    assert f"     3,000,000  missing  {tmp_path}/quac/{NAME}  {server.url}/{NAME}" in said
    assert "quac: 1 of 1 files to come" in said


def test_two_processes_do_not_write_into_one_folder(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even other files: each would lose the other's lines of SHA256SUMS."""
    receive = fetch._receive

    def second_start(*anything: Any) -> Iterator[int]:
        monkeypatch.setattr(fetch, "_receive", receive)
        other = Source("other", f"{server.url}/{NAME}", len(CONTENT), SHA256)
        monkeypatch.setattr(sources, "sources", lambda name: [other])
        with pytest.raises(ValueError, match=r"/quac is being filled by another process; wait"):
            get(tmp_path)
        return receive(*anything)

    monkeypatch.setattr(fetch, "_receive", second_start)
    assert get(tmp_path).read_bytes() == CONTENT
    assert left(tmp_path) == [SUMS, "a.jsonl.gz"]


@pytest.mark.parametrize("sha256", [SHA256, None])
def test_a_start_in_the_moment_in_which_another_ends_destroys_nothing(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sha256: str | None
) -> None:
    """It had opened what it was to lock, and got the lock when the other one was through."""
    offer(monkeypatch, server, sha256)
    flock, seen = fcntl.flock, []

    def late(file: Any, how: int) -> None:
        seen.append(how)
        if len(seen) == 1:
            get(tmp_path)
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    assert get(tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 1 and len(seen) > 1
    assert left(tmp_path) == [SUMS, "a.jsonl.gz"]


def test_a_file_put_there_by_hand_is_noted_by_the_command_but_not_by_its_dry_run(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(monkeypatch, server, None)
    path = tmp_path / "quac" / NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    get(tmp_path, "--dry-run")
    assert left(tmp_path) == ["a.jsonl.gz"]
    get(tmp_path)
    assert (tmp_path / "quac" / SUMS).read_text() == f"{SHA256}  {NAME}\n"
    assert server.requests == []


def test_a_mirror_has_the_files_under_the_names_they_get(
    server: LoopbackServer, tmp_path: Path
) -> None:
    server.files[f"copy/{NAME}"] = CONTENT
    get(tmp_path, "--mirror", f"{server.url}/copy/")
    assert [path for _, path, _ in server.requests] == [f"copy/{NAME}"]


def test_newsqa_tells_the_steps_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="newsqa is left to you, as its licences want"):
        download.main(["newsqa"])
    said = capsys.readouterr().out
    for word in ("https://github.com/Maluuba/newsqa", "cnn_stories.tgz", "docker run", "accept"):
        assert word in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("trivia",), "'trivia' is no official SQuAD file .* and no set; did you mean triviaqa?"),
        (("quac", "--original"), "--original is for nq only"),
        (("quac", "--mirror", "ftp://x"), "--mirror ftp://x does not begin with https://"),
    ],
)
def test_bad_words_are_one_sentence(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        download.main(list(words))


def test_the_squad_sets_are_the_official_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []
    monkeypatch.setattr(
        download, "squad_file", lambda name, **how: asked.append((name, how["folder"]))
    )
    download.main(["squad", "squad1", "--folder", str(tmp_path)])
    assert asked == [
        (name, tmp_path / "squad")
        for name in ("train-v2.0.json", "dev-v2.0.json", "train-v1.1.json", "dev-v1.1.json")
    ]


def test_the_list_of_sources_is_whole() -> None:
    counts = {name: len(sources.sources(name)) for name in (*sources.FETCHED, "nq-original")}
    assert counts == {"triviaqa": 1, "nq": 6, "quac": 2, "mrqa": 18, "nq-original": 55}
    for name in counts:
        files = sources.sources(name)
        assert len({source.name for source in files}) == len(files)
        for source in files:
            assert source.url.endswith(source.name) or "bioasq" in source.url
            assert source.sha256 is None or re.fullmatch("[0-9a-f]{64}", source.sha256)
            assert ".." not in source.name and not source.name.startswith("/")
    # the sums that the datasets library states for its downloads
    assert sum(source.size for source in sources.sources("nq-original")) == 45_069_199_013
    assert sum(source.size for source in sources.sources("mrqa")) == 1_479_518_355
    unhashed = [s.name for name in counts for s in sources.sources(name) if s.sha256 is None]
    assert unhashed == ["simplified-nq-train.jsonl.gz"]
