"""What every command shares: a frozen dataclass as command line, errors as one line.

A command declares its options once, as a frozen dataclass whose fields carry their own help text:

    @dataclass(frozen=True)
    class Options:
        epochs: float = option(2.0, help="passes over the training set")
        amp: bool = option(False, help="mixed precision")

`parse` turns it into argparse (dashes for underscores, `--amp/--no-amp` for booleans, defaults in
the help text, unknown flags refused with the nearest name), and `run_command` turns every expected
error into one sentence on stderr. It lives in data/ because data, train and eval use it.
"""

import argparse
import contextlib
import dataclasses
import difflib
import os
import signal
import sys
import types
import typing
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

from data.failures import EXIT_INTERRUPTED, EXIT_TERMINATED, Terminated, explain
from data.streams import mute_broken, open_streams, outlive_readers

OptionsT = TypeVar("OptionsT")


class UsageError(ValueError):
    """Something the user gave cannot be used; its message is one sentence for stderr (exit 2)."""


def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,  # noqa: A002  argparse's own word
    choices: Sequence[str] | None = None,
    group: str = "options",
    metavar: str | None = None,
    positional: bool = False,
    alias: str | None = None,
) -> Any:
    """A dataclass field with what the command line needs to know of it.

    Args:
        default: value when the flag is not given; without one the flag is required.
        help: one line, without the default (it is added).
        choices: allowed values of a string.
        group: heading in `--help`.
        metavar: name of the value in `--help`.
        positional: any number of words without a flag; a tuple of strings.
        alias: another name that the flag answers to, not shown in `--help`.
    """
    metadata = {
        "help": help,
        "choices": choices,
        "group": group,
        "metavar": metavar,
        "positional": positional,
        "alias": alias,
    }
    return dataclasses.field(default=default, metadata=metadata)


class _Parser(argparse.ArgumentParser):
    """argparse that answers a mistake with one sentence and the nearest flag's name."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")

    def refuse_unknown(self, unknown: Sequence[str]) -> None:
        if not unknown:
            return
        word = unknown[0].split("=")[0]
        flags = [flag for action in self._actions for flag in action.option_strings]
        near = difflib.get_close_matches(word, flags, n=1)
        hint = f"did you mean {near[0]}?" if near else f"see {self.prog} --help"
        what = "flag" if word.startswith("-") else "argument"
        raise UsageError(f"unknown {what} {word}; {hint}")


def parser(prog: str, description: str, epilog: str = "") -> _Parser:
    """An argparse parser with this project's manners (exact flags only, one-sentence errors)."""
    return _Parser(
        prog=f"python -m {prog}",
        description=description,
        epilog=epilog,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _value_type(annotation: Any) -> type:
    """The type argparse converts to: `int | None` reads as int."""
    if isinstance(annotation, types.UnionType):
        annotation = next(part for part in typing.get_args(annotation) if part is not type(None))
    return typing.cast(type, annotation)


def _default_text(default: Any) -> str:
    """What `--help` says of a default, "" where there is nothing to say."""
    if default is dataclasses.MISSING:
        return " (required)"
    if default is None or default == "":
        return ""
    if isinstance(default, bool):
        default = "on" if default else "off"
    return f" (default: {default})"


def parse(
    options_class: type[OptionsT],
    argv: Sequence[str],
    *,
    prog: str,
    description: str,
    epilog: str = "",
    defaults: dict[str, Any] | None = None,
) -> OptionsT:
    """Command line -> options.

    Args:
        options_class: frozen dataclass whose fields are made with `option`.
        argv: the words after the command's name.
        prog: module name, as in `python -m PROG`.
        description: first lines of `--help`.
        epilog: examples, printed below the flags.
        defaults: values that take the place of the dataclass's own defaults (a resumed run's, the
            demo's); flags on the command line win over them.

    Returns:
        An `options_class`. Which flags the user gave is told by `explicit`.

    Raises:
        UsageError: unknown flag, missing or malformed value, or a `__post_init__` check.
    """
    return options_class(**_read(options_class, argv, prog, description, epilog, defaults))


def given_values(
    options_class: type[Any], argv: Sequence[str], *, prog: str, description: str, epilog: str = ""
) -> dict[str, Any]:
    """The values that a command line itself gives, each read, but not checked with each other.

    A command whose defaults depend on them (`parse` takes the arguments with those) reads them
    first.

    Raises:
        UsageError: unknown flag, missing or malformed value.
    """
    argv = [word for word in argv if word not in ("-h", "--help")]  # answered by `parse`
    values = _read(options_class, argv, prog, description, epilog, None)
    given = explicit(options_class, argv)
    positional = {f.name for f in dataclasses.fields(options_class) if f.metadata["positional"]}
    return {n: v for n, v in values.items() if n in given or (n in positional and v)}


def _read(
    options_class: type[Any],
    argv: Sequence[str],
    prog: str,
    description: str,
    epilog: str,
    defaults: dict[str, Any] | None,
) -> dict[str, Any]:
    made = parser(prog, description, epilog)
    groups: dict[str, Any] = {"options": made}  # beside --help
    hints = typing.get_type_hints(options_class)
    # A command's own options first, then those it inherits.
    own = options_class.__annotations__
    ordered = sorted(dataclasses.fields(options_class), key=lambda field: field.name not in own)
    for field in ordered:
        flag = "--" + field.name.replace("_", "-")
        meta = field.metadata
        default = (defaults or {}).get(field.name, field.default)
        if meta["group"] not in groups:
            groups[meta["group"]] = made.add_argument_group(meta["group"])
        if meta["positional"]:
            made.add_argument(
                field.name, nargs="*", default=default, metavar=meta["metavar"], help=meta["help"]
            )
            continue
        text = meta["help"] + _default_text(default)
        arguments: dict[str, Any] = {"dest": field.name, "help": text.replace("%", "%%")}
        if default is dataclasses.MISSING:
            arguments["required"] = True
        else:
            arguments["default"] = default
        kind = _value_type(hints[field.name])
        if kind is bool:
            arguments["action"] = argparse.BooleanOptionalAction
        else:
            arguments |= {"type": kind, "choices": meta["choices"], "metavar": meta["metavar"]}
        groups[meta["group"]].add_argument(flag, **arguments)
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    values, unknown = made.parse_known_args(_without_aliases(options_class, argv))
    made.refuse_unknown(unknown)
    given = vars(values)
    given.pop("debug")
    return {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}


def _without_aliases(options_class: type[Any], argv: Sequence[str]) -> list[str]:
    """The command line with every flag under its field's own name."""
    names = {
        f"--{alias}": "--" + field.name.replace("_", "-")
        for field in dataclasses.fields(options_class)
        if (alias := field.metadata["alias"])
    }
    words = [word.partition("=") for word in argv]
    return [names.get(flag, flag) + sign + value for flag, sign, value in words]


def explicit(options_class: type[Any], argv: Sequence[str]) -> set[str]:
    """Names of the options that `argv` sets itself, whatever their value."""
    given = _without_aliases(options_class, argv)
    words = {word.split("=")[0] for word in given if word.startswith("--")}
    return {
        field.name
        for field in dataclasses.fields(options_class)
        if words & {f"--{sign}{field.name.replace('_', '-')}" for sign in ("", "no-")}
    }


def _print_warning(message: Warning | str, *details: Any, **more: Any) -> None:
    """A warning as one line; where in our code it was raised is no use to the user."""
    with contextlib.suppress(OSError):  # nobody may read stderr any more: no reason to stop
        print(f"warning: {message}", file=sys.stderr)


def _on_sigterm(number: int, frame: Any) -> None:
    raise Terminated


def run_command(
    main: Callable[[list[str]], int], *, outlives_readers: bool = False, with_ranks: bool = False
) -> NoReturn:
    """Run `main(sys.argv[1:])` and leave the process with its status.

    Expected errors (ValueError, OSError, CommandError) become one line on stderr; `--debug` shows
    their traceback instead. Ctrl-C leaves with 130, SIGTERM with 143, both after all drafts are
    removed; a closed output pipe quietly.

    Args:
        main: gets the words of the command line, returns the status.
        outlives_readers: a closed output pipe ends nothing: the work goes on, unheard.
        with_ranks: several processes of it work together where torchrun starts them; else they
            would write over each other's files, and are refused.
    """
    argv = sys.argv[1:]
    warnings.showwarning = _print_warning
    open_streams()
    if outlives_readers:
        outlive_readers()
    answers_sigterm = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if answers_sigterm:
        signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        for word in argv:
            _require_utf8(word)
        if not with_ranks:
            _require_one_process()
        status = main(argv)
        sys.stdout.flush()
    except SystemExit as leaving:  # --help
        status = int(leaving.code or 0)
    except BrokenPipeError:  # the reader (`| head`) has left
        status = 0
    except BaseException as error:
        if signal.getsignal(signal.SIGTERM) is _on_sigterm:  # it ends already, and says why
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        known = explain(error)
        if known is None:  # a mistake of our own: with its traceback, and status 1
            raise
        line, status = known
        with contextlib.suppress(OSError):
            if "--debug" in argv and status not in (EXIT_INTERRUPTED, EXIT_TERMINATED):
                import traceback

                traceback.print_exc()
            else:
                print(line, file=sys.stderr)
    finally:
        if answers_sigterm:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    mute_broken()  # else the interpreter would complain, and leave with 120
    sys.exit(status)


def _require_one_process() -> None:
    if {"TORCHELASTIC_RUN_ID", "WORLD_SIZE"} <= os.environ.keys():
        raise UsageError(
            "this command works in one process; start it with python -m in place of torchrun (if "
            "there is none, `unset WORLD_SIZE`)"
        )


def _require_utf8(word: str) -> None:
    """Refuse a word of other bytes now: libraries would, on such a path, after hours of work."""
    try:
        os.fsencode(word).decode()
    except UnicodeDecodeError:
        raise UsageError(
            f"the argument {word!a} is not UTF-8 text; correct it, or rename the file"
        ) from None
