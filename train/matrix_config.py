"""The TOML file of `python -m train.matrix`: data sets, model, settings; unknown keys are refused.

docs/matrix.toml is an example with every key explained.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.command import UsageError
from data.split import SPLITS
from minibert.strict_json import shown
from train.matrix_values import (
    read_settings,
    refuse_name,
    refuse_settings,
    refuse_unknown,
    typed,
)

TOP_KEYS = ("model", "revision", "from_scratch", "seeds", "settings", "sets", "variants")
SET_KEYS = ("train", "dev", "file", "dev_share", "split_by", "settings")
VARIANT_KEYS = ("model", "revision", "from_scratch", "settings")
MOST_SEEDS = 1000


@dataclass(frozen=True)
class DataSet:
    """One data set of the config.

    Attributes:
        name: of its row and column.
        train: SQuAD .json file to train on, None for a set that is answered only.
        dev: SQuAD .json file to answer; both parts of a set with `dev_share` are the same file.
        dev_share: part of the questions that is set aside for answering; None: two files.
        split_by: "title" or "context": what stays together in such a split.
        settings: options of train.squad, common ones and the set's own.
    """

    name: str
    train: Path | None
    dev: Path
    dev_share: float | None
    split_by: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Start:
    """What a training starts from.

    Attributes:
        model: Hub name, folder, or "embedded"; a config's folder where `new`.
        revision: Hub branch, tag or commit.
        new: random weights in place of the model's.
    """

    model: str
    revision: str | None
    new: bool

    def __str__(self) -> str:
        """In words; no folders of the user's machine."""
        name = Path(self.model).name if Path(self.model).is_dir() else self.model
        return f"random weights ({name})" if self.new else name

    @property
    def flag(self) -> str:
        """Of train.squad."""
        return "--from-scratch" if self.new else "--model"


@dataclass(frozen=True)
class Row:
    """One row of the table: a set that is trained on, in one way.

    Attributes:
        name: of the set; of the variant, where there are any; of both, where there are several
            sets to train on as well.
        data: name of the set.
        start: model.
        settings: options of train.squad.
    """

    name: str
    data: str
    start: Start
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class MatrixConfig:
    """A whole config, checked.

    Attributes:
        path: of the file.
        seeds: one training for each.
        sets: in the file's order, which is that of the table's columns.
        rows: of the table.
    """

    path: Path
    seeds: tuple[int, ...]
    sets: tuple[DataSet, ...]
    rows: tuple[Row, ...]

    @property
    def start(self) -> str:
        """What trainings start from, in words: "embedded; wide, wider: random weights (wide)"."""
        first, *_ = starts = dict.fromkeys(row.start for row in self.rows)
        others = (
            f"{', '.join(row.name for row in self.rows if row.start == start)}: {start}"
            for start in starts
            if start != first
        )
        return "; ".join((str(first), *others))

    @property
    def first_variant(self) -> str | None:
        """The row that others are compared with: the first way to train on the only such set."""
        ways = len(self.rows) > 1 and len({row.data for row in self.rows}) == 1
        return self.rows[0].name if ways else None


def read_config(path: Path, folder: Path | None, overrides: Mapping[str, Any]) -> MatrixConfig:
    """Read a config.

    Args:
        path: the TOML file.
        folder: what relative paths in it start from; None: the file's own folder.
        overrides: settings that win over the file's, for all sets.

    Raises:
        UsageError: one sentence that names file, place and key.
    """
    try:
        document = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read ({error.strerror}); expected a TOML file"
        ) from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text (byte {error.start})") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML ({error}); docs/matrix.toml is an example") from None
    refuse_unknown(path, "", document, TOP_KEYS)
    base = (folder or path.parent).absolute()
    start = _start(path, "", document, base) or Start("embedded", None, new=False)
    common = read_settings(path, "settings", document.get("settings", {}))
    tables = typed(path, "sets", document.get("sets", {}), dict)
    sets = tuple(
        _data_set(path, name, table, base, common, overrides) for name, table in tables.items()
    )
    if not any(one.train for one in sets):
        raise UsageError(f"{path} has no set to train on; docs/matrix.toml is an example")
    variants = typed(path, "variants", document.get("variants", {}), dict)
    rows = _rows(path, sets, variants, start, base, overrides)
    return MatrixConfig(path, _seeds(path, document), sets, rows)


def _start(path: Path, where: str, table: Mapping[str, Any], base: Path) -> Start | None:
    """The model that a table names, None where it names none."""
    at = f"{where}." if where else ""
    if "model" in table and "from_scratch" in table:
        raise UsageError(
            f"{path}: {at}model and {at}from_scratch contradict each other; give one of them"
        )
    new = "from_scratch" in table
    key = "from_scratch" if new else "model"
    if key not in table:
        if "revision" in table:
            raise UsageError(f"{path}: {at}revision is of a model; name it beside it")
        return None
    model = typed(path, f"{at}{key}", table[key], str)
    if new or (base / model).is_dir():  # else it is a name
        if not (base / model).is_dir():
            raise UsageError(
                f"{path}: {at}from_scratch is {shown(model)}, but {base / model} is no folder"
            )
        model = str(base / model)
    revision = table.get("revision")
    if revision is not None:
        revision = typed(path, f"{at}revision", revision, str)
    return Start(model, revision, new)


def _rows(
    path: Path,
    sets: Sequence[DataSet],
    variants: Mapping[str, Any],
    start: Start,
    base: Path,
    overrides: Mapping[str, Any],
) -> tuple[Row, ...]:
    """Every set with a training part, in every variant."""
    trained = [one for one in sets if one.train]
    if not variants:
        return tuple(Row(one.name, one.name, start, one.settings) for one in trained)
    rows: list[Row] = []
    for name, table in variants.items():
        where = f"variants.{name}"
        refuse_name(path, "variant", name)
        refuse_unknown(path, where, typed(path, where, table, dict), VARIANT_KEYS)
        own = read_settings(path, f"{where}.settings", table.get("settings", {}))
        begin = _start(path, where, table, base) or start
        for one in trained:
            settings = {**one.settings, **own, **overrides}
            refuse_settings(path, name, settings)
            row = name if len(trained) == 1 else f"{one.name}-{name}"
            if any(row == known.name for known in rows):
                raise UsageError(
                    f"{path}: two rows would be called {row}, a set's name and a variant's with a "
                    "dash between; rename one of them"
                )
            rows.append(Row(row, one.name, begin, settings))
    return tuple(rows)


def _seeds(path: Path, document: Mapping[str, Any]) -> tuple[int, ...]:
    seeds = typed(path, "seeds", document.get("seeds", [0]), list)
    good = all(type(seed) is int and 0 <= seed < 2**31 for seed in seeds)
    if not good or not 1 <= len(seeds) <= MOST_SEEDS or len(set(seeds)) != len(seeds):
        raise UsageError(
            f"{path}: seeds is {shown(seeds)}, expected 1 to {MOST_SEEDS} different whole numbers"
        )
    return tuple(seeds)


def _data_set(
    path: Path,
    name: str,
    table: Any,
    base: Path,
    common: Mapping[str, Any],
    overrides: Mapping[str, Any],
) -> DataSet:
    where = f"sets.{name}"
    refuse_name(path, "set", name)
    refuse_unknown(path, where, typed(path, where, table, dict), SET_KEYS)
    paths = {
        key: base / Path(typed(path, f"{where}.{key}", table[key], str)).expanduser()
        for key in ("train", "dev", "file")
        if key in table
    }
    splits = "file" in table
    if splits and (len(paths) > 1 or "dev_share" not in table):
        raise UsageError(f"{path}: {where} has file, which goes with dev_share, not train or dev")
    if not splits and ("dev" not in paths or {"dev_share", "split_by"} & table.keys()):
        raise UsageError(
            f"{path}: {where} should have train and dev, dev only, or file and dev_share"
        )
    share = table.get("dev_share")
    if share is not None and not (isinstance(share, float) and 0 < share < 1):
        raise UsageError(f"{path}: {where}.dev_share is {shown(share)}, expected 0.0 to 1.0")
    split_by = table.get("split_by", SPLITS[0])
    if split_by not in SPLITS:
        raise UsageError(
            f"{path}: {where}.split_by is {shown(split_by)}, expected {' or '.join(SPLITS)}"
        )
    own = read_settings(path, f"{where}.settings", table.get("settings", {}))
    settings = {**common, **own, **overrides}
    refuse_settings(path, name, settings)
    return DataSet(
        name=name,
        train=paths["file"] if splits else paths.get("train"),
        dev=paths["file"] if splits else paths["dev"],
        dev_share=share,
        split_by=split_by,
        settings=settings,
    )
