"""What safety costs: a checkpoint beside 500 updates, the look for inf and NaN beside one update.

A checkpoint is written, hashed and flushed to disk; --save-every 500 is the default. The look for
inf and NaN reads numbers that the clip and the log need anyway, so what is timed is more than what
it adds. Here "peer" is our own training step, and the ratio says how little the other is.
"""

import tempfile
from pathlib import Path

import torch

from benchmarks.step import our_step
from benchmarks.timing import Row, alternate
from benchmarks.workload import BATCH_SIZE, OPTIONS, SIZES, TRAIN_FILE, make_ours, read_windows
from train.checkpoint import TrainState, save_checkpoint
from train.loop import Update
from train.optim import make_optimizer

INTERVAL = 500  # updates between checkpoints


def measure(folder: Path, quick: bool) -> list[Row]:
    """Two rows: 4 layers x 256 wide, batch 16, two threads."""
    torch.set_num_threads(2)
    windows = read_windows(folder, TRAIN_FILE)
    model = make_ours(SIZES["small"])
    optimizer = make_optimizer(model, OPTIONS)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    step = our_step(model, windows, torch.device("cpu"), None)
    order = torch.randperm(len(windows), generator=torch.Generator().manual_seed(0)).numpy()
    norm = torch.ones(())

    def look(number: int) -> bool:
        *losses, grad_norm = torch.stack([norm, norm]).tolist()
        return Update(losses, grad_norm, 1.0).is_finite

    with tempfile.TemporaryDirectory() as place:
        seconds = alternate(
            {
                "update": lambda number: step(order[number * BATCH_SIZE :][:BATCH_SIZE]),
                "save": lambda number: save_checkpoint(
                    Path(place), model, optimizer, scaler, TrainState(number), 0, keep=2
                ),
                "look": look,
            },
            rounds=3 if quick else 9,
        )
    interval = [INTERVAL * update for update in seconds["update"]]
    return [
        Row("checkpoint (write, hash, flush): 500 updates", seconds["save"], interval, goal=50),
        Row("look for inf and NaN: an update", seconds["look"], seconds["update"], goal=100),
    ]
