"""Live parity with transformers: every stage forward, and the gradients of the span loss.

Random configurations and weights, both dtypes, padding on either side, all three attention kernels.
transformers is needed; without it these tests are skipped and tests/golden still stands guard.
"""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from minibert import BertConfig, BertForQuestionAnswering, PackedBatch, attention
from minibert.attention import Kernel
from minibert.heads import span_loss_sum
from minibert.weight_names import QUESTION_ANSWERING, their_names
from minibert.weights import load_weights
from tests.golden.make_golden import their_config, their_model, their_stages
from tests.golden.stages import assert_climbs, record, stage_names
from tests.minibert.recorded import record_dropouts

# (family, sizes): odd and unlike; V 53 and at most 13 positions throughout
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert gelu": ("bert", {"hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 37}),
    "bert tanh-gelu, 1 head, 3 types, eps 1e-5": (
        "bert",
        {
            "hidden_size": 10,
            "num_attention_heads": 1,
            "intermediate_size": 41,
            "hidden_act": "gelu_new",
            "type_vocab_size": 3,
            "layer_norm_eps": 1e-5,
        },
    ),
    "bert relu, 3 layers": (
        "bert",
        {
            "hidden_size": 30,
            "num_attention_heads": 5,
            "intermediate_size": 17,
            "num_hidden_layers": 3,
            "hidden_act": "relu",
        },
    ),
    "bert pytorch tanh-gelu": (
        "bert",
        {
            "hidden_size": 14,
            "num_attention_heads": 7,
            "intermediate_size": 29,
            "hidden_act": "gelu_pytorch_tanh",
        },
    ),
    "bert silu": (
        "bert",
        {
            "hidden_size": 22,
            "num_attention_heads": 2,
            "intermediate_size": 31,
            "hidden_act": "silu",
        },
    ),
    "bert tanh": (
        "bert",
        {
            "hidden_size": 18,
            "num_attention_heads": 6,
            "intermediate_size": 19,
            "hidden_act": "tanh",
        },
    ),
    "distilbert gelu": (
        "distilbert",
        {"hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 37},
    ),
    "distilbert relu, 3 layers": (
        "distilbert",
        {
            "hidden_size": 30,
            "num_attention_heads": 3,
            "intermediate_size": 23,
            "num_hidden_layers": 3,
            "hidden_act": "relu",
        },
    ),
}
KERNELS: tuple[Kernel, ...] = ("explicit", "per sequence", "padded")
DTYPES = {"fp32": (torch.float32, 1e-5), "fp64": (torch.float64, 1e-12)}


@pytest.fixture(autouse=True)
def transformers() -> None:
    pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")


def twins(
    name: str, dtype: torch.dtype = torch.float32, **rates: float
) -> tuple[str, Any, BertForQuestionAnswering]:
    """(family, their model, ours) with the same random weights, in evaluation mode."""
    family, sizes = CONFIGS[name]
    values = {"vocab_size": 53, "num_hidden_layers": 2, "max_position_embeddings": 13}
    config = their_config(family, **(values | sizes | rates))
    theirs = their_model(config, seed=len(name))
    our_config = BertConfig.from_dict(config.to_dict())
    ours = BertForQuestionAnswering(our_config)
    load_weights(ours, our_config, QUESTION_ANSWERING, theirs.state_dict(), new_head=False)
    return family, theirs.to(dtype), ours.to(dtype).eval()


def make_inputs(lengths: tuple[int, ...], columns: int, left: bool = False) -> dict[str, Tensor]:
    """Random ids in a (B, columns) matrix padded on one side, and labels inside each window."""
    generator = torch.Generator().manual_seed(11)
    sizes = torch.tensor(lengths)[:, None]
    places = torch.arange(columns)
    mask = (places >= columns - sizes if left else places < sizes).long()
    shape = (len(lengths), columns)
    return {
        "input_ids": torch.randint(1, 53, shape, generator=generator),
        "attention_mask": mask,
        "token_type_ids": torch.randint(0, 2, shape, generator=generator),
        "start_positions": torch.tensor([length // 3 for length in lengths]),
        "end_positions": torch.tensor([length - 1 for length in lengths]),
    }


def pack(inputs: dict[str, Tensor]) -> PackedBatch:
    return PackedBatch.from_padded(
        inputs["input_ids"], inputs["attention_mask"], inputs["token_type_ids"]
    )


def use(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "choose_kernel", lambda *_: kernel)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("padding", ["right", "left", "none"])
@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_every_stage_forward(
    name: str, padding: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, tolerance = DTYPES[dtype]
    family, theirs, ours = twins(name, kind)
    lengths = (8, 8, 8) if padding == "none" else (8, 1, 5, 3)
    inputs = make_inputs(lengths, 8 if padding == "none" else 9, left=padding == "left")
    reference = their_stages(theirs, family, inputs)
    assert reference["start_logits"].dtype == kind
    names = stage_names(ours.config)
    if padding == "left":
        names.remove("loss")  # theirs comes from windows alone, which then begin at position 0
    batch = pack(inputs)
    for kernel in KERNELS:
        use(kernel, monkeypatch)
        stages = record(ours, batch, inputs["start_positions"], inputs["end_positions"])
        skipped = [stage for stage in names if stage not in stages]
        assert bool(skipped) == (kernel != "explicit")
        assert all(stage.endswith((".scores", ".probs")) for stage in skipped)
        ran = [stage for stage in names if stage in stages]
        assert_climbs(stages, reference, batch, ran, tolerance)


def assert_equal_gradients(
    ours: BertForQuestionAnswering, theirs: Any, family: str, tolerance: float
) -> None:
    """Every parameter's gradient, to the tolerance times the parameter's largest (at least 1)."""
    gradients = dict(theirs.named_parameters())
    names = their_names(dict(ours.named_parameters()), ours.config, ours.task, f"{family}.")
    assert gradients.keys() == set(names.values())
    for name, parameter in ours.named_parameters():
        wanted = gradients[names[name]].grad
        assert parameter.grad is not None and wanted is not None, name
        difference = float((parameter.grad - wanted).abs().max())
        allowed = tolerance * max(1.0, float(wanted.abs().max()))
        assert difference <= allowed, f"{name} differs by {difference:.2g}, allowed {allowed:.2g}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lengths", [(7, 7, 7), (8, 1, 5, 3)], ids=["equal", "unequal"])
@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_of_the_span_loss(
    name: str, lengths: tuple[int, ...], dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, tolerance = DTYPES[dtype]
    family, theirs, ours = twins(name, kind)
    inputs = make_inputs(lengths, max(lengths))
    if family == "distilbert":
        arguments = {key: value for key, value in inputs.items() if key != "token_type_ids"}
    else:
        arguments = inputs
    if len(set(lengths)) == 1:
        loss = theirs(**arguments).loss
    else:  # their softmax counts padding, so each window goes alone
        columns = ("input_ids", "attention_mask", "token_type_ids")
        windows = [
            {
                key: value[b, :length][None] if key in columns else value[b][None]
                for key, value in arguments.items()
            }
            for b, length in enumerate(lengths)
        ]
        loss = torch.stack([theirs(**window).loss for window in windows]).mean()
    loss.backward()
    batch = pack(inputs)
    for kernel in KERNELS:
        use(kernel, monkeypatch)
        ours.zero_grad()
        labels = (inputs["start_positions"], inputs["end_positions"])
        our_loss = span_loss_sum(ours(batch), batch, *labels) / batch.num_sequences
        our_loss.backward()
        assert abs(our_loss.item() - loss.item()) <= tolerance
        assert_equal_gradients(ours, theirs, family, tolerance)


@pytest.mark.parametrize("name", ["bert gelu", "distilbert gelu"])
def test_dropout_acts_at_the_same_places_with_the_same_rates(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2}
    if name.startswith("distilbert"):
        rates["qa_dropout"] = 0.4
    _, theirs, ours = twins(name, **rates)
    inputs = make_inputs((7, 7, 7), 7)
    arguments = {key: inputs[key] for key in ("input_ids", "attention_mask")}
    calls: list[tuple[float, int, int]] = []
    plain = F.dropout

    def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if training and p:
            calls.append((p, x.shape[-1], x.numel()))
        return plain(x, p, training, inplace)

    monkeypatch.setattr(F, "dropout", dropout)
    theirs.train()(**arguments)
    assert {rate for rate, _, _ in calls} == set(rates.values())
    use("explicit", monkeypatch)
    own = record_dropouts(monkeypatch)
    ours.train()(pack(inputs))
    assert [(rate, shape[-1], math.prod(shape)) for _, rate, shape in own] == calls
