"""The official SQuAD files: downloaded once into the user's cache folder, verified on every use.

    python -m data.download                     # what there is, and what is here already
    python -m data.download dev-v2.0.json       # fetch, verify, print the path

Each file is known by its git blob id: sha1 over "blob SIZE", a zero byte and the content. Hashing
the largest, 42 MB, takes hundredths of a second, so a cached file is verified whenever it is used
and a damaged one is downloaded anew; nothing needs to be remembered about it.
"""

import contextlib
import hashlib
import http.client
import os
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from data.command import parser, run_command
from minibert.files import cache_folder

BASE_URL = "https://rajpurkar.github.io/SQuAD-explorer/dataset/"
GIT_BLOB_IDS = {
    "train-v2.0.json": "312f804dbf85888fdce3299eaa58d6ec3f0bb6b7",
    "dev-v2.0.json": "c6fa1a89a12c90b7fbfa8f6fb437cfff27af41ca",
    "train-v1.1.json": "77f1d9a7daee11f7bc293832020f7709f63410ad",
    "dev-v1.1.json": "e9a3f913ad1468ebe105b891334ca7b0bc0e2510",
}
_MAX_BYTES = 100_000_000  # the largest has 42 MB: a server that sends more sends something else
_CHUNK_BYTES = 1 << 18
_TIMEOUT_SECONDS = 30.0  # without a byte
_WAYS_OUT = (
    "try again, or give train.squad local files (--train-file, --dev-file), or try "
    "`python -m train.squad --demo`"
)


def squad_file(
    name: str, *, folder: str | os.PathLike[str] | None = None, base_url: str | None = None
) -> Path:
    """Path of an official SQuAD file, downloaded if it is not in the folder or damaged there.

    Args:
        name: "train-v2.0.json", "dev-v2.0.json", "train-v1.1.json" or "dev-v1.1.json".
        folder: where it is kept (default: squad/ in the cache folder).
        base_url: address it is below (default: MINIBERT_SQUAD_URL, else the official one).

    Raises:
        ValueError: no such file, no network, a broken or wrong download, or nowhere to write.
    """
    if name not in GIT_BLOB_IDS:
        raise ValueError(f"{name!r} is no official SQuAD file; those are {', '.join(GIT_BLOB_IDS)}")
    path = Path(folder) / name if folder else cache_folder() / "squad" / name
    damaged = path.is_file() and git_blob_id(path) != GIT_BLOB_IDS[name]
    if path.is_file() and not damaged:
        return path
    url = (base_url or os.environ.get("MINIBERT_SQUAD_URL") or BASE_URL).rstrip("/") + "/" + name
    if not url.startswith(("https://", "http://")):  # urllib would open file: and ftp: as well
        raise ValueError(f"the address {url} does not begin with https:// or http://")
    # A name of its own for every process: several may start the same download at once.
    draft = path.with_name(f".{name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("xb") as stream:
            for chunk in _download(
                url, name, f"{'damaged' if damaged else 'not'} in {path.parent}"
            ):
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
        found = git_blob_id(draft)
        if found != GIT_BLOB_IDS[name]:
            raise ValueError(
                f"{url} gave something else than {name}: its git blob id is {found}, not "
                f"{GIT_BLOB_IDS[name]}; {_WAYS_OUT}"
            )
        os.replace(draft, path)
    except OSError as error:
        raise ValueError(
            f"{name} cannot be stored in {path.parent}: {error.strerror}; set MINIBERT_CACHE to a "
            "folder that can be written and has room"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # replaced, or never made
            draft.unlink()
    return path


def _download(url: str, name: str, why: str) -> Iterator[bytes]:
    """The bytes behind an address, with a progress bar on a terminal; network errors explained."""
    from tqdm import tqdm

    problem = f"{name} is {why}, and {url}"
    received = 0
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response:
            size: int | None = response.length
            bar = tqdm(total=size, desc=name, unit="B", unit_scale=True, disable=None, leave=False)
            with bar:
                while chunk := response.read(_CHUNK_BYTES):
                    received += len(chunk)
                    if received > _MAX_BYTES:
                        raise ValueError(
                            f"{problem} sends more than {_MAX_BYTES} bytes; {_WAYS_OUT}"
                        )
                    yield chunk
                    bar.update(len(chunk))
    except urllib.error.HTTPError as error:
        raise ValueError(f"{problem} answered {error.code}; {_WAYS_OUT}") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ValueError(f"{problem} cannot be reached ({reason}); {_WAYS_OUT}") from error
    if size is not None and received != size:  # read() says nothing when a connection is cut
        raise ValueError(f"{problem} was cut after {received} of {size} bytes; {_WAYS_OUT}")


def git_blob_id(path: Path) -> str:
    """What `git hash-object` prints for the file."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: digest).hexdigest()


def main(argv: list[str]) -> int:
    """List the official files, or fetch those named."""
    options = parser("data.download", "Fetch and verify the official SQuAD files, or list them.")
    options.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one of {', '.join(GIT_BLOB_IDS)}"
    )
    options.add_argument("--debug", action="store_true", help="show the traceback of an error")
    names: list[str] = options.parse_args(argv).names
    for name in names:
        print(squad_file(name))
    for name, blob_id in GIT_BLOB_IDS.items() if not names else ():
        path = cache_folder() / "squad" / name
        state = "not here"
        if path.is_file():
            state = "verified" if git_blob_id(path) == blob_id else "damaged"
        print(f"{name:16} {state:9} {path}")
    return 0


if __name__ == "__main__":
    run_command(main)
