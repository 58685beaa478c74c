"""Growth of resident memory in training beside transformers': fresh processes, one side each.

    python -m benchmarks.memory SIDE FOLDER ROUND      (what the parent runs; prints two numbers)

Each process makes its model and optimizer, cuts the batches it needs, notes its resident memory
(VmRSS), sets the kernel's peak mark back to it, takes eight training steps and reads the peak
(VmHWM). The growth holds gradients (4 bytes a parameter, the same on both sides) and activations;
Adam's moments stand before. Linux only: elsewhere there is no such mark.
"""

import ctypes
import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.timing import Row

SIDES = {"padded to 384": 2.0, "dynamic": None}
STEPS = 8
MIB = 2**20


def measure(folder: Path, quick: bool) -> list[Row]:
    """Two rows, MiB; nothing where the kernel keeps no peak mark."""
    if not Path("/proc/self/clear_refs").exists():
        print("memory: left out, this system keeps no peak mark (/proc)", file=sys.stderr)
        return []
    growth: dict[str, list[float]] = {side: [] for side in ("ours", *SIDES)}
    for number in range(1 if quick else 3):
        for side, values in growth.items():
            values.append(grow_in_process(side, folder, number))
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return [
        Row(f"memory growth, training: {side}", growth["ours"], growth[side], "MiB", goal)
        for side, goal in SIDES.items()
    ]


def grow_in_process(side: str, folder: Path, number: int) -> float:
    """MiB that training adds to a fresh process."""
    command = [sys.executable, "-m", "benchmarks.memory", side, str(folder), str(number)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    before, peak = map(int, done.stdout.split())
    return (peak - before) / MIB


def take_steps(side: str, folder: Path, number: int) -> tuple[int, int]:
    """Train for some steps.

    Args:
        side: "ours" or a key of SIDES.
        folder: of the data files.
        number: of the round; it chooses the windows.

    Returns:
        Resident bytes before the first step, and the highest number since.
    """
    import numpy as np
    import torch

    from benchmarks.step import our_step, peer_step
    from benchmarks.workload import (
        BATCH_SIZE,
        SIZES,
        TRAIN_FILE,
        as_features,
        make_ours,
        make_peer,
        make_peer_tokenizer,
        read_windows,
    )

    torch.set_num_threads(2)
    device = torch.device("cpu")
    windows = read_windows(folder, TRAIN_FILE)
    chosen = np.random.default_rng(number).permutation(len(windows))[: STEPS * BATCH_SIZE]
    if side == "ours":
        ours = our_step(make_ours(SIZES["small"]), windows, device, None)
        return watched(lambda: ours(chosen))
    features = as_features(windows, chosen.tolist())
    peer = peer_step(make_peer(SIZES["small"]), make_peer_tokenizer(folder), device, None)
    return watched(lambda: peer(features, "max_length" if side == "padded to 384" else True))


def watched(work: Callable[[], object]) -> tuple[int, int]:
    """Resident bytes before the work, and their peak during it."""
    gc.collect()
    # What was freed while reading would be taken again unseen: give it back first (glibc).
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM := VmRSS, proc(5)
    before = _status("VmRSS")
    work()
    return before, _status("VmHWM")


def _status(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc/self/status has no {name}")


if __name__ == "__main__":
    print(*take_steps(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
