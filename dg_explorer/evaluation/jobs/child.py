"""The other side of a job: a process that works, tells what it finds, and ends with a notebook."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress

from .frames import read_frame, write_frame

NICE = 10


def main() -> None:
    """Read what to do from the standard input, and write frames to the standard output."""
    told, out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a model prints must not come between two frames
    with suppress(OSError, AttributeError):
        os.nice(NICE)
    # a notebook's interrupt goes to every process of its group: a cell is meant, and not the job
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    head, arrays = read_frame(told) or sys.exit(1)
    threading.Thread(target=_end_with, args=(told,), daemon=True).start()
    try:
        _work(head, arrays, out)
        write_frame(out, {"kind": "done"})
    except BaseException as error:
        write_frame(out, {"kind": "failed", "words": f"{type(error).__name__}: {error}"})
        raise


def _end_with(told) -> None:
    """End when the notebook's process does, as its end of the pipe then closes."""
    told.read()
    os._exit(1)


def _work(head: dict, arrays: dict, out) -> None:
    import pickle

    import torch

    from .asked import as_arrays

    torch.set_num_threads(int(head["threads"]))
    # of our own, by a pipe of our own
    training, asked = (pickle.loads(arrays[name].tobytes()) for name in ("training", "asked"))

    def along(done: float) -> None:
        write_frame(out, {"kind": "progress", "done": float(done)})

    for found in asked.results(training, along):
        said, values = as_arrays(found)
        write_frame(out, {"kind": "rows", "found": said}, values)


if __name__ == "__main__":
    main()
