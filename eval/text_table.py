"""A table for people: columns side by side, folded to a width, or as Markdown; records as CSV."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

GAP = "  "


@dataclass(frozen=True)
class Column:
    """Attributes:
    heading: above the cells.
    cells: one a row.
    right: whether they end at one place, as numbers do.
    """

    heading: str
    cells: Sequence[str]
    right: bool = True

    @property
    def width(self) -> int:
        """Characters of the widest cell."""
        return max(map(len, [self.heading, *self.cells]))

    def lines(self) -> Iterator[str]:
        """Heading and cells, all of one width."""
        for text in (self.heading, *self.cells):
            yield text.rjust(self.width) if self.right else text.ljust(self.width)


def as_text(columns: Sequence[Column], width: int) -> str:
    """Lines for a terminal.

    Args:
        columns: the first one names the rows; where all of them are too wide, it begins every one
            of several tables.
        width: characters that a line may have; a table of two columns may have more.
    """
    names, *rest = columns
    tables: list[list[Column]] = [[names]]
    for column in rest:
        if len(tables[-1]) > 1 and _width([*tables[-1], column]) > width:
            tables.append([names])
        tables[-1].append(column)
    return "\n\n".join("\n".join(_lines(table)) for table in tables)


def _width(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + len(GAP) * (len(columns) - 1)


def _lines(columns: Sequence[Column]) -> Iterator[str]:
    for cells in zip(*(column.lines() for column in columns), strict=True):
        yield GAP.join(cells).rstrip()


def as_markdown(columns: Sequence[Column]) -> str:
    """One Markdown table of all columns."""
    rows = list(zip(*([column.heading, *column.cells] for column in columns), strict=True))
    rule = tuple("---:" if column.right else "---" for column in columns)
    return "\n".join(f"| {' | '.join(map(_escaped, row))} |" for row in (rows[0], rule, *rows[1:]))


def _escaped(cell: str) -> str:
    """A cell on one line, in which neither | ends it nor * makes it slanted."""
    return " ".join(cell.split()).replace("|", "\\|").replace("*", "\\*")


def as_csv(records: Sequence[Mapping[str, object]]) -> str:
    """Records as CSV, the names first; what has no value is empty."""
    stream = io.StringIO()
    names = list(dict.fromkeys(name for record in records for name in record))
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return stream.getvalue()


def shown_time(seconds: float) -> str:
    """43 s, 3.5 min, 2.1 h.

    >>> [shown_time(seconds) for seconds in (0.42, 43.4, 210, 7560)]
    ['0.4 s', '43 s', '3.5 min', '2.1 h']
    """
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
