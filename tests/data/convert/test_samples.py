"""The authentic samples: every record was read beside its source; here are ids, offsets, counts."""

import json
from pathlib import Path
from typing import Any

import pytest

from data.squad import SquadData, read_squad
from tests.forked import forked

QA = {
    "nq": ["natural_questions/train_sample.jsonl", "natural_questions/dev_sample.jsonl"],
    "quac-train": ["quac/train_v0.2.json"],
    "quac-val": ["quac/val_v0.2.json"],
    "quac-allennlp": ["quac/allennlp_quac_sample.json"],
    "newsqa-json": ["newsqa/combined-json/combined-newsqa-data-v1.json"],
    "newsqa-split": ["newsqa/split_data"],
    "triviaqa-web-train": ["triviaqa/qa/web-train.json"],
    "triviaqa-web-dev": ["triviaqa/qa/web-dev.json"],
    "triviaqa-web-test": ["triviaqa/qa/web-test-without-answers.json"],
    "triviaqa-wikipedia-train": ["triviaqa/qa/wikipedia-train.json"],
    "triviaqa-wikipedia-dev": ["triviaqa/qa/wikipedia-dev.json"],
}
# read, kept, with answers, impossible, left out, repeated
COUNTS = {
    "nq": (2, 2, 1, 1, 0, 0),
    "quac-train": (39, 39, 35, 4, 0, 0),
    "quac-val": (41, 41, 31, 10, 0, 0),
    "quac-allennlp": (12, 6, 6, 0, 0, 6),
    "newsqa-json": (27, 23, 21, 2, 4, 0),
    "newsqa-split": (14, 14, 14, 0, 0, 0),
    "triviaqa-web-train": (7, 7, 4, 3, 0, 0),
    "triviaqa-web-dev": (6, 6, 2, 4, 0, 0),
    "triviaqa-web-test": (6, 6, 0, 0, 0, 0),
    "triviaqa-wikipedia-train": (2, 2, 0, 2, 0, 0),
    "triviaqa-wikipedia-dev": (1, 1, 0, 1, 0, 0),
}


def convert(name: str, inputs: list[Path], out: Path) -> tuple[SquadData, dict[str, Any]]:
    status, _, errors = forked("data.convert", name.split("-")[0], *inputs, "--out", out)
    assert status == 0, errors
    return read_squad(out), json.loads(out.with_name("out.audit.json").read_bytes())


def places(data: SquadData) -> dict[str, list[tuple[int, int]]]:
    """Id -> first character and length of every answer."""
    return {
        example.id: [(answer.start, len(answer.text)) for answer in example.answers]
        for example in data.examples
    }


@pytest.mark.parametrize("name", QA)
def test_every_record_of_the_samples_is_accounted_for(
    name: str, real_data: Path, tmp_path: Path
) -> None:
    data, audit = convert(
        name, [real_data / "qa" / file for file in QA[name]], tmp_path / "out.json"
    )
    records = audit["records"]
    keys = ("read", "kept", "answerable", "impossible", "left_out", "repeated")
    assert tuple(records[key] for key in keys) == COUNTS[name]
    assert records["dropped"] == 0 and len(data.examples) == records["kept"]
    assert audit["noted"]["answers that begin or end inside a word"]["count"] == 0
    assert data.repaired == data.unmarked == []
    assert all("CANNOTANSWER" not in example.context for example in data.examples)
    found = places(data)
    for identifier, expected in PLACES.get(name, {}).items():
        assert found[identifier] == expected, identifier


def test_a_test_set_is_not_mixed_with_questions_whose_answers_are_told(
    real_data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.json"
    words = ("triviaqa", real_data / "qa" / "triviaqa" / "qa", "--out", out)
    status, _, errors = forked("data.convert", *words)
    assert status == 2 and not out.exists()
    assert errors.splitlines()[-1].startswith(
        "error: 6 of the 19 questions come without their answers (a test set: "
        "web-test-without-answers.json, wikipedia-test-without-answers.json)"
    )


STORY = "42d01e187213e86f5fe617fe32e716ff7fa3afc4"
SECTION = "C_5ab583f64dbb47b995cf59328ea0af43_1"
PLACES = {
    "nq": {"-8062182676792486818": [], "5328212470870865242": [(0, 15)]},
    "quac-val": {
        f"{SECTION}_q#0": [(0, 52), (0, 40)],
        f"{SECTION}_q#1": [(92, 49), (104, 37), (80, 61), (122, 19)],
        f"{SECTION}_q#2": [],
        f"{SECTION}_q#6": [(950, 41)],
    },
    "quac-train": {"C_69758fcdfc1f46baba0e92c0f3b0919c_1_q#0": [(51, 111)]},
    "newsqa-json": {
        f"{STORY}#0": [(294, 2)],
        f"{STORY}#1": [(261, 9)],
        f"{STORY}#2": [(624, 15)],
        f"{STORY}#3": [(195, 22)],
        "c48228a52f26aca65c31fad273e66164f047f292#8": [],
        "c65ed85800e4535f4bbbfa2c34d7d9630358d303#3": [],
    },
    "newsqa-split": {
        f"{STORY}#0": [(305, 2)],
        "cdce0e76fa78b37264f26732b8eec87a6bff0aa4#0": [(19, 10)],
        "4566e90ca5e65f0323c41319030ca4349357cd67#0": [(1268, 4)],
        "da3d0f2cb9904fc604d7ea17ecd559e76515206b#0": [(381, 46)],
    },
    "triviaqa-web-train": {
        "tc_1--46/46_46.txt": [(70, 14)],
        "tc_1--194/194_50.txt": [(181, 14)],
        "tc_3--England.txt": [],
        "tc_3--100/100_1957043.txt": [(86, 13), (86, 4)],
        "tc_3--109/109_2592361.txt": [(28, 12), (28, 4)],
    },
    "triviaqa-web-dev": {"tc_2--10/10_99.txt": [(90, 13)], "tc_33--46/46_996.txt": []},
    "triviaqa-web-test": {"tc_7--157/157_2866330.txt": [], "tc_436--Bible.txt": []},
}


def test_the_csv_sample_is_cut_short_and_said_so_and_whole_it_agrees_with_the_json(
    real_data: Path, tmp_path: Path
) -> None:
    sample = real_data / "qa/newsqa/combined-csv/combined-newsqa-data-v1.csv"
    status, _, errors = forked("data.convert", "newsqa", sample, "--out", tmp_path / "out.json")
    assert status == 2 and f"{sample}: line 2 begins a row that is not csv" in errors
    assert list(tmp_path.iterdir()) == []
    whole = tmp_path / "whole.csv"
    whole.write_bytes(sample.read_bytes() + b'"\n')
    data, _ = convert("newsqa", [whole], tmp_path / "out.json")
    assert places(data) == {f"{STORY}#0": [(294, 2)]}


def test_the_windows_of_every_output_can_be_made(real_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    convert("quac-val", [real_data / "qa/quac/val_v0.2.json"], out)
    status, output, errors = forked("data.windows", "--data-file", out, "--model", "embedded")
    assert (status, errors) == (0, "") and "41 questions, 10 of them impossible" in output
    assert "repaired answers: 0" in output and "lost answers: 0" in output
