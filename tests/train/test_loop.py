"""The loop: accumulation, tails, skipped steps, non-finite losses, learning at all."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from data.batches import BatchPlan, collate
from data.failures import CommandError
from data.squad import read_squad
from data.tokenization import Tokenizer
from data.tokenized_squad import tokenize_squad
from data.windows import make_windows
from minibert.config import BertConfig
from minibert.heads import BertForQuestionAnswering, span_loss_sum
from tests.train.little import write_little
from train.checkpoint import TrainState
from train.loop import MAX_SKIPS, Task, seed_update, train
from train.optim import learning_rate, make_optimizer
from train.options import TrainOptions
from train.run import Run


@pytest.fixture(scope="module")
def little(tmp_path_factory):
    folder = tmp_path_factory.mktemp("little")
    train_file, _, model_folder = write_little(folder)
    tokenizer = Tokenizer.from_folder(model_folder)
    tokens = tokenize_squad(read_squad(train_file).examples, tokenizer)
    windows = make_windows(tokens, max_length=32, doc_stride=8)
    assert len(windows) > 24
    return windows, BertConfig.from_file(model_folder / "config.json")


def make_model(config, dropout=0.0):
    torch.manual_seed(1)
    model = BertForQuestionAnswering(config)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    return model


def loss_sum(model, batch):
    logits = model(batch.packed)
    return span_loss_sum(logits, batch.packed, batch.start_positions, batch.end_positions)


def run_loop(folder, windows, model, options, *, scaler=None, amp_dtype=None, loss=loss_sum,
             size=None, seen=None):  # fmt: skip
    """Train on the first `size` windows; returns state, run folder's log lines, optimizer."""
    plan = BatchPlan(
        size or len(windows), options.batch_size, options.accumulate, options.epochs, options.seed
    )
    optimizer = make_optimizer(model, options)
    state = TrainState()

    def make_batch(chosen):
        if seen is not None:
            seen.append(chosen.tolist())
        return collate(windows, chosen)

    run = Run(folder, options, {}, plan.total_updates, "windows")
    scaler = scaler or torch.amp.GradScaler("cpu", enabled=False)
    try:
        task = Task(make_batch, loss, lambda chosen: [f"w{w}" for w in chosen], lambda *_: None)
        train(model, optimizer, scaler, plan, options, state, run, torch.device("cpu"), amp_dtype,
              task)  # fmt: skip
    finally:
        run.close()
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return state, lines, optimizer


@pytest.mark.parametrize(("size", "parts"), [(24, 1), (8, 3), (4, 6), (1, 24), (5, 5)])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_gradients_do_not_depend_on_the_micro_batches(little, size, parts, dtype, bound):
    windows, config = little
    gradients = []
    for accumulate in (1, parts):
        model = make_model(config).to(dtype)
        plan = BatchPlan(24, 24, accumulate, 1, 0)
        micro_batches = plan.micro_batches(0)
        assert len(micro_batches) == accumulate
        assert sorted(np.concatenate(micro_batches)) == list(range(24))
        for part in micro_batches:
            (loss_sum(model, collate(windows, part)) / 24).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert (gradients[0] - gradients[1]).abs().max() <= bound * gradients[0].abs().max()


def test_twenty_accumulated_updates_give_the_same_weights(little, tmp_path):
    """In float64: the gradients of key and span biases are zero but for rounding (a softmax does
    not feel a constant), and Adam would blow float32's rounding noise up to full steps."""
    windows, config = little
    weights = []
    for accumulate in (1, 5):
        model = make_model(config).double()
        options = TrainOptions(batch_size=12, accumulate=accumulate, lr=1e-3, epochs=6)
        state, _, _ = run_loop(tmp_path / str(accumulate), windows, model, options)
        assert state.update >= 20
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert (weights[0] - weights[1]).abs().max() <= 1e-7


def test_the_short_last_update_has_its_true_weight(little, tmp_path):
    """Twelve windows an update, 17 windows: the second update has 5, and their mean as loss."""
    windows, config = little
    model = make_model(config)
    options = TrainOptions(batch_size=12, accumulate=3, epochs=1, lr=1e-9, warmup=0)
    _, lines, _ = run_loop(tmp_path / "run", windows, model, options, size=17)
    assert [line["size"] for line in lines] == [12, 5]
    plan = BatchPlan(17, 12, 3, 1, 0)
    expected = loss_sum(model, collate(windows, plan.items(1))).item() / 5
    assert lines[1]["loss"] == pytest.approx(expected, abs=1e-4)


def test_every_window_is_seen_once_an_epoch(little, tmp_path):
    windows, config = little
    seen: list[list[int]] = []
    options = TrainOptions(batch_size=7, accumulate=2, epochs=2)
    run_loop(tmp_path / "run", windows, make_model(config), options, seen=seen)
    flat = [item for part in seen for item in part]
    assert sorted(flat[: len(windows)]) == list(range(len(windows)))
    assert sorted(flat[len(windows) :]) == list(range(len(windows)))
    assert flat[: len(windows)] != flat[len(windows) :]


def test_the_logged_learning_rate_is_the_formula_of_the_update(little, tmp_path):
    windows, config = little
    for accumulate in (1, 3):
        options = TrainOptions(batch_size=9, accumulate=accumulate, epochs=3, lr=5e-4)
        _, lines, _ = run_loop(tmp_path / str(accumulate), windows, make_model(config), options)
        total = len(lines)
        expected = [learning_rate(options, update, total) for update in range(total)]
        assert [line["lr"] for line in lines] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("at", [0, 3, 7])
def test_a_skipped_step_advances_nothing_and_is_tried_again(little, tmp_path, at):
    """One infinite gradient under fp16: no update, no schedule step, no Adam step; then the same
    windows again."""
    windows, config = little
    seen: list[list[int]] = []
    calls = {"update": -1, "hit": False}

    def loss_with_inf(model, batch):
        loss = loss_sum(model, batch)
        calls["update"] += 1
        if calls["update"] == at and not calls["hit"]:
            calls["hit"] = True
            return loss * math.inf
        return loss

    options = TrainOptions(batch_size=12, epochs=4, lr=1e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    state, lines, optimizer = run_loop(
        tmp_path / "run", windows, make_model(config), options, scaler=scaler, loss=loss_with_inf,
        amp_dtype=torch.bfloat16, seen=seen,
    )  # fmt: skip
    updates = [line for line in lines if line["event"] == "update"]
    skips = [line for line in lines if line["event"] == "skip"]
    assert [line["update"] for line in skips] == [at + 1]
    assert state.skipped == 1
    assert seen[at] == seen[at + 1]
    total = BatchPlan(len(windows), 12, 1, 4, 0).total_updates
    assert state.update == len(updates) == total
    expected = [learning_rate(options, update, total) for update in range(total)]
    assert [line["lr"] for line in updates] == pytest.approx(expected, abs=1e-12)
    counts = {int(entry["step"]) for entry in optimizer.state_dict()["state"].values()}
    assert counts == {total}


def test_endless_skipping_stops_the_run_with_status_3(little, tmp_path):
    windows, config = little
    model = make_model(config)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with pytest.raises(CommandError, match="--lr") as caught:
        run_loop(
            tmp_path / "run", windows, model, TrainOptions(batch_size=12),
            scaler=torch.amp.GradScaler("cpu"), amp_dtype=torch.bfloat16,
            loss=lambda model, batch: loss_sum(model, batch) * math.nan,
        )  # fmt: skip
    assert caught.value.status == 3
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    skips = (tmp_path / "run" / "log.jsonl").read_text().count('"skip"')
    assert skips == MAX_SKIPS


def first_step(little, folder, *, scaler=None, clip_norm=1.0):
    """Gradients as the optimizer saw them in one update, and the logged norm."""
    windows, config = little
    model = make_model(config)
    seen = {}

    def spy(optimizer, args, kwargs):
        seen["norm"] = torch.stack([p.grad.norm() for p in model.parameters()]).norm().item()

    handle = register_optimizer_step_pre_hook(spy)
    try:
        options = TrainOptions(batch_size=12, epochs=0.01, clip_norm=clip_norm)
        _, lines, _ = run_loop(folder, windows, model, options, scaler=scaler)
    finally:
        handle.remove()
    return seen["norm"], lines[0]["grad_norm"]


def test_the_clip_sees_true_gradients_whatever_the_loss_scale(little, tmp_path):
    stepped, logged = first_step(little, tmp_path / "plain", clip_norm=0.0)
    assert stepped == pytest.approx(logged, rel=1e-5)
    assert logged > 0.2
    for name, scaler in (
        ("fp32", None),
        ("scaled", torch.amp.GradScaler("cpu", init_scale=1024.0)),
    ):
        clipped, norm = first_step(little, tmp_path / name, scaler=scaler, clip_norm=0.1)
        assert norm == pytest.approx(logged, rel=1e-4)
        assert clipped == pytest.approx(0.1, rel=1e-4)


def test_dropout_draws_other_masks_in_every_update(little, tmp_path):
    """The same windows, a learning rate of nothing: only the masks can change the loss."""
    windows, config = little
    options = TrainOptions(batch_size=12, epochs=4, lr=1e-12, warmup=0)
    _, lines, _ = run_loop(tmp_path / "run", windows, make_model(config, 0.3), options, size=12)
    assert len({line["loss"] for line in lines}) == 4


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_nonfinite_loss_without_scaler_leaves_the_weights_alone(little, tmp_path, value):
    windows, config = little
    model = make_model(config)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    with pytest.raises(CommandError, match="update 1 ") as caught:
        run_loop(tmp_path / "run", windows, model, TrainOptions(batch_size=12),
                 loss=lambda model, batch: loss_sum(model, batch) * value)  # fmt: skip
    assert caught.value.status == 3
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_eight_examples_are_learnt_by_heart(little, tmp_path):
    windows, config = little
    model = make_model(replace(config, hidden_size=32, intermediate_size=64, initializer_range=0.1))
    options = TrainOptions(batch_size=8, epochs=150, lr=5e-3, weight_decay=0, save_every=10**6)
    options = replace(options, keep_checkpoints=1)
    _, lines, _ = run_loop(tmp_path / "run", windows, model, options, size=8)
    assert lines[-1]["loss"] < 0.05


def test_seeds_of_neighbouring_updates_give_unlike_streams():
    streams = set()
    for seed in (0, 1):
        for update in range(50):
            seed_update(seed, update)
            streams.add(torch.rand(1).item())
    assert len(streams) == 100
