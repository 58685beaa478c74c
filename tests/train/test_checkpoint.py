"""Checkpoints: exact round trip, damage detected, rotation, nothing half-written."""

import os
import shutil
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import load
from torch import nn

from minibert import BertConfig, BertForMaskedLM, PackedBatch
from minibert.files import write_file
from minibert.heads import masked_lm_loss_sum
from tests.reliability import figure
from train.best import publish, seal, staged
from train.checkpoint import (
    TrainState,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
    verify_checkpoint,
)
from train.folders import tidy
from train.optim import make_optimizer
from train.options import TrainOptions


def trained(steps=3, seed=0):
    """A small model with an optimizer that has state, and a scaler that has moved."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Linear(7, 2))
    optimizer = make_optimizer(model, TrainOptions())
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    for _ in range(steps):
        scaler.scale(model(torch.randn(4, 5)).square().sum()).backward()
        for group in optimizer.param_groups:
            group["lr"] = 0.01
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    return model, optimizer, scaler


def everything(model, optimizer, scaler):
    """All that a checkpoint must bring back, as comparable values."""
    return (
        [p.detach().clone() for p in model.parameters()],
        [
            tensor.clone()
            for _, entry in sorted(optimizer.state_dict()["state"].items())
            for _, tensor in sorted(entry.items())
        ],
        scaler.state_dict(),
    )


def watched(monkeypatch):
    """A list that grows by every flush and renaming, by the short names of what they touch."""
    events = []
    fsync, functions = os.fsync, {name: getattr(os, name) for name in ("rename", "replace")}

    def flush(descriptor):
        events.append(f"flush {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        fsync(descriptor)

    def renaming(function):
        def rename(source, target):
            events.append(f"rename {Path(source).name} {Path(target).name}")
            function(source, target)

        return rename

    monkeypatch.setattr("os.fsync", flush)
    for name, function in functions.items():
        monkeypatch.setattr(f"os.{name}", renaming(function))
    return events


def test_a_checkpoint_brings_everything_back_bit_for_bit(tmp_path):
    model, optimizer, scaler = trained()
    state = TrainState(update=7, skipped=2, best_score=0.1 + 0.2, best_update=5)
    folder = save_checkpoint(tmp_path, model, optimizer, scaler, state, 123, keep=2)
    assert verify_checkpoint(folder) is None
    others = trained(steps=1, seed=9)
    loaded, log_bytes = load_checkpoint(folder, *others)
    assert (loaded, log_bytes) == (state, 123)
    for ours, theirs in zip(
        everything(model, optimizer, scaler)[:2], everything(*others)[:2], strict=True
    ):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert scaler.state_dict() == others[2].state_dict()
    assert scaler.state_dict()["scale"] != 1024.0


def test_training_goes_on_the_same_after_loading(tmp_path):
    one = trained()
    folder = save_checkpoint(tmp_path, *one, TrainState(update=3), 0, keep=1)
    two = trained(steps=1, seed=9)
    load_checkpoint(folder, *two)
    for model, optimizer, scaler in (one, two):
        torch.manual_seed(4)
        scaler.scale(model(torch.randn(4, 5)).square().sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    for ours, theirs in zip(one[0].parameters(), two[0].parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_only_the_newest_checkpoints_stay_and_no_temporary_files(tmp_path):
    one = trained()
    for update in (1, 2, 3, 20):
        save_checkpoint(tmp_path, *one, TrainState(update=update), 0, keep=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["update-000003", "update-000020"]
    assert {path.name for path in tmp_path.iterdir()} == {"update-000003", "update-000020"}
    names = {path.name for path in (tmp_path / "update-000020").iterdir()}
    assert names == {"model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"}


@pytest.mark.parametrize(
    "file", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]
)
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "delete"])
def test_every_damage_is_detected(tmp_path, file, damage):
    folder = save_checkpoint(tmp_path, *trained(), TrainState(update=1), 0, keep=1)
    path = folder / file
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes({"flip": content, "cut": content[:-1], "empty": b""}[damage])
    assert verify_checkpoint(folder) is not None


def test_files_of_another_checkpoint_are_detected(tmp_path):
    first = save_checkpoint(tmp_path, *trained(), TrainState(update=1), 0, keep=2)
    second = save_checkpoint(tmp_path, *trained(seed=3), TrainState(update=2), 0, keep=2)
    shutil.copy(first / "model.safetensors", second / "model.safetensors")
    assert verify_checkpoint(second) is not None


def test_a_failing_save_leaves_the_earlier_checkpoint_and_no_rubbish(tmp_path, monkeypatch):
    one = trained()
    first = save_checkpoint(tmp_path, *one, TrainState(update=1), 0, keep=1)

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("train.checkpoint.write_flushed", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(tmp_path, *one, TrainState(update=2), 0, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == [first.name]
    assert verify_checkpoint(first) is None


def test_a_model_of_other_sizes_is_refused(tmp_path):
    folder = save_checkpoint(tmp_path, *trained(), TrainState(update=1), 0, keep=1)
    model = nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.Linear(8, 2))
    optimizer = make_optimizer(model, TrainOptions())
    with pytest.raises(ValueError, match="other sizes"):
        load_checkpoint(folder, model, optimizer, torch.amp.GradScaler("cpu"))


def test_a_decoder_tied_to_the_embeddings_is_stored_once_and_stays_tied(tmp_path):
    def steps(model, optimizer, scaler, updates):
        batch = PackedBatch.from_sequences([[2, 9, 4, 8, 3], [2, 4, 3]])
        rows, labels = torch.tensor([2, 6]), torch.tensor([7, 10])
        for _ in range(updates):
            logits = model(batch, rows)
            masked_lm_loss_sum(logits, labels, torch.ones(2)).backward()
            for group in optimizer.param_groups:
                group["lr"] = 0.01
            optimizer.step()
            optimizer.zero_grad()
        return model, optimizer, scaler

    def fresh(seed):
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=12, max_position_embeddings=6, hidden_dropout_prob=0,
            attention_probs_dropout_prob=0,
        )  # fmt: skip
        model = BertForMaskedLM(config)
        return model, make_optimizer(model, TrainOptions()), torch.amp.GradScaler(enabled=False)

    one = steps(*fresh(0), 2)
    folder = save_checkpoint(tmp_path, *one, TrainState(update=2), 0, keep=1)
    stored = load((folder / "model.safetensors").read_bytes())
    assert stored.keys() == {name for name, _ in one[0].named_parameters()}
    assert [name for name, tensor in stored.items() if tensor.shape == (11, 8)] == [
        "encoder.embeddings.word.weight"
    ]
    two = fresh(5)
    load_checkpoint(folder, *two)
    steps(*one, 2)
    steps(*two, 2)  # a decoder that had come apart would now learn something else
    for (name, ours), theirs in zip(one[0].named_parameters(), two[0].parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    word = two[0].encoder.embeddings.word.weight
    with torch.no_grad():
        hidden = two[0].transform(two[0].encoder(PackedBatch.from_sequences([[2, 3]])))
        logits = two[0](PackedBatch.from_sequences([[2, 3]]))
    torch.testing.assert_close(logits, hidden @ word.T + two[0].decoder.bias)


def test_a_save_flushes_every_file_and_folder_before_the_name_that_needs_them(
    tmp_path, monkeypatch
):
    one, folder = trained(), tmp_path / "checkpoints"
    save_checkpoint(folder, *one, TrainState(update=1), 0, keep=1)
    events = watched(monkeypatch)
    save_checkpoint(folder, *one, TrainState(update=2), 0, keep=1)
    files = ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]
    assert events[:-1] == [
        *(f"flush {name}" for name in files),
        "flush .update-000002.tmp",
        "rename .update-000002.tmp update-000002",
        "flush checkpoints",
    ]
    assert events[-1] == "rename update-000001 .update-000001.tmp"  # only now the oldest goes
    figure("R4", f"{len(files)} files and 2 folders flushed around one renaming")


def test_saving_the_same_update_again_never_leaves_it_without_a_checkpoint(tmp_path, monkeypatch):
    one = trained()
    for can_exchange in (True, False):
        with monkeypatch.context() as patch:
            if not can_exchange:
                patch.setattr("train.folders.exchange", lambda *names: False)
            for best in (1, 2):
                state = TrainState(update=1, best_update=best)
                save_checkpoint(tmp_path, *one, state, 0, keep=1)
        assert {path.name for path in tmp_path.iterdir()} == {"update-000001"}
        assert load_checkpoint(tmp_path / "update-000001", *one)[0].best_update == 2


def test_where_two_names_cannot_be_exchanged_a_kill_in_between_is_made_good(tmp_path, monkeypatch):
    monkeypatch.setattr("train.folders.exchange", lambda *names: False)
    one = trained()
    save_checkpoint(tmp_path, *one, TrainState(update=1), 0, keep=1)
    rename, renamed = os.rename, []

    def killed_at_the_second(source, target):
        renamed.append(source)
        if len(renamed) == 2:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr("os.rename", killed_at_the_second)
    monkeypatch.setattr("shutil.rmtree", lambda *anything, **more: None)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, *one, TrainState(update=1, best_update=1), 0, keep=1)
    monkeypatch.undo()
    assert list_checkpoints(tmp_path) == []
    (tmp_path / ".mine.tmp").mkdir()
    tidy(tmp_path, "update-")
    (tmp_path / ".mine.tmp").rmdir()
    assert {path.name for path in tmp_path.iterdir()} == {"update-000001"}
    assert verify_checkpoint(tmp_path / "update-000001") is None


def test_a_best_model_is_on_disk_before_the_checkpoint_that_names_it(tmp_path, monkeypatch):
    folder = staged(tmp_path, 7)
    (folder / "best").mkdir(parents=True)
    (folder / "best" / "model.safetensors").write_bytes(b"weights")
    (folder / "metrics.json").write_text("{}")
    events = watched(monkeypatch)
    seal(folder)
    assert events[:2] == ["flush model.safetensors", "flush best"]
    assert sorted(events[2:4]) == ["flush metrics.json", "flush sha256"]
    assert events[4:] == ["flush .best-000007", f"flush {tmp_path.name}"]
    assert not (tmp_path / "best").exists()
    publish(tmp_path, 7)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "metrics.json"]


def test_a_file_is_flushed_before_its_name_and_the_folder_after(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_text("old")
    events = watched(monkeypatch)
    write_file(tmp_path / "a.json", b"new")
    temporary = f".a.json.{os.getpid()}.tmp"
    assert events == [
        f"flush {temporary}", f"rename {temporary} a.json", f"flush {tmp_path.name}",
    ]  # fmt: skip
    assert (tmp_path / "a.json").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    (tmp_path / "a.json").write_text("old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"No space left on device while writing.*a\.json"):
        write_file(tmp_path / "a.json", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "old"


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_have_the_mode_of_any_new_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        write_file(tmp_path / "a.json", b"new")
        folder = save_checkpoint(tmp_path, *trained(), TrainState(update=1), 0, keep=1)
    finally:
        os.umask(before)
    for path in (tmp_path / "a.json", *folder.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask, path.name


def test_a_symbolic_link_stays_one_and_the_file_behind_it_is_replaced(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "real.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to("there/real.json")
    write_file(link, b"new")
    assert link.is_symlink()
    assert os.readlink(link) == "there/real.json"
    assert target.read_text() == "new"
    assert not target.is_symlink()
