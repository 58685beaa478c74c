"""Fine-tune BERT or DistilBERT on SQuAD v1.1 or v2.0: wiring only.

python -m train.squad --amp                     the official files, bert-base-uncased
python -m train.squad --demo                    a small world made here, two minutes on a CPU
python -m train.squad --model FOLDER --train-file TRAIN.json --dev-file DEV.json
"""

import json
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.command import UsageError, explicit, option, parse, run_command
from train.options import TrainOptions

if TYPE_CHECKING:
    import torch

    from data.batches import SpanBatch
    from data.windows import Ints
    from train.checkpoint import TrainState
    from train.run import Run
    from train.squad_inputs import Inputs

DEFAULT_MODEL = "google-bert/bert-base-uncased"

_EPILOG = """examples:
  python -m train.squad --demo
  python -m train.squad --amp --output-dir runs/squad
  python -m train.squad --model my-bert/ --train-file train.json --dev-file dev.json --epochs 3
  python -m train.squad --resume --output-dir runs/squad

exit status: 0 done or --max-minutes reached, 1 a goal of the demo missed, 2 bad input,
3 non-finite loss, 4 no undamaged checkpoint, 130 Ctrl-C, 143 SIGTERM"""


@dataclass(frozen=True)
class SquadOptions(TrainOptions):
    """Options of `python -m train.squad`, beside those of every training command."""

    model: str = option(DEFAULT_MODEL, help="Hub name, model folder or run folder", group="model")
    revision: str | None = option(None, help="Hub branch, tag or commit", group="model")
    from_scratch: str = option(
        "", help="folder with config.json and a vocabulary: random weights", group="model"
    )
    train_file: str = option(
        "", help="SQuAD .json file (default: the official train-v2.0.json)", group="data"
    )
    dev_file: str = option(
        "", help="SQuAD .json file (default: the official dev-v2.0.json)", group="data"
    )
    demo: bool = option(False, help="train a tiny BERT on a small world made here", group="data")
    answerable_only: bool = option(
        False, help="leave impossible questions out of training", group="data"
    )
    train_fraction: float = option(
        1.0, help="part of the training questions used, drawn with --seed", group="data"
    )
    max_length: int = option(384, help="tokens of a window, 512 at most", group="windows")
    doc_stride: int = option(
        128, help="context tokens shared by neighbouring windows", group="windows"
    )
    doc_step: int | None = option(
        None, help="context tokens between window starts, instead of a stride", group="windows"
    )
    max_question_length: int = option(64, help="tokens kept of a question", group="windows")
    max_answer_length: int = option(30, help="tokens of the longest answer", group="windows")
    n_best: int = option(20, help="answers listed per question in nbest.json", group="windows")
    null_threshold: float = option(
        0.0, help='"" is answered where null score - best score is above it', group="windows"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.train_fraction <= 1:
            raise UsageError(
                f"--train-fraction is {self.train_fraction}, expected more than 0, at most 1"
            )
        for name, most in (
            ("max_length", 512), ("max_question_length", 512), ("max_answer_length", 512),
            ("n_best", 1000),
        ):  # fmt: skip
            value = getattr(self, name)
            if not 1 <= value <= most:
                raise UsageError(f"--{name.replace('_', '-')} is {value}, expected 1 to {most}")
        if self.doc_stride < 0:
            raise UsageError(f"--doc-stride is {self.doc_stride}, expected 0 or more")
        if self.doc_step is not None and self.doc_step < 1:
            raise UsageError(f"--doc-step is {self.doc_step}, expected at least 1")
        if self.from_scratch and self.model != DEFAULT_MODEL:
            raise UsageError("--model and --from-scratch contradict each other; give one of them")


def read_options(argv: list[str]) -> SquadOptions:
    """The command line; a resumed run's own options and the demo's take the place of defaults."""
    text = "Fine-tune BERT or DistilBERT on SQuAD, end to end: windows, training, answers, scores."
    defaults: dict[str, Any] = {}
    if "--demo" in argv:
        from data.demo import DEMO_OPTIONS

        defaults = dict(DEMO_OPTIONS)
    options = parse(
        SquadOptions, argv, prog="train.squad", description=text, epilog=_EPILOG, defaults=defaults
    )
    if options.resume:
        from train.run import known_options, refuse_changes, saved_run

        saved = known_options(saved_run(Path(options.output_dir))["options"], SquadOptions)
        refuse_changes(options, saved, explicit(SquadOptions, argv))
        options = parse(SquadOptions, argv, prog="train.squad", description=text, defaults=saved)
        options = replace(options, **{k: v for k, v in saved.items() if k == "threads"})
    return options


def main(argv: list[str]) -> int:
    """Read, train, evaluate, say where everything is."""
    options = read_options(argv)

    import torch

    from data.batches import BatchPlan, collate
    from minibert.device import choose_amp_dtype, choose_device
    from minibert.heads import span_loss_sum
    from train.dry_run import print_plan
    from train.loop import train
    from train.optim import make_optimizer
    from train.run import Run, prepare_folder, saved_run
    from train.squad_inputs import describe, read_inputs, with_demo_files

    if options.threads:
        torch.set_num_threads(options.threads)
    options = replace(options, threads=torch.get_num_threads())
    if options.deterministic:
        torch.use_deterministic_algorithms(True)
    device = choose_device(options.device)
    amp_dtype = choose_amp_dtype(device, options.amp_dtype) if options.amp else None
    folder = Path(options.output_dir or time.strftime("runs/squad-%Y%m%d-%H%M%S"))
    if options.dry_run:
        folder = folder.with_name(folder.name + "-dry-run") if options.demo else folder
    else:
        prepare_folder(folder, options)
    if options.demo:
        options = with_demo_files(options, folder)

    inputs = read_inputs(options, device, saved_run(folder)["inputs"] if options.resume else None)
    plan = BatchPlan(
        len(inputs.train), options.batch_size, options.accumulate, options.epochs, options.seed
    )
    describe(inputs, plan)
    optimizer = make_optimizer(inputs.model, options)
    scaler = torch.amp.GradScaler(device.type, enabled=amp_dtype is torch.float16)

    def make_batch(chosen: "Ints") -> "SpanBatch":
        return collate(inputs.train, chosen)

    def loss_sum(model: "torch.nn.Module", batch: "SpanBatch") -> "torch.Tensor":
        logits = model(batch.packed)
        return span_loss_sum(logits, batch.packed, batch.start_positions, batch.end_positions)

    if options.dry_run:
        print_plan(
            inputs.model, optimizer, plan, options, folder, device, amp_dtype, make_batch, loss_sum
        )
        return 0

    run = Run(folder, options, inputs.identity, plan.total_updates, "windows")
    try:
        state = run.restore(inputs.model, optimizer, scaler)
        if options.resume:
            run.print(f"resumed after update {state.update} of {plan.total_updates}")
        run.watch_signals()
        train(
            inputs.model, optimizer, scaler, plan, options, state, run, device, amp_dtype,
            make_batch, loss_sum,
            evaluate=lambda: evaluate(inputs, options, state, run, device, amp_dtype),
        )  # fmt: skip
        return finish(inputs, options, state, run, device, plan.total_updates)
    finally:
        run.close()


def evaluate(
    inputs: "Inputs",
    options: SquadOptions,
    state: "TrainState",
    run: "Run",
    device: "torch.device",
    amp_dtype: "torch.dtype | None",
) -> None:
    """Answer the dev set, log the scores, and keep model and answers if F1 is the best so far."""
    from eval.predict import decode_windows, predict_logits, score_predictions
    from eval.spans import write_json, write_predictions
    from train.model_card import write_model_card

    started = time.monotonic()
    dev, examples = inputs.dev, inputs.dev.tokens.examples
    logits = predict_logits(inputs.model, dev, device, amp_dtype)
    decoded = decode_windows(
        logits, dev, n_best=options.n_best, max_answer_length=options.max_answer_length
    )
    threshold = inputs.settings.threshold(inputs.dev_data.has_impossible)
    metrics = score_predictions(examples, decoded, threshold, dev) | {"loss": logits.loss}
    seconds = round(time.monotonic() - started, 3)
    run.log(
        "eval",
        {"eval_s": seconds},
        update=state.update,
        epoch=state.update / math.ceil(len(inputs.train) / options.batch_size),
        **metrics,
    )
    run.print(
        f"after update {state.update}: dev loss {logits.loss:.3f}, "
        f"EM {metrics['exact']:.2f}, F1 {metrics['f1']:.2f} ({seconds:.0f} s)"
    )
    if state.best_score is not None and metrics["f1"] <= state.best_score:
        return
    state.best_score, state.best_update = metrics["f1"], state.update
    best = run.folder / "best"
    inputs.model.save_pretrained(best)
    inputs.tokenizer.save(best)
    inputs.settings.save(best)
    write_model_card(best, options, inputs, metrics)
    write_predictions(
        run.folder, [example.id for example in examples], decoded,
        threshold=threshold, with_null=math.isfinite(threshold),
    )  # fmt: skip
    write_json(run.folder / "metrics.json", metrics)


def finish(
    inputs: "Inputs",
    options: SquadOptions,
    state: "TrainState",
    run: "Run",
    device: "torch.device",
    total_updates: int,
) -> int:
    """Draw the picture, say where everything is, and answer one question with the best model."""
    from eval.plots import training_curves

    with (run.folder / "log.jsonl").open(encoding="utf-8") as log:
        picture = training_curves([json.loads(line) for line in log], run.folder / "training.png")
    if state.update < total_updates:
        run.print(
            f"stopped after update {state.update} of {total_updates}; go on with:\n"
            f"  python -m train.squad --resume --output-dir {run.folder}"
        )
        return run.stop_status
    metrics = json.loads((run.folder / "metrics.json").read_bytes())
    run.print(f"\nbest model: after update {state.best_update}")
    for name, value in metrics.items():
        run.print(
            f"  {name:24} {value:10.4f}" if isinstance(value, float) else f"  {name:24} {value:5}"
        )
    run.print(f"run folder: {run.folder}")
    run.print(f"model:      {run.folder / 'best'}")
    if picture is not None:
        run.print(f"picture:    {picture}")
    show_an_answer(run, str(device))
    if options.demo:
        return check_demo_goals(metrics, run)
    return 0


def show_an_answer(run: "Run", device: str) -> None:
    """Load the saved model as a user would and answer a dev question that it got right, if any."""
    from data.squad import read_squad
    from eval.answer import answer_question
    from eval.predict import Answerer

    options = run.options
    assert isinstance(options, SquadOptions)
    from train.squad_inputs import squad_path

    examples = read_squad(squad_path(options.dev_file, "dev-v2.0.json")).examples
    predictions = json.loads((run.folder / "predictions.json").read_bytes())
    right = (e for e in examples if predictions[e.id] in {a.text for a in e.answers})
    example = next(right, examples[0])
    answerer = Answerer.load(str(run.folder / "best"), device=device)
    reply = answer_question(answerer, example.question, example.context)
    run.print(f"\n{example.context}\nQuestion: {example.question}\nAnswer:   {reply or '(none)'}")
    run.print(
        f"\nask more: python -m eval.answer --model {run.folder} --question ... --context ..."
    )


def check_demo_goals(metrics: dict[str, Any], run: "Run") -> int:
    """Compare with what a sound pipeline reaches on the demo; 1 if a goal is missed."""
    from data.demo import DEMO_GOALS

    missed = {name: goal for name, goal in DEMO_GOALS.items() if metrics[name] < goal}
    for name, goal in DEMO_GOALS.items():
        verdict = "MISSED" if name in missed else "reached"
        run.print(f"goal: {name} >= {goal:g}: {metrics[name]:.2f} {verdict}")
    return 1 if missed else 0


if __name__ == "__main__":
    run_command(main)
