"""What both sides work on: real windows, one model with the same weights, the same options."""

import dataclasses
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from data.command import UsageError
from data.squad import SquadExample, read_squad
from data.tokenization import Tokenizer
from data.tokenized_squad import tokenize_squad
from data.tokenizer_files import read_vocabulary
from data.windows import Windows, make_windows
from minibert.config import BertConfig
from minibert.heads import BertForQuestionAnswering
from train.options import TrainOptions

MAX_LENGTH, DOC_STRIDE = 384, 128
TRAIN_FILE, DEV_FILE = "squad/train-v2.0-subset.json", "squad/dev-v2.0.json"
VOCABULARY = "vocab/bert-base-uncased-vocab.txt"
BATCH_SIZE = 16
OPTIONS = TrainOptions(batch_size=BATCH_SIZE)  # AdamW, decay 0.01, clip 1.0: also the peer's

SIZES = {
    "tiny": BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    ),
    "small": BertConfig(
        hidden_size=256, num_hidden_layers=4, num_attention_heads=4, intermediate_size=1024
    ),
    "base": BertConfig(),
    "large": BertConfig(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
    ),
}


def data_folder(given: str) -> Path:
    """The folder that a user named, else that of the environment variable MINIBERT_DATA.

    Raises:
        UsageError: there is none, or it lacks the data files.
    """
    folder = Path(given or os.environ.get("MINIBERT_DATA", ""))
    for name in (TRAIN_FILE, DEV_FILE, VOCABULARY):
        if not (folder / name).exists():
            raise UsageError(f"there is no {folder / name}; name its folder with --data")
    return folder


def read_tokenizer(folder: Path) -> Tokenizer:
    """bert-base-uncased's."""
    return Tokenizer(read_vocabulary(folder / VOCABULARY), lowercase=True)


def read_examples(folder: Path, name: str, count: int | None = None) -> list[SquadExample]:
    """The first `count` questions of a file, all for None."""
    return read_squad(folder / name).examples[:count]


def read_windows(folder: Path, name: str, count: int | None = None) -> Windows:
    """The windows of a file's first questions, 384 tokens with a stride of 128."""
    examples = read_examples(folder, name, count)
    tokens = tokenize_squad(examples, read_tokenizer(folder), MAX_LENGTH)
    return make_windows(tokens, max_length=MAX_LENGTH, doc_stride=DOC_STRIDE)


def as_features(windows: Windows, chosen: Iterable[int]) -> list[dict[str, Any]]:
    """Windows as the peer keeps them: ready-made lists, like the rows of a prepared data set."""
    features = []
    for w in chosen:
        ids = windows.input_ids(w)
        first = int(windows.first[w])
        features.append(
            {
                "input_ids": ids,
                "token_type_ids": [0] * first + [1] * (len(ids) - first),
                "attention_mask": [1] * len(ids),
                "start_positions": int(windows.start_positions[w]),
                "end_positions": int(windows.end_positions[w]),
            }
        )
    return features


def make_ours(config: BertConfig) -> BertForQuestionAnswering:
    """Our model, random weights, always the same."""
    torch.manual_seed(0)
    return BertForQuestionAnswering(config)


def make_peer(config: BertConfig, attention: str = "sdpa") -> nn.Module:
    """transformers' BertForQuestionAnswering of the same size.

    Args:
        config: its sizes and rates.
        attention: its attn_implementation.
    """
    quiet_transformers()
    import transformers

    sizes = dataclasses.asdict(config)
    known = transformers.BertConfig().to_dict()
    theirs = transformers.BertConfig(**{k: v for k, v in sizes.items() if k in known})
    auto: Any = transformers.AutoModelForQuestionAnswering
    model: nn.Module = auto.from_config(theirs, attn_implementation=attention)
    return model


def copy_weights(ours: BertForQuestionAnswering, peer: nn.Module) -> None:
    """Give the peer our weights, through the file that both can read."""
    with tempfile.TemporaryDirectory() as saved:
        ours.save_pretrained(saved)
        peer.load_state_dict(load_file(Path(saved) / "model.safetensors"))


def make_peer_tokenizer(folder: Path) -> Any:
    """transformers' tokenizer with the vocabulary that ours has."""
    quiet_transformers()
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as saved:
        read_tokenizer(folder).save(saved)
        return AutoTokenizer.from_pretrained(saved, model_max_length=MAX_LENGTH)


def load_peer(ours: Any, tokenizer: Tokenizer, auto: str) -> tuple[nn.Module, Any]:
    """transformers' model (attention: sdpa) and tokenizer, read from the files that ours write.

    Args:
        ours: a model that has `save_pretrained`.
        tokenizer: its own.
        auto: class of transformers that reads the model, "AutoModelForMaskedLM".
    """
    quiet_transformers()
    import transformers

    with tempfile.TemporaryDirectory() as saved:
        ours.save_pretrained(saved)
        tokenizer.save(saved)
        reader: Any = getattr(transformers, auto)
        model: nn.Module = reader.from_pretrained(saved, attn_implementation="sdpa")
        tokenizers: Any = transformers.AutoTokenizer
        return model, tokenizers.from_pretrained(saved)


def quiet_transformers() -> None:
    """No network and no progress bars: neither has a place in a measurement."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import transformers

    logging: Any = transformers.utils.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
