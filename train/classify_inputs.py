"""What `train.classify` reads before it trains: files, texts, model; all of it told."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data.batches import BatchPlan
from data.demo_tweets import write_demo_tweets
from data.ledger import listed, tweet_ledger
from data.tweet_inspector import show_file, show_shared
from data.tweets import TweetData
from eval.classifier import ClassifierModel
from minibert.files import file_sha256, refuse_pipe
from train.baseline_inputs import start_baseline
from train.baseline_options import BASELINES
from train.classify_options import ClassifyOptions
from train.classify_start import LabelledFile, Start, start_bert
from train.resuming import refuse_changed_inputs


@dataclass
class Inputs:
    """Everything read before training.

    Attributes:
        train: the training file.
        dev: the dev file, with the training file's classes.
        start: model, vocabulary, texts as ids.
        model: the start's, on the device.
        class_weights: (C,) float32, 1 each without --class-weights.
        identity: sha256 of the files and the model's source, compared on resume.
    """

    train: LabelledFile
    dev: LabelledFile
    start: Start
    model: ClassifierModel
    class_weights: NDArray[np.float32]
    identity: dict[str, Any]


def with_demo_files(options: ClassifyOptions, folder: Path) -> ClassifyOptions:
    """Write the demo's tweets below `folder` and train on them."""
    train, dev = write_demo_tweets(folder.absolute() / "demo", options.seed)
    return replace(options, train_file=str(train), dev_file=str(dev))


def read_inputs(
    options: ClassifyOptions, device: torch.device, saved: dict[str, Any] | None
) -> Inputs:
    """Files, texts and model.

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
    train, dev = (LabelledFile(data, cleaning.clean(data.texts)) for data in (train_data, dev_data))
    if options.model in BASELINES:
        start = start_baseline(options, train, dev)
    else:
        start = start_bert(options, train, dev, saved)
    identity = {
        "train_sha256": file_sha256(train_path),
        "dev_sha256": file_sha256(dev_path),
        **start.identity,
    }
    if saved:
        refuse_changed_inputs(identity, saved, options)
    return Inputs(
        train=train,
        dev=dev,
        start=start,
        model=start.model.to(device),
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
    start = inputs.start
    start.describe()
    if start.frozen is not None:
        print("  the encoder is frozen: only pooler and classifier are trained")
    for file, texts, told in (
        (inputs.train, start.train, start.told[0]),
        (inputs.dev, start.dev, start.told[1]),
    ):
        show_file(file.data)
        if len(texts.cut):
            lines = listed(file.data.lines[texts.cut].tolist())
            told = [
                *told,
                f"cut tweets: {len(texts.cut)} (longer than {start.settings.max_length} "
                f"{start.unit}): line {lines}",
            ]
        for line in (*told, *tweet_ledger(file.data, file.cleaned)):
            print(f"  {line}")
    show_shared(inputs.dev.data, inputs.train.data)
    weights = zip(inputs.train.data.label_names, inputs.class_weights.tolist(), strict=True)
    print(f"class weights: {', '.join(f'{name} {weight:.3g}' for name, weight in weights)}")
    print(
        f"plan: {plan.total_updates} updates of {plan.batch_size} texts, epochs {plan.epochs:g}, "
        f"micro-batches: {plan.accumulate}"
    )
