"""A resumed run computes what it would have computed: its own settings and the same files.

Otherwise it is refused with the list of what differs; --allow-change lets named settings through.
"""

import difflib
import json
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from data.command import UsageError
from data.options import flag
from minibert.files import write_file
from minibert.strict_json import parse_object, shown
from train.earlier_run import options_file
from train.options import TrainOptions

# Of options.json and state.json. Format 0 had no number, and no evaluation could be put off.
FORMAT = 1
# Of these a resumed run has only what its own command line says.
UNSAVED_OPTIONS = frozenset("resume overwrite output_dir max_minutes dry_run allow_change".split())
# Options that a resumed run may be given anew: they change nothing that is computed.
FREE_OPTIONS = UNSAVED_OPTIONS | set("save_every keep_checkpoints pictures jobs tokens_dir".split())
# What identifies data and model, in options.json.
INPUTS = frozenset(
    (
        "train_sha256 dev_sha256 tokens_sha256 model_source model_commit model_sha256 "
        "weights_sha256 words_sha256 vectors_sha256"
    ).split()
)
_CHANGE = {"name", "old", "new"}  # in options.json
# Where things are, and how they are computed: a finished run may be told without being made again.
_PATHS = frozenset("train_file dev_file model from_scratch vectors".split())
_PLACES = _PATHS | {"model_source", "threads", "device"}


def saved_run(folder: Path) -> dict[str, Any]:
    """RUN/options.json of a run to resume: {"options": ..., "inputs": ...}.

    Raises:
        UsageError: there is none, or it is not what a run writes.
    """
    path = options_file(folder)
    if not path.exists():
        raise UsageError(f"--resume: {folder} is not a run folder (it has no options.json)")
    try:
        saved = parse_object(path.read_bytes())
    except ValueError as error:
        raise UsageError(f"--resume: {path} {error}; bring it back, or start a new run") from None
    refuse_newer_format(path, saved)
    options, inputs, changes = (saved.get(name) for name in ("options", "inputs", "changes"))
    if (
        not isinstance(options, dict)
        or not isinstance(inputs, dict)
        or not {"seed", "batch_size", "lr"} <= options.keys()
        or not isinstance(inputs.get("model_commit"), str | None)
        or not isinstance(changes, list | None)
        or not all(isinstance(c, dict) and c.keys() == _CHANGE for c in changes or [])
    ):
        raise UsageError(f"--resume: {path} is damaged or not of a run; start a new run")
    return saved | {"changes": changes or []}


def options_to_resume(
    options_class: type[TrainOptions], given: Mapping[str, Any]
) -> dict[str, Any]:
    """The options of the run in --output-dir: what was not given anew, --resume takes from them.

    A resumed run computes what it would have computed: changed options are refused, all at once.

    Args:
        options_class: of the command.
        given: values on this start's command line, paths in full.

    Raises:
        UsageError: no run, a damaged one, or changes, with old and new values.
    """
    saved = _known_options(saved_run(Path(given["output_dir"]))["options"], options_class)
    allowed = allowed_changes(options_class, given.get("allow_change", ""))
    changed = [
        _change(name, saved[name], given[name])
        for name in sorted(given.keys() - FREE_OPTIONS - allowed)
        if name in saved and not _equal(name, saved[name], given[name])
    ]
    if changed:
        raise UsageError(
            f"--resume: the run was started with other settings ({'; '.join(changed)}); leave them "
            "out, name them in --allow-change, or start a new run"
        )
    return saved


def _change(name: str, old: Any, new: Any) -> str:
    """A changed option as it is typed."""
    if isinstance(new, bool):
        return f"{flag(name, old)} -> {flag(name, new)}"
    return f"{flag(name)} {old!r} -> {new!r}"


def allowed_changes(options_class: type[TrainOptions], text: str) -> set[str]:
    """The settings that --allow-change names, with underscores.

    Raises:
        UsageError: a name that is neither an option saved with a run nor an input of it.
    """
    if not text:
        return set()
    names = {name.strip().lstrip("-").replace("-", "_") for name in text.split(",")}
    if "" in names:
        raise UsageError(
            f"--allow-change {shown(text)} has an empty name, expected settings as in lr,seed"
        )
    known = ({field.name for field in fields(options_class)} | INPUTS) - UNSAVED_OPTIONS
    for name in sorted(names - known):
        near = difflib.get_close_matches(name, sorted(known), n=1)
        hint = f"did you mean {near[0]}?" if near else f"the inputs are {', '.join(sorted(INPUTS))}"
        raise UsageError(f"--allow-change {name} is no setting of a run; {hint}")
    return names


def refuse_changed_inputs(
    now: dict[str, Any], saved: dict[str, Any], options: TrainOptions
) -> None:
    """Files and model of a resumed run are those it was started with.

    Args:
        now: what identifies them.
        saved: the same of the run.
        options: with --allow-change.

    Raises:
        UsageError: with old and new values, hashes cut to twelve digits.
    """
    allowed = allowed_changes(type(options), options.allow_change)
    changed = []
    for name, value in now.items():
        old = saved.get(name)
        if old == value or name in allowed or _may_have_moved(name, saved, now):
            continue
        if name == "weights_sha256" and name not in saved:
            continue  # runs of before this was noted
        if isinstance(old, dict) and isinstance(value, dict):
            for part in sorted(set(old) | set(value)):
                if old.get(part) != value.get(part):
                    what = f"{_short(old.get(part))} -> {_short(value.get(part))}"
                    changed.append(f"{name} of {part} {what}")
        else:
            changed.append(f"{name} {_short(old)} -> {_short(value)}")
    if changed:
        raise UsageError(
            f"--resume: the run was started with other inputs ({'; '.join(changed)}); bring back "
            "the files, name them in --allow-change, or start a new run"
        )


def _short(value: Any) -> str:
    return value[:12] if isinstance(value, str) and len(value) == 64 else str(value)


def as_saved(options: TrainOptions) -> dict[str, Any]:
    """The options that are saved with a run, as JSON has them."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(options).items()
        if name not in UNSAVED_OPTIONS
    }


def changed_settings(
    saved: dict[str, Any], options: TrainOptions, inputs: dict[str, Any]
) -> list[dict[str, Any]]:
    """What a resumed run does otherwise than before; all of it was allowed.

    Args:
        saved: RUN/options.json.
        options: of this start.
        inputs: of this start.

    Returns:
        One {"name", "old", "new"} a setting.
    """
    old_options = as_saved(type(options)()) | saved["options"]  # some are younger than the run
    return [
        {"name": name, "old": old[name], "new": new[name]}
        for old, new in ((old_options, as_saved(options)), (saved["inputs"], inputs))
        for name in new
        if name in old
        and name not in FREE_OPTIONS
        and not _equal(name, old[name], new[name])
        and not _may_have_moved(name, saved["inputs"], inputs)
        # the demo's files are made below the run folder, wherever that is now
        and not (getattr(options, "demo", False) and name in _PATHS)
    ]


def _equal(name: str, old: Any, new: Any) -> bool:
    """Whether two values mean the same; earlier versions kept the .. of a path."""
    if name in _PATHS and isinstance(old, str) and isinstance(new, str):
        return old == new or os.path.abspath(old) == new
    return bool(old == new)


def _may_have_moved(name: str, old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether it is the place of a local model, which is known by its files' hashes."""
    return name == "model_source" and old.get("model_commit") is new.get("model_commit") is None


def refuse_useless_changes(folder: Path, options: TrainOptions, inputs: dict[str, Any]) -> None:
    """A finished run has its best model and scores; nothing would come of other settings.

    Raises:
        UsageError: with the names of what was changed.
    """
    changes = changed_settings(saved_run(folder), options, inputs)
    names = [change["name"] for change in changes if change["name"] not in _PLACES]
    if names:
        raise UsageError(
            f"--resume: the run is finished, {', '.join(names)} would change nothing in it; leave "
            "it out, start a new run, or score the best model with eval.predict"
        )


def write_options(
    folder: Path, options: TrainOptions, inputs: dict[str, Any]
) -> list[dict[str, Any]]:
    """Write RUN/options.json at a run's first start, and where a resumed one was let change.

    Args:
        folder: the run folder, locked.
        options: of this start.
        inputs: of this start.

    Returns:
        All changes made so far, as `changed_settings` gives them, oldest first.

    Raises:
        UsageError: another process began a run here while this one was reading its data.
    """
    path = folder / "options.json"
    asked = as_saved(options)
    changes: list[dict[str, Any]] = []
    if options.resume:
        saved = saved_run(folder)
        new = changed_settings(saved, options, inputs)
        names = {change["name"] for change in new} - allowed_changes(
            type(options), options.allow_change
        )
        if names:
            raise UsageError(
                f"{folder} has just become another run ({', '.join(sorted(names))}); try again"
            )
        changes = [*saved["changes"], *new]
        if not new:
            return changes
        asked = saved["options"] | asked
    elif path.exists():
        raise UsageError(f"{folder} has just become a run; name another --output-dir")
    written = {"format": FORMAT, "options": asked, "inputs": inputs, "changes": changes}
    write_file(path, (json.dumps(written, indent=2, allow_nan=False) + "\n").encode())
    return changes


def _known_options(saved: dict[str, Any], options_class: type[TrainOptions]) -> dict[str, Any]:
    """The saved values of the options that this version has; an option that is younger than the
    run has its default, which is what the run did.

    Raises:
        UsageError: a value of another type than the option's.
    """
    hints = typing.get_type_hints(options_class)
    known = {field.name: hints[field.name] for field in fields(options_class)}
    for name, value in saved.items():
        if name in known and not _is_of(value, known[name]):
            raise UsageError(
                f"--resume: the run's options.json has {shown(value)} as {name}; it is damaged: "
                "bring it back, or start a new run"
            )
    values = {field.name: saved.get(field.name, field.default) for field in fields(options_class)}
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}


def _is_of(value: Any, kind: Any) -> bool:
    """Whether a JSON value is of an option's type; whole numbers are numbers, booleans are not."""
    if typing.get_origin(kind) is tuple:  # of any number of texts: a list in JSON
        return type(value) is list and all(type(item) is str for item in value)
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    return type(value) in kinds or (type(value) is int and float in kinds)


def refuse_newer_format(path: Path, values: dict[str, Any]) -> None:
    """Files of every earlier format are read; one of a later version is not guessed at.

    Raises:
        UsageError: `values` has a format number above ours.
    """
    number = values.get("format", 0)
    if type(number) is not int or number > FORMAT:
        raise UsageError(
            f"{path} has format {shown(number)}, this version reads up to {FORMAT}; resume with "
            "the version that wrote it, or start a new run"
        )
