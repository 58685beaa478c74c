"""Everything that is measured on a GPU, in one table: training, memory, inference, attention.

    python -m benchmarks.gpu --data FOLDER                 all of it, in less than ten minutes
    python -m benchmarks.gpu --data FOLDER --parts training --sizes base --dtypes bf16

Needs torch, transformers, tokenizers, safetensors, numpy, tqdm, and no network: weights are random,
windows are real. Sides take turns in one run (benchmarks.step says what the peer does); every round
ends with a wait for the device. What is measured is also printed as it comes, to stderr. A part
that fails costs none of the others: its error is printed, and it is tried again uncompiled.
"""

import subprocess
import sys
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from data.command import UsageError, option, parse, run_command

if TYPE_CHECKING:
    import torch

    from benchmarks.gpu_training import Setting
    from benchmarks.timing import Row

DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": ""}
PARTS = ("steady", "training", "attention", "inference")  # what promises most, first
SIZES = ("tiny", "small", "base", "large")
DEV_SET_SECONDS = 1.5  # the goal for bert-base


@dataclass(frozen=True)
class Options:
    """Options of `python -m benchmarks.gpu`."""

    data: str = option("", help="folder with squad/ and vocab/ (default: that of MINIBERT_DATA)")
    device: str = option("cuda", help="cuda, cuda:N; cpu only to try the code")
    parts: str = option(",".join(PARTS), help="what to measure")
    sizes: str = option("base,large", help=f"of {', '.join(SIZES)}; the first in full")
    dtypes: str = option("bf16,fp16", help=f"of {', '.join(DTYPES)}; the first in full")
    compile: bool = option(True, help="measure both sides compiled, too")
    batch_size: int = option(32, help="windows in an update")
    batches: int = option(8, help="updates of every side in a round")
    windows: int = option(1024, help="windows of every side in a round of inference")
    peer_batch: int = option(64, help="windows in one batch of the peer's inference")
    rounds: int = option(9, help="timed rounds of every side")
    seconds: float = option(60.0, help="of the steady training")
    minutes: float = option(8.0, help="after these no further part begins")

    def __post_init__(self) -> None:
        for name, known in (("parts", PARTS), ("sizes", SIZES), ("dtypes", tuple(DTYPES))):
            for part in self.listed(name):
                if part not in known:
                    raise UsageError(f"--{name} has {part!r}, expected {', '.join(known)}")
        for name in ("batch_size", "batches", "windows", "peer_batch", "rounds"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name.replace('_', '-')} must be at least 1")
        for name in ("seconds", "minutes"):
            if not getattr(self, name) > 0:
                raise UsageError(f"--{name} is {getattr(self, name)}, expected more than 0")

    def listed(self, name: str) -> list[str]:
        """The parts of an option with commas."""
        return str(getattr(self, name)).split(",")


def main(argv: list[str]) -> int:
    """Measure, and print one Markdown table."""
    options = parse(
        Options, argv, prog="benchmarks.gpu",
        description="Mixed-precision training and inference on a GPU, beside transformers.",
    )  # fmt: skip
    from benchmarks.timing import table
    from benchmarks.workload import data_folder
    from minibert.device import choose_device

    device, folder = choose_device(options.device), data_folder(options.data)
    started = time.perf_counter()
    rows: list[Row] = []
    failures: list[str] = []
    for part in options.listed("parts"):
        for setting in settings(options, folder, device, part):
            begin = time.perf_counter()
            if begin - started > 60 * options.minutes:
                failures.append(f"no time for {part}, {setting.name}")
                continue
            print(f"{part}, {setting.name}", file=sys.stderr, flush=True)
            measured = attempt(options, part, setting, failures)
            rows += measured
            seconds = time.perf_counter() - begin
            print(f"{seconds:.0f} s\n{table(measured)}", file=sys.stderr, flush=True)
    print(f"{environment(device)}; {time.perf_counter() - started:.0f} s in all\n\n{table(rows)}")
    for failure in failures:
        print(failure)
    return 1 if failures else 0


def attempt(options: Options, part: str, setting: "Setting", failures: list[str]) -> "list[Row]":
    """The rows of a part; of one that fails, those without compilation, or none.

    Args:
        options: of the command.
        part: to measure.
        setting: to measure it with.
        failures: gets a line for every try that fails.
    """
    for compiled in (True, False) if setting.compiled else (False,):
        try:
            return measure(options, part, replace(setting, compiled=compiled))
        except Exception:  # a machine's time is short, and the other parts may well run
            traceback.print_exc()
            failures.append(f"failed: {part}, {setting.name}{', compiled' if compiled else ''}")
    return []


def settings(options: Options, folder: Path, device: "torch.device", part: str) -> "list[Setting]":
    """What a part is measured with: the first size in every dtype, the others in the first one."""
    import torch

    from benchmarks.gpu_training import Setting

    sizes, dtypes = options.listed("sizes"), options.listed("dtypes")
    pairs = [(size, dtype) for size in sizes for dtype in dtypes if dtype == dtypes[0] or (
        size == sizes[0] and part == "training")]  # fmt: skip
    if part in ("attention", "steady"):
        pairs = pairs[:1]
    return [
        Setting(
            folder, device, size, getattr(torch, DTYPES[dtype]) if DTYPES[dtype] else None,
            options.batch_size, options.batches, options.rounds,
            compiled=options.compile and (size, dtype) == (sizes[0], dtypes[0]),
        )
        for size, dtype in pairs
    ]  # fmt: skip


def measure(options: Options, part: str, setting: "Setting") -> "list[Row]":
    """The rows of a part."""
    import torch

    from benchmarks.attention import attention_rows
    from benchmarks.ceiling import matrix_ceiling
    from benchmarks.gpu_training import steady_rows, training_rows
    from benchmarks.timing import Row
    from benchmarks.workload import TRAIN_FILE, read_windows
    from minibert.attention import has_flash

    device, dtype = setting.device, setting.dtype
    if part == "attention":
        if dtype is None or not has_flash(device):
            print("no flash kernels for this device and dtype", file=sys.stderr)
            return []
        windows = read_windows(setting.folder, TRAIN_FILE)
        return attention_rows(windows, device, dtype, setting.rounds, setting.batch_size)
    if part == "training":
        return training_rows(setting)
    if part == "inference":
        return inference_rows(options, setting)
    ceiling = matrix_ceiling(device, dtype or torch.float32)
    rows = [Row("matrix product, the ceiling", [ceiling / 1e12], unit="TFLOP/s")]
    for compiled in (False, True) if setting.compiled else (False,):
        rows += steady_rows(setting, ceiling, options.seconds, compiled, attention=True)
    return rows + steady_rows(
        setting, ceiling, options.seconds / 2, setting.compiled, attention=False
    )


def inference_rows(options: Options, setting: "Setting") -> "list[Row]":
    """Rounds beside the peer, and the whole dev set."""
    import benchmarks.inference
    from benchmarks.timing import Row, alternate
    from benchmarks.workload import DEV_FILE, make_ours, read_windows, synchronise
    from benchmarks.workload import SIZES as CONFIGS
    from eval.answerer import predict_logits

    rows = benchmarks.inference.inference_rows(
        setting.folder, setting.size, setting.device, setting.dtype,
        setting.rounds, options.windows, options.peer_batch,
    )  # fmt: skip
    if setting.device.type != "cuda":
        return rows
    windows = read_windows(setting.folder, DEV_FILE)
    model = make_ours(CONFIGS[setting.size]).to(setting.device)

    def whole(number: int) -> None:
        predict_logits(model, windows, setting.device, setting.dtype)
        synchronise(setting.device)

    seconds = alternate({"ours": whole}, min(setting.rounds, 5))["ours"]
    goal = DEV_SET_SECONDS if setting.size == "base" else None
    what = f"logits of the whole dev set, {setting.name}, {len(windows):,} windows"
    return [*rows, Row(what, seconds, most=goal)]


def environment(device: "torch.device") -> str:
    """GPU, versions and commit, in one line."""
    from importlib.metadata import version

    import torch

    where = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    words = ["git", "rev-parse", "--short", "HEAD"]
    git = subprocess.run(words, capture_output=True, text=True, check=False)
    commit = git.stdout.strip() or "unknown"
    return (
        f"{where}, torch {torch.__version__}, transformers {version('transformers')}, "
        f"commit {commit}"
    )


if __name__ == "__main__":
    run_command(main)
