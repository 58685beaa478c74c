"""One large file from the web: goes on where it was cut, verified before it has its name.

While it comes it is `.NAME.part`, which stays when the connection, the process or the machine goes
away; beside it `.NAME.part.tag` says which version of the file it began with, so that a part is
never continued with another version. Each file's sha256 is written into SHA256SUMS beside it, as
`sha256sum -c` reads it: where nobody publishes one, later looks compare with the first.
"""

import contextlib
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from minibert.files import flush_folder, write_file
from minibert.locks import InUse, lock_file

SUMS = "SHA256SUMS"
_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 30.0  # without a byte
_WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before trying again, after nothing has come


class Source(NamedTuple):
    """A file on the web.

    Attributes:
        name: its place below the folder it goes to, "dev/SQuAD.jsonl.gz".
        url: its address.
        size: in bytes; about, where sha256 is None.
        sha256: of its content, None where nobody publishes it.
    """

    name: str
    url: str
    size: int
    sha256: str | None


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder for one process, made if need be: two would write into each other's parts, and
    lose each other's lines of SHA256SUMS.

    Raises:
        ValueError: another process holds it, or it cannot be made.
    """
    path = folder / ".lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_file(path)
    except InUse:
        raise ValueError(
            f"{folder} is being filled by another process; wait for it, or give another --folder"
        ) from None
    except OSError as error:
        raise _not_stored(folder, error) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        lock.close()


def whole_sha256(source: Source, folder: Path) -> str | None:
    """Sha256 of the file, if it is there and has the one that it should have or had at first."""
    path = folder / source.name
    if not path.is_file():
        return None
    found, expected = file_sha256(path), source.sha256 or _sums(folder).get(source.name)
    return found if expected in (None, found) else None


def bytes_missing(source: Source, folder: Path) -> int:
    """Bytes that are still to come, of a file that is not whole."""
    part = _part(folder / source.name)
    return max(0, source.size - (part.stat().st_size if part.is_file() else 0))


def fetch(source: Source, folder: Path) -> Path:
    """Download a file, or the rest of it, unless it has become whole since it was looked at.

    Args:
        source: the file.
        folder: where it goes, `held`.

    Returns:
        Its path.

    Raises:
        ValueError: no network, a broken or wrong download, or nowhere to write; what has come is
            kept, and the same call goes on from there.
    """
    path = folder / source.name
    if whole_sha256(source, folder):
        return path
    part = _part(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as stream:
            _fill(source, stream, part.with_name(f"{part.name}.tag"))
            os.fsync(stream.fileno())
            found = file_sha256(part)
            if source.sha256 not in (None, found):
                _forget(part)
                raise ValueError(
                    f"{source.url} gave something else than {source.name}: its sha256 is {found}, "
                    f"not {source.sha256}; try again, or --mirror with another copy of it"
                )
            os.replace(part, path)
        _forget(part)
        flush_folder(path.parent)
        note_sum(folder, source.name, found)
    except OSError as error:
        raise _not_stored(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            if not part.stat().st_size:  # nothing has come
                _forget(part)
    return path


def _not_stored(path: Path, error: OSError) -> ValueError:
    return ValueError(
        f"{path} cannot be stored: {error.strerror}; give --folder a place that can be written and "
        "has room"
    )


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


def _forget(part: Path) -> None:
    for path in (part, part.with_name(f"{part.name}.tag")):
        path.unlink(missing_ok=True)


def _fill(source: Source, stream: IO[bytes], tag: Path) -> None:
    """Append what is missing, trying again while anything comes, and a few times when nothing does.

    Raises:
        ValueError: it cannot be had.
    """
    from tqdm import tqdm

    with tqdm(
        total=source.size, desc=source.name, unit="B", unit_scale=True, disable=None, leave=False
    ) as bar:
        failures = 0
        while True:
            before = stream.seek(0, os.SEEK_END)
            if source.sha256 and before == source.size:
                return
            try:
                for size in _receive(source, stream, tag):
                    bar.n = size
                    bar.update(0)
                return
            except _Passing as problem:
                failures = 0 if stream.seek(0, os.SEEK_END) > before else failures + 1
                if failures > len(_WAITS):
                    raise ValueError(
                        f"{source.url} {problem}; what has come is kept: run again to go on"
                    ) from problem
                time.sleep(_WAITS[max(0, failures - 1)])


class _Passing(Exception):
    """Something that may be over in a moment; its words follow the address."""


def _receive(source: Source, stream: IO[bytes], tag: Path) -> Iterator[int]:
    """Ask once for what is missing, and append what comes; yields the file's growing size.

    Raises:
        _Passing: it may work when tried again.
        ValueError: it will not.
    """
    have = stream.seek(0, os.SEEK_END)
    known = tag.read_text(encoding="utf-8") if tag.exists() else ""
    if have and not known and not source.sha256:
        have = stream.truncate(0)  # nothing could tell whether the rest belongs to it
    request = urllib.request.Request(source.url)
    if have:
        request.add_header("Range", f"bytes={have}-")
        if known:
            request.add_header("If-Range", known)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
            if have and response.status != 206:  # the server cannot, or has another version
                have = stream.truncate(0)
            elif have and not response.headers.get("Content-Range", "").startswith(
                f"bytes {have}-"
            ):
                raise ValueError(f"{source.url} answered with another part than was asked for")
            if not have:
                write_file(tag, _version(response).encode())
            length: int | None = response.length
            total = None if length is None else have + length
            if source.sha256 and total not in (None, source.size):
                raise ValueError(
                    f"{source.url} is {total} bytes long, expected {source.size}; it is another "
                    "file now: --mirror with a copy of the old one"
                )
            size = have
            while chunk := _read(response):
                size += len(chunk)
                if source.sha256 and size > source.size:
                    raise ValueError(f"{source.url} sends more than {source.size} bytes")
                stream.write(chunk)
                yield size
            stream.flush()
    except urllib.error.HTTPError as error:
        if error.code == 416:  # there is nothing after the part
            if known and error.headers.get("Content-Range") == f"bytes */{have}":
                return  # it is all of this version, for another one would have come whole
            stream.truncate(0)
        if error.code in (408, 416, 429) or error.code >= 500:
            raise _Passing(f"answered {error.code}") from error
        raise ValueError(
            f"{source.url} answered {error.code}; the file may have moved: --mirror with another "
            "place that has it"
        ) from error
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as e:
        raise _Passing(f"cannot be reached ({getattr(e, 'reason', e)})") from e
    if total is not None and size != total:  # read() says nothing when a connection is cut
        raise _Passing(f"was cut after {size} of {total} bytes")


def _read(response: Any) -> bytes:
    """The next bytes; whatever fails here is the network's fault, not the disk's."""
    try:
        chunk: bytes = response.read(_CHUNK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _Passing(f"was cut ({error or type(error).__name__})") from error
    return chunk


def _version(response: Any) -> str:
    """What identifies this version of the file to the server; "" where it says nothing."""
    tag = response.headers.get("ETag", "")
    if tag.startswith("W/"):  # weak: not for parts
        tag = ""
    return str(tag or response.headers.get("Last-Modified", ""))


def file_sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sums(folder: Path) -> dict[str, str]:
    """{name: sha256} of SHA256SUMS; lines that are none are passed over."""
    lines: list[str] = []
    with contextlib.suppress(OSError, UnicodeDecodeError):
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    pairs = (line.split("  ", 1) for line in lines)
    return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}


def is_noted(source: Source, folder: Path) -> bool:
    """Whether SHA256SUMS has a line of the file."""
    return source.name in _sums(folder)


def note_sum(folder: Path, name: str, sha256: str) -> None:
    """Write a file's sha256 into SHA256SUMS of its folder, which is `held`."""
    sums = {**_sums(folder), name: sha256}
    text = "".join(f"{value}  {key}\n" for key, value in sorted(sums.items()))
    write_file(folder / SUMS, text.encode())
