"""What the models of all tasks share: an encoder, a head, files in and out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import nn

from minibert.config import BertConfig
from minibert.encoder import BertModel
from minibert.hub import ModelFiles, find_model
from minibert.labels import UNNAMED_LABELS
from minibert.weight_names import Task
from minibert.weights import LoadReport, load_weights, read_tensors, save_weights


class TaskModel(nn.Module, ABC):
    """An encoder with a task's head on it.

    Attributes:
        task: what the head is called in files.
        config: sizes and rates.
        load_report: where the weights came from; None for random weights.
        encoder: embeddings and layers.
    """

    task: ClassVar[Task]

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        if not self.task.has_classes:  # a config.json with classes is one of a classifier
            config = replace(config, labels=UNNAMED_LABELS, problem_type=None)
        self.config = config
        self.load_report: LoadReport | None = None
        self.encoder = BertModel(config)
        self.make_head()

    @abstractmethod
    def make_head(self) -> None:
        """Set the head's modules, with new weights: N(0, initializer_range), biases 0."""

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path | ModelFiles,
        *,
        new_head: bool = False,
        labels: Sequence[str] | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
    ) -> Self:
        """Load a published or saved checkpoint, in evaluation mode, as float32.

        Args:
            name_or_folder: a Hub name ("google-bert/bert-base-uncased"), a folder in the Hub's
                layout, a run folder (its best/ is meant), or "embedded"; or files that `find_model`
                found.
            new_head: allow a checkpoint without this task's head; the head is then new and must be
                trained. A pooler that the checkpoint has is loaded all the same.
            labels: names of the classes of a classifier; None means those of config.json, which are
                LABEL_0 and LABEL_1 where it names none. With a new head they may differ from the
                checkpoint's: its classifier is then left aside.
            revision: Hub branch, tag or commit.
            local_files_only: never ask the network.

        Raises:
            ValueError: not found, unreadable, or weights that do not fit; nothing is half-loaded.
        """
        files = name_or_folder
        if not isinstance(files, ModelFiles):
            files = find_model(files, revision=revision, local_files_only=local_files_only)
        config = BertConfig.from_file(files.folder / "config.json")
        if labels is not None and not cls.task.has_classes:
            raise ValueError(f"labels are given, but {cls.__name__} has no classes")
        tensors = read_tensors(files.folder)
        other_classes = labels is not None and tuple(labels) != config.labels
        try:
            if labels is not None and other_classes:
                config = replace(config, labels=tuple(labels), problem_type=None)
            with torch.device("meta"):  # no time spent on random weights that are replaced at once
                model = cls(config)
            ledger = load_weights(model, config, cls.task, tensors, new_head, other_classes)
        except ValueError as error:
            raise ValueError(f"{files.source}: {error}") from None
        model.load_report = LoadReport(files.source, files.commit, *ledger)
        if model.load_report.new:
            loaded = {k: p for k, p in model.named_parameters() if k in model.load_report.loaded}
            model.make_head()
            model.load_state_dict(loaded, strict=False, assign=True)  # a pooler that the file had
        return model.eval()

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Write config.json and model.safetensors as the Hub has them.

        transformers' class of this task loads the folder with nothing missing. The tokenizer writes
        its own files beside them.

        Args:
            folder: created if needed.
            dtype: of the file, float32 or float16; loaded as float32 either way.

        Raises:
            ValueError: float16 cannot hold a weight.
        """
        save_weights(self, self.config, self.task, Path(folder), dtype)
