"""Fine-tune BERT or DistilBERT on SQuAD v1.1 or v2.0: what it reads, scores and says.

python -m train.squad --amp                     the official files, bert-base-uncased
python -m train.squad --demo                    a small world made here, two minutes on a CPU
python -m train.squad --model FOLDER --train-file TRAIN.json --dev-file DEV.json
"""

import json
import math
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from data.command import run_command
from data.torchrun import joined_ranks
from train.recipe import introduce, judge
from train.restarts import read_together
from train.squad_options import SquadOptions, read_options

if TYPE_CHECKING:
    import torch

    from data.batches import BatchPlan, SpanBatch
    from data.tokenized_squad import Ints
    from eval.answerer import WindowLogits
    from train.checkpoint import TrainState
    from train.run import Run
    from train.squad_inputs import Inputs
    from train.wiring import Work


def main(argv: list[str]) -> int:
    """Read, train, evaluate, say where everything is."""
    with joined_ranks() as ranks:
        options = read_together("squad", SquadOptions, read_options, argv, ranks)

        from train.wiring import run_training

        return run_training("squad", options, read_work, ranks)


def read_work(
    options: SquadOptions,
    folder: Path,
    device: "torch.device",
    amp_dtype: "torch.dtype | None",
    saved: dict[str, Any] | None,
) -> "Work":
    """Questions and model, as `run_training` wants them."""
    from data.batches import BatchPlan, collate
    from minibert.heads import span_loss_sum
    from train.loop import Task
    from train.run import Run
    from train.squad_inputs import describe, read_inputs, with_demo_files
    from train.wiring import Work

    spare = options.demo and options.dry_run  # which writes nothing in the run folder
    with TemporaryDirectory() if spare else nullcontext(folder) as place:
        if options.demo:
            options = with_demo_files(options, Path(place))
        inputs = read_inputs(options, device, saved)
    plan = BatchPlan(
        len(inputs.train), options.batch_size, options.accumulate, options.epochs, options.seed
    ).ending_after(options.updates)
    if options.recipe:
        print(introduce(options, SquadOptions))
    describe(inputs, plan)

    def make_batch(chosen: "Ints") -> "SpanBatch":
        return collate(inputs.train, chosen)

    def loss_sum(model: "torch.nn.Module", batch: "SpanBatch") -> "torch.Tensor":
        logits = model(batch.packed)
        return span_loss_sum(logits, batch.packed, batch.start_positions, batch.end_positions)

    def item_ids(chosen: "Ints") -> list[str]:
        return [inputs.train.tokens.examples[e].id for e in inputs.train.example[chosen]]

    scoring = partial(evaluate, inputs, options, plan, device, amp_dtype)
    return Work(
        options=options,
        model=inputs.model,
        plan=plan,
        task=Task(make_batch, loss_sum, item_ids, scoring),
        identity=inputs.identity,
        run_class=Run,
        counted="windows",
        answers=len(inputs.dev.tokens.examples) * options.n_best,
        finish=partial(finish, inputs, options, plan),
    )


def evaluate(
    inputs: "Inputs",
    options: SquadOptions,
    plan: "BatchPlan",
    device: "torch.device",
    amp_dtype: "torch.dtype | None",
    state: "TrainState",
    run: "Run",
) -> None:
    """Answer the dev set, log the scores, and keep model and answers if F1 is the best so far."""
    from eval.answerer import decode_windows, predict_logits
    from eval.predict import score_predictions
    from eval.prediction_files import write_json, write_predictions
    from train.model_card import write_model_card

    started = time.monotonic()
    dev, examples = inputs.dev, inputs.dev.tokens.examples
    threshold = inputs.settings.threshold(inputs.dev_data.has_impossible)
    try:
        with run.interruptible():
            logits = predict_logits(inputs.model, dev, device, amp_dtype, ranks=run.ranks)
            if not run.ranks.is_first:
                return  # the first rank scores, and tells the others what comes of it
            refuse_nonfinite_scores(logits, state.update)
            decoded = decode_windows(
                logits, dev, n_best=options.n_best, max_answer_length=options.max_answer_length
            )
            metrics = score_predictions(examples, decoded, threshold, dev) | {"loss": logits.loss}
    except KeyboardInterrupt:
        state.evaluation_due = True
        return
    seconds = round(time.monotonic() - started, 3)
    run.log(
        "eval",
        {"eval_s": seconds},
        update=state.update,
        epoch=state.update / plan.updates_per_epoch,
        **metrics,
    )
    run.print(
        f"after update {state.update}: dev loss {logits.loss:.3f}, "
        f"EM {metrics['exact']:.2f}, F1 {metrics['f1']:.2f} ({seconds:.0f} s)"
    )
    if state.best_score is not None and metrics["f1"] <= state.best_score:
        return
    state.best_score, state.best_update = metrics["f1"], state.update
    with run.staged_best(state) as folder:
        best = folder / "best"
        inputs.model.save_pretrained(best)
        inputs.tokenizer.save(best)
        inputs.settings.save(best)
        write_model_card(best, options, inputs, plan, state, metrics)
        write_predictions(
            folder, [example.id for example in examples], decoded,
            threshold=threshold, with_null=math.isfinite(threshold),
        )  # fmt: skip
        write_json(folder / "metrics.json", metrics)


def refuse_nonfinite_scores(logits: "WindowLogits", update: int) -> None:
    """Stop where the dev set's scores are not numbers: no answer of such a model means anything.

    Raises:
        CommandError: with status 3; the checkpoint from before the evaluation stays.
    """
    import numpy as np

    from train.faults import refuse_evaluation

    if not (np.isfinite(logits.start_logits).all() and np.isfinite(logits.end_logits).all()):
        refuse_evaluation(update, "scores that are infinite or undefined on the dev set")
    if not math.isfinite(logits.loss):
        refuse_evaluation(update, f"a loss of {logits.loss} on the dev set")


def finish(
    inputs: "Inputs", options: SquadOptions, plan: "BatchPlan", run: "Run", metrics: dict[str, Any]
) -> int:
    """Answer one question with the best model; compare the demo with its goals."""
    show_an_answer(inputs, options, run)
    if options.recipe:
        return judge(options, SquadOptions, metrics, run)
    if not options.demo:
        return 0
    part = inputs.questions / len(inputs.train_data.examples)
    return check_demo_goals(metrics, plan.epochs * part, run)


def show_an_answer(inputs: "Inputs", options: SquadOptions, run: "Run") -> None:
    """Load the saved model as a user would and ask it a dev question, one it got right if any."""
    from eval.answer import answer_question
    from eval.answerer import Answerer

    predictions = json.loads((run.folder / "predictions.json").read_bytes())
    examples = inputs.dev.tokens.examples
    right = (e for e in examples if predictions.get(e.id) in {answer.text for answer in e.answers})
    example = next(right, examples[0])
    answerer = Answerer.load(str(run.folder), device=options.device)
    reply = answer_question(answerer, example.question, example.context)
    run.print(
        f"\n{example.context}\nQuestion: {example.question}\nAnswer:   {reply or '(no answer)'}\n\n"
        f"ask more: python -m eval.answer --model {run.folder} --question ... --context ..."
    )


def check_demo_goals(metrics: dict[str, Any], passes: float, run: "Run") -> int:
    """Compare with what a sound pipeline reaches on the demo; 1 if a goal is missed.

    Args:
        metrics: of the dev file, percent.
        passes: over all of the demo's questions; with fewer than its own it is not judged.
        run: says the verdict.
    """
    from data.demo import DEMO_GOALS, DEMO_OPTIONS

    wanted = float(DEMO_OPTIONS["epochs"])
    if passes < wanted * (1 - 1e-9):
        run.print(
            f"goals: not judged, they are those of the whole demo, {wanted:g} passes over its "
            f"questions, and this one made {passes:.2g}"
        )
        return 0
    missed = False
    for name, goal in DEMO_GOALS.items():
        if name not in metrics:  # windows so long that no question needs several
            run.print(f"goal: {name} >= {goal:g}: no such question, not judged")
            continue
        verdict = "reached" if metrics[name] >= goal else "MISSED"
        missed |= verdict == "MISSED"
        run.print(f"goal: {name} >= {goal:g}: {metrics[name]:.2f} {verdict}")
    return int(missed)


if __name__ == "__main__":
    run_command(main, outlives_readers=True, with_ranks=True)
