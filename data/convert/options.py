"""The command lines of `python -m data.convert SET`, one for each set."""

import os
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from data.command import UsageError, option


@dataclass(frozen=True)
class Options:
    """What every set has."""

    set_name: ClassVar[str] = ""

    out: str = option(help="SQuAD v2 .json to write; the audit is written beside", metavar="FILE")
    inputs: tuple[str, ...] = option(
        (), help="files as published, or folders of them", metavar="IN", positional=True
    )
    jobs: int = option(0, help="processes, each converts one file at a time; 0 = one a core")
    strict: float | None = option(
        None, help="fail where a larger part of the questions is dropped (0.01: one in a hundred)",
        metavar="RATE",
    )  # fmt: skip
    vocabulary: str = option(
        "",
        help="folder of a tokenizer: count exactly which answers fit no window",
        metavar="FOLDER",
    )

    def __post_init__(self) -> None:
        if not self.inputs:
            raise UsageError("no input is named; give the files as published, or their folder")
        if not 0 <= self.jobs <= 256:
            raise UsageError(f"--jobs is {self.jobs}, expected 0 to 256")
        if self.strict is not None and not 0 <= self.strict <= 1:
            raise UsageError(f"--strict is {self.strict:g}, expected a rate of 0 to 1")

    def of_parts(self) -> dict[str, Any]:
        """The options that decide about a part of the output."""
        values = asdict(self)
        for name in ("inputs", "out", "jobs", "strict"):
            del values[name]
        return {"set": self.set_name, **values}

    def processes(self) -> int:
        """How many work at the same time."""
        return self.jobs or len(
            os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else "1"
        )


@dataclass(frozen=True)
class TriviaQAOptions(Options):
    """TriviaQA."""

    set_name: ClassVar[str] = "triviaqa"

    evidence: str = option(
        "", help="folder with wikipedia/ and web/ (default: evidence/ beside the file's folder)",
        metavar="FOLDER",
    )  # fmt: skip
    words: int = option(800, help="words kept of a document, from its start; 0 = all")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.words < 0:
            raise UsageError(f"--words is {self.words}, expected 0 (all) or more")


@dataclass(frozen=True)
class NQOptions(Options):
    """Natural Questions."""

    set_name: ClassVar[str] = "nq"

    unanswered: str = option(
        "impossible",
        help="what becomes of a question that its page does not answer",
        choices=("impossible", "leave-out"),
    )
    passages: str = option("all", help="which long answers are used", choices=("all", "paragraphs"))


@dataclass(frozen=True)
class QuACOptions(Options):
    """QuAC."""

    set_name: ClassVar[str] = "quac"


@dataclass(frozen=True)
class NewsQAOptions(Options):
    """NewsQA."""

    set_name: ClassVar[str] = "newsqa"


@dataclass(frozen=True)
class MRQAOptions(Options):
    """MRQA."""

    set_name: ClassVar[str] = "mrqa"


OPTIONS: dict[str, type[Options]] = {
    made.set_name: made
    for made in (TriviaQAOptions, NQOptions, QuACOptions, NewsQAOptions, MRQAOptions)
}
