"""The tables that are made from other files: in README.md, and in docs/results.md.

    python -m tests.results_pages       # fills them in

A page marks them: `<!-- made: NAME WORD... -->`, then the table, then `<!-- end -->`. NAME is one
of TABLES below, the words are its own. These tables come from files that commands wrote and from
other tables, and tests/test_results.py fails when one is stale. The prose around them repeats some
of their figures by hand: read it again when a table changes.
"""

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from data.overlap import Overlap
from eval import variants
from eval.matrix import Cost, Table
from eval.text_table import Column, as_markdown
from train.recipe import read_recipe, recipe_names

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results.md"
PAGES = (RESULTS, ROOT / "README.md")  # in this order: the second is made from the first
_MARKED = re.compile(r"(<!-- made: ([^\n]+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def made(page: Path) -> str:
    """A page as it should be."""

    def filled(found: re.Match[str]) -> str:
        name, *words = found[2].split()
        return f"{found[1]}{TABLES[name](words)}\n{found[3]}"

    return _MARKED.sub(filled, page.read_text(encoding="utf-8"))


def ablations(words: Sequence[str]) -> str:
    """Some ways to train, of a file that is the runs.csv of `train.matrix docs/ablations...toml`.

    Args:
        words: name of the file, then of the rows beside the first one.
    """
    stem, *rows = words
    table = read_runs(ROOT / "docs" / f"{stem}.csv")
    return as_markdown(variants.columns(table, table.columns[0], [table.rows[0], *rows]))


def read_runs(path: Path) -> Table:
    """The table whose runs.csv a file is; of one answered set."""
    cells: dict[tuple[str, str], dict[int, dict[str, float]]] = {}
    costs: dict[str, dict[int, Cost]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            row, column, seed = line.pop("train"), line.pop("eval"), int(line.pop("seed"))
            known = {name: float(value) if value else None for name, value in line.items()}
            costs.setdefault(row, {})[seed] = Cost(**{n: known.pop(n) for n in Cost._fields})
            scores = {name: value for name, value in known.items() if value is not None}
            cells.setdefault((row, column), {})[seed] = scores
    rows = list(dict.fromkeys(row for row, _ in cells))
    columns = list(dict.fromkeys(column for _, column in cells))
    seeds = max(map(len, cells.values()))
    none = dict.fromkeys(cells, Overlap(0, 0))
    return Table(rows, columns, seeds, cells, {}, none, "", costs, first=rows[0])


def recipes(_: Sequence[str]) -> str:
    """Every recipe with what its makers got and what it must reach."""
    found = [read_recipe(name) for name in recipe_names()]
    return as_markdown(
        [
            Column("recipe", [f"`{recipe.name}`" for recipe in found], right=False),
            Column("what it is", [recipe.about for recipe in found], right=False),
            Column("the original's", [_listed(recipe.published) for recipe in found], right=False),
            Column(
                "must reach",
                [_listed({n: f"{a:g} to {b:g}" for n, (a, b) in r.gate.items()}) for r in found],
                right=False,
            ),
        ]
    )


def _listed(values: Mapping[str, object]) -> str:
    named = ((variants.HEADINGS.get(k, k.replace("_", " ")), v) for k, v in values.items())
    return ", ".join(f"{name} {value}" for name, value in named) or "-"


TWEETERS = ("softmax", "birnn", "BERT, embedded weights")


def mistakes() -> str:
    """F1 as it should be, and with all of the report's mistakes, in the demo's world."""
    table = read_runs(ROOT / "docs" / "ablations-demo.csv")
    return " / ".join(table.said(row, "demo", "f1") for row in (table.rows[0], "report"))


def summary(_: Sequence[str]) -> str:
    """The README's table: a choice of the figures of docs/results.md."""
    page = tables_of(made(RESULTS))

    def cell(heading: str, row: str, column: str) -> str:
        return figure(page, heading, row, column)

    def ratios(*rows: str) -> str:
        return " / ".join(cell("Speed", row, "peer / ours").split()[0] for row in rows)

    def goals(*rows: str) -> str:
        return " / ".join(cell("Speed", row, "goal").removeprefix(">= ") for row in rows)

    def equal(row: str) -> str:
        return cell("Equal to the reference", row, "figure")

    step, inference = "training step, small, 4 x 16 windows: ", "inference, small, 384 windows: "
    steps = step + "padded to 384", step + "dynamic", step + "grouped"
    answers = inference + "padded to 384", inference + "dynamic", inference + "length-sorted"
    work = "features, 3000 questions: datasets.map", "the same, with n-best lists"
    lines = [
        (
            "logits against transformers, BERT and DistilBERT",
            equal("forward"),
            "the same",
            "`pytest tests/minibert/test_parity.py`",
        ),
        (
            "windows of both SQuAD dev sets against run_qa's",
            equal("windows at 384/128"),
            "all",
            "`pytest tests/data/test_windows.py`",
        ),
        (
            "figures of evaluate-v2.0.py on six prediction files",
            equal("scorer"),
            "1e-9",
            "`pytest tests/eval/test_squad.py`",
        ),
        (
            "the demo's F1 / with all of the report's mistakes",
            mistakes(),
            "90 / 32 (bert-base on SQuAD 2.0)",
            "`make demo`, docs/ablations-demo.toml",
        ),
        (
            "vaccine tweets, accuracy: softmax / recurrent / small BERT",
            " / ".join(cell("Tweets", m, "accuracy").split()[0] for m in TWEETERS),
            "71 / 70 / 71 (bert-base)",
            "`train.classify`",
        ),
        (
            "training step: transformers padded to 384 / dynamic / group_by_length",
            ratios(*steps),
            goals(*steps),
            "`make bench`",
        ),
        (
            "inference: padded to 384 / dynamic / length-sorted",
            ratios(*answers),
            goals(*answers),
            "`make bench`",
        ),
        ("features; decoding with n-best lists", ratios(*work), goals(*work), "`make bench`"),
    ]
    heads = ("what", "ours", "goal, or the original", "command")
    return as_markdown(
        [
            Column(head, cells, right=False)
            for head, cells in zip(heads, zip(*lines, strict=True), strict=True)
        ]
    )


Tables = Mapping[str, Sequence[Mapping[str, str]]]  # heading -> lines of its tables: name -> cell


def tables_of(page: str) -> Tables:
    """Every table of a Markdown page, under its heading."""
    found: dict[str, list[dict[str, str]]] = {}
    heading, names = "", list[str]()
    for line in page.splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
        if not line.startswith("|"):
            names = []
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line[1:-1])]
        if not names:
            names = cells
        elif set(line) - set("|-: "):
            found.setdefault(heading, []).append(dict(zip(names, cells, strict=True)))
    return found


def figure(tables: Tables, heading: str, row: str, column: str) -> str:
    """One cell.

    Args:
        tables: of a page.
        heading: above the table.
        row: the first cell of its line, or how the only such line begins.
        column: of the cell.
    """
    lines = [(next(iter(line.values())), line) for line in tables[heading] if column in line]
    found = [line for name, line in lines if name == row]
    found = found or [line for name, line in lines if name.startswith(row)]
    (line,) = found
    return line[column]


TABLES: dict[str, Callable[[Sequence[str]], str]] = {
    "ablations": ablations,
    "recipes": recipes,
    "summary": summary,
}


def main() -> None:
    """Write the pages that are stale."""
    for page in PAGES:
        content = made(page)
        if content != page.read_text(encoding="utf-8"):
            page.write_text(content, encoding="utf-8")
            print(page.relative_to(ROOT))


if __name__ == "__main__":
    main()
