"""How the ranks of a command find each other: by the store of the torchrun that began them."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from data.command import UsageError
from data.ranks import ALONE, SILENCE_SECONDS, Ranks, seconds

MEETING_SECONDS = 300.0  # until all ranks have come; torchrun starts them at the same time
REACHING_SECONDS = 20.0  # until torchrun, which is there before its ranks, has answered
NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@contextlib.contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Find the other ranks that torchrun has started; without torchrun there are none.

    In the block only the first rank prints; what ends another one is said behind it, by
    `run_command`.

    Raises:
        UsageError: an environment that was left behind, or ranks that do not come.
    """
    if "WORLD_SIZE" not in os.environ:
        yield ALONE
        return
    ranks = _meet(_numbers())
    with contextlib.ExitStack() as silence:
        if not ranks.is_first:
            nothing = silence.enter_context(open(os.devnull, "w"))
            silence.enter_context(contextlib.redirect_stdout(nothing))
            silence.enter_context(contextlib.redirect_stderr(nothing))
        yield ranks
    if ranks.size > 1:  # not after an error: others may be gone, and NCCL would wait for them
        import torch.distributed as dist

        dist.destroy_process_group()


def _numbers() -> dict[str, str]:
    """What torchrun says of this process.

    Raises:
        UsageError: parts of it are missing or no numbers.
    """
    given = {name: os.environ.get(name, "") for name in NEEDED}
    wrong = [n for n, v in given.items() if not v or (n != "MASTER_ADDR" and not v.isdecimal())]
    if wrong or not 0 <= int(given["RANK"]) < int(given["WORLD_SIZE"]):
        raise UsageError(
            f"WORLD_SIZE is {given['WORLD_SIZE']!r} in the environment, but "
            f"{', '.join(wrong) or 'RANK'} does not fit it; start with torchrun, or `unset "
            "WORLD_SIZE` to work in one process"
        )
    return given


def _meet(given: dict[str, str]) -> Ranks:
    """Connect to torchrun and to the other ranks."""
    import torch.distributed as dist

    rank, size = int(given["RANK"]), int(given["WORLD_SIZE"])
    from_torchrun = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    place = f"{given['MASTER_ADDR']}:{given['MASTER_PORT']}"
    try:
        store = dist.TCPStore(  # type: ignore[attr-defined]
            given["MASTER_ADDR"],
            int(given["MASTER_PORT"]),
            is_master=rank == 0 and not from_torchrun,
            wait_for_workers=False,
            timeout=seconds(REACHING_SECONDS if from_torchrun else MEETING_SECONDS),
        )
    except RuntimeError as error:
        raise UsageError(
            f"WORLD_SIZE is {size} in the environment, but nobody answers at {place} "
            f"({str(error).splitlines()[0][:120]}); start with torchrun, or `unset WORLD_SIZE` to "
            "work in one process"
        ) from None
    local_rank, local_size = int(given["LOCAL_RANK"]), int(given["LOCAL_WORLD_SIZE"])
    ranks = Ranks(rank, size, local_rank, local_size, breakable=size == 1)
    if from_torchrun:
        ranks.store = store
    if size > 1:
        with ranks.linked():
            meeting = _agree_on_meeting(store, rank, size, place)
            dist.init_process_group(
                "gloo",
                store=dist.PrefixStore(meeting, store),  # type: ignore[attr-defined]
                rank=rank,
                world_size=size,
                timeout=seconds(SILENCE_SECONDS),
            )
    return ranks


def _agree_on_meeting(store: Any, rank: int, size: int, place: str) -> str:
    """A name that only the ranks that run now know.

    torchrun starts ranks again with the same store, which still holds the addresses of those before
    (torch 2.13 reads them, and waits for the dead), and restart counts may differ by machine. So
    each rank shows a number of its own, the first answers it with the name, and it is heard only by
    who shows that number now: an old number is answered too, and nobody hears it.

    Raises:
        UsageError: others do not come.
    """
    mine, began, said = os.urandom(8).hex(), time.monotonic(), False
    if rank:
        store.set(f"minibert/rank-{rank}", mine)
    missing = set(range(1, size)) if rank == 0 else {0}
    while True:
        if rank == 0:
            for other in sorted(missing):
                if store.check([f"minibert/{mine}/{other}"]):
                    missing.remove(other)
                elif store.check([f"minibert/rank-{other}"]):
                    number = store.get(f"minibert/rank-{other}").decode()
                    store.set(f"minibert/answer-{number}", mine)
            if not missing:
                return mine
        elif store.check([f"minibert/answer-{mine}"]):
            name = str(store.get(f"minibert/answer-{mine}").decode())
            store.set(f"minibert/{name}/{rank}", "here")
            return name
        waited = time.monotonic() - began
        who = f"rank {', '.join(map(str, sorted(missing)))} of {size} at {place}"
        if waited > MEETING_SECONDS:
            raise UsageError(
                f"{who} did not come within {MEETING_SECONDS:.0f} s; start all ranks with "
                "torchrun, or `unset WORLD_SIZE` to work in one process"
            )
        if waited > 15 and rank == 0 and not said:
            said = True
            print(f"waiting for {who}", file=sys.stderr)
        time.sleep(0.02)
