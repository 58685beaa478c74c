"""Parameter groups and the learning-rate formula."""

import pytest
from torch import nn

from minibert.config import BertConfig
from minibert.heads import BertForMaskedLM, BertForQuestionAnswering
from train.optim import (
    learning_rate,
    linear_decay,
    make_optimizer,
    parameter_groups,
    warmup_updates,
)
from train.options import TrainOptions

TINY = {
    "vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 12, "max_position_embeddings": 9,
}  # fmt: skip


def test_linear_decay_follows_the_worked_example():
    factors = [linear_decay(update, 10, 2) for update in range(11)]
    assert factors == pytest.approx([0, 1 / 2, *[n / 8 for n in range(8, -1, -1)]], abs=1e-12)


def test_linear_decay_without_warmup_starts_at_the_top():
    assert linear_decay(0, 4, 0) == 1.0
    assert linear_decay(3, 4, 0) == 0.25


def test_linear_decay_agrees_with_transformers():
    transformers = pytest.importorskip("transformers", reason="the oracle is not installed")
    optimizer = make_optimizer(nn.Linear(2, 2), TrainOptions())
    for group in optimizer.param_groups:
        group["lr"] = 1.0
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 7, 50)
    for update in range(50):
        assert schedule.get_last_lr()[0] == pytest.approx(linear_decay(update, 50, 7), abs=1e-12)
        optimizer.step()
        schedule.step()


def test_warmup_below_one_is_a_fraction_and_above_a_number_of_updates():
    assert warmup_updates(0.1, 55) == 5
    assert warmup_updates(0, 55) == 0
    assert warmup_updates(7, 55) == 7
    assert warmup_updates(70, 55) == 55


def test_a_fraction_of_updates_is_not_off_by_one_for_a_rounding_of_floats() -> None:
    for total in (10, 100, 1000):
        for part in range(100):
            assert warmup_updates(float(f"0.{part:02}"), total) == part * total // 100


def test_constant_schedule_stays_level_after_warmup():
    options = TrainOptions(lr=2.0, lr_schedule="constant", warmup=2)
    assert [learning_rate(options, update, 6) for update in range(6)] == [0, 1, 2, 2, 2, 2]


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_neither_biases_nor_norms_decay_and_every_parameter_is_in_one_group(family):
    types = {"type_vocab_size": 0} if family == "distilbert" else {}
    model = BertForQuestionAnswering(BertConfig(model_type=family, **TINY, **types))
    decayed, plain = parameter_groups(model, 0.01)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    plain_names = {names[id(parameter)] for parameter in plain["params"]}
    assert plain_names == {n for n in names.values() if n.endswith("bias") or "norm" in n}
    assert len(decayed["params"]) + len(plain["params"]) == len(names)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.01, 0.0)


def test_optimizers_differ_in_how_they_decay():
    import torch

    weights = []
    for name in ("adamw", "adam"):
        torch.manual_seed(0)
        layer = nn.Linear(3, 3)
        optimizer = make_optimizer(layer, TrainOptions(optimizer=name, weight_decay=0.5))
        for group in optimizer.param_groups:
            group["lr"] = 0.1
        layer(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        weights.append(layer.weight.detach())
    assert (weights[0] - weights[1]).abs().max() > 1e-3


def test_a_tied_parameter_lands_in_one_group_once():
    model = BertForMaskedLM(BertConfig(**TINY))
    decayed, plain = parameter_groups(model, 0.01)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert "encoder.embeddings.word.weight" in {names[id(p)] for p in decayed["params"]}
    assert "decoder.bias" in {names[id(p)] for p in plain["params"]}
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight, second.bias = first.weight, first.bias
    decayed, plain = parameter_groups(nn.Sequential(first, second), 0.01)
    assert (decayed["params"], plain["params"]) == ([first.weight], [first.bias])
