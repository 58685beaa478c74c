"""eval/fill.py: what stands behind [MASK], as a function and as a command."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from data.tokenization import Tokenizer
from eval.fill import Filler, join, main
from minibert import BertConfig, BertForMaskedLM, BertForQuestionAnswering, PackedBatch
from minibert.config import FAMILIES
from tests.forked import forked

VOCABULARY = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] paris is the capital of france town river ##s ##er a b . , '"
).split()
POSITIONS, WIDTH = 16, 24  # the model has more rows than the vocabulary has tokens


def write_model(
    folder: Path,
    family: str = "bert",
    kind: type[BertForMaskedLM] | type[BertForQuestionAnswering] = BertForMaskedLM,
) -> Path:
    """A tiny model whose weights are far from uniform, and its tokenizer."""
    config = BertConfig(
        model_type=family, vocab_size=len(VOCABULARY) + 4, hidden_size=WIDTH, num_hidden_layers=2,
        num_attention_heads=4, intermediate_size=37, max_position_embeddings=POSITIONS,
        type_vocab_size=2 if family == "bert" else 0,
    )  # fmt: skip
    torch.manual_seed(3)
    model = kind(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder)
    Tokenizer({token: i for i, token in enumerate(VOCABULARY)}, lowercase=True).save(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("fill") / "model")


@pytest.fixture(scope="module")
def filler(folder: Path) -> Filler:
    return Filler.load(str(folder), device="cpu")


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_and_probabilities_are_those_of_transformers(family: str, tmp_path: Path) -> None:
    transformers: Any = pytest.importorskip("transformers", reason="transformers is the oracle")
    write_model(tmp_path, family)
    filler = Filler.load(str(tmp_path), device="cpu")
    model = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    names = len(VOCABULARY)
    for text in ("Paris is the [MASK] of France.", "[MASK]", "a[MASK]b 's [MASK] , rivers[MASK]er"):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            probs = model(input_ids=ids).logits[0].softmax(-1)[ids[0] == 4]
        masks = filler.fill(text, top=names)["masks"]
        assert len(masks) == len(probs) == text.count("[MASK]")
        for mask, wanted in zip(masks, probs, strict=True):
            order = [VOCABULARY.index(one["token"]) for one in mask["top"]]
            assert sorted(order) == list(range(names))
            torch.testing.assert_close(
                torch.tensor([one["probability"] for one in mask["top"]]),
                wanted[:names].sort(descending=True).values, rtol=0, atol=1e-5,
            )  # fmt: skip
            torch.testing.assert_close(wanted[order].diff().clamp(min=0), torch.zeros(names - 1))


def test_a_typed_mask_becomes_the_special_token_here_and_stays_text_elsewhere(
    filler: Filler, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    plain = PackedBatch.from_sequences

    def keep(sequences: list[list[int]]) -> PackedBatch:
        seen.extend(sequences)
        return plain(sequences)

    monkeypatch.setattr(PackedBatch, "from_sequences", keep)
    filler.fill("the [MASK]. [SEP]")
    sep = VOCABULARY.index("[SEP]")
    assert seen[0][:4] == [2, VOCABULARY.index("the"), 4, VOCABULARY.index(".")]
    assert seen[0][-1] == sep and seen[0].count(sep) == 1  # a typed [SEP] is text
    assert 4 not in filler.tokenizer.encode(["the [MASK]."])[0]


def test_candidates_come_best_first_with_their_sentence_beside(filler: Filler) -> None:
    text = "The [MASK] of France [MASK]\u00a0."
    reply = filler.fill(text, top=3)
    assert reply["text"] == text
    assert [mask["start"] for mask in reply["masks"]] == [4, 21]
    for mask in reply["masks"]:
        assert text[mask["start"] : mask["end"]] == "[MASK]"
        probabilities = [one["probability"] for one in mask["top"]]
        assert probabilities == sorted(probabilities, reverse=True) and len(probabilities) == 3
        for one in mask["top"]:
            before, after = text[: mask["start"]], text[mask["end"] :]
            assert one["text"] == join([before, after], [one["token"]])
    best = [mask["top"][0]["token"] for mask in reply["masks"]]
    assert reply["filled"] == join(text.split("[MASK]"), best)
    assert len(filler.fill(text, top=1000)["masks"][1]["top"]) == len(VOCABULARY)


def test_masks_are_filled_each_on_its_own_in_one_pass(filler: Filler) -> None:
    passes: list[int] = []
    hook = filler.model.encoder.register_forward_hook(lambda *call: passes.append(1))
    together = filler.fill("the [MASK] of [MASK].", top=99)["masks"]
    hook.remove()
    assert len(passes) == 1 and together[0]["top"] != together[1]["top"]
    total = sum(one["probability"] for one in together[0]["top"])
    assert 0.2 < total < 1  # the rest is with the model's four rows that have no name


@pytest.mark.parametrize(
    ("between", "tokens", "text"),
    [
        (["Two ", " run."], ["dogs"], "Two dogs run."),
        (["Two dog ", " run."], ["##s"], "Two dogs run."),
        (["Two dog", " run."], ["##s"], "Two dogs run."),
        (["", " run."], ["##s"], "s run."),
        (["a ", "", ""], ["big", "##ger"], "a bigger"),
        (["C", ""], ["##"], "C##"),
        (["a ", " b"], ["[SEP]"], "a [SEP] b"),
    ],
)
def test_a_word_piece_is_joined_to_what_stands_before(
    between: list[str], tokens: list[str], text: str
) -> None:
    assert join(between, tokens) == text


def command(*words: object, stdin: str = "") -> tuple[int, str, str]:
    return forked("eval.fill", *words, "--device", "cpu", stdin=stdin)


def test_the_command_shows_tokens_probabilities_and_sentences(folder: Path, filler: Filler) -> None:
    status, output, errors = command("the [MASK] of france", "--model", folder, "--top", 2)
    assert (status, errors) == (0, "")
    (mask,) = filler.fill("the [MASK] of france", 2)["masks"]
    for line, one in zip(output.splitlines(), mask["top"], strict=True):
        share, token, text = line.split(maxsplit=2)
        assert (token, text) == (one["token"], one["text"])
        assert float(share.rstrip("%")) == pytest.approx(100 * one["probability"], abs=0.006)
    status, output, _ = command("the [MASK] of [MASK]", "--model", folder)
    lines = output.splitlines()
    assert len(lines) == 2 * (1 + 5) + 1 and (lines[0], lines[6]) == ("[MASK] 1", "[MASK] 2")
    assert lines[-1] == filler.fill("the [MASK] of [MASK]")["filled"]


def test_lines_are_answered_in_their_places_as_json_and_bad_ones_all_the_same(
    folder: Path, filler: Filler
) -> None:
    text = "the [MASK] ."
    lines = f"\ufeff{text}\n\n  {text}\r\nnothing here\n" + "a " * 20 + f"[MASK]\n{text}"
    status, output, errors = command("--model", folder, "--top", 2, stdin=lines)
    assert (status, errors) == (2, "")
    first, third, fourth, fifth, sixth = map(json.loads, output.splitlines())
    assert first == {"id": 1, **filler.fill(text, 2)} and third == {**first, "id": 3}
    assert sixth == {**first, "id": 6}
    assert fourth.keys() == fifth.keys() == {"id", "error"}
    assert "has no [MASK]" in fourth["error"] and "the model takes 16" in fifth["error"]
    one = command(text, "--model", folder, "--top", 2, "--json")
    assert json.loads(one[1]) == filler.fill(text, 2)


def test_bytes_that_are_no_text_are_refused_on_their_line_only(
    folder: Path, filler: Filler, capsys: pytest.CaptureFixture[str]
) -> None:
    import io

    from eval.fill import _fill_lines

    lines = io.BytesIO(b"\xff [MASK]\nthe [MASK]\n")
    assert _fill_lines(filler, lines, 1) == 2
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {"id": 1, "error": "line 1 of standard input is not UTF-8 text"}
    assert second == {"id": 2, **filler.fill("the [MASK]", 1)}


def test_mistakes_are_answered_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    headless = write_model(tmp_path / "qa", kind=BertForQuestionAnswering)
    large = write_model(tmp_path / "large")
    vocabulary = large / "vocab.txt"
    vocabulary.write_text(vocabulary.read_text() + "x\ny\nz\nw\nv\n")
    (large / "tokenizer.json").unlink()
    without = write_model(tmp_path / "without")
    (without / "tokenizer.json").unlink()
    (without / "vocab.txt").write_text("\n".join(VOCABULARY).replace("[MASK]", "[MUSK]") + "\n")
    long = "a " * 14 + "[MASK]"
    for words, fragments in (
        (["the town", "--model", folder], ("'the town' has no [MASK]", "in capitals")),
        (["the [mask]", "--model", folder], ("has no [MASK]",)),
        (["", "--model", folder], ("'' has no [MASK]",)),
        (["x" * 5000, "--model", folder], ("xxx...' has no",)),
        ([long, "--model", folder], ("17 tokens", "takes 16", "shorten")),
        (["[MASK]", "--model", headless], (f"{headless} has no masked-LM head",)),
        (["[MASK]", "--model", large], ("has 25 tokens", "only 24")),
        (["[MASK]", "--model", without], ("lacks the special tokens [MASK]",)),
        (["[MASK]", "--model", folder, "--top", 0], ("--top is 0",)),
        (["[MASK]", "--model", folder, "--threads", -1], ("--threads is -1, expected 0 to 1024",)),
        (["[MASK]", "--mdel", folder], ("--mdel", "--model")),
        (["[MASK]", "more", "--model", folder], ("unknown argument more",)),
        (["[MASK]", "--model", tmp_path / "none" / "at" / "all"], ("none",)),
    ):
        status, output, errors = command(*words)
        assert (status, output) == (2, ""), (words, output)
        assert len(errors.splitlines()) == 1 and errors.startswith("error: "), errors
        assert len(errors) < 600
        for fragment in fragments:
            assert fragment in errors, errors
    assert command("a " * 13 + "[MASK]", "--model", folder)[0] == 0  # exactly the model's length


def test_the_number_of_threads_is_set_before_the_model_is_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    load = Filler.load
    monkeypatch.setattr("torch.set_num_threads", told.append)
    monkeypatch.setattr(Filler, "load", lambda *given: told.append("load") or load(*given))
    assert main(["the [MASK]", "--model", str(folder), "--threads", "3"]) == 0
    assert main(["the [MASK]", "--model", str(folder)]) == 0
    assert told == [3, "load", "load"]
