"""The run as the other ranks see it: the first one writes, and they know what it knows."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from data.ranks import Ranks
from train.checkpoint import TrainState
from train.gradients import start_alike
from train.run import Run

if TYPE_CHECKING:
    from train.loop import Update


class Onlooker(Run):
    """The run of a rank that is not the first: it listens to signals, and touches no folder."""

    def _begin(self) -> None:
        pass

    def log(self, event: str, times: dict[str, float] | None = None, **values: Any) -> None:
        """Nothing: the first rank logs the same."""

    def log_update(self, update: int, epoch: int, lr: float, size: int, made: "Update") -> None:
        """Nothing, likewise."""

    def print(self, text: str) -> None:
        """Nothing: the first rank speaks."""

    def _tell(self, text: str) -> None:
        pass

    def save(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        state: TrainState,
    ) -> None:
        """Nothing; if the first rank fails in it, its next word does not come."""
        self.saved_update = state.update

    def restore(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler
    ) -> TrainState:
        """A new state: `restore_together` fills it."""
        return TrainState()

    @contextmanager
    def staged_best(self, state: TrainState) -> Iterator[Path]:
        """Only the first rank has the best model.

        Raises:
            AssertionError: always.
        """
        raise AssertionError("an onlooker was about to write")
        yield


def restore_together(
    run: Run, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler
) -> TrainState:
    """`Run.restore` on the first rank; then all ranks are as it is, whatever disks they can see."""
    ranks = run.ranks
    state = ranks.together(lambda: run.restore(model, optimizer, scaler))
    follow_first(state, ranks)
    start_alike(model, optimizer, ranks)
    if ranks.size > 1 and scaler.is_enabled():
        scaler.load_state_dict(ranks.gather(scaler.state_dict())[0])
    run.saved_update = state.update
    return state


def follow_first(state: TrainState, ranks: Ranks) -> None:
    """Make a rank's counters those of the first rank, which has scored the model. For all ranks."""
    for name, value in ranks.gather(asdict(state))[0].items():
        setattr(state, name, value)
