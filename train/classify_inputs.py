"""What `train.classify` reads before it trains: files, tokenizer, texts, model; all of it told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data.batches import BatchPlan, LabelledTexts, encode_labelled
from data.command import UsageError
from data.ledger import listed, tweet_ledger
from data.tokenization import Tokenizer
from data.tweet_inspector import show_file, show_shared
from data.tweets import TweetData
from eval.classifier import ClassifierSettings
from minibert.files import refuse_pipe
from minibert.heads import BertForSequenceClassification
from train.classify_options import MAX_LENGTH, ClassifyOptions
from train.environment import file_sha256
from train.model_inputs import describe_model, find_start, make_model, model_identity
from train.resuming import refuse_changed_inputs


@dataclass
class Inputs:
    """Everything read before training.

    Attributes:
        train_data: the training file.
        dev_data: the dev file, with the training file's classes.
        cleaned: its texts and the dev file's, after cleaning.
        train: training texts as tokens.
        dev: dev texts as tokens.
        tokenizer: of the model.
        model: on the device.
        settings: length and cleaning, saved with the model.
        class_weights: (C,) float32, 1 each without --class-weights.
        identity: sha256 of the files and the model's source, compared on resume.
    """

    train_data: TweetData
    dev_data: TweetData
    cleaned: tuple[list[str], list[str]]
    train: LabelledTexts
    dev: LabelledTexts
    tokenizer: Tokenizer
    model: BertForSequenceClassification
    settings: ClassifierSettings
    class_weights: NDArray[np.float32]
    identity: dict[str, Any]


def read_inputs(
    options: ClassifyOptions, device: torch.device, saved: dict[str, Any] | None
) -> Inputs:
    """Files, tokenizer, texts and model.

    Args:
        options: of the command.
        device: where the model goes.
        saved: `identity` of the run to resume, None for a new one.

    Raises:
        ValueError: a file that cannot be read, one class only, a label in dev that train lacks, a
            model that does not fit the options, or a resumed run whose files have changed.
    """
    cleaning = options.cleaning()
    cleaning.rules()  # a rule that lacks its data is refused before anything is read
    train_path, dev_path = Path(options.train_file or ""), Path(options.dev_file or "")
    for flag, path in (("--train-file", train_path), ("--dev-file", dev_path)):
        refuse_pipe(flag, path)
    train_data = options.read(train_path)
    train_data.require_two_classes()
    dev_data = options.read(dev_path, train_data.label_names)
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
    identity = {
        "train_sha256": file_sha256(train_path),
        "dev_sha256": file_sha256(dev_path),
        **model_identity(files, new=new),
    }
    if saved:
        refuse_changed_inputs(identity, saved, options)
    settings = ClassifierSettings(options.max_length or min(MAX_LENGTH, positions), cleaning)
    cleaned = cleaning.clean(train_data.texts), cleaning.clean(dev_data.texts)
    train, dev = (
        encode_labelled(texts, data.labels, tokenizer, settings.max_length)
        for texts, data in zip(cleaned, (train_data, dev_data), strict=True)
    )
    model = make_model(
        BertForSequenceClassification, config, files, options,
        new=new, labels=train_data.label_names,
    )  # fmt: skip
    model.encoder.requires_grad_(not options.freeze_encoder)
    return Inputs(
        train_data=train_data,
        dev_data=dev_data,
        cleaned=cleaned,
        train=train,
        dev=dev,
        tokenizer=tokenizer,
        model=model.to(device),
        settings=settings,
        class_weights=class_weights(train_data, options.class_weights),
        identity=identity,
    )


def class_weights(data: TweetData, kind: str) -> NDArray[np.float32]:
    """(C,) float32: 1 each, or R / (C x texts of the class), so that every class weighs the same.

    Args:
        data: the training file; each class has a text.
        kind: "none" or "balanced".
    """
    if kind == "none":
        return np.ones(len(data.label_names), np.float32)
    return (len(data) / (len(data.label_names) * data.counts)).astype(np.float32)


def describe(inputs: Inputs, plan: BatchPlan) -> None:
    """Print what will be trained, and everything that was cut, skipped or emptied."""
    describe_model(inputs.model, inputs.identity)
    if not next(inputs.model.encoder.parameters()).requires_grad:
        print("  the encoder is frozen: only pooler and classifier are trained")
    for data, cleaned, texts in (
        (inputs.train_data, inputs.cleaned[0], inputs.train),
        (inputs.dev_data, inputs.cleaned[1], inputs.dev),
    ):
        show_file(data)
        print(f"  tokens: {texts.lengths.mean():.0f} on average, {texts.lengths.max()} at most")
        if len(texts.cut):
            lines = listed(data.lines[texts.cut].tolist())
            print(
                f"  cut tweets: {len(texts.cut)} (longer than {inputs.settings.max_length} "
                f"tokens): line {lines}"
            )
        for line in tweet_ledger(data, cleaned):
            print(f"  {line}")
    show_shared(inputs.dev_data, inputs.train_data)
    weights = zip(inputs.train_data.label_names, inputs.class_weights.tolist(), strict=True)
    print(f"class weights: {', '.join(f'{name} {weight:.3g}' for name, weight in weights)}")
    print(
        f"plan: {plan.total_updates} updates of {plan.batch_size} texts, epochs {plan.epochs:g}, "
        f"micro-batches: {plan.accumulate}"
    )
