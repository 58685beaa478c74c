"""README.md of a pretrained model: what it read, how it was trained, and how well it predicts."""

from pathlib import Path
from typing import Any

from data.blocks import BlockPlan
from minibert.files import write_file
from train.checkpoint import TrainState
from train.model_inputs import start_name
from train.pretrain_inputs import Inputs
from train.pretrain_options import PretrainOptions
from train.student import name_student


def write_model_card(
    folder: Path,
    options: PretrainOptions,
    inputs: Inputs,
    plan: BlockPlan,
    state: TrainState,
    metrics: dict[str, Any],
) -> None:
    """Write the card; file names only, no folders of the user's machine.

    Args:
        folder: the model's.
        options: of the run.
        inputs: text and model of the run.
        plan: of the training.
        state: when the model was saved.
        metrics: of the held-out text.
    """
    start = start_name(inputs.identity, new=bool(options.config))
    config, counts = inputs.model.config, inputs.corpus.counts
    if options.every_second_layer:
        start = name_student(start, config)
    size = sum(parameter.numel() for parameter in inputs.model.parameters())
    scores = "\n".join(f"| {name} | {value:.5g} |" for name, value in metrics.items())
    lengths = f"{plan.length} tokens"
    if plan.first_long < plan.total_updates:
        lengths += f", from update {plan.first_long + 1} on {plan.long_length}"
    masking = "whole words" if options.whole_word else "word pieces"
    card = f"""---
library_name: transformers
pipeline_tag: fill-mask
tags: [minibert, {config.model_type}]
---
# Masked-LM pretraining with minibert

Started from {start}; {size:,} parameters:
{config.num_hidden_layers} layers, width {config.hidden_size}, {config.num_attention_heads} heads,
vocabulary {config.vocab_size}.

| | |
|---|---|
| text | {", ".join(inputs.corpus.names)} |
| documents, tokens | {counts["documents"]}, {counts["tokens"]} |
| tokens file | sha256 {inputs.corpus.sha256} |
| updates | {state.update} of {plan.total_updates} |
| epochs, blocks an update | {plan.epochs:g}, {options.batch_size} |
| blocks | {lengths} |
| masking | {options.mask_rate:.0%} of the {masking}, 80/10/10, drawn anew every epoch |
| learning rate | {options.lr:g}, {options.lr_schedule}, warm-up {options.warmup:g} |
| seed | {options.seed} |

On the held-out last documents ({len(inputs.held_out.ids)} tokens), accuracy in percent:

| metric | value |
|---|---|
{scores}
"""
    write_file(folder / "README.md", card.encode())
