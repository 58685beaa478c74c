"""python -m data.convert: shards, restarts, signals, the audit and what is refused."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data.convert.audit import Tally
from data.convert.passages import Passage, Question
from data.convert.shards import Windows, figures
from data.squad import read_squad
from minibert.hub import EMBEDDED_FOLDER
from tests.data.convert.little import (
    LEAD,
    annotation,
    quac,
    simplified,
    span,
    write_json,
    write_lines,
)
from tests.forked import forked

ROOT = Path(__file__).parents[3]
ANNA = span("Anna", "Berg")


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three shards of Natural Questions, of unlike sizes."""
    folder = tmp_path / "nq"
    folder.mkdir()
    for number, size in enumerate((40, 3, 1)):
        records = [
            simplified(100 * number + i, annotation(LEAD, ANNA) if i % 2 == 0 else annotation())
            for i in range(size)
        ]
        write_lines(folder / f"nq-train-{number:02d}.jsonl.gz", *records)
    return folder


def convert(*words: object) -> tuple[int, str, str]:
    """Run the command (as a process of its own: its workers import what it has imported)."""
    done = subprocess.run(
        [sys.executable, "-m", "data.convert", *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def audit_of(out: Path) -> dict[str, Any]:
    audit: dict[str, Any] = json.loads(out.with_name(f"{out.stem}.audit.json").read_bytes())
    return audit


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.is_dir() or path.name[0] == "."}


def test_the_output_does_not_depend_on_the_number_of_processes(shards: Path) -> None:
    outs = [shards.parent / f"{jobs}.json" for jobs in (1, 3)]
    for out, jobs in zip(outs, (1, 3), strict=True):
        status, output, errors = convert("nq", shards, "--out", out, "--jobs", jobs)
        assert status == 0, errors
        assert output.startswith(f"{out}: 44 of 44 questions kept\n  23 with answers")
        assert "nq-train-01.jsonl.gz: done, " in errors and " s left\n" in errors
    assert outs[0].read_bytes() == outs[1].read_bytes()
    audits = [audit_of(out) for out in outs]
    for audit in audits:
        del audit["output"]["path"]
    assert audits[0] == audits[1]
    squad = read_squad(outs[0])
    ids = [*range(40), 100, 101, 102, 200]
    assert [example.id for example in squad.examples] == list(map(str, ids))
    assert squad.repaired == squad.unmarked == []
    assert names(shards.parent) == {"1.json", "3.json", "1.audit.json", "3.audit.json"}


def test_the_audit_sums_up_every_record_with_examples_and_digests(shards: Path) -> None:
    from hashlib import sha256

    out = shards.parent / "out.json"
    assert convert("nq", shards, "--out", out)[0] == 0
    audit = audit_of(out)
    assert audit["records"] == {
        "read": 44, "kept": 44, "answerable": 23, "impossible": 21, "unlabelled": 0,
        "left_out": 0, "dropped": 0, "repeated": 0,
    }  # fmt: skip
    entry = audit["impossible"]["no answer on the page"]
    first = {"id": "1", "file": "nq-train-00.jsonl.gz", "line": 2}
    assert entry["count"] == 21 and entry["examples"][0] == first and len(entry["examples"]) == 5
    assert audit["lengths"]["answer"] == dict.fromkeys(
        ("min", "p25", "p50", "p75", "p90", "p99", "max"), len("Anna Berg")
    )
    for source in audit["inputs"]:
        assert source["sha256"] == sha256(Path(source["path"]).read_bytes()).hexdigest()
    assert [source["kept"] for source in audit["inputs"]] == [40, 3, 1]
    assert audit["output"]["sha256"] == sha256(out.read_bytes()).hexdigest()
    assert audit["output"]["bytes"] == out.stat().st_size
    assert audit["set"] == "nq" and audit["options"]["passages"] == "all"


def test_finished_parts_survive_a_bad_file_and_are_not_made_again(shards: Path) -> None:
    out, bad = shards.parent / "out.json", shards / "nq-train-02.jsonl.gz"
    good = bad.read_bytes()
    bad.write_bytes(good[:-20])
    status, output, errors = convert("nq", shards, "--out", out, "--jobs", 1)
    assert status == 2 and output == ""
    assert errors.splitlines()[-1].startswith(f"error: {bad}: line 1 is cut")
    assert names(shards.parent) == {".out.json.parts"}
    parts = shards.parent / ".out.json.parts"
    assert {path.name[:5] for path in parts.iterdir()} == {"00000", "00001", ".lock"}
    bad.write_bytes(good)
    status, _, errors = convert("nq", shards, "--out", out)
    assert status == 0 and errors.startswith("2 of 3 files are done already\n")
    assert len(read_squad(out).examples) == 44 and not parts.exists()


@pytest.mark.parametrize("change", ["input", "part", "options"])
def test_a_part_that_is_damaged_or_of_other_input_is_made_again(shards: Path, change: str) -> None:
    out, bad = shards.parent / "out.json", shards / "nq-train-02.jsonl.gz"
    good = bad.read_bytes()
    bad.write_bytes(b"x")
    assert convert("nq", shards, "--out", out, "--jobs", 1)[0] == 2  # the last, after two are done
    parts, words = shards.parent / ".out.json.parts", []
    bad.write_bytes(good)
    if change == "input":
        write_lines(shards / "nq-train-01.jsonl.gz", simplified(7777, annotation()))
    elif change == "part":
        (parts / "00001.part").write_bytes(b"")
    else:
        words = ["--unanswered", "leave-out"]
    status, _, errors = convert("nq", shards, "--out", out, *words)
    assert status == 0
    assert ("1 of 3 files are done already" in errors) == (change != "options")
    fresh = shards.parent / "fresh.json"
    assert convert("nq", shards, "--out", fresh, *words)[0] == 0
    assert out.read_bytes() == fresh.read_bytes()


def test_too_many_dropped_questions_fail_and_nothing_is_written(shards: Path) -> None:
    record = simplified(9, annotation(LEAD, (0, 1)))
    write_lines(shards / "nq-train-03.jsonl.gz", record)
    out = shards.parent / "out.json"
    status, output, errors = convert("nq", shards, "--out", out, "--strict", 0.02)
    assert status == 2 and output == "" and names(shards.parent) == {".out.json.parts"}
    assert errors.splitlines()[-1] == (
        "error: 1 of 45 questions were dropped (2.22%), more than --strict 0.02; most often for "
        "'no short answer inside the long one', first in nq-train-03.jsonl.gz line 1 (question 9)"
    )
    status, output, errors = convert("nq", shards, "--out", out, "--strict", 0.03)
    assert status == 0 and errors.startswith("4 of 4 files are done already\n")
    assert "1 dropped, for a defect" in output


def test_a_question_repeated_word_for_word_is_kept_once(shards: Path) -> None:
    out = shards.parent / "out.json"
    again = [simplified(i, annotation(LEAD, ANNA)) for i in (8, 0, 9999)]
    write_lines(shards / "nq-train-03.jsonl.gz", *again)
    status, output, _ = convert("nq", shards, "--out", out)
    assert status == 0 and ": 45 of 47 questions kept" in output.splitlines()[0]
    audit = audit_of(out)
    assert audit["records"]["repeated"] == 2 and audit["records"]["read"] == 47
    (entry,) = audit["repeated"].values()
    file = "nq-train-03.jsonl.gz"
    examples = [{"id": "8", "file": file, "line": 1}, {"id": "0", "file": file, "line": 2}]
    assert entry == {"count": 2, "examples": examples}
    assert "  2 repeated\n    2 word for word as before, kept once: 8, 0\n" in output
    assert audit["records"]["kept"] == 45 == len(read_squad(out).examples)
    assert [source["kept"] for source in audit["inputs"]] == [40, 3, 1, 1]


def test_questions_without_told_answers_are_not_mixed_with_others(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "page").write_text("Anna Berg built it.")
    answer = {"Value": "Anna", "Aliases": [], "NormalizedAliases": []}
    files = []
    for name, more in (("dev", {"Answer": answer}), ("test", {})):
        pages = [{"Filename": "page", "Title": "t"}]
        record = {"QuestionId": name, "Question": "Who?", "SearchResults": pages, **more}
        files.append(write_json(tmp_path / f"{name}.json", {"Data": [record]}))
    words = ("--evidence", tmp_path, "--out", tmp_path / "out.json")
    status, _, errors = convert("triviaqa", *files, *words)
    assert status == 2 and errors.splitlines()[-1] == (
        "error: 1 of the 2 questions come without their answers (a test set: test.json), and "
        "beside the others they would be taken for impossible; convert them apart"
    )
    assert convert("triviaqa", files[1], *words)[0] == 0


def test_a_device_is_not_replaced_by_the_output(shards: Path) -> None:
    for name in ("out.json", "made.audit.json"):  # the output, and its audit
        pipe = shards.parent / name
        os.mkfifo(pipe)
        status, _, errors = convert("nq", shards, "--out", str(pipe).replace(".audit", ""))
        assert status == 2 and errors == f"error: --out {pipe} is a pipe or a device; name a file\n"
        assert pipe.is_fifo() and not list(shards.parent.glob(".*.parts"))


def test_an_empty_name_is_not_the_folder_where_we_are(shards: Path) -> None:
    status, _, errors = convert("nq", "", "--out", shards.parent / "out.json")
    assert status == 2 and errors.startswith("error: an input has an empty name")
    status, _, errors = convert("nq", shards, "--out=")
    assert status == 2 and errors.startswith("error: --out, which is empty, is no file in a folder")


def test_an_id_with_two_contents_is_refused_with_both_places(shards: Path) -> None:
    out = shards.parent / "out.json"
    other = simplified(101, annotation(LEAD, ANNA))
    write_lines(shards / "nq-train-03.jsonl.gz", simplified(5000, annotation()), other)
    status, _, errors = convert("nq", shards, "--out", out)
    assert status == 2 and names(shards.parent) == {".out.json.parts"}
    assert errors.splitlines()[-1] == (
        f"error: {shards}/nq-train-03.jsonl.gz: line 2 has a question with the id 101, which "
        f"{shards}/nq-train-01.jsonl.gz line 2 has too, with another content; correct one"
    )


# --- signals: a question whose evidence is a pipe that nobody writes to keeps its process waiting


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A command that waits in its second file, the first one done; and its output."""
    (tmp_path / "qa").mkdir()
    (tmp_path / "evidence" / "web").mkdir(parents=True)
    os.mkfifo(tmp_path / "evidence" / "web" / "pipe")
    (tmp_path / "evidence" / "web" / "text").write_text("Anna Berg")
    for name in ("text", "pipe"):
        record = {
            "QuestionId": name,
            "Question": "?",
            "Answer": {"Value": "Anna", "Aliases": []},
            "SearchResults": [{"Filename": name}],
        }
        write_json(tmp_path / "qa" / f"{name}.json", {"Data": [record]})
    out = tmp_path / "out.json"
    command = [
        *(sys.executable, "-m", "data.convert", "triviaqa", "--out", str(out), "--jobs", "2"),
        *(str(tmp_path / "qa" / f"{name}.json") for name in ("text", "pipe")),
    ]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        parts = tmp_path / ".out.json.parts"
        until(lambda: (parts / "00000.json").exists() and (parts / "00001.part").exists())
        until(lambda: len(workers(process.pid)) == 1)
        yield process, out
        if process.poll() is None:
            process.kill()


def until(what: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def workers(pid: int) -> list[int]:
    """The processes that convert for a command."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(path.read_text().rsplit(") ", 1)[1].split()[1])
            if parent == pid and b"spawn_main" in path.with_name("cmdline").read_bytes():
                found.append(int(path.parent.name))
    return found


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize(
    ("number", "status", "word"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
def test_a_signal_leaves_what_is_finished_and_nothing_else(
    waiting: tuple[subprocess.Popen[str], Path], number: int, status: int, word: str
) -> None:
    process, out = waiting
    started = workers(process.pid)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status and errors.splitlines()[-1] == word
    assert all(gone(pid) for pid in started)
    parts = out.with_name(".out.json.parts")
    assert names(out.parent) == {".out.json.parts"}
    assert names(parts) == {".lock", "00000.json", "00000.part", "00000.rows"}


def test_a_second_command_for_the_same_output_is_refused(
    waiting: tuple[subprocess.Popen[str], Path],
) -> None:
    process, out = waiting
    status, _, errors = convert("triviaqa", out.parent / "qa", "--out", out)
    assert status == 2 and "another process is writing to" in errors
    assert process.poll() is None


def test_processes_end_with_a_command_that_is_killed_and_the_next_goes_on(
    waiting: tuple[subprocess.Popen[str], Path],
) -> None:
    process, out = waiting
    started = workers(process.pid)
    process.kill()
    process.wait()
    until(lambda: all(gone(pid) for pid in started))
    assert not out.exists()
    pipe = out.parent / "evidence" / "web" / "pipe"
    pipe.unlink()
    pipe.write_text("Anna again")
    inputs = [out.parent / "qa" / f"{name}.json" for name in ("text", "pipe")]
    status, output, errors = convert("triviaqa", *inputs, "--out", out)
    assert status == 0 and "2 of 2 questions kept" in output
    assert errors.startswith("1 of 2 files are done already\n")


def test_a_process_that_is_killed_is_named_with_its_file(
    waiting: tuple[subprocess.Popen[str], Path],
) -> None:
    process, out = waiting
    os.kill(workers(process.pid)[0], signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2 and not out.exists()
    assert "qa/pipe.json ended with status -9, perhaps for lack of memory" in errors


# --- the figures of answers


def test_answers_inside_words_and_answers_that_fit_no_window_are_counted(tmp_path: Path) -> None:
    words = " ".join(f"w{number}" for number in range(700))
    long = words[words.index("w100 ") : words.index(" w490")]  # 390 words
    middle = words[words.index("w100 ") : words.index(" w300")]  # 200 words
    context = words + " Anna"
    turns = [
        ("no", [("Ann", len(words) + 1)]),
        ("long", [(long, words.index(long))]),
        ("middle", [(middle, words.index(middle))]),
    ]
    path, out = write_json(tmp_path / "a.json", quac(*turns, context=context)), tmp_path / "o.json"
    for vocabulary in ("", str(EMBEDDED_FOLDER)):
        assert convert("quac", path, "--out", out, "--vocabulary", vocabulary)[0] == 0
        noted = {what: entry for what, entry in audit_of(out)["noted"].items() if entry["count"]}
        assert noted.pop("answers that begin or end inside a word")["examples"][0]["id"] == "no"
        fits_none = noted.pop("answers that fit no window of 384 tokens with a stride of 128")
        assert [example["id"] for example in fits_none["examples"]] == (
            ["long", "middle"] if vocabulary else ["long"]
        )
        may = [example["id"] for entry in noted.values() for example in entry["examples"]]
        assert may == ([] if vocabulary else ["middle"])
    model = str(EMBEDDED_FOLDER)
    _, output, _ = forked("data.windows", "--data-file", out, "--model", model)
    assert "lost answers: 2 " in output


def test_an_answer_that_is_not_at_its_place_is_a_mistake_of_ours() -> None:
    passage = Passage("", "Anna", [Question("q", "?", 1, [("nna", 0)])])
    with pytest.raises(RuntimeError, match="'nna' is not at 0"):
        figures(passage, Tally(), Windows(""))


# --- the command line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "error: the set is missing; give one of triviaqa, nq, quac, newsqa, mrqa first"),
        (("sqad", "x"), "error: there is no set 'sqad'; give one of triviaqa, nq,"),
        (("nq", "DIR/none", "--out", "DIR/o"), "none does not exist"),
        (("nq", "--out", "DIR/o"), "no input is named"),
        (("nq", "DIR/nq"), "--out"),
        (("nq", "DIR/empty", "--out", "DIR/o"), "holds no .json, .jsonl, .csv file"),
        (("nq", "DIR/nq", "--out", "DIR/no/o"), "is no file in a folder that exists"),
        (("nq", "DIR/nq", "--out", "DIR/nq"), "is no file in a folder that exists"),
        (("nq", "DIR/nq", "DIR/nq/nq-train-00.jsonl.gz", "--out", "DIR/o"), "is named twice"),
        (("quac", "DIR/in.json", "--out", "DIR/in.json"), "is one of the inputs"),
        (("nq", "DIR/nq", "--out", "DIR/o", "--jobs", "-1"), "--jobs is -1, expected 0 to 256"),
        (("nq", "DIR/nq", "--out", "DIR/o", "--strict", "7"), "--strict is 7, expected a rate"),
        (("nq", "DIR/nq", "--out", "DIR/o", "--words", "7"), "unknown flag --words"),
        (("triviaqa", "DIR/in.json", "--out", "DIR/o", "--words", "-7"), "--words is -7, expected"),
        (("quac", "DIR/in.json", "--out", "DIR/o"), "nothing is left of 0 questions"),
    ],
)
def test_a_command_that_cannot_be_done_is_one_sentence_and_writes_nothing(
    shards: Path, words: tuple[str, ...], said: str
) -> None:
    folder = shards.parent
    (folder / "empty").mkdir()
    write_json(folder / "in.json", quac())
    before = (folder / "in.json").read_bytes()
    status, output, errors = convert(*(word.replace("DIR", str(folder)) for word in words))
    assert status == 2 and output == "" and said in errors.splitlines()[-1]
    assert names(folder) <= {"in.json", ".o.parts"} and (folder / "in.json").read_bytes() == before


def test_an_earlier_output_is_replaced_whole(shards: Path) -> None:
    out = shards.parent / "out.json"
    out.write_text("earlier")
    shutil.copy(shards / "nq-train-02.jsonl.gz", shards / "nq-train-03.jsonl.gz")
    with (shards / "nq-train-03.jsonl.gz").open("ab") as file:
        file.write(b"rubbish")
    assert convert("nq", shards, "--out", out)[0] == 2
    assert out.read_text() == "earlier"
    (shards / "nq-train-03.jsonl.gz").unlink()
    assert convert("nq", shards, "--out", out)[0] == 0
    assert len(read_squad(out).examples) == 44
