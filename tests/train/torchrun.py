"""A torchrun in small: the ranks are forked children, which meet at a store in this process.

As torchrun it gives each its environment, keeps the store while it starts a failed group again, and
stops the others when one fails. torch is imported once for all.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist

import train.squad
from tests.train.killing import start

LIMIT = 20.0  # seconds
# never collected: a forked child that collects one would wait for its thread, which is not there
_stores: list[dist.TCPStore] = []


class Torchrun:
    """One launch of `size` ranks, and what it starts again after it."""

    def __init__(self) -> None:
        self._store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False,
                                    timeout=timedelta(seconds=20))  # fmt: skip
        _stores.append(self._store)
        self.restarts = 0

    def environment(self, rank: int, size: int) -> dict[str, str]:
        """What torchrun says to a rank."""
        return {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(size),
            "LOCAL_WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self._store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "TORCHELASTIC_RUN_ID": "none",
            "TORCHELASTIC_RESTART_COUNT": str(self.restarts),
            "GLOO_SOCKET_IFNAME": "lo",
        }

    def start(
        self,
        size: int,
        arguments: list[str],
        prepare: Callable[[int], None] = lambda rank: None,
        command: Callable[[list[str]], int] = train.squad.main,
        errors: Path | None = None,
    ) -> list[int]:
        """Fork the ranks; their process numbers.

        Args:
            size: how many.
            arguments: of the command.
            prepare: called in each with its rank.
            command: whose `main`.
            errors: folder for what each says on standard error, in a file named by its rank.
        """

        def prepared(rank: int) -> Callable[[], None]:
            def act() -> None:
                os.environ.update(self.environment(rank, size))
                prepare(rank)

            return act

        return [
            start(arguments, errors and errors / str(rank), prepared(rank), command)
            for rank in range(size)
        ]

    def run(self, *values: Any, tell: bool = True, **more: Any) -> list[int]:
        """Start the ranks, and wait for all: their statuses.

        Args:
            values: of `start`.
            tell: send the others SIGTERM when one fails, as torchrun does.
            more: of `start`.
        """
        return finish_all(self.start(*values, **more), tell=tell)


def finish_all(children: list[int], limit: float = LIMIT, tell: bool = True) -> list[int]:
    """The statuses of all children.

    Args:
        children: process numbers.
        limit: seconds.
        tell: send the others SIGTERM when one fails, as torchrun does.

    Raises:
        TimeoutError: one hangs; all are killed.
    """
    statuses: dict[int, int] = {}
    ends, told = time.monotonic() + limit, False
    while len(statuses) < len(children):
        for child in children:
            if child not in statuses:
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    statuses[child] = os.waitstatus_to_exitcode(status)
        left = [child for child in children if child not in statuses]
        if any(statuses.values()) and tell and not told:
            told = True
            for child in left:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGTERM)
        if time.monotonic() > ends:
            for child in left:
                os.kill(child, signal.SIGABRT)  # pytest's fault handler prints where it stood
                os.waitpid(child, 0)
            raise TimeoutError(f"{len(left)} of {len(children)} ranks hang")
        time.sleep(0.01)
    return [statuses[child] for child in children]
