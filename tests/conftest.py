"""Shared by all tests: one thread (tiny models are fastest so), the guard, and the real data."""

import os
from pathlib import Path

import pytest
import torch

from tests import guard


def pytest_configure() -> None:
    torch.set_num_threads(1)
    guard.install()


def pytest_sessionfinish(session: pytest.Session) -> None:
    for line in guard.findings():
        print(f"\nERROR: {line}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder named by MINIBERT_DATA; the test is skipped, saying so, without it."""
    folder = os.environ.get("MINIBERT_DATA")
    if not folder:
        pytest.skip("MINIBERT_DATA does not name a folder with the real data files")
    return Path(folder)
