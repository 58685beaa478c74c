"""The classifier beside transformers': logits, loss, gradients, and files that go both ways."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from data.tokenization import Tokenizer
from minibert import BertConfig, PackedBatch
from minibert import BertForSequenceClassification as Classifier
from minibert.heads import classification_loss_sum
from minibert.weights import load_weights
from tests.golden.make_golden import their_config, their_model
from tests.golden.stages import FAMILIES
from tests.minibert.recorded import record_dropouts
from tests.minibert.test_interop import TEXTS, WORDS, randomize, tiny_config
from tests.minibert.test_parity import (
    CONFIGS,
    DTYPES,
    KERNELS,
    assert_equal_gradients,
    make_inputs,
    pack,
    use,
)

LENGTHS = (8, 1, 5, 3)
LABELS = ("neutral", "anti-vax", "pro-vax")
RIGHT = torch.tensor([2, 0, 0, 1])
WEIGHTS = (0.5, 3.0, 1.25)


@pytest.fixture(autouse=True)
def transformers() -> Any:
    return pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")


def named(config: Any) -> Any:
    """A config of theirs with our classes."""
    config.id2label = dict(enumerate(LABELS))
    config.label2id = {name: number for number, name in enumerate(LABELS)}
    return config


def twins(
    name: str, dtype: torch.dtype = torch.float32, **rates: float
) -> tuple[str, Any, Classifier]:
    """(family, their model, ours) with the same random weights, in evaluation mode."""
    family, sizes = CONFIGS[name]
    values = {"vocab_size": 53, "num_hidden_layers": 2, "max_position_embeddings": 13}
    config = named(their_config(family, **(values | sizes | rates)))
    theirs = their_model(config, len(name), "SequenceClassification")
    ours = Classifier(BertConfig.from_dict(config.to_dict()))
    load_weights(ours, ours.config, ours.task, theirs.state_dict(), False)
    return family, theirs.to(dtype), ours.to(dtype).eval()


def their_arguments(inputs: dict[str, Tensor], family: str) -> dict[str, Tensor]:
    names = ("input_ids", "attention_mask", "token_type_ids")[: 3 if family == "bert" else 2]
    return {name: inputs[name] for name in names}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CONFIGS)
def test_logits_loss_and_gradients_with_and_without_class_weights(
    name: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, tolerance = DTYPES[dtype]
    family, theirs, ours = twins(name, kind)
    inputs = make_inputs(LENGTHS, max(LENGTHS))
    batch = pack(inputs)
    for weights in (None, torch.tensor(WEIGHTS, dtype=kind)):
        theirs.zero_grad()
        output = theirs(**their_arguments(inputs, family), labels=RIGHT)
        # transformers' own loss has no weights: torch's has
        loss = output.loss if weights is None else F.cross_entropy(output.logits, RIGHT, weights)
        loss.backward()
        divisor = len(RIGHT) if weights is None else float(weights[RIGHT].sum())
        for kernel in KERNELS:
            use(kernel, monkeypatch)
            ours.zero_grad()
            logits = ours(batch)
            torch.testing.assert_close(logits, output.logits, rtol=0, atol=tolerance)
            our_loss = classification_loss_sum(logits, RIGHT, weights) / divisor
            our_loss.backward()
            assert abs(our_loss.item() - loss.item()) <= tolerance * max(1, loss.item())
            assert_equal_gradients(ours, theirs, family, tolerance)


@pytest.mark.parametrize("own_rate", [None, 0.4])
@pytest.mark.parametrize("name", ["bert gelu", "distilbert gelu"])
def test_dropout_acts_at_the_same_places_with_the_same_rates(
    name: str, own_rate: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.1}
    key = "classifier_dropout" if name.startswith("bert") else "seq_classif_dropout"
    family, theirs, ours = twins(name, **rates, **({key: own_rate} if own_rate else {}))
    inputs = make_inputs((7, 7, 7), 7)
    calls: list[tuple[float, int]] = []
    plain = F.dropout

    def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if training and p:
            calls.append((p, x.numel()))
        return plain(x, p, training, inplace)

    monkeypatch.setattr(F, "dropout", dropout)
    theirs.train()(**their_arguments(inputs, family))
    default = 0.3 if family == "bert" else 0.2
    assert calls[-1] == (own_rate or default, 3 * theirs.config.hidden_size)
    use("explicit", monkeypatch)
    own = record_dropouts(monkeypatch)
    ours.train()(pack(inputs))
    assert [(rate, math.prod(shape)) for _, rate, shape in own] == calls


@torch.no_grad()
def assert_equal_logits(ours: Classifier, theirs: Any) -> None:
    inputs = make_inputs(LENGTHS, 9)
    arguments = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    batch = PackedBatch.from_padded(*arguments.values())
    torch.testing.assert_close(ours(batch), theirs(**arguments).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_loads_what_we_save_with_nothing_missing_and_equal_logits(
    family: str, dtype: torch.dtype, transformers: Any, tmp_path: Path
) -> None:
    ours = Classifier(BertConfig.from_dict(named(tiny_config(family)).to_dict()))
    randomize(ours).save_pretrained(tmp_path / "ours", dtype=dtype)
    auto = transformers.AutoModelForSequenceClassification
    theirs, report = auto.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert {key: list(value) for key, value in report.items() if value} == {}
    assert theirs.config.id2label == dict(enumerate(LABELS))
    assert theirs.config.label2id == {name: number for number, name in enumerate(LABELS)}
    assert_equal_logits(Classifier.from_pretrained(tmp_path / "ours"), theirs.eval())


@pytest.mark.parametrize("classes", [3, 2])
@pytest.mark.parametrize("family", FAMILIES)
def test_we_load_what_transformers_saves_and_save_the_same_tensors(
    family: str, classes: int, tmp_path: Path
) -> None:
    config = tiny_config(family)
    if classes == 3:  # of two unnamed classes transformers writes nothing into config.json
        config = named(config)
    theirs = randomize(their_model(config, 3, "SequenceClassification"))
    theirs.save_pretrained(tmp_path / "theirs")
    ours = Classifier.from_pretrained(tmp_path / "theirs")
    assert ours.config.labels == (LABELS if classes == 3 else ("LABEL_0", "LABEL_1"))
    assert ours.load_report is not None and ours.load_report.ignored == ()
    assert_equal_logits(ours, theirs)
    ours.save_pretrained(tmp_path / "ours")
    mine, wanted = (load_file(tmp_path / n / "model.safetensors") for n in ("ours", "theirs"))
    assert mine.keys() == wanted.keys()
    assert all(torch.equal(mine[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(
    "name", ["BertModel", "BertForPreTraining", "BertForNextSentencePrediction"]
)
def test_a_checkpoint_with_a_pooler_gives_it_to_the_new_head(
    name: str, transformers: Any, tmp_path: Path
) -> None:
    theirs = randomize(getattr(transformers, name)(tiny_config("bert")))
    theirs.save_pretrained(tmp_path)
    ours = Classifier.from_pretrained(tmp_path, new_head=True, labels=LABELS)
    assert ours.load_report is not None
    assert ours.load_report.new == ("classifier.weight", "classifier.bias")
    inputs = make_inputs(LENGTHS, 8)
    body = getattr(theirs, "bert", theirs)
    with torch.no_grad():
        reference = body(**their_arguments(inputs, "bert")).pooler_output
        batch = pack(inputs)
        pooled = ours.pooler(ours.encoder(batch), batch)
    torch.testing.assert_close(pooled, reference, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_pipeline_of_transformers_gives_our_labels_and_scores(
    family: str, transformers: Any, tmp_path: Path
) -> None:
    config = named(tiny_config(family, max_position_embeddings=40))
    randomize(Classifier(BertConfig.from_dict(config.to_dict()))).save_pretrained(tmp_path)
    tokenizer = Tokenizer({token: number for number, token in enumerate(WORDS)}, lowercase=True)
    tokenizer.save(tmp_path)
    texts = [text.replace("[SEP]", "") for text in TEXTS] + ["a", "river river the town"]
    ours = Classifier.from_pretrained(tmp_path)
    batch = PackedBatch.from_sequences([[2, *ids, 3] for ids in tokenizer.encode(texts)])
    with torch.no_grad():
        probabilities = ours(batch).softmax(-1)
    pipeline = transformers.pipeline("text-classification", model=str(tmp_path), top_k=None)
    results = pipeline(texts)
    best = [ours.config.labels[number] for number in probabilities.argmax(-1).tolist()]
    assert [result[0]["label"] for result in results] == best
    for row, result in zip(probabilities.tolist(), results, strict=True):
        wanted = {entry["label"]: entry["score"] for entry in result}
        assert wanted == pytest.approx(dict(zip(ours.config.labels, row, strict=True)), abs=1e-5)
