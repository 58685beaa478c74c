"""The environment a command meets is not always kind: full disks, odd paths, closed streams.

Every command runs on the little files of tests/train/little.py; each fault has its exit status, one
sentence at most, and leaves nothing half-written.
"""

import contextlib
import ctypes
import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from data.command import run_command
from data.download import GIT_BLOB_IDS
from data.failures import DISK_ERRORS
from tests.forked import forked
from tests.loopback import LoopbackServer, git_blob_id
from tests.place import COMMANDS, WRITING, Place

ROOT = Path(__file__).parents[1]
OFFICIAL = "dev-v2.0.json"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    made = Place(tmp_path_factory.mktemp("faults"))
    status, _, errors = forked("train.squad", *made.words("train.squad", made.run))
    assert status == 0, errors
    return made


def run(
    command: str,
    words: list[str],
    prepare: Callable[[], None] = lambda: None,
    *,
    stdin: str = "",
    stdout: int | None = None,
    **environment: str,
) -> tuple[int, str, str]:
    return forked(
        command, *words, stdin=stdin, environment=environment, stdout=stdout, prepare=prepare
    )


def left_in(folder: Path) -> list[str]:
    """Files below a folder, as paths relative to it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# --- the disk


def limited(size: int) -> Callable[[], None]:
    """No file of the child can grow beyond `size` bytes: a full disk, for the child only."""

    def prepare() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return prepare


@pytest.mark.parametrize(
    ("command", "size"),
    [
        ("eval.predict", 600),
        ("eval.predict", 1500),
        ("eval.squad", 300),
        ("eval.explain", 30000),
        ("train.squad", 300),
        ("train.squad", 1000),
        ("train.squad", 8000),
        ("train.squad", 20000),
    ],
)
def test_a_full_disk_leaves_with_4_and_one_sentence_and_no_draft(
    place: Place, tmp_path: Path, command: str, size: int
) -> None:
    out = tmp_path / "out"
    null = os.open(os.devnull, os.O_WRONLY)  # what is printed shall not count
    status, _, errors = run(command, place.words(command, out), limited(size), stdout=null)
    os.close(null)
    assert (status, errors.count("\n")) == (4, 1), errors
    assert errors.startswith("error: ") and "File too large" in errors
    assert not [name for name in left_in(tmp_path) if ".tmp" in name or ".partial" in name]
    for name in left_in(tmp_path):
        if name.endswith(".json"):
            json.loads((tmp_path / name).read_bytes())


def test_every_error_of_a_full_or_failing_disk_is_one_and_others_are_not() -> None:
    assert {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO} == DISK_ERRORS


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_behind_stdout_ends_every_command_but_the_training(
    place: Place, tmp_path: Path, command: str
) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    words = place.words(command, tmp_path / "out")
    if command == "eval.squad":
        words = words[:2]  # to stdout, not to a file
    status, _, errors = run(command, words, stdout=full)
    os.close(full)
    if command == "train.squad":
        assert (status, errors) == (0, "")
        assert (tmp_path / "out" / "metrics.json").exists()
    else:
        assert (status, errors.count("\n")) == (4, 1)
        assert "No space left on device" in errors


def test_a_disk_that_fills_during_a_download_leaves_no_draft(tmp_path: Path) -> None:
    content = b"x" * 600_000
    with LoopbackServer() as server:
        server.files[OFFICIAL] = content

        def prepare() -> None:
            GIT_BLOB_IDS[OFFICIAL] = git_blob_id(content)
            limited(300_000)()

        settings = {"MINIBERT_CACHE": str(tmp_path), "MINIBERT_SQUAD_URL": server.url}
        status, _, errors = run("data.download", [OFFICIAL], prepare, **settings)
    assert (status, errors.count("\n")) == (4, 1)
    assert f"{OFFICIAL} cannot be stored in {tmp_path}" in errors and "File too large" in errors
    assert left_in(tmp_path) == []


# --- folders


def without_privileges() -> None:
    """Even root is bound by permissions then (CAP_DAC_OVERRIDE and all others are given up)."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    if ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)()) != 0:
        raise OSError(ctypes.get_errno(), "capset")


linux = pytest.mark.skipif(sys.platform != "linux", reason="permissions bind root: Linux only")


@linux
@pytest.mark.parametrize("command", WRITING)
@pytest.mark.parametrize("kind", ["read-only", "a file"])
def test_a_folder_that_cannot_be_written_is_named_and_leaves_with_2(
    place: Place, tmp_path: Path, command: str, kind: str
) -> None:
    folder = tmp_path / "folder"
    if kind == "a file":
        folder.touch()
    else:
        folder.mkdir()
        folder.chmod(0o555)
    words = place.words(command, folder / "out")
    status, _, errors = run(command, words, without_privileges)
    assert (status, errors.count("\n")) == (2, 1), errors
    assert errors.startswith("error: ") and str(folder) in errors
    assert left_in(tmp_path) == (["folder"] if kind == "a file" else [])


@linux
def test_a_cache_that_cannot_be_written_stops_a_download_and_nothing_else(
    place: Place, tmp_path: Path
) -> None:
    tmp_path.chmod(0o555)
    caches = {"MINIBERT_CACHE": str(tmp_path / "ours"), "HF_HOME": str(tmp_path / "hub")}
    caches["HOME"] = str(tmp_path)
    for command in COMMANDS[1:]:
        out = place.folder / "cacheless" / command
        out.parent.mkdir(exist_ok=True)
        status, _, errors = run(command, place.words(command, out), without_privileges, **caches)
        assert (status, errors) == (0, ""), command
    with LoopbackServer() as server:
        server.files[OFFICIAL] = b"{}"
        caches["MINIBERT_SQUAD_URL"] = server.url
        status, _, errors = run("data.download", [OFFICIAL], without_privileges, **caches)
    assert (status, errors.count("\n")) == (2, 1)
    assert "MINIBERT_CACHE" in errors and "Permission denied" in errors
    tmp_path.chmod(0o755)


@pytest.mark.parametrize("name", ["r\u00fcn \u8def\u5f84 \U0001f600", "x" * 200])
def test_any_name_serves_as_a_path(tmp_path: Path, name: str) -> None:
    odd = Place(tmp_path / name)
    for command, out in (
        ("train.squad", odd.run),
        ("eval.predict", odd.folder / "predictions"),
        ("eval.squad", odd.folder / name),
        ("eval.answer", odd.folder),
        ("eval.explain", odd.folder / "page.html"),
        ("data.windows", odd.folder),
    ):
        status, output, errors = run(command, odd.words(command, out))
        assert (status, errors) == (0, ""), command
        if command == "train.squad":
            assert name in output
    metrics, own = (json.loads((odd.folder / n).read_bytes()) for n in (name, "run/metrics.json"))
    assert metrics["f1"] == own["f1"]
    status, output, _ = run("train.squad", ["--resume", "--output-dir", str(odd.run)])
    assert status == 0 and "resumed after update" in output


def test_a_word_that_is_not_utf_8_is_refused_before_any_work(place: Place, tmp_path: Path) -> None:
    """The safetensors library cannot open such a path: better said before a training."""
    for command in WRITING:
        words = place.words(command, tmp_path / os.fsdecode(b"caf\xe9"))
        status, output, errors = run(command, words)
        assert (status, output, errors.count("\n")) == (2, "", 1), errors
        assert "caf\\udce9' is not UTF-8" in errors
    assert left_in(tmp_path) == []


def test_a_name_too_long_for_the_disk_is_refused_in_one_sentence(
    place: Place, tmp_path: Path
) -> None:
    for command in WRITING:
        status, _, errors = run(command, place.words(command, tmp_path / ("x" * 300)))
        assert (status, errors.count("\n")) == (2, 1), errors
        assert "File name too long" in errors
    assert left_in(tmp_path) == []


# --- the streams


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_has_left_is_no_error(place: Place, tmp_path: Path, command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    for words in (place.words(command, tmp_path / "out"), ["--help"]):
        assert run(command, words, stdout=writing) == (0, "", "")
    os.close(writing)
    out = tmp_path / "out"
    if command == "eval.explain":
        assert out.read_bytes().endswith(b"</html>\n")
    elif command in WRITING:  # what was asked for is there all the same
        assert json.loads((out / "metrics.json" if out.is_dir() else out).read_bytes())["f1"] >= 0


def closed(*numbers: int) -> Callable[[], None]:
    """`<&-`, `>&-`, `2>&-`: what Python makes of it is None."""

    def prepare() -> None:
        for number in numbers:
            setattr(sys, ("stdin", "stdout", "stderr")[number], None)
            os.close(number)

    return prepare


def test_a_full_pipe_that_does_not_wait_does_not_end_a_training(
    place: Place, tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(4096))
    words = place.words("train.squad", tmp_path / "run")
    assert run("train.squad", words, stdout=writing) == (0, "", "")
    os.close(writing)
    os.close(reading)
    assert (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_streams_closed_at_the_start_change_nothing_but_what_is_heard(
    place: Place, tmp_path: Path, command: str
) -> None:
    words = place.words(command, tmp_path / "out")
    assert run(command, words, closed(0, 1, 2)) == (0, "", "")
    assert run(command, ["--no-such-flag"], closed(0, 1, 2)) == (2, "", "")
    if command == "eval.predict":
        assert (tmp_path / "out" / "predictions.json").read_bytes() == (
            place.run / "predictions.json"
        ).read_bytes()


def test_what_is_printed_to_a_closed_stream_reaches_no_file(tmp_path: Path) -> None:
    """Without a null device in its place the next file would be number 1, where C code prints."""
    path = tmp_path / "file"

    def main(argv: list[str]) -> int:
        with path.open("wb") as file:
            file.write(b"mine")
            file.flush()
            os.write(1, b"printed by C")
            print("printed by Python")
        return 0

    child = os.fork()
    if child == 0:
        status = 70
        try:
            closed(1)()
            sys.argv = ["command"]
            run_command(main)
        except SystemExit as leaving:
            status = int(leaving.code or 0)
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert path.read_bytes() == b"mine"


def test_questions_on_a_closed_or_empty_stdin_have_no_answers(place: Place) -> None:
    words = ["--model", str(place.run)]
    assert run("eval.answer", words) == (0, "", "")
    assert run("eval.answer", words, closed(0)) == (0, "", "")


ASCII = {"LC_ALL": "C", "OMP_NUM_THREADS": "1", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
IN_ASCII = """
import json, os, sys
from pathlib import Path
from tests.forked import forked
assert sys.stdout.encoding.lower() not in ("utf-8", "utf8"), sys.stdout.encoding
for command, words, stdin in json.loads(sys.argv[1]):
    words = [os.fsdecode(word.encode()) for word in words]  # as Python reads its command line
    print(json.dumps(forked(command, *words, stdin=stdin)))
"""


def test_a_locale_of_ascii_only_escapes_what_it_cannot_show(place: Place, tmp_path: Path) -> None:
    """LC_ALL=C with Python's own remedies switched off: files stay UTF-8, stdout is escaped."""
    odd = Place(tmp_path / "r\u00fcn")
    context = "the \u00e9l\u00e8ve was by \u6cb3 anna"
    question = "who \u00fc ?"
    asked = "who was by anna ?"
    (odd.folder / "context.txt").write_text(context, encoding="utf-8")
    dev = json.loads((odd.folder / "dev.json").read_text())
    paragraph = dev["data"][0]["paragraphs"][0]
    paragraph["context"] = context
    paragraph["qas"][0] |= {"question": question, "answers": [], "is_impossible": True}
    (odd.folder / "dev.json").write_text(json.dumps(dev, ensure_ascii=False), encoding="utf-8")
    model = ["--model", str(odd.run)]
    flags = [*model, "--question", asked, "--null-threshold", "99"]
    flags += ["--context-file", str(odd.folder / "context.txt"), "--top", "99"]
    line = json.dumps(
        {"id": "\u00fc", "question": question, "context": context}, ensure_ascii=False
    )
    calls: list[tuple[str, list[str], str]] = [
        ("train.squad", odd.words("train.squad", odd.run), ""),
        ("eval.answer", flags, ""),
        ("eval.answer", [*model, "--null-threshold", "99"], line),
        ("data.windows", [*odd.words("data.windows", odd.folder), "--id", "dev-0"], ""),
    ]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IN_ASCII, json.dumps(calls)],
        cwd=ROOT, env={**os.environ, **ASCII}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = [json.loads(shown) for shown in done.stdout.splitlines()]
    for (command, _, _), (status, output, errors) in zip(calls, results, strict=True):
        assert (status, errors) == (0, ""), (command, errors)
        assert output.isascii()
    assert "\\xe9l\\xe8ve was by \\u6cb3 anna" in results[1][1]
    assert json.loads(results[2][1])["id"] == "\u00fc"
    assert "\\xe9l\\xe8ve" in results[3][1]


# --- signals, the clock, and python -O


def test_sigterm_during_a_download_leaves_with_143_and_no_draft(tmp_path: Path) -> None:
    with LoopbackServer() as server:
        server.files[OFFICIAL] = b"x" * 600_000
        reading, writing = os.pipe()

        def prepare() -> None:
            os.write(writing, b"%d" % os.getpid())

        def hook(method: str, path: str) -> None:
            os.kill(int(os.read(reading, 20)), signal.SIGTERM)

        server.hook = hook
        settings = {"MINIBERT_CACHE": str(tmp_path), "MINIBERT_SQUAD_URL": server.url}
        done = run("data.download", [OFFICIAL], prepare, **settings)
        os.close(reading)
        os.close(writing)
    assert done == (143, "", "terminated\n")
    assert left_in(tmp_path) == []


def test_a_clock_that_is_set_back_changes_nothing(place: Place, tmp_path: Path) -> None:
    def prepare() -> None:
        now = [2e9]

        def back() -> float:
            now[0] -= 3600.0
            return now[0]

        time.time = back

    run_folder = tmp_path / "run"
    status, _, errors = run("train.squad", place.words("train.squad", run_folder), prepare)
    assert (status, errors) == (0, "")

    def events(folder: Path) -> list[dict[str, object]]:
        return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]

    for ours, theirs in zip(events(run_folder), events(place.run), strict=True):
        times = ours.pop("time")
        assert isinstance(times, dict) and all(value >= 0 for value in times.values())
        theirs.pop("time")
        assert ours == theirs


def test_a_run_folder_is_not_named_twice_when_the_clock_is_set_back(
    place: Place, tmp_path: Path
) -> None:
    def prepare() -> None:
        os.chdir(tmp_path)
        time.strftime = lambda *anything: "runs/squad-20200101-000000"

    words = place.words("train.squad", tmp_path)
    at = words.index("--output-dir")
    del words[at : at + 2]
    assert run("train.squad", words, prepare)[0] == 0
    status, _, errors = run("train.squad", words, prepare)
    assert (status, errors.count("\n")) == (2, 1)
    assert "runs/squad-20200101-000000 is not empty" in errors
