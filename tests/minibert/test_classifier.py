"""minibert/heads.py's classifier: head, loss, classes, and the files it reads and writes."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from minibert import BertConfig, BertForMaskedLM, BertForQuestionAnswering, PackedBatch
from minibert import BertForSequenceClassification as Classifier
from minibert.heads import classification_loss_sum
from tests.golden.stages import FAMILIES, GOLDEN
from tests.minibert.test_masked_lm import golden_batch
from tests.minibert.test_masked_lm import golden_tensors as masked_lm_tensors

LABELS = ("neutral", "anti-vax", "pro-vax", "unsure", "spam")
PARTS = ("pooler.dense", "pooler", "classifier")
POOLER = {"bert": "bert.pooler.dense", "distilbert": "pre_classifier"}
HEAD = {"pooler.dense.weight", "pooler.dense.bias", "classifier.weight", "classifier.bias"}


def golden_tensors(family: str) -> dict[str, Tensor]:
    """A classifier's checkpoint as transformers saves it: golden encoder, golden head."""
    encoder = load_file(GOLDEN / family / "model.safetensors")
    head = load_file(GOLDEN / family / "classifier.safetensors")
    return {name: t for name, t in encoder.items() if not name.startswith("qa_")} | {
        name: t for name, t in head.items() if not name.startswith("normal.")
    }


def write_folder(
    folder: Path, family: str, tensors: dict[str, Tensor], labels: tuple[str, ...] = LABELS
) -> Path:
    folder.mkdir(exist_ok=True)
    config = json.loads((GOLDEN / family / "config.json").read_bytes())
    if labels:
        config["id2label"] = dict(enumerate(labels))
        config["label2id"] = {name: number for number, name in enumerate(labels)}
    (folder / "config.json").write_text(json.dumps(config))
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "model.safetensors")
    return folder


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def model(family: str, tmp_path: Path) -> Classifier:
    return Classifier.from_pretrained(
        write_folder(tmp_path / "golden", family, golden_tensors(family))
    )


@torch.no_grad()
def test_every_part_of_the_head_puts_out_what_transformers_does(
    family: str, model: Classifier
) -> None:
    golden = load_file(GOLDEN / family / "classifier.safetensors")
    seen: dict[str, Tensor] = {}
    for part in PARTS:
        module = model.get_submodule(part)
        module.register_forward_hook(lambda m, args, out, part=part: seen.update({part: out}))
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float64, 2.0**-24 * 1.001)):
        model.to(dtype)
        logits = model(golden_batch(family))
        assert logits.shape == (3, 5) and torch.equal(logits, seen["classifier"])
        for part in PARTS:
            if f"normal.{part}" not in golden:  # transformers' ReLU is no module
                assert torch.equal(seen[part], seen["pooler.dense"].relu())
                continue
            wanted = golden[f"normal.{part}"].to(dtype)
            difference = float((seen[part] - wanted).abs().max() / wanted.abs().max())
            assert difference <= tolerance, f"{part} is the first to differ, by {difference:.2g}"


@torch.no_grad()
def test_a_text_has_the_scores_it_has_alone_whatever_side_the_padding_is_on(
    family: str, model: Classifier
) -> None:
    model.double()
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 0, 0]])
    both = model(PackedBatch.from_padded(ids, (ids != 0).long()))
    for text, logits in zip(([5, 6, 7, 8], [9, 10]), both, strict=True):
        alone = model(PackedBatch.from_sequences([text]))
        torch.testing.assert_close(alone[0], logits, rtol=0, atol=1e-12)
    shifted = torch.tensor([[5, 6, 7, 8], [0, 0, 9, 10]])
    left = model(PackedBatch.from_padded(shifted, (shifted != 0).long()))
    torch.testing.assert_close(left[0], both[0], rtol=0, atol=1e-12)
    assert not torch.allclose(left[1], both[1])  # its positions are others


def weighted_losses(logits: Tensor, labels: list[int], weights: list[float]) -> tuple[float, float]:
    """(sum of weighted cross-entropies, sum of the weights), from the definition, in Python."""
    total = 0.0
    for row, label in zip(logits.tolist(), labels, strict=True):
        total += weights[label] * (math.log(sum(map(math.exp, row))) - row[label])
    return total, sum(weights[label] for label in labels)


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 0.0, 3.0]])
def test_the_loss_is_the_weighted_sum_and_its_mean_is_torchs(weights: list[float] | None) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(6, 4, generator=generator, dtype=torch.float64) * 4
    labels = [0, 3, 3, 2, 1, 0]
    right = torch.tensor(labels)
    given = None if weights is None else torch.tensor(weights)
    total, divisor = weighted_losses(logits, labels, weights or [1.0] * 4)
    loss = classification_loss_sum(logits, right, given)
    assert loss.shape == () and loss.dtype == torch.float64
    assert loss.item() == pytest.approx(total, abs=1e-12)
    assert divisor == (6 if given is None else float(given[right].sum()))
    mean = nn.CrossEntropyLoss(None if given is None else given.double())(logits, right)
    assert loss.item() / divisor == pytest.approx(mean.item(), abs=1e-12)
    parts = [classification_loss_sum(logits[s], right[s], given) for s in (slice(2), slice(2, 6))]
    assert sum(part.item() for part in parts) == pytest.approx(total, abs=1e-12)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        rounded = logits.to(dtype)
        exact = classification_loss_sum(rounded.double(), right, given).item()
        loss = classification_loss_sum(rounded, right, given)
        assert loss.dtype == torch.float32 and loss.item() == pytest.approx(exact, rel=1e-6)


def test_every_parameter_learns_and_training_lowers_the_loss(
    family: str, model: Classifier
) -> None:
    batch, labels = golden_batch(family), torch.tensor([4, 0, 2])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = classification_loss_sum(model(batch), labels, torch.tensor([1.0, 1, 2, 1, 0.5]))
        loss.backward()
        assert [name for name, p in model.named_parameters() if p.grad is None] == []
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


def test_the_whole_file_is_loaded_and_saved_again_bit_for_bit(
    family: str, model: Classifier, tmp_path: Path
) -> None:
    report = model.load_report
    assert report is not None and set(report.loaded) == {n for n, _ in model.named_parameters()}
    assert (report.tied, report.ignored, report.new) == ((), (), ())
    assert model.config.labels == LABELS and model.config.num_labels == 5
    model.save_pretrained(tmp_path / "saved")
    saved, golden = load_file(tmp_path / "saved" / "model.safetensors"), golden_tensors(family)
    assert saved.keys() == golden.keys()
    assert saved.keys() >= {f"{POOLER[family]}.weight", "classifier.bias"}
    assert all(torch.equal(saved[name], golden[name]) for name in golden)
    config = json.loads((tmp_path / "saved" / "config.json").read_bytes())
    assert config["architectures"][0].endswith("BertForSequenceClassification")
    assert config["id2label"] == {str(number): name for number, name in enumerate(LABELS)}
    assert config["label2id"] == {name: number for number, name in enumerate(LABELS)}
    again = Classifier.from_pretrained(tmp_path / "saved")
    assert again.config == model.config


def test_a_masked_lm_checkpoint_gives_its_encoder_and_everything_above_is_new(
    family: str, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path, family, masked_lm_tensors(family), ())
    with pytest.raises(ValueError, match=r"missing: classifier\.weight .*must be asked for"):
        Classifier.from_pretrained(folder)
    torch.manual_seed(0)
    model = Classifier.from_pretrained(folder, new_head=True, labels=LABELS)
    report = model.load_report
    assert report is not None and set(report.new) == HEAD
    assert model.classifier.weight.shape == (5, 24) and not model.classifier.bias.any()
    for layer in (model.pooler.dense, model.classifier):
        assert 0.013 < layer.weight.std().item() < 0.027  # N(0, 0.02)
    assert not any(p.is_meta or not p.requires_grad for p in model.parameters())
    assert model.config.labels == LABELS and not model.training
    unnamed = Classifier.from_pretrained(folder, new_head=True)
    assert unnamed.config.labels == ("LABEL_0", "LABEL_1")


@pytest.mark.parametrize("prefix", ["bert.", ""])
def test_a_pooler_that_the_encoder_brings_along_is_loaded_under_a_new_classifier(
    prefix: str, tmp_path: Path
) -> None:
    tensors = {
        name.replace("bert.", prefix, 1): tensor
        for name, tensor in golden_tensors("bert").items()
        if not name.startswith("classifier")
    }
    folder = write_folder(tmp_path, "bert", tensors, ())
    model = Classifier.from_pretrained(folder, new_head=True, labels=LABELS)
    report = model.load_report
    assert report is not None and report.new == ("classifier.weight", "classifier.bias")
    assert torch.equal(model.pooler.dense.weight, tensors[f"{prefix}pooler.dense.weight"])
    assert not any(p.is_meta or not p.requires_grad for p in model.parameters())


def test_a_part_of_the_head_is_no_head(family: str, tmp_path: Path) -> None:
    tensors = golden_tensors(family)
    head = {n for n in tensors if "pooler" in n or "classifier" in n}
    for missing in [{name} for name in head] + [{n for n in head if POOLER[family] in n}]:
        part = {name: t for name, t in tensors.items() if name not in missing}
        folder = write_folder(tmp_path / "part", family, part)
        with pytest.raises(ValueError, match="incomplete head: only"):
            Classifier.from_pretrained(folder, new_head=True)


def test_a_classifier_of_other_classes_is_left_aside_where_a_new_head_is_asked_for(
    family: str, model: Classifier, tmp_path: Path
) -> None:
    folder = tmp_path / "golden"
    assert Classifier.from_pretrained(folder, labels=list(LABELS)).config.labels == LABELS
    for labels in (("no", "yes"), LABELS[::-1]):
        with pytest.raises(ValueError, match=r"of other classes: classifier.bias .*new_head=True"):
            Classifier.from_pretrained(folder, labels=labels)
        other = Classifier.from_pretrained(folder, new_head=True, labels=labels)
        report = other.load_report
        assert report is not None and other.config.labels == labels
        assert other.classifier.weight.shape == (len(labels), 24)
        # BERT's pooler belongs to the encoder, DistilBERT's to the classifier that is left aside
        kept = torch.equal(other.pooler.dense.weight, model.pooler.dense.weight)
        assert kept == (family == "bert")
        assert set(report.new) == {n for n in HEAD if not (kept and "pooler" in n)}
        aside = {"classifier.weight", "classifier.bias"}
        if not kept:
            aside |= {"pre_classifier.weight", "pre_classifier.bias"}
        assert set(report.ignored) == aside


def test_other_tasks_leave_classifier_and_classes_aside(
    family: str, model: Classifier, tmp_path: Path
) -> None:
    for kind in (BertForQuestionAnswering, BertForMaskedLM):
        other = kind.from_pretrained(tmp_path / "golden", new_head=True)
        report = other.load_report
        assert report is not None and f"{POOLER[family]}.bias" in report.ignored
        other.save_pretrained(tmp_path / "other")
        config = json.loads((tmp_path / "other" / "config.json").read_bytes())
        assert not config.keys() & {"id2label", "label2id", "problem_type"}
        with pytest.raises(ValueError, match=f"labels are given, but {kind.__name__} has no"):
            kind.from_pretrained(tmp_path / "golden", new_head=True, labels=LABELS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"problem_type": "multi_label_classification"}, "problem_type 'multi_label_class"),
        ({"problem_type": "regression"}, "problem_type 'regression' and 5 labels"),
        ({"id2label": {"0": "score"}, "label2id": None}, "problem_type None and 1 labels"),
    ],
)
def test_a_classifier_that_is_not_one_class_a_text_is_refused(
    changes: dict[str, object], message: str, model: Classifier, tmp_path: Path
) -> None:
    path = tmp_path / "golden" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))
    with pytest.raises(ValueError) as caught:
        Classifier.from_pretrained(path.parent)
    text = str(caught.value)
    assert text.startswith(str(path.parent)) and message in text and "\n" not in text
    other = Classifier.from_pretrained(path.parent, new_head=True, labels=("no", "yes"))
    assert other.config.problem_type is None


def test_the_classifiers_dropout_has_its_own_rate_or_the_encoders() -> None:
    for values, rate in (
        ({"model_type": "bert", "hidden_dropout_prob": 0.3}, 0.3),
        ({"model_type": "bert", "hidden_dropout_prob": 0.3, "classifier_dropout": 0.0}, 0.0),
        ({"model_type": "bert", "classifier_dropout": None}, 0.1),
        ({"model_type": "distilbert"}, 0.2),
        ({"model_type": "distilbert", "seq_classif_dropout": 0.4, "classifier_dropout": 0.9}, 0.4),
    ):
        with torch.device("meta"):
            assert Classifier(BertConfig.from_dict(values)).dropout.p == rate
