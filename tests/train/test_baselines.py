"""`python -m train.classify --model softmax|feedforward|birnn`: what is its own beside BERT's."""

import json

import numpy as np
import pytest
import torch

import train.squad_options
from data.command import UsageError
from data.words import Words
from minibert.baselines import KINDS
from minibert.files import file_sha256
from tests.forked import forked
from tests.train.test_classify import (  # noqa: F401  a fixture
    NAMES,
    arguments,
    files,
    log_of,
    run_command,
    work_of,
    write_tweets,
)
from train.baseline_options import BASELINES
from train.classify_options import read_options

PATHS = ("--train-file", "train.csv", "--dev-file", "dev.csv")
LEARNING = {
    "softmax": ("--lr", "0.1", "--ngrams", "1"),
    "feedforward": ("--lr", "0.03", "--dropout", "0", "--batch-size", "10"),
    "birnn": ("--lr", "0.03", "--dropout", "0", "--batch-size", "10"),
}


@pytest.mark.parametrize("kind", BASELINES)
def test_it_learns_and_leaves_model_words_settings_scores_and_card(files, tmp_path, kind):  # noqa: F811
    run = tmp_path / "run"
    words = arguments(files, run, "--epochs", "12", *LEARNING[kind], kind=kind)
    status, output, errors = forked("train.classify", *words)
    assert status == 0, errors
    assert f"model: {kind}, random weights, " in output
    assert "unknown words: 0 of " in output
    assert json.loads((run / "metrics.json").read_bytes())["macro_f1"] > 85
    best = run / "best"
    assert {path.name for path in best.iterdir()} == {
        "config.json", "model.safetensors", "words.json", "classifier_settings.json", "README.md",
    }  # fmt: skip
    model = KINDS[f"minibert-{kind}"].from_pretrained(best)
    assert model.config.labels == NAMES
    assert len(Words.from_folder(best)) == model.config.vocab_size
    card = (best / "README.md").read_text()
    assert "library_name" not in card and f"A {kind} baseline, started from random" in card
    assert "| words of a text | at most 80 |" in card
    own = {"softmax": "ngrams | 1", "feedforward": "embedding size | 8", "birnn": "cell | lstm"}
    assert f"| {own[kind]} |\n" in card


def test_the_vocabulary_is_of_the_training_file_and_unknown_words_are_told(files, tmp_path):  # noqa: F811
    dev = tmp_path / "dev.csv"
    dev.write_text("tweet,label\nUnheard of green,anti\nunheard two,pro\n")
    words = ["--dev-file", str(dev), "--min-texts", "1", "--dry-run"]
    status, output, errors = forked(
        "train.classify", *arguments(files, tmp_path / "run", *words, kind="feedforward")
    )
    assert status == 0, errors
    assert "unknown words: 3 of 5 (2 different), 60.0%" in output


def test_vectors_are_the_rows_of_their_words_and_the_others_are_random(files, tmp_path):  # noqa: F811
    path = tmp_path / "vectors.txt"
    path.write_text("green 1 2 3 4\nnowhere 5 6 7 8\nriver -1 -2 -3 -4\n")
    for kind in ("feedforward", "birnn"):
        work, _ = work_of(files, tmp_path, kind, vectors=str(path), min_texts=1)
        rows = work.model.embedding.weight
        words = {"green": [1, 2, 3, 4], "river": [-1, -2, -3, -4]}
        vocabulary = work.task.evaluate.args[0].start.vocabulary
        for word, vector in words.items():
            assert rows[vocabulary.ids[word]].tolist() == vector
        others = [n for word, n in vocabulary.ids.items() if word not in words]
        assert rows.shape[1] == 4 and 0 < rows[others].abs().max() < 0.6


def test_the_coverage_of_vectors_is_told_and_a_changed_file_is_refused_on_resume(files, tmp_path):  # noqa: F811
    path, run = tmp_path / "vectors.txt", tmp_path / "run"
    path.write_text("green 1 2\nnowhere 5 6\n")
    words = arguments(files, run, kind="feedforward")
    words = [word for word in words if word not in ("--embedding-size", "8", "--hidden-size")]
    words += ["--vectors", str(path), "--min-texts", "1"]
    status, output, errors = forked("train.classify", *words, "--dry-run")
    assert status == 0, errors
    assert f"vectors: 2 of 2 numbers in {path}, with 1 of the 12 words (8.3%)" in output
    assert run_command(words) == 0
    card = (run / "best" / "README.md").read_text()
    assert "the word vectors of vectors.txt" in card and "| embedding size | 2 |" in card
    assert f"| vectors | vectors.txt, sha256 {file_sha256(path)} |" in card
    path.write_text("green 1 2\nnowhere 5 7\n")
    status, _, errors = forked("train.classify", "--resume", "--output-dir", str(run))
    assert status == 2 and "vectors_sha256" in errors
    path.write_text("green 1 x\n")
    status, _, errors = forked("train.classify", *words, "--overwrite")
    assert status == 2 and len(errors.splitlines()) == 1
    assert "vectors.txt: line 1 has 'x' where a number is expected" in errors


def test_a_baseline_has_defaults_of_its_own_and_flags_win_over_them():
    options = read_options([*PATHS, "--model", "softmax", "--lr", "0.5"])
    assert (options.lr, options.ngrams, options.optimizer) == (0.5, 2, "adam")
    assert options.hidden_size is None and options.cell is None
    assert read_options([*PATHS]).lr == 3e-5
    assert read_options([*PATHS, "--model", "birnn"]).cell == "lstm"
    status, text, _ = forked("train.classify", "--help")
    assert status == 0
    for kind, defaults in BASELINES.items():
        assert f"  {kind}\n" in text and f"--lr {defaults['lr']:g}" in text


def test_a_flag_is_checked_beside_the_values_that_count_a_baselines_or_a_saved_runs(tmp_path):
    options = read_options([*PATHS, "--model", "softmax", "--accumulate", "40"])
    assert (options.batch_size, options.accumulate) == (64, 40)
    saved = {"seed": 0, "lr": 1e-3, "batch_size": 64, "train_file": "a", "dev_file": "b"}
    (tmp_path / "options.json").write_text(json.dumps({"options": saved, "inputs": {}}))
    words = ["--resume", "--output-dir", str(tmp_path), "--accumulate", "40"]
    words += ["--allow-change", "accumulate"]
    for read in (read_options, train.squad_options.read_options):
        assert (read(words).batch_size, read(words).accumulate) == (64, 40)
        with pytest.raises(UsageError, match=r"other settings \(--batch-size 64 -> 8\)"):
            read([*words, "--batch-size", "8"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--model softmax --freeze-encoder", "--freeze-encoder does nothing for --model softmax"),
        ("--model birnn --revision main", "--revision does nothing for --model birnn"),
        ("--model softmax --vectors v.txt", "--vectors does nothing for softmax, only for --model"),
        ("--model feedforward --cell gru", "--cell does nothing for feedforward, only for --model"),
        ("--model feedforward --no-skip", "--no-skip does nothing for feedforward"),
        ("--min-texts 2", "--min-texts does nothing for BERT"),
        ("--model birnn --ngrams 2", "--ngrams does nothing for birnn"),
        ("--model softmax --ngrams 6", "--ngrams is 6, expected 1 to 5"),
        ("--model softmax --min-texts 0", "--min-texts is 0, expected at least 1"),
        ("--model birnn --layers 0", "--layers is 0, expected 1 to 64"),
        ("--model birnn --vectors v --embedding-size 3", "--vectors decides --embedding-size"),
        ("--model birnn --vectors=", "--vectors is empty"),
        ("--model birnn --vectors none.txt", "none.txt cannot be read"),
        ("--model birnn --vectors /dev/null", "--vectors /dev/null is a pipe or a device"),
        ("--model softmax --from-scratch config", "--model and --from-scratch contradict"),
        ("--model softmax --min-texts 61", "no word stands in 61 texts of the training file"),
    ],
)
def test_what_would_do_nothing_is_one_sentence(files, tmp_path, words, sentence):  # noqa: F811
    paths = ("--train-file", str(files / "train.csv"), "--dev-file", str(files / "dev.csv"))
    run = ("--output-dir", str(tmp_path / "run"))
    status, _, errors = forked("train.classify", *paths, *run, *words.split())
    assert status == 2 and len(errors.splitlines()) == 1
    assert sentence in errors
    assert not (tmp_path / "run" / "options.json").exists()


def test_a_folder_called_as_a_baseline_is_told_and_meant_with_a_dot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "softmax").mkdir()
    with pytest.warns(UserWarning, match=r"is the baseline, not the folder softmax .* ./softmax"):
        assert read_options([*PATHS, "--model", "softmax"]).model == "softmax"
    options = read_options([*PATHS, "--model", "./softmax"])
    assert options.model == str(tmp_path / "softmax") and options.ngrams is None


@pytest.mark.parametrize("kind", BASELINES)
def test_mixed_precision_trains_them_too(files, tmp_path, kind):  # noqa: F811
    run = tmp_path / "run"
    assert run_command(arguments(files, run, "--amp", "--amp-dtype", "bf16", kind=kind)) == 0
    assert all(np.isfinite(line["loss"]) for line in log_of(run, "update"))


def test_the_seed_decides_the_weights(files, tmp_path):  # noqa: F811
    first, same, other = (
        work_of(files, tmp_path, "birnn", seed=seed)[0].model.embedding.weight for seed in (0, 0, 1)
    )
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_a_vocabulary_that_is_lost_or_too_short_is_refused(files, tmp_path):  # noqa: F811
    run = tmp_path / "run"
    assert run_command(arguments(files, run, kind="softmax")) == 0
    score = ("--data-file", str(files / "dev.csv"), "--output-dir", str(tmp_path / "out"))
    words = run / "best" / "words.json"
    content = json.loads(words.read_bytes())
    for damaged, sentence in (
        (json.dumps(content | {"words": content["words"][1:]}), "the model"),
        (None, "words.json does not exist"),
    ):
        words.unlink()
        if damaged is not None:
            words.write_text(damaged)
        status, _, errors = forked("eval.classify", "--model", str(run), *score)
        assert status == 2 and len(errors.splitlines()) == 1 and sentence in errors
    assert not (tmp_path / "out").exists()
