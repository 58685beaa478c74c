"""A smaller model out of a trained one, as DistilBERT begins (Sanh et al. 2019, section 3)."""

from dataclasses import replace

import torch
from torch import nn

from data.command import UsageError
from minibert.config import BertConfig
from minibert.heads import BertForMaskedLM

_EPS = 1e-12  # of every LayerNorm in DistilBERT; its config.json has no key for another


def keep_every_second_layer(model: BertForMaskedLM) -> None:
    """Make a DistilBERT of a trained BERT, in place: layers 0, 2, 4, ..., all else as it was.

    DistilBERT has no token types. That of the first segment, which plain text has throughout, is
    added to the positions, so that the embeddings of such text stay what they were.

    Args:
        model: a BERT of L layers, at least two; it has ceil(L / 2) afterwards.
    """
    embeddings, layers = model.encoder.embeddings, model.encoder.layers[::2]
    if embeddings.token_type is not None:
        with torch.no_grad():
            embeddings.position.weight += embeddings.token_type.weight[0]
        embeddings.token_type = None
    for layer in layers:
        layer.attention_dropout = nn.Identity()
    model.encoder.layers = layers
    model.config = model.encoder.config = replace(
        model.config, model_type="distilbert", num_hidden_layers=len(layers), type_vocab_size=0
    )


def name_student(teacher: str, config: BertConfig) -> str:
    """What a model that `keep_every_second_layer` made is, for people.

    Args:
        teacher: the model that it was made from.
        config: as it is now.
    """
    kept = ", ".join(str(2 * layer) for layer in range(config.num_hidden_layers))
    return f"every second layer ({kept}) of {teacher}, as DistilBERT begins (no distillation)"


def refuse_as_teacher(config: BertConfig, source: str) -> None:
    """Refuse a model of which `keep_every_second_layer` makes none.

    Args:
        config: of the model.
        source: its name or folder.

    Raises:
        UsageError: says what stands in the way.
    """
    if config.model_type != "bert":
        reason = "is a DistilBERT already"
    elif config.num_hidden_layers == 1:
        reason = "has only one layer"
    elif config.layer_norm_eps != _EPS:
        reason = f"has layer_norm_eps {config.layer_norm_eps:g}, where a DistilBERT has {_EPS:g}"
    else:
        return
    raise UsageError(
        f"--every-second-layer makes a DistilBERT of a BERT of two layers or more, but {source} "
        f"{reason}; leave it out, or give another --model"
    )
