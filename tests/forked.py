"""Run a command as `python -m MODULE` would, in a forked child: torch is imported once for all."""

import contextlib
import importlib
import os
import runpy
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping

import torch._dynamo  # noqa: F401  seconds that every child would spend again

with contextlib.suppress(ImportError):  # an extra, which a GPU's machine may lack
    import matplotlib.pyplot  # noqa: F401  likewise


def forked(
    module: str,
    *words: object,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
    stdout: int | None = None,
    prepare: Callable[[], None] = lambda: None,
) -> tuple[int, str, str]:
    """Status, standard output and standard error of a command.

    Args:
        module: "train.squad".
        words: its command line.
        stdin: what it reads.
        environment: variables to set.
        stdout: a descriptor that it prints to, line by line; the output returned is then "".
        prepare: called in the child first, to change what only the child shall meet.
    """
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as given,
        tempfile.TemporaryFile("w+", encoding="utf-8") as output,
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
    ):
        given.write(stdin)
        given.flush()
        given.seek(0)
        importlib.import_module(module)  # what it imports is there for the next child too
        child = os.fork()
        if child == 0:
            status = 70
            try:
                for stream, number in ((given, 0), (output, 1), (errors, 2)):
                    os.dup2(stream.fileno(), number)
                if stdout is not None:
                    os.dup2(stdout, 1)
                # pytest's capturing stands in sys.std*; a real process has the descriptors
                sys.stdin = os.fdopen(0, "r", closefd=False)
                line_by_line = -1 if stdout is None else 1
                sys.stdout = os.fdopen(1, "w", line_by_line, closefd=False)
                sys.stderr = os.fdopen(2, "w", closefd=False)
                os.environ.update(environment or {})
                prepare()
                sys.argv = [module, *map(str, words)]
                # the module is imported already, on purpose
                warnings.filterwarnings("ignore", ".* found in sys.modules", RuntimeWarning)
                runpy.run_module(module, run_name="__main__")
            except SystemExit as leaving:
                status = leaving.code if isinstance(leaving.code, int) else 0
                sys.stdout.flush()
                sys.stderr.flush()
            except BaseException:
                sys.excepthook(*sys.exc_info())
                sys.stderr.flush()
            finally:
                os._exit(status)
        status = finish(child)
        output.seek(0)
        errors.seek(0)
        return status, output.read(), errors.read()


def finish(child: int) -> int:
    """Wait for a child; its exit status, or minus the number of the signal that killed it.

    A wait that is broken off (a test out of time, Ctrl-C) leaves no child behind: it is aborted,
    which makes pytest's fault handler print where it stood.
    """
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except BaseException:
        os.kill(child, signal.SIGABRT)
        os.waitpid(child, 0)
        raise
