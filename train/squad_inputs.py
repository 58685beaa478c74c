"""What `train.squad` reads before it trains: files, tokenizer, windows, model; counted and told."""

import random
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from data.batches import BatchPlan
from data.command import UsageError
from data.demo import write_demo
from data.download import squad_file
from data.ledger import ledger
from data.qa_settings import QASettings, make_example_windows
from data.squad import SquadData, SquadExample, read_squad
from data.tokenization import Tokenizer
from data.windows import Windows
from minibert.config import BertConfig
from minibert.files import file_sha256, refuse_pipe
from minibert.heads import BertForQuestionAnswering
from train.model_inputs import describe_model, find_start, make_model, model_identity
from train.resuming import refuse_changed_inputs
from train.squad_options import SquadOptions


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

    @property
    def questions(self) -> int:
        """Those trained on, however many rows each has."""
        return len({example.id for example in self.train.tokens.examples})


def with_demo_files(options: SquadOptions, folder: Path) -> SquadOptions:
    """Write the demo's world below `folder` and train on it."""
    files = write_demo(folder.absolute() / "demo", options.seed)
    return replace(options, train_file=str(files.train), dev_file=str(files.dev))


def squad_path(flag: str, given: str | None, official: str) -> Path:
    """A file named by the user, else the official one, downloaded once."""
    if not given:
        return squad_file(official)
    refuse_pipe(flag, Path(given))
    return Path(given)


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
    train_path = squad_path("--train-file", options.train_file, "train-v2.0.json")
    dev_path = squad_path("--dev-file", options.dev_file, "dev-v2.0.json")
    train_data, dev_data = read_squad(train_path), read_squad(dev_path)
    for squad in (train_data, dev_data):
        if not squad.has_answers:
            raise UsageError(f"{squad.path} has no gold answers; training and scoring need them")
    new = bool(options.from_scratch)
    files, config, tokenizer = find_start(
        options.from_scratch or options.model, options.revision, saved, new=new
    )
    check_model(options, config, tokenizer, files.source)
    if tokenizer.vocab_size < config.vocab_size:
        print(
            f"note: the vocabulary has {tokenizer.vocab_size} tokens, the model "
            f"{config.vocab_size}; right if the model's was padded, else it is the wrong vocab.txt"
        )
    identity = {
        "train_sha256": file_sha256(train_path),
        "dev_sha256": file_sha256(dev_path),
        **model_identity(files, new=new),
    }
    if saved:
        refuse_changed_inputs(identity, saved, options)
    chosen = choose_examples(train_data.examples, options)
    learns_null = any(example.is_impossible for example in chosen)
    settings = make_settings(options, config, learns_null=learns_null)
    return Inputs(
        train_data=train_data,
        dev_data=dev_data,
        train=make_example_windows(chosen, tokenizer, settings),
        dev=make_example_windows(dev_data.examples, tokenizer, settings),
        tokenizer=tokenizer,
        model=make_model(BertForQuestionAnswering, config, files, options, new=new).to(device),
        settings=settings,
        identity=identity,
    )


def check_model(
    options: SquadOptions, config: BertConfig, tokenizer: Tokenizer, source: str
) -> None:
    """Refuse a model that cannot take these windows or this vocabulary, whatever the data.

    Args:
        options: of the command.
        config: of the model.
        tokenizer: of the model.
        source: of the model, in words.

    Raises:
        ValueError: with the numbers.
    """
    if (options.max_length or 0) > config.max_position_embeddings:
        raise UsageError(
            f"--max-length is {options.max_length}, but {source} has only "
            f"{config.max_position_embeddings} positions"
        )
    tokenizer.require_ids(config.vocab_size, source)
    make_settings(options, config, learns_null=True).refuse_narrow()


def make_settings(options: SquadOptions, config: BertConfig, *, learns_null: bool) -> QASettings:
    """How questions become windows, with what the options leave to the model's size.

    Args:
        options: of the command.
        config: of the model.
        learns_null: whether there is an impossible question to learn from.
    """
    return QASettings(
        **QASettings.lengths(
            config.max_position_embeddings, options.max_length, options.doc_stride
        ),
        doc_step=options.doc_step,
        max_question_length=options.max_question_length,
        max_answer_length=options.max_answer_length,
        null_threshold=options.null_threshold if learns_null else None,
        truncate=options.truncate,
        context_first=options.context_first,
        token_types=options.token_types,
    )


def choose_examples(examples: list[SquadExample], options: SquadOptions) -> list[SquadExample]:
    """The training questions: --answerable-only, then a seeded --train-fraction, in file order."""
    if options.answerable_only:
        examples = [example for example in examples if not example.is_impossible]
    if options.train_fraction < 1:
        size = max(1, round(options.train_fraction * len(examples)))
        kept = random.Random(options.seed).sample(range(len(examples)), size)
        examples = [examples[e] for e in sorted(kept)]
    if options.row_per_answer:
        examples = list(chain.from_iterable(map(_row_per_answer, examples)))
    return examples


def _row_per_answer(example: SquadExample) -> list[SquadExample]:
    """A question once for each of its gold answers; equal ones, of several people, are one."""
    answers = dict.fromkeys(example.answers)
    return [replace(example, answers=(answer,)) for answer in answers] or [example]


def describe(inputs: Inputs, plan: BatchPlan) -> None:
    """Print what will be trained, and everything that was cut, repaired or cannot be learnt."""
    describe_model(inputs.model, inputs.identity)
    print(f"windows: at most {inputs.settings.window}")
    for name, squad, windows in (
        ("train", inputs.train_data, inputs.train),
        ("dev", inputs.dev_data, inputs.dev),
    ):
        examples = windows.tokens.examples
        questions = len({example.id for example in examples})
        rows = "" if questions == len(examples) else f" in {len(examples)} rows"
        impossible = sum(example.is_impossible for example in examples)
        print(
            f"{name}: {questions} of {len(squad.examples)} questions{rows}, {impossible} "
            f"impossible; {len(windows)} windows, {windows.lengths.mean():.0f} tokens on average"
        )
        for line in ledger(squad, windows):
            print(f"  {line}")
    print(
        f"plan: {plan.total_updates} updates of {plan.batch_size} windows, epochs {plan.epochs:g}, "
        f"micro-batches: {plan.accumulate}"
    )
