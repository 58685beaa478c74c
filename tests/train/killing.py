"""Runs of the training command in forked children that are killed, signalled, or short of disk."""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

# What the command imports late is imported here, once, and not again in every child.
import torch._dynamo  # noqa: F401  the first optimizer imports it: a second

import eval.answer
import eval.plots
import eval.predict
import train.disk
import train.dry_run
import train.environment
import train.loop
import train.model_card
import train.run
import train.squad
import train.wiring
from data.command import run_command
from tests.forked import finish as finish

FILE_EVENTS = frozenset(("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"))
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def start(
    arguments: list[str],
    errors: Path | None = None,
    prepare: Callable[[], None] | None = None,
    command: Callable[[list[str]], int] = train.squad.main,
) -> int:
    """Fork a child that runs the command (torch is imported once for all); its process number.

    Args:
        arguments: of the command.
        errors: file for what it says on standard error.
        prepare: called in the child before it begins.
        command: whose `main`.
    """
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        said = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if errors else nothing
        for stream, number in ((nothing, 0), (nothing, 1), (said, 2)):
            os.dup2(stream, number)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        sys.argv = ["command", *arguments]
        # of no part in what is compared: the picture, the commit (asks git), the answer shown
        eval.plots.training_curves = lambda *anything: None
        train.environment._commit = lambda: None
        train.squad.show_an_answer = lambda *anything: None
        if prepare:
            prepare()
        run_command(command, with_ranks=True)
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 0
        sys.stderr.flush()
    finally:
        os._exit(status)


def at_file_event(folder: Path, number: int, act: Callable[[], None]) -> Callable[[], None]:
    """A `prepare` that acts just before the process changes a file below `folder` the nth time.

    Events are openings for writing, renamings (exchanges too), removals, new and removed folders.
    """
    root, seen = f"{folder}", 0

    def hook(event: str, values: tuple[object, ...]) -> None:
        nonlocal seen
        if event not in FILE_EVENTS or not isinstance(values[0], str | os.PathLike):
            return
        if event == "open" and not (isinstance(values[2], int) and values[2] & WRITING):
            return
        path = os.fspath(values[0])
        if event in ("os.remove", "os.rmdir") and values[1] != -1:
            # shutil.rmtree names a file by its folder's descriptor and its own short name
            path = f"{os.readlink(f'/proc/self/fd/{values[1]}')}/{path}"
        if path.startswith(root):
            seen += 1
            if seen == number:
                act()

    return lambda: sys.addaudithook(hook)


def result(run: Path) -> tuple[dict[str, str], dict[str, object], list[dict[str, object]]]:
    """All that must be equal: hashes of the last checkpoint, best model and answers; the last
    checkpoint's counters; the log without its times."""
    last = sorted((run / "checkpoints").glob("update-*"))[-1]
    files = [
        *sorted(last.iterdir()),
        *sorted((run / "best").iterdir()),
        *sorted(run.glob("*.json")),
    ]
    # log_bytes counts the times too, whose digits vary; env.json has an entry for every start
    varying = ("state.json", "manifest.json", "env.json", "options.json")
    hashes = {
        str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.name not in varying
    }
    state = json.loads((last / "state.json").read_bytes())
    del state["log_bytes"]
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    for line in log:
        del line["time"]
    return hashes, state, log


def go_on(arguments: list[str], run: Path) -> list[str]:
    """What a user types after a crash: --resume, or the first command again if there is no run."""
    return ["--resume", "--output-dir", str(run)] if (run / "options.json").exists() else arguments
