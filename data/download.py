"""The official SQuAD files: downloaded once into the user's cache folder, verified on every use.

    python -m data.download                     # what there is, and what is here already
    python -m data.download dev-v2.0.json       # fetch, verify, print the path
    python -m data.download triviaqa nq quac    # other sets: data/sources.py, data/fetch.py

Each SQuAD file is known by its git blob id: sha1 over "blob SIZE", a zero byte and the content.
Hashing the largest, 42 MB, takes hundredths of a second, so a cached file is verified whenever it
is used and a damaged one is downloaded anew; nothing needs to be remembered about it.
"""

import argparse
import contextlib
import difflib
import hashlib
import http.client
import os
import secrets
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from data.command import UsageError, parser, run_command
from data.failures import EXIT_DISK, CommandError
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


def fetch_set(name: str, folder: Path, mirror: str, *, dry_run: bool) -> None:
    """Fetch the files of a set of data/sources.txt, or say what is there and what would come.

    Args:
        name: of the set, "nq-original" for Natural Questions with its pages.
        folder: where they go.
        mirror: address that the files lie below, under their own names; "": their own addresses.
        dry_run: say only.

    Raises:
        ValueError: a file cannot be had.
        CommandError: there is no room (status 4).
    """
    from data.fetch import SUMS, bytes_missing, fetch, held, is_noted, note_sum, whole_sha256
    from data.sources import NEXT, sources

    wanted = [
        source._replace(url=f"{mirror.rstrip('/')}/{source.name}" if mirror else source.url)
        for source in sources(name)
    ]
    whole = {source: whole_sha256(source, folder) for source in wanted}
    missing = [source for source in wanted if whole[source] is None]
    if dry_run:
        for source in wanted:
            state = "missing" if source in missing else "here"
            print(f"{source.size:14,}  {state:7}  {folder / source.name}  {source.url}")
    need = sum(bytes_missing(source, folder) for source in missing)
    begun = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(begun).free
    print(f"{name}: {len(missing)} of {len(wanted)} files to come, {need / 1e9:.2f} GB, into "
          f"{folder}, where {free / 1e9:.2f} GB are free")  # fmt: skip
    if dry_run:
        return
    if need > free:
        raise CommandError(
            f"{name} needs {need / 1e9:.2f} GB in {folder}, where {free / 1e9:.2f} GB are free; "
            "make room, or give another --folder",
            EXIT_DISK,
        )
    by_hand = [
        source for source, sha256 in whole.items()
        if sha256 and not source.sha256 and not is_noted(source, folder)
    ]  # fmt: skip
    with held(folder) if missing or by_hand else nullcontext():
        for source in missing:
            if (folder / source.name).exists():
                print(f"{folder / source.name} is damaged or of another version; it comes anew")
            fetch(source, folder)
        for source in by_hand:
            note_sum(folder, source.name, whole[source] or "")
    for source in wanted:
        print(folder / source.name)
    print(f"verified; checksums: {folder / SUMS}")
    base = name.removesuffix("-original")
    print(f"next: {NEXT[base].replace('DIR', str(folder))}")


def main(argv: list[str]) -> int:
    """List the official SQuAD files, or fetch the files or sets named."""
    given = _parser().parse_args(argv)
    _refuse_wrong(given)
    for name in sorted(given.names, key="newsqa".__eq__):  # it ends the command: the last
        _fetch_named(name, given)
    if not given.names:
        for name in GIT_BLOB_IDS:
            path = cache_folder() / "squad" / name
            print(f"{name:16} {squad_state(name, path.parent):9} {path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    from data.sources import SETS

    options = parser(
        "data.download", "Fetch and verify question-answering data sets, or list the SQuAD files.",
        "examples:\n  python -m data.download dev-v2.0.json\n"
        "  python -m data.download triviaqa quac --folder data\n"
        "  python -m data.download nq --original --dry-run\n\n"
        "What was cut goes on with the same command. newsqa: says what you must do yourself.",
    )  # fmt: skip
    options.add_argument(
        "names", nargs="*", metavar="NAME",
        help=f"a set ({', '.join(SETS)}) or one of {', '.join(GIT_BLOB_IDS)}",
    )  # fmt: skip
    options.add_argument(
        "--folder", metavar="DIR",
        help="where a set goes: DIR/SET (default: the cache folder, see MINIBERT_CACHE)",
    )  # fmt: skip
    options.add_argument(
        "--original", action="store_true",
        help="nq: all 55 shards with their pages (45 GB), not the simplified training file (5 GB)",
    )  # fmt: skip
    options.add_argument(
        "--mirror", metavar="URL", default="",
        help="fetch from below this address, where the files have the names they get here",
    )  # fmt: skip
    options.add_argument(
        "--dry-run", action="store_true", help="sets: say what is there and what would come"
    )
    options.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return options


def _refuse_wrong(given: argparse.Namespace) -> None:
    """Refuse names and flags before anything is fetched.

    Raises:
        ValueError: one sentence.
    """
    from data.sources import SETS

    names: list[str] = given.names
    for name in names:
        if name not in (*SETS, *GIT_BLOB_IDS):
            near = difflib.get_close_matches(name, (*SETS, *GIT_BLOB_IDS), n=1)
            hint = f"did you mean {near[0]}?" if near else f"sets are {', '.join(SETS)}"
            raise ValueError(
                f"{name!r} is no official SQuAD file (those are {', '.join(GIT_BLOB_IDS)}) and no "
                f"set; {hint}"
            )
    if given.folder == "":
        raise UsageError("--folder is empty, expected a folder; leave it out for the cache folder")
    if given.original and "nq" not in names:
        raise UsageError("--original is for nq only; leave it out")
    if given.mirror and not given.mirror.startswith(("https://", "http://")):
        raise UsageError(f"--mirror {given.mirror} does not begin with https:// or http://")


def _fetch_named(name: str, given: argparse.Namespace) -> None:
    """Fetch a set or an official SQuAD file, or say what would come."""
    from data.sources import NEWSQA_STEPS, SQUAD_SETS

    if name == "newsqa":
        print(NEWSQA_STEPS, flush=True)
        raise UsageError("newsqa is left to you, as its licences want: take the steps above")
    if name not in SQUAD_SETS and name not in GIT_BLOB_IDS:
        folder = (Path(given.folder) if given.folder else cache_folder()) / name
        whole = f"{name}-original" if given.original and name == "nq" else name
        fetch_set(whole, folder, given.mirror, dry_run=given.dry_run)
        return
    for file in SQUAD_SETS.get(name, (name,)):
        place = Path(given.folder) / "squad" if given.folder else None
        if given.dry_run:
            print(f"{file}: {squad_state(file, place or cache_folder() / 'squad')}")
        else:
            print(squad_file(file, folder=place, base_url=given.mirror or None))


def squad_state(name: str, folder: Path) -> str:
    """Of an official SQuAD file in a folder: "not here", "verified" or "damaged"."""
    path = folder / name
    if not path.is_file():
        return "not here"
    return "verified" if git_blob_id(path) == GIT_BLOB_IDS[name] else "damaged"


if __name__ == "__main__":
    run_command(main)
