"""eval/attribution.py and eval.ablate: what an answer rests on, against captum and by hand."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from data.batches import collate
from data.qa_settings import make_example_windows
from data.squad import Answer, SquadExample
from eval.ablate import f1_drops
from eval.answerer import Answerer, predict_logits
from eval.attribution import (
    best_span,
    head_ablation,
    integrated_gradients,
    span_lens,
    without_heads,
)
from eval.squad import score
from minibert import BertForQuestionAnswering, PackedBatch
from minibert.config import FAMILIES
from tests.forked import forked
from tests.golden.make_tour import TOUR
from tests.golden.stages import GOLDEN

KEPT = (2, 3)  # [CLS], [SEP]
CONTEXT = "anna reed built the bridge . bob sold the mill . clara hill painted the tower ."


def make_window() -> PackedBatch:
    ids, types = [2, 40, 71, 3, 12, 83, 14, 55, 7, 3], [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]
    return PackedBatch.from_sequences([ids], [types])


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> BertForQuestionAnswering:
    return BertForQuestionAnswering.from_pretrained(GOLDEN / request.param)


@pytest.fixture(scope="module")
def answerer() -> Answerer:
    return Answerer.load(str(TOUR), device="cpu")


def examples() -> list[SquadExample]:
    asked = [("who built the bridge ?", "anna reed"), ("who sold the mill ?", "bob")]
    asked += [("who painted the tower ?", "clara hill"), ("who drew the boat ?", "")]
    return [
        SquadExample(
            id=str(number), title="", question=question, context=CONTEXT,
            answers=(Answer(text=text, start=CONTEXT.index(text)),) if text else (),
            is_impossible=not text,
        )
        for number, (question, text) in enumerate(asked)
    ]  # fmt: skip


# --- integrated gradients


class Padded(nn.Module):
    """transformers' model from word embeddings to a span's score, one window padded to T + 1."""

    def __init__(self, model: Any, batch: PackedBatch, start: int, end: int) -> None:
        super().__init__()
        self.model, self.span = model, (start, end)
        types = nn.functional.pad(batch.token_type_ids, (0, 1))[None]
        self.rest = {"attention_mask": nn.functional.pad(torch.ones_like(types[:, :-1]), (0, 1))}
        if model.config.model_type == "bert":
            self.rest["token_type_ids"] = types

    def forward(self, words: Tensor) -> Tensor:
        rest = {name: value.expand(len(words), -1) for name, value in self.rest.items()}
        output = self.model(inputs_embeds=words, **rest)
        return output.start_logits[:, self.span[0]] + output.end_logits[:, self.span[1]]


@pytest.mark.parametrize("family", FAMILIES)
def test_integrated_gradients_are_captums(family: str) -> None:
    transformers: Any = pytest.importorskip("transformers", reason="transformers is the oracle")
    attr: Any = pytest.importorskip("captum.attr", reason="captum is the oracle")
    theirs = transformers.AutoModelForQuestionAnswering.from_pretrained(GOLDEN / family).eval()
    ours = BertForQuestionAnswering.from_pretrained(GOLDEN / family)
    batch = make_window()
    words = theirs.get_input_embeddings().weight.detach()
    kept = torch.isin(batch.input_ids, torch.tensor(KEPT))
    ids = nn.functional.pad(batch.input_ids, (0, 1))
    baseline = nn.functional.pad(torch.where(kept, batch.input_ids, 0), (0, 1))
    for start, end in ((5, 7), (0, 0)):
        found = integrated_gradients(ours, batch, start, end, KEPT, steps=64)
        wanted = attr.IntegratedGradients(Padded(theirs, batch, start, end)).attribute(
            words[ids][None], words[baseline][None], n_steps=found.steps, method="gausslegendre"
        )
        wanted = wanted.sum(-1)[0]
        assert wanted.abs().max() > 0.1
        torch.testing.assert_close(found.tokens, wanted[:-1].float(), rtol=0, atol=1e-4)


def test_they_sum_up_to_the_difference_of_the_scores(model: BertForQuestionAnswering) -> None:
    batch = make_window()
    logits = model(batch)
    kept = torch.isin(batch.input_ids, torch.tensor(KEPT))
    empty = PackedBatch.from_sequences(
        [torch.where(kept, batch.input_ids, 0).tolist()], [batch.token_type_ids.tolist()]
    )
    nothing = model(empty)
    for start, end in ((4, 4), (5, 7), (0, 0)):
        found = integrated_gradients(model, batch, start, end, KEPT)
        wanted = (logits.start_logits[start] + logits.end_logits[end]).item()
        before = (nothing.start_logits[start] + nothing.end_logits[end]).item()
        assert found.score == pytest.approx(wanted, abs=1e-5)
        assert found.baseline_score == pytest.approx(before, abs=1e-5)
        gap = found.tokens.sum().item() - (wanted - before)
        assert abs(gap) <= max(0.01 * abs(wanted - before), 1e-3)
        assert not found.tokens[kept].any() and found.tokens[~kept].all()


def test_steps_are_doubled_until_the_sum_is_right_and_a_lack_of_them_is_said(
    model: BertForQuestionAnswering,
) -> None:
    batch = make_window()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = integrated_gradients(model, batch, 5, 7, KEPT, steps=1)
    assert found.is_complete and found.steps in (2, 4, 8, 16, 32, 64)
    with pytest.warns(UserWarning, match=r"integrated gradients of 1 steps sum up to .*allow more"):
        short = integrated_gradients(model, batch, 5, 7, KEPT, steps=1, most_steps=1)
    assert not short.is_complete and short.steps == 1


def test_they_are_the_same_bits_in_parts_under_autocast_and_where_no_gradients_are_kept(
    model: BertForQuestionAnswering, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = make_window()
    plain = integrated_gradients(model, batch, 5, 7, KEPT).tokens
    for context in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu", torch.bfloat16)):
        with context:
            again = integrated_gradients(model.train(), make_window(), 5, 7, KEPT).tokens
        assert torch.equal(plain, again) and not again.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())
    monkeypatch.setattr("eval.attribution.TOKENS_AT_ONCE", 35)
    parts = integrated_gradients(model, batch, 5, 7, KEPT).tokens
    torch.testing.assert_close(parts, plain, rtol=0, atol=1e-5)


def test_one_window_and_places_inside_it_are_asked_for(model: BertForQuestionAnswering) -> None:
    two = PackedBatch.from_sequences([[2, 5, 3], [2, 5, 3]])
    for batch, span, message in (
        (two, (1, 1), "the batch has 2 windows, expected one"),
        (make_window(), (10, 3), "start is 10, expected a place from 0 to 9"),
        (make_window(), (3, -1), "end is -1, expected"),
    ):
        with pytest.raises(ValueError, match=message):
            integrated_gradients(model, batch, *span, KEPT)
        with pytest.raises(ValueError, match=message):
            head_ablation(model, batch, *span)


# --- layers and heads


@torch.no_grad()
def test_the_span_lens_is_the_model_cut_off_after_each_layer(
    model: BertForQuestionAnswering,
) -> None:
    batch = PackedBatch.from_sequences([[2, 40, 71, 3, 12, 3], [2, 9, 3, 5, 3]])
    lens = span_lens(model.train(), batch)
    layers = model.encoder.layers
    for count in range(len(layers) + 1):
        model.encoder.layers = layers[:count]
        logits = model(batch)
        assert torch.equal(lens.start_logits[count], logits.start_logits)
        assert torch.equal(lens.end_logits[count], logits.end_logits)
    assert lens.start_logits.shape == (3, 11)


@torch.no_grad()
def zero_slice(model: BertForQuestionAnswering, layer: int, head: int) -> Tensor:
    """Take a head out by hand, in the weights; the old weights, to put back."""
    weight = model.encoder.layers[layer].attention.output.weight
    before = weight.clone()
    size = model.config.head_size
    weight[:, head * size : (head + 1) * size] = 0
    return before


@torch.no_grad()
def test_head_ablation_is_the_drop_with_the_heads_slice_of_the_output_matrix_zeroed(
    model: BertForQuestionAnswering,
) -> None:
    batch = make_window()
    whole = model(batch)
    drops = head_ablation(model.train(), batch, 5, 7)
    assert drops.shape == (2, 4) and len(set(drops.flatten().tolist())) == 8
    for layer, head in np.ndindex(2, 4):
        before = zero_slice(model, layer, head)
        without = model(batch)
        drop = whole.start_logits[5] + whole.end_logits[7]
        drop = drop - without.start_logits[5] - without.end_logits[7]
        assert drops[layer, head].item() == pytest.approx(drop.item(), abs=1e-5)
        model.encoder.layers[layer].attention.output.weight.copy_(before)


@torch.no_grad()
def test_several_heads_can_be_taken_out_together(model: BertForQuestionAnswering) -> None:
    batch = make_window()
    with without_heads(model, [(0, 1), (1, 0), (0, 3)]):
        together = torch.stack(model(batch))
    with without_heads(model, []):
        assert torch.equal(torch.stack(model(batch)), torch.stack(model(batch)))
    for layer, head in ((0, 1), (1, 0), (0, 3)):
        zero_slice(model, layer, head)
    torch.testing.assert_close(together, torch.stack(model(batch)), rtol=0, atol=1e-6)
    for wrong in ((2, 0), (0, 4), (-1, 0)):
        with pytest.raises(ValueError, match=rf"no head {wrong[0]}\.{wrong[1]}; the model has"):
            with without_heads(model, [wrong]):
                pass


def test_f1_drops_are_those_of_models_without_the_head(answerer: Answerer) -> None:
    questions = examples()
    whole, drops = f1_drops(answerer, questions, 0.0)
    assert whole == 100.0 and drops.shape == (2, 2) and drops.max() > 0
    for layer, head in np.ndindex(2, 2):
        before = zero_slice(answerer.model, layer, head)
        _, decoded, _ = answerer.decode(questions)
        answers = {e.id: d.answer(0.0) for e, d in zip(questions, decoded, strict=True)}
        assert drops[layer, head] == whole - score(questions, answers)["f1"]
        answerer.model.encoder.layers[layer].attention.output.weight.data.copy_(before)


def test_the_best_span_is_the_answers(answerer: Answerer) -> None:
    narrow = answerer.with_settings(max_length=22, doc_stride=6)
    several = 0
    for example in examples()[:3]:
        windows, (decoded,), _ = narrow.decode([example])
        logits = predict_logits(narrow.model, windows, narrow.device)
        window, start, end = best_span(logits, windows, narrow.settings.max_answer_length)
        ids = windows.input_ids(window)[start : end + 1]
        words = " ".join(narrow.tokenizer.tokens[i] for i in ids)
        assert words == decoded.candidates[0].text
        several += len(windows) > 1 and window > 0
    assert several
    empty = SquadExample("1", "", "who ?", " ", (), False)
    windows = make_example_windows([empty], answerer.tokenizer, answerer.settings)
    with pytest.raises(ValueError, match="the context has no tokens"):
        best_span(predict_logits(answerer.model, windows, answerer.device), windows, 4)


# --- the command


def write_data(path: Path, questions: list[SquadExample]) -> Path:
    asked = [
        {
            "id": e.id,
            "question": e.question,
            "is_impossible": e.is_impossible,
            "answers": [{"text": a.text, "answer_start": a.start} for a in e.answers],
        }
        for e in questions
    ]
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": CONTEXT, "qas": asked}]}]}))
    return path


def test_the_command_prints_layers_x_heads(answerer: Answerer, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data.json", examples())
    words = ("--model", TOUR, "--data-file", data, "--device", "cpu")
    status, output, errors = forked("eval.ablate", *words)
    assert (status, errors) == (0, "")
    _, drops = f1_drops(answerer, examples(), 0.0)
    lines = output.splitlines()
    assert lines[0] == "F1 100.00 over 4 questions"
    assert lines[2].split() == ["layer", "0", "1"]
    assert lines[3].split() == ["0", *(f"{drop:.2f}" for drop in drops[0])]
    assert len(lines) == 5
    status, output, _ = forked("eval.ablate", *words, "--questions", 2)
    _, drops = f1_drops(answerer, examples()[::2], 0.0)
    assert status == 0 and output.startswith("F1 100.00 over 2 questions")
    assert output.splitlines()[4].split() == ["1", *(f"{drop:.2f}" for drop in drops[1])]
    status, output, _ = forked("eval.ablate", *words, "--no-null-answer")
    assert status == 0 and output.startswith("F1 100.00 over 3 questions")
    status, output, errors = forked("eval.ablate", *words, "--null-threshold", "-1000")
    assert status == 0 and output.startswith("F1 25.00 over 4 questions")
    assert errors.startswith('warning: the model answers "" to all 4 questions, so that F1 does')


def test_the_command_prints_one_answers_drops(answerer: Answerer, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data.json", examples())
    words = ("--model", TOUR, "--data-file", data, "--device", "cpu")
    for flags in ((), ("--amp",)):
        status, output, _ = forked("eval.ablate", *words, "--id", "2", *flags)
        windows, (decoded,), _ = answerer.decode(examples()[2:3])
        best = decoded.candidates[0]
        lines = output.splitlines()[3:]
        assert status == 0 and lines[0].startswith("its best span, clara hill, has the score ")
        if not flags:
            assert lines[0].endswith(f" {best.score:.2f}; no answer has {decoded.null_score:.2f}")
            window = collate(windows, np.array([0])).packed
            first = windows.input_ids(0).index(answerer.tokenizer.vocabulary["clara"])
            drops = head_ablation(answerer.model, window, first, first + 1)
            assert lines[3].split() == ["0", *(f"{drop:.2f}" for drop in drops[0].tolist())]


def test_the_command_says_what_is_right_and_what_the_null_flags_make_of_it(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data.json", examples())
    words = ("--model", TOUR, "--data-file", data, "--device", "cpu", "--id")

    def said(number: int, *flags: str) -> list[str]:
        status, output, errors = forked("eval.ablate", *words, number, *flags)
        assert (status, errors) == (0, "")
        return output.splitlines()[:3]

    asked = examples()
    answered = next(n for n, e in enumerate(asked) if e.answers)
    impossible = next(n for n, e in enumerate(asked) if not e.answers)
    right = asked[answered].answers[0].text
    question = f"question {answered}: {asked[answered].question}"
    known = [question, f"the data says: {right}", f"the model answers: {right}"]
    assert said(answered) == known
    assert said(answered, "--null-threshold", "-1000")[2] == "the model answers: (no answer)"
    assert said(answered, "--no-null-answer") == known
    assert said(impossible)[1:] == ["the data says: (no answer)", "the model answers: (no answer)"]
    assert said(impossible, "--no-null-answer")[2] != "the model answers: (no answer)"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--id", "9"), "error: --id 9 is no question of "),
        (("--id", "1", "--questions", "3"), "error: --questions and --id contradict"),
        (("--questions", "0"), "error: --questions is 0, expected at least 1"),
    ],
)
def test_the_command_refuses_in_a_sentence(
    words: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    data = write_data(tmp_path / "data.json", examples())
    status, output, errors = forked("eval.ablate", "--model", TOUR, "--data-file", data, *words)
    assert (status, output) == (2, "") and errors.startswith(message) and errors.count("\n") == 1


def test_data_without_answers_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data.json"
    asked = [{"id": "1", "question": "who ?"}]
    data.write_text(json.dumps({"data": [{"paragraphs": [{"context": CONTEXT, "qas": asked}]}]}))
    status, _, errors = forked("eval.ablate", "--model", TOUR, "--data-file", data)
    assert status == 2 and "has no answers to score with" in errors


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_all_of_it_on_a_gpu_under_autocast(model: BertForQuestionAnswering) -> None:
    batch = make_window()
    wanted = integrated_gradients(model, batch, 5, 7, KEPT).tokens
    lens, drops = span_lens(model, batch), head_ablation(model, batch, 5, 7)
    model.to("cuda")
    with torch.autocast("cuda", torch.bfloat16):
        found = integrated_gradients(model, batch.to("cuda"), 5, 7, KEPT).tokens
        again = span_lens(model, batch.to("cuda")).start_logits.float()
        rough = head_ablation(model, batch.to("cuda"), 5, 7)
    torch.testing.assert_close(found.cpu(), wanted, rtol=0, atol=1e-3)
    torch.testing.assert_close(again.cpu(), lens.start_logits, rtol=0, atol=0.2)
    torch.testing.assert_close(rough, drops, rtol=0, atol=0.2)
