"""The table of tables: fine-tune on each of several data sets, score each model on all of them.

python -m train.matrix matrix.toml                     all cells, then the table and its heat map
python -m train.matrix matrix.toml --only squad:nq     one cell; many such jobs may share a folder

python -m train.matrix --demo                          five little sets made here, in a minute

docs/matrix.md explains the config, what is kept, and how to read the table.
"""

import difflib
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from data.command import UsageError, option, parse, run_command
from data.options import PICTURES
from minibert.strict_json import shown

if TYPE_CHECKING:
    from train.matrix_cells import Folder, Machine
    from train.matrix_config import MatrixConfig
    from train.matrix_plan import Cell, Training

POLL_SECONDS = 5.0  # between looks at what other processes are making

_EPILOG = """examples:
  python -m train.matrix --demo
  python -m train.matrix docs/matrix.toml --data-dir data --output-dir runs/matrix
  python -m train.matrix docs/matrix.toml --data-dir data --output-dir runs/matrix --only 'quac:*'

The same command again goes on where it ended, whatever ended it. exit status: as train.squad's"""


@dataclass(frozen=True)
class MatrixOptions:
    """Options of `python -m train.matrix`; what is trained and how stands in the config."""

    config: tuple[str, ...] = option(
        (), help="TOML file: data sets, model, settings", metavar="CONFIG", positional=True
    )
    demo: bool = option(
        False, help="in place of CONFIG: five little sets made here, the embedded model"
    )
    output_dir: str = option("", help="where all is kept (default: runs/NAME of the config)")
    data_dir: str = option(
        "", help="what relative paths in the config start from (default: the config's folder)"
    )
    only: str | None = option(
        None, help="cells to make, as in squad:nq or quac:*,*:newsqa (trained on : answered)"
    )
    train_fraction: float | None = option(
        None,
        help="part of the questions of each training set, drawn with the seed; wins over the "
        "config's, also over a set's and a variant's own",
    )
    pictures: str = option("png", help="format of the heat map", choices=PICTURES)
    wait: bool = option(True, help="wait for cells that other processes are making")
    dry_run: bool = option(False, help="say what is there and what would be made")
    device: str = option("auto", help="auto, cpu, cuda, cuda:N or mps", group="machine")
    threads: int = option(0, help="CPU threads, 0 = torch's own choice", group="machine")


def main(argv: list[str]) -> int:
    """Make the missing cells, write the table."""
    options = parse(
        MatrixOptions, argv, prog="train.matrix", epilog=_EPILOG,
        description="Fine-tune on each data set of a config, and score each model on all of them.",
    )  # fmt: skip
    if options.demo and (options.config or options.data_dir):
        useless = options.config[0] if options.config else "--data-dir"
        raise UsageError(f"--demo brings its own config and data; leave out {useless}")
    if not options.demo and len(options.config) != 1:
        raise UsageError(
            f"train.matrix takes one config, got {len(options.config)}; docs/matrix.toml is an "
            "example, --demo needs none"
        )
    from train.matrix_config import read_config
    from train.squad_options import SquadOptions

    overrides: dict[str, Any] = {}
    if options.train_fraction is not None:
        overrides["train_fraction"] = options.train_fraction
    SquadOptions(threads=options.threads, **overrides)  # checks them

    from eval.prediction_files import check_folder
    from minibert.device import choose_device
    from train.matrix_cells import Folder, Machine
    from train.matrix_demo import CONFIG, write_demo_matrix
    from train.matrix_plan import Cell, ready_sets, trainings
    from train.matrix_table import describe, known_table, page_of, say_plan, write_table

    choose_device(options.device)  # checks it
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    path, data = Path(CONFIG if options.demo else options.config[0]), options.data_dir
    folder = Folder(Path(options.output_dir or f"runs/{path.stem}"))
    check_folder("--output-dir", folder.path)
    with TemporaryDirectory() if options.dry_run else nullcontext(folder.path) as place:
        if options.demo:
            path = write_demo_matrix(Path(place) / "demo")
        config = read_config(path, Path(data) if data else None, overrides)
        chosen = chosen_pairs(config, options.only)
        sets = ready_sets(config, Path(place) / "data")
    work = [
        (training, [Cell(training, one) for one in sets]) for training in trainings(config, sets)
    ]
    table = known_table(config, folder, sets, work)
    describe(config, folder, table, sets)
    wanted = [
        (training, [cell for cell in cells if (training.row.name, cell.answered.name) in chosen])
        for training, cells in work
    ]
    if options.dry_run:
        say_plan(folder, wanted)
        if table.cells:
            print(f"\n{page_of(table).as_text(table)}", end="")
        return 0
    machine = Machine(options.device, options.threads)
    status, busy = make_all(folder, wanted, machine, wait=options.wait)
    table = known_table(config, folder, sets, work)
    write_table(folder, table, options.pictures)
    if busy:
        others = "; ".join(f"{training.title}, by {owner}" for training, owner in busy)
        raise UsageError(
            f"cells are being made by others ({others}); the rest is done, run again for theirs, "
            "or with --wait"
        )
    return status


def chosen_pairs(config: "MatrixConfig", only: str | None) -> set[tuple[str, str]]:
    """The (trained on, answered) names that --only wants; all without it.

    Raises:
        UsageError: a pattern that is none, or chooses nothing.
    """
    rows = [row.name for row in config.rows]
    columns = [one.name for one in config.sets]
    pairs = {(row, column) for row in rows for column in columns}
    if only is None:
        return pairs
    chosen = set()
    for pattern in map(str.strip, only.split(",")):
        train, colon, answered = pattern.partition(":")
        train, answered = train.strip(), answered.strip()
        if not colon:
            raise UsageError(
                f"--only has {shown(pattern)}, which is no pair of a row and a set, expected as in "
                "squad:nq"
            )
        for what, names in ((train, rows), (answered, columns)):
            if not any(fnmatchcase(name, what) for name in names):
                near = difflib.get_close_matches(what, names, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
                none = f"no row is {what!r}" if names is rows else f"no set {what!r} is answered"
                raise UsageError(f"--only {pattern}: {none}; {hint}")
        chosen |= {p for p in pairs if fnmatchcase(p[0], train) and fnmatchcase(p[1], answered)}
    return chosen


def make_all(
    folder: "Folder",
    work: Sequence[tuple["Training", list["Cell"]]],
    machine: "Machine",
    *,
    wait: bool,
) -> "tuple[int, list[tuple[Training, str]]]":
    """Make every missing cell; what another process is making is left to the end.

    Returns:
        0, or the exit status of a training that was stopped; and, if not to wait for them, the
        trainings whose missing cells others make, and who does.
    """
    from train.matrix_cells import make_cells

    told: set[str] = set()
    while True:
        busy: list[tuple[Training, str]] = []
        for training, cells in work:
            status, owner = make_cells(folder, training, cells, machine)
            if status:
                print("the matrix goes on where it stopped with the same command")
                return status, []
            if owner:
                busy.append((training, owner))
        if not busy or not wait:
            return 0, busy
        for training, owner in busy:
            if owner not in told:
                print(f"waiting for {owner}, which is at {training.title}", flush=True)
                told.add(owner)
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    run_command(main, outlives_readers=True)
