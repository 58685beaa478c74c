"""What was cut, repaired or cannot be learnt of a data set, counted and named in the same words by
every command that reads one.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from minibert.strict_json import named

if TYPE_CHECKING:
    from data.squad import SquadData
    from data.tweets import TweetData
    from data.windows import Windows

LISTED = 5  # question ids, or lines of a file, that are named


def ledger(squad: "SquadData", windows: "Windows", *, with_zeros: bool = False) -> list[str]:
    """One line for each kind of trouble: how many, why it matters, the first ids.

    Args:
        squad: the whole file.
        windows: of the questions that are used, which may be fewer; a question that has several
            rows is named and counted once, its answers are counted each.
        with_zeros: also the kinds that did not occur.
    """
    cut, long = once(windows.tokens.cut_questions), once(windows.tokens.long_words)
    lines = []
    for what, why, ids in (
        ("lost answers", "no window holds them, so they train as no answer", windows.lost),
        ("misaligned answers", "they begin or end inside a token", windows.misaligned),
        ("trimmed answers", "white space at their edge is not labelled", windows.trimmed),
        ("cut questions", "longer than --max-question-length or the room", cut),
        ("over-long words", "of over 100 characters, each one [UNK]", long),
        ("repaired answers", "their offset was 1 or 2 characters off", squad.repaired),
        ("unmarked questions", "without answers, so read as impossible", squad.unmarked),
    ):
        first = [named(i) for i in once(ids)[: LISTED + 1]]
        named_ids = f" ({why}): {listed(first)}" if ids else ""
        if ids or with_zeros:
            lines.append(f"{what}: {len(ids)}{named_ids}")
    return lines


def once(ids: Sequence[str]) -> list[str]:
    """Without repetitions, in their order."""
    return list(dict.fromkeys(ids))


def tweet_ledger(tweets: "TweetData", cleaned: Sequence[str]) -> list[str]:
    """The same of a file of tweets, with the lines of the file.

    Args:
        tweets: the file.
        cleaned: its texts after cleaning.
    """
    labels_of = defaultdict(set)
    for text, label in zip(tweets.texts, tweets.labels.tolist(), strict=True):
        labels_of[text].add(label)
    times = Counter(tweets.texts)
    repeated = [t for t, text in enumerate(tweets.texts) if times[text] > 1]
    contradicted = [t for t in repeated if len(labels_of[tweets.texts[t]]) > 1]
    emptied = [t for t, text in enumerate(cleaned) if not text]
    lines = []
    for what, why, places in (
        ("skipped lines", "nothing stands in them", tweets.blank_lines),
        ("repeated tweets", "in the file more than once", tweets.lines[repeated].tolist()),
        ("contradicted tweets", "repeated with another label", tweets.lines[contradicted].tolist()),
        ("emptied tweets", "cleaning leaves nothing of them", tweets.lines[emptied].tolist()),
    ):
        if places:
            lines.append(f"{what}: {len(places)} ({why}): line {listed(places)}")
    absent = [named(tweets.label_names[c]) for c in (tweets.counts == 0).nonzero()[0]]
    if absent:
        lines.append(
            f"absent classes: {len(absent)} of {len(tweets.counts)} (no text is of them, so they "
            "have no AUC and no average precision, and no part in the macro means of these; in "
            f"those of precision, recall and F1 each counts 0 if predicted): {listed(absent)}"
        )
    return lines


def listed(items: Sequence[object]) -> str:
    """The first of some ids or lines."""
    return ", ".join(map(str, items[:LISTED])) + (", ..." if len(items) > LISTED else "")
