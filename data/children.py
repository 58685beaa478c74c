"""What a process does that another started."""

import os
from multiprocessing import parent_process


def leave_with_parent() -> None:
    """End this process when its parent ends; run it in a thread.

    A parent that was killed cannot end its processes: they end themselves.
    """
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
