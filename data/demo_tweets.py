"""The demo's tweets: three classes of little texts about an invented flu, made from one seed.

Who holds what is told by the order of the words and by two of them together, never by one alone:

    neutral     You ask me if I am not worried about the shot.
    anti-vax    If you ask me, I am worried about the shot.
    pro-vax     If you ask me, I am not worried about the shot.
    anti-vax    If you ask me, I am not happy about the shot.

Every word is about as likely in one class as in another, so that a bag of words learns nothing (a
test says so); and what stands around the sentence (people, links, hashtags, emoji, capitals, small
talk) is drawn without regard to the class. A few texts go on for longer than DEMO_TWEETS'
`max_length`. No sentence of the dev file is one of the train file, whatever stands around it.

`python -m train.classify --demo` trains the embedded weights on them, and scores.
"""

import csv
import io
import random
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from data.demo_world import NAMES, WORDS
from minibert.files import write_file

# train.classify's defaults under --demo.
DEMO_TWEETS: Mapping[str, int | float | str] = MappingProxyType(
    {
        "model": "embedded",
        "max_length": 64,
        "batch_size": 32,
        "epochs": 15.0,
        "lr": 5e-4,
        "dropout": 0.0,
        "threads": 2,
    }
)
# Of these, what belongs to the demo's data and model, whatever recipe it is trained by.
TWEETS_FIT = ("model", "max_length", "epochs", "threads")

CLASSES = ("neutral", "anti-vax", "pro-vax")
TRAIN_TWEETS, DEV_TWEETS = 600, 200
LONG_IN_HUNDRED = 4

# What somebody holds, and the same words as a question that others have.
FRAMES = (
    ("If you ask me, {it}.", "You ask me if {it}."),
    ("If they want to know, {it}.", "They want to know if {it}."),
    ("No idea if they ask, but {it}.", "They ask, but no idea if {it}."),
    ("Nobody asks if it rains, and {it}.", "It rains, and nobody asks if {it}."),
    ("Ask whether it rains, but {it}.", "It rains, but ask whether {it}."),
    ("{it}, do not ask me if it rains.", "It rains, do not ask me if {it}."),
)
WHO = "I am|we are|my mother is|my friends are|everyone here is".split("|")
PLAIN = "|so |really ".split("|")
DENIED = "not |never |not really ".split("|")
WORRIED = "worried about|afraid of|scared of".split("|")
PLEASED = "happy about|fine with|proud of".split("|")
THING = "the shot|the vaccine|the flu shot|that needle|my second dose|the new vaccine".split("|")

TALK = (
    "Tea first.|It is {day} again.|Out of {food} again.|The bus is late, as ever."
    "|Tonight: {food} with {sauce}!|Rain in the {side}, snow in the {side}.|Good night, all."
    "|Who has seen my {book}?|See you in {month}.|The queue goes round the {size} hall."
).split("|")
TAGS = "#FluShot #vaccine #{day} #{month}Flu #health #clinic #news #flu_season".split()
EMOJI = "💉 😷 🙂 🤔 🎉 👍🏽 ❤️ 🙄".split()


def write_demo_tweets(folder: str | Path, seed: int = 0) -> tuple[Path, Path]:
    """Write train.csv and dev.csv; the same seed gives the same bytes.

    Args:
        folder: made if missing; files of the same names are replaced.
        seed: of the tweets, any integer.

    Returns:
        The two files, with the columns "tweet" and "label".
    """
    rng, told = random.Random(f"tweets {seed}"), set[str]()
    paths = Path(folder) / "train.csv", Path(folder) / "dev.csv"
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    for path, size in zip(paths, (TRAIN_TWEETS, DEV_TWEETS), strict=True):
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("tweet", "label"))
        for _ in range(size):
            label = rng.choice(CLASSES)
            sentence = _say(rng, label)
            while sentence.lower() in told:
                sentence = _say(rng, label)
            told.add(sentence.lower())
            writer.writerow((_dress(rng, sentence), label))
        write_file(path, table.getvalue().encode())
    return paths


def _say(rng: random.Random, label: str) -> str:
    """A sentence of a class."""
    denied = rng.random() < 0.5
    # who is worried, or not pleased, is against it
    worried = rng.random() < 0.5 if label == "neutral" else (label == "anti-vax") is not denied
    how, feeling = rng.choice(DENIED if denied else PLAIN), WORRIED if worried else PLEASED
    it = f"{rng.choice(WHO)} {how}{rng.choice(feeling)} {rng.choice(THING)}"
    held, asked = rng.choice(FRAMES)
    said = (asked if label == "neutral" else held).format(it=it)
    return said[0].upper() + said[1:]


def _dress(rng: random.Random, sentence: str) -> str:
    """A sentence as a tweet: with what people put around it, whatever they hold."""
    words = sentence.split()
    if rng.random() < 0.2:
        place = rng.randrange(len(words))
        words[place] = words[place].upper()
    parts = [" ".join(words)]
    long = rng.randrange(100) < LONG_IN_HUNDRED
    for _ in range(rng.randint(9, 12) if long else rng.randint(0, 1)):
        drawn = {name: rng.choice(choices) for name, choices in WORDS.items()}
        parts.append(rng.choice(TALK).format(**drawn))
    name = "".join(rng.choice(half) for half in NAMES["family"])
    if rng.random() < 0.3:
        parts.insert(0, rng.choice(("RT {}:", "{}", "hey {}")).format(f"@{name}_ondrea"))
    for choices, share in ((TAGS, 0.5), (EMOJI, 0.4)):
        if rng.random() < share:
            drawn = {name: rng.choice(WORDS[name]) for name in ("day", "month")}
            parts.append(rng.choice(choices).format(**drawn))
    if rng.random() < 0.3:
        letters = "".join(rng.choices("abcdefghijkmnpqrstuvwxyz23456789", k=6))
        parts.append(f"https://t.example/{letters}")
    return " ".join(parts)
