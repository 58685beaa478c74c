"""Values of a matrix's config: their types and names, and which options of train.squad they set."""

import difflib
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from data.command import UsageError
from data.options import flag
from minibert.strict_json import shown
from train.squad_options import SquadOptions, read_options

# Options of train.squad that are not the config's: the matrix gives them itself, they belong to the
# machine (flags of train.matrix), or a matrix has no use for them.
NOT_SETTINGS = frozenset(
    "model revision from_scratch train_file dev_file demo recipe seed device threads output_dir "
    "overwrite resume allow_change max_minutes dry_run".split()
)
SETTINGS = tuple(f.name for f in fields(SquadOptions) if f.name not in NOT_SETTINGS)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")  # of files, and never a pattern


def refuse_name(path: Path, what: str, name: str) -> None:
    """Refuse a name that cannot be part of a file's.

    Raises:
        UsageError: it is none.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{path}: the {what}'s name {shown(name)} should be letters, digits, '_', '.' and '-', "
            "at most 40"
        )


def refuse_settings(path: Path, name: str, settings: Mapping[str, Any]) -> None:
    try:
        read_options(as_flags(settings))  # as the trainings will
    except UsageError as error:
        raise UsageError(f"{path}: the settings of {name}: {error}") from None


def read_settings(path: Path, where: str, table: Any) -> dict[str, Any]:
    """Options of train.squad, of their types; a whole number serves where any number does."""
    refuse_unknown(path, where, typed(path, where, table, dict), SETTINGS)
    hints = typing.get_type_hints(SquadOptions)
    settings = {}
    for name, value in table.items():
        kinds = typing.get_args(hints[name]) or (hints[name],)
        kind = next(kind for kind in kinds if kind is not types.NoneType)
        settings[name] = typed(path, f"{where}.{name}", value, kind)
    return settings


def as_flags(settings: Mapping[str, Any]) -> list[str]:
    """Settings as `train.squad` takes them on its command line, by name."""
    flags = []
    for name in sorted(settings):
        value, named = settings[name], flag(name, settings[name])
        # one word: a negative number looks like a flag
        flags.append(named if isinstance(value, bool) else f"{named}={value}")
    return flags


def typed(path: Path, where: str, value: Any, kind: type) -> Any:
    """A value of the type that it should have; no text is empty."""
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        what = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
        wanted = what.get(kind, "a table" if kind is dict else "a list")
        raise UsageError(f"{path}: {where} is {shown(value)}, expected {wanted}")
    if value == "":  # a path that is empty would be the folder that paths start from
        raise UsageError(f"{path}: {where} is empty text; write what is meant, or leave it out")
    return value


def refuse_unknown(
    path: Path, where: str, table: Mapping[str, Any], known: tuple[str, ...]
) -> None:
    """Refuse a key that a table of the config has not.

    Raises:
        UsageError: with the nearest one that it has, or what else helps.
    """
    for key in table:
        if key not in known:
            place = f"{where} has" if where else "it has"
            hint = _hint(where, table, key, known)
            raise UsageError(f"{path}: {place} the unknown key {shown(key)}; {hint}")


def _hint(where: str, table: Mapping[str, Any], key: str, known: tuple[str, ...]) -> str:
    """What may have been meant by an unknown key of a table."""
    if known is SETTINGS and key in NOT_SETTINGS:
        return "leave it to the rest of the config and the flags of train.matrix"
    near = difflib.get_close_matches(key, known, n=1)
    if near:
        return f"did you mean {near[0]}?"
    if known is SETTINGS:
        return "python -m train.squad --help lists the settings"
    kind, _, name = where.partition(".")
    if kind in ("sets", "variants") and isinstance(table[key], dict):
        whole = f"{name}.{key}"  # [variants.fraction-0.7] is a table 7 in a table fraction-0
        if _NAME.fullmatch(whole):
            return f'a name with a dot stands in quotes: [{kind}."{whole}"]'
    return f"it may have {', '.join(known)}"
