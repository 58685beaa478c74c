"""Questions and contexts -> model inputs, as slices.

    [CLS] question [SEP] part of the context [SEP]

Each distinct context is tokenized once and each question once. A window is three integers: its
example, its first context token, its number of context tokens. Nothing else is stored; the batches
cut the ids out of the flat arrays when they are needed. The windows and labels are exactly those of
transformers' run_qa example (Wolf et al. 2020), and with `doc_step` those of google-research/bert's
run_squad.py.

`python -m data.windows FILE --model FOLDER --id QUESTION` prints the windows of a question.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data.squad import SquadExample

if TYPE_CHECKING:
    from data.tokenization import TokenizedTexts, Tokenizer

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TokenizedSquad:
    """Examples with their contexts and questions as word pieces.

    Attributes:
        examples: E of them.
        contexts: the C distinct context strings.
        context_of: (E,) which context an example asks about.
        context_tokens: word pieces of the contexts, with character offsets.
        question_ids: E lists of word-piece ids, cut at max_question_length.
        cut_questions: ids of the examples whose question was cut.
        cls_id: id of [CLS].
        sep_id: id of [SEP].
    """

    examples: list[SquadExample]
    contexts: list[str]
    context_of: Ints
    context_tokens: "TokenizedTexts"
    question_ids: list[list[int]]
    cut_questions: list[str]
    cls_id: int
    sep_id: int


def tokenize_squad(
    examples: Sequence[SquadExample], tokenizer: "Tokenizer", max_question_length: int = 64
) -> TokenizedSquad:
    """Tokenize every distinct context and every question once.

    Args:
        examples: any number, at least one.
        tokenizer: word pieces.
        max_question_length: word pieces kept of a question; cut ones are listed.
    """
    number: dict[str, int] = {}
    context_of = [number.setdefault(example.context, len(number)) for example in examples]
    contexts = list(number)
    # run_qa drops a question's leading white space, which the tokenizer ignores in any case.
    questions = tokenizer.encode([example.question for example in examples])
    cut = [
        example.id
        for example, ids in zip(examples, questions, strict=True)
        if len(ids) > max_question_length
    ]
    return TokenizedSquad(
        examples=list(examples),
        contexts=contexts,
        context_of=np.array(context_of, np.int64),
        context_tokens=tokenizer.encode_with_offsets(contexts),
        question_ids=[ids[:max_question_length] for ids in questions],
        cut_questions=cut,
        cls_id=tokenizer.cls_id,
        sep_id=tokenizer.sep_id,
    )


@dataclass(frozen=True)
class Windows:
    """All model inputs of a data set, W of them, in the order of the examples.

    Attributes:
        tokens: what the windows are cut from.
        example: (W,) index of the window's example.
        start: (W,) first context token, counted from the start of the example's context.
        count: (W,) context tokens in the window.
        first: (W,) where the context begins inside the window: 2 + tokens of the question.
        start_positions: (W,) token of the window where the answer begins; 0, [CLS], for none.
        end_positions: (W,) token of the window where the answer ends, inclusive; 0 for none.
        lost: ids of questions whose answer lies wholly in no window.
        misaligned: ids of questions whose answer's characters do not begin and end with tokens, so
            that the labelled tokens read differently from the answer.
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

    def __len__(self) -> int:
        return len(self.example)

    @cached_property
    def lengths(self) -> Ints:
        """(W,) tokens of each window, special tokens included."""
        return self.first + self.count + 1

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
        return [tokens.cls_id, *question, tokens.sep_id, *context, tokens.sep_id]


def make_windows(
    tokens: TokenizedSquad,
    *,
    max_length: int = 384,
    doc_stride: int = 128,
    doc_step: int | None = None,
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

    Raises:
        ValueError: a question leaves no room for windows with that stride or step.
    """
    question_length = np.array([len(ids) for ids in tokens.question_ids], np.int64)  # (E,)
    room = max_length - 3 - question_length  # (E,)
    step = room - doc_stride if doc_step is None else np.full_like(room, doc_step)
    narrow = int(room.argmin())
    if room[narrow] < 1 or step[narrow] < 1 or step[narrow] > room[narrow]:
        flag = f"--doc-stride {doc_stride}" if doc_step is None else f"--doc-step {doc_step}"
        raise ValueError(
            f"--max-length {max_length} leaves {room[narrow]} tokens for the context beside question "
            f"{tokens.examples[narrow].id} ({question_length[narrow]} tokens), too few for {flag}; "
            "raise --max-length, or lower the stride or --max-question-length"
        )
    bounds = tokens.context_tokens.bounds
    length = np.diff(bounds)[tokens.context_of]  # (E,) context tokens
    per_example = 1 + np.maximum(0, -(-(length - room) // step))  # (E,)
    example = np.repeat(np.arange(len(room)), per_example)  # (W,)
    earlier = np.cumsum(per_example) - per_example
    start = (np.arange(len(example)) - earlier[example]) * step[example]
    count = np.minimum(room[example], length[example] - start)
    first = 2 + question_length[example]
    answers = _answer_tokens(tokens)
    begin = bounds[tokens.context_of[example]] + start
    starts, ends = tokens.context_tokens.char_starts, tokens.context_tokens.char_ends
    has_answer = answers.characters[example, 0] >= 0
    holds = has_answer & (count > 0)
    # An all-empty data set has no token to look at.
    if len(starts):
        last = np.maximum(begin + count - 1, 0)
        holds &= starts[np.minimum(begin, len(starts) - 1)] <= answers.characters[example, 0]
        holds &= ends[last] >= answers.characters[example, 1]
    labels = first[:, None] + answers.tokens[example] - start[:, None]  # (W, 2)
    labels = np.where(holds[:, None], labels, 0)
    held = np.zeros(len(room), bool)
    held[example[holds]] = True
    lost = [
        tokens.examples[e].id
        for e in np.flatnonzero((answers.characters[:, 0] >= 0) & ~held).tolist()
    ]
    return Windows(
        tokens, example, start, count, first, labels[:, 0], labels[:, 1], lost, answers.misaligned
    )


@dataclass(frozen=True)
class _AnswerTokens:
    """Where each example's first answer lies.

    Attributes:
        characters: (E, 2) half-open characters, -1 without an answer.
        tokens: (E, 2) first and last token of the context, inclusive; 0 without an answer.
        misaligned: see Windows.
    """

    characters: Ints
    tokens: Ints
    misaligned: list[str]


def _answer_tokens(tokens: TokenizedSquad) -> _AnswerTokens:
    """Characters of the first gold answer -> context tokens.

    The start token is the last one that begins at or before the answer, the end token the first one
    that ends at or after it. So "1895" in "(1895-1943)." is the token "1895", and "apan" in "Japan"
    is the token "japan": the smallest run of tokens that covers the answer.
    """
    characters = np.full((len(tokens.examples), 2), -1, np.int64)
    for e, example in enumerate(tokens.examples):
        if example.answers:
            characters[e] = example.answers[0].start, example.answers[0].end
    found = np.zeros_like(characters)
    texts = tokens.context_tokens
    misaligned = []
    for e in np.flatnonzero(characters[:, 0] >= 0).tolist():
        begin, end = texts.bounds[tokens.context_of[e]], texts.bounds[tokens.context_of[e] + 1]
        if begin == end:
            continue
        starts, ends = texts.char_starts[begin:end], texts.char_ends[begin:end]
        at = max(int(starts.searchsorted(characters[e, 0], "right")) - 1, 0)
        to = min(int(ends.searchsorted(characters[e, 1], "left")), len(ends) - 1)
        found[e] = at, to
        if starts[at] != characters[e, 0] or ends[to] != characters[e, 1]:
            misaligned.append(tokens.examples[e].id)
    return _AnswerTokens(characters, found, misaligned)
