"""A corpus as one flat file of token ids, made once and memory-mapped from then on.

    FOLDER/KEY.tokens    ids, uint16 (uint32 where the vocabulary needs it), little-endian: the
                         documents in their order, [SEP] after each
    FOLDER/KEY.json      sha256 of the ids, of the texts and of the vocabulary, and counts

KEY is a digest of the texts, the tokenizer and this format, so a file is either the right one or
another corpus's. The .json is written last: without it, or if the ids do not match it, the file is
made anew. Documents are tokenized one by one, in as many processes as wanted: the result does not
depend on their number.
"""

import hashlib
import json
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from data.children import leave_with_parent
from data.command import UsageError
from data.corpus import find_texts, read_documents
from data.tokenization import Tokenizer
from minibert.files import file_sha256
from minibert.locks import lock_file

FORMAT = 1
_CHUNK = 1_000_000  # characters handed to a process at once
_REMEMBERED = 500_000  # distinct words whose pieces a process keeps, about 100 MB


@dataclass(frozen=True)
class TokenFile:
    """A tokenized corpus.

    Attributes:
        path: of the ids.
        ids: (tokens,) uint16 or uint32, memory-mapped.
        sep_id: stands after every document and nowhere else.
        counts: {"documents", "tokens", "characters", "unknown"}; tokens include the [SEP].
        sha256: of the ids.
        names: file names of the texts.
    """

    path: Path
    ids: NDArray[Any]
    sep_id: int
    counts: dict[str, int]
    sha256: str
    names: list[str]

    def document_ends(self) -> NDArray[np.int64]:
        """(documents,) the place of every document's [SEP]."""
        return np.flatnonzero(self.ids == self.sep_id)


def tokenize_corpus(
    texts: Sequence[str | Path], tokenizer: Tokenizer, folder: Path, jobs: int = 1
) -> TokenFile:
    """Find the corpus's token file, or make it.

    Args:
        texts: files and folders, see data.corpus.
        tokenizer: whose ids are wanted.
        folder: where token files are kept, made if needed.
        jobs: processes that tokenize.

    Raises:
        UsageError: a text that cannot be read, or a corpus without a single token.
        OSError: the folder cannot be written.
    """
    paths = find_texts(texts)
    inputs = {
        "format": FORMAT,
        "texts_sha256": [file_sha256(path) for path in paths],
        "tokenizer_sha256": _tokenizer_sha256(tokenizer),
    }
    key = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:24]
    place = folder / f"{key}.tokens"
    names = [path.name for path in paths]
    folder.mkdir(parents=True, exist_ok=True)
    with lock_file(folder / f".{key}.lock", wait=True):  # runs that start together make it once
        if (found := _open(place, inputs, tokenizer, names)) is not None:
            return found
        counts = _write_tokens(place, read_documents(paths), tokenizer, jobs)
        sidecar = {**inputs, "names": names, "counts": counts, "sha256": file_sha256(place)}
        with _whole_file(place.with_suffix(".json")) as file:
            file.write((json.dumps(sidecar, indent=2) + "\n").encode())
        made = _open(place, inputs, tokenizer, names)
    assert made is not None
    return made


def _open(
    place: Path, inputs: dict[str, Any], tokenizer: Tokenizer, names: list[str]
) -> TokenFile | None:
    """The token file if it is there, whole, and of these inputs; a damaged one is told."""
    try:
        sidecar = json.loads(place.with_suffix(".json").read_bytes())
        if {name: sidecar[name] for name in inputs} == inputs:
            if file_sha256(place) == sidecar["sha256"]:
                ids = np.memmap(place, _dtype(tokenizer), "r")
                counts = sidecar["counts"]
                return TokenFile(place, ids, tokenizer.sep_id, counts, sidecar["sha256"], names)
        reason = "its sha256 is not the one noted"
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
    print(f"warning: {place} is damaged ({reason}); tokenizing again", file=sys.stderr)
    return None


def _write_tokens(
    place: Path, documents: Iterable[str], tokenizer: Tokenizer, jobs: int
) -> dict[str, int]:
    """Tokenize documents into a file, whole or not at all; the counts."""
    counts = dict.fromkeys(("documents", "tokens", "characters", "unknown"), 0)
    bar = tqdm(desc="tokenizing", unit="B", unit_scale=True, disable=None, leave=False)
    with _whole_file(place) as file, bar:
        for chunk, content in _encode_all(_chunks(documents), tokenizer, jobs):
            file.write(content)
            ids = np.frombuffer(content, _dtype(tokenizer))
            size = sum(map(len, chunk))
            counts["documents"] += len(chunk)
            counts["tokens"] += len(ids)
            counts["characters"] += size
            counts["unknown"] += int((ids == tokenizer.unk_id).sum())
            bar.update(size)
        if counts["tokens"] == counts["documents"]:
            raise UsageError("the texts hold not a single token; name files with text in them")
    return counts


def _chunks(documents: Iterable[str]) -> Iterator[list[str]]:
    """Whole documents, about a million characters at a time."""
    chunk: list[str] = []
    size = 0
    for document in documents:
        chunk.append(document)
        size += len(document)
        if size >= _CHUNK:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _encode_all(
    chunks: Iterable[list[str]], tokenizer: Tokenizer, jobs: int
) -> Iterator[tuple[list[str], bytes]]:
    """Every chunk with its ids, in order; never more than a few chunks at once."""
    if jobs == 1:
        encoder = _Encoder(tokenizer)
        for chunk in chunks:
            yield chunk, encoder.encode(chunk)
        return
    pending: deque[tuple[list[str], Future[bytes]]] = deque()
    # A fork would copy the threads' locks of torch and tokenizers as they happen to stand.
    with ProcessPoolExecutor(jobs, get_context("spawn"), _start_worker, (tokenizer,)) as pool:
        try:
            for chunk in chunks:
                pending.append((chunk, pool.submit(_encode_in_worker, chunk)))
                if len(pending) > 2 * jobs:
                    first, future = pending.popleft()
                    yield first, future.result()
            while pending:
                first, future = pending.popleft()
                yield first, future.result()
        except BrokenProcessPool:
            raise UsageError(
                f"a process that tokenizes was killed, perhaps for lack of memory; use fewer than "
                f"--jobs {jobs}"
            ) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class _Encoder:
    """Documents to the bytes of their ids; what a word becomes is remembered."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._dtype = _dtype(tokenizer)
        self._sep = np.array([tokenizer.sep_id], self._dtype).tobytes()
        self._known: dict[str, bytes] = {}

    def encode(self, documents: Sequence[str]) -> bytes:
        """The ids of all documents, [SEP] after each."""
        # No rule of the tokenizer looks past a space, so words are tokenized alone. (Other white
        # space stays inside a word: some of it is dropped by the tokenizer instead of splitting.)
        words_of = [document.replace("\n", " ").split(" ") for document in documents]
        new = {word for words in words_of for word in words if word not in self._known}
        if len(self._known) + len(new) > _REMEMBERED:
            self._known.clear()
            new = {word for words in words_of for word in words}
        ordered = list(new)
        for word, ids in zip(ordered, self._tokenizer.encode(ordered), strict=True):
            self._known[word] = np.array(ids, self._dtype).tobytes()
        known = self._known.__getitem__
        return b"".join(b"".join(map(known, words)) + self._sep for words in words_of)


_worker: _Encoder | None = None


def _start_worker(tokenizer: Tokenizer) -> None:
    """What a tokenizing process does first."""
    global _worker
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=leave_with_parent, daemon=True).start()
    _worker = _Encoder(tokenizer)


def _encode_in_worker(chunk: list[str]) -> bytes:
    assert _worker is not None
    return _worker.encode(chunk)


def _dtype(tokenizer: Tokenizer) -> np.dtype[Any]:
    return np.dtype("<u2" if tokenizer.vocab_size <= 1 << 16 else "<u4")


@contextmanager
def _whole_file(place: Path) -> Iterator[IO[bytes]]:
    """A file to write that takes its name, flushed to disk, when the block ends well.

    A draft that a killed process left is written over.
    """
    draft = place.with_name(f".{place.name}.tmp")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, place)
    finally:
        draft.unlink(missing_ok=True)


def _tokenizer_sha256(tokenizer: Tokenizer) -> str:
    """Digest of everything that decides about ids."""
    rules = [
        tokenizer.tokens,
        tokenizer.lowercase,
        tokenizer.strip_accents,
        tokenizer.split_chinese_characters,
    ]
    return hashlib.sha256(json.dumps(rules).encode()).hexdigest()
