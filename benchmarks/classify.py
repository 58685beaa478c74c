"""The training step on tweets beside transformers': forward, loss, backward, clip, AdamW, batches.

Ours is train.loop.train with the batches of train.classify; the peer BertForSequenceClassification
(sdpa) in a bare loop with DataCollatorWithPadding over ready-made features, padded to 80 tokens and
dynamically. All work on the same tweets, in the same order, with the weights of the same file.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.step import our_updates, peer_updates
from benchmarks.timing import Row, alternate
from benchmarks.workload import SIZES, load_peer, read_tokenizer
from data.batches import ClassBatch, LabelledTexts, collate_labelled, encode_labelled
from data.tokenized_squad import Ints
from data.tweets import read_tweets
from minibert.heads import BertForSequenceClassification, classification_loss_sum

TRAIN_FILE = "tweets/vaccine_train_set.csv"
MAX_LENGTH, BATCH_SIZE = 80, 32
GOALS = {"padded to 80": 1.7, "dynamic": 1.2}


def measure(folder: Path, quick: bool) -> list[Row]:
    """Two rows: 4 layers x 256 wide, batch 32, dropout 0.1, two threads."""
    torch.set_num_threads(2)
    rounds, batches = (3, 2) if quick else (9, 8)
    seconds = alternate(step_sides(folder, batches), rounds)
    what = f"training step on tweets, small, {batches} x {BATCH_SIZE}"
    return [
        Row(f"{what}: {how}", seconds["ours"], seconds[how], goal=goal)
        for how, goal in GOALS.items()
    ]


def step_sides(folder: Path, batches: int) -> dict[str, Callable[[int], None]]:
    """The work of every side, as `alternate` wants it.

    Args:
        folder: of the data files.
        batches: updates of every side in a round.
    """
    tweets = read_tweets(folder / TRAIN_FILE)
    tokenizer = read_tokenizer(folder)
    texts = encode_labelled(tweets.texts, tweets.labels, tokenizer, MAX_LENGTH)
    torch.manual_seed(0)
    config = replace(SIZES["small"], labels=tuple(tweets.label_names))
    model = BertForSequenceClassification(config)
    peer_model, peer_tokenizer = load_peer(model, tokenizer, "AutoModelForSequenceClassification")
    peer_tokenizer.model_max_length = MAX_LENGTH
    import transformers

    place = torch.device("cpu")
    weights = torch.ones(config.num_labels)

    def make_batch(chosen: Ints) -> ClassBatch:
        return collate_labelled(texts, chosen)

    def loss_sum(model: nn.Module, batch: ClassBatch) -> torch.Tensor:
        return classification_loss_sum(model(batch.packed), batch.labels, weights)

    ours = our_updates(model, make_batch, loss_sum, place, None, BATCH_SIZE)
    peer = peer_updates(peer_model, place, None, BATCH_SIZE)

    def chosen(number: int) -> Ints:
        return np.random.default_rng(number).permutation(len(texts))[: batches * BATCH_SIZE]

    features = as_features(texts, np.arange(len(texts)))

    def peer_round(number: int, padding: str | bool) -> None:
        collator = transformers.DataCollatorWithPadding(peer_tokenizer, padding=padding)
        peer([features[t] for t in chosen(number).tolist()], collator)

    return {
        "ours": lambda number: ours(chosen(number)),
        "padded to 80": lambda number: peer_round(number, "max_length"),
        "dynamic": lambda number: peer_round(number, True),
    }


def as_features(texts: LabelledTexts, chosen: Ints) -> list[dict[str, Any]]:
    """Texts as the peer keeps them: ready-made lists, like the rows of a prepared data set."""
    features = []
    for t in chosen.tolist():
        ids = texts.ids[texts.bounds[t] : texts.bounds[t + 1]].tolist()
        columns = {"token_type_ids": [0] * len(ids), "attention_mask": [1] * len(ids)}
        features.append({"input_ids": ids, **columns, "labels": int(texts.labels[t])})
    return features
