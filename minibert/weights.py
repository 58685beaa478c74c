"""Weights in and out, strictly.

A checkpoint is loaded completely or not at all. Every tensor of the file is either loaded, or one
of the few that a task may leave aside (the pooler, another task's head, stored position ids); every
parameter of the model is either found, or belongs to a head that the caller allowed to be new. A
second copy of a tied parameter must equal it.
Anything else is one error that lists all of it.
"""

import json
import re
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
from minibert.weight_names import Task, their_names

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@dataclass(frozen=True)
class LoadReport:
    """The ledger of one load: every tensor of the file and every parameter of the model, once.

    Attributes:
        source: what the caller named: a folder or a Hub name.
        commit: the Hub commit it resolved to, None for a folder.
        loaded: parameters of ours that came from the file.
        tied: names in the file that hold a second copy of what was loaded.
        ignored: names in the file that this task leaves aside.
        new: parameters of ours that were freshly initialised (an allowed new head).
    """

    source: str
    commit: str | None
    loaded: tuple[str, ...]
    tied: tuple[str, ...]
    ignored: tuple[str, ...]
    new: tuple[str, ...]


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
    model: nn.Module,
    config: BertConfig,
    task: Task,
    tensors: dict[str, Tensor],
    new_head: bool,
    other_classes: bool = False,
) -> tuple[tuple[str, ...], ...]:
    """Put a checkpoint's tensors into a model, completely or not at all.

    Args:
        model: a task model; its parameters may be on the "meta" device and are replaced.
        config: the model's.
        task: the model's.
        tensors: from `read_tensors`; any float dtype, loaded as float32.
        new_head: whether the task's head may be absent from the file.
        other_classes: the file's head tells other classes apart: all of it is left aside but for
            what came with the encoder.

    Returns:
        (loaded, tied, ignored, new) names, as in LoadReport; new parameters are left as they are.

    Raises:
        ValueError: one sentence with everything missing, unexpected, mis-shaped, not finite,
            or different from what it is tied to.
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

    head = {name for name in parameters if not name.startswith("encoder.")}
    from_encoder = {n for n in head if n.startswith(task.with_encoder.get(config.model_type, ()))}
    loaded, new, ignored, state = [], [], [], {}
    for ours, plain in theirs.items():
        problem = "missing"
        if other_classes and plain in found and ours in head - from_encoder:
            problem = "of other classes"
            ignored.append(found.pop(plain)[0])
        if plain not in found:
            if ours in head and new_head:
                new.append(ours)
            else:
                hint = " (a new head must be asked for: new_head=True)" if ours in head else ""
                problems.append(f"{problem}: {plain}{hint}")
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
    if new and set(new) not in (head, head - from_encoder):
        problems.append(f"incomplete head: only {new} missing")
    tied = []
    for copy, ours in task.tied.get(config.model_type, {}).items():
        if copy in found and ours in state:
            name, tensor = found.pop(copy)
            tied.append(name)
            if not torch.equal(tensor.to(torch.float32), state[ours]):
                problems.append(f"not tied: {name} differs from {theirs[ours]}")
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
    return tuple(loaded), tuple(sorted(tied)), tuple(sorted(ignored)), tuple(new)


def _todays_name(name: str) -> str:
    """A file's tensor name in today's spelling.

    Only an exact trailing LayerNorm.gamma or LayerNorm.beta is an old spelling; any other "gamma"
    belongs to somebody else's parameter (renaming those broke loaders before).
    """
    name = re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name)
    return re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)


def save_weights(
    model: nn.Module,
    config: BertConfig,
    task: Task,
    folder: Path,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write config.json and model.safetensors in the Hub's layout.

    Args:
        model: a task model, any device.
        config: the model's.
        task: the model's.
        folder: created if needed; existing files are replaced one by one, each atomically.
        dtype: of the file: float32, or float16 for half the size at 11 significant bits.

    Raises:
        ValueError: another dtype, or a weight that float16 cannot hold; nothing is written.
    """
    from safetensors.torch import save

    if dtype not in (torch.float32, torch.float16):
        raise ValueError(f"dtype is {dtype}, expected torch.float32 or torch.float16")
    names = their_names(dict(model.named_parameters()), config, task, f"{config.model_type}.")
    tensors = {
        names[ours]: parameter.detach().to("cpu", dtype).contiguous()
        for ours, parameter in model.named_parameters()
    }
    if dtype == torch.float16:
        broken = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
        if broken:
            raise ValueError(f"float16 cannot hold the values of {', '.join(broken)}; save float32")
    family = {"bert": "Bert", "distilbert": "DistilBert"}[config.model_type]
    values: dict[str, Any] = {"architectures": [family + task.architecture], **config.to_dict()}
    if dtype == torch.float16:
        # What transformers computes in: without it, it would compute in the file's float16.
        values["dtype"] = "float32"
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "config.json", (json.dumps(values, indent=2) + "\n").encode())
    write_file(folder / SINGLE_FILE, save(tensors, {"format": "pt"}))
