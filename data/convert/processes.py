"""The parts that are not finished, each made in a process of its own, with progress."""

import contextlib
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from multiprocessing import connection, get_context
from typing import Any

from data.children import leave_with_parent
from data.convert.shards import Shard, convert_shard

_GLANCE = 0.2  # seconds between two looks at the progress


def convert_all(shards: Sequence[Shard], jobs: int) -> None:
    """Make the parts that are not finished, each in a process of its own, `jobs` at a time.

    Raises:
        ValueError: what is wrong with the first input that cannot be converted, in their order
            among those that failed.
        OSError: a part cannot be written.
    """
    from tqdm import tqdm

    todo = [shard for shard in shards if shard.finished() is None]
    if len(todo) < len(shards):
        print(f"{len(shards) - len(todo)} of {len(shards)} files are done already", file=sys.stderr)
    sizes = [shard.path.stat().st_size for shard in todo]
    context = get_context("spawn")  # a fork would copy the locks of threads as they stand
    read = context.RawArray("q", max(len(todo), 1))
    waiting = list(enumerate(todo))[::-1]
    running: dict[Any, tuple[int, Any]] = {}
    finished = 0
    begin = time.monotonic()
    bar = tqdm(
        total=sum(sizes), desc="converting", unit="B", unit_scale=True, disable=None, leave=False
    )
    try:
        with bar:
            while waiting or running:
                while waiting and len(running) < jobs:
                    place, shard = waiting.pop()
                    mine, theirs = context.Pipe(duplex=False)
                    process = context.Process(target=_work, args=(shard, read, place, theirs))
                    with _without_ctrl_c():
                        process.start()
                    theirs.close()
                    running[process] = place, mine
                connection.wait([process.sentinel for process in running], _GLANCE)
                bar.update(sum(read) - bar.n)
                for process in [process for process in running if not process.is_alive()]:
                    place, pipe = running.pop(process)
                    _end(todo[place], process, pipe)
                    finished += 1
                    if bar.disable:  # no terminal: a line for each file
                        left = (time.monotonic() - begin) * (sum(sizes) / max(sum(read), 1) - 1)
                        rest = f", about {max(left, 0):.0f} s left" if finished < len(todo) else ""
                        print(
                            f"{todo[place].path.name}: done, {finished} of {len(todo)}{rest}",
                            file=sys.stderr,
                        )
    finally:
        for process in running:
            process.terminate()
        for process, (place, pipe) in running.items():
            process.join()
            pipe.close()
            if todo[place].finished() is None:
                todo[place].remove()


@contextlib.contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """A process that is started here never sees Ctrl-C, which is its parent's to answer."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(shard: Shard, process: Any, pipe: Any) -> None:
    """Look how a process ended.

    Raises:
        ValueError, OSError: what it says.
    """
    process.join()
    try:
        said = json.loads(pipe.recv_bytes())
    except EOFError:  # it has closed its end without a word
        said = None
    pipe.close()
    if process.exitcode == 0:
        return
    shard.remove()
    if process.exitcode == 1:
        raise RuntimeError(f"a mistake of ours, above, while converting {shard.path}")
    if said is None:
        raise ValueError(
            f"the process that converts {shard.path} ended with status {process.exitcode}, perhaps "
            "for lack of memory; use fewer --jobs"
        )
    if said["errno"] is not None:
        raise OSError(said["errno"], said["words"], said["file"])
    raise ValueError(said["words"])


def _work(shard: Shard, read: Any, place: int, pipe: Any) -> None:
    """What a process does; its error goes through the pipe as JSON."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=leave_with_parent, daemon=True).start()

    def progress(count: int) -> None:
        read[place] += count

    import gc

    gc.disable()  # records are trees: nothing waits for the collector, which would walk them all
    try:
        convert_shard(shard, progress)
    except (ValueError, OSError) as error:
        if isinstance(error, OSError):
            said = {"errno": error.errno, "words": error.strerror, "file": error.filename}
        else:
            said = {"errno": None, "words": str(error)}
        pipe.send_bytes(json.dumps(said).encode())
        sys.exit(2)
