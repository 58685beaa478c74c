"""How questions become windows and scores answers: the settings saved beside a trained model."""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from data.layout import PLAIN, Layout
from data.squad import SquadExample
from data.tokenization import Tokenizer
from data.tokenized_squad import tokenize_squad
from data.windows import MOST_TOKENS, Windows, make_windows, refuse_narrow
from minibert.files import write_file
from minibert.strict_json import named, read_object, shown

SETTINGS_FILE = "qa_settings.json"


@dataclass(frozen=True)
class QASettings:
    """How questions become windows and logits become answers; saved beside a trained model.

    Attributes:
        max_length: tokens of a window.
        doc_stride: context tokens shared by neighbouring windows.
        doc_step: if set, context tokens between window starts instead.
        max_question_length: word pieces kept of a question.
        max_answer_length: tokens of the longest answer.
        null_threshold: "" is answered where null score - best score is above it; None for a model
            that never learnt to answer "", or is not to.
        truncate: see `Layout`.
        context_first: see `Layout`.
        token_types: see `Layout`.
    """

    max_length: int = 384
    doc_stride: int = 128
    doc_step: int | None = None
    max_question_length: int = 64
    max_answer_length: int = 30
    null_threshold: float | None = 0.0
    truncate: bool = False
    context_first: bool = False
    token_types: bool = True

    def __post_init__(self) -> None:
        numbers = dict(vars(self))  # asdict would copy whatever a file nested in them
        for name in vars(PLAIN):
            if not isinstance(numbers.pop(name), bool):
                raise ValueError(f"{name} is {shown(getattr(self, name))}, expected true or false")
        threshold = numbers.pop("null_threshold")
        threshold = 0.0 if threshold is None else threshold
        if self.doc_step is None:
            del numbers["doc_step"]
        # the comparison refuses NaN too, and takes whole numbers that no float can hold
        if isinstance(threshold, bool) or not isinstance(threshold, int | float):
            raise ValueError(f"null_threshold is {shown(threshold)}, expected a number")
        if not -sys.float_info.max <= threshold <= sys.float_info.max:
            raise ValueError(f"null_threshold is {shown(threshold)}, expected a finite number")
        for name, value in numbers.items():
            least = 0 if name == "doc_stride" else 1
            if type(value) is not int or not least <= value <= MOST_TOKENS:
                raise ValueError(
                    f"{name} is {shown(value)}, expected a whole number from {least} to "
                    f"{MOST_TOKENS}"
                )

    @property
    def window(self) -> str:
        """What a window is, in words."""
        step = self.doc_step
        overlap = f"stride {self.doc_stride}" if step is None else f"step {step}"
        if self.truncate:
            overlap = "one a question"
        return (
            f"{self.max_length} tokens, {overlap}"
            + (", the context first" if self.context_first else "")
            + ("" if self.token_types else ", no token types")
        )

    @property
    def layout(self) -> Layout:
        """How question and context stand in a window."""
        return Layout(self.truncate, self.context_first, self.token_types)

    @property
    def question_room(self) -> int:
        """Word pieces a question may have: at most max_question_length, and less where the windows
        are so short that the context would keep no room for its stride."""
        beside = self.doc_stride + 1 if self.doc_step is None else self.doc_step
        return max(1, min(self.max_question_length, self.max_length - 3 - beside))

    @classmethod
    def from_folder(cls, folder: Path, longest: int) -> "QASettings":
        """The settings saved with a model; without any, the defaults, cut to the model's length."""
        path = folder / SETTINGS_FILE
        if path.exists():
            values = read_object(path, "question-answering settings")
            unknown = values.keys() - {field.name for field in fields(cls)}
            if unknown:
                raise ValueError(
                    f"{path} has the unknown setting {named(min(unknown))}; expected "
                    "question-answering settings"
                )
            try:
                return cls(**values)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
        return cls(**cls.lengths(longest))

    @classmethod
    def lengths(
        cls, longest: int, max_length: int | None = None, doc_stride: int | None = None
    ) -> dict[str, Any]:
        """max_length and doc_stride, where not given as they fit a model of `longest` positions."""
        length = min(cls.max_length, longest) if max_length is None else max_length
        stride = min(cls.doc_stride, length // 3) if doc_stride is None else doc_stride
        return {"max_length": length, "doc_stride": stride}

    def changed(self, longest: int, *, null_answer: bool = True, **changes: Any) -> "QASettings":
        """The same with some settings replaced, as flags of a command ask.

        Args:
            longest: positions of the model.
            null_answer: False for never answering "", whatever the threshold was.
            changes: None leaves a setting as it is; a doc_stride takes the place of a doc_step.

        Raises:
            ValueError: a window longer than the model's positions.
        """
        wanted = {name: value for name, value in changes.items() if value is not None}
        if "doc_stride" in wanted:
            wanted["doc_step"] = None
        if not null_answer:
            wanted["null_threshold"] = None
        length = wanted.get("max_length", self.max_length)
        if length > longest:
            raise ValueError(f"--max-length {length} is more than the model's {longest} positions")
        return replace(self, **wanted)

    def refuse_narrow(self) -> None:
        """Refuse windows that have no room beside any question, whatever the data.

        Raises:
            ValueError: as `make_windows` does for a question of the data.
        """
        refuse_narrow(self.max_length, self.doc_stride, self.doc_step, 1, "a question")

    def threshold(self, data_has_impossible: bool) -> float:
        """The null threshold to use: infinite (always answer) where "" cannot be right, was never
        trained or is not wanted."""
        if self.null_threshold is None or not data_has_impossible:
            return math.inf
        return self.null_threshold

    def save(self, folder: Path) -> None:
        """Write them into a model's folder."""
        write_file(folder / SETTINGS_FILE, (json.dumps(asdict(self), indent=2) + "\n").encode())


def make_example_windows(
    examples: Sequence[SquadExample], tokenizer: Tokenizer, settings: QASettings
) -> Windows:
    """Examples -> windows with a model's settings."""
    tokens = tokenize_squad(examples, tokenizer, settings.question_room)
    return make_windows(
        tokens,
        max_length=settings.max_length,
        doc_stride=settings.doc_stride,
        doc_step=settings.doc_step,
        layout=settings.layout,
    )
