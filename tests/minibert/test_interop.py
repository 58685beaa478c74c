"""Files that go both ways: transformers loads what we save, and we load what transformers saves."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from data.tokenization import Tokenizer
from minibert import BertForQuestionAnswering, PackedBatch
from tests.golden.make_golden import their_config, their_model
from tests.golden.stages import FAMILIES, GOLDEN

HEAD = ("span.weight", "span.bias")
WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the town of ##s river who where ? . ' Ä a b ##b".split()
TEXTS = ("Where is the Rivers town?", "the town's [SEP] river, of Ärivers. Who? 水 abb")


@pytest.fixture(autouse=True)
def transformers() -> Any:
    return pytest.importorskip("transformers", reason="transformers, the oracle, is not installed")


def tiny_config(family: str, **values: Any) -> Any:
    sizes = {
        "vocab_size": 53,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 37,
        "max_position_embeddings": 13,
    }
    return their_config(family, **(sizes | values))


def randomize(model: Any) -> Any:
    """Random values in every parameter, so that no new bias of 0 passes for a loaded one."""
    torch.manual_seed(9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.eval()


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(4)
    mask = (torch.arange(9) < torch.tensor([9, 4])[:, None]).long()
    return torch.randint(1, 53, (2, 9)), mask


@torch.no_grad()
def assert_equal_logits(ours: BertForQuestionAnswering, theirs: Any) -> None:
    ids, mask = inputs()
    batch = PackedBatch.from_padded(ids, mask)
    output = theirs.float()(input_ids=ids, attention_mask=mask)
    for scores, reference in zip(
        ours(batch), (output.start_logits, output.end_logits), strict=True
    ):
        torch.testing.assert_close(scores, batch.unpad(reference), rtol=0, atol=1e-5)


@torch.no_grad()
def assert_equal_encoders(ours: BertForQuestionAnswering, theirs: Any) -> None:
    ids, mask = inputs()
    batch = PackedBatch.from_padded(ids, mask)
    reference = theirs(input_ids=ids, attention_mask=mask)[0]
    torch.testing.assert_close(ours.encoder(batch), batch.unpad(reference), rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_loads_what_we_save_with_nothing_missing_and_equal_logits(
    family: str, transformers: Any, tmp_path: Path
) -> None:
    ours = BertForQuestionAnswering.from_pretrained(GOLDEN / family)
    ours.save_pretrained(tmp_path / "ours")
    auto = transformers.AutoModelForQuestionAnswering
    theirs, report = auto.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert {key: list(value) for key, value in report.items() if value} == {}
    assert (
        type(theirs).__name__
        == json.loads((GOLDEN / family / "config.json").read_text())["architectures"][0]
    )
    assert_equal_logits(ours, theirs.eval())

    theirs.save_pretrained(tmp_path / "theirs")  # and back again, bit for bit
    again = BertForQuestionAnswering.from_pretrained(tmp_path / "theirs")
    assert again.config == ours.config
    for (name, a), (_, b) in zip(ours.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("activation", ["gelu", "gelu_python", "gelu_new", "relu", "silu", "swish"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_config_of_ours_means_the_same_to_transformers(
    family: str, activation: str, transformers: Any, tmp_path: Path
) -> None:
    theirs = their_model(tiny_config(family, hidden_act=activation), seed=2)
    theirs.save_pretrained(tmp_path / "theirs")
    ours = BertForQuestionAnswering.from_pretrained(tmp_path / "theirs")
    assert_equal_logits(ours, theirs)
    ours.save_pretrained(tmp_path / "ours")
    read = transformers.AutoConfig.from_pretrained(tmp_path / "ours").to_dict()
    wanted = transformers.AutoConfig.from_pretrained(tmp_path / "theirs").to_dict()
    different = {key for key in read.keys() | wanted.keys() if read.get(key) != wanted.get(key)}
    assert different <= {"_name_or_path", "dtype", "position_embedding_type"}


@pytest.mark.parametrize("lowercase", [True, False], ids=["uncased", "cased"])
def test_transformers_tokenizes_with_what_we_save_as_we_do(
    lowercase: bool, transformers: Any, tmp_path: Path
) -> None:
    vocabulary = {token: number for number, token in enumerate(WORDS)}
    ours = Tokenizer(vocabulary, lowercase=lowercase)
    ours.save(tmp_path)
    BertForQuestionAnswering.from_pretrained(GOLDEN / "bert").save_pretrained(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.model_max_length == 512
    assert (theirs.pad_token_id, theirs.cls_token_id, theirs.sep_token_id) == (0, 2, 3)
    question, context = TEXTS[0], TEXTS[1].replace("[SEP]", "")
    ids = ours.encode([question, context])
    assert (WORDS.index("where") in ids[0]) == lowercase  # "Where" is a word in lower case only
    encoded = theirs(question, context)
    assert encoded["input_ids"] == [2, *ids[0], 3, *ids[1], 3]
    assert encoded["token_type_ids"] == [0] * (len(ids[0]) + 2) + [1] * (len(ids[1]) + 1)
    again = Tokenizer.from_folder(tmp_path)
    assert again.encode(list(TEXTS)) == ours.encode(list(TEXTS))
    assert 3 not in ours.encode(list(TEXTS))[1]  # a typed [SEP] is text


SOURCES = {
    "bert": [
        ("BertForMaskedLM", "cls.predictions.bias"),
        ("BertForPreTraining", "cls.seq_relationship.weight"),
        ("BertForSequenceClassification", "classifier.weight"),
        ("BertModel", "pooler.dense.weight"),
    ],
    "distilbert": [
        ("DistilBertForMaskedLM", "vocab_transform.weight"),
        ("DistilBertForSequenceClassification", "pre_classifier.weight"),
        ("DistilBertModel", None),
    ],
}


@pytest.mark.parametrize(
    ("family", "name", "ignored"),
    [(family, *source) for family, sources in SOURCES.items() for source in sources],
)
def test_another_tasks_checkpoint_gives_its_encoder_and_a_new_head(
    family: str, name: str, ignored: str | None, transformers: Any, tmp_path: Path
) -> None:
    theirs = randomize(getattr(transformers, name)(tiny_config(family)))
    theirs.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"missing: qa_outputs\.bias .*new_head=True"):
        BertForQuestionAnswering.from_pretrained(tmp_path)
    ours = BertForQuestionAnswering.from_pretrained(tmp_path, new_head=True)
    assert ours.load_report is not None and set(ours.load_report.new) == set(HEAD)
    assert ignored is None or ignored in ours.load_report.ignored
    assert_equal_encoders(ours, getattr(theirs, family, theirs))


def test_shards_that_transformers_wrote_load(tmp_path: Path) -> None:
    theirs = their_model(tiny_config("bert"), seed=3)
    theirs.save_pretrained(tmp_path, max_shard_size="15KB")
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 1
    assert not (tmp_path / "model.safetensors").exists()
    assert_equal_logits(BertForQuestionAnswering.from_pretrained(tmp_path), theirs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_files_that_transformers_wrote_load_as_float32(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    theirs = their_model(tiny_config("distilbert"), seed=4).to(dtype)
    theirs.save_pretrained(tmp_path)
    ours = BertForQuestionAnswering.from_pretrained(tmp_path)
    assert {parameter.dtype for parameter in ours.parameters()} == {torch.float32}
    assert_equal_logits(ours, theirs)
