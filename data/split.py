"""One SQuAD file in two: training and dev parts that share no article, or no context.

Which part a group of questions goes to depends on its name and on nothing else that can vary: the
groups are ordered by the sha256 of their names, and the first of them, up to the wanted share of
the questions, are the dev part. There is no seed; the same file always falls in the same two.
"""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from data.squad import read_squad
from minibert.strict_json import read_object

SPLITS = ("title", "context")


def split_squad(path: str | Path, dev_share: float, by: str = "title") -> tuple[bytes, bytes]:
    """The training and the dev part of a SQuAD file, as SQuAD files.

    Args:
        path: a SQuAD .json file.
        dev_share: part of the questions that the dev part reaches, more than 0, below 1; it may
            pass it by one group.
        by: "title": all articles of one title stay together (paragraphs of an article without a
            title go by context); "context": all paragraphs of one context, white space apart.

    Raises:
        ValueError: no SQuAD file, or one of fewer than two groups.
    """
    read_squad(path)  # with every record checked
    articles: list[dict[str, Any]] = read_object(Path(path), "a SQuAD .json file")["data"]
    questions: Counter[str] = Counter()
    for article in articles:
        for paragraph in article["paragraphs"]:
            questions[_group(article, paragraph, by)] += len(paragraph["qas"])
    order = sorted(questions, key=_draw)
    if len(order) < 2:
        raise ValueError(
            f"{path} has one {by} only, which cannot be split into a training and a dev part; "
            f"{'split by context' if by == 'title' else 'give two files'}"
        )
    wanted, total, dev = dev_share * questions.total(), 0, set[str]()
    for name in order[:-1]:  # something is left to train on, whatever the share
        if total >= wanted:
            break
        dev.add(name)
        total += questions[name]
    return _part(articles, by, dev, inside=False), _part(articles, by, dev, inside=True)


def _draw(name: str) -> bytes:
    """A number drawn by a name."""
    return hashlib.sha256(name.encode(errors="surrogatepass")).digest()


def _group(article: dict[str, Any], paragraph: dict[str, Any], by: str) -> str:
    """What a paragraph stays together with; a title and a context never have equal names."""
    title = article.get("title") or ""
    if by == "title" and title:
        return f"title {title}"
    return f"context {' '.join(paragraph['context'].split())}"


def _part(articles: list[dict[str, Any]], by: str, dev: set[str], *, inside: bool) -> bytes:
    """The articles with those paragraphs whose groups are in the dev part, or are not."""
    kept = []
    for article in articles:
        paragraphs = [
            paragraph
            for paragraph in article["paragraphs"]
            if (_group(article, paragraph, by) in dev) is inside
        ]
        if paragraphs:
            kept.append({**article, "paragraphs": paragraphs})
    # ASCII, as the official files are: half a surrogate pair in somebody's text is no UTF-8
    return json.dumps({"version": "v2.0", "data": kept}).encode() + b"\n"
