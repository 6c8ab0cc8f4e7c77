"""Ends a process, or fills its disk, at a chosen file operation of the record."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import contextmanager

import numpy as np
import xarray as xr

import dg_explorer as dg
from dg_explorer.record.store import files
from dg_explorer.record.store.settling import unnamed


def killed_at(n: int, act: Callable[[], object], *, halfway: bool = False) -> bool:
    """Run `act` in a child that ends, unannounced, at its n-th file operation.

    Parameters
    ----------
    halfway : end inside the n-th write instead, with half of its bytes written

    Returns
    -------
    bool
        Whether the child came so far; False when `act` was done before.
    """
    child = os.fork()
    if child == 0:
        count, write = 0, os.write

        def step(operation, path):
            nonlocal count
            count += 1
            if count == n:
                os._exit(9)

        def half(handle, data):
            nonlocal count
            count += 1
            if count == n:
                write(handle, bytes(data)[: len(data) // 2])
                os._exit(9)
            return write(handle, data)

        try:
            if halfway:
                files.os.write = half
            else:
                files.watch = step
            act()
            os._exit(0)
        except BaseException as error:
            write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9), f"an error instead of an end, at operation {n}"
    return code == 9


@contextmanager
def full_disk_from(n: int):
    """From the n-th write on no byte more fits on the disk; what is there can be overwritten."""
    count, write = 0, os.write

    def refuse(handle, data):
        nonlocal count
        count += 1
        if count >= n:
            half = len(data) // 2 if count == n else 0
            if half:
                write(handle, bytes(data)[:half])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, data)

    os.write = refuse
    try:
        yield
    finally:
        os.write = write


def contents(run: dg.Run) -> dict:
    """All that a run holds, as plain values that can be compared."""
    found: dict = {"attrs": run.attrs, "blobs": {n: run.blobs.read(n) for n in run.blobs.names()}}
    for group in run.groups():
        data = run[group].load()
        found[group] = {
            name: (array.dims, str(array.dtype), array.values.tolist())
            for name, array in data.variables.items()
        } | {"": {key: said for key, said in data.attrs.items() if key != "added"}}
    return found


def same(a: dict, b: dict) -> bool:
    """Whether two runs hold the same, NaN counted as equal to NaN."""
    return repr(a) == repr(b)


def leftovers(run: dg.Run) -> list[str]:
    """Files in the folder of a run that nothing of the record names."""
    now = run._reader.look()
    every = [p.relative_to(run.path).as_posix() for p in run.path.rglob("*") if p.is_file()]
    outside = [name for name in every if not name.startswith("record/")]
    return sorted(unnamed(run._reader.place, now) + outside)


def rows(*epochs: int, factor: float = 1.0) -> xr.Dataset:
    """Rows of metrics."""
    values = np.asarray(epochs, dtype=float) * factor
    return xr.Dataset({"train_loss": ("epoch", values)}, {"epoch": np.asarray(epochs)})


def scores(*epochs: int, factor: float = 1.0, tests: int = 3, trains: int = 5) -> xr.Dataset:
    """Scores whose values say where they belong."""
    e, q, t = np.meshgrid(epochs, range(tests), range(trains), indexing="ij")
    values = ((100 * e + 10 * q + t) * factor).astype(np.float32)
    coords = {"epoch": list(epochs), "test": range(tests), "train": range(trains)}
    return xr.Dataset({"score": (("epoch", "test", "train"), values)}, coords)


def a_run(path, **settings) -> dg.Run:
    """A run with something in files, something in the journal, nested groups and a checkpoint."""
    run = dg.Run.create(
        path,
        name="before",
        train_examples={"label": np.arange(5) % 2, "text": np.array(list("abcde"))},
        config={"lr": 0.1},
        **settings,
    )
    run.append("metrics", rows(0, 1))
    run.add("scores/mine", scores(0, 2))
    run.add("analyses/a", rows(3))
    run.add("analyses/a/b", rows(4))
    run.blobs.write("checkpoints/epoch_0/weights", b"w" * 100)
    run.flush()
    run.append("metrics", rows(2))
    run.set_attrs(note="kept")
    return run
