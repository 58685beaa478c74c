"""Make tests/train/runs/NAME: a tiny run that has not ended, in today's format.

python -m tests.train.make_run NAME

A later version must go on with it and predict from it, so a folder is made once per format and
never again. Paths in it begin with @FOLDER@.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import train.loop
from tests.train.little import CONFIG, little_arguments, write_little
from train.squad import main

RUNS = Path(__file__).parent / "runs"
TINY = {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 4}
LAST_UPDATE = 4


def make_run(folder: Path) -> None:
    """Write folder/{train.json, dev.json, model/, run/}, the run ended by a kill after update 4."""
    folder.mkdir(parents=True)
    write_little(folder, questions=5)
    (folder / "model" / "config.json").write_text(json.dumps({**CONFIG, **TINY}))
    child = os.fork()
    if child == 0:
        seed_update = train.loop.seed_update

        def end_before_the_next(seed: int, update: int, *rest: int) -> None:
            if update == LAST_UPDATE:
                os._exit(0)
            seed_update(seed, update, *rest)

        train.loop.seed_update = end_before_the_next
        more = (
            "--batch-size",
            "4",
            "--save-every",
            "1",
            "--keep-checkpoints",
            "1",
            "--n-best",
            "2",
        )
        main(little_arguments(folder, folder / "run", *more, "--n-best", "2"))
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        made = Path(name) / "made"
        make_run(made)
        options = made / "run" / "options.json"
        options.write_text(options.read_text().replace(str(made), "@FOLDER@"))
        (made / "run" / ".lock").unlink()
        files = [path for path in made.rglob("*") if path.is_file()]
        assert not any(str(made).encode() in path.read_bytes() for path in files)
        shutil.copytree(made, RUNS / sys.argv[1])
