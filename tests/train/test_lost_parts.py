"""A run folder of which a part is gone, cut or edited: refused untouched, or made good."""

import hashlib
import json
import os
import shutil

import pytest
import torch

import eval.answerer
import eval.plots
import eval.predict
from tests.reliability import figure
from tests.train.killing import finish, result, start
from tests.train.little import little_arguments, write_little
from tests.train.test_changes import dying_before
from tests.train.test_checkpoint import trained
from train.checkpoint import (
    TrainState,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
    verify_checkpoint,
)

SETTINGS = ("--batch-size", "10", "--save-every", "1")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """`whole`, a finished run; `broken`, dead after update 4 with the checkpoints of 3 and 4."""
    folder = tmp_path_factory.mktemp("parts")
    write_little(folder, questions=12)
    assert finish(start(little_arguments(folder, folder / "whole", *SETTINGS))) == 0
    words = little_arguments(folder, folder / "broken", *SETTINGS)
    assert finish(start(words, prepare=dying_before(4))) == 9
    assert (folder / "broken" / "best").is_dir()
    return folder


@pytest.fixture
def run(files, tmp_path):
    shutil.copytree(files / "broken", tmp_path / "run")
    return tmp_path / "run"


def resume(run, *more, prepare=None):
    """Exit status and what was said on standard error."""
    errors = run.with_name("errors")
    status = finish(start(["--resume", "--output-dir", str(run), *more], errors, prepare))
    return status, errors.read_text().splitlines()


def content(run):
    return {
        str(path.relative_to(run)): path.read_bytes() if path.is_file() else None
        for path in run.rglob("*")
        if path.name != ".lock"
    }


def drop_best(run):
    shutil.rmtree(run / "best")


def damage_names(run):
    for checkpoint in list_checkpoints(run / "checkpoints"):
        checkpoint.rename(checkpoint.with_name(f"damaged-{checkpoint.name}"))


def empty(run):
    shutil.rmtree(run / "checkpoints")
    (run / "checkpoints").mkdir()


LOSSES = {
    "the folder is gone": lambda run: shutil.rmtree(run / "checkpoints"),
    "the folder and best/ are gone": lambda run: (
        shutil.rmtree(run / "checkpoints"), drop_best(run),
    ),
    "the folder and the log are gone": lambda run: (
        shutil.rmtree(run / "checkpoints"), (run / "log.jsonl").unlink(),
    ),
    "a file in its place": lambda run: (
        shutil.rmtree(run / "checkpoints"), (run / "checkpoints").write_text("x"),
    ),
    "only damaged ones": lambda run: (damage_names(run), drop_best(run)),
    "empty, with best/": empty,
    "empty, with an evaluation in the log": lambda run: (empty(run), drop_best(run)),
}  # fmt: skip


def test_a_run_whose_checkpoints_are_gone_is_not_begun_again_but_refused_untouched(files, tmp_path):
    for what, lose in LOSSES.items():
        run = tmp_path / "run"
        shutil.copytree(files / "broken", run)
        lose(run)
        before = content(run)
        status, said = resume(run)
        assert status == 2, what
        assert len(said) == 1 and "holds no checkpoint, but" in said[0], (what, said)
        assert "nothing was changed" in said[0]
        assert content(run) == before, what
        shutil.rmtree(run)
    figure("R3", f"{len(LOSSES)} ways to lose all checkpoints refused, nothing changed")


def test_a_run_killed_before_its_first_checkpoint_begins_again(files, tmp_path):
    run = tmp_path / "run"
    words = little_arguments(files, run, "--batch-size", "10", "--save-every", "500")
    assert finish(start(words, prepare=dying_before(2))) == 9
    assert list((run / "checkpoints").iterdir()) == []
    assert resume(run) == (0, [])
    assert result(run)[0] == result(files / "whole")[0]


def test_a_refused_resume_changes_nothing(files, run):
    """Neither settings nor log nor checkpoints: not even with changes that were allowed."""
    for checkpoint in list_checkpoints(run / "checkpoints"):
        (checkpoint / "model.safetensors").write_bytes(b"")
    before = content(run)
    status, said = resume(run, "--lr", "0.5", "--allow-change", "lr")
    assert status == 2 and "nothing was changed" in said[0]
    assert content(run) == before


def test_an_allowed_model_of_other_sizes_is_refused_and_the_old_one_goes_on(files, run):
    config = files / "model" / "config.json"
    text = config.read_text()
    before = content(run)
    config.write_text(text.replace('"num_hidden_layers": 2', '"num_hidden_layers": 3'))
    try:
        status, said = resume(run, "--allow-change", "model_sha256")
    finally:
        config.write_text(text)
    assert status == 2 and "other sizes" in said[0]
    assert content(run) == before
    assert resume(run) == (0, [])
    assert result(run) == result(files / "whole")


@pytest.mark.parametrize("what", ["cut", "gone", "garbage", "longer"])
def test_a_log_that_was_cut_or_edited_ends_with_a_whole_line_and_the_run_goes_on(files, run, what):
    log = run / "log.jsonl"
    whole = log.read_bytes()
    log.write_bytes({"cut": whole[:-7], "gone": b"", "garbage": b"x" * len(whole),
                     "longer": whole + b'{"event": "upd'}[what])  # fmt: skip
    status, said = resume(run)
    assert status == 0
    assert [line.startswith("warning: log.jsonl has") for line in said] == [True] * (
        what != "longer"
    )
    assert result(run)[0] == result(files / "whole")[0]
    assert log.read_bytes().endswith(b"\n")
    assert log.read_bytes().startswith(b'{"event":')  # every line is one: `result` has read them


def test_lines_that_cannot_be_read_and_pictures_that_cannot_be_drawn_are_warnings(run):
    log = run / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    lines[0] = b"#" * (len(lines[0]) - 1) + b"\n"
    log.write_bytes(b"".join(lines))
    drawing = eval.plots.training_curves

    def draw():
        eval.plots.training_curves = drawing

    status, said = resume(run, "--max-minutes", "1e-9", prepare=draw)
    assert (status, len(said)) == (0, 1)
    assert said[0].startswith("warning: 1 lines of ")
    assert (run / "training.png").read_bytes().startswith(b"\x89PNG")

    def fail():
        def full(*anything):
            raise OSError(28, "No space left on device")

        eval.plots.training_curves = full

    status, said = resume(run, prepare=fail)
    assert status == 0
    assert "warning: the picture could not be drawn ([Errno 28] No space left on device)" in said


def test_a_picture_that_cannot_be_written_leaves_the_earlier_one(tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    path.write_bytes(b"earlier")

    def full(*anything):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        eval.plots.training_curves(
            [{"event": "update", "update": 1, "epoch": 0, "loss": 1.0}], path
        )
    monkeypatch.undo()
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"x.png": b"earlier"}


@pytest.mark.parametrize("part", ["metrics.json", "predictions.json", "best", "best/config.json"])
def test_a_part_of_the_best_model_that_is_gone_is_made_again_at_once(files, tmp_path, part):
    run = tmp_path / "run"
    shutil.copytree(files / "whole", run)
    (shutil.rmtree if part == "best" else os.unlink)(run / part)
    status, said = resume(run)
    assert status == 0, said
    assert len(said) == 1 and "is gone or damaged; the model as it is now" in said[0]
    assert resume(run) == (0, [])
    card = (run / "best" / "README.md").read_text()
    assert f"| f1 | {json.loads((run / 'metrics.json').read_bytes())['f1']:.4g} |" in card
    assert [line["event"] for line in result(run)[2]][-2:] == ["eval", "eval"]


ENVIRONMENTS = ["[1]", "[null]", '[{"versions":5}]', '["versions"]', "[" * 100_000, "{}", ""]


@pytest.mark.parametrize("written", ENVIRONMENTS, ids=lambda text: text[:20] or "empty")
def test_a_damaged_env_json_is_a_warning(files, run, written):
    (run / "env.json").write_text(written)
    status, said = resume(run)
    assert status == 0
    assert len(said) == 1 and "env.json does not list a run's starts" in said[0]
    assert len(json.loads((run / "env.json").read_bytes())) == 1
    assert result(run) == result(files / "whole")


def changed(group, **values):
    return lambda saved: saved[group].update(values)


OPTIONS = {
    "lr null": changed("options", lr=None),
    "lr text": changed("options", lr="abc"),
    "epochs a list": changed("options", epochs=[1]),
    "train_file a number": changed("options", train_file=5),
    "seed a fraction": changed("options", seed=0.5),
    "amp text": changed("options", amp="no"),
    "accumulate true": changed("options", accumulate=True),
    "commit a number": changed("inputs", model_commit=5),
    "hashes a list": changed("inputs", model_sha256=[1]),
    "hashes gone": lambda saved: saved["inputs"].pop("model_sha256"),
    "changes a number": lambda saved: saved.update(changes=5),
    "changes of numbers": lambda saved: saved.update(changes=[5]),
    "format true": lambda saved: saved.update(format=True),
}


def test_an_options_json_of_wrong_types_is_refused_in_one_sentence(files, run):
    path = run / "options.json"
    good = path.read_text()
    written = {name: json.loads(good) for name in OPTIONS}
    for name, damage in OPTIONS.items():
        damage(written[name])
    texts = {name: json.dumps(values) for name, values in written.items()}
    texts |= {"too deep": "[" * 100_000, "a list": "[]", "twice": '{"options": 1, "options": 2}'}
    for name, text in texts.items():
        path.write_text(text)
        before = content(run)
        status, said = resume(run)
        assert (status, len(said)) == (2, 1), (name, said)
        assert said[0].startswith("error: ") and "Traceback" not in said[0], name
        assert content(run) == before, name
    path.write_text(good)
    assert resume(run) == (0, [])


def edit_state(checkpoint, edit):
    """Change state.json so that its manifest agrees."""
    values = json.loads((checkpoint / "state.json").read_bytes())
    values = edit(values) or values
    text = json.dumps(values).encode()
    (checkpoint / "state.json").write_bytes(text)
    sums = json.loads((checkpoint / "manifest.json").read_bytes())
    sums["state.json"] = hashlib.sha256(text).hexdigest()
    (checkpoint / "manifest.json").write_text(json.dumps(sums))


def set_in(group, **values):
    return lambda state: (state[group] if group else state).update(values)


STATES = {
    "a list": lambda state: [1],
    "no update": lambda state: state["state"].pop("update") and None,
    "another counter": set_in("state", x=1),
    "update text": set_in("state", update="4"),
    "update true": set_in("state", update=True),
    "accumulate text": set_in("state", accumulate="x"),
    "accumulate 0": set_in("state", accumulate=0),
    "best_update text": set_in("state", best_update="x"),
    "best_score a list": set_in("state", best_score=[]),
    "evaluation_due 1": set_in("state", evaluation_due=1),
    "log_bytes text": set_in("", log_bytes="x"),
    "log_bytes below 0": set_in("", log_bytes=-5),
    "scaler gone": lambda state: state.pop("scaler") and None,
    "scaler of other keys": set_in("", scaler={"scale": 1.0}),
    "state a number": set_in("", state=5),
}


def test_a_state_of_wrong_types_is_damage_even_where_its_hash_is_right(files, tmp_path):
    for name, edit in STATES.items():
        run = tmp_path / "run"
        shutil.copytree(files / "broken", run)
        edit_state(run / "checkpoints" / "update-000004", edit)
        status, said = resume(run, "--max-minutes", "1e-9")
        assert status == 0, (name, said)
        assert len(said) == 1 and "going on from update-000003" in said[0], (name, said)
        shutil.rmtree(run)
    figure("R3", f"{len(STATES)} kinds of wrong values behind a right sha256 found")


@pytest.mark.parametrize("manifest", ["[" * 100_000, "[]", "{}", '{"../state.json": "0"}', "5"])
def test_a_manifest_that_is_none_is_damage(tmp_path, manifest):
    folder = save_checkpoint(tmp_path, *trained(), TrainState(update=1), 0, keep=1)
    assert verify_checkpoint(folder) is None
    (folder / "manifest.json").write_text(manifest)
    assert str(verify_checkpoint(folder)).startswith("manifest.json ")


def test_rotation_never_deletes_what_it_has_just_saved_nor_what_is_newer(tmp_path):
    one = trained()
    (tmp_path / "update-999999").mkdir()  # somebody's copy
    for update in (1, 2, 3):
        final = save_checkpoint(tmp_path, *one, TrainState(update=update), 0, keep=1)
        assert verify_checkpoint(final) is None
        assert [p.name for p in list_checkpoints(tmp_path)] == [final.name, "update-999999"]


def test_a_stray_folder_of_a_later_update_does_not_win(files, run):
    stray = run / "checkpoints" / "update-999999"
    stray.mkdir()
    status, said = resume(run, "--max-minutes", "1e-9")
    assert status == 0 and "damaged-update-999999" in said[0]
    shutil.copytree(run / "checkpoints" / "update-000004", stray)
    edit_state(stray, set_in("state", update=999999))
    before = content(run)
    status, said = resume(run)
    assert status == 2 and "999999 updates are made" in said[0]
    assert content(run) == before


def test_a_checkpoint_of_a_run_without_scaler_is_loaded_with_a_fresh_one(tmp_path):
    model, optimizer, _ = trained()
    off = torch_scaler(enabled=False)
    folder = save_checkpoint(tmp_path, model, optimizer, off, TrainState(update=1), 0, keep=1)
    scaler = torch_scaler(enabled=True)
    load_checkpoint(folder, model, optimizer, scaler)
    assert scaler.get_scale() == torch_scaler(enabled=True).get_scale()


def torch_scaler(enabled):
    return torch.amp.GradScaler("cpu", enabled=enabled)


def test_predictions_are_not_written_over_a_runs_own(files, run):
    errors, before = run.with_name("errors"), content(run)
    words = ["--model", str(run), "--data-file", str(files / "dev.json"), "--output-dir", str(run)]
    assert finish(start(words, errors, command=eval.predict.main)) == 2
    assert "is a run folder" in errors.read_text()
    assert content(run) == before


@pytest.mark.parametrize("what", ["loss", "start_logits", "error"])
def test_an_evaluation_that_fails_costs_no_update(files, tmp_path, what):
    """Whatever fails after 5 updates: they are in a checkpoint, and the run ends the same."""
    run, errors = tmp_path / "run", tmp_path / "errors"
    predict_logits = eval.answerer.predict_logits

    def spoilt(*values, **more):
        if what == "error":
            raise OSError(5, "Input/output error")
        logits = predict_logits(*values, **more)
        if what == "loss":
            return logits._replace(loss=float("nan"))
        logits.start_logits[3] = float("inf")
        return logits

    def spoil():
        eval.answerer.predict_logits = spoilt

    words = little_arguments(files, run, "--batch-size", "10", "--save-every", "500")
    assert finish(start(words, errors, spoil)) == (4 if what == "error" else 3)
    said = errors.read_text()
    assert said.count("\n") == 1 and said.startswith("error: ")
    last = list_checkpoints(run / "checkpoints")[-1]
    state = json.loads((last / "state.json").read_bytes())["state"]
    assert (state["update"], state["evaluation_due"]) == (3, True)
    assert resume(run) == (0, [])
    assert result(run)[0] == result(files / "whole")[0]
