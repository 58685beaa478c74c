"""A trained question-answering model, ready to answer: its windows, its logits, its answers.

`Answerer.load` brings model, tokenizer and settings together; `predict_logits` runs the model over
windows, and `decode_windows` reads the answers out of its scores. Training evaluates with the same
functions.
"""

import json
import math
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from data.batches import collate
from data.command import is_out_of_memory
from data.squad import SquadExample
from data.tokenization import Tokenizer
from data.windows import MOST_TOKENS, Ints, Windows, make_windows, tokenize_squad
from eval.spans import Decoded, decode
from minibert.device import choose_amp_dtype, choose_device
from minibert.files import write_file
from minibert.heads import BertForQuestionAnswering, span_loss_sum
from minibert.hub import find_model
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
    """

    max_length: int = 384
    doc_stride: int = 128
    doc_step: int | None = None
    max_question_length: int = 64
    max_answer_length: int = 30
    null_threshold: float | None = 0.0

    def __post_init__(self) -> None:
        numbers = dict(vars(self))  # asdict would copy whatever a file nested in them
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
        return f"{self.max_length} tokens, {overlap}"

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
    ) -> dict[str, int]:
        """max_length and doc_stride, where not given as they fit a model of `longest` positions."""
        length = min(cls.max_length, longest) if max_length is None else max_length
        stride = min(cls.doc_stride, length // 3) if doc_stride is None else doc_stride
        return {"max_length": length, "doc_stride": stride}

    def threshold(self, data_has_impossible: bool) -> float:
        """The null threshold to use: infinite (always answer) where "" cannot be right, was never
        trained or is not wanted."""
        if self.null_threshold is None or not data_has_impossible:
            return math.inf
        return self.null_threshold

    def save(self, folder: Path) -> None:
        """Write them into a model's folder."""
        write_file(folder / SETTINGS_FILE, (json.dumps(asdict(self), indent=2) + "\n").encode())


class WindowLogits(NamedTuple):
    """Scores of all tokens of all windows, in the windows' order.

    Attributes:
        start_logits: (N,) float32.
        end_logits: (N,) float32.
        bounds: (W + 1,) int64; window w owns [bounds[w], bounds[w + 1]).
        loss: mean over the windows of the span loss against the first gold answers.
    """

    start_logits: NDArray[np.float32]
    end_logits: NDArray[np.float32]
    bounds: Ints
    loss: float


def predict_logits(
    model: BertForQuestionAnswering,
    windows: Windows,
    device: torch.device,
    amp_dtype: torch.dtype | None = None,
    tokens_per_batch: int | None = None,
) -> WindowLogits:
    """Run the model over all windows, longest first, so that memory runs out at once or never.

    If it does, batches of half the tokens are tried, down to single windows, with a warning.

    Args:
        model: on `device`; put into evaluation mode.
        windows: at least one.
        device: where batches go.
        amp_dtype: autocast dtype, None for float32.
        tokens_per_batch: real tokens in a batch at most (a single longer window is a batch);
            default 2,048 on a CPU, which is as fast as any larger one, 32,768 elsewhere.
    """
    budget = tokens_per_batch or (2048 if device.type == "cpu" else 32768)
    lengths = windows.lengths
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    order = np.argsort(-lengths, kind="stable")
    ends = np.cumsum(lengths[order])
    done = 0
    if model.training:  # eval() walks every module: too long a way for each single question
        model.eval()
    start_logits, end_logits = [], []
    loss = torch.zeros((), device=device)
    with (
        torch.inference_mode(),
        torch.autocast(device.type, amp_dtype, enabled=amp_dtype is not None),
        tqdm(total=len(order), unit="window", leave=False, disable=None) as bar,
    ):
        while done < len(order):
            room = (ends[done - 1] if done else 0) + budget
            chosen = order[done : max(done + 1, np.searchsorted(ends, room, side="right"))]
            try:
                batch = collate(windows, chosen).to(device, non_blocking=True)
                logits = model(batch.packed)
                part = span_loss_sum(
                    logits, batch.packed, batch.start_positions, batch.end_positions
                )
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(chosen) == 1:
                    raise
                budget = int(lengths[chosen].sum()) // 2
                warnings.warn(
                    f"out of memory: batches of {budget} tokens from here on", stacklevel=2
                )
                continue
            loss += part
            start_logits.append(logits.start_logits.float())
            end_logits.append(logits.end_logits.float())
            done += len(chosen)
            bar.update(len(chosen))
    # Back into the windows' own order: token t of sorted window w goes to bounds[w] + t.
    sizes = lengths[order]
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    place = np.repeat(bounds[order], sizes) + within
    flat = np.empty((2, bounds[-1]), np.float32)
    flat[0, place] = torch.cat(start_logits).cpu().numpy()
    flat[1, place] = torch.cat(end_logits).cpu().numpy()
    return WindowLogits(flat[0], flat[1], bounds, loss.item() / len(windows))


def decode_windows(
    logits: WindowLogits, windows: Windows, *, n_best: int = 20, max_answer_length: int = 30
) -> list[Decoded]:
    """Answers of all examples, in their order, from the logits of their windows."""
    tokens = windows.tokens
    return decode(
        logits.start_logits,
        logits.end_logits,
        logits.bounds,
        windows.first,
        windows.count,
        windows.example,
        windows.token_begin,
        tokens.context_tokens.char_starts,
        tokens.context_tokens.char_ends,
        [tokens.contexts[c] for c in tokens.context_of.tolist()],
        n_best=n_best,
        max_answer_length=max_answer_length,
    )


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
    )


@dataclass(frozen=True)
class Answerer:
    """A loaded model with everything needed to answer questions.

    Attributes:
        model: in evaluation mode.
        tokenizer: the model's.
        settings: windows and thresholds.
        device: where the model is.
        amp_dtype: autocast dtype, None for float32.
    """

    model: BertForQuestionAnswering
    tokenizer: Tokenizer
    settings: QASettings
    device: torch.device
    amp_dtype: torch.dtype | None

    @classmethod
    def load(
        cls,
        name_or_folder: str,
        revision: str | None = None,
        device: str = "auto",
        amp: bool = False,
        amp_dtype: str = "auto",
    ) -> "Answerer":
        """Load a question-answering model with its tokenizer and settings.

        Raises:
            ValueError: not found, not readable, or without a trained span head.
        """
        files = find_model(name_or_folder, revision=revision, optional=(SETTINGS_FILE,))
        place = choose_device(device)
        model = BertForQuestionAnswering.from_pretrained(files).to(place)
        tokenizer = Tokenizer.from_folder(files.folder)
        tokenizer.require_ids(model.config.vocab_size, files.source)
        settings = QASettings.from_folder(files.folder, model.config.max_position_embeddings)
        dtype = choose_amp_dtype(place, amp_dtype) if amp else None
        return cls(model, tokenizer, settings, place, dtype)

    def with_settings(self, *, null_answer: bool = True, **changes: Any) -> "Answerer":
        """The same with some settings replaced.

        Args:
            null_answer: False for an answerer that never says "", whatever the threshold was.
            changes: None leaves a setting as it is.

        Raises:
            ValueError: a window longer than the model's positions.
        """
        changed = {name: value for name, value in changes.items() if value is not None}
        if "doc_stride" in changed:
            changed["doc_step"] = None
        if not null_answer:
            changed["null_threshold"] = None
        settings = replace(self.settings, **changed)
        longest = self.model.config.max_position_embeddings
        if settings.max_length > longest:
            raise ValueError(
                f"--max-length {settings.max_length} is more than the model's {longest} positions"
            )
        return replace(self, settings=settings)

    @property
    def null_threshold(self) -> float:
        """The threshold for questions of unknown kind."""
        return self.settings.threshold(True)

    def decode(
        self,
        examples: Sequence[SquadExample],
        n_best: int = 20,
        tokens_per_batch: int | None = None,
    ) -> tuple[Windows, list[Decoded], float]:
        """Windows, answers of all examples in order, and the loss against their gold answers."""
        windows = make_example_windows(examples, self.tokenizer, self.settings)
        logits = predict_logits(self.model, windows, self.device, self.amp_dtype, tokens_per_batch)
        length = self.settings.max_answer_length
        decoded = decode_windows(logits, windows, n_best=n_best, max_answer_length=length)
        return windows, decoded, logits.loss
