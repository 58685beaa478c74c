"""What became of every record: counted, each kind by reason and with examples.

A `Tally` is kept while a file is converted, and every question that is kept leaves a row of figures
(ROW); `make_audit` sums both up for all files. So the lengths are exact, at ROW.size bytes a
question, and a question that turns out to be a repetition is taken out of every figure.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from minibert.strict_json import named

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EXAMPLES = 5  # ids that are named for each reason

# One question that is kept: digests of its id and of all of it; its line; characters of context,
# question and first answer; the number of its reason in the tally (0: answered, 1: untold); flags.
ROW = struct.Struct("<QQIIIIBB")
ROW_FIELDS = (
    *(("id", "<u8"), ("content", "<u8"), ("line", "<u4")),
    *(
        ("context", "<u4"),
        ("question", "<u4"),
        ("answer", "<u4"),
        ("reason", "u1"),
        ("flags", "u1"),
    ),
)
UNTOLD = 1  # reason of a question whose answers its file does not tell
MID_WORD, MAY_NOT_FIT, FITS_NONE = 1, 2, 4  # flags

# A window of 384 tokens has at most 381 of the context, since [CLS], [SEP] and [SEP] are in it, and
# shares 128 with the next. An answer of at most 129 tokens is always whole in one of them.
WINDOW, STRIDE, MOST_QUESTION = 384, 128, 64  # tokens
SURELY_FITS = STRIDE + 1
NEVER_FITS = WINDOW - 3

FLAGS = {
    MID_WORD: "answers that begin or end inside a word",
    FITS_NONE: "answers that fit no window of 384 tokens with a stride of 128",
    MAY_NOT_FIT: "answers that may fit no such window (130 characters to 381 words)",
}


REPEATED = "word for word as before, kept once"


@dataclass
class Tally:
    """What was counted while one file was converted.

    Attributes:
        read: questions.
        reasons: why a question became impossible; ROW holds a number of this list.
        left_out: by a rule of docs/datasets.md: reason -> how many.
        dropped: for a defect: reason -> how many.
        noted: kept all the same: what -> how many answers or questions.
        examples: any of these -> the first [id, line].
        source: what else is to be told of the input.
    """

    read: int = 0
    reasons: list[str] = field(default_factory=lambda: ["", "(untold)"])
    left_out: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    noted: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)

    def leave_out(self, reason: str, identifier: str, line: int) -> None:
        """Count a question that a rule leaves out."""
        self.left_out[reason] = self.left_out.get(reason, 0) + 1
        self._example(reason, identifier, line)

    def drop(self, reason: str, identifier: str, line: int) -> None:
        """Count a question that cannot be used."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
        self._example(reason, identifier, line)

    def note(self, what: str, identifier: str, line: int) -> None:
        """Count something about a question that goes on."""
        self.noted[what] = self.noted.get(what, 0) + 1
        self._example(what, identifier, line)

    def reason(self, impossible: str | None, identifier: str, line: int) -> int:
        """The number of the reason why a question is kept as impossible (see ROW)."""
        if not impossible:
            return 0 if impossible == "" else UNTOLD
        if impossible not in self.reasons:
            self.reasons.append(impossible)
        self._example(impossible, identifier, line)
        return self.reasons.index(impossible)

    def flag(self, flag: int, identifier: str, line: int) -> None:
        """Remember an example of a flag; the rows have the count."""
        self._example(FLAGS[flag], identifier, line)

    def _example(self, reason: str, identifier: str, line: int) -> None:
        known = self.examples.setdefault(reason, [])
        if len(known) < EXAMPLES:
            known.append((identifier, line))


@dataclass(frozen=True)
class Counted:
    """One converted file, as `make_audit` takes it.

    Attributes:
        source: {"path", "bytes", "sha256"} of the input.
        name: of the file, to stand beside examples.
        tally: of its conversion.
        rows: (questions,) of ROW_FIELDS.
        repeated: (questions,) True where the question stands earlier in the output already.
    """

    source: dict[str, Any]
    name: str
    tally: Tally
    rows: "NDArray[Any]"
    repeated: "NDArray[np.bool_]"


def make_audit(files: list[Counted], repetitions: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum up: all counts, by reason and with examples.

    Args:
        files: in the order of the output.
        repetitions: {"id", "file", "line"} of the first questions that are `repeated`.

    Returns:
        "records", "impossible", "left_out", "dropped", "repeated", "noted", "lengths", "inputs".
    """
    import numpy as np

    rows = np.concatenate([file.rows[~file.repeated] for file in files])
    answered = rows["reason"] == 0
    unlabelled = int((rows["reason"] == UNTOLD).sum())
    examples = _examples(files)

    def entry(reason: str, count: int) -> dict[str, Any]:
        return {"count": count, "examples": examples.get(reason, [])}

    impossible: dict[str, int] = {}
    groups: dict[str, dict[str, int]] = {"left_out": {}, "dropped": {}, "noted": {}}
    for file in files:
        numbers = np.bincount(file.rows["reason"][~file.repeated], minlength=2)
        for reason, count in zip(file.tally.reasons[2:], numbers[2:].tolist(), strict=False):
            impossible[reason] = impossible.get(reason, 0) + count
        for group, counts in groups.items():
            for reason, count in getattr(file.tally, group).items():
                counts[reason] = counts.get(reason, 0) + count
    repeated = sum(int(file.repeated.sum()) for file in files)
    for flag, what in FLAGS.items():
        count = int((rows["flags"] & flag != 0).sum())
        if count or flag != MAY_NOT_FIT:
            groups["noted"][what] = count
    return {
        "inputs": [
            {
                **file.source,
                **file.tally.source,
                "read": file.tally.read,
                "kept": int((~file.repeated).sum()),
            }
            for file in files
        ],
        "records": {
            "read": sum(file.tally.read for file in files),
            "kept": len(rows),
            "answerable": int(answered.sum()),
            "impossible": len(rows) - int(answered.sum()) - unlabelled,
            "unlabelled": unlabelled,
            "left_out": sum(groups["left_out"].values()),
            "dropped": sum(groups["dropped"].values()),
            "repeated": repeated,
        },
        "impossible": {reason: entry(reason, count) for reason, count in impossible.items()},
        "repeated": {REPEATED: {"count": repeated, "examples": repetitions}} if repeated else {},
        **{
            group: {reason: entry(reason, count) for reason, count in sorted(counts.items())}
            for group, counts in groups.items()
        },
        "lengths": {
            "context": _lengths(rows["context"]),
            "question": _lengths(rows["question"]),
            "answer": _lengths(rows["answer"][answered]),
        },
    }


def _examples(files: list[Counted]) -> dict[str, list[dict[str, Any]]]:
    """Reason -> its first examples, in the order of the output."""
    examples: dict[str, list[dict[str, Any]]] = {}
    for file in files:
        for reason, places in file.tally.examples.items():
            known = examples.setdefault(reason, [])
            for identifier, line in places[: EXAMPLES - len(known)]:
                known.append({"id": identifier, "file": file.name, "line": line})
    return examples


def _lengths(values: "NDArray[Any]") -> dict[str, int]:
    """Characters: least, quartiles, 90th and 99th percentile, most."""
    import numpy as np

    if not len(values):
        return {}
    points = np.percentile(values, [0, 25, 50, 75, 90, 99, 100], method="lower")
    names = ("min", "p25", "p50", "p75", "p90", "p99", "max")
    return dict(zip(names, map(int, points), strict=True))


def audit_lines(audit: dict[str, Any]) -> Iterator[str]:
    """The audit as lines for a terminal."""
    records, output = audit["records"], audit["output"]
    yield f"{output['path']}: {records['kept']} of {records['read']} questions kept"
    yield f"  {records['answerable']} with answers, each checked at its place in the context"
    if records["unlabelled"]:
        yield f"  {records['unlabelled']} whose answers the file does not tell"
    for title, group in (
        ("impossible", "impossible"),
        ("left out, by rule", "left_out"),
        ("dropped, for a defect", "dropped"),
        ("repeated", "repeated"),
        ("noted", "noted"),
    ):
        if group in records:
            yield f"  {records[group]} {title}"
        else:
            yield f"  {title}:"
        for reason, entry in audit.get(group, {}).items():
            yield f"    {entry['count']} {reason}{_named(entry['examples'])}"
    for what, points in audit["lengths"].items():
        if points:
            figures = ", ".join(f"{name} {value}" for name, value in points.items())
            yield f"  characters of {'an' if what == 'answer' else 'a'} {what}: {figures}"
    yield f"  sha256 {output['sha256']}"


def _named(examples: list[dict[str, Any]]) -> str:
    if not examples:
        return ""
    return ": " + ", ".join(named(example["id"]) for example in examples[:3])


def drop_rate_problem(audit: dict[str, Any], most: float) -> str | None:
    """The sentence of --strict, or None where not more than that rate was dropped."""
    records = audit["records"]
    rate = records["dropped"] / max(records["read"], 1)
    if rate <= most:
        return None
    reason, entry = max(audit["dropped"].items(), key=lambda item: item[1]["count"])
    first = entry["examples"][0]
    return (
        f"{records['dropped']} of {records['read']} questions were dropped ({rate:.2%}), more than "
        f"--strict {most:g}; most often for {reason!r}, first in {first['file']} line "
        f"{first['line']} (question {named(first['id'])})"
    )
