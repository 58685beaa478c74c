"""Recipes: the settings of trainings that others have made, each a file train/recipes/NAME.toml.

command = "squad"          # whose options the settings are: train.squad's
about = "..."              # one line
[settings]                 # options with underscores; flags on the command line win over them
[published]                # what the others got
[gate]                     # score -> [least, most] of the whole recipe with its own model
"""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from data.command import UsageError
from minibert.strict_json import shown
from train.resuming import FREE_OPTIONS

FOLDER = Path(__file__).with_name("recipes")
# What a recipe has nothing to say of: what computes nothing, its own name, and the machine.
_FREE = FREE_OPTIONS | set(
    "recipe amp amp_dtype accumulate threads device compile deterministic".split()
)
_KEYS = frozenset("command about settings published gate".split())
_NEEDED = ("command", "about")


@dataclass(frozen=True)
class Recipe:
    """One of them.

    Attributes:
        name: of the file.
        command: "squad" for `python -m train.squad`.
        about: one line.
        settings: options of the command that take the place of its defaults.
        published: score -> what others got, in percent; and times.
        gate: score -> the least and the most that the whole recipe may get.
    """

    name: str
    command: str
    about: str
    settings: Mapping[str, Any]
    published: Mapping[str, float]
    gate: Mapping[str, tuple[float, float]]

    def changed(self, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> list[str]:
        """Options that count and are neither the recipe's nor, where it has none, the defaults'.

        Args:
            options: of this start.
            defaults: of the command.
        """
        wanted = {**self.settings, **defaults, **self.settings}  # its own come first
        made = {"train_file", "dev_file"} if options.get("demo") else set[str]()  # by the demo
        free = _FREE | made
        return [n for n, value in wanted.items() if n not in free and options[n] != value]

    def line(self, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
        """The settings as they are used, and what this start has changed; arguments as above."""
        said = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        changed = [
            f"no {name}" if options[name] is None else f"{name} {options[name]}"
            for name in self.changed(options, defaults)
        ]
        return f"recipe {self.name}: {said}" + (
            f"; changed here: {', '.join(changed)}" if changed else ""
        )

    def verdict(
        self, metrics: Mapping[str, Any], options: Mapping[str, Any], defaults: Mapping[str, Any]
    ) -> tuple[list[str], bool]:
        """Lines that compare scores with the published ones and the gate, and whether it is missed.

        Args:
            metrics: scores in percent.
            options: of this start. Only a run without changed ones is held to the gate.
            defaults: of the command.
        """
        lines = []
        if self.published:
            known = ", ".join(f"{name} {value:g}" for name, value in self.published.items())
            lines.append(f"published:  {known}")
        other = self.changed(options, defaults)
        if self.gate and other:
            lines.append(
                f"gate:       not judged: it differs from the recipe in {', '.join(other)}"
            )
        missed = False
        for name, (least, most) in self.gate.items() if not other else ():
            reached = least <= metrics[name] <= most
            missed |= not reached
            verdict = "reached" if reached else "MISSED"
            lines.append(f"gate: {name} {least:g} to {most:g}: {metrics[name]:.2f} {verdict}")
        return lines, missed


def introduce(options: Any, kind: type[Any]) -> str:
    """What a start by a recipe prints first; arguments as those of `judge`."""
    return read_recipe(options.recipe).line(vars(options), _defaults(kind))


def judge(options: Any, kind: type[Any], metrics: Mapping[str, Any], run: Any) -> int:
    """Say how a run by a recipe compares; 1 if it misses the recipe's gate.

    Args:
        options: of the run, with its recipe.
        kind: the dataclass of the command's options.
        metrics: scores of the best model, in percent.
        run: says it.
    """
    recipe = read_recipe(options.recipe)
    lines, missed = recipe.verdict(metrics, vars(options), _defaults(kind))
    for line in lines:
        run.print(line)
    return int(missed)


def _defaults(kind: type[Any]) -> dict[str, Any]:
    return {field.name: field.default for field in fields(kind)}


def start_settings(
    given: Mapping[str, Any],
    command: str,
    demo: Mapping[str, Any],
    fitting: Mapping[str, Any],
) -> dict[str, Any]:
    """What takes the place of a command's defaults: a recipe's settings, the demo's, or both.

    Args:
        given: values on the command line, with "recipe" where one is named.
        command: as of `read_recipe`.
        demo: settings of the demo; none without it.
        fitting: of the demo's, what belongs to its data and model: this wins over the recipe,
            which wins over the rest.

    Raises:
        UsageError: no recipe of that name.
    """
    name = given.get("recipe")
    settings = {} if name is None else read_recipe(name, command).settings
    return {**demo, **settings, **fitting}


def recipe_names() -> list[str]:
    """All there are, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_recipe(name: str, command: str | None = None) -> Recipe:
    """Read one.

    Args:
        name: of its file.
        command: that is to follow it, "squad"; None for any.

    Raises:
        UsageError: there is none of that name, or it is another command's.
        ValueError: its file has a key too many or too few.
    """
    if name not in recipe_names():
        near = difflib.get_close_matches(name, recipe_names(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(recipe_names())}"
        raise UsageError(f"no recipe is called {name!r}; {hint}")
    path = FOLDER / f"{name}.toml"
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    for key in sorted(table.keys() - _KEYS):
        raise ValueError(
            f"{path} has the unknown key {shown(key)}; a recipe has {', '.join(sorted(_KEYS))}"
        )
    for key in _NEEDED:
        if key not in table:
            raise ValueError(f"{path} has no {key}, which every recipe needs; add it")
    made = Recipe(
        name,
        table["command"],
        table["about"],
        table.get("settings", {}),
        table.get("published", {}),
        {score: (least, most) for score, (least, most) in table.get("gate", {}).items()},
    )
    if command not in (None, made.command):
        raise UsageError(
            f"--recipe {name} is for train.{made.command}, not for train.{command}; start that"
        )
    return made
