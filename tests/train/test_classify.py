"""`python -m train.classify`: it learns, and resumes, stops and refuses as train.squad does."""

import csv
import json
import os
import random
import signal
from dataclasses import replace

import nltk.tokenize  # noqa: F401  for the same reason
import numpy as np
import pytest
import torch

# What the command imports late is imported here, once, and not again in every child.
import eval.class_plots
import eval.classifier
import train.classify
import train.classify_card
import train.classify_inputs
from data.batches import encode_labelled
from data.ranks import ALONE
from data.tokenization import Tokenizer
from minibert.heads import BertForSequenceClassification
from tests.forked import forked
from tests.train.killing import at_file_event, finish, go_on, result, start
from tests.train.little import CONFIG, SPECIAL, WORDS
from train.baseline_options import BASELINES
from train.checkpoint import TrainState
from train.classify import ends_early, read_work
from train.classify_options import ClassifyOptions
from train.gradients import Gradients
from train.loop import Update, make_update
from train.optim import make_optimizer
from train.run import Run

# BERT, and the baselines as small as it is
SMALL = {
    "bert": (),
    "softmax": (),
    "feedforward": ("--embedding-size", "8", "--hidden-size", "8"),
    "birnn": ("--embedding-size", "8", "--hidden-size", "8"),
}
KINDS = pytest.mark.parametrize("kind", SMALL)
NAMES = ("anti", "neutral", "pro")
MARKS = {"anti": "green", "neutral": "river", "pro": "tower"}  # a word that tells the class


def write_tweets(path, size, seed=0, mark=True):
    """`size` tweets of three classes, half of them neutral; `mark` off leaves nothing to learn."""
    generator = random.Random(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["tweet", "label"])
        for _ in range(size):
            label = generator.choice([*NAMES, "neutral"])
            words = generator.choices("anna bert carl one two three ? .".split(), k=8)
            words[generator.randrange(3)] = MARKS[label] if mark else "old"
            writer.writerow([" ".join(words[: generator.randint(3, 8)]), label])
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with train.csv, dev.csv and model/ (no weights)."""
    folder = tmp_path_factory.mktemp("classify")
    write_tweets(folder / "train.csv", 60)
    write_tweets(folder / "dev.csv", 30, seed=1)
    (folder / "model").mkdir()
    # with weights so small as usual, so narrow a model takes long to tell two words apart
    config = {**CONFIG, "initializer_range": 0.2}
    (folder / "model" / "config.json").write_text(json.dumps(config))
    (folder / "model" / "vocab.txt").write_text("".join(f"{t}\n" for t in (*SPECIAL, *WORDS)))
    return folder


def arguments(folder, run, *more, kind="bert"):
    """The command line of a short run."""
    start = ("--from-scratch", str(folder / "model")) if kind == "bert" else ("--model", kind)
    return [
        *(*start, *SMALL[kind], "--train-file", str(folder / "train.csv")),
        *("--dev-file", str(folder / "dev.csv"), "--output-dir", str(run), "--threads", "1"),
        *("--batch-size", "20", "--epochs", "2", "--lr", "3e-3", "--save-every", "2", *more),
    ]


def run_command(words, prepare=None):
    """Run it in a forked child; its exit status."""

    def without_pictures():
        eval.class_plots.draw_all = lambda *anything: []
        if prepare is not None:
            prepare()

    return finish(start(words, prepare=without_pictures, command=train.classify.main))


def stopping_at(update, number):
    """A `prepare` that sends a signal after an update."""
    log_update = Run.log_update

    def log_and_stop(self, made, *rest):
        log_update(self, made, *rest)
        if made == update:
            os.kill(os.getpid(), number)

    return lambda: setattr(Run, "log_update", log_and_stop)


def log_of(run, event):
    lines = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [line for line in lines if line["event"] == event]


def test_it_learns_and_leaves_model_scores_predictions_card_and_pictures(files, tmp_path):
    run = tmp_path / "run"
    more = ["--epochs", "20", "--batch-size", "10", "--lr", "1e-2", "--dropout", "0"]
    status, output, errors = forked(
        "train.classify", *arguments(files, run, *more, "--class-weights", "balanced")
    )
    assert status == 0, errors
    assert "class weights: anti " in output
    metrics = json.loads((run / "metrics.json").read_bytes())
    assert metrics["macro_f1"] == 100 and metrics["total"] == 30
    assert list(metrics["per_class"]) == list(NAMES)
    assert len(log_of(run, "eval")) == 20
    predictions = json.loads((run / "predictions.json").read_bytes())
    assert list(predictions) == [str(line) for line in range(2, 32)]
    assert all(entry["label"] == entry["predicted"] for entry in predictions.values())
    for name in ("training", "roc", "precision_recall", "confusion", "reliability"):
        assert (run / f"{name}.png").stat().st_size > 1000
    assert "pipeline_tag: text-classification" in (run / "best" / "README.md").read_text()
    model = BertForSequenceClassification.from_pretrained(str(run))
    assert model.config.labels == NAMES
    # not 80: the model has 40 positions
    settings = eval.classifier.ClassifierSettings.from_folder(run / "best")
    assert settings.max_length == 40
    status, output, errors = forked(
        "train.classify", "--resume", "--output-dir", run, "--pictures", "svg"
    )
    assert status == 0, errors  # the run is finished; its pictures are drawn in another format
    for name in ("training", "roc", "precision_recall", "confusion", "reliability"):
        assert (run / f"{name}.svg").read_bytes().startswith(b"<?xml")
        assert f"{name}.svg" in output
    again = [*more[:1], "1", *more[2:], "--overwrite"]
    assert run_command(arguments(files, run, *again)) == 0  # every file in it is known as a run's


@KINDS
@pytest.mark.parametrize("parts", ["1", "3"])
def test_a_signal_saves_and_the_resumed_run_ends_with_the_same_bits(files, tmp_path, parts, kind):
    settings = ["--accumulate", parts, "--class-weights", "balanced"]
    assert run_command(arguments(files, tmp_path / "whole", *settings, kind=kind)) == 0
    expected = result(tmp_path / "whole")
    assert len(log_of(tmp_path / "whole", "update")) == 6
    for update, number in ((1, signal.SIGTERM), (3, signal.SIGINT), (6, signal.SIGTERM)):
        run = tmp_path / f"run-{update}"
        words = arguments(files, run, *settings, kind=kind)
        status = run_command(words, stopping_at(update, number))
        assert status == {signal.SIGTERM: 143, signal.SIGINT: 130}[number]
        assert run_command(["--resume", "--output-dir", str(run)]) == 0
        assert result(run) == expected, f"stopped after update {update}"


@KINDS
def test_killed_at_many_moments_it_ends_with_the_same_bits(files, tmp_path, kind):
    assert run_command(arguments(files, tmp_path / "whole", kind=kind)) == 0
    expected = result(tmp_path / "whole")
    for number in range(3, 90, 9 if kind == "bert" else 29):
        run = tmp_path / f"run-{number}"
        words = arguments(files, run, kind=kind)
        kill = at_file_event(run, number, lambda: os.kill(os.getpid(), signal.SIGKILL))
        assert run_command(words, kill) in (0, -signal.SIGKILL)
        assert run_command(go_on(words, run)) == 0
        assert result(run) == expected, f"killed at event {number}"


def work_of(files, tmp_path, kind="bert", **changes):
    """The command's own `Work`, in this process."""
    start = {"from_scratch": str(files / "model")}
    if kind != "bert":
        start = BASELINES[kind] | {"model": kind}
    options = ClassifyOptions(
        **start
        | {"train_file": str(files / "train.csv"), "dev_file": str(files / "dev.csv")}
        | {"dropout": 0.0}
        | changes
    )
    work = read_work(options, tmp_path, torch.device("cpu"), None, None)
    work.model.double().train()
    return work, options


def gradients(work, options, parts):
    optimizer, scaler = make_optimizer(work.model, options), torch.amp.GradScaler(enabled=False)
    weight = sum(map(work.task.weight, parts))
    made = make_update(
        work.model, optimizer, scaler, Gradients(work.model, ALONE),
        map(work.task.make_batch, parts), weight, 0.0, torch.device("cpu"), None,
        work.task.loss_sum,
    )  # fmt: skip
    assert isinstance(made, Update) and made.is_finite
    return made.loss, {n: p.grad for n, p in work.model.named_parameters() if p.grad is not None}


@KINDS
def test_micro_batches_give_the_gradients_of_the_weighted_mean(files, tmp_path, kind):
    work, options = work_of(files, tmp_path, kind, class_weights="balanced")
    items, every = np.arange(25), work.task.make_batch(np.arange(60))
    weights = 60 / (3 * torch.bincount(every.labels).double())
    batch = work.task.make_batch(items)
    logits = work.model(batch.packed)
    expected = torch.nn.functional.cross_entropy(logits, batch.labels, weights)
    whole_loss, whole = gradients(work, options, [items])
    # the weights are stored in float32
    assert whole_loss == pytest.approx(expected.item(), rel=1e-6)
    work.model.zero_grad(set_to_none=True)
    loss, parts = gradients(work, options, np.array_split(items, 7))
    assert loss == pytest.approx(whole_loss, rel=1e-12)
    assert parts.keys() == whole.keys()
    for name, gradient in parts.items():
        torch.testing.assert_close(gradient, whole[name], rtol=1e-10, atol=1e-14)


def test_a_frozen_encoder_keeps_its_weights_and_has_no_dropout(files, tmp_path):
    work, options = work_of(files, tmp_path, freeze_encoder=True)
    before = {name: p.clone() for name, p in work.model.named_parameters()}
    optimizer, scaler = make_optimizer(work.model, options), torch.amp.GradScaler(enabled=False)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    batch = work.task.make_batch(np.arange(9))
    make_update(
        work.model, optimizer, scaler, Gradients(work.model, ALONE), [batch], 9.0, 5.0,
        torch.device("cpu"), None, work.task.loss_sum,
    )  # fmt: skip
    assert not work.model.encoder.training
    for name, parameter in work.model.named_parameters():
        assert torch.equal(parameter, before[name]) == name.startswith("encoder."), name


def test_patience_ends_a_run_after_whole_epochs_without_a_better_score(files, tmp_path):
    work, _ = work_of(files, tmp_path)
    plan = replace(work.plan, size=50, batch_size=10)  # 5 updates an epoch
    ends = [
        (best, update)
        for best, update in ((5, 10), (5, 14), (5, 15), (7, 19), (7, 20), (10, 15))
        if ends_early(2, plan, TrainState(update=update, best_score=1.0, best_update=best))
    ]
    assert ends == [(5, 15), (7, 20)]
    assert not ends_early(0, plan, TrainState(update=500, best_score=1.0, best_update=5))
    assert not ends_early(1, plan, TrainState(update=500))


def test_an_early_end_is_an_end_and_resuming_changes_nothing(files, tmp_path):
    write_tweets(files / "noise.csv", 60, mark=False)
    run = tmp_path / "run"
    words = [*arguments(files, run, "--epochs", "40"), "--train-file", str(files / "noise.csv")]
    words += ["--lr", "1e-9", "--patience", "2"]  # so low that no score ever changes
    assert run_command(words) == 0
    assert len(log_of(run, "eval")) == 3
    before = result(run)
    assert run_command(["--resume", "--output-dir", str(run)]) == 0
    assert result(run) == before


def test_special_tokens_typed_in_a_tweet_stay_text_and_long_ones_are_cut(files):
    tokenizer = Tokenizer.from_folder(files / "model")
    texts = ["one [SEP] two [MASK] [CLS]", "", "one two three four five six"]
    encoded = encode_labelled(texts, np.array([0, 1, 0]), tokenizer, 6)
    first, empty, cut = np.split(encoded.ids, encoded.bounds[1:-1])
    special = {tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id}
    assert not special & set(first[1:-1].tolist())
    assert empty.tolist() == [tokenizer.cls_id, tokenizer.sep_id]
    ids = [tokenizer.vocabulary[word] for word in "one two three four".split()]
    assert cut.tolist() == [tokenizer.cls_id, *ids, tokenizer.sep_id]
    assert encoded.cut.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("train_text", "dev_text", "words", "sentence"),
    [
        ("a,b\none,two\n", None, [], "train.csv"),
        (None, None, ["--label-column", "klass"], "klass"),
        ("tweet,label\none,pro\ntwo,pro\n", None, [], "a classifier needs two or more"),
        (None, "tweet,label\none,pro\ntwo,contra\n", [], "line 3 has the label 'contra'"),
        ("tweet,label\n", None, [], "holds no tweets"),
        (None, "tweet,label\none,pro\n,anti\n", [], "line 3 has nothing in the column"),
        (None, 'tweet,label\none,pro\n"two,anti\n', [], "dev.csv"),
        (None, None, ["--max-length", "41"], "has only 40 positions"),
        (None, None, ["--patience", "-1"], "--patience is -1, expected 0 or more"),
        (None, None, ["--model", "embedded"], "--model and --from-scratch contradict"),
    ],
)
def test_bad_input_is_one_sentence_and_makes_no_run(
    files, tmp_path, train_text, dev_text, words, sentence
):
    words = [*arguments(files, tmp_path / "run"), *words]
    for name, text in (("train", train_text), ("dev", dev_text)):
        if text is not None:
            (tmp_path / f"{name}.csv").write_text(text)
            words += [f"--{name}-file", str(tmp_path / f"{name}.csv")]
    status, _, errors = forked("train.classify", *words)
    assert status == 2
    assert errors.startswith("error: ") and len(errors.splitlines()) == 1
    assert sentence in errors
    assert not (tmp_path / "run" / "options.json").exists()


def test_a_missing_file_and_a_changed_one_are_refused(files, tmp_path):
    status, _, errors = forked("train.classify", "--train-file", "train.csv")
    assert status == 2 and "--dev-file is missing" in errors
    dev, run = tmp_path / "dev.csv", tmp_path / "run"
    dev.write_bytes((files / "dev.csv").read_bytes())
    assert run_command([*arguments(files, run), "--dev-file", str(dev)]) == 0
    write_tweets(dev, 30, seed=2)
    status, _, errors = forked("train.classify", "--resume", "--output-dir", str(run))
    assert status == 2 and "dev_sha256" in errors


@pytest.mark.usefixtures("small_demo")
@pytest.mark.parametrize("model", ["embedded", "softmax"])
def test_the_demo_brings_its_tweets_and_to_a_baseline_nothing_else(tmp_path, model):
    words = ("--demo", "--model", model, "--threads", "1", "--output-dir", tmp_path / "run")
    status, output, errors = forked("train.classify", *words, "--dry-run")
    assert (status, errors) == (0, "") and not (tmp_path / "run").exists()
    plan = {"embedded": "30 updates of 32 texts, epochs 15", "softmax": "10 updates of 64 texts"}
    assert f"plan: {plan[model]}" in output and "neutral" in output
    status, _, errors = forked("train.classify", *words, "--dev-file", "dev.csv")
    assert status == 2
    assert errors == "error: --demo brings its own data; leave out --dev-file\n"


@KINDS
def test_a_dry_run_plans_and_leaves_nothing(files, tmp_path, kind):
    words = arguments(files, tmp_path / "run", "--dry-run", kind=kind)
    status, output, _ = forked("train.classify", *words)
    assert status == 0 and "plan: 6 updates of 20 texts" in output
    assert not (tmp_path / "run" / "options.json").exists()
