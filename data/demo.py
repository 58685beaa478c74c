"""The demo: a little invented world in SQuAD v2 format, made from one seed.

Every passage is a small encyclopaedia entry about one town of an invented land; all of its text is
composed here, from the templates and word lists below. A question asks for one fact of the town,
and is impossible where the entry does not tell it. A third of the impossible questions are near
misses: the entry tells the same kind of fact about something else (who designed the bridge, but not
who built the tower). A quarter of all questions are asked over long entries, which do not fit into
one window of DEMO_OPTIONS' `max_length`; their later windows do not even name the town. The id of
a question tells: "dev/long/Upper Velmora/mayor".

Names are disjoint: no town, river or family name of the dev file occurs in the train file, and so
neither does the full name of any person. Given names, numbers and common words are shared, as they
are between any two books. So the demo measures reading, not memory: to find the one place in a text
about things never heard of, and its exact boundaries.

The land's name has an accent and stands before every answer, so that byte offsets taken for
character offsets move them all.

`python -m train.squad --demo` trains the embedded weights on it, and scores.
"""

import json
import os
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from data.demo_world import GIVEN, NAMES, OPENING, QUALIFIERS, QUESTIONS, RIVALS, TOPICS, WORDS
from data.tokenization import Tokenizer
from minibert.hub import EMBEDDED_FOLDER

WINDOW = 80  # tokens

# train.squad's defaults under --demo. The lengths belong to the world: short entries fit one
# window, long ones take two or more, and the longest sentence fits the stride.
DEMO_OPTIONS: Mapping[str, int | float | str] = MappingProxyType(
    {
        "model": "embedded",
        "max_length": WINDOW,
        "doc_stride": 32,
        "batch_size": 32,
        "epochs": 0.6,
        "lr": 1e-3,
        "warmup": 0.1,
        "weight_decay": 0.01,
        "clip_norm": 1.0,
        "dropout": 0.0,
        "threads": 2,
    }
)

# Of these, what belongs to the demo's data and model, whatever recipe it is trained by.
DEMO_FITS = ("model", "max_length", "doc_stride", "epochs", "threads")

# Percent that a sound pipeline reaches on the dev file with room to spare, and a broken one misses.
DEMO_GOALS: Mapping[str, float] = MappingProxyType(
    {"f1": 90.0, "HasAns_f1": 85.0, "NoAns_f1": 85.0, "multi_window_f1": 80.0}
)

TRAIN_ENTRIES, DEV_ENTRIES = 2500, 200
LONG_IN_TEN = 2  # of ten entries, how many are long
PIECES = {"short": (0, WINDOW - 18), "long": (WINDOW, 999)}  # fewest and most word pieces
TOPICS_TOLD = {"short": (2, 3), "long": (6, 8)}  # fewest and most
# Of several drafts the one is kept in which windows without overlap would cut most answers in two.
# So a third of the answers in long entries are found only where the stride is right.
DRAFTS = {"short": 1, "long": 25}
ANSWERABLE, IMPOSSIBLE, NEAR_MISSES = 4, 3, 1  # questions of an entry at most


@dataclass(frozen=True)
class DemoFiles:
    """What `write_demo` wrote.

    Attributes:
        train: SQuAD v2 JSON to train on.
        dev: SQuAD v2 JSON about other names; its first question has an answer, in a long entry.
    """

    train: Path
    dev: Path


def write_demo(
    folder: str | Path, seed: int = 0, entries: tuple[int, int] | None = None
) -> DemoFiles:
    """Write the demo's files; the same seed gives the same bytes.

    Args:
        folder: made if missing; files of the same names are replaced.
        seed: of the world, any integer.
        entries: of the two files; None: TRAIN_ENTRIES and DEV_ENTRIES.
    """
    files = DemoFiles(*(Path(folder) / name for name in ("train.json", "dev.json")))
    files.train.parent.mkdir(parents=True, exist_ok=True)
    sizes = entries or (TRAIN_ENTRIES, DEV_ENTRIES)
    for path, names, size in zip((files.train, files.dev), split_names(seed), sizes, strict=True):
        rng = random.Random(f"{path.name} {seed}")
        document = {"version": "v2.0", "data": make_entries(rng, names, size, path.stem)}
        _write(path, json.dumps(document, ensure_ascii=False, indent=1))
    return files


@dataclass
class Entry:
    """A passage while it is written.

    Attributes:
        text: so far.
        starts: fact -> its first character.
        pieces: fact -> its first and last word piece, inclusive.
    """

    text: str
    starts: dict[str, int]
    pieces: dict[str, tuple[int, int]]


def split_names(seed: int) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Town, river and family names for the train file, and others for the dev file."""
    train, dev = {}, {}
    for kind, (first, second) in NAMES.items():
        names = [(a + b).capitalize() for a in first for b in second]
        random.Random(f"{kind} {seed}").shuffle(names)
        cut = len(names) * 4 // 5
        train[kind], dev[kind] = names[:cut], names[cut:]
    return train, dev


def make_entries(
    rng: random.Random, names: dict[str, list[str]], size: int, prefix: str
) -> list[dict[str, Any]]:
    """`size` entries about as many towns, as articles of the SQuAD format, with their questions."""
    towns = [qualifier + name for qualifier in QUALIFIERS for name in names["town"]]
    articles = []
    for number, town in enumerate(rng.sample(towns, size)):
        kind = "long" if number % 10 < LONG_IN_TEN else "short"
        facts = _draw_facts(rng, names) | {"town": town}
        questions = {fact: rng.choice(forms).format(**facts) for fact, forms in QUESTIONS.items()}
        drafts = [_tell(rng, facts, kind) for _ in range(DRAFTS[kind])]
        entry = max(drafts, key=lambda draft: len(_cut_facts(draft, questions)))
        qas = []
        for fact in _choose_facts(rng, entry, _cut_facts(entry, questions)):
            answer = {"text": facts[fact], "answer_start": entry.starts.get(fact, -1)}
            qas.append(
                {
                    "id": f"{prefix}/{kind}/{town}/{fact}",
                    "question": questions[fact],
                    "answers": [answer] if fact in entry.starts else [],
                    "is_impossible": fact not in entry.starts,
                }
            )
        articles.append({"title": town, "paragraphs": [{"context": entry.text, "qas": qas}]})
    return articles


def _draw_facts(rng: random.Random, names: dict[str, list[str]]) -> dict[str, str]:
    """A value for every fact. Years, heights, ... have ranges of their own, as in life."""
    word = {name: rng.choice(choices) for name, choices in WORDS.items()}
    facts = {
        "year": f"{rng.randint(10, 17)}{rng.randint(0, 99):02}",
        "since": str(rng.randint(1960, 2019)),
        "river": rng.choice(names["river"]),
        "height": f"{rng.randint(21, 59)} metres",
        "weight": f"{rng.randint(600, 999)} kilos",
        "number": f"{rng.randint(2, 9)},{rng.randint(1, 9)}00",
        "dish": f"{word['cooking']} {word['food']} with {word['sauce']}",
        "trade": f"{word['craft']} {word['goods']}",
        "legend": f"{word['beast']} who {word['deed']} {word['victim']}",
        "treasure": f"{word['count']} {word['book']} about {word['subject']}",
    }
    for role in ("founder", "designer", "builder", "mayor"):
        facts[role] = f"{rng.choice(GIVEN)} {rng.choice(names['family'])}"
    return word | facts


def _tell(rng: random.Random, facts: dict[str, str], kind: str) -> Entry:
    """Write an entry of some of the facts, "long" or "short"."""
    least, most = PIECES[kind]
    while True:
        entry = Entry(OPENING.format(**facts), {}, {})
        pieces = _count_pieces(entry.text)
        for topic in rng.sample(TOPICS, rng.randint(*TOPICS_TOLD[kind])):
            for literal, fact in re.findall(r"([^{]*)(?:\{(\w+)\})?", " " + rng.choice(topic)):
                entry.text += literal
                pieces += _count_pieces(literal)
                if fact:
                    size = _count_pieces(facts[fact])
                    entry.starts[fact] = len(entry.text)
                    entry.pieces[fact] = (pieces, pieces + size - 1)
                    entry.text += facts[fact]
                    pieces += size
        if least <= pieces <= most:
            return entry


def _cut_facts(entry: Entry, questions: dict[str, str]) -> list[str]:
    """Told facts that windows without overlap, beside the fact's question, would cut in two."""
    room = {fact: WINDOW - 3 - _count_pieces(question) for fact, question in questions.items()}
    return [
        fact
        for fact, (first, last) in entry.pieces.items()
        if fact in room and first // room[fact] != last // room[fact]
    ]


def _choose_facts(rng: random.Random, entry: Entry, cut: list[str]) -> list[str]:
    """The facts to ask for: told ones, those that are `cut` before others, and untold ones."""
    told = [fact for fact in QUESTIONS if fact in entry.starts and fact not in cut]
    untold = [fact for fact in QUESTIONS if fact not in entry.starts]
    rivals = set().union(*(group for group in RIVALS if not group.isdisjoint(entry.starts)))
    near = [fact for fact in untold if fact in rivals]
    answerable = cut[:ANSWERABLE]
    answerable += rng.sample(told, min(len(told), ANSWERABLE - len(answerable)))
    impossible = rng.sample(near, min(len(near), NEAR_MISSES))
    others = [fact for fact in untold if fact not in impossible]
    return answerable + impossible + rng.sample(others, IMPOSSIBLE - len(impossible))


@cache
def _count_pieces(text: str) -> int:
    """Word pieces of a text in the embedded vocabulary."""
    return len(_tokenizer().encode([text])[0])


@cache
def _tokenizer() -> Tokenizer:
    return Tokenizer.from_folder(EMBEDDED_FOLDER)


def _write(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text + "\n", encoding="utf-8", newline="\n")
    os.replace(temporary, path)
