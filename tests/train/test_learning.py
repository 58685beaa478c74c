"""Training learns what the labels say, and from labels that say nothing it learns nothing."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from data.squad import Answer, SquadExample
from data.tokenization import Tokenizer
from data.tokenized_squad import tokenize_squad
from data.windows import make_windows
from eval.answerer import decode_windows, predict_logits
from eval.exact_f1 import raw_scores
from minibert.config import BertConfig
from tests.train.little import CONFIG, SPECIAL, WORDS
from tests.train.test_loop import make_model, run_loop
from train.options import TrainOptions

NUMBERS = WORDS[WORDS.index("one") : WORDS.index("ten") + 1]
OTHERS = WORDS[: WORDS.index("one")]
CONFIG_HERE = BertConfig.from_dict(
    CONFIG | {"hidden_size": 32, "intermediate_size": 64, "initializer_range": 0.1}
)


def make_examples(count, seed):
    """Questions for the number in a text; every text has one, somewhere."""
    generator = random.Random(seed)
    examples = []
    for e in range(count):
        words = generator.choices(OTHERS, k=generator.randint(8, 16))
        words[generator.randrange(len(words))] = number = generator.choice(NUMBERS)
        context = " ".join(words)
        start = context.index(f" {number}") + 1 if words[0] != number else 0
        answer = Answer(number, start)
        examples.append(
            SquadExample(
                id=str(e), title="", question="what ?", context=context, answers=(answer,),
                is_impossible=False,
            )
        )  # fmt: skip
    return examples


def make_small_windows(examples):
    tokenizer = Tokenizer({token: i for i, token in enumerate((*SPECIAL, *WORDS))}, lowercase=True)
    return make_windows(tokenize_squad(examples, tokenizer), max_length=32, doc_stride=8)


@pytest.fixture(scope="module")
def windows():
    return make_small_windows(make_examples(160, seed=1))


def held_out_exact(windows, folder, seed):
    """Percent of unseen questions answered exactly after a short training on `windows`."""
    torch.manual_seed(seed)
    model = make_model(CONFIG_HERE)
    options = TrainOptions(batch_size=16, epochs=8, lr=5e-3, seed=seed, save_every=10**6)
    run_loop(folder, windows, model, options)
    examples = make_examples(100, seed=2)
    held_out = make_small_windows(examples)
    logits = predict_logits(model, held_out, torch.device("cpu"))
    decoded = decode_windows(logits, held_out)
    texts = {e.id: d.answer(np.inf) for e, d in zip(examples, decoded, strict=True)}
    exact, _ = raw_scores({e.id: [a.text for a in e.answers] for e in examples}, texts)
    return sum(exact.values()) / len(exact) * 100


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_rule_is_learnt_and_holds_for_unseen_texts(windows, tmp_path, seed):
    assert held_out_exact(windows, tmp_path / "run", seed) >= 90


def test_shuffled_labels_teach_nothing_that_holds_for_unseen_texts(windows, tmp_path):
    """The control: were answers leaking in any other way than by the labels, this would pass 30."""
    order = np.random.default_rng(0).permutation(len(windows))
    length = windows.lengths - 2  # the last context token
    shuffled = np.minimum(windows.start_positions[order], length)
    wrong = replace(windows, start_positions=shuffled, end_positions=shuffled)
    assert held_out_exact(wrong, tmp_path / "run", 0) <= 30
