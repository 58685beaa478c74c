"""Questions and contexts as word pieces, each distinct context once, and where answers lie in them.

Windows (windows.py) are slices of what stands here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data.squad import SquadExample
from data.tokenizer_files import MAX_WORD_CHARACTERS

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


def answer_tokens(
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
