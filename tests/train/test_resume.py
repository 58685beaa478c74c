"""Stopped at any update and resumed in a new process, a run ends as if it had never stopped."""

import json
import os
import shutil
import signal

import pytest
import torch

from tests.reliability import figure
from tests.train.killing import finish, result, start
from tests.train.little import little_arguments, write_little
from train.run import Run

PRECISIONS = {
    "fp32": [],
    "bf16": ["--amp", "--amp-dtype", "bf16"],
    "fp16 with GradScaler": ["--amp", "--amp-dtype", "fp16"],
}


def run_in_new_process(arguments, stop_at=None, send=None):
    """Run the command in a forked child; its exit status.

    Args:
        arguments: of train.squad.
        stop_at: ask the run to stop after this update, as a signal would.
        send: a real signal to send instead of only asking.
    """
    log_update = Run.log_update

    def log_and_stop(self, update, *rest):
        log_update(self, update, *rest)
        if update == stop_at:
            if send is None:
                self.stop_status = 130
            else:
                os.kill(os.getpid(), send)

    return finish(start(arguments, prepare=lambda: setattr(Run, "log_update", log_and_stop)))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    write_little(folder, questions=16)
    return folder


@pytest.mark.parametrize("parts", ["1", "3"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_resuming_at_any_update_changes_no_bit(files, tmp_path, precision, parts):
    settings = [*PRECISIONS[precision], "--accumulate", parts]
    assert run_in_new_process(little_arguments(files, tmp_path / "whole", *settings)) == 0
    expected = result(tmp_path / "whole")
    updates = [line["update"] for line in expected[2] if line["event"] == "update"]
    assert len(updates) >= 6
    scales = {line["scale"] for line in expected[2] if line["event"] == "update"}
    assert (min(scales) > 1) == ("fp16" in precision)
    for stop_at in updates:
        run = tmp_path / "stopped"
        assert run_in_new_process(little_arguments(files, run, *settings), stop_at) == 130
        assert run_in_new_process(["--resume", "--output-dir", str(run)]) == 0
        assert result(run) == expected, f"stopped after update {stop_at}"
        shutil.rmtree(run)
    figure(
        "R1",
        f"{precision}, {parts} micro-batches: stopped after each of {len(updates)} updates, "
        "0 differences",
    )


def test_two_runs_with_one_seed_are_equal_and_another_seed_differs(files, tmp_path):
    for name, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        arguments = little_arguments(files, tmp_path / name, "--seed", seed, "--deterministic")
        assert run_in_new_process(arguments) == 0
    a, b, c = (result(tmp_path / name) for name in "abc")
    assert a == b
    assert a[0] != c[0]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_update_saves_and_can_be_resumed(files, tmp_path, number, status):
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert run_in_new_process(little_arguments(files, whole)) == 0
    assert run_in_new_process(little_arguments(files, run), stop_at=3, send=number) == status
    assert (run / "checkpoints" / "update-000003").is_dir()
    assert run_in_new_process(["--resume", "--output-dir", str(run)]) == 0
    assert result(run) == result(whole)


def test_resuming_a_finished_run_trains_nothing_and_succeeds(files, tmp_path):
    run = tmp_path / "run"
    assert run_in_new_process(little_arguments(files, run)) == 0
    before = result(run)
    assert run_in_new_process(["--resume", "--output-dir", str(run)]) == 0
    assert result(run) == before


def test_time_is_up_after_max_minutes_and_the_run_can_go_on(files, tmp_path):
    run = tmp_path / "run"
    arguments = little_arguments(files, run, "--max-minutes", "0.0001")
    assert run_in_new_process(arguments) == 0
    lines = (run / "log.jsonl").read_text().splitlines()
    assert len(lines) <= 1
    assert run_in_new_process(["--resume", "--output-dir", str(run)]) == 0
    assert len((run / "log.jsonl").read_text().splitlines()) >= 6


def test_threads_are_those_of_the_run_that_is_resumed(files, tmp_path):
    run = tmp_path / "run"
    assert run_in_new_process(little_arguments(files, run), stop_at=2) == 130
    saved = json.loads((run / "options.json").read_bytes())
    assert saved["options"]["threads"] == 1
    assert run_in_new_process(["--resume", "--output-dir", str(run)]) == 0
    starts = json.loads((run / "env.json").read_bytes())
    assert [start["threads"] for start in starts] == [1, 1]
    assert torch.get_num_threads() == 1
