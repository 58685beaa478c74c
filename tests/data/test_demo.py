"""The demo's world: honest (disjoint names), learnable (shared pieces), and hard where it must be.

That a sound pipeline reaches the goals on it, and a broken one does not, is what
`python -m train.squad --demo` shows.
"""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data.demo import (
    DEMO_GOALS,
    DEMO_OPTIONS,
    NAMES,
    TOPICS,
    DemoFiles,
    split_names,
    write_demo,
)
from data.squad import Answer, SquadData, SquadExample, read_squad
from data.tokenization import Tokenizer
from data.tokenized_squad import tokenize_squad
from data.windows import Windows, make_windows
from minibert.hub import EMBEDDED_FOLDER

ROOT = Path(__file__).parents[2]
Splits = tuple[SquadData, SquadData]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> DemoFiles:
    """The demo of seed 0."""
    return write_demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def splits(files: DemoFiles) -> Splits:
    """Train and dev."""
    return read_squad(files.train), read_squad(files.dev)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """The embedded model's, which the demo trains."""
    return Tokenizer.from_folder(EMBEDDED_FOLDER)


def windows_of(split: SquadData, tokenizer: Tokenizer, doc_stride: int | None = None) -> Windows:
    """The windows that train.squad --demo makes, or those with another stride."""
    stride = int(DEMO_OPTIONS["doc_stride"]) if doc_stride is None else doc_stride
    return make_windows(
        tokenize_squad(split.examples, tokenizer),
        max_length=int(DEMO_OPTIONS["max_length"]),
        doc_stride=stride,
    )


def composed_words(split: SquadData) -> set[str]:
    """The names of towns, rivers and families in the file, each joined from two parts."""
    joined = {a + b for first, second in NAMES.values() for a in first for b in second}
    text = " ".join(f"{e.question} {e.context}" for e in split.examples)
    return joined & set(re.findall(r"[a-zà-ÿ]+", text.lower()))


def all_bytes(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes_in_another_process(
    files: DemoFiles, tmp_path: Path
) -> None:
    code = f"from data.demo import write_demo; write_demo({str(tmp_path)!r}, 0)"
    environment = os.environ | {"PYTHONHASHSEED": "4711"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=environment)
    first, second = all_bytes(files.train.parent), all_bytes(tmp_path)
    assert first == second
    assert list(first) == ["dev.json", "train.json"]


def test_another_seed_gives_another_world(files: DemoFiles, tmp_path: Path) -> None:
    assert write_demo(tmp_path, 1).dev.read_bytes() != files.dev.read_bytes()


def test_a_second_write_replaces_the_files(tmp_path: Path) -> None:
    first = write_demo(tmp_path, 0).dev.read_bytes()
    write_demo(tmp_path, 1)
    assert write_demo(tmp_path, 0).dev.read_bytes() == first


def test_every_record_is_sound_squad_v2(splits: Splits) -> None:
    for split in splits:
        assert split.has_impossible
        assert not split.repaired
        assert all(len(e.answers) == (not e.is_impossible) for e in split.examples)
        assert len({e.context for e in split.examples}) == len({e.title for e in split.examples})


def test_no_composed_name_of_dev_occurs_in_train(splits: Splits) -> None:
    train, dev = (composed_words(split) for split in splits)
    assert len(dev) > 150
    assert not train & dev
    for seed in range(5):
        for ours, theirs in zip(*(names.values() for names in split_names(seed)), strict=True):
            assert not set(ours) & set(theirs)


def test_no_token_is_unknown(splits: Splits, tokenizer: Tokenizer) -> None:
    texts = [e.question + e.context for split in splits for e in split.examples]
    assert not any(tokenizer.unk_id in ids for ids in tokenizer.encode(texts))


def test_exactly_the_questions_about_long_entries_need_several_windows(
    splits: Splits, tokenizer: Tokenizer
) -> None:
    for split in splits:
        counts = np.bincount(windows_of(split, tokenizer).example)
        several = [e.id.split("/")[1] == "long" for e in split.examples]
        assert (counts > 1).tolist() == several
        assert np.mean(several) >= 0.15


def test_the_demos_windows_label_every_answer_exactly(splits: Splits, tokenizer: Tokenizer) -> None:
    for split in splits:
        windows = windows_of(split, tokenizer)
        assert not windows.lost
        assert not windows.misaligned
        assert not windows.tokens.cut_questions


def test_without_overlap_many_answers_of_long_entries_fit_no_window(
    splits: Splits, tokenizer: Tokenizer
) -> None:
    for split in splits:
        lost = windows_of(split, tokenizer, doc_stride=0).lost
        answers = [e for e in split.examples if "/long/" in e.id and e.answers]
        assert len(lost) / len(answers) >= 0.2


def test_a_good_part_of_the_answers_lies_behind_the_first_window(
    splits: Splits, tokenizer: Tokenizer
) -> None:
    windows = windows_of(splits[1], tokenizer)
    first = np.r_[True, np.diff(windows.example) > 0]
    seen = set(windows.example[first & (windows.start_positions > 0)].tolist())
    long_answers = {i for i, e in enumerate(splits[1].examples) if "/long/" in e.id and e.answers}
    assert len(long_answers - seen) / len(long_answers) >= 0.4


def test_both_kinds_of_question_are_common_and_answers_differ_in_length(splits: Splits) -> None:
    for split in splits:
        answers = [e.answers[0].text for e in split.examples if e.answers]
        assert 0.4 <= len(answers) / len(split.examples) <= 0.6
        lengths = Counter(len(text.split()) for text in answers)
        assert set(lengths) >= {1, 2, 3, 4, 5, 6}
        assert sum(n for words, n in lengths.items() if words > 1) / len(answers) >= 0.6


def test_most_answers_are_followed_by_a_word_so_that_a_late_end_costs_f1(splits: Splits) -> None:
    ends = [e.context[e.answers[0].end :][0] for e in splits[1].examples if e.answers]
    assert ends.count(" ") / len(ends) >= 0.9


def test_an_impossible_question_asks_for_what_no_sentence_tells(splits: Splits) -> None:
    templates = [sentence for topic in TOPICS for sentence in topic]
    telling = {
        fact: [re.sub(r"\\{\w+\\}", ".+?", re.escape(s)) for s in templates if f"{{{fact}}}" in s]
        for fact in {e.id.rsplit("/", 1)[1] for e in splits[1].examples}
    }

    def tells(example: SquadExample) -> bool:
        sentences = re.split(r"(?<=\.) ", example.context)
        patterns = telling[example.id.rsplit("/", 1)[1]]
        return any(re.fullmatch(p, s) for p in patterns for s in sentences)

    assert all(tells(e) != e.is_impossible for split in splits for e in split.examples)


def test_many_impossible_questions_about_a_person_are_near_misses(splits: Splits) -> None:
    people = {"founder", "designer", "builder", "mayor"}
    deed = re.compile(
        r"\w (founded it|designed the|built its|is its mayor)|(by|been) [A-ZÅ]| has been its"
    )
    asks = [e for e in splits[1].examples if e.is_impossible and e.id.rsplit("/", 1)[1] in people]
    assert len(asks) > 100
    assert np.mean([bool(deed.search(e.context)) for e in asks]) >= 0.5


def test_entries_read_like_sentences(splits: Splits) -> None:
    for example in splits[1].examples:
        assert example.context.startswith(f"{example.title} is a ")
        assert not re.search(r"\ba [aeiou]|\s\s|\.\.|[{}]|\s[.,]", example.context)
        assert all(s[0].isupper() for s in re.split(r"(?<=\.) ", example.context))
        assert example.question.endswith("?")
        assert example.title in example.question


def test_every_answer_stands_behind_a_letter_of_two_bytes(splits: Splits) -> None:
    answered = [e for split in splits for e in split.examples if e.answers]
    assert not any(e.context[: e.answers[0].start].isascii() for e in answered)


def test_the_first_question_of_dev_has_an_answer_in_a_long_entry(splits: Splits) -> None:
    first = splits[1].examples[0]
    assert first.id.startswith("dev/long/")
    assert first.answers


def test_the_options_and_goals_are_ones_that_train_squad_knows() -> None:
    from eval.squad import score
    from train.squad_options import SquadOptions

    options = SquadOptions(**DEMO_OPTIONS)  # type: ignore[arg-type]
    assert options.max_length == DEMO_OPTIONS["max_length"]
    example = SquadExample("a", "", "?", "b", (), True)
    answered = SquadExample("c", "", "?", "b", (Answer("b", 0),), False)
    metrics = {*score([example, answered], {"a": "", "c": ""}), "multi_window_f1"}
    assert set(DEMO_GOALS) <= metrics
