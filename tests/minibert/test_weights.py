"""minibert/weights.py: weights load completely or not at all, and save bit for bit."""

import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from minibert import BertConfig, BertForQuestionAnswering
from minibert.files import write_file
from minibert.weight_names import QUESTION_ANSWERING
from minibert.weights import load_weights, read_tensors
from tests.golden.stages import FAMILIES, GOLDEN

Tensors = dict[str, Tensor]
QKV = "bert.encoder.layer.1.attention.self.query.weight"
NORM = "bert.encoder.layer.0.output.LayerNorm.bias"
HEAD = ("qa_outputs.bias", "qa_outputs.weight")


def golden_tensors(family: str = "bert") -> Tensors:
    return load_file(GOLDEN / family / "model.safetensors")


def write_folder(folder: Path, tensors: Tensors, family: str = "bert") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_bytes((GOLDEN / family / "config.json").read_bytes())
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "model.safetensors")
    return folder


def golden_config(family: str = "bert") -> BertConfig:
    return BertConfig.from_file(GOLDEN / family / "config.json")


def try_to_load(tensors: Tensors, family: str = "bert", new_head: bool = False) -> str:
    """The error of loading into a model of random weights, which must stay as it was."""
    config = golden_config(family)
    model = BertForQuestionAnswering(config)
    before = {name: (p, p.detach().clone()) for name, p in model.named_parameters()}
    with pytest.raises(ValueError) as caught:
        load_weights(model, config, QUESTION_ANSWERING, tensors, new_head)
    for name, parameter in model.named_parameters():
        assert parameter is before[name][0] and torch.equal(parameter, before[name][1]), name
    text = str(caught.value)
    assert text.startswith("the weights do not fit the model: ") and "\n" not in text
    return text.removeprefix("the weights do not fit the model: ")


def renamed(tensors: Tensors, pattern: str, replacement: str) -> Tensors:
    return {re.sub(pattern, replacement, name): tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_that_is_dropped_is_missed_by_name(family: str) -> None:
    tensors = golden_tensors(family)
    for name in tensors:
        error = try_to_load({k: v for k, v in tensors.items() if k != name}, family)
        hint = " (a new head must be asked for: new_head=True)" if name in HEAD else ""
        assert error == f"missing: {name}{hint}"


def broken(tensors: Tensors, name: str, change: Callable[[Tensor], Tensor]) -> Tensors:
    return {**tensors, name: change(tensors[name].clone())}


def with_value(value: float, dtype: torch.dtype = torch.float32) -> Callable[[Tensor], Tensor]:
    def change(tensor: Tensor) -> Tensor:
        tensor = tensor.to(dtype)
        tensor.view(-1)[-1] = value
        return tensor

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[:-1], r"shape of NAME: (23, 24), expected (24, 24)"),
        (lambda t: t.view(-1), r"shape of NAME: (576,), expected (24, 24)"),
        (lambda t: t.view(1, 24, 24), r"shape of NAME: (1, 24, 24), expected (24, 24)"),
        (lambda t: t.to(torch.int8), "dtype of NAME: torch.int8, expected a float"),
        (lambda t: t > 0, "dtype of NAME: torch.bool, expected a float"),
        (lambda t: t.to(torch.float8_e4m3fn), "dtype of NAME: torch.float8_e4m3fn, expected a"),
        (with_value(float("nan")), "not finite: NAME"),
        (with_value(float("-inf")), "not finite: NAME"),
        (with_value(float("inf"), torch.float16), "not finite: NAME"),
        (with_value(1e300, torch.float64), "not finite: NAME"),
    ],
    ids="row flat axis int8 bool float8 nan inf fp16-inf beyond-float32".split(),
)
def test_a_tensor_of_another_shape_dtype_or_not_finite_is_refused(
    change: Callable[[Tensor], Tensor], message: str
) -> None:
    error = try_to_load(broken(golden_tensors(), QKV, change))
    assert error.startswith(message.replace("NAME", QKV)) and ";" not in error


@pytest.mark.parametrize(
    "name",
    [
        "bert.encoder.layer.2.attention.self.query.weight",
        "bert.encoder.layer.0.attention.self.query.lora_A",
        "bert.embeddings.LayerNorm.gamma2",
        "vq.gamma",
        "foo.LayerNorm.gamma",
        "qa_outputs.extra",
        "bert.pooler.dense.weight.extra",
        "distilbert.embeddings.word_embeddings.weight",
        "cls.seq_relationship.scale",
    ],
)
def test_a_tensor_nobody_asked_for_is_refused_by_its_own_name(name: str) -> None:
    error = try_to_load(golden_tensors() | {name: torch.zeros(2)})
    assert error == f"unexpected: {name}"


def test_all_problems_are_listed_at_once_and_sorted() -> None:
    tensors = golden_tensors()
    del tensors[NORM], tensors["bert.embeddings.word_embeddings.weight"], tensors[HEAD[0]]
    tensors = broken(tensors, QKV, lambda t: t[:3])
    tensors = broken(tensors, HEAD[1], with_value(float("nan")))
    tensors |= {"zzz": torch.zeros(1), "aaa": torch.zeros(1)}
    problems = try_to_load(tensors).split("; ")
    assert problems == sorted(problems)
    assert {problem.split(" (")[0] for problem in problems} == {
        f"missing: {NORM}",
        "missing: bert.embeddings.word_embeddings.weight",
        "missing: qa_outputs.bias",
        f"shape of {QKV}:",
        "not finite: qa_outputs.weight",
        "unexpected: aaa",
        "unexpected: zzz",
    }


def test_a_gap_in_the_encoder_is_refused_though_a_new_head_is_allowed() -> None:
    tensors = {k: v for k, v in golden_tensors().items() if k not in (NORM, *HEAD)}
    assert try_to_load(tensors, new_head=True) == f"missing: {NORM}"


def test_half_a_head_is_refused_though_a_new_head_is_allowed() -> None:
    tensors = {k: v for k, v in golden_tensors().items() if k != HEAD[0]}
    assert try_to_load(tensors, new_head=True) == "incomplete head: only ['span.bias'] missing"


def test_nothing_at_all_and_another_familys_file_are_refused() -> None:
    names = set(golden_tensors())
    problems = try_to_load({}).split("; ")
    assert len(problems) == len(names)
    error = try_to_load(golden_tensors("distilbert"))
    assert f"missing: {QKV.removeprefix('bert.')}" in error
    assert "unexpected: distilbert.transformer.layer.0.ffn.lin1.bias" in error


def test_a_mixture_of_names_with_and_without_prefix_is_refused() -> None:
    tensors = golden_tensors()
    tensors["encoder" + QKV.removeprefix("bert.encoder")] = tensors.pop(QKV)
    assert try_to_load(tensors).split("; ") == [
        f"missing: {QKV}",
        f"unexpected: {QKV.removeprefix('bert.')}",
    ]


def test_a_tensor_given_in_both_spellings_is_refused() -> None:
    tensors = golden_tensors()
    gamma = "bert.embeddings.LayerNorm.gamma"
    tensors[gamma] = torch.ones(24)
    error = try_to_load(tensors)
    assert error.startswith("duplicate: ") and gamma in error and ".LayerNorm.weight" in error


def assert_equal_models(ours: BertForQuestionAnswering, family: str = "bert") -> None:
    golden = BertForQuestionAnswering.from_pretrained(GOLDEN / family)
    for (name, parameter), (_, wanted) in zip(
        ours.named_parameters(), golden.named_parameters(), strict=True
    ):
        assert torch.equal(parameter, wanted), name


OLD_SPELLINGS: dict[str, Callable[[Tensors], Tensors]] = {
    "as today": lambda t: t,
    "gamma and beta": lambda t: renamed(
        renamed(t, r"LayerNorm\.weight$", "LayerNorm.gamma"), r"LayerNorm\.bias$", "LayerNorm.beta"
    ),
    "no prefix": lambda t: renamed(t, r"^(distil)?bert\.", ""),
    "gamma, beta, no prefix": lambda t: OLD_SPELLINGS["gamma and beta"](
        OLD_SPELLINGS["no prefix"](t)
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("spelling", OLD_SPELLINGS)
def test_every_spelling_of_the_names_loads_the_same_weights(
    spelling: str, family: str, tmp_path: Path
) -> None:
    tensors = OLD_SPELLINGS[spelling](golden_tensors(family))
    model = BertForQuestionAnswering.from_pretrained(write_folder(tmp_path, tensors, family))
    assert_equal_models(model, family)


LEFT_ASIDE = {
    "bert": [
        "bert.embeddings.position_ids",
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
        "classifier.weight",
        "classifier.bias",
        "cls.predictions.bias",
        "cls.predictions.decoder.weight",
        "cls.predictions.decoder.bias",
        "cls.predictions.transform.dense.weight",
        "cls.predictions.transform.LayerNorm.gamma",
        "cls.predictions.transform.LayerNorm.beta",
        "cls.seq_relationship.weight",
        "cls.seq_relationship.bias",
    ],
    "distilbert": [
        "distilbert.embeddings.position_ids",
        "vocab_transform.weight",
        "vocab_layer_norm.bias",
        "vocab_projector.weight",
        "vocab_projector.bias",
        "pre_classifier.weight",
        "classifier.bias",
    ],
}


@pytest.mark.parametrize("family", FAMILIES)
def test_what_other_tasks_need_is_left_aside_and_reported(family: str, tmp_path: Path) -> None:
    extra: Tensors = {name: torch.zeros(3) for name in LEFT_ASIDE[family]}
    extra[LEFT_ASIDE[family][0]] = torch.arange(11)[None]  # position ids are whole numbers
    tensors = golden_tensors(family)
    model = BertForQuestionAnswering.from_pretrained(
        write_folder(tmp_path, tensors | extra, family)
    )
    assert_equal_models(model, family)
    report = model.load_report
    assert report is not None
    assert report.ignored == tuple(sorted(LEFT_ASIDE[family]))
    assert set(report.loaded) == {name for name, _ in model.named_parameters()}
    assert len(report.loaded) == len(tensors) and report.new == ()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_new_head_is_made_only_where_asked_for_and_is_named(family: str, tmp_path: Path) -> None:
    tensors = {k: v for k, v in golden_tensors(family).items() if k not in HEAD}
    folder = write_folder(tmp_path, tensors, family)
    with pytest.raises(ValueError, match="must be asked for: new_head=True") as caught:
        BertForQuestionAnswering.from_pretrained(folder)
    assert str(caught.value).startswith(f"{folder}: ")

    torch.manual_seed(0)
    model = BertForQuestionAnswering.from_pretrained(folder, new_head=True)
    report = model.load_report
    assert report is not None
    assert report.new == ("span.weight", "span.bias")
    assert set(report.loaded) | set(report.new) == {name for name, _ in model.named_parameters()}
    weight = model.span.weight.detach()
    assert 0.01 < float(weight.std()) < 0.03 and not model.span.bias.any()  # N(0, 0.02)
    assert all(p.requires_grad and not p.is_meta for p in model.parameters())
    torch.manual_seed(0)
    again = BertForQuestionAnswering.from_pretrained(folder, new_head=True)
    assert torch.equal(again.span.weight, weight)


def test_a_head_that_is_there_is_loaded_though_a_new_one_is_allowed() -> None:
    model = BertForQuestionAnswering.from_pretrained(GOLDEN / "bert", new_head=True)
    assert model.load_report is not None and model.load_report.new == ()
    assert_equal_models(model)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_files_of_any_float_load_as_exactly_their_float32(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    tensors = {name: tensor.to(dtype) for name, tensor in golden_tensors().items()}
    model = BertForQuestionAnswering.from_pretrained(write_folder(tmp_path, tensors))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    wanted = tensors[QKV].float()
    assert torch.equal(model.encoder.layers[1].attention.query.weight, wanted)  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_saved_loads_again_bit_for_bit(family: str, tmp_path: Path) -> None:
    model = BertForQuestionAnswering.from_pretrained(GOLDEN / family)
    odd = torch.tensor([0.0, -0.0, 1e-45, -1e-40, 3.4028235e38, 1 + 2**-23])
    with torch.no_grad():
        model.encoder.embeddings.word.weight[0, :6] = odd
    model.save_pretrained(tmp_path / "saved")
    again = BertForQuestionAnswering.from_pretrained(tmp_path / "saved")
    assert again.config == model.config
    for (name, a), (_, b) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(a.view(torch.int32), b.view(torch.int32)), name
    again.save_pretrained(tmp_path / "again")
    for file in ("config.json", "model.safetensors"):
        first, second = ((tmp_path / n / file).read_bytes() for n in ("saved", "again"))
        assert first == second, file


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_files_have_the_hubs_names_and_layout(family: str, tmp_path: Path) -> None:
    BertForQuestionAnswering.from_pretrained(GOLDEN / family).double().save_pretrained(tmp_path)
    saved, golden = load_file(tmp_path / "model.safetensors"), golden_tensors(family)
    assert saved.keys() == golden.keys()
    for name, tensor in golden.items():
        assert saved[name].dtype == torch.float32 and torch.equal(saved[name], tensor), name
    raw = (tmp_path / "model.safetensors").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert header["__metadata__"] == {"format": "pt"}
    config = json.loads((tmp_path / "config.json").read_text())
    golden_values = json.loads((GOLDEN / family / "config.json").read_text())
    assert config["model_type"] == family
    assert config["architectures"] == golden_values["architectures"]
    differing = {k for k in config.keys() & golden_values.keys() if config[k] != golden_values[k]}
    assert differing == set()


def test_saving_leaves_no_draft_and_files_that_others_may_read(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        BertForQuestionAnswering.from_pretrained(GOLDEN / "bert").save_pretrained(tmp_path / "a/b")
    finally:
        os.umask(old)
    entries = sorted((tmp_path / "a/b").iterdir())
    assert [entry.name for entry in entries] == ["config.json", "model.safetensors"]
    assert {stat.S_IMODE(entry.stat().st_mode) for entry in entries} == {0o644}


def test_a_model_may_be_saved_over_the_files_it_was_loaded_from(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, golden_tensors())
    model = BertForQuestionAnswering.from_pretrained(folder)
    with torch.no_grad():
        model.span.weight.add_(1)
    model.save_pretrained(folder)
    again = BertForQuestionAnswering.from_pretrained(folder)
    for (name, a), (_, b) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(a, b), name


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    write_file(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["model.safetensors"]


INDEX = "model.safetensors.index.json"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def write_shards(folder: Path) -> dict[str, str]:
    """The golden BERT in two shards; returns the index's weight_map."""
    tensors = golden_tensors()
    names = sorted(tensors)
    cut = len(names) // 2
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_bytes((GOLDEN / "bert" / "config.json").read_bytes())
    weight_map = {}
    for shard, part in zip(SHARDS, (names[:cut], names[cut:]), strict=True):
        save_file({name: tensors[name] for name in part}, folder / shard)
        weight_map |= dict.fromkeys(part, shard)
    write_index(folder, weight_map)
    return weight_map


def write_index(folder: Path, weight_map: object) -> None:
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    (folder / INDEX).write_text(json.dumps(index))


def test_shards_with_an_index_load_as_one_file_does(tmp_path: Path) -> None:
    write_shards(tmp_path)
    assert_equal_models(BertForQuestionAnswering.from_pretrained(tmp_path))


def index_error(folder: Path) -> str:
    with pytest.raises(ValueError) as caught:
        read_tensors(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)
    return str(caught.value)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path)
    (tmp_path / SHARDS[1]).unlink()
    assert f"has no {SHARDS[1]}, which {INDEX} names; download it again" in index_error(tmp_path)


@pytest.mark.parametrize("shard", ["../model.safetensors", "/etc/passwd", "a/b", "..", "."])
def test_an_index_may_name_files_of_its_own_folder_only(shard: str, tmp_path: Path) -> None:
    weight_map = write_shards(tmp_path)
    write_index(tmp_path, {**weight_map, QKV: shard})
    error = index_error(tmp_path)
    assert f"names the shard {shard!r}, not a plain *.safetensors file" in error


def test_an_index_that_disagrees_with_its_shards_is_refused_with_the_names(tmp_path: Path) -> None:
    weight_map = write_shards(tmp_path)
    del weight_map[QKV]
    write_index(tmp_path, {**weight_map, "ghost": SHARDS[0]})
    assert f"{INDEX} disagree on: {[QKV, 'ghost']}" in index_error(tmp_path)


def test_a_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    write_shards(tmp_path)
    second = load_file(tmp_path / SHARDS[1])
    save_file(second | {NORM: torch.zeros(24), QKV: torch.zeros(2)}, tmp_path / SHARDS[1])
    save_file(load_file(tmp_path / SHARDS[0]) | {NORM: torch.ones(24)}, tmp_path / SHARDS[0])
    error = index_error(tmp_path)
    assert f"{SHARDS[1]} repeats tensors of another shard: " in error and NORM in error


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; expected a safetensors index"),
        (b"[]", "holds a list in place of a JSON object"),
        (b"{}", "has no weight_map"),
        (b'{"weight_map": []}', "has no weight_map"),
        (b'{"weight_map": {}}', "has no weight_map"),
        (
            b'{"weight_map": {"a": 1, "b": "c"}}',
            "names the shard 1, not a plain *.safetensors file",
        ),
        (b'{"weight_map": {"a": ["b"]}}', "names the shard ['b'], not a plain *.safetensors file"),
        (b'{"weight_map": {"a": "b", "a": "c"}}', "has the key 'a' twice in one object"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"[" * 100_000, "is nested too deeply"),
    ],
)
def test_what_is_no_index_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    write_shards(tmp_path)
    (tmp_path / INDEX).write_bytes(content)
    assert f"{INDEX} {message}" in index_error(tmp_path)


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path)
    content = (tmp_path / SHARDS[0]).read_bytes()
    (tmp_path / SHARDS[0]).write_bytes(content[:-1])
    assert f"{SHARDS[0]} should be {len(content)} bytes long" in index_error(tmp_path)


def test_a_folder_without_weights_says_what_it_has(tmp_path: Path) -> None:
    assert index_error(tmp_path) == f"no model.safetensors in {tmp_path} (found: nothing)"
    (tmp_path / "vocab.txt").touch()
    (tmp_path / "tf_model.h5").touch()
    assert "(found: tf_model.h5, vocab.txt)" in index_error(tmp_path)
    assert "(found: nothing)" in index_error(tmp_path / "not there")


def test_a_pickle_is_never_opened_and_the_way_out_is_said(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02cos\nsystem\n.")
    error = index_error(tmp_path)
    assert "has only pytorch_model.bin, a pickle, which minibert never opens; convert it" in error
