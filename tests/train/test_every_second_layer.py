"""`train.pretrain --every-second-layer`: a DistilBERT begins as half of a BERT."""

import copy
import json
import os
import shutil
import signal
from dataclasses import replace

import pytest
import torch

from data.vocabulary import train_vocabulary
from minibert import BertConfig, BertForMaskedLM, PackedBatch
from tests.data.texts import SENTENCES, write_text
from tests.forked import forked
from tests.train.little import little_arguments, write_little
from tests.train.test_pretrain import printed_by
from train.model_inputs import set_dropout
from train.positions import add_positions
from train.run import Run
from train.student import keep_every_second_layer

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 5,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
}
BATCH = PackedBatch.from_sequences([[2, *range(5, 40), 3], [2, 7, 3]])


def make_teacher(**sizes):
    """A BERT with no weight, bias or norm at its usual first value."""
    config = BertConfig(**{**SIZES, "vocab_size": 50, **sizes})
    model = BertForMaskedLM(config).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


def make_student(teacher):
    student = copy.deepcopy(teacher)
    keep_every_second_layer(student)
    return student


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with text, and teacher/ with a vocabulary of that text."""
    folder = tmp_path_factory.mktemp("student")
    write_text(folder / "text", 60)
    tokenizer = train_vocabulary(SENTENCES, SENTENCES, size=150)
    tokenizer.save(folder / "teacher")
    make_teacher(vocab_size=tokenizer.vocab_size).save_pretrained(folder / "teacher")
    return folder


def arguments(files, run, *more):
    return [
        *(files / "text", "--model", files / "teacher", "--every-second-layer"),
        *("--output-dir", run, "--tokens-dir", files / "tokens", "--jobs", 1, "--threads", 1),
        *("--length", 16, "--long-fraction", 0, "--batch-size", 20, "--held-out", 0.03),
        *("--updates", 6, "--save-every", 2, "--pictures", "svg", *more),
    ]


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory):
    """An uninterrupted run and what it printed."""
    run = tmp_path_factory.mktemp("student") / "run"
    return run, printed_by(arguments(files, run))


# ---- the model


@pytest.mark.parametrize(("layers", "kept"), [(2, [0]), (3, [0, 2]), (4, [0, 2]), (5, [0, 2, 4])])
def test_layers_0_2_4_are_kept_and_everything_else_is_as_it_was(layers, kept):
    teacher = make_teacher(num_hidden_layers=layers)
    student = make_student(teacher)
    theirs, ours = teacher.state_dict(), student.state_dict()
    types = theirs.pop("encoder.embeddings.token_type.weight")
    theirs["encoder.embeddings.position.weight"] += types[0]
    for old in range(layers):
        new = f"encoder.layers.{kept.index(old)}." if old in kept else None
        for name in [name for name in theirs if name.startswith(f"encoder.layers.{old}.")]:
            weights = theirs.pop(name)
            if new:
                part = name.split(".", 3)[3]
                assert ours.pop(new + part).equal(weights), name
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in theirs)
    as_before = {"num_hidden_layers": layers, "model_type": "bert", "type_vocab_size": 2}
    assert replace(student.config, **as_before) == teacher.config
    assert student.config.num_hidden_layers == len(kept)


def test_it_is_the_model_that_its_config_describes_with_the_dropout_it_had():
    """No dropout, token type or layer of BERT's is left in it."""
    teacher = make_teacher()
    set_dropout(teacher, 0.25, 0.35)
    student = make_student(teacher)
    assert student.encoder.config is student.config
    wanted = BertForMaskedLM(student.config)
    set_dropout(wanted, 0.25, 0.35)
    named = [
        {name: repr(module) for name, module in model.named_modules() if not [*module.children()]}
        for model in (student, wanted)
    ]
    assert named[0] == named[1]
    assert all(parameter.requires_grad for parameter in student.parameters())


@torch.no_grad()
def test_embeddings_of_the_first_segment_are_the_teachers_also_at_new_positions():
    teacher = make_teacher()
    add_positions(teacher, 64)
    student = make_student(teacher)
    batch = PackedBatch.from_sequences([[2, *range(5, 40), *range(5, 30), 3]])
    theirs, ours = (model.encoder.embeddings(batch) for model in (teacher, student))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@torch.no_grad()
def test_it_is_saved_as_a_distilbert_that_transformers_loads_whole_with_equal_logits(tmp_path):
    transformers = pytest.importorskip("transformers", reason="the oracle is not installed")
    student = make_student(make_teacher(hidden_act="gelu_new"))
    student.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_bytes())
    assert saved["architectures"] == ["DistilBertForMaskedLM"]
    assert (saved["model_type"], saved["dim"], saved["n_layers"]) == ("distilbert", 16, 3)
    assert not saved.keys() & {"type_vocab_size", "layer_norm_eps", "hidden_size"}
    again = BertForMaskedLM.from_pretrained(tmp_path)
    same_rate = {"classifier_dropout": student.config.hidden_dropout_prob}  # None means this
    assert again.config == replace(student.config, **same_rate)
    assert again(BATCH).equal(student(BATCH))
    theirs, report = transformers.AutoModelForMaskedLM.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert {key: list(value) for key, value in report.items() if value} == {}
    for ids, logits in zip(
        BATCH.input_ids.split(list(BATCH.lengths)),
        student(BATCH).split(list(BATCH.lengths)),
        strict=True,
    ):
        torch.testing.assert_close(theirs.eval()(ids[None]).logits[0], logits, rtol=0, atol=1e-5)


# ---- the command


def test_the_command_says_what_the_model_is_made_of(whole):
    run, output = whole
    says = "every second layer (0, 2, 4) of {}, as DistilBERT begins (no distillation)"
    assert says.format("it") in output
    card = (run / "best" / "README.md").read_text()
    assert f"Started from {says.format('teacher')}" in card
    assert "\n3 layers, width 16" in card and "tags: [minibert, distilbert]" in card
    options = json.loads((run / "options.json").read_bytes())["options"]
    assert options["every_second_layer"] is True


def test_it_starts_from_the_student_also_where_it_gets_more_positions(files, tmp_path):
    run = tmp_path / "run"
    more = ("--lr", 1e-30, "--updates", 1, "--positions", 64, "--length", 60)
    status, _, errors = forked("train.pretrain", *arguments(files, run, *more))
    assert status == 0, errors
    student = BertForMaskedLM.from_pretrained(files / "teacher")
    add_positions(student, 64)
    keep_every_second_layer(student)
    trained = BertForMaskedLM.from_pretrained(run)
    assert trained.config.max_position_embeddings == 64
    batch = PackedBatch.from_sequences([[2, *range(5, 60), 3]])
    with torch.no_grad():
        torch.testing.assert_close(trained(batch), student(batch), rtol=0, atol=1e-5)


def test_killed_and_resumed_it_ends_with_the_same_bits(files, whole, tmp_path):
    run = tmp_path / "run"

    def die_after_three():
        log_update = Run.log_update

        def log_and_die(self, update, *rest):
            log_update(self, update, *rest)
            if update == 3:
                os.kill(os.getpid(), signal.SIGKILL)

        Run.log_update = log_and_die

    words = arguments(files, run)
    assert forked("train.pretrain", *words, prepare=die_after_three)[0] == -signal.SIGKILL
    resume = ("--resume", "--output-dir", run)
    refused = forked("train.pretrain", *resume, "--no-every-second-layer")
    assert_one_sentence(refused, "--every-second-layer -> --no-every-second-layer")
    status, _, errors = forked("train.pretrain", *resume)
    assert status == 0, errors
    for name in ("best/model.safetensors", "metrics.json", "best/config.json", "best/README.md"):
        assert (run / name).read_bytes() == (whole[0] / name).read_bytes(), name


def test_train_squad_goes_on_from_the_run_with_a_new_head(whole, tmp_path):
    write_little(tmp_path, questions=9)
    words = little_arguments(tmp_path, tmp_path / "run", "--epochs", "1", "--pictures", "svg")
    words += ["--max-length", "40", "--max-question-length", "16"]
    words[0:2] = ["--model", str(whole[0])]
    status, output, errors = forked("train.squad", *words)
    assert status == 0, errors
    assert "new head, to be trained: span.weight, span.bias\n" in output
    assert "left aside: vocab_layer_norm.bias" in output
    saved = json.loads((tmp_path / "run" / "best" / "config.json").read_bytes())
    assert saved["architectures"] == ["DistilBertForQuestionAnswering"] and saved["n_layers"] == 3
    assert len(json.loads((tmp_path / "run" / "predictions.json").read_bytes())) == 9


# ---- mistakes


def assert_one_sentence(done, *fragments):
    status, _, errors = done
    assert status == 2, done
    assert errors.startswith("error: ") and errors.count("\n") == 1, errors
    for fragment in fragments:
        assert fragment in errors, errors


def test_a_config_without_weights_has_no_layers_to_take(files, tmp_path):
    words = arguments(files, tmp_path / "run")
    words[1] = "--config"
    expected = "--every-second-layer is of a --model; write num_hidden_layers of --config in"
    assert_one_sentence(forked("train.pretrain", *words), expected)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"num_hidden_layers": 1}, "has only one layer; leave it out"),
        ({"layer_norm_eps": 1e-5}, "has layer_norm_eps 1e-05, where a DistilBERT has 1e-12;"),
        ({"model_type": "distilbert", "type_vocab_size": 0}, "is a DistilBERT already;"),
    ],
)
def test_a_model_that_cannot_be_halved_is_refused_before_the_text_is_read(
    files, tmp_path, change, reason
):
    model = tmp_path / "model"
    shutil.copytree(files / "teacher", model)
    config = replace(BertConfig.from_file(model / "config.json"), **change)
    BertForMaskedLM(config).save_pretrained(model)
    words = [tmp_path / "no-text", "--model", model, *arguments(files, tmp_path / "run")[3:]]
    assert_one_sentence(forked("train.pretrain", *words), f"{model} {reason}")
    assert not (tmp_path / "run").exists()
