"""The finished parts -> one SQuAD v2 file and its audit, whole or not at all."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from data.convert.audit import (
    EXAMPLES,
    ROW_FIELDS,
    UNTOLD,
    Counted,
    Tally,
    drop_rate_problem,
    make_audit,
)
from data.convert.shards import Shard
from data.ledger import listed
from minibert.files import flush_folder, write_file
from minibert.strict_json import counted, named

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CHUNK = 1 << 20  # bytes


def audit_path(out: Path) -> Path:
    """Where the audit of an output is written."""
    return out.with_name(out.name.removesuffix(".json") + ".audit.json")


def join_parts(shards: Sequence[Shard], out: Path, strict: float | None) -> dict[str, Any]:
    """Write the output and its audit; return the audit.

    A question that stands in the inputs twice, word for word, is kept once and counted.

    Args:
        shards: all finished, in the order of the output.
        out: to be written.
        strict: the largest part of the questions that may be dropped, None for any.

    Raises:
        ValueError: an id with two different contents, nothing to write, answers told of a part of
            the questions only, or more dropped than `strict`; nothing is written then.
        OSError: the output cannot be written.
    """
    import numpy as np

    made = [shard.finished() for shard in shards]
    rows = [np.fromfile(shard.file("rows"), np.dtype(list(ROW_FIELDS))) for shard in shards]
    repeated = find_repeated(shards, rows)
    files = [
        Counted(
            {"path": str(shard.path), "bytes": part["from"]["bytes"], "sha256": part["sha256"]},
            shard.path.name,
            Tally(**part["tally"]),
            shard_rows,
            again,
        )
        for shard, part, shard_rows, again in zip(shards, made, rows, repeated, strict=True)
        if part is not None
    ]
    if len(files) < len(shards):
        raise ValueError(f"an input or a part of {out} changed meanwhile; run again")
    audit: dict[str, Any] = {
        "set": shards[0].options.set_name,
        "options": shards[0].options.of_parts(),
        **make_audit(files, _repetitions(shards, rows, repeated)),
    }
    problem = drop_rate_problem(audit, strict) if strict is not None else None
    if problem:
        raise ValueError(problem)
    records = audit["records"]
    if 0 < records["unlabelled"] < records["kept"]:
        raise ValueError(
            f"{records['unlabelled']} of the {records['kept']} questions come without their "
            f"answers (a test set: {_unlabelled(shards, rows)}), and beside the others they would "
            "be taken for impossible; convert them apart"
        )
    if not records["kept"]:
        raise ValueError(
            f"nothing is left of {counted(records['read'], 'question')}; {out} is not written"
        )
    draft = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            digest = hashlib.sha256()
            size = 0
            for content in _document(shards, repeated):
                file.write(content)
                digest.update(content)
                size += len(content)
            file.flush()
            os.fsync(file.fileno())
        audit["output"] = {"path": str(out), "bytes": size, "sha256": digest.hexdigest()}
        os.replace(draft, out)
        flush_folder(out.parent)
    finally:
        draft.unlink(missing_ok=True)
    text = json.dumps(audit, ensure_ascii=False, indent=1) + "\n"
    write_file(audit_path(out), text.encode("utf-8", "backslashreplace"))
    return audit


def _unlabelled(shards: Sequence[Shard], rows: Sequence["NDArray[Any]"]) -> str:
    """The files with questions whose answers are not told."""
    places = zip(shards, rows, strict=True)
    return listed([shard.path.name for shard, part in places if (part["reason"] == UNTOLD).any()])


def find_repeated(
    shards: Sequence[Shard], rows: Sequence["NDArray[Any]"]
) -> list["NDArray[np.bool_]"]:
    """For every part, which of its questions stand earlier already, word for word.

    Raises:
        ValueError: two questions have the same id and are not the same.
    """
    import numpy as np

    ids = np.concatenate([part["id"] for part in rows])
    order = np.argsort(ids, kind="stable")
    again = np.zeros(len(ids), bool)
    again[order[1:]] = ids[order[1:]] == ids[order[:-1]]
    bounds = np.cumsum([0, *map(len, rows)])
    if again.any():
        contents = np.concatenate([part["content"] for part in rows])
        # each is compared with the one before it of its id: all are equal, or one differs
        other = np.flatnonzero(
            (ids[order[1:]] == ids[order[:-1]]) & (np.diff(contents[order]) != 0)
        )
        if len(other):
            first, second = sorted((int(order[other[0]]), int(order[other[0] + 1])))
            places = []
            for row in (first, second):
                s = int(np.searchsorted(bounds, row, "right")) - 1
                places.append((shards[s], row - int(bounds[s])))
            (earlier, row), (shard, later) = places
            where = f"{earlier.path} line {rows[earlier.number]['line'][row]}"
            raise ValueError(
                f"{shard.path}: line {rows[shard.number]['line'][later]} has a question with the "
                f"id {named(_ids_of(shard, [later])[0])}, which {where} has too, with another "
                "content; correct one"
            )
    return np.split(again, bounds[1:-1])


def _repetitions(
    shards: Sequence[Shard], rows: Sequence["NDArray[Any]"], repeated: Sequence["NDArray[np.bool_]"]
) -> list[dict[str, Any]]:
    """The first questions that are repeated, as examples of the audit."""
    examples: list[dict[str, Any]] = []
    for shard, lines, again in zip(shards, rows, repeated, strict=True):
        chosen = again.nonzero()[0][: EXAMPLES - len(examples)].tolist()
        examples += [
            {"id": identifier, "file": shard.path.name, "line": int(lines["line"][row])}
            for row, identifier in zip(chosen, _ids_of(shard, chosen), strict=True)
        ]
    return examples


def _ids_of(shard: Shard, rows: Sequence[int]) -> list[str]:
    """The ids of questions, by their numbers in a part, which ascend."""
    if not rows:
        return []
    with shard.file("part").open("rb") as file:
        ids = (
            str(question["id"])
            for record in _articles(file)
            for paragraph in record["paragraphs"]
            for question in paragraph["qas"]
        )
        upto = list(islice(ids, rows[-1] + 1))
        return [upto[row] for row in rows]


def _document(shards: Sequence[Shard], repeated: Sequence["NDArray[np.bool_]"]) -> Iterator[bytes]:
    """The output's bytes: the parts one after another, without what is repeated."""
    yield b'{"version": "v2.0", "data": ['
    first = True
    for shard, again in zip(shards, repeated, strict=True):
        with shard.file("part").open("rb") as file:
            contents = _without(_articles(file), again) if again.any() else _chunks(file)
            for content in contents:
                yield content[1:] if first else content  # the comma that each article follows
                first = False
    yield b"\n]}\n"


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while content := file.read(_CHUNK):
        yield content


def _articles(file: IO[bytes]) -> Iterator[dict[str, Any]]:
    """The articles of a part; each stands on a line, behind a line with a comma."""
    for line in file:
        if line != b",\n":
            yield json.loads(line.removesuffix(b",\n") if line.endswith(b",\n") else line)


def _without(articles: Iterator[dict[str, Any]], again: "NDArray[np.bool_]") -> Iterator[bytes]:
    """The articles of a part without the questions that are repeated."""
    row = 0
    for record in articles:
        for paragraph in record["paragraphs"]:
            kept = []
            for question in paragraph["qas"]:
                if not again[row]:
                    kept.append(question)
                row += 1
            paragraph["qas"] = kept
        record["paragraphs"] = [paragraph for paragraph in record["paragraphs"] if paragraph["qas"]]
        if record["paragraphs"]:
            yield b",\n" + json.dumps(record, ensure_ascii=True).encode()
