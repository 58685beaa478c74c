"""A trained question-answering model, ready to answer: its windows, its logits, its answers.

`Answerer.load` brings model, tokenizer and settings together; `predict_logits` runs the model over
windows, and `decode_windows` reads the answers out of its scores. Training evaluates with the same
functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from data.batches import collate
from data.qa_settings import SETTINGS_FILE, QASettings, make_example_windows
from data.ranks import ALONE, Ranks
from data.squad import SquadExample
from data.tokenization import Tokenizer
from data.tokenized_squad import Ints
from data.windows import Windows
from eval.longest_first import longest_first
from eval.spans import Decoded, decode
from minibert.device import choose_amp_dtype, choose_device
from minibert.heads import BertForQuestionAnswering, span_loss_sum
from minibert.hub import find_model


class WindowLogits(NamedTuple):
    """Scores of all tokens of all windows, in the windows' order.

    Attributes:
        start_logits: (N,) float32.
        end_logits: (N,) float32.
        bounds: (W + 1,) int64; window w owns [bounds[w], bounds[w + 1]).
        loss: mean over the windows of the span loss against the first gold answers.
    """

    start_logits: NDArray[np.float32]
    end_logits: NDArray[np.float32]
    bounds: Ints
    loss: float


def predict_logits(
    model: BertForQuestionAnswering,
    windows: Windows,
    device: torch.device,
    amp_dtype: torch.dtype | None = None,
    tokens_per_batch: int | None = None,
    ranks: Ranks = ALONE,
) -> WindowLogits:
    """Run the model over all windows, longest first, so that memory runs out at once or never.

    Args:
        model: on `device`; put into evaluation mode.
        windows: at least one.
        device: where batches go.
        amp_dtype: autocast dtype, None for float32.
        tokens_per_batch: real tokens in a batch at most (a single longer window is a batch);
            default 2,048 on a CPU, which is as fast as any larger one, 32,768 elsewhere.
        ranks: that share the windows; each gets the scores of all.
    """
    lengths = windows.lengths
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    logits_of: list[torch.Tensor] = []
    losses: list[torch.Tensor] = []
    firsts: list[int] = []

    def run(chosen: Ints) -> None:
        batch = collate(windows, chosen).to(device, non_blocking=True)
        logits = model(batch.packed)
        loss = span_loss_sum(logits, batch.packed, batch.start_positions, batch.end_positions)
        logits_of.append(torch.stack([logits.start_logits.float(), logits.end_logits.float()]))
        losses.append(loss)
        firsts.append(int(chosen[0]))

    order = longest_first(model, lengths, run, device, amp_dtype, tokens_per_batch, "window", ranks)
    # Back into the windows' own order: token t of sorted window w goes to bounds[w] + t.
    sizes = lengths[order]
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    place = np.repeat(bounds[order], sizes) + within
    flat = np.zeros((2, bounds[-1]), np.float32)
    if logits_of:  # a rank may have had no batch
        flat[:, place] = torch.cat(logits_of, 1).cpu().numpy()
    ranks.fill(flat)
    return WindowLogits(flat[0], flat[1], bounds, _mean_loss(losses, firsts, lengths, ranks))


def _mean_loss(losses: list[torch.Tensor], firsts: list[int], lengths: Ints, ranks: Ranks) -> float:
    """Loss sums of batches -> the mean over all windows, added up in one order on any ranks.

    Args:
        losses: () each, of this rank's batches.
        firsts: the first window of each batch.
        lengths: (W,) tokens of the windows.
        ranks: that share them.
    """
    own = torch.stack(losses).tolist() if losses else []
    pairs = [pair for rank in ranks.gather(list(zip(firsts, own, strict=True))) for pair in rank]
    pairs.sort(key=lambda pair: (-lengths[pair[0]], pair[0]))
    dtype = losses[0].dtype if losses else torch.float32
    return torch.tensor([loss for _, loss in pairs], dtype=dtype).sum().item() / len(lengths)


def decode_windows(
    logits: WindowLogits, windows: Windows, *, n_best: int = 20, max_answer_length: int = 30
) -> list[Decoded]:
    """Answers of all examples, in their order, from the logits of their windows."""
    tokens = windows.tokens
    return decode(
        logits.start_logits,
        logits.end_logits,
        logits.bounds,
        windows.first,
        windows.count,
        windows.example,
        windows.token_begin,
        tokens.context_tokens.char_starts,
        tokens.context_tokens.char_ends,
        [tokens.contexts[c] for c in tokens.context_of.tolist()],
        n_best=n_best,
        max_answer_length=max_answer_length,
    )


@dataclass(frozen=True)
class Answerer:
    """A loaded model with everything needed to answer questions.

    Attributes:
        model: in evaluation mode.
        tokenizer: the model's.
        settings: windows and thresholds.
        device: where the model is.
        amp_dtype: autocast dtype, None for float32.
    """

    model: BertForQuestionAnswering
    tokenizer: Tokenizer
    settings: QASettings
    device: torch.device
    amp_dtype: torch.dtype | None

    @classmethod
    def load(
        cls,
        name_or_folder: str,
        revision: str | None = None,
        device: str = "auto",
        amp: bool = False,
        amp_dtype: str = "auto",
        ranks: Ranks = ALONE,
    ) -> "Answerer":
        """Load a question-answering model with its tokenizer and settings.

        Raises:
            ValueError: not found, not readable, or without a trained span head.
        """
        files = find_model(name_or_folder, revision=revision, optional=(SETTINGS_FILE,))
        place = choose_device(device, ranks.local_rank, ranks.local_size)
        model = BertForQuestionAnswering.from_pretrained(files, new_head=True)
        if model.load_report is not None and model.load_report.new:
            raise ValueError(
                f"{files.source} has no span head, so it cannot answer questions yet; fine-tune it "
                f"first: python -m train.squad --model {files.source}"
            )
        tokenizer = Tokenizer.from_folder(files.folder)
        tokenizer.require_ids(model.config.vocab_size, files.source)
        settings = QASettings.from_folder(files.folder, model.config.max_position_embeddings)
        dtype = choose_amp_dtype(place, amp_dtype) if amp else None
        return cls(model.to(place), tokenizer, settings, place, dtype)

    def with_settings(self, *, null_answer: bool = True, **changes: Any) -> "Answerer":
        """The same with some settings replaced.

        Args:
            null_answer: False for an answerer that never says "", whatever the threshold was.
            changes: as of `QASettings.changed`.

        Raises:
            ValueError: a window longer than the model's positions.
        """
        longest = self.model.config.max_position_embeddings
        settings = self.settings.changed(longest, null_answer=null_answer, **changes)
        return replace(self, settings=settings)

    @property
    def null_threshold(self) -> float:
        """The threshold for questions of unknown kind."""
        return self.settings.threshold(True)

    def windows(self, examples: Sequence[SquadExample]) -> Windows:
        """The windows of examples, as the model's settings cut them."""
        return make_example_windows(examples, self.tokenizer, self.settings)

    def decode(
        self,
        examples: Sequence[SquadExample],
        n_best: int = 20,
        tokens_per_batch: int | None = None,
    ) -> tuple[Windows, list[Decoded], float]:
        """Windows, answers of all examples in order, and the loss against their gold answers."""
        windows = self.windows(examples)
        logits = predict_logits(self.model, windows, self.device, self.amp_dtype, tokens_per_batch)
        length = self.settings.max_answer_length
        decoded = decode_windows(logits, windows, n_best=n_best, max_answer_length=length)
        return windows, decoded, logits.loss
