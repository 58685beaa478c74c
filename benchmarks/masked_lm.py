"""The pretraining step beside transformers': masking, forward, loss, backward, clip, AdamW.

Ours is train.loop.train over data.blocks, as in train.pretrain: masked rows are gathered before the
vocabulary is scored. The peer is BertForMaskedLM (sdpa) with DataCollatorForLanguageModeling over
ready-made features, in the bare loop of benchmarks/step.py; it scores every token. Both mask 15 %
anew in every round and work on the same full-length blocks of random tokens (what the tokens are
changes no time), with dropout 0, so nothing is padded on either side.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.step import our_updates, peer_updates
from benchmarks.timing import Row, alternate
from benchmarks.workload import load_peer
from data.blocks import Blocks, MaskedBatch, collate_masked
from data.masking import Masking
from data.tokenization import Tokenizer
from data.tokenized_squad import Ints
from data.tokenizer_files import SPECIAL_TOKENS
from minibert.config import BertConfig
from minibert.heads import BertForMaskedLM, masked_lm_loss_sum
from minibert.hub import EMBEDDED_FOLDER

EMBEDDED = dataclasses.replace(
    BertConfig.from_file(EMBEDDED_FOLDER / "config.json"),
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
GOALS = {8192: 1.15, 30522: 1.5}  # by vocabulary


def measure(folder: Path, quick: bool) -> list[Row]:
    """Two rows: the embedded model's layers, 64 blocks of 128 tokens, two threads."""
    torch.set_num_threads(2)
    rows = []
    for vocab_size, goal in GOALS.items():
        config = dataclasses.replace(EMBEDDED, vocab_size=vocab_size)
        rows.append(step_row(config, 128, 64, rounds=3 if quick else 9, goal=goal))
    return rows


def step_row(
    config: BertConfig,
    length: int,
    batch_size: int,
    rounds: int,
    device: str = "cpu",
    amp_dtype: torch.dtype | None = None,
    goal: float | None = None,
) -> Row:
    """Time one update a round on each side.

    Args:
        config: of both models.
        length: tokens of a block.
        batch_size: blocks in an update.
        rounds: of them.
        device: of both.
        amp_dtype: autocast dtype, None for float32.
        goal: peer / ours that is promised.
    """
    seconds = alternate(step_sides(config, length, batch_size, device, amp_dtype), rounds)
    size = f"{config.num_hidden_layers} x {config.hidden_size}, vocabulary {config.vocab_size:,}"
    what = f"pretraining step, {size}, {batch_size} blocks of {length}"
    return Row(what, seconds["ours"], seconds["peer"], goal=goal)


def step_sides(
    config: BertConfig, length: int, batch_size: int, device: str, amp_dtype: torch.dtype | None
) -> dict[str, Callable[[int], None]]:
    """The work of both sides, as `alternate` wants it; the arguments are those of `step_row`."""
    place = torch.device(device)
    words = (f"w{number}" for number in range(config.vocab_size - len(SPECIAL_TOKENS)))
    vocabulary = {token: i for i, token in enumerate((*SPECIAL_TOKENS, *words))}
    tokenizer = Tokenizer(vocabulary, lowercase=True)
    torch.manual_seed(0)
    model = BertForMaskedLM(config)
    peer_model, collator = make_peer(model, tokenizer)
    stream = np.random.default_rng(0).integers(
        len(SPECIAL_TOKENS), config.vocab_size, batch_size * (length - 2)
    )
    blocks = Blocks(stream, tokenizer.cls_id, tokenizer.sep_id)
    features = as_features(blocks, length, batch_size)
    masking = Masking.of(tokenizer)

    def make_batch(items: Ints) -> MaskedBatch:
        return collate_masked(blocks, masking, items)

    def loss_sum(model: nn.Module, batch: MaskedBatch) -> torch.Tensor:
        logits = model(batch.packed, batch.rows)
        return masked_lm_loss_sum(logits, batch.labels, batch.weights)

    ours = our_updates(model.to(place), make_batch, loss_sum, place, amp_dtype, batch_size)
    peer = peer_updates(peer_model.to(place), place, amp_dtype, batch_size)

    def items(number: int) -> Ints:
        """(B, 3): length, epoch and number of every block."""
        numbers = np.arange(batch_size)
        return np.stack([np.full_like(numbers, length), np.full_like(numbers, number), numbers], 1)

    return {
        "ours": lambda number: ours(items(number)),
        "peer": lambda number: peer(features, collator),
    }


def make_peer(ours: BertForMaskedLM, tokenizer: Tokenizer) -> tuple[nn.Module, Any]:
    """transformers' model with our weights, read from our files, and its collator."""
    model, reader = load_peer(ours, tokenizer, "AutoModelForMaskedLM")
    import transformers

    collator: Any = transformers.DataCollatorForLanguageModeling(reader)
    return model, collator


def as_features(blocks: Blocks, length: int, count: int) -> list[dict[str, list[int]]]:
    """Blocks as the peer keeps them: the columns that run_mlm's tokenizer makes."""
    return [
        {
            "input_ids": [blocks.cls_id, *ids, blocks.sep_id],
            "token_type_ids": [0] * length,
            "attention_mask": [1] * length,
            "special_tokens_mask": [1, *[0] * (length - 2), 1],
        }
        for ids in blocks.cut(length, np.arange(count))[0].tolist()
    ]
