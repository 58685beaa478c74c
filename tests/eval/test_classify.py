"""`python -m eval.classify` scores a file as the training that made the model did."""

import json

import pytest
import torch

from data.cleaning import Cleaning
from eval.classifier import ClassifierSettings, load_classifier
from tests.forked import forked
from tests.train.test_classify import (  # noqa: F401  a fixture
    SMALL,
    arguments,
    files,
    run_command,
)


@pytest.fixture(scope="module", params=SMALL)
def run(request, files, tmp_path_factory):  # noqa: F811
    folder = tmp_path_factory.mktemp("classified") / "run"
    assert run_command(arguments(files, folder, "--clean", "light", kind=request.param)) == 0
    return folder


def classify(run, data, out, *more):
    words = ("--model", run, "--data-file", data, "--output-dir", out, "--threads", "1")
    return forked("eval.classify", *words, *more)


def test_scores_and_predictions_are_those_of_the_training(files, run, tmp_path):  # noqa: F811
    status, output, errors = classify(run, files / "dev.csv", tmp_path / "out")
    assert status == 0, errors
    assert output.startswith("30 texts classified, 0 of them cut")
    for name in ("metrics.json", "predictions.json"):
        assert (tmp_path / "out" / name).read_bytes() == (run / name).read_bytes()
    for name in ("roc", "precision_recall", "confusion", "reliability"):
        assert (tmp_path / "out" / f"{name}.png").stat().st_size > 1000


def test_small_batches_give_the_same_scores(files, run, tmp_path):  # noqa: F811
    more = ("--batch-tokens", "1", "--pictures", "svg")
    status, _, errors = classify(run, files / "dev.csv", tmp_path / "out", *more)
    assert status == 0, errors
    assert (tmp_path / "out" / "roc.svg").read_bytes().startswith(b"<?xml")
    metrics, other = (
        json.loads((folder / "metrics.json").read_bytes()) for folder in (run, tmp_path / "out")
    )
    assert other["loss"] == pytest.approx(metrics["loss"], rel=1e-5)


def test_a_model_type_that_is_no_text_is_one_sentence(tmp_path):
    ClassifierSettings(8, Cleaning()).save(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": []}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"config\.json.*model_type"):
        load_classifier(str(tmp_path), torch.device("cpu"))


def test_a_file_of_one_class_says_which_scores_have_no_value(files, run, tmp_path):  # noqa: F811
    one = tmp_path / "one.csv"
    one.write_text("tweet,label\nanna green,pro\nthe old river,pro\n")
    status, output, errors = classify(run, one, tmp_path / "out")
    assert status == 0, errors
    told = [line for line in output.splitlines() if line.startswith("absent classes: 2 of 3 (")]
    assert len(told) == 1 and told[0].endswith(": anti, neutral")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_bytes())
    assert metrics["macro_roc_auc"] is None
    curves = {name: rates["average_precision"] for name, rates in metrics["per_class"].items()}
    assert curves == {"anti": None, "neutral": None, "pro": metrics["macro_average_precision"]}


def test_what_cannot_be_scored_is_one_sentence(files, run, tmp_path):  # noqa: F811
    other = tmp_path / "other.csv"
    other.write_text("tweet,label\none,pro\ntwo,contra\n")
    dev = files / "dev.csv"
    for model, data, out, sentence in (
        (run, other, tmp_path / "out", "line 3 has the label 'contra'"),
        (run, dev, run, "is a run folder, whose own scores lie there"),
        (run, dev, run / "best" / "new", "is a run folder, whose own scores lie there, or in one"),
        ("softmax", dev, tmp_path / "out", "name the run folder of a train.classify --model soft"),
        ("embedded", dev, tmp_path / "out", "has no classifier_settings.json"),
        (run, tmp_path / "none.csv", tmp_path / "out", "none.csv"),
    ):
        status, _, errors = classify(model, data, out)
        assert status == 2 and len(errors.splitlines()) == 1 and sentence in errors
    assert not (tmp_path / "out").exists()
