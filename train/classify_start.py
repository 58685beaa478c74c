"""The BERT that a classifier is made of, and what every classifier brings to its training."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from data.batches import LabelledTexts, encode_labelled
from data.command import UsageError
from data.tweets import TweetData
from eval.classifier import ClassifierModel, ClassifierSettings
from minibert.heads import BertForSequenceClassification
from train.classify_options import MAX_LENGTH, ClassifyOptions
from train.model_inputs import describe_model, find_start, make_model, model_identity, start_name


class Vocabulary(Protocol):
    """Word pieces or words, to be saved beside the model that knows them."""

    def save(self, folder: Path) -> None: ...


@dataclass(frozen=True)
class LabelledFile:
    """A file of tweets.

    Attributes:
        data: as it was read.
        cleaned: its R texts after cleaning.
    """

    data: TweetData
    cleaned: list[str]


@dataclass(frozen=True)
class Start:
    """A model to train, and the texts as its ids.

    Attributes:
        model: on the CPU.
        vocabulary: saved beside it.
        settings: length and cleaning, saved with the model.
        train: training texts.
        dev: dev texts.
        told: of either file, lines about its ids.
        unit: what `settings.max_length` counts, "tokens".
        identity: what must be the same on resume.
        origin: where the model came from, for its README.
        describe: prints what the model is.
        frozen: the part of the model that is not trained.
        vocabulary_bytes: of its file, where that is large.
    """

    model: ClassifierModel
    vocabulary: Vocabulary
    settings: ClassifierSettings
    train: LabelledTexts
    dev: LabelledTexts
    told: tuple[list[str], list[str]]
    unit: str
    identity: dict[str, Any]
    origin: str
    describe: Callable[[], None]
    frozen: nn.Module | None = None
    vocabulary_bytes: int = 0


def start_bert(
    options: ClassifyOptions,
    train: LabelledFile,
    dev: LabelledFile,
    saved: dict[str, Any] | None,
) -> Start:
    """BERT or DistilBERT, with a classifier on it.

    Args:
        options: of the command.
        train: the training file.
        dev: the dev file, with the training file's classes.
        saved: identity of the run to resume, None for a new one.

    Raises:
        ValueError: no such model, or one that does not fit the options.
    """
    new = bool(options.from_scratch)
    files, config, tokenizer = find_start(
        options.from_scratch or options.model, options.revision, saved, new=new
    )
    positions = config.max_position_embeddings
    if (options.max_length or 0) > positions:
        raise UsageError(
            f"--max-length is {options.max_length}, but {files.source} has only {positions} "
            "positions"
        )
    tokenizer.require_ids(config.vocab_size, files.source)
    max_length = options.max_length or min(MAX_LENGTH, positions)
    encoded = [
        encode_labelled(file.cleaned, file.data.labels, tokenizer, max_length)
        for file in (train, dev)
    ]
    model = make_model(
        BertForSequenceClassification, config, files, options,
        new=new, labels=train.data.label_names,
    )  # fmt: skip
    model.encoder.requires_grad_(not options.freeze_encoder)
    identity = model_identity(files, new=new)
    start = start_name(identity, new=new)
    kept = ", whose encoder was kept as it was" if options.freeze_encoder else ""

    def lengths(texts: LabelledTexts) -> list[str]:
        return [f"tokens: {texts.lengths.mean():.0f} on average, {texts.lengths.max()} at most"]

    return Start(
        model=model,
        vocabulary=tokenizer,
        settings=ClassifierSettings(max_length, options.cleaning()),
        train=encoded[0],
        dev=encoded[1],
        told=(lengths(encoded[0]), lengths(encoded[1])),
        unit="tokens",
        identity=identity,
        origin=f"Started from {start}{kept}.",
        describe=partial(describe_model, model, identity),
        frozen=model.encoder if options.freeze_encoder else None,
    )
