"""minibert/encoder.py and heads.py against activations that transformers made (tests/golden)."""

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from minibert import BertForQuestionAnswering, PackedBatch, attention
from minibert.attention import Kernel
from tests.golden.stages import (
    FAMILIES,
    GOLDEN,
    SMALL,
    SMALL_PARTS,
    assert_climbs,
    differences,
    record,
    small_stage_names,
    stage_names,
)

# What is stored was computed in float64 and rounded to float32: off by at most 2^-24 of a value.
ROUNDING = 2.0**-24 * 1.001


class Golden:
    """One family's stored model, inputs and activations."""

    def __init__(self, family: str) -> None:
        self.model = BertForQuestionAnswering.from_pretrained(GOLDEN / family)
        tensors = load_file(GOLDEN / family / "activations.safetensors")
        self.tensors = tensors
        self.batch = PackedBatch.from_padded(
            tensors["input_ids"], tensors["attention_mask"], tensors["token_type_ids"]
        )
        self.labels = (tensors["start_positions"], tensors["end_positions"])

    def theirs(self, kind: str) -> dict[str, Tensor]:
        prefix = f"{kind}."
        return {
            name.removeprefix(prefix): value
            for name, value in self.tensors.items()
            if name.startswith(prefix)
        }

    def ours(self) -> dict[str, Tensor]:
        with torch.no_grad():
            return record(self.model, self.batch, *self.labels)

    def shrink(self) -> None:
        """Make the parameters that the "small" set made small so, too."""
        with torch.no_grad():
            for name, parameter in self.model.encoder.named_parameters():
                if any(part in name for part in SMALL_PARTS):
                    parameter.mul_(SMALL)


@pytest.fixture(params=FAMILIES)
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(request.param)


def use(kernel: Kernel, golden: Golden, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let this kernel serve; the stages that then run."""
    monkeypatch.setattr(attention, "choose_kernel", lambda *_: kernel)
    names = stage_names(golden.model.config)
    if kernel == "explicit":
        return names
    return [name for name in names if not name.endswith((".scores", ".probs"))]


def test_the_golden_set_holds_every_stage_of_both_kinds(golden: Golden) -> None:
    config = golden.model.config
    assert golden.theirs("normal").keys() == set(stage_names(config))
    assert golden.theirs("small").keys() == set(small_stage_names(config.num_hidden_layers))
    assert (golden.batch.num_sequences, golden.batch.padded_length) == (3, 7)
    assert golden.batch.lengths == (7, 2, 5)


@pytest.mark.parametrize("kernel", ["explicit", "per sequence", "padded"])
def test_every_stage_equals_transformers(
    golden: Golden, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = use(kernel, golden, monkeypatch)
    ours = golden.ours()
    assert ours.keys() == set(names)
    assert_climbs(ours, golden.theirs("normal"), golden.batch, names, 1e-5)
    golden.model.double()
    ours = golden.ours()
    assert_climbs(ours, golden.theirs("normal"), golden.batch, names, ROUNDING, relative=True)


@pytest.mark.parametrize("kernel", ["explicit", "per sequence", "padded"])
def test_small_activations_too_where_the_norms_eps_matters(
    golden: Golden, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(kernel, golden, monkeypatch)
    names = small_stage_names(golden.model.config.num_hidden_layers)
    golden.shrink()
    assert_climbs(golden.ours(), golden.theirs("small"), golden.batch, names, 1e-5, relative=True)
    golden.model.double()
    theirs = golden.theirs("small")
    assert_climbs(golden.ours(), theirs, golden.batch, names, ROUNDING, relative=True)


@pytest.mark.parametrize("eps", [1e-5, 1e-6, 2e-12, 0.0])
@pytest.mark.parametrize(
    ("module", "stage"),
    [
        ("embeddings.norm", "embeddings"),
        ("layers.0.attention_norm", "layers.0.attention_norm"),
        ("layers.1.ffn_norm", "layers.1"),
    ],
)
def test_another_eps_in_any_norm_is_caught_at_that_norm(
    golden: Golden, module: str, stage: str, eps: float
) -> None:
    norm = golden.model.encoder.get_submodule(module)
    assert isinstance(norm, torch.nn.LayerNorm)
    norm.eps = eps
    golden.shrink()
    names = small_stage_names(golden.model.config.num_hidden_layers)
    with pytest.raises(AssertionError, match=rf"first stage to diverge is {stage}:"):
        assert_climbs(
            golden.ours(), golden.theirs("small"), golden.batch, names, 1e-5, relative=True
        )


@pytest.mark.parametrize(
    ("parameter", "stage"),
    [
        ("encoder.embeddings.position.weight", "embeddings"),
        ("encoder.embeddings.norm.bias", "embeddings"),
        ("encoder.layers.0.attention.key.weight", "layers.0.attention.key"),
        ("encoder.layers.1.attention.value.bias", "layers.1.attention.value"),
        ("encoder.layers.0.attention.output.weight", "layers.0.attention"),
        ("encoder.layers.1.attention_norm.weight", "layers.1.attention_norm"),
        ("encoder.layers.0.ffn.up.bias", "layers.0.ffn.up"),
        ("encoder.layers.1.ffn.down.weight", "layers.1.ffn"),
        ("encoder.layers.0.ffn_norm.bias", "layers.0"),
        ("span.bias", "start_logits"),
    ],
)
def test_a_changed_weight_is_named_by_the_first_stage_that_uses_it(
    golden: Golden, parameter: str, stage: str
) -> None:
    golden.model.encoder.use_explicit_attention()
    with torch.no_grad():
        golden.model.get_parameter(parameter).mul_(1.01)
    names = stage_names(golden.model.config)
    with pytest.raises(AssertionError, match=rf"first stage to diverge is {stage}:"):
        assert_climbs(golden.ours(), golden.theirs("normal"), golden.batch, names, 1e-5)


def test_the_tanh_form_of_gelu_is_caught_at_the_activation(golden: Golden) -> None:
    golden.model.encoder.get_submodule("layers.0.ffn.activation").name = "gelu_new"
    golden.model.encoder.use_explicit_attention()
    names = stage_names(golden.model.config)
    with pytest.raises(AssertionError, match=r"diverge is layers\.0\.ffn\.activation:"):
        assert_climbs(golden.ours(), golden.theirs("normal"), golden.batch, names, 1e-5)


def test_a_window_alone_gives_the_same_logits_as_in_the_batch(golden: Golden) -> None:
    golden.model.double()
    batch = golden.batch
    with torch.no_grad():
        together = torch.stack(golden.model(batch))
        ids = batch.input_ids.split(list(batch.lengths))
        types = batch.token_type_ids.split(list(batch.lengths))
        alone = [
            torch.stack(golden.model(PackedBatch.from_flat(i, t, [len(i)])))
            for i, t in zip(ids, types, strict=True)
        ]
    torch.testing.assert_close(together, torch.cat(alone, 1), rtol=0, atol=1e-12)


def test_ids_at_padding_change_no_bit(golden: Golden) -> None:
    tensors = golden.tensors
    mask = tensors["attention_mask"]
    other = PackedBatch.from_padded(
        torch.where(mask.bool(), tensors["input_ids"], 100),
        mask,
        torch.where(mask.bool(), tensors["token_type_ids"], 1),
    )
    with torch.no_grad():
        assert torch.equal(
            torch.stack(golden.model(golden.batch)), torch.stack(golden.model(other))
        )


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("explicit", [True, False], ids=["explicit", "fused"])
def test_on_a_gpu_every_stage_equals_transformers(golden: Golden, explicit: bool) -> None:
    golden.model.to("cuda").encoder.use_explicit_attention(explicit)
    golden.batch = golden.batch.to("cuda")
    golden.labels = (golden.labels[0].cuda(), golden.labels[1].cuda())
    theirs = {name: value.cuda() for name, value in golden.theirs("normal").items()}
    ours = golden.ours()
    names = [name for name in stage_names(golden.model.config) if name in ours]
    assert_climbs(ours, theirs, golden.batch, names, 1e-5)
    golden.model.double()
    assert_climbs(golden.ours(), theirs, golden.batch, names, ROUNDING, relative=True)


def test_the_distance_to_transformers_is_measured_on_real_tokens_only(golden: Golden) -> None:
    golden.model.encoder.use_explicit_attention()
    ours, theirs = golden.ours(), golden.theirs("normal")
    name = "layers.0.attention.core.scores"
    pad = ~golden.batch.padding_mask
    theirs[name] = theirs[name].masked_fill(pad[:, None, None, :], float("nan"))
    ((_, difference, size),) = differences(ours, theirs, golden.batch, [name])
    assert difference <= 1e-5 and size > 0.1
