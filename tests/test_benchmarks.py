"""The parts of benchmarks/ that decide; the measuring itself is run by hand."""

import json
import random
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import gpu
from benchmarks.ceiling import operations_a_token
from benchmarks.convert import (
    MIX,
    REASONS,
    as_original,
    check_counts,
    make_record,
    make_shard,
    read_shard,
)
from benchmarks.gpu_training import Clock, Setting
from benchmarks.inference import draw
from benchmarks.pretraining import Options, run_words, verdict
from benchmarks.timing import Row
from data.command import UsageError
from minibert.config import BertConfig
from tests.data.convert.little import converted, texts, write_lines
from train.squad_options import read_options


def test_pretraining_must_be_worth_a_third_and_stand_clear_of_the_seeds_noise() -> None:
    sentence, reached = verdict([9.0, 10.0, 11.0], [13.0, 14.0, 15.0])
    assert reached and "1.40x" in sentence and "4.0 pooled deviations" in sentence
    assert not verdict([9.0, 10.0, 11.0], [11.0, 12.0, 13.0])[1]  # too small a ratio
    sentence, reached = verdict([8.0, 10.0, 12.0], [9.0, 14.0, 19.0])  # too noisy
    assert not reached and sentence.endswith("MISSED")
    assert not verdict([13.0, 14.0, 15.0], [9.0, 10.0, 11.0])[1]
    assert verdict([10.0, 10.0], [14.0, 14.0])[1] and not verdict([14.0, 14.0], [10.0, 10.0])[1]


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


def test_a_token_of_bert_base_costs_what_its_matrices_say() -> None:
    config = BertConfig()
    alone = operations_a_token(config, np.array([1]))
    matrices = 12 * (4 * 768 * 768 + 2 * 768 * 3072)  # parameters of the linear layers
    assert alone == 2 * matrices + 12 * 4 * 768
    # a token of a long window has more partners, and long windows have more tokens
    mixed = operations_a_token(config, np.array([100, 300]))
    assert mixed == pytest.approx(2 * matrices + 12 * 4 * 768 * 250)


def test_rows_without_a_peer_and_with_a_least_value() -> None:
    fast = Row("speed", [0.8, 0.6, 0.9], unit="M tokens/s", least=0.7)
    slow = Row("speed", [0.6], unit="M tokens/s", least=0.7)
    assert fast.met and not slow.met
    assert fast.cells()[1:] == [
        "0.8 M tokens/s (0.6-0.9)", "", "", "3", "ours >= 0.7 M tokens/s", "met",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="zip"):
        _ = Row("time", [1.0, 2.0], [1.0]).ratios


def test_the_gpu_table_has_the_first_size_and_dtype_in_full(tmp_path: Path) -> None:
    def names(part: str) -> list[tuple[str, bool]]:
        made = gpu.settings(gpu.Options(), tmp_path, torch.device("cpu"), part)
        return [(setting.name, setting.compiled) for setting in made]

    base, half, large = (
        ("base, bfloat16", True),
        ("base, float16", False),
        ("large, bfloat16", False),
    )
    assert names("training") == [base, half, large]
    assert names("inference") == [base, large]
    assert names("steady") == names("attention") == [base]
    for values in ({"parts": "training,speed"}, {"sizes": "huge"}, {"rounds": 0}, {"seconds": 0.0}):
        with pytest.raises(UsageError):
            gpu.Options(**values)


def test_a_part_that_fails_on_a_gpu_is_tried_uncompiled_and_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(options: gpu.Options, part: str, setting: Setting) -> list[Row]:
        if setting.compiled or part == "attention":
            raise RuntimeError("no compiler")
        return [Row(f"{part}, {setting.name}", [1.0])]

    monkeypatch.setattr(gpu, "measure", measure)
    monkeypatch.setattr("benchmarks.workload.data_folder", Path)
    words = ["--device", "cpu", "--sizes", "base", "--dtypes", "bf16"]
    assert gpu.main(words) == 1
    said, errors = capsys.readouterr()
    for part in ("steady", "training", "inference"):
        assert f"| {part}, base, bfloat16" in said
        assert f"failed: {part}, base, bfloat16, compiled\n" in said
    assert "failed: attention, base, bfloat16\n" in said and "no compiler" in errors
    assert gpu.main([*words, "--no-compile", "--minutes", "1e-9"]) == 1
    assert "no time for steady, base, bfloat16\n" in capsys.readouterr().out
    assert gpu.main([*words, "--no-compile", "--parts", "steady,training"]) == 0


@pytest.mark.parametrize("count", [8, 20, 64])
def test_a_round_of_inference_has_as_many_windows_as_asked_for(count: int) -> None:
    chosen = draw(100, count, number=1)
    assert len(chosen) == count and 0 <= chosen.min() and chosen.max() < 100


def test_a_steady_training_counts_the_tokens_of_whole_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    clock = Clock(seconds=6.0, piece=2.0, device=torch.device("cpu"))
    while not clock.stop_requested:
        clock.log_update(0, 0, 0.0, 100, None)  # the first ten warm up
        now[0] += 0.5
    assert clock.pieces == [(2.0, 400)] * 3
