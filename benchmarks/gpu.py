"""Training step, its memory, and inference on a GPU in mixed precision, beside transformers.

    python -m benchmarks.gpu --data FOLDER               bert-base, bfloat16 and float16
    python -m benchmarks.gpu --data FOLDER --size small --dtypes bf16

The same sides as benchmarks.step and benchmarks.inference; float16 goes with a GradScaler. Every
round ends with a wait for the device. Memory is torch's own count of the peak of one round above
what is held before it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.command import UsageError, option, parse, run_command

if TYPE_CHECKING:
    import torch

    from benchmarks.timing import Row

DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": ""}


@dataclass(frozen=True)
class Options:
    """Options of `python -m benchmarks.gpu`."""

    data: str = option("", help="folder with squad/ and vocab/ (default: that of MINIBERT_DATA)")
    device: str = option("cuda", help="cuda, cuda:N; cpu only to try the code")
    size: str = option("base", help="of the model", choices=("tiny", "small", "base"))
    dtypes: str = option("bf16,fp16", help="of bf16, fp16, fp32, with commas")
    batch_size: int = option(32, help="windows in an update")
    batches: int = option(8, help="updates of every side in a round")
    windows: int = option(1024, help="windows of every side in a round of inference")
    peer_batch: int = option(64, help="windows in one batch of the peer's inference")
    rounds: int = option(9, help="timed rounds of every side")

    def __post_init__(self) -> None:
        for name in self.dtypes.split(","):
            if name not in DTYPES:
                raise UsageError(f"--dtypes has {name}, expected {', '.join(DTYPES)}")
        for name in ("batch_size", "batches", "windows", "peer_batch", "rounds"):
            if getattr(self, name) < 1:
                raise UsageError(f"--{name.replace('_', '-')} must be at least 1")


def main(argv: list[str]) -> int:
    """Measure, and print one Markdown table."""
    options = parse(
        Options, argv, prog="benchmarks.gpu",
        description="Mixed-precision training and inference on a GPU, beside transformers.",
    )  # fmt: skip
    import torch

    from benchmarks.inference import inference_rows
    from benchmarks.step import step_rows
    from benchmarks.timing import table
    from benchmarks.workload import data_folder
    from minibert.device import choose_device

    device = choose_device(options.device)
    folder = data_folder(options.data)
    rows = []
    for name in options.dtypes.split(","):
        dtype = getattr(torch, DTYPES[name]) if name != "fp32" else None
        rows += step_rows(
            folder, options.size, device, dtype,
            options.rounds, options.batches, options.batch_size,
        )  # fmt: skip
        if device.type == "cuda":
            rows += memory_rows(folder, options, device, dtype)
        rows += inference_rows(
            folder, options.size, device, dtype,
            options.rounds, options.windows, options.peer_batch,
        )  # fmt: skip
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    print(f"{where}, torch {torch.__version__}\n\n{table(rows)}")
    return 0


def memory_rows(
    folder: Path, options: Options, device: "torch.device", dtype: "torch.dtype | None"
) -> "list[Row]":
    """Peak of the memory that torch holds in a round of training, above what it held before."""
    import torch

    from benchmarks.step import step_sides
    from benchmarks.timing import Row

    rounds = min(options.rounds, 3)
    sides = step_sides(
        folder, options.size, device, dtype, rounds, options.batches, options.batch_size
    )
    growth: dict[str, list[float]] = {name: [] for name in sides}
    for name, work in sides.items():
        work(0)  # Adam's moments exist from here on
        for number in range(rounds):
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
            work(number)
            growth[name].append((torch.cuda.max_memory_allocated(device) - before) / 2**20)
    mine = growth.pop("ours")
    return [
        Row(f"GPU memory, training, {options.size}, {dtype}: {how}", mine, theirs, "MiB")
        for how, theirs in growth.items()
    ]


if __name__ == "__main__":
    run_command(main)
