"""What `train.squad` reads before it trains: files, tokenizer, windows, model; counted and told."""

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from data.batches import BatchPlan
from data.command import UsageError
from data.demo import write_demo
from data.download import squad_file
from data.ledger import ledger
from data.squad import SquadData, SquadExample, read_squad
from data.tokenization import Tokenizer
from data.windows import Windows
from eval.answerer import QASettings, make_example_windows
from minibert.config import BertConfig
from minibert.heads import BertForQuestionAnswering
from minibert.hub import ModelFiles, find_model
from minibert.shards import INDEX_FILE, SINGLE_FILE
from train.environment import file_sha256
from train.resuming import refuse_changed_inputs
from train.squad_options import SquadOptions

# With its weights these say what a run's model is.
MODEL_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")


@dataclass
class Inputs:
    """Everything read before training.

    Attributes:
        train_data: the training file.
        dev_data: the dev file.
        train: training windows.
        dev: dev windows.
        tokenizer: of the model.
        model: on the device.
        settings: windows and thresholds, saved with the model.
        identity: sha256 of the files and the model's source, compared on resume.
    """

    train_data: SquadData
    dev_data: SquadData
    train: Windows
    dev: Windows
    tokenizer: Tokenizer
    model: BertForQuestionAnswering
    settings: QASettings
    identity: dict[str, Any]


def with_demo_files(options: SquadOptions, folder: Path) -> SquadOptions:
    """Write the demo's world below `folder` and train on it."""
    files = write_demo(folder.absolute() / "demo", options.seed)
    return replace(options, train_file=str(files.train), dev_file=str(files.dev))


def squad_path(given: str | None, official: str) -> Path:
    """A file named by the user, else the official one, downloaded once."""
    return Path(given) if given else squad_file(official)


def read_inputs(
    options: SquadOptions, device: torch.device, saved: dict[str, Any] | None
) -> Inputs:
    """Files, tokenizer, windows and model.

    Args:
        options: of the command.
        device: where the model goes.
        saved: `identity` of the run to resume, None for a new one.

    Raises:
        UsageError: a file without answers, a model that does not fit the options, or a resumed run
            whose files have changed.
    """
    train_path = squad_path(options.train_file, "train-v2.0.json")
    dev_path = squad_path(options.dev_file, "dev-v2.0.json")
    train_data, dev_data = read_squad(train_path), read_squad(dev_path)
    for squad in (train_data, dev_data):
        if not squad.has_answers:
            raise UsageError(f"{squad.path} has no gold answers; training and scoring need them")
    files = find_model(
        options.from_scratch or options.model,
        # a resumed run needs the very commit it started from, whatever the branch is now
        revision=saved.get("model_commit") if saved else options.revision,
        weights=not options.from_scratch,
    )
    config = BertConfig.from_file(files.folder / "config.json")
    tokenizer = Tokenizer.from_folder(files.folder)
    tokenizer.max_length = config.max_position_embeddings
    check_model(options, config, tokenizer, files)
    identity = {
        "train_sha256": file_sha256(train_path),
        "dev_sha256": file_sha256(dev_path),
        "model_source": files.source,
        "model_commit": files.commit,
        "model_sha256": {
            name: file_sha256(files.folder / name)
            for name in MODEL_FILES
            if (files.folder / name).is_file()
        },
    }
    if not options.from_scratch:
        identity["weights_sha256"] = {
            path.name: file_sha256(path) for path in weight_files(files.folder)
        }
    if saved:
        refuse_changed_inputs(identity, saved, options)
    chosen = choose_examples(train_data.examples, options)
    learns_null = any(example.is_impossible for example in chosen)
    settings = QASettings(
        max_length=options.max_length,
        doc_stride=options.doc_stride,
        doc_step=options.doc_step,
        max_question_length=options.max_question_length,
        max_answer_length=options.max_answer_length,
        null_threshold=options.null_threshold if learns_null else None,
    )
    return Inputs(
        train_data=train_data,
        dev_data=dev_data,
        train=make_example_windows(chosen, tokenizer, settings),
        dev=make_example_windows(dev_data.examples, tokenizer, settings),
        tokenizer=tokenizer,
        model=make_model(options, config, files).to(device),
        settings=settings,
        identity=identity,
    )


def weight_files(folder: Path) -> list[Path]:
    """The safetensors file of a model, or its index and the shards beside it."""
    if (folder / SINGLE_FILE).is_file():
        return [folder / SINGLE_FILE]
    return sorted([folder / INDEX_FILE, *folder.glob("*.safetensors")])


def check_model(
    options: SquadOptions, config: BertConfig, tokenizer: Tokenizer, files: ModelFiles
) -> None:
    """Refuse a model that cannot take these windows or this vocabulary.

    Raises:
        UsageError: with the numbers.
    """
    if options.max_length > config.max_position_embeddings:
        raise UsageError(
            f"--max-length is {options.max_length}, but {files.source} has only "
            f"{config.max_position_embeddings} positions"
        )
    if tokenizer.vocab_size > config.vocab_size:
        raise UsageError(
            f"{files.source}: the tokenizer has {tokenizer.vocab_size} tokens, config.json's "
            f"vocab_size is only {config.vocab_size}; they do not belong together"
        )
    if tokenizer.vocab_size < config.vocab_size:
        print(
            f"note: the vocabulary has {tokenizer.vocab_size} tokens, the model "
            f"{config.vocab_size}; right if the model's was padded, else it is the wrong vocab.txt"
        )


def choose_examples(examples: list[SquadExample], options: SquadOptions) -> list[SquadExample]:
    """The training questions: --answerable-only, then a seeded --train-fraction, in file order."""
    if options.answerable_only:
        examples = [example for example in examples if not example.is_impossible]
    if options.train_fraction < 1:
        size = max(1, round(options.train_fraction * len(examples)))
        kept = random.Random(options.seed).sample(range(len(examples)), size)
        examples = [examples[e] for e in sorted(kept)]
    return examples


def make_model(
    options: SquadOptions, config: BertConfig, files: ModelFiles
) -> BertForQuestionAnswering:
    """Random weights (--from-scratch) or loaded ones; --dropout takes the place of the rates."""
    torch.manual_seed(options.seed)
    if options.from_scratch:
        model = BertForQuestionAnswering(config)
    else:
        model = BertForQuestionAnswering.from_pretrained(files, new_head=True)
    if options.dropout is not None:
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = options.dropout
    return model


def describe(inputs: Inputs, plan: BatchPlan) -> None:
    """Print what will be trained, and everything that was cut, repaired or cannot be learnt."""
    model, report = inputs.model, inputs.model.load_report
    size = sum(parameter.numel() for parameter in model.parameters())
    source = "random weights" if report is None else inputs.identity["model_source"]
    commit = inputs.identity["model_commit"]
    print(f"model: {source}{f' at {commit}' if commit else ''}, {size:,} parameters")
    if report is not None and report.new:
        print(f"  new head, to be trained: {', '.join(report.new)}")
    if report is not None and report.ignored:
        print(f"  left aside: {', '.join(report.ignored)}")
    for name, squad, windows in (
        ("train", inputs.train_data, inputs.train),
        ("dev", inputs.dev_data, inputs.dev),
    ):
        examples = windows.tokens.examples
        impossible = sum(example.is_impossible for example in examples)
        print(
            f"{name}: {len(examples)} of {len(squad.examples)} questions, {impossible} impossible; "
            f"{len(windows)} windows, {windows.lengths.mean():.0f} tokens on average"
        )
        for line in ledger(squad, windows):
            print(f"  {line}")
    print(
        f"plan: {plan.total_updates} updates of {plan.batch_size} windows, epochs {plan.epochs:g}, "
        f"micro-batches: {plan.accumulate}"
    )
