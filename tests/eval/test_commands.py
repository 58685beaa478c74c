"""eval.answer, eval.predict and eval.squad as commands: what they say of what they were given."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from eval.answer import AskOptions
from eval.answerer import Answerer
from eval.predict import PredictOptions
from eval.squad import read_gold, score
from minibert import BertForQuestionAnswering
from tests.errors_table import sound_folder
from tests.forked import forked

WINDOW = ("--max-length", "32", "--doc-stride", "8")
LONG = "who " * 60


@pytest.fixture(scope="module")
def model() -> str:
    return str(sound_folder() / "model")


@pytest.fixture(scope="module")
def silent(model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same model with a threshold by which it answers "" to every question."""
    folder = tmp_path_factory.mktemp("silent") / "model"
    shutil.copytree(model, folder)
    settings = {"max_length": 32, "doc_stride": 8, "null_threshold": -1e9}
    (folder / "qa_settings.json").write_text(json.dumps(settings))
    return str(folder)


def answer(model: str, *words: object, stdin: str = "") -> tuple[int, str, str]:
    return forked("eval.answer", "--model", model, *words, stdin=stdin)


def write_squad(path: Path, *questions: dict[str, object], context: str = "the old river") -> Path:
    paragraphs = [{"context": context, "qas": list(questions)}]
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    return path


def predict(model: str, data: Path, out: Path, *words: object) -> tuple[int, str, str]:
    return forked(
        "eval.predict", "--model", model, "--data-file", data, "--output-dir", out, *words
    )


# --- data.windows


@pytest.mark.parametrize("settings", [None, {"max_length": 24, "doc_stride": 8}], ids=str)
@pytest.mark.parametrize("flags", [(), ("--max-length", 16, "--doc-step", 4)], ids=str)
def test_the_windows_that_are_shown_are_those_that_are_predicted(
    model: str, tmp_path: Path, settings: dict[str, int] | None, flags: tuple[object, ...]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    (folder / "qa_settings.json").unlink(missing_ok=True)
    if settings is not None:
        (folder / "qa_settings.json").write_text(json.dumps(settings))
    context = "the old river was named by anna " * 9
    questions = [{"id": f"q{n}", "question": "who " * n, "answers": []} for n in (1, 9, 30)]
    data = write_squad(tmp_path / "data.json", *questions, context=context)
    status, said, errors = predict(str(folder), data, tmp_path / "out", *flags)
    assert status == 0, errors
    wanted = said.split(" answered")[0].removeprefix("3 questions in ")
    status, shown, errors = forked("data.windows", data, "--model", folder, *flags)
    assert status == 0, errors
    assert f"\n  {wanted}; several for 3 questions\n" in shown
    length, step = (16, "step 4") if flags else (24, "stride 8") if settings else (40, "stride 13")
    assert shown.startswith(f"windows of {folder}: at most {length} tokens, {step}\n")


# --- eval.answer


def test_a_line_that_cannot_be_answered_keeps_its_id_and_tells_its_place(model: str) -> None:
    lines = [
        '{"id": "mine", "question": 7, "context": "the river"}',
        '{"id": 7.5}',
        '{"id": null, "question": "who ?"}',
        '{"id": ["no"], "question": "who ?", "context": "the river"}',
        "not json",
        '{"question": "who ?"}',
        '{"id": "good", "question": "who ?", "context": "the river"}',
    ]
    status, output, _ = answer(model, stdin="\n".join(lines))
    assert status == 2
    replies = [json.loads(line) for line in output.splitlines()]
    assert [reply["id"] for reply in replies] == ["mine", 7.5, None, 4, 5, 6, "good"]
    assert [reply.get("line") for reply in replies] == [1, 2, 3, 4, 5, 6, None]
    assert all(f"line {n} of" in reply["error"] for n, reply in enumerate(replies[:-1], 1))
    assert "error" not in replies[-1]


def test_a_cut_question_is_told_in_the_reply_and_on_stderr(model: str) -> None:
    asked = [{"question": question, "context": "the old river"} for question in ("who ?", LONG)]
    status, output, errors = answer(model, *WINDOW, stdin="\n".join(map(json.dumps, asked)))
    assert status == 0
    assert [json.loads(line)["question_cut"] for line in output.splitlines()] == [False, True]
    assert errors.startswith("warning: line 2: the question was cut to its first 20 tokens; see --")
    words = ("--context", "the river", "--json", "--max-question-length", "3")
    status, output, errors = answer(model, "--question", "who was anna ?", *words, *WINDOW)
    assert status == 0 and json.loads(output)["question_cut"]
    assert errors.startswith("warning: the question was cut to its first 3 tokens; see --max-")


def test_answers_have_the_length_that_is_asked_for(model: str) -> None:
    words = ("--question", "who ?", "--context", "the old river was named by anna", "--json")
    for length in (1, 3):
        flags = ("--max-answer-length", length, "--top", 1000, "--null-threshold", 1e9)
        reply = json.loads(answer(model, *words, *flags)[1])
        assert max(len(one["text"].split()) for one in reply["top"]) == length


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--top", "0"], "--top is 0, expected 1 to 1000"),
        (["--top", "1001"], "--top is 1001, expected 1 to 1000"),
        (["--threads", "-1"], "--threads is -1, expected 0 to 1024"),
        (["--threads", "9999999"], "--threads is 9999999, expected 0 to 1024"),
        (["--max-length", "41"], "--max-length 41 is more than the model's 40 positions"),
        (["--doc-step", "0"], "--doc-step is 0, expected at least 1"),
        (["--doc-stride", "-1"], "--doc-stride is -1, expected at least 0"),
        (["--doc-stride", "1", "--doc-step", "1"], "contradict each other; give one of them"),
        (["--max-answer-length", "0"], "--max-answer-length is 0, expected at least 1"),
        (
            ["--no-null-answer", "--null-threshold", "0"],
            "--no-null-answer and --null-threshold contradict each other; give one of them",
        ),
    ],
)
def test_flags_out_of_range_are_refused_by_both_commands(
    model: str, flags: list[str], said: str, tmp_path: Path
) -> None:
    words = ("--question", "who ?", "--context", "the river")
    both = [answer(model, *words, *flags)]
    data = write_squad(tmp_path / "d.json", {"id": "q", "question": "who ?", "answers": []})
    theirs = [flag.replace("--top", "--n-best") for flag in flags]
    both.append(predict(model, data, tmp_path / "out", *theirs))
    for status, _, errors in both:
        assert status == 2 and said in errors.replace("n-best", "top"), errors
        assert errors.count("\n") == 1


def test_without_the_null_answer_the_best_span_is_answered(silent: str) -> None:
    words = ("--question", "who ?", "--context", "the old river was named by anna", "--top", 3)
    status, output, _ = answer(silent, *words)
    lines = output.splitlines()
    assert status == 0 and lines[0] == "(no answer)" and lines[-1].endswith("  no answer")
    status, output, _ = answer(silent, *words, "--no-null-answer")
    assert status == 0 and output.splitlines()[1:] == lines[1:-1]
    assert lines[1].endswith(f"]  {output.splitlines()[0]}")
    asked = json.dumps({"question": "who ?", "context": "the old river"})
    said, off = (
        json.loads(answer(silent, *f, stdin=asked)[1]) for f in ((), ("--no-null-answer",))
    )
    assert said["answer"] == "" and off["answer"] == off["top"][0]["text"] != ""
    same = ("id", "null_score", "null_odds", "top")
    assert [said[name] for name in same] == [off[name] for name in same]


@pytest.mark.parametrize("options", [AskOptions, PredictOptions])
def test_the_number_of_threads_is_set_before_the_model_is_loaded(
    options: type, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    told: list[object] = []
    monkeypatch.setattr("torch.set_num_threads", told.append)
    monkeypatch.setattr(Answerer, "load", lambda *anything: told.append("load") or loaded)
    loaded = type("Loaded", (), {"with_settings": lambda self, **changes: self})()
    needed = {"data_file": "d", "output_dir": "o"} if options is PredictOptions else {}
    options(model=model, threads=3, **needed).load()
    options(model=model, **needed).load()
    assert told == [3, "load", "load"]


def test_a_model_in_evaluation_mode_is_not_walked_for_each_question(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eval.answer import answer_question

    answerer = Answerer.load(model, device="cpu")
    walked: list[bool] = []
    walk = BertForQuestionAnswering.train

    def seen(self: BertForQuestionAnswering, mode: bool = True) -> BertForQuestionAnswering:
        walked.append(mode)
        return walk(self, mode)

    monkeypatch.setattr(BertForQuestionAnswering, "train", seen)
    for _ in range(3):
        answer_question(answerer, "who ?", "the old river")
    assert walked == []
    answerer.model.train()
    answer_question(answerer, "who ?", "the old river")
    assert walked == [True, False] and not answerer.model.training


# --- eval.predict


def test_what_was_cut_or_repaired_is_counted_and_named(model: str, tmp_path: Path) -> None:
    context = "the old river was named by anna" + " and the" * 30
    data = write_squad(
        tmp_path / "d.json",
        {"id": "long", "question": LONG, "answers": [{"text": "old", "answer_start": 4}]},
        {"id": "off", "question": "?", "answers": [{"text": "river", "answer_start": 7}]},
        {"id": "blank", "question": "?", "answers": [{"text": " old ", "answer_start": 3}]},
        {"id": "part", "question": "?", "answers": [{"text": "iver", "answer_start": 9}]},
        {"id": "wide", "question": "?", "answers": [{"text": context[4:199], "answer_start": 4}]},
        {"id": "bare\n", "question": "?", "answers": []},
        context=context,
    )
    status, output, errors = predict(model, data, tmp_path / "out", *WINDOW)
    assert (status, errors) == (0, "")
    assert output.splitlines()[1:7] == [
        "lost answers: 1 (no window holds them, so they train as no answer): wide",
        "misaligned answers: 1 (they begin or end inside a token): part",
        "trimmed answers: 1 (white space at their edge is not labelled): blank",
        "cut questions: 1 (longer than --max-question-length or the room): long",
        "repaired answers: 1 (their offset was 1 or 2 characters off): off",
        "unmarked questions: 1 (without answers, so read as impossible): 'bare\\n'",
    ]


def test_only_a_file_whose_right_answers_are_known_is_scored(model: str, tmp_path: Path) -> None:
    asked = {"id": "q", "question": "who ?", "answers": []}
    marked = write_squad(tmp_path / "marked.json", {**asked, "is_impossible": True})
    assert predict(model, marked, tmp_path / "marked")[0] == 0
    metrics = json.loads((tmp_path / "marked" / "metrics.json").read_bytes())
    assert metrics["NoAns_total"] == metrics["total"] == 1
    assert "oracle_best_f1" in metrics and "no_null_f1" not in metrics  # of no question at all
    bare = write_squad(tmp_path / "bare.json", asked)
    assert predict(model, bare, tmp_path / "bare")[0] == 0
    assert not (tmp_path / "bare" / "metrics.json").exists()


def read(folder: Path, name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((folder / f"{name}.json").read_bytes())
    return values


def test_without_the_null_answer_every_question_gets_its_best_span(
    silent: str, tmp_path: Path
) -> None:
    dev, on, off = sound_folder() / "dev.json", tmp_path / "on", tmp_path / "off"
    assert predict(silent, dev, on)[0] == 0
    status, output, errors = predict(silent, dev, off, "--no-null-answer")
    assert (status, errors) == (0, "")
    assert set(read(on, "predictions").values()) == {""}
    answers, n_best = read(off, "predictions"), read(off, "nbest")
    assert list(answers) == list(read(on, "predictions"))
    assert answers == {i: entries[0]["text"] for i, entries in n_best.items()}
    assert all(entry["text"] for entries in n_best.values() for entry in entries)
    for name in ("null_odds", "na_probs"):
        assert read(off, name) == read(on, name)

    # Only questions that have an answer are scored: no other can be right.
    metrics, gold = read(off, "metrics"), read_gold(dev)
    answerable = {i: texts for i, texts in gold.items() if texts}
    assert 0 < len(answerable) < len(gold)
    several = read(on, "metrics")["multi_window_total"]
    assert list(metrics) == [
        *score(answerable, answers), "multi_window_f1", "multi_window_total", "loss",
    ]  # fmt: skip
    assert score(answerable, answers).items() <= metrics.items()
    assert 0 < metrics["multi_window_total"] < min(several, metrics["total"])
    assert metrics["loss"] == read(on, "metrics")["loss"]
    assert "null_threshold" not in output


def test_the_figures_without_the_null_answer_are_known_with_it_too(
    silent: str, tmp_path: Path
) -> None:
    dev, on, off = sound_folder() / "dev.json", tmp_path / "on", tmp_path / "off"
    assert predict(silent, dev, off, "--no-null-answer")[0] == 0
    middle = sorted(read(off, "null_odds").values())[11]
    for flags in (("--null-threshold", middle), ()):  # half of the answers are "", all are
        assert predict(silent, dev, on, *flags)[0] == 0
        answers, metrics = read(on, "predictions"), read(on, "metrics")
        names = ["multi_window_f1", "multi_window_total", "null_threshold", "no_null_exact"]
        best = ["best_exact", "best_exact_thresh", "best_f1", "best_f1_thresh"]
        assert list(metrics) == [
            *score(read_gold(dev), answers), *names, "no_null_f1",
            *(f"oracle_{name}" for name in best), "loss",
        ]  # fmt: skip
        assert list(answers.values()).count("") == (10 if flags else 22)
        assert metrics["no_null_exact"] == read(off, "metrics")["exact"]
        assert metrics["no_null_f1"] == read(off, "metrics")["f1"] > metrics["HasAns_f1"]


def test_without_the_null_answer_and_without_an_answerable_question_nothing_is_scored(
    model: str, tmp_path: Path
) -> None:
    data = write_squad(
        tmp_path / "d.json",
        {"id": "q", "question": "who ?", "answers": [], "is_impossible": True},
    )
    status, output, errors = predict(model, data, tmp_path / "out", "--no-null-answer")
    assert status == 0 and output.startswith("1 question in 1 window answered")
    assert errors == (
        f"warning: {data} has no question with an answer, so with --no-null-answer nothing is "
        "scored\n"
    )
    assert read(tmp_path / "out", "predictions")["q"]
    assert not (tmp_path / "out" / "metrics.json").exists()
    bare = write_squad(tmp_path / "bare.json", {"id": "q", "question": "who ?", "answers": []})
    status, _, errors = predict(model, bare, tmp_path / "bare", "--no-null-answer")
    assert (status, errors) == (0, "") and read(tmp_path / "bare", "predictions")["q"]


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_an_output_folder_that_is_a_file_costs_no_work(
    model: str, below: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file" / below
    status, _, errors = predict(model, tmp_path / "no-such-data.json", out)
    assert status == 2
    assert errors == (
        f"error: --output-dir {out} cannot be a folder: {tmp_path}/file is a file; give another "
        "name\n"
    )
    assert (tmp_path / "file").read_text() == "mine"


# --- eval.squad


@pytest.fixture
def scored(tmp_path: Path) -> list[str]:
    data = write_squad(tmp_path / "d.json", {"id": "q", "question": "who ?", "answers": []})
    (tmp_path / "p.json").write_text('{"q": ""}')
    return [str(data), str(tmp_path / "p.json")]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["-o", "DIR/no/m.json"], "-o DIR/no/m.json cannot be written: there is no folder DIR/no"),
        (["-o", "DIR"], "-o DIR is a folder; give the name of a file"),
        (
            ["-p", "DIR/d.json"],
            "-p DIR/d.json cannot be a folder: DIR/d.json is a file; give another name",
        ),
        (["-t", "nan"], "-t is nan, expected a number; nothing exceeds nan"),
        (
            ["--no-null-answer", "-n", "n.json"],
            "--no-null-answer and -n n.json contradict each other; give one of them",
        ),
        (
            ["--no-null-answer", "-t", "-0.5"],
            "--no-null-answer and -t contradict each other; give one of them",
        ),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_read(
    flags: list[str], said: str, tmp_path: Path, scored: list[str]
) -> None:
    scored[0] = str(tmp_path / "no-such-data.json")
    words = [word.replace("DIR", str(tmp_path)) for word in flags]
    status, output, errors = forked("eval.squad", *scored, *words)
    assert (status, output) == (2, "")
    assert errors == f"error: {said.replace('DIR', str(tmp_path))}\n"


def test_a_folder_for_pictures_without_probabilities_is_told_to_stay_empty(
    tmp_path: Path, scored: list[str]
) -> None:
    status, _, errors = forked("eval.squad", *scored, "-p", tmp_path / "pictures")
    assert status == 0
    assert errors == f"warning: -p {tmp_path}/pictures writes nothing without -n\n"
    assert not (tmp_path / "pictures").exists()


def test_an_id_is_printed_on_one_line(tmp_path: Path, scored: list[str]) -> None:
    write_squad(tmp_path / "d.json", {"id": "two\nlines", "question": "who ?", "answers": []})
    status, output, _ = forked("eval.squad", *scored)
    assert status == 2 and output == "Missing prediction for 'two\\nlines'\n"
