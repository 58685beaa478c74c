"""Shared by all tests: one thread (tiny models are fastest so), the guard, and the real data."""

import gc
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # its threads are ended and joined at every fork

import pytest
import torch
from tqdm import tqdm

from tests import guard


def one_thread() -> None:
    """Hold this process to one thread of torch's.

    Once a second has worked, OpenMP believes in it in every child forked later, where it is not:
    the child waits for it for ever.
    """
    process, set_num_threads = os.getpid(), torch.set_num_threads
    set_num_threads(1)

    def refuse_more(number: int) -> None:
        if number > 1 and os.getpid() == process:
            raise AssertionError("more than one thread here would hang forked children; fork first")
        set_num_threads(number)

    torch.set_num_threads = refuse_more


def pytest_configure() -> None:
    one_thread()
    # tqdm's own lock is one semaphore for a process and all its children: a child that is killed
    # while it holds the lock would leave every later one waiting for ever
    tqdm.set_lock(threading.RLock())
    # a forked child must not collect what this process has left over: the end of a TCPStore, say,
    # would wait for a thread that is not in the child
    os.register_at_fork(after_in_child=gc.freeze)
    # a shell ignores these for what it starts in the background, and children inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    guard.install()


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    """torch.compile as at the start of a process, with its counters at 0."""
    import torch._dynamo

    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    # torch's own cache on disk holds pickles, which tests/guard.py takes for ours
    with torch.compiler.config.patch(force_disable_caches=True):
        yield
    torch._dynamo.reset()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With `-m cuda` import only what has such tests: a GPU's machine may lack other oracles."""
    if config.getoption("markexpr") != "cuda" or not collection_path.name.startswith("test_"):
        return None
    return "mark.cuda" not in collection_path.read_text() or None


_of_workers: list[str] = []  # what the guard saw in the processes of pytest-xdist


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    _of_workers.extend(getattr(node, "workeroutput", {}).get("guard", ()))


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # one of several: the first process tells
        session.config.workeroutput["guard"] = guard.findings()
        return
    for line in [*guard.findings(), *_of_workers]:
        print(f"\nERROR: {line}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


# files that take longest: pytest-xdist hands out files by their number of tests, and one that is
# begun last would be waited for
LONG = (
    "test_kill.py",
    "test_torchrun.py",
    "test_ranks.py",
    "test_fuzz.py",
    "test_resume.py",
    "test_changes.py",
    "test_windows.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder named by MINIBERT_DATA; the test is skipped, saying so, without it."""
    folder = os.environ.get("MINIBERT_DATA")
    if not folder:
        pytest.skip("MINIBERT_DATA does not name a folder with the real data files")
    return Path(folder)
