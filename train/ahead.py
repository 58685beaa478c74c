"""The next batch is built on a thread while a GPU computes this one."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from data.tokenized_squad import Ints

if TYPE_CHECKING:
    import torch


class Ahead:
    """Batches on a device, each a pure function of its items, so that the order asked is free.

    On a CPU nothing is built ahead: the cores that would build have the model to compute.

    Args:
        make_batch: (B,) item numbers -> batch, a dataclass of tensors on the host.
        device: where the batches go.
    """

    def __init__(self, make_batch: Callable[[Ints], Any], device: "torch.device") -> None:
        self.make_batch = make_batch
        self.device = device
        self._pool = ThreadPoolExecutor(1, "batches") if device.type == "cuda" else None
        self._next: tuple[Ints, Future[Any]] | None = None

    def batches(self, parts: Sequence[Ints], then: Ints | None) -> Iterator[Any]:
        """The batches of some parts on the device, each built while the one before is used.

        Args:
            parts: (B,) item numbers of each; a rank may have none.
            then: of the batch that will be asked for after them, None for none.
        """
        for number, items in enumerate(parts, 1):
            yield self.batch(items, parts[number] if number < len(parts) else then)

    def batch(self, items: Ints, following: Ints | None) -> Any:
        """The batch of `items` on the device.

        Args:
            items: (B,) item numbers.
            following: those that will be asked for next, None for none. Asking for others costs
                the time of building them, nothing else.
        """
        if self._pool is None:
            return self.make_batch(items).to(self.device)
        announced, self._next = self._next, None
        if announced is not None and np.array_equal(items, announced[0]):
            staged = announced[1].result()
        else:
            staged = self._stage(items)
        if following is not None:
            self._next = following, self._pool.submit(self._stage, following)
        return staged.to(self.device, non_blocking=True)

    def _stage(self, items: Ints) -> Any:
        from minibert.transfer import stage

        return stage(self.make_batch(items), pin=self.device.type == "cuda")

    def close(self) -> None:
        """End the thread."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
