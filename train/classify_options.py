"""The command line of `python -m train.classify`: its own options, a resumed run's, the demo's."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from data.cleaning import CleaningOptions
from data.command import UsageError, given_values, option, parse
from data.options import flag
from data.tweets import ReadingOptions
from train.baseline_options import (
    BASELINES,
    BaselineOptions,
    defaults_text,
    refuse_useless,
    warn_of_folder,
)
from train.options import TrainOptions, in_full, refuse_two_ends

MAX_LENGTH = 80  # tokens, where no --max-length is given and the model has as many positions

_EPILOG = f"""the baselines softmax, feedforward and birnn have other defaults:
{defaults_text()}

examples:
  python -m train.classify --demo
  python -m train.classify --train-file train.csv --dev-file dev.csv --output-dir runs/tweets
  python -m train.classify --train-file train.csv --dev-file dev.csv --model my-bert/ --clean light
  python -m train.classify --train-file train.csv --dev-file dev.csv --model softmax
  python -m train.classify --resume --output-dir runs/tweets

exit status: 0 done or --max-minutes reached, 2 bad input, 3 non-finite loss, 4 disk full,
5 out of memory, 129 SIGHUP, 130 Ctrl-C, 143 SIGTERM"""


@dataclass(frozen=True)
class ClassifyOptions(ReadingOptions, CleaningOptions, BaselineOptions, TrainOptions):
    """Options of `python -m train.classify`, beside those of every training command."""

    model: str = option(
        "embedded",
        help="Hub name, model folder, run folder, or embedded; or a baseline: softmax, "
        "feedforward, birnn (./softmax is a folder)",
        group="model",
    )
    revision: str | None = option(None, help="Hub branch, tag or commit", group="model")
    from_scratch: str | None = option(
        None,
        help="as --model, but only its config.json and vocabulary are read: random weights",
        group="model",
    )
    freeze_encoder: bool = option(
        False, help="train the head only, on the encoder as it is, without dropout", group="model"
    )
    train_file: str | None = option(None, help="CSV, TSV or JSON lines with labels", group="data")
    dev_file: str | None = option(None, help="the same, to evaluate on", group="data")
    demo: bool = option(
        False, help="train the embedded model on little tweets made here", group="data"
    )
    max_length: int | None = option(
        None,
        help="tokens kept of a text, words by a baseline (default: 80, or the model's positions)",
        group="data",
    )

    batch_size: int = option(
        32, help="texts in one optimizer update, over all micro-batches", group="training"
    )
    epochs: float = option(3.0, help="passes over the training set", group="training")
    clip_norm: float = option(5.0, help="largest gradient norm, 0 = off", group="training")
    recipe: str | None = option(
        None, help="settings that others have used, by name (python -m train.reproduce lists them)",
        group="training",
    )  # fmt: skip
    class_weights: str = option(
        "none",
        help="balanced: of a text, by how seldom its class is; else 1",
        choices=("none", "balanced"),
        group="training",
    )
    patience: int = option(
        0, help="whole epochs without a better macro-F1 that end it, 0 = off", group="training"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_length is not None and not 3 <= self.max_length <= 512:
            raise UsageError(f"--max-length is {self.max_length}, expected 3 to 512")
        self.check_baseline()
        if self.patience < 0:
            raise UsageError(f"--patience is {self.patience}, expected 0 or more")
        for name in ("model", "from_scratch", "train_file", "dev_file"):
            if getattr(self, name) == "":
                raise UsageError(f"{flag(name)} is empty, expected a name or path")


def read_options(argv: list[str]) -> ClassifyOptions:
    """The command line; a resumed run's own options, a baseline's, or the demo's take the place of
    defaults.

    Raises:
        UsageError: flags that are wrong, contradict each other, or would do nothing.
    """
    text = "Fine-tune BERT or DistilBERT, or train a baseline, to tell classes of texts apart."
    command = {"prog": "train.classify", "description": text, "epilog": _EPILOG}
    given = _in_full(given_values(ClassifyOptions, argv, **command))
    if given.get("resume") and given.get("output_dir"):
        from train.resuming import options_to_resume

        defaults = options_to_resume(ClassifyOptions, given)
    else:
        defaults = start_defaults(given)
    options = parse(ClassifyOptions, argv, **command, defaults=defaults)
    for name in ("train_file", "dev_file"):
        if options.demo and name in given and not options.resume:
            raise UsageError(f"--demo brings its own data; leave out {flag(name)}")
        if getattr(options, name) is None and not options.demo:
            raise UsageError(f"{flag(name)} is missing; name a file of tweets, or take --demo")
    if options.from_scratch and "model" in given:
        raise UsageError("--model and --from-scratch contradict each other; give one of them")
    refuse_useless(options.model, given)
    warn_of_folder(options.model)
    refuse_two_ends(options, given.keys())
    return replace(options, **_in_full(vars(options)))


def start_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """What takes the place of the defaults in a new run: a recipe's, the demo's, a baseline's.

    With a recipe the demo brings what belongs to its data and its model, and cleans without data of
    nltk's; the recipe brings the rest. Of a baseline it brings the data alone.

    Args:
        given: values on the command line.

    Raises:
        UsageError: no recipe of that name.
    """
    from train.recipe import start_settings

    baseline = BASELINES.get(given.get("model", ""), {})
    demo: Mapping[str, Any] = {}
    fitting: dict[str, Any] = {}
    if given.get("demo") and not baseline:
        from data.demo_tweets import DEMO_TWEETS, TWEETS_FIT

        demo, fitting = DEMO_TWEETS, {name: DEMO_TWEETS[name] for name in TWEETS_FIT}
    settings = start_settings(given, "classify", demo, fitting)
    if given.get("demo") and settings.get("clean") == "report":
        settings["clean"] = "report-stem"
    return {**settings, **baseline}


def _in_full(values: Mapping[str, Any]) -> dict[str, Any]:
    """Local files named in full; the name of a baseline is none, whatever folder is called so."""
    name = values.get("model")
    return in_full(values) | ({"model": name} if name in BASELINES else {})
