"""One copy from the host to the device for all tensors of a batch, from page-locked memory.

A copy of its own for each of six tensors would cost a launch each, and from ordinary memory the
host waits for every one of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

BatchT = TypeVar("BatchT")
_ALIGNMENT = 16  # bytes; every tensor begins at a multiple


@dataclass(frozen=True, eq=False)
class Staged(Generic[BatchT]):
    """A batch of the host, ready to go.

    Attributes:
        batch: a dataclass with tensors, or with such dataclasses; anything else stays as it is.
        buffer: (bytes,) uint8, the tensors one after another, each from a multiple of 16 on.
    """

    batch: BatchT
    buffer: Tensor

    def to(self, device: torch.device | str, non_blocking: bool = False) -> BatchT:
        """The batch with its tensors on `device`, all of them views of one copy."""
        buffer = self.buffer.to(device, non_blocking=non_blocking)
        tensors = list(_tensors(self.batch))
        moved = (
            buffer[begin : begin + tensor.nbytes].view(tensor.dtype).view(tensor.shape)
            for tensor, begin in zip(tensors, _places(tensors), strict=False)
        )
        result: BatchT = _with_tensors(self.batch, moved)
        return result


def stage(batch: BatchT, pin: bool = False) -> Staged[BatchT]:
    """Lay a batch's tensors into one buffer.

    Args:
        batch: on the host.
        pin: into page-locked memory, from which a copy to a GPU need not be waited for.
    """
    tensors = list(_tensors(batch))
    *begins, size = _places(tensors)
    buffer = torch.empty(size, dtype=torch.uint8, pin_memory=pin)
    for tensor, begin in zip(tensors, begins, strict=True):
        buffer[begin : begin + tensor.nbytes].view(tensor.dtype).view(tensor.shape).copy_(tensor)
    return Staged(batch, buffer)


def move(batch: BatchT, device: torch.device | str, non_blocking: bool = False) -> BatchT:
    """A batch with its tensors on `device`; on the host's own device as it is."""
    device = torch.device(device)
    if all(tensor.device == device for tensor in _tensors(batch)):
        return batch
    return stage(batch, pin=non_blocking and device.type == "cuda").to(device, non_blocking)


def _tensors(batch: Any) -> Iterator[Tensor]:
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Tensor):
            yield value
        elif is_dataclass(value):
            yield from _tensors(value)


def _with_tensors(batch: Any, tensors: Iterator[Tensor]) -> Any:
    """The same batch with other tensors, taken in the order of `_tensors`."""
    changed: dict[str, Any] = {}
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Tensor):
            changed[field.name] = next(tensors)
        elif is_dataclass(value):
            changed[field.name] = _with_tensors(value, tensors)
    return replace(batch, **changed)


def _places(tensors: list[Tensor]) -> list[int]:
    """Where each tensor begins in the buffer, and the buffer's size."""
    places = [0]
    for tensor in tensors:
        places.append(places[-1] - -tensor.nbytes // _ALIGNMENT * _ALIGNMENT)
    return places
