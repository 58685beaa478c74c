"""minibert/trace.py: activations are seen and replaced, and nothing else changes."""

import gc
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from minibert import (
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    PackedBatch,
)
from minibert.config import FAMILIES
from minibert.trace import record, replace
from minibert.weight_names import QUESTION_ANSWERING
from minibert.weights import load_weights
from tests.golden.make_golden import their_config, their_model
from tests.golden.stages import GOLDEN

ROOT = Path(__file__).parents[2]
PROBS = "encoder.layers.{}.attention.core.probs"
CONTEXT = "encoder.layers.{}.attention.context"
# B 3, T 7, N 14, D 24, H 4, F 37, L 2, as in tests/golden
LENGTHS = (7, 2, 5)


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Iterator[BertForQuestionAnswering]:
    made = BertForQuestionAnswering.from_pretrained(GOLDEN / request.param)
    yield made
    assert count_hooks(made) == 0


def count_hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def make_batch(device: str = "cpu") -> PackedBatch:
    ids = torch.randint(1, 101, (sum(LENGTHS),), generator=torch.Generator().manual_seed(5))
    return PackedBatch.from_flat(ids, ids % 2, LENGTHS).to(device)


def run(model: BertForQuestionAnswering, batch: PackedBatch) -> Tensor:
    """The logits of a pass whose dropout is always the same, (2, N)."""
    torch.manual_seed(7)
    return torch.stack(model(batch))


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_probs_and_hidden_states_are_those_of_transformers(family: str) -> None:
    pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")
    sizes = {"hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 37}
    config = their_config(
        family, vocab_size=53, num_hidden_layers=3, max_position_embeddings=13, **sizes
    )
    theirs = their_model(config, seed=1)
    our_config = BertConfig.from_dict(config.to_dict())
    ours = BertForQuestionAnswering(our_config).eval()
    load_weights(ours, our_config, QUESTION_ANSWERING, theirs.state_dict(), new_head=False)
    mask = (torch.arange(8) < torch.tensor([8, 3, 5])[:, None]).long()
    arguments: dict[str, Any] = {"attention_mask": mask}
    arguments["input_ids"] = torch.randint(1, 53, (3, 8)) * mask
    if family == "bert":
        arguments["token_type_ids"] = torch.randint(0, 2, (3, 8)) * mask
    output = theirs(**arguments, output_attentions=True, output_hidden_states=True)
    batch = PackedBatch.from_padded(arguments["input_ids"], mask, arguments.get("token_type_ids"))
    ours.encoder.use_explicit_attention()
    layers = [f"encoder.layers.{i}" for i in range(3)]
    with record(ours, [PROBS.format("*"), "encoder.embeddings", *layers]) as seen:
        ours(batch)
    for i, wanted in enumerate(output.attentions):
        real = mask.bool()
        probs, wanted = (x.transpose(1, 2)[real] for x in (seen[PROBS.format(i)], wanted))
        torch.testing.assert_close(probs, wanted, rtol=0, atol=1e-5)
        torch.testing.assert_close(probs.sum(-1), torch.ones(16, 4), rtol=0, atol=1e-6)
        assert not probs.masked_select(~batch.padding_mask[batch.padded_index // 8][:, None]).any()
    for name, wanted in zip(["encoder.embeddings", *layers], output.hidden_states, strict=True):
        torch.testing.assert_close(seen[name], batch.unpad(wanted), rtol=0, atol=1e-5)


@pytest.mark.parametrize("amp", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("explicit", [False, True], ids=["fused", "explicit"])
def test_recording_and_replacing_by_the_same_change_no_bit(
    model: BertForQuestionAnswering, explicit: bool, training: bool, amp: bool
) -> None:
    check_bits(model, make_batch(), explicit, training, amp)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("explicit", [False, True], ids=["fused", "explicit"])
def test_nor_on_a_gpu(model: BertForQuestionAnswering, explicit: bool) -> None:
    check_bits(model.to("cuda"), make_batch("cuda"), explicit, training=True, amp=True)


def check_bits(
    model: BertForQuestionAnswering, batch: PackedBatch, explicit: bool, training: bool, amp: bool
) -> None:
    model.train(training)
    model.encoder.use_explicit_attention(explicit)
    names = [
        name
        for name, module in model.named_modules()
        if name and not isinstance(module, nn.ModuleList) and (explicit or ".core." not in name)
    ]
    with torch.autocast(batch.input_ids.device.type, torch.bfloat16, enabled=amp):
        plain = run(model, batch)
        with record(model, names) as seen:
            recorded = run(model, batch)
        with replace(model, dict.fromkeys(names, lambda value: value)):
            same = run(model, batch)
        with replace(model, dict.fromkeys(names, torch.clone)):
            copied = run(model, batch)
        torch.manual_seed(8)
        other = torch.stack(model(batch))
    assert torch.equal(plain, recorded) and torch.equal(plain, same) and torch.equal(plain, copied)
    assert seen.keys() == set(names)
    if amp:
        assert seen["encoder.layers.0.ffn.up"].dtype == torch.bfloat16
    assert torch.equal(plain, other) == (not training)  # there was dropout to disturb


def test_gradients_flow_through_what_is_recorded_and_what_is_replaced(
    model: BertForQuestionAnswering,
) -> None:
    model.double().encoder.use_explicit_attention()
    batch, name = make_batch(), PROBS.format(1)
    with record(model, [name, CONTEXT.format(0)]) as seen:
        score = model(batch).start_logits[3]
        seen[CONTEXT.format(0)].retain_grad()
    (slope,) = torch.autograd.grad(score, seen[name], retain_graph=True)
    score.backward()
    assert seen[CONTEXT.format(0)].grad is not None
    torch.manual_seed(3)
    direction = torch.randn_like(slope)
    scale = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    with replace(model, {name: lambda probs: probs + (step + scale) * direction}):
        step = -1e-5
        below = model(batch).start_logits[3]
        step = 1e-5
        above = model(batch).start_logits[3]
        step = 0.0
        moved = model(batch).start_logits[3]
    assert moved == score
    wanted = float((slope * direction).sum())
    assert float((above - below).detach()) / 2e-5 == pytest.approx(wanted, rel=1e-5, abs=1e-5)
    (along,) = torch.autograd.grad(moved, scale)
    assert float(along.detach()) == pytest.approx(wanted, rel=1e-12)


@torch.no_grad()
def test_a_head_whose_context_is_zeroed_is_its_slice_of_the_output_matrix_zeroed(
    model: BertForQuestionAnswering,
) -> None:
    batch, whole = make_batch(), run(model, make_batch())
    for layer in range(2):
        for head in range(4):
            columns = slice(head * 6, head * 6 + 6)

            def zero(context: Tensor, columns: slice = columns) -> Tensor:
                context = context.clone()
                context[:, columns] = 0
                return context

            with replace(model, {CONTEXT.format(layer): zero}):
                without = run(model, batch)
            weight = model.encoder.layers[layer].attention.output.weight
            before = weight.clone()
            weight[:, columns] = 0
            torch.testing.assert_close(without, run(model, batch), rtol=0, atol=1e-6)
            weight.copy_(before)
            assert (without - whole).abs().max() > 1e-3


def test_the_latest_pass_is_held_and_the_one_before_let_go(model: BertForQuestionAnswering) -> None:
    batch = make_batch()
    with record(model, "encoder.layers.1") as seen:
        assert seen == {}
        model(batch)
        (first,) = seen.values()
        model(batch)
        assert list(seen) == ["encoder.layers.1"] and seen["encoder.layers.1"] is not first
        assert torch.equal(seen["encoder.layers.1"], first)
    model.encoder.use_explicit_attention()
    with pytest.raises(ValueError, match="probs was not seen"), record(model, "*.probs") as seen:
        model(batch)
        model.encoder.use_explicit_attention(False)
        model(batch)
    assert seen == {}


def test_a_record_sees_what_the_model_goes_on_with_whichever_block_is_opened_first(
    model: BertForQuestionAnswering,
) -> None:
    batch, name = make_batch(), CONTEXT.format(0)
    for blocks in (("record", "replace"), ("replace", "record")):
        traces = {"record": record(model, name), "replace": replace(model, {name: torch.ones_like})}
        with traces[blocks[0]] as outer, traces[blocks[1]] as inner:
            model(batch)
        seen = outer or inner
        assert seen is not None and (seen[name] == 1).all()
    order: list[str] = []
    with (
        replace(model, {name: lambda x: (order.append("outer"), x)[1]}),
        replace(model, {name: lambda x: (order.append("inner"), x)[1]}),
    ):
        model(batch)
    assert order == ["inner", "outer"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("probs", rf"did you mean {PROBS.format(0)} or {PROBS.format(1)}\?"),
        ("encoder.layer.0.ffn.up", r"did you mean encoder\.layers\.0\.ffn\.up or"),
        ("layers.0.ffn_norm", r"did you mean encoder\.layers\.0\.ffn_norm\?"),
        ("encoder.layers.2.*", "no activation named"),
        ("encoder.layers", "no activation named"),  # a list is never called
        ("", r"see model\.named_modules\(\)"),
    ],
)
def test_a_name_that_is_not_there_is_refused_at_once(
    model: BertForQuestionAnswering, name: str, hint: str
) -> None:
    for block in (record(model, [CONTEXT.format(0), name]), replace(model, {name: torch.abs})):
        with pytest.raises(ValueError, match=hint), block:
            raise AssertionError("the block was entered")


def test_what_did_not_run_is_said_at_the_end_unless_something_else_went_wrong(
    model: BertForQuestionAnswering,
) -> None:
    batch = make_batch()
    advice = r"probs was not seen.*fused.*call model\.encoder\.use_explicit_attention\(\)"
    for names in (PROBS.format(1), "*.probs", ["*", PROBS.format(1)]):
        with pytest.raises(ValueError, match=advice), record(model, names):
            model(batch)
    with pytest.raises(ValueError, match=advice), replace(model, {"*.core.probs": torch.abs}):
        model(batch)
    with pytest.raises(ValueError, match="call the model inside the block"):
        with record(model, "span"):
            pass
    model.encoder.use_explicit_attention()
    with pytest.raises(ValueError, match="call the model inside the block"):
        with replace(model, {PROBS.format(0): torch.abs}):
            pass
    with pytest.raises(KeyError, match="mine"), record(model, "span"):
        raise KeyError("mine")


def test_of_what_a_pattern_fits_that_is_seen_and_replaced_which_ran(
    model: BertForQuestionAnswering,
) -> None:
    batch = make_batch()
    with record(model, ["*", "span"]) as seen:
        model(batch)
    core = {name for name in dict(model.named_modules()) if ".core." in name}
    everything = {
        name
        for name, module in model.named_modules()
        if name and not isinstance(module, nn.ModuleList)
    }
    assert core and set(seen) == everything - core
    with record(model, "span") as whole, replace(model, {"encoder.layers.0.*": torch.zeros_like}):
        model(batch)
    assert not torch.equal(whole["span"], seen["span"])


def test_what_is_no_name_and_no_function_is_said_in_a_sentence(
    model: BertForQuestionAnswering,
) -> None:
    wrong: Any
    for wrong, what in ((3, "an int"), ([3], "an int"), (None, "a NoneType"), ([b"*"], "a bytes")):
        with pytest.raises(TypeError, match=rf"^a name is {what}.*, expected text"):
            with record(model, wrong):
                raise AssertionError("the block was entered")
    for wrong in ([], (), {}):
        with pytest.raises(ValueError, match="no name is given"), record(model, wrong):
            raise AssertionError("the block was entered")
    for wrong, what in (
        ({"span": torch.zeros(14, 2)}, r"the replacement of span is a tensor of shape \(14, 2\)"),
        ({"span": None}, "the replacement of span is a NoneType, expected a function"),
        ({4: torch.abs}, "a name is an int, expected text"),
        (["span"], "what to replace is a list, expected {name: function}"),
    ):
        with pytest.raises(TypeError, match=what), replace(model, wrong):
            raise AssertionError("the block was entered")


@pytest.mark.parametrize(
    ("function", "what"),
    [
        (
            lambda x: x[:-1],
            r"a tensor of shape \(13, 24\), torch\.float32 on cpu, expected a tensor",
        ),
        (
            lambda x: x.double(),
            r"a tensor of shape \(14, 24\), torch\.float64 on cpu, expected .*torch\.float32",
        ),
        (lambda x: None, "a NoneType, expected a tensor of shape"),
    ],
)
def test_a_replacement_that_does_not_fit_is_refused(
    model: BertForQuestionAnswering, function: Any, what: str
) -> None:
    name = CONTEXT.format(1)
    with (
        pytest.raises(ValueError, match=rf"the replacement of {re.escape(name)} is {what}"),
        record(model, "*.ffn.up"),
        replace(model, {"*.context": function}),
    ):
        model.encoder.layers[1](torch.randn(14, 24), make_batch())
    assert count_hooks(model) == 0


def test_a_module_that_puts_out_no_tensor_is_refused() -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    model = nn.Sequential(Pair())
    with pytest.raises(ValueError, match="0 puts out tuple, no tensor"), record(model, "0"):
        model(torch.ones(1))


def live_tensors() -> int:
    return sum(x.numel() for x in gc.get_objects() if type(x) in (Tensor, nn.Parameter))


def test_memory_is_flat_over_50_recorded_passes(model: BertForQuestionAnswering) -> None:
    model.train().encoder.use_explicit_attention()
    batch, sizes = make_batch(), []
    gc.collect()
    gc.disable()  # nothing may wait for the collector
    try:
        for _ in range(50):
            with (
                record(model, "*") as seen,
                replace(model, {CONTEXT.format(0): lambda context: context * 2}),
            ):
                model(batch).start_logits.sum().backward()
            del seen
            sizes.append(live_tensors())
    finally:
        gc.enable()
    assert set(sizes[2:]) == {sizes[-1]}, sizes


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_memory_of_a_gpu_is_flat_too(model: BertForQuestionAnswering) -> None:
    model.to("cuda").train().encoder.use_explicit_attention()
    batch, sizes = make_batch("cuda"), []
    for _ in range(50):
        with record(model, "*") as seen, torch.autocast("cuda", torch.bfloat16):
            model(batch).start_logits.sum().backward()
        del seen
        sizes.append(torch.cuda.memory_allocated())
    assert set(sizes[2:]) == {sizes[-1]}, sizes


def table_of_names(layers: int) -> dict[str, str]:
    """{name: shape} of the table in docs/architecture.md."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text[text.index("## Names of activations") :].split("\n\n`model.encoder")[0]
    shapes: dict[str, str] = {}
    for cells in re.findall(r"^\| (`.*?) \| .* \| \((.*?)\) \|$", table, re.MULTILINE):
        first, *others = re.findall(r"`(.*?)`", cells[0])
        stem = first.rpartition(".")[0]
        for name in [first, *(stem + x if x.startswith(".") else x for x in others)]:
            for i in range(layers):
                shapes[name.format(i=i)] = cells[1]
    return shapes


HEADS: dict[Any, set[str]] = {
    BertForQuestionAnswering: {"span"},
    BertForMaskedLM: {"transform.dense", "transform.activation", "transform.norm", "decoder"},
    BertForSequenceClassification: {"pooler.dense", "pooler.activation", "classifier"},
}


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_table_of_names_lists_every_activation_with_its_shape(family: str, kind: Any) -> None:
    # sizes all unlike: N 9, B 2, T 5... and 2 at the span head
    sizes = {"N": 9, "B": 3, "T": 4, "D": 24, "H": 6, "F": 37, "M": 5, "V": 53, "2": 2}
    sizes["C"] = 7
    config = BertConfig(
        model_type=family, vocab_size=53, hidden_size=24, num_hidden_layers=2,
        num_attention_heads=6, intermediate_size=37, max_position_embeddings=13,
        type_vocab_size=2 if family == "bert" else 0,
        **({"labels": tuple("abcdefg")} if kind is BertForSequenceClassification else {}),
    )  # fmt: skip
    model = kind(config)
    model.encoder.use_explicit_attention()
    batch = PackedBatch.from_sequences([[2, 5, 6, 3], [2, 3, 4], [2, 3]])
    masked = (torch.arange(5),) if kind is BertForMaskedLM else ()
    named = dict(model.named_modules())
    listed = {name: shape for name, shape in table_of_names(2).items() if name in named}
    with record(model, listed) as seen:
        model(batch, *masked)
    for name, shape in listed.items():
        assert seen[name].shape == tuple(sizes[word] for word in shape.split(", ")), name
    leaves = {name for name, module in named.items() if not list(module.children())}
    assert leaves - listed.keys() == {n for n in leaves if n.endswith("dropout")}
    # what the table has and this model has not
    absent = {name for name in table_of_names(2) if name not in named}
    heads = set().union(*HEADS.values()) - HEADS[kind]
    assert absent == heads | ({"encoder.embeddings.token_type"} if family != "bert" else set())
