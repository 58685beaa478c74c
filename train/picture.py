"""The picture of a training. It decides nothing: whatever goes wrong with it is a warning."""

import sys
from pathlib import Path
from typing import Any

from minibert.strict_json import parse_object


def draw_training(run: Path, ending: str = "png") -> Path | None:
    """Draw RUN/training.png (or .svg, .pdf) from the log; None, and a warning, if that fails."""
    from eval.plots import training_curves

    try:
        return training_curves(_readable_lines(run / "log.jsonl"), run / f"training.{ending}")
    except Exception as error:  # of a library, of a disk, of a log that was edited
        what = " ".join(str(error).split()) or type(error).__name__
        print(f"warning: the picture could not be drawn ({what})", file=sys.stderr)
        return None


def _readable_lines(log: Path) -> list[dict[str, Any]]:
    """The log's lines, without those that hold no JSON object."""
    lines, bad = [], 0
    for line in log.read_bytes().splitlines():
        try:
            lines.append(parse_object(line))
        except ValueError:
            bad += 1
    if bad:
        print(f"warning: {bad} lines of {log} cannot be read; the picture lacks them",
              file=sys.stderr)  # fmt: skip
    return lines
