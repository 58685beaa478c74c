"""What the bits of a run may depend on: versions, threads, devices, the commit, the input files."""

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from minibert.files import file_sha256 as file_sha256
from minibert.files import write_file
from minibert.strict_json import parse_object, shown

# What, if it differs, makes a resumed run's bits differ from an uninterrupted one's.
_BITS = ("torch", "device", "gpu", "cpu_capability", "ranks")


def environment(device: str = "cpu", ranks: int = 1) -> dict[str, Any]:
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
        "ranks": ranks,
        "device": device,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "commit": _commit(),
    }


def record_start(path: Path, device: str, ranks: int = 1) -> None:
    """Add a start to RUN/env.json, and warn of what is otherwise than at the first one.

    Args:
        path: RUN/env.json, written anew. It decides nothing: a damaged one is a warning.
        device: the kind of device the run is on.
        ranks: processes that train together.
    """
    starts = _read_starts(path)
    if starts is None:
        print(f"warning: {path} does not list a run's starts; a new list is begun", file=sys.stderr)
    starts = [*(starts or []), environment(device, ranks)]
    write_file(path, (json.dumps(starts, indent=2) + "\n").encode())
    first, now = ({**start, **start["versions"]} for start in (starts[0], starts[-1]))
    for name in _BITS:
        if name in first and first[name] != now[name]:
            print(
                f"warning: unlike the run's first start: {name} {_brief(first[name])} -> "
                f"{_brief(now[name])}; "
                "the bits may differ from an uninterrupted run's",
                file=sys.stderr,
            )


def _read_starts(path: Path) -> list[dict[str, Any]] | None:
    """The starts so far, none without a file; None if it holds anything else."""
    if not os.path.lexists(path):
        return []
    try:
        # our reader takes objects only
        starts = parse_object(b'{"starts": ' + path.read_bytes() + b"}")["starts"]
    except (OSError, ValueError):
        return None
    if not isinstance(starts, list):
        return None
    for start in starts:
        if not isinstance(start, dict) or not isinstance(start.get("versions"), dict):
            return None
    return starts


def _brief(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)


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
