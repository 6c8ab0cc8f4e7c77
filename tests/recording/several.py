"""Several processes on this machine that train together by gloo, and what each returned."""

from __future__ import annotations

import multiprocessing
import os
import queue
import tempfile
import time
import traceback
from datetime import timedelta
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
# imported once: each process is a copy of one that has them
_CONTEXT.set_forkserver_preload(
    ["torch._dynamo", "torch.nn.parallel", "dask.array", "dg_explorer.recording.recorder"]
)


class Failed(AssertionError):
    """A process ended otherwise than by returning."""


def launch(world: int, function, *arguments, limit: float = 600, fails: bool = False) -> list:
    """`function(rank, world, *arguments)` in each process of a group; what each returned.

    Parameters
    ----------
    function : at the top of a module
    limit : seconds after which all are killed
    fails : give "Name: words" of the exception that a process ended with in place of its result,
        and None where it ended without a word
    """
    results = _CONTEXT.Queue()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder, "store")
        started = [
            _CONTEXT.Process(target=_run, args=(function, rank, world, store, results, arguments))
            for rank in range(world)
        ]
        for process in started:
            process.start()
        found, end = {}, time.monotonic() + limit
        while len(found) < world and time.monotonic() < end:
            try:
                rank, value, wrong = results.get(timeout=0.2)
                found[rank] = (value, wrong)
            except queue.Empty:
                if all(process.exitcode is not None for process in started) and results.empty():
                    break
        for process in started:
            process.join(max(0.0, end - time.monotonic()))
            if process.exitcode is None:
                process.kill()
    if not fails:
        for rank in range(world):
            value, wrong = found.get(rank, (None, "it ended without a word, or took too long"))
            if wrong:
                raise Failed(f"rank {rank}: {wrong}")
        return [found[rank][0] for rank in range(world)]
    said = [found.get(rank, (None, None)) for rank in range(world)]
    return [value if wrong is None else wrong.splitlines()[0] for value, wrong in said]


def _run(function, rank, world, store, results, arguments) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    dist.init_process_group(
        "gloo", f"file://{store}", rank=rank, world_size=world, timeout=timedelta(seconds=300)
    )
    try:
        value, wrong = function(rank, world, *arguments), None
    except Exception as error:
        value, wrong = None, f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
    results.put((rank, value, wrong))
    if wrong is None:
        dist.barrier()
        dist.destroy_process_group()
    results.close()
    results.join_thread()
