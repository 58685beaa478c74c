"""Fine-tune BERT or DistilBERT, or train a baseline, to classify tweets: what it reads and scores.

python -m train.classify --demo                                          on tweets made here
python -m train.classify --train-file train.csv --dev-file dev.csv       the embedded BERT
python -m train.classify --train-file train.csv --dev-file dev.csv --model FOLDER --clean light
python -m train.classify --train-file train.csv --dev-file dev.csv --model softmax
"""

import json
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from data.command import run_command
from data.torchrun import joined_ranks
from train.classify_options import ClassifyOptions, read_options
from train.recipe import introduce, judge
from train.restarts import read_together

if TYPE_CHECKING:
    import torch

    from data.batches import BatchPlan, ClassBatch
    from data.tokenized_squad import Ints
    from train.checkpoint import TrainState
    from train.classify_inputs import Inputs
    from train.run import Run
    from train.wiring import Work


def main(argv: list[str]) -> int:
    """Read, train, evaluate, say where everything is."""
    with joined_ranks() as ranks:
        options = read_together("classify", ClassifyOptions, read_options, argv, ranks)

        from train.wiring import run_training

        return run_training("classify", options, read_work, ranks)


def read_work(
    options: ClassifyOptions,
    folder: Path,
    device: "torch.device",
    amp_dtype: "torch.dtype | None",
    saved: dict[str, Any] | None,
) -> "Work":
    """Texts and model, as `run_training` wants them."""
    import torch

    from data.batches import BatchPlan, collate_labelled
    from minibert.heads import classification_loss_sum
    from train.classify_inputs import describe, read_inputs, with_demo_files
    from train.loop import Task
    from train.run import Run
    from train.wiring import Work

    spare = options.demo and options.dry_run  # which writes nothing in the run folder
    with TemporaryDirectory() if spare else nullcontext(folder) as place:
        if options.demo:
            options = with_demo_files(options, Path(place))
        inputs = read_inputs(options, device, saved)
    plan = BatchPlan(
        len(inputs.train.data), options.batch_size, options.accumulate, options.epochs, options.seed
    ).ending_after(options.updates)
    if options.recipe:
        print(introduce(options, ClassifyOptions))
    describe(inputs, plan)
    texts, frozen = inputs.start.train, inputs.start.frozen
    class_weights = torch.from_numpy(inputs.class_weights).to(device)

    def make_batch(chosen: "Ints") -> "ClassBatch":
        return collate_labelled(texts, chosen)

    def loss_sum(model: "torch.nn.Module", batch: "ClassBatch") -> "torch.Tensor":
        if frozen is not None:
            frozen.eval()  # its dropout would be noise that nothing learns to stand
        return classification_loss_sum(model(batch.packed), batch.labels, class_weights)

    def weight(chosen: "Ints") -> float:
        return float(inputs.class_weights[texts.labels[chosen]].sum(dtype="float64"))

    def item_ids(chosen: "Ints") -> list[str]:
        return [f"line {line}" for line in inputs.train.data.lines[chosen].tolist()]

    return Work(
        options=options,
        model=inputs.model,
        plan=plan,
        task=Task(
            make_batch, loss_sum, item_ids,
            evaluate=partial(evaluate, inputs, options, plan, device, amp_dtype),
            weight=weight,
            ends_early=partial(ends_early, options.patience, plan),
        ),
        identity=inputs.identity,
        run_class=Run,
        counted="texts",
        answers=len(inputs.dev.data) * (1 + len(inputs.train.data.label_names)),
        finish=partial(finish, inputs, options),
        vocabulary_bytes=inputs.start.vocabulary_bytes,
    )  # fmt: skip


def ends_early(patience: int, plan: "BatchPlan", state: "TrainState") -> bool:
    """Whether as many whole epochs as --patience have passed since the one with the best score.

    A function of the saved state alone, so that a resumed run ends where it would have ended.
    """
    best = state.best_update
    return bool(patience and best) and plan.epochs_without_gain(best, state.update) >= patience


def evaluate(
    inputs: "Inputs",
    options: ClassifyOptions,
    plan: "BatchPlan",
    device: "torch.device",
    amp_dtype: "torch.dtype | None",
    state: "TrainState",
    run: "Run",
) -> None:
    """Classify the dev set, log the scores, keep the model if its macro-F1 is the best so far.

    Raises:
        CommandError: scores that are not numbers (status 3); the checkpoint from before stays.
    """
    import numpy as np

    from eval.classification import score
    from eval.classifier import as_predictions, predict_scores
    from eval.prediction_files import write_json
    from train.classify_card import write_model_card
    from train.faults import refuse_evaluation

    started = time.monotonic()
    names, dev = inputs.train.data.label_names, inputs.start.dev
    try:
        with run.interruptible():
            scores = predict_scores(inputs.model, dev, device, amp_dtype, ranks=run.ranks)
            if not run.ranks.is_first:
                return  # the first rank scores, and tells the others what comes of it
            if not np.isfinite(scores.logits).all():
                refuse_evaluation(
                    state.update, "scores that are infinite or undefined on the dev set"
                )
            probabilities = scores.probabilities
            metrics = score(dev.labels, probabilities, names) | {"loss": scores.loss}
    except KeyboardInterrupt:
        state.evaluation_due = True
        return
    seconds = round(time.monotonic() - started, 3)
    numbers = {k: value for k, value in metrics.items() if isinstance(value, int | float)}
    epoch = state.update / plan.updates_per_epoch
    run.log("eval", {"eval_s": seconds}, update=state.update, epoch=epoch, **numbers)
    run.print(
        f"after update {state.update}: dev loss {scores.loss:.3f}, accuracy "
        f"{metrics['accuracy']:.2f}, macro-F1 {metrics['macro_f1']:.2f} ({seconds:.0f} s)"
    )
    if state.best_score is not None and metrics["macro_f1"] <= state.best_score:
        return
    state.best_score, state.best_update = metrics["macro_f1"], state.update
    with run.staged_best(state) as folder:
        best = folder / "best"
        inputs.model.save_pretrained(best)
        inputs.start.vocabulary.save(best)
        inputs.start.settings.save(best)
        write_model_card(best, options, inputs, plan, state, metrics)
        lines = inputs.dev.data.lines.tolist()
        predictions = as_predictions(lines, dev.labels.tolist(), probabilities, names)
        write_json(folder / "predictions.json", predictions)
        write_json(folder / "metrics.json", metrics)


def finish(inputs: "Inputs", options: ClassifyOptions, run: "Run", metrics: dict[str, Any]) -> int:
    """Draw the best model's pictures, and say what can be done with it."""
    from eval.class_plots import draw_all
    from eval.classifier import from_predictions

    names = inputs.train.data.label_names
    predictions = json.loads((run.folder / "predictions.json").read_bytes())
    scores = from_predictions(predictions, names)
    for picture in draw_all(*scores, names, run.folder, run.options.pictures):
        run.print(f"            {picture}")
    run.print(
        f"score more: python -m eval.classify --model {run.folder} --data-file ... --output-dir ..."
    )
    return judge(options, ClassifyOptions, metrics, run) if options.recipe else 0


if __name__ == "__main__":
    run_command(main, outlives_readers=True, with_ranks=True)
