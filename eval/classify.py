"""Classify every text of a labelled file, score, write the files.

python -m eval.classify --model runs/tweets --data-file test.csv --output-dir scores
"""

import json
from dataclasses import dataclass
from pathlib import Path

from data.command import UsageError, option, parse, run_command
from data.options import PICTURES
from data.tweets import ReadingOptions


@dataclass(frozen=True, kw_only=True)
class ClassifyOptions(ReadingOptions):
    """Options of `python -m eval.classify`; length and cleaning are those of the saved model."""

    model: str = option(help="run folder or model folder of train.classify", group="model")
    data_file: str = option(help="CSV, TSV or JSON lines with labels")
    output_dir: str = option(help="where predictions, scores and pictures go; created if needed")
    pictures: str = option("png", help="format of the pictures", choices=PICTURES)
    batch_tokens: int | None = option(
        None, help="tokens in a batch (default: by device)", group="machine"
    )
    device: str = option("auto", help="auto, cpu, cuda, cuda:N or mps", group="machine")
    threads: int = option(0, help="CPU threads, 0 = torch's own choice", group="machine")

    def __post_init__(self) -> None:
        from data.options import check_range
        from eval.options import MOST_THREADS

        check_range("batch_tokens", self.batch_tokens, 1)
        check_range("threads", self.threads, 0, MOST_THREADS)


def main(argv: list[str]) -> int:
    """Write predictions.json, metrics.json and the pictures."""
    options = parse(
        ClassifyOptions, argv, prog="eval.classify",
        description="Classify every text of a labelled file with a trained model, and score it.",
        epilog="example:\n  python -m eval.classify --model runs/tweets --data-file test.csv "
        "--output-dir scores\n\nA class without a text in the file is named; macro means of AUC "
        "and average precision leave it out,\nthose of precision, recall and F1 unless it is "
        "predicted.",
    )  # fmt: skip
    from eval.prediction_files import check_folder, write_json

    folder = Path(options.output_dir)
    check_folder("--output-dir", folder)  # before the work, so that a wrong name costs none
    for place in (folder.resolve(), *folder.resolve().parents):
        if (place / "options.json").exists() and (place / "log.jsonl").exists():
            raise UsageError(
                f"--output-dir {folder} is a run folder, whose own scores lie there, or in one; "
                "name another"
            )

    import numpy as np
    import torch

    from data.ledger import tweet_ledger
    from eval.class_plots import draw_all
    from eval.classification import score
    from eval.classifier import as_predictions, load_classifier, predict_scores
    from minibert.device import choose_device
    from minibert.strict_json import counted

    if options.threads:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device)
    model, encode, settings, source = load_classifier(options.model, device)
    names = model.config.labels
    data = options.read(options.data_file, names)
    cleaned = settings.cleaning.clean(data.texts)
    texts, told = encode(cleaned, data.labels)
    scores = predict_scores(model, texts, device, tokens_per_batch=options.batch_tokens)
    if not np.isfinite(scores.logits).all():
        raise ValueError(f"{source} has scores that are infinite or undefined; train anew")
    metrics = score(data.labels, scores.probabilities, names) | {"loss": scores.loss}
    folder.mkdir(parents=True, exist_ok=True)
    lines, labels = data.lines.tolist(), data.labels.tolist()
    predictions = as_predictions(lines, labels, scores.probabilities, names)
    write_json(folder / "predictions.json", predictions)
    write_json(folder / "metrics.json", metrics)
    draw_all(data.labels, scores.probabilities, names, folder, options.pictures)
    # All files are written: a reader that leaves now (`| head`) loses nothing.
    print(f"{counted(len(data), 'text')} classified, {len(texts.cut)} of them cut: {folder}")
    for line in (*told, *tweet_ledger(data, cleaned)):
        print(line)
    print(json.dumps(metrics, indent=2))
    return 0


if __name__ == "__main__":
    run_command(main)
