"""Training on a GPU: the same numbers as on a CPU, exact resumes, no waits, memory that runs out.

Everything here needs a GPU and nothing else: no network, no data. The commands run in processes of
their own, for CUDA bears no fork.
"""

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from data.batches import BatchPlan
from data.ranks import ALONE
from minibert import BertConfig, PackedBatch
from minibert.encoder import BertModel
from minibert.heads import BertForQuestionAnswering, span_loss_sum
from tests.train.little import little_arguments, write_little
from train.ahead import Ahead
from train.gradients import Gradients
from train.loop import make_update
from train.optim import make_optimizer
from train.options import TrainOptions

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]

ROOT = Path(__file__).resolve().parents[2]
GPU = "cuda"
CONFIG = BertConfig(
    vocab_size=500,
    hidden_size=128,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=256,
    max_position_embeddings=128,
)
LENGTHS = (100, 3, 64, 17)


def make_batch(device: str) -> tuple[PackedBatch, torch.Tensor, torch.Tensor]:
    """A packed batch, starts and ends of answers."""
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(5, 500, (n,), generator=generator).tolist() for n in LENGTHS]
    packed = PackedBatch.from_sequences(rows).to(device)
    return packed, torch.tensor([7, 0, 60, 3]).to(device), torch.tensor([9, 0, 60, 5]).to(device)


def make_model(device: str, dtype: torch.dtype = torch.float32) -> BertForQuestionAnswering:
    """Always the same weights, without dropout."""
    torch.manual_seed(0)
    model = BertForQuestionAnswering(CONFIG)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model.to(device, dtype).train()


def losses_and_gradients(
    model: BertForQuestionAnswering, device: str, amp: torch.dtype | None
) -> list[torch.Tensor]:
    """Start logits, loss, and the gradient of every parameter, in float64 on the CPU."""
    packed, starts, ends = make_batch(device)
    with torch.autocast(device, amp, enabled=amp is not None):
        logits = model(packed)
        loss = span_loss_sum(logits, packed, starts, ends)
    loss.backward()
    gradients = [p.grad for p in model.parameters()]
    return [x.detach().cpu().double() for x in (logits.start_logits, loss, *gradients)]


@pytest.mark.parametrize(
    ("amp", "bound"),
    [(None, 1e-4), (torch.bfloat16, 5e-2), (torch.float16, 1e-2)],
    ids=["fp32", "bf16", "fp16"],
)
def test_logits_loss_and_gradients_are_those_of_float64_on_a_cpu(
    amp: torch.dtype | None, bound: float
) -> None:
    """Within `bound` of the largest value; half precision rounds every product's inputs."""
    exact = losses_and_gradients(make_model("cpu", torch.float64), "cpu", None)
    ours = losses_and_gradients(make_model(GPU), GPU, amp)
    largest = max(float(x.abs().max()) for x in exact[2:])
    for number, (mine, truth) in enumerate(zip(ours, exact, strict=True)):
        scale = max(1.0, float(truth.abs().max())) if number < 2 else largest
        assert float((mine - truth).abs().max()) <= bound * scale


@pytest.mark.usefixtures("fresh_compiler")
def test_compiled_layers_compute_the_same() -> None:
    plain, compiled = make_model(GPU), make_model(GPU)
    compiled.encoder.compile_layers()
    for amp, bound in ((None, 1e-5), (torch.bfloat16, 5e-2)):
        plain.zero_grad()
        compiled.zero_grad()
        pairs = zip(
            losses_and_gradients(plain, GPU, amp),
            losses_and_gradients(compiled, GPU, amp),
            strict=True,
        )
        for theirs, ours in pairs:
            assert float((theirs - ours).abs().max()) <= bound * max(1.0, float(theirs.abs().max()))


@pytest.mark.parametrize("amp", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
def test_an_update_waits_for_the_gpu_once(amp: torch.dtype) -> None:
    model, options = make_model(GPU), TrainOptions()
    optimizer = make_optimizer(model, options)
    scaler = torch.amp.GradScaler(GPU, enabled=amp is torch.float16)
    device, gradients = torch.device(GPU), Gradients(model, ALONE)
    packed, starts, ends = make_batch("cpu")

    def loss_sum(model: nn.Module, batch: PackedBatch) -> torch.Tensor:
        return span_loss_sum(model(batch), batch, starts.to(GPU), ends.to(GPU))

    starts, ends = starts.to(GPU), ends.to(GPU)
    plan = BatchPlan(4, 2, 2, 1, 0)
    ahead = Ahead(lambda items: packed, device)
    for timed in (False, True):  # the first warms up
        parts = plan.micro_batches(0)
        torch.cuda.set_sync_debug_mode("warn" if timed else "default")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                make_update(
                    model, optimizer, scaler, gradients, ahead.batches(parts, None), 8.0, 1.0,
                    device, amp, loss_sum,
                )  # fmt: skip
        finally:
            torch.cuda.set_sync_debug_mode("default")
        optimizer.zero_grad(set_to_none=True)
    ahead.close()
    waits = [str(w.message) for w in caught if "synchroniz" in str(w.message)]
    # one for the losses and the norm; float16 reads the loss scale, too
    assert len(waits) <= (2 if amp is torch.float16 else 1), waits


def command(*words: object, first: str = "") -> subprocess.CompletedProcess[str]:
    """`python -m train.squad` on the GPU, in a process of its own.

    Args:
        words: of the command line.
        first: Python that the process runs before the command.
    """
    script = f"import runpy\n{first}\nrunpy.run_module('train.squad', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, words), "--device", GPU],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    """The lines of one kind in a run's log."""
    lines = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == kind]


_STOP = """
import os, signal
from train.run import Run
log_update = Run.log_update
def log_and_stop(run, update, *values):
    log_update(run, update, *values)
    if update == {update}:
        os.kill(os.getpid(), signal.SIGTERM)
Run.log_update = log_and_stop
"""


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_a_deterministic_run_resumes_to_the_same_bits(tmp_path: Path, dtype: str) -> None:
    write_little(tmp_path)
    more = ("--amp", "--amp-dtype", dtype, "--deterministic")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert command(*little_arguments(tmp_path, whole, *more)).returncode == 0
    words = little_arguments(tmp_path, stopped, *more)
    for update in (3, 7):  # of 10; an epoch has 5
        assert command(*words, first=_STOP.format(update=update)).returncode == 143
        assert events(stopped, "update")[-1]["update"] == update
        words = ["--resume", "--output-dir", str(stopped)]
    assert command(*words).returncode == 0
    for name in ("best/model.safetensors", "predictions.json"):
        assert (whole / name).read_bytes() == (stopped / name).read_bytes()


_LARGE_SCALE = """
import functools, torch
torch.amp.GradScaler = functools.partial(torch.amp.GradScaler, init_scale=2.0**28)
"""


def test_float16_skips_an_update_that_overflows_and_makes_it_again(tmp_path: Path) -> None:
    """A scale that the gradients of this loss cannot bear is halved until they can."""
    write_little(tmp_path)
    run = tmp_path / "run"
    words = little_arguments(tmp_path, run, "--amp", "--amp-dtype", "fp16")
    assert command(*words, first=_LARGE_SCALE).returncode == 0
    made, skips = events(run, "update"), events(run, "skip")
    assert [line["update"] for line in made] == list(range(1, len(made) + 1))
    assert [skip["scale"] for skip in skips] == [2.0 ** (28 - n) for n in range(len(skips))]
    assert len(skips) >= 3
    for skip in skips:
        again = made[skip["update"] - 1]
        assert again["scale"] < skip["scale"]


_LITTLE_MEMORY = """
import torch
total = torch.cuda.get_device_properties(0).total_memory
torch.cuda.set_per_process_memory_fraction(2e9 / total)
"""


def test_a_gpu_without_memory_halves_the_micro_batches(tmp_path: Path) -> None:
    """2 GB, for an update of some 3,000 windows that would take four times as much."""
    write_little(tmp_path, questions=1500)
    config = json.loads((tmp_path / "model" / "config.json").read_bytes())
    config |= {"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 4096}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    run = tmp_path / "run"
    words = little_arguments(tmp_path, run, "--batch-size", "4096", "--epochs", "1")
    done = command(*words, first=_LITTLE_MEMORY)
    assert done.returncode == 0, done.stderr
    assert "warning: out of memory in update 1; going on with --accumulate 2" in done.stderr
    assert events(run, "memory") and (run / "metrics.json").is_file()


@pytest.mark.usefixtures("fresh_compiler")
def test_the_layers_are_compiled_once_for_every_number_of_tokens() -> None:
    from torch._dynamo.utils import counters

    model = BertModel(CONFIG).to(GPU)
    model.compile_layers()
    for length in (3, 100, 64, 17, 128):
        with torch.autocast(GPU, torch.bfloat16):
            model(
                PackedBatch.from_sequences([[1] * length, [2, 3]]).to(GPU)
            ).float().sum().backward()
    assert counters["stats"]["unique_graphs"] <= 3
