"""Model name or folder -> local files that are complete, of one commit, and verified.

`find_model` takes what a user writes after `--model`: a folder in the Hub's layout (config.json,
model.safetensors, tokenizer files), a run folder (its best/ is meant), or a name on the Hugging
Face Hub. Downloads go through huggingface_hub into its own cache. That library checks the size of
a file, not its content, so minibert/hub_cache.py does.

Pickles (pytorch_model.bin) are never downloaded and never opened: opening one can run its code.

The name "embedded" stands for the model inside this package.
"""

import os
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minibert.hub_cache import verify
from minibert.shards import INDEX_FILE, SINGLE_FILE, read_index

PICKLE = "pytorch_model.bin"
EMBEDDED = "embedded"
EMBEDDED_FOLDER = Path(__file__).parent / EMBEDDED
_DEMO = "`python -m train.squad --demo`, which needs no model"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_REVISION = re.compile(r"\w[\w./-]*")

# What huggingface_hub's errors (by class) and the Hub's answers (by HTTP status) mean.
_MEANINGS: dict[str | int | None, str] = {
    "GatedRepoError": "its terms are to be accepted on its Hub page, and then run `hf auth login`",
    "RepositoryNotFoundError": "no folder or Hub model has this name (private? `hf auth login`)",
    "RevisionNotFoundError": "the Hub has no such branch, tag or commit of it: check the spelling",
    "OfflineModeIsEnabled": "HF_HUB_OFFLINE is set: run once without it",
    "FileMetadataError": "what answers is not a Hub: check HF_ENDPOINT and the proxy settings",
    401: "the Hub refused the access token (401): run `hf auth login` or unset HF_TOKEN",
    404: "the Hub has no such file of it (404): check that it is a model",
    429: "the Hub says too many requests (429): wait {wait}, or `hf auth login`",
}


@dataclass(frozen=True)
class ModelFiles:
    """Where a model's files are.

    Attributes:
        folder: holds config.json, the weights and the tokenizer's files.
        source: what the user gave.
        commit: the Hub commit all files are of, 40 hexadecimal digits; None for a local folder.
    """

    folder: Path
    source: str
    commit: str | None


def find_model(
    name_or_folder: str | os.PathLike[str],
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    weights: bool = True,
    optional: Sequence[str] = (),
) -> ModelFiles:
    """Find a model's files; an existing folder wins over a Hub name that is spelled the same.

    Args:
        name_or_folder: "google-bert/bert-base-uncased", "embedded", a model folder, or a run
            folder.
        revision: branch, tag or commit on the Hub (default: main). A branch is resolved once and
            all files are of that commit. A commit with all its files cached makes no request.
        local_files_only: never use the network. Without it, a Hub that does not answer means the
            branch's last known commit, if that is cached.
        weights: False leaves the weights out, for callers that want sizes and vocabulary only.
        optional: more files that are fetched and verified where the model has them; if nobody can
            say whether it has, a warning does.

    Raises:
        ValueError: one sentence: what was wanted, where, what is wrong, what to do. Whether there
            is a vocabulary is left to the tokenizer.
    """
    name = os.fspath(name_or_folder)
    folder = Path(os.path.expanduser(name))
    if name and folder.is_dir():
        if revision is not None:
            raise ValueError(f"{name} is a local folder, revision {revision} is for Hub names only")
        return ModelFiles(_check_folder(folder, weights), name, None)
    if name and folder.is_file():
        raise ValueError(f"{name} is a file; give the folder that holds config.json")
    if name == EMBEDDED:
        if revision is not None:
            raise ValueError(f"revision {revision} is for Hub names only, not for {EMBEDDED}")
        if not EMBEDDED_FOLDER.is_dir():
            raise ValueError(
                f"the {EMBEDDED} model is not in this installation (no folder {EMBEDDED_FOLDER}); "
                "name another model, or install minibert from its repository"
            )
        return ModelFiles(_check_folder(EMBEDDED_FOLDER, weights), name, None)
    revision = "main" if revision is None else revision
    if not _REVISION.fullmatch(revision) or ".." in revision:
        raise ValueError(f"revision {revision!r} is not the name of a branch, tag or commit")
    repository = _Repository(name, revision, local_files_only)
    if weights:
        _require_weights(repository.get, repository.missing, repository.has_pickle)
    vocabulary = repository.get("vocab.txt")
    tokenizer = repository.get("tokenizer.json")
    repository.get("tokenizer_config.json")
    # If nobody can say whether there is a tokenizer_config.json, a cased vocab.txt might be read as
    # uncased, and every score be wrong without a sign. (tokenizer.json itself tells the casing.)
    if vocabulary and not tokenizer and "tokenizer_config.json" in repository.unknown:
        raise ValueError(repository.missing("tokenizer_config.json"))
    for file in optional:
        if repository.get(file) is None and file in repository.unknown:
            warnings.warn(
                f"whether {name} has a {file} is not known ({repository.unasked}); going on "
                "without it",
                stacklevel=2,
            )
    return ModelFiles(repository.config.parent, name, repository.commit)


def _check_folder(folder: Path, weights: bool) -> Path:
    """The folder that holds config.json and the weights: the given one, or its best/."""
    if not (folder / "config.json").is_file() and (folder / "best" / "config.json").is_file():
        folder = folder / "best"

    def get(file: str) -> Path | None:
        return folder / file if (folder / file).exists() else None  # a folder is told by its reader

    def missing(file: str) -> str:
        found = sorted(entry.name for entry in folder.iterdir())
        more = f" and {len(found) - 8} more" if found[8:] else ""
        return (
            f"no {file} in the folder {folder} (found: {', '.join(found[:8]) or 'nothing'}{more})"
        )

    if get("config.json") is None:
        raise ValueError(missing("config.json"))
    if weights:
        _require_weights(get, missing, lambda: get(PICKLE) is not None)
    return folder


def _require_weights(
    get: Callable[[str], Path | None],
    missing: Callable[[str], str],
    has_pickle: Callable[[], bool],
) -> None:
    """Get model.safetensors, or else its index and every shard that the index lists."""
    if get(SINGLE_FILE) is not None:
        return
    index = get(INDEX_FILE)
    if index is None and has_pickle():
        raise ValueError(
            f"{missing(SINGLE_FILE)}, only {PICKLE}, a pickle, which is never opened because it "
            "can run code; convert it once with transformers: CLASS.from_pretrained(MODEL)"
            ".save_pretrained(FOLDER), with the CLASS that config.json names under architectures, "
            "and the same with AutoTokenizer; then give FOLDER"
        )
    if index is None:
        raise ValueError(missing(SINGLE_FILE))
    for shard in sorted(set(read_index(index).values())):
        if get(shard) is None:
            raise ValueError(f"{missing(shard)}; {INDEX_FILE} lists it")


class _Repository:
    """One Hub repository at one commit, seen through huggingface_hub and its cache."""

    def __init__(self, name: str, revision: str, local_files_only: bool) -> None:
        try:
            import huggingface_hub
            from huggingface_hub import constants, errors
            from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
        except ImportError as error:
            raise ValueError(
                f"{name} is no folder, and Hub names need the package huggingface-hub: install it"
            ) from error
        try:
            validate_repo_id(name)
        except ValueError as error:
            raise ValueError(
                f"{name!r} is neither a folder nor a name like google-bert/bert-base-uncased"
            ) from error
        self.hub: Any = huggingface_hub
        self.errors: Any = errors
        self.name, self.revision, self.cache = name, revision, constants.HF_HUB_CACHE
        self.answered = False  # the Hub has answered a request
        self.unasked = "local_files_only is set" if local_files_only else ""  # why it has not
        self.cause: Exception | None = None
        self.unknown: set[str] = set()  # files not cached of which the Hub could not be asked
        self.config = self._resolve()
        self.commit = self.config.parent.name
        self._verify(self.config)

    def _resolve(self) -> Path:
        """config.json of the commit that the revision stands for now, not yet verified."""
        hit = self.hub.try_to_load_from_cache(self.name, "config.json", revision=self.revision)
        cached = Path(hit) if isinstance(hit, str) else None
        if cached and _COMMIT.fullmatch(self.revision):
            return cached
        answer = self._ask("config.json", self.revision)
        if cached and (answer is None or answer.commit_hash == cached.parent.name):
            return cached
        path = self._download("config.json", self.revision) if answer else None
        if path is None:
            self.unknown.add("config.json")
            raise ValueError(self.missing("config.json")) from self.cause
        return path

    def get(self, file: str) -> Path | None:
        """One verified file of the commit, downloaded if need be; None if there is none."""
        hit = self.hub.try_to_load_from_cache(self.name, file, revision=self.commit)
        path = Path(hit) if isinstance(hit, str) else None
        if hit is None:  # neither cached nor known, by an earlier answer of the Hub, to be absent
            if self.answered or self._ask("config.json", self.commit):
                path = self._download(file, self.commit)
            else:
                self.unknown.add(file)
        if path is not None:
            self._verify(path)
        return path

    def missing(self, file: str) -> str:
        """The sentence about a file that `get` did not find."""
        where = f"{self.name} (revision {self.revision})"
        if file not in self.unknown:
            return f"no {file} in {where} on the Hub"
        return (
            f"{file} of {where} is not in the cache {self.cache}, and {self.unasked}; "
            f"or give a local folder, or try {_DEMO}"
        )

    def has_pickle(self) -> bool:
        """Whether the commit is known to have pickled weights; they are not downloaded."""
        return self._ask(PICKLE, self.commit) is not None

    def _ask(self, file: str, revision: str) -> Any:
        """A file's commit_hash and etag by one request, or None and the reason in `unasked`.

        hf_hub_download alone would retry for 23 seconds where there is no network, and would not
        tell that what it returns is an old commit from its cache.
        """
        if self.unasked:
            return None
        try:
            url = self.hub.hf_hub_url(self.name, file, revision=revision)
            answer = self.hub.get_hf_file_metadata(url)
        except Exception as error:  # the HTTP library's errors are no OSErrors: all are explained
            self.unasked, self.cause = self._reason(error), error
            return None
        self.answered = True
        return answer

    def _download(self, file: str, revision: str) -> Path | None:
        """A file from the Hub into the cache; None if the Hub says that there is none."""
        try:
            return Path(self.hub.hf_hub_download(self.name, file, revision=revision))
        except Exception as error:
            offline = isinstance(error, self.errors.LocalEntryNotFoundError)
            if isinstance(error, self.errors.EntryNotFoundError) and not offline:
                return None
            raise ValueError(
                f"{file} of {self.name} (revision {self.revision}) could not be downloaded into "
                f"{self.cache}: {self._reason(error)}; or give a local folder, or try {_DEMO}"
            ) from error

    def _reason(self, error: BaseException) -> str:
        """What an error of huggingface_hub means; its own text may hold signed addresses."""
        if isinstance(error, self.errors.LocalEntryNotFoundError) and error.__cause__:
            error = error.__cause__
        response: Any = getattr(error, "response", None)
        status = getattr(response, "status_code", None)
        kind = type(error).__name__
        if meaning := _MEANINGS.get(kind) or _MEANINGS.get(status):
            seconds = response.headers.get("Retry-After", "") if status == 429 else ""
            return meaning.format(wait=f"{seconds} s" if seconds.isdecimal() else "some minutes")
        if status is not None:
            return f"the Hub answered {status}: try again later"
        if isinstance(error, OSError) and error.strerror:
            return error.strerror  # disk full, no permission, ...
        if "onsistency check" in str(error):
            return "the file came short: run again"
        return f"the Hub cannot be reached ({kind}): run once with network"

    def _verify(self, path: Path) -> None:
        """Compare a file's content with its hash, which the cache knows or the Hub is asked for."""

        def asked() -> str:
            answer = self._ask(path.name, self.commit)
            return str(answer.etag) if answer else self.unasked

        verify(path, self.name, asked)
