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

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data.layout import PLAIN, Layout
from data.squad import SquadExample
from data.tokenizer_files import MAX_WORD_CHARACTERS
from minibert.strict_json import counted, named

if TYPE_CHECKING:
    from data.tokenization import TokenizedTexts, Tokenizer

Ints = NDArray[np.int64]

MOST_TOKENS = 1_000_000  # what a length, stride or step may be; more is a slip of the keyboard


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
        unk_id: id of [UNK].
    """

    examples: list[SquadExample]
    contexts: list[str]
    context_of: Ints
    context_tokens: "TokenizedTexts"
    question_ids: list[list[int]]
    cut_questions: list[str]
    cls_id: int
    sep_id: int
    unk_id: int

    @cached_property
    def long_words(self) -> list[str]:
        """Ids of the examples whose context has a word that is too long to be matched and so, as in
        every published tokenizer, one [UNK]; its characters can still be answered with."""
        pieces = self.context_tokens
        sizes = pieces.char_ends - pieces.char_starts
        places = np.flatnonzero((pieces.ids == self.unk_id) & (sizes > MAX_WORD_CHARACTERS))
        contexts = pieces.bounds.searchsorted(places, "right") - 1
        return [
            self.examples[e].id for e in np.flatnonzero(np.isin(self.context_of, contexts)).tolist()
        ]


def tokenize_squad(
    examples: Sequence[SquadExample], tokenizer: "Tokenizer", max_question_length: int = 64
) -> TokenizedSquad:
    """Tokenize every distinct context and every question once.

    Args:
        examples: any number, at least one.
        tokenizer: word pieces.
        max_question_length: word pieces kept of a question; cut ones are listed.

    Raises:
        ValueError: no examples, or a max_question_length below 1.
    """
    if not examples:
        raise ValueError("there are no questions to make windows of; expected at least one")
    if max_question_length < 1:
        raise ValueError(f"--max-question-length is {max_question_length}, expected at least 1")
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
        unk_id=tokenizer.unk_id,
    )


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
        """(W,) tokens of each window that are of token type 0; those behind them are of type 1."""
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
    answer, lost, misaligned, trimmed = _answer_tokens(tokens)
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


def _answer_tokens(
    tokens: TokenizedSquad,
) -> tuple[Ints, NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Characters of the first gold answer -> the run of context tokens that have any of them.

    So "1895" in "(1895-1943)." is the token "1895", "apan" in "Japan" is the token "japan", and so
    is " Japan", of which run_qa would take the word before as well. Of tokens that share their
    characters, as the parts of a Hangul syllable do, all are taken; run_qa takes the last of them
    for the start and the first for the end.

    Returns:
        first and last token, inclusive: (E, 2), -1 where there is no answer or no token of it;
        where there is an answer but no token: (E,); where the run reads longer than the answer:
        (E,); where it reads shorter, white space having no token: (E,).
    """
    characters = np.full((len(tokens.examples), 2), -1, np.int64)
    for e, example in enumerate(tokens.examples):
        if example.answers:
            characters[e] = example.answers[0].start, example.answers[0].end
    has_answer = characters[:, 0] >= 0
    # One search for all: the contexts are laid one after another, so that characters only grow.
    texts = tokens.context_tokens
    sizes = np.array([len(context) for context in tokens.contexts], np.int64)
    shift = np.cumsum(sizes) - sizes  # (C,) characters before each context
    token_shift = np.repeat(shift, np.diff(texts.bounds))
    starts, ends = texts.char_starts + token_shift, texts.char_ends + token_shift
    wanted = characters + shift[tokens.context_of, None]
    at = ends.searchsorted(wanted[:, 0], "right")  # first token that ends after the answer's start
    to = starts.searchsorted(wanted[:, 1], "left") - 1  # last token that begins before its end
    found = has_answer & (at <= to)
    at, to, wanted = at[found], to[found], wanted[found]
    misaligned, trimmed = np.zeros_like(found), np.zeros_like(found)
    misaligned[found] = (starts[at] < wanted[:, 0]) | (ends[to] > wanted[:, 1])
    trimmed[found] = (starts[at] > wanted[:, 0]) | (ends[to] < wanted[:, 1])
    begin = texts.bounds[tokens.context_of][found]
    run = np.full_like(characters, -1)
    run[found, 0] = starts.searchsorted(starts[at], "left") - begin
    run[found, 1] = ends.searchsorted(ends[to], "right") - 1 - begin
    return run, has_answer & ~found, misaligned, trimmed
