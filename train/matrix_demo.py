"""The demo of `python -m train.matrix`: five little worlds, and the config of their table.

They differ in their names only, data.demo's five seeds: every model answers every set about as well
as its own. The sets are called as those of eval/published.py, whose cells then stand beside ours.
"""

from pathlib import Path

from data.demo import DEMO_OPTIONS, write_demo
from eval.published import SETS
from minibert.files import write_file

CONFIG = "matrix-demo.toml"
ENTRIES = 60, 12  # of a set's two files
EPOCHS = 1.0  # of each training: the five take about a minute on two cores


def write_demo_matrix(folder: Path) -> Path:
    """Write data and config; the same bytes each time, so that a matrix goes on.

    Args:
        folder: made if missing; files of the same names are replaced.

    Returns:
        The config.
    """
    for seed, name in enumerate(SETS):
        write_demo(folder / name, seed, ENTRIES)
    settings = {**DEMO_OPTIONS, "epochs": EPOCHS, "keep_checkpoints": 1}
    lines = ['model = "embedded"', "[settings]"]
    # the model stands above; threads belong to the machine
    lines += [f"{n} = {v}" for n, v in settings.items() if n not in ("model", "threads")]
    for name in SETS:
        lines += [f"[sets.{name}]", f'train = "{name}/train.json"', f'dev = "{name}/dev.json"']
    path = folder / CONFIG
    write_file(path, ("\n".join(lines) + "\n").encode())
    return path
