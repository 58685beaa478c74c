"""Make the golden activations with transformers: `python -m tests.golden.make_golden`.

For each family it writes, into a folder beside this file, a tiny model of random weights as
transformers saves it (config.json, model.safetensors) and activations.safetensors: the inputs, and
under "normal." and "small." what the stages put out, computed in float64 and rounded to float32.
masked_lm.safetensors and classifier.safetensors have a masked-LM head and a classifier for the same
encoder, and what their parts put out.
Run again, it says by how much the new activations differ from the old ones.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.golden.stages import GOLDEN, SMALL, small_stage_names

# All sizes are odd or unlike each other, so that no two dimensions can be mistaken.
SEED, B, T, D, H, F, L, V, POSITIONS = 20181011, 3, 7, 24, 4, 37, 2, 101, 11
LENGTHS = (7, 2, 5)
LABELS = tuple("neutral anti-vax pro-vax unsure spam".split())
_SMALL_NAMES = re.compile(
    r"embeddings|attention\.(output|out_lin)|(sa|output)_layer_norm|layer\.\d+\.output|ffn\.lin2"
)

# Our stage -> the module of transformers' that puts out the same.
_THEIR_MODULES = {
    "bert": {
        "embeddings": "embeddings",
        "layers.{i}.attention.query": "encoder.layer.{i}.attention.self.query",
        "layers.{i}.attention.key": "encoder.layer.{i}.attention.self.key",
        "layers.{i}.attention.value": "encoder.layer.{i}.attention.self.value",
        "layers.{i}.attention": "encoder.layer.{i}.attention.output.dense",
        "layers.{i}.attention_norm": "encoder.layer.{i}.attention.output",
        "layers.{i}.ffn.up": "encoder.layer.{i}.intermediate.dense",
        "layers.{i}.ffn.activation": "encoder.layer.{i}.intermediate",
        "layers.{i}.ffn": "encoder.layer.{i}.output.dense",
        "layers.{i}": "encoder.layer.{i}",
    },
    "distilbert": {
        "embeddings": "embeddings",
        "layers.{i}.attention.query": "transformer.layer.{i}.attention.q_lin",
        "layers.{i}.attention.key": "transformer.layer.{i}.attention.k_lin",
        "layers.{i}.attention.value": "transformer.layer.{i}.attention.v_lin",
        "layers.{i}.attention": "transformer.layer.{i}.attention.out_lin",
        "layers.{i}.attention_norm": "transformer.layer.{i}.sa_layer_norm",
        "layers.{i}.ffn.up": "transformer.layer.{i}.ffn.lin1",
        "layers.{i}.ffn.activation": "transformer.layer.{i}.ffn.activation",
        "layers.{i}.ffn": "transformer.layer.{i}.ffn",
        "layers.{i}": "transformer.layer.{i}",
    },
}


def their_config(family: str, **values: Any) -> Any:
    """A config of transformers', given the keys of BERT's config.json for either family."""
    from transformers import BertConfig, DistilBertConfig

    if family == "bert":
        return BertConfig(**values)
    renamed = {
        "hidden_size": "dim",
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "intermediate_size": "hidden_dim",
        "hidden_act": "activation",
        "hidden_dropout_prob": "dropout",
        "attention_probs_dropout_prob": "attention_dropout",
    }
    values.pop("type_vocab_size", None)
    return DistilBertConfig(**{renamed.get(key, key): value for key, value in values.items()})


# task -> family -> our part of the head -> the module of transformers' that puts out the same
_THEIR_HEADS = {
    "MaskedLM": {
        "bert": {
            "transform.dense": "cls.predictions.transform.dense",
            "transform.activation": "cls.predictions.transform.transform_act_fn",
            "transform": "cls.predictions.transform",
            "decoder": "cls.predictions",
        },
        "distilbert": {
            "transform.dense": "vocab_transform",
            "transform.activation": "activation",
            "transform": "vocab_layer_norm",
            "decoder": "vocab_projector",
        },
    },
    "SequenceClassification": {
        "bert": {
            "pooler.dense": "bert.pooler.dense",
            "pooler": "bert.pooler",
            "classifier": "classifier",
        },
        "distilbert": {"pooler.dense": "pre_classifier", "classifier": "classifier"},
    },
}
_HEAD_FILES = {"MaskedLM": "masked_lm", "SequenceClassification": "classifier"}


def their_model(config: Any, seed: int, task: str = "QuestionAnswering") -> Any:
    """Their model of a task with random weights in every parameter, in evaluation mode."""
    import transformers

    torch.manual_seed(seed)
    auto = getattr(transformers, f"AutoModelFor{task}")
    model = auto.from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.3)
            if "norm" in name.lower() and name.endswith("weight"):
                parameter.add_(1)
    return model.eval()


@contextmanager
def recorded(model: Any, family: str) -> Iterator[dict[str, Tensor]]:
    """Fill a dictionary with what every stage of one forward pass of theirs puts out."""
    stages: dict[str, Tensor] = {}
    body = getattr(model, family)
    plain_softmax = nn.functional.softmax
    made: list[Tensor] = []

    def softmax(scores: Tensor, *args: Any, **options: Any) -> Tensor:
        probs = plain_softmax(scores, *args, **options)
        made.extend((scores, probs))
        return probs

    def keep(stage: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any = None) -> None:
            stages[stage] = args[0] if output is None else output

        return hook

    hooks = []
    for layer in range(model.config.num_hidden_layers):
        for stage, theirs in _THEIR_MODULES[family].items():
            if layer and "{i}" not in stage:
                continue
            module = body.get_submodule(theirs.format(i=layer))
            hooks.append(module.register_forward_hook(keep(stage.format(i=layer))))
        module = body.get_submodule(_THEIR_MODULES[family]["layers.{i}.attention"].format(i=layer))
        hooks.append(module.register_forward_pre_hook(keep(f"layers.{layer}.attention.context")))
    with mock.patch("torch.nn.functional.softmax", softmax):
        yield stages
    for hook in hooks:
        hook.remove()
    for layer, (scores, probs) in enumerate(zip(made[::2], made[1::2], strict=True)):
        stages[f"layers.{layer}.attention.core.scores"] = scores
        stages[f"layers.{layer}.attention.core.probs"] = probs


def their_stages(model: Any, family: str, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every stage of theirs, real tokens only, (N, ...); scores and probs (B, H, T, T).

    The loss is the mean over windows that run alone, so that no softmax counts padding.
    """
    arguments = {name: inputs[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    if family == "distilbert":
        del arguments["token_type_ids"]
    with recorded(model, family) as stages:
        output = model(**arguments)
    stages["start_logits"], stages["end_logits"] = output.start_logits, output.end_logits
    real = inputs["attention_mask"].bool()
    for name, value in stages.items():
        if value.dim() < 4:
            stages[name] = value[real]
    losses = []
    for row, mask in enumerate(real):
        window = {name: value[row, mask][None] for name, value in arguments.items()}
        labels = {name: inputs[name][row][None] for name in ("start_positions", "end_positions")}
        losses.append(model(**window, **labels).loss)
    stages["loss"] = torch.stack(losses).mean()
    return stages


def make_inputs() -> dict[str, Tensor]:
    """Random ids of unequal lengths, padded on the right, with labels inside each window."""
    lengths = torch.tensor(LENGTHS)
    mask = (torch.arange(T) < lengths[:, None]).long()  # (B, T)
    return {
        "input_ids": torch.randint(1, V, (B, T)) * mask,
        "attention_mask": mask,
        "token_type_ids": (torch.arange(T) >= lengths[:, None] // 2).long() * mask,
        "start_positions": torch.tensor([2, 0, 1]),
        "end_positions": torch.tensor([5, 0, 4]),
    }


@torch.no_grad()
def make(family: str, folder: Path) -> None:
    """Write one family's folder."""
    import transformers

    config = their_config(
        family,
        vocab_size=V,
        hidden_size=D,
        num_hidden_layers=L,
        num_attention_heads=H,
        intermediate_size=F,
        max_position_embeddings=POSITIONS,
        type_vocab_size=2,
    )
    model = their_model(config, SEED)
    model.save_pretrained(folder)
    activations = inputs = make_inputs()
    model.double()
    for scale, prefix in ((1.0, "normal"), (SMALL, "small")):
        for name, parameter in model.named_parameters():
            if _SMALL_NAMES.search(name):
                parameter.mul_(scale)
        stages = their_stages(model, family, inputs)
        activations = activations | {
            f"{prefix}.{name}": value.float().contiguous()
            for name, value in stages.items()
            if prefix == "normal" or name in small_stage_names(L)
        }
    path = folder / "activations.safetensors"
    if path.exists():
        old = load_file(path)
        print(f"{path}: same names: {set(old) == set(activations)}; largest difference:")
        print(max(float((old[k] - v).abs().max()) for k, v in activations.items() if k in old))
    save_file(activations, path, {"transformers": transformers.__version__})
    make_head(family, config, inputs, folder, "MaskedLM")
    config.id2label = dict(enumerate(LABELS))
    config.label2id = {name: number for number, name in enumerate(LABELS)}
    make_head(family, config, inputs, folder, "SequenceClassification")
    for file in sorted(folder.iterdir()):
        file.chmod(0o644)  # safetensors makes files that only their owner may read
        print(f"{file}: {file.stat().st_size} bytes")


@torch.no_grad()
def make_head(family: str, config: Any, inputs: dict[str, Tensor], folder: Path, task: str) -> None:
    """Write a task's file: its head under the Hub's names, and its parts' outputs."""
    model = their_model(config, SEED + 1, task)
    left = model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    assert left.unexpected_keys == ["qa_outputs.bias", "qa_outputs.weight"]
    tensors = {
        name: parameter.clone()
        for name, parameter in model.named_parameters()
        if not name.startswith(f"{family}.") or "pooler" in name
    }
    model.double()
    real = inputs["attention_mask"].bool()
    for stage, theirs in _THEIR_HEADS[task][family].items():

        def keep(module: nn.Module, args: object, output: Tensor, stage: str = stage) -> None:
            tensors[f"normal.{stage}"] = (output[real] if output.dim() == 3 else output).float()

        model.get_submodule(theirs).register_forward_hook(keep)
    arguments = {name: inputs[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    if family == "distilbert":
        del arguments["token_type_ids"]
    model(**arguments)
    save_file(tensors, folder / f"{_HEAD_FILES[task]}.safetensors")


if __name__ == "__main__":
    for family in _THEIR_MODULES:
        make(family, GOLDEN / family)
