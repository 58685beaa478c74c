"""The page of eval.explain: its figures are the model's, its text stays text, it needs nothing."""

import base64
import hashlib
import itertools
import json
import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from data.batches import collate
from data.qa_settings import make_example_windows
from data.squad import SquadExample, read_squad
from eval import explanation
from eval.answer import answer_one
from eval.answerer import Answerer, predict_logits
from eval.attribution import head_ablation, span_lens
from eval.explain import TEMPLATE, render
from eval.explanation import explain, pack_attention
from eval.prediction_files import n_best_entries
from minibert import BertConfig, BertForQuestionAnswering
from minibert.trace import record
from tests.browser import Browser, find_browser, open_browser
from tests.errors_table import sound_folder
from tests.forked import forked
from tests.train.little import CONFIG

HOSTILE = (
    "</script><script>document.title='owned'</script> <!-- \"who\" 'was' <img src=x "
    "onerror=alert(1)> &lt; {{VALUES}} \U0001f3f0\U0001f600 \u202eevil\u202c \u0000\u0007 "
    "\u2028\u2029 \u0645\u0631\u062d\u0628\u0627 \u05e9\u05dc\u05d5\u05dd \ud800 "
)
WINDOW = ("--max-length", "32", "--doc-stride", "8")


@pytest.fixture(scope="module")
def answerer() -> Answerer:
    loaded = Answerer.load(str(sound_folder() / "model"), device="cpu")
    return loaded.with_settings(max_length=32, doc_stride=8)


@pytest.fixture(scope="module")
def example() -> SquadExample:
    """A question with an answer whose context takes several windows."""
    examples = read_squad(sound_folder() / "dev.json").examples
    return max((one for one in examples if one.answers), key=lambda one: len(one.context))


@pytest.fixture(scope="module")
def values(answerer: Answerer, example: SquadExample) -> dict[str, Any]:
    made = explain(answerer, example, threshold=0.0, is_known=True, steps=8)
    made["model"]["name"], made["file"] = "model", "dev.json"
    return made


@pytest.fixture(scope="module", params=[False, True], ids=["question-first", "context-first"])
def in_layout(request: pytest.FixtureRequest, answerer: Answerer) -> Answerer:
    """The model with windows of either layout."""
    return answerer.with_settings(context_first=request.param)


@pytest.fixture(scope="module")
def laid_out(in_layout: Answerer, example: SquadExample) -> dict[str, Any]:
    """The page's values in that layout, looking into the last window, which is the shortest."""
    last = len(in_layout.windows([example])) - 1
    made = explain(in_layout, example, threshold=0.0, is_known=True, window=last, steps=2)
    made["model"]["name"], made["file"] = "model", "dev.json"
    return made


@pytest.fixture(scope="module")
def hostile(answerer: Answerer) -> dict[str, Any]:
    context = (
        f"the old river {HOSTILE} {'x' * 10_000} was named by anna . {HOSTILE} the town . " * 2
    )
    example = SquadExample(HOSTILE, HOSTILE, f"who {HOSTILE} {'w' * 10_000}", context, (), True)
    made = explain(answerer, example, threshold=0.0, is_known=True, steps=2)
    made["model"]["name"] = made["file"] = HOSTILE
    return made


def numbers(text: str, dtype: Any) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), dtype)


# --- figures


def test_the_scores_and_windows_of_the_page_are_those_of_the_model(
    values: dict[str, Any], answerer: Answerer, example: SquadExample
) -> None:
    windows = make_example_windows([example], answerer.tokenizer, answerer.settings)
    logits = predict_logits(answerer.model, windows, answerer.device)
    assert np.array_equal(numbers(values["start_logits"], "<f4"), logits.start_logits)
    assert np.array_equal(numbers(values["end_logits"], "<f4"), logits.end_logits)
    assert len(values["windows"]) == len(windows) > 1
    starts, ends = (numbers(values[name], "<i4") for name in ("char_starts", "char_ends"))
    for w, window in enumerate(values["windows"]):
        label = windows.start_positions[w], windows.end_positions[w]
        assert tuple(window["label"]) == label
        assert (window["start"], window["count"]) == (windows.start[w], windows.count[w])
        assert window["length"] == windows.lengths[w]
        assert window["characters"][0] == starts[window["start"]]
        assert window["characters"][1] == ends[window["start"] + window["count"] - 1]
        if label != (0, 0):
            shift = window["start"] - window["first"]
            answer = example.context[starts[label[0] + shift] : ends[label[1] + shift]]
            assert answer == example.answers[0].text
    assert any(window["label"] != [0, 0] for window in values["windows"])
    assert any(window["label"] == [0, 0] for window in values["windows"])


def test_the_best_spans_are_those_of_the_answering_command(
    values: dict[str, Any], answerer: Answerer, example: SquadExample
) -> None:
    decoded, _ = answer_one(answerer, example.question, example.context, 20)
    names = ("text", "probability", "start", "end", "start_logit", "end_logit")
    listed = [{name: span[name] for name in names} for span in values["spans"]]
    assert listed == n_best_entries(decoded)
    assert values["answer"] == decoded.answer(0.0)
    assert (values["null_score"], values["null_odds"]) == (decoded.null_score, decoded.null_odds)
    starts, ends = (numbers(values[name], "<i4") for name in ("char_starts", "char_ends"))
    for span in values["spans"]:
        if span["start"] is None:
            assert span["text"] == ""
            continue
        window = values["windows"][span["window"]]
        shift = window["start"] - window["first"]
        assert starts[span["first"] + shift] == span["start"]
        assert ends[span["last"] + shift] == span["end"]
        logit = numbers(values["start_logits"], "<f4")[window["offset"] + span["first"]]
        assert logit == np.float32(span["start_logit"])
        assert span["score"] <= window["score"] + 1e-6


def probs_in(answerer: Answerer, example: SquadExample, w: int) -> NDArray[Any]:
    """(L, H, T, T) attention in one window of an example."""
    encoder = answerer.model.encoder
    batch = collate(answerer.windows([example]), np.array([w])).packed
    encoder.use_explicit_attention()
    with torch.no_grad(), record(answerer.model, "encoder.layers.*.attention.core.probs") as seen:
        answerer.model(batch)
    encoder.use_explicit_attention(False)
    return torch.cat(list(seen.values())).numpy()


def test_the_inside_is_what_the_model_does_in_that_window(
    values: dict[str, Any], answerer: Answerer, example: SquadExample
) -> None:
    inside = values["inside"]
    model, w = answerer.model, inside["window"]
    windows = make_example_windows([example], answerer.tokenizer, answerer.settings)
    batch = collate(windows, np.array([w])).packed
    size = batch.num_tokens
    ids = [answerer.tokenizer.vocabulary[piece] for piece in inside["pieces"]]
    assert ids == windows.input_ids(w)
    probs = probs_in(answerer, example, w)
    shown = (numbers(inside["attention"]["values"], np.uint8) / 255.0) ** 2
    assert shown.reshape(probs.shape) == pytest.approx(probs, abs=2 / 255)
    shares = numbers(inside["shares"], "<f4").reshape(*probs.shape[:2], 3, 3)
    assert shares.sum(-1) == pytest.approx(1, abs=1e-5)

    lens = span_lens(model, batch)
    assert np.array_equal(
        numbers(inside["lens"]["start"], "<f4"), lens.start_logits.numpy().ravel()
    )
    window = values["windows"][w]
    here = slice(window["offset"], window["offset"] + size)
    last = numbers(inside["lens"]["end"], "<f4").reshape(-1, size)[-1]
    assert last == pytest.approx(numbers(values["end_logits"], "<f4")[here], abs=1e-5)

    best = next(span for span in values["spans"] if span["start"] is not None)
    drops = head_ablation(model, batch, best["first"], best["last"]).numpy()
    assert np.array_equal(numbers(inside["ablation"], "<f4"), drops.ravel())
    assert [one["name"] for one in inside["attributions"]][:2] == ["best span", "no answer"]
    for one in inside["attributions"]:
        parts = numbers(one["values"], "<f4")
        assert len(parts) == size
        assert parts.sum() == pytest.approx(one["score"] - one["baseline"], rel=0.01, abs=1e-3)
    assert inside["attributions"][0]["score"] == pytest.approx(best["score"], abs=1e-5)


def parts_of(values: dict[str, Any]) -> dict[str, list[int]]:
    """Which tokens of the inside are special, the question's, the context's: by what they read."""
    pieces, question = values["inside"]["pieces"], values["question"].split()
    special = [t for t, piece in enumerate(pieces) if piece in ("[CLS]", "[SEP]")]
    segments = [list(range(a + 1, b)) for a, b in itertools.pairwise(special)]
    asks = [[pieces[t] for t in segment] == question for segment in segments]
    assert sorted(asks) == [False, True]
    return {
        "special": special,
        "question": segments[asks.index(True)],
        "context": segments[asks.index(False)],
    }


def test_attention_is_shared_among_the_tokens_of_question_and_context_in_either_layout(
    laid_out: dict[str, Any], in_layout: Answerer, example: SquadExample
) -> None:
    parts = parts_of(laid_out)
    probs = probs_in(in_layout, example, laid_out["inside"]["window"])
    shares = numbers(laid_out["inside"]["shares"], "<f4").reshape(2, 2, 3, 3)
    for i, looking in enumerate(parts.values()):
        for j, seen in enumerate(parts.values()):
            wanted = probs[:, :, looking][..., seen].sum(-1).mean(-1)
            assert shares[..., i, j] == pytest.approx(wanted, abs=1e-6)


def test_any_window_can_be_looked_into(answerer: Answerer, example: SquadExample) -> None:
    for w in (0, 1):
        made = explain(answerer, example, threshold=0.0, is_known=True, window=w, steps=2)
        assert made["inside"]["window"] == w
        label = made["windows"][w]["label"]
        assert made["inside"]["attributions"][-1]["span"] in (
            label,
            [0, 0],
            made["windows"][w]["best"],
        )


def unpack(packed: dict[str, str], shape: tuple[int, ...]) -> NDArray[Any]:
    """As the page reads it, but for the mean in the place of what is left out."""
    columns, values = numbers(packed["columns"], "<u2"), numbers(packed["values"], np.uint8)
    rows = np.repeat(np.arange(np.prod(shape[:-1])), numbers(packed["counts"], "<u2"))
    made = np.zeros((int(np.prod(shape[:-1])), shape[-1]))
    made[rows, columns] = (values / 255.0) ** 2
    return made.reshape(shape)


@pytest.mark.parametrize("sharpness", [0.0, 1.0, 8.0])
def test_too_much_attention_is_cut_to_the_largest_weights(sharpness: float) -> None:
    generator = np.random.default_rng(0)
    scores = sharpness * generator.normal(size=(3, 4, 60, 60))
    probs = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    probs = probs.astype(np.float32)
    room = 12_000
    packed = pack_attention(probs, room)
    assert sum(len(base64.b64decode(part)) for part in packed.values()) <= room
    shown = unpack(packed, probs.shape)
    kept = shown > 0
    assert np.abs(shown - probs)[kept].max() <= 2 / 255
    assert (kept.sum(-1) >= 1).all()
    if sharpness:  # the room is used, but for the last few levels
        assert kept.sum() >= 0.93 * (room - 2 * 3 * 4 * 60) / 3
    # the largest of each row is there; and what is left out nowhere is above what is kept beyond it
    assert np.take_along_axis(kept, probs.argmax(-1)[..., None], -1).all() or sharpness == 0
    left, others = probs[~kept].max(), np.sort(np.where(kept, probs, 0), -1)[..., :-4]
    assert not others.any() or left <= others[others > 0].min() + 2 / 255


# --- the page as a file


def block_of(page: bytes) -> str:
    (block,) = re.findall(
        rb'<script type="application/json" id="values">(.*?)</script>', page, re.DOTALL
    )
    return str(block.decode("ascii"))


def test_what_the_page_holds_reads_back_as_it_was(
    values: dict[str, Any], hostile: dict[str, Any]
) -> None:
    for written in (values, hostile):
        assert json.loads(block_of(render(written))) == written


def test_hostile_text_stands_nowhere_in_the_page_as_it_is(hostile: dict[str, Any]) -> None:
    page, template = render(hostile), TEMPLATE.read_text(encoding="utf-8")
    block = block_of(page)
    assert not re.search(r"[<>&\x00-\x1f\x7f-\uffff]", block)
    for sign in ("<", ">"):
        assert page.decode().count(sign) == template.count(sign)
    assert re.findall(r"<script[^>]*>", page.decode()) == [
        '<script type="application/json" id="values">',
        "<script>",
    ]


def test_the_policy_forbids_everything_but_the_pages_own_script_and_style(
    values: dict[str, Any],
) -> None:
    page = render(values).decode()
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
    assert page.index(policy) < min(
        page.index("<style>"), page.index("<script"), page.index("<link")
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"
    assert set(rules) == {
        "default-src", "script-src", "style-src", "img-src", "base-uri", "form-action",
    }  # fmt: skip
    assert rules["img-src"] == "data:"


class Addresses(HTMLParser):
    """What the attributes of a page refer to, and which run code."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href", "srcset", "action", "data", "poster", "style"):
                self.found.add(f"{name}={value}")
            if name.startswith("on"):
                self.found.add(name)


def test_the_template_refers_to_nothing_outside() -> None:
    template = TEMPLATE.read_text(encoding="utf-8")
    reader = Addresses()
    reader.feed(template)
    assert reader.found == {"href=data:,"}
    assert set(re.findall(r"\w+://[^\s\"']*", template)) == {"http://www.w3.org/2000/svg"}
    for way in (
        "innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function(",
        "fetch(", "XMLHttp", "import(", "url(", "@import", "WebSocket", "sendBeacon",
    ):  # fmt: skip
        assert way not in template


@pytest.mark.filterwarnings("ignore:integrated gradients of 1 steps")
def test_the_page_of_384_tokens_and_144_heads_has_two_megabytes_at_most(
    answerer: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # attention fills the page; the rest is of the same size whatever its figures
    monkeypatch.setattr(explanation, "MOST_STEPS", 1)
    monkeypatch.setattr(explanation, "head_ablation", lambda *_: torch.zeros(12, 12))
    sizes = {"hidden_size": 12, "num_hidden_layers": 12, "num_attention_heads": 12}
    more = {"intermediate_size": 12, "max_position_embeddings": 384, "initializer_range": 0.9}
    torch.manual_seed(0)
    model = BertForQuestionAnswering(BertConfig.from_dict({**CONFIG, **sizes, **more})).eval()
    large = Answerer(model, answerer.tokenizer, answerer.settings, answerer.device, None)
    large = large.with_settings(max_length=384, doc_stride=128)
    words = "the old river was named by anna and the new bridge by bert . " * 60
    example = SquadExample("", "", "who named the river ?", words, (), False)
    made = explain(large, example, threshold=0.0, is_known=False, window=0, steps=1)
    made["model"]["name"], made["file"] = "model", "dev.json"
    assert made["windows"][0]["length"] == 384 and len(made["windows"]) > 2
    assert "counts" in made["inside"]["attention"]
    assert 1_000_000 < len(render(made)) <= 2_000_000


# --- the command


def run(out: Path, *words: object, model: str = "model") -> tuple[int, str, str]:
    folder = sound_folder()
    more = ("--model", folder / model, "--out", out, "--steps", "2", "--threads", "1")
    return forked("eval.explain", *more, *words)


def test_a_question_of_a_file_becomes_a_page(tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    words = ("--data-file", sound_folder() / "dev.json", "--id", "dev-3", *WINDOW)
    status, output, errors = run(out, *words)
    assert (status, errors) == (0, "")
    assert output.startswith(f"{out}: {out.stat().st_size:,} bytes; the answer is ")
    values = json.loads(block_of(out.read_bytes()))
    assert values["id"] == "dev-3" and values["gold"]
    assert values["file"] == str(sound_folder() / "dev.json")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_question_of_ones_own_becomes_a_page(tmp_path: Path) -> None:
    context, out = tmp_path / "<b>'\"&.txt", tmp_path / "page.html"
    context.write_text("\ufeffthe old river was named by anna .", encoding="utf-8")
    status, _, errors = run(out, "--question", "who ?", "--context-file", context, *WINDOW)
    assert (status, errors) == (0, "")
    values = json.loads(block_of(out.read_bytes()))
    assert values["context"] == "the old river was named by anna ." and values["gold"] is None
    assert values["file"] == str(context) and values["settings"]["threshold"] == 0


def test_the_files_answer_to_the_names_that_the_commands_beside_use(tmp_path: Path) -> None:
    context, data = tmp_path / "context.txt", sound_folder() / "dev.json"
    context.write_text("the old river was named by anna .", encoding="utf-8")
    pages = []
    for asked in (
        ("--question", "who ?", "--context-file", context),
        ("--question", "who ?", "--context", context),
        ("--data-file", data, "--id", "dev-3"),
        ("--data", data, "--id", "dev-3"),
    ):
        assert run(tmp_path / "page.html", *asked, *WINDOW)[0] == 0
        pages.append((tmp_path / "page.html").read_bytes())
    assert pages[0] == pages[1] != pages[2] == pages[3]


def test_without_no_answer_the_best_span_is_the_answer_and_null_is_not_listed(
    tmp_path: Path,
) -> None:
    out = tmp_path / "page.html"
    words = ("--data-file", sound_folder() / "dev.json", "--id", "dev-2", *WINDOW)
    assert run(out, *words, "--no-null-answer")[0] == 0
    values = json.loads(block_of(out.read_bytes()))
    assert values["settings"]["threshold"] is None and values["answer"]
    assert all(span["start"] is not None for span in values["spans"])


def test_no_answer_may_be_right_where_eval_predict_says_so(tmp_path: Path) -> None:
    out, data = tmp_path / "page.html", tmp_path / "data.json"
    asked: list[dict[str, Any]] = [{"id": "a", "question": "who ?"}]
    for answers, flags, threshold in (
        (None, (), 0.0),  # nothing is known: the model's training tells
        ([{"text": "the", "answer_start": 0}], (), None),  # every question has an answer
        ([{"text": "the", "answer_start": 0}], ("--null-threshold", "-1000"), -1000.0),
    ):
        asked[0]["answers"] = answers
        paragraphs = [{"context": "the old river", "qas": asked}]
        data.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
        status, _, errors = run(out, "--data-file", data, "--id", "a", *WINDOW, *flags)
        assert status == 0, errors
        values = json.loads(block_of(out.read_bytes()))
        assert values["settings"]["threshold"] == threshold
        words = ("--model", sound_folder() / "model", "--data-file", data, *WINDOW, *flags)
        assert forked("eval.predict", *words, "--output-dir", tmp_path / "out")[0] == 0
        predictions = json.loads((tmp_path / "out" / "predictions.json").read_bytes())
        assert predictions == {"a": values["answer"]}


ASKED = ("--question", "who ?", "--context-file", "CONTEXT")
LOOKED_UP = ("--data-file", "DATA", "--id", "dev-3")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "which question? give --question and --context-file, or --data-file and --id"),
        (("--question", "who ?"), "and --context-file needs --question"),
        (("--context-file", "CONTEXT"), "and --context-file needs --question"),
        (("--data-file", "DATA"), "--data-file needs --id, and --id needs --data-file"),
        (("--id", "dev-3"), "--data-file needs --id, and --id needs --data-file"),
        ((*ASKED, "--data-file", "DATA"), "--question and --data-file contradict each other"),
        ((*LOOKED_UP, "--context-file", "CONTEXT"), "--context-file and --data-file contradict"),
        (("--id", "dev-3", "--question", "who ?"), "--question and --id contradict each other"),
        (("--data-file", "DATA", "--id", "no-such"), "--id no-such is no question of DATA;"),
        (("--data-file", "FOLDER/no-such.json", "--id", "x"), "no-such.json"),
        (("--data-file", "CONTEXT", "--id", "x"), "is not JSON"),
        (("--question", "who ?", "--context-file", "FOLDER/no-such"), "cannot be read (No such"),
        (("--question", "who ?", "--context-file", "FOLDER"), "cannot be read (Is a directory)"),
        (("--question", "who ?", "--context-file", "BINARY"), "is not UTF-8 text (byte 0)"),
        (("--question", " ", "--context-file", "CONTEXT"), "--question is empty, expected"),
        (("--question", "who ?", "--context-file", "EMPTY"), "EMPTY is empty, expected text"),
        (("--question", "\u0007", "--context-file", "CONTEXT"), "the question holds nothing"),
        (("--question", "who ?", "--context-file", "BELLS"), "the context holds nothing that the"),
        ((*LOOKED_UP, "--window", "-1"), "--window is -1, expected at least 0"),
        ((*LOOKED_UP, "--window", "99"), "--window is 99, expected 0 to "),
        ((*LOOKED_UP, "--top", "0"), "--top is 0, expected 1 to 1000"),
        ((*LOOKED_UP, "--steps", "0"), "--steps is 0, expected 1 to 1000"),
        ((*LOOKED_UP, "--max-length", "99"), "--max-length 99 is more than the model's 40 "),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_no_page(
    words: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    contents = {
        "CONTEXT": b"the old river",
        "BINARY": b"\xff\xfe",
        "EMPTY": b" \n",
        "BELLS": b"\x07",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    places = {name: str(tmp_path / name) for name in contents}
    places |= {"DATA": str(sound_folder() / "dev.json"), "FOLDER": str(tmp_path)}

    def put_in(text: str) -> str:
        for name, place in places.items():
            text = re.sub(rf"^{name}\b", lambda _, place=place: place, text)
        return text

    window = () if "--max-length" in words else WINDOW
    status, output, errors = run(tmp_path / "page.html", *map(put_in, words), *window)
    assert (status, output, errors.count("\n")) == (2, "", 1), errors
    assert errors.startswith("error: ")
    for part in re.split("DATA|EMPTY", sentence):
        assert part in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(contents)


def test_a_page_that_cannot_be_written_is_refused_before_the_model_is_looked_for(
    tmp_path: Path,
) -> None:
    for out, reason in ((tmp_path, "is a folder"), (tmp_path / "no" / "page.html", "no folder")):
        words = ("--data-file", sound_folder() / "dev.json", "--id", "dev-3")
        status, _, errors = run(out, *words, model="no-such-model")
        assert status == 2 and errors.startswith(f"error: --out {out} ") and reason in errors
    assert list(tmp_path.iterdir()) == []


def test_a_page_never_takes_the_place_of_what_it_explains(tmp_path: Path) -> None:
    context = tmp_path / "context.txt"
    context.write_text("the old river")
    status, _, errors = run(context, "--question", "who ?", "--context-file", context, *WINDOW)
    assert status == 2 and f"--out {context} is the file of --context-file" in errors
    assert context.read_text() == "the old river"


def test_a_model_without_a_span_head_explains_nothing(tmp_path: Path) -> None:
    status, _, errors = forked(
        "eval.explain", "--model", "embedded", "--out", tmp_path / "page.html",
        "--data-file", sound_folder() / "dev.json", "--id", "dev-3",
    )  # fmt: skip
    assert (status, errors.count("\n")) == (2, 1)
    assert "fine-tune it first: python -m train.squad --model embedded" in errors
    assert list(tmp_path.iterdir()) == []


# --- the page in a browser

browser_only = pytest.mark.skipif(
    find_browser() is None, reason="no chromium and chromedriver here (see tests/browser.py)"
)
KEYS = {"left": "\ue012", "up": "\ue013", "right": "\ue014", "down": "\ue015", "enter": "\ue007"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


def show(browser: Browser, values: dict[str, Any], folder: Path) -> Path:
    """Open the page of some values; nothing is said and nothing but the page asked for."""
    page = folder / "page.html"
    page.write_bytes(render(values))
    browser.requests()
    browser.log()
    browser.open(page)
    assert browser.log() == []
    assert browser.requests() == [page.as_uri()]
    return page


@browser_only
def test_the_browser_sees_outside_requests_and_errors_where_there_are_some(
    browser: Browser, tmp_path: Path
) -> None:
    page = tmp_path / "bad.html"
    page.write_text("<img src='http://example.invalid/x.png'><script>nonsense()</script>")
    browser.open(page)
    time.sleep(0.5)
    log = browser.log()
    assert any("nonsense is not defined" in line for line in log)
    assert any("ERR_NAME_NOT_RESOLVED" in line for line in log)
    assert "http://example.invalid/x.png" in browser.requests()


@browser_only
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_in_a_real_browser_and_follows_the_systems_colours(
    browser: Browser, values: dict[str, Any], tmp_path: Path, scheme: str
) -> None:
    browser.prefer(scheme)
    show(browser, values, tmp_path)
    assert browser.run("return document.documentElement.dataset.theme") == scheme
    browser.press("t")
    other = {"light": "dark", "dark": "light"}[scheme]
    assert browser.run("return document.documentElement.dataset.theme") == other
    assert browser.run("return document.querySelectorAll('#rows tr').length") == len(
        values["spans"]
    )
    assert browser.log() == []


@browser_only
def test_the_figures_that_the_browser_shows_are_the_models(
    browser: Browser, values: dict[str, Any], tmp_path: Path
) -> None:
    show(browser, values, tmp_path)
    for w, window in enumerate(values["windows"]):
        here = slice(window["offset"], window["offset"] + window["length"])
        for side, name in enumerate(("start_logits", "end_logits")):
            scores = torch.from_numpy(numbers(values[name], "<f4")[here].astype(np.float64))
            shown = browser.run(f"return Array.from(chances[{w}][{side}])")
            assert shown == pytest.approx(scores.softmax(0).tolist(), abs=1e-9)
        assert browser.run(f"return spanText({w}, ...show({w}).best)") in values["context"]
    cells = "document.querySelectorAll('#rows tr:first-child td')"
    first = browser.run(f"return Array.from({cells}, cell => cell.textContent)")
    span = values["spans"][0]
    assert first[0].startswith(span["text"] or "no answer")
    assert first[1].replace("\u2212", "-") == f"{span['score']:.2f}"
    assert browser.run("return lens.start.length / T") == values["model"]["layers"] + 1
    last = values["model"]["layers"]
    best = values["windows"][values["inside"]["window"]]["best"]
    assert browser.run(f"return bestSpan({last})")[1:] == best
    row = browser.run("return Array.from(weightsOf(1, 1, 3))")
    size = len(values["inside"]["pieces"])
    levels = numbers(values["inside"]["attention"]["values"], np.uint8).reshape(2, 2, size, size)
    assert row == pytest.approx(((levels[1, 1, 3] / 255.0) ** 2).tolist())


@browser_only
def test_keys_reach_every_view(browser: Browser, values: dict[str, Any], tmp_path: Path) -> None:
    show(browser, values, tmp_path)
    count = len(values["windows"])
    browser.press("[", "[", "[", "[", "[", "[")
    assert browser.run("return now") == 0
    browser.press("]")
    assert browser.run("return now") == 1 and count > 1
    for number, name in enumerate(
        ("context", "windows", "spans", "layers", "attention", "words"), 1
    ):
        browser.press(str(number))
        top = browser.run(f"return at('{name}').getBoundingClientRect().top")
        at_the_end = browser.run(
            "return innerHeight + scrollY >= document.documentElement.scrollHeight - 2"
        )
        assert 0 <= top < 80 or at_the_end
    browser.run("at('grid').focus(); chooseHead(0, 0)")
    browser.press(KEYS["up"], KEYS["right"])
    assert browser.run("return [layer0, head0]") == [1, 1]
    assert browser.run("return at('head-title').textContent") == "Layer 1, head 1"
    browser.run("at('looks').focus(); token = 1; drawHead()")
    browser.press(KEYS["right"], KEYS["right"])
    assert browser.run("return token") == 3
    browser.run("choose(inside.window); at('map').focus()")
    browser.press(KEYS["right"], KEYS["enter"])
    assert browser.run("return picked !== null && cursor !== null")
    browser.run("at('text').focus()")
    browser.press(KEYS["right"])
    assert "start" in browser.run("return at('tip').textContent")
    browser.run("document.querySelector('#rows tr').focus()")
    browser.press(KEYS["down"])
    assert browser.run("return document.activeElement === document.querySelectorAll('#rows tr')[1]")
    assert browser.log() == []


@browser_only
def test_attention_can_be_narrowed_to_what_the_question_gives_the_context(
    browser: Browser, values: dict[str, Any], tmp_path: Path
) -> None:
    show(browser, values, tmp_path)
    browser.run(
        "const b = document.querySelectorAll('#attention-bar button'); b[1].click(); b[6].click()"
    )
    question = len(values["inside"]["question_starts"])
    context = values["windows"][values["inside"]["window"]]["count"]
    shape = browser.run("return [at('weights').height, at('weights').width]")
    assert shape == [question, context]
    shares = numbers(values["inside"]["shares"], "<f4").reshape(2, 2, 3, 3)
    assert browser.run("return mass(1, 0, 'question', 'context')") == pytest.approx(
        shares[1, 0, 1, 2]
    )
    whole = browser.run("return mass(1, 0, 'all', 'all')")
    assert whole == pytest.approx(1, abs=1e-5)


@browser_only
def test_the_page_names_question_and_context_where_they_stand_in_either_layout(
    browser: Browser, laid_out: dict[str, Any], tmp_path: Path
) -> None:
    show(browser, laid_out, tmp_path)
    parts = parts_of(laid_out)
    shown = browser.run("return PARTS")
    assert {name: shown[name] for name in parts} == parts
    assert browser.run("return PARTS.question.map(word)") == laid_out["question"].split()
    context = browser.run("return PARTS.context.map(word).join(' ')")
    assert context and laid_out["context"].endswith(context)  # of the last window
    assert browser.run("return PARTS.special.map(word)") == ["[CLS]", "[SEP]", "[SEP]"]
    # the bar above the layers: names in the order of the window, widths in tokens
    bar = "document.querySelectorAll('#lens .parts span')"
    names = browser.run(f"return Array.from({bar}, span => span.textContent)")
    assert names[1::2] == sorted(("question", "context"), key=lambda name: parts[name])
    widths = browser.run(f"return Array.from({bar}, span => parseFloat(span.style.width))")
    sizes = [len(parts[name]) if name else 1 for name in names]
    assert widths == pytest.approx([100 * size / sum(sizes) for size in sizes], rel=1e-4)
    strip = "document.querySelectorAll('#looks .special')"
    special = browser.run(f"return Array.from({strip}, span => Number(span.dataset.t))")
    assert special == parts["special"]
    whole = browser.run("return Object.keys(PARTS).map(name => mass(1, 0, 'all', name))")
    assert whole[0] == pytest.approx(1, abs=1e-5) == sum(whole[1:])


@browser_only
def test_a_context_that_is_read_in_part_is_not_said_to_fit_the_window(
    browser: Browser, answerer: Answerer, example: SquadExample, tmp_path: Path
) -> None:
    cut = answerer.with_settings(truncate=True)
    made = explain(cut, example, threshold=0.0, is_known=True, steps=2)
    made["model"]["name"], made["file"] = "model", "dev.json"
    show(browser, made, tmp_path)
    total, count = len(example.context.split()), made["windows"][0]["count"]
    hint = browser.run("return at('windows-hint').textContent")
    assert hint.startswith(
        f"The context has {total} tokens, of which this model reads the first {count} only"
    )


@browser_only
def test_hostile_text_stays_text_and_breaks_no_layout(
    browser: Browser, hostile: dict[str, Any], tmp_path: Path
) -> None:
    show(browser, hostile, tmp_path)
    assert "owned" != browser.run("return document.title")
    assert browser.run("return document.querySelectorAll('script, img, iframe, b b').length") == 2
    shown = browser.run("return at('question').textContent")
    assert "</script><script>document.title='owned'</script>" in shown
    assert "\u202e" not in browser.run("return document.body.innerText")
    text = browser.run("return at('text').textContent")
    assert "<img src=x onerror=alert(1)> &lt; {{VALUES}}" in text and "x" * 10_000 in text
    for theme in ("light", "dark"):
        browser.run(f"setTheme('{theme}')")
        wide, page = browser.run("return [document.documentElement.scrollWidth, innerWidth]")
        assert wide <= page
        for name in ("question", "answer", "text", "looks", "credit"):
            wide, room = browser.run(f"return [at('{name}').scrollWidth, at('{name}').clientWidth]")
            assert wide <= room, name
    assert browser.log() == []


@browser_only
def test_a_word_without_end_hides_nothing_behind_it_until_it_is_asked_for(
    browser: Browser, hostile: dict[str, Any], tmp_path: Path
) -> None:
    show(browser, hostile, tmp_path)
    size = "return document.querySelector('#text .long').getBoundingClientRect().height"
    few = browser.run(size)
    assert 0 < few < browser.run("return at('text').clientHeight") / 2
    assert browser.run("return document.querySelectorAll('#text .outside.long').length") == 1
    browser.run("document.querySelector('#text .long').click()")
    assert browser.run(size) > 10 * few
    browser.run("at('text').focus(); here = Number(document.querySelector('.long').dataset.t) - 1")
    browser.press(KEYS["right"])
    assert "click or Enter" in browser.run("return at('tip').textContent")
    browser.press(KEYS["enter"])
    assert browser.run(size) == few
    assert browser.log() == []
