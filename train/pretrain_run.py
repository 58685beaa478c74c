"""A pretraining's run folder: counts tokens, and says how it goes where no progress bar can."""

import sys
import time
from pathlib import Path
from typing import Any

from data.blocks import BlockPlan, Blocks
from train.best import METRICS
from train.pretrain_options import PretrainOptions
from train.run import Run

_SAY_EVERY = 60.0  # seconds between lines where stderr is no terminal


class PretrainRun(Run):
    """One start of a pretraining in its folder.

    Args:
        folder: RUN.
        options: of the command.
        inputs: what identifies the data and the model; compared when resuming.
        plan: of the training.
        blocks: the stream it trains on.
        device: the kind of device it runs on.
    """

    results = (METRICS,)

    def __init__(
        self,
        folder: Path,
        options: PretrainOptions,
        inputs: dict[str, Any],
        plan: BlockPlan,
        blocks: Blocks,
        device: str,
    ) -> None:
        super().__init__(folder, options, inputs, plan.total_updates, "tokens", device)
        self._plan, self._blocks = plan, blocks
        self._tokens = 0  # since this start, as `_begun` and `_first`
        self._begun = self._said = time.monotonic()
        self._first: int | None = None

    def log_update(
        self,
        update: int,
        epoch: int,
        loss: float,
        lr: float,
        grad_norm: float,
        size: int,
        scale: float,
    ) -> None:
        """As `Run.log_update`, with the update's tokens in place of its blocks."""
        size = self._blocks.tokens(self._plan.items(update - 1))
        super().log_update(update, epoch, loss, lr, grad_norm, size, scale)
        now = time.monotonic()
        if self._first is None:  # the first update warms up: counted from its end
            self._first, self._begun, self._said = update, now, now
            return
        self._tokens += size
        if not sys.stderr.isatty() and now - self._said >= _SAY_EVERY:
            self._said = now
            self.print(
                f"update {update} of {self._plan.total_updates}: loss {loss:.3f}, "
                f"{self.pace(update)}"
            )

    def pace(self, update: int) -> str:
        """Tokens a second since this start, evaluations included, and the time left."""
        seconds = time.monotonic() - self._begun
        made = update - (self._first or update)
        if not made:
            return "too early to say how long it takes"
        minutes = seconds / made * (self._plan.total_updates - update) / 60
        return f"{self._tokens / seconds:,.0f} tokens/s, {minutes:,.1f} minutes left"
