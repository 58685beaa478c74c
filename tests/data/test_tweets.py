"""The tweet reader: real files whole, files as found in the wild, every bad record named."""

import csv
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from data.cleaning import RECIPES
from data.ledger import tweet_ledger
from data.tokenization import Tokenizer
from data.tokenizer_files import SPECIAL_TOKENS, read_vocabulary
from data.tweet_rows import LABEL_COLUMNS, MOST_CHARACTERS, TEXT_COLUMNS
from data.tweets import MOST_LABELS, TweetData, find_shared, read_class_names, read_tweets
from tests.forked import forked

TRAIN, DEV = "tweets/vaccine_train_set.csv", "tweets/vaccine_validation_set.csv"
HEADER = "text,label\n"


def written(folder: Path, content: str | bytes, name: str = "tweets.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(folder: Path, content: str | bytes, **options: object) -> TweetData:
    return read_tweets(written(folder, content), **options)  # type: ignore[arg-type]


def names_of(tweets: TweetData) -> list[str]:
    return [tweets.label_names[label] for label in tweets.labels]


# --- the real files


def test_the_real_files_are_read_whole(real_data: Path) -> None:
    train = read_tweets(real_data / TRAIN)
    dev = read_tweets(real_data / DEV, label_names=train.label_names)
    assert (len(train), len(dev)) == (15976, 2282)
    assert train.label_names == dev.label_names == ("0", "1", "2")
    assert train.counts.tolist() == [7458, 2073, 6445]
    assert dev.counts.tolist() == [1065, 296, 921]
    assert (train.text_column, train.label_column) == ("tweet", "label")
    assert train.blank_lines == dev.blank_lines == []
    for tweets, path in ((train, TRAIN), (dev, DEV)):
        with (real_data / path).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert tweets.texts == [row["tweet"] for row in rows]
        assert names_of(tweets) == [row["label"] for row in rows]
    assert sum("\n" in text for text in train.texts) == 1170


def test_sixteen_dev_tweets_also_stand_in_train(real_data: Path) -> None:
    train, dev = read_tweets(real_data / TRAIN), read_tweets(real_data / DEV)
    shared = find_shared(dev, train)
    assert len(shared) == 16 and shared.dtype == np.int64
    for t in shared.tolist():
        again = train.texts.index(dev.texts[t])
        assert train.label_names[train.labels[again]] == dev.label_names[dev.labels[t]]
    # as people copy them, with other addresses and names, they are more
    bare = RECIPES["report-stem"].rules()[:-1]

    def told(text: str) -> str:
        for rule in bare:
            text = rule(text)
        return " ".join(text.split())

    known = set(map(told, train.texts))
    assert sum(told(text) in known for text in dev.texts) > 90


def test_every_record_begins_on_its_line(real_data: Path) -> None:
    tweets = read_tweets(real_data / DEV)
    lines = (real_data / DEV).read_bytes().split(b"\n")
    for t, line in enumerate(tweets.lines.tolist()):
        assert lines[line - 1].startswith(b"%d," % t)


def test_what_stands_twice_is_counted(real_data: Path) -> None:
    train = read_tweets(real_data / TRAIN)
    repeated, contradicted = tweet_ledger(train, train.texts)
    assert repeated.startswith("repeated tweets: 140 (in the file more than once): line 341, ")
    assert contradicted.startswith("contradicted tweets: 30 (repeated with another label): line ")


def test_reading_takes_at_most_ten_times_the_file(real_data: Path, tmp_path: Path) -> None:
    texts = read_tweets(real_data / DEV).texts
    lines = "".join(json.dumps({"text": t, "label": "a"}, ensure_ascii=False) + "\n" for t in texts)
    table = HEADER + "".join(f'"{"😂" * 40}",{n % 3}\n' for n in range(5000))
    wide = written(tmp_path, table.encode("utf-16"), "wide.csv")
    for path in (real_data / TRAIN, written(tmp_path, lines, "tweets.jsonl"), wide):
        tracemalloc.start()
        tweets = read_tweets(path)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(tweets) and used <= 10 * path.stat().st_size, used / path.stat().st_size


# --- files as found in the wild


def test_quotes_line_breaks_and_crlf_are_read_as_excel_writes_them(tmp_path: Path) -> None:
    content = (
        'id,label,text\r\n1,a,"two\r\nlines, ""quoted"""\r\n2,b,5" of "stray" quotes\r\n'
        '3,a," spaces "\r\n'
    )
    tweets = read(tmp_path, content)
    assert tweets.texts == ['two\r\nlines, "quoted"', '5" of "stray" quotes', " spaces "]
    assert names_of(tweets) == ["a", "b", "a"] and tweets.lines.tolist() == [2, 4, 5]


@pytest.mark.parametrize("separator", [",", "\t", ";"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separators_and_line_ends_are_told_by_the_content(
    separator: str, end: str, tmp_path: Path
) -> None:
    texts = ["a, b\t; c", "d\u2028e\x85", 'f "g"', "h" + end + "i", "-"]
    path = tmp_path / "x"
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, delimiter=separator, lineterminator=end)
        table.writerows([["text", "label"], *([text, n] for n, text in enumerate(texts))])
    tweets = read_tweets(path)
    assert tweets.texts == texts and tweets.labels.tolist() == [0, 1, 2, 3, 4]


def test_without_quotes_every_quote_is_text(tmp_path: Path) -> None:
    tweets = read(tmp_path, 'label\ttext\na\t"open\nb\t"closed"\n', quotes=False)
    assert tweets.texts == ['"open', '"closed"']


def test_json_lines_may_hold_names_numbers_and_truth_values(tmp_path: Path) -> None:
    records = [{"id": 1, "Tweet": "a\nb", "label": " x "}, {"label": "x", "Tweet": "[SEP]"}]
    tweets = read(tmp_path, "\n".join(map(json.dumps, records)) + "\n\n")
    assert tweets.texts == ["a\nb", "[SEP]"] and tweets.text_column == "Tweet"
    assert tweets.label_names == ("x",) and tweets.blank_lines == [3]
    for labels, names in (([1, 0], ("0", "1")), ([2.0, 10], ("2", "10")), ([True, False], None)):
        content = "\n".join(json.dumps({"text": "a", "label": label}) for label in labels)
        assert read(tmp_path, content).label_names == (names or ("false", "true"))


@pytest.mark.parametrize(
    ("labels", "names", "classes"),
    [
        (["10", "9", "-1", "9"], ("-1", "9", "10"), [2, 1, 0, 1]),
        (["1.0", "01", " 1 ", "+2"], ("1", "2"), [0, 0, 0, 1]),
        (["pro", "anti", "Pro"], ("Pro", "anti", "pro"), [2, 1, 0]),
        (["1", "b", "01"], ("01", "1", "b"), [1, 2, 0]),  # not all numbers: names
    ],
)
def test_numbers_are_ordered_by_size_and_names_by_alphabet(
    labels: list[str], names: tuple[str, ...], classes: list[int], tmp_path: Path
) -> None:
    tweets = read(tmp_path, HEADER + "".join(f"a,{label}\n" for label in labels))
    assert tweets.label_names == names
    assert tweets.labels.tolist() == classes and tweets.labels.dtype == np.int64
    again = read(tmp_path, f"{HEADER}a,{labels[-1]}\n", label_names=names)
    assert again.labels.tolist() == classes[-1:]
    assert again.counts.tolist() == np.bincount(classes[-1:], minlength=len(names)).tolist()


@pytest.mark.parametrize("text", TEXT_COLUMNS)
def test_columns_are_found_by_their_usual_names_in_any_case(text: str, tmp_path: Path) -> None:
    for label in LABEL_COLUMNS:
        tweets = read(tmp_path, f"{label.upper()},x,{text.title()}\n1,2,three\n")
        assert tweets.texts == ["three"] and tweets.label_names == ("1",)


def test_chosen_columns_win_over_usual_names(tmp_path: Path) -> None:
    content = "text,label,body,mood\na,0,b,1\n"
    tweets = read(tmp_path, content, text_column="body", label_column="mood")
    assert tweets.texts == ["b"] and tweets.label_names == ("1",)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("kind", ["table", "json"])
def test_encodings_are_told_by_their_byte_order_mark(
    encoding: str, kind: str, tmp_path: Path
) -> None:
    content = (
        f"{HEADER}caf\xe9 😂,a\n" if kind == "table" else '{"text": "caf\xe9 😂", "label": "a"}'
    )
    assert read(tmp_path, content.encode(encoding)).texts == ["caf\xe9 😂"]
    for big in ("utf-16", "utf-32") if encoding == "utf-16" else ():
        content_big = "\ufeff" + content
        assert read(tmp_path, content_big.encode(f"{big}-be")).texts == ["caf\xe9 😂"]


def test_windows_1252_is_read_where_it_is_asked_for(tmp_path: Path) -> None:
    content = f"{HEADER}“caf\xe9” … 5 €,a\n".encode("cp1252")
    assert read(tmp_path, content, encoding="windows-1252").texts == ["“caf\xe9” … 5 €"]
    assert read(tmp_path, f"{HEADER}plain,a\n", encoding="windows-1252").texts == ["plain"]
    marked = f"{HEADER}caf\xe9,a\n".encode("utf-8-sig")  # the mark wins
    with pytest.raises(ValueError, match="line 2 is UTF-8"):
        read(tmp_path, marked[3:], encoding="windows-1252")
    assert read(tmp_path, marked, encoding="windows-1252").texts == ["caf\xe9"]


def test_blank_lines_and_rows_of_empty_fields_are_skipped_and_counted(tmp_path: Path) -> None:
    tweets = read(tmp_path, f"\n \n{HEADER}a,1\n\n,\nb,2\n\n")
    assert tweets.texts == ["a", "b"] and tweets.blank_lines == [1, 2, 5, 6, 8]
    assert tweets.lines.tolist() == [4, 7]
    assert tweet_ledger(tweets, ["", "b"]) == [
        "skipped lines: 5 (nothing stands in them): line 1, 2, 5, 6, 8",
        "emptied tweets: 1 (cleaning leaves nothing of them): line 4",
    ]


# --- what is refused


OPEN = f'{HEADER}a,1\n"open,1\nb,2\n"c",1\n'
HOSTILE: dict[str, tuple[str | bytes, dict[str, object], str]] = {
    "nothing": (b"", {}, "is empty"),
    "blank": ("\n \n", {}, "is empty"),
    "zero rows": (HEADER, {}, "holds no tweets"),
    "no column for the text": ("a,label\nb,1\n", {}, ": line 1 has no column for the text"),
    "two columns for the text": ("text,tweet,label\n", {}, "has 2 columns for the text"),
    "no such column": (HEADER, {"text_column": "x"}, "no column 'x' among 'text', 'label'; name"),
    "a name twice": ("text,label,text\n", {"text_column": "text"}, "has 2 columns 'text'"),
    "one column for both": (HEADER, {"label_column": "text"}, "'text' cannot be the text's"),
    "no header": ("I love it,2\nme too,1\n", {}, "among 'I love it', '2'; name one with --text"),
    "a column too many": (f"{HEADER}a,1\nb,c,1\n", {}, ": line 3 has 3 columns, expected 2"),
    "a column too few": (f"{HEADER}a\n", {}, ": line 2 has 1 column, expected 2"),
    "empty text": (f'{HEADER}"a\nb",1\n  ,1\n', {}, ": line 4 has nothing in the column 'text'"),
    "no label": (f"{HEADER}a, \n", {}, ": line 2 has nothing in the column 'label'"),
    "unknown label": (
        f"{HEADER}a,1\nb,3\n", {"label_names": ("0", "1")},
        ": line 3 has the label '3', expected one of the training file's: '0', '1'",
    ),
    "labels that are texts": (
        HEADER + "".join(f"a,{n}\n" for n in range(MOST_LABELS + 1)), {},
        f"more than {MOST_LABELS} different labels up to line {MOST_LABELS + 2}",
    ),
    "a quote that stays open": (OPEN, {}, ": line 3 to 5 has a quoted field that ends at a quote"),
    "a quote that nothing closes": (
        f'{HEADER}a,1\n"b,1\nc,1\n', {}, ": line 3 to 4 has a quoted field that is open"
    ),
    "a quote that ends too soon": (f'{HEADER}"a "b" c",1\n', {}, ": line 2 has a quoted field"),
    "quotes behind backslashes": (f'{HEADER}"a \\"b\\" c",1\n', {}, ": line 2 has a quoted field"),
    "a text without end": (
        f"{HEADER}{'a' * (MOST_CHARACTERS + 1)},1\n", {}, ": line 2 has a field of over 131072 char"
    ),
    "zero byte": (f"{HEADER}a\x00,1\n", {}, ": line 2 holds a zero byte"),
    "UTF-16 without mark": (f"{HEADER}a,1\n".encode("utf-16-le"), {}, ": line 1 holds a zero byte"),
    "UTF-16 cut": (f"{HEADER}a,1\n".encode("utf-16")[:-1], {}, ": line 2 is not utf-16"),
    "Windows-1252": (
        f"{HEADER}a,1\ncaf\xe9,1\n".encode("cp1252"), {},
        ": line 3 is not UTF-8 (byte 0xe9); convert the file, or read it with --encoding windows",
    ),
    "no Windows-1252 either": (
        HEADER.encode() + b"a\x81,1\n", {"encoding": "windows-1252"}, ": line 2 is not windows",
    ),
    "mixed encodings": (
        f"{HEADER}😂,1\n".encode() + b"caf\xe9,1\n", {}, "mixes encodings: line 2 is UTF-8, line 3",
    ),
    "mixed, and asked for": (
        f"{HEADER}😂,1\n".encode() + b"caf\xe9,1\n", {"encoding": "windows-1252"}, "mixes enc",
    ),
    "UTF-8 as Windows-1252": (
        f"{HEADER}caf\xe9,1\n", {"encoding": "windows-1252"}, ": line 2 is UTF-8, which --encoding",
    ),
    "not JSON": (
        '{"text": "a", "label": 1}\n{"text": "b", }\n', {}, ": line 2 is not JSON (Expecting",
    ),
    "no JSON object": ('{"text": "a", "label": 1}\n[1]\n', {}, ": line 2 holds a list in place of"),
    "JSON without the text": ('{"text": "a", "label": 1}\n{"label": 1}\n', {}, ": line 2 has No"),
    "JSON of a fraction": ('{"text": "a", "label": 0.5}\n', {}, ": line 1 has 0.5 as 'label'"),
    "JSON twins": ('{"text": "a", "label": 1, "label": 2}\n', {}, ": line 1 has the key 'lab"),
    "a JSON list": ('[{"text": "a", "label": 1}]\n', {}, ": line 1 has no column for the text"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_bad_file_is_one_sentence_with_file_and_line(name: str, tmp_path: Path) -> None:
    content, options, words = HOSTILE[name]
    path = written(tmp_path, content)
    with pytest.raises(ValueError) as caught:
        read_tweets(path, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert message.startswith(str(path)) and words in message
    assert message.isprintable() and len(message) < 400 + len(str(path))


def test_a_file_that_is_not_there_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing\.csv does not exist; expected CSV"):
        read_tweets(tmp_path / "missing.csv")
    with pytest.raises(ValueError, match="is a folder, expected CSV"):
        read_tweets(tmp_path)
    with pytest.raises(ValueError, match="the encoding is 'latin-1', expected utf-8 or windows"):
        read_tweets(written(tmp_path, f"{HEADER}a,1\n"), encoding="latin-1")


def test_one_class_only_is_readable_but_not_for_training(tmp_path: Path) -> None:
    tweets = read(tmp_path, f"{HEADER}a,1\nb,1\n")
    with pytest.raises(ValueError, match=r"has one label only, '1' \(2 tweets from line 2 on\)"):
        tweets.require_two_classes()
    read(tmp_path, f"{HEADER}a,1\nb,0\n").require_two_classes()
    with pytest.raises(ValueError, match="has one label only, 'b'"):
        read(tmp_path, f"{HEADER}a,b\n", label_names=("a", "b")).require_two_classes()


# --- special tokens


TYPED = "[CLS] vaccines [SEP] [MASK] work[SEP][PAD] [unk]"


def check_typed(tokenizer: Tokenizer, folder: Path) -> None:
    (text,) = read(folder, f"{HEADER}{TYPED},1\n").texts
    assert text == TYPED
    for recipe in ("raw", "light"):
        (ids,) = tokenizer.encode(RECIPES[recipe].clean([text]))
        tokens = [tokenizer.tokens[i] for i in ids]
        assert not set(tokens) & set(SPECIAL_TOKENS)
        assert tokens[:3] == ["[", "cl", "##s"] and tokens.count("[") == 6
        # what is typed reads as any word in brackets
        assert "mask" in tokens and "[MASK]" not in tokens


def test_special_tokens_typed_in_a_tweet_stay_text(tmp_path: Path) -> None:
    words = "[ ] cl ##s vaccines sep mask work pad un ##k".split()
    vocabulary = {token: i for i, token in enumerate([*SPECIAL_TOKENS, *words])}
    check_typed(Tokenizer(vocabulary, lowercase=True), tmp_path)


def test_with_the_vocabulary_of_bert_they_stay_text_too(real_data: Path, tmp_path: Path) -> None:
    vocabulary = read_vocabulary(real_data / "vocab/bert-base-uncased-vocab.txt")
    check_typed(Tokenizer(vocabulary, lowercase=True), tmp_path)


# --- names of classes


def test_labels_get_the_names_of_their_classes_in_the_files_order(tmp_path: Path) -> None:
    called = read_class_names("0=neutral, 1=anti-vax,2=pro-vax")
    train = read_tweets(written(tmp_path, f"{HEADER}a,2\nb,0\nc,1\n"), class_names=called)
    assert train.label_names == ("neutral", "anti-vax", "pro-vax")
    assert train.labels.tolist() == [2, 0, 1]
    for labels in ("1\nb,02\nc,0", "anti-vax\nb,pro-vax\nc,neutral", "1.0\nb,pro-vax\nc,0"):
        dev = written(tmp_path, f"{HEADER}a,{labels}\n", "dev.csv")
        read = read_tweets(dev, label_names=train.label_names, class_names=called)
        assert read.labels.tolist() == [1, 2, 0]
    with pytest.raises(ValueError, match="line 3 has the label '02', expected one of the training"):
        read_tweets(written(tmp_path, f"{HEADER}a,pro-vax\nb,02\n"), label_names=train.label_names)
    assert read_tweets(
        written(tmp_path, f"{HEADER}a,no\nb,yes\n"), class_names={"no": "against"}
    ).label_names == ("against", "yes")


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ("0", "--class-names has '0', expected LABEL=NAME"),
        ("0=", "--class-names has '0=', expected LABEL=NAME"),
        ("0=a,0=b", "--class-names has '0=b', expected LABEL=NAME,..., each label once"),
        ("0=a,7=b", "--class-names names the label '7', but .* has only '0', '1'"),
        ("0=1", "two classes would have one name: '1', '1'"),
    ],
)
def test_names_that_fit_no_labels_are_refused(names: str, sentence: str, tmp_path: Path) -> None:
    path = written(tmp_path, f"{HEADER}a,0\nb,1\n")
    with pytest.raises(ValueError, match=sentence):
        read_tweets(path, class_names=read_class_names(names))


def test_a_name_of_a_label_that_no_class_has_is_refused(tmp_path: Path) -> None:
    path, classes = written(tmp_path, f"{HEADER}a,0\nb,1\n"), ("neutral", "pro", "anti")
    called = read_class_names("0=neutral,1=pro,2=anti")  # no tweet of this file is anti
    assert names_of(read_tweets(path, label_names=classes, class_names=called)) == [
        "neutral", "pro",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="calls the label '9' 'x', but the classes are 'neutral'"):
        read_tweets(path, label_names=classes, class_names=called | {"9": "x"})


# --- the command


def test_the_command_shows_classes_repeats_and_what_cleaning_does(tmp_path: Path) -> None:
    train = written(tmp_path, f"{HEADER}Yes!,pro\nYes!,pro\nno http://t.co/x,anti\n", "train.csv")
    dev = written(tmp_path, f"{HEADER}maybe @anna,pro\nYes!,anti\n", "dev.csv")
    status, output, errors = forked("data.tweets", train, dev, "--clean", "light")
    assert (status, errors) == (0, "")
    assert output == (
        f"{train}\n  3 tweets, text in 'text', label in 'label'\n"
        "  2 classes: anti: 1 (33.3%), pro: 2 (66.7%)\n"
        "  characters: 4 (p50), 4 (p90), 16 (max)\n"
        "  repeated tweets: 2 (in the file more than once): line 2, 3\n"
        "  cleaning changes 1 text\n"
        "  line 4\n    'no http://t.co/x'\n    'no http'\n"
        f"{dev}\n  2 tweets, text in 'text', label in 'label'\n"
        "  2 classes: anti: 1 (50.0%), pro: 1 (50.0%)\n"
        "  characters: 4 (p50), 4 (p90), 11 (max)\n"
        f"  1 also stand in {train}: line 3\n"
        "  cleaning changes 1 text\n"
        "  line 2\n    'maybe @anna'\n    'maybe @user'\n"
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "no file is named; name a CSV, TSV or JSON lines file"),
        (["FILE", "--text-column", "x"], "has no column 'x' among 'text', 'label'"),
        (["FILE", "--examples", "-1"], "--examples is -1"),
        (["FILE", "--clean", "some"], "invalid choice: 'some'"),
        (["FILE", "FILE2"], "line 2 has the label 'b', expected one of the training file's: 'a'"),
    ],
)
def test_the_command_refuses_in_one_sentence(
    words: list[str], sentence: str, tmp_path: Path
) -> None:
    files = {
        "FILE": str(written(tmp_path, f"{HEADER}a,a\n")),
        "FILE2": str(written(tmp_path, f"{HEADER}a,b\n", "other.csv")),
    }
    status, output, errors = forked("data.tweets", *(files.get(word, word) for word in words))
    assert status == 2 and errors.startswith("error: ") and errors.count("\n") == 1
    assert sentence in errors and "Traceback" not in output
