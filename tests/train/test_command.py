"""`python -m train.squad` as a user meets it: files written, mistakes answered in one sentence."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import train.dry_run
from data.squad import read_squad
from minibert.encoder import BertModel
from minibert.heads import BertForQuestionAnswering
from tests.forked import forked
from tests.train.little import little_arguments, write_little

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    write_little(folder)
    return folder


def command(*words, module="train.squad", stdin=""):
    """Run a command where no hub and no download can be reached."""
    offline = {"HF_HUB_OFFLINE": "1", "MINIBERT_SQUAD_URL": "http://127.0.0.1:9/"}
    return forked(module, *words, stdin=stdin, environment=offline)


def assert_one_sentence(done, *fragments):
    status, _, errors = done
    assert status == 2, done
    lines = errors.strip().splitlines()
    assert len(lines) == 1, errors
    assert lines[0].startswith("error: ")
    assert "Traceback" not in errors
    for fragment in fragments:
        assert fragment in lines[0], lines[0]


@pytest.fixture(scope="module")
def finished(files, tmp_path_factory):
    """One whole run in a process of its own: (run folder, what it printed)."""
    run = tmp_path_factory.mktemp("finished") / "run"
    status, output, errors = command(*little_arguments(files, run, "--warmup", "2"))
    assert status == 0, errors
    return run, output


def test_a_run_leaves_everything_it_promises(files, finished):
    run, output = finished
    names = {path.name for path in run.iterdir()}
    assert names >= {
        "options.json", "env.json", "log.jsonl", "metrics.json", "predictions.json",
        "null_odds.json", "na_probs.json", "nbest.json", "checkpoints", "best", "training.png",
    }  # fmt: skip
    dev = read_squad(files / "dev.json").examples
    predictions = json.loads((run / "predictions.json").read_bytes())
    assert list(predictions) == [example.id for example in dev]
    for example in dev:
        assert predictions[example.id] in example.context
    metrics = json.loads((run / "metrics.json").read_bytes())
    assert list(metrics)[:3] == ["exact", "f1", "total"]
    assert metrics["total"] == len(dev)
    assert {"null_threshold", "no_null_exact", "no_null_f1", "oracle_best_f1"} <= metrics.keys()
    assert metrics["no_null_f1"] >= metrics["HasAns_f1"]
    assert (run / "training.png").read_bytes().startswith(b"\x89PNG")
    assert str(run / "best") in output
    assert "Question:" in output


def test_the_log_is_strict_json_with_times_apart(finished):
    run, _ = finished
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    updates = [line for line in lines if line["event"] == "update"]
    assert [line["update"] for line in updates] == list(range(1, len(updates) + 1))
    assert all("elapsed_s" in line["time"] for line in lines)
    assert not any("_s" in key for line in updates for key in line if key != "time")
    assert [line["epoch"] for line in lines if line["event"] == "eval"] == [1.0, 2.0]


def test_the_best_checkpoint_is_the_one_of_the_highest_f1(finished):
    run, _ = finished
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    best = max(line["f1"] for line in lines if line["event"] == "eval")
    assert json.loads((run / "metrics.json").read_bytes())["f1"] == best


def test_no_path_of_this_machine_is_in_the_saved_model(files, finished):
    run, _ = finished
    for path in (run / "best").iterdir():
        content = path.read_bytes()
        assert str(files).encode() not in content
        assert str(Path.home()).encode() + b"/" not in content


def test_the_saved_model_predicts_what_the_run_predicted(files, finished, tmp_path):
    run, _ = finished
    status, _, errors = command(
        "--model", run, "--data-file", files / "dev.json", "--output-dir", tmp_path,
        module="eval.predict",
    )  # fmt: skip
    assert status == 0, errors
    for name in ("predictions.json", "null_odds.json"):
        ours, theirs = (json.loads((folder / name).read_bytes()) for folder in (tmp_path, run))
        assert ours == pytest.approx(theirs, abs=1e-4) if "odds" in name else ours == theirs


def test_the_official_scorer_agrees_with_metrics_json(files, finished):
    run, _ = finished
    status, output, errors = command(
        files / "dev.json", run / "predictions.json", module="eval.squad"
    )
    assert status == 0, errors
    scored, metrics = json.loads(output), json.loads((run / "metrics.json").read_bytes())
    assert {key: metrics[key] for key in scored} == scored


def test_answer_gives_offsets_into_the_context_from_flags_and_from_lines(finished):
    run, _ = finished
    context = "the old bridge was built by anna in one two three . the new tower was white ."
    status, output, errors = command(
        "--model", run, "--question", "who was the bridge ?", "--context", context, "--top", 3,
        "--json", "--null-threshold", 1e9, module="eval.answer",
    )  # fmt: skip
    assert status == 0, errors
    reply = json.loads(output)
    assert reply["answer"] == context[reply["start"] : reply["end"]]
    assert [one["text"] for one in reply["top"]] == [
        context[one["start"] : one["end"]] for one in reply["top"]
    ]
    lines = [{"id": "a", "question": "who was the bridge ?", "context": context}]
    lines.append({"question": "what ?", "context": ""})
    text = "\ufeff" + "\n".join(map(json.dumps, lines)) + "\n"
    status, output, errors = command(
        "--model", run, "--top", 3, "--null-threshold", 1e9, module="eval.answer", stdin=text
    )
    assert status == 0, errors
    first, second = map(json.loads, output.splitlines())
    assert first == {"id": "a", **reply}
    assert (second["id"], second["answer"], second["null_odds"]) == (2, "", None)


def test_a_bad_line_is_answered_in_its_place_and_the_others_all_the_same(finished):
    run, _ = finished
    good = json.dumps({"question": "who was \ud800 ?", "context": "the \ud800 river"})
    status, output, _ = command(
        "--model", run, module="eval.answer", stdin=f"{good}\nnot json\n{good}\n"
    )
    assert status == 2
    first, second, third = map(json.loads, output.splitlines())
    assert "line 2" in second["error"]
    assert {**first, "id": 3} == third


def test_as_many_texts_are_shown_as_asked_for(finished):
    run, _ = finished
    context = "one one one one one one one one one one one one one two three four five"
    words = ["--model", run, "--question", "who ?", "--context", context, "--top", 12, "--json"]
    reply = json.loads(command(*words, module="eval.answer")[1])
    texts = [one["text"] for one in reply["top"]]
    assert len(set(texts)) == len(texts) == 12


def test_a_long_question_is_cut_to_leave_the_context_room(finished):
    run, _ = finished
    words = ["--model", run, "--question", "who " * 60, "--context", "the old river"]
    status, _, errors = command(*words, module="eval.answer")
    assert status == 0, errors


def test_windows_fit_the_model_where_no_length_is_given(files, tmp_path):
    words = little_arguments(files, tmp_path / "run", "--epochs", "1")
    for flag in ("--max-length", "--doc-stride"):
        del words[words.index(flag) : words.index(flag) + 2]
    status, output, errors = command(*words)
    assert status == 0, errors
    assert "windows: at most 40 tokens, stride 13\n" in output
    saved = json.loads((tmp_path / "run" / "best" / "qa_settings.json").read_bytes())
    assert (saved["max_length"], saved["doc_stride"]) == (40, 13)
    assert "| window | 40 tokens, stride 13 |" in (tmp_path / "run/best/README.md").read_text()
    more = ("--max-length", 12, "--dry-run", "--output-dir", tmp_path / "other")
    status, output, errors = command(*words, *more)
    assert status == 0 and "windows: at most 12 tokens, stride 4\n" in output, errors


def test_mistakes_are_answered_in_one_sentence(files, tmp_path):
    def arguments(*more):
        return little_arguments(files, tmp_path / "run", *more)

    assert_one_sentence(command("--epoch", "2"), "--epoch", "--epochs")
    assert_one_sentence(command(*arguments("--lr", "-1")), "--lr", "-1")
    assert_one_sentence(command(*arguments("--lr", "fast")), "--lr", "fast")
    assert_one_sentence(command(*arguments("--batch-size", "4", "--accumulate", "5")), "--batch-")
    assert_one_sentence(command(*arguments("--max-length", "500")), "500", "40 positions")
    assert_one_sentence(command(*arguments("--doc-stride", "31")), "--doc-stride")
    assert_one_sentence(command(*arguments("--device", "cuda:7")), "cuda:7", "cpu")
    assert_one_sentence(command("--resume"), "--output-dir")
    assert_one_sentence(command("--demo", "--train-file", "x.json"), "--demo", "--train-file")
    assert_one_sentence(command(*arguments("--doc-step", "4")), "--doc-stride and --doc-step")
    assert_one_sentence(command(*arguments("--amp-dtype", "bf16")), "without --amp")
    assert_one_sentence(command(*arguments("--null-threshold", "inf")), "--null-threshold")
    assert_one_sentence(command("--train-file", ""), "--train-file is empty")
    assert_one_sentence(command("--resume", "--output-dir", tmp_path), "not a run folder")


def test_bad_files_are_answered_in_one_sentence(files, tmp_path):
    def with_train(text, name="bad.json"):
        path = tmp_path / name
        path.write_text(text)
        words = little_arguments(files, tmp_path / "run")
        words[words.index("--train-file") + 1] = str(path)
        return command(*words)

    good = (files / "train.json").read_text()
    assert_one_sentence(with_train(""), "bad.json", "empty")
    assert_one_sentence(with_train("{"), "not JSON", "line 1")
    assert_one_sentence(with_train("[]"), "holds a list")
    assert_one_sentence(with_train('{"data": []}'), "no questions")
    shifted = json.loads(good)
    question = shifted["data"][0]["paragraphs"][0]["qas"][0]
    question["answers"][0]["answer_start"] += 500
    assert_one_sentence(with_train(json.dumps(shifted)), question["id"], "answer_start")
    words = little_arguments(files, tmp_path / "run")
    words[words.index("--dev-file") + 1] = str(tmp_path / "none.json")
    assert_one_sentence(command(*words), "none.json", "does not exist")
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())


@pytest.mark.parametrize("module", ["train.squad", "train.classify"])
@pytest.mark.parametrize("flag", ["--train-file", "--dev-file"])
def test_a_pipe_to_train_or_score_on_is_refused_and_never_waited_for(files, tmp_path, module, flag):
    # it would be hashed after its content was read, and a resumed run would find nothing in it
    os.mkfifo(tmp_path / "pipe")
    words = little_arguments(files, tmp_path / "run")
    if module == "train.classify":
        at = words.index("--doc-stride")
        del words[at : at + 2]
    words[words.index(flag) + 1] = str(tmp_path / "pipe")
    done = command(*words, module=module)
    assert_one_sentence(done, f"{flag} {tmp_path / 'pipe'} is a pipe or a device", "save it as")
    assert not (tmp_path / "run").exists()


def test_without_network_and_cache_both_ways_out_are_named(files, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "cache"))
    assert_one_sentence(command("--output-dir", tmp_path / "a"), "--demo", "--train-file")
    words = ["--train-file", files / "train.json", "--dev-file", files / "dev.json"]
    assert_one_sentence(
        command(*words, "--output-dir", tmp_path / "b"), "google-bert/bert-base-uncased", "--demo"
    )


def test_a_folder_in_use_is_refused_and_overwrite_only_deletes_runs(files, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "letter.txt").write_text("keep me")
    assert_one_sentence(command(*little_arguments(files, folder)), "not empty", "--resume")
    assert_one_sentence(command(*little_arguments(files, folder, "--overwrite")), "letter.txt")
    (folder / "options.json").write_text("{}")
    assert_one_sentence(command(*little_arguments(files, folder, "--overwrite")), "letter.txt")
    assert (folder / "letter.txt").read_text() == "keep me"


@pytest.mark.usefixtures("small_demo")
def test_overwrite_that_fails_leaves_the_earlier_run(files, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished[0], run)
    before = sorted(path.name for path in run.rglob("*"))
    words = little_arguments(files, run, "--overwrite", "--max-length", "500")
    assert_one_sentence(command(*words), "40 positions")
    assert_one_sentence(command("--demo", "--overwrite", "--output-dir", run, "--max-length", 12))
    assert sorted(path.name for path in run.rglob("*")) == before
    assert command(*little_arguments(files, run, "--overwrite", "--epochs", "1"))[0] == 0
    assert len(json.loads((run / "env.json").read_bytes())) == 1


def test_a_goal_without_a_question_is_not_judged(capsys):
    from train.squad import check_demo_goals

    class Said:
        print = staticmethod(print)

    metrics = {"f1": 95.0, "HasAns_f1": 95.0, "NoAns_f1": 95.0}  # of windows that hold any text
    assert check_demo_goals(metrics, 1.0, Said) == 0
    assert "goal: multi_window_f1 >= 80: no such question, not judged" in capsys.readouterr().out
    assert check_demo_goals({**metrics, "f1": 1.0}, 1.0, Said) == 1


@pytest.mark.parametrize("kind", ["pipe", "terminal"])
def test_a_reader_that_has_left_before_the_first_line_does_not_end_the_training(
    files, tmp_path, kind
):
    run = tmp_path / "run"
    reading, writing = os.pipe() if kind == "pipe" else os.openpty()
    os.close(reading)
    words = little_arguments(files, run, "--epochs", "1")
    status, _, errors = forked("train.squad", *words, stdout=writing)
    os.close(writing)
    assert (status, errors) == (0, "")
    assert json.loads((run / "metrics.json").read_bytes())["total"] == 22


def test_a_reader_that_leaves_after_the_first_line_does_not_end_the_training(files, tmp_path):
    run = tmp_path / "run"
    words = [sys.executable, "-m", "train.squad", *little_arguments(files, run)]
    with subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith("model: random weights")
        process.stdout.close()
        errors = process.stderr.read()
        assert (process.wait(timeout=120), errors) == (0, "")
    assert json.loads((run / "metrics.json").read_bytes())["total"] == 22


def test_running_out_of_memory_says_what_to_do(files, tmp_path, monkeypatch):
    def greedy(*anything):
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: not enough memory"
        )

    monkeypatch.setattr("minibert.heads.BertForQuestionAnswering.forward", greedy)
    status, _, errors = command(*little_arguments(files, tmp_path / "run"))
    assert status == 5
    assert "--accumulate" in errors
    assert "Traceback" not in errors


def test_a_failing_save_says_which_checkpoint_is_good(files, tmp_path, monkeypatch):
    import train.checkpoint

    write_flushed = train.checkpoint.write_flushed

    def full(path, content):
        if ".update-000004" in str(path):
            raise OSError(28, "No space left on device while writing", str(path))
        write_flushed(path, content)

    monkeypatch.setattr("train.checkpoint.write_flushed", full)
    status, _, errors = command(*little_arguments(files, tmp_path / "run"))
    assert status == 4
    assert "update 4" in errors
    assert "of update 2" in errors


def test_deterministic_refuses_an_operation_that_is_not(files, tmp_path, monkeypatch):
    def scattering(*anything):
        torch.zeros(5).put_(torch.tensor([1]), torch.tensor([1.0]))

    monkeypatch.setattr("minibert.heads.BertForQuestionAnswering.forward", scattering)
    words = little_arguments(files, tmp_path / "run", "--deterministic")
    assert_one_sentence(command(*words), "--deterministic", "put_")


def test_dropout_takes_the_place_of_the_models_rates(files, tmp_path):
    losses = set()
    for rate in ("0", "0.4"):
        run = tmp_path / rate
        assert command(*little_arguments(files, run, "--dropout", rate, "--epochs", "1"))[0] == 0
        losses.add(json.loads((run / "log.jsonl").read_text().splitlines()[0])["loss"])
    assert len(losses) == 2
    assert (
        json.loads((tmp_path / "0.4" / "best" / "config.json").read_bytes())["hidden_dropout_prob"]
        == 0.1
    )


def test_a_model_with_the_reports_mistakes_predicts_as_it_was_trained(files, tmp_path):
    run, out = tmp_path / "run", tmp_path / "out"
    mistakes = ("--truncate", "--context-first", "--no-token-types", "--row-per-answer")
    status, output, _ = command(*little_arguments(files, run, "--epochs", "1", *mistakes))
    assert status == 0 and "one a question, the context first, no token types" in output
    words = ("--model", run, "--data-file", files / "dev.json", "--output-dir", out)
    assert command(*words, module="eval.predict")[0] == 0
    for name in ("predictions.json", "null_odds.json"):
        assert (run / name).read_bytes() == (out / name).read_bytes()


def test_a_row_for_every_gold_answer(files, tmp_path):
    path = tmp_path / "answers.json"
    document = json.loads((files / "train.json").read_bytes())
    asked = document["data"][0]["paragraphs"][0]["qas"][0]
    first = asked["answers"][0]
    whole, last = document["data"][0]["paragraphs"][0]["context"], first["text"][:-1]
    inside = {"text": whole[-4:-1], "answer_start": len(whole) - 4}  # ends inside a word, as `last`
    asked["answers"] = [first, {**first, "text": last}, first, inside, first]
    asked["question"] = "who " * 30
    path.write_text(json.dumps(document))
    for more, rows in (((), ""), (("--row-per-answer",), " in 24 rows")):
        words = little_arguments(files, tmp_path / "run", "--train-file", str(path), *more)
        output = command(*words, "--dry-run")[1]
        assert f"train: 22 of 22 questions{rows}, 7 impossible; " in output
        assert ("misaligned answers: 2 (" in output) is bool(more)
        assert "cut questions: 1 (" in output and "train-0, train-0" not in output


def test_attention_dropout_is_a_rate_of_its_own(files, tmp_path, monkeypatch):
    monkeypatch.setattr("train.loop.seed_update", lambda *numbers: torch.manual_seed(1))
    rates = {
        "none": ("--dropout", "0"),
        "same": ("--dropout", "0", "--attention-dropout", "0"),
        "attention": ("--dropout", "0", "--attention-dropout", "0.4"),
        "rest": ("--dropout", "0.4", "--attention-dropout", "0"),
    }
    losses = {}
    for name, more in rates.items():
        run = tmp_path / name
        assert command(*little_arguments(files, run, *more, "--epochs", "1"))[0] == 0
        losses[name] = json.loads((run / "log.jsonl").read_text().splitlines()[0])["loss"]
    assert losses["none"] == losses.pop("same") and len(set(losses.values())) == 3


def test_compiled_training_is_the_same_training(files, tmp_path, monkeypatch):
    compile_layers = BertModel.compile_layers
    monkeypatch.setattr(
        BertModel, "compile_layers", lambda model: compile_layers(model, "aot_eager")
    )
    lines = []
    for more in ((), ("--compile",)):
        words = little_arguments(files, tmp_path / f"run{more}", "--dropout", "0", *more)
        assert command(*words, "--epochs", "1")[0] == 0
        log = (tmp_path / f"run{more}" / "log.jsonl").read_text().splitlines()
        lines.append([json.loads(line)["loss"] for line in log if '"update"' in line[:20]])
    assert lines[0] == pytest.approx(lines[1], abs=1e-6) and lines[0]


def test_compile_without_a_compiler_is_refused_in_a_sentence(files, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    words = little_arguments(files, tmp_path / "run", "--compile")
    assert_one_sentence(command(*words), "--compile needs a C++ compiler", "CXX")


def test_ctrl_c_saves_says_how_to_go_on_and_leaves_no_traceback(files, tmp_path):
    run = tmp_path / "run"
    words = little_arguments(files, run, "--epochs", "100000", "--save-every", "100000")
    with subprocess.Popen(
        [sys.executable, "-m", "train.squad", *words],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        log = run / "log.jsonl"
        deadline = time.monotonic() + 60
        while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert f"--resume --output-dir {run}" in output
    assert list((run / "checkpoints").glob("update-*"))


@pytest.mark.parametrize("more", [(), ("--amp", "--amp-dtype", "fp16", "--accumulate", "5")])
def test_a_dry_run_prints_the_plan_and_writes_nothing(files, tmp_path, more):
    run = tmp_path / "run"
    status, output, errors = command(*little_arguments(files, run, "--dry-run", *more))
    assert status == 0, errors
    assert "updates of 12 windows" in output
    assert "minutes" in output
    assert "GB" in output
    assert not run.exists()


def memory_for(windows):
    """A `prepare`: a device with memory of its own, for so many windows at a time."""

    def prepare():
        forward = BertForQuestionAnswering.forward

        def refusing(model, batch):
            if batch.num_sequences > windows:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return forward(model, batch)

        BertForQuestionAnswering.forward = refusing
        train.dry_run.has_its_own_memory = lambda device: True
        torch.cuda.max_memory_allocated = lambda device: 2.5e9

    return prepare


def test_a_dry_run_finds_the_largest_micro_batch_by_running_out_of_memory(files, tmp_path):
    """As on a GPU, whose memory is its own; here the model has none above 20 windows."""

    words = little_arguments(files, tmp_path / "run", "--dry-run", "--amp", "--amp-dtype", "fp16")
    status, output, _ = forked("train.squad", *words, prepare=memory_for(20))
    assert status == 0 and "GPU memory: 2.50 GB" in output
    found = re.search(r"largest micro-batch that fits: (\d+)\n", output)
    assert found and 18 <= int(found[1]) <= 20


def test_a_dry_run_whose_updates_do_not_fit_says_how_a_run_would_go_on(files, tmp_path):
    words = little_arguments(files, tmp_path / "run", "--dry-run")
    status, output, errors = forked("train.squad", *words, prepare=memory_for(5))
    assert (status, errors) == (0, "")
    assert "a run would go on with --accumulate 2\n" in output
    assert "a run would go on with --accumulate 4\n" in output
    assert "s an update, about" in output and "largest micro-batch that fits: 5\n" in output


@pytest.mark.parametrize("updates", [3, 7])
def test_updates_take_the_place_of_epochs(files, tmp_path, updates):
    run = tmp_path / "run"
    words = little_arguments(files, run, "--updates", str(updates))
    assert_one_sentence(command(*words), "--epochs and --updates contradict each other")
    assert not run.exists()
    at = words.index("--epochs")
    del words[at : at + 2]
    status, output, errors = command(*words)
    assert (status, errors) == (0, "")
    assert f"plan: {updates} updates of 12 windows" in output
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    made = [line["update"] for line in lines if line["event"] == "update"]
    assert made == list(range(1, updates + 1))
    assert lines[-1]["event"] == "eval" and lines[-1]["update"] == updates
    assert f" of {updates} |" in (run / "best" / "README.md").read_text()


@pytest.mark.usefixtures("small_demo")
def test_the_demos_own_epochs_contradict_no_updates(tmp_path):
    words = ("--demo", "--threads", "1", "--dry-run", "--updates", "4", "--max-length", "60")
    status, output, errors = command(*words)
    assert (status, errors) == (0, "")
    assert "plan: 4 updates of 32 windows" in output
    for value, shown in ((-1, "-1"), (10**8, "100000000")):
        done = command("--demo", "--updates", value)
        assert_one_sentence(done, f"--updates is {shown}, expected 0 to 99999999")


def test_answerable_only_and_train_fraction_choose_questions(files, tmp_path):
    words = little_arguments(files, tmp_path / "run", "--dry-run", "--train-fraction", "0.5")
    output = command(*words)[1]
    assert "train: 11 of 22 questions" in output
    other = command(*words, "--seed", "1")[1]
    assert [line for line in output.splitlines() if "impossible;" in line] != [
        line for line in other.splitlines() if "impossible;" in line
    ]
    words = little_arguments(files, tmp_path / "run", "--dry-run", "--answerable-only")
    assert "train: 15 of 22 questions, 0 impossible" in command(*words)[1]


def test_v1_data_is_always_answered(files, tmp_path):
    for name in ("train", "dev"):
        document = json.loads((files / f"{name}.json").read_text())
        for paragraph in document["data"][0]["paragraphs"]:
            paragraph["qas"] = [
                {key: value for key, value in qa.items() if key != "is_impossible"}
                for qa in paragraph["qas"]
                if qa["answers"]
            ]
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
    words = little_arguments(files, tmp_path / "run")
    for flag, name in (("--train-file", "train"), ("--dev-file", "dev")):
        words[words.index(flag) + 1] = str(tmp_path / f"{name}.json")
    status, _, errors = command(*words)
    assert status == 0, errors
    predictions = json.loads((tmp_path / "run" / "predictions.json").read_bytes())
    assert all(predictions.values())
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_bytes())
    assert "NoAns_total" not in metrics


def test_distilbert_trains_in_mixed_precision_and_is_saved_as_distilbert(files, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "vocab.txt").write_text((files / "model" / "vocab.txt").read_text())
    config = {
        "model_type": "distilbert", "vocab_size": 52, "dim": 16, "n_layers": 2, "n_heads": 2,
        "hidden_dim": 24, "max_position_embeddings": 40,
    }  # fmt: skip
    (model / "config.json").write_text(json.dumps(config))
    words = little_arguments(files, tmp_path / "run", "--amp", "--amp-dtype", "bf16")
    words[words.index("--from-scratch") + 1] = str(model)
    status, _, errors = forked("train.squad", *words)
    assert status == 0, errors
    saved = json.loads((tmp_path / "run" / "best" / "config.json").read_bytes())
    assert saved["architectures"] == ["DistilBertForQuestionAnswering"]
    again = little_arguments(files, tmp_path / "again", "--epochs", "1")
    again[0:2] = ["--model", str(tmp_path / "run")]
    status, output, errors = forked("train.squad", *again)
    assert status == 0, errors
    assert "new head" not in output


def test_amp_on_a_cpu_without_bf16_says_so_and_runs_in_fp32(files, tmp_path, monkeypatch):
    monkeypatch.setattr("minibert.device.cpu_has_bf16", lambda: False)
    words = little_arguments(files, tmp_path / "run", "--amp", "--device", "cpu")
    status, _, errors = forked("train.squad", *words)
    assert status == 0, errors
    assert errors.count("warning:") == 1
    assert "no bfloat16" in errors
    plain = little_arguments(files, tmp_path / "plain")
    assert forked("train.squad", *plain)[0] == 0
    one, two = (json.loads((tmp_path / n / "metrics.json").read_bytes()) for n in ("run", "plain"))
    assert one == two


@pytest.mark.parametrize("flags", [[], ["--updates", "1"], ["--train-fraction", "0.5"]], ids=str)
@pytest.mark.usefixtures("small_demo")
def test_a_shortened_demo_is_not_judged_by_the_whole_ones_goals(tmp_path, flags):
    words = ["--demo", "--threads", "1", "--output-dir", tmp_path / "run", "--lr", "1e-9", *flags]
    status, output, errors = command(*words)
    said = [line for line in output.splitlines() if line.startswith("goal")]
    if not flags:
        assert status == 1 and len(said) == 4 and said[0].endswith(" MISSED"), errors
        return
    assert status == 0 and len(said) == 1 and said[0].startswith("goals: not judged"), errors
    assert 0 < float(said[0].split()[-1]) < 0.6


def test_help_shows_the_demos_own_defaults_beside_the_demo():
    plain, demo = (command(*words, "--help")[1] for words in ((), ("--demo",)))
    assert "(default: 3e-05)" in plain and "(default: 3e-05)" not in demo
    assert "(default: 0.001)" in demo
