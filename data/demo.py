"""The embedded demo: a little invented world in SQuAD v2 format, made from one seed.

Every passage is a small encyclopaedia entry about one town of an invented land; every word of it is
composed here, from the templates and word lists below. A question asks for one fact of the town. It is
impossible when the entry does not tell that fact; half of the impossible questions are *near misses*, whose
entry tells the same kind of fact of something else (who built the bridge, but not who built the
tower). A third of the questions is asked over long entries, which need several windows at the
demo's `max_length`; their later windows never see the town's name.

Names are disjoint, tokens are shared: no town, river or family name of the dev file occurs in the train
file, and so no full name of a person does. But a network that starts from random weights can know
nothing about a word it never saw, so every such name is two word pieces (`vel` + `##mora`), and every
piece occurs in the train file, in other names. Given names, numbers and the common words are shared, as they are
between any two books. What the demo measures is therefore reading: finding the place that answers
the question and its exact boundaries, in text about places never heard of.

The accents in some given names are there so that byte offsets taken for character offsets show.

Run it with `python -m train.squad --demo`.
"""

import json
import os
import random
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

# Options of train.squad under --demo (tokens, windows, epochs), chosen together with the world: ...
DEMO_OPTIONS: Mapping[str, int | float] = MappingProxyType(
    {
        "max_length": 64,
        "doc_stride": 24,
        "batch_size": 32,
        "epochs": 3,
        "lr": 2e-3,
        "warmup": 0.1,
        "weight_decay": 0.01,
        "clip_norm": 1.0,
    }
)

# What a sound pipeline reaches on the dev file (percent).
DEMO_GOALS: Mapping[str, float] = MappingProxyType(
    {"f1": 90.0, "HasAns_f1": 85.0, "NoAns_f1": 85.0, "multi_window_f1": 80.0}
)

TRAIN_ENTRIES = 2500
DEV_ENTRIES = 200
LONG_IN_TEN = 2  # of ten entries, how many are long
SHORT_PIECES, LONG_PIECES = 46, 64  # word pieces of a short entry at most, of a long one at least
ANSWERABLE, IMPOSSIBLE = 4, 3  # questions per entry at most
NEAR_MISSES = 1  # of the impossible ones, at most

CONFIG = {
    "model_type": "bert",
    "architectures": ["BertForQuestionAnswering"],
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "max_position_embeddings": 128,
    "type_vocab_size": 2,
    "initializer_range": 0.05,  # 0.02 is meant for widths of 768 and learns slower here
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

# First pieces of all composed names. None is the beginning of another, and none makes a longer
# known word together with the start of an ending, so greedy WordPiece cuts where we joined.
FIRST = (
    "ash ber bram bru cal cor dor drim dun eb fal fen gar gle hes hib hol iv jar kel kir lam lin "
    "lum mel mir mor ned nev orm os pel pra quin ros rul sil sto tam tar tri ul vel vor wim wyn yar zel"
).split()
ENDINGS = {
    "town": (
        "burn by combe croft dale firth garth gate haven holm hythe ley mere minster moor mora stead "
        "thorpe wick worth"
    ).split(),
    "river": "anne ava ell ella eth isk ora ude une".split(),
    "family": "berg brand dane hart ling low man mond quist sen ster wright".split(),
}
GIVEN = (
    "Ada Agda Åsa Bertil Dagny Edda Elias Emil Fenja Greta Gustav Hedda Henrik Ida Ingrid Jonas Karin "
    "Klara Lena Leo Lotte Ludo Magda Marek Matti Nadja Oskar Otto Petra Rasmus Renée Ronja Runa Sanna "
    "Signe Stellan Sunniva Thea Tilda Ulla Viggo Zoë"
).split()
QUALIFIERS = ("", "", "Upper ", "Lower ", "Great ", "Little ")

# Word lists: one word or phrase of each is drawn for {name} in a fact or an opening.
WORDS = {
    name: phrases.split("|")
    for name, phrases in {
        "size": "small|quiet|lively|windy|walled|busy|sleepy|pretty",
        "kind": "market town|fishing town|hill town|harbour town|mill town|mountain village",
        "side": "north|south|east|west",
        "cooking": "baked|fried|pickled|roasted|salted|smoked",
        "food": "beans|dumplings|eel|goose|mutton|onions|pears|trout",
        "sauce": "black honey|green mustard|nettles|plum jam|sour cream|wild garlic",
        "month": "January|February|March|April|May|June|July|August|September|October|November"
        "|December",
        "day": "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday",
        "feast": "the return of the geese|the end of the apple harvest|the end of the long winter"
        "|the blessing of the fishing boats|the first snow|the first rain of spring"
        "|the longest night of the year|the shearing of the sheep|the new wine|the honey bees",
        "craft": "carving|making|mending|painting|selling",
        "goods": "blue pottery|church clocks|copper pots|fishing nets|glass beads|leather boots"
        "|paper lanterns|wooden flutes",
        "beast": "a bear|a blind horse|a fox|a giant|a grey owl|a witch",
        "deed": "fooled|married|saved|taught",
        "victim": "a baker|a deaf piper|a drowned king|a young shepherd|the miller's daughter"
        "|three thieves",
        "count": "two|three|five|seven|nine|twelve",
        "book": "diaries|letters|poems|songs",
        "subject": "a lost queen|an old monk|the northern sea|the old kings|the silver mines"
        "|the stars",
    }.items()
}
OPENING = "{town} is a {size} {kind} in the {side} of Ondria."

# One topic is one sentence of an entry; each of its templates tells some of its facts.
TOPICS = (
    (
        "It was founded in {year} by {founder}.",
        "{founder} founded it in {year}.",
        "It was founded in {year}.",
        "It was founded by {founder}.",
    ),
    (
        "The bridge over the river {river} was designed by {bridge_designer}.",
        "{bridge_designer} designed its bridge over the river {river}.",
        "It lies on the river {river}.",
        "The bridge was designed by {bridge_designer}.",
    ),
    (
        "Its tower, built by {tower_builder}, is {height} high.",
        "{tower_builder} built its tower, which is {height} high.",
        "Its tower is {height} high.",
        "The tower was built by {tower_builder}.",
    ),
    (
        "Its mayor is {mayor}.",
        "{mayor} has been its mayor since {since}.",
        "Since {since} its mayor has been {mayor}.",
    ),
    (
        "Every {month} a festival celebrates {feast}.",
        "A festival in {month} celebrates {feast}.",
        "A small festival celebrates {feast}.",
    ),
    ("Its cooks are known for {dish}.", "A dish that every cook here knows is {dish}."),
    ("About {number} people live there.", "It has about {number} people."),
    ("Most families earn their living by {trade}.", "Many families earn a living by {trade}."),
    ("An old legend tells of {legend}.", "The children know the legend of {legend}."),
    ("Its library keeps {treasure}.", "The library is proud of {treasure}."),
    ("The market is held on {day}.", "On {day} a market fills the square."),
    ("Its great bell weighs {weight}.", "A bell of {weight} hangs in the town hall."),
)
QUESTIONS = {
    "year": ("When was {town} founded?", "In which year was {town} founded?"),
    "founder": ("Who founded {town}?", "By whom was {town} founded?"),
    "river": ("Which river does {town} lie on?", "On which river does {town} lie?"),
    "bridge_designer": (
        "Who built the bridge of {town}?",
        "By whom was the bridge in {town} built?",
    ),
    "tower_builder": ("Who built the tower of {town}?", "By whom was the tower in {town} built?"),
    "height": ("How high is the tower of {town}?", "What is the height of the tower in {town}?"),
    "mayor": ("Who is the mayor of {town}?", "Who is mayor in {town}?"),
    "month": ("In which month is the festival of {town}?", "When is the festival held in {town}?"),
    "feast": ("What does the festival of {town} celebrate?", "What is celebrated in {town}?"),
    "dish": ("What are the cooks of {town} known for?", "What is the best known dish of {town}?"),
    "number": ("How many people live in {town}?", "How many people does {town} have?"),
    "trade": ("How do families in {town} earn a living?", "By what do families of {town} live?"),
    "legend": ("What does the legend of {town} tell of?", "What is the legend of {town} about?"),
    "treasure": (
        "What does the library of {town} keep?",
        "What is the library of {town} proud of?",
    ),
    "day": ("On which day is the market of {town}?", "When is the market held in {town}?"),
    "weight": (
        "How much does the bell of {town} weigh?",
        "What is the weight of the bell in {town}?",
    ),
}
# Facts of the same kind: when one is told and the other asked, the question is a near miss.
RIVALS = (
    ("founder", "bridge_designer", "tower_builder", "mayor"),
    ("year", "since"),
    ("height", "weight", "number"),
    ("month", "day"),
    ("treasure", "legend"),
)


@dataclass(frozen=True)
class DemoFiles:
    """What `write_demo` wrote.

    Attributes:
        train: SQuAD v2 JSON to train on.
        dev: SQuAD v2 JSON with other names. Its first question has an answer, in a long entry.
        model: folder with config.json, vocab.txt and tokenizer_config.json, and no weights.
    """

    train: Path
    dev: Path
    model: Path


def write_demo(folder: str | Path, seed: int = 0) -> DemoFiles:
    """Write the demo's files; the same seed gives the same bytes.

    Args:
        folder: made if missing; files of the same names are replaced.
        seed: which world, any integer.

    Returns:
        Where the files are.
    """
    files = DemoFiles(*(Path(folder) / name for name in ("train.json", "dev.json", "model")))
    files.model.mkdir(parents=True, exist_ok=True)
    train_names, dev_names = split_names(seed)
    for path, names, size in (
        (files.train, train_names, TRAIN_ENTRIES),
        (files.dev, dev_names, DEV_ENTRIES),
    ):
        rng = random.Random(f"{seed} {path.name}")
        articles = make_articles(rng, names, size, path.stem)
        document = {"version": "v2.0", "data": articles}
        _write(path, json.dumps(document, ensure_ascii=False, indent=1) + "\n")
    vocabulary = make_vocabulary()
    config = CONFIG | {"vocab_size": len(vocabulary)}
    settings = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "model_max_length": CONFIG["max_position_embeddings"],
    }
    _write(files.model / "vocab.txt", "".join(f"{token}\n" for token in vocabulary))
    _write(files.model / "config.json", json.dumps(config, indent=2) + "\n")
    _write(files.model / "tokenizer_config.json", json.dumps(settings, indent=2) + "\n")
    return files


def is_long_entry(question_id: str) -> bool:
    """Whether a demo question, such as "dev/long/Lower Velmora/mayor", is asked over a long entry.

    At DEMO_OPTIONS' max_length these are exactly the questions with two windows or more.
    """
    return question_id.split("/")[1] == "long"


Names = Mapping[str, list[str]]


def split_names(seed: int) -> tuple[Names, Names]:
    """Town, river and family names for the train file, and others for the dev file."""
    train, dev = {}, {}
    for kind, endings in ENDINGS.items():
        names = [(first + ending).capitalize() for first in FIRST for ending in endings]
        random.Random(f"{seed} {kind}").shuffle(names)
        cut = len(names) * 4 // 5
        train[kind], dev[kind] = names[:cut], names[cut:]
    return train, dev


def make_articles(
    rng: random.Random, names: Names, size: int, prefix: str
) -> list[dict[str, object]]:
    """`size` entries about as many towns in the SQuAD format, with their questions."""
    towns = [qualifier + name for qualifier in dict.fromkeys(QUALIFIERS) for name in names["town"]]
    articles = []
    for number, town in enumerate(rng.sample(towns, size)):
        is_long = number % 10 < LONG_IN_TEN
        facts = _draw_facts(rng, names)
        context, starts = _write_entry(rng, town, facts, is_long)
        name = f"{prefix}/{'long' if is_long else 'short'}/{town}"
        paragraph = {"context": context, "qas": _ask(rng, name, town, facts, starts)}
        articles.append({"title": town, "paragraphs": [paragraph]})
    return articles


def _draw_facts(rng: random.Random, names: Names) -> dict[str, str]:
    """One value for every fact that an entry can tell."""

    def word(*lists: str) -> str:
        return " ".join(rng.choice(WORDS[name]) for name in lists)

    def person() -> str:
        return f"{rng.choice(GIVEN)} {rng.choice(names['family'])}"

    return {
        "year": f"{rng.randint(10, 17)}{rng.randint(0, 99):02}",
        "founder": person(),
        "river": rng.choice(names["river"]),
        "bridge_designer": person(),
        "tower_builder": person(),
        "height": f"{rng.randint(21, 99)} metres",
        "mayor": person(),
        "since": str(rng.randint(1960, 2019)),
        "month": word("month"),
        "feast": word("feast"),
        "dish": f"{word('cooking', 'food')} with {word('sauce')}",
        "number": f"{rng.randint(1, 39)},{rng.randint(1, 9)}00",
        "trade": word("craft", "goods"),
        "legend": f"{word('beast')} who {word('deed', 'victim')}",
        "treasure": f"{word('count', 'book')} about {word('subject')}",
        "day": word("day"),
        "weight": f"{rng.randint(200, 999)} kilos",
    }


def _write_entry(
    rng: random.Random, town: str, facts: dict[str, str], is_long: bool
) -> tuple[str, dict[str, int]]:
    """An entry's text, and for every fact that it tells the character where the fact starts."""
    opening = {name: rng.choice(words) for name, words in WORDS.items()} | {"town": town}
    while True:
        text = OPENING.format(**opening)
        starts: dict[str, int] = {}
        for topic in rng.sample(TOPICS, rng.randint(7, 9) if is_long else rng.randint(2, 3)):
            text += " "
            for literal, fact in re.findall(r"([^{]*)(?:\{(\w+)\})?", rng.choice(topic)):
                text += literal
                if fact:
                    starts[fact] = len(text)
                    text += facts[fact]
        pieces = _count_pieces(text)
        if pieces >= LONG_PIECES if is_long else pieces <= SHORT_PIECES:
            return text, starts


def _ask(
    rng: random.Random, name: str, town: str, facts: dict[str, str], starts: dict[str, int]
) -> list[dict[str, object]]:
    """Questions for facts that the entry tells, and impossible ones for facts that it does not."""
    told = [fact for fact in QUESTIONS if fact in starts]
    untold = [fact for fact in QUESTIONS if fact not in starts]
    near = [
        fact
        for fact in untold
        if any(fact in rivals and not starts.keys().isdisjoint(rivals) for rivals in RIVALS)
    ]
    missing = rng.sample(near, min(len(near), NEAR_MISSES))
    others = [fact for fact in untold if fact not in missing]
    missing += rng.sample(others, min(len(others), IMPOSSIBLE - len(missing)))
    asked = rng.sample(told, min(len(told), ANSWERABLE)) + missing
    return [
        {
            "id": f"{name}/{fact}",
            "question": rng.choice(QUESTIONS[fact]).format(town=town),
            "answers": [{"text": facts[fact], "answer_start": starts[fact]}]
            if fact in starts
            else [],
            "is_impossible": fact not in starts,
        }
        for fact in asked
    ]


def _count_pieces(text: str) -> int:
    """Word pieces of an entry: `make_vocabulary` cuts names and longer numbers in two."""
    known = _known_words()
    return sum(1 if word in known else 2 for word in _words(text))


@cache
def _known_words():
    return frozenset(make_vocabulary())


def _words(text: str) -> list[str]:
    """BERT's words: lower case, without accents, punctuation apart."""
    plain = unicodedata.normalize("NFD", text.lower())
    return re.findall(r"[a-z]+|[0-9]+|[^\sa-z0-9\u0300-\u036f]", plain)


@cache
def make_vocabulary() -> tuple[str, ...]:
    """The tokens of vocab.txt: every whole word of the world, and the pieces of its names.

    Single letters and digits are there so that no question of a user's own has an unknown word.
    """
    sentences = [OPENING, *GIVEN, *QUALIFIERS, "metres kilos with who about"]
    for group in (*TOPICS, *QUESTIONS.values(), *WORDS.values()):
        sentences += group
    words = set(FIRST) | {str(number) for number in range(100)}
    words.update(*(_words(re.sub(r"\{\w+\}", " ", sentence)) for sentence in sentences))
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    endings = {"##" + e for group in (*ENDINGS.values(), letters) for e in group}
    endings |= {f"##{number:02}" for number in range(100)}
    return SPECIAL_TOKENS + tuple(sorted(words | set(letters))) + tuple(sorted(endings))


def _write(path: Path, text: str) -> None:
    """Write a whole file or nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    os.replace(temporary, path)
