"""What the page of `eval.explain` shows of one question: every figure, as plain JSON values.

Everything that a context has many of - scores of tokens, attention - is bytes in base64; the page
turns them into typed arrays. Scores are float32, bit for bit the model's. Attention is quantised to
a byte, and where that is still too much for a page, the largest weights are kept.
"""

import base64
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data.batches import collate
from data.command import UsageError
from data.qa_settings import make_example_windows
from data.squad import SquadExample
from data.windows import Windows
from eval.answerer import Answerer, WindowLogits, decode_windows, predict_logits
from eval.attribution import head_ablation, integrated_gradients, span_lens
from eval.prediction_files import n_best_entries
from eval.spans import Decoded, find_spans
from minibert.packing import PackedBatch
from minibert.trace import record

ATTENTION_BYTES = 1_150_000  # of a page, before base64: with all else it stays below 2 MB
MOST_STEPS = 256  # of the integrated gradients, doubled until they sum up
LEAST_KEPT = 4  # weights of a row that are kept at least, where there is room

Floats = NDArray[np.float32]


def explain(
    answerer: Answerer,
    example: SquadExample,
    *,
    threshold: float,
    is_known: bool,
    window: int | None = None,
    top: int = 20,
    steps: int = 32,
) -> dict[str, Any]:
    """Answer one question and write down how it came about.

    Args:
        answerer: model, tokenizer, settings.
        example: the question.
        threshold: "" is the answer where null score - best score is above it; may be infinite.
        is_known: whether the example's answers, or that it has none, are the right ones.
        window: whose inside is shown; None for the one with the best span.
        top: best spans listed at most, beside "no answer".
        steps: points of the integrated gradients.

    Returns:
        What eval/explain.html reads.

    Raises:
        UsageError: no such window, or a question or context without a single token.
    """
    settings = answerer.settings
    windows = make_example_windows([example], answerer.tokenizer, settings)
    tokens = windows.tokens
    for what, count in (
        ("the question", len(tokens.question_ids[0])),
        ("the context", len(tokens.context_tokens.ids)),
    ):
        if not count:
            raise UsageError(f"{what} holds nothing that the tokenizer could read; expected text")
    if window is not None and not 0 <= window < len(windows):
        raise UsageError(f"--window is {window}, expected 0 to {len(windows) - 1}")
    logits = predict_logits(answerer.model, windows, answerer.device, answerer.amp_dtype)
    length = settings.max_answer_length
    (decoded,) = decode_windows(logits, windows, n_best=top, max_answer_length=length)
    spans = _spans(decoded, windows, logits, with_null=math.isfinite(threshold))
    best = next((span for span in spans if span["start"] is not None), None)
    if best is None:
        raise UsageError("no token of the context has a character of its own; expected text")
    shown = best["window"] if window is None else window
    scores, starts, ends = find_spans(
        logits.start_logits, logits.end_logits, logits.bounds, windows.first, windows.count,
        n_best=1, max_answer_length=length,
    )  # fmt: skip
    places = np.concatenate([starts, ends], 1) + windows.first[:, None]
    each = [
        _window(windows, logits, w, scores.item(w), places[w].tolist()) for w in range(len(windows))
    ]
    config = answerer.model.config
    pieces = tokens.context_tokens
    notes = {
        "question_cut": bool(tokens.cut_questions),
        "lost": bool(windows.lost),
        "misaligned": bool(windows.misaligned),
        "trimmed": bool(windows.trimmed),
        "long_words": bool(tokens.long_words),
    }
    return {
        "model": {
            "type": config.model_type,
            "layers": config.num_hidden_layers,
            "heads": config.num_attention_heads,
            "hidden_size": config.hidden_size,
            "parameters": sum(p.numel() for p in answerer.model.parameters()),
        },
        "settings": {
            "max_length": settings.max_length,
            "max_answer_length": length,
            "threshold": threshold if math.isfinite(threshold) else None,
        },
        "id": example.id,
        "title": example.title,
        "question": example.question,
        "context": example.context,
        "gold": _gold(example) if is_known else None,
        "answer": decoded.answer(threshold),
        "null_score": decoded.null_score,
        "null_odds": decoded.null_odds,
        "notes": notes,
        "spans": spans,
        "char_starts": _base64(pieces.char_starts, np.int32),
        "char_ends": _base64(pieces.char_ends, np.int32),
        "start_logits": _base64(logits.start_logits, np.float32),
        "end_logits": _base64(logits.end_logits, np.float32),
        "windows": each,
        "inside": _inside(answerer, windows, shown, each[shown], spans, steps),
    }


def _gold(example: SquadExample) -> list[dict[str, Any]]:
    """The right answers, each place once; empty for an impossible question."""
    answers = dict.fromkeys(example.answers)
    return [{"text": one.text, "start": one.start, "end": one.end} for one in answers]


def _spans(
    decoded: Decoded, windows: Windows, logits: WindowLogits, with_null: bool
) -> list[dict[str, Any]]:
    """The best spans as in nbest.json, each with its window and its tokens there, inclusive."""
    pieces = windows.tokens.context_tokens
    entries = n_best_entries(decoded, with_null=with_null)
    for entry in entries:
        entry["score"] = entry["start_logit"] + entry["end_logit"]
        if entry["start"] is None:
            continue
        begins = np.flatnonzero(pieces.char_starts == entry["start"])
        stops = np.flatnonzero(pieces.char_ends == entry["end"])
        for w in range(len(windows)):
            shift = int(windows.first[w] - windows.start[w])  # context token -> token of the window
            base = int(logits.bounds[w])
            inside = [
                [t + shift for t in found.tolist() if 0 <= t - windows.start[w] < windows.count[w]]
                for found in (begins, stops)
            ]
            first = [t for t in inside[0] if logits.start_logits[base + t] == entry["start_logit"]]
            last = [t for t in inside[1] if logits.end_logits[base + t] == entry["end_logit"]]
            if first and last:
                entry.update(window=w, first=first[0], last=last[-1])
                break
    return entries


def _window(
    windows: Windows, logits: WindowLogits, w: int, score: float, best: Sequence[int]
) -> dict[str, Any]:
    """Where a window lies, its label, and its best span (tokens of the window, inclusive)."""
    begin, count = int(windows.start[w]), int(windows.count[w])
    pieces = windows.tokens.context_tokens
    cls = int(logits.bounds[w])
    return {
        "start": begin,
        "count": count,
        "first": int(windows.first[w]),
        "question_first": int(windows.question_first[w]),
        "offset": cls,  # of its first token among all windows' scores
        "length": int(windows.lengths[w]),
        "characters": [int(pieces.char_starts[begin]), int(pieces.char_ends[begin + count - 1])],
        "label": [int(windows.start_positions[w]), int(windows.end_positions[w])],
        "best": list(best),
        "score": score,
        "null_score": float(logits.start_logits[cls] + logits.end_logits[cls]),
    }


def _inside(
    answerer: Answerer,
    windows: Windows,
    w: int,
    window: dict[str, Any],
    spans: list[dict[str, Any]],
    steps: int,
) -> dict[str, Any]:
    """Tokens, attention, span lens and attributions of one window."""
    tokens = windows.tokens
    model, tokenizer = answerer.model, answerer.tokenizer
    batch = collate(windows, np.array([w])).to(answerer.device).packed
    asked = tokenizer.encode_with_offsets([tokens.examples[0].question])
    question = len(tokens.question_ids[0])
    best = next((s for s in spans if s.get("window") == w), None)
    span = (best["first"], best["last"]) if best else tuple(window["best"])
    targets = {"best span": span, "no answer": (0, 0)}
    label = tuple(window["label"])
    if label not in targets.values():
        targets["right answer"] = label
    lens = span_lens(model, batch)
    probs = _probs(answerer, batch)
    attributions = []
    for name, (start, end) in targets.items():
        found = integrated_gradients(
            model, batch, start, end, (tokenizer.cls_id, tokenizer.sep_id),
            steps=steps, most_steps=max(steps, MOST_STEPS),
        )  # fmt: skip
        attributions.append(
            {
                "name": name,
                "span": [start, end],
                "score": found.score,
                "baseline": found.baseline_score,
                "values": _base64(found.tokens.cpu().numpy(), np.float32),
            }
        )
    return {
        "window": w,
        "pieces": [tokenizer.tokens[i] for i in windows.input_ids(w)],
        "question_starts": asked.char_starts[:question].tolist(),
        "question_ends": asked.char_ends[:question].tolist(),
        "attention": pack_attention(probs),
        "shares": _base64(_shares(probs, window, question), np.float32),
        "lens": {
            "start": _base64(lens.start_logits.float().cpu().numpy(), np.float32),
            "end": _base64(lens.end_logits.float().cpu().numpy(), np.float32),
        },
        "ablation": _base64(head_ablation(model, batch, *span).numpy(), np.float32),
        "attributions": attributions,
    }


def _probs(answerer: Answerer, batch: PackedBatch) -> Floats:
    """(L, H, T, T), who looks at whom in a batch of one window."""
    model = answerer.model
    model.encoder.use_explicit_attention()
    try:
        with torch.inference_mode(), record(model, "encoder.layers.*.attention.core.probs") as seen:
            model(batch)
            layers = [probs[0].float().cpu() for probs in seen.values()]
    finally:
        model.encoder.use_explicit_attention(False)
    return torch.stack(layers).numpy()


def _shares(probs: Floats, window: dict[str, Any], question: int) -> Floats:
    """(L, H, 3, 3): how much of its attention a token of one part gives to the tokens of another.

    Parts are [CLS] and [SEP], the question, the context; means over the tokens that look.
    """
    part = np.zeros(probs.shape[-1], np.int64)
    part[window["question_first"] :][:question] = 1
    part[window["first"] :][: window["count"]] = 2
    member = np.eye(3, dtype=np.float32)[part]  # (T, 3)
    shares: Floats = (member / member.sum(0)).T @ (probs @ member)
    return shares


def pack_attention(probs: Floats, most_bytes: int = ATTENTION_BYTES) -> dict[str, Any]:
    """Attention as bytes: p -> round(255 sqrt(p)), which keeps small weights apart.

    Args:
        probs: (L, H, T, T).
        most_bytes: before base64. Where a byte for each weight is more, only the largest are kept:
            a few of every row (a token's view of the others), then those above one bound.

    Returns:
        {"values"} with L * H * T * T bytes; or {"counts", "columns", "values"}, where row after row
        has counts[row] weights (uint16), of the tokens in columns (uint16), ascending.
    """
    size = probs.shape[-1]
    levels = np.rint(255 * np.sqrt(probs)).astype(np.uint8).reshape(-1, size)  # (R, T)
    if levels.size <= most_bytes:
        return {"values": _base64(levels, np.uint8)}
    most = (most_bytes - 2 * len(levels)) // 3  # weights: two bytes for the column, one for itself
    least = max(1, min(LEAST_KEPT, most // (2 * len(levels))))
    always = np.argpartition(-probs.reshape(-1, size), least - 1, axis=1)[:, :least]
    kept = np.zeros(levels.shape, np.bool_)
    np.put_along_axis(kept, always, True, axis=1)
    # (256,) how many others have at least a level; the bound is the lowest that there is room for
    others = np.bincount(levels[~kept], minlength=256)[::-1].cumsum()[::-1]
    bound = int(np.flatnonzero(np.append(others, 0) <= most - kept.sum())[0])
    kept |= levels >= max(bound, 1)
    kept &= levels > 0
    return {
        "counts": _base64(kept.sum(1), np.uint16),
        "columns": _base64(np.nonzero(kept)[1], np.uint16),
        "values": _base64(levels[kept], np.uint8),
    }


def _base64(values: NDArray[Any], dtype: type[np.generic]) -> str:
    """Little-endian numbers, as every browser's typed arrays have them on today's machines."""
    plain = np.ascontiguousarray(values, np.dtype(dtype).newbyteorder("<"))
    return base64.b64encode(plain.tobytes()).decode()
