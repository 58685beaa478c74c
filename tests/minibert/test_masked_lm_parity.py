"""The masked-LM model beside transformers': logits, gradients, and files that go both ways."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from minibert import BertConfig, BertForMaskedLM, PackedBatch
from minibert.heads import masked_lm_loss_sum
from minibert.weights import load_weights
from tests.golden.make_golden import their_config, their_model
from tests.golden.stages import FAMILIES
from tests.minibert.recorded import record_dropouts
from tests.minibert.test_interop import randomize, tiny_config
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
MASKED = ((0, 3, 7), (), (4,), (1, 2))  # columns, of every block


@pytest.fixture(autouse=True)
def transformers() -> Any:
    return pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")


def twins(
    name: str, dtype: torch.dtype = torch.float32, **rates: float
) -> tuple[str, Any, BertForMaskedLM]:
    """(family, their model, ours) with the same random weights, in evaluation mode."""
    family, sizes = CONFIGS[name]
    values = {"vocab_size": 53, "num_hidden_layers": 2, "max_position_embeddings": 13}
    config = their_config(family, **(values | sizes | rates))
    theirs = their_model(config, len(name), "MaskedLM")
    ours = BertForMaskedLM(BertConfig.from_dict(config.to_dict()))
    _, tied, _, _ = load_weights(ours, ours.config, ours.task, theirs.state_dict(), False)
    assert len(tied) == {"bert": 2, "distilbert": 1}[family]  # a state_dict has both copies
    return family, theirs.to(dtype), ours.to(dtype).eval()


def their_arguments(inputs: dict[str, Tensor], family: str) -> dict[str, Tensor]:
    names = ("input_ids", "attention_mask", "token_type_ids")[: 3 if family == "bert" else 2]
    return {name: inputs[name] for name in names}


def masked_rows() -> tuple[Tensor, Tensor]:
    """Row numbers of all masked tokens in the packed batch, and their weights."""
    rows, weights, begin = [], [], 0
    for length, columns in zip(LENGTHS, MASKED, strict=True):
        rows += [begin + column for column in columns]
        weights += [1 / len(columns) for _ in columns]
        begin += length
    return torch.tensor(rows), torch.tensor(weights, dtype=torch.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CONFIGS)
def test_logits_of_masked_rows_and_the_gradients_of_the_mean_over_blocks(
    name: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, tolerance = DTYPES[dtype]
    family, theirs, ours = twins(name, kind)
    inputs = make_inputs(LENGTHS, max(LENGTHS))
    arguments = their_arguments(inputs, family)
    generator = torch.Generator().manual_seed(5)
    labels = torch.randint(1, 53, inputs["input_ids"].shape, generator=generator)
    chosen = torch.zeros_like(labels, dtype=torch.bool)
    for block, columns in enumerate(MASKED):
        chosen[block, list(columns)] = True
    losses = [  # a block without a masked token costs us nothing; theirs would be 0 / 0
        theirs(
            **{key: value[b, :length][None] for key, value in arguments.items()},
            labels=torch.where(chosen, labels, -100)[b, :length][None],
        ).loss
        for b, length in enumerate(LENGTHS)
        if MASKED[b]
    ]
    loss = torch.stack(losses).sum() / len(LENGTHS)
    loss.backward()
    reference = theirs(**arguments).logits.detach()
    rows, weights = masked_rows()
    batch = pack(inputs)
    for kernel in KERNELS:
        use(kernel, monkeypatch)
        ours.zero_grad()
        logits = ours(batch, rows)
        torch.testing.assert_close(logits, reference[chosen], rtol=0, atol=tolerance)
        with torch.no_grad():
            everything = ours(batch)
        torch.testing.assert_close(everything, batch.unpad(reference), rtol=0, atol=tolerance)
        weights = weights.to(kind)
        our_loss = masked_lm_loss_sum(logits, labels[chosen], weights) / len(LENGTHS)
        our_loss.backward()
        assert abs(our_loss.item() - loss.item()) <= tolerance * max(1, loss.item())
        assert_equal_gradients(ours, theirs, family, tolerance)


@pytest.mark.parametrize("name", ["bert gelu", "distilbert gelu"])
def test_dropout_acts_at_the_same_places_with_the_same_rates(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {"hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.2}
    family, theirs, ours = twins(name, **rates)
    inputs = make_inputs((7, 7, 7), 7)
    calls: list[tuple[float, int]] = []
    plain = F.dropout

    def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if training and p:
            calls.append((p, x.numel()))
        return plain(x, p, training, inplace)

    monkeypatch.setattr(F, "dropout", dropout)
    theirs.train()(**their_arguments(inputs, family))
    assert {rate for rate, _ in calls} == set(rates.values())
    use("explicit", monkeypatch)
    own = record_dropouts(monkeypatch)
    ours.train()(pack(inputs))
    assert [(rate, math.prod(shape)) for _, rate, shape in own] == calls


@torch.no_grad()
def assert_equal_logits(ours: BertForMaskedLM, theirs: Any) -> None:
    inputs = make_inputs(LENGTHS, 9)
    arguments = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    batch = PackedBatch.from_padded(*arguments.values())
    reference = batch.unpad(theirs(**arguments).logits)
    assert reference.dtype == torch.float32
    torch.testing.assert_close(ours(batch), reference, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_loads_what_we_save_with_nothing_missing_and_equal_logits(
    family: str, dtype: torch.dtype, transformers: Any, tmp_path: Path
) -> None:
    ours = BertForMaskedLM(BertConfig.from_dict(tiny_config(family).to_dict()))
    randomize(ours).save_pretrained(tmp_path / "ours", dtype=dtype)
    auto = transformers.AutoModelForMaskedLM
    theirs, report = auto.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert {key: list(value) for key, value in report.items() if value} == {}
    assert_equal_logits(BertForMaskedLM.from_pretrained(tmp_path / "ours"), theirs.eval())
    decoder = theirs.get_output_embeddings()
    assert decoder.weight is theirs.get_input_embeddings().weight


@pytest.mark.parametrize("family", FAMILIES)
def test_we_load_what_transformers_saves_and_save_the_same_tensors(
    family: str, tmp_path: Path
) -> None:
    theirs = randomize(their_model(tiny_config(family), 3, "MaskedLM"))
    theirs.save_pretrained(tmp_path / "theirs")
    ours = BertForMaskedLM.from_pretrained(tmp_path / "theirs")
    assert ours.load_report is not None
    assert (ours.load_report.tied, ours.load_report.ignored) == ((), ())
    assert_equal_logits(ours, theirs)
    ours.save_pretrained(tmp_path / "ours")
    mine, wanted = (load_file(tmp_path / n / "model.safetensors") for n in ("ours", "theirs"))
    assert mine.keys() == wanted.keys()
    assert all(torch.equal(mine[name], wanted[name]) for name in wanted)


def test_a_pretraining_checkpoint_gives_its_masked_lm_head(
    transformers: Any, tmp_path: Path
) -> None:
    theirs = randomize(transformers.BertForPreTraining(tiny_config("bert")))
    theirs.save_pretrained(tmp_path)
    ours = BertForMaskedLM.from_pretrained(tmp_path)
    assert ours.load_report is not None
    assert {name.split(".")[1] for name in ours.load_report.ignored} == {
        "pooler",
        "seq_relationship",
    }
    inputs = make_inputs(LENGTHS, 8)
    reference = theirs(**their_arguments(inputs, "bert")).prediction_logits
    batch = pack(inputs)
    torch.testing.assert_close(ours(batch), batch.unpad(reference), rtol=0, atol=1e-5)
