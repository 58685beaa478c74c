"""README.md of a saved model: what it was trained on, how, and what it scores."""

from pathlib import Path
from typing import Any

from data.batches import BatchPlan
from minibert.files import write_file
from train.checkpoint import TrainState
from train.model_inputs import start_name
from train.squad_inputs import Inputs
from train.squad_options import SquadOptions


def write_model_card(
    folder: Path,
    options: SquadOptions,
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
        metrics: of the dev set, in percent.
    """
    start = start_name(inputs.identity, new=bool(options.from_scratch))
    scores = "\n".join(f"| {name} | {value:.4g} |" for name, value in metrics.items())
    card = f"""---
library_name: transformers
pipeline_tag: question-answering
tags: [minibert, {inputs.model.config.model_type}]
---
# Extractive question answering, trained with minibert

Started from {start}.

| | |
|---|---|
| training file | {inputs.train_data.path.name}, sha256 {inputs.identity["train_sha256"]} |
| dev file | {inputs.dev_data.path.name}, sha256 {inputs.identity["dev_sha256"]} |
| questions, windows | {inputs.questions}, {len(inputs.train)} |
| updates | {state.update} of {plan.total_updates} |
| epochs, windows an update | {plan.epochs:g}, {options.batch_size} |
| learning rate | {options.lr:g}, {options.lr_schedule}, warm-up {options.warmup:g} |
| window | {inputs.settings.window} |
| seed | {options.seed} |

On the dev file; scores in percent. no_null: of the questions that have an answer, were each given
its best span; oracle: at thresholds chosen on that very file:

| metric | value |
|---|---|
{scores}
"""
    write_file(folder / "README.md", card.encode())
