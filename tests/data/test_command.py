"""Options from a dataclass; every expected error one sentence on stderr, with its exit status."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from data.command import UsageError, explicit, option, parse, run_command
from data.failures import CommandError

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Basic:
    train_file: str = option(help="where the 100% real questions are")
    seed: int = option(7, help="of the order")


@dataclass(frozen=True)
class Options(Basic):
    epochs: float = option(2.0, help="passes")
    amp: bool = option(False, help="mixed precision")
    plots: bool = option(True, help="draw pictures", group="output")
    doc_step: int | None = option(None, help="tokens")
    optimizer: str = option("adamw", help="which", choices=("adamw", "adam"))
    note: str = option("", help="free text", metavar="TEXT")

    def __post_init__(self) -> None:
        if self.epochs <= 0:
            raise UsageError(f"--epochs is {self.epochs}, expected more than 0")


def parsed(*argv: str, **more: Any) -> Options:
    return parse(Options, argv, prog="train.x", description="Trains.", epilog="examples", **more)


def refusal(*argv: str) -> str:
    with pytest.raises(UsageError) as caught:
        parsed(*argv)
    return str(caught.value)


# --- options


def test_a_field_is_a_flag_with_dashes_its_type_and_its_default() -> None:
    assert parsed("--train-file", "x") == Options("x", 7, 2.0, False, True, None, "adamw", "")
    given = parsed("--train-file=x", "--epochs", "0.5", "--seed", "-1", "--optimizer", "adam")
    assert (given.epochs, given.seed, given.optimizer) == (0.5, -1, "adam")


def test_an_alias_is_taken_for_the_flag_and_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass(frozen=True)
    class Files:
        data_file: str = option(help="questions", alias="data")
        note: str = option("", help="free text")

    def read(*argv: str) -> Files:
        return parse(Files, argv, prog="x", description="y")

    for words in (["--data-file", "a"], ["--data", "a"], ["--data=a", "--note", "data"]):
        assert read(*words).data_file == "a" and "data_file" in explicit(Files, words)
    assert explicit(Files, ["--note=--data"]) == {"note"} and read("--data=b=--data").data_file[1:]
    with pytest.raises(UsageError, match="required: --data-file"):
        read("--note", "a")
    with pytest.raises(SystemExit):
        read("--help")
    assert "--data-file" in (shown := capsys.readouterr().out) and "--data " not in shown


def test_words_without_a_flag_are_those_of_the_positional_field() -> None:
    @dataclass(frozen=True)
    class Texts:
        texts: tuple[str, ...] = option((), help="files", metavar="TEXT", positional=True)
        seed: int = option(7, help="of the order")

    def texts(*argv: str, **more: Any) -> Texts:
        return parse(Texts, argv, prog="train.x", description="Trains.", **more)

    assert texts() == Texts((), 7)
    assert texts("a", "b", "--seed", "1") == Texts(("a", "b"), 1)
    assert texts(defaults={"texts": ("c",)}) == Texts(("c",), 7)
    assert texts("a", defaults={"texts": ["c"]}) == Texts(("a",), 7)


def test_a_boolean_has_a_flag_for_each_value_and_the_last_one_wins() -> None:
    assert parsed("--train-file", "x", "--amp", "--no-plots") == Options("x", amp=True, plots=False)
    assert not parsed("--train-file", "x", "--amp", "--no-amp").amp


def test_an_optional_number_is_none_until_it_is_given() -> None:
    assert parsed("--train-file", "x").doc_step is None
    assert parsed("--train-file", "x", "--doc-step", "128").doc_step == 128


def test_given_defaults_replace_those_of_the_dataclass_and_flags_replace_both() -> None:
    defaults = {"train_file": "demo", "epochs": 9.0, "amp": True}
    assert parsed(defaults=defaults) == Options("demo", 7, 9.0, True)
    assert parsed("--epochs", "3", "--no-amp", defaults=defaults) == Options("demo", 7, 3.0, False)


def test_explicit_names_the_options_that_were_given_whatever_their_value() -> None:
    words = ["--epochs=2.0", "--no-amp", "--train-file", "--odd"]
    assert explicit(Options, words) == {"epochs", "amp", "train_file"}


def test_help_has_every_flag_with_its_default_and_its_group(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as left:
        parsed("--help")
    assert left.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for piece in (
        "usage: python -m train.x",
        "Trains.",
        "--train-file TRAIN_FILE where the 100% real questions are (required)",
        "passes (default: 2.0)",
        "--amp, --no-amp mixed precision (default: off)",
        "output: --plots, --no-plots draw pictures (default: on)",
        "--doc-step DOC_STEP tokens --optimizer {adamw,adam} which (default: adamw)",
        "--note TEXT free text",
        "examples",
    ):
        assert piece in shown
    assert shown.count("options:") == 1
    assert shown.index("--note") < shown.index(
        "--train-file TRAIN"
    )  # a command's own options first


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--epoch", "3"], "unknown flag --epoch; did you mean --epochs?"),
        (["--optimiser=adam"], "unknown flag --optimiser; did you mean --optimizer?"),
        (["--zzz"], "unknown flag --zzz; see python -m train.x --help"),
        (["stray"], "unknown argument stray; see python -m train.x --help"),
        (["--epochs", "two"], "argument --epochs: invalid float value: 'two'"),
        (["--doc-step", "1.5"], "argument --doc-step: invalid int value: '1.5'"),
        (["--epochs"], "argument --epochs: expected one argument"),
        (["--optimizer", "sgd"], "argument --optimizer: invalid choice: 'sgd'"),
        (["--epochs", "0"], "--epochs is 0.0, expected more than 0"),
    ],
)
def test_a_wrong_flag_is_refused_in_a_sentence(argv: list[str], message: str) -> None:
    assert refusal("--train-file", "x", *argv).startswith(message)


def test_a_missing_required_flag_is_named() -> None:
    assert "--train-file" in refusal("--epochs", "1")


def test_an_abbreviated_flag_is_refused_so_that_new_flags_break_no_scripts() -> None:
    assert refusal("--train-file", "x", "--epo", "3").startswith("unknown flag --epo; did you")


# --- running


def status_of(
    main: Any, monkeypatch: pytest.MonkeyPatch, *argv: str
) -> int | str | None:  # as a process would leave
    monkeypatch.setattr(sys, "argv", ["command", *argv])
    monkeypatch.setattr("warnings.showwarning", None)  # run_command sets it; put back afterwards
    with pytest.raises(SystemExit) as left:
        run_command(main)
    return left.value.code


def raising(error: BaseException) -> Any:
    def main(argv: list[str]) -> int:
        raise error

    return main


def because(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def test_the_status_of_main_is_the_status_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    assert status_of(lambda argv: seen.extend(argv) or 0, monkeypatch, "a", "--b") == 0
    assert seen == ["a", "--b"]
    assert status_of(lambda argv: 1, monkeypatch) == 1


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UsageError("no such flag"), 2, "error: no such flag\n"),
        (ValueError("two\n  lines\there"), 2, "error: two lines here\n"),
        (FileNotFoundError(2, "No such file", "x.json"), 2, "error: [Errno 2] No such file"),
        (CommandError("the loss is nan", 3), 3, "error: the loss is nan\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (
            OSError(28, "No space left", "x.json"),
            4,
            "error: the disk takes no more (No space left: x",
        ),
        (OSError(5, "Input/output error"), 4, "error: the disk takes no more (Input/output error)"),
        (OSError(12, "Cannot allocate memory"), 5, "error: out of memory ([Errno 12] Cannot alloc"),
        (MemoryError(), 5, "error: out of memory (MemoryError); use smaller batches: --accumulate"),
        (because(ValueError("x cannot be stored"), OSError(122, "quota")), 4, "error: x cannot be"),
        (
            because(ValueError("x is not there"), OSError(2, "no file")),
            2,
            "error: x is not there\n",
        ),
    ],
)
def test_an_expected_error_is_one_line_on_stderr(
    error: BaseException,
    status: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert status_of(raising(error), monkeypatch) == status
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.startswith(line) and shown.err.count("\n") == 1


def test_debug_shows_the_traceback_and_keeps_the_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(raising(UsageError("odd")), monkeypatch, "--debug") == 2
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback") and "raise error" in shown and "UsageError: odd" in shown


def test_a_mistake_of_our_own_is_never_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["command"])
    monkeypatch.setattr("warnings.showwarning", None)
    with pytest.raises(KeyError):
        run_command(raising(KeyError("a bug")))


COMMAND = """
import sys, time, warnings
from data.command import run_command

def main(argv):
    if argv[0] == "warn":
        warnings.warn("the clock is slow")
        return 0
    print("ready", flush=True)
    if argv[0] == "sleep":
        time.sleep(60)
    if argv[0] == "one line":
        sys.stdin.readline()
        print("a line that waits in the buffer")
        return 0
    for number in range(10**6):
        print("a line that fills the pipe", number)
    return 0

run_command(main)
"""


def started(*argv: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *argv],
        cwd=ROOT,
        env={key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # a job in the background inherits "ignore Ctrl-C", which Python then leaves so
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_ctrl_c_leaves_with_130_and_one_word() -> None:
    with started("sleep") as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "interrupted\n")


@pytest.mark.parametrize("output", ["one line", "very many lines"])
def test_a_reader_that_leaves_ends_the_command_quietly(output: str) -> None:
    with started(output) as process:
        assert process.stdin and process.stdout and process.stderr
        assert process.stdout.readline() == "ready\n"
        process.stdout.close()
        process.stdin.close()
        errors = process.stderr.read()
        assert process.wait(timeout=30) == 0
    assert errors == ""


def test_a_warning_is_one_line_without_our_source() -> None:
    with started("warn") as process:
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (0, "", "warning: the clock is slow\n")


def test_sigterm_while_an_error_is_told_changes_neither_line_nor_status(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def told(error: BaseException) -> tuple[str, int]:
        os.kill(os.getpid(), signal.SIGTERM)
        return "error: the first reason", 6

    def fail(argv: list[str]) -> int:
        raise ValueError

    monkeypatch.setattr("data.command.explain", told)
    monkeypatch.setattr(sys, "argv", ["command"])
    with pytest.raises(SystemExit) as leaving:
        run_command(fail)
    assert leaving.value.code == 6
    assert capfd.readouterr().err == "error: the first reason\n"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
