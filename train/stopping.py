"""When a run stops before its end: a signal, or --max-minutes; all ranks after the same update."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from data.failures import EXIT_INTERRUPTED, EXIT_TERMINATED
from data.ranks import Ranks

STOP_SIGNALS = {signal.SIGINT: EXIT_INTERRUPTED, signal.SIGTERM: EXIT_TERMINATED}
if hasattr(signal, "SIGHUP"):  # the terminal was closed, the connection to it lost
    STOP_SIGNALS[signal.SIGHUP] = 128 + signal.SIGHUP


class Stopping:
    """What every start of a run knows of its own end, whether it writes a folder or looks on.

    Args:
        max_minutes: from now on, 0 for no limit.
        ranks: the processes that train together.

    Attributes:
        ranks: as given.
        stop_status: exit status of the signal that asked to stop, 0 if none did.
        saved_update: updates made in the newest checkpoint, 0 without one.
    """

    def __init__(self, max_minutes: float, ranks: Ranks) -> None:
        self.ranks = ranks
        self.stop_status = 0
        self.saved_update = 0
        self._max_minutes = max_minutes
        self._started = time.monotonic()
        self._interruptible = False

    @property
    def stop_requested(self) -> bool:
        """Whether a signal came or the time is up."""
        return self.stop_status != 0 or self.out_of_time

    @property
    def out_of_time(self) -> bool:
        """Whether --max-minutes have passed since this start."""
        limit = self._max_minutes
        return limit > 0 and time.monotonic() - self._started >= limit * 60

    def watch_signals(self) -> None:
        """Ctrl-C, SIGTERM or SIGHUP: finish the update, save, stop. A second one stops at once.

        One that was ignored when the process began (nohup, a script's background job) stays so.
        """
        for number in STOP_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block that a signal ends where it stands: long work that can be made again.

        Raises:
            KeyboardInterrupt: a signal came, now or just before.
        """
        try:
            self._interruptible = True
            if self.stop_status:
                self._break()
            yield
        finally:
            self._interruptible = False
            self.ranks.break_asked = False

    def _break(self) -> None:
        """Interrupt here, or where the ranks can leave together."""
        self.ranks.break_asked = True
        if self.ranks.breakable:
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        status = STOP_SIGNALS[signal.Signals(number)]
        if self.stop_status:
            self._tell(
                f"stopped at once; the last good checkpoint is of update {self.saved_update}"
            )
            os._exit(status)
        self.stop_status = status
        self._tell("stopping after this update, then saving; again stops at once")
        if self._interruptible:
            self._break()

    def _tell(self, text: str) -> None:
        """A line on stderr from a signal handler; print may be in the middle of one."""
        with suppress(OSError):
            os.write(2, f"\n{text}\n".encode())
