"""A pretraining's run folder: counts tokens, and says how it goes where no progress bar can."""

import sys
import time
from typing import TYPE_CHECKING

from train.best import METRICS
from train.run import Run

if TYPE_CHECKING:
    from train.loop import Update

_SAY_EVERY = 60.0  # seconds between lines where stderr is no terminal


class PretrainRun(Run):
    """One start of a pretraining in its folder; made as a `Run` that counts tokens."""

    results = (METRICS,)
    # since this start: its first update, when that was made, when a line was said, tokens after it
    _first: int | None = None
    _begun = _said = 0.0
    _tokens = 0

    def log_update(self, update: int, epoch: int, lr: float, size: int, made: "Update") -> None:
        """As `Run.log_update`, and a line a minute where no progress bar is seen."""
        super().log_update(update, epoch, lr, size, made)
        now = time.monotonic()
        if self._first is None:  # the first update warms up: counted from its end
            self._first, self._begun, self._said = update, now, now
            return
        self._tokens += size
        if not sys.stderr.isatty() and now - self._said >= _SAY_EVERY:
            self._said = now
            self.print(
                f"update {update} of {self._total}: loss {made.loss:.3f}, {self.pace(update)}"
            )

    def pace(self, update: int) -> str:
        """Tokens a second since this start, evaluations included, and the time left."""
        seconds = time.monotonic() - self._begun
        made = update - (self._first or update)
        if not made:
            return "too early to say how long it takes"
        minutes = seconds / made * (self._total - update) / 60
        return f"{self._tokens / seconds:,.0f} tokens/s, {minutes:,.1f} minutes left"
