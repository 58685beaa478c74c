"""What the bits of a run may depend on: versions, threads, devices, the commit, the input files."""

import hashlib
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

# What, if it differs, makes a resumed run's bits differ from an uninterrupted one's.
_BITS = ("torch", "device", "gpu", "cpu_capability")


def environment(device: str = "cpu") -> dict[str, Any]:
    """Versions, threads and devices: what the bits of a run may depend on; no host, no paths."""
    versions = {}
    for package in ("torch", "tokenizers", "safetensors", "numpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "device": device,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "commit": _commit(),
    }


def differences(first: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What of a run's first start is otherwise in this one and may change bits, as "old -> new"."""
    old, new = ({**start, **start.get("versions", {})} for start in (first, now))
    return [
        f"{name} {old[name]} -> {new[name]}"
        for name in _BITS
        if name in old and old[name] != new[name]
    ]


def _commit() -> str | None:
    """The commit of this source tree, with + if files were changed; None outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def file_sha256(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
