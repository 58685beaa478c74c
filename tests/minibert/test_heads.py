"""minibert/heads.py: the span loss and the question answering model."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from minibert import BertConfig, BertForQuestionAnswering, PackedBatch, SpanLogits
from minibert.heads import span_loss_sum
from minibert.hub import ModelFiles
from tests.golden.stages import FAMILIES, GOLDEN

LENGTHS = (4, 1, 6)
STARTS, ENDS = torch.tensor([1, 0, 5]), torch.tensor([3, 0, 5])


def make_batch(lengths: tuple[int, ...] = LENGTHS) -> PackedBatch:
    return PackedBatch.from_sequences([[1] * length for length in lengths])


def make_logits(dtype: torch.dtype = torch.float64, scale: float = 3.0) -> SpanLogits:
    generator = torch.Generator().manual_seed(5)
    both = torch.randn(2, sum(LENGTHS), generator=generator, dtype=torch.float64) * scale
    return SpanLogits(*both.to(dtype).requires_grad_().unbind())


def window_losses(logits: SpanLogits) -> list[float]:
    """(start + end) / 2 of each window, from the definition, in Python."""
    losses = []
    begin = 0
    for length, start, end in zip(LENGTHS, STARTS.tolist(), ENDS.tolist(), strict=True):
        total = 0.0
        for scores, right in ((logits.start_logits, start), (logits.end_logits, end)):
            window = scores[begin : begin + length].tolist()
            total += math.log(sum(math.exp(x) for x in window)) - window[right]
        losses.append(total / 2)
        begin += length
    return losses


def test_the_loss_is_the_definition_over_each_windows_own_tokens() -> None:
    logits = make_logits()
    loss = span_loss_sum(logits, make_batch(), STARTS, ENDS)
    assert loss.shape == () and loss.dtype == torch.float64
    assert loss.item() == pytest.approx(sum(window_losses(logits)), abs=1e-12)


def test_a_window_of_one_token_costs_nothing() -> None:
    logits = SpanLogits(torch.tensor([7.0]), torch.tensor([-7.0]))
    zero = torch.tensor([0])
    assert float(span_loss_sum(logits, make_batch((1,)), zero, zero)) == 0


def test_the_loss_of_parts_sums_to_the_loss_of_the_whole_and_so_do_its_gradients() -> None:
    logits = make_logits()
    whole = span_loss_sum(logits, make_batch(), STARTS, ENDS)
    cut = LENGTHS[0]
    first, rest = (
        SpanLogits(*(x[part] for x in logits)) for part in (slice(cut), slice(cut, None))
    )
    parts = span_loss_sum(first, make_batch(LENGTHS[:1]), STARTS[:1], ENDS[:1])
    parts = parts + span_loss_sum(rest, make_batch(LENGTHS[1:]), STARTS[1:], ENDS[1:])
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-14)
    for scores in logits:
        (of_whole,) = torch.autograd.grad(whole, scores, retain_graph=True)
        (of_parts,) = torch.autograd.grad(parts, scores, retain_graph=True)
        torch.testing.assert_close(of_parts, of_whole, rtol=0, atol=1e-15)
        # a window's gradient is softmax - one-hot, halved: it sums to 0
        for window in of_whole.split(list(LENGTHS)):
            assert float(window.sum()) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_logits_are_summed_in_float32(dtype: torch.dtype) -> None:
    logits = make_logits(dtype)
    loss = span_loss_sum(logits, make_batch(), STARTS, ENDS)
    assert loss.dtype == torch.float32
    exact = SpanLogits(*(x.detach().double() for x in logits))
    assert loss.item() == pytest.approx(sum(window_losses(exact)), rel=1e-6)


def test_huge_logits_give_a_finite_loss() -> None:
    logits = make_logits(torch.float32, scale=1e30)
    loss = span_loss_sum(logits, make_batch(), STARTS, ENDS)
    (gradient,) = torch.autograd.grad(loss, logits.start_logits)
    assert bool(loss.isfinite()) and bool(gradient.isfinite().all())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_has_an_encoder_and_a_span_head_and_no_pooler(family: str) -> None:
    model = BertForQuestionAnswering.from_pretrained(GOLDEN / family)
    tops = {name.split(".")[0] for name, _ in model.named_parameters()}
    assert tops == {"encoder", "span"}
    assert not any("pool" in name for name, _ in model.named_modules())
    assert model.span.weight.shape == (2, 24)


def test_start_and_end_scores_are_the_heads_two_rows() -> None:
    model = BertForQuestionAnswering.from_pretrained(GOLDEN / "bert")
    batch = make_batch()
    hidden_states = model.encoder(batch)
    logits = model(batch)
    assert isinstance(logits, SpanLogits)
    for scores, row in ((logits.start_logits, 0), (logits.end_logits, 1)):
        wanted = hidden_states @ model.span.weight[row] + model.span.bias[row]
        torch.testing.assert_close(scores, wanted, rtol=0, atol=1e-6)


def test_every_parameter_of_the_model_gets_a_gradient_from_the_loss() -> None:
    for family in FAMILIES:
        model = BertForQuestionAnswering.from_pretrained(GOLDEN / family)
        batch = make_batch()
        span_loss_sum(model(batch), batch, STARTS, ENDS).backward()
        assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_dropout_stands_before_distilberts_span_head_and_not_before_berts() -> None:
    seen: list[Tensor] = []
    for family, dropped in (("bert", False), ("distilbert", True)):
        model = BertForQuestionAnswering.from_pretrained(GOLDEN / family).train()
        seen.clear()
        model.span.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        for module in model.encoder.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        model(make_batch())
        assert bool((seen[0] == 0).any()) == dropped


def test_a_rate_given_to_every_dropout_adds_none_where_the_architecture_has_none() -> None:
    counts = {}
    for family in FAMILIES:
        model = BertForQuestionAnswering.from_pretrained(GOLDEN / family)
        counts[family] = sum(isinstance(module, nn.Dropout) for module in model.modules())
    # BERT: embeddings, and in each of 2 layers probs, attention, ffn. DistilBERT: no attention,
    # but one before the head.
    assert counts == {"bert": 1 + 2 * 3, "distilbert": 1 + 2 * 2 + 1}


def test_random_weights_have_no_report_and_loaded_ones_name_their_source() -> None:
    config = BertConfig.from_file(GOLDEN / "bert" / "config.json")
    assert BertForQuestionAnswering(config).load_report is None
    report = BertForQuestionAnswering.from_pretrained(GOLDEN / "bert").load_report
    assert report is not None
    assert (report.source, report.commit) == (str(GOLDEN / "bert"), None)
    files = ModelFiles(GOLDEN / "bert", "acme/tiny", "c" * 40)
    report = BertForQuestionAnswering.from_pretrained(files).load_report
    assert report is not None
    assert (report.source, report.commit) == ("acme/tiny", "c" * 40)


def test_a_loaded_model_evaluates_in_float32_and_can_be_trained() -> None:
    model = BertForQuestionAnswering.from_pretrained(GOLDEN / "distilbert")
    assert not any(module.training for module in model.modules())
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32 and parameter.requires_grad, name
        assert isinstance(parameter, nn.Parameter) and parameter.is_leaf, name


def test_a_config_that_fits_another_model_is_refused_naming_the_folder(tmp_path: Path) -> None:
    for file in ("config.json", "model.safetensors"):
        (tmp_path / file).write_bytes((GOLDEN / "bert" / file).read_bytes())
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"vocab_size": 101', '"vocab_size": 102'))
    with pytest.raises(ValueError) as caught:
        BertForQuestionAnswering.from_pretrained(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: the weights do not fit the model: shape of "
        "bert.embeddings.word_embeddings.weight: (101, 24), expected (102, 24)"
    )
