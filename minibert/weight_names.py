"""What parameters are called in a checkpoint: a table per family and task, used both ways."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from minibert.config import BertConfig

# ours -> theirs; {i} is the layer, each line stands for a .weight and, where there is one, a .bias
_ENCODER_NAMES = {
    "bert": {
        "embeddings.word": "embeddings.word_embeddings",
        "embeddings.position": "embeddings.position_embeddings",
        "embeddings.token_type": "embeddings.token_type_embeddings",
        "embeddings.norm": "embeddings.LayerNorm",
        "layers.{i}.attention.query": "encoder.layer.{i}.attention.self.query",
        "layers.{i}.attention.key": "encoder.layer.{i}.attention.self.key",
        "layers.{i}.attention.value": "encoder.layer.{i}.attention.self.value",
        "layers.{i}.attention.output": "encoder.layer.{i}.attention.output.dense",
        "layers.{i}.attention_norm": "encoder.layer.{i}.attention.output.LayerNorm",
        "layers.{i}.ffn.up": "encoder.layer.{i}.intermediate.dense",
        "layers.{i}.ffn.down": "encoder.layer.{i}.output.dense",
        "layers.{i}.ffn_norm": "encoder.layer.{i}.output.LayerNorm",
    },
    "distilbert": {
        "embeddings.word": "embeddings.word_embeddings",
        "embeddings.position": "embeddings.position_embeddings",
        "embeddings.norm": "embeddings.LayerNorm",
        "layers.{i}.attention.query": "transformer.layer.{i}.attention.q_lin",
        "layers.{i}.attention.key": "transformer.layer.{i}.attention.k_lin",
        "layers.{i}.attention.value": "transformer.layer.{i}.attention.v_lin",
        "layers.{i}.attention.output": "transformer.layer.{i}.attention.out_lin",
        "layers.{i}.attention_norm": "transformer.layer.{i}.sa_layer_norm",
        "layers.{i}.ffn.up": "transformer.layer.{i}.ffn.lin1",
        "layers.{i}.ffn.down": "transformer.layer.{i}.ffn.lin2",
        "layers.{i}.ffn_norm": "transformer.layer.{i}.output_layer_norm",
    },
}


@dataclass(frozen=True)
class Task:
    """What a task's head is called in a checkpoint, and what of other tasks it leaves aside.

    Attributes:
        architecture: class name in config.json, after the family's own prefix.
        head: family -> ours -> theirs, as in the encoder's table; {prefix} is the encoder's. A head
            may be new, as a whole, or but for what came with the encoder.
        ignored: full-match patterns of file names that may be present and are not used.
        tied: family -> name in the file -> the parameter of ours that it is a second copy of. It
            may be present, and must then be equal.
        with_encoder: family -> the head's parts that an encoder's own checkpoint may have.
        has_classes: whether the head's size is the number of labels in config.json.
    """

    architecture: str
    head: dict[str, dict[str, str]]
    ignored: tuple[str, ...]
    tied: dict[str, dict[str, str]] = field(default_factory=dict)
    with_encoder: dict[str, tuple[str, ...]] = field(default_factory=dict)
    has_classes: bool = False


# What no task uses: stored position ids, the next-sentence head.
_NEVER_USED = (r"embeddings\.position_ids", r"cls\.seq_relationship\.(weight|bias)")
_SPAN_HEAD = r"qa_outputs\.(weight|bias)"
_MASKED_LM_HEAD = (
    r"cls\.predictions\..+",
    r"vocab_(transform|layer_norm|projector)\.(weight|bias)",
)
_CLASSIFIER = (r"pooler\.dense\.(weight|bias)", r"(pre_)?classifier\.(weight|bias)")

QUESTION_ANSWERING = Task(
    architecture="ForQuestionAnswering",
    head={"bert": {"span": "qa_outputs"}, "distilbert": {"span": "qa_outputs"}},
    ignored=(*_NEVER_USED, *_MASKED_LM_HEAD, *_CLASSIFIER),
)

# transformers 5 leaves the second copies out; google-research/bert's files, converted, have them.
MASKED_LM = Task(
    architecture="ForMaskedLM",
    head={
        "bert": {
            "transform.dense": "cls.predictions.transform.dense",
            "transform.norm": "cls.predictions.transform.LayerNorm",
            "decoder": "cls.predictions",
        },
        "distilbert": {
            "transform.dense": "vocab_transform",
            "transform.norm": "vocab_layer_norm",
            "decoder": "vocab_projector",
        },
    },
    ignored=(*_NEVER_USED, _SPAN_HEAD, *_CLASSIFIER),
    tied={
        "bert": {
            "cls.predictions.decoder.weight": "encoder.embeddings.word.weight",
            "cls.predictions.decoder.bias": "decoder.bias",
        },
        "distilbert": {"vocab_projector.weight": "encoder.embeddings.word.weight"},
    },
)

# BERT's pooler comes from its pretraining (next-sentence prediction); DistilBERT has none there.
SEQUENCE_CLASSIFICATION = Task(
    architecture="ForSequenceClassification",
    head={
        "bert": {"pooler.dense": "{prefix}pooler.dense", "classifier": "classifier"},
        "distilbert": {"pooler.dense": "pre_classifier", "classifier": "classifier"},
    },
    ignored=(*_NEVER_USED, _SPAN_HEAD, *_MASKED_LM_HEAD),
    with_encoder={"bert": ("pooler",)},
    has_classes=True,
)


def their_names(
    parameters: Iterable[str], config: BertConfig, task: Task, prefix: str
) -> dict[str, str]:
    """Our parameter names -> the checkpoint's.

    Args:
        parameters: as in `named_parameters()` of a task model, e.g. "encoder.layers.0.ffn.up.bias".
        config: gives the family.
        task: gives the head's names.
        prefix: before the encoder's names: "bert.", "distilbert.", or "" for a bare encoder's file.
    """
    table = _ENCODER_NAMES[config.model_type]
    names = {}
    for parameter in parameters:
        module, kind = parameter.rsplit(".", 1)
        if module.startswith("encoder."):
            layer = re.search(r"layers\.(\d+)\.", module)
            template = re.sub(r"layers\.\d+\.", "layers.{i}.", module.removeprefix("encoder."))
            theirs = prefix + table[template].format(i=layer[1] if layer else "")
        else:
            theirs = task.head[config.model_type][module].format(prefix=prefix)
        names[parameter] = f"{theirs}.{kind}"
    return names
