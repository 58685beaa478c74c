"""BERT in plain PyTorch, without padding: config, packed batches, encoder, heads, weights.

    BertConfig                      sizes and rates of an encoder, as in config.json
    BertForMaskedLM                 encoder and masked-LM head, its decoder tied to the embeddings
    BertForQuestionAnswering        encoder and span head; from_pretrained, save_pretrained
    BertForSequenceClassification   encoder, pooler and a classifier of the whole text
    BertModel                       embeddings and layers
    PackedBatch                     the tokens of a batch without padding
    SpanLogits                      what the question answering model puts out

These public names are loaded when first used, so that `--help` need not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minibert.config import BertConfig
    from minibert.encoder import BertModel
    from minibert.heads import (
        BertForMaskedLM,
        BertForQuestionAnswering,
        BertForSequenceClassification,
        SpanLogits,
    )
    from minibert.packing import PackedBatch

_HOMES = {
    "BertConfig": "minibert.config",
    "BertForMaskedLM": "minibert.heads",
    "BertForQuestionAnswering": "minibert.heads",
    "BertForSequenceClassification": "minibert.heads",
    "BertModel": "minibert.encoder",
    "PackedBatch": "minibert.packing",
    "SpanLogits": "minibert.heads",
}

__all__ = [
    "BertConfig",
    "BertForMaskedLM",
    "BertForQuestionAnswering",
    "BertForSequenceClassification",
    "BertModel",
    "PackedBatch",
    "SpanLogits",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'minibert' has no attribute {name!r}; it has {__all__}")
    return getattr(import_module(_HOMES[name]), name)
