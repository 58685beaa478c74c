"""The tweet inspector, `python -m data.tweets`: what files hold, and what cleaning does to them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from data.cleaning import CleaningOptions
from data.command import UsageError, option, parse
from data.ledger import listed, tweet_ledger
from data.tweets import ReadingOptions
from minibert.strict_json import counted, named, shown

if TYPE_CHECKING:
    from data.tweets import TweetData


@dataclass(frozen=True)
class Options(ReadingOptions, CleaningOptions):
    """Options of `python -m data.tweets`."""

    files: tuple[str, ...] = option(
        (), help="CSV, TSV or JSON lines; the first is the training file", metavar="FILE",
        positional=True,
    )  # fmt: skip
    examples: int = option(5, help="texts shown before and after cleaning")

    def __post_init__(self) -> None:
        if not self.files:
            raise UsageError("no file is named; name a CSV, TSV or JSON lines file with tweets")
        if self.examples < 0:
            raise UsageError(f"--examples is {self.examples}, expected 0 or more")


def main(argv: list[str]) -> int:
    """Print what each file holds."""
    options = parse(
        Options, argv, prog="data.tweets", description="What a file of labelled tweets holds."
    )
    cleaning = options.cleaning()
    cleaning.rules()  # a rule that lacks its data is refused before anything is read
    first: TweetData | None = None
    for file in options.files:
        tweets = options.read(file, first.label_names if first else None)
        cleaned = cleaning.clean(tweets.texts)
        show_file(tweets)
        for line in tweet_ledger(tweets, cleaned):
            print(f"  {line}")
        if first is not None:
            show_shared(tweets, first)
        show_cleaned(tweets, cleaned, options.examples)
        first = first or tweets
    return 0


def show_file(tweets: "TweetData") -> None:
    """Print columns, classes and lengths."""
    import numpy as np

    characters = [len(text) for text in tweets.texts]
    middle, long, longest = np.percentile(characters, [50, 90, 100], method="lower")
    counts = ", ".join(
        f"{named(name)}: {count} ({count / len(tweets):.1%})"
        for name, count in zip(tweets.label_names, tweets.counts.tolist(), strict=True)
    )
    print(tweets.path)
    print(
        f"  {counted(len(tweets), 'tweet')}, text in {shown(tweets.text_column)}, label in "
        f"{shown(tweets.label_column)}"
    )
    print(f"  {counted(len(tweets.label_names), 'class')}: {counts}")
    print(f"  characters: {middle} (p50), {long} (p90), {longest} (max)")


def show_shared(tweets: "TweetData", first: "TweetData") -> None:
    """Print how many of the tweets also stand in the first file."""
    from data.tweets import find_shared

    lines = tweets.lines[find_shared(tweets, first)].tolist()
    print(f"  {len(lines)} also stand in {first.path}{': line ' if lines else ''}{listed(lines)}")


def show_cleaned(tweets: "TweetData", cleaned: list[str], examples: int) -> None:
    """Print how many texts were changed by cleaning, and the first of them before and after."""
    changed = [t for t, text in enumerate(cleaned) if text != tweets.texts[t]]
    print(f"  cleaning changes {counted(len(changed), 'text')}")
    for t in changed[:examples]:
        print(f"  line {tweets.lines[t]}")
        print(f"    {tweets.texts[t]!r}")
        print(f"    {cleaned[t]!r}")
