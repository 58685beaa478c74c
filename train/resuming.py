"""A resumed run computes what it would have computed: its own settings and the same files.

Otherwise it is refused with the list of what differs; --allow-change lets named settings through.
"""

import difflib
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from data.command import UsageError
from minibert.files import write_file
from train.options import TrainOptions

# Of options.json and state.json. Format 0 had no number, and no evaluation could be put off.
FORMAT = 1
# Of these a resumed run has only what its own command line says.
UNSAVED_OPTIONS = frozenset("resume overwrite output_dir max_minutes dry_run allow_change".split())
# Options that a resumed run may be given anew: they change nothing that is computed.
FREE_OPTIONS = UNSAVED_OPTIONS | set("save_every keep_checkpoints jobs tokens_dir".split())
# What identifies data and model, in options.json.
INPUTS = frozenset(
    "train_sha256 dev_sha256 tokens_sha256 model_source model_commit model_sha256".split()
)


def saved_run(folder: Path) -> dict[str, Any]:
    """RUN/options.json of a run to resume: {"options": ..., "inputs": ...}.

    Raises:
        UsageError: there is none.
    """
    path = folder / "options.json"
    if not path.exists():
        raise UsageError(f"--resume: {folder} is not a run folder (it has no options.json)")
    saved = read_json(path)
    if isinstance(saved, dict):
        refuse_newer_format(path, saved)
    if (
        not isinstance(saved, dict)
        or not isinstance(saved.get("options"), dict)
        or not isinstance(saved.get("inputs"), dict)
        or not {"seed", "batch_size", "lr"} <= set(saved["options"])
    ):
        raise UsageError(f"--resume: {path} is damaged or not of a run; start a new run")
    return saved


def refuse_changes(options: TrainOptions, saved: dict[str, Any], given: set[str]) -> None:
    """A resumed run computes what it would have computed: changed options are refused, all at once.

    Args:
        options: of this start.
        saved: the run's own options.
        given: names of the flags on this start's command line.

    Raises:
        UsageError: with old and new values.
    """
    allowed = allowed_changes(options)
    changed = [
        f"--{name.replace('_', '-')} {saved[name]!r} -> {getattr(options, name)!r}"
        for name in sorted(given - FREE_OPTIONS)
        if name in saved and saved[name] != getattr(options, name) and name not in allowed
    ]
    if changed:
        raise UsageError(
            f"--resume: the run was started with other settings ({'; '.join(changed)}); leave them "
            "out, name them in --allow-change, or start a new run"
        )


def allowed_changes(options: TrainOptions) -> set[str]:
    """The settings that --allow-change names, with underscores.

    Raises:
        UsageError: a name that is neither an option nor an input of a run.
    """
    names = {name.strip().lstrip("-").replace("-", "_") for name in options.allow_change.split(",")}
    names -= {""}
    known = {field.name for field in fields(options)} | INPUTS
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
    allowed = allowed_changes(options)
    changed = []
    for name, value in now.items():
        old = saved.get(name)
        if old == value or name in allowed:
            continue
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


def changed_settings(
    saved: dict[str, Any], options: dict[str, Any], inputs: dict[str, Any]
) -> list[dict[str, Any]]:
    """What a resumed run does otherwise than before; all of it was allowed.

    Args:
        saved: RUN/options.json.
        options: of this start.
        inputs: of this start.

    Returns:
        One {"name", "old", "new"} a setting.
    """
    return [
        {"name": name, "old": old[name], "new": new[name]}
        for old, new in ((saved["options"], options), (saved["inputs"], inputs))
        for name in new
        if name in old and name not in FREE_OPTIONS and old[name] != new[name]
    ]


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
    asked = {
        name: list(value) if isinstance(value, tuple) else value  # as JSON has it
        for name, value in asdict(options).items()
        if name not in UNSAVED_OPTIONS
    }
    changes: list[dict[str, Any]] = []
    if options.resume:
        saved = saved_run(folder)
        new = changed_settings(saved, asked, inputs)
        changes = [*saved.get("changes", []), *new]
        if not new:
            return changes
        asked = saved["options"] | asked
    elif path.exists():
        raise UsageError(f"{folder} has just become a run; name another --output-dir")
    written = {"format": FORMAT, "options": asked, "inputs": inputs, "changes": changes}
    write_file(path, (json.dumps(written, indent=2, allow_nan=False) + "\n").encode())
    return changes


def known_options(saved: dict[str, Any], options_class: type[TrainOptions]) -> dict[str, Any]:
    """The saved values of options that this version still has."""
    names = {field.name for field in fields(options_class)}
    return {name: value for name, value in saved.items() if name in names}


def read_json(path: Path) -> Any:
    """A JSON file's value.

    Raises:
        UsageError: it is damaged.
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise UsageError(f"{path} is not JSON ({error})") from None


def refuse_newer_format(path: Path, values: dict[str, Any]) -> None:
    """Files of every earlier format are read; one of a later version is not guessed at.

    Raises:
        UsageError: `values` has a format number above ours.
    """
    number = values.get("format", 0)
    if not isinstance(number, int) or number > FORMAT:
        raise UsageError(
            f"{path} has format {number}, this version reads up to {FORMAT}; resume with the "
            "version that wrote it, or start a new run"
        )
