"""A damaged newest checkpoint is found out, set aside, and the one before leads to the same end."""

import os
import shutil

import pytest

import train.loop
from tests.reliability import figure
from tests.train.killing import finish, result, start
from tests.train.little import little_arguments, write_little
from train.checkpoint import list_checkpoints

FILES = ("model.safetensors", "optimizer.safetensors", "state.json", "manifest.json")
SETTINGS = ("--batch-size", "10", "--save-every", "1")


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


def swap(one, other):
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


DAMAGES = {
    **{f"one bit of {f}": (lambda new, old, f=f: flip(new / f)) for f in FILES},
    **{f"{f} cut": (lambda new, old, f=f: (new / f).write_bytes((new / f).read_bytes()[:-1]))
       for f in FILES},
    **{f"{f} empty": (lambda new, old, f=f: (new / f).write_bytes(b"")) for f in FILES},
    **{f"{f} missing": (lambda new, old, f=f: (new / f).unlink()) for f in FILES},
    **{f"{f} of the checkpoint before": (lambda new, old, f=f: shutil.copy(old / f, new / f))
       for f in FILES},
    "all files of the checkpoint before": lambda new, old: [
        shutil.copy(old / f, new / f) for f in FILES
    ],
    "an empty folder": lambda new, old: [path.unlink() for path in new.iterdir()],
    "a file in the place of a folder": lambda new, old: (
        (new / FILES[0]).unlink(), (new / FILES[0]).mkdir(),
    ),
}  # fmt: skip


def stop_before(number):
    """A `prepare`: the run ends before the nth update as a signal would end it."""

    def prepare():
        seed_update = train.loop.seed_update

        def stopping(seed, update, *rest):
            if update == number:
                os._exit(9)
            seed_update(seed, update, *rest)

        train.loop.seed_update = stopping

    return prepare


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A whole run, and one that ended after update 4 with the checkpoints of 3 and 4."""
    folder = tmp_path_factory.mktemp("damage")
    write_little(folder, questions=12)
    assert finish(start(little_arguments(folder, folder / "whole", *SETTINGS))) == 0
    broken = little_arguments(folder, folder / "broken", *SETTINGS)
    assert finish(start(broken, prepare=stop_before(4))) == 9
    assert [path.name for path in list_checkpoints(folder / "broken" / "checkpoints")] == [
        "update-000003",
        "update-000004",
    ]
    return folder


def resume(run, errors):
    """Exit status and what was said on standard error."""
    status = finish(start(["--resume", "--output-dir", str(run)], errors))
    return status, errors.read_text().splitlines()


def test_every_damage_is_found_and_the_run_ends_the_same(files, tmp_path):
    expected = result(files / "whole")
    for what, damage in DAMAGES.items():
        run = tmp_path / "run"
        shutil.copytree(files / "broken", run)
        new, old = run / "checkpoints/update-000004", run / "checkpoints/update-000003"
        damage(new, old)
        status, said = resume(run, tmp_path / "errors")
        assert status == 0, (what, said)
        assert len(said) == 1, (what, said)
        assert said[0].startswith("warning: update-000004 is damaged ("), what
        assert said[0].endswith("set aside as damaged-update-000004, going on from update-000003")
        assert result(run) == expected, what
        assert (run / "checkpoints" / "damaged-update-000004").is_dir()
        shutil.rmtree(run)
    figure("R3", f"{len(DAMAGES)} of {len(DAMAGES)} kinds of damage found")


def test_what_a_killed_save_leaves_behind_is_no_damage(files, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(files / "broken", run)
    shutil.copytree(run / "checkpoints/update-000004", run / "checkpoints/.update-000005.tmp")
    (run / "checkpoints/update-000004/.state.json.77.tmp").write_text("half")
    (run / ".options.json.77.tmp").write_text("half")
    assert resume(run, tmp_path / "errors") == (0, [])
    assert result(run) == result(files / "whole")
    assert not list(run.rglob("*.tmp"))


def test_with_every_checkpoint_damaged_nothing_is_touched_and_the_status_is_2(files, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(files / "broken", run)
    for checkpoint in list_checkpoints(run / "checkpoints"):
        flip(checkpoint / "optimizer.safetensors")

    def content():
        own = ("env.json", ".lock")  # every start leaves its entry in these two
        files = (path for path in run.rglob("*") if path.is_file() and path.name not in own)
        return {path: path.read_bytes() for path in files}

    before = content()
    for _ in range(2):  # the second time as well: no fresh start over the damaged ones
        status, said = resume(run, tmp_path / "errors")
        assert status == 2
        assert len(said) == 1
        assert "every checkpoint in" in said[0]
        assert "update-000003: optimizer.safetensors" in said[0]
        assert "update-000004: optimizer.safetensors" in said[0]
        assert content() == before


def test_a_quarantine_never_takes_the_place_of_an_earlier_one(files, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(files / "broken", run)
    earlier = run / "checkpoints" / "damaged-update-000004"
    earlier.mkdir()
    (earlier / "keep").write_text("me")
    flip(run / "checkpoints/update-000004/model.safetensors")
    status, said = resume(run, tmp_path / "errors")
    assert status == 0
    assert "set aside as damaged-update-000004.2" in said[0]
    assert (earlier / "keep").read_text() == "me"
    assert (run / "checkpoints/damaged-update-000004.2/model.safetensors").is_file()


def test_a_checkpoint_of_a_later_version_is_not_guessed_at(files, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(files / "broken", run)
    options = run / "options.json"
    options.write_text(options.read_text().replace('"format": 1', '"format": 2', 1))
    status, said = resume(run, tmp_path / "errors")
    assert status == 2
    assert "format 2, this version reads up to 1" in said[0]
