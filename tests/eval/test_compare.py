"""`python -m eval.compare`: figures counted by hand, runs as training leaves them, bad input."""

import csv
import doctest
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import eval.compare
import eval.compare_tables
import eval.shared_texts  # what the command imports late is imported here, once
import eval.text_table
from eval.classification import class_rates, confusion_matrix
from eval.dev_items import macro_f1_difference
from eval.finished_run import read_run
from eval.run_groups import differing, group_runs, pooled_deviations
from eval.run_log import epoch_seconds
from eval.text_table import Column, as_markdown, as_text
from minibert.files import file_sha256
from tests.eval.made_runs import (
    ENVIRONMENT,
    write_classify_run,
    write_json,
    write_questions,
    write_squad_run,
)
from tests.forked import finish, forked
from tests.train.killing import start
from tests.train.little import little_arguments, write_little
from tests.train.test_classify import arguments, files, run_command, stopping_at  # noqa: F401

RIGHT = "aaaabbbb"
BETTER, WORSE = "aaaabbaa", "aaabbaaa"  # 6 and 4 right


def compare(*words, **more):
    return forked("eval.compare", "--samples", "200", *words, **more)


def compared(folder, *words):
    """What --json has of a comparison that succeeds."""
    path = folder / "compared.json"
    status, output, errors = compare(*words, "--json", path)
    assert (status, errors) == (0, ""), errors
    return output, json.loads(path.read_bytes())


@pytest.fixture
def pair(tmp_path):
    """Two classifiers with 6 and 4 of 8 texts right."""
    return (
        write_classify_run(tmp_path / "better", RIGHT, BETTER, lr=0.002),
        write_classify_run(tmp_path / "worse", RIGHT, WORSE),
    )


# --- figures counted by hand


def test_the_scores_and_differences_of_8_texts(pair, tmp_path):
    output, found = compared(tmp_path, pair[1], pair[0])
    worse, better = found["rows"]
    assert (better["accuracy"], worse["accuracy"]) == (75, 50)
    # better: 4 of 6 "a" right, 4 of 4 found; 2 of 2 "b" right, 2 of 4 found
    assert better["macro_f1"] == pytest.approx(100 * (8 / 10 + 4 / 6) / 2)
    # worse: 3 of 6 and 3 of 4; 1 of 2 and 1 of 4
    assert worse["macro_f1"] == pytest.approx(100 * (6 / 10 + 2 / 6) / 2)
    assert better["accuracy_difference"] == 25
    assert better["macro_f1_difference"] == pytest.approx(better["macro_f1"] - worse["macro_f1"])
    # two texts that only the better one has right, none the other way
    assert better["mcnemar_p"] == 2 * 1 / 2**2
    assert better["accuracy_low"] <= 25 <= better["accuracy_high"]
    assert worse["mcnemar_p"] is worse["accuracy_difference"] is None
    assert "lr" in output and "clean" not in output  # equal settings are not shown
    assert found["baseline"] == "worse" and found["dev_items"] == 8
    # two passes of 8 + 4 texts, at 2 and at 3 a second: 6 s and 4 s
    assert better["seconds_per_epoch"] == 5
    assert (better["updates"], better["best_epoch"]) == ("4", "1")


def test_the_baseline_is_the_first_run_or_the_one_named(pair, tmp_path):
    first = compared(tmp_path, *pair)[1]["rows"]
    assert [row["accuracy_difference"] for row in first] == [None, -25]
    named = compared(tmp_path, *pair, "--baseline", pair[1])[1]["rows"]
    assert [row["accuracy_difference"] for row in named] == [25, None]


def seeds(folder, name, *predicted, **options):
    return [
        write_classify_run(folder / f"{name}-{seed}", RIGHT, said, seed=seed, **options)
        for seed, said in enumerate(predicted, 1)
    ]


def test_seeds_are_one_row_with_mean_deviation_and_difference_in_pooled_deviations(tmp_path):
    # 6, 5, 4 of 8 right; 4, 3 of 8
    good = seeds(tmp_path, "good", BETTER, "aaaabaaa", WORSE, lr=0.1)
    bad = seeds(tmp_path, "bad", WORSE, "aabbbaaa")
    output, found = compared(tmp_path, *good, *bad)
    assert "62.50 ± 12.50" in output and "43.75 ±  8.84" in output
    first, second = found["rows"]
    assert (first["run"], first["seeds"], first["seed"]) == ("good-*", 3, "1, 2, 3")
    assert (second["run"], second["seeds"]) == ("bad-*", 2)
    assert first["accuracy"] == 62.5 and first["accuracy_deviation"] == 12.5
    assert second["accuracy_difference"] == pytest.approx(43.75 - 62.5)
    # squares: 12.5^2 twice and 6.25^2 twice, of 3 degrees of freedom
    pooled = ((2 * 12.5**2 + 2 * 6.25**2) / 3) ** 0.5
    assert second["accuracy_pooled_deviations"] == pytest.approx(-18.75 / pooled)
    assert second["mcnemar_p"] is None  # which of the runs?
    assert "McNemar" not in output and "in dev." in output
    each = compared(tmp_path, *good, *bad, "--each")[1]["rows"]
    assert [row["run"] for row in each] == ["good-1", "good-2", "good-3", "bad-1", "bad-2"]
    assert [row["mcnemar_p"] for row in each] == [None, 1, 0.5, 0.5, 0.25]


def test_seeds_whose_names_have_nothing_in_common_are_called_by_the_first(tmp_path):
    folders = [
        write_classify_run(tmp_path / name, RIGHT, BETTER, seed=seed, lr=lr)
        for name, seed, lr in (("one", 1, 0.1), ("other", 2, 0.1), ("*", 1, 0.2), ("x", 2, 0.2))
    ]
    found = compared(tmp_path, *folders)[1]["rows"]
    assert [row["run"] for row in found] == ["o*", "* ..."]
    assert "| \\* ... |" in compare(*folders, "--markdown")[1]


def test_only_seeds_are_grouped_and_say_so(tmp_path):
    runs = seeds(tmp_path, "run", BETTER, WORSE)
    status, output, _ = compare(*runs)
    assert status == 0 and "run-*  1, 2  2  62.50 ± 17.68" in output
    assert "All runs differ only in the seed; --each" in output and "Minus" not in output


def test_two_runs_of_one_seed_are_no_group(tmp_path):
    write_classify_run(tmp_path / "old", RIGHT, BETTER)
    write_classify_run(tmp_path / "new", RIGHT, WORSE)
    write_json(tmp_path / "new" / "env.json", [{**ENVIRONMENT, "commit": "def"}])
    _, found = compared(tmp_path, tmp_path / "old", tmp_path / "new")
    assert [(row["run"], row["commit"]) for row in found["rows"]] == [
        ("old", "abc"),
        ("new", "def"),
    ]


def test_what_computes_the_same_does_not_part_seeds_and_what_does_not_does(tmp_path):
    same = {"train_file": "/one/train.csv", "save_every": 5, "threads": 2, "updates": 4}
    runs = [
        write_classify_run(tmp_path / "a1", RIGHT, BETTER, seed=1),
        write_classify_run(tmp_path / "a2", RIGHT, WORSE, seed=2, **same),
    ]
    assert [len(group.runs) for group in group_runs(list(map(read_run, runs)))] == [2]
    for number, (setting, text) in enumerate((
        ({"inputs": {"train_sha256": "other"}}, "train-file"),
        ({"inputs": {"model_source": "/models/big/best"}}, "model"),
        ({"from_scratch": "x"}, "random embedded"),
        ({"epochs": 1}, "epochs"),
        ({"changes": [{"name": "lr", "old": 0.1, "new": 0.001}]}, "lr 0.1 -> 0.001"),
    )):  # fmt: skip
        other = write_classify_run(tmp_path / f"b{number}", RIGHT, WORSE, seed=3, **setting)
        output, found = compared(tmp_path, *runs, other)
        assert [row["seeds"] for row in found["rows"]] == [2, 1]
        assert text in output


def test_an_option_that_does_nothing_is_the_same_as_one_that_an_older_run_lacks(tmp_path):
    runs = [
        write_classify_run(tmp_path / "old-1", RIGHT, BETTER, seed=1),
        write_classify_run(
            tmp_path / "new-2", RIGHT, WORSE, seed=2, patience=0, class_names=None, skip=False
        ),
        write_classify_run(tmp_path / "patient", RIGHT, WORSE, seed=3, patience=1),
    ]
    groups = group_runs(list(map(read_run, runs)))
    assert [len(group.runs) for group in groups] == [2, 1]
    assert differing(groups[:1]).keys() == {"seed"}
    own, none = (
        write_classify_run(tmp_path / f"{rate}", RIGHT, BETTER, seed=seed, dropout=rate)
        for seed, rate in enumerate((None, 0.0))
    )
    assert len(group_runs([read_run(own), read_run(none)])) == 2  # the model's own rate is a rate


def test_vectors_are_known_by_their_content(tmp_path):
    runs = [
        write_classify_run(
            tmp_path / f"run-{seed}", RIGHT, BETTER, seed=seed, vectors=path,
            inputs={"vectors_sha256": sha256},
        )
        for seed, (path, sha256) in enumerate((("/a/v", "1"), ("/b/v", "1"), ("/a/v", "2")))
    ]  # fmt: skip
    groups = group_runs(list(map(read_run, runs)))
    assert [len(group.runs) for group in groups] == [2, 1]
    assert differing(groups)["vectors"] == ["v (1)", "v (2)"]


def test_equal_names_of_unlike_files_are_told_apart(tmp_path):
    one, two = ("/a/train.csv", {"train_sha256": "1"}), ("/b/train.csv", {"train_sha256": "2"})
    runs = [
        write_classify_run(tmp_path / name, RIGHT, BETTER, train_file=file, inputs=inputs)
        for name, (file, inputs) in (("a", one), ("b", two))
    ]
    rows = compared(tmp_path, *runs)[1]["rows"]
    assert [row["train-file"] for row in rows] == ["train.csv (1)", "train.csv (2)"]


def test_pooled_deviations_of_1_2_3_and_4_6():
    # means 2 and 5, squares 1 + 1 + 1 + 1, three degrees of freedom
    assert pooled_deviations([1, 2, 3], [4, 6]) == pytest.approx(-3 / (4 / 3) ** 0.5)
    assert pooled_deviations([1], [2]) is None
    assert pooled_deviations([1, 1], [2]) is None


def test_the_resampled_macro_f1_is_that_of_the_confusion_matrix():
    generator = np.random.default_rng(0)
    labels, *runs = generator.integers(0, 4, (6, 30))
    labels[labels == 3] = 0  # the last class occurs as predicted only, and not in every draw
    measure = macro_f1_difference(labels, runs[:2], runs[2:], 4)

    def macro(run, chosen):
        return class_rates(confusion_matrix(labels[chosen], run[chosen], 4)).macro.f1

    for size in (30, 30, 3, 1):
        chosen = generator.integers(0, 30, size)
        expected = np.mean([macro(run, chosen) for run in runs[:2]]) - np.mean(
            [macro(run, chosen) for run in runs[2:]]
        )
        assert measure(chosen) == pytest.approx(expected, abs=1e-12)


def line(epoch, size, speed):
    return {"epoch": epoch, "size": size, "time": {"elapsed_s": 0, "windows_per_s": speed}}


def test_an_epochs_time_is_the_median_of_whole_passes():
    whole = [
        line(0, 8, 2),
        line(0, 4, 2),
        line(1, 8, 1),
        line(1, 4, 1),
        line(2, 8, 8),
        line(2, 4, 4),
    ]
    assert epoch_seconds(whole, 2) == 6  # of 6, 12 and 2
    assert epoch_seconds([*whole, line(3, 8, 0.01)], 2) == 6
    assert epoch_seconds([line(0, 8, 2), line(0, 8, 4)], 10) == 30  # 4 and 2 s of ten updates
    assert epoch_seconds([line(0, 1, 0.0)], 1) == 200  # slower than the log can say


# --- SQuAD


@pytest.fixture
def questions(tmp_path):
    return write_questions(
        tmp_path / "dev.json", {"q1": "red fox", "q2": "blue", "q3": None, "q4": None}
    )


def test_answers_of_four_questions(questions, tmp_path):
    one = {"q1": "red fox", "q2": "green", "q3": "", "q4": "no"}
    two = {"q1": "fox", "q2": "green", "q3": "", "q4": ""}
    runs = [
        write_squad_run(tmp_path / name, questions, answers, lr=lr)
        for name, answers, lr in (("one", one, 0.1), ("two", two, 0.2))
    ]
    output, found = compared(tmp_path, *runs)
    first, second = found["rows"]
    assert (first["exact"], first["f1"]) == (50, 50)
    assert second["exact"] == 50 and second["f1"] == pytest.approx(100 * (2 / 3 + 2) / 4)
    assert second["exact_difference"] == 0
    assert second["f1_difference"] == pytest.approx(100 * (2 / 3 - 1 + 1) / 4)
    assert second["mcnemar_p"] == 1
    heading = output.splitlines()[2]
    assert re.split(r"  +", heading)[:7] == [
        "run", "lr", "EM", "F1", "HasAns EM", "HasAns F1", "NoAns EM = F1"
    ]  # fmt: skip
    assert "+0.00 [" in output and "-0.00" not in output


def test_the_order_of_predictions_and_questions_does_not_matter(pair, questions, tmp_path):
    answers = {"q1": "red fox", "q2": "no", "q3": "", "q4": "no"}
    squads = [
        write_squad_run(tmp_path / "here", questions, answers, lr=1),
        write_squad_run(tmp_path / "there", questions, answers, lr=2),
    ]
    backwards = {"q4": None, "q3": None, "q2": "blue", "q1": "red fox"}
    other = write_questions(tmp_path / "backwards.json", backwards)
    options = squads[1] / "options.json"
    options.write_text(options.read_text().replace(str(questions), str(other)))
    for score, (one, two) in (("accuracy", pair), ("exact", squads)):
        before = compared(tmp_path, one, two)[1]["rows"][1]
        path = two / "predictions.json"
        entries = list(json.loads(path.read_text()).items())
        write_json(path, dict(entries[::-1]))
        after = compared(tmp_path, one, two)[1]["rows"][1]
        assert after["mcnemar_p"] == before["mcnemar_p"]
        assert after[f"{score}_low"] == before[f"{score}_low"]
    assert after["exact_low"] == after["exact_high"] == 0  # the answers are the same


def test_the_demos_questions_are_found_wherever_its_run_was_moved(tmp_path):
    (tmp_path / "demo").mkdir()
    dev = write_questions(tmp_path / "demo" / "dev.json", {"q1": "red", "q2": None})
    runs = []
    for name, lr in (("one", 1), ("two", 2)):
        run = write_squad_run(tmp_path / name, dev, {"q1": "red", "q2": ""}, lr=lr, demo=True)
        shutil.copytree(dev.parent, run / "demo")
        runs.append(run)
    dev.unlink()
    assert compare(*runs)[0] == 0


def test_data_without_impossible_questions_has_no_columns_of_them(tmp_path):
    dev = write_questions(tmp_path / "dev.json", {"q1": "red", "q2": "blue"})
    runs = [
        write_squad_run(tmp_path / name, dev, {"q1": "red", "q2": name}, lr=lr)
        for name, lr in (("blue", 0.1), ("green", 0.2))
    ]
    status, output, _ = compare(*runs)
    assert status == 0 and "EM" in output and "Ans" not in output


def test_a_dev_file_that_moved_is_named_and_another_is_refused(questions, tmp_path):
    answers = {"q1": "fox", "q2": "blue", "q3": "", "q4": ""}
    runs = [
        write_squad_run(tmp_path / n, questions, answers, lr=lr) for n, lr in (("a", 1), ("b", 2))
    ]
    moved = questions.rename(tmp_path / "moved.json")
    status, _, errors = compare(*runs)
    assert status == 2 and "is not there; name it with --data-file" in errors
    assert compare(*runs, "--data-file", moved)[0] == 0
    other = write_questions(
        tmp_path / "x.json", {"q1": "dog", "q2": "blue", "q3": None, "q4": None}
    )
    status, _, errors = compare(*runs, "--data-file", other)
    assert status == 2 and "has f1 91.6667, but with" in errors and "it is 75; one" in errors


# --- texts that also stand in the training file


def hashes(train, dev):
    return {"train_sha256": file_sha256(train), "dev_sha256": file_sha256(dev)}


def test_shared_texts_are_found_after_the_runs_own_cleaning_and_left_out(tmp_path):
    train, dev = tmp_path / "train.csv", tmp_path / "dev.csv"
    train.write_text("tweet,label\nsee http://t.co/1,a\nequal,a\nelse,b\n")
    dev.write_text("tweet,label\nsee http://t.co/2,a\nequal,a\nnew,b\nnewer,b\n")
    options = {"train_file": str(train), "dev_file": str(dev), "inputs": hashes(train, dev)}
    runs = [
        write_classify_run(tmp_path / clean, "aabb", "aaba", clean=clean, **options)
        for clean in ("raw", "light")
    ]
    output, found = compared(tmp_path, *runs, "--leave-out-shared")
    raw, light = found["rows"]
    assert (raw["shared_raw"], raw["shared_cleaned"]) == (1, 1)
    assert (light["shared_raw"], light["shared_cleaned"]) == (1, 2)
    assert raw["accuracy"] == light["accuracy"] == 75
    assert raw["accuracy_without_shared"] == pytest.approx(200 / 3)  # a, b, and a for b
    assert light["accuracy_without_shared"] == 50
    shown = [line.split() for line in output[output.index("Without the dev") :].splitlines()]
    assert shown[2:5] == [
        "run shared raw shared cleaned accuracy macro F1 weighted F1".split(),
        ["raw", "1", "1", "66.67", "66.67", "66.67"],
        ["light", "1", "2", "50.00", "33.33", "66.67"],  # no "a" is left to be found
    ]
    for file, name in ((train, "train"), (dev, "dev")):
        content = file.read_text()
        file.write_text(content.replace("equal", "unequal"))
        status, _, errors = compare(*runs, "--leave-out-shared")
        assert status == 2 and f"{file} is not the {name} file of {runs[0]}" in errors
        file.write_text(content)
    dev.unlink()
    status, _, errors = compare(*runs, "--leave-out-shared")
    assert status == 2 and str(dev) in errors


def test_the_validation_file_shares_16_texts_with_the_training_file(real_data, tmp_path):
    train, dev = (
        real_data / "tweets" / f"vaccine_{part}_set.csv" for part in ("train", "validation")
    )
    if not dev.is_file():
        pytest.skip("MINIBERT_DATA has no tweets")
    from data.tweets import read_tweets

    data = read_tweets(dev)
    classes = "".join("abc"[label] for label in data.labels.tolist())
    options = {"train_file": str(train), "dev_file": str(dev), "inputs": hashes(train, dev)}
    runs = []
    for clean in ("raw", "light"):
        run = write_classify_run(
            tmp_path / clean, classes, classes, lines=data.lines.tolist(), clean=clean, **options
        )
        for name in ("predictions.json", "metrics.json"):
            text = (run / name).read_text()
            for letter, label in zip("abc", data.label_names, strict=True):
                text = text.replace(f'"{letter}"', f'"{label}"')
            (run / name).write_text(text)
        runs.append(run)
    rows = compared(tmp_path, *runs, "--leave-out-shared")[1]["rows"]
    assert [row["shared_raw"] for row in rows] == [16, 16]
    assert [row["shared_cleaned"] for row in rows] == [16, 96]


# --- runs as training leaves them


@pytest.fixture(scope="module")
def trained(files, tmp_path_factory):  # noqa: F811
    """Classifiers: two seeds of two settings, the last of them stopped and resumed."""
    folder = tmp_path_factory.mktemp("compared")
    for clean in ("raw", "light"):
        for seed in (1, 2):
            run = folder / f"{clean}-{seed}"
            words = arguments(files, run, "--clean", clean, "--seed", str(seed))
            if run.name == "light-2":
                assert run_command(words, stopping_at(4, signal.SIGTERM)) == 143
                shutil.copytree(run, folder / "stopped")
                words = ["--resume", "--output-dir", str(run)]
            assert run_command(words) == 0
    return folder


def names(folder, *runs):
    return [folder / run for run in runs]


def test_trained_runs_have_their_own_scores_in_the_table(trained, tmp_path):
    runs = names(trained, "raw-1", "raw-2", "light-1", "light-2")
    output, found = compared(tmp_path, *runs, "--leave-out-shared")
    metrics = [json.loads((run / "metrics.json").read_bytes()) for run in runs]
    for row, both in zip(found["rows"], (metrics[:2], metrics[2:]), strict=True):
        for score in ("accuracy", "macro_f1", "weighted_f1", "macro_roc_auc", "loss"):
            values = [m[score] for m in both]
            assert row[score] == pytest.approx(statistics.mean(values))
            assert row[f"{score}_deviation"] == pytest.approx(statistics.stdev(values))
        assert row["updates"] == "6" and row["seconds_per_epoch"] > 0
    assert [row["run"] for row in found["rows"]] == ["raw-*", "light-*"]
    assert max(map(len, output.splitlines())) <= eval.compare.WIDTH


def test_an_unfinished_run_is_told_how_to_go_on(trained):
    status, output, errors = compare(trained / "raw-1", trained / "stopped")
    assert (status, output) == (2, "")
    assert "is not finished (update 4 of 6): go on with python -m train.classify" in errors


def test_a_run_that_stopped_just_after_an_evaluation_is_unfinished(pair):
    options = pair[0] / "options.json"
    options.write_text(options.read_text().replace('"epochs": 2.0', '"epochs": 9.0'))
    status, _, errors = compare(*pair)
    assert status == 2 and "is not finished (update 4 of 18): go on with" in errors


def test_a_run_that_patience_ended_is_finished(files, tmp_path, trained):  # noqa: F811
    run = tmp_path / "patient"
    words = ["--epochs", "9", "--lr", "1e-9", "--patience", "1"]
    assert run_command(arguments(files, run, *words)) == 0
    assert read_run(run).updates < 27
    assert compare(run, trained / "raw-1")[0] == 0


def test_trained_squad_runs_are_compared_and_not_with_tweets(trained, tmp_path):
    write_little(tmp_path)
    runs = names(tmp_path, "one", "two")
    for run, seed in zip(runs, "12", strict=True):
        assert finish(start(little_arguments(tmp_path, run, "--seed", seed))) == 0
    output, found = compared(tmp_path, *runs, "--each")
    metrics = json.loads((runs[0] / "metrics.json").read_bytes())
    assert found["rows"][0]["HasAns_f1"] == metrics["HasAns_f1"]
    assert "NoAns EM = F1" in output
    status, _, errors = compare(runs[0], trained / "raw-1")
    assert status == 2 and "of train.squad, " in errors and "of train.classify; compare" in errors


# --- output


def test_markdown_and_csv_hold_the_same_rows(pair, tmp_path):
    table = tmp_path / "table.csv"
    status, output, errors = compare(*pair, "--markdown", "--csv", table)
    assert status == 0, errors
    lines = [line for line in output.splitlines() if line.startswith("|")]
    assert lines[1].startswith("| --- | ---: | ---: |")
    assert lines[2].startswith("| better | 0.002 | 75.00 | 73.33 |")
    rows = list(csv.DictReader(table.open(newline="")))
    assert [row["run"] for row in rows] == ["better", "worse"]
    assert rows[0]["accuracy_difference"] == "" and float(rows[1]["accuracy_difference"]) == -25


def test_a_table_is_folded_to_its_width_and_keeps_the_names():
    columns = [
        Column("run", ["a", "bb"], right=False),
        Column("x", ["1", "10"]),
        Column("y", ["-", ""]),
    ]
    assert as_text(columns, 80) == "run   x  y\na     1  -\nbb   10"
    assert as_text(columns, 8) == "run   x\na     1\nbb   10\n\nrun  y\na    -\nbb"
    assert as_markdown([Column("a|b", ["x*"])]) == "| a\\|b |\n| ---: |\n| x\\* |"


def test_the_worked_examples_hold():
    assert doctest.testmod(eval.compare_tables) == (0, 3)
    assert doctest.testmod(eval.text_table) == (0, 1)


def test_the_examples_of_help_run(tmp_path):
    for name, said in (("raw", BETTER), ("light", WORSE)):
        train = tmp_path / "train.csv"
        train.write_text("tweet,label\n" + "".join(f"t{n},{c}\n" for n, c in enumerate(RIGHT)))
        dev = tmp_path / "dev.csv"
        dev.write_text("tweet,label\n" + "".join(f"d{n},{c}\n" for n, c in enumerate(RIGHT)))
        options = {"clean": name, "train_file": str(train), "dev_file": str(dev)}
        options["inputs"] = hashes(train, dev)
        write_classify_run(tmp_path / "runs" / name, RIGHT, said, **options)
        seeds(tmp_path / "runs", name, said, WORSE, **options)
    dev = write_questions(tmp_path / "dev-v2.0.json", {"q1": "red", "q2": None})
    for seed in (1, 2):
        write_squad_run(tmp_path / f"runs/squad-{seed}", dev, {"q1": "red", "q2": ""}, seed=seed)
    _, text, _ = compare("--help")
    examples = re.findall(r"^  python -m eval\.compare (.*)$", text, re.MULTILINE)
    assert len(examples) == 4
    for example in examples:
        status, _, errors = compare(*example.split(), prepare=lambda: os.chdir(tmp_path))
        assert status == 0, errors
    assert (tmp_path / "table.csv").is_file()


def test_runs_are_compared_without_torch(pair):
    code = (
        "import sys; from eval.compare import main; main(sys.argv[1:]); "
        "sys.exit(bool({'torch', 'tokenizers', 'nltk'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    words = [sys.executable, "-c", code, *map(str, pair), "--samples", "100"]
    done = subprocess.run(words, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --- bad input


def test_what_cannot_be_compared_is_one_sentence(pair, tmp_path):
    shorter = write_classify_run(tmp_path / "shorter", RIGHT[:-1], BETTER[:-1])
    relabelled = write_classify_run(tmp_path / "relabelled", "aaababbb", BETTER)
    folder = tmp_path / "folder"
    folder.mkdir()
    one, two = pair
    for words, sentence in (
        ((), "no run is named, expected two or more"),
        ((one,), "1 run is named, expected two or more"),
        ((one, two, one), "better is named twice"),
        ((one, folder), "is not a run folder (it has no options.json)"),
        ((one, tmp_path / "none"), "is not a run folder"),
        ((one, two, "--baseline", shorter), "is none of the runs that are compared"),
        ((one, two, "--samples", "0"), "--samples is 0, expected 100 to"),
        ((one, two, "--data-file", "dev.json"), "--data-file is for runs of train.squad"),
        ((one, two, "--csv", folder), "is a folder; give the name of a file"),
        ((one, two, "--json", two / "metrics.json"), "lies in a run folder; write it elsewhere"),
        ((one, two, "--json", two / "best" / "config.json"), "lies in a run folder"),
        ((one, two, "--csv", folder / "x", "--json", folder / "x"), "--csv and --json are both"),
        ((one, shorter), "1 of 8 are only in"),
        ((one, relabelled), "2 of 8 have other right answers (the first is 5: 'a' and 'b')"),
        ((one, two, "--leave-out-shared"), "None does not exist"),
    ):
        status, output, errors = compare(*words)
        assert (status, output) == (2, ""), words
        assert errors.startswith("error: ") and len(errors.splitlines()) == 1
        assert sentence in errors


def with_probabilities(run, **changes):
    """A run of classes a and b whose texts have probabilities, those of line 3 with changes."""
    path = run / "predictions.json"
    predictions = json.loads(path.read_bytes())
    for entry in predictions.values():
        entry["probabilities"] = {c: 0.75 if c == entry["predicted"] else 0.25 for c in "ab"}
    predictions["3"]["probabilities"].update(changes)
    write_json(path, predictions)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"a": 0.752}, "line 3 has probabilities with sum 1.002 and least value 0.25, expected"),
        ({"a": 1.25, "b": -0.25}, "line 3 has probabilities with sum 1 and least value -0.25"),
        ({"a": 0.25, "b": 0.75}, "line 3 has 'a' as predicted, but another class has the highest"),
        ({"c": 0.0}, "line 3 has probabilities of 'a', 'b', 'c', expected 'a', 'b'; the file is"),
        ({"a": None}, "is not what train.classify writes (TypeError"),
    ],
)
def test_probabilities_that_are_none_are_one_sentence_with_file_and_line(pair, changes, sentence):
    with_probabilities(pair[0], **changes)
    status, output, errors = compare(*pair)
    assert (status, output) == (2, "") and len(errors.splitlines()) == 1
    assert str(pair[0] / "predictions.json") in errors and sentence in errors


def test_probabilities_may_be_rounded(pair):
    with_probabilities(pair[0], a=0.7505)
    assert compare(*pair)[0] == 0


def damaged(file, change):
    def damage(run):
        path = run / file
        path.write_text(change(path.read_text()))

    return damage


DAMAGES = (
    (damaged("options.json", lambda text: text[:-9]), "options.json is not JSON"),
    (damaged("options.json", lambda text: "{}"), "is damaged: it lacks options of a run"),
    (damaged("options.json", lambda text: text.replace('"clean"', '"texts"')), "is no run of"),
    (damaged("options.json", lambda text: text.replace("2.0", '"x"')), "log.jsonl or options.json"),
    (damaged("env.json", lambda text: "[{}]"), "does not list the starts"),
    (damaged("log.jsonl", lambda text: text + "{"), "line 7 is not JSON"),
    (damaged("log.jsonl", lambda text: text.replace("eval", "evil")), "is damaged: log.jsonl"),
    (damaged("log.jsonl", lambda text: text.replace('"time"', '"tame"')), "KeyError: 'time'"),
    (damaged("log.jsonl", lambda text: text.replace("texts_per_s", "x")), "is damaged: log.jsonl"),
    (lambda run: (run / "log.jsonl").unlink(), "log.jsonl cannot be read"),
    (lambda run: (run / "metrics.json").unlink(), "is not finished: go on with"),
    (damaged("metrics.json", lambda text: text.replace("0.5", "0.25")), "that no evaluation in"),
    (damaged("metrics.json", lambda text: text.replace("75.0", "76.0")), "has accuracy 76, but"),
    (damaged("predictions.json", lambda text: text.replace('"a"', '"b"')), "has accuracy 75, but"),
    (damaged("predictions.json", lambda text: text.replace('"a"', "[]")), "json is damaged"),
    (damaged("predictions.json", lambda text: "{}"), "error: "),
    (lambda run: (run / "predictions.json").unlink(), "predictions.json does not exist"),
)  # fmt: skip


def places(value, path=()):
    """Where in a JSON value there is another."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in inside:
        yield (*path, key)
        if isinstance(part, dict | list):
            yield from places(part, (*path, key))


def test_no_value_of_another_kind_is_met_unprepared(pair, tmp_path, capsys):
    one, met = pair[0], 0
    with_probabilities(one)
    for file in ("options.json", "env.json", "metrics.json", "predictions.json", "log.jsonl"):
        whole = (one / file).read_text()
        lines = whole.splitlines() if file == "log.jsonl" else [whole]
        for place in places(list(map(json.loads, lines))):
            for value in ([], {}, "x", None, -1, 0, 1e308):
                document = list(map(json.loads, lines))
                part = document
                for key in place[:-1]:
                    part = part[key]
                part[place[-1]] = value
                (one / file).write_text("\n".join(map(json.dumps, document)))
                try:
                    eval.compare.main([*map(str, pair), "--samples", "100"])
                except (ValueError, OSError) as error:
                    met += 1
                    assert str(error) and "\n" not in str(error)
        (one / file).write_text(whole)
    assert met > 300
    assert eval.compare.main([*map(str, pair), "--samples", "100"]) == 0


@pytest.mark.parametrize(("damage", "sentence"), DAMAGES)
def test_a_damaged_run_is_one_sentence(pair, damage, sentence):
    damage(pair[0])
    status, output, errors = compare(*pair)
    assert (status, output) == (2, "")
    assert len(errors.splitlines()) == 1 and sentence in errors
