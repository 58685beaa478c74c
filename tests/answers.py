"""Answers without a model: random scores in the place of its logits."""

from collections.abc import Sequence

import numpy as np

from data.qa_settings import QASettings, make_example_windows
from data.squad import SquadExample
from data.tokenization import Tokenizer
from eval.answerer import WindowLogits, decode_windows
from eval.spans import Decoded


def random_answers(
    examples: Sequence[SquadExample], tokenizer: Tokenizer, settings: QASettings
) -> list[Decoded]:
    """What a model of random scores would answer, through windows and decoding as any model's."""
    windows = make_example_windows(examples, tokenizer, settings)
    bounds = np.concatenate([[0], np.cumsum(windows.lengths)])
    start, end = np.random.default_rng(0).normal(size=(2, bounds[-1])).astype(np.float32)
    logits = WindowLogits(start, end, bounds, 0.0)
    return decode_windows(logits, windows, max_answer_length=settings.max_answer_length)
