"""The options that the commands which answer share: which model, which windows, where."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.command import UsageError, option
from data.options import WindowOptions, check_range
from data.ranks import ALONE, Ranks

if TYPE_CHECKING:
    from data.squad import SquadData
    from eval.answerer import Answerer

MOST_ANSWERS = 1000  # --n-best and --top
MOST_THREADS = 1024


@dataclass(frozen=True, kw_only=True)
class AnswerOptions(WindowOptions):
    """Which model answers, and how; None leaves a setting as the model was saved with.

    Raises:
        UsageError: a value outside its range, or flags that contradict each other.
    """

    max_answer_length: int | None = option(
        None, help="tokens of the longest answer (default: the model's own)", group="windows"
    )
    null_threshold: float | None = option(
        None,
        help='answer "" where null score - best score is above it (default: the model\'s own)',
        group="windows",
    )
    null_answer: bool = option(
        True,
        help='answer "" where the null score wins; off, every answer is the best span',
        group="windows",
    )
    device: str = option("auto", help="auto, cpu, cuda, cuda:N or mps", group="machine")
    threads: int = option(0, help="CPU threads, 0 = torch's own choice", group="machine")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("max_answer_length", self.max_answer_length, 1)
        if self.null_threshold is not None and not math.isfinite(self.null_threshold):
            raise UsageError(f"--null-threshold is {self.null_threshold}, expected a number")
        if self.null_threshold is not None and not self.null_answer:
            raise UsageError(
                "--no-null-answer and --null-threshold contradict each other; give one of them"
            )
        check_range("threads", self.threads, 0, MOST_THREADS)

    def load(self, amp: bool = False, amp_dtype: str = "auto", ranks: Ranks = ALONE) -> "Answerer":
        """The model with its settings, changed where flags say so; --threads counts from here on.

        Raises:
            ValueError: no such model, or windows that it cannot take.
        """
        import torch

        from eval.answerer import Answerer

        if self.threads:
            torch.set_num_threads(self.threads)
        answerer = Answerer.load(self.model, self.revision, self.device, amp, amp_dtype, ranks)
        return answerer.with_settings(
            max_length=self.max_length,
            doc_stride=self.doc_stride,
            doc_step=self.doc_step,
            max_question_length=self.max_question_length,
            max_answer_length=self.max_answer_length,
            null_threshold=self.null_threshold,
            null_answer=self.null_answer,
        )

    def threshold(self, answerer: "Answerer", data: "SquadData") -> float:
        """Of null score - best score, above which "" answers a file's questions; may be infinite.

        Without gold answers nothing tells whether "" may be right: then the model's training does.
        """
        if self.null_threshold is not None:
            return self.null_threshold
        return answerer.settings.threshold(data.has_impossible or not data.has_answers)


def read_context(flag: str, path: str) -> str:
    """The text of a file; a byte-order mark is no part of it.

    Raises:
        UsageError: it cannot be read, or is not UTF-8 text.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{flag} {path} is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise UsageError(f"{flag} {path} cannot be read ({error.strerror})") from None
