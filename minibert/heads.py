"""What stands on the encoder for a task: the start/end span head of question answering."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minibert.config import BertConfig
from minibert.encoder import BertModel, initialise
from minibert.hub import ModelFiles, find_model
from minibert.packing import PackedBatch
from minibert.weights import (
    QUESTION_ANSWERING,
    LoadReport,
    load_weights,
    read_tensors,
    save_weights,
)


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


class BertForQuestionAnswering(nn.Module):
    """An encoder with a span head: one linear layer D -> 2 (Devlin et al. 2019, section 4.2).

    It has no pooler. DistilBERT has dropout before the head, BERT has none.

    Attributes:
        config: sizes and rates.
        load_report: where the weights came from; None for random weights.
    """

    task = QUESTION_ANSWERING

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.load_report: LoadReport | None = None
        self.encoder = BertModel(config)
        has_dropout = config.model_type == "distilbert"
        self.dropout = nn.Dropout(config.qa_dropout) if has_dropout else nn.Identity()
        self.span = nn.Linear(config.hidden_size, 2)
        initialise(self.span, config.initializer_range)

    def forward(self, batch: PackedBatch) -> SpanLogits:
        """Packed ids -> start and end scores, each (N,)."""
        hidden_states = self.encoder(batch)  # (N, D)
        start_logits, end_logits = self.span(self.dropout(hidden_states)).unbind(-1)  # (N, 2)
        return SpanLogits(start_logits, end_logits)

    @classmethod
    def from_pretrained(
        cls,
        name_or_folder: str | Path | ModelFiles,
        *,
        new_head: bool = False,
        revision: str | None = None,
        local_files_only: bool = False,
    ) -> "BertForQuestionAnswering":
        """Load a published or saved checkpoint, in evaluation mode, as float32.

        Args:
            name_or_folder: a Hub name ("google-bert/bert-base-uncased"), a folder in the Hub's
                layout, or a run folder (its best/ is meant); or files that `find_model` found.
            new_head: allow a checkpoint without span head; the head is then new, N(0,
                initializer_range), and must be trained.
            revision: Hub branch, tag or commit.
            local_files_only: never ask the network.

        Raises:
            ValueError: not found, unreadable, or weights that do not fit; nothing is half-loaded.
        """
        files = name_or_folder
        if not isinstance(files, ModelFiles):
            files = find_model(files, revision=revision, local_files_only=local_files_only)
        config = BertConfig.from_file(files.folder / "config.json")
        tensors = read_tensors(files.folder)
        with torch.device("meta"):  # no time spent on random weights that are replaced at once
            model = cls(config)
        try:
            loaded, ignored, new = load_weights(model, config, cls.task, tensors, new_head)
        except ValueError as error:
            raise ValueError(f"{files.source}: {error}") from None
        if new:
            model.span = nn.Linear(config.hidden_size, 2)
            initialise(model.span, config.initializer_range)
        model.load_report = LoadReport(files.source, files.commit, loaded, ignored, new)
        return model.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors as the Hub has them (float32).

        transformers' AutoModelForQuestionAnswering loads the folder with nothing missing. The
        tokenizer writes its own files beside them.
        """
        save_weights(self, self.config, self.task, Path(folder))
