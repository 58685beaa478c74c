"""Shared by all tests: one thread (tiny models are fastest so), and where the real data is."""

import os
from pathlib import Path

import pytest
import torch


def pytest_configure() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder named by MINIBERT_DATA; the test is skipped, saying so, without it."""
    folder = os.environ.get("MINIBERT_DATA")
    if not folder:
        pytest.skip("MINIBERT_DATA does not name a folder with the real data files")
    return Path(folder)
