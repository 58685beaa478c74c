"""How a command leaves: its statuses, and what stderr says of an expected failure."""

import errno

# How a command leaves: 0 is success, 1 a mistake of our own (with its traceback), a missed goal of
# the demo, or eval.squad without a word, as the official script; and
EXIT_USAGE = 2  # a flag, a file, a name: what to correct is said
EXIT_NONFINITE = 3  # an infinite or undefined loss or gradient; the weights are the last good ones
EXIT_DISK = 4  # the disk is full, over quota or failing, or no checkpoint on it is whole
EXIT_MEMORY = 5  # of the GPU or the machine
EXIT_RANKS = 6  # of several processes (torchrun), another has ended or does not answer
EXIT_INTERRUPTED = 130  # Ctrl-C; 128 + the signal's number, as shells count
EXIT_TERMINATED = 143  # SIGTERM
DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
# How torch says that memory ran out: the CPU's allocator on each system, CUDA's, cuBLAS and cuDNN.
MEMORY_WORDS = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED")


class CommandError(Exception):
    """A run that had to stop; carries its exit status, one of those above."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Terminated(BaseException):
    """SIGTERM came; like KeyboardInterrupt it passes through every `finally` on its way."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's, the system's, the CPU's or a GPU's.

    torch has a class of its own for a GPU's memory (a RuntimeError too), and none for the CPU's.
    """
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error) for words in MEMORY_WORDS)


def explain(error: BaseException) -> tuple[str, int] | None:
    """What stderr says of an expected failure, and the status; None for a mistake of our own."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", EXIT_INTERRUPTED
    if isinstance(error, Terminated):
        return "terminated", EXIT_TERMINATED
    if is_out_of_memory(error):
        return (
            f"error: out of memory ({(str(error) or 'MemoryError').splitlines()[0]}); "
            "use smaller batches: --accumulate for training, --batch-tokens for prediction",
            EXIT_MEMORY,
        )
    if isinstance(error, RuntimeError) and "use_deterministic_algorithms" in str(error):
        reason = str(error).split(", but")[0]
        return f"error: --deterministic: {reason}; leave the flag out", EXIT_USAGE
    if not isinstance(error, (ValueError, OSError, CommandError)):
        return None
    line = "error: " + " ".join(str(error).split())
    if isinstance(error, CommandError):
        return line, error.status
    cause: BaseException | None = error
    while cause is not None and getattr(cause, "errno", None) not in DISK_ERRORS:
        cause = cause.__cause__
    if cause is None:
        return line, EXIT_USAGE
    if isinstance(error, OSError):  # else it is a sentence already
        what = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
        line = f"error: the disk takes no more ({what}); make room there and run again"
    return line, EXIT_DISK
