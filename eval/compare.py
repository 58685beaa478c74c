"""Finished runs side by side: what differs, scores, time; differences with intervals.

python -m eval.compare runs/a runs/b                 classifiers, or SQuAD runs
python -m eval.compare runs/raw-? runs/light-?       seeds of two settings: mean, deviation
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.command import UsageError, option, parse, run_command

if TYPE_CHECKING:
    from eval.compare_tables import Row
    from eval.dev_items import DevItems
    from eval.finished_run import FinishedRun
    from eval.run_groups import Group
    from eval.text_table import Column

WIDTH = 100  # characters of a line
_EPILOG = """examples:
  python -m eval.compare runs/raw runs/light
  python -m eval.compare runs/raw-1 runs/raw-2 runs/light-1 runs/light-2 --markdown
  python -m eval.compare runs/raw runs/light --leave-out-shared --csv table.csv
  python -m eval.compare runs/squad-1 runs/squad-2 --data-file dev-v2.0.json

Scores are in percent, AUC and ECE from 0 to 1; of n seeds the mean ± the sample deviation. Weighted
(w.) is by the size of the classes. The time of an epoch is training alone, without evaluations.
Differences are in points, "in dev." in pooled deviations of the seeds. The interval says what other
dev texts or questions would do to the difference (of means over the seeds), the deviation what
another seed would. McNemar's p is for right and wrong items of two single runs."""


@dataclass(frozen=True)
class CompareOptions:
    """Options of `python -m eval.compare`."""

    runs: tuple[str, ...] = option(
        (), help="run folders of train.classify, or of train.squad", positional=True, metavar="RUN"
    )
    baseline: str | None = option(
        None, help="the run that others are compared with (default: the first)", metavar="RUN"
    )
    each: bool = option(False, help="each run alone, also those that differ only in the seed")
    leave_out_shared: bool = option(
        False, help="tweets: also score without dev texts that stand in the training file"
    )
    data_file: str | None = option(
        None, help="SQuAD: the dev file (default: each run's own)", metavar="FILE"
    )
    samples: int = option(10_000, help="draws of the bootstrap")
    markdown: bool = option(False, help="print tables as Markdown", group="output")
    csv: str | None = option(
        None, help="also write one unrounded line a row", group="output", metavar="FILE"
    )
    json: str | None = option(None, help="the same as JSON", group="output", metavar="FILE")

    def __post_init__(self) -> None:
        from data.options import check_range

        check_range("samples", self.samples, 100, 10_000_000)
        if len(self.runs) < 2:
            raise UsageError(
                f"{len(self.runs) or 'no'} run is named, expected two or more run folders"
            )
        places = [Path(run).resolve() for run in self.runs]
        for number, place in enumerate(places):
            if place in places[:number]:
                raise UsageError(f"{self.runs[number]} is named twice; name each run once")
        if self.baseline is not None and Path(self.baseline).resolve() not in places:
            raise UsageError(f"--baseline {self.baseline} is none of the runs that are compared")
        for flag, path in (("--csv", self.csv), ("--json", self.json)):
            if path and any(place in Path(path).resolve().parents for place in places):
                raise UsageError(f"{flag} {path} lies in a run folder; write it elsewhere")
        if self.csv and self.json and Path(self.csv).resolve() == Path(self.json).resolve():
            raise UsageError(f"--csv and --json are both {self.csv}; write one of them elsewhere")


def main(argv: list[str]) -> int:
    """Print the tables, write the files."""
    options = parse(
        CompareOptions, argv, prog="eval.compare",
        description="Put finished runs side by side, those that differ only in the seed as one.",
        epilog=_EPILOG,
    )  # fmt: skip
    from eval.compare_tables import records
    from eval.prediction_files import check_file, write_json
    from eval.run_groups import group_runs
    from eval.text_table import as_csv, as_markdown, as_text
    from minibert.files import write_file

    for flag, path in (("--csv", options.csv), ("--json", options.json)):
        if path is not None:
            check_file(flag, Path(path))
    runs = read_runs(options)
    items = read_items(runs, options.data_file)
    groups = group_runs(runs, each=options.each)
    baseline = find_group(groups, options.baseline)
    rows = make_rows(groups, baseline, items, options)
    task, size = runs[0].task, len(items[runs[0]].gold)
    found = records(task, rows, baseline)
    if options.csv:
        write_file(Path(options.csv), as_csv(found).encode())
    if options.json:
        head = {"task": task, "dev_items": size, "baseline": baseline.name}
        write_json(options.json, {**head, "samples": options.samples, "rows": found})
    parts = []
    for title, columns in titled_tables(task, rows, baseline, size):
        table = as_markdown(columns) if options.markdown else as_text(columns, WIDTH)
        parts.append(f"{title}\n\n{table}")
    if len(groups) == 1:
        parts.append("All runs differ only in the seed; --each compares them with each other.")
    print("\n\n".join(parts))
    return 0


def read_runs(options: CompareOptions) -> "list[FinishedRun]":
    """The runs, all of one task, to which the flags apply.

    Raises:
        ValueError: they are not, or one of them is not a sound finished run.
    """
    from eval.finished_run import CLASSIFY, SQUAD, read_run

    runs = [read_run(Path(name)) for name in options.runs]
    task = runs[0].task
    for run in runs:
        if run.task != task:
            raise UsageError(
                f"{runs[0].folder} is a run of train.{task}, {run.folder} of train.{run.task}; "
                "compare runs of one task"
            )
    if options.leave_out_shared and task != CLASSIFY:
        raise UsageError("--leave-out-shared is for runs of train.classify; leave it out")
    if options.data_file and task != SQUAD:
        raise UsageError("--data-file is for runs of train.squad; leave it out")
    return runs


def titled_tables(
    task: str, rows: "Sequence[Row]", baseline: "Group", size: int
) -> "Iterator[tuple[str, list[Column]]]":
    """The tables that are shown, each with the line above it; `size` is the number of dev items."""
    from eval.compare_tables import difference_columns, score_columns, shared_columns
    from eval.finished_run import CLASSIFY

    things = "texts" if task == CLASSIFY else "questions"
    runs = sum(len(row.group.runs) for row in rows)
    spread = "" if len(rows) == runs else "; of n seeds mean ± sample deviation"
    yield f"{runs} runs, scores on {size:,} dev {things}{spread}:", score_columns(task, rows)
    if rows[0].shared is not None:
        title = "Without the dev texts that, cleaned, also stand in the training file:"
        yield title, shared_columns(rows)
    if len(rows) > 1:
        title = f"Minus {baseline.name}, in points, on the same {things} [95 % interval]:"
        yield title, difference_columns(task, rows, baseline)


def read_items(
    runs: "Sequence[FinishedRun]", data_file: str | None
) -> "Mapping[FinishedRun, DevItems]":
    """What each run said of the dev items, which are the same.

    Raises:
        ValueError: they are not, or a file is damaged.
    """
    from eval.dev_items import answer_items, refuse_other_items, tweet_items
    from eval.finished_run import CLASSIFY
    from eval.squad import read_gold

    items = {}
    golds: dict[Path, dict[str, list[str]]] = {}
    for run in runs:
        if run.task == CLASSIFY:
            items[run] = tweet_items(run)
        else:
            path = Path(data_file) if data_file else squad_dev_file(run)
            if path not in golds:
                golds[path] = read_gold(path)
            items[run] = answer_items(run, golds[path], path)
        first = items[runs[0]]
        refuse_other_items(runs[0].folder, run.folder, first.gold, items[run].gold)
        content, of_first = (r.settings["dev-file"].identity for r in (run, runs[0]))
        if run.task == CLASSIFY and content != of_first:
            raise ValueError(
                f"{runs[0].folder} and {run.folder} were scored on dev files of different content, "
                "so that their texts may differ; score one again with eval.classify, or train on "
                "one dev file"
            )
        if run.classes != runs[0].classes:
            raise ValueError(
                f"{runs[0].folder} and {run.folder} have other classes: "
                f"{', '.join(runs[0].classes)} and {', '.join(run.classes)}; compare runs on one "
                "training file"
            )
    return items


def squad_dev_file(run: "FinishedRun") -> Path:
    """The file that a SQuAD run was scored on: the demo's beside it, its own, the official one.

    Raises:
        ValueError: it is not there any more, or cannot be downloaded.
    """
    from data.download import squad_file

    given = run.options.get("dev_file")
    if run.options.get("demo"):  # wherever the run folder was moved
        return run.folder / "demo" / "dev.json"
    if given is None:
        return squad_file("dev-v2.0.json")
    if not Path(str(given)).is_file():
        raise ValueError(
            f"{given}, the dev file of {run.folder}, is not there; name it with --data-file"
        )
    return Path(str(given))


def find_group(groups: "Sequence[Group]", baseline: str | None) -> "Group":
    """The group of the baseline, else the first."""
    if baseline is None:
        return groups[0]
    place = Path(baseline).resolve()
    return next(g for g in groups if any(run.folder.resolve() == place for run in g.runs))


def make_rows(
    groups: "Sequence[Group]",
    baseline: "Group",
    items: "Mapping[FinishedRun, DevItems]",
    options: CompareOptions,
) -> "list[Row]":
    """A row for each group, with what is asked for."""
    from eval.compare_tables import Row
    from eval.dev_items import difference
    from eval.shared_texts import leave_out_shared

    rows = []
    for group in groups:
        own, compared = ([items[run] for run in some.runs] for some in (group, baseline))
        run, apart = group.runs[0], None
        if group is not baseline:
            apart = difference(run.task, own, compared, len(run.classes), options.samples)
        shared = leave_out_shared(group, own) if options.leave_out_shared else None
        rows.append(Row(group, apart, shared))
    return rows


if __name__ == "__main__":
    run_command(main)
