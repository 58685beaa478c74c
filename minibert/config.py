"""The numbers that shape a BERT or DistilBERT encoder, named as in Hugging Face's config.json."""

import dataclasses
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minibert.labels import UNNAMED_LABELS, check_labels, read_labels
from minibert.strict_json import read_object, shown

ACTIVATIONS = (
    *("gelu", "gelu_python", "gelu_new", "gelu_pytorch_tanh"),
    *("relu", "silu", "swish", "tanh"),
)
FAMILIES = ("bert", "distilbert")

# Of the baselines: here, where the command line can read them without torch.
CELLS = ("lstm", "gru")
MOST_LAYERS = 64
# The largest sizes believed: a model of 10^9 layers would be built until memory ends.
_MOST = {
    "vocab_size": 10_000_000,
    "hidden_size": 100_000,
    "num_hidden_layers": 1_000,
    "num_attention_heads": 100_000,
    "intermediate_size": 1_000_000,
    "max_position_embeddings": 1_000_000,
}

# DistilBERT's names for the same numbers.
_DISTILBERT_KEYS = {
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "hidden_dim": "intermediate_size",
    "activation": "hidden_act",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "seq_classif_dropout": "classifier_dropout",
}
_NOT_DISTILBERTS = ("type_vocab_size", "layer_norm_eps", "classifier_dropout")

# Keys of published config.json files that change nothing this project computes.
_IGNORED_KEYS = frozenset(
    "_name_or_path architectures bos_token_id directionality dtype eos_token_id "
    "finetuning_task gradient_checkpointing id2label label2id num_labels output_past "
    "pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head "
    "pooler_type "
    "seq_classif_dropout sinusoidal_pos_embds tie_weights_ tie_word_embeddings "
    "torch_dtype transformers_version use_cache output_attentions output_hidden_states "
    "chunk_size_feed_forward return_dict sep_token_id cls_token_id".split()
)

# Keys that do change the computation: the only value this encoder implements.
_REQUIRED_VALUES: dict[str, tuple[Any, ...]] = {
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False, None),
    "add_cross_attention": (False, None),
    "is_encoder_decoder": (False, None),
    "pruned_heads": ({}, [], None),
    "embedding_size": (None,),
}


@dataclass(frozen=True)
class BertConfig:
    """Sizes and rates of one encoder; defaults are those of bert-base-uncased.

    Attributes:
        model_type: "bert" or "distilbert" (no token types, dropout before the span head).
        vocab_size: rows of the word embedding.
        hidden_size: width of every token's vector (D).
        num_hidden_layers: encoder layers (L).
        num_attention_heads: heads per layer (H); divides hidden_size.
        intermediate_size: width inside the feed-forward block (F).
        hidden_act: "gelu" ("gelu_python") is the exact erf form; "gelu_new" and "gelu_pytorch_tanh"
            the tanh form; "swish" is "silu".
        hidden_dropout_prob: after embeddings, attention output (not DistilBERT) and feed-forward
            output.
        attention_probs_dropout_prob: on the attention probabilities.
        max_position_embeddings: longest input, tokens.
        type_vocab_size: rows of the token-type embedding; 0 means there is none (DistilBERT).
        initializer_range: standard deviation of new weights.
        layer_norm_eps: inside the square root of every LayerNorm.
        pad_token_id: id of [PAD]; packed batches never hold it.
        qa_dropout: before the span head (DistilBERT only; BERT has none there).
        classifier_dropout: before the classifier (DistilBERT: seq_classif_dropout); None means
            hidden_dropout_prob.
        labels: names of the classes in the order of their numbers. In config.json they are
            id2label and label2id; models of other tasks have none.
        problem_type: None or "single_label_classification" for one class a text; a classifier
            of any other type is refused.
    """

    model_type: str = "bert"
    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0
    qa_dropout: float = 0.0
    classifier_dropout: float | None = None
    labels: tuple[str, ...] = UNNAMED_LABELS
    problem_type: str | None = None

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                raise ValueError(
                    f"{name} is {shown(value)}, expected a whole number from 1 to {most}"
                )
        rates = ["hidden_dropout_prob", "attention_probs_dropout_prob", "qa_dropout"]
        if self.classifier_dropout is not None:
            rates.append("classifier_dropout")
        for name in rates:
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value < 1:
                raise ValueError(f"{name} is {shown(value)}, expected a rate from 0 to below 1")
        for name in ("initializer_range", "layer_norm_eps"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 < value < 1:
                raise ValueError(f"{name} is {shown(value)}, expected a number between 0 and 1")
        if self.model_type not in FAMILIES:
            raise ValueError(f"model_type is {shown(self.model_type)}, expected one of {FAMILIES}")
        if self.hidden_act not in ACTIVATIONS:
            raise ValueError(
                f"hidden_act is {shown(self.hidden_act)}, expected one of {ACTIVATIONS}"
            )
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not divisible by "
                f"num_attention_heads {self.num_attention_heads}"
            )
        least_types = 1 if self.model_type == "bert" else 0
        types = self.type_vocab_size
        if type(types) is not int or not least_types <= types <= 100_000:
            raise ValueError(
                f"type_vocab_size is {shown(types)}, expected a whole number from {least_types} to "
                f"100000 for {self.model_type}"
            )
        if type(self.pad_token_id) is not int or not 0 <= self.pad_token_id < self.vocab_size:
            raise ValueError(
                f"pad_token_id is {shown(self.pad_token_id)}, expected a whole number from 0 to "
                f"below vocab_size, {self.vocab_size}"
            )
        check_labels(self.labels)
        if not isinstance(self.problem_type, str | None):
            raise ValueError(f"problem_type is {shown(self.problem_type)}, expected a word")

    @property
    def head_size(self) -> int:
        """Width of one attention head (K)."""
        return self.hidden_size // self.num_attention_heads

    @property
    def num_labels(self) -> int:
        """Number of classes (C)."""
        return len(self.labels)

    @property
    def id2label(self) -> dict[int, str]:
        """Number of a class -> its name."""
        return dict(enumerate(self.labels))

    @property
    def label2id(self) -> dict[str, int]:
        """Name of a class -> its number."""
        return {name: number for number, name in enumerate(self.labels)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "BertConfig":
        """Read the contents of a config.json.

        Args:
            values: as published, BERT's or DistilBERT's keys. A missing key takes transformers'
                default, which for DistilBERT differs from BERT's in depth and norm.

        Raises:
            ValueError: another model type, or a setting that this encoder does not implement.
        """
        family = values.get("model_type")
        if family not in FAMILIES:
            raise ValueError(
                f"config.json has model_type {shown(family)}, expected one of {FAMILIES}; "
                "other encoders cannot be loaded"
            )
        for key, accepted in _REQUIRED_VALUES.items():
            if key in values and values[key] not in accepted:
                raise ValueError(
                    f"config.json has {key} {shown(values[key])}, expected {accepted[0]!r}"
                )
        known = {field.name for field in dataclasses.fields(cls)} - {"labels"}
        chosen: dict[str, Any] = {}
        unknown = []
        if family == "distilbert":
            chosen |= {"num_hidden_layers": 6, "type_vocab_size": 0}
            chosen |= {"qa_dropout": 0.1, "classifier_dropout": 0.2}
        if (labels := read_labels(values)) is not None:
            chosen["labels"] = labels
        for key, value in values.items():
            name = _DISTILBERT_KEYS.get(key, key) if family == "distilbert" else key
            # DistilBERT has no token types and one fixed eps, whatever its config.json says.
            if family == "distilbert" and key in _NOT_DISTILBERTS:
                continue
            if family == "bert" and name == "qa_dropout":
                continue
            if name in known:
                chosen[name] = value
            elif key not in _IGNORED_KEYS and key not in _REQUIRED_VALUES:
                unknown.append(key)
        if unknown:
            warnings.warn(
                "config.json has keys that minibert does not know and ignores: "
                f"{shown(sorted(unknown))}",
                stacklevel=2,
            )
        return cls(**chosen)

    @classmethod
    def from_file(cls, path: str | Path) -> "BertConfig":
        """Read a config.json.

        Raises:
            ValueError: no such file, not JSON, or not a configuration of ours.
        """
        path = Path(path)
        values = read_object(path, "a model's config.json")
        try:
            return cls.from_dict(values)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """The contents of a config.json that transformers reads back to the same model."""
        values = dataclasses.asdict(self)
        del values["labels"]
        if self.labels != UNNAMED_LABELS:
            values["id2label"] = {str(number): name for number, name in self.id2label.items()}
            values["label2id"] = self.label2id
        if self.problem_type is None:
            del values["problem_type"]
        if self.model_type == "bert":
            del values["qa_dropout"]
            values["position_embedding_type"] = "absolute"
            return values
        del values["type_vocab_size"], values["layer_norm_eps"]
        if self.classifier_dropout is None:  # here transformers expects a number
            values["classifier_dropout"] = self.hidden_dropout_prob
        ours_to_theirs = {ours: theirs for theirs, ours in _DISTILBERT_KEYS.items()}
        return {ours_to_theirs.get(key, key): value for key, value in values.items()}
