"""Recipes: settings of others under a name; every one of them runs, and is held to its gate."""

import csv
import json
import re
import shutil
from dataclasses import fields

import pytest

import eval.class_plots
import eval.matrix_plot
import train.wiring
from data.command import UsageError
from tests.forked import forked
from tests.train.little import CONFIG, SPECIAL, WORDS, little_arguments, write_little
from tests.train.test_classify import write_tweets
from train import classify_options
from train.classify_options import ClassifyOptions
from train.recipe import Recipe, introduce, read_recipe, recipe_names
from train.squad_options import SquadOptions, read_options

OPTIONS = {"squad": SquadOptions, "classify": ClassifyOptions}
OF_SQUAD = [name for name in recipe_names() if read_recipe(name).command == "squad"]


def test_the_named_recipes_are_there():
    assert set(recipe_names()) == {
        *(f"notes-v{version}" for version in range(1, 6)),
        *("report-qa", "report-tweets", "report-matrix", "google-squad2", "hf-squad2"),
    }


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_sets_options_of_its_command_to_values_that_these_take(name):
    recipe = read_recipe(name)
    assert recipe.about and recipe.command in (*OPTIONS, "matrix")
    if recipe.command != "matrix":
        kind = OPTIONS[recipe.command]
        defaults = {field.name: field.default for field in fields(kind)}
        assert recipe.settings.keys() <= defaults.keys()
        kind(**recipe.settings)
        for option, value in recipe.settings.items():
            default = defaults[option]
            assert default is None or type(value) is type(default), option


def test_flags_win_over_the_recipe_and_the_recipe_over_defaults():
    options = read_options(["--recipe", "notes-v3", "--batch-size", "9"])
    assert (options.lr_schedule, options.doc_stride, options.batch_size) == ("constant", 0, 9)
    assert options.lr == 3e-5
    line = introduce(options, SquadOptions)
    assert line.endswith("batch_size 16, doc_stride 0; changed here: batch_size 9")


def test_every_option_that_computes_something_else_is_named_as_changed():
    words = ["--recipe", "google-squad2", "--doc-stride", "64", "--updates", "3"]
    options = read_options([*words, "--max-minutes", "5", "--save-every", "9", "--amp"])
    line = introduce(options, SquadOptions)
    assert line.endswith("; changed here: no doc_step, updates 3, doc_stride 64")
    whole = read_options(["--recipe", "google-squad2", "--threads", "1"])
    assert "changed here" not in introduce(whole, SquadOptions)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--recipe", "notes-v6"], "no recipe is called 'notes-v6'; did you mean notes-v5?"),
        (["--recipe", "zzz"], "there are google-squad2, hf-squad2, notes-v1"),
        (["--recipe="], "no recipe is called ''; there are google-squad2"),
        (["--recipe", "report-tweets"], "is for train.classify, not for train.squad"),
    ],
)
def test_a_recipe_that_is_not_there_is_refused(words, expected):
    with pytest.raises(UsageError, match=expected.replace("?", r"\?")):
        read_options(words)


def test_an_empty_recipe_is_refused_by_train_classify_as_well():
    files = ["--train-file", "a.csv", "--dev-file", "b.csv"]
    with pytest.raises(UsageError, match="no recipe is called ''"):
        classify_options.read_options([*files, "--recipe="])


@pytest.mark.parametrize("more", [["--recipe", "notes-v1"], ["--recipe=notes-v1"]])
def test_a_recipe_is_not_run_by_another_ones_name(more):
    status, _, errors = forked("train.reproduce", "notes-v5", "--demo", *more)
    assert (status, errors.count("\n")) == (2, 1)
    assert "--recipe does nothing after train.reproduce notes-v5; leave it out" in errors


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('command = "squad"', "ours.toml has no about, which every recipe needs; add it"),
        ('about = "a"', "ours.toml has no command, which every recipe needs; add it"),
        (
            'command = "squad"\nabout = "a"\n[setings]\nlr = 1.0',
            "ours.toml has the unknown key 'setings'; a recipe has about, command, gate",
        ),
    ],
)
def test_a_recipe_file_with_a_key_too_many_or_too_few_is_told_by_its_name(
    tmp_path, monkeypatch, text, expected
):
    monkeypatch.setattr("train.recipe.FOLDER", tmp_path)
    (tmp_path / "ours.toml").write_text(text)
    with pytest.raises(ValueError, match=expected):
        read_recipe("ours")


def without_pictures():
    """A `prepare`: they take seconds and are tested apart."""
    eval.class_plots.draw_all = lambda *anything: []
    eval.matrix_plot.matrix_picture = lambda *anything: None
    train.wiring.draw_training = lambda *anything: None


def run_demo(run, name, *more):
    """Run a recipe on the demo; its output and standard error."""
    words = [name, "--demo", "--threads", "1", "--output-dir", run, *more]
    status, output, errors = forked("train.reproduce", *words, prepare=without_pictures)
    assert status == 0, errors
    return output, errors


def test_every_recipe_is_of_a_command_whose_demo_is_run_here():
    others = {"report-tweets", "report-matrix"}
    assert {*OF_SQUAD, *others} == set(recipe_names())


@pytest.mark.usefixtures("small_demo")
@pytest.mark.parametrize("name", OF_SQUAD)
def test_every_recipe_of_train_squad_runs_on_the_demo(tmp_path, name):
    run = tmp_path / "run"
    output, errors = run_demo(run, name, "--updates", "2")
    assert f"recipe {name}: " in output and "python -m train.squad --recipe" in errors
    assert "goals: " not in output
    saved = json.loads((run / "options.json").read_bytes())["options"]
    recipe = read_recipe(name)
    of_demo = ("max_length", "doc_stride", "doc_step", "epochs")
    assert all(saved[n] == v for n, v in recipe.settings.items() if n not in of_demo)
    assert (saved["recipe"], saved["model"], saved["doc_step"]) == (name, "embedded", None)
    said = "published: " if recipe.published else "gate:       not judged" if recipe.gate else ""
    assert said in output


@pytest.mark.usefixtures("small_demo")
def test_the_reports_tweets_run_on_the_demo_and_resume_elsewhere(tmp_path):
    run, moved = tmp_path / "run", tmp_path / "moved"
    output, errors = run_demo(run, "report-tweets", "--updates", "2", "--max-minutes", "1e-6")
    assert "python -m train.classify --recipe report-tweets --demo" in errors
    changed = "changed here: model embedded, max_length 64, epochs 15.0, clean report-stem, "
    assert changed in output and "demo.csv" not in output and "stopped after update " in output
    assert re.search(r"updates 2, .*demo True\n", output) and "dev_file" not in output
    shutil.move(run, moved)
    resume = ("--resume", "--output-dir", moved)
    status, output, errors = forked("train.classify", *resume, prepare=without_pictures)
    assert status == 0, errors
    assert "published:  accuracy 71, weighted_f1 73" in output
    saved = json.loads((moved / "options.json").read_bytes())["options"]
    assert (saved["lr"], saved["clip_norm"], saved["dropout"]) == (1e-5, 5.0, 0.0)
    assert '"change"' not in (moved / "log.jsonl").read_text()


@pytest.mark.usefixtures("small_demo")
def test_the_reports_matrix_runs_on_the_demo_and_once(tmp_path):
    out = tmp_path / "out"
    output, errors = run_demo(out, "report-matrix")
    assert "python -m train.matrix --demo" in errors
    lines = list(csv.DictReader((out / "matrix.csv").read_text().splitlines()))
    assert len(lines) == 25 and all(line["f1"] and line["paper_f1"] for line in lines)
    assert "contamination: no context is in a training and a dev part" in output
    output, _ = run_demo(out, "report-matrix")
    assert ": training\n" not in output and ", answers " not in output


def test_the_reports_matrix_says_where_to_name_its_data(tmp_path):
    status, _, errors = forked("train.reproduce", "report-matrix", "--output-dir", tmp_path / "out")
    assert status == 2 and errors.splitlines()[-1].endswith(
        "squad/train-v2.0.json does not exist, expected a SQuAD .json file; name the folder of the "
        "data with --data-dir"
    )


def test_a_run_by_a_recipe_resumes_without_its_name_and_with_no_other(tmp_path):
    write_little(tmp_path)
    run = tmp_path / "run"
    words = little_arguments(tmp_path, run, "--recipe", "notes-v2", "--max-minutes", "1e-6")
    assert forked("train.squad", *words)[0] == 0
    resume = ("--resume", "--output-dir", run)
    status, _, errors = forked("train.squad", *resume, "--recipe", "notes-v1")
    assert (status, errors.count("\n")) == (2, 1) and "--recipe" in errors
    assert forked("train.squad", *resume)[0] == 0
    assert json.loads((run / "options.json").read_bytes())["options"]["recipe"] == "notes-v2"


RECIPE = Recipe("r", "squad", "", {"lr": 0.5}, {"f1": 70.0}, {"f1": (69.0, 71.0)})
DEFAULTS = {"lr": 0.1, "seed": 0, "output_dir": "", "recipe": None}


@pytest.mark.parametrize(("f1", "missed"), [(70.0, False), (68.9, True), (71.1, True)])
def test_the_whole_recipe_is_held_to_its_gate(f1, missed):
    options = {"lr": 0.5, "seed": 0, "output_dir": "somewhere", "recipe": "r"}
    lines, found = RECIPE.verdict({"f1": f1}, options, DEFAULTS)
    assert found is missed
    verdict = "MISSED" if missed else "reached"
    assert lines == ["published:  f1 70", f"gate: f1 69 to 71: {f1:.2f} {verdict}"]


def test_a_changed_recipe_is_not_judged():
    options = {"lr": 0.5, "seed": 1, "output_dir": "", "recipe": "r"}
    lines, missed = RECIPE.verdict({"f1": 1.0}, options, DEFAULTS)
    assert not missed
    assert lines[-1] == "gate:       not judged: it differs from the recipe in seed"


@pytest.mark.parametrize("flag", ["--deterministic", "--compile", "--amp", "--threads=1"])
def test_a_recipe_is_judged_however_the_machine_computes_it(flag):
    options = vars(read_options(["--recipe", "hf-squad2", flag]))
    defaults = {field.name: field.default for field in fields(SquadOptions)}
    scores = {"f1": 76.0, "exact": 73.0}
    lines, missed = read_recipe("hf-squad2").verdict(scores, options, defaults)
    assert not missed and [line.endswith("reached") for line in lines] == [True, True]


def test_a_run_that_was_stopped_and_resumed_is_judged_as_the_straight_one(tmp_path, monkeypatch):
    monkeypatch.setattr("train.recipe.FOLDER", tmp_path)
    train, dev, model = write_little(tmp_path)
    (tmp_path / "ours.toml").write_text(
        'command = "squad"\nabout = "ours"\n[settings]\nepochs = 2.0\nbatch_size = 12\n'
        f"train_file = '{train}'\ndev_file = '{dev}'\nfrom_scratch = '{model}'\n"
        "max_length = 32\ndoc_stride = 8\nlr = 3e-3\n[gate]\nf1 = [101.0, 102.0]\n"
    )
    said = {}
    for name, limits in (("straight", ()), ("stopped", ("--max-minutes", "1e-6"))):
        place = ("--output-dir", tmp_path / name, "--threads", "1")
        words = ("--recipe", "ours", *place, "--keep-checkpoints", "3", *limits)
        status, output, errors = forked("train.squad", *words)
        assert status == (0 if limits else 1), errors
        if limits:
            assert "gate" not in output
            status, output, errors = forked("train.squad", *place, "--resume", "--save-every", "1")
            assert status == 1, errors
        said[name] = [line for line in output.splitlines() if line.startswith("gate")]
        assert "changed here" not in output
    assert said["straight"] == said["stopped"]
    assert said["straight"][0].startswith("gate: f1 101 to 102: ")
    assert said["straight"][0].endswith("MISSED")


def test_without_a_name_the_recipes_are_listed():
    status, output, _ = forked("train.reproduce")
    assert status == 0
    assert all(f"  {name} " in output for name in recipe_names())


def test_the_reports_tweets_run_on_tweets(tmp_path):
    (tmp_path / "model").mkdir()
    write_tweets(tmp_path / "train.csv", 40)
    write_tweets(tmp_path / "dev.csv", 20, seed=1)
    (tmp_path / "model" / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "model" / "vocab.txt").write_text("\n".join((*SPECIAL, *WORDS)) + "\n")
    words = ["report-tweets", "--train-file", tmp_path / "train.csv"]
    words += ["--dev-file", tmp_path / "dev.csv", "--from-scratch", tmp_path / "model"]
    words += ["--clean", "light", "--max-length", "20", "--threads", "1"]
    status, output, errors = forked("train.reproduce", *words, "--output-dir", tmp_path / "run")
    assert status == 0, errors
    assert "changed here: max_length 20, clean light" in output
    assert "published:  accuracy 71, weighted_f1 73" in output
