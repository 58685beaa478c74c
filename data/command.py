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
import dataclasses
import difflib
import io
import os
import sys
import types
import typing
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

EXIT_USAGE = 2
EXIT_MEMORY = 5
EXIT_INTERRUPTED = 130

OptionsT = TypeVar("OptionsT")


class UsageError(ValueError):
    """Something the user gave cannot be used; its message is one sentence for stderr (exit 2)."""


class CommandError(Exception):
    """A run that had to stop; carries its exit status (3 non-finite, 4 disk, 5 memory)."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def option(
    default: Any = dataclasses.MISSING,
    *,
    help: str,  # noqa: A002  argparse's own word
    choices: Sequence[str] | None = None,
    group: str = "options",
    metavar: str | None = None,
) -> Any:
    """A dataclass field with what the command line needs to know of it.

    Args:
        default: value when the flag is not given; without one the flag is required.
        help: one line, without the default (it is added).
        choices: allowed values of a string.
        group: heading in `--help`.
        metavar: name of the value in `--help`.
    """
    metadata = {"help": help, "choices": choices, "group": group, "metavar": metavar}
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
    made = parser(prog, description, epilog)
    groups: dict[str, Any] = {"options": made}  # beside --help
    hints = typing.get_type_hints(options_class)
    # A command's own options first, then those it inherits.
    own = options_class.__annotations__
    ordered = sorted(dataclasses.fields(options_class), key=lambda field: field.name not in own)  # type: ignore[arg-type]
    for field in ordered:
        flag = "--" + field.name.replace("_", "-")
        meta = field.metadata
        default = (defaults or {}).get(field.name, field.default)
        if meta["group"] not in groups:
            groups[meta["group"]] = made.add_argument_group(meta["group"])
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
    values, unknown = made.parse_known_args(list(argv))
    made.refuse_unknown(unknown)
    given = vars(values)
    given.pop("debug")
    return options_class(**given)


def explicit(options_class: type[Any], argv: Sequence[str]) -> set[str]:
    """Names of the options that `argv` sets itself, whatever their value."""
    words = {word.split("=")[0] for word in argv if word.startswith("--")}
    return {
        field.name
        for field in dataclasses.fields(options_class)
        if words & {f"--{sign}{field.name.replace('_', '-')}" for sign in ("", "no-")}
    }


def _print_warning(message: Warning | str, *details: Any, **more: Any) -> None:
    """A warning as one line; where in our code it was raised is no use to the user."""
    print(f"warning: {message}", file=sys.stderr)


def run_command(main: Callable[[list[str]], int]) -> NoReturn:
    """Run `main(sys.argv[1:])` and leave the process with its status.

    Expected errors (ValueError, OSError, CommandError) become one line on stderr; `--debug` shows
    their traceback instead. Ctrl-C leaves with 130, a closed output pipe quietly.
    """
    argv = sys.argv[1:]
    warnings.showwarning = _print_warning
    if isinstance(sys.stdout, io.TextIOWrapper):
        # an id or a text of half a surrogate pair is printed as an escape, as on stderr
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = main(argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has left: give the interpreter nothing more to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except (MemoryError, RuntimeError) as error:
        # torch has a class of its own for a GPU's memory, and none for the CPU's
        if not isinstance(error, MemoryError) and "memory" not in str(error).lower():
            raise
        print(
            f"error: out of memory ({(str(error) or 'MemoryError').splitlines()[0]}); "
            "use smaller batches: --accumulate for training, --batch-tokens for prediction",
            file=sys.stderr,
        )
        status = EXIT_MEMORY
    except (ValueError, OSError, CommandError) as error:
        if "--debug" in argv:
            import traceback

            traceback.print_exc()
        else:
            print("error: " + " ".join(str(error).split()), file=sys.stderr)
        status = error.status if isinstance(error, CommandError) else EXIT_USAGE
    sys.exit(status)
