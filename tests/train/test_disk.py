"""A full disk: one sentence with status 4, the last good checkpoint intact, and the run goes on."""

import os
import resource
import shutil
import signal
import subprocess
import sys

import pytest

import train.disk
import train.loop
from tests.reliability import figure
from tests.train.killing import finish, go_on, result, start
from tests.train.little import little_arguments, write_little
from train.checkpoint import list_checkpoints, verify_checkpoint

SETTINGS = ("--batch-size", "10", "--save-every", "1")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disk")
    write_little(folder, questions=12)
    assert finish(start(little_arguments(folder, folder / "whole", *SETTINGS))) == 0
    return folder


def assert_refused_and_resumable(run, arguments, prepare):
    """One sentence, status 4, checkpoints whole; what was said (through a pipe: no disk)."""
    reading, writing = os.pipe()

    def prepare_all():
        os.dup2(writing, 2)
        sys.stderr = os.fdopen(2, "w", closefd=False)  # the one before thinks that it may seek
        prepare()

    status = finish(start(arguments, prepare=prepare_all))
    os.close(writing)
    with os.fdopen(reading) as told:
        said = told.read().splitlines()
    assert status == 4, said
    assert len(said) == 1, said
    assert said[0].startswith("error: ")
    assert "Traceback" not in said[0]
    for checkpoint in list_checkpoints(run / "checkpoints"):
        assert verify_checkpoint(checkpoint) is None
    return said[0]


def test_a_limit_on_file_sizes_anywhere_ends_with_status_4_and_can_be_resumed(files, tmp_path):
    """EFBIG from every kind of file: the smallest limits hit lock and settings, the larger ones
    checkpoints and the best model, one in the middle of a run its log."""
    expected, spoken = result(files / "whole"), set()
    sizes = [path.stat().st_size for path in (files / "whole").rglob("*") if path.is_file()]
    limits = sorted({min(round(2.2**n), max(sizes) - 1 - n) for n in range(19)})
    assert len(limits) == 19
    for limit in (0, *limits):
        run = tmp_path / "run"

        def cap(limit=limit):
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            if limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            else:
                train.loop.seed_update = limiting_the_log

        def limiting_the_log(seed, update, *rest, run=run, seed_update=train.loop.seed_update):
            if update == 2:
                length = (run / "log.jsonl").stat().st_size + 40
                resource.setrlimit(resource.RLIMIT_FSIZE, (length, length))
            seed_update(seed, update, *rest)

        arguments = little_arguments(files, run, *SETTINGS)
        said = assert_refused_and_resumable(run, arguments, cap)
        assert "make room" in said
        spoken.add(" ".join(said.split()[:3]))
        assert finish(start(go_on(arguments, run))) == 0
        assert result(run) == expected, f"limit {limit}"
        assert not list(run.rglob("*.tmp"))
        shutil.rmtree(run)
    assert {"error: the checkpoint", "error: the log", "error: the disk"} <= spoken
    figure("R6", f"file sizes limited to {len(limits) + 1} values, 0 differences after")


def test_a_full_disk_ends_with_status_4_and_the_run_goes_on_when_there_is_room(files, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be made here: {mounted.stderr.strip()}")
    try:
        for free in (0, 4096, 12288, 30000, 60000):  # bytes left after the third update
            run, ballast = disk / f"run-{free}", disk / "ballast"

            def fill(free=free, ballast=ballast):
                seed_update = train.loop.seed_update

                def filling(seed, update, *rest):
                    if update == 3:
                        room = os.statvfs(disk)
                        ballast.write_bytes(bytes(room.f_bavail * room.f_bsize - free))
                    seed_update(seed, update, *rest)

                train.loop.seed_update = filling

            arguments = little_arguments(files, run, *SETTINGS)
            said = assert_refused_and_resumable(run, arguments, fill)
            assert "No space left" in said
            assert "make room, then --resume" in said
            ballast.unlink()
            assert finish(start(go_on(arguments, run))) == 0
            assert result(run) == result(files / "whole")
            shutil.rmtree(run)
    finally:
        subprocess.run(["umount", disk], check=True)
    figure("R6", "a full 4 MB disk at 5 fill levels, 0 differences after")


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_too_little_room_is_said_before_anything_is_trained(files, tmp_path, more):
    run, errors = tmp_path / "run", tmp_path / "errors"

    def nearly_full():
        train.disk.disk_free = lambda folder: 1_100_000

    arguments = little_arguments(files, run, *SETTINGS, *more)
    assert finish(start(arguments, errors, nearly_full)) == 4
    assert "error: the run needs 1." in errors.read_text()
    assert "1.1 MB are free" in errors.read_text()
    assert not run.exists()


def test_the_predicted_room_is_enough_and_not_twice_too_much(files):
    from minibert import BertForQuestionAnswering
    from train.options import TrainOptions

    model = BertForQuestionAnswering.from_pretrained(files / "whole" / "best")
    need = train.disk.disk_need(model, TrainOptions(), answers=12 * 20) - train.disk.MARGIN_BYTES
    checkpoint = list_checkpoints(files / "whole" / "checkpoints")[-1]
    tensors = sum((checkpoint / f"{n}.safetensors").stat().st_size for n in ("model", "optimizer"))
    answers = sum(path.stat().st_size for path in (files / "whole").glob("[np]*.json"))
    weights = (files / "whole" / "best" / "model.safetensors").stat().st_size
    # so tiny a model's files are a good part headers, a few kB each, which the margin covers
    most = 3 * tensors + 2 * (weights + answers)
    assert most < need + train.disk.MARGIN_BYTES
    assert need < 2 * most


def test_a_resumed_run_is_not_refused_for_what_it_holds_already(files, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(files / "whole", run)

    def nearly_full():
        held = sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
        train.disk.disk_free = lambda folder: 1_800_000 - held

    assert finish(start(["--resume", "--output-dir", str(run)], prepare=nearly_full)) == 0
