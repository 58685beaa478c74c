"""Variants of train.matrix: one set trained on in several ways, from several models."""

import csv
import json
import re
from pathlib import Path

import pytest

from data.command import UsageError
from tests.forked import forked
from tests.results_pages import ROOT, read_runs
from tests.train.little import CONFIG, write_little
from train import matrix_config
from train.matrix_config import MatrixConfig, Row, read_config
from train.matrix_plan import ready_sets, trainings
from train.recipe import read_recipe

HEAD = """
from_scratch = "squad/model"
seeds = [0, 1]
[settings]
epochs = 1
batch_size = 12
max_length = 32
doc_stride = 8
lr = 3e-3
[sets.squad]
train = "squad/train.json"
dev = "squad/dev.json"
settings = { warmup = 0.2 }
"""
VARIANTS = """
[variants.linear]
[variants.constant]
settings = { lr_schedule = "constant", warmup = 0 }
[variants.narrow]
from_scratch = "narrow"
"""


def write_world(folder: Path, text: str) -> Path:
    (folder / "squad").mkdir(parents=True)
    write_little(folder / "squad")
    (folder / "narrow").mkdir()
    config = {**CONFIG, "intermediate_size": 8}
    (folder / "narrow" / "config.json").write_text(json.dumps(config))
    vocabulary = (folder / "squad" / "model" / "vocab.txt").read_bytes()
    (folder / "narrow" / "vocab.txt").write_bytes(vocabulary)
    path = folder / "matrix.toml"
    path.write_text(text)
    return path


def test_every_variant_is_a_row_with_its_settings_its_model_and_what_it_cost(
    tmp_path: Path,
) -> None:
    config = write_world(tmp_path, HEAD + VARIANTS)
    out = tmp_path / "out"
    words = [config, "--output-dir", out, "--threads", "1", "--pictures", "svg"]
    status, output, errors = forked("train.matrix", *words, "--only", "linear:squad,constant:*")
    assert status == 0, errors
    status, output, errors = forked("train.matrix", *words)
    assert status == 0 and "linear, seed 0: training" not in output, errors
    lines = list(csv.DictReader((out / "matrix.csv").read_text().splitlines()))
    assert [(line["train"], line["runs"]) for line in lines] == [
        ("linear", "2"), ("constant", "2"), ("narrow", "2"),
    ]  # fmt: skip
    assert all(float(line["epoch_seconds"]) > 0 for line in lines)
    assert all(float(line["peak_mib"]) > 50 for line in lines)
    assert len({line["updates"] for line in lines}) == 1 and float(lines[0]["updates"]) > 0
    options = {}
    for folder in (out / "runs").iterdir():
        name, seed, _ = folder.name.rsplit("-", 2)
        options[name, seed] = json.loads((folder / "options.json").read_bytes())["options"]
    assert len(options) == 6
    for (name, seed), made in options.items():
        constant = name == "constant"
        assert made["lr_schedule"] == ("constant" if constant else "linear")
        assert made["warmup"] == (0.0 if constant else 0.2)
        assert made["from_scratch"].endswith("narrow" if name == "narrow" else "model")
        assert made["seed"] == int(seed.removeprefix("seed"))
    page = (out / "matrix.md").read_text()
    assert "peak memory" in page
    assert "Start: random weights (model); narrow: random weights (narrow)." in page
    assert "the difference to linear" in page and "the difference to linear" in output
    assert (out / "matrix.svg").is_file()
    runs = list(csv.DictReader((out / "runs.csv").read_text().splitlines()))
    assert sorted((run["train"], run["seed"]) for run in runs) == sorted(
        (line["train"], seed) for line in lines for seed in "01"
    )


def test_several_sets_have_every_variant_each(tmp_path: Path) -> None:
    more = '[sets.other]\ntrain = "squad/dev.json"\ndev = "squad/train.json"\n'
    config = read_config(write_world(tmp_path, HEAD + more + VARIANTS), None, {})
    assert [row.name for row in config.rows] == [
        "squad-linear", "other-linear", "squad-constant", "other-constant",
        "squad-narrow", "other-narrow",
    ]  # fmt: skip


def test_two_rows_of_one_name_are_refused(tmp_path: Path) -> None:
    files = 'train = "squad/dev.json"\ndev = "squad/train.json"\n'
    more = f"[sets.a]\n{files}[sets.a-b]\n{files}[variants.b-c]\n[variants.c]\n"
    with pytest.raises(UsageError, match="two rows would be called a-b-c, a set's name and a var"):
        read_config(write_world(tmp_path, HEAD + more), None, {})


@pytest.mark.parametrize(
    ("settings", "words", "expected"),
    [
        ("max_length = 41", (), "--max-length is 41, but "),
        ("max_length = 41", ("--dry-run",), "--max-length is 41, but "),
        ("max_length = 20, doc_stride = 15", ("--dry-run",), None),
        ("max_length = 20, doc_stride = 16", ("--dry-run",), "--max-length 20 leaves 16 context"),
        ("max_length = 9, doc_step = 5", ("--dry-run",), None),
        ("max_length = 9, doc_step = 6", ("--dry-run",), "--max-length 9 leaves 5 context tokens"),
    ],
)
def test_a_way_that_its_model_cannot_go_is_refused_before_anything_is_trained(
    tmp_path: Path, settings: str, words: tuple[str, ...], expected: str | None
) -> None:
    more = f"[variants.good]\n[variants.bad]\nsettings = {{ {settings} }}\n"
    path = write_world(tmp_path, HEAD.replace("doc_stride = 8\n", "") + more)
    place = ("--output-dir", tmp_path / "out", "--threads", "1")
    status, _, errors = forked("train.matrix", path, *place, *words)
    if expected is None:
        assert status == 0, errors
        return
    assert (status, errors.count("\n")) == (2, 1)
    assert f"the settings of bad: {expected}" in errors
    assert not list((tmp_path / "out").glob("runs/*"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[variants.a]\nsetting = {}", "did you mean settings?"),
        ("[variants.a]\nsettings = { lr = -1 }", "the settings of a: --lr is -1.0"),
        ("[variants.'a b']", "the variant's name 'a b' should be letters"),
        ("[variants.a]\nfrom_scratch = 'nowhere'", "variants.a.from_scratch is 'nowhere', but"),
        (
            "[variants.fraction-0.7]\nsettings = { train_fraction = 0.7 }",
            "variants.fraction-0 has the unknown key '7'; a name with a dot stands in quotes: "
            '[variants."fraction-0.7"]',
        ),
        ("[variants.a]\nrevision = 'x'", "variants.a.revision is of a model"),
        ("[variants.a]\nmodel = 'x'\nfrom_scratch = 'narrow'", "contradict each other"),
    ],
)
def test_a_wrong_variant_is_told_by_its_place(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_config(write_world(tmp_path, f"{HEAD}\n{text}\n"), None, {})
    assert expected in str(refused.value)


LENGTHS = {"length-128": 2}  # with a stride that fits
ABLATIONS = ("ablations", "ablations-demo")
# The row of each of the report's mistakes, which are settings of the recipe.
MISTAKES = {
    "answerable-only": "answerable_only",
    "truncate": "truncate",
    "context-first": "context_first",
    "no-token-types": "token_types",
    "row-per-answer": "row_per_answer",
}


def config_of(stem: str) -> MatrixConfig:
    return read_config(ROOT / "docs" / f"{stem}.toml", None, {})


def changed(row: Row, base: Row) -> dict[str, object]:
    """Settings of a row that the first one has not; all that the first one has, it has as well."""
    assert base.settings.keys() <= row.settings.keys()
    return {n: v for n, v in row.settings.items() if (n, v) not in base.settings.items()}


@pytest.mark.parametrize("stem", ABLATIONS)
def test_the_configs_of_the_ablations_change_one_thing_at_a_time(stem: str) -> None:
    config = config_of(stem)
    base, *others = config.rows
    assert (base.name, config.first_variant, len(config.seeds)) == ("base", "base", 2)
    for row in others:
        things = changed(row, base).keys()
        if row.name != "report":
            number = len(things) + (row.start != base.start)
            assert number == LENGTHS.get(row.name, 1), (row.name, things)


@pytest.mark.parametrize("stem", ABLATIONS)
def test_the_ablations_make_the_mistakes_of_the_reports_recipe(stem: str) -> None:
    recipe = read_recipe("report-qa").settings
    config = config_of(stem)
    base, rows = config.rows[0], {row.name: row for row in config.rows}
    for name, mistake in MISTAKES.items():
        assert changed(rows[name], base) == {mistake: recipe[mistake]}
    made = changed(rows["report"], base)
    assert made.keys() == {*MISTAKES.values(), "clip_norm"} | ({"max_length"} & made.keys())
    assert made.items() <= recipe.items()
    # Whatever else the recipe switches, a mistake that is added to it must be added here.
    assert {n for n, v in recipe.items() if type(v) is bool} == set(MISTAKES.values())


def test_the_example_config_has_every_key_and_ways_to_train(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "matrix.toml").read_text()
    for key in (*matrix_config.TOP_KEYS, *matrix_config.SET_KEYS, *matrix_config.VARIANT_KEYS):
        assert re.search(rf"\b{key}\b", text), key
    before, begin, ways = text.partition("# [variants.NAME]\n")
    path = tmp_path / "matrix.toml"
    path.write_text(before + (begin + ways).replace("# ", "", 2).replace("# model", "model"))
    last = read_config(path, None, {}).rows[-1]
    assert (last.name, last.settings["lr"]) == ("newsqa-NAME", 5e-5)
    assert last.start.model == "distilbert-base-uncased"


def test_the_student_is_the_last_row_of_the_ablations() -> None:
    config = config_of("ablations")
    base, *_, last = config.rows
    assert (last.name, last.settings) == ("distilbert", base.settings)
    assert (last.start.model, last.start.new) == ("runs/distilbert", False)


def test_the_precisions_are_compared_in_the_demos_world_and_differ_in_nothing_else() -> None:
    config, demo = config_of("ablations-precision"), config_of("ablations-demo").rows[0]
    assert config.seeds == (0, 1) and config.sets[0].name == demo.data
    first, *others = config.rows
    assert (first.name, first.start) == ("fp32", demo.start)
    assert first.settings.keys() == demo.settings.keys()
    assert changed(first, demo).keys() == {"epochs"}
    assert {row.name: changed(row, first) for row in others} == {
        name: {"amp": True, "amp_dtype": name} for name in ("bf16", "fp16")
    }
    assert all(row.start == first.start for row in others)


def test_a_row_is_the_same_training_in_another_config_among_other_rows(tmp_path: Path) -> None:
    path = write_world(tmp_path, HEAD + "[variants.base]\n" + VARIANTS)
    other = path.with_name("other.toml")
    other.write_text(HEAD + "[variants.narrow]\nfrom_scratch = 'narrow'\n[variants.base]\n")
    named = []
    for file in (path, other):
        config = read_config(file, None, {})
        made = trainings(config, ready_sets(config, tmp_path / "data"))
        named.append({training.title: training.name for training in made})
    assert len(named[1]) == 4 and named[1].items() <= named[0].items()


@pytest.mark.parametrize("stem", [*ABLATIONS, "ablations-precision"])
def test_the_published_tables_are_of_the_configs(stem: str) -> None:
    table = read_runs(ROOT / "docs" / f"{stem}.csv")
    config = config_of(stem)
    rows = [row.name for row in config.rows]
    assert table.rows[0] == rows[0] and set(table.rows) <= set(rows)
    assert all(set(runs) == set(config.seeds) for runs in table.cells.values())
