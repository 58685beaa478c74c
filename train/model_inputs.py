"""The model that a training starts from, whatever the task: files, vocabulary, weights."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from data.command import UsageError
from data.tokenization import Tokenizer
from minibert.attention import AttentionCore
from minibert.config import BertConfig
from minibert.files import file_sha256
from minibert.hub import ModelFiles, find_model
from minibert.shards import INDEX_FILE, SINGLE_FILE
from minibert.task_model import TaskModel
from train.options import TrainOptions

# With its weights these say what a run's model is.
_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")

ModelT = TypeVar("ModelT", bound=TaskModel)


def find_start(
    name: str, revision: str | None, saved: dict[str, Any] | None, *, new: bool
) -> tuple[ModelFiles, BertConfig, Tokenizer]:
    """Files, sizes and tokenizer of the model to start from.

    Args:
        name: of the Hub, or a folder.
        revision: Hub branch, tag or commit, None for the newest.
        saved: identity of the run to resume, which needs the very commit that it started from,
            whatever the branch is now; None for a new run.
        new: random weights: no file of them is looked for.

    Raises:
        ValueError: not found, or not readable.
    """
    commit = saved.get("model_commit") if saved else revision
    files = find_model(name, revision=commit, weights=not new)
    config = BertConfig.from_file(files.folder / "config.json")
    tokenizer = Tokenizer.from_folder(files.folder)
    tokenizer.max_length = config.max_position_embeddings
    return files, config, tokenizer


def model_identity(files: ModelFiles, *, new: bool) -> dict[str, Any]:
    """What identifies the model, compared on resume: its source, and sha256 of its files.

    Args:
        files: of the model.
        new: random weights: there is no file of them.
    """
    identity: dict[str, Any] = {
        "model_source": files.source,
        "model_commit": files.commit,
        "model_sha256": {
            name: file_sha256(files.folder / name)
            for name in _FILES
            if (files.folder / name).is_file()
        },
    }
    if not new:
        paths = _weight_files(files.folder)
        identity["weights_sha256"] = {path.name: file_sha256(path) for path in paths}
    return identity


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors file of a model, or its index and the shards beside it."""
    if (folder / SINGLE_FILE).is_file():
        return [folder / SINGLE_FILE]
    return sorted([folder / INDEX_FILE, *folder.glob("*.safetensors")])


def make_model(
    kind: type[ModelT],
    config: BertConfig,
    files: ModelFiles,
    options: TrainOptions,
    *,
    new: bool,
    labels: Sequence[str] | None = None,
) -> ModelT:
    """Random weights or loaded ones, with the rates of --dropout and --attention-dropout.

    With --compile its layers are compiled at the first update.

    Args:
        kind: of model.
        config: its sizes.
        files: with its weights, if they are to be loaded.
        options: with seed, dropout and compilation.
        new: random weights.
        labels: names of a classifier's classes; None for other models.

    Raises:
        ValueError: weights that do not fit.
        UsageError: --compile without a compiler.
    """
    if options.compile:
        refuse_without_compiler()
    torch.manual_seed(options.seed)
    if new and labels is not None:
        config = replace(config, labels=tuple(labels), problem_type=None)
    model = kind(config) if new else kind.from_pretrained(files, new_head=True, labels=labels)
    set_dropout(model, options.dropout, options.attention_dropout)
    if options.compile:
        model.encoder.compile_layers()
    return model


def set_dropout(model: nn.Module, rate: float | None, attention_rate: float | None) -> None:
    """Overwrite dropout rates.

    Args:
        model: any.
        rate: of all dropouts; None leaves them.
        attention_rate: of those on attention probabilities; None leaves them.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout) and rate is not None:
            module.p = rate
    for module in model.modules():
        if isinstance(module, AttentionCore) and attention_rate is not None:
            module.dropout.p = attention_rate


def refuse_without_compiler() -> None:
    """Say before the training that torch.compile will find no C++ compiler.

    Raises:
        UsageError: there is none.
    """
    if not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++", "cl"))):
        raise UsageError(
            "--compile needs a C++ compiler, and there is no g++ or clang++ on the PATH; install "
            "one, name it in CXX, or leave out --compile"
        )


def describe_model(model: TaskModel, identity: dict[str, Any]) -> None:
    """Print where the weights came from, and what of them is new or left aside."""
    report, commit = model.load_report, identity["model_commit"]
    size = sum(parameter.numel() for parameter in model.parameters())
    source = "random weights" if report is None else identity["model_source"]
    print(f"model: {source}{f' at {commit}' if commit else ''}, {size:,} parameters")
    if report is not None and report.new:
        print(f"  new head, to be trained: {', '.join(report.new)}")
    if report is not None and report.ignored:
        print(f"  left aside: {', '.join(report.ignored)}")


def start_name(identity: dict[str, Any], *, new: bool) -> str:
    """The model a training started from, for a model card: no folders of the user's machine."""
    name, commit = identity["model_source"], identity["model_commit"]
    if commit is None:  # a folder of this machine, not a model of the Hub
        name = Path(name).name or "a local folder"
    start = f"random weights ({name})" if new else name
    return f"{start} at commit {commit}" if commit else start
