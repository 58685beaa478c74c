"""Runs that differ only in the seed, as one: means, deviations, and what sets groups apart."""

import math
import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval.finished_run import FinishedRun, Setting
from eval.spread import Spread

# What an option has where it does nothing. A run that is older than the option lacks it, which is
# the same.
DOES_NOTHING = frozenset(("-", "0", "off"))


@dataclass(frozen=True, eq=False)
class Group:
    """Runs that differ only in the seed; at least one.

    Attributes:
        name: "raw-*" of the runs raw-1 and raw-2, "one ..." of the runs one and other.
        runs: in the order in which they were given.
    """

    name: str
    runs: tuple[FinishedRun, ...]

    def values(self, score: str) -> list[float]:
        """A score of metrics.json of each run that has a value for it."""
        found = [run.metrics.get(score) for run in self.runs]
        return [value for value in found if value is not None]

    def spread(self, score: str) -> Spread | None:
        """Mean and deviation of a score, None where a run lacks it."""
        values = self.values(score)
        if len(values) < len(self.runs):
            return None
        return Spread.of(values)

    @property
    def epoch_seconds(self) -> float:
        """Median over the runs."""
        return statistics.median(run.epoch_seconds for run in self.runs)


def group_runs(runs: Sequence[FinishedRun], *, each: bool = False) -> list[Group]:
    """Runs with equal settings but unequal seeds -> a group; in the order of their first runs.

    Two runs with one seed differ in something else, the version of the code for instance: they
    are left alone, with all that have their settings, for a deviation over seeds is not theirs.

    Args:
        runs: as they were given.
        each: every run alone.
    """
    young = {name for run in runs for one in runs for name in run.settings.keys() - one.settings}
    alike: dict[object, list[FinishedRun]] = {}
    for number, run in enumerate(runs):
        settings = {
            name: setting.identity
            for name, setting in run.settings.items()
            if name not in young or setting.identity not in DOES_NOTHING
        }
        key = number if each else tuple(sorted(settings.items()))
        alike.setdefault(key, []).append(run)
    lists: list[list[FinishedRun]] = []
    for members in alike.values():
        same_seed = len({run.seed for run in members}) < len(members)
        lists += [[run] for run in members] if same_seed else [members]
    short = short_names(runs)
    names = [[short[run] for run in members] for members in lists]
    starred = [_common_name(some) for some in names]
    return [
        Group(star if starred.count(star) == 1 else f"{some[0]} ...", tuple(members))
        for star, some, members in zip(starred, names, lists, strict=True)
    ]


def short_names(runs: Sequence[FinishedRun]) -> dict[FinishedRun, str]:
    """Folders without what all of them begin with."""
    paths = [os.path.abspath(run.folder) for run in runs]
    above = os.path.commonpath([os.path.dirname(path) for path in paths])
    return {run: os.path.relpath(path, above) for run, path in zip(runs, paths, strict=True)}


def _common_name(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    begin = os.path.commonprefix(names)  # noqa: RUF071  of letters, not of folders
    ends = [name[len(begin) :][::-1] for name in names]
    end = os.path.commonprefix(ends)[::-1]  # noqa: RUF071
    return f"{begin}*{end}" if begin or end else f"{names[0]} ..."


def pooled_deviations(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Difference of two groups' means in deviations of a run from its group's mean (Cohen's d).

    Returns:
        None where one of them is a single run, or all are equal to their group's mean.
    """
    freedom = len(first) + len(second) - 2
    if min(len(first), len(second)) < 2:
        return None
    squares = sum(
        (value - statistics.fmean(group)) ** 2 for group in (first, second) for value in group
    )
    if not squares:
        return None
    return (statistics.fmean(first) - statistics.fmean(second)) / math.sqrt(squares / freedom)


def differing(groups: Sequence[Group]) -> dict[str, list[str]]:
    """What sets runs apart: {setting: one text a group}; what is equal in all runs is left out.

    Beside the settings these are the seeds and what a run's time and last digits depend on.
    """
    runs = [run for group in groups for run in group.runs]
    told = {run: _all_of(run) for run in runs}
    found = {}
    for name in dict.fromkeys(name for run in runs for name in told[run]):
        values = {run: told[run].get(name, Setting("-", "-")) for run in runs}
        kinds = {value.identity for value in values.values()}
        absent = any(name not in told[run] for run in runs)
        if len(kinds) > 1 and not (absent and kinds <= DOES_NOTHING):
            texts = _texts(values)
            found[name] = [
                ", ".join(dict.fromkeys(texts[run] for run in group.runs)) for group in groups
            ]
    return found


def _all_of(run: FinishedRun) -> dict[str, Setting]:
    environment = {name: Setting(text, text) for name, text in run.environment.items()}
    return {**run.settings, **environment, "seed": Setting(run.seed, run.seed)}


def _texts(values: Mapping[FinishedRun, Setting]) -> dict[FinishedRun, str]:
    """The text of each; where others have the same text, but are not equal, a number with it."""
    numbers: dict[str, dict[str, int]] = {}
    for value in values.values():
        known = numbers.setdefault(value.text, {})
        known.setdefault(value.identity, len(known) + 1)
    return {
        run: value.text
        if len(numbers[value.text]) == 1
        else f"{value.text} ({numbers[value.text][value.identity]})"
        for run, value in values.items()
    }
