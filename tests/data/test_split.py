"""A SQuAD file in two parts, and what two files share."""

import json
from pathlib import Path
from typing import Any

import pytest

from data.overlap import context_digest, overlap, read_contexts
from data.split import split_squad
from data.squad import read_squad


def write(path: Path, articles: list[tuple[str, list[str]]], each: int = 2) -> Path:
    """A SQuAD file of (title, contexts), with some questions on every context."""
    data: list[dict[str, Any]] = []
    for a, (title, contexts) in enumerate(articles):
        paragraphs = [
            {
                "context": context,
                "qas": [
                    {"id": f"{a}-{c}-{q}", "question": "which ?", "answers": [], "extra": q,
                     "is_impossible": True}
                    for q in range(each)
                ],
            }
            for c, context in enumerate(contexts)
        ]  # fmt: skip
        data.append({"title": title, "paragraphs": paragraphs} if title else
                    {"paragraphs": paragraphs})  # fmt: skip
    path.write_text(json.dumps({"data": data}))
    return path


def ids(content: bytes) -> list[str]:
    return [
        qa["id"]
        for article in json.loads(content)["data"]
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ]


ARTICLES = [(f"t{a % 7}", [f"a {a} {c}" for c in range(3)]) for a in range(20)]


@pytest.mark.parametrize("by", ["title", "context"])
def test_every_question_is_in_one_part_and_a_group_in_no_two(tmp_path: Path, by: str) -> None:
    path = write(tmp_path / "all.json", ARTICLES)
    train, dev = split_squad(path, 0.2, by)
    assert sorted(ids(train) + ids(dev)) == sorted(ids(path.read_bytes()))
    largest = 18 if by == "title" else 2  # questions of a title, of a context
    assert 0.2 * 120 <= len(ids(dev)) < 0.2 * 120 + largest
    names = []
    for number, content in enumerate((train, dev)):
        part = tmp_path / f"{number}.json"
        part.write_bytes(content)
        examples = read_squad(part).examples
        names.append({e.title if by == "title" else e.context for e in examples})
    assert not names[0] & names[1]
    assert '"extra": 1' in train.decode()  # what we do not read is kept


def test_the_parts_do_not_depend_on_the_order_of_the_file_nor_on_other_groups(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "a.json", ARTICLES)
    dev = ids(split_squad(path, 0.2, "context")[1])
    document = json.loads(path.read_bytes())
    document["data"].reverse()
    (tmp_path / "b.json").write_text(json.dumps(document))
    assert sorted(ids(split_squad(tmp_path / "b.json", 0.2, "context")[1])) == sorted(dev)


def test_white_space_makes_no_other_context_and_no_title_means_by_context(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", [("", ["one  two", "three", "four"]), ("", ["one\ntwo "])])
    parts = split_squad(path, 0.5)
    together = [{"0-0-0", "1-0-0"} & set(ids(part)) for part in parts]
    assert sorted(map(len, together)) == [0, 2]


def test_something_is_left_to_train_on(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", [("x", ["one"]), ("y", ["two"])])
    assert all(ids(part) for part in split_squad(path, 0.99))
    path = write(tmp_path / "a.json", [("x", ["one", "two"])])
    with pytest.raises(ValueError, match=r"has one title only, .*; split by context"):
        split_squad(path, 0.5)
    assert all(ids(part) for part in split_squad(path, 0.5, "context"))


def test_shared_contexts_are_counted_once_and_their_questions_all(tmp_path: Path) -> None:
    train = read_contexts(write(tmp_path / "a.json", [("x", ["one two", "three", "four"])]))
    dev = read_contexts(
        write(tmp_path / "b.json", [("y", ["one\t two\n", "one two"]), ("z", ["five"])], each=3)
    )
    assert (dev.questions, dev.impossible, len(dev.by_context)) == (9, 9, 2)
    assert overlap(train, dev) == (1, 6)
    assert overlap(dev, train) == (1, 2)
    assert context_digest("Ä b") == context_digest(" Ä\u00a0b ") != context_digest("ä b")
