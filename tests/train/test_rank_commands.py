"""Every command under torchrun: the same scores as in one process, or one sentence that refuses."""

import json
import os
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

import data.torchrun
import eval.class_plots
import eval.classify
import eval.predict
import train.classify
import train.pretrain
import train.squad
from data.command import UsageError
from data.ranks import ALONE
from data.torchrun import joined_ranks
from minibert.device import choose_device
from tests.forked import forked
from tests.train import test_classify, test_pretrain
from tests.train.little import little_arguments, write_little
from tests.train.test_ranks import last_weights, lines, small_buckets
from tests.train.torchrun import Torchrun
from train.checkpoint import list_checkpoints

classify_files, pretrain_files = test_classify.files, test_pretrain.files


def without_pictures(rank: int) -> None:
    small_buckets()
    eval.class_plots.draw_all = lambda *anything: []


def assert_equal_training(alone, together):
    """Loss and scores of every update and evaluation, and the last weights."""
    for event in ("update", "eval"):
        for one, several in zip(lines(alone, event), lines(together, event), strict=True):
            for name in one.keys() - {"time", "event"}:
                assert one[name] == pytest.approx(several[name], abs=2e-6, rel=1e-5), name
    others = last_weights(together)
    for name, weight in last_weights(alone).items():
        # what is added to all keys alike changes no probability: the gradient is rounding noise,
        # of which Adam makes whole steps
        if not name.endswith("key.bias"):
            assert (weight - others[name]).abs().max() <= 1e-5, name
    last = list_checkpoints(together / "checkpoints")[-1]
    moments = load_file(last / "optimizer.safetensors")
    assert all(bool((m > 0).any()) for n, m in moments.items() if n.endswith(":exp_avg_sq"))


@pytest.mark.parametrize("kind", test_classify.SMALL)
def test_classifiers_and_baselines_train_as_in_one_process(classify_files, tmp_path, kind):
    runs = tmp_path / "1", tmp_path / "2"
    more = ("--class-weights", "balanced", "--dropout", "0", "--batch-size", "19")
    if kind == "softmax":
        more = ("--class-weights", "balanced", "--batch-size", "19")
    for size, run in enumerate(runs, start=1):
        words = test_classify.arguments(classify_files, run, *more, "--lr", "3e-5", kind=kind)
        assert Torchrun().run(size, words, without_pictures, train.classify.main) == [0] * size
    assert_equal_training(*runs)
    both = [json.loads((run / "predictions.json").read_bytes()) for run in runs]
    for one, several in zip(both[0].values(), both[1].values(), strict=True):
        assert one["predicted"] == several["predicted"]


def test_patience_and_a_frozen_encoder_are_the_same_on_all_ranks(classify_files, tmp_path):
    run = tmp_path / "run"
    more = ("--freeze-encoder", "--patience", "1", "--epochs", "50", "--lr", "1e-7")
    words = test_classify.arguments(classify_files, run, *more)
    assert Torchrun().run(2, words, without_pictures, train.classify.main) == [0, 0]
    assert len(lines(run, "eval")) < 50


def test_pretraining_trains_as_in_one_process(pretrain_files, tmp_path):
    runs = tmp_path / "1", tmp_path / "3"
    for size, run in zip((1, 3), runs, strict=True):
        words = test_pretrain.arguments(pretrain_files, run, "--dropout", "0", "--lr", "3e-5")
        statuses = Torchrun().run(size, words, small_buckets, train.pretrain.main)
        assert statuses == [0] * size
    assert_equal_training(*runs)


# ---- what a user may get wrong


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("commands")
    write_little(folder, questions=6)
    return folder


@pytest.fixture
def said(tmp_path):
    """Run ranks; what the first has said, and that the others are silent."""
    errors = tmp_path / "errors"
    errors.mkdir()

    def run(size, words, status, prepare=lambda rank: None, command=train.squad.main):
        words = [*map(str, words)]
        statuses = Torchrun().run(size, words, prepare, command, errors, tell=False)
        assert statuses == [status] * size
        texts = [(errors / str(rank)).read_text() for rank in range(size)]
        assert texts[1:] == [""] * (size - 1)
        return texts[0]

    return run


def test_a_dry_run_plans_with_all_ranks_and_writes_nothing(files, tmp_path, said):
    run = tmp_path / "run"
    assert said(2, little_arguments(files, run, "--dry-run"), 0) == ""
    assert not run.exists()


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--batch-size", "2"), "--batch-size 2 is what all 3 ranks share in one update; give 3"),
        (("--lr", "wrong"), "argument --lr: invalid float value"),
        (("--train-file", "missing.json"), "missing.json"),
        (("--resume",), "is not a run folder"),
    ],
    ids=lambda value: value[0].strip("-") if isinstance(value, tuple) else "",
)
def test_a_mistake_is_told_once_and_all_leave_with_status_2(files, tmp_path, said, more, sentence):
    text = said(3, little_arguments(files, tmp_path / "run", *more), 2)
    assert text.count("\n") == 1 and sentence in text
    assert not (tmp_path / "run").exists()


def test_a_file_that_only_one_rank_misses_is_told_by_that_rank(files, tmp_path):
    errors = tmp_path / "errors"
    errors.mkdir()
    words = little_arguments(files, tmp_path / "run")

    def lose(rank):
        if rank == 1:
            import train.squad_inputs

            read = train.squad_inputs.read_squad

            def missing(path):
                if path.name == "dev.json":
                    raise FileNotFoundError(2, "No such file", "dev.json")
                return read(path)

            train.squad_inputs.read_squad = missing

    assert Torchrun().run(2, words, lose, errors=errors, tell=False) == [2, 2]
    assert (errors / "0").read_text() == "" and "dev.json" in (errors / "1").read_text()


def test_gpus_are_one_to_a_rank():
    def choose(name, gpus, local_rank=1, local_size=2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
            patch.setattr(torch.cuda, "device_count", lambda: gpus)
            return str(choose_device(name, local_rank, local_size))

    assert choose("auto", 2) == choose("cuda", 2) == choose("auto", 8) == "cuda:1"
    assert choose("auto", 0) == choose("cpu", 2) == "cpu"
    assert choose("auto", 1, 0, 1) == "cuda"
    for name, gpus, sentence in (
        ("cuda:0", 2, "device cuda:0 is one GPU, but 2 processes work on this machine; name cuda"),
        ("auto", 1, "2 processes .* has 1 GPU; start as many .torchrun --nproc-per-node 1"),
        ("cuda", 1, "2 processes .* has 1 GPU;"),
        ("cuda", 0, "is not available"),
        ("mps", 0, "is one GPU"),
    ):
        with pytest.raises(ValueError, match=sentence):
            choose(name, gpus)


@pytest.mark.parametrize("command", ["eval.classify", "train.matrix"])
def test_a_command_of_one_process_refuses_torchrun(tmp_path, command):
    environment = Torchrun().environment(0, 1)
    status, _, errors = forked(command, "--output-dir", tmp_path / "out", environment=environment)
    assert status == 2 and "this command works in one process" in errors


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"RANK": ""}, "WORLD_SIZE is '2' in the environment, but RANK does not fit it"),
        ({"RANK": "7"}, "WORLD_SIZE is '2' in the environment, but RANK does not fit it"),
        ({"MASTER_PORT": "1"}, "but nobody answers at 127.0.0.1:1"),
    ],
    ids=["missing", "large", "gone"],
)
def test_an_environment_that_torchrun_left_behind_is_named(monkeypatch, changes, sentence):
    launch = Torchrun()
    for name, value in (launch.environment(0, 2) | changes).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(data.torchrun, "REACHING_SECONDS", 0.2)
    with pytest.raises(UsageError, match=sentence) as caught, joined_ranks():
        pass
    assert "unset WORLD_SIZE" in str(caught.value)


def test_a_rank_that_does_not_come_is_named(monkeypatch, files, tmp_path, said):
    monkeypatch.setattr(data.torchrun, "MEETING_SECONDS", 0.3)
    launch = Torchrun()
    environment = launch.environment(0, 3)
    words = little_arguments(files, tmp_path / "run")
    status, _, errors = forked("train.squad", *words, environment=environment)
    assert status == 2 and "rank 1, 2 of 3 at 127.0.0.1" in errors


def test_without_torchrun_nothing_is_joined(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined_ranks() as ranks:
        assert ranks is ALONE
    code = (
        "import sys, data.torchrun, train.restarts\n"
        "with data.torchrun.joined_ranks() as ranks: pass\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    environment = {k: v for k, v in os.environ.items() if k != "WORLD_SIZE"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_gathered_values_come_back_by_rank(tmp_path):
    """The one process is the trivial case of each of them."""
    assert ALONE.gather({"a": 1.5}) == [{"a": 1.5}]
    assert ALONE.any(True) and not ALONE.any(False)
    assert ALONE.first(lambda: 3) == ALONE.together(lambda: 3) == 3
    assert list(ALONE.share([4, 5])) == [4, 5] and ALONE.round_up(7) == 7

    def command(words):
        with joined_ranks() as ranks:
            values = ranks.gather(["x" * 1000 * ranks.rank, float("nan"), 0.1])
            assert [len(text) for text, _, _ in values] == [0, 1000, 2000]
            assert values[1][2] == 0.1 and values[1][1] != values[1][1]
            assert ranks.any(ranks.rank == 2) and not ranks.any(False)
            assert ranks.first(lambda: [ranks.rank]) == [0]
            array = torch.zeros(3).numpy()
            array[ranks.rank] = -0.0 if ranks.rank else 1e-42
            ranks.fill(array)
            assert array[0] > 0 and [str(x) for x in array[1:].tolist()] == ["-0.0", "-0.0"]
        return 0

    began = time.monotonic()
    assert Torchrun().run(3, [], command=command) == [0, 0, 0]
    assert time.monotonic() - began < 10
