"""Run folders written by hand, as finished trainings leave them, for figures one can count."""

import json
import math
from pathlib import Path
from typing import Any

from eval.classification import class_rates, confusion_matrix
from eval.squad import read_gold, score

ENVIRONMENT = {
    "device": "cpu", "gpu": None, "threads": 1, "versions": {"torch": "2.13.0"}, "commit": "abc",
}  # fmt: skip


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def write_classify_run(
    folder: Path, labels: str, predicted: str, *, lines: Any = None, **options: Any
) -> Path:
    """A classifier's run; a letter is the class of a text, those of `labels` are all there are.

    Args:
        folder: made here.
        labels: right classes, "aabb".
        predicted: as long.
        lines: of the texts in their file (default: from 2 on).
        options: of the command, beside or in place of those here.
    """
    names = sorted(set(labels))
    lines = range(2, 2 + len(labels)) if lines is None else lines
    rates = class_rates(
        confusion_matrix([names.index(c) for c in labels],
                         [names.index(c) for c in predicted], len(names))
    )  # fmt: skip
    metrics = {
        "accuracy": 100 * rates.accuracy,
        "macro_f1": 100 * rates.macro.f1,
        "weighted_f1": 100 * rates.weighted.f1,
        "macro_roc_auc": None,
        "loss": 0.5,
    }
    predictions = {
        str(line): {"label": right, "predicted": said}
        for line, right, said in zip(lines, labels, predicted, strict=True)
    }
    _write(folder, {"clean": "raw", **options}, metrics, predictions)
    write_json(folder / "metrics.json", {**metrics, "per_class": dict.fromkeys(names)})
    return folder


def write_squad_run(folder: Path, dev: Path, answers: dict[str, str], **options: Any) -> Path:
    """A SQuAD run.

    Args:
        folder: made here.
        dev: its dev file.
        answers: {id: answer}.
        options: as above.
    """
    metrics = {**score(read_gold(dev), answers), "loss": 2.0}
    _write(folder, {"null_threshold": 0.0, "dev_file": str(dev), **options}, metrics, answers)
    return folder


def _write(
    folder: Path, options: dict[str, Any], metrics: dict[str, Any], predictions: dict[str, Any]
) -> None:
    """Two passes of two updates, the second update of a pass half as long; best after the first."""
    folder.mkdir(parents=True)
    options = {"seed": 0, "lr": 0.001, "epochs": 2.0, "updates": 0, "demo": False} | options
    inputs = {"dev_sha256": "d", "train_sha256": "t", "model_source": "embedded"}
    inputs |= options.pop("inputs", {})
    changes = options.pop("changes", [])
    worse = {name: value and value - 1 for name, value in metrics.items()} | {"loss": 3.0}
    log: list[dict[str, Any]] = []
    for update in range(1, 1 + math.ceil(2 * options["epochs"])):
        epoch = (update - 1) // 2
        time = {"elapsed_s": 99.0, "texts_per_s": 2.0 + epoch}
        size = 8 if update % 2 else 4
        log.append(
            {"event": "update", "update": update, "epoch": epoch, "size": size} | {"time": time}
        )
        if update % 2 == 0:
            scores = metrics if update == 2 else worse
            log.append({"event": "eval", "update": update, "epoch": update / 2, **scores})
    write_json(folder / "options.json",
               {"format": 1, "options": options, "inputs": inputs, "changes": changes})  # fmt: skip
    write_json(folder / "env.json", [ENVIRONMENT])
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "predictions.json", predictions)


def write_questions(path: Path, answers: dict[str, str | None]) -> Path:
    """A SQuAD file of questions with one right answer, or none."""
    qas = [
        {"id": i, "question": "?", "answers": [{"text": text, "answer_start": 0}] if text else []}
        for i, text in answers.items()
    ]
    write_json(path, {"data": [{"paragraphs": [{"context": "", "qas": qas}]}]})
    return path
