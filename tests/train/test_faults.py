"""Inf and NaN never reach a weight; memory that runs out costs time, never a window."""

import json
import math
import re
import sys
import time
import warnings
from pathlib import Path

import pytest
import torch
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from data.failures import CommandError, is_out_of_memory
from eval.answerer import predict_logits
from minibert.heads import BertForQuestionAnswering
from tests.forked import forked
from tests.train.little import little_arguments, write_little
from tests.train.test_loop import little, loss_sum, make_model, run_loop  # noqa: F401  a fixture
from train.faults import NONFINITE_REPORT, give_back_memory
from train.loop import Update
from train.options import TrainOptions

OPTIONS = TrainOptions(batch_size=12, accumulate=2, epochs=2, lr=1e-3)
TOTAL = 10  # updates of OPTIONS on the little windows
PLACES = ("loss", "logits", "gradient", "embedding")
FULL = RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")


class Injection:
    """A loss function that spoils the last micro-batch of one update, once or for good."""

    def __init__(self, model, place, value, at, parts=2):
        self.model, self.place, self.value, self.at, self.parts = model, place, value, at, parts
        self.calls = 0
        self.done = False

    def __call__(self, model, batch):
        now = self.calls == (self.at + 1) * self.parts - 1 and not self.done
        self.calls += 1
        self.done |= now
        handles = []
        if now and self.place == "embedding":
            handles.append(
                model.encoder.embeddings.word.register_forward_hook(lambda m, a, x: x * self.value)
            )
        if now and self.place == "logits":
            handles.append(model.span.register_forward_hook(lambda m, a, x: x * self.value))
        if now and self.place == "gradient":
            handle = model.encoder.layers[0].ffn.up.weight.register_hook(
                lambda gradient: (handle.remove(), gradient * self.value)[1]
            )
        loss = loss_sum(model, batch)
        for handle_ in handles:
            handle_.remove()
        return loss * self.value if now and self.place == "loss" else loss


def snapshot(model):
    return [parameter.detach().clone() for parameter in model.parameters()]


def same(weights, model):
    return all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))


@pytest.mark.parametrize("value", [math.nan, math.inf], ids=["nan", "inf"])
@pytest.mark.parametrize("at", [0, TOTAL // 2, TOTAL - 1], ids=["first", "middle", "last"])
@pytest.mark.parametrize("place", PLACES)
def test_without_a_scaler_the_run_stops_before_the_update_and_names_its_items(
    little, tmp_path, place, at, value  # noqa: F811
):  # fmt: skip
    windows, config = little
    model = make_model(config)
    before = []
    handle = register_optimizer_step_pre_hook(lambda *anything: before.append(None))
    last_good = {}

    def after_step(optimizer, args, kwargs):
        last_good["weights"] = snapshot(model)

    last_good["weights"] = snapshot(model)
    handle_after = register_optimizer_step_post_hook(after_step)
    seen: list[list[int]] = []
    try:
        with pytest.raises(CommandError, match=rf"update {at + 1} .*was not made") as caught:
            run_loop(
                tmp_path / "run", windows, model, OPTIONS, seen=seen,
                loss=Injection(model, place, value, at),
            )  # fmt: skip
    finally:
        handle.remove()
        handle_after.remove()
    assert caught.value.status == 3
    assert len(before) == at  # no step was even begun
    assert same(last_good["weights"], model)
    assert all(bool(weights.isfinite().all()) for weights in last_good["weights"])
    report = json.loads((tmp_path / "run" / NONFINITE_REPORT.format(at + 1)).read_bytes())
    assert report["update"] == at + 1
    assert [part["items"] for part in report["micro_batches"]] == [
        [f"w{w}" for w in part] for part in seen[-2:]
    ]
    losses = [part["loss"] for part in report["micro_batches"]]
    assert isinstance(losses[0], float)
    assert isinstance(losses[1], float if place == "gradient" else str)
    assert "encoder.layers.0.ffn.up.weight" in report["nonfinite_gradients"] or place == "loss"
    assert report["nonfinite_weights"] == []
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    assert [line["event"] for line in lines] == ["update"] * at + ["skip"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("at", [0, TOTAL // 2, TOTAL - 1], ids=["first", "middle", "last"])
def test_with_a_scaler_the_same_windows_are_tried_again_and_nothing_is_lost(
    little, tmp_path, place, at  # noqa: F811
):  # fmt: skip
    windows, config = little
    model, calm = make_model(config), make_model(config)
    seen: list[list[int]] = []
    state, lines, optimizer = run_loop(
        tmp_path / "run", windows, model, OPTIONS, seen=seen,
        scaler=torch.amp.GradScaler("cpu", init_scale=4.0),
        loss=Injection(model, place, math.inf, at),
    )  # fmt: skip
    _, calm_lines, _ = run_loop(
        tmp_path / "calm", windows, calm, OPTIONS,
        scaler=torch.amp.GradScaler("cpu", init_scale=4.0),
    )  # fmt: skip
    assert (state.update, state.skipped) == (TOTAL, 1)
    assert seen[2 * at : 2 * at + 2] == seen[2 * at + 2 : 2 * at + 4]
    assert {int(entry["step"]) for entry in optimizer.state.values()} == {TOTAL}
    updates = [line for line in lines if line["event"] == "update"]
    for line, calm_line in zip(updates, calm_lines, strict=True):
        assert line["lr"] == calm_line["lr"]
        assert line["loss"] == pytest.approx(calm_line["loss"], rel=1e-5)


def test_a_finite_gradient_of_a_nan_loss_is_refused_at_once_even_with_a_scaler(
    little, tmp_path  # noqa: F811
):  # fmt: skip
    windows, config = little
    model = make_model(config)
    weights = snapshot(model)
    with pytest.raises(CommandError) as caught:
        run_loop(
            tmp_path / "run", windows, model, OPTIONS, scaler=torch.amp.GradScaler("cpu"),
            loss=lambda model, batch: loss_sum(model, batch) + math.nan,
        )  # fmt: skip
    assert caught.value.status == 3
    assert same(weights, model)


def failing_once(where, monkeypatch, at=3):
    """Let memory run out once, in the forward pass, the backward pass or the step of update `at`.

    Counted in calls: every update of OPTIONS has two forward and backward passes and one step.
    """
    calls = {"forward": 0, "backward": 0, "step": 0}

    def counted(name, function, per_update):
        def call(*args, **kwargs):
            calls[name] += 1
            if name == where and calls[name] == at * per_update:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(torch.Tensor, "backward", counted("backward", torch.Tensor.backward, 2))
    monkeypatch.setattr(torch.optim.AdamW, "step", counted("step", torch.optim.AdamW.step, 1))
    return counted("forward", loss_sum, 2)


@pytest.mark.parametrize("scaled", [False, True], ids=["fp32", "scaled"])
@pytest.mark.parametrize("where", ["forward", "backward", "step"])
def test_out_of_memory_halves_the_micro_batches_and_keeps_the_mathematics(
    little, tmp_path, monkeypatch, capsys, where, scaled  # noqa: F811
):  # fmt: skip
    windows, config = little
    model, calm = make_model(config), make_model(config)

    def scaler():
        return torch.amp.GradScaler("cpu", init_scale=4.0, enabled=scaled)

    _, calm_lines, _ = run_loop(tmp_path / "calm", windows, calm, OPTIONS, scaler=scaler())
    seen: list[list[int]] = []
    state, lines, optimizer = run_loop(
        tmp_path / "run", windows, model, OPTIONS, scaler=scaler(), seen=seen,
        loss=failing_once(where, monkeypatch),
    )  # fmt: skip
    assert state.accumulate == 4
    assert next(line for line in lines if line["event"] == "memory")["accumulate"] == 4
    assert capsys.readouterr().err.count("out of memory in update 3") == 1
    # two updates in halves, a third that failed, then all of them in quarters
    assert [len(part) for part in seen[:4]] == [6, 6, 6, 6]
    assert {len(part) for part in seen[-4 * (TOTAL - 2) :]} <= {1, 2, 3}
    updates = [line for line in lines if line["event"] == "update"]
    assert [line["size"] for line in updates] == [line["size"] for line in calm_lines]
    assert [line["lr"] for line in updates] == [line["lr"] for line in calm_lines]
    assert {int(entry["step"]) for entry in optimizer.state.values()} == {TOTAL}
    for line, calm_line in zip(updates, calm_lines, strict=True):
        assert line["loss"] == pytest.approx(calm_line["loss"], rel=1e-5)
        assert line["grad_norm"] == pytest.approx(calm_line["grad_norm"], rel=1e-4)


def test_a_step_needs_no_memory_of_its_own(little, tmp_path):  # noqa: F811
    """The moments stand before the first step, so none is made by halves when memory runs out."""
    windows, config = little
    known = []

    def before_step(optimizer, args, kwargs):
        known.append({id(t) for entry in optimizer.state.values() for t in entry.values()})

    def after_step(optimizer, args, kwargs):
        assert known[-1] == {id(t) for entry in optimizer.state.values() for t in entry.values()}

    handles = [
        register_optimizer_step_pre_hook(before_step),
        register_optimizer_step_post_hook(after_step),
    ]
    try:
        run_loop(tmp_path / "run", windows, make_model(config), OPTIONS)
    finally:
        for handle in handles:
            handle.remove()
    assert len(known) == TOTAL
    assert known[0] == known[-1]


def test_one_item_that_does_not_fit_ends_the_run_with_status_5(little, tmp_path):  # noqa: F811
    windows, config = little
    model = make_model(config)
    weights = snapshot(model)

    def greedy(model, batch):
        raise FULL

    with pytest.raises(CommandError, match="one item at a time") as caught:
        run_loop(tmp_path / "run", windows, model, OPTIONS, loss=greedy)
    assert caught.value.status == 5
    assert same(weights, model)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").open()]
    assert [line["accumulate"] for line in lines] == [4, 8, 12]


def test_the_memory_errors_of_torch_are_known_and_others_are_not():
    for size in (10**14, 10**15):  # what this machine's allocator really says
        with pytest.raises(RuntimeError) as caught:
            torch.empty(size)
        assert is_out_of_memory(caught.value)
    with pytest.raises(MemoryError) as python:
        bytearray(2**60)
    assert is_out_of_memory(python.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"))
    for other in (
        "CUDA error: an illegal memory access was encountered",
        "Expected tensor in channels_last memory format",
    ):
        assert not is_out_of_memory(RuntimeError(other))


def test_an_error_that_is_not_about_memory_is_not_tried_again(little, tmp_path):  # noqa: F811
    windows, config = little

    def broken(model, batch):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        run_loop(tmp_path / "run", windows, make_model(config), OPTIONS, loss=broken)


def test_a_resumed_run_starts_with_the_micro_batches_that_fitted(tmp_path, monkeypatch):
    write_little(tmp_path)
    run = tmp_path / "run"
    plain = BertForQuestionAnswering.forward

    def small_machine(self, batch):
        if self.training and batch.num_sequences > 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(self, batch)

    monkeypatch.setattr(BertForQuestionAnswering, "forward", small_machine)
    arguments = little_arguments(tmp_path, run, "--max-minutes", "0.00001")
    assert forked("train.squad", *arguments)[0] == 0  # stops before its first update
    status, _, errors = forked("train.squad", "--resume", "--output-dir", run)
    assert (status, errors.count("going on with --accumulate 2")) == (0, 1)
    state = json.loads((sorted((run / "checkpoints").iterdir())[-1] / "state.json").read_bytes())
    assert state["state"]["accumulate"] == 2
    options = json.loads((run / "options.json").read_bytes())
    assert options["options"]["accumulate"] == 1
    status, _, errors = forked("train.squad", "--resume", "--output-dir", run)
    assert (status, errors) == (0, "")


@pytest.mark.parametrize("spoilt", ["start_logits", "loss"])
def test_an_evaluation_without_numbers_stops_the_run_with_status_3(tmp_path, monkeypatch, spoilt):
    write_little(tmp_path)
    run = tmp_path / "run"

    def predict(*anything, **more):
        logits = predict_logits(*anything, **more)
        return logits._replace(**{spoilt: getattr(logits, spoilt) * math.nan})

    monkeypatch.setattr("eval.answerer.predict_logits", predict)
    status, _, errors = forked("train.squad", *little_arguments(tmp_path, run))
    what = "a loss of nan" if spoilt == "loss" else "scores that are infinite or undefined"
    assert (status, errors.count("\n")) == (3, 1)
    assert re.match(rf"error: the evaluation after update \d+ has {what} on the dev set;", errors)
    assert list((run / "checkpoints").iterdir()) and not (run / "best").exists()


def test_an_evaluation_that_runs_out_of_memory_answers_the_same_from_smaller_batches(little):  # noqa: F811
    windows, config = little
    model = make_model(config).eval()
    whole = predict_logits(model, windows, torch.device("cpu"))
    plain = model.forward
    sizes = []

    def small_machine(batch):
        sizes.append(batch.num_tokens)
        if batch.num_tokens > 100:
            raise FULL
        return plain(batch)

    model.forward = small_machine
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        parts = predict_logits(model, windows, torch.device("cpu"))
    assert len(caught) >= 1 and "out of memory" in str(caught[0].message)
    assert max(sizes) > 100 and sum(size for size in sizes if size <= 100) == len(whole[0])
    for ours, expected in zip(parts[:2], whole[:2], strict=True):
        assert abs(ours - expected).max() < 1e-5
    assert parts.loss == pytest.approx(whole.loss, rel=1e-5)

    def greedy(batch):
        raise FULL

    model.forward = greedy
    with pytest.raises(RuntimeError, match="can't allocate memory"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        predict_logits(model, windows, torch.device("cpu"))


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc_trim")
def test_freed_memory_is_given_back_now_and_then(little, tmp_path, monkeypatch):  # noqa: F811
    windows, config = little
    calls = []
    monkeypatch.setattr("train.loop.TRIM_EVERY", 4)
    monkeypatch.setattr("train.loop.give_back_memory", lambda: calls.append(None))
    run_loop(tmp_path / "run", windows, make_model(config), OPTIONS)
    assert len(calls) == TOTAL // 4

    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    kept = []
    for size in range(20_000, 30_000):  # pieces below the size that goes back by itself
        tensor = torch.ones(size)
        if size % 100 == 0:
            kept.append(torch.ones(1))
        del tensor
    pieces = [torch.ones(20_000) for _ in range(2000)]  # 160 MB
    full = resident()
    kept += pieces[::50]
    del pieces
    give_back_memory()
    assert full - resident() > 80e6


def test_the_check_for_inf_and_nan_costs_next_to_nothing(little):  # noqa: F811
    """The norm is needed for the clip anyway; what is added is a look at numbers of the host."""
    update = Update([0.5, 0.5, 0.5], 1.0, 1.0)
    began = time.perf_counter()
    for _ in range(1000):
        assert update.is_finite
    assert (time.perf_counter() - began) / 1000 < 1e-4  # seconds


def test_the_message_says_what_to_do(little, tmp_path):  # noqa: F811
    windows, config = little
    with pytest.raises(CommandError) as caught:
        run_loop(
            tmp_path / "run", windows, make_model(config), OPTIONS,
            loss=lambda model, batch: loss_sum(model, batch) * math.nan,
        )  # fmt: skip
    assert re.search(r"nonfinite-update-000001\.json.*--lr.*--warmup", str(caught.value))
