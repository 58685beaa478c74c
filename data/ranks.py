"""Processes that do one command's work together: torchrun's ranks, or one process, which is the
same with nobody else.

    torchrun --nproc-per-node 8 -m train.squad --amp

They meet in data/torchrun.py, and speak gloo (TCP) with each other; tensors of a GPU travel over
NCCL. torch is imported only where there are others.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from data.failures import EXIT_INTERRUPTED, EXIT_RANKS, CommandError, explain

if TYPE_CHECKING:
    import torch
    import torch.distributed as dist
    from numpy.typing import NDArray

T = TypeVar("T")

# A rank that ends is noticed at once, by its closed connections. Only one that neither ends nor
# answers takes so long: others may have to wait for a slow disk, or for a text that one tokenizes.
SILENCE_SECONDS = 1800.0


@dataclass(eq=False)
class Ranks:
    """This process among those of its command.

    Every method that is said to be for all ranks is called by all of them, in the same order.

    Attributes:
        rank: number of this process, from 0. Number 0 writes and speaks for all.
        size: processes in all.
        local_rank: number on this machine, from 0.
        local_size: processes on this machine.
        breakable: whether KeyboardInterrupt may be raised here: one rank alone must not leave
            what it does with others, only the part of `together` that is its own.
        break_asked: makes the next such part end as it begins.
        gpu_group: NCCL's, of tensors on GPUs; None where these are on CPUs.
        store: torchrun's own (a dist.Store), which lives as long as torchrun; None without it.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    breakable: bool = True
    break_asked: bool = False
    gpu_group: "dist.ProcessGroup | None" = None
    store: Any = None

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This rank's part of what all ranks have in the same order: every size-th item."""
        return items[self.rank :: self.size]

    def round_up(self, number: int) -> int:
        """The next multiple of the number of ranks, of which each then has as many."""
        return -(-number // self.size) * self.size

    # ---- for all ranks

    def gather(self, value: T) -> list[T]:
        """What each rank hands in, by rank. For all ranks.

        Args:
            value: anything that JSON can hold; it comes back as JSON has it.
        """
        if self.size == 1:
            return [value]
        import torch
        import torch.distributed as dist

        content = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        with self.linked():
            sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
            dist.all_gather(sizes, torch.tensor([len(content)]))
            longest = max(int(size) for size in sizes)
            padded = torch.zeros(longest, dtype=torch.uint8)
            padded[: len(content)] = content
            pieces = [torch.empty_like(padded) for _ in range(self.size)]
            dist.all_gather(pieces, padded)
        return [
            json.loads(bytes(piece[: int(size)].numpy()))
            for piece, size in zip(pieces, sizes, strict=True)
        ]

    def any(self, flag: bool) -> bool:
        """Whether it is so on any rank. For all ranks."""
        if self.size == 1:
            return flag
        import torch
        import torch.distributed as dist

        said = torch.tensor([int(flag)])
        with self.linked():
            dist.all_reduce(said, dist.ReduceOp.MAX)
        return bool(said)

    def first(self, make: Callable[[], T]) -> T:
        """What the first rank makes, on all of them, as JSON has it. For all ranks.

        Raises:
            SystemExit: it failed; the others leave with its status, and it alone says why.
        """
        made = self.together(make if self.is_first else lambda: None)
        return self.gather(made)[0]  # type: ignore[return-value]

    def together(self, work: Callable[[], T]) -> T:
        """Let every rank do its part, wait for all, and go on only if all did it. For all ranks.

        Returns:
            What this rank made.

        Raises:
            KeyboardInterrupt: it came to one of them.
            SystemExit: one of them failed; the lowest that did raises its error and says why, the
                others leave with its status.
        """
        if self.size == 1:
            return work()
        failure: BaseException | None = None
        try:
            try:
                self.breakable = True
                if self.break_asked:
                    raise KeyboardInterrupt
                made = work()
            finally:
                self.breakable = False
        except BaseException as error:
            failure = error
        self.breakable = False  # an interrupt may have come before the line above did it
        statuses = self.gather(_status(failure))
        failed = [r for r, status in enumerate(statuses) if status not in (0, EXIT_INTERRUPTED)]
        if failed and self.rank != failed[0]:
            raise SystemExit(statuses[failed[0]])
        if failure is not None:
            raise failure
        if any(statuses):
            raise KeyboardInterrupt
        return made

    def fill(self, array: "NDArray[Any]") -> None:
        """Give every rank all of an array of which each has made some elements. For all ranks.

        The bits are added up as whole numbers, so that they arrive as they were.

        Args:
            array: float32 or float64, 0 where this rank has made nothing; changed in place.
        """
        if self.size == 1:
            return
        import numpy as np
        import torch
        import torch.distributed as dist

        bits = array.view(np.int64 if array.itemsize == 8 else np.int32)
        with self.linked():
            dist.all_reduce(torch.from_numpy(bits))

    def use(self, device: "torch.device") -> None:
        """Say where the tensors are that `start_sum`, `collect` and `copy_first` get. For all."""
        if self.size > 1 and device.type == "cuda":
            import torch
            import torch.distributed as dist

            torch.cuda.set_device(device)
            with self.linked():
                self.gpu_group = dist.new_group(backend="nccl", timeout=seconds(SILENCE_SECONDS))

    def start_sum(self, tensor: "torch.Tensor") -> Callable[[], None]:
        """Begin to add a tensor up over all ranks, in place; the function returned waits for it.

        For all ranks, of which there are several.
        """
        import torch.distributed as dist

        with self.linked():
            work = dist.all_reduce(tensor, group=self.gpu_group, async_op=True)

        def wait() -> None:
            with self.linked():
                work.wait()

        return wait

    def collect(self, row: "torch.Tensor", rows: "torch.Tensor") -> None:
        """Put the numbers of all ranks together. For all ranks, of which there are several.

        Args:
            row: (n,) of this rank.
            rows: (size, n) where they are put.
        """
        import torch.distributed as dist

        with self.linked():
            dist.all_gather(list(rows.unbind()), row, group=self.gpu_group)

    def read(self, rows: "torch.Tensor") -> list[list[float]]:
        """What `collect` has put together, on the host, which waits for it."""
        with self.linked():
            made: list[list[float]] = rows.tolist()
        return made

    def copy_first(self, tensors: Sequence["torch.Tensor"]) -> None:
        """Overwrite each rank's tensors with those of the first rank. For all ranks."""
        if self.size == 1:
            return
        import torch.distributed as dist

        with self.linked():
            for tensor in tensors:
                dist.broadcast(tensor, 0, group=self.gpu_group)

    @contextlib.contextmanager
    def linked(self) -> Iterator[None]:
        """A block in which another rank may be missed.

        Raises:
            CommandError: it has ended, or does not answer (status 6).
        """
        try:
            yield
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise CommandError(
                f"rank {self.rank} of {self.size} stops, since another has ended or does not "
                f"answer ({reason}); what that one said, or torchrun says of it, is the reason",
                EXIT_RANKS,
            ) from error

    # ---- what torchrun keeps while it starts its ranks again

    def remember(self, name: str, value: str) -> None:
        """Keep a text for the ranks that the same torchrun may start after these."""
        if self.store is not None:
            self.store.set(f"minibert/{name}", value)

    def recall(self, name: str) -> str | None:
        """What ranks before these, of the same torchrun, have kept; None without."""
        if self.store is None or not self.store.check([f"minibert/{name}"]):
            return None
        return str(self.store.get(f"minibert/{name}").decode())


ALONE = Ranks()


def _status(failure: BaseException | None) -> int:
    """The exit status that an error leads to; 0 without one."""
    if failure is None:
        return 0
    if isinstance(failure, SystemExit):
        return int(failure.code or 0) if isinstance(failure.code, int | None) else 1
    known = explain(failure)
    return known[1] if known else 1


def seconds(number: float) -> Any:
    """The timedelta that torch.distributed wants."""
    from datetime import timedelta

    return timedelta(seconds=number)
