"""Run folders of every format so far can be gone on with and predicted from."""

import json
import shutil
from pathlib import Path

import pytest

import eval.predict
from tests.reliability import figure
from tests.train.killing import finish, result, start
from tests.train.make_run import LAST_UPDATE, RUNS
from train.resuming import FORMAT

FORMATS = sorted(path.name for path in RUNS.iterdir())


@pytest.fixture(params=FORMATS)
def folder(request, tmp_path):
    """A copy whose paths are those of its new place."""
    copy = tmp_path / "copy"
    shutil.copytree(RUNS / request.param, copy)
    options = copy / "run" / "options.json"
    options.write_text(options.read_text().replace("@FOLDER@", str(copy)))
    return copy


def read_log(run: Path):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_there_is_a_run_of_every_format():
    assert FORMATS == [f"format-{number}" for number in range(FORMAT + 1)]
    newest = json.loads((RUNS / FORMATS[-1] / "run" / "options.json").read_bytes())
    assert newest["format"] == FORMAT
    figure("R11", f"runs of {len(FORMATS)} formats resumed and predicted from")


def test_a_run_goes_on_where_it_was(folder):
    run, errors = folder / "run", folder / "errors"
    before = read_log(run)
    assert finish(start(["--resume", "--output-dir", str(run)], errors)) == 0, errors.read_text()
    after = read_log(run)
    assert after[: len(before)] == before
    updates = [line["update"] for line in after if line["event"] == "update"]
    assert updates == list(range(1, 2 * LAST_UPDATE + 1))
    assert [line["update"] for line in after if line["event"] == "eval"] == [4, 8]
    assert result(run)[1]["state"]["update"] == 2 * LAST_UPDATE


def test_its_best_model_gives_the_answers_it_gave(folder):
    words = ("--model", folder / "run", "--data-file", folder / "dev.json", "--n-best", "2")
    errors, answers = folder / "errors", folder / "answers"
    arguments = list(map(str, (*words, "--output-dir", answers)))
    assert finish(start(arguments, errors, command=eval.predict.main)) == 0, errors.read_text()
    ours = json.loads((answers / "predictions.json").read_bytes())
    assert ours == json.loads((folder / "run" / "predictions.json").read_bytes())
    odds = json.loads((answers / "null_odds.json").read_bytes())
    saved = json.loads((folder / "run" / "null_odds.json").read_bytes())
    assert odds == pytest.approx(saved, abs=1e-4)
