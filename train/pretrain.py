"""Masked-LM pretraining on plain text: wiring only.

python -m train.pretrain TEXT... --config FOLDER      from random weights
python -m train.pretrain TEXT... --model MODEL        on from a model's weights
"""

import json
import math
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.command import run_command
from train.pretrain_options import PretrainOptions, read_options

if TYPE_CHECKING:
    import torch

    from data.blocks import BlockPlan, MaskedBatch
    from data.windows import Ints
    from train.checkpoint import TrainState
    from train.pretrain_inputs import Inputs
    from train.pretrain_run import PretrainRun


def main(argv: list[str]) -> int:
    """Read, train, evaluate, say where everything is."""
    started = time.monotonic()
    options = read_options(argv)

    import torch

    from data.blocks import collate_masked
    from minibert.device import choose_amp_dtype, choose_device
    from minibert.heads import masked_lm_loss_sum
    from train.disk import disk_need, refuse_without_room
    from train.dry_run import print_plan
    from train.earlier_run import earlier_run_aside
    from train.loop import Task, train
    from train.optim import make_optimizer
    from train.pretrain_inputs import describe, make_plan, read_inputs
    from train.pretrain_run import PretrainRun
    from train.resuming import saved_run
    from train.run_folder import held_folder

    if options.threads:
        torch.set_num_threads(options.threads)
    options = replace(options, threads=torch.get_num_threads())
    if options.deterministic:
        torch.use_deterministic_algorithms(True)
    device = choose_device(options.device)
    amp_dtype = choose_amp_dtype(device, options.amp_dtype) if options.amp else None
    folder = Path(options.output_dir or time.strftime("runs/pretrain-%Y%m%d-%H%M%S"))
    with held_folder(folder, options):
        with ExitStack() as stack:
            if options.overwrite and not options.dry_run:
                stack.enter_context(earlier_run_aside(folder))
            saved = saved_run(folder)["inputs"] if options.resume else None
            inputs = read_inputs(options, device, saved)
            plan = make_plan(inputs, options)
            describe(inputs, plan)
            optimizer = make_optimizer(inputs.model, options)
            scaler = torch.amp.GradScaler(device.type, enabled=amp_dtype is torch.float16)

            def make_batch(items: "Ints") -> "MaskedBatch":
                return collate_masked(inputs.train, inputs.masking, items)

            def loss_sum(model: "torch.nn.Module", batch: "MaskedBatch") -> "torch.Tensor":
                logits = model(batch.packed, batch.rows)
                return masked_lm_loss_sum(logits, batch.labels, batch.weights)

            def item_ids(items: "Ints") -> list[str]:
                return [f"length {n}, epoch {e}, block {b}" for n, e, b in items.tolist()]

            need = disk_need(inputs.model, options, 0)
            if options.dry_run:
                print_plan(
                    inputs.model, optimizer, plan, options, folder, device, amp_dtype,
                    make_batch, loss_sum, need,
                )  # fmt: skip
            refuse_without_room(folder, need)
            if options.dry_run:
                return 0
            if options.max_minutes:  # tokenizing was part of them
                spent = (time.monotonic() - started) / 60
                options = replace(options, max_minutes=max(options.max_minutes - spent, 1e-6))
            run = PretrainRun(folder, options, inputs.identity, plan, inputs.train, device.type)
        try:
            state = run.restore(inputs.model, optimizer, scaler)
            if options.resume:
                run.print(f"resumed after update {state.update} of {plan.total_updates}")
            run.watch_signals()
            task = Task(
                make_batch, loss_sum, item_ids,
                evaluate=lambda: evaluate(inputs, options, state, run, plan, device, amp_dtype),
            )  # fmt: skip
            train(
                inputs.model, optimizer, scaler, plan, options, state, run, device, amp_dtype, task
            )
            return finish(state, run, plan)
        finally:
            run.close()


def evaluate(
    inputs: "Inputs",
    options: PretrainOptions,
    state: "TrainState",
    run: "PretrainRun",
    plan: "BlockPlan",
    device: "torch.device",
    amp_dtype: "torch.dtype | None",
) -> None:
    """Predict the held-out text's masked tokens, log the scores, keep the best model.

    The blocks are as long as those of the last update. Losses at different lengths do not compare,
    so the first evaluation at a new length takes the place of all before it.

    Raises:
        CommandError: the loss is not a number (status 3); the checkpoint from before stays.
    """
    from eval.prediction_files import write_json
    from train.faults import refuse_evaluation
    from train.pretrain_card import write_model_card

    started = time.monotonic()
    length = plan.length_of(state.update - 1)
    try:
        with run.interruptible():
            metrics = score_held_out(inputs, length, device, amp_dtype)
            if not math.isfinite(metrics["loss"]):
                refuse_evaluation(state.update, f"a loss of {metrics['loss']} on the held-out text")
    except KeyboardInterrupt:
        state.evaluation_due = True
        return
    seconds = round(time.monotonic() - started, 3)
    epoch = state.update / plan.updates_per_epoch
    run.log("eval", {"eval_s": seconds}, update=state.update, epoch=epoch, **metrics)
    run.print(
        f"after update {state.update} of {plan.total_updates}: held-out loss "
        f"{metrics['loss']:.3f}, perplexity {metrics['perplexity']:.2f}, accuracy "
        f"{metrics['accuracy']:.2f} % ({seconds:.0f} s); {run.pace(state.update)}"
    )
    comparable = state.best_update and plan.length_of(state.best_update - 1) == length
    if comparable and state.best_score is not None and -metrics["loss"] <= state.best_score:
        return
    state.best_score, state.best_update = -metrics["loss"], state.update
    with run.staged_best(state) as folder:
        best = folder / "best"
        inputs.model.save_pretrained(best)
        inputs.tokenizer.save(best)
        write_model_card(best, options, inputs, plan, state, metrics)
        write_json(folder / "metrics.json", metrics)


def score_held_out(
    inputs: "Inputs", length: int, device: "torch.device", amp_dtype: "torch.dtype | None"
) -> dict[str, Any]:
    """{"loss", "perplexity", "accuracy" in percent, "masked", "length"} over all masked tokens."""
    import torch

    from data.blocks import collate_masked
    from minibert.heads import masked_lm_loss_sum
    from train.pretrain_inputs import held_out_items

    inputs.model.eval()
    loss, right, masked = 0.0, 0, 0
    with torch.inference_mode():
        for items in held_out_items(inputs, length):
            batch = collate_masked(inputs.held_out, inputs.held_out_masking, items).to(device)
            with torch.autocast(device.type, amp_dtype, enabled=amp_dtype is not None):
                logits = inputs.model(batch.packed, batch.rows)  # (M, V)
            each = torch.ones_like(batch.weights)
            loss += masked_lm_loss_sum(logits, batch.labels, each).item()
            right += int((logits.argmax(-1) == batch.labels).sum())
            masked += len(batch.rows)
    mean = loss / max(masked, 1)
    return {
        "loss": mean,
        "perplexity": math.exp(min(mean, 700.0)),
        "accuracy": 100 * right / max(masked, 1),
        "masked": masked,
        "length": length,
    }


def finish(state: "TrainState", run: "PretrainRun", plan: "BlockPlan") -> int:
    """Draw the picture and say where everything is."""
    from train.picture import draw_training

    picture = draw_training(run.folder)
    if state.update < plan.total_updates or state.evaluation_due:
        run.print(
            f"stopped after update {state.update} of {plan.total_updates}; go on with:\n"
            f"  python -m train.pretrain --resume --output-dir {run.folder}"
        )
        return run.stop_status
    metrics = json.loads((run.folder / "metrics.json").read_bytes())
    run.print(f"\nbest model: after update {state.best_update}")
    for name, value in metrics.items():
        number = f"{value:10.4f}" if isinstance(value, float) else f"{value:5}"
        run.print(f"  {name:24} {number}")
    run.print(f"run folder: {run.folder}\nmodel:      {run.folder / 'best'}")
    if picture is not None:
        run.print(f"picture:    {picture}")
    run.print(
        f'try it:     python -m eval.fill --model {run.folder} "Paris is the [MASK] of France."\n'
        f"fine-tune:  python -m train.squad --model {run.folder}"
    )
    return 0


if __name__ == "__main__":
    run_command(main, outlives_readers=True)
