"""A model run over many items, longest first, in batches of about equal numbers of tokens."""

import warnings
from collections import deque
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from data.failures import is_out_of_memory
from data.ranks import ALONE, Ranks
from data.tokenized_squad import Ints


def longest_first(
    model: nn.Module,
    lengths: Ints,
    run: Callable[[Ints], None],
    device: torch.device,
    amp_dtype: torch.dtype | None,
    tokens_per_batch: int | None,
    unit: str,
    ranks: Ranks = ALONE,
) -> Ints:
    """Run all items, the longest first, so that memory runs out at once or never.

    If it does, batches of half the tokens are tried, down to single items, with a warning. Ranks
    share the batches that one process would run, so that the scores do not depend on their number.

    Args:
        model: put into evaluation mode.
        lengths: (R,) tokens of the items.
        run: what is done with the items of a batch; it keeps nothing of a batch that fails.
        device: where it runs.
        amp_dtype: autocast dtype, None for float32.
        tokens_per_batch: tokens in a batch at most (a single longer item is a batch); default 2,048
            on a CPU, which is as fast as any larger one, 32,768 elsewhere.
        unit: what the progress bar counts, "window".
        ranks: that share the work; all of them wait until all are through.

    Returns:
        The items that ran here, in their order; (R,) all of them with one process.
    """
    budget = tokens_per_batch or (2048 if device.type == "cpu" else 32768)
    order = np.argsort(-lengths, kind="stable")
    todo = deque(ranks.share(_cut(order, lengths, budget)))
    done: list[Ints] = []
    if model.training:  # eval() walks every module: too long a way for each single question
        model.eval()

    def run_share() -> None:
        nonlocal todo
        with (
            torch.inference_mode(),
            torch.autocast(device.type, amp_dtype, enabled=amp_dtype is not None),
            tqdm(total=sum(map(len, todo)), unit=unit, leave=False, disable=None) as bar,
        ):
            while todo:
                chosen = todo[0]
                try:
                    run(chosen)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error) or len(chosen) == 1:
                        raise
                    budget = int(lengths[chosen].sum()) // 2
                    warnings.warn(
                        f"out of memory: batches of {budget} tokens from here on", stacklevel=3
                    )
                    todo = deque(_cut(np.concatenate(todo), lengths, budget))
                    continue
                done.append(todo.popleft())
                bar.update(len(chosen))

    ranks.together(run_share)
    return np.concatenate([order[:0], *done])


def _cut(order: Ints, lengths: Ints, budget: int) -> list[Ints]:
    """Cut items into batches of at most so many tokens; a single longer item is a batch."""
    ends, batches, done = np.cumsum(lengths[order]), [], 0
    while done < len(order):
        room = (ends[done - 1] if done else 0) + budget
        stop = max(done + 1, int(np.searchsorted(ends, room, side="right")))
        batches.append(order[done:stop])
        done = stop
    return batches
