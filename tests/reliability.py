"""What is promised, the tests that hold it, and what they measured: one page.

    python -m tests.reliability      runs those tests and writes docs/reliability.md

The page counts the tests of a promise and their time; a test that measured more says so with
`figure("R2", "82 kill points, 0 differences")`.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reliability.md"
FILE_VARIABLE = "MINIBERT_FIGURES"


class Promise(NamedTuple):
    """One row of the page.

    Attributes:
        text: what is promised.
        tests: where it is held: "FILE" for a whole file, "FILE::START" for the tests whose names
            start so; below tests/.
    """

    text: str
    tests: tuple[str, ...]


PROMISES = {
    "R1": Promise(
        "A resumed run is the uninterrupted one, bit for bit: weights, optimizer, log, answers",
        (
            "train/test_resume.py::test_resuming",
            "train/test_classify.py::test_a_signal",
            "train/test_pretrain.py::test_killed",
        ),
    ),
    "R2": Promise(
        "SIGKILL at any moment loses at most the work since the last checkpoint",
        ("train/test_kill.py", "train/test_classify.py::test_killed"),
    ),
    "R3": Promise(
        "A damaged checkpoint is noticed and set aside, and the one before is used",
        ("train/test_damage.py", "train/test_checkpoint.py::test_every_damage"),
    ),
    "R4": Promise(
        "Saved means on disk: file, folder, name, in this order",
        (
            "train/test_checkpoint.py::test_a_save_flushes",
            "train/test_checkpoint.py::test_a_file_is_flushed",
            "train/test_checkpoint.py::test_files_have_the_mode",
            "train/test_checkpoint.py::test_a_symbolic_link",
        ),
    ),
    "R5": Promise(
        "Rotation never leaves fewer good checkpoints; the best model is never rotated out",
        ("train/test_kill.py::test_killed_before",),
    ),
    "R6": Promise(
        "A full disk is foreseen where it can be, and costs nothing that was saved",
        ("train/test_disk.py",),
    ),
    "R7": Promise(
        "SIGTERM and SIGINT save and leave within seconds; a second one leaves at once",
        ("train/test_signals.py",),
    ),
    "R8": Promise(
        "A run resumed with other settings or files is refused, with the list",
        ("train/test_changes.py",),
    ),
    "R9": Promise(
        "Two processes in one run folder are impossible",
        ("train/test_changes.py::test_a_folder_in_use", "train/test_changes.py::test_a_run_that"),
    ),
    "R10": Promise(
        "Saving over the model in use is safe",
        ("train/test_changes.py::test_a_model_can_be_saved",),
    ),
    "R11": Promise(
        "Run folders of earlier formats stay readable",
        ("train/test_old_runs.py",),
    ),
    "T1": Promise(
        "k micro-batches are one batch",
        ("train/test_loop.py::test_gradients", "train/test_loop.py::test_twenty"),
    ),
    "T2": Promise(
        "The short last update has its true weight; every window is seen once an epoch",
        ("train/test_loop.py::test_the_short", "train/test_loop.py::test_every_window"),
    ),
    "T3": Promise(
        "The learning rate is a formula of the update's number",
        ("train/test_loop.py::test_the_logged", "train/test_optim.py"),
    ),
    "T4": Promise(
        "A step that the scaler skips advances nothing and is tried again",
        ("train/test_loop.py::test_a_skipped", "train/test_faults.py::test_with_a_scaler"),
    ),
    "T5": Promise(
        "Inf and NaN in loss, logits, a gradient or an embedding never reach a weight",
        (
            "train/test_faults.py::test_without_a_scaler",
            "train/test_faults.py::test_a_finite",
            "train/test_loop.py::test_endless",
        ),
    ),
    "T6": Promise(
        "n ranks train as one process on the same updates, uneven ones too",
        (
            "train/test_ranks.py::test_ranks_train",
            "train/test_ranks.py::test_every_trained",
            "train/test_rank_commands.py::test_classifiers",
            "train/test_rank_commands.py::test_pretraining",
            "train/test_ranks.py::test_memory_that_runs_out",
        ),
    ),
    "T7": Promise(
        "Ranks share an evaluation, and its files are those of one process, byte for byte",
        (
            "train/test_ranks.py::test_answers",
            "train/test_ranks.py::test_each_window",
            "train/test_ranks.py::test_more_ranks",
        ),
    ),
    "T8": Promise(
        "A rank that is killed is named, and torchrun's restart goes on to the same bits",
        ("train/test_torchrun.py", "train/test_ranks.py::test_a_restarted"),
    ),
    "T9": Promise(
        "Out of memory in forward, backward, step or evaluation costs time, not windows",
        (
            "train/test_faults.py::test_out_of_memory",
            "train/test_faults.py::test_one_item",
            "train/test_faults.py::test_a_step",
            "train/test_faults.py::test_a_resumed",
            "train/test_faults.py::test_an_evaluation",
        ),
    ),
    "T10": Promise(
        "The same seed gives the same bits; --deterministic refuses what cannot promise it",
        ("train/test_resume.py::test_two_runs", "train/test_command.py::test_deterministic"),
    ),
    "T12": Promise(
        "Training learns, and from shuffled labels it does not",
        ("train/test_learning.py", "train/test_loop.py::test_eight"),
    ),
    "D1": Promise(
        "No question disappears: as many answers out as questions in",
        ("test_ledger.py::test_all",),
    ),
    "D2": Promise(
        "An answer is exactly context[start:end]",
        ("test_ledger.py::test_answers",),
    ),
    "D3": Promise(
        "Every training answer is in a window, or is listed",
        ("test_ledger.py::test_every",),
    ),
    "D4": Promise(
        "Scores are those of the official rules",
        ("eval/test_squad.py",),
    ),
    "D6": Promise(
        "Bad input is answered in one sentence, and nothing is half-written ([list](errors.md))",
        ("test_errors.py",),
    ),
    "D7": Promise(
        "Whatever a file holds, only our own kinds of error come out, in little memory",
        ("test_fuzz.py",),
    ),
    "S1": Promise(
        "No pickle is ever opened",
        (
            "test_security.py::test_nothing",
            "test_security.py::test_the_search",
            "test_security.py::test_a_pickle",
        ),
    ),
    "S2": Promise(
        "Weights load completely or not at all",
        ("minibert/test_weights.py",),
    ),
    "S3": Promise(
        "A safetensors file is checked before it is loaded",
        ("minibert/test_safetensors_file.py",),
    ),
    "S4": Promise(
        "What the Hub delivers is verified by its content, whatever the Hub does",
        ("minibert/test_hub_faults.py", "minibert/test_hub.py"),
    ),
    "S5": Promise(
        "Nothing is asked beyond what is needed; a pinned model, a resumed run and an offline one "
        "ask nothing; the tests reach loopback only",
        (
            "test_hub_commands.py::test_after_one",
            "test_security.py::test_a_connection",
            "test_security.py::test_a_python",
        ),
    ),
    "S6": Promise(
        "A token is never shown, stored, or sent to another host",
        (
            "test_hub_commands.py::test_after_one",
            "minibert/test_hub.py::test_what_the_hub",
            "minibert/test_hub.py::test_large_files",
        ),
    ),
    "S7": Promise(
        "No name leads out of its folder",
        ("minibert/test_hub_faults.py::test_a_name", "minibert/test_hub.py::test_a_shard"),
    ),
    "S8": Promise(
        "The page of eval.explain loads nothing, and hostile text in it stays text",
        ("eval/test_explain.py",),
    ),
    "S9": Promise(
        "Every version is pinned, with all that it brings",
        ("test_security.py::test_every_package", "test_security.py::test_torch"),
    ),
    "S10": Promise(
        "A saved model holds no path, user or host",
        ("test_hub_commands.py::test_a_saved_model",),
    ),
    "E1": Promise(
        "Odd surroundings end in a result or a sentence: locale, pipes, paths, clocks, full disks, "
        "read-only folders; the exit status tells which",
        ("test_environment_faults.py",),
    ),
}

_figures: list[dict[str, str]] = []
_seconds: dict[str, list[float]] = {}  # test function -> seconds of each of its runs that passed


def figure(promise: str, text: str) -> None:
    """Note what the running test measured for a promise, beside its time."""
    assert promise in PROMISES, promise
    _figures.append({"promise": promise, "figure": text})


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.passed:
        name = report.nodeid.split("[")[0].removeprefix("tests/")
        _seconds.setdefault(name, []).append(report.duration)


def pytest_sessionfinish() -> None:
    values = {"figures": _figures, "seconds": _seconds}
    Path(os.environ[FILE_VARIABLE]).write_text(json.dumps(values), encoding="utf-8")


def measure() -> dict[str, Any]:
    """Run every test that holds a promise; figures and seconds."""
    files = sorted({test.split("::")[0] for promise in PROMISES.values() for test in promise.tests})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json"
        command = [sys.executable, "-m", "pytest", "-p", "tests.reliability"]
        command += [f"tests/{file}" for file in files]
        environment = {**os.environ, FILE_VARIABLE: str(path)}
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        measured: dict[str, Any] = json.loads(path.read_bytes())
        return measured


def page(measured: dict[str, Any]) -> str:
    """docs/reliability.md.

    Raises:
        SystemExit: a promise that no test holds, or one that was skipped.
    """
    lines = [
        "# Reliability",
        "",
        "Promise by promise: the tests that hold it, and what they measured on two CPU cores.",
        "`make reliability` runs them and writes this page; they are part of `make test`.",
        "What safety costs is in [results.md](results.md).",
        "",
        "| | promise | measured | tests below tests/ |",
        "|---|---|---|---|",
    ]
    for name, promise in PROMISES.items():
        runs: list[float] = []
        for test in promise.tests:
            held = [t for n, t in measured["seconds"].items() if n.startswith(test)]
            if not held:
                sys.exit(f"{name}: no test passed that starts with {test} (is MINIBERT_DATA set?)")
            runs += [seconds for times in held for seconds in times]
        told = [entry["figure"] for entry in measured["figures"] if entry["promise"] == name]
        plural = "test" if len(runs) == 1 else "tests"
        told.append(f"{len(runs)} {plural}, {sum(runs):.1f} s")
        tests = ", ".join(f"`{test}`" for test in promise.tests)
        lines.append(f"| {name} | {promise.text} | {'; '.join(told)} | {tests} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(measure()), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
