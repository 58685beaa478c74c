"""What the whole suite is watched for: connections beyond loopback, and pickles that we open.

An audit hook sees the events of this process and of every child forked from it; other Python
processes are seen when they are started. Whatever breaks a rule is refused where that is possible,
written down in any case (a library may have caught the refusal), and fails the session at its end.
"""

import ipaddress
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGES = tuple(os.path.join(ROOT, name, "") for name in ("minibert", "data", "train", "eval"))
# No test reaches the Hub or the official files; huggingface_hub reads its settings when imported.
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MINIBERT_SQUAD_URL": "http://127.0.0.1:9/",
}
_records: list[int] = []  # descriptors of files that children inherit; the last one is written to


def install() -> None:
    """Watch from here on; an audit hook cannot be removed."""
    os.environ.update(OFFLINE)
    _records.append(_new_record())
    sys.addaudithook(_watch)


def findings() -> list[str]:
    """Everything that broke a rule so far."""
    content = os.pread(_records[-1], 1_000_000, 0)
    return content.decode().splitlines()


@contextmanager
def caught() -> Iterator[list[str]]:
    """What breaks a rule in this block goes into the list, not into the session's findings."""
    _records.append(_new_record())
    found: list[str] = []
    try:
        yield found
    finally:
        found += findings()
        os.close(_records.pop())


def _new_record() -> int:
    with tempfile.TemporaryFile(buffering=0) as file:
        return os.dup(file.fileno())


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        if (address := args[1]) is not None:
            _require_loopback(address[0] if isinstance(address, tuple) else None, event)
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        _require_loopback(args[0], event)
    elif event == "subprocess.Popen":
        _require_offline(args[1], args[3])
    elif event == "pickle.find_class":
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_filename.startswith(PACKAGES):
                _record(f"a pickle was opened below {frame.f_code.co_filename}: {args}")
                return
            frame = frame.f_back


def _require_loopback(host: str | bytes | None, event: str) -> None:
    """None and "" stand for no host: a Unix socket, or any address of this machine."""
    name = host.decode() if isinstance(host, bytes) else host
    if not name or name == "localhost":
        return
    try:
        inside = ipaddress.ip_address(name).is_loopback
    except ValueError:
        inside = False
    if not inside:
        _record(f"{event} to {name}")
        raise PermissionError(f"tests reach loopback only, not {name}")


def _require_offline(words: Any, environment: Mapping[str, str] | None) -> None:
    """A Python process of its own is not watched: its environment must keep it from the network."""
    if sys.executable not in (words if isinstance(words, str) else words[:1]):
        return
    given = os.environ if environment is None else environment
    hub = given.get("HF_HUB_OFFLINE") == "1" or "//127.0.0.1:" in given.get("HF_ENDPOINT", "")
    if not hub or "//127.0.0.1:" not in given.get("MINIBERT_SQUAD_URL", ""):
        _record(f"a process that could reach the network: {words}")


def _record(line: str) -> None:
    os.write(_records[-1], f"{line}\n".encode())
