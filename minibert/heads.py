"""What stands on the encoder for a task: span head, masked-LM head, classifier, and their losses.

BertForQuestionAnswering        encoder -> dropout (DistilBERT) -> span (D -> 2)
BertForMaskedLM                 encoder -> rows -> transform -> decoder (word embeddings, tied)
BertForSequenceClassification   encoder -> [CLS] -> pooler -> dropout -> classifier (D -> C)
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minibert.config import BertConfig
from minibert.dropout import Dropout
from minibert.encoder import Activation, initialise
from minibert.packing import PackedBatch
from minibert.strict_json import shown
from minibert.task_model import TaskModel
from minibert.weight_names import MASKED_LM, QUESTION_ANSWERING, SEQUENCE_CLASSIFICATION


class SpanLogits(NamedTuple):
    """Scores of every packed token as the first and the last token of the answer.

    Attributes:
        start_logits: (N,) float.
        end_logits: (N,) float.
    """

    start_logits: Tensor
    end_logits: Tensor


def span_loss_sum(
    logits: SpanLogits, batch: PackedBatch, start_positions: Tensor, end_positions: Tensor
) -> Tensor:
    """Cross-entropy of the right start and end token, summed over the windows of a batch.

    Each window counts (start + end) / 2 (Devlin et al. 2019, section 4.2; google-research/bert's
    run_squad.py). The softmax of a window runs over its own tokens only; transformers' also counts
    padding positions, so the two agree on input without padding.

    Args:
        logits: (N,) start and end scores; the softmax is computed in float32.
        batch: the B windows they belong to.
        start_positions: (B,) int64, token of the window; 0, [CLS], for no answer.
        end_positions: (B,) int64, inclusive.

    Returns:
        Scalar float32 (float64 for float64 logits). Divide by the windows of the whole update.
    """
    total = logits.start_logits.new_zeros((), dtype=torch.float32)
    for scores, positions in (
        (logits.start_logits, start_positions),
        (logits.end_logits, end_positions),
    ):
        if scores.dtype != torch.float64:
            scores = scores.float()
        padded = batch.pad(scores, torch.finfo(scores.dtype).min)  # (B, T)
        total = total + F.cross_entropy(padded, positions, reduction="sum") / 2
    return total


class BertForQuestionAnswering(TaskModel):
    """An encoder with a span head: one linear layer D -> 2 (Devlin et al. 2019, section 4.2).

    It has no pooler. DistilBERT has dropout before the head, BERT has none.
    """

    task = QUESTION_ANSWERING

    def make_head(self) -> None:
        has_dropout = self.config.model_type == "distilbert"
        self.dropout = Dropout(self.config.qa_dropout) if has_dropout else nn.Identity()
        self.span = nn.Linear(self.config.hidden_size, 2)
        initialise(self.span, self.config.initializer_range)

    def forward(self, batch: PackedBatch) -> SpanLogits:
        """Packed ids -> start and end scores, each (N,)."""
        hidden_states = self.encoder(batch)  # (N, D)
        start_logits, end_logits = self.span(self.dropout(hidden_states)).unbind(-1)  # (N, 2)
        return SpanLogits(start_logits, end_logits)


class PredictionTransform(nn.Module):
    """What stands between the encoder and the vocabulary: linear, activation, norm.

    (google-research/bert's run_pretraining.py, get_masked_lm_output.)
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = Activation(config.hidden_act)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        initialise(self.dense, config.initializer_range)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(M, D) -> (M, D)."""
        return self.norm(self.activation(self.dense(hidden_states)))  # type: ignore[no-any-return]


class TiedDecoder(nn.Module):
    """A token's score is its product with the token's own embedding, plus a bias (V,).

    The embeddings are handed over at every call and the bias alone is kept here: there is no second
    reference to the matrix that a load or a copy could leave behind.
    """

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, hidden_states: Tensor, word_embeddings: Tensor) -> Tensor:
        """(M, D) and (V, D) -> (M, V)."""
        return F.linear(hidden_states, word_embeddings, self.bias)


class BertForMaskedLM(TaskModel):
    """An encoder that says which token stands behind a [MASK] (Devlin et al. 2019, section 3.1)."""

    task = MASKED_LM

    def make_head(self) -> None:
        self.transform = PredictionTransform(self.config)
        self.decoder = TiedDecoder(self.config.vocab_size)

    def forward(self, batch: PackedBatch, rows: Tensor | None = None) -> Tensor:
        """Packed ids -> vocabulary scores of the chosen tokens.

        Args:
            batch: N tokens.
            rows: (M,) int64, numbers of packed tokens, usually the masked ones: 85 % of the work of
                transform and decoder, the larger part of a small model's, is never done. None
                means all N.

        Returns:
            (M, V).
        """
        hidden_states = self.encoder(batch)  # (N, D)
        if rows is not None:
            hidden_states = hidden_states.index_select(0, rows)  # (M, D)
        logits = self.decoder(self.transform(hidden_states), self.encoder.embeddings.word.weight)
        return logits  # type: ignore[no-any-return]


def masked_lm_loss_sum(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of every masked token times its weight, summed.

    With weights 1 / masked tokens of the block, the sum divided by the number of blocks is the mean
    over blocks of each block's mean.

    Args:
        logits: (M, V); the softmax is computed in float32.
        labels: (M,) int64, the tokens that stood there.
        weights: (M,) float32.

    Returns:
        Scalar float32 (float64 for float64 logits); 0 for M = 0.
    """
    if logits.dtype != torch.float64:
        logits = logits.float()
    losses = F.cross_entropy(logits, labels, reduction="none")  # (M,)
    return (losses * weights).sum()


class Pooler(nn.Module):
    """What stands for a whole sequence: its first token, [CLS], through a layer of its own.

    With tanh in BERT (Devlin et al. 2019, section 3.1; trained by next-sentence prediction), with
    ReLU in DistilBERT, whose files call it pre_classifier.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.activation = Activation("tanh" if config.model_type == "bert" else "relu")
        initialise(self.dense, config.initializer_range)

    def forward(self, hidden_states: Tensor, batch: PackedBatch) -> Tensor:
        """(N, D) -> (B, D)."""
        first_tokens = hidden_states.index_select(0, batch.cu_seqlens[:-1])  # (B, D)
        return self.activation(self.dense(first_tokens))  # type: ignore[no-any-return]


class BertForSequenceClassification(TaskModel):
    """An encoder that says which of C classes a text belongs to (Devlin et al. 2019, section 4.1).

    The classes are `config.labels`.
    """

    task = SEQUENCE_CLASSIFICATION

    def make_head(self) -> None:
        config = self.config
        if config.num_labels < 2 or config.problem_type not in (
            None,
            "single_label_classification",
        ):
            raise ValueError(
                f"the config has problem_type {shown(config.problem_type)} and "
                f"{config.num_labels} labels, expected single_label_classification and at least 2"
            )
        rate = config.classifier_dropout
        self.pooler = Pooler(config)
        self.dropout = Dropout(config.hidden_dropout_prob if rate is None else rate)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        initialise(self.classifier, config.initializer_range)

    def forward(self, batch: PackedBatch) -> Tensor:
        """Packed ids -> scores of the classes (B, C)."""
        pooled = self.pooler(self.encoder(batch), batch)  # (B, D)
        return self.classifier(self.dropout(pooled))  # type: ignore[no-any-return]


def classification_loss_sum(
    logits: Tensor, labels: Tensor, class_weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy of every text times the weight of its class, summed.

    Args:
        logits: (B, C); the softmax is computed in float32.
        labels: (B,) int64, the right classes.
        class_weights: (C,) float, None for 1 each.

    Returns:
        Scalar float32 (float64 for float64 logits). Divided by the sum of its texts' weights,
        `class_weights[labels].sum()` (their number, without weights) over the whole update, it is
        the weighted mean, which torch's and transformers' cross-entropy is over one batch.
    """
    if logits.dtype != torch.float64:
        logits = logits.float()
    if class_weights is not None:
        class_weights = class_weights.to(logits.dtype)
    return F.cross_entropy(logits, labels, class_weights, reduction="sum")
