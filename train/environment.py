"""What the bits of a run may depend on: versions, threads, devices, the commit, the input files."""

import hashlib
import json
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from data.command import UsageError
from minibert.files import write_file
from train.resuming import read_json

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


def record_start(path: Path, device: str) -> None:
    """Add a start to RUN/env.json, and warn of what is otherwise than at the first one.

    Args:
        path: RUN/env.json, written anew.
        device: the kind of device the run is on.

    Raises:
        UsageError: the file is damaged.
    """
    starts = read_json(path) if path.exists() else []
    if not isinstance(starts, list) or not all("versions" in start for start in starts):
        raise UsageError(f"{path} does not list a run's starts; delete it, a new one is made")
    starts.append(environment(device))
    write_file(path, (json.dumps(starts, indent=2) + "\n").encode())
    first, now = ({**start, **start["versions"]} for start in (starts[0], starts[-1]))
    for name in _BITS:
        if name in first and first[name] != now[name]:
            print(
                f"warning: unlike the run's first start: {name} {first[name]} -> {now[name]}; "
                "the bits may differ from an uninterrupted run's",
                file=sys.stderr,
            )


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
