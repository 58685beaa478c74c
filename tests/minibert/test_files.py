"""minibert/files.py: the one way in which anything is written, here by its users in data and eval.

What `write_file` itself does is watched in tests/train/test_checkpoint.py.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from data.qa_settings import QASettings
from data.tokenization import Tokenizer
from data.tokenizer_files import SPECIAL_TOKENS
from eval.prediction_files import write_json
from minibert.files import file_sha256

WRITERS: dict[str, Callable[[Path], object]] = {
    "metrics.json": lambda folder: write_json(folder / "metrics.json", {"f1": 1.0}),
    "qa_settings.json": QASettings().save,
    "tokenizer.json": Tokenizer({t: i for i, t in enumerate(SPECIAL_TOKENS)}, lowercase=True).save,
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_old_file_stays_whole_where_the_new_one_cannot_be_flushed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError, match=rf"No space left on device while writing.*{name}"):
            WRITERS[name](tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "old"
    WRITERS[name](tmp_path)
    assert (tmp_path / name).read_text() != "old"


@pytest.mark.parametrize("name", WRITERS)
def test_a_link_to_a_file_stays_one(name: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "real").write_text("old")
    (tmp_path / name).symlink_to("there/real")
    WRITERS[name](tmp_path)
    assert (tmp_path / name).is_symlink()
    assert (tmp_path / "there" / "real").read_text() != "old"


def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDWR | os.O_NONBLOCK)
    try:
        write_json(tmp_path / "pipe", {"f1": 1.0})
        assert os.read(reader, 100) == b'{\n"f1": 1.0\n}\n'
    finally:
        os.close(reader)
    assert (tmp_path / "pipe").is_fifo() and len(list(tmp_path.iterdir())) == 1


def test_a_files_sha256_is_that_of_its_content(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")  # the example of FIPS 180-2, B.1
    assert file_sha256(tmp_path / "file") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
