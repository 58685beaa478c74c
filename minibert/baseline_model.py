"""What the baselines share: sizes, files in and out. The networks are in minibert/baselines.py.

A saved one is config.json and model.safetensors, like a BERT of the Hub, under model types of its
own, which no other library takes for one of its models.
"""

import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from minibert.config import CELLS, MOST_LAYERS
from minibert.files import write_file
from minibert.labels import check_labels, read_labels
from minibert.packing import PackedBatch
from minibert.shards import SINGLE_FILE
from minibert.strict_json import read_object, shown
from minibert.weights import read_tensors

PREFIX = "minibert-"  # of their model types
_MOST = 10_000_000  # words, or numbers of a word or a layer
_KEYS = {"architectures", "model_type", "id2label", "label2id"}


@dataclass(frozen=True)
class BaselineConfig:
    """Sizes and rates. A kind of network that has no use for a size leaves it at its default.

    Attributes:
        labels: names of the C classes.
        vocab_size: V, ids of words (or of runs of words), the unknown one included.
        embedding_size: E, numbers of a word.
        hidden_size: F, numbers of a hidden layer, in each direction.
        num_hidden_layers: L, hidden layers, or recurrent ones one above the other.
        cell: "lstm" or "gru".
        skip_connections: add a recurrent layer's input to its output where the sizes agree.
        dropout: rate.

    Raises:
        ValueError: a value that no network can have.
    """

    labels: tuple[str, ...]
    vocab_size: int
    embedding_size: int = 0
    hidden_size: int = 0
    num_hidden_layers: int = 0
    cell: str = CELLS[0]
    skip_connections: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_labels(self.labels)
        sound = {
            "labels": len(self.labels) > 1,
            "vocab_size": _is_size(self.vocab_size, 1, _MOST),
            "embedding_size": _is_size(self.embedding_size, 0, _MOST),
            "hidden_size": _is_size(self.hidden_size, 0, _MOST),
            "num_hidden_layers": _is_size(self.num_hidden_layers, 0, MOST_LAYERS),
            "cell": self.cell in CELLS,
            "skip_connections": isinstance(self.skip_connections, bool),
            "dropout": type(self.dropout) in (int, float) and 0 <= self.dropout < 1,
        }
        for name, good in sound.items():
            if not good:
                raise ValueError(f"the config has {name} {shown(getattr(self, name))}")

    @property
    def num_labels(self) -> int:
        """C."""
        return len(self.labels)

    @classmethod
    def from_file(cls, path: Path, model_type: str) -> Self:
        """Read a config.json that `Baseline.save_pretrained` wrote.

        Raises:
            ValueError: it is another model's, or damaged; the sentence names the file.
        """
        values = read_object(path, f"the config.json of a {model_type}")
        names = {field.name for field in fields(cls)} - {"labels"}
        if values.get("model_type") != model_type or values.keys() != names | _KEYS:
            raise ValueError(
                f"{path} has model_type {shown(values.get('model_type'))} and the keys "
                f"{', '.join(sorted(values))}; expected a {model_type} as train.classify saves it"
            )
        try:
            labels = read_labels(values) or ()
            return cls(labels=labels, **{name: values[name] for name in names})
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def _is_size(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


class Baseline(nn.Module, ABC):
    """A small classifier of texts.

    Attributes:
        model_type: of its config.json.
        config: sizes and rates.
    """

    model_type: ClassVar[str]

    def __init__(self, config: BaselineConfig) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def forward(self, batch: PackedBatch) -> Tensor:
        """Packed ids of words -> scores of the classes (B, C)."""

    @classmethod
    def from_pretrained(cls, folder: Path) -> Self:
        """Load a saved model, completely or not at all, in evaluation mode, as float32.

        Raises:
            ValueError: unreadable, of another kind, or weights that do not fit.
        """
        config = BaselineConfig.from_file(folder / "config.json", cls.model_type)
        tensors = read_tensors(folder)
        try:
            with torch.device("meta"):
                model = cls(config)
        except (ValueError, RuntimeError) as error:
            raise ValueError(f"{folder / 'config.json'}: {error}") from None
        wanted = model.state_dict()
        problems = [f"missing: {name}" for name in wanted.keys() - tensors.keys()]
        for name, tensor in tensors.items():
            if name not in wanted:
                problems.append(f"unexpected: {name}")
            elif tensor.shape != wanted[name].shape or tensor.dtype != torch.float32:
                problems.append(
                    f"{name}: {tuple(tensor.shape)} {tensor.dtype}, expected "
                    f"{tuple(wanted[name].shape)} torch.float32"
                )
            elif not bool(tensor.isfinite().all()):
                problems.append(f"not finite: {name}")
        if problems:
            raise ValueError(
                f"{folder}: the weights do not fit the model: {'; '.join(sorted(problems))}"
            )
        model.load_state_dict(tensors, assign=True)
        return model.eval()

    def save_pretrained(self, folder: Path) -> None:
        """Write config.json and model.safetensors; the words are saved by data/words.py."""
        from safetensors.torch import save

        sizes = asdict(self.config)
        names = sizes.pop("labels")
        architectures = [type(self).__name__]
        values = {"architectures": architectures, "model_type": self.model_type, **sizes}
        values["id2label"] = {str(number): name for number, name in enumerate(names)}
        values["label2id"] = {name: number for number, name in enumerate(names)}
        tensors = {name: t.detach().cpu().contiguous() for name, t in self.state_dict().items()}
        folder.mkdir(parents=True, exist_ok=True)
        write_file(folder / "config.json", (json.dumps(values, indent=2) + "\n").encode())
        write_file(folder / SINGLE_FILE, save(tensors, {"format": "pt"}))
