"""Whether a file in huggingface_hub's cache is what the Hub has: its content against its hash.

The name of a blob in that cache is its content's hash (sha256 for large files, git blob id for
small ones), so this needs no network. A blob is hashed once: that it was good is noted, with its
size, time and inode, in our own cache folder.
"""

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path

from minibert.files import cache_folder

_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def verify(path: Path, model: str, ask_hash: Callable[[], str]) -> None:
    """Compare a file's content with its hash, once per blob (until size, time or inode change).

    Args:
        path: in a snapshot folder of the cache; a link to a blob, or the file itself.
        model: its name on the Hub, for the error.
        ask_hash: gets the hash from the Hub, for a cache without links (on Windows), which does not
            keep it; any other text says why it is not known.

    Raises:
        ValueError: with both hashes, and how to download the file anew.
    """
    real = path.resolve()
    stat = real.stat()
    state = [str(real), stat.st_size, stat.st_mtime_ns, stat.st_ino]
    note = cache_folder() / "verified" / (hashlib.sha256(os.fsencode(real)).hexdigest() + ".json")
    with contextlib.suppress(OSError, ValueError):
        if json.loads(note.read_bytes()) == state:
            return
    wanted = Path(os.readlink(path)).name if path.is_symlink() else ask_hash()
    if not _HASH.fullmatch(wanted):
        raise ValueError(f"{path} cannot be verified, its hash is not known: {wanted}")
    kind = "sha256" if len(wanted) == 64 else "git blob id"
    digest = hashlib.sha256() if kind == "sha256" else hashlib.sha1(b"blob %d\0" % stat.st_size)
    with real.open("rb") as stream:
        actual = hashlib.file_digest(stream, lambda: digest).hexdigest()
    if actual != wanted:
        raise ValueError(
            f"{path.name} of {model} is damaged: its {kind} is {actual}, not {wanted}; "
            f"delete {real} and run again to download it anew"
        )
    draft = note.with_name(f"{note.name}.{secrets.token_hex(4)}.tmp")
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(json.dumps(state).encode())
        os.replace(draft, note)
    except OSError:  # nowhere to write it: the file is hashed every time
        with contextlib.suppress(OSError):
            draft.unlink()
