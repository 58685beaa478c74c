"""The parts of benchmarks/ that decide; the measuring itself is run by hand."""

import json
import random
from pathlib import Path

import pytest

from benchmarks.convert import (
    MIX,
    REASONS,
    as_original,
    check_counts,
    make_record,
    make_shard,
    read_shard,
)
from benchmarks.pretraining import Options, mean_and_deviation, run_words, verdict
from data.command import UsageError
from tests.data.convert.little import converted, texts, write_lines
from train.squad_options import read_options


def test_pretraining_must_be_worth_a_third_and_stand_clear_of_the_seeds_noise() -> None:
    sentence, reached = verdict([9.0, 10.0, 11.0], [13.0, 14.0, 15.0])
    assert reached and "1.40x" in sentence and "4.0 pooled deviations" in sentence
    assert not verdict([9.0, 10.0, 11.0], [11.0, 12.0, 13.0])[1]  # too small a ratio
    sentence, reached = verdict([8.0, 10.0, 12.0], [9.0, 14.0, 19.0])  # too noisy
    assert not reached and sentence.endswith("MISSED")
    assert not verdict([13.0, 14.0, 15.0], [9.0, 10.0, 11.0])[1]


def test_means_are_shown_with_their_deviation_where_there_is_one() -> None:
    assert mean_and_deviation([1.0, 2.0, 3.0]) == "2.00 +- 1.00"
    assert mean_and_deviation([1.5]) == "1.50"


@pytest.mark.parametrize("side", ["--model", "--from-scratch"])
def test_both_sides_are_commands_that_train_squad_takes(side: str) -> None:
    options = read_options([*run_words(Options(demo=True)), side, "embedded"])
    assert (options.demo, options.updates, options.seed) == (True, 60, 0)
    assert (options.from_scratch == "embedded") == (side == "--from-scratch")


def test_options_that_mean_nothing_are_refused() -> None:
    for values in ({"jobs": 0}, {"seeds": -1}, {"demo": True, "data": "somewhere"}):
        with pytest.raises(UsageError):
            Options(**values)  # type: ignore[arg-type]


SENTENCES = [["word"] * (3 + number) for number in range(12)]


def test_the_synthetic_questions_have_the_mix_that_the_benchmark_compares_with(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.jsonl.gz"
    records, _ = make_shard(path, "simplified", 1, 3, SENTENCES)
    assert read_shard(path) == records == 100
    passages, tally = converted("nq", path)
    found = texts(passages)
    assert len(found) == tally.read == 100 and tally.dropped == {}
    said = [answer for answer in found.values() if isinstance(answer, str)]
    counts = {kind: said.count(reason) for kind, reason in REASONS.items()}
    assert counts | {"short": 100 - len(said)} == MIX
    audit = {
        "records": {"kept": 100, "answerable": 35},
        "impossible": {reason: {"count": MIX[kind]} for kind, reason in REASONS.items()},
    }
    check_counts(audit, 100)
    audit["records"]["answerable"] = 34
    with pytest.raises(RuntimeError, match="the mix is"):
        check_counts(audit, 100)


def test_both_layouts_of_the_synthetic_questions_are_the_same_questions(tmp_path: Path) -> None:
    generator, lines = random.Random(0), [" ".join(words) for words in SENTENCES]
    records = [
        make_record(generator, lines, [len(words) for words in SENTENCES], kind, number)
        for number, kind in enumerate(["short", "long", "none", "yes or no"] * 3)
    ]
    simplified = converted("nq", write_lines(tmp_path / "a", *records))
    copies = json.loads(json.dumps(records))
    original = converted("nq", write_lines(tmp_path / "b", *map(as_original, copies)))
    assert texts(original[0]) == texts(simplified[0]) and len(texts(original[0])) == 12
    assert [p.context for p in original[0]] == [p.context for p in simplified[0]]
