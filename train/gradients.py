"""The gradients of all ranks, added up while backward still runs.

What torch's DistributedDataParallel does, but so that no rank waits for one that ran out of memory:
in every try at an update each rank adds up each bucket once, in one order, and then votes, whatever
has happened to it (docs/distributed.md). With one process there are no buckets and no votes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from data.failures import EXIT_RANKS, CommandError, is_out_of_memory
from data.ranks import Ranks

# As DistributedDataParallel's: large enough for a link's full rate, small enough that most are on
# their way while backward is still at work.
BUCKET_BYTES = 25 * 2**20
_ALIGNED = 16  # elements: the kernels of norm and optimizer read several at once


class MemoryElsewhere(MemoryError):
    """Another rank ran out of memory, so that no rank makes the update."""


class Gradients:
    """The gradients of a model's trained parameters; with several ranks they live in buckets.

    Args:
        model: on its device, the same on all ranks.
        ranks: that train it together.
    """

    def __init__(self, model: nn.Module, ranks: Ranks) -> None:
        self.ranks = ranks
        self._buckets: list[_Bucket] = []
        self._launched = 0
        self._agreed = False
        self._parts = 0
        if ranks.size > 1:
            # last layer first, as backward has them
            trained = [p for p in reversed(list(model.parameters())) if p.requires_grad]
            self._buckets = [_Bucket(some, self._launch_full) for some in _split(trained)]

    @contextmanager
    def attempt(self, parts: int) -> Iterator[None]:
        """One try at an update: this rank's backward passes, then `sum`, `tell` and `read`.

        Args:
            parts: micro-batches of all ranks; this one's are `ranks.share` of them.

        Raises:
            MemoryError, RuntimeError: this rank or another ran out of memory; no rank has made the
                update, and all may try it again.
            CommandError: this one ran out after all had told each other to make it (status 6).
        """
        self._launched, self._agreed, self._parts = 0, False, parts
        backwards = len(self.ranks.share(range(parts)))
        for bucket in self._buckets:
            bucket.empty(backwards)
        if self._buckets:  # made here, so that lack of memory cannot hinder the vote
            like = self._buckets[0].flat
            # whether well; losses, as many as the rank with the most has; gradient norm
            self._row = like.new_zeros(2 + -(-parts // self.ranks.size))
            self._rows = like.new_zeros(self.ranks.size, len(self._row))
        try:
            yield
        except MemoryElsewhere:
            raise
        except (RuntimeError, MemoryError) as error:
            if self._buckets and is_out_of_memory(error):
                if self._agreed:
                    raise CommandError(
                        f"rank {self.ranks.rank} ran out of memory in a step that others make "
                        f"({error}); go on from the last checkpoint with --resume",
                        EXIT_RANKS,
                    ) from error
                self.sum()
                self.ranks.collect(self._row.zero_(), self._rows)
            raise

    def sum(self) -> None:
        """Wait until the gradients are those of all ranks together, the same on each of them."""
        while self._launched < len(self._buckets):
            self._launch()  # some of its parameters had no gradient here
        for bucket in self._buckets:
            bucket.wait()

    def tell(self, losses: list[Tensor], grad_norm: Tensor) -> tuple[Tensor, Tensor]:
        """Gather what every rank has to say of an update; nothing waits for the device.

        Args:
            losses: () each, of this rank's micro-batches.
            grad_norm: () of the summed gradients.

        Returns:
            What `read` takes, and () bool on the device: all of it is finite, and every rank has
            come so far, so that the step may be made.
        """
        if not self._buckets:
            told = torch.stack([*losses, grad_norm])
            return told, told.isfinite().all()
        self._row[: 1 + len(losses)] = torch.stack([torch.ones_like(grad_norm), *losses])
        self._row[-1] = grad_norm
        self.ranks.collect(self._row, self._rows)
        self._agreed = True
        return self._rows, self._rows.isfinite().all() & (self._rows[:, 0] == 1).all()

    def read(self, told: Tensor) -> tuple[list[float], float]:
        """All that the host has to know of an update. Here it waits for the device.

        Args:
            told: from `tell`.

        Returns:
            The losses of all ranks' micro-batches, in the order of the update, and the norm.

        Raises:
            MemoryElsewhere: another rank ran out of memory.
        """
        if not self._buckets:
            *values, norm = told.tolist()
            return values, norm
        rows = self.ranks.read(told)
        if failed := [rank for rank, row in enumerate(rows) if row[0] != 1]:
            raise MemoryElsewhere(f"out of memory on rank {failed[0]}")
        size = self.ranks.size  # part p was the (p // size)th of rank p % size
        return [rows[p % size][1 + p // size] for p in range(self._parts)], rows[0][-1]

    def _launch_full(self) -> None:
        """Add up what is complete, always in the same order: it is what the ranks have agreed."""
        while self._launched < len(self._buckets) and self._buckets[self._launched].missing == 0:
            self._launch()

    def _launch(self) -> None:
        self._buckets[self._launched].launch(self.ranks)
        self._launched += 1


class _Bucket:
    """Some parameters' gradients in one flat tensor, which is added up over the ranks as a whole.

    Args:
        parameters: of one dtype and device.
        on_full: called when all of them have their gradients of the update.

    Attributes:
        flat: (n,) the gradients, one after another.
        missing: gradients still to come: a parameter gets one in every backward pass.
    """

    def __init__(self, parameters: list[nn.Parameter], on_full: Callable[[], None]) -> None:
        self.missing = 0
        self._on_full = on_full
        self._wait: Callable[[], None] = lambda: None
        rooms = [-(-p.numel() // _ALIGNED) * _ALIGNED for p in parameters]
        self.flat = torch.zeros(sum(rooms), dtype=parameters[0].dtype, device=parameters[0].device)
        self._gradients = [
            (p, piece[: p.numel()].view_as(p))
            for p, piece in zip(parameters, torch.split(self.flat, rooms), strict=True)
        ]
        for parameter in parameters:
            parameter.register_post_accumulate_grad_hook(self._count)  # type: ignore[no-untyped-call]

    def empty(self, backwards: int) -> None:
        """Begin an update with so many backward passes: backward adds to what lies here."""
        self.missing = backwards * len(self._gradients)
        self.flat.zero_()
        for parameter, gradient in self._gradients:
            parameter.grad = gradient

    def launch(self, ranks: Ranks) -> None:
        """Begin to add it up."""
        self._wait = ranks.start_sum(self.flat)

    def wait(self) -> None:
        """Wait until it is added up."""
        self._wait()

    def _count(self, parameter: Tensor) -> None:
        self.missing -= 1
        if self.missing == 0:
            self._on_full()


def _split(parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Cut a list into buckets: of one dtype, and closed by the parameter that fills them."""
    some: list[nn.Parameter] = []
    for parameter in parameters:
        if some and (
            parameter.dtype != some[0].dtype or sum(p.nbytes for p in some) >= BUCKET_BYTES
        ):
            yield some
            some = []
        some.append(parameter)
    yield some


def start_alike(model: nn.Module, optimizer: torch.optim.Optimizer, ranks: Ranks) -> None:
    """Give all ranks the first one's weights and moments. For all ranks.

    Only the first has loaded a checkpoint, and random weights may differ between machines.
    """
    tensors: list[Tensor] = list(model.parameters())
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            moments = optimizer.state[parameter]
            # sorted, since a loaded state has its own order
            tensors += [moments[name] for name in sorted(moments)]
    ranks.copy_first([tensor.detach() for tensor in tensors])
