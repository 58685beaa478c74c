"""Answer every question of a SQuAD file, score the answers, write the files.

python -m eval.predict --model runs/squad --data-file dev-v2.0.json --output-dir predictions
"""

import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.command import UsageError, option, parse, run_command
from data.options import check_range
from data.ranks import Ranks
from data.torchrun import joined_ranks
from eval.options import MOST_ANSWERS, AnswerOptions

if TYPE_CHECKING:
    from data.squad import SquadExample
    from data.windows import Windows
    from eval.spans import Decoded


def score_predictions(
    examples: "Sequence[SquadExample]",
    decoded: "Sequence[Decoded]",
    threshold: float,
    windows: "Windows",
    *,
    null_answer: bool = True,
) -> dict[str, float]:
    """The official metrics at a threshold, then the best (oracle) ones over all thresholds.

    Args:
        examples: with gold answers.
        decoded: their answers, in the same order.
        threshold: of null score - best score; `math.inf` never answers "".
        windows: of the same examples.
        null_answer: False where "" was not to be answered: only the questions that have an answer
            are scored then, since the others cannot be right.

    Returns:
        exact, f1, total, HasAns_*, NoAns_*; multi_window_f1 and multi_window_total of the questions
        over several windows; for data with impossible questions and a finite threshold also
        null_threshold; no_null_exact and no_null_f1 of the questions that have an answer, were each
        given its best span; and oracle_best_exact, oracle_best_exact_thresh, oracle_best_f1,
        oracle_best_f1_thresh.

    Raises:
        ValueError: no question to score.
    """
    import numpy as np

    from eval.squad import score
    from eval.thresholds import best_metrics

    predictions = {e.id: d.answer(threshold) for e, d in zip(examples, decoded, strict=True)}
    several = np.bincount(windows.example, minlength=len(examples)) > 1
    scored = [place for place, e in enumerate(examples) if null_answer or e.answers]
    metrics = score([examples[place] for place in scored], predictions)
    if over_several := [examples[place] for place in scored if several[place]]:
        part = score(over_several, predictions)
        metrics |= {"multi_window_f1": part["f1"], "multi_window_total": part["total"]}
    if "NoAns_total" in metrics and math.isfinite(threshold):
        metrics["null_threshold"] = threshold
        best_texts = {e.id: d.answer(math.inf) for e, d in zip(examples, decoded, strict=True)}
        if answerable := [e for e in examples if e.answers]:
            part = score(answerable, best_texts)
            metrics |= {"no_null_exact": part["exact"], "no_null_f1": part["f1"]}
        odds = {e.id: d.null_odds for e, d in zip(examples, decoded, strict=True)}
        oracle = best_metrics(examples, best_texts, odds)
        metrics |= {f"oracle_{name}": value for name, value in oracle.items()}
    return metrics


@dataclass(frozen=True, kw_only=True)
class PredictOptions(AnswerOptions):
    """Options of `python -m eval.predict`, beside those of the model.

    With `--no-null-answer` every question is answered, and only those that have an answer scored.
    """

    data_file: str = option(help="SQuAD v1.1 or v2.0 .json file, with or without answers")
    output_dir: str = option(help="where the prediction files go; created if needed")
    n_best: int = option(20, help="answers listed per question in nbest.json")
    batch_tokens: int | None = option(
        None, help="tokens in a batch (default: by device)", group="machine"
    )
    amp: bool = option(False, help="mixed precision (autocast)", group="machine")
    amp_dtype: str = option(
        "auto", help="with --amp", choices=("auto", "bf16", "fp16"), group="machine"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("n_best", self.n_best, 1, MOST_ANSWERS)
        check_range("batch_tokens", self.batch_tokens, 1)
        if self.amp_dtype != "auto" and not self.amp:
            raise UsageError(f"--amp-dtype {self.amp_dtype} does nothing without --amp; add it")


def main(argv: list[str]) -> int:
    """Write the prediction files and, where there are gold answers, metrics.json.

    Ranks (torchrun) share the windows; the first one decodes and writes.
    """
    with joined_ranks() as ranks:
        options = PredictOptions(**ranks.first(lambda: asdict(read_options(argv))))
        return predict(options, ranks)


def read_options(argv: list[str]) -> PredictOptions:
    """The command line; a folder that is no place for the files is refused before the work.

    Raises:
        UsageError: wrong flags, or such a folder.
    """
    options = parse(
        PredictOptions, argv, prog="eval.predict",
        description="Answer every question of a SQuAD file with a trained model.",
        epilog="example:\n  python -m eval.predict --model runs/squad --data-file dev-v2.0.json "
        "--output-dir predictions\n\nWith --no-null-answer only the questions that have an answer "
        "are scored, since no other\ncan be right; the loss stays that of all windows.",
    )  # fmt: skip
    from eval.prediction_files import check_folder

    folder = Path(options.output_dir)
    check_folder("--output-dir", folder)
    if any((folder / name).exists() for name in ("options.json", "checkpoints")):
        raise UsageError(
            f"--output-dir {folder} is a run folder, whose own answers lie there; name another"
        )
    return options


def predict(options: PredictOptions, ranks: Ranks) -> int:
    """Answer, write, say how well; the exit status."""
    from data.ledger import ledger
    from data.squad import read_squad
    from eval.answerer import decode_windows, predict_logits
    from eval.prediction_files import write_json, write_predictions
    from minibert.strict_json import counted

    folder = Path(options.output_dir)
    data = ranks.together(lambda: read_squad(options.data_file))
    answerer = ranks.together(lambda: options.load(options.amp, options.amp_dtype, ranks))
    ranks.first(lambda: folder.mkdir(parents=True, exist_ok=True))
    windows = answerer.windows(data.examples)
    logits = predict_logits(
        answerer.model, windows, answerer.device, answerer.amp_dtype, options.batch_tokens, ranks
    )
    if not ranks.is_first:
        return 0
    length = answerer.settings.max_answer_length
    decoded = decode_windows(logits, windows, n_best=options.n_best, max_answer_length=length)
    loss = logits.loss
    threshold = options.threshold(answerer, data)
    write_predictions(
        folder, [e.id for e in data.examples], decoded,
        threshold=threshold, with_null=math.isfinite(threshold),
    )  # fmt: skip
    metrics = None
    if data.has_answers and not options.null_answer and not any(e.answers for e in data.examples):
        warnings.warn(
            f"{options.data_file} has no question with an answer, so with --no-null-answer nothing "
            "is scored",
            stacklevel=2,
        )
    elif data.has_answers:
        metrics = score_predictions(
            data.examples, decoded, threshold, windows, null_answer=options.null_answer
        )
        metrics["loss"] = loss
        write_json(folder / "metrics.json", metrics)
    # All files are written: a reader that leaves now (`| head`) loses nothing.
    questions, wide = counted(len(data.examples), "question"), counted(len(windows), "window")
    print(f"{questions} in {wide} answered: {folder}")
    for line in ledger(data, windows):
        print(line)
    if metrics is not None:
        print(json.dumps(metrics, indent=2))
    return 0


if __name__ == "__main__":
    run_command(main, with_ranks=True)
