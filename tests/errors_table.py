"""Bad input, what today's libraries say of it and what minibert says: the rows of docs/errors.md.

    python -m tests.errors_table        # writes docs/errors.md

tests/test_errors.py runs every row: exit 2, one sentence, nothing written, a traceback only with
--debug; and compares the page.
"""

import atexit
import csv
import gzip
import importlib.metadata
import json
import shutil
import tempfile
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from data.tokenization import Tokenizer
from eval.prediction_files import write_json
from minibert import BertConfig, BertForQuestionAnswering, PackedBatch
from tests.data.convert.little import LEAD, annotation, quac, simplified, write_lines
from tests.data.convert.little import write_json as write_json_lines
from tests.eval.made_runs import write_classify_run
from tests.forked import forked
from tests.train.little import little_arguments, write_little

PAGE = Path(__file__).parents[1] / "docs" / "errors.md"
LIBRARIES = ("safetensors", "tokenizers", "transformers", "torch")
LONGEST = 150  # characters of a library's message

WEIGHTS, INDEX = "model/model.safetensors", "model/model.safetensors.index.json"
VOCAB, TOKENIZER = "model/vocab.txt", "model/tokenizer.json"
WINDOW = ("--max-length", "32", "--doc-stride", "8")
ANSWER = ("eval.answer", "--model", "DIR/model", "--question", "who was anna ?", "--context")
PREDICT = (
    "eval.predict", "--model", "DIR/model", "--data-file", "DIR/dev.json", "--output-dir",
    "DIR/out", *WINDOW,
)  # fmt: skip
WINDOWS = ("data.windows", "--data-file", "DIR/dev.json", "--model", "DIR/model")
SCORE = ("eval.squad", "DIR/dev.json", "DIR/predictions.json")
OFFLINE = {"HF_HUB_OFFLINE": "1", "MINIBERT_SQUAD_URL": "http://127.0.0.1:9/"}


@dataclass(frozen=True)
class Row:
    """One bad input.

    Attributes:
        section: heading of its table.
        input: what is given.
        damage: writes it into a folder that holds a sound model/, train.json and dev.json.
        ours: the command that reads it, its module first ("DIR" is the folder); or, where no
            command leads there, a call.
        theirs: what a library does with it.
        works: where we do not refuse it, words of what is printed.
        told: what the page says then, if not the printed line itself.
    """

    section: str
    input: str
    damage: Callable[[Path], object]
    ours: tuple[str, ...] | Callable[[Path], object]
    theirs: Callable[[Path], object]
    works: str = ""
    told: str = ""


@cache
def sound_folder() -> Path:
    """A folder with a little model of random weights, its vocabulary, and two SQuAD files."""
    folder = Path(tempfile.mkdtemp(prefix="minibert-errors-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    write_little(folder)
    torch.manual_seed(0)
    config = BertConfig.from_file(folder / "model" / "config.json")
    BertForQuestionAnswering(config).save_pretrained(folder / "model")
    return folder


def prepare(row: Row, folder: Path) -> None:
    """Write a row's input, and everything sound beside it."""
    shutil.copytree(sound_folder(), folder, dirs_exist_ok=True)
    row.damage(folder)


# --- ways of damaging


def replaced(file: str, change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    return lambda folder: (folder / file).write_bytes(change((folder / file).read_bytes()))


def content(file: str, text: bytes | str) -> Callable[[Path], object]:
    made = text.encode() if isinstance(text, str) else text
    return lambda folder: (folder / file).write_bytes(made)


def removed(file: str) -> Callable[[Path], object]:
    return lambda folder: (folder / file).unlink()


def folder_in_place_of(file: str) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        (folder / file).unlink()
        (folder / file).mkdir()

    return change


def nothing(folder: Path) -> None:
    """The input is in the flags."""


def header(
    change: Callable[[dict[str, Any]], object], pad: bytes = b"", tail: bytes = b"", data: int = 0
) -> Callable[[Path], object]:
    """The weights with another header (and bytes added to the tensors, or cut off)."""

    def edit(file: bytes) -> bytes:
        size = int.from_bytes(file[:8], "little")
        entries = json.loads(file[8 : 8 + size])
        text = pad + json.dumps(change(entries) or entries).encode() + tail
        tensors = file[8 + size :]
        tensors = tensors[:data] if data < 0 else tensors + bytes(data)
        return len(text).to_bytes(8, "little") + text + tensors

    return replaced(WEIGHTS, edit)


def raw_header(text: bytes, length: int | None = None) -> Callable[[Path], object]:
    size = len(text) if length is None else length
    return content(WEIGHTS, size.to_bytes(8, "little") + text)


BIAS = "qa_outputs.bias"  # 2 numbers, 8 bytes
WEIGHT = "qa_outputs.weight"


def entry(**values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda entries: entries[BIAS].update(values)


def moved(by: int) -> Callable[[dict[str, Any]], object]:
    def change(entries: dict[str, Any]) -> None:
        last = max(entries.values(), key=lambda e: e.get("data_offsets", [0])[0])
        last["data_offsets"] = [place + by for place in last["data_offsets"]]

    return change


def tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    def edit(folder: Path) -> None:
        named = load_file(folder / WEIGHTS)
        change(named)
        save_file(named, folder / WEIGHTS)

    return edit


def squad(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    """dev.json after a change of its first paragraph."""

    def edit(folder: Path) -> None:
        document = json.loads((folder / "dev.json").read_text())
        change(document["data"][0]["paragraphs"][0])
        (folder / "dev.json").write_text(json.dumps(document))

    return edit


def question(**values: Any) -> Callable[[Path], object]:
    return squad(lambda paragraph: paragraph["qas"][0].update(values))


def answer(**values: Any) -> Callable[[Path], object]:
    return squad(lambda paragraph: paragraph["qas"][0]["answers"][0].update(values))


def as_v1(folder: Path) -> None:
    document = json.loads((folder / "dev.json").read_text())
    paragraphs = document["data"][0]["paragraphs"]
    document["data"][0]["paragraphs"] = [p for p in paragraphs if p["qas"][0]["answers"]]
    for paragraph in document["data"][0]["paragraphs"]:
        del paragraph["qas"][0]["is_impossible"]
    (folder / "dev.json").write_text(json.dumps(document))


def predictions(text: str) -> Callable[[Path], object]:
    return content("predictions.json", text)


def tokenizer_json(**changes: Any) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        tokenizer = Tokenizer.from_folder(folder / "model")
        tokenizer.save(folder / "model")
        values = json.loads((folder / TOKENIZER).read_text())
        values["model"].update(changes)
        (folder / TOKENIZER).write_text(json.dumps(values))

    return write


# --- what the libraries do


def peer_weights(folder: Path) -> object:
    return load_file(folder / WEIGHTS) and None


def peer_json(file: str) -> Callable[[Path], object]:
    return lambda folder: json.loads((folder / file).read_bytes()) and None


def peer_tokenizer_file(folder: Path) -> object:
    import tokenizers

    return tokenizers.Tokenizer.from_file(str(folder / TOKENIZER)) and None


def peer_tokenizer(folder: Path) -> Any:
    import transformers

    return transformers.BertTokenizerFast.from_pretrained(folder / "model")


def peer_no_vocabulary(folder: Path) -> object:
    return f"accepted: a tokenizer of {len(peer_tokenizer(folder))} tokens"


def peer_config(folder: Path) -> object:
    import transformers

    return transformers.BertConfig.from_pretrained(folder / "model") and None


def peer_model(folder: Path) -> object:
    import transformers

    return transformers.BertForQuestionAnswering.from_pretrained(folder / "model") and None


def peer_vocabulary(folder: Path) -> object:
    lines = len((folder / VOCAB).read_text().splitlines())
    made = peer_tokenizer(folder)
    pad = made.convert_tokens_to_ids("[PAD]")
    return f"accepted: {lines} lines become {len(made)} tokens, [PAD] is {pad}"


def peer_windows(**settings: Any) -> Callable[[Path], object]:
    def call(folder: Path) -> object:
        made = peer_tokenizer(folder)("who was anna ? " * 8, "the old town " * 8, **settings)
        return f"accepted: {len(made['input_ids'])} ids" if settings["max_length"] == 0 else None

    return call


def peer_text(text: str, says: Callable[[list[str]], str]) -> Callable[[Path], object]:
    return lambda folder: says(peer_tokenizer(folder).tokenize(text))


def peer_embedding(folder: Path) -> object:
    return torch.nn.Embedding(10, 2)(torch.tensor([10]))


def peer_loss(target: int) -> Callable[[Path], object]:
    def call(folder: Path) -> object:
        loss = torch.nn.functional.cross_entropy(
            torch.zeros(1, 8), torch.tensor([target]), ignore_index=-1
        )
        return f"accepted: the loss is {loss.item()}"

    return call


def peer_softmax(folder: Path) -> object:
    return f"accepted: {torch.full((2,), -torch.inf).softmax(0).tolist()}"


def peer_dumps(folder: Path) -> object:
    return f"accepted: writes {json.dumps({'f1': float('nan')})}, which is not JSON"


# --- the rows


def weights_rows() -> Iterator[Row]:
    words = (*ANSWER, "the old town")

    def row(given: str, damage: Callable[[Path], object]) -> Row:
        return Row("Weights", given, damage, words, peer_weights)

    yield row("no file", removed(WEIGHTS))
    yield row("an empty file", content(WEIGHTS, b""))
    yield row("7 bytes", replaced(WEIGHTS, lambda file: file[:7]))
    yield row("the header's size only", replaced(WEIGHTS, lambda file: file[:8]))
    yield row("cut inside the header", replaced(WEIGHTS, lambda file: file[:100]))
    yield row("1 byte short", replaced(WEIGHTS, lambda file: file[:-1]))
    yield row("1 byte more", replaced(WEIGHTS, lambda file: file + b"\0"))
    yield row("a header of 2^63 bytes", raw_header(b"{}", 1 << 63))
    yield row("a header of 100,000,001 bytes", raw_header(b"{}", 100_000_001))
    yield row("a pickle", content(WEIGHTS, b"\x80\x02}q\x00X\x06\x00\x00\x00weightq\x01."))
    yield row("a zipped pickle", content(WEIGHTS, b"PK\x03\x04" + bytes(60)))
    yield row("an HTML page", content(WEIGHTS, "<!DOCTYPE html><html>Not found</html>"))
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    yield row("a git-lfs pointer", content(WEIGHTS, pointer))
    yield row("a folder", folder_in_place_of(WEIGHTS))
    yield row("header: not UTF-8", raw_header(b'{"\xff": 1}'))
    yield row("header: not JSON", raw_header(b"{nothing}"))
    yield row("header: a list", raw_header(b"[]"))
    yield row("header: 50,000 levels deep", raw_header(b'{"a":' * 50_000))
    yield row("header: a 5,000-digit number", raw_header(b'{"a":' + b"1" * 5_000 + b"}"))
    yield row("header: a space before it", header(lambda e: None, pad=b" "))
    yield row("header: 2 MB of spaces", header(lambda e: None, tail=b" " * 2_000_000))
    yield row("header: a negative shape", header(entry(shape=[-2])))
    yield row("header: an unknown dtype", header(entry(dtype="F31")))
    yield row("header: a field missing", header(lambda e: e[BIAS].pop("dtype") and None))
    yield row("header: a field too many", header(entry(colour="red")))
    yield row("header: `__metadata__: null`", header(lambda e: e.update(__metadata__=None)))
    metadata = {"format": 1}
    yield row("header: metadata that is no text", header(lambda e: e.update(__metadata__=metadata)))
    yield row("header: a shape of more bytes than given", header(entry(shape=[3])))
    yield row("header: a shape whose product overflows", header(entry(shape=[1 << 62, 1 << 62])))
    huge = {"dtype": "F32", "shape": [0, 1 << 62], "data_offsets": [0, 0]}
    yield row("header: the shape [0, 2^62]", header(lambda e: e.update(extra=huge)))
    yield row("header: reversed offsets", header(lambda e: e[BIAS]["data_offsets"].reverse()))
    yield row("header: tensors overlap", header(moved(-4), data=-4))
    yield row("header: a hole between tensors", header(moved(4), data=4))
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    many = {f"t{n}": empty for n in range(6_000)}
    yield row("header: 6,000 tensors", header(lambda e: {**many, **e}))

    def twice(file: bytes) -> bytes:
        size = int.from_bytes(file[:8], "little")
        text = file[8 : 8 + size].rstrip()
        again = json.dumps({BIAS: json.loads(text)[BIAS]}).encode()[1:-1]
        text = text[:-1] + b"," + again + b"}"
        return len(text).to_bytes(8, "little") + text + file[8 + size :]

    yield row("header: a tensor's name twice", replaced(WEIGHTS, twice))
    yield row("a tensor missing", tensors(lambda t: t.pop("bert.embeddings.LayerNorm.bias")))
    yield row("the head missing", tensors(lambda t: (t.pop(BIAS), t.pop(WEIGHT))))
    evil = {"../../etc/passwd": torch.zeros(1)}
    yield row("a tensor named `../../etc/passwd`", tensors(lambda t: t.update(evil)))
    yield row("a tensor of another shape", tensors(lambda t: t.update({BIAS: torch.zeros(3)})))
    yield row("a tensor of whole numbers", tensors(lambda t: t.update({BIAS: torch.arange(2)})))
    yield row("a NaN", tensors(lambda t: t[WEIGHT].view(-1)[3].fill_(float("nan"))))
    yield row("an infinity", tensors(lambda t: t[WEIGHT].view(-1)[3].fill_(float("inf"))))

    def only_pickle(folder: Path) -> None:
        (folder / WEIGHTS).rename(folder / "model/pytorch_model.bin")

    yield row("only pytorch_model.bin", only_pickle)


def tokenizer_rows() -> Iterator[Row]:
    words = (*ANSWER, "the old town")

    def file(given: str, damage: Callable[[Path], object]) -> Row:
        return Row("Vocabulary", given, damage, words, peer_tokenizer_file)

    yield Row("Vocabulary", "no vocabulary at all", removed(VOCAB), words, peer_no_vocabulary)
    yield file("tokenizer.json: empty", content(TOKENIZER, b""))
    yield file("tokenizer.json: a list", content(TOKENIZER, b"[]"))
    bpe = {"type": "BPE", "vocab": {"a": 0}, "merges": []}
    yield file("tokenizer.json: another kind of tokenizer", tokenizer_json(**bpe))
    yield file("tokenizer.json: an id that is no number", tokenizer_json(vocab={"[PAD]": "0"}))

    def vocabulary(given: str, change: Callable[[bytes], bytes], told: str = "") -> Row:
        works = "(no answer)" if told else ""
        return Row(
            "Vocabulary", given, replaced(VOCAB, change), words, peer_vocabulary, works, told
        )

    def without(file: bytes) -> bytes:
        return file.replace(b"[SEP]\n", b"").replace(b"[UNK]\n", b"")

    yield vocabulary("vocab.txt: no [SEP] and [UNK]", without)
    yield vocabulary("vocab.txt: tokens twice", lambda file: file + b"the\nold\n")
    yield vocabulary("vocab.txt: not UTF-8", lambda file: file + b"\xff\n")
    bom = b"\xef\xbb\xbf"
    yield vocabulary(
        "vocab.txt: a byte-order mark", lambda file: bom + file, "it is no part of the first token"
    )
    crlf: Callable[[bytes], bytes] = lambda file: file.replace(b"\n", b"\r\n")  # noqa: E731
    yield vocabulary("vocab.txt: Windows line ends", crlf, "they are no part of the tokens")
    yield Row(
        "Vocabulary", "more tokens than the model has ids",
        replaced(VOCAB, lambda file: file + b"one_more\n"), words, peer_embedding,
    )  # fmt: skip


def text_rows() -> Iterator[Row]:
    def row(given: str, text: str, told: str, theirs: Callable[[Path], object]) -> Row:
        words = (*ANSWER, text, "--null-threshold", "1e30", "--json")
        return Row("Text", given, nothing, words, theirs, '"answer"', told)

    broken: Callable[[list[str]], str] = lambda tokens: f"accepted: {tokens}"  # noqa: E731
    text = "the \udc80 town"
    yield Row(
        "Text", "half a surrogate pair in an argument", nothing, (*ANSWER, text),
        peer_text(text, broken),
    )  # fmt: skip
    text = "old [SEP] town [MASK]"
    yield row(
        "`[SEP]` and `[MASK]` typed in it",
        text,
        "plain text, an answer like any",
        peer_text(text, broken),
    )
    context = f"the {'x' * 101} town"
    yield Row(
        "Text", "a word of 101 characters", squad(lambda p: p.update(context=context, qas=[
            {"id": "dev-0", "question": "who ?", "answers": [], "is_impossible": True}
        ])), WINDOWS, peer_text(context, broken),
        "over-long words: 1 (of over 100 characters, each one [UNK]): dev-0",
    )  # fmt: skip


def window_rows() -> Iterator[Row]:
    pair = {"truncation": "only_second", "return_overflowing_tokens": True}

    def row(
        given: str, flags: str, settings: dict[str, int], damage: Any = nothing, works: str = ""
    ) -> Row:
        words = (*WINDOWS, *flags.split())
        return Row("Windows", given, damage, words, peer_windows(**pair, **settings), works)

    yield row(
        "a question longer than the window", "--max-length 16 --doc-stride 4",
        {"max_length": 16, "stride": 4}, question(question="who was anna ? " * 8),
        "cut questions: 1 (longer than --max-question-length or the room): dev-0",
    )  # fmt: skip
    yield row(
        "a stride as long as the room", "--max-length 40 --doc-stride 39",
        {"max_length": 40, "stride": 39},
    )  # fmt: skip
    yield row("--max-length 0", "--max-length 0", {"max_length": 0, "stride": 0})
    yield row("--max-length -5", "--max-length -5", {"max_length": -5, "stride": 0})


def squad_rows() -> Iterator[Row]:
    def row(given: str, damage: Callable[[Path], object], works: str = "") -> Row:
        words = WINDOWS if works else PREDICT
        return Row("SQuAD files", given, damage, words, peer_json("dev.json"), works)

    yield row("no file", removed("dev.json"))
    yield row("empty", content("dev.json", b""))
    yield row("not UTF-8", content("dev.json", b'{"data": "\xff"}'))
    yield row("not JSON", content("dev.json", b'{"data": ['))
    yield row("a key twice in an object", content("dev.json", b'{"data": [], "data": []}'))
    yield row("`NaN` in it", content("dev.json", b'{"data": [], "version": NaN}'))
    yield row("100,000 levels deep", content("dev.json", b"[" * 100_000))
    yield row("a 5,000-digit number", content("dev.json", b'{"data": ' + b"1" * 5_000 + b"}"))
    yield row("no `data`", content("dev.json", b'{"version": "v2.0"}'))
    yield row("no question", content("dev.json", b'{"data": []}'))
    yield row("a v1 file where v2 is expected", as_v1, "15 questions, 0 of them impossible")
    yield row("answers empty, not marked impossible", question(answers=[]), "unmarked questions: 1")
    yield row("marked impossible, with answers", question(is_impossible=True))
    yield row("answer_start 1 off", answer(answer_start=DEV_START + 1), "repaired answers: 1")
    yield row("answer_start 40 off", answer(answer_start=DEV_START + 40))
    yield row("answer_start beyond the context", answer(answer_start=9_999))
    yield row("an answer that is not in the context", answer(text="Paris"))
    yield row("an answer without text", answer(text=""))
    yield row("a blank context", squad(lambda p: p.update(context=" \n ")))
    same = {"id": "dev-0", "question": "who ?", "answers": []}
    yield row("an id twice", squad(lambda p: p["qas"].append(same)))
    yield row("a question that is no text", question(question=7))
    marked = replaced("dev.json", lambda file: b"\xef\xbb\xbf" + file)
    yield row("a byte-order mark", marked, "22 questions")


def score_rows() -> Iterator[Row]:
    def row(given: str, text: str, *flags: str, file: str = "predictions.json") -> Row:
        def damage(folder: Path) -> None:
            questions = [f"dev-{n}" for n in range(22)]
            (folder / "predictions.json").write_text(json.dumps(dict.fromkeys(questions, "a")))
            (folder / file).write_text(text)

        words = (*SCORE, *flags)
        return Row("Predictions and no-answer probabilities", given, damage, words, peer_json(file))

    yield row("a question without prediction", '{"dev-0": ""}')
    yield row("an id twice", '{"dev-0": "", "dev-0": "a"}')
    yield row("a list", "[]")
    yield row("a prediction that is no text", '{"dev-0": ["a"]}')
    flags = ("-n", "DIR/na_probs.json")
    yield row("a probability `NaN`", '{"dev-0": NaN}', *flags, file="na_probs.json")
    yield row("a probability of 1e999", '{"dev-0": 1e999}', *flags, file="na_probs.json")
    off = "--no-null-answer"
    yield row(f"{off} beside probabilities", '{"dev-0": 0.5}', *flags, off, file="na_probs.json")
    none = '{"data": [{"paragraphs": [{"qas": [{"id": "dev-0", "answers": []}]}]}]}'
    yield row(f"{off} where no question has an answer", none, off, file="dev.json")


def model_rows() -> Iterator[Row]:
    def row(given: str, damage: Callable[[Path], object]) -> Row:
        theirs = peer_model if "weights" in given else peer_config
        if "settings" in given:
            theirs = peer_json("model/qa_settings.json")
        return Row("Configuration", given, damage, (*ANSWER, "the old town"), theirs)

    def config(**values: Any) -> Callable[[Path], object]:
        return replaced(
            "model/config.json", lambda file: json.dumps({**json.loads(file), **values}).encode()
        )

    yield row("config.json: empty", content("model/config.json", b""))
    yield row("config.json: another model", config(model_type="roberta"))
    yield row("config.json: heads that do not divide the width", config(num_attention_heads=3))
    yield row("config.json: 10^9 layers", config(num_hidden_layers=10**9))
    yield row("config.json: another size than the weights", config(max_position_embeddings=41))
    settings = content("model/qa_settings.json", '{"max_length": null}')
    yield row("qa_settings.json: a length that is no number", settings)


def training_rows() -> Iterator[Row]:
    section = "Training"

    yield Row(
        section, "a label beyond the window", lambda folder: shift_training(folder),
        ("train.squad",), peer_loss(8),
    )  # fmt: skip
    yield Row(
        section, "a window without its answer (all labels ignored)", nothing,
        (*WINDOWS, "--id", "dev-2"), peer_loss(-1), "there is no answer; label 0, 0 = [CLS]",
    )  # fmt: skip
    yield Row(
        section, "a row of which every token is masked", nothing,
        lambda folder: PackedBatch.from_padded(IDS, attention_mask=IDS), peer_softmax,
    )  # fmt: skip
    yield Row(
        section, "a NaN to be written as JSON", nothing,
        lambda folder: write_json(folder / "metrics.json", {"f1": float("nan")}), peer_dumps,
    )  # fmt: skip


def tweet_rows() -> Iterator[Row]:
    section = "Tweets"
    classify = (
        "train.classify", "--train-file", "DIR/train.csv", "--dev-file", "DIR/dev.csv",
        "--output-dir", "DIR/run", "--model", "feedforward", "--threads", "1",
    )  # fmt: skip

    def row(given: str, file: str, rows: str | bytes, *flags: str) -> Row:
        def damage(folder: Path) -> None:
            for name in ("train.csv", "dev.csv"):
                (folder / name).write_text("text,label\nanna,pro\nthe river,anti\n")
            made = rows if isinstance(rows, bytes) else rows.encode()
            (folder / file).write_bytes(made)

        theirs = peer_csv(file) if file.endswith(".csv") else peer_vectors(file)
        return Row(section, given, damage, (*classify, *flags), theirs)

    head = "text,label\n"
    yield row("a row with a column too many", "train.csv", f"{head}anna,pro\none, two,anti\n")
    yield row("a quote that ends too soon", "train.csv", f'{head}anna,pro\n"a "b" c",anti\n')
    yield row("a quote that is never closed", "train.csv", f'{head}"anna,pro\nriver,anti\n')
    yield row(
        "two encodings in one file", "train.csv", "text,label\n\u00e9,a\n".encode() + b"\xe9,b\n"
    )
    yield row("no text in a record", "train.csv", f"{head}anna,pro\n,anti\n")
    yield row("one class only", "train.csv", f"{head}anna,pro\nriver,pro\n")
    yield row("a label that the training file lacks", "dev.csv", f"{head}anna,against\n")
    yield row("no column of labels", "dev.csv", "text,user\nanna,7\n")
    vectors = ("--vectors", "DIR/vectors.txt", "--min-texts", "1")
    yield row("word vectors: a number too few", "vectors.txt", "anna 1 2\nriver 1\n", *vectors)
    yield Row(
        section, "a baseline's name in place of a trained one", nothing,
        ("eval.classify", "--model", "softmax", "--data-file", "DIR/dev.csv", "--output-dir",
         "DIR/out"), peer_hub("softmax"),
    )  # fmt: skip

    def compared(given: str, change: Callable[[Path], object]) -> Row:
        def damage(folder: Path) -> None:
            for name, predicted in (("one", "aabb"), ("two", "abbb")):
                write_classify_run(folder / name, "aabb", predicted)
            change(folder)

        words = ("eval.compare", "DIR/one", "DIR/two")
        return Row(section, given, damage, words, peer_json("one/predictions.json"))

    def unnormalised(folder: Path) -> None:
        path = folder / "one" / "predictions.json"
        predictions = json.loads(path.read_bytes())
        predictions["3"]["probabilities"] = {"a": 0.9, "b": 0.3}
        path.write_text(json.dumps(predictions))

    yield compared("runs compared: probabilities with sum 1.2", unnormalised)
    other = replaced("one/predictions.json", lambda file: file.replace(b'"5"', b'"6"'))
    yield compared("runs compared: another dev text", other)


def peer_csv(file: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        with (folder / file).open(newline="", encoding="utf-8") as stream:
            return f"accepted: {list(csv.reader(stream))[1:]}"

    return read


def peer_vectors(file: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        lines = (folder / file).read_text().splitlines()
        rows = [line.split() for line in lines]
        return np.array([[float(number) for number in row[1:]] for row in rows]) and None

    return read


def peer_hub(name: str) -> Callable[[Path], object]:
    def load(folder: Path) -> object:
        import transformers

        return transformers.BertConfig.from_pretrained(folder / name) and None

    return load


def set_rows() -> Iterator[Row]:
    section = "Data sets: converting, downloading, a matrix of them"

    def row(
        given: str, damage: Callable[[Path], object], ours: tuple[str, ...], theirs: Any
    ) -> Row:
        return Row(section, given, damage, ours, theirs)

    def convert(name: str, file: str, *flags: str) -> tuple[str, ...]:
        words = ("data.convert", name, f"DIR/{file}", "--out", "DIR/made.json")
        return (*words, "--jobs", "1", *flags)

    def packed(file: str, *records: Any, cut: int = 0) -> Callable[[Path], object]:
        def write(folder: Path) -> None:
            path = write_lines(folder / file, *records)
            path.write_bytes(path.read_bytes()[: -cut or None])

        return write

    def written(file: str, value: Any) -> Callable[[Path], object]:
        def write(folder: Path) -> None:
            (folder / file).parent.mkdir(exist_ok=True)
            write_json_lines(folder / file, value)

        return write

    record = simplified(1, annotation(LEAD))
    cut = packed("nq.jsonl.gz", record, record, cut=30)
    yield row("a .gz that was cut", cut, convert("nq", "nq.jsonl.gz"), peer_lines("nq.jsonl.gz"))
    half = content("hotpot.jsonl", '{"header": {"dataset": "HotpotQA"}}\n{"context": "Anna')
    yield row("half a line", half, convert("mrqa", "hotpot.jsonl"), peer_lines("hotpot.jsonl"))
    questions = quac(("C_0_q#0", [("Anna", 0)]))
    yield row(
        "another set's file", written("quac.json", questions), convert("triviaqa", "quac.json"),
        peer_json("quac.json"),
    )  # fmt: skip
    archive = content("quac.json", b"PK\x03\x04" + bytes(60))
    yield row("an archive", archive, convert("quac", "quac.json"), peer_json("quac.json"))
    bare = {"data": [{"title": "The Mill", "paragraphs": [{"context": "Anna built it."}]}]}
    yield row(
        "QuAC: a paragraph without questions", written("quac.json", bare),
        convert("quac", "quac.json"), peer_json("quac.json"),
    )  # fmt: skip

    def trivia(file: str) -> Any:
        page = {"Filename": file, "Title": "The Mill", "DocSource": "TagMe"}
        answer = {"Value": "Anna", "Aliases": ["Anna"], "NormalizedAliases": ["anna"]}
        asked = {"Question": "Who?", "QuestionId": "q", "Answer": answer, "EntityPages": [page]}
        return {"Data": [asked], "Domain": "Wikipedia", "VerifiedEval": False, "Version": 1.0}

    words = convert("triviaqa", "wikipedia-dev.json", "--evidence", "DIR/model")
    for given, name in (
        ("TriviaQA: no evidence file", "The_Mill.txt"),
        ("TriviaQA: evidence outside of its folder", "../../dev.json"),
    ):
        file = "wikipedia-dev.json"
        yield row(given, written(file, trivia(name)), words, peer_json(file))

    download = ("data.download", "quac", "--folder", "DIR/sets")
    yield row(
        "a set that is none", nothing, ("data.download", "quca", "--folder", "DIR/sets"),
        peer_address("quca"),
    )  # fmt: skip
    yield row(
        "a mirror that is no address", nothing, (*download, "--mirror", "mirror.example"),
        peer_address("mirror.example"),
    )  # fmt: skip

    def matrix(given: str, text: str, *flags: str) -> Row:
        words = ("train.matrix", "DIR/matrix.toml", "--output-dir", "DIR/matrix", "--threads", "1")
        return row(given, content("matrix.toml", text), (*words, *flags), peer_toml)

    sets = 'from_scratch = "model"\n[sets.squad]\ntrain = "train.json"\ndev = "dev.json"\n'
    yield matrix("a matrix's config: a key that is misspelt", f"sedes = [0]\n{sets}")
    yield matrix(
        "a matrix's config: a file that is not there", sets.replace("train.json", "train-v3.json")
    )
    yield matrix("--only for a set that is none", sets, "--only", "squad:qua")


def peer_lines(file: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        path = folder / file
        opened = gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")
        with opened as lines:
            return [json.loads(line) for line in lines] and None

    return read


def peer_address(address: str) -> Callable[[Path], object]:
    return lambda folder: urllib.request.urlretrieve(address, folder / "got") and None


def peer_toml(folder: Path) -> object:
    return tomllib.loads((folder / "matrix.toml").read_text()) and None


IDS = torch.tensor([[1, 1, 1], [0, 0, 0]])


def shift_training(folder: Path) -> None:
    document = json.loads((folder / "train.json").read_text())
    document["data"][0]["paragraphs"][0]["qas"][0]["answers"][0]["answer_start"] = 9_999
    (folder / "train.json").write_text(json.dumps(document))


DEV_START = json.loads((sound_folder() / "dev.json").read_text())["data"][0]["paragraphs"][0][
    "qas"
][0]["answers"][0]["answer_start"]
ROWS = [
    *weights_rows(), *model_rows(), *tokenizer_rows(), *text_rows(), *window_rows(),
    *squad_rows(), *score_rows(), *training_rows(), *tweet_rows(), *set_rows(),
]  # fmt: skip


# --- running them


def run_command_of(row: Row, folder: Path, *more: str) -> tuple[int, str, str]:
    """Status, output and errors of a row's command."""
    assert isinstance(row.ours, tuple)
    module, *words = (word.replace("DIR", str(folder)) for word in row.ours)
    if module == "train.squad":
        words = little_arguments(folder, folder / "run")
    return forked(module, *words, *more, environment=OFFLINE)


def plain(text: str, folder: Path) -> str:
    """A message without the folder's name, on one line."""
    return " ".join(text.replace(f"{folder}/", "").replace(str(folder), ".").split())


@cache
def ours(number: int) -> str:
    """What minibert says of a row."""
    row = ROWS[number]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(row, folder)
        if not isinstance(row.ours, tuple):
            try:
                row.ours(folder)
            except ValueError as error:
                return plain(str(error), folder)
            raise AssertionError(f"{row.input} is accepted")
        status, output, errors = run_command_of(row, folder)
        if not row.works:
            assert status == 2, (row.input, status, errors)
            return plain(errors.removeprefix("error: "), folder)
        assert status == 0, (row.input, errors)
        line = next((line for line in output.splitlines() if row.works in line), "")
        assert line, (row.input, output)
        return "works: " + (row.told or plain(line, folder))


def theirs(number: int) -> str:
    """What a library says of a row."""
    row = ROWS[number]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(row, folder)
        try:
            said = row.theirs(folder) or "accepted"
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        text = f"{library(row)}: {plain(str(said), folder)}"
    return text if len(text) <= LONGEST else text[:LONGEST] + " ..."


def library(row: Row) -> str:
    """Whose words the second column has."""
    if row.theirs in (peer_weights, peer_tokenizer_file):
        return "safetensors" if row.theirs is peer_weights else "tokenizers"
    for words in ("csv", "vectors", "lines", "address", "toml"):
        if f"peer_{words}" in row.theirs.__qualname__:
            return {
                "vectors": "numpy",
                "lines": "json",
                "address": "urllib",
                "toml": "tomllib",
            }.get(words, words)
    if row.theirs in (peer_embedding, peer_softmax) or "peer_loss" in row.theirs.__qualname__:
        return "torch"
    is_json = row.theirs is peer_dumps or "peer_json" in row.theirs.__qualname__
    return "json" if is_json else "transformers"


def cell(text: str) -> str:
    """Text as code in a table."""
    text = text.replace("|", "\\|")
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def versions() -> str:
    """The libraries that the page was made with."""
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)


def page() -> str:
    """The text of docs/errors.md."""
    lines = [
        "# What minibert says of bad input",
        "",
        "Every row was made and tried: the second column is what the library that reads such input "
        "today answers, the third what minibert's command prints behind `error:` before it leaves "
        "with status 2. Nothing is written, and `--debug` shows the traceback. Messages name files "
        f"in full; here the folder is left out. Libraries: {versions()}; `json`, `csv`, "
        "`tomllib` and `urllib` are Python's.",
        "",
        "`python -m tests.errors_table` writes this page; `tests/test_errors.py` holds it to the "
        "code.",
    ]
    section = ""
    for number, row in enumerate(ROWS):
        if row.section != section:
            section = row.section
            lines += ["", f"## {section}", "", "| input | the library says | minibert says |"]
            lines += ["|---|---|---|"]
        lines.append(f"| {row.input} | {cell(theirs(number))} | {cell(ours(number))} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    torch.set_num_threads(1)
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{len(ROWS)} rows: {PAGE}")
