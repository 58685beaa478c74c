"""Options of the baselines of `python -m train.classify`, and what each of them has by default."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.command import UsageError, option
from data.options import check_range, flag
from data.words import MOST_NGRAMS
from minibert.config import CELLS, MOST_LAYERS

MOST_SIZE = 10_000  # numbers of a word or of a hidden layer
# --model -> the options that take other values than BERT's; those of the baselines alone also say
# which of them the kind has. Tuned on nine tenths of the training file of docs/results.md.
BASELINES: dict[str, dict[str, Any]] = {
    "softmax": {
        "epochs": 10.0, "lr": 0.02, "batch_size": 64, "warmup": 0.0, "optimizer": "adam",
        "weight_decay": 2e-5, "clip_norm": 0.0, "min_texts": 1, "max_words": 0, "ngrams": 2,
    },
    "feedforward": {
        "epochs": 5.0, "lr": 2e-3, "batch_size": 32, "warmup": 0.0, "weight_decay": 0.01,
        "dropout": 0.3, "min_texts": 2, "max_words": 0, "embedding_size": 100,
        "hidden_size": 100, "layers": 1, "vectors": None,
    },
    "birnn": {
        "epochs": 3.0, "lr": 2e-3, "batch_size": 32, "warmup": 0.0, "weight_decay": 0.01,
        "dropout": 0.5, "min_texts": 2, "max_words": 0, "embedding_size": 100,
        "hidden_size": 64, "layers": 2, "vectors": None, "cell": "lstm", "skip": True,
    },
}  # fmt: skip
_OF_BERT = ("revision", "from_scratch", "freeze_encoder", "attention_dropout", "compile")


def _by_model(help: str, **more: Any) -> Any:  # noqa: A002  as in `option`
    return option(None, help=f"{help} (default: below)", group="baselines", **more)


@dataclass(frozen=True)
class BaselineOptions:
    """Options of --model softmax, feedforward and birnn; None where a model has no use for one."""

    min_texts: int | None = _by_model("training texts that a word of the vocabulary stands in")
    max_words: int | None = _by_model("words of the vocabulary, 0 = no limit")
    ngrams: int | None = _by_model("softmax: longest run of words that is a feature")
    embedding_size: int | None = _by_model("numbers of a word; --vectors decides it otherwise")
    hidden_size: int | None = _by_model("numbers of a hidden layer (birnn: in each direction)")
    layers: int | None = _by_model("hidden layers, or recurrent ones one above the other")
    cell: str | None = _by_model("birnn: recurrent unit", choices=CELLS)
    skip: bool | None = _by_model("birnn: add a layer's input to its output")
    vectors: str | None = option(
        None,
        help="word vectors to start from, a file in GloVe's or word2vec's text format",
        group="baselines",
    )

    def check_baseline(self) -> None:
        """Refuse values outside their ranges.

        Raises:
            UsageError: naming the flag.
        """
        for name, least, most in (
            ("min_texts", 1, None), ("max_words", 0, None), ("ngrams", 1, MOST_NGRAMS),
            ("embedding_size", 1, MOST_SIZE), ("hidden_size", 1, MOST_SIZE),
            ("layers", 1, MOST_LAYERS),
        ):  # fmt: skip
            check_range(name, getattr(self, name), least, most)
        if self.vectors == "":
            raise UsageError("--vectors is empty, expected the path of a file")


def refuse_useless(model: str, given: Mapping[str, Any]) -> None:
    """Options that would do nothing are refused.

    Args:
        model: --model.
        given: values of the flags on the command line.

    Raises:
        UsageError: one that the model has no use for.
    """
    for name in BaselineOptions.__annotations__:
        kinds = [kind for kind, defaults in BASELINES.items() if name in defaults]
        if name in given and model not in kinds:
            named = model if model in BASELINES else "BERT"
            raise UsageError(
                f"{flag(name, given[name])} does nothing for {named}, only for --model "
                f"{' and '.join(kinds)}; leave it out"
            )
    for name in _OF_BERT:
        if name in given and model in BASELINES:
            raise UsageError(
                f"{flag(name, given[name])} does nothing for --model {model}, only for BERT and "
                "DistilBERT; leave it out"
            )
    if {"vectors", "embedding_size"} <= given.keys():
        raise UsageError("--vectors decides --embedding-size; give one of them")


def warn_of_folder(model: str) -> None:
    """Say that a baseline is meant where a folder has its name."""
    if model in BASELINES and Path(model).is_dir():
        warnings.warn(
            f"--model {model} is the baseline, not the folder {model} here; for the folder write "
            f"./{model}",
            stacklevel=2,
        )


def defaults_text() -> str:
    """What --help says of the defaults by --model."""
    lines = []
    for kind, defaults in BASELINES.items():
        words = [
            f"{flag(name)} {value:g}" if isinstance(value, float | int) else f"{flag(name)} {value}"
            for name, value in defaults.items()
            if value is not None and not isinstance(value, bool)
        ]
        words += [flag(name) for name, value in defaults.items() if value is True]
        lines += [f"  {kind}", f"    {' '.join(words)}"]
    return "\n".join(lines)
