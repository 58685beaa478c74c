"""`python -m train.matrix` on little data: every cell, its restarts, and several processes."""

import csv
import errno
import json
import os
import re
import shutil
import signal
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import eval.matrix_plot
import minibert.locks
import train.matrix
import train.matrix_cells
from data.overlap import Overlap
from eval.matrix import Table
from eval.squad import read_gold, score
from tests.forked import forked
from tests.train.killing import at_file_event, finish, result, start
from tests.train.little import write_little
from train import matrix_config, matrix_plan
from train.matrix import main
from train.matrix_cells import Folder
from train.matrix_table import write_table
from train.matrix_values import SETTINGS
from train.resuming import INPUTS
from train.squad_options import SquadOptions

ROOT = Path(__file__).parents[2]
CONFIG = """
from_scratch = "squad/model"
seeds = [0, 1]
[settings]
max_length = 32
doc_stride = 8
batch_size = 12
epochs = 1
lr = 3e-3
save_every = 2
[sets.squad]
train = "squad/train.json"
dev = "squad/dev.json"
[sets.nq]
file = "nq/train.json"
dev_share = 0.25
split_by = "context"
settings = { lr = 1e-3 }
[sets.held]
dev = "nq/dev.json"
"""
# What the settings of format 2 are where nobody sets them.
DEFAULTS = {
    **{"epochs": 2.0, "updates": 0, "batch_size": 16, "accumulate": 1, "lr": 3e-5},
    **{"lr_schedule": "linear", "warmup": 0.1, "optimizer": "adamw", "weight_decay": 0.01},
    **{"clip_norm": 1.0, "dropout": None, "amp": False, "amp_dtype": "auto"},
    **{"deterministic": False, "eval_every": 0, "answerable_only": False, "train_fraction": 1.0},
    **{"max_length": None, "doc_stride": None, "doc_step": None, "max_question_length": 64},
    **{"max_answer_length": 30, "n_best": 20, "null_threshold": 0.0},
}
PAIRS = [(row, column) for row in ("squad", "nq") for column in ("squad", "nq", "held")]


def write_world(folder: Path, config: str = CONFIG) -> Path:
    """Two little data sets, a model's sizes and a config; the config's path."""
    for seed, name in enumerate(("squad", "nq")):
        (folder / name).mkdir(parents=True)
        write_little(folder / name, 22, seed)
    path = folder / "matrix.toml"
    path.write_text(config)
    return path


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take seconds and are tested apart; nobody waits long for another process."""
    monkeypatch.setattr(eval.matrix_plot, "matrix_picture", lambda *anything: None)
    monkeypatch.setattr(train.matrix, "POLL_SECONDS", 0.05)


def arguments(config: Path, out: Path, *more: str) -> list[str]:
    return [str(config), "--output-dir", str(out), "--threads", "1", *more]


def run(config: Path, out: Path, *more: str) -> int:
    """The command in a child, as a user runs it; its status."""
    return finish(start(arguments(config, out, *more), command=main))


def cells(out: Path) -> dict[str, dict[str, object]]:
    """File name -> content of every finished cell."""
    return {path.name: json.loads(path.read_bytes()) for path in (out / "cells").glob("*.json")}


def files_of(out: Path) -> dict[str, int]:
    """When every file was written, the tables and locks apart."""
    return {
        str(path.relative_to(out)): path.stat().st_mtime_ns
        for path in out.rglob("*")
        if path.is_file() and path.suffix != ".lock" and path.parent != out
    }


def runs(out: Path) -> dict[str, object]:
    """All that must be equal of every training, by its folder's name."""
    return {folder.name: result(folder) for folder in (out / "runs").iterdir()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config, and OUT of an uninterrupted start."""
    folder = tmp_path_factory.mktemp("world")
    patch = pytest.MonkeyPatch()
    patch.setattr(eval.matrix_plot, "matrix_picture", lambda *anything: None)
    assert run(write_world(folder), folder / "out") == 0
    patch.undo()
    return folder


def test_every_pair_has_a_cell_for_each_seed_and_the_tables_their_means(world: Path) -> None:
    found = cells(world / "out").values()
    assert sorted((c["train"], c["eval"], c["seed"]) for c in found) == sorted(
        (*pair, seed) for pair in PAIRS for seed in (0, 1)
    )
    assert len(list((world / "out" / "runs").iterdir())) == 4
    lines = list(csv.DictReader((world / "out" / "matrix.csv").read_text().splitlines()))
    assert [(line["train"], line["eval"]) for line in lines] == PAIRS
    for line in lines:
        pair = line["train"], line["eval"]
        values = [c["scores"]["f1"] for c in found if (c["train"], c["eval"]) == pair]
        assert float(line["f1"]) == pytest.approx(statistics.mean(values), abs=1e-4)
        assert float(line["f1_sd"]) == pytest.approx(statistics.stdev(values), abs=1e-4)
        assert line["runs"] == "2" and line["no_null_f1"]
    assert "| squad | " in (world / "out" / "matrix.md").read_text()


def test_a_trainings_own_set_is_not_answered_twice_and_scores_as_if_it_were(
    world: Path, tmp_path: Path
) -> None:
    for name, cell in cells(world / "out").items():
        if cell["train"] == cell["eval"]:
            pattern = f"{cell['train']}-seed{cell['seed']}-*"
            (made,) = (world / "out" / "runs").glob(pattern)
            assert json.loads((made / "metrics.json").read_bytes()) == cell["scores"]
            answers = world / "out" / "answers" / name.removesuffix(".json")
            assert len(list(answers.iterdir())) == 4
            for path in answers.iterdir():
                assert path.read_bytes() == (made / path.name).read_bytes()
    (made,) = (world / "out" / "runs").glob("squad-seed0-*")
    words = ["--model", made, "--data-file", world / "squad" / "dev.json", "--threads", "1"]
    status, _, errors = forked("eval.predict", *words, "--output-dir", tmp_path / "again")
    assert status == 0, errors
    again = json.loads((tmp_path / "again" / "metrics.json").read_bytes())
    assert again == json.loads((made / "metrics.json").read_bytes())


def test_the_kept_answers_score_as_the_cell_says(world: Path) -> None:
    dev = {"squad": world / "squad" / "dev.json", "held": world / "nq" / "dev.json"}
    (dev["nq"],) = (world / "out" / "data").glob("nq-*-dev.json")
    for name, cell in cells(world / "out").items():
        folder = world / "out" / "answers" / name.removesuffix(".json")
        predictions = json.loads((folder / "predictions.json").read_bytes())
        again = score(read_gold(dev[cell["eval"]]), predictions)
        assert again.items() <= cell["scores"].items()


def test_a_training_is_that_of_train_squad_by_hand(world: Path, tmp_path: Path) -> None:
    (mark,) = (world / "out" / "trained").glob("nq-seed1-*.json")
    command = json.loads(mark.read_bytes())["command"].split()
    assert command[:3] == ["python", "-m", "train.squad"]
    command[command.index("--output-dir") + 1] = str(tmp_path / "run")
    assert finish(start(command[3:])) == 0
    assert result(tmp_path / "run") == result(world / "out" / "runs" / mark.stem)


def test_a_second_start_makes_nothing(world: Path) -> None:
    before = files_of(world / "out")
    status, said, errors = forked(
        "train.matrix", *arguments(world / "matrix.toml", world / "out"), prepare=no_picture
    )
    assert (status, errors) == (0, "")
    assert ": training\n" not in said and ", answers " not in said
    assert files_of(world / "out") == before


def no_picture() -> None:
    eval.matrix_plot.matrix_picture = lambda *anything: None


KILLS = [5, 11, 41, 60, 95, 106, 112, 122, 128, 133, 170, 215, 255]  # of 278 file events


@pytest.mark.parametrize("number", KILLS)
def test_sigkill_at_any_moment_leads_to_the_same_cells(
    world: Path, tmp_path: Path, number: int
) -> None:
    config = tmp_path / "one.toml"
    config.write_text((world / "matrix.toml").read_text().replace("[0, 1]", "[0]"))
    words = ("--data-dir", str(world))
    out = tmp_path / "out"
    kill = at_file_event(out, number, lambda: os.kill(os.getpid(), signal.SIGKILL))
    child = start(arguments(config, out, *words), prepare=kill, command=main)
    assert finish(child) == -signal.SIGKILL
    done = files_of(out) if (out / "cells").is_dir() else {}
    assert run(config, out, *words) == 0
    whole = cells(world / "out")
    assert cells(out) == {name: cell for name, cell in whole.items() if cell["seed"] == 0}
    assert runs(out).items() <= runs(world / "out").items() and len(runs(out)) == 2
    again = files_of(out)
    for name, written in done.items():
        if name.startswith(("cells", "trained")) and not name.split("/")[-1].startswith("."):
            assert again[name] == written


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_a_training_saves_leaves_and_goes_on(
    world: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out, words = tmp_path / "out", ("--data-dir", str(world), "--only", "squad:held")
    config = tmp_path / "one.toml"
    config.write_text((world / "matrix.toml").read_text().replace("[0, 1]", "[0]"))
    signalled = at_file_event(out / "runs", 24, lambda: os.kill(os.getpid(), number))
    child = start(arguments(config, out, *words), prepare=signalled, command=main)
    assert finish(child) == 128 + number
    assert not (out / "cells").exists() and (out / "matrix.md").exists()
    assert run(config, out, *words) == 0
    (cell,) = cells(out).items()
    assert cell in cells(world / "out").items()
    assert runs(out).items() <= runs(world / "out").items()


def test_the_best_model_of_a_training_that_has_not_ended_answers_nothing(tmp_path: Path) -> None:
    config = write_world(
        tmp_path, CONFIG.replace("[0, 1]", "[0]").replace("epochs = 1", "epochs = 2")
    )
    out, only = tmp_path / "out", ("--only", "squad:squad")
    published = re.compile(rf"{out}/runs/squad[^/]*/\.best-\d+$")

    def kill(event: str, values: tuple[object, ...]) -> None:
        if event == "os.rmdir" and published.search(str(values[0])):
            os.kill(os.getpid(), signal.SIGKILL)

    child = start(
        arguments(config, out, *only), prepare=lambda: sys.addaudithook(kill), command=main
    )
    assert finish(child) == -signal.SIGKILL
    (folder,) = (out / "runs").iterdir()
    assert (folder / "best" / "config.json").exists()
    assert run(config, out, *only) == 0
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert sum(line["event"] == "eval" for line in log) == 2
    (cell,) = cells(out).values()
    assert json.loads((folder / "metrics.json").read_bytes()) == cell["scores"]


def test_a_signal_between_two_trainings_ends_the_command(world: Path, tmp_path: Path) -> None:
    """The handlers of a run that is over would take it for their own, and do nothing."""
    first = at_file_event(
        tmp_path / "out" / "cells", 1, lambda: os.kill(os.getpid(), signal.SIGTERM)
    )
    words = arguments(world / "matrix.toml", tmp_path / "out")
    assert finish(start(words, prepare=first, command=main)) == 128 + signal.SIGTERM
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 1


def test_other_settings_and_other_data_are_other_cells(world: Path, tmp_path: Path) -> None:
    folder, only = tmp_path / "world", ("--only", "squad:*")
    config = write_world(folder, CONFIG.replace("[0, 1]", "[0]"))
    out = tmp_path / "out"
    shutil.copytree(world / "out", out)
    first = set(cells(out))

    def made(*more: str) -> dict[str, tuple[str, str]]:
        """What cells a start adds."""
        before = set(cells(out))
        assert run(config, out, *only, *more) == 0
        return {n: (c["train"], c["eval"]) for n, c in cells(out).items() if n not in before}

    assert made() == {}  # the same bytes in another place
    assert len(made("--train-fraction", "0.5")) == 3
    config.write_text(config.read_text().replace("lr = 3e-3", "lr = 2e-3"))
    assert len(made()) == 3
    config.write_text(config.read_text().replace("save_every = 2", "save_every = 3"))
    assert made() == {}  # changes nothing that is computed
    held = folder / "nq" / "dev.json"
    held.write_text(held.read_text().replace("who was", "who is"))
    assert list(made().values()) == [("squad", "held")]
    assert len(list((out / "runs").glob("squad-seed0-*"))) == 3  # nothing trained for that
    sizes = folder / "squad" / "model" / "config.json"
    sizes.write_text(
        sizes.read_text().replace('"intermediate_size": 24', '"intermediate_size": 20')
    )
    assert len(made()) == 3
    assert first <= set(cells(out))


def test_only_chooses_by_name_and_the_table_shows_the_rest_as_missing(
    world: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    config = tmp_path / "one.toml"
    config.write_text((world / "matrix.toml").read_text().replace("[0, 1]", "[0]"))
    words = ("--data-dir", str(world))
    assert run(config, out, *words, "--only", "squad:nq") == 0
    assert [(c["train"], c["eval"]) for c in cells(out).values()] == [("squad", "nq")]
    assert run(config, out, *words, "--only", "*:h*, squad:squad") == 0
    made = {(c["train"], c["eval"]) for c in cells(out).values()}
    assert made == {("squad", "nq"), ("squad", "held"), ("nq", "held"), ("squad", "squad")}
    lines = list(csv.DictReader((out / "matrix.csv").read_text().splitlines()))
    assert {(line["train"], line["eval"]) for line in lines if line["runs"] == "1"} == made


def test_two_processes_share_the_work_and_make_nothing_twice(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = arguments(world / "matrix.toml", out)
    places = [tmp_path / "first", tmp_path / "second"]
    children = []
    for place in places:
        children.append(start(words, prepare=saying_into(place), command=main))
    assert [finish(child) for child in children] == [0, 0]
    assert cells(out) == cells(world / "out")
    assert runs(out) == runs(world / "out")
    said = [place.read_text() for place in places]
    assert sum(text.count(": training\n") for text in said) == 4
    assert sum(text.count(", answers ") for text in said) == 12


def saying_into(place: Path) -> Callable[[], None]:
    """A `prepare`: what the command prints goes into a file."""

    def prepare() -> None:
        os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT), 1)
        no_picture()

    return prepare


def holder(lock: Path) -> int:
    """A process that holds a lock until it is killed; not this one, whose children would inherit
    it."""
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        with minibert.locks.lock_file(lock) as file:
            minibert.locks.sign(file, "process 7 on elsewhere")
            os.write(told, b"!")
            time.sleep(300)
        os._exit(0)
    os.read(ready, 1)
    return child


def test_without_waiting_all_that_is_free_is_made_and_the_rest_named(
    world: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(world / "out", out)
    lost = {
        name: cell for name, cell in cells(out).items() if cell["eval"] in ("squad", "held")
        and cell["train"] == "nq" and cell["seed"] == 1
    }  # fmt: skip
    other = next(name for name in cells(out) if name.startswith("squad--held-seed0-"))
    for name in (*lost, other):
        (out / "cells" / name).unlink()
    held = next(name for name, cell in lost.items() if cell["eval"] == "held")
    errors = tmp_path / "errors"
    words = arguments(world / "matrix.toml", out)
    owners = [holder(out / "locks" / name.replace(".json", ".lock")) for name in (held, other)]
    try:
        child = start([*words, "--no-wait"], errors, command=main)
        assert finish(child) == 2
        assert errors.read_text() == (
            "error: cells are being made by others (squad, seed 0, by process 7 on elsewhere; nq, "
            "seed 1, by process 7 on elsewhere); the rest is done, run again for theirs, or with "
            "--wait\n"
        )
        assert set(cells(world / "out")) - set(cells(out)) == {held, other}
        lines = list(csv.DictReader((out / "matrix.csv").read_text().splitlines()))
        assert sum(int(line["runs"]) for line in lines) == 10  # a table of all that is finished
        said = tmp_path / "said"
        child = start(words, prepare=saying_into(said), command=main)
        for _ in range(400):
            if said.exists() and "waiting for process 7 on elsewhere" in said.read_text():
                break
            time.sleep(0.05)
    finally:
        for owner in owners:
            os.kill(owner, signal.SIGKILL)
            os.waitpid(owner, 0)
    assert finish(child) == 0
    assert "waiting for process 7 on elsewhere, which is at squad, seed 0" in said.read_text()
    assert cells(out) == cells(world / "out")


def test_no_picture_is_drawn_before_a_run_is_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = Table(["squad"], ["nq"], 1, {}, {"nq": 3}, {("squad", "nq"): Overlap(0, 0)}, "Start.")
    write_table(train.matrix_cells.Folder(tmp_path), table, "png")
    assert "picture: none yet, no run is finished\n" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"matrix.md", "matrix.csv", "runs.csv"}


def test_a_run_goes_on_where_its_data_have_moved(world: Path, tmp_path: Path) -> None:
    """Machines that share OUT may see the data elsewhere."""
    config = write_world(tmp_path / "here", CONFIG.replace("[0, 1]", "[0]"))
    out, only = tmp_path / "out", ("--only", "squad:squad")
    stopped = at_file_event(out / "runs", 24, lambda: os.kill(os.getpid(), signal.SIGTERM))
    child = start(arguments(config, out, *only), prepare=stopped, command=main)
    assert finish(child) == 128 + signal.SIGTERM
    (tmp_path / "here").rename(tmp_path / "there")
    assert run(tmp_path / "there" / "matrix.toml", out, *only) == 0
    assert cells(out).items() <= cells(world / "out").items()


def test_a_run_goes_on_with_the_device_and_threads_that_its_new_machine_is_given(
    world: Path, tmp_path: Path
) -> None:
    """And what a run had of its own is not passed on to the next."""
    out, words = tmp_path / "out", (str(world / "matrix.toml"), "--only", "squad:squad")
    place = ("--output-dir", str(out))
    stopped = at_file_event(out / "runs", 24, lambda: os.kill(os.getpid(), signal.SIGTERM))
    child = start([*words, *place, "--threads", "1"], prepare=stopped, command=main)
    assert finish(child) == 128 + signal.SIGTERM
    (path,) = (out / "runs").glob("*/options.json")
    path.write_text(path.read_text().replace('"device": "auto"', '"device": "cuda:7"'))
    errors = tmp_path / "errors"
    child = start([*words, *place, "--device", "cpu"], errors, lambda: threads(3), command=main)
    assert finish(child) == 0, errors.read_text()
    found = {
        p.parent.name[:11]: json.loads(p.read_bytes()) for p in out.glob("runs/*/options.json")
    }
    assert {name: one["options"]["threads"] for name, one in found.items()} == {
        "squad-seed0": 1,  # as it began, where nothing else is said
        "squad-seed1": 3,
    }
    assert {one["options"]["device"] for one in found.values()} == {"cpu"}


def threads(number: int) -> None:
    """A `prepare`: the machine's own number."""
    torch.set_num_threads(number)


def test_threads_that_are_given_are_those_of_a_run_that_goes_on(
    world: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = (str(world / "matrix.toml"), "--only", "squad:squad", "--output-dir", str(out))
    stopped = at_file_event(out / "runs", 24, lambda: os.kill(os.getpid(), signal.SIGTERM))
    child = start([*words, "--threads", "1"], prepare=stopped, command=main)
    assert finish(child) == 128 + signal.SIGTERM
    assert finish(start([*words, "--threads", "2"], command=main)) == 0
    for path in out.glob("runs/*/options.json"):
        assert json.loads(path.read_bytes())["options"]["threads"] == 2


def test_a_name_holds_what_is_set_and_stays_when_train_squad_gets_another_option(
    world: Path,
) -> None:
    """And a default that changes means other cells: then raise FORMAT in train/matrix_plan.py."""
    keys = [json.loads(path.read_bytes())["key"] for path in (world / "out/trained").iterdir()]
    assert {frozenset(key) - INPUTS for key in keys} == {
        frozenset("format seed max_length doc_stride batch_size epochs lr".split())
    }
    defaults = {field.name: field.default for field in fields(SquadOptions)}
    assert matrix_plan.FORMAT == 2
    assert DEFAULTS.items() <= defaults.items()
    assert DEFAULTS.keys() <= set(SETTINGS)


def test_a_setting_at_its_default_is_the_same_cell_as_without_it(tmp_path: Path) -> None:
    names = []
    for place, more in (("bare", ""), ("said", "\nn_best = 20\nweight_decay = 0.01")):
        path = write_world(tmp_path / place, CONFIG.replace("epochs = 1", f"epochs = 1{more}"))
        config = matrix_config.read_config(path, None, {})
        sets = matrix_plan.ready_sets(config, tmp_path / "data")
        names.append([training.name for training in matrix_plan.trainings(config, sets)])
    assert names[0] == names[1]


def test_a_dry_run_says_what_is_there_and_writes_nothing(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = arguments(world / "matrix.toml", out, "--dry-run")
    status, said, errors = forked("train.matrix", *words)
    assert (status, errors) == (0, "") and not out.exists()
    assert "squad: train 22 questions (7 impossible) on 22 contexts; dev 22 questions" in said
    assert "contamination: no context is in a training and a dev part" in said
    assert "nq, seed 1: to be trained; 0 of 3 cells are there; missing: squad, nq, held" in said
    shutil.copytree(world / "out", out)
    next((out / "cells").glob("nq--held-seed1-*")).unlink()
    before = files_of(out)
    status, said, errors = forked("train.matrix", *words)
    assert files_of(out) == before
    assert "squad, seed 0: trained; 3 of 3 cells are there\n" in said
    assert "nq, seed 1: trained; 2 of 3 cells are there; missing: held" in said
    assert "(1 of 2)" in said  # the table


def test_contexts_seen_in_training_are_told(tmp_path: Path) -> None:
    config = write_world(tmp_path, CONFIG.replace('dev = "nq/dev.json"', 'dev = "seen.json"'))
    document = json.loads((tmp_path / "squad" / "train.json").read_bytes())
    paragraphs = document["data"][0]["paragraphs"]
    del paragraphs[5:]
    paragraphs[0]["context"] = paragraphs[0]["context"] + " \n"
    paragraphs[1]["context"] += " and more"
    (tmp_path / "seen.json").write_text(json.dumps(document))
    status, said, _ = forked("train.matrix", *arguments(config, tmp_path / "out", "--dry-run"))
    assert status == 0
    assert (
        "contamination: held's dev part shares 4 contexts with squad's training part; questions "
        "about them: 4 of 5\n"
    ) in said


def test_a_run_folder_that_was_deleted_is_trained_again_for_a_new_cell(
    world: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(world / "out", out)
    (gone,) = (out / "runs").glob("squad-seed0-*")
    shutil.rmtree(gone)
    assert run(world / "matrix.toml", out) == 0 and not gone.exists()  # no cell wants it
    (cell,) = (out / "cells").glob("squad--nq-seed0-*")
    cell.unlink()
    assert run(world / "matrix.toml", out) == 0
    assert cells(out) == cells(world / "out")
    assert result(gone) == result(world / "out" / "runs" / gone.name)


def test_what_an_earlier_version_did_not_note_of_a_run_is_read_from_its_log(
    world: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(world / "out", out)
    first, gone, *_ = sorted((out / "trained").iterdir())
    known = Folder(world / "out").cost(SimpleNamespace(name=first.stem))
    assert known is not None and known.updates and known.epoch_seconds and known.peak_mib
    for mark in (first, gone):
        note = json.loads(mark.read_bytes())
        del note["updates"]
        mark.write_text(json.dumps(note))
    shutil.rmtree(out / "runs" / gone.stem)
    assert Folder(out).cost(SimpleNamespace(name=first.stem)) == known
    assert Folder(out).cost(SimpleNamespace(name=gone.stem)) is None
    log = out / "runs" / first.stem / "log.jsonl"
    log.write_text(log.read_text().replace('"epoch": ', '"epoc": '))
    with pytest.raises(ValueError, match=r"is damaged: log\.jsonl or options\.json has not what"):
        Folder(out).cost(SimpleNamespace(name=first.stem))


def test_a_cell_that_was_changed_is_refused_by_name(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(world / "out", out)
    path = sorted((out / "cells").iterdir())[0]
    path.write_text(path.read_text().replace('"batch_size": 12', '"batch_size": 13'))
    errors = tmp_path / "errors"
    assert finish(start(arguments(world / "matrix.toml", out), errors, command=main)) == 2
    assert f"{path} is not the cell of its name; delete it, and it is made again" in (
        errors.read_text()
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seeds", "sedes", "it has the unknown key 'sedes'; did you mean seeds?"),
        ("lr = 3e-3", "lr_ = 3e-3", "settings has the unknown key 'lr_'; did you mean lr?"),
        ("lr = 1e-3", "leaning = 1", "sets.nq.settings has the unknown key 'leaning'; python -m "),
        ("[sets.nq]", "[sets.nq-0.7]", '; a name with a dot stands in quotes: [sets."nq-0.7"]'),
        ("epochs = 1", "seed = 1", "settings has the unknown key 'seed'; leave it to the rest"),
        ('"squad/model"', '"none"', "from_scratch is 'none', but "),
        ("dev_share", "dev_shares", "sets.nq has the unknown key 'dev_shares'; did you mean dev_"),
        ("lr = 1e-3", "lr = -1", "the settings of nq: --lr is -1.0, expected more than 0"),
        ("lr = 3e-3", 'lr = "x"', "settings.lr is 'x', expected a number"),
        ("epochs = 1", "amp = 1", "settings.amp is 1, expected true or false"),
        ("[0, 1]", "[0, 0]", "seeds is [0, 0], expected 1 to 1000 different whole numbers"),
        ("[0, 1]", "[true]", "seeds is [True], expected 1 to 1000 different whole numbers"),
        ("0.25", "1", "sets.nq.dev_share is 1, expected 0.0 to 1.0"),
        ('"context"', '"story"', "sets.nq.split_by is 'story', expected title or context"),
        ('dev = "squad', 'file = "squad', "sets.squad has file, which goes with dev_share"),
        ('dev = "squad/dev.json"', "", "sets.squad should have train and dev, dev only, or file"),
        ("[sets.nq]", '[sets."n:q"]', "the set's name 'n:q' should be letters, digits"),
        ("from_scratch", 'model = "m"\nfrom_scratch', "model and from_scratch contradict"),
        ('train = "', 'train = "not/', "squad/not/squad/train.json does not exist, expected a SQ"),
        ("[sets.nq]", "[sets.squad]", "is not TOML ("),
        ("squad/model", "squad", "config.json"),
        ('"squad/model"', '""', "from_scratch is empty text; write what is meant, or leave it out"),
        ('train = "squad/train.json"', 'train = ""', "sets.squad.train is empty text"),
        ("lr = 1e-3", 'optimizer = "sgd"', "the settings of nq: argument --optimizer: invalid"),
        ("epochs = 1", "doc_step = 9", "the settings of squad: --doc-stride and --doc-step contra"),
        ("lr = 1e-3", "max_length = 41", "the settings of nq: --max-length is 41, but "),
        (
            "lr = 1e-3",
            "doc_stride = 28",
            "of nq: --max-length 32 leaves 28 context tokens",
        ),
        ("lr = 1e-3", "updates = 5", "the settings of nq: --epochs and --updates contradict each"),
    ],
)
def test_a_wrong_config_is_one_sentence_and_nothing_is_written(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in CONFIG
    config = write_world(tmp_path, CONFIG.replace(old, new, 1))
    status, _, errors = forked("train.matrix", *arguments(config, tmp_path / "out"))
    assert status == 2 and errors.count("\n") == 1
    assert said.replace("squad/not", f"{tmp_path}/not") in errors
    assert not (tmp_path / "out" / "runs").exists()


def test_a_full_disk_leaves_with_4_and_the_cells_made_so_far(world: Path, tmp_path: Path) -> None:
    out, errors = tmp_path / "out", tmp_path / "errors"
    shutil.copytree(world / "out", out)
    for path in (out / "cells").glob("nq--*-seed1-*"):
        path.unlink()

    def full(*anything: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(out / "answers"))

    def prepare() -> None:
        train.matrix_cells.write_predictions = full

    words = arguments(world / "matrix.toml", out)
    assert finish(start(words, errors, prepare=prepare, command=main)) == 4
    assert errors.read_text().startswith("error: the disk takes no more (No space left on device")
    assert len(cells(out)) == 9
    assert run(world / "matrix.toml", out) == 0
    assert cells(out) == cells(world / "out")


def test_a_set_without_gold_answers_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    config = write_world(tmp_path)
    path = tmp_path / "nq" / "dev.json"
    document = json.loads(path.read_bytes())
    for paragraph in document["data"][0]["paragraphs"]:
        paragraph["qas"] = [{"id": qa["id"], "question": "?"} for qa in paragraph["qas"]]
    path.write_text(json.dumps(document))
    status, _, errors = forked("train.matrix", *arguments(config, tmp_path / "out"))
    assert status == 2 and f"{path} has no gold answers; training and scoring need them" in errors
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--output-dir", str(Path(__file__) / "out")), "test_matrix.py is a file; give another"),
        (("--only", "squad"), "--only has 'squad', which is no pair of a row and a set, exp"),
        (("--only", ""), "--only has '', which is no pair of a row and a set, expected as in squ"),
        (("--only", "squat:nq"), "--only squat:nq: no row is 'squat'; did you mean squad?"),
        (("--only", "held:nq"), "--only held:nq: no row is 'held'; there are squad, nq"),
        (("--only", "squad:x*"), "--only squad:x*: no set 'x*' is answered; there are squad, nq,"),
        (("--train-fraction", "2"), "--train-fraction is 2.0, expected more than 0, at most 1"),
        (("--threads", "-1"), "--threads is -1, expected 0 or more"),
        (
            ("--device", "foo", "--dry-run"),
            "device 'foo' is not available; this machine has: cpu:0",
        ),
        (("again.toml",), "train.matrix takes one config, got 2"),
        (("--demo",), "--demo brings its own config and data; leave out "),
        (("--only", "squad : nq,nq:x"), "--only nq:x: no set 'x' is answered; there are squad"),
        (("--onyl", "a:b"), "unknown flag --onyl; did you mean --only?"),
    ],
)
def test_wrong_flags_are_one_sentence(world: Path, words: tuple[str, ...], said: str) -> None:
    status, _, errors = forked("train.matrix", str(world / "matrix.toml"), *words)
    assert status == 2 and errors.startswith("error: ") and said in errors


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "train.matrix takes one config, got 0; docs/matrix.toml is an example, --demo needs"),
        (("--demo", "--data-dir", "."), "brings its own config and data; leave out --data-dir"),
        (("--demo", "--only", "squat:nq"), "no row is 'squat'; did you mean squad?"),
    ],
)
@pytest.mark.usefixtures("small_demo")
def test_wrong_flags_of_the_demo_are_one_sentence(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    status, _, errors = forked("train.matrix", *words, "--output-dir", tmp_path / "out")
    assert status == 2 and errors.count("\n") == 1 and said in errors


@pytest.mark.usefixtures("small_demo")
def test_a_dry_run_of_the_demo_writes_nothing(tmp_path: Path) -> None:
    words = ("--demo", "--dry-run", "--output-dir", tmp_path / "out")
    status, said, errors = forked("train.matrix", *words)
    assert (status, errors) == (0, "") and not (tmp_path / "out").exists()
    assert "newsqa, seed 0: to be trained; 0 of 5 cells are there; missing: squad, triv" in said


@pytest.mark.slow
def test_the_example_in_the_documentation_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "matrix.toml").read_text()
    config = tmp_path / "matrix.toml"
    config.write_text(re.sub(r"(?m)^model = .*$", 'from_scratch = "squad/model"', text))
    for seed, name in enumerate(("squad", "triviaqa", "nq", "quac", "newsqa")):
        (tmp_path / name).mkdir()
        train, dev, _ = write_little(tmp_path / name, 12, seed)
        if name == "squad":
            train.rename(tmp_path / "squad" / "train-v2.0.json")
            dev.rename(tmp_path / "squad" / "dev-v2.0.json")
        if name == "newsqa":
            document = json.loads(train.read_bytes())
            for paragraph in document["data"][0]["paragraphs"]:
                paragraph["qas"][0]["id"] += "-n"
            document["data"] = [
                {"title": f"story {p}", "paragraphs": [paragraph]}
                for p, paragraph in enumerate(document["data"][0]["paragraphs"])
            ]
            (tmp_path / name / "all.json").write_text(json.dumps(document))
    assert run(config, tmp_path / "out") == 0
    lines = list(csv.DictReader((tmp_path / "out" / "matrix.csv").read_text().splitlines()))
    assert len(lines) == 25 and all(line["f1"] and line["paper_f1"] for line in lines)
    rates = {
        json.loads(path.read_bytes())["key"].get("lr", 3e-5): path.name.split("-")[0]
        for path in (tmp_path / "out" / "trained").iterdir()
    }
    assert rates[2e-5] == "quac" and rates[3e-5] == "newsqa" and len(rates) == 3


def test_the_config_for_real_data_here_is_sound(real_data: Path, tmp_path: Path) -> None:
    words = ("docs/matrix-small.toml", "--data-dir", real_data, "--output-dir", tmp_path / "out")
    status, said, errors = forked("train.matrix", *words, "--dry-run")
    assert (status, errors) == (0, "")
    assert "newsqa: train 3,362 questions (0 impossible) on 509 contexts; dev 850" in said
    assert "nq: train 1,010 questions (0 impossible) on 1,002 contexts; dev 253" in said
    assert "contamination: no context is in a training and a dev part" in said
