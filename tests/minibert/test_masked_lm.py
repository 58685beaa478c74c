"""minibert/heads.py's masked-LM model: head, loss, tie, and the files it reads and writes."""

import copy
import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from minibert import BertConfig, BertForMaskedLM, BertForQuestionAnswering, PackedBatch
from minibert.heads import masked_lm_loss_sum
from tests.golden.stages import FAMILIES, GOLDEN

WORD = "encoder.embeddings.word.weight"
PARTS = ("transform.dense", "transform.activation", "transform", "decoder")
HEADS = {
    "bert": {
        "cls.predictions.bias",
        "cls.predictions.transform.dense.weight",
        "cls.predictions.transform.dense.bias",
        "cls.predictions.transform.LayerNorm.weight",
        "cls.predictions.transform.LayerNorm.bias",
    },
    "distilbert": {
        "vocab_projector.bias",
        "vocab_transform.weight",
        "vocab_transform.bias",
        "vocab_layer_norm.weight",
        "vocab_layer_norm.bias",
    },
}


def golden_tensors(family: str) -> dict[str, Tensor]:
    """A whole masked-LM checkpoint as transformers saves it: golden encoder, golden head."""
    encoder = load_file(GOLDEN / family / "model.safetensors")
    head = load_file(GOLDEN / family / "masked_lm.safetensors")
    return {name: t for name, t in encoder.items() if not name.startswith("qa_")} | {
        name: t for name, t in head.items() if not name.startswith("normal.")
    }


def write_folder(folder: Path, family: str, tensors: dict[str, Tensor]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_bytes((GOLDEN / family / "config.json").read_bytes())
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "model.safetensors")
    return folder


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(family: str, tmp_path: Path) -> BertForMaskedLM:
    folder = write_folder(tmp_path / "golden", family, golden_tensors(family))
    return BertForMaskedLM.from_pretrained(folder)


def golden_batch(family: str) -> PackedBatch:
    tensors = load_file(GOLDEN / family / "activations.safetensors")
    return PackedBatch.from_padded(
        *(tensors[name] for name in ("input_ids", "attention_mask", "token_type_ids"))
    )


@pytest.mark.parametrize("explicit", [True, False], ids=["explicit", "fused"])
@torch.no_grad()
def test_every_part_of_the_head_puts_out_what_transformers_does(
    family: str, model: BertForMaskedLM, explicit: bool
) -> None:
    golden = load_file(GOLDEN / family / "masked_lm.safetensors")
    model.encoder.use_explicit_attention(explicit)
    seen: dict[str, Tensor] = {}
    for part in PARTS:
        module = model.get_submodule(part)
        module.register_forward_hook(lambda m, args, out, part=part: seen.update({part: out}))
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 2.0**-24 * 1.001)):
        model.to(dtype)
        logits = model(golden_batch(family))
        assert logits.shape == (14, 101) and torch.equal(logits, seen["decoder"])
        for part in PARTS:
            wanted = golden[f"normal.{part}"].to(dtype)
            difference = float((seen[part] - wanted).abs().max() / wanted.abs().max())
            assert difference <= tolerance, f"{part} is the first to differ, by {difference:.2g}"


@torch.no_grad()
def test_chosen_rows_have_the_logits_they_have_among_all(
    family: str, model: BertForMaskedLM
) -> None:
    batch = golden_batch(family)
    everything = model.double()(batch)
    rows = torch.tensor([13, 0, 7, 7])
    seen: list[int] = []
    model.transform.register_forward_hook(lambda m, args, out: seen.append(len(args[0])))
    chosen = model(batch, rows)
    torch.testing.assert_close(chosen, everything[rows], rtol=0, atol=1e-12)
    assert seen == [4]  # gathered before the transform, not after
    assert model(batch, rows[:0]).shape == (0, 101)


def test_the_loss_is_the_weighted_sum_of_each_rows_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(5, 9, generator=generator, dtype=torch.float64) * 4
    labels, weights = torch.tensor([0, 8, 3, 3, 5]), torch.tensor([0.5, 0.5, 1.0, 0.0, 0.25])
    wanted = sum(
        weight * (math.log(sum(map(math.exp, row))) - row[label])
        for row, label, weight in zip(
            logits.tolist(), labels.tolist(), weights.tolist(), strict=True
        )
    )
    loss = masked_lm_loss_sum(logits, labels, weights)
    assert loss.shape == () and loss.dtype == torch.float64
    assert loss.item() == pytest.approx(wanted, abs=1e-12)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        rounded = logits.to(dtype)
        exact = masked_lm_loss_sum(rounded.double(), labels, weights).item()
        loss = masked_lm_loss_sum(rounded, labels, weights)
        assert loss.dtype == torch.float32 and loss.item() == pytest.approx(exact, rel=1e-6)


def test_a_batch_without_masked_tokens_costs_nothing_and_has_a_gradient(
    family: str, model: BertForMaskedLM
) -> None:
    none = torch.tensor([], dtype=torch.int64)
    loss = masked_lm_loss_sum(model(golden_batch(family), none), none, none.float())
    loss.backward()
    assert loss.item() == 0 and loss.dtype == torch.float32
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def train_a_step(model: BertForMaskedLM, batch: PackedBatch) -> float:
    rows = torch.tensor([1, 4])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    loss = masked_lm_loss_sum(model(batch, rows), torch.tensor([5, 6]), torch.ones(2))
    loss.backward()
    optimizer.step()
    return loss.item()


def test_the_decoder_is_the_word_embedding_itself_whatever_is_done_to_the_model(
    family: str, model: BertForMaskedLM
) -> None:
    names = [name for name, _ in model.named_parameters()]
    shapes = [tuple(parameter.shape) for parameter in model.parameters()]
    assert shapes.count((101, 24)) == 1 and WORD in names
    assert set(model.state_dict()) == set(names)
    twin = copy.deepcopy(model)
    fresh = BertForMaskedLM(model.config)
    fresh.load_state_dict(model.state_dict(), assign=True)
    batch = golden_batch(family)
    for one in (model, twin, fresh.eval(), model.double().float()):
        before = one(batch)
        with torch.no_grad():
            one.encoder.embeddings.word.weight[100] += 1  # a token that the batch does not hold
        changed = (one(batch) != before).any(0).nonzero().flatten().tolist()
        assert changed == [100]


def test_every_word_and_every_parameter_learns_from_one_masked_token(
    family: str, model: BertForMaskedLM
) -> None:
    train_a_step(model, golden_batch(family))
    gradient = model.encoder.embeddings.word.weight.grad
    assert gradient is not None and bool(gradient.any(1).all())
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_training_lowers_the_loss(family: str, model: BertForMaskedLM) -> None:
    batch = golden_batch(family)
    losses = []
    for _ in range(10):
        losses.append(train_a_step(model, batch))
        model.zero_grad()
    assert losses[-1] < losses[0] / 2


def test_a_new_model_has_small_weights_zero_biases_and_plain_norms(family: str) -> None:
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig.from_file(GOLDEN / family / "config.json"))
    assert model.load_report is None
    assert 0.015 < model.transform.dense.weight.std().item() < 0.025
    assert not model.transform.dense.bias.any() and not model.decoder.bias.any()
    assert bool((model.transform.norm.weight == 1).all()) and not model.transform.norm.bias.any()
    kinds = {type(module) for module in model.transform.modules()}
    assert nn.Dropout not in kinds


def test_the_whole_file_is_loaded_and_saved_again_bit_for_bit(
    family: str, model: BertForMaskedLM, tmp_path: Path
) -> None:
    report = model.load_report
    assert report is not None and set(report.loaded) == {n for n, _ in model.named_parameters()}
    assert (report.tied, report.ignored, report.new) == ((), (), ())
    model.save_pretrained(tmp_path / "saved")
    saved, golden = load_file(tmp_path / "saved" / "model.safetensors"), golden_tensors(family)
    assert saved.keys() == golden.keys() and saved.keys() >= HEADS[family]
    assert all(torch.equal(saved[name], golden[name]) for name in golden)
    names = {"bert": "BertForMaskedLM", "distilbert": "DistilBertForMaskedLM"}
    config = json.loads((tmp_path / "saved" / "config.json").read_bytes())
    assert config["architectures"] == [names[family]]


COPIES = {
    "bert": ["cls.predictions.decoder.weight", "cls.predictions.decoder.bias"],
    "distilbert": ["vocab_projector.weight"],
}


def with_copies(family: str) -> dict[str, Tensor]:
    """A file of the years when the tied tensors were written twice."""
    tensors = golden_tensors(family)
    sources = [f"{family}.embeddings.word_embeddings.weight", "cls.predictions.bias"]
    return tensors | {
        copied: tensors[source].clone()
        for copied, source in zip(COPIES[family], sources, strict=False)
    }


def test_second_copies_of_tied_tensors_are_checked_and_reported(
    family: str, model: BertForMaskedLM, tmp_path: Path
) -> None:
    tensors = with_copies(family)
    ours = BertForMaskedLM.from_pretrained(write_folder(tmp_path / "old", family, tensors))
    assert ours.load_report is not None
    assert ours.load_report.tied == tuple(sorted(COPIES[family]))
    for a, b in zip(ours.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)
    for copied in COPIES[family]:
        for changed in (tensors[copied] + 1e-6, tensors[copied][1:]):
            folder = write_folder(tmp_path / "bad", family, {**tensors, copied: changed})
            with pytest.raises(ValueError) as caught:
                BertForMaskedLM.from_pretrained(folder)
            assert str(caught.value).startswith(
                f"{folder}: the weights do not fit the model: not tied: {copied} differs from "
            )


def test_googles_layout_loads_and_the_rest_of_its_file_is_left_aside(tmp_path: Path) -> None:
    tensors = with_copies("bert")
    extra = {
        "bert.pooler.dense.weight": torch.zeros(24, 24),
        "bert.pooler.dense.bias": torch.zeros(24),
        "cls.seq_relationship.weight": torch.zeros(2, 24),
        "cls.seq_relationship.bias": torch.zeros(2),
        "bert.embeddings.position_ids": torch.arange(11)[None],
    }
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in tensors.items()
        if name != "cls.predictions.decoder.bias"  # came with transformers, not with Google
    }
    assert "cls.predictions.transform.LayerNorm.gamma" in old
    model = BertForMaskedLM.from_pretrained(write_folder(tmp_path, "bert", old | extra))
    report = model.load_report
    assert report is not None and report.ignored == tuple(sorted(extra))
    assert report.tied == ("cls.predictions.decoder.weight",) and report.new == ()
    wanted = tensors["cls.predictions.transform.LayerNorm.weight"]
    assert torch.equal(model.transform.norm.weight, wanted)


def test_every_tensor_of_the_head_that_is_missing_is_named_and_half_a_head_never_loads(
    family: str, tmp_path: Path
) -> None:
    tensors = golden_tensors(family)
    for name in HEADS[family]:
        folder = write_folder(
            tmp_path / "part", family, {k: v for k, v in tensors.items() if k != name}
        )
        with pytest.raises(ValueError, match=f"missing: {name} .a new head must be asked for"):
            BertForMaskedLM.from_pretrained(folder)
        with pytest.raises(ValueError, match="incomplete head: only"):
            BertForMaskedLM.from_pretrained(folder, new_head=True)


def test_another_tasks_checkpoint_gives_its_encoder_and_a_new_head(family: str) -> None:
    with pytest.raises(ValueError, match="a new head must be asked for"):
        BertForMaskedLM.from_pretrained(GOLDEN / family)
    model = BertForMaskedLM.from_pretrained(GOLDEN / family, new_head=True)
    report = model.load_report
    assert report is not None and report.ignored == ("qa_outputs.bias", "qa_outputs.weight")
    assert {name.split(".")[0] for name in report.new} == {"transform", "decoder"}
    assert 0.015 < model.transform.dense.weight.std().item() < 0.025
    assert not any(parameter.is_meta for parameter in model.parameters())
    assert model(golden_batch(family)).isfinite().all()


def test_question_answering_takes_the_encoder_of_a_masked_lm_model(
    family: str, model: BertForMaskedLM, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path / "half", dtype=torch.float16)
    ours = BertForQuestionAnswering.from_pretrained(tmp_path / "half", new_head=True)
    report = ours.load_report
    assert report is not None and report.new == ("span.weight", "span.bias")
    assert set(report.ignored) == HEADS[family]


def test_a_float16_file_is_half_as_large_and_loads_as_the_rounded_float32(
    family: str, model: BertForMaskedLM, tmp_path: Path
) -> None:
    for name, dtype in (("whole", torch.float32), ("half", torch.float16)):
        model.save_pretrained(tmp_path / name, dtype=dtype)
    whole, half = (tmp_path / name / "model.safetensors" for name in ("whole", "half"))
    numbers = sum(parameter.numel() for parameter in model.parameters())
    assert whole.stat().st_size - half.stat().st_size == pytest.approx(2 * numbers, abs=100)
    again = BertForMaskedLM.from_pretrained(half.parent)
    for (name, a), (_, b) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert b.dtype == torch.float32 and torch.equal(a.half().float(), b), name
    again.save_pretrained(tmp_path / "again", dtype=torch.float16)
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == half.read_bytes()


def test_what_float16_cannot_hold_is_refused_and_nothing_is_written(
    family: str, model: BertForMaskedLM, tmp_path: Path
) -> None:
    with torch.no_grad():
        model.decoder.bias[3] = 65520
    with pytest.raises(ValueError, match=r"float16 cannot hold the values of .*bias; save float32"):
        model.save_pretrained(tmp_path / "half", dtype=torch.float16)
    with pytest.raises(ValueError, match=r"dtype is torch.int8, expected torch.float32 or"):
        model.save_pretrained(tmp_path / "half", dtype=torch.int8)
    assert not (tmp_path / "half").exists()
