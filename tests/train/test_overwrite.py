"""--overwrite never loses the earlier run before the new one has begun, whatever comes between."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

import train.environment
import train.run
import train.squad_inputs
from tests.reliability import figure
from tests.train.killing import at_file_event, finish, result, start
from tests.train.little import little_arguments, write_little
from train.faults import NONFINITE_REPORT

SETTINGS = ("--batch-size", "10", "--epochs", "1", "--save-every", "2")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A finished run `old`, and `new`: what the same command with another seed leads to."""
    folder = tmp_path_factory.mktemp("overwrite")
    write_little(folder, questions=8)
    assert finish(start(arguments(folder, folder / "old"))) == 0
    assert finish(start(arguments(folder, folder / "new", "--seed", "2"))) == 0
    return folder


def arguments(files, run, *more):
    return little_arguments(files, run, *SETTINGS, *more)


def resume(run, *more):
    return ["--resume", "--output-dir", str(run), *more]


def content(run):
    return {
        str(path.relative_to(run)): path.read_bytes()
        for path in run.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def at_reading(act):
    """A `prepare`: the start acts in place of reading its files."""
    return lambda: setattr(train.squad_inputs, "read_inputs", lambda *anything: act())


def die():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_stopped_before_any_change_of_a_file_a_start_leaves_the_old_run_or_begins_the_new(
    files, tmp_path, number
):
    old, expected, run = content(files / "old"), result(files / "new"), tmp_path / "run"
    words, points, put_back = arguments(files, run, "--overwrite", "--seed", "2"), 0, 0
    while True:
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(files / "old", run)
        stop = at_file_event(run, points + 1, lambda: os.kill(os.getpid(), number))
        status = finish(start(words, prepare=stop))
        points += 1
        # the next start of whatever kind settles it: the run there is then the old or the new one
        assert finish(start(resume(run, "--max-minutes", "1e-9"))) == 0
        began = content(run)["options.json"] != old["options.json"]
        if not began:
            put_back += 1
            assert {n: c for n, c in content(run).items() if n != "env.json"} == {
                n: c for n, c in old.items() if n != "env.json"
            }
        else:
            assert finish(start(resume(run))) == 0
            assert result(run) == expected
        assert {path.name for path in tmp_path.iterdir()} == {"run"}
        assert [p.name for p in run.rglob(".*")] == [".lock"]
        if began:
            break
        assert status == (-9 if number == signal.SIGKILL else 143)
    assert put_back >= 10
    figure("R9", f"{points} points of an overwriting start, {number.name}: no run lost")


def test_a_second_sigterm_on_the_way_back_changes_nothing(files, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(files / "old", run)

    def terminate():
        os.kill(os.getpid(), signal.SIGTERM)

    def prepare():
        at_reading(terminate)()
        rename, renamed = os.rename, []

        def again(source, target):
            renamed.append(source)
            if ".overwriting" in str(source) and str(target).endswith("log.jsonl"):
                terminate()
            rename(source, target)

        os.rename = again

    assert finish(start(arguments(files, run, "--overwrite"), prepare=prepare)) == 143
    assert content(run) == content(files / "old")


def test_a_start_beside_an_overwriting_one_is_refused_from_its_first_moment(files, tmp_path):
    """While the first still reads, nothing of its folder is there for a second one to take."""
    run, errors = tmp_path / "run", tmp_path / "errors"
    shutil.copytree(files / "old", run)
    reading, writing = os.pipe()

    def wait():
        os.write(writing, b"!")
        time.sleep(30)  # a failing test leaves no process behind for long

    owner = start(arguments(files, run, "--overwrite"), prepare=at_reading(wait))
    os.read(reading, 1)
    for words in (
        arguments(files, run, "--seed", "9"), arguments(files, run, "--overwrite"), resume(run),
    ):  # fmt: skip
        assert finish(start(words, errors)) == 2
        assert f"in use by process {owner}" in errors.read_text()
    os.kill(owner, signal.SIGTERM)
    assert finish(owner) == 143
    assert content(run) == content(files / "old")


def test_an_overwriting_start_that_fails_leaves_a_run_that_began_meanwhile_alone(files, tmp_path):
    """The other one took the empty folder first; the failing one never had it."""
    run, errors = tmp_path / "run", tmp_path / "errors"
    reading, writing = os.pipe()

    def wait():
        os.write(writing, b"!")
        time.sleep(30)  # a failing test leaves no process behind for long

    owner = start(arguments(files, run), prepare=at_reading(wait))
    os.read(reading, 1)
    assert finish(start(arguments(files, run, "--overwrite", "--max-length", "500"), errors)) == 2
    assert "in use" in errors.read_text()
    assert (run / ".lock").read_text() == f"{owner}\n"
    os.kill(owner, signal.SIGTERM)
    assert finish(owner) == 143
    assert not run.exists()  # no run began: nothing is left


def test_resume_after_a_kill_during_an_overwriting_start_means_the_old_run(files, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(files / "old", run)
    words = arguments(files, run, "--overwrite", "--seed", "2")
    assert finish(start(words, prepare=at_reading(die))) == -9
    assert not (run / "options.json").exists()
    errors = tmp_path / "errors"
    assert finish(start(arguments(files, run, "--seed", "3"), errors)) == 2
    assert "not empty" in errors.read_text()
    assert finish(start(words, prepare=at_reading(die))) == -9  # killed again: still there
    assert finish(start(resume(run))) == 0
    assert result(run) == result(files / "old")
    assert not list(run.glob(".over*"))


def test_killed_after_it_has_begun_the_new_run_is_resumed_and_the_old_one_deleted(files, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(files / "old", run)
    words = arguments(files, run, "--overwrite", "--seed", "2")
    begun = lambda: setattr(train.run, "record_start", lambda *anything: die())  # noqa: E731
    assert finish(start(words, prepare=begun)) == -9
    assert (run / ".overwritten").is_dir() and (run / "options.json").exists()
    assert not (run / "env.json").exists()
    again = tmp_path / "again"
    shutil.copytree(run, again)
    assert finish(start(resume(run))) == 0
    assert result(run) == result(files / "new")
    assert not (run / ".overwritten").exists()
    # options.json alone tells a run as well
    assert finish(start(arguments(files, again, "--overwrite", "--seed", "2"))) == 0
    assert result(again) == result(files / "new")
    assert not (again / ".overwritten").exists()


def test_a_link_a_mount_point_the_working_folder_and_a_long_name_can_be_overwritten(
    files, tmp_path, monkeypatch
):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    mount = tmp_path / "mount"
    mount.mkdir()
    places = ["../link", ".", str(tmp_path / ("n" * 250))]
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", mount], capture_output=True)
    try:
        for place in [*places, *([str(mount)] if mounted.returncode == 0 else [])]:
            assert finish(start(arguments(files, place))) == 0
            assert finish(start(arguments(files, place, "--overwrite", "--seed", "2"))) == 0
            assert result(Path(place)) == result(files / "new")
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", mount], check=True)
    assert (tmp_path / "link").is_symlink()
    assert {p.name for p in tmp_path.iterdir()} == {"there", "link", "here", "mount", "n" * 250}


def test_reports_of_refused_updates_belong_to_a_run_and_go_with_it(files, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(files / "old", run)
    early, late = (run / NONFINITE_REPORT.format(number) for number in (1, 99))
    early.write_text("{}")
    late.write_text("{}")
    assert finish(start(resume(run))) == 0
    assert early.exists()  # of an update that the run has long made in another way
    assert not late.exists()
    assert finish(start(arguments(files, run, "--overwrite"))) == 0
    assert not early.exists()


def test_only_a_lock_that_is_held_means_in_use_and_a_link_in_its_place_is_not_followed(
    files, tmp_path
):
    import errno
    import fcntl

    run, errors = tmp_path / "run", tmp_path / "errors"

    def no_locks():
        def refuse(*anything):
            raise OSError(errno.ENOLCK, "No locks available")

        fcntl.flock = refuse

    assert finish(start(arguments(files, run), errors, no_locks)) == 0
    assert "warning:" in errors.read_text() and "No locks available" in errors.read_text()
    assert result(run) == result(files / "old")
    precious = tmp_path / "precious"
    precious.write_text("data")
    (run / ".lock").unlink()
    (run / ".lock").symlink_to(precious)
    assert finish(start(resume(run), errors)) == 2
    assert "is a symbolic link" in errors.read_text()
    assert precious.read_text() == "data"


def test_a_lock_file_deleted_by_its_holder_in_the_last_moment_locks_nothing(files, tmp_path):
    """A start that fails removes its lock file; one that had just opened it takes a new one."""
    import fcntl

    from train.run_folder import _lock

    flock, seen = fcntl.flock, []

    def deleting(file, how):
        flock(file, how)
        if not seen:
            (tmp_path / ".lock").unlink()
        seen.append(os.fstat(file.fileno()).st_ino)

    fcntl.flock = deleting
    try:
        with _lock(tmp_path) as lock:
            assert len(seen) == 2
            assert os.path.samestat(os.fstat(lock.fileno()), (tmp_path / ".lock").stat())
    finally:
        fcntl.flock = flock


def test_a_dry_run_with_overwrite_changes_nothing(files, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(files / "old", run)
    before, began = content(run), time.time_ns()
    assert finish(start(arguments(files, run, "--overwrite", "--dry-run"))) == 0
    assert content(run) == before
    assert all(path.stat().st_mtime_ns < began for path in [run, *run.rglob("*")])


def test_a_dry_run_foretells_that_a_folder_will_be_refused(files, tmp_path):
    run, errors = tmp_path / "run", tmp_path / "errors"
    run.mkdir()
    (run / "mine.txt").write_text("mine")
    for more, sentence in (([], "is not empty"), (["--overwrite"], "holds mine.txt")):
        for dry in ([], ["--dry-run"]):
            assert finish(start(arguments(files, run, *more, *dry), errors)) == 2
            assert sentence in errors.read_text()
    assert [path.name for path in run.iterdir()] == ["mine.txt"]
