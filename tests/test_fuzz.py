"""20,000 damaged inputs: each is read, or refused in one sentence of ours, in little memory.

python -m tests.test_fuzz            # the same inputs, with a table of what became of them
python -m tests.test_fuzz 10         # ten times as many, for a long night
"""

import contextlib
import io
import json
import os
import random
import resource
import sys
import tempfile
import time
import traceback
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save, save_file

from data.cleaning import RECIPES
from data.qa_settings import QASettings, make_example_windows
from data.squad import SquadExample, read_squad
from data.tokenization import Tokenizer
from data.tokenizer_files import read_vocabulary
from data.tweets import read_tweets
from data.windows import Windows
from eval.answer import _answer_lines
from eval.spans import Decoded
from eval.squad import main as score_command
from minibert import BertConfig
from minibert.safetensors_file import read_safetensors
from minibert.strict_json import parse_object, read_object
from minibert.weights import read_tensors
from tests.answers import random_answers
from tests.mutations import mutate_json, mutate_lines, mutate_safetensors
from tests.reliability import figure

ROOT = Path(__file__).parents[1]
OURS = tuple(str(ROOT / package) + os.sep for package in ("minibert", "data", "eval", "train"))
MEMORY_DISK = "/dev/shm" if os.path.isdir("/dev/shm") else None
LONGEST_MESSAGE = 700  # characters, the path included
# Memory may be ten times the input, beside a reader's own modest needs. Input that is mostly
# brackets needs more, which is Python's: the dict of '{"a":' alone takes 232 bytes for those 5. How
# much at most is measured below, by MEMORY_HOSTILE.
MEMORY_FACTOR, MEMORY_FLOOR, MEMORY_BRACKET = 10, 1_000_000, 300

TOKENS = "[PAD] [UNK] [CLS] [SEP] [MASK] who old the town river ##s a b . ?".split()
VOCABULARY = {token: i for i, token in enumerate(TOKENS)}
VOCAB_TXT = "".join(f"{token}\n" for token in TOKENS).encode()
TOKENIZER = Tokenizer(VOCABULARY, lowercase=True)
CONTEXT = "The old town.\nThe river s \U0001f600 town, a\u0301 b."
SQUAD = {
    "version": "v2.0",
    "data": [
        {
            "title": "Towns",
            "paragraphs": [
                {
                    "context": CONTEXT,
                    "qas": [
                        {
                            "id": "q1",
                            "question": "Who?",
                            "answers": [
                                {"text": "old town", "answer_start": 4},
                                {"text": "The old", "answer_start": 0},
                            ],
                            "is_impossible": False,
                        },
                        {"id": "q2", "question": "a?", "answers": [], "is_impossible": True},
                    ],
                },
                {"context": "A town", "qas": [{"id": "q3", "question": "b", "answers": []}]},
            ],
        }
    ],
}
TOKENIZER_JSON = {
    "version": "1.0",
    "added_tokens": [{"id": 0, "content": "[PAD]", "special": True}],
    "normalizer": {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": True,
        "strip_accents": None,
        "lowercase": True,
    },
    "pre_tokenizer": {"type": "BertPreTokenizer"},
    "model": {
        "type": "WordPiece",
        "unk_token": "[UNK]",
        "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100,
        "vocab": VOCABULARY,
    },
}
TOKENIZER_CONFIG = {
    "tokenizer_class": "BertTokenizer",
    "do_lower_case": True,
    "strip_accents": None,
    "tokenize_chinese_chars": True,
    "model_max_length": 64,
}
CONFIG = json.loads((ROOT / "tests/golden/bert/config.json").read_text())
SETTINGS = {
    "max_length": 16,
    "doc_stride": 3,
    "doc_step": None,
    "max_question_length": 5,
    "max_answer_length": 4,
    "null_threshold": -0.5,
}
TENSORS = {
    "first": torch.arange(6.0).view(2, 3),
    "second": torch.arange(4).to(torch.int32),
}
INDEX = {
    "metadata": {"total_size": 40},
    "weight_map": {"first": "a.safetensors", "second": "b.safetensors"},
}
LINE = {"id": "a", "question": "Who?", "context": CONTEXT}
TWEETS_CSV = (
    ',Tweet,label\r\n0,"so, ""good""\n😀 &amp; #FluShot",1\r\n1,5" of @anna,0\r\n'
    '2,RT @bert: http://t.co/x,2\r\n\r\n3,"caf\xe9",1\r\n'
).encode()
TWEETS_JSON = b'{"text": "a", "label": 1}\n{"text": "[SEP] b", "label": "x", "id": [0]}\n'


class RandomAnswerer:
    """In the place of a model, for eval.answer."""

    null_threshold = 0.0

    settings = QASettings(**SETTINGS)

    def decode(
        self, examples: list[SquadExample], n_best: int
    ) -> tuple[Windows, list[Decoded], float]:
        windows = make_example_windows(examples, TOKENIZER, self.settings)
        return windows, random_answers(examples, TOKENIZER, self.settings), 0.0


# --- readers: each takes the damaged file's path; what it accepts must be usable


def use_squad(path: Path) -> None:
    examples = read_squad(path).examples
    for example in examples:
        for answer in example.answers:
            assert example.context[answer.start : answer.end] == answer.text
    random_answers(
        examples[:3], TOKENIZER, QASettings(**SETTINGS)
    )  # the memory is the reader's own


def use_gold(path: Path) -> None:
    score_command([str(path), str(path.with_name("sound.json"))])


def use_predictions(path: Path) -> None:
    score_command([str(path.with_name("gold.json")), str(path)])


def use_na_probs(path: Path) -> None:
    folder = path.parent
    words = [str(folder / "gold.json"), str(folder / "sound.json"), "-n", str(path)]
    score_command([*words, "-o", str(folder / "metrics.json")])
    strict(json.loads((folder / "metrics.json").read_bytes(), parse_constant=strict))


def use_lines(path: Path) -> None:
    """Nothing may come out at all: a wrong line is answered in its place."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), path.open("rb") as lines:
        status = _answer_lines(RandomAnswerer(), lines, 1)  # type: ignore[arg-type]
    replies = [
        json.loads(line, parse_constant=strict) for line in output.getvalue().split("\n")[:-1]
    ]
    errors = [reply["error"] for reply in replies if "error" in reply]
    assert (status == 2) == bool(errors)
    for error in errors:
        assert error.startswith("line ") and "\n" not in error and len(error) < LONGEST_MESSAGE
    if errors:
        raise AssertedError(errors[0])


class AssertedError(Exception):
    """A reply that says what is wrong with a line, already checked."""


def strict(value: Any) -> Any:
    assert value not in ("NaN", "Infinity", "-Infinity"), f"{value} is not JSON"
    return value


def use_tweets(path: Path) -> None:
    tweets = read_tweets(path)
    assert len(tweets) == len(tweets.labels) == len(tweets.lines) == tweets.counts.sum()
    assert all(tweets.texts) and tweets.lines.max() <= len(path.read_bytes())
    assert len(RECIPES["light"].clean(tweets.texts)) == len(tweets)


def use_tokenizer(path: Path) -> None:
    tokenizer = Tokenizer.from_folder(path.parent)
    text = "The \ud800 towns, [SEP]" + "x" * 101
    pieces = tokenizer.encode_with_offsets([text])
    assert (pieces.char_starts < pieces.char_ends).all() and pieces.char_ends.max() <= len(text)
    assert pieces.ids.max() < tokenizer.vocab_size


def use_config(path: Path) -> None:
    config = BertConfig.from_file(path)
    assert BertConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def use_settings(path: Path) -> None:
    settings = QASettings.from_folder(path.parent, 40)
    try:
        random_answers([SquadExample("q", "", "Who?", CONTEXT, (), True)], TOKENIZER, settings)
    except ValueError as error:  # a stride that leaves no room, which is the windows' sentence
        assert "--max-length" in str(error)


def use_safetensors(path: Path) -> None:
    for tensor in read_safetensors(path).values():
        assert tensor.numel() * tensor.element_size() <= path.stat().st_size


def use_index(path: Path) -> None:
    read_tensors(path.parent)


@dataclass(frozen=True)
class Kind:
    """One format.

    Attributes:
        count: damaged inputs made of it.
        file: the damaged file's name.
        mutate: the generator -> its content.
        use: reads it.
        prepare: writes the sound files beside it.
    """

    count: int
    file: str
    mutate: Callable[[random.Random], bytes]
    use: Callable[[Path], None]
    prepare: Callable[[Path], object] = lambda folder: None


def damaged(document: Any) -> Callable[[random.Random], bytes]:
    return lambda generator: mutate_json(document, generator)


def damaged_lines(generator: random.Random) -> bytes:
    sound = json.dumps(LINE).encode() + b"\n"
    return mutate_json(LINE, generator) + (b"\n" + sound) * (generator.random() < 0.1)


def damaged_tweets(generator: random.Random) -> bytes:
    return mutate_lines(generator.choice([TWEETS_CSV, TWEETS_JSON]), generator)


def write_scores(folder: Path) -> None:
    (folder / "gold.json").write_text(json.dumps(SQUAD))
    (folder / "sound.json").write_text(json.dumps(PREDICTIONS))


def write_shards(folder: Path) -> None:
    save_file({"first": TENSORS["first"]}, folder / "a.safetensors")
    save_file({"second": TENSORS["second"]}, folder / "b.safetensors")


def write_vocabulary(folder: Path) -> None:
    (folder / "vocab.txt").write_bytes(VOCAB_TXT)


PREDICTIONS = {"q1": "old town", "q2": "", "q3": "the", "other": "\ud800"}
NA_PROBS = {"q1": 0.25, "q2": 1, "q3": 1e-9}
SAFETENSORS = save(TENSORS, {"format": "pt"})
KINDS = {
    "SQuAD": Kind(2000, "squad.json", damaged(SQUAD), use_squad),
    "gold": Kind(1500, "data.json", damaged(SQUAD), use_gold, write_scores),
    "predictions": Kind(2000, "p.json", damaged(PREDICTIONS), use_predictions, write_scores),
    "na-probs": Kind(1500, "n.json", damaged(NA_PROBS), use_na_probs, write_scores),
    "JSON lines": Kind(2000, "lines.jsonl", damaged_lines, use_lines),
    "tweets": Kind(1000, "tweets.csv", damaged_tweets, use_tweets),
    "vocab.txt": Kind(1500, "vocab.txt", lambda g: mutate_lines(VOCAB_TXT, g), use_tokenizer),
    "tokenizer.json": Kind(2000, "tokenizer.json", damaged(TOKENIZER_JSON), use_tokenizer),
    "tokenizer_config.json": Kind(
        1000, "tokenizer_config.json", damaged(TOKENIZER_CONFIG), use_tokenizer, write_vocabulary
    ),
    "config.json": Kind(1500, "config.json", damaged(CONFIG), use_config),
    "qa_settings.json": Kind(1000, "qa_settings.json", damaged(SETTINGS), use_settings),
    "safetensors": Kind(
        2000, "m.safetensors", lambda g: mutate_safetensors(SAFETENSORS, g), use_safetensors
    ),
    "safetensors index": Kind(
        1000, "model.safetensors.index.json", damaged(INDEX), use_index, write_shards
    ),
}


def check_refusal(error: BaseException, path: Path) -> None:
    """A sentence of ours that names the file; or the file system itself failed."""
    message = str(error)
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    ours = place is not None and place.tb_frame.f_code.co_filename.startswith(OURS)
    if not isinstance(error, OSError) and not (ours and isinstance(error, ValueError)):
        pytest.fail("not our words: " + "".join(traceback.format_exception(error))[-3000:])
    assert "\n" not in message and message.isprintable(), repr(message)
    assert len(message) < LONGEST_MESSAGE, message[:2000]
    assert str(path.parent) in message, message


def run_kind(name: str, folder: Path, factor: int = 1) -> tuple[int, int]:
    """Try every input of a kind; returns how many were read and refused."""
    kind = KINDS[name]
    generator = random.Random(name)
    path = folder / kind.file
    kind.prepare(folder)
    read = refused = 0
    silence = contextlib.redirect_stdout(io.StringIO())
    with warnings.catch_warnings(), silence:
        warnings.simplefilter("ignore")
        tracemalloc.start()
        try:
            for _ in range(kind.count * factor):
                content = kind.mutate(generator)
                path.write_bytes(content)
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
                try:
                    kind.use(path)
                    read += 1
                except AssertedError:
                    refused += 1
                except Exception as error:
                    check_refusal(error, path)
                    refused += 1
                used = tracemalloc.get_traced_memory()[1] - before
                brackets = content.count(b"{") + content.count(b"[")
                allowed = MEMORY_FACTOR * len(content) + MEMORY_BRACKET * brackets + MEMORY_FLOOR
                assert used <= allowed, (used, len(content), brackets)
        finally:
            tracemalloc.stop()
    return read, refused


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where that can be: twenty thousand files are slow to write on a disk."""
    with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as place:
        yield Path(place)


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_input_is_read_or_refused_in_one_sentence_of_ours(
    name: str, folder: Path
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    read, refused = run_kind(name, folder)
    assert read + refused == KINDS[name].count
    assert min(read, refused) > KINDS[name].count // 20, (read, refused)
    # tracemalloc does not see what torch, tokenizers and safetensors allocate
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100_000, f"{grown} kB"
    print(f"{name}: {read} read, {refused} refused, {time.perf_counter() - begin:.1f} s")


@pytest.mark.parametrize(
    ("name", "read", "factor"),
    [
        ("squad/dev-v1.1.json", read_squad, 6),
        ("squad/dev-v2.0.json", read_squad, 6),
        ("tweets/vaccine_train_set.csv", read_tweets, 6),
        ("squad/predictions/dev-v2.0-hostile.json", lambda path: read_object(path, ""), 10),
        # seven bytes of a file for a Python string, its number and its place among the others
        ("vocab/bert-base-cased-vocab.txt", read_vocabulary, 20),
    ],
)
def test_reading_a_real_file_takes_few_times_its_size(
    name: str, read: Callable[[Path], object], factor: int, real_data: Path
) -> None:
    path = real_data / name
    tracemalloc.start()
    try:
        kept = read(path)
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert kept and used <= factor * path.stat().st_size, used / path.stat().st_size


MEMORY_HOSTILE = 50  # times its size, for JSON of whatever shape; the worst known takes 46
SHAPES = {
    "empty lists": "[]",
    "empty objects": "{}",
    "small objects": '{"":0}',
    "nested objects": '{"":{"":{"":{"":0}}}}',
    "nested lists": "[[[[[[0]]]]]]",
    "lists a hundred deep": "[" * 100 + "]" * 100,
    "objects a hundred deep": '{"":' * 100 + "0" + "}" * 100,
    "short texts": '"aa"',
    "numbers": "0.1",
}


@pytest.mark.parametrize("shape", [*SHAPES, "keys"])
def test_json_of_any_shape_takes_at_most_fifty_times_its_size(shape: str) -> None:
    """Not ten times: what Python makes of a pair of brackets is larger than that, and to count
    brackets first would refuse good files whose texts are full of them."""
    items = [f'"{number:x}":0' for number in range(30_000)]
    if shape in SHAPES:
        items = ['"a":[' + ",".join([SHAPES[shape]] * (400_000 // len(SHAPES[shape]))) + "]"]
    content = f"{{{','.join(items)}}}".encode()
    tracemalloc.start()
    try:
        assert parse_object(content)
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    print(f"{shape}: {used / len(content):.1f}")
    assert used <= MEMORY_HOSTILE * len(content), used / len(content)


def test_twenty_thousand_inputs_are_tried() -> None:
    assert sum(kind.count for kind in KINDS.values()) == 20_000
    figure("D7", f"20,000 damaged inputs of {len(KINDS)} kinds")


if __name__ == "__main__":
    torch.set_num_threads(1)
    factor = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    print(f"{'input':24}{'tried':>8}{'read':>8}{'refused':>8}{'seconds':>8}")
    whole = time.perf_counter()
    for one in KINDS:
        with tempfile.TemporaryDirectory(dir=MEMORY_DISK) as place:
            moment = time.perf_counter()
            accepted, rejected = run_kind(one, Path(place), factor)
            spent = time.perf_counter() - moment
        print(f"{one:24}{accepted + rejected:8}{accepted:8}{rejected:8}{spent:8.1f}")
    tried = factor * sum(kind.count for kind in KINDS.values())
    print(f"{tried:,} inputs in {time.perf_counter() - whole:.1f} s")
