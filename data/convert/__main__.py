"""The command: `python -m data.convert {triviaqa,nq,quac,newsqa,mrqa} IN... --out FILE`."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from data.command import UsageError, parse, run_command
from data.convert.options import OPTIONS, Options

SUFFIXES = (".json", ".jsonl", ".csv")  # each also with .gz
DESCRIPTION = f"""Other question-answering sets -> SQuAD v2 JSON, with an audit beside it.

The first word is the set: {", ".join(OPTIONS)}. Each has its own --help.
What becomes of every kind of record is in docs/datasets.md."""
EPILOG = """examples:
  python -m data.convert nq v1.0/train/ --out nq-train.json --jobs 8
  python -m data.convert triviaqa qa/wikipedia-train.json --out triviaqa-train.json
  python -m data.convert newsqa split_data/train.csv --out newsqa-train.json --strict 0.01"""


def main(argv: list[str]) -> int:
    """Convert files and print the audit."""
    if argv and argv[0] in OPTIONS:
        name = argv[0]
        options = parse(
            OPTIONS[name], argv[1:], prog=f"data.convert {name}", description=DESCRIPTION
        )
        return convert(options)
    if argv and not argv[0].startswith("-"):
        raise UsageError(f"there is no set {argv[0]!r}; give one of {', '.join(OPTIONS)} first")
    if not {"-h", "--help"} & set(argv):
        raise UsageError(f"the set is missing; give one of {', '.join(OPTIONS)} first")
    parse(Options, argv, prog="data.convert", description=DESCRIPTION, epilog=EPILOG)
    return 0


def convert(options: Options) -> int:
    """Make the parts, join them, print the audit."""
    from data.convert.audit import audit_lines
    from data.convert.output import audit_path, join_parts
    from data.convert.processes import convert_all
    from data.convert.shards import Shard

    out = Path(os.path.realpath(options.out))
    inputs = find_inputs(options.inputs)
    for path in (out, audit_path(out)):
        if path.exists() and not path.is_file() and not path.is_dir():  # it would be replaced
            raise UsageError(f"--out {path} is a pipe or a device; name a file")
    if not options.out or out.is_dir() or not out.parent.is_dir():
        what = f"--out {out}" if options.out else "--out, which is empty,"
        raise UsageError(f"{what} is no file in a folder that exists; name one")
    if {out, audit_path(out)} & {path.resolve() for path in inputs}:
        raise UsageError(f"--out {out} is one of the inputs; give another name")
    parts = out.with_name(f".{out.name}.parts")
    parts.mkdir(exist_ok=True)
    shards = [Shard(number, path, parts, options) for number, path in enumerate(inputs)]
    with _alone(parts):
        convert_all(shards, options.processes())
        audit = join_parts(shards, out, options.strict)
        shutil.rmtree(parts)
    for line in audit_lines(audit):
        print(line)
    return 0


def find_inputs(names: tuple[str, ...]) -> list[Path]:
    """The files that the command line names, those of a folder by name.

    Raises:
        UsageError: a name without a file, a folder without any, or a file that is named twice.
    """
    found: list[Path] = []
    for name in names:
        if not name:  # it would be the folder where we are
            raise UsageError("an input has an empty name; give files as published, or their folder")
        path = Path(name)
        if path.is_dir():
            inside = sorted(
                file
                for file in path.iterdir()
                if file.is_file() and file.name.removesuffix(".gz").endswith(SUFFIXES)
            )
            if not inside:
                raise UsageError(f"the folder {path} holds no {', '.join(SUFFIXES)} file")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise UsageError(f"{path} does not exist; give files as published, or their folder")
    seen: dict[Path, Path] = {}
    for path in found:
        if seen.setdefault(path.resolve(), path) is not path:
            raise UsageError(f"{path} is named twice; give every input once")
    return found


@contextlib.contextmanager
def _alone(parts: Path) -> Iterator[None]:
    """Refuse a second process that writes the same output.

    An empty folder of parts is removed at the end: nothing was converted, nothing is to be kept.
    """
    lock = parts / ".lock"
    with lock.open("ab") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # Windows has no such lock
            pass
        except OSError:
            raise UsageError(f"another process is writing to {parts}; wait for it") from None
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                if [path.name for path in parts.iterdir()] == [lock.name]:
                    lock.unlink()
                    parts.rmdir()


if __name__ == "__main__":
    run_command(main)
