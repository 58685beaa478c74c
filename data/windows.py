"""Questions and contexts -> model inputs, as slices.

    [CLS] question [SEP] part of the context [SEP]

Each distinct context is tokenized once and each question once. A window is three integers: its
example, its first context token, its number of context tokens. Nothing else is stored; the batches
cut the ids out of the flat arrays when they are needed. The windows and labels are those of
transformers' run_qa example (Wolf et al. 2020), and with `doc_step` the windows are those of
google-research/bert's run_squad.py. Labels differ from run_qa's only where those end before they
begin: an answer that starts at the last token of a window, or tokens that share a character.

    python -m data.windows FILE --model FOLDER                  # totals of a file
    python -m data.windows FILE --model FOLDER --id QUESTION    # windows of a question
"""

if __name__ == "__main__":  # first, because --help need not wait for numpy
    from data.command import run_command
    from data.inspector import main

    run_command(main)

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data.layout import PLAIN, Layout
from data.tokenized_squad import Ints, TokenizedSquad, answer_tokens
from minibert.strict_json import counted, named

MOST_TOKENS = 1_000_000  # what a length, stride or step may be; more is a slip of the keyboard


@dataclass(frozen=True)
class Windows:
    """All model inputs of a data set, W of them, in the order of the examples.

    Attributes:
        tokens: what the windows are cut from.
        example: (W,) index of the window's example.
        start: (W,) first context token, counted from the start of the example's context.
        count: (W,) context tokens in the window.
        first: (W,) where the context begins inside the window: 2 + tokens of the question, or 1.
        start_positions: (W,) token of the window where the answer begins; 0, [CLS], for none.
        end_positions: (W,) token of the window where the answer ends, inclusive; 0 for none.
        lost: ids of questions whose answer lies wholly in no window.
        misaligned: ids of questions whose answer's characters do not begin and end with tokens, so
            that the labelled tokens read longer than the answer.
        trimmed: ids of questions whose answer has white space (or what else the tokenizer drops) at
            its edge, so that the labelled tokens read shorter than the answer.
        layout: of every window.
    """

    tokens: TokenizedSquad
    example: Ints
    start: Ints
    count: Ints
    first: Ints
    start_positions: Ints
    end_positions: Ints
    lost: list[str]
    misaligned: list[str]
    trimmed: list[str]
    layout: Layout = PLAIN

    def __len__(self) -> int:
        return len(self.example)

    @cached_property
    def lengths(self) -> Ints:
        """(W,) tokens of each window, special tokens included."""
        question = np.array([len(ids) for ids in self.tokens.question_ids], np.int64)
        return question[self.example] + self.count + 3

    @cached_property
    def question_first(self) -> Ints:
        """(W,) where the question begins inside each window: 1, or 2 + tokens of the context."""
        return self.count + 2 if self.layout.context_first else np.ones_like(self.count)

    @cached_property
    def segment(self) -> Ints:
        """(W,) tokens of each window that are of token type 0; where the second of its two parts
        begins, type 1 does."""
        if not self.layout.token_types:
            return self.lengths
        return np.maximum(self.first, self.question_first)

    @cached_property
    def token_begin(self) -> Ints:
        """(W,) the window's first context token as index into `tokens.context_tokens`."""
        context = self.tokens.context_of[self.example]
        return self.tokens.context_tokens.bounds[context] + self.start

    def input_ids(self, w: int) -> list[int]:
        """The ids of one window, as the model gets them."""
        tokens, begin = self.tokens, self.token_begin[w]
        context = tokens.context_tokens.ids[begin : begin + self.count[w]].tolist()
        question = tokens.question_ids[self.example[w]]
        before, behind = (context, question) if self.layout.context_first else (question, context)
        return [tokens.cls_id, *before, tokens.sep_id, *behind, tokens.sep_id]


def make_windows(
    tokens: TokenizedSquad,
    *,
    max_length: int = 384,
    doc_stride: int = 128,
    doc_step: int | None = None,
    layout: Layout = PLAIN,
) -> Windows:
    """Cut every context into overlapping windows and label them with the first gold answer.

    A window that does not hold the whole answer, or belongs to an impossible question, is labelled
    (0, 0), the [CLS] token (google-research/bert, run_squad.py).

    Args:
        tokens: from `tokenize_squad`.
        max_length: tokens of a window at most, special tokens included.
        doc_stride: context tokens shared by neighbouring windows (the meaning of run_qa).
        doc_step: context tokens between the starts of neighbouring windows (Google's meaning);
            takes the place of doc_stride.
        layout: of every window.

    Raises:
        ValueError: a question leaves no room for windows with that stride or step.
    """
    if doc_step is not None and doc_step < 1:
        raise ValueError(f"--doc-step is {doc_step}, expected at least 1")
    if doc_stride < 0:
        raise ValueError(f"--doc-stride is {doc_stride}, expected 0 or more")
    given = {"--max-length": max_length, "--doc-stride": doc_stride, "--doc-step": doc_step or 1}
    for flag, number in given.items():
        if abs(number) > MOST_TOKENS:
            raise ValueError(f"{flag} is {number}, expected at most {MOST_TOKENS}")
    question_length = np.array([len(ids) for ids in tokens.question_ids], np.int64)  # (E,)
    room = max_length - 3 - question_length  # (E,)
    step = room - doc_stride if doc_step is None else np.full_like(room, doc_step)
    narrow = int(room.argmin())
    question = f"question {named(tokens.examples[narrow].id)}"
    refuse_narrow(max_length, doc_stride, doc_step, int(question_length[narrow]), question)
    bounds = tokens.context_tokens.bounds
    length = np.diff(bounds)[tokens.context_of]  # (E,) context tokens
    per_example = 1 + np.maximum(0, -(-(length - room) // step))  # (E,)
    if layout.truncate:
        per_example = np.ones_like(per_example)
    example = np.repeat(np.arange(len(room)), per_example)  # (W,)
    earlier = np.cumsum(per_example) - per_example
    start = (np.arange(len(example)) - earlier[example]) * step[example]
    count = np.minimum(room[example], length[example] - start)
    first = np.ones_like(example) if layout.context_first else 2 + question_length[example]
    answer, lost, misaligned, trimmed = answer_tokens(tokens)
    begin, end = answer[example].T  # (W,) each
    holds = (begin >= start) & (end < start + count)
    lost |= (answer[:, 0] >= 0) & (np.bincount(example[holds], minlength=len(room)) == 0)
    return Windows(
        tokens,
        example,
        start,
        count,
        first,
        start_positions=np.where(holds, first + begin - start, 0),
        end_positions=np.where(holds, first + end - start, 0),
        lost=[tokens.examples[e].id for e in np.flatnonzero(lost)],
        misaligned=[tokens.examples[e].id for e in np.flatnonzero(misaligned)],
        trimmed=[tokens.examples[e].id for e in np.flatnonzero(trimmed)],
        layout=layout,
    )


def refuse_narrow(
    max_length: int, doc_stride: int, doc_step: int | None, question_tokens: int, question: str
) -> None:
    """Refuse windows that a question leaves no room to go on by their stride or step.

    Args:
        max_length: as of `make_windows`, like the next two.
        doc_stride: see there.
        doc_step: see there.
        question_tokens: word pieces of the question.
        question: in words.

    Raises:
        ValueError: with the numbers.
    """
    room = max_length - 3 - question_tokens
    step = room - doc_stride if doc_step is None else doc_step
    if 1 <= step <= room:  # a step wider than the room would jump over tokens
        return
    flag, value = ("--doc-stride", doc_stride) if doc_step is None else ("--doc-step", doc_step)
    raise ValueError(
        f"--max-length {max_length} leaves {max(room, 0)} context tokens beside {question} "
        f"({counted(question_tokens, 'token')}), too few for {flag} {value}; raise --max-length or "
        f"lower {flag} or --max-question-length"
    )
