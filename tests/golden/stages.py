"""The stages of a forward pass that parity climbs; the comparison names the first to differ.

Stages carry the names of `BertModel.named_modules()`; the last three are the span head's and the
loss.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from minibert import BertConfig, BertForQuestionAnswering, PackedBatch
from minibert.heads import span_loss_sum

GOLDEN = Path(__file__).parent
FAMILIES = ("bert", "distilbert")

# In the second golden set these parameters are this much smaller, so that what enters every norm
# has a variance near layer_norm_eps: with eps 1e-5, or none, the results differ in the first digit.
SMALL = 2.0**-18
SMALL_PARTS = ("embeddings", "attention.output", "attention_norm", "ffn.down", "ffn_norm")

_LAYER_STAGES = (
    "attention.query",
    "attention.key",
    "attention.value",
    "attention.core.scores",
    "attention.core.probs",
    "attention.context",
    "attention",
    "attention_norm",
    "ffn.up",
    "ffn.activation",
    "ffn",
)


def stage_names(config: BertConfig) -> list[str]:
    """Every stage, in the order of computation."""
    names = ["embeddings"]
    for i in range(config.num_hidden_layers):
        names += [f"layers.{i}.{stage}" for stage in _LAYER_STAGES]
        names.append(f"layers.{i}")
    return [*names, "start_logits", "end_logits", "loss"]


def small_stage_names(num_layers: int) -> list[str]:
    """The stages of the second set: what comes out of every norm, and the end."""
    norms = [
        name for i in range(num_layers) for name in (f"layers.{i}.attention_norm", f"layers.{i}")
    ]
    return ["embeddings", *norms, "start_logits", "end_logits", "loss"]


def record(
    model: BertForQuestionAnswering, batch: PackedBatch, starts: Tensor, ends: Tensor
) -> dict[str, Tensor]:
    """What each stage that runs puts out: (N, ...), scores and probs (B, H, T, T), loss ()."""
    stages: dict[str, Tensor] = {}
    names = set(stage_names(model.config))

    def keep(name: str) -> "torch.utils.hooks.RemovableHandle":
        def hook(module: nn.Module, args: object, output: Tensor) -> None:
            assert name not in stages, f"{name} ran twice"
            stages[name] = output

        return model.encoder.get_submodule(name).register_forward_hook(hook)

    hooks = [keep(name) for name, _ in model.encoder.named_modules() if name in names]
    try:
        logits = model(batch)
    finally:
        for hook in hooks:
            hook.remove()
    stages["start_logits"], stages["end_logits"] = logits
    stages["loss"] = span_loss_sum(logits, batch, starts, ends) / batch.num_sequences
    return stages


def differences(
    ours: dict[str, Tensor], theirs: dict[str, Tensor], batch: PackedBatch, names: list[str]
) -> Iterator[tuple[str, float, float]]:
    """(stage, largest difference over real tokens, largest value of theirs), bottom-up."""
    real = batch.padding_mask
    for name in names:
        mine, reference = ours[name], theirs[name].to(ours[name].dtype)
        if name.endswith((".scores", ".probs")):  # (B, H, T, T) -> (real pairs, H)
            pairs = real[:, :, None] & real[:, None, :]
            mine, reference = (x.permute(0, 2, 3, 1)[pairs] for x in (mine, reference))
        assert mine.shape == reference.shape, (name, mine.shape, reference.shape)
        yield (
            name,
            float((mine - reference).detach().abs().max()),
            float(reference.detach().abs().max()),
        )


def assert_climbs(
    ours: dict[str, Tensor],
    theirs: dict[str, Tensor],
    batch: PackedBatch,
    names: list[str],
    tolerance: float,
    *,
    relative: bool = False,
) -> None:
    """Fail at the first stage that differs by more than the tolerance, naming it.

    Args:
        ours: from `record`.
        theirs: the reference, of the same shapes.
        batch: the inputs.
        names: stages to compare.
        tolerance: largest difference allowed.
        relative: as a part of the reference's largest value, stage by stage.
    """
    for name, difference, size in differences(ours, theirs, batch, names):
        allowed = tolerance * size if relative else tolerance
        assert difference <= allowed, (
            f"the first stage to diverge is {name}: by {difference:.2g}, allowed {allowed:.2g}"
        )
