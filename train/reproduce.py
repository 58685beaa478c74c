"""Run a recipe: the settings that others have used, with the scores that it must reach.

python -m train.reproduce                          what there is
python -m train.reproduce hf-squad2 --amp          as train.squad --recipe hf-squad2 --amp
python -m train.reproduce notes-v5 --demo          on the demo's data, in a few minutes
"""

import importlib
import sys
from pathlib import Path

from data.command import UsageError, parser, run_command
from train.recipe import read_recipe, recipe_names

_ABOUT = "Run a recipe: the settings that others have used, with the scores that it must reach."
MATRIX = Path(__file__).parents[1] / "docs" / "matrix.toml"


def main(argv: list[str]) -> int:
    """List the recipes, or run one; the other words are flags of its command."""
    if not argv or argv[0] in ("-h", "--help"):
        recipes = map(read_recipe, recipe_names())
        lines = [f"  {r.name:14} train.{r.command:9} {r.about}" for r in recipes]
        made = parser("train.reproduce", _ABOUT, "recipes:\n" + "\n".join(lines))
        made.add_argument("recipe", metavar="RECIPE", help="one of those below")
        made.add_argument(
            "flags",
            nargs="*",
            metavar="FLAG",
            help="of its command, to change it; --demo: on the demo's data",
        )
        made.print_help()
        return 0
    name, *rest = argv
    if name.startswith("-"):
        raise UsageError(f"{name} stands where a recipe is named; write the recipe first")
    recipe = read_recipe(name)
    if any(word.partition("=")[0] == "--recipe" for word in rest):
        raise UsageError(f"--recipe does nothing after train.reproduce {name}; leave it out")
    words = ["--recipe", name, *rest]
    if recipe.command == "matrix":
        words = rest if "--demo" in rest else [str(MATRIX), *rest]
        if "--demo" not in rest and not MATRIX.is_file():
            raise UsageError(
                f"{name} needs docs/matrix.toml, which is not installed; use a checkout, or --demo"
            )
    print(f"python -m train.{recipe.command} {' '.join(words)}", file=sys.stderr)
    status: int = importlib.import_module(f"train.{recipe.command}").main(words)
    return status


if __name__ == "__main__":
    run_command(main, outlives_readers=True, with_ranks=True)
