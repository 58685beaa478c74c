"""Tweet files -> texts and labels, with every record checked.

CSV, TSV or JSON lines (data/tweet_rows.py says how they are told apart and how quotes are read) in
UTF-8 or what else data/encoding.py reads. A record that cannot be read stops with a sentence naming
its file and line: none is dropped. Blank lines, and rows of nothing but empty fields, are skipped
and counted.

    python -m data.tweets train.csv dev.csv                  # classes, lengths, what stands twice
    python -m data.tweets train.csv --clean light            # what cleaning does to it
"""

if __name__ == "__main__":
    from data.command import run_command
    from data.tweet_inspector import main

    run_command(main)

from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data.command import UsageError, option
from data.encoding import ENCODINGS, read_utf8
from data.tweet_rows import as_whole_number, open_rows, quoted
from minibert.strict_json import counted, shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_LABELS = 1000  # more are a sign of the wrong column


@dataclass(frozen=True)
class ReadingOptions:
    """How tweet files are read; the commands that read them inherit these flags."""

    text_column: str | None = option(
        None, help="column of the text (default: found by its name)", group="tweets", metavar="NAME"
    )
    label_column: str | None = option(
        None, help="column of the label (default: found, too)", group="tweets", metavar="NAME"
    )
    encoding: str = option(
        "utf-8", help="of files without byte-order mark", choices=ENCODINGS, group="tweets"
    )
    quotes: bool = option(
        True, help="double quotes enclose a field, else they are text", group="tweets"
    )
    class_names: str | None = option(
        None,
        help="what the file's labels are called: 0=neutral,1=anti-vax,2=pro-vax",
        group="tweets",
        metavar="LABEL=NAME,...",
    )

    def read(self, path: str | Path, label_names: Sequence[str] | None = None) -> "TweetData":
        """The file, read as the flags say; see `read_tweets`."""
        return read_tweets(
            path,
            text_column=self.text_column,
            label_column=self.label_column,
            label_names=label_names,
            encoding=self.encoding,
            quotes=self.quotes,
            class_names=read_class_names(self.class_names or ""),
        )


@dataclass(frozen=True, eq=False)  # arrays have no single answer to ==
class TweetData:
    """What a file held: R tweets of C classes.

    Attributes:
        path: the file.
        texts: R of them, as in the file.
        labels: (R,) int64, the class of each, an index into label_names.
        label_names: C of them, in the order of id2label: whole numbers by size, words by alphabet;
            what class_names calls them.
        lines: (R,) int64, the line where each record begins, counted from 1.
        text_column: name of the text's column.
        label_column: name of the label's column.
        blank_lines: lines that were skipped because nothing stands in them.
    """

    path: Path
    texts: list[str]
    labels: "NDArray[np.int64]"
    label_names: tuple[str, ...]
    lines: "NDArray[np.int64]"
    text_column: str
    label_column: str
    blank_lines: list[int]

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def counts(self) -> "NDArray[np.int64]":
        """(C,) tweets of each class."""
        import numpy as np

        return np.bincount(self.labels, minlength=len(self.label_names))

    def require_two_classes(self) -> None:
        """Refuse data that nothing can be learnt from.

        Raises:
            ValueError: all tweets have the same label.
        """
        present = self.counts.nonzero()[0]
        if len(present) < 2:
            raise ValueError(
                f"{self.path} has one label only, {shown(self.label_names[present[0]])} "
                f"({counted(len(self), 'tweet')} from line {self.lines[0]} on); a classifier needs "
                "two or more"
            )


def read_tweets(
    path: str | Path,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    label_names: Sequence[str] | None = None,
    encoding: str = "utf-8",
    quotes: bool = True,
    class_names: Mapping[str, str] | None = None,
) -> TweetData:
    """Read and check a file of labelled tweets.

    Labels are compared without the white space around them; where all are whole numbers, 1, 01 and
    1.0 are one label.

    Args:
        path: CSV, TSV or JSON lines.
        text_column: the text's; None takes the one that has a usual name, "tweet" or "text".
        label_column: the label's; None takes the one that has a usual name, "label" or "class".
        label_names: the classes, those of the training file for a dev file; None takes them from
            the labels of this one.
        encoding: "utf-8" or "windows-1252", of a file without byte-order mark.
        quotes: whether double quotes enclose fields of a table.
        class_names: label of the file -> name of its class; other labels are their own names.

    Raises:
        ValueError: one sentence naming the file, and the line where there is one.
    """
    path = Path(path)
    rows = open_rows(
        path,
        read_utf8(path, "CSV, TSV or JSON lines", encoding),
        text_column=text_column,
        label_column=label_column,
        quotes=quotes,
    )
    found: dict[str, int] = {}  # label as in the file -> its number by first appearance
    texts: list[str] = []
    numbers, lines = array("q"), array("q")
    for line, text, label in rows.records:
        for column, value in ((rows.text_column, text), (rows.label_column, label)):
            if not value or value.isspace():
                raise ValueError(
                    f"{path}: line {line} has nothing in the column {shown(column)}; fill it, or "
                    "take the record out"
                )
        texts.append(text)
        numbers.append(found.setdefault(label, len(found)))
        lines.append(line)
        if len(found) > MOST_LABELS:
            raise ValueError(
                f"{path}: more than {MOST_LABELS} different labels up to line {line}; name the "
                f"label's column with --label-column, {shown(rows.label_column)} is none"
            )
    if not texts:
        raise ValueError(f"{path} holds no tweets, only the names of its columns; expected rows")
    firsts = {label: lines[numbers.index(number)] for label, number in found.items()}
    names, classes = _name_classes(path, firsts, label_names, class_names or {})
    import numpy as np

    return TweetData(
        path,
        texts,
        labels=np.array(classes, np.int64)[np.frombuffer(numbers, np.int64)],
        label_names=names,
        lines=np.frombuffer(lines, np.int64),
        text_column=rows.text_column,
        label_column=rows.label_column,
        blank_lines=rows.blank_lines,
    )


def _name_classes(
    path: Path,
    firsts: Mapping[str, int],
    label_names: Sequence[str] | None,
    called: Mapping[str, str],
) -> tuple[tuple[str, ...], list[int]]:
    """The classes of a file, and which of them each of its labels is.

    Args:
        path: for messages.
        firsts: label as in the file -> the line where it first stands.
        label_names: as of `read_tweets`.
        called: label of a file -> name of its class.

    Returns:
        C names, and the class of each of `firsts`.

    Raises:
        ValueError: a label that is no class, or a name of none.
    """
    if label_names is None:
        labels = _in_order(firsts)
        if unknown := [label for label in called if label not in labels]:
            raise ValueError(
                f"--class-names names the label {shown(unknown[0])}, but {path} has only "
                f"{quoted(labels)}"
            )
        names = tuple(called.get(label, label) for label in labels)
        if len(set(names)) < len(names):
            raise ValueError(f"two classes would have one name: {quoted(names)}")
    else:
        names = tuple(label_names)
        if stray := [
            label for label, name in called.items() if label not in names and name not in names
        ]:
            raise ValueError(
                f"--class-names calls the label {shown(stray[0])} {shown(called[stray[0]])}, but "
                f"the classes are {quoted(names)}; leave it out"
            )
    classes = []
    for label, line in firsts.items():
        same = (label, as_whole_number(label) or label)
        name = next((n for n in (*map(called.get, same), *same) if n in names), None)
        if name is None:
            raise ValueError(
                f"{path}: line {line} has the label {shown(label)}, "
                f"expected one of the training file's: {quoted(names)} (--class-names tells what "
                "labels are called)"
            )
        classes.append(names.index(name))
    return names, classes


def read_class_names(text: str) -> dict[str, str]:
    """What labels are called: "0=neutral, 1=anti-vax" -> {"0": "neutral", "1": "anti-vax"}.

    Raises:
        UsageError: a pair without "=", without label or name, or a label named twice.
    """
    names: dict[str, str] = {}
    for pair in text.split(",") if text else ():
        label, equals, name = (part.strip() for part in pair.partition("="))
        if not (label and equals and name) or label in names:
            raise UsageError(
                f"--class-names has {shown(pair.strip())}, expected LABEL=NAME,..., each label once"
            )
        names[label] = name
    return names


def _in_order(labels: Iterable[str]) -> tuple[str, ...]:
    """The labels of a file in the order of their classes."""
    numbers = {as_whole_number(label) for label in labels}
    whole = {number for number in numbers if number is not None}
    return tuple(sorted(whole, key=int) if whole == numbers else sorted(labels))


def find_shared(tweets: TweetData, others: TweetData) -> "NDArray[np.int64]":
    """Which tweets also stand in another file: dev tweets that a model was trained on.

    Returns:
        indices into tweets.texts, in order; the texts are equal character by character.
    """
    import numpy as np

    known = set(others.texts)
    return np.array([t for t, text in enumerate(tweets.texts) if text in known], np.int64)
