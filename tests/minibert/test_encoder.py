"""minibert/encoder.py apart from its numbers: names, hooks, dropout, new weights."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from minibert import BertConfig, BertModel, PackedBatch
from minibert.config import ACTIVATIONS
from minibert.encoder import Activation
from tests.minibert.recorded import record_dropouts

SIZES = {
    "vocab_size": 101,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 37,
    "max_position_embeddings": 11,
}


def make_config(family: str = "bert", **values: object) -> BertConfig:
    if family == "distilbert":
        values |= {"model_type": "distilbert", "type_vocab_size": 0}
    return BertConfig(**(SIZES | values))  # type: ignore[arg-type]


def make_batch() -> PackedBatch:
    return PackedBatch.from_sequences(
        [[2, 5, 9, 3], [2, 3], [2, 7, 3]], [[0, 0, 1, 1], [0, 1], [0] * 3]
    )


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_the_names_of_the_activations_are_settled(family: str) -> None:
    layer = """attention attention.query attention.key attention.value attention.core
        attention.core.dropout attention.core.scores attention.core.probs attention.context
        attention.output attention_norm ffn ffn.up ffn.activation ffn.down ffn_norm
        attention_dropout ffn_dropout""".split()
    embeddings = ["embeddings.word", "embeddings.position", "embeddings.norm", "embeddings.dropout"]
    wanted = {"", "embeddings", *embeddings, "layers"}
    if family == "bert":
        wanted.add("embeddings.token_type")
    for i in range(2):
        wanted |= {f"layers.{i}", *(f"layers.{i}.{name}" for name in layer)}
    assert {name for name, _ in BertModel(make_config(family)).named_modules()} == wanted


@pytest.mark.parametrize("explicit", [True, False], ids=["explicit", "fused"])
def test_every_module_runs_once_and_only_explicit_attention_makes_scores_and_probs(
    explicit: bool,
) -> None:
    model = BertModel(make_config()).eval()
    model.use_explicit_attention(explicit)
    ran: list[str] = []
    for name, module in model.named_modules():
        if not isinstance(module, nn.ModuleList):

            def hook(module: nn.Module, args: object, output: object, name: str = name) -> None:
                ran.append(name)

            module.register_forward_hook(hook)
    model(make_batch())
    fused_skip = {
        f"layers.{i}.attention.core.{tap}"
        for i in range(2)
        for tap in ("scores", "probs", "dropout")
    }
    every = {name for name, m in model.named_modules() if not isinstance(m, nn.ModuleList)}
    assert sorted(ran) == sorted(every if explicit else every - fused_skip)


def test_looking_inside_changes_the_output_by_rounding_at_most_and_can_be_undone() -> None:
    torch.manual_seed(1)
    model = BertModel(make_config(initializer_range=0.3)).eval().double()
    fused = model(make_batch())
    model.use_explicit_attention()
    explicit = model(make_batch())
    assert not torch.equal(fused, explicit)
    torch.testing.assert_close(explicit, fused, rtol=0, atol=1e-12)
    model.use_explicit_attention(False)
    assert torch.equal(model(make_batch()), fused)


@pytest.mark.parametrize(
    "name", ["embeddings", "layers.0.attention.context", "layers.1.ffn", "layers.1.attention.key"]
)
def test_a_hook_may_replace_any_activation(name: str) -> None:
    model = BertModel(make_config(initializer_range=0.3)).eval()
    before = model(make_batch())

    def erase(module: nn.Module, args: object, output: Tensor) -> Tensor:
        return torch.zeros_like(output)

    handle = model.get_submodule(name).register_forward_hook(erase)
    after = model(make_batch())
    handle.remove()
    assert float((after - before).detach().abs().max()) > 1e-3
    assert torch.equal(model(make_batch()), before)


@pytest.mark.parametrize("family", ["bert", "distilbert"])
@pytest.mark.parametrize("explicit", [True, False], ids=["explicit", "fused"])
def test_dropout_acts_where_the_architecture_has_it(
    family: str, explicit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = BertModel(
        make_config(family, hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.2)
    )
    model.use_explicit_attention(explicit)
    calls = record_dropouts(monkeypatch)
    wide = ("dropout", 0.3, (9, 24))
    shapes = [(3, 4, 4, 4)] if explicit else [(1, 4, n, n) for n in (4, 2, 3)]
    probs = [("dropout", 0.2, shape) for shape in shapes]
    layer = [*probs, *([wide] if family == "bert" else []), wide]
    model.train()(make_batch())
    assert calls == [wide, *layer, *layer]
    calls.clear()
    model.eval()(make_batch())
    assert calls == []


def test_dropout_off_makes_training_and_evaluation_equal() -> None:
    model = BertModel(make_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
    assert torch.equal(model.train()(make_batch()), model.eval()(make_batch()))


def test_every_parameter_gets_a_gradient() -> None:
    model = BertModel(make_config(initializer_range=0.3))
    model(make_batch())[:, 0].square().sum().backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # softmax ignores what is added to all keys alike
    assert [name for name in dead if not name.endswith("key.bias")] == []


def test_new_weights_are_normal_with_the_configs_deviation_biases_0_and_norms_1_0() -> None:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=500, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=256, initializer_range=0.05,
    )  # fmt: skip
    for name, module in BertModel(config).named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            weight = module.weight.detach()
            error = 0.05 / (2 * weight.numel()) ** 0.5  # of the measured deviation
            assert abs(float(weight.std()) - 0.05) < 5 * error, name
            assert abs(float(weight.mean())) < 5 * 0.05 / weight.numel() ** 0.5, name
        if isinstance(module, nn.Linear):
            assert not module.bias.any(), name
        if isinstance(module, nn.LayerNorm):
            assert bool((module.weight == 1).all()) and not module.bias.any(), name


def test_token_types_count_in_bert_and_not_in_distilbert() -> None:
    batch = make_batch()
    other = PackedBatch.from_flat(batch.input_ids, 1 - batch.token_type_ids, batch.lengths)
    bert, distilbert = (BertModel(make_config(f)).eval() for f in ("bert", "distilbert"))
    assert not torch.allclose(bert(batch), bert(other))
    assert torch.equal(distilbert(batch), distilbert(other))


def tanh_gelu(x: Tensor) -> Tensor:
    """Hendrycks and Gimpel 2016, section 2."""
    return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("gelu", lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5))),
        ("gelu_python", lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5))),
        ("gelu_new", tanh_gelu),
        ("gelu_pytorch_tanh", tanh_gelu),
        ("relu", lambda x: x.clamp(min=0)),
        ("silu", lambda x: x / (1 + torch.exp(-x))),
        ("swish", lambda x: x / (1 + torch.exp(-x))),
        ("tanh", lambda x: 2 / (1 + torch.exp(-2 * x)) - 1),
    ],
)
def test_activations_follow_their_formulas(name: str, function: Callable[[Tensor], Tensor]) -> None:
    x = torch.linspace(-6, 6, 1001, dtype=torch.float64)
    torch.testing.assert_close(Activation(name)(x), function(x), rtol=0, atol=1e-14)
    assert Activation(name).extra_repr() == name
    assert name in ACTIVATIONS and set(Activation.FUNCTIONS) == set(ACTIVATIONS)


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_more_tokens_than_positions_are_refused_in_a_sentence(family: str) -> None:
    model = BertModel(make_config(family))
    assert model(PackedBatch.from_sequences([[2] * 11])).shape == (11, 24)
    with pytest.raises(ValueError, match="a sequence of 12 tokens, the model only 11 positions"):
        model(PackedBatch.from_sequences([[2, 3], [2] * 12]))


def test_too_long_a_sequence_is_refused_from_its_lengths_alone() -> None:
    """On a GPU an index without a row ends the process; the lengths are known without asking it."""
    model = BertModel(make_config()).to("meta")
    batch = PackedBatch.from_sequences([[2] * 12]).to("meta")
    with pytest.raises(ValueError, match="a sequence of 12 tokens"):
        model(batch)


def test_padding_beyond_the_positions_matters_only_where_it_shifts_tokens() -> None:
    model = BertModel(make_config())
    ids, mask = torch.full((1, 14), 2), torch.zeros(1, 14)
    mask[0, :3] = 1
    assert model(PackedBatch.from_padded(ids, mask)).shape == (3, 24)
    with pytest.raises(ValueError, match="position_ids hold 11, the model knows 0 to 10; the"):
        model(PackedBatch.from_padded(ids, mask.flip(1)))


@pytest.mark.parametrize(
    ("ids", "types", "said"),
    [
        ([2, 101], [0, 0], "input_ids hold 101, the model knows 0 to 100"),
        ([2, -1], [0, 0], "input_ids hold -1, the model knows 0 to 100"),
        ([2, 3], [0, 2], "token_type_ids hold 2, the model knows 0 to 1"),
    ],
)
def test_ids_and_token_types_without_a_row_are_refused_in_a_sentence(
    ids: list[int], types: list[int], said: str
) -> None:
    with pytest.raises(ValueError, match=f"{said}; the batch was made for another model"):
        BertModel(make_config())(PackedBatch.from_sequences([ids], [types]))
