"""The real torchrun: it starts killed ranks again, tells of failures, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.reliability import figure
from tests.train.killing import result
from tests.train.little import little_arguments, write_little
from tests.train.test_ranks import SHORT
from tests.train.torchrun import Torchrun
from train.checkpoint import list_checkpoints

ROOT = Path(__file__).parents[2]
MID_STEP, MID_SAVE = ("train.loop", "get_total_norm", 4), ("train.checkpoint", "write_flushed", 3)


class Launch:
    """A torchrun with two ranks of train.squad, some of which are to be killed."""

    def __init__(self, folder: Path, words: list[str], restarts: int, kills: list[object]) -> None:
        self.pids = folder / "pids"
        environment = {
            **os.environ,
            "GLOO_SOCKET_IFNAME": "lo",
            "MINIBERT_KILLS": json.dumps(kills),
            "MINIBERT_PIDS": str(self.pids),
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", "2", "--max-restarts", str(restarts)]
        self.process = subprocess.Popen(
            [*command, "-m", "tests.train.torchrun_victim", *words],
            cwd=folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def finish(self) -> tuple[int, str]:
        """Status and output, within a minute; no rank is left, as zombie or otherwise."""
        try:
            said = self.process.communicate(timeout=60)[0]
        finally:
            self.process.kill()
        for pid in map(int, self.pids.read_text().split()):
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)
        return self.process.returncode, said


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("torchrun")
    write_little(folder, questions=15)
    assert Torchrun().run(2, little_arguments(folder, folder / "whole", *SHORT)) == [0, 0]
    return folder


def test_two_kills_and_two_restarts_lead_to_the_same_bits(files, tmp_path):
    run = tmp_path / "run"
    kills = [[0, 1, *MID_STEP], [1, 0, *MID_SAVE]]
    status, said = Launch(tmp_path, little_arguments(files, run, *SHORT), 2, kills).finish()
    assert status == 0, said
    assert len(json.loads((run / "env.json").read_bytes())) == 3
    assert result(run) == result(files / "whole")


def test_a_killed_rank_is_named_and_its_fellow_ended_within_half_a_minute(files, tmp_path):
    run, began = tmp_path / "run", time.monotonic()
    launch = Launch(tmp_path, little_arguments(files, run, *SHORT), 0, [[0, 1, *MID_STEP]])
    status, said = launch.finish()
    took = time.monotonic() - began
    assert took < 30
    figure("T8", f"torchrun names the killed rank and is gone after {took:.0f} s (limit 30)")
    assert status == 1
    assert "exitcode  : -9" in said and "rank      : 1" in said


def test_sigterm_to_torchrun_saves_and_the_run_goes_on(files, tmp_path):
    run = tmp_path / "run"
    words = little_arguments(files, run, *SHORT)
    launch = Launch(tmp_path, [*words, "--epochs", "1000"], 0, [])
    while not list_checkpoints(run / "checkpoints"):
        assert launch.process.poll() is None
        time.sleep(0.02)
    launch.process.send_signal(signal.SIGTERM)
    status, said = launch.finish()
    assert status == 1  # torchrun's own, whatever its ranks leave with
    assert "stopped after update" in said and "go on with" in said
    last = list_checkpoints(run / "checkpoints")[-1].name.removeprefix("update-")
    assert f"stopped after update {int(last)} of" in said
    more = ["--resume", "--output-dir", str(run), "--max-minutes", "0.00001"]
    assert Torchrun().run(2, more) == [0, 0]
    assert list_checkpoints(run / "checkpoints")[-1].name == f"update-{last}"
