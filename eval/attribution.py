"""Why this answer: what it rests on, through the activations of the model.

    integrated_gradients   how much each token's word embedding adds to a span's score
    span_lens              what the span head makes of every layer: where does the answer appear?
    head_ablation          by how much a span's score drops without one head
    without_heads          takes heads out of any forward pass; eval/ablate.py does over a data set
    best_span              the span that answers

A span's score is its start logit + its end logit, as everywhere.
"""

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from data.windows import Windows
from eval.answerer import WindowLogits
from eval.spans import find_spans
from minibert import BertForQuestionAnswering, PackedBatch, SpanLogits
from minibert.trace import record, replace

TOKENS_AT_ONCE = 2048  # of the copies of a window that go through the model together


class Attribution(NamedTuple):
    """What the tokens add to a span's score.

    Attributes:
        tokens: (N,) float32, each token's part; those of kept tokens are 0.
        score: of the span in the window.
        baseline_score: of the same span in the baseline.
        steps: points of the path that were needed.
    """

    tokens: Tensor
    score: float
    baseline_score: float
    steps: int

    @property
    def gap(self) -> float:
        """Sum of the parts - (score - baseline score): 0 but for the error of the quadrature."""
        return float(self.tokens.cpu().double().sum()) - (self.score - self.baseline_score)

    @property
    def is_complete(self) -> bool:
        """Whether the gap is at most 1 % of the difference that is explained, or 0.001."""
        return abs(self.gap) <= max(0.01 * abs(self.score - self.baseline_score), 1e-3)


def integrated_gradients(
    model: BertForQuestionAnswering,
    batch: PackedBatch,
    start: int,
    end: int,
    kept_ids: Collection[int],
    *,
    steps: int = 32,
    most_steps: int = 1024,
) -> Attribution:
    """Integrated gradients of a span's score over the word embeddings (Sundararajan et al. 2017).

    The gradient is integrated along the straight line from a window of [PAD] words to the real one.
    Positions and token types stay, and so do the special tokens, without which it would be no
    window. Gauss-Legendre quadrature; the steps are doubled until the parts sum up to the
    difference of the scores (`Attribution.is_complete`). Computed in float32, under autocast too:
    bfloat16 rounds more coarsely than what is asked of the sum.

    Args:
        model: put into evaluation mode.
        batch: one window.
        start: the span's first token, as place in the window.
        end: its last token, inclusive.
        kept_ids: ids that stay in the baseline: `(tokenizer.cls_id, tokenizer.sep_id)`.
        steps: points of the path to begin with.
        most_steps: the last try; if that is incomplete too, a warning says so.

    Raises:
        ValueError: more than one window, or a place outside it.
    """
    _require_span(batch, start, end)
    model.eval()
    words = model.encoder.embeddings.word
    kept = torch.isin(batch.input_ids, batch.input_ids.new_tensor(list(kept_ids)))
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(batch.input_ids.device.type, enabled=False),
    ):
        with torch.no_grad():
            real = words(batch.input_ids)  # (N, D)
            pad = words(torch.full_like(batch.input_ids, model.config.pad_token_id))
        change = torch.where(kept[:, None], 0.0, real - pad)  # (N, D)
        ends = torch.stack([real - change, real])
        baseline_score, score = _scores_along(model, batch, ends, start, end).tolist()
        while True:
            nodes, weights = np.polynomial.legendre.leggauss(steps)  # on [-1, 1]
            total = torch.zeros_like(real)
            at_once = max(1, TOKENS_AT_ONCE // batch.num_tokens)
            for first in range(0, steps, at_once):
                part = slice(first, first + at_once)
                place = real.new_tensor((nodes[part] - 1) / 2)[:, None, None]  # -1 to 0
                points = (real + place * change).requires_grad_()  # (S, N, D)
                scores = _scores_along(model, batch, points, start, end)
                (gradients,) = torch.autograd.grad(scores.sum(), points)
                total += torch.einsum("s,snd->nd", real.new_tensor(weights[part] / 2), gradients)
            found = Attribution((total * change).sum(-1), score, baseline_score, steps)
            if found.is_complete or steps >= most_steps:
                break
            steps = min(2 * steps, most_steps)
    if not found.is_complete:
        warnings.warn(
            f"integrated gradients of {steps} steps sum up to {found.gap:+.2g} beside the "
            f"difference of {score - baseline_score:.4g}; allow more steps",
            stacklevel=2,
        )
    return found


def _scores_along(
    model: BertForQuestionAnswering, batch: PackedBatch, points: Tensor, start: int, end: int
) -> Tensor:
    """(S, N, D) word embeddings of one window -> the span's (S,) scores."""
    copies = len(points)
    many = PackedBatch(
        batch.input_ids.repeat(copies),
        batch.token_type_ids.repeat(copies),
        batch.position_ids.repeat(copies),
        batch.lengths * copies,
        torch.arange(copies + 1, dtype=torch.int32, device=points.device) * batch.num_tokens,
        batch.padded_length,
    )
    with replace(model, {"encoder.embeddings.word": lambda words: points.flatten(0, 1)}):
        logits = model(many)
    starts, ends = (x.view(copies, -1) for x in logits)  # (S, N)
    return cast(Tensor, starts[:, start] + ends[:, end])


@torch.no_grad()
def span_lens(model: BertForQuestionAnswering, batch: PackedBatch) -> SpanLogits:
    """Apply the span head after the embeddings and after every layer.

    Post-norm layers put out normalised vectors of one kind, so the head can be applied to each; the
    last is what the model says. (For language models: the logit lens, nostalgebraist 2020.)

    Args:
        model: put into evaluation mode.
        batch: any windows.

    Returns:
        (L + 1, N) start and end logits.
    """
    model.eval()
    names = [
        "encoder.embeddings",
        *(f"encoder.layers.{i}" for i in range(len(model.encoder.layers))),
    ]
    with record(model, names) as seen:
        model(batch)
    logits = torch.stack([model.span(model.dropout(seen[name])) for name in names])  # (L + 1, N, 2)
    return SpanLogits(*logits.unbind(-1))


@contextmanager
def without_heads(
    model: BertForQuestionAnswering, heads: Iterable[tuple[int, int]]
) -> Iterator[None]:
    """In the block's forward passes these heads contribute nothing: their mixed values are 0.

    Args:
        model: on any device.
        heads: (layer, head) pairs, each counted from 0.

    Raises:
        ValueError: a head that the model has not.
    """
    config = model.config
    columns: dict[int, list[int]] = {}  # of the context vectors, by layer
    for layer, head in heads:
        if not (0 <= layer < config.num_hidden_layers and 0 <= head < config.num_attention_heads):
            raise ValueError(
                f"there is no head {layer}.{head}; the model has the layers 0 to "
                f"{config.num_hidden_layers - 1} with the heads 0 to "
                f"{config.num_attention_heads - 1}"
            )
        columns.setdefault(layer, []).extend(
            range(head * config.head_size, (head + 1) * config.head_size)
        )

    def zero(columns: list[int]) -> Callable[[Tensor], Tensor]:
        index = torch.tensor(columns, device=model.span.weight.device)
        return lambda context: context.index_fill(1, index, 0)  # (N, D)

    names = {f"encoder.layers.{i}.attention.context": zero(c) for i, c in columns.items()}
    with replace(model, names):
        yield


@torch.no_grad()
def head_ablation(
    model: BertForQuestionAnswering, batch: PackedBatch, start: int, end: int
) -> Tensor:
    """By how much a span's score drops when one head is taken out, for every head in turn.

    Args:
        model: put into evaluation mode.
        batch: one window.
        start: the span's first token, as place in the window.
        end: its last token, inclusive.

    Returns:
        (L, H) float32; negative where the score rises.

    Raises:
        ValueError: more than one window, or a place outside it.
    """
    _require_span(batch, start, end)
    model.eval()

    def span_score() -> float:
        logits = model(batch)
        return float(logits.start_logits[start].float() + logits.end_logits[end].float())

    whole = span_score()
    drops = torch.zeros(model.config.num_hidden_layers, model.config.num_attention_heads)
    for layer, head in np.ndindex(*drops.shape):
        with without_heads(model, [(layer, head)]):
            drops[layer, head] = whole - span_score()
    return drops


def best_span(
    logits: WindowLogits, windows: Windows, max_answer_length: int
) -> tuple[int, int, int]:
    """The best span of all windows.

    Returns:
        Its window, first token and last token (inclusive), both as places in that window.

    Raises:
        ValueError: no window has context.
    """
    scores, starts, ends = find_spans(
        logits.start_logits, logits.end_logits, logits.bounds, windows.first, windows.count,
        n_best=1, max_answer_length=max_answer_length,
    )  # fmt: skip
    window = int(scores[:, 0].argmax())
    if not windows.count[window]:
        raise ValueError("the context has no tokens, so there is no span to explain")
    first = int(windows.first[window])
    return window, first + int(starts[window, 0]), first + int(ends[window, 0])


def _require_span(batch: PackedBatch, start: int, end: int) -> None:
    if batch.num_sequences != 1:
        raise ValueError(f"the batch has {batch.num_sequences} windows, expected one")
    for name, place in (("start", start), ("end", end)):
        if not 0 <= place < batch.num_tokens:
            raise ValueError(
                f"{name} is {place}, expected a place from 0 to {batch.num_tokens - 1}"
            )
