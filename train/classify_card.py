"""README.md of a saved classifier: what it was trained on, how, and what it scores."""

from pathlib import Path
from typing import Any

from data.batches import BatchPlan
from minibert.baseline_model import Baseline
from minibert.files import write_file
from train.baseline_options import BaselineOptions
from train.checkpoint import TrainState
from train.classify_inputs import Inputs
from train.classify_options import ClassifyOptions


def write_model_card(
    folder: Path,
    options: ClassifyOptions,
    inputs: Inputs,
    plan: BatchPlan,
    state: TrainState,
    metrics: dict[str, Any],
) -> None:
    """Write the card; file names only, no folders of the user's machine.

    Args:
        folder: the model's.
        options: of the run.
        inputs: data and model of the run.
        plan: of the training.
        state: when the model was saved.
        metrics: of the dev set; its tables are left out.
    """
    start = inputs.start
    numbers = {k: value for k, value in metrics.items() if isinstance(value, int | float)}
    scores = "\n".join(f"| {name} | {value:.4g} |" for name, value in numbers.items())
    rules = ", ".join(
        f"{name} {value}" for name, value in vars(start.settings.cleaning).items()
        if value not in (False, "keep")
    )  # fmt: skip
    if isinstance(inputs.model, Baseline):
        library, kind = "", inputs.model.model_type  # no other library can load it
    else:
        library, kind = "library_name: transformers\n", inputs.model.config.model_type
    card = f"""---
{library}pipeline_tag: text-classification
tags: [minibert, {kind}]
---
# Text classification, trained with minibert

{start.origin}

| | |
|---|---|
| training file | {inputs.train.data.path.name}, sha256 {inputs.identity["train_sha256"]} |
| dev file | {inputs.dev.data.path.name}, sha256 {inputs.identity["dev_sha256"]} |
| texts, classes | {len(inputs.train.data)}, {len(inputs.train.data.label_names)} |
| updates | {state.update} of {plan.total_updates} |
| epochs, texts an update | {plan.epochs:g}, {options.batch_size} |
| learning rate | {options.lr:g}, {options.lr_schedule}, warm-up {options.warmup:g} |
| class weights | {options.class_weights} |
| {start.unit} of a text | at most {start.settings.max_length} |
| cleaning | {rules or "none"} |
| seed | {options.seed} |
{_baseline_rows(options, inputs)}
On the dev file; accuracy, precision, recall and F1 in percent, the others from 0 to 1:

| metric | value |
|---|---|
{scores}
"""
    write_file(folder / "README.md", card.encode())


def _baseline_rows(options: ClassifyOptions, inputs: Inputs) -> str:
    """Vocabulary and sizes of a baseline, "" of another model."""
    if not isinstance(inputs.model, Baseline):
        return ""
    own = {name: getattr(options, name) for name in BaselineOptions.__annotations__}
    if options.vectors:
        own["embedding_size"] = inputs.model.config.embedding_size
        own["vectors"] = f"{Path(options.vectors).name}, sha256 {inputs.identity['vectors_sha256']}"
    return "".join(
        f"| {name.replace('_', ' ')} | {value} |\n"
        for name, value in own.items()
        if value is not None
    )
