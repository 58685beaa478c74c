"""The rows of a CSV, TSV or JSON lines file: line, text, label.

Which of them a file is is told by its content, not by its name: JSON lines where it begins with
"{", else a table whose first line names the columns and has most of commas, tabs or semicolons.

Quoting is Excel's and pandas': a field in double quotes may hold line breaks, and quotes doubled; a
quote inside an unquoted field is text. Anything else stops with the line; nothing is guessed.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from data.encoding import split_lines
from data.ledger import listed
from minibert.strict_json import counted, parse_object, shown

TEXT_COLUMNS = ("text", "tweet", "tweet_text", "full_text", "content", "message", "sentence")
LABEL_COLUMNS = ("label", "labels", "class", "sentiment", "stance", "target", "category")
MOST_CHARACTERS = csv.field_size_limit()  # of a text: 131,072; more are a sign of an open quote

_WHOLE_NUMBER = re.compile(r"([+-]?[0-9]{1,18})(?:\.0+)?")  # pandas writes 1.0 beside a gap

Row = tuple[int, str, str]


@dataclass(frozen=True)
class Rows:
    """What a file is read from.

    Attributes:
        text_column: name of the text's column.
        label_column: name of the label's column.
        records: (line where it begins, text, label without white space around it) of each record;
            read while they are asked for.
        blank_lines: lines that were skipped up to now, because nothing stands in them.
    """

    text_column: str
    label_column: str
    records: Iterator[Row]
    blank_lines: list[int]


def open_rows(
    path: Path,
    content: bytes,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    quotes: bool = True,
) -> Rows:
    """Find the columns of a file.

    Args:
        path: its name, for messages.
        content: UTF-8.
        text_column: the text's; None takes the one column named in TEXT_COLUMNS, in any case.
        label_column: the label's; None takes the one named in LABEL_COLUMNS.
        quotes: whether double quotes enclose fields of a table.

    Raises:
        ValueError: one sentence with file and line; also while the records are read.
    """
    blank_lines: list[int] = []
    if re.match(rb"\s*\{", content):
        objects = _objects(path, content, blank_lines)
        line, first = next(objects)
        names = list(first)
        text, label = _choose_columns(path, line, names, text_column, label_column)
        records = _object_rows(path, names[text], names[label], chain([(line, first)], objects))
        return Rows(names[text], names[label], records, blank_lines)
    table = _table(path, content, quotes, blank_lines)
    line, header = next(table, (1, []))
    if not header:
        raise ValueError(f"{path} is empty; expected CSV, TSV or JSON lines")
    text, label = _choose_columns(path, line, header, text_column, label_column)
    records = _table_rows(path, len(header), text, label, table)
    return Rows(header[text], header[label], records, blank_lines)


def _choose_columns(
    path: Path, line: int, names: Sequence[str], text_column: str | None, label_column: str | None
) -> tuple[int, int]:
    """Which columns are the text's and the label's."""
    places = []
    for what, chosen, candidates in (
        ("text", text_column, TEXT_COLUMNS),
        ("label", label_column, LABEL_COLUMNS),
    ):
        if chosen:
            fitting = [n for n, name in enumerate(names) if name == chosen]
        else:
            fitting = [n for n, name in enumerate(names) if name.strip().lower() in candidates]
        if len(fitting) != 1:
            much = f"{len(fitting)} columns" if fitting else "no column"
            sought = shown(chosen) if chosen else f"for the {what} ({candidates[0]}, ...)"
            raise ValueError(
                f"{path}: line {line} has {much} {sought} among {quoted(names)}; name one with "
                f"--{what}-column"
            )
        places.append(fitting[0])
    if places[0] == places[1]:
        raise ValueError(
            f"{path}: line {line}: {shown(names[places[0]])} cannot be the text's column and the "
            "label's; name another"
        )
    return places[0], places[1]


def quoted(names: Sequence[str]) -> str:
    """Names for a message, not all of many."""
    return listed([shown(name) for name in names])


def as_whole_number(label: str) -> str | None:
    """A label that is a whole number as Python writes it, "1" for "01" and "1.0"; else None."""
    number = _WHOLE_NUMBER.fullmatch(label)
    return str(int(number[1])) if number else None


# --- tables


def _table(
    path: Path, content: bytes, quotes: bool, blank_lines: list[int]
) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV or TSV file that are not blank, and the lines where they begin."""
    first = next((line for line in split_lines(content) if not line.isspace()), b"").decode()
    outside = re.sub('"[^"]*"', "", first) if quotes else first
    table = csv.reader(
        (line.decode() for line in split_lines(content)),
        delimiter=max(",\t;", key=outside.count),
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
        strict=True,  # a quote that closes a field in its middle is an error, not lost
    )
    while True:
        line = table.line_num + 1
        try:
            row = next(table, None)
        except csv.Error as error:
            last = f" to {table.line_num}" if table.line_num > line else ""
            raise ValueError(
                f"{path}: line {line}{last} has {_broken(str(error))}; double the quotes inside a "
                "quoted field, or read all quotes as text with --no-quotes"
            ) from None
        if row is None:
            return
        if any(field.strip() for field in row):
            yield line, row
        else:
            blank_lines.append(line)


def _broken(reason: str) -> str:
    """What the csv module found, in words."""
    if "expected after" in reason:
        return "a quoted field that ends at a quote with more text behind it"
    if "unexpected end" in reason:
        return "a quoted field that is open at the end of the file"
    if "field limit" in reason:
        return f"a field of over {MOST_CHARACTERS} characters, as if a quote were never closed"
    return f"broken quoting ({reason})"


def _table_rows(
    path: Path, columns: int, text: int, label: int, table: Iterator[tuple[int, list[str]]]
) -> Iterator[Row]:
    for line, row in table:
        if len(row) != columns:
            raise ValueError(
                f"{path}: line {line} has {counted(len(row), 'column')}, expected {columns} as in "
                "the first row; put a text that holds the separator in double quotes"
            )
        yield line, row[text], row[label].strip()


# --- JSON lines


def _objects(
    path: Path, content: bytes, blank_lines: list[int]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON lines file and their lines."""
    for line, raw in enumerate(split_lines(content), 1):
        if raw.isspace():
            blank_lines.append(line)
            continue
        try:
            record = parse_object(raw)
        except ValueError as error:
            reason = str(error).replace("at line 1, column", "at column")
            raise ValueError(f"{path}: line {line} {reason}; expected a JSON object") from None
        yield line, record


def _object_rows(
    path: Path, text_column: str, label_column: str, objects: Iterator[tuple[int, dict[str, Any]]]
) -> Iterator[Row]:
    for line, record in objects:
        text, label = record.get(text_column), record.get(label_column)
        if not isinstance(text, str) or len(text) > MOST_CHARACTERS:
            raise ValueError(
                f"{path}: line {line} has {shown(text)} as {shown(text_column)}, expected text of "
                f"at most {MOST_CHARACTERS} characters"
            )
        yield line, text, _json_label(path, line, label_column, label)


def _json_label(path: Path, line: int, column: str, label: Any) -> str:
    """A label that JSON may hold as text, whole number, true or false; as text."""
    if isinstance(label, str):
        return label.strip()
    if isinstance(label, bool):
        return str(label).lower()
    number = as_whole_number(repr(label)) if isinstance(label, int | float) else None
    if number is None:
        raise ValueError(
            f"{path}: line {line} has {shown(label)} as {shown(column)}, expected a name or a "
            "whole number"
        )
    return number
