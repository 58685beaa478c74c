"""Ctrl-C and SIGTERM at any moment: the state is saved, and the run goes on as if never stopped."""

import os
import random
import signal
import time

import pytest

import eval.answerer
import train.loop
from tests.reliability import figure
from tests.train.killing import at_file_event, finish, go_on, result, start
from tests.train.little import little_arguments, write_little
from train.checkpoint import list_checkpoints, verify_checkpoint
from train.run import Run

SETTINGS = ("--batch-size", "10", "--save-every", "2", "--epochs", "25")
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signals")
    write_little(folder, questions=12)
    assert finish(start(little_arguments(folder, folder / "whole", *SETTINGS))) == 0
    return folder


def at_call(module, name, number, act):
    """A `prepare` that acts just before a function of a module is called the nth time."""
    function, calls = getattr(module, name), 0

    def counted(*values, **more):
        nonlocal calls
        calls += 1
        if calls == number:
            act()
        return function(*values, **more)

    return lambda: setattr(module, name, counted)


def test_thirty_signals_while_training_evaluating_and_saving_lose_nothing(files, tmp_path):
    run, generator, slowest = tmp_path / "run", random.Random(0), 0.0
    arguments = little_arguments(files, run, *SETTINGS)
    ready, watching = os.pipe()
    watch_signals = Run.watch_signals

    def watch_and_tell(self):
        watch_signals(self)
        os.write(watching, b"!")

    for n in range(30):
        number = (signal.SIGINT, signal.SIGTERM)[n % 2]

        def send(number=number):
            os.kill(os.getpid(), number)

        prepare = [
            lambda: setattr(Run, "watch_signals", watch_and_tell),
            at_call(train.loop, "seed_update", generator.randint(1, 4), send),
            at_call(eval.answerer, "span_loss_sum", 1, send),
            at_file_event(run, generator.randint(24, 50), send),
        ][n % 4]
        child = start(go_on(arguments, run), prepare=prepare)
        if n % 4 == 0:
            os.read(ready, 1)
            time.sleep(generator.uniform(0, 0.05))
            os.kill(child, number)
        started = time.monotonic()
        assert finish(child) == STATUS[number], f"signal {n}"
        slowest = max(slowest, time.monotonic() - started)
        assert verify_checkpoint(list_checkpoints(run / "checkpoints")[-1]) is None
    assert slowest < 10
    assert finish(start(["--resume", "--output-dir", str(run)])) == 0
    assert result(run) == result(files / "whole")
    figure(
        "R7",
        f"30 signals in training, evaluation and saving of one run, slowest exit {slowest:.1f} s, "
        "0 differences",
    )


def test_an_evaluation_is_left_at_once_and_made_first_thing_after_a_resume(files, tmp_path):
    run = tmp_path / "run"
    evaluated = at_call(
        eval.answerer, "span_loss_sum", 1, lambda: os.kill(os.getpid(), signal.SIGTERM)
    )
    assert finish(start(little_arguments(files, run, *SETTINGS), prepare=evaluated)) == 143
    lines = (run / "log.jsonl").read_text().splitlines()
    assert '"update"' in lines[-1]
    assert not (run / "metrics.json").exists()
    more = ["--resume", "--output-dir", str(run)]
    stop = at_call(train.loop, "seed_update", 1, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert finish(start(more, prepare=stop)) == 143
    added = (run / "log.jsonl").read_text().splitlines()[len(lines) :]
    assert ['"event": "eval"' in line for line in added] == [True, False]
    assert (run / "metrics.json").exists()


def test_a_second_signal_stops_at_once_and_leaves_the_checkpoint_before(files, tmp_path):
    run, errors = tmp_path / "run", tmp_path / "errors"

    def twice():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)

    prepare = at_file_event(run / "checkpoints" / ".update-000006.tmp", 3, twice)
    arguments = little_arguments(files, run, *SETTINGS)
    assert finish(start(arguments, errors, prepare)) == 143
    lines = errors.read_text().split("\n")
    assert [line for line in lines if line.startswith("stopped at once")] == [
        "stopped at once; the last good checkpoint is of update 4"
    ]
    checkpoints = list_checkpoints(run / "checkpoints")
    assert checkpoints[-1].name == "update-000004"
    assert verify_checkpoint(checkpoints[-1]) is None
    assert finish(start(["--resume", "--output-dir", str(run)])) == 0
    assert result(run) == result(files / "whole")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_stops_unless_it_was_ignored_from_the_start(files, tmp_path, number):
    """SIGHUP: the terminal is closed. nohup, and a script's background jobs, ignore some."""
    send = at_call(train.loop, "seed_update", 3, lambda: os.kill(os.getpid(), number))
    for ignored in (False, True):
        run = tmp_path / str(ignored)

        def prepare(ignored=ignored):
            signal.signal(number, signal.SIG_IGN if ignored else signal.getsignal(number))
            send()

        words = little_arguments(files, run, *SETTINGS[:-1], "2")
        status = finish(start(words, prepare=prepare))
        assert status == (0 if ignored else 128 + number)
        assert len(list_checkpoints(run / "checkpoints")) > 0
        if not ignored:
            assert (run / "checkpoints" / "update-000003").is_dir()
            assert finish(start(["--resume", "--output-dir", str(run)])) == 0
    assert result(tmp_path / "True") == result(tmp_path / "False")
