"""kill -9 at every change of a file, then the command again: not one bit of the run differs."""

import json
import os
import random
import re
import shutil
import signal
import tempfile
import time
from pathlib import Path

import pytest

import eval.predict
from minibert import BertForQuestionAnswering
from tests.reliability import figure
from tests.train.killing import at_file_event, finish, go_on, result, start
from tests.train.little import little_arguments, write_little
from train.checkpoint import list_checkpoints, verify_checkpoint

# Always an answer, so that scores move; few windows; only one checkpoint to lose.
SETTINGS = (
    *("--batch-size", "10", "--warmup", "0", "--null-threshold", "1e9", "--lr", "2e-2"),
    *("--epochs", "1.34", "--save-every", "4", "--keep-checkpoints", "1"),
)


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def place():
    """A folder in memory where there is one: what is tested is the order of events, not a disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        write_little(Path(name), questions=12)
        yield Path(name)


@pytest.fixture(scope="module")
def whole(place):
    """An uninterrupted run in which the best model changes at least once, and its command line."""
    for seed in ("4", *map(str, range(24))):  # which ones do may depend on the processor
        run = place / "whole"
        shutil.rmtree(run, ignore_errors=True)
        assert finish(start(little_arguments(place, run, *SETTINGS, "--seed", seed))) == 0
        scores = [line["f1"] for line in result(run)[2] if line["event"] == "eval"]
        highest = [score for n, score in enumerate(scores) if score > max(scores[:n], default=-1)]
        if len(highest) >= 2:
            return run, lambda folder, seed=seed: little_arguments(
                place, folder, *SETTINGS, "--seed", seed
            )
    pytest.fail("no seed has two best models")


def assert_best_is_one(run):
    """best/ is whole; its card and the newest checkpoint tell the scores of metrics.json."""
    model = BertForQuestionAnswering.from_pretrained(run / "best")
    assert model.config.hidden_size == 16
    metrics = json.loads((run / "metrics.json").read_bytes())
    card = dict(re.findall(r"^\| (\w+) \| (\S+) \|$", (run / "best/README.md").read_text(), re.M))
    assert card["f1"] == f"{metrics['f1']:.4g}"
    assert card["loss"] == f"{metrics['loss']:.4g}"
    assert len(json.loads((run / "predictions.json").read_bytes())) == 12
    newest = list_checkpoints(run / "checkpoints")[-1]
    state = json.loads((newest / "state.json").read_bytes())["state"]
    assert metrics["f1"] == state["best_score"], "the newest checkpoint knows another best model"


def test_killed_before_any_change_of_a_file_a_run_ends_the_same(place, whole):
    reference, command = whole
    expected, started = result(reference), time.monotonic()
    points, differing, had_checkpoint, had_best, readable_before = 0, [], False, False, None
    while True:
        run = place / "run"
        prepare = at_file_event(run, points + 1, kill)
        status = finish(start(command(run), prepare=prepare))
        if status == 0:
            break
        assert status == -signal.SIGKILL
        points += 1
        valid = [f for f in list_checkpoints(run / "checkpoints") if verify_checkpoint(f) is None]
        assert valid or not had_checkpoint, f"no good checkpoint is left at event {points}"
        assert (run / "best").is_dir() or not had_best, f"no best model at event {points}"
        had_checkpoint, had_best = bool(valid), (run / "best").is_dir()
        # where the files that readers see have changed since the last kill
        readable = [(path, path.read_bytes()) for path in sorted(run.glob("best/*"))]
        readable += [(path, path.read_bytes()) for path in sorted(run.glob("*s.json"))]
        if had_best and readable != readable_before:
            # taken up and left again at once: what is there belongs together
            assert finish(start([*go_on([], run), "--max-minutes", "1e-9"])) == 0
            assert_best_is_one(run)
        readable_before = readable
        status = finish(start(go_on(command(run), run), place / "errors"))
        if status != 0 or result(run) != expected:
            differing.append((points, status, (place / "errors").read_text()))
        left = [p.name for p in run.rglob(".*") if p.name != ".lock"]
        assert not left, f"killed at event {points}, resumed and finished: {left}"
        shutil.rmtree(run)
    assert result(run) == expected
    shutil.rmtree(run)
    assert not differing
    assert points >= 80
    assert had_checkpoint
    assert had_best
    seconds = time.monotonic() - started
    figure("R2", f"{points} kill points, 0 differences, {seconds:.0f} s")
    figure("R5", f"a good checkpoint and a whole best/ at all {points} (keeping 1)")


def test_fifty_kills_at_random_change_nothing(place, whole):
    generator, started = random.Random(0), time.monotonic()
    more = ("--epochs", "40", "--save-every", "2")
    reference, run = place / "long", place / "killed"
    assert finish(start([*whole[1](reference), *more])) == 0
    training = time.monotonic() - started
    assert finish(start(go_on([], reference))) == 0
    reading = time.monotonic() - started - training
    arguments, kills = [*whole[1](run), *more], 0
    for _ in range(500):  # at a pace at which they come to about half of the run
        child = start(go_on(arguments, run))
        time.sleep(generator.uniform(0, reading + training / 25))
        os.kill(child, signal.SIGKILL)
        status = finish(child)
        assert status in (0, -signal.SIGKILL)
        kills += status == -signal.SIGKILL
        if kills == 50:
            break
        if status == 0:  # the machine has become faster: the run is over, another takes the rest
            assert result(run) == result(reference)
            shutil.rmtree(run)
    assert kills == 50
    assert (run / "checkpoints").is_dir()
    assert finish(start(go_on(arguments, run))) == 0
    assert result(run) == result(reference)
    seconds = time.monotonic() - started
    figure("R2", f"{kills} kills at random, 0 differences, {seconds:.0f} s")


def test_a_prediction_killed_before_any_change_of_a_file_can_be_repeated(place, whole):
    def arguments(folder):
        words = ("--model", whole[0], "--data-file", place / "dev.json", "--output-dir", folder)
        return list(map(str, words))

    def content(folder):
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    assert finish(start(arguments(place / "answers"), command=eval.predict.main)) == 0
    expected, points = content(place / "answers"), 0
    while True:
        folder = place / "again"
        prepare = at_file_event(folder, points + 1, kill)
        if finish(start(arguments(folder), prepare=prepare, command=eval.predict.main)) == 0:
            break
        points += 1
        here = content(folder) if folder.is_dir() else {}
        assert all(here[name] == expected[name] for name in here if not name.startswith("."))
        assert finish(start(arguments(folder), command=eval.predict.main)) == 0
        assert {n: c for n, c in content(folder).items() if n in expected} == expected
        shutil.rmtree(folder)
    assert points >= 8
    figure("R2", f"{points} kill points while predictions are written, 0 differences")


def test_an_export_killed_before_any_change_of_a_file_leaves_old_or_new_files(place, whole):
    old, points = place / "export", 0
    model = BertForQuestionAnswering.from_pretrained(whole[0] / "best")
    other = BertForQuestionAnswering(model.config)
    other.save_pretrained(place / "new")
    new = {path.name: path.read_bytes() for path in (place / "new").iterdir()}
    while True:
        shutil.rmtree(old, ignore_errors=True)
        model.save_pretrained(old)
        before = {path.name: path.read_bytes() for path in old.iterdir()}

        def export(_words):
            other.save_pretrained(old)
            return 0

        if finish(start([], prepare=at_file_event(old, points + 1, kill), command=export)) == 0:
            break
        points += 1
        for name in new:
            assert (old / name).read_bytes() in (before[name], new[name])
        assert finish(start([], command=export)) == 0
        assert {name: (old / name).read_bytes() for name in new} == new
    assert points >= 4
    figure("R2", f"{points} kill points while a model is exported, 0 torn files")
