"""The command line of `python -m train.pretrain`: its own options and those of a resumed run."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data.command import UsageError, given_values, option, parse
from data.options import flag
from minibert.hub import EMBEDDED
from train.options import TrainOptions, refuse_two_ends

LEAST_LENGTH = 8  # tokens of a block
THEN_LENGTH = 512  # tokens; as BERT's last tenth (Devlin et al. 2019, A.2)

_EPILOG = """examples:
  python -m data.vocabulary texts/ --size 8192 --out my-config/    (and put config.json there)
  python -m train.pretrain texts/ --config my-config/ --dropout 0 --output-dir runs/pretrain
  python -m train.pretrain texts/ --config embedded --output-dir runs/pretrain
  python -m train.pretrain texts/ --model bert-base-uncased --length 512 --long-fraction 0
  python -m train.pretrain texts/ --model embedded --every-second-layer --output-dir runs/half
  python -m train.pretrain --resume --output-dir runs/pretrain --max-minutes 30

exit status: 0 done or --max-minutes reached, 2 bad input, 3 non-finite loss, 4 no undamaged
checkpoint, 5 out of memory, 130 Ctrl-C, 143 SIGTERM"""


@dataclass(frozen=True)
class PretrainOptions(TrainOptions):
    """Options of `python -m train.pretrain`, beside those of every training command."""

    texts: tuple[str, ...] = option(
        (), help="text files or folders, plain, .gz or .xz", metavar="TEXT", positional=True
    )
    config: str | None = option(
        None, help="folder with config.json and a vocabulary, or embedded: random weights",
        group="model",
    )  # fmt: skip
    model: str | None = option(
        None, help="Hub name, model folder, run folder, or embedded: go on from its weights",
        group="model",
    )  # fmt: skip
    revision: str | None = option(None, help="Hub branch, tag or commit", group="model")
    positions: int | None = option(
        None, help="more positions than --model has: the new ones start as waves", group="model"
    )
    every_second_layer: bool = option(
        False,
        help="start as DistilBERT does: layers 0, 2, 4, ... of --model, a BERT, without its token "
        "types; no distillation: nothing is learnt from the model's own predictions",
        group="model",
    )
    held_out: float = option(
        0.005, help="part of the documents, the last ones, kept for evaluation", group="data"
    )
    tokens_dir: str | None = option(
        None, help="where tokenized texts are kept (default: the user's cache)", group="data"
    )
    jobs: int = option(0, help="processes that tokenize, 0 = one a core", group="data")
    length: int = option(128, help="tokens of a block", group="blocks")
    then_length: int | None = option(
        None,
        help="tokens of a block in the last updates, so that later positions are learnt (default: "
        f"{THEN_LENGTH}, or the model's positions)",
        group="blocks",
    )
    long_fraction: float = option(
        0.1, help="part of the updates that have --then-length, 0 = none", group="blocks"
    )
    random_positions: bool = option(
        False,
        help="put the tokens of a block at a random part of the model's positions, so that all of "
        "them are learnt from the first update on",
        group="blocks",
    )
    mask_rate: float = option(0.15, help="part of the tokens that is predicted", group="blocks")
    whole_word: bool = option(False, help="mask whole words, not single pieces", group="blocks")

    batch_size: int = option(
        256, help="blocks of --length in an update; --then-length: as many tokens", group="training"
    )
    epochs: float = option(1.0, help="passes over the text", group="training")
    lr: float = option(1e-3, help="highest learning rate", group="training")
    warmup: float = option(
        0.05, help="updates of linear warm-up; below 1, a fraction of all", group="training"
    )
    eval_every: int = option(500, help="updates between evaluations", group="run")

    def __post_init__(self) -> None:
        super().__post_init__()
        checks = {
            "--held-out": (self.held_out, 0 < self.held_out <= 0.5, "more than 0, at most 0.5"),
            "--jobs": (self.jobs, 0 <= self.jobs <= 256, "0 to 256"),
            "--length": (self.length, LEAST_LENGTH <= self.length <= 8192, "8 to 8192 tokens"),
            "--then-length": (
                self.then_length,
                (self.then_length or 0) <= 8192,
                "at most 8192 tokens",
            ),
            "--long-fraction": (self.long_fraction, 0 <= self.long_fraction <= 1, "0 to 1"),
            "--positions": (self.positions, 1 <= (self.positions or 1) <= 8192, "1 to 8192"),
            "--mask-rate": (self.mask_rate, 0 < self.mask_rate < 1, "more than 0, below 1"),
        }
        for typed, (value, good, wanted) in checks.items():
            if not good:
                raise UsageError(f"{typed} is {value}, expected {wanted}")
        too_short = self.then_length is not None and self.then_length < self.length
        if self.long_fraction and too_short:
            raise UsageError(
                f"--then-length {self.then_length} is below --length {self.length}; raise it, or "
                "give --long-fraction 0"
            )
        for name in ("config", "model", "tokens_dir"):
            if getattr(self, name) == "":
                raise UsageError(f"{flag(name)} is empty, expected a name or path")

    def last_blocks(self, positions: int) -> tuple[int, float]:
        """Tokens of a block in the last updates, and the part of the updates that have it.

        Args:
            positions: of the model. Without --then-length the blocks are as long as it can take,
                THEN_LENGTH at most; there are none of their own where that is not above --length.
        """
        if self.then_length is None:
            length = max(self.length, min(THEN_LENGTH, positions))
            return length, self.long_fraction if length > self.length else 0.0
        return (self.then_length, self.long_fraction) if self.long_fraction else (self.length, 0.0)

    def longest(self, positions: int) -> int:
        """Tokens of the longest block."""
        length, fraction = self.last_blocks(positions)
        return length if fraction else self.length


def read_options(argv: list[str]) -> PretrainOptions:
    """The command line; a resumed run's own options take the place of defaults.

    Raises:
        UsageError: flags that are wrong, contradict each other, or would do nothing.
    """
    text = "Masked-LM pretraining on plain text, from random weights or from a model's."
    command = {"prog": "train.pretrain", "description": text, "epilog": _EPILOG}
    given = _in_full(given_values(PretrainOptions, argv, **command))
    defaults: dict[str, Any] = {}
    if given.get("resume") and given.get("output_dir"):
        from train.resuming import options_to_resume

        defaults = options_to_resume(PretrainOptions, given)
    options = parse(PretrainOptions, argv, **command, defaults=defaults)
    options = replace(options, **_in_full(vars(options)))
    refuse_two_ends(options, given.keys())
    if not options.texts:
        raise UsageError("no text is named; name text files or folders of them")
    if bool(options.config) == bool(options.model):
        what = "contradict each other; give one of them" if options.model else "are both missing"
        raise UsageError(
            f"--config and --model {what}" + ("" if options.model else "; give a folder or a model")
        )
    if options.positions and not options.model:
        raise UsageError("--positions is of a --model; write those of --config in its config.json")
    if options.every_second_layer and not options.model:
        raise UsageError(
            "--every-second-layer is of a --model; write num_hidden_layers of --config in its "
            "config.json"
        )
    if options.revision and not options.model:
        raise UsageError("--revision is of a --model on the Hub; leave it out")
    return options


def _in_full(values: Mapping[str, Any]) -> dict[str, Any]:
    """Local files named in full, so that a run can be resumed from any folder."""
    named = {"model"} | ({"config"} if values.get("config") == EMBEDDED else set())  # or folders
    paths: dict[str, Any] = {
        name: str(Path(value).absolute())
        for name in ("config", "model", "tokens_dir")
        if (value := values.get(name)) and (name not in named or Path(value).is_dir())
    }
    if "texts" in values:
        paths["texts"] = tuple(str(Path(text).absolute()) for text in values["texts"])
    return {**values, **paths}


def default_jobs() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
