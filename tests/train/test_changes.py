"""What a resumed run may not change, may change when told to, and whose folder it is."""

import json
import os
import random
import re
import shutil
import signal

import pytest
import torch

import train.loop
import train.squad_inputs
from minibert import BertForQuestionAnswering
from tests.reliability import figure
from tests.train.killing import finish, result, start
from tests.train.little import little_arguments, write_little
from train.environment import environment
from train.options import absolute
from train.squad import main

# flag: (new value, how the refusal shows the change)
CHANGES = {
    "seed": ("7", "0 -> 7"),
    "batch-size": ("11", "10 -> 11"),
    "accumulate": ("2", "1 -> 2"),
    "lr": ("0.5", "0.003 -> 0.5"),
    "epochs": ("3", "2.0 -> 3.0"),
    "updates": ("9", "0 -> 9"),
    "max-length": ("30", "32 -> 30"),
    "doc-stride": ("7", "8 -> 7"),
    "threads": ("2", "1 -> 2"),
    "warmup": ("3", "0.1 -> 3.0"),
    "optimizer": ("adam", "'adamw' -> 'adam'"),
    "weight-decay": ("0.2", "0.01 -> 0.2"),
    "device": ("cpu", "'auto' -> 'cpu'"),
    "eval-every": ("1", "0 -> 1"),
    "dropout": ("0.3", "None -> 0.3"),
    "attention-dropout": ("0.2", "None -> 0.2"),
    "null-threshold": ("1.5", "0.0 -> 1.5"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("changes")
    write_little(folder, questions=12)
    return folder


def arguments(files, run, *more):
    return little_arguments(files, run, "--batch-size", "10", *more)


def dying_before(number, how=os._exit, what=9):
    """A `prepare`: the process ends before the nth update (from 0)."""

    def prepare():
        seed_update = train.loop.seed_update

        def ending(seed, update, *rest):
            if update == number:
                how(what)
            seed_update(seed, update, *rest)

        train.loop.seed_update = ending

    return prepare


@pytest.fixture(scope="module")
def begun(files):
    """A run that ended after update 4, with the checkpoints of 3 and 4."""
    run = files / "begun"
    assert finish(start(arguments(files, run, "--save-every", "1"), prepare=dying_before(4))) == 9
    return run


def resume(run, *more):
    return ["--resume", "--output-dir", str(run), *more]


def test_every_changed_setting_is_refused_and_all_are_listed_with_old_and_new(begun):
    before = (begun / "options.json").read_bytes(), (begun / "log.jsonl").read_bytes()
    for name, (new, shown) in CHANGES.items():
        with pytest.raises(ValueError, match=re.escape(f"settings (--{name} {shown});")):
            main(resume(begun, f"--{name}", new))
    with pytest.raises(ValueError, match="other settings") as refused:
        main(resume(begun, *(f"--{name}={new}" for name, (new, _) in CHANGES.items()), "--amp"))
    wanted = [f"--{name} {shown}" for name, (_, shown) in CHANGES.items()]
    shown = re.search(r"\((.*)\)", str(refused.value))[1].split("; ")
    assert sorted(shown) == sorted(["--no-amp -> --amp", *wanted])
    assert before == ((begun / "options.json").read_bytes(), (begun / "log.jsonl").read_bytes())
    figure("R8", f"{len(CHANGES) + 1} changed settings and 4 changed files refused")


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("train.json", "anna", "emil", "train_sha256"),
        ("dev.json", "anna", "emil", "dev_sha256"),
        ("model/config.json", "0.1", "0.2", "model_sha256 of config.json"),
        ("model/vocab.txt", "anna\nbert", "bert\nanna", "model_sha256 of vocab.txt"),
    ],
)
def test_a_changed_file_is_refused_with_both_hashes(files, begun, tmp_path, file, old, new, named):
    path = files / file
    text = path.read_text()
    path.write_text(text.replace(old, new, 1))
    try:
        with pytest.raises(ValueError, match=f"{named} [0-9a-f]{{12}} -> [0-9a-f]{{12}}"):
            main(resume(begun))
    finally:
        path.write_text(text)


def test_a_named_change_goes_through_is_logged_once_and_is_remembered(files, begun, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(begun, run)
    changed = resume(run, "--lr", "0.01", "--allow-change", "lr")
    # killed before the next checkpoint: the line in the log is lost, the change is not
    assert finish(start(changed, prepare=dying_before(4))) == 9
    assert finish(start(resume(run), prepare=dying_before(4))) == 9
    assert finish(start(resume(run))) == 0
    log = result(run)[2]
    change = {"event": "change", "after_update": 4, "name": "lr", "old": 0.003, "new": 0.01}
    assert [line for line in log if line["event"] == "change"] == [change]
    assert log[[line.get("update") for line in log].index(5) - 1] == change
    assert json.loads((run / "options.json").read_bytes())["options"]["lr"] == 0.01
    plain = tmp_path / "plain"
    shutil.copytree(begun, plain)
    assert finish(start(resume(plain))) == 0
    assert result(plain)[0] != result(run)[0]


def test_changed_data_can_be_allowed_by_its_name(files, begun, tmp_path):
    run, other = tmp_path / "run", tmp_path / "other.json"
    shutil.copytree(begun, run)
    other.write_text((files / "dev.json").read_text().replace("anna", "emil"))
    words = resume(run, "--dev-file", str(other), "--allow-change", "dev-file,dev_sha256")
    assert finish(start(words)) == 0
    names = [line["name"] for line in result(run)[2] if line["event"] == "change"]
    assert names == ["dev_file", "dev_sha256"]


def test_a_name_that_is_no_setting_is_refused(begun, files):
    with pytest.raises(ValueError, match=r"--allow-change batch_sise .* batch_size\?"):
        main(resume(begun, "--allow-change", "batch_sise"))
    with pytest.raises(ValueError, match="nothing without --resume"):
        main(arguments(files, begun, "--allow-change", "lr"))


def test_another_torch_or_device_is_a_warning(begun, tmp_path):
    run, errors = tmp_path / "run", tmp_path / "errors"
    shutil.copytree(begun, run)
    env = run / "env.json"
    start_of_run = json.loads(env.read_bytes())
    start_of_run[0]["versions"]["torch"] = "2.10.0"
    start_of_run[0]["device"] = "cuda"
    env.write_text(json.dumps(start_of_run))
    assert finish(start(resume(run), errors)) == 0
    said = errors.read_text().splitlines()
    now = environment()["versions"]["torch"]
    end = "; the bits may differ from an uninterrupted run's"
    begin = "warning: unlike the run's first start: "
    assert said == [f"{begin}torch 2.10.0 -> {now}{end}", f"{begin}device cuda -> cpu{end}"]


def test_a_folder_in_use_is_refused_by_its_owners_number_until_the_owner_is_gone(files, tmp_path):
    run, errors = tmp_path / "run", tmp_path / "errors"
    reading, writing = os.pipe()

    def wait_for_ever(_nothing):
        os.write(writing, b"!")
        signal.pause()

    owner = start(arguments(files, run), prepare=dying_before(4, wait_for_ever, 0))
    os.read(reading, 1)
    for words in (resume(run), arguments(files, run, "--overwrite")):
        assert finish(start(words, errors)) == 2
        said = errors.read_text()
        assert f"{run} is in use by process {owner};" in said, said
        assert said.count("\n") == 1
    assert (run / "log.jsonl").exists()
    os.kill(owner, signal.SIGKILL)
    assert finish(owner) == -signal.SIGKILL
    assert (run / ".lock").read_text() == f"{owner}\n"
    assert finish(start(resume(run))) == 0
    figure("R9", "second process refused by number; stale lock after kill -9 ignored")


def test_a_run_that_began_in_the_meantime_is_not_written_over(files, begun, tmp_path):
    """Two starts of one command at once: both found an empty folder, the second gives way."""
    from train.options import TrainOptions
    from train.run import Run

    run = tmp_path / "run"
    shutil.copytree(begun, run)
    before = (run / "options.json").read_bytes()
    with pytest.raises(ValueError, match="has just become a run"):
        Run(run, TrainOptions(), {}, 4, "windows")
    assert (run / "options.json").read_bytes() == before


def test_a_model_can_be_saved_over_the_folder_it_was_loaded_from(begun, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(begun / "best", folder)
    model = BertForQuestionAnswering.from_pretrained(folder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.25)
    model.save_pretrained(folder)
    again = BertForQuestionAnswering.from_pretrained(folder)
    before = BertForQuestionAnswering.from_pretrained(begun / "best").state_dict()
    for name, value in again.state_dict().items():
        assert torch.equal(value, before[name] + 0.25), name
        assert torch.equal(value, model.state_dict()[name]), name
    figure("R10", "a model saved over its own files loads bit for bit")


def test_a_run_never_deletes_the_model_it_starts_from(files, begun, tmp_path):
    run, errors = tmp_path / "run", tmp_path / "errors"
    shutil.copytree(begun, run)

    def content():
        return {p: p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != ".lock"}

    before = content()
    for model in (run, run / "best"):
        words = arguments(files, run, "--overwrite")
        words[:2] = ["--model", str(model)]
        assert finish(start(words, errors)) == 2
        assert f"--overwrite would delete --model {model}" in errors.read_text()
        words.remove("--overwrite")
        assert finish(start(words, errors)) == 2
        assert "is not empty" in errors.read_text()
    assert content() == before
    words = arguments(files, run / "next", "--epochs", "1")
    words[:2] = ["--model", str(run)]
    assert finish(start(words, errors)) == 0, errors.read_text()
    assert {path: was for path, was in content().items() if "next" not in path.parts} == before


def test_initial_weights_that_changed_are_refused_until_they_are_allowed(files, begun, tmp_path):
    """They were once compared by nothing: before the first checkpoint another model went on."""
    model, run, errors = tmp_path / "model", tmp_path / "run", tmp_path / "errors"
    shutil.copytree(begun / "best", model)
    words = arguments(files, run)
    words[:2] = ["--model", str(model)]
    assert finish(start(words, prepare=dying_before(1))) == 9
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (model / "model.safetensors").write_bytes(weights)
    assert finish(start(resume(run), errors)) == 2
    named = "weights_sha256 of model.safetensors"
    assert re.search(f"{named} [0-9a-f]{{12}} -> [0-9a-f]{{12}}", errors.read_text())
    # a run from before this was noted goes on
    options = run / "options.json"
    saved = json.loads(options.read_bytes())
    del saved["inputs"]["weights_sha256"]
    old = tmp_path / "old"
    shutil.copytree(run, old)
    (old / "options.json").write_text(json.dumps(saved))
    assert finish(start(resume(old, "--max-minutes", "1e-9"))) == 0
    assert finish(start(resume(run, "--allow-change", "weights_sha256"))) == 0
    assert [x["name"] for x in result(run)[2] if x["event"] == "change"] == ["weights_sha256"]


@pytest.mark.parametrize("demo", [False, True])
@pytest.mark.usefixtures("small_demo")
def test_a_run_folder_that_was_moved_goes_on(files, tmp_path, demo):
    run, moved, errors = tmp_path / "run", tmp_path / "moved", tmp_path / "errors"
    words = arguments(files, run)
    if demo:
        words = ["--demo", "--output-dir", str(run), "--threads", "1"]
    assert finish(start(words, prepare=dying_before(1))) == 9
    run.rename(moved)
    again = resume(moved, "--max-minutes", "1e-9")
    assert finish(start(again, errors)) == 0, errors.read_text()
    assert finish(start(again, errors)) == 0, errors.read_text()
    log = (moved / "log.jsonl").read_text()
    assert '"change"' not in log


def test_a_model_folder_that_was_moved_with_its_hashes_is_the_same_model(files, begun, tmp_path):
    run, model = tmp_path / "run", tmp_path / "elsewhere"
    shutil.copytree(begun, run)
    shutil.copytree(files / "model", model)
    words = resume(run, "--from-scratch", str(model), "--allow-change", "from_scratch")
    assert finish(start(words)) == 0
    assert [x["name"] for x in result(run)[2] if x["event"] == "change"] == ["from_scratch"]


def test_a_path_means_the_same_however_it_is_written(files, begun, tmp_path, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(begun, run)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    winding = os.path.relpath(files / "train.json")
    assert winding.startswith("..")
    assert finish(start(resume(run, "--train-file", winding))) == 0
    assert '"change"' not in (run / "log.jsonl").read_text()
    (tmp_path / "link").symlink_to(files)
    assert absolute(str(tmp_path / "link" / ".." / "x")) == str(tmp_path / "link" / ".." / "x")
    assert absolute("../x") == str(tmp_path / "x")


def test_an_end_that_is_passed_already_is_refused(begun, tmp_path):
    run, errors = tmp_path / "run", tmp_path / "errors"
    shutil.copytree(begun, run)
    before = (run / "options.json").read_bytes(), (run / "log.jsonl").read_bytes()
    words = resume(run, "--epochs", "0.5", "--allow-change", "epochs")
    assert finish(start(words, errors)) == 2
    assert "4 updates are made, but --epochs 0.5 of these batches are only" in errors.read_text()
    assert before == ((run / "options.json").read_bytes(), (run / "log.jsonl").read_bytes())


def test_a_run_goes_on_to_another_number_of_updates_even_if_it_is_older_than_the_flag(
    begun, tmp_path
):
    run, errors = tmp_path / "run", tmp_path / "errors"
    shutil.copytree(begun, run)
    saved = json.loads((run / "options.json").read_bytes())
    del saved["options"]["updates"]
    (run / "options.json").write_text(json.dumps(saved))
    assert finish(start(resume(run, "--updates", "5"), errors)) == 2
    assert "other settings (--updates 0 -> 5)" in errors.read_text()
    assert finish(start(resume(run, "--updates", "3", "--allow-change", "updates"), errors)) == 2
    assert "4 updates are made, more than --updates 3;" in errors.read_text()
    assert json.loads((run / "options.json").read_bytes()) == saved
    assert finish(start(resume(run, "--updates", "5", "--allow-change", "updates"), errors)) == 0
    *_, change, update, scores = result(run)[2]
    assert (change["name"], change["old"], change["new"]) == ("updates", 0, 5)
    assert (update["event"], update["update"]) == ("update", 5)
    assert (scores["event"], scores["update"]) == ("eval", 5)
    assert finish(start(resume(run), errors)) == 0  # it is finished, and remembers that
    assert result(run)[2][-1] == scores
    longer = ("--epochs", "3", "--allow-change", "epochs,updates")
    assert finish(start(resume(run, *longer), errors)) == 2
    assert "--epochs would change nothing, the run has --updates 5;" in errors.read_text()
    assert finish(start(resume(run, *longer, "--updates", "0"), errors)) == 0
    assert result(run)[1]["state"]["update"] > 5


@pytest.mark.parametrize("names", ["output_dir,resume", "max-minutes", " , ", "lr,"])
def test_what_is_no_setting_of_a_run_cannot_be_allowed_to_change(begun, names):
    with pytest.raises(ValueError, match=r"is no setting of a run|has an empty name"):
        main(resume(begun, "--allow-change", names))


def test_a_change_that_would_do_nothing_is_refused_on_a_finished_run(begun, tmp_path):
    run, errors = tmp_path / "run", tmp_path / "errors"
    shutil.copytree(begun, run)
    assert finish(start(resume(run))) == 0
    before = {p: p.read_bytes() for p in run.rglob("*.json*")}
    words = resume(run, "--null-threshold", "5", "--allow-change", "null_threshold")
    assert finish(start(words, errors)) == 2
    assert "the run is finished, null_threshold would change nothing" in errors.read_text()
    assert {p: p.read_bytes() for p in run.rglob("*.json*")} == before
    longer = resume(run, "--epochs", "3", "--allow-change", "epochs")
    assert finish(start(longer)) == 0


def test_a_run_can_go_on_in_fp16_with_a_scaler_that_begins_anew(begun, tmp_path):
    run, errors = tmp_path / "run", tmp_path / "errors"
    shutil.copytree(begun, run)
    words = resume(run, "--amp", "--amp-dtype", "fp16", "--allow-change", "amp,amp_dtype")
    assert finish(start(words, errors)) == 0, errors.read_text()
    assert finish(start(resume(run))) == 0
    scales = [line["scale"] for line in result(run)[2] if line["event"] == "update"]
    assert scales[:4] == [1] * 4
    assert min(scales[4:]) > 1


def test_only_the_questions_that_are_drawn_decide_whether_no_answer_is_learnt(files, tmp_path):
    """Two of three questions have answers: a draw of one may hold no impossible one."""
    thresholds = {}
    for seed in range(4):
        run = tmp_path / str(seed)
        words = ("--train-fraction", "0.05", "--seed", str(seed), "--epochs", "1")
        assert finish(start(arguments(files, run, *words))) == 0
        saved = json.loads((run / "best" / "qa_settings.json").read_bytes())
        drawn = random.Random(seed).sample(range(12), 1)[0]
        thresholds[drawn % 3 == 2] = saved["null_threshold"]
    assert thresholds == {True: 0.0, False: None}


def test_a_run_that_changed_under_a_resuming_start_is_not_written_over(begun, tmp_path):
    """What was read before the folder was held is compared with what is there after."""
    run = tmp_path / "run"
    shutil.copytree(begun, run)

    def another():
        read_inputs = train.squad_inputs.read_inputs

        def meanwhile(*values):
            path = run / "options.json"
            path.write_text(path.read_text().replace('"lr": 0.003', '"lr": 0.1'))
            return read_inputs(*values)

        train.squad_inputs.read_inputs = meanwhile

    errors = tmp_path / "errors"
    assert finish(start(resume(run), errors, another)) == 2
    assert "has just become another run (lr)" in errors.read_text()
