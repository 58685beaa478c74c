"""Inference beside transformers': windows -> start and end logits, batch building included.

Ours is eval.predict.predict_logits, which sorts the windows and also computes the dev loss and puts
everything back in order. The peer is BertForQuestionAnswering (sdpa) under inference_mode, in
batches of 8 (its Trainer's default), with DataCollatorWithPadding, four ways:

    padded to 384    every batch, as run_qa does unless told otherwise
    dynamic          windows in random order, padded to the longest of the batch
    length-sorted    dynamic, longest first
    file order       dynamic, neighbours in the file together; as they share their context, they are
                     nearly equally long, so this is close to sorted

All work on the same windows in every round: neighbouring stretches of the file.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.timing import Row, alternate
from benchmarks.workload import (
    DEV_FILE,
    SIZES,
    as_features,
    copy_weights,
    make_ours,
    make_peer,
    make_peer_tokenizer,
    read_windows,
    synchronise,
)
from data.tokenized_squad import Ints
from data.windows import Windows
from eval.answerer import WindowLogits, predict_logits

PEER_BATCH = 8
GOALS = {"padded to 384": 2.0, "dynamic": 1.5, "length-sorted": 1.0, "file order": None}
STRETCHES = 8  # parts of the file that a round is put together from


def measure(folder: Path, quick: bool) -> list[Row]:
    """Four rows: 4 layers x 256 wide, two threads."""
    torch.set_num_threads(2)
    return inference_rows(
        folder, "small", torch.device("cpu"), None,
        rounds=3 if quick else 9, count=64 if quick else 384,
    )  # fmt: skip


def inference_rows(
    folder: Path,
    size: str,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    rounds: int,
    count: int,
    peer_batch: int = PEER_BATCH,
) -> list[Row]:
    """Time inference.

    Args:
        folder: of the data files.
        size: of the model, a key of SIZES.
        device: of both models.
        amp_dtype: autocast dtype, None for float32.
        rounds: timed ones.
        count: windows of every side in a round.
        peer_batch: windows in one batch of the peer.
    """
    windows = read_windows(folder, DEV_FILE)
    model, peer = make_ours(SIZES[size]), make_peer(SIZES[size])
    copy_weights(model, peer)
    model, peer = model.to(device), peer.to(device).eval()
    tokenizer = make_peer_tokenizer(folder)
    draws = [draw(len(windows), count, number) for number in range(rounds)]
    parts = [select(windows, chosen) for chosen in draws]

    features = [as_features(part, range(count)) for part in parts]
    theirs = peer_logits(peer, tokenizer, features[0], True, device, None, peer_batch)
    check_equal(predict_logits(model, parts[0], device), theirs)

    def peer_round(number: int, order: Ints, padding: str | bool) -> None:
        ordered = [features[number][w] for w in order.tolist()]
        peer_logits(peer, tokenizer, ordered, padding, device, amp_dtype, peer_batch)

    def our_round(number: int) -> None:
        predict_logits(model, parts[number], device, amp_dtype)
        synchronise(device)

    everything = np.arange(count)
    shuffled = np.random.default_rng(0).permutation(count)
    seconds = alternate(
        {
            "ours": our_round,
            "padded to 384": lambda number: peer_round(number, everything, "max_length"),
            "dynamic": lambda number: peer_round(number, shuffled, True),
            "length-sorted": lambda number: peer_round(
                number, np.argsort(-parts[number].lengths, kind="stable"), True
            ),
            "file order": lambda number: peer_round(number, everything, True),
        },
        rounds,
    )
    arithmetic = "" if amp_dtype is None else f", {str(amp_dtype).removeprefix('torch.')}"
    return [
        Row(
            f"inference, {size}{arithmetic}, {count} windows: {how}",
            seconds["ours"],
            seconds[how],
            goal=goal if size == "small" and amp_dtype is None else None,
        )
        for how, goal in GOALS.items()
    ]


def draw(total: int, count: int, number: int) -> Ints:
    """(count,) windows in the order of the file: stretches of neighbours from all over it."""
    sizes = np.diff(np.linspace(0, count, STRETCHES + 1).astype(np.int64))
    begins = np.sort(np.random.default_rng(number).integers(0, total - sizes.max(), STRETCHES))
    return np.concatenate([np.arange(b, b + n) for b, n in zip(begins, sizes, strict=True)])


def select(windows: Windows, chosen: Ints) -> Windows:
    """Some of the windows, as if they were all there are."""
    return replace(
        windows,
        example=windows.example[chosen],
        start=windows.start[chosen],
        count=windows.count[chosen],
        first=windows.first[chosen],
        start_positions=windows.start_positions[chosen],
        end_positions=windows.end_positions[chosen],
    )


def peer_logits(
    model: Any,
    tokenizer: Any,
    features: list[dict[str, Any]],
    padding: str | bool,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    batch_size: int,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The peer's start and end logits, (B, T) float32 on the CPU, batch by batch."""
    from transformers import DataCollatorWithPadding

    collator: Any = DataCollatorWithPadding(tokenizer, padding=padding)
    logits = []
    with (
        torch.inference_mode(),
        torch.autocast(device.type, amp_dtype, enabled=amp_dtype is not None),
    ):
        for begin in range(0, len(features), batch_size):
            output = model(**collator(features[begin : begin + batch_size]).to(device))
            logits.append((output.start_logits.float(), output.end_logits.float()))
    return [(start.cpu(), end.cpu()) for start, end in logits]  # not before: a GPU is waited for


def check_equal(ours: WindowLogits, theirs: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Both models give the same logits in float32.

    Raises:
        AssertionError: they differ by more than 1e-4.
    """
    starts = [row for start, _ in theirs for row in start.numpy()]
    ends = [row for _, end in theirs for row in end.numpy()]
    for w, (start, end) in enumerate(zip(starts, ends, strict=True)):
        own = slice(ours.bounds[w], ours.bounds[w + 1])
        for mine, row in ((ours.start_logits[own], start), (ours.end_logits[own], end)):
            difference = np.abs(mine - row[: len(mine)]).max()
            assert difference < 1e-4, f"logits of window {w} differ by {difference}"
