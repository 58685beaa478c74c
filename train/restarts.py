"""What a start is to do: as its command line says, or on with the run that an earlier start of the
same torchrun began.

torchrun keeps a store of its own while it starts a failed group of ranks again (`--max-restarts`).
The first group notes there which run it begins, and when it has begun; so a later one knows its own
run from any other, though `--resume` was not typed and whatever the folder holds. A new torchrun
has a new store: its first start never resumes by itself.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from data.command import UsageError
from data.ranks import Ranks
from train.options import TrainOptions

OptionsT = TypeVar("OptionsT", bound=TrainOptions)

_COMING, _BEGUN, _SINCE = "coming", "begun", "since"


def read_together(
    command: str,
    kind: type[OptionsT],
    read_options: Callable[[list[str]], OptionsT],
    argv: list[str],
    ranks: Ranks,
) -> OptionsT:
    """The options of this start, which the first rank reads. For all ranks.

    Args:
        command: "squad" for `python -m train.squad`.
        kind: of the options.
        read_options: of the command.
        argv: the words after the command's name.
        ranks: that train together.
    """

    def read() -> OptionsT:
        options = read_options(_as_resumed(argv, ranks))
        if options.batch_size < ranks.size:
            raise UsageError(
                f"--batch-size {options.batch_size} is what all {ranks.size} ranks share in one "
                f"update; give {ranks.size} or more, or start fewer (torchrun --nproc-per-node)"
            )
        if ranks.recall(_SINCE) is None:
            ranks.remember(_SINCE, str(time.time()))
        if options.output_dir:
            return options
        folder = time.strftime(f"runs/{command}-%Y%m%d-%H%M%S")
        return dataclasses.replace(options, output_dir=folder)

    if ranks.size == 1:
        return read()
    values = ranks.first(lambda: dataclasses.asdict(read()))
    tuples = {name: tuple(v) for name, v in values.items() if isinstance(v, list)}
    return kind(**{**values, **tuples})


def _as_resumed(argv: list[str], ranks: Ranks) -> list[str]:
    """The command line, with --resume if ranks before these have begun the run."""
    from train.earlier_run import options_file

    folder = ranks.recall(_BEGUN)
    if folder is None:  # killed between the first line of options.json and the note?
        folder = ranks.recall(_COMING)
        if folder is None or not options_file(Path(folder)).exists():
            return argv
    return [*argv, "--resume", "--no-overwrite", "--output-dir", folder]


def seconds_before(ranks: Ranks) -> float:
    """Since the first start of this torchrun, for --max-minutes; 0 at the first."""
    since = ranks.recall(_SINCE)
    return max(0.0, time.time() - float(since)) if since else 0.0


def note_coming(folder: Path, options: TrainOptions, ranks: Ranks) -> None:
    """Note that the run in a folder, which is locked and holds none yet, is about to begin.

    Not of one that overwrites another: until it has begun, what lies there is the other.
    """
    if ranks.is_first and not options.overwrite:
        ranks.remember(_COMING, str(folder.absolute()))


def note_begun(folder: Path, ranks: Ranks) -> None:
    """Note that the run has begun: only --resume goes on with it from here."""
    if ranks.is_first:
        ranks.remember(_BEGUN, str(folder.absolute()))
