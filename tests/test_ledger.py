"""Nothing lost on the way: questions in and out, answers as they stand in the text."""

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest

from data.qa_settings import QASettings, make_example_windows
from data.squad import Answer, SquadExample, read_squad
from data.tokenization import Tokenizer
from eval.prediction_files import write_predictions
from eval.squad import main as score_command
from tests.answers import random_answers
from tests.data.test_windows import assert_answers_return_or_are_listed
from tests.reliability import figure

TOKENS = "[PAD] [UNK] [CLS] [SEP] [MASK] q a b c d ##x ##s the river e \u6771 \u05d0 \u0627".split()
TOKENIZER = Tokenizer({token: i for i, token in enumerate(TOKENS)}, lowercase=True)
PIECES = [
    "a", "the", "bs", "River", "dxx", "\xe1", "a\u0301\u0323", "\u0301", "\uac01", "\u6771\u4eac",
    "\u05e9\u05b8\u05c1", "\u0627\u0644", "\u202eabc\u202c", "\U0001f469\u200d\U0001f52c",
    "\U0001f1e9", "\u0130", "\ufb01", "\u00df", "x" * 101, "a" * 150, "[SEP]", "[MASK]", "[CLS]a",
    "[PAD]", "##s",
    # no low surrogates: behind a high one, JSON has no spelling that is not the whole character
    "\ud83d", "\ufffd", "\ufeff", "(1895-1943).", "\u2028",
]  # fmt: skip
GLUE = [" ", " ", "  ", "", "\n", "\r\n", "\t", "\x00", "\xa0", "\u200d", "\u3000", "\x85", "\x1c"]


def hostile_examples(count: int) -> list[SquadExample]:
    """Questions about contexts of everything that text can be, each with a gold answer."""
    generator = random.Random(11)
    examples = []
    for number in range(count):
        parts = [generator.choice(PIECES) + generator.choice(GLUE) for _ in range(number % 20 + 1)]
        context = generator.choice(GLUE) + "".join(parts)
        begin = generator.randrange(len(context))
        text = context[begin : begin + generator.randint(1, 30)]
        question = generator.choice(PIECES) + " q"
        examples.append(
            SquadExample(str(number), "", question, context, (Answer(text, begin),), False)
        )
    return examples


def test_answers_from_5000_hostile_contexts_are_exact_pieces_of_them(tmp_path: Path) -> None:
    examples = hostile_examples(5000)
    settings = QASettings(max_length=16, doc_stride=3, max_question_length=6, max_answer_length=7)
    decoded = random_answers(examples, TOKENIZER, settings)
    assert len(decoded) == 5000
    candidates = 0
    for example, one in zip(examples, decoded, strict=True):
        for candidate in one.candidates:
            assert 0 <= candidate.start < candidate.end <= len(example.context)
            assert candidate.text == example.context[candidate.start : candidate.end]
            candidates += 1
        answer = one.answer(math.inf)
        assert answer == (one.candidates[0].text if one.candidates else "")
    assert candidates > 50_000
    figure("D2", f"5,000 hostile contexts, {candidates:,} candidates")
    # and they are the same in the files, where half a surrogate pair has to be escaped
    ids = [example.id for example in examples]
    predictions = write_predictions(tmp_path, ids, decoded, threshold=math.inf)
    assert any("\ud83d" in text for text in predictions.values())
    read = json.loads((tmp_path / "predictions.json").read_text("utf-8"))
    assert read == predictions and list(read) == ids


@pytest.fixture(scope="module")
def uncased(real_data: Path) -> Tokenizer:
    lines = (real_data / "vocab" / "bert-base-uncased-vocab.txt").read_text("utf-8").split("\n")
    return Tokenizer({token: i for i, token in enumerate(lines[:-1])}, lowercase=True)


def test_all_11873_questions_of_the_dev_file_are_predicted_once_and_in_order(
    real_data: Path, uncased: Tokenizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = real_data / "squad" / "dev-v2.0.json"
    examples = read_squad(path).examples
    ids = [example.id for example in examples]
    assert len(ids) == len(set(ids)) == 11_873
    decoded = random_answers(examples, uncased, QASettings())
    write_predictions(tmp_path, ids, decoded)
    for file in ("predictions", "null_odds", "na_probs", "nbest"):
        assert list(json.loads((tmp_path / f"{file}.json").read_bytes())) == ids
    for example, one in zip(examples, decoded, strict=True):
        best = one.candidates[0]
        assert best.text == example.context[best.start : best.end] != ""
    words = [str(path), str(tmp_path / "predictions.json"), "-n", str(tmp_path / "na_probs.json")]
    assert score_command(words) == 0
    assert json.loads(capsys.readouterr().out)["total"] == 11_873
    figure("D1", "11,873 in, 11,873 out, in order, in all four files")


def test_every_answer_of_the_real_training_file_is_in_a_window_or_listed(
    real_data: Path, uncased: Tokenizer
) -> None:
    examples = read_squad(real_data / "squad" / "train-v2.0-subset.json").examples
    windows = make_example_windows(examples, uncased, QASettings())
    assert set(windows.example.tolist()) == set(range(14_822))
    assert_answers_return_or_are_listed(windows)
    assert windows.lost == [] and len(windows.misaligned) == 86
    held = np.unique(windows.example[windows.start_positions > 0])
    assert len(held) == sum(bool(example.answers) for example in examples) == 14_822 - 2_945
    figure("D3", "11,877 answers held, 0 lost, 86 misaligned and listed")
