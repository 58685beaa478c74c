"""minibert/config.py: what a config.json may say, and what is refused by name."""

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from minibert import BertConfig
from tests.golden.stages import GOLDEN

DISTILBERT_BASE = {
    "activation": "gelu",
    "architectures": ["DistilBertForMaskedLM"],
    "attention_dropout": 0.2,
    "dim": 48,
    "dropout": 0.3,
    "hidden_dim": 96,
    "initializer_range": 0.05,
    "max_position_embeddings": 64,
    "model_type": "distilbert",
    "n_heads": 6,
    "n_layers": 5,
    "pad_token_id": 0,
    "qa_dropout": 0.4,
    "seq_classif_dropout": 0.2,
    "sinusoidal_pos_embds": False,
    "tie_weights_": True,
    "transformers_version": "4.10.0.dev0",
    "vocab_size": 99,
}


def test_an_empty_bert_config_is_bert_base_uncased() -> None:
    config = BertConfig.from_dict({"model_type": "bert"})
    assert config == BertConfig()
    assert dataclasses.asdict(config) == {
        "model_type": "bert",
        "vocab_size": 30522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "qa_dropout": 0.0,
        "classifier_dropout": None,
        "labels": ("LABEL_0", "LABEL_1"),
        "problem_type": None,
    }
    assert config.head_size == 64


def test_distilberts_keys_map_onto_berts() -> None:
    config = BertConfig.from_dict(DISTILBERT_BASE)
    assert config == BertConfig(
        model_type="distilbert",
        vocab_size=99,
        hidden_size=48,
        num_hidden_layers=5,
        num_attention_heads=6,
        intermediate_size=96,
        hidden_dropout_prob=0.3,
        attention_probs_dropout_prob=0.2,
        max_position_embeddings=64,
        type_vocab_size=0,
        initializer_range=0.05,
        qa_dropout=0.4,
        classifier_dropout=0.2,
    )
    empty = BertConfig.from_dict({"model_type": "distilbert"})
    assert (empty.num_hidden_layers, empty.type_vocab_size, empty.qa_dropout) == (6, 0, 0.1)


def test_distilbert_keeps_its_fixed_eps_and_no_token_types_whatever_the_file_says() -> None:
    values = {**DISTILBERT_BASE, "layer_norm_eps": 1e-5, "type_vocab_size": 2}
    assert BertConfig.from_dict(values) == BertConfig.from_dict(DISTILBERT_BASE)


@pytest.mark.parametrize(
    "config",
    [
        BertConfig(hidden_size=24, num_attention_heads=4, hidden_act="relu", layer_norm_eps=1e-7),
        BertConfig.from_dict(DISTILBERT_BASE),
        BertConfig(labels=("no", "yes", "?"), problem_type="single_label_classification"),
    ],
    ids=lambda config: f"{config.model_type} {config.num_labels}",
)
def test_what_to_dict_writes_reads_back_equal(config: BertConfig) -> None:
    values = json.loads(json.dumps(config.to_dict()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert BertConfig.from_dict(values) == config
    assert ("dim" in values) == (config.model_type == "distilbert")


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_a_config_that_transformers_wrote_reads_without_a_warning(family: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = BertConfig.from_file(GOLDEN / family / "config.json")
    assert (config.hidden_size, config.num_attention_heads, config.intermediate_size) == (24, 4, 37)
    assert (config.vocab_size, config.max_position_embeddings) == (101, 11)
    assert config.num_hidden_layers == 2


def test_unknown_keys_are_named_in_one_warning() -> None:
    with pytest.warns(UserWarning, match=r"\['colour', 'flavour'\]") as caught:
        BertConfig.from_dict({"model_type": "bert", "flavour": 1, "colour": 2})
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vocab_size", 0),
        ("hidden_size", -768),
        ("hidden_size", 768.0),
        ("num_hidden_layers", True),
        ("num_attention_heads", "12"),
        ("intermediate_size", None),
        ("max_position_embeddings", 0),
        ("hidden_dropout_prob", 1.0),
        ("attention_probs_dropout_prob", -0.1),
        ("qa_dropout", "0.1"),
        ("classifier_dropout", 1.0),
        ("problem_type", 3),
        ("hidden_dropout_prob", float("nan")),
        ("initializer_range", 0.0),
        ("layer_norm_eps", 0.0),
        ("layer_norm_eps", float("nan")),
        ("model_type", "roberta"),
        ("hidden_act", "gelu_fast"),
        ("type_vocab_size", 0),
        ("type_vocab_size", 2.0),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is .*expected"):
        BertConfig(**{name: value})


@pytest.mark.parametrize("labels", [(), ["a", "b"], ("a", "a"), ("a", 1), None, "ab"])
def test_labels_that_are_not_different_names_are_refused(labels: Any) -> None:
    with pytest.raises(ValueError, match=r"^labels are .*expected"):
        BertConfig(labels=labels)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ({}, ("LABEL_0", "LABEL_1")),
        ({"id2label": None, "label2id": None}, ("LABEL_0", "LABEL_1")),
        ({"num_labels": 3}, ("LABEL_0", "LABEL_1", "LABEL_2")),
        ({"id2label": {"1": "b", "0": "a"}}, ("a", "b")),
        ({"id2label": {1: "b", 0: "a"}, "label2id": {"a": 0, "b": 1}, "num_labels": 2}, ("a", "b")),
        ({"id2label": {"0": "x"}}, ("x",)),
    ],
)
def test_the_classes_of_a_config_are_named_in_order(
    values: dict[str, Any], labels: tuple[str, ...]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = BertConfig.from_dict({"model_type": "bert", **values})
    assert config.labels == labels and config.num_labels == len(labels)
    assert config.id2label == dict(enumerate(labels))
    assert [config.label2id[name] for name in labels] == list(range(len(labels)))


@pytest.mark.parametrize(
    "values",
    [
        {"id2label": {"0": "a", "2": "b"}},
        {"id2label": {"0": "a", "one": "b"}},
        {"id2label": {}},
        {"id2label": ["a", "b"]},
        {"id2label": {"0": "a", "1": ["b"]}},
        {"id2label": {"0": "a", "1": "a"}},
        {"id2label": {"0": "a", "1": "b"}, "num_labels": 3},
        {"num_labels": 0},
        {"num_labels": 10**9},
        {"num_labels": "2"},
    ],
)
def test_classes_that_are_not_numbered_from_0_with_a_name_each_are_refused(
    values: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match=r"labels? .*expected|and names 2 classes in id2label"):
        BertConfig.from_dict({"model_type": "bert", **values})


def test_a_label2id_that_contradicts_id2label_is_a_warning_and_id2label_rules() -> None:
    values = {"model_type": "bert", "id2label": {"0": "no", "1": "yes"}}
    for label2id in ({"LABEL_0": 0, "LABEL_1": 1}, {"no": 1, "yes": 0}, 7):
        with pytest.warns(UserWarning, match="label2id .* is not id2label the other way round"):
            config = BertConfig.from_dict({**values, "label2id": label2id})
        assert config.to_dict()["label2id"] == {"no": 0, "yes": 1}


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="hidden_size 770 is not divisible by num_attention_heads"):
        BertConfig(hidden_size=770)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
        ("add_cross_attention", True),
        ("is_encoder_decoder", True),
        ("pruned_heads", {"0": [1]}),
        ("embedding_size", 128),
    ],
)
def test_a_setting_this_encoder_does_not_compute_is_refused(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"config.json has {key} "):
        BertConfig.from_dict({"model_type": "bert", key: value})


@pytest.mark.parametrize("model_type", [None, "roberta", ["bert"]])
def test_other_model_types_are_refused(model_type: Any) -> None:
    with pytest.raises(ValueError, match=r"model_type .*expected one of \('bert', 'distilbert'\)"):
        BertConfig.from_dict({"model_type": model_type})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"", "is empty; expected a model's config.json"),
        (b"[1]", "holds a list in place of a JSON object"),
        (b"\xff\xfe", "is not UTF-8 text (byte 0)"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"model_type": "gpt2"}', "model_type 'gpt2'"),
        (b'{"model_type": "bert", "vocab_size": 0}', "vocab_size is 0"),
    ],
    ids=["missing", "empty", "list", "not utf-8", "deep", "another model", "bad size"],
)
def test_a_bad_file_is_one_sentence_with_its_path(
    content: bytes | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        BertConfig.from_file(path)
    text = str(caught.value)
    assert text.startswith(str(path)) and message in text and "\n" not in text


def test_a_byte_order_mark_is_no_part_of_the_json(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b'\xef\xbb\xbf{"model_type": "bert"}')
    assert BertConfig.from_file(tmp_path / "config.json") == BertConfig()
