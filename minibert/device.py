"""Which device computes, and in which arithmetic."""

import platform
import warnings

import torch

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str = "auto", local_rank: int = 0, local_size: int = 1) -> torch.device:
    """The device of a name: "auto" is CUDA if there is one, else Apple's MPS, else the CPU.

    Of several processes that work together each takes a GPU of its own, by its number.

    Args:
        name: "auto", "cpu", "cuda", "cuda:N" or "mps".
        local_rank: number of this process on its machine.
        local_size: processes that work together on this machine.

    Raises:
        ValueError: a device that this machine or this build of torch does not have, or that cannot
            be shared by so many.
    """
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    counts = {"cuda": cuda, "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    have = [kind for kind, count in counts.items() if count]
    if local_size > 1:
        name = _one_of_several(name, cuda, local_rank, local_size)
    if name == "auto":
        name = have[0]
    numbered = [f"{kind}:{index}" for kind in have for index in range(counts[kind])]
    if name not in (*have, *numbered):
        raise ValueError(
            f"device {name!r} is not available; this machine has: {', '.join(numbered)}"
        )
    return torch.device(name)


def _one_of_several(name: str, gpus: int, local_rank: int, local_size: int) -> str:
    """What a name means to one of several processes on this machine."""
    if name == "auto":
        name = "cuda" if gpus else "cpu"
    if name.startswith(("cuda:", "mps")):
        raise ValueError(
            f"device {name} is one GPU, but {local_size} processes work on this machine; name "
            "cuda, of which each takes its own, or start one process"
        )
    if name == "cuda" and 0 < gpus < local_size:
        raise ValueError(
            f"{local_size} processes were started on this machine, which has {gpus} "
            f"GPU{'s' if gpus > 1 else ''}; start as many (torchrun --nproc-per-node {gpus}), or "
            "name --device cpu"
        )
    return f"cuda:{local_rank}" if name == "cuda" and gpus else name


def cpu_has_bf16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware (else it is many times slower)."""
    if platform.machine().lower() in ("x86_64", "amd64"):
        # oneDNN calls bf16 "supported" on every AVX-512 machine, emulated if need be.
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def choose_amp_dtype(device: torch.device, choice: str = "auto") -> torch.dtype | None:
    """The dtype of mixed precision on a device, None for plain float32.

    "auto" is bfloat16 where the hardware has it, else float16 on a GPU; on a CPU without bfloat16
    it is None, with a warning. A dtype named by the user is obeyed, with a warning where slow.

    Args:
        device: where the model runs.
        choice: "auto", "bf16" or "fp16".
    """
    if device.type == "cuda":
        fast_bf16 = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        fast_bf16 = device.type == "cpu" and cpu_has_bf16()
    if choice == "auto":
        if fast_bf16:
            return torch.bfloat16
        if device.type == "cpu":
            warnings.warn(
                "--amp: this CPU has no bfloat16 arithmetic, so the run stays in float32 "
                "(--amp-dtype bf16 forces it, slowly)",
                stacklevel=2,
            )
            return None
        return torch.float16
    if (choice == "bf16" and not fast_bf16) or (choice == "fp16" and device.type == "cpu"):
        warnings.warn(f"--amp-dtype {choice} is slow on this {device.type}", stacklevel=2)
    return _DTYPES[choice]
