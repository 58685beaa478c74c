"""What a matrix says: its sets, what is missing, and the table of what is finished."""

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from minibert.strict_json import counted

if TYPE_CHECKING:
    from eval.matrix import Table
    from train.matrix_cells import Folder
    from train.matrix_config import MatrixConfig
    from train.matrix_plan import Cell, ReadySet, Training


def known_table(
    config: "MatrixConfig",
    folder: "Folder",
    sets: Sequence["ReadySet"],
    work: Sequence[tuple["Training", list["Cell"]]],
) -> "Table":
    """What is finished, as a table."""
    from data.overlap import overlap
    from eval.matrix import Cost, Table

    cells: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
    costs: dict[str, dict[int, Cost]] = {}
    for training, its_cells in work:
        cost = folder.cost(training)
        if cost is not None:
            costs.setdefault(training.row.name, {})[training.seed] = cost
        for cell in its_cells:
            scores = folder.scores(cell)
            if scores is not None:
                pair = training.row.name, cell.answered.name
                cells.setdefault(pair, {})[training.seed] = scores
    by_name = {one.name: one for one in sets}
    trained = {row.name: by_name[row.data].train for row in config.rows}
    return Table(
        rows=list(trained),
        columns=[one.name for one in sets],
        seeds=len(config.seeds),
        cells=cells,
        questions={one.name: one.dev.contexts.questions for one in sets},
        overlaps={
            (row, one.name): overlap(train.contexts, one.dev.contexts)
            for row, train in trained.items()
            if train
            for one in sets
        },
        costs=costs,
        note=f"Start: {config.start}.",
        first=config.first_variant,
    )


def describe(
    config: "MatrixConfig", folder: "Folder", table: "Table", sets: Sequence["ReadySet"]
) -> None:
    """Print the sets, and which contexts an evaluation shares with a training."""
    print(f"{table.note} Seeds: {', '.join(map(str, config.seeds))}. Folder: {folder.path}")
    for one in sets:
        parts = [
            f"{role} {counted(part.contexts.questions, 'question')} "
            f"({part.contexts.impossible:,} impossible) on "
            f"{counted(len(part.contexts.by_context), 'context')}"
            for role, part in (("train", one.train), ("dev", one.dev))
            if part
        ]
        print(f"{one.name}: {'; '.join(parts)}")
    shared = {pair: found for pair, found in table.overlaps.items() if found.contexts}
    for (row, column), found in shared.items():
        print(
            f"contamination: {column}'s dev part shares {counted(found.contexts, 'context')} with "
            f"{row}'s training part; questions about them: {found.questions:,} of "
            f"{table.questions[column]:,}"
        )
    if not shared:
        print("contamination: no context is in a training and a dev part, white space apart")


def say_plan(folder: "Folder", work: Sequence[tuple["Training", list["Cell"]]]) -> None:
    """Print what is there and what is missing."""
    for training, cells in work:
        if not cells:
            continue
        missing = [cell.answered.name for cell in cells if not folder.cell(cell).exists()]
        run = "trained" if folder.is_trained(training) else "to be trained"
        if not folder.is_trained(training) and folder.has_begun(training):
            run = "begun, to be trained on"
        done = len(cells) - len(missing)
        rest = f"; missing: {', '.join(missing)}" if missing else ""
        print(f"{training.title}: {run}; {done} of {len(cells)} cells are there{rest}")


def page_of(table: "Table") -> ModuleType:
    """What shows a table: one of sets, or one of ways to train on a set."""
    from eval import matrix, variants

    return variants if table.first else matrix


def write_table(folder: "Folder", table: "Table", ending: str) -> None:
    """Print the table; write it as Markdown, CSV and picture."""
    from eval.matrix import as_csv, as_runs_csv
    from eval.matrix_plot import matrix_picture
    from eval.variants_plot import variants_picture
    from minibert.files import write_file

    pages = {
        "matrix.md": page_of(table).as_markdown(table),
        "matrix.csv": as_csv(table),
        "runs.csv": as_runs_csv(table),
    }
    for name, content in pages.items():
        write_file(folder.path / name, content.encode())
    draw = variants_picture if table.first else matrix_picture
    picture = draw(table, folder.path / f"matrix.{ending}") if table.cells else None
    print(f"\n{page_of(table).as_text(table)}")
    print(f"table:   {folder.path / 'matrix.md'}, with matrix.csv and runs.csv beside it")
    if picture is not None:
        print(f"picture: {picture}")
    elif not table.cells:
        print("picture: none yet, no run is finished")
