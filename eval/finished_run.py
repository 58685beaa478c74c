"""What a finished run of train.classify or train.squad left in its folder, read back and checked.

No weights are read: options.json, env.json, log.jsonl, metrics.json and predictions.json say it
all, and they must agree with each other.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from data.batches import BatchPlan
from eval.run_log import damage_told, epoch_seconds, read_log, updates_per_epoch
from minibert.strict_json import parse_object, read_object, shown

CLASSIFY, SQUAD = "classify", "squad"
BEST_BY = {CLASSIFY: "macro_f1", SQUAD: "f1"}  # the score that chooses the best model
# They change nothing that is computed, or are told as what they stand for: files, model, epochs.
_NO_SETTINGS = frozenset(
    (
        "seed threads device save_every keep_checkpoints pictures demo train_file dev_file model "
        "revision from_scratch epochs updates vectors"
    ).split()
)


class Setting(NamedTuple):
    """Attributes:
    text: as a table shows it.
    identity: equal where the settings are, as the hash of a file is whatever its name.
    """

    text: str
    identity: str


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run that came to its end.

    Attributes:
        folder: as it was given.
        task: "classify" or "squad".
        options: of the command that made it.
        seed: as text.
        settings: {name: what it was trained with and on}, the seed apart.
        environment: {name: text}: device, threads, versions, commit; of every start.
        metrics: scores of its best model, the numbers of metrics.json; None has no value.
        classes: their names, of a classifier.
        predictions: {id or line: what predictions.json has}.
        updates: optimizer updates made.
        best_epoch: passes over the training set, maybe a fraction, after which it was best.
        epoch_seconds: of training, without evaluations: the median of the whole passes; of a run
            without one, its time made longer to a whole.
    """

    folder: Path
    task: str
    options: dict[str, Any]
    seed: str
    settings: dict[str, Setting]
    environment: dict[str, str]
    metrics: dict[str, float | None]
    classes: tuple[str, ...]
    predictions: dict[str, Any]
    updates: int
    best_epoch: float
    epoch_seconds: float


def read_run(folder: Path) -> FinishedRun:
    """Read a run folder.

    Raises:
        ValueError: it is none, is of another command, did not come to its end, or holds files that
            are damaged or of different runs.
    """
    task, options, inputs, changes = _read_options(folder)
    if not (folder / "metrics.json").exists():
        raise ValueError(f"{folder} is not finished: {_go_on(folder, task)}")
    updates, evals = read_log(folder / "log.jsonl")
    with damage_told(folder):
        per_epoch = updates_per_epoch(evals)
        plan = _plan(options, per_epoch)
        total = plan.total_updates
        metrics = read_object(folder / "metrics.json", "the scores of a run")
        told = [metrics.get(key) for key in ("loss", BEST_BY[task])]
        same = [line for line in evals if [line["loss"], line[BEST_BY[task]]] == told]
        if not same:
            raise ValueError(
                f"{folder / 'metrics.json'} has scores that no evaluation in log.jsonl has; one of "
                "the two is damaged or of another run"
            )
        best_update, best_epoch = same[0]["update"], float(same[0]["epoch"])
        made, scored = updates[-1]["update"], evals[-1]["update"]
        if not (made == scored == total) and not (
            made == scored and _ended_early(options, plan, best_update, made)
        ):
            raise ValueError(
                f"{folder} is not finished (update {made} of {total}): {_go_on(folder, task)}"
            )
        seconds = epoch_seconds(updates, per_epoch)
    numbers = {k: v for k, v in metrics.items() if v is None or type(v) in (int, float)}
    return FinishedRun(
        folder=folder,
        task=task,
        options=options,
        seed=str(options["seed"]),
        settings=_settings(options, inputs, changes, total / per_epoch),
        environment=_environment(folder / "env.json"),
        metrics=numbers,
        classes=tuple(metrics["per_class"]) if isinstance(metrics.get("per_class"), dict) else (),
        predictions=read_object(folder / "predictions.json", "the predictions of a run"),
        updates=made,
        best_epoch=best_epoch,
        epoch_seconds=seconds,
    )


def _read_options(folder: Path) -> tuple[str, dict[str, Any], dict[str, Any], list[Any]]:
    """Task, options, inputs and changes of options.json."""
    if not (folder / "options.json").is_file():
        raise ValueError(f"{folder} is not a run folder (it has no options.json)")
    saved = read_object(folder / "options.json", "the options of a run")
    options, inputs, changes = (saved.get(name) for name in ("options", "inputs", "changes"))
    changes = changes or []
    if (
        not isinstance(options, dict)
        or not isinstance(inputs, dict)
        or "seed" not in options
        or not isinstance(changes, list)
        or not all(isinstance(change, dict) for change in changes)
    ):
        raise ValueError(f"{folder / 'options.json'} is damaged: it lacks options of a run")
    task = CLASSIFY if "clean" in options else SQUAD if "null_threshold" in options else ""
    if not task:
        raise ValueError(f"{folder} is no run of train.classify or train.squad, which can compare")
    return task, options, inputs, changes


def _go_on(folder: Path, task: str) -> str:
    return f"go on with python -m train.{task} --resume --output-dir {folder}"


def _plan(options: Mapping[str, Any], per_epoch: int) -> BatchPlan:
    plan = BatchPlan(per_epoch, 1, 1, options["epochs"], 0)  # whose items are updates
    return plan.ending_after(options.get("updates", 0))


def _ended_early(options: Mapping[str, Any], plan: BatchPlan, best: int, made: int) -> bool:
    """Whether --patience ended it."""
    patience = options.get("patience", 0)
    return bool(patience) and plan.epochs_without_gain(best, made) >= patience


def _settings(
    options: Mapping[str, Any], inputs: Mapping[str, Any], changes: Sequence[Any], epochs: float
) -> dict[str, Setting]:
    """What a run was trained with and on, as names that its command line has."""
    named = {
        "model": _model(options, inputs),
        "train-file": _file(options.get("train_file"), inputs.get("train_sha256")),
        "dev-file": _file(options.get("dev_file"), inputs.get("dev_sha256")),
        "epochs": Setting(f"{epochs:.3g}", f"{epochs:.9g}"),
    }
    if options.get("vectors"):
        named["vectors"] = _file(options["vectors"], inputs.get("vectors_sha256"))
    for name, value in options.items():
        if name not in _NO_SETTINGS:
            named[name.replace("_", "-")] = _value(value)
    if changes:  # --allow-change: the options are those of the last start
        words = [f"{c.get('name')} {_text(c.get('old'))} -> {_text(c.get('new'))}" for c in changes]
        named["changed on the way"] = _value(", ".join(words))
    return named


def _model(options: Mapping[str, Any], inputs: Mapping[str, Any]) -> Setting:
    """Known by its commit, or by its files' hashes; from random weights, by the config's."""
    source, commit = str(inputs.get("model_source")), inputs.get("model_commit")
    hashes = [inputs.get("model_sha256"), inputs.get("weights_sha256")]
    path = Path(source)
    name = path.parent.name if path.name == "best" else path.name
    text = name if path.is_absolute() else source
    random = bool(options.get("from_scratch"))
    known = [hashes if any(hashes) else source, commit, random]
    return Setting(f"random {text}" if random else text, json.dumps(known, sort_keys=True))


def _file(path: Any, sha256: Any) -> Setting:
    return Setting(Path(path).name if isinstance(path, str) else "official", str(sha256))


def _value(value: Any) -> Setting:
    return Setting(_text(value), _text(value))


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int | float):
        return f"{value:g}" if abs(value) < 1e6 else str(value)
    return value if isinstance(value, str) else shown(value)


def _short(commit: str | None) -> str | None:
    """Seven digits tell commits apart; + is for changed files."""
    return commit and commit[:7] + "+" * commit.endswith("+")


def _environment(path: Path) -> dict[str, str]:
    """Device, threads, versions and commit of all starts."""
    try:
        starts = parse_object(b'{"starts": ' + path.read_bytes() + b"}")["starts"]
        rows = [
            {
                "device": start["gpu"] if start["device"] == "cuda" else start["device"],
                "threads": start["threads"],
                "torch": start["versions"]["torch"],
                "commit": _short(start["commit"]),
            }
            for start in starts
        ]
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ValueError(f"{path} is damaged: it does not list the starts of a run") from None
    return (
        {name: ", ".join(dict.fromkeys(_text(row[name]) for row in rows)) for name in rows[0]}
        if rows
        else {}
    )
