"""Which device computes, and in which arithmetic."""

import platform
import warnings

import torch

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """The device of a name: "auto" is CUDA if there is one, else Apple's MPS, else the CPU.

    Raises:
        ValueError: a device that this machine or this build of torch does not have.
    """
    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    counts = {"cuda": cuda, "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    have = [kind for kind, count in counts.items() if count]
    if name == "auto":
        name = have[0]
    numbered = [f"{kind}:{index}" for kind in have for index in range(counts[kind])]
    if name not in (*have, *numbered):
        raise ValueError(
            f"device {name!r} is not available; this machine has: {', '.join(numbered)}"
        )
    return torch.device(name)


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
