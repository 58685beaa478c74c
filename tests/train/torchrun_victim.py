"""python -m train.squad under a real torchrun, with ranks that are killed: for test_torchrun.py.

MINIBERT_KILLS holds one JSON list [restart count, rank, module, function, call] for each: in that
start that rank is killed just before that call.
"""

import importlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from data.command import run_command


def kill_at(module: str, name: str, number: int) -> None:
    """Have this process killed just before a function is called the nth time."""
    place = importlib.import_module(module)
    function, calls = getattr(place, name), 0

    def counted(*values: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*values, **more)

    setattr(place, name, counted)


def main(argv: list[str]) -> int:
    """train.squad, with what the environment asks for."""
    import eval.plots
    import train.environment
    import train.squad

    eval.plots.training_curves = lambda *anything: None
    train.environment._commit = lambda: None
    train.squad.show_an_answer = lambda *anything: None
    start, rank = os.environ["TORCHELASTIC_RESTART_COUNT"], os.environ["RANK"]
    with Path(os.environ["MINIBERT_PIDS"]).open("a") as file:
        file.write(f"{os.getpid()}\n")
    for at_start, at_rank, *call in json.loads(os.environ["MINIBERT_KILLS"]):
        if (str(at_start), str(at_rank)) == (start, rank):
            kill_at(*call)
    return train.squad.main(argv)


if __name__ == "__main__":
    sys.argv[0] = "train.squad"
    run_command(main, outlives_readers=True, with_ranks=True)
