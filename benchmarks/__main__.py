"""Everything that is measured, in one table.

python -m benchmarks --data FOLDER               all of it (FOLDER/squad, FOLDER/vocab)
python -m benchmarks step inference --quick      some of it, few rounds: a look, no figures
python -m benchmarks convert --gigabytes 20      data.convert at the size of Natural Questions
"""

import contextlib
import importlib
import importlib.util
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from data.command import UsageError, parser, run_command

if TYPE_CHECKING:
    from benchmarks.timing import Row

DATA_HELP = "folder with squad/ and vocab/ (default: that of MINIBERT_DATA)"
NAMES = (
    *("step", "classify", "masked_lm", "memory", "inference", "features", "decoding"),
    *("startup", "safety", "convert"),
)
PEERS = {"transformers", "datasets"}


def main(argv: list[str]) -> int:
    """Measure, and print one Markdown table."""
    made = parser("benchmarks", "Time and memory beside transformers, alternately, in one run.")
    made.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; none: all")
    made.add_argument("--data", default="", help=DATA_HELP)
    made.add_argument("--quick", action="store_true", help="small and few rounds: a look")
    made.add_argument(
        "--gigabytes", type=float, default=1.0, help="that convert reads (default: 1)"
    )
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    values, unknown = made.parse_known_args(argv)
    made.refuse_unknown(unknown)
    for name in values.names:
        if name not in NAMES:
            raise UsageError(f"no benchmark is called {name}; there are {', '.join(NAMES)}")
    for package in PEERS if values.names != ["convert"] else ():  # now, not after ten minutes
        if importlib.util.find_spec(package) is None:
            raise UsageError(f"the peer {package} is not installed; `make bench` installs it")
    from benchmarks.timing import table
    from benchmarks.workload import data_folder

    folder = data_folder(values.data)
    rows: list[Row] = []
    for name in values.names or NAMES:
        print(name, end=" ", file=sys.stderr, flush=True)
        begin = time.perf_counter()
        module = importlib.import_module(f"benchmarks.{name}")
        measure = decoding_rows if name == "decoding" else module.measure
        more = (values.gigabytes,) if name == "convert" else ()
        measured = measure(folder, values.quick, *more)
        print(f"{name}: {time.perf_counter() - begin:.0f} s", file=sys.stderr)
        print(table(measured), file=sys.stderr)  # what is measured stays, whatever comes later
        rows += measured
    print(environment() + (", --quick: not figures to quote" if values.quick else "") + "\n")
    print(table(rows))
    return 0


def decoding_rows(folder: Path, quick: bool) -> list["Row"]:
    """Rows of benchmarks.decoding, on the v2 dev file."""
    from benchmarks.decoding import (
        VOCABULARY,
        cold_scores,
        compare,
        make_task,
        ours,
        plain_scores,
        pruned_search,
    )
    from benchmarks.timing import Row, alternate

    count, rounds = (300, 3) if quick else (2000, 9)
    files = folder / "squad" / "dev-v2.0.json", folder / "vocab" / VOCABULARY
    task, gold = make_task(*files, 0, count)
    exact = ours(task)
    with contextlib.redirect_stdout(sys.stderr):  # stdout has the table alone
        compare("synthetic logits", exact, pruned_search(task))
    seconds = alternate(
        {
            "ours": lambda _: ours(task, lists=False),
            "peer": lambda _: pruned_search(task, lists=False),
            "our lists": lambda _: ours(task),
            "peer's lists": lambda _: pruned_search(task),
            "our scorer": lambda _: cold_scores(gold, exact.texts),
            "peer's scorer": lambda _: plain_scores(gold, exact.texts),
        },
        rounds,
    )
    return [
        Row(f"decoding, {count} questions", seconds["ours"], seconds["peer"], goal=6.0),
        Row("the same, with n-best lists", seconds["our lists"], seconds["peer's lists"], goal=6.0),
        Row(f"scoring, {count} questions", seconds["our scorer"], seconds["peer's scorer"]),
    ]


def environment() -> str:
    """What the figures depend on, in one line."""
    from importlib.metadata import version

    import torch

    where = f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads"
    packages = ("torch", "transformers", "tokenizers")
    return ", ".join([*(f"{name} {version(name)}" for name in packages), where])


if __name__ == "__main__":
    run_command(main)
