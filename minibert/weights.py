"""Weights in and out: one table of names per family, used in both directions.

A checkpoint is loaded completely or not at all. Every tensor of the file is either loaded, or one
of the few that a task may leave aside (the pooler, another task's head, stored position ids); every
parameter of the model is either found, or belongs to a head that the caller allowed to be new.
Anything else is one error that lists all of it.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minibert.config import BertConfig
from minibert.files import write_file
from minibert.safetensors_file import read_safetensors
from minibert.shards import INDEX_FILE, SINGLE_FILE, read_index
from minibert.strict_json import shown

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)

# ours -> theirs; {i} is the layer, each line stands for a .weight and, where there is one, a .bias
_ENCODER_NAMES = {
    "bert": {
        "embeddings.word": "embeddings.word_embeddings",
        "embeddings.position": "embeddings.position_embeddings",
        "embeddings.token_type": "embeddings.token_type_embeddings",
        "embeddings.norm": "embeddings.LayerNorm",
        "layers.{i}.attention.query": "encoder.layer.{i}.attention.self.query",
        "layers.{i}.attention.key": "encoder.layer.{i}.attention.self.key",
        "layers.{i}.attention.value": "encoder.layer.{i}.attention.self.value",
        "layers.{i}.attention.output": "encoder.layer.{i}.attention.output.dense",
        "layers.{i}.attention_norm": "encoder.layer.{i}.attention.output.LayerNorm",
        "layers.{i}.ffn.up": "encoder.layer.{i}.intermediate.dense",
        "layers.{i}.ffn.down": "encoder.layer.{i}.output.dense",
        "layers.{i}.ffn_norm": "encoder.layer.{i}.output.LayerNorm",
    },
    "distilbert": {
        "embeddings.word": "embeddings.word_embeddings",
        "embeddings.position": "embeddings.position_embeddings",
        "embeddings.norm": "embeddings.LayerNorm",
        "layers.{i}.attention.query": "transformer.layer.{i}.attention.q_lin",
        "layers.{i}.attention.key": "transformer.layer.{i}.attention.k_lin",
        "layers.{i}.attention.value": "transformer.layer.{i}.attention.v_lin",
        "layers.{i}.attention.output": "transformer.layer.{i}.attention.out_lin",
        "layers.{i}.attention_norm": "transformer.layer.{i}.sa_layer_norm",
        "layers.{i}.ffn.up": "transformer.layer.{i}.ffn.lin1",
        "layers.{i}.ffn.down": "transformer.layer.{i}.ffn.lin2",
        "layers.{i}.ffn_norm": "transformer.layer.{i}.output_layer_norm",
    },
}


@dataclass(frozen=True)
class Task:
    """What a task's head is called in a checkpoint, and what of other tasks it leaves aside.

    Attributes:
        architecture: class name in config.json, after the family's own prefix.
        head: ours -> theirs, as in the encoder's table.
        ignored: full-match patterns of file names that may be present and are not used.
    """

    architecture: str
    head: dict[str, str]
    ignored: tuple[str, ...]


# Other tasks' heads: masked-LM and next-sentence (BERT), masked-LM (DistilBERT), classifiers.
_OTHER_HEADS = (
    r"cls\.predictions\..+",
    r"cls\.seq_relationship\.(weight|bias)",
    r"vocab_(transform|layer_norm|projector)\.(weight|bias)",
    r"(pre_)?classifier\.(weight|bias)",
)
_STORED_POSITIONS = r"embeddings\.position_ids"
_POOLER = r"pooler\.dense\.(weight|bias)"

QUESTION_ANSWERING = Task(
    architecture="ForQuestionAnswering",
    head={"span": "qa_outputs"},
    ignored=(_STORED_POSITIONS, _POOLER, *_OTHER_HEADS),
)


@dataclass(frozen=True)
class LoadReport:
    """The ledger of one load: every tensor of the file and every parameter of the model, once.

    Attributes:
        source: what the caller named: a folder or a Hub name.
        commit: the Hub commit it resolved to, None for a folder.
        loaded: parameters of ours that came from the file.
        ignored: names in the file that this task leaves aside.
        new: parameters of ours that were freshly initialised (an allowed new head).
    """

    source: str
    commit: str | None
    loaded: tuple[str, ...]
    ignored: tuple[str, ...]
    new: tuple[str, ...]


def their_names(
    parameters: Iterable[str], config: BertConfig, task: Task, prefix: str
) -> dict[str, str]:
    """Our parameter names -> the checkpoint's.

    Args:
        parameters: as in `named_parameters()` of a task model, e.g. "encoder.layers.0.ffn.up.bias".
        config: gives the family.
        task: gives the head's names.
        prefix: before the encoder's names: "bert.", "distilbert.", or "" for a bare encoder's file.
    """
    table = _ENCODER_NAMES[config.model_type]
    names = {}
    for parameter in parameters:
        module, kind = parameter.rsplit(".", 1)
        if module.startswith("encoder."):
            layer = re.search(r"layers\.(\d+)\.", module)
            template = re.sub(r"layers\.\d+\.", "layers.{i}.", module.removeprefix("encoder."))
            theirs = prefix + table[template].format(i=layer[1] if layer else "")
        else:
            theirs = task.head[module]
        names[parameter] = f"{theirs}.{kind}"
    return names


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint folder, under the file's own names.

    Args:
        folder: holds model.safetensors, or model.safetensors.index.json and its shards.

    Raises:
        ValueError: no weights, an unreadable file, or an index that names what is not there.
    """
    if (folder / SINGLE_FILE).exists():
        return read_safetensors(folder / SINGLE_FILE)
    if not (folder / INDEX_FILE).exists():
        found = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        if "pytorch_model.bin" in found:
            raise ValueError(
                f"{folder} has only pytorch_model.bin, a pickle, which minibert never opens; "
                "convert it where you trust it: transformers' from_pretrained, then save_pretrained"
            )
        raise ValueError(f"no {SINGLE_FILE} in {folder} (found: {', '.join(found) or 'nothing'})")
    index = read_index(folder / INDEX_FILE)
    shards = sorted(set(index.values()))
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        if not (folder / shard).exists():
            raise ValueError(
                f"{folder} has no {shard}, which {INDEX_FILE} names; download it again"
            )
        part = read_safetensors(folder / shard)
        twice = sorted(set(part) & set(tensors))
        if twice:
            raise ValueError(f"{folder / shard} repeats tensors of another shard: {shown(twice)}")
        tensors |= part
    if set(tensors) != set(index):
        different = sorted(set(tensors) ^ set(index))
        raise ValueError(f"{folder}: shards and {INDEX_FILE} disagree on: {shown(different)}")
    return tensors


def load_weights(
    model: nn.Module, config: BertConfig, task: Task, tensors: dict[str, Tensor], new_head: bool
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Put a checkpoint's tensors into a model, completely or not at all.

    Args:
        model: a task model; its parameters may be on the "meta" device and are replaced.
        config: the model's.
        task: the model's.
        tensors: from `read_tensors`; any float dtype, loaded as float32.
        new_head: whether the task's head may be absent from the file.

    Returns:
        (loaded, ignored, new) names, as in LoadReport; new parameters are left as they are.

    Raises:
        ValueError: one sentence with everything missing, unexpected, mis-shaped or not finite.
    """
    parameters = dict(model.named_parameters())
    prefix = f"{config.model_type}."
    if not any(name.startswith(prefix) for name in tensors):
        prefix = ""  # saved from the encoder alone
    theirs = their_names(parameters, config, task, prefix)
    found: dict[str, tuple[str, Tensor]] = {}
    problems = []
    for name, tensor in tensors.items():
        plain = _todays_name(name)
        if plain in found:
            problems.append(f"duplicate: {name} and {found[plain][0]}")
        found[plain] = (name, tensor)

    loaded, new, state = [], [], {}
    for ours, plain in theirs.items():
        is_head = not ours.startswith("encoder.")
        if plain not in found:
            if is_head and new_head:
                new.append(ours)
            else:
                hint = " (a new head must be asked for: new_head=True)" if is_head else ""
                problems.append(f"missing: {plain}{hint}")
            continue
        _, tensor = found.pop(plain)
        wanted = parameters[ours].shape
        if tensor.shape != wanted:
            problems.append(f"shape of {plain}: {tuple(tensor.shape)}, expected {tuple(wanted)}")
        elif tensor.dtype not in _FLOATS:
            problems.append(f"dtype of {plain}: {tensor.dtype}, expected a float")
        elif not bool((tensor := tensor.to(torch.float32)).isfinite().all()):
            problems.append(f"not finite: {plain}")
        else:
            state[ours] = tensor
            loaded.append(ours)
    if new and len(new) != sum(not name.startswith("encoder.") for name in parameters):
        problems.append(f"incomplete head: only {new} missing")
    ignored = []
    for plain, (name, _) in found.items():
        if any(re.fullmatch(pattern, plain.removeprefix(prefix)) for pattern in task.ignored):
            ignored.append(name)
        else:
            problems.append(f"unexpected: {name}")
    if problems:
        raise ValueError("the weights do not fit the model: " + "; ".join(sorted(problems)))
    model.load_state_dict(state, strict=False, assign=True)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(True)
        assert not parameter.is_meta or name in new
    return tuple(loaded), tuple(sorted(ignored)), tuple(new)


def _todays_name(name: str) -> str:
    """A file's tensor name in today's spelling.

    Only an exact trailing LayerNorm.gamma or LayerNorm.beta is an old spelling; any other "gamma"
    belongs to somebody else's parameter (renaming those broke loaders before).
    """
    name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
    return re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)


def save_weights(model: nn.Module, config: BertConfig, task: Task, folder: Path) -> None:
    """Write config.json and model.safetensors in the Hub's layout.

    Args:
        model: a task model, any device; written as float32.
        config: the model's.
        task: the model's.
        folder: created if needed; existing files are replaced one by one, each atomically.
    """
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    names = their_names(dict(model.named_parameters()), config, task, f"{config.model_type}.")
    tensors = {
        names[ours]: parameter.detach().to("cpu", torch.float32).contiguous()
        for ours, parameter in model.named_parameters()
    }
    family = {"bert": "Bert", "distilbert": "DistilBert"}[config.model_type]
    values: dict[str, Any] = {"architectures": [family + task.architecture], **config.to_dict()}
    write_file(folder / "config.json", (json.dumps(values, indent=2) + "\n").encode())
    write_file(folder / SINGLE_FILE, save(tensors, {"format": "pt"}))
