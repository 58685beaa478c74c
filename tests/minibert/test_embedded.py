"""The name "embedded": the model inside the package, wherever a command takes --model."""

import shutil
import tomllib
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from minibert import BertConfig, BertForMaskedLM, BertForQuestionAnswering, PackedBatch, hub
from minibert.hub import find_model
from tests.forked import forked
from tests.train.little import CONFIG, SPECIAL, WORDS, little_arguments, write_little

ROOT = Path(__file__).parents[2]


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny stand-in for minibert/embedded: masked-LM weights in float16."""
    from data.tokenization import Tokenizer

    folder = tmp_path / "package" / "embedded"
    torch.manual_seed(0)
    config = BertConfig.from_dict(CONFIG)
    BertForMaskedLM(config).save_pretrained(folder, dtype=torch.float16)
    vocabulary = {token: i for i, token in enumerate((*SPECIAL, *WORDS))}
    Tokenizer(vocabulary, lowercase=True, max_length=40).save(folder)
    monkeypatch.setattr(hub, "EMBEDDED_FOLDER", folder)
    return folder


def assert_one_sentence(done: tuple[int, str, str], *fragments: str) -> None:
    status, _, errors = done
    assert status == 2, done
    assert len(errors.splitlines()) == 1 and errors.startswith("error: "), errors
    for fragment in fragments:
        assert fragment in errors, errors


def test_the_folder_is_inside_the_package_and_is_shipped_with_it() -> None:
    assert hub.EMBEDDED_FOLDER == ROOT / "minibert" / "embedded"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["package-data"]["minibert"] == ["embedded/*"]


def test_the_name_gives_the_folder_and_reports_itself_as_the_source(embedded: Path) -> None:
    for weights in (True, False):
        files = find_model("embedded", weights=weights)
        assert (files.folder, files.source, files.commit) == (embedded, "embedded", None)
    model = BertForMaskedLM.from_pretrained("embedded")
    assert model.load_report is not None and model.load_report.source == "embedded"
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    with pytest.raises(ValueError, match="revision v1 is for Hub names only, not for embedded"):
        find_model("embedded", revision="v1")


def test_a_folder_of_that_name_in_the_working_directory_wins_as_for_any_name(
    embedded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(embedded, tmp_path / "embedded")
    monkeypatch.chdir(tmp_path)
    assert find_model("embedded").folder == Path("embedded")


def test_an_installation_without_it_says_so_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "EMBEDDED_FOLDER", tmp_path / "none")
    write_little(tmp_path)
    dev = tmp_path / "dev.json"
    for module, words in (
        ("eval.fill", ["[MASK]"]),
        ("eval.answer", ["--model", "embedded", "--question", "a", "--context", "b"]),
        ("eval.predict", ["--model", "embedded", "--data-file", dev, "--output-dir", tmp_path]),
        ("data.windows", ["--model", "embedded", "--data-file", dev]),
        ("train.squad", [*little_arguments(tmp_path, tmp_path / "run")[2:], "--model", "embedded"]),
    ):
        done = forked(module, *words)
        assert_one_sentence(done, "the embedded model is not in this installation", "none)")


def test_question_answering_is_trained_from_it_with_a_new_head_that_is_named(
    embedded: Path, tmp_path: Path
) -> None:
    write_little(tmp_path)
    words = [*little_arguments(tmp_path, tmp_path / "run", "--epochs", "1")[2:], "--lr", "1e-9"]
    status, output, errors = forked("train.squad", *words, "--model", "embedded")
    assert status == 0, errors
    assert output.startswith("model: embedded, ")
    assert "new head, to be trained: span.weight, span.bias" in output
    trained = BertForQuestionAnswering.from_pretrained(tmp_path / "run")
    start = BertForMaskedLM.from_pretrained("embedded")
    for a, b in zip(trained.encoder.parameters(), start.encoder.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)  # at that rate nothing has moved
    card = (tmp_path / "run" / "best" / "README.md").read_text()
    assert "Started from embedded." in card
    status, _, errors = forked("train.squad", "--resume", "--output-dir", tmp_path / "run")
    assert status == 0, errors


def test_commands_that_need_a_span_head_say_that_it_is_to_be_trained_first(
    embedded: Path, tmp_path: Path
) -> None:
    write_little(tmp_path)
    data, out = ["--data-file", tmp_path / "dev.json"], tmp_path / "out"
    commands: dict[str, list[object]] = {
        "eval.answer": ["--question", "who ?", "--context", "anna"],
        "eval.predict": [*data, "--output-dir", out],
        "eval.explain": [*data, "--id", "dev-1", "--out", out / "page.html"],
        "eval.ablate": [*data, "--id", "dev-1"],
    }
    for command, words in commands.items():
        assert_one_sentence(
            forked(command, "--model", "embedded", *words),
            "embedded has no span head, so it cannot answer questions yet; fine-tune it first: "
            "python -m train.squad --model embedded",
        )
        out.mkdir(exist_ok=True)
        assert not list(out.iterdir())
    BertForQuestionAnswering(BertConfig.from_dict(CONFIG)).save_pretrained(embedded)
    for command, words in commands.items():
        assert forked(command, "--model", "embedded", *words)[0] == 0, command


def test_windows_and_filled_sentences_come_from_its_vocabulary(
    embedded: Path, tmp_path: Path
) -> None:
    write_little(tmp_path)
    windows = ["--data-file", tmp_path / "dev.json", "--max-length", 32, "--doc-stride", 8]
    by_name = forked("data.windows", "--model", "embedded", *windows)
    assert by_name[0] == 0, by_name[2]
    by_path = forked("data.windows", "--model", embedded, *windows)
    assert by_name[1].replace("of embedded:", f"of {embedded}:") == by_path[1]
    status, output, errors = forked("eval.fill", "the [MASK] was built .", "--top", 3)
    assert status == 0, errors
    assert {line.split()[1] for line in output.splitlines()} <= {*SPECIAL, *WORDS}


SHIPPED = {
    "README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    "vocab.txt",
}  # fmt: skip
TEXT = (
    "The Danube is a river in Europe. It flows through Vienna and Budapest to the Black Sea, "
    "and boats have carried people and goods on it since the time of the Romans."
)


def test_the_shipped_model_is_small_complete_and_says_what_it_was_made_from() -> None:
    files = {path.name: path.stat().st_size for path in hub.EMBEDDED_FOLDER.iterdir()}
    assert set(files) == SHIPPED
    assert sum(files.values()) < 8e6
    with safe_open(hub.EMBEDDED_FOLDER / "model.safetensors", "pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.float16}
    card = (hub.EMBEDDED_FOLDER / "README.md").read_text()
    for fact in ("Wikipedia", "CC BY-SA 3.0", "held-out", "updates", "tokens", "cores"):
        assert fact in card, fact


@torch.no_grad()
def test_transformers_reads_the_shipped_model_with_equal_ids_and_logits() -> None:
    transformers = pytest.importorskip("transformers")
    from data.tokenization import Tokenizer

    folder = hub.EMBEDDED_FOLDER
    tokenizer = Tokenizer.from_folder(folder)
    ids = [tokenizer.cls_id, *tokenizer.encode([TEXT])[0], tokenizer.sep_id]
    assert transformers.AutoTokenizer.from_pretrained(folder)(TEXT)["input_ids"] == ids
    ids[7] = ids[12] = tokenizer.mask_id
    theirs, report = transformers.AutoModelForMaskedLM.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(report.values())
    reference = theirs.eval().float()(input_ids=torch.tensor([ids])).logits[0]
    ours = BertForMaskedLM.from_pretrained("embedded").eval()
    logits = ours(PackedBatch.from_sequences([ids]))
    torch.testing.assert_close(logits, reference, rtol=0, atol=1e-4)


def test_the_shipped_model_has_learnt_english() -> None:
    from eval.fill import Filler

    filler = Filler.load("embedded")
    for sentence, word in (
        ("The film was directed [MASK] him in 1990.", "by"),
        ("In the first half of the 19th [MASK], the town grew.", "century"),
        ("The band released their first [MASK] in 1998.", "album"),
        ("She is one of the best players in the [MASK].", "world"),
        ("It is located in the north of the [MASK].", "region"),
    ):
        top = [one["token"] for one in filler.fill(sentence, top=10)["masks"][0]["top"]]
        assert word in top, (sentence, top)
