"""What a matrix is made of: data files, trainings and cells, each named by all that it depends on.

A name ends in a hash of settings, data and model. So a setting that changes leads to other names,
a finished cell is found again whatever was run in between, and one that was made in another way is
never taken for it.
"""

import hashlib
import json
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from data.command import UsageError
from data.overlap import Contexts, read_contexts
from data.split import split_squad
from data.tokenization import Tokenizer
from minibert.config import BertConfig
from minibert.files import write_file
from minibert.hub import ModelFiles
from minibert.strict_json import parse_object
from train.environment import file_sha256
from train.matrix_config import DataSet, MatrixConfig, Row, Start
from train.matrix_values import as_flags
from train.model_inputs import find_start, model_identity
from train.resuming import FREE_OPTIONS
from train.squad_inputs import check_model
from train.squad_options import SquadOptions, read_options

# Of trainings and cells: raised where the same inputs come to mean another score, as they do when
# a default of train.squad changes, for names hold only settings that differ from it.
FORMAT = 2


@dataclass(frozen=True)
class Part:
    """A data file.

    Attributes:
        path: of a SQuAD .json file.
        sha256: of its bytes.
        contexts: what it asks.
    """

    path: Path
    sha256: str
    contexts: Contexts


@dataclass(frozen=True)
class ReadySet:
    """A data set whose files are there.

    Attributes:
        config: what the config says of it.
        train: None for a set that is answered only.
        dev: what is answered; in its own training it also chooses the best epoch.
    """

    config: DataSet
    train: Part | None
    dev: Part

    @property
    def name(self) -> str:
        """Of the row and the column."""
        return self.config.name


@dataclass(frozen=True)
class Training:
    """One fine-tuning run.

    Attributes:
        row: of the table: set, model and settings.
        data: what is trained on.
        train: its training part.
        seed: of the run.
        key: all that its weights depend on, as JSON values.
    """

    row: Row
    data: ReadySet
    train: Part
    seed: int
    key: dict[str, Any]

    @cached_property
    def name(self) -> str:
        """Of its folder: "squad-seed0-0123456789abcdef"."""
        return f"{self.row.name}-seed{self.seed}-{_digest(self.key)}"

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.row.name}, seed {self.seed}"


@dataclass(frozen=True)
class Cell:
    """One score: a training's model on one set's questions.

    Attributes:
        training: whose best model answers.
        answered: the set.
    """

    training: Training
    answered: ReadySet

    @cached_property
    def key(self) -> dict[str, Any]:
        """All that its scores depend on, as JSON values."""
        return {**self.training.key, "answered_sha256": self.answered.dev.sha256}

    @cached_property
    def name(self) -> str:
        """Of its files: "squad--nq-seed0-0123456789abcdef"."""
        names = f"{self.training.row.name}--{self.answered.name}"
        return f"{names}-seed{self.training.seed}-{_digest(self.key)}"


def _digest(key: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


def ready_sets(config: MatrixConfig, folder: Path) -> list[ReadySet]:
    """Read, and where the config says so split, all data files.

    Args:
        config: of the matrix.
        folder: where the parts of split files, and what was read of each file, are kept.

    Raises:
        ValueError: a file that is not there, or no SQuAD file.
    """
    ready = []
    for data in config.sets:
        train, dev = data.train, data.dev
        if data.dev_share is not None:
            train, dev = _split(data, folder)
        ready.append(ReadySet(data, _part(train, folder) if train else None, _part(dev, folder)))
    return ready


def _split(data: DataSet, folder: Path) -> tuple[Path, Path]:
    """The two parts of a set's one file, made unless they are there."""
    how = {"sha256": _sha256(data.dev), "dev_share": data.dev_share, "by": data.split_by}
    stem = f"{data.name}-{_digest(how)}"
    parts = folder / f"{stem}-train.json", folder / f"{stem}-dev.json"
    if not all(path.exists() for path in parts):
        folder.mkdir(parents=True, exist_ok=True)
        contents = split_squad(data.dev, data.dev_share or 0, data.split_by)
        for path, content in zip(parts, contents, strict=True):
            write_file(path, content)
    return parts


def _part(path: Path, folder: Path) -> Part:
    """A data file with what it asks, which is remembered: reading the largest takes a minute."""
    sha256 = _sha256(path)
    memory = folder / f"contexts-{sha256[:16]}.json"
    contexts = None
    try:
        known = parse_object(memory.read_bytes())
        if known["sha256"] == sha256:
            contexts = Contexts(**known["contexts"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not read yet, or by an earlier version
    if contexts is None:
        contexts = read_contexts(path)
        folder.mkdir(parents=True, exist_ok=True)
        values = {"sha256": sha256, "contexts": vars(contexts)}
        write_file(memory, json.dumps(values).encode())
    if not contexts.has_answers:
        raise UsageError(f"{path} has no gold answers; training and scoring need them")
    return Part(path, sha256, contexts)


def _sha256(path: Path) -> str:
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist, expected a SQuAD .json file; name the folder of the data with "
            "--data-dir"
        )
    return file_sha256(path)


def trainings(config: MatrixConfig, sets: list[ReadySet]) -> list[Training]:
    """All runs of a matrix, row by row.

    Raises:
        ValueError: a model is not found, or not readable, or cannot take a row's windows.
    """
    by_name = {one.name: one for one in sets}
    starts = {row.start: _find(row.start) for row in config.rows}
    identities = {start: _identity(start, files) for start, (files, _, _) in starts.items()}
    made = []
    for row in config.rows:
        _refuse_misfit(config.path, row, *starts[row.start])
        data = by_name[row.data]
        if data.train is None:  # `MatrixConfig.rows` are of sets that have one
            continue
        for seed in config.seeds:
            key = _training_key(row, data, data.train, seed, identities[row.start])
            made.append(Training(row, data, data.train, seed, key))
    return made


def _find(start: Start) -> tuple[ModelFiles, BertConfig, Tokenizer]:
    return find_start(start.model, start.revision, None, new=start.new)


def _refuse_misfit(
    path: Path, row: Row, files: ModelFiles, config: BertConfig, tokenizer: Tokenizer
) -> None:
    """Refuse now what its training would refuse when others have been made for hours."""
    try:
        check_model(read_options(as_flags(row.settings)), config, tokenizer, files.source)
    except ValueError as error:
        raise UsageError(f"{path}: the settings of {row.name}: {error}") from None


def _identity(start: Start, files: ModelFiles) -> dict[str, Any]:
    identity = model_identity(files, new=start.new)
    del identity["model_source"]  # a place, while its files' hashes say what it is
    return identity


def _training_key(
    row: Row, data: ReadySet, train: Part, seed: int, identity: dict[str, Any]
) -> dict[str, Any]:
    """Without settings at their defaults, so that a new option of train.squad renames nothing."""
    defaults = {field.name: field.default for field in fields(SquadOptions)}
    counting = {
        name: value
        for name, value in row.settings.items()
        if name not in FREE_OPTIONS and value != defaults[name]
    }
    files = {"train_sha256": train.sha256, "dev_sha256": data.dev.sha256}
    return {"format": FORMAT, "seed": seed, **counting, **files, **identity}


def squad_arguments(training: Training, run: Path) -> list[str]:
    """The command line of `train.squad` for a run that begins, without its machine.

    Args:
        training: the run.
        run: its folder.
    """
    row = training.row
    revision = ["--revision", row.start.revision] if row.start.revision else []
    seed = ["--seed", str(training.seed)]
    return [*_places(training, run), *revision, *seed, *as_flags(row.settings)]


def resume_arguments(training: Training, run: Path) -> list[str]:
    """The command line of `train.squad` for a run that goes on; arguments as above.

    Its files may lie elsewhere by now, or on this machine; their content is compared all the same.
    Device and threads are those that it began with, unless flags of this machine follow.
    """
    start = training.row.start.flag[2:].replace("-", "_")
    may = f"train_file,dev_file,{start},device,threads"
    return ["--resume", *_places(training, run), "--allow-change", may]


def _places(training: Training, run: Path) -> list[str]:
    start = training.row.start
    return [
        *(start.flag, start.model, "--train-file", str(training.train.path)),
        *("--dev-file", str(training.data.dev.path), "--output-dir", str(run)),
    ]


def as_command(arguments: list[str]) -> str:
    """A command line of `train.squad` as it is typed; local paths as they are."""
    from shlex import join

    return join(["python", "-m", "train.squad", *arguments])
