"""Masked-LM pretraining on plain text: what it reads, scores and says.

python -m train.pretrain TEXT... --config FOLDER      from random weights
python -m train.pretrain TEXT... --model MODEL        on from a model's weights
"""

import math
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.command import run_command
from data.ranks import ALONE, Ranks
from data.torchrun import joined_ranks
from train.pretrain_options import PretrainOptions, read_options
from train.restarts import read_together

if TYPE_CHECKING:
    import torch

    from data.blocks import BlockPlan, MaskedBatch
    from data.tokenized_squad import Ints
    from train.checkpoint import TrainState
    from train.pretrain_inputs import Inputs
    from train.pretrain_run import PretrainRun
    from train.wiring import Work


def main(argv: list[str]) -> int:
    """Read, train, evaluate, say where everything is."""
    with joined_ranks() as ranks:
        options = read_together("pretrain", PretrainOptions, read_options, argv, ranks)

        from train.wiring import run_training

        return run_training("pretrain", options, read_work, ranks)


def read_work(
    options: PretrainOptions,
    folder: Path,
    device: "torch.device",
    amp_dtype: "torch.dtype | None",
    saved: dict[str, Any] | None,
) -> "Work":
    """Text and model, as `run_training` wants them."""
    from data.blocks import collate_masked
    from minibert.heads import masked_lm_loss_sum
    from train.loop import Task
    from train.pretrain_inputs import describe, make_plan, read_inputs
    from train.pretrain_run import PretrainRun
    from train.wiring import Work

    inputs = read_inputs(options, device, saved)
    plan = make_plan(inputs, options)
    describe(inputs, options, plan)

    spread = inputs.model.config.max_position_embeddings if options.random_positions else None

    def make_batch(items: "Ints") -> "MaskedBatch":
        return collate_masked(inputs.train, inputs.masking, items, spread)

    def loss_sum(model: "torch.nn.Module", batch: "MaskedBatch") -> "torch.Tensor":
        logits = model(batch.packed, batch.rows)
        return masked_lm_loss_sum(logits, batch.labels, batch.weights)

    def item_ids(items: "Ints") -> list[str]:
        return [f"length {n}, epoch {e}, block {b}" for n, e, b in items.tolist()]

    scoring = partial(evaluate, inputs, options, plan, device, amp_dtype)
    return Work(
        options=options,
        model=inputs.model,
        plan=plan,
        task=Task(make_batch, loss_sum, item_ids, scoring, size=inputs.train.tokens),
        identity=inputs.identity,
        run_class=PretrainRun,
        counted="tokens",
        answers=0,
        finish=finish,
    )


def evaluate(
    inputs: "Inputs",
    options: PretrainOptions,
    plan: "BlockPlan",
    device: "torch.device",
    amp_dtype: "torch.dtype | None",
    state: "TrainState",
    run: "PretrainRun",
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
            metrics = score_held_out(inputs, length, device, amp_dtype, run.ranks)
            if not run.ranks.is_first:
                return  # the first rank writes, and tells the others what comes of it
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
    inputs: "Inputs",
    length: int,
    device: "torch.device",
    amp_dtype: "torch.dtype | None",
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """{"loss", "perplexity", "accuracy" in percent, "masked", "length"} over all masked tokens.

    Of several ranks each predicts its share of the blocks, and all get the scores.
    """
    import torch

    from data.blocks import collate_masked
    from minibert.heads import masked_lm_loss_sum
    from train.pretrain_inputs import held_out_items

    inputs.model.eval()
    batches = held_out_items(inputs, length)

    def score_share() -> list[tuple[float, int, int]]:
        scored = []
        for items in ranks.share(batches):
            batch = collate_masked(inputs.held_out, inputs.held_out_masking, items).to(device)
            with torch.autocast(device.type, amp_dtype, enabled=amp_dtype is not None):
                logits = inputs.model(batch.packed, batch.rows)  # (M, V)
            each = torch.ones_like(batch.weights)
            loss = masked_lm_loss_sum(logits, batch.labels, each).item()
            right = int((logits.argmax(-1) == batch.labels).sum())
            scored.append((loss, right, len(batch.rows)))
        return scored

    with torch.inference_mode():
        shares = ranks.gather(ranks.together(score_share))
    # in the order of the batches, so that the sum has the same bits whoever scored them
    scored = [shares[n % ranks.size][n // ranks.size] for n in range(len(batches))]
    loss = sum(loss for loss, _, _ in scored)
    right, masked = (sum(counts) for counts in zip(*[row[1:] for row in scored], strict=True))
    mean = loss / max(masked, 1)
    return {
        "loss": mean,
        "perplexity": math.exp(min(mean, 700.0)),
        "accuracy": 100 * right / max(masked, 1),
        "masked": masked,
        "length": length,
    }


def finish(run: "PretrainRun", metrics: dict[str, Any]) -> int:
    """Say what can be done with the best model."""
    run.print(
        f'try it:     python -m eval.fill --model {run.folder} "Paris is the [MASK] of France."\n'
        f"fine-tune:  python -m train.squad --model {run.folder}"
    )
    return 0


if __name__ == "__main__":
    run_command(main, outlives_readers=True, with_ranks=True)
