"""The command line of `python -m train.squad`: its own options, a resumed run's, the demo's."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from data.command import UsageError, given_values, option, parse
from data.options import flag
from train.options import TrainOptions, in_full, refuse_two_ends

DEFAULT_MODEL = "google-bert/bert-base-uncased"

_MISTAKES = "mistakes, to see what they cost"

_EPILOG = """examples:
  python -m train.squad --demo
  python -m train.squad --amp --output-dir runs/squad
  python -m train.squad --model my-bert/ --train-file train.json --dev-file dev.json --epochs 3
  python -m train.squad --resume --output-dir runs/squad
  torchrun --nproc-per-node 8 -m train.squad --amp --output-dir runs/squad     (8 GPUs)

exit status: 0 done or --max-minutes reached, 1 a goal of the whole demo or a recipe's gate missed,
2 bad input, 3 non-finite loss, 4 disk full, 5 out of memory, 6 another rank ended, 129 SIGHUP,
130 Ctrl-C, 143 SIGTERM"""


@dataclass(frozen=True)
class SquadOptions(TrainOptions):
    """Options of `python -m train.squad`, beside those of every training command."""

    model: str = option(
        DEFAULT_MODEL, help="Hub name, model folder, run folder, or embedded", group="model"
    )
    revision: str | None = option(None, help="Hub branch, tag or commit", group="model")
    from_scratch: str | None = option(
        None,
        help="as --model, but only its config.json and vocabulary are read: random weights",
        group="model",
    )
    train_file: str | None = option(
        None, help="SQuAD .json file (default: the official train-v2.0.json)", group="data"
    )
    dev_file: str | None = option(
        None, help="SQuAD .json file (default: the official dev-v2.0.json)", group="data"
    )
    recipe: str | None = option(
        None, help="settings that others have used, by name (python -m train.reproduce lists them)",
        group="training",
    )  # fmt: skip
    demo: bool = option(
        False, help="train the embedded model on a small world made here", group="data"
    )
    answerable_only: bool = option(
        False, help="leave impossible questions out of training", group="data"
    )
    train_fraction: float = option(
        1.0, help="part of the training questions used, drawn with --seed", group="data"
    )
    max_length: int | None = option(
        None, help="tokens of a window (default: 384, or the model's positions)", group="windows"
    )
    doc_stride: int | None = option(
        None,
        help="context tokens shared by neighbouring windows (default: 128, or a third of a window)",
        group="windows",
    )
    doc_step: int | None = option(
        None, help="context tokens between window starts, instead of a stride", group="windows"
    )
    max_question_length: int = option(64, help="tokens kept of a question", group="windows")
    max_answer_length: int = option(30, help="tokens of the longest answer", group="windows")
    n_best: int = option(20, help="answers listed per question in nbest.json", group="windows")
    null_threshold: float = option(
        0.0, help='"" is answered where null score - best score is above it', group="windows"
    )

    truncate: bool = option(
        False, help="one window a question; the rest of its context is never read", group=_MISTAKES
    )
    context_first: bool = option(
        False, help="the context before the question, in training and prediction", group=_MISTAKES
    )
    token_types: bool = option(
        True, help="tell question from context by token types (--no-token-types)", group=_MISTAKES
    )
    row_per_answer: bool = option(
        False, help="train on every gold answer of a question, not on the first", group=_MISTAKES
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.train_fraction <= 1:
            raise UsageError(
                f"--train-fraction is {self.train_fraction}, expected more than 0, at most 1"
            )
        for name, most in (
            ("max_length", 512), ("max_question_length", 512), ("max_answer_length", 512),
            ("n_best", 1000),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not 1 <= value <= most:
                raise UsageError(f"{flag(name)} is {value}, expected 1 to {most}")
        for name in ("model", "from_scratch", "train_file", "dev_file"):
            if getattr(self, name) == "":
                raise UsageError(f"{flag(name)} is empty, expected a name or path")
        if not math.isfinite(self.null_threshold):
            raise UsageError(f"--null-threshold is {self.null_threshold}, expected a number")
        if self.doc_stride is not None and self.doc_stride < 0:
            raise UsageError(f"--doc-stride is {self.doc_stride}, expected 0 or more")
        if self.doc_step is not None and self.doc_step < 1:
            raise UsageError(f"--doc-step is {self.doc_step}, expected at least 1")


def read_options(argv: list[str]) -> SquadOptions:
    """The command line; a resumed run's own options and the demo's take the place of defaults.

    Raises:
        UsageError: flags that are wrong, contradict each other, or would do nothing.
    """
    text = "Fine-tune BERT or DistilBERT on SQuAD, end to end: windows, training, answers, scores."
    command = {"prog": "train.squad", "description": text, "epilog": _EPILOG}
    given = in_full(given_values(SquadOptions, argv, **command))
    defaults: dict[str, Any] = {}
    if given.get("resume") and given.get("output_dir"):
        from train.resuming import options_to_resume

        defaults = options_to_resume(SquadOptions, given)
    else:
        defaults = start_defaults(given)
    options = parse(SquadOptions, argv, **command, defaults=defaults)
    useless = given.keys() & {"train_file", "dev_file"}
    if options.demo and useless and not options.resume:
        raise UsageError(f"--demo brings its own data; leave out {flag(min(useless))}")
    if {"doc_stride", "doc_step"} <= given.keys():
        raise UsageError("--doc-stride and --doc-step contradict each other; give one of them")
    if options.from_scratch and "model" in given:
        raise UsageError("--model and --from-scratch contradict each other; give one of them")
    refuse_two_ends(options, given.keys())
    return replace(options, **in_full(vars(options)))


def start_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """What takes the place of the defaults in a new run: a recipe's settings, the demo's.

    With both the demo brings what belongs to its data and its model, and the recipe the rest.

    Args:
        given: values on the command line.

    Raises:
        UsageError: no recipe of that name.
    """
    from train.recipe import start_settings

    demo: Mapping[str, Any] = {}
    fitting: dict[str, Any] = {}
    if given.get("demo"):
        from data.demo import DEMO_FITS, DEMO_OPTIONS

        demo = DEMO_OPTIONS
        fitting = {name: demo[name] for name in DEMO_FITS} | {"doc_step": None}
    settings = start_settings(given, "squad", demo, fitting)
    steps = {"doc_stride", "doc_step"}
    if given.keys() & steps:  # whichever is given takes the place of both
        settings = {name: value for name, value in settings.items() if name not in steps}
    return settings
