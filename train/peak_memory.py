"""The most memory that a run has taken: a GPU's own count, else what the system says (Linux)."""

from contextlib import suppress
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak(device: str) -> None:
    """Begin to count anew, where that can be done.

    Args:
        device: "cuda", "cpu", "mps".
    """
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        with suppress(OSError):  # another system, or one that forbids it: the peak is an older one
            _RESET.write_text("5", encoding="ascii")  # the peak becomes what is held now, proc(5)


def peak_mib(device: str) -> float | None:
    """MiB at most since then: of a GPU's tensors, else of the process; None where nobody knows."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    with suppress(OSError):
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return None
