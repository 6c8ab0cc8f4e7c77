"""Where a board opens: at the most telling moment there is, on an example that has scores."""

from __future__ import annotations

import numpy as np

from ..reading.marks import marks
from ..reading.reader import RunReader
from ..reading.selection import Selection


def opening(reader: RunReader) -> Selection:
    """The first selection of a board: mid-transition where there is one, else the end."""
    method = next(iter(reader.methods), None)
    epochs = reader.scores(method)["epoch"].values if method else reader.epochs
    if not len(epochs):
        epochs = reader.epochs
    at = {mark["kind"]: mark["epoch"] for mark in marks(reader)}
    telling = at.get("half", at.get("generalized"))
    if telling is not None and telling <= at.get("memorized", -np.inf):
        telling = None  # learned before it memorized: nothing turns there
    epoch = 0
    if len(epochs):
        epoch = epochs[-1] if telling is None else epochs[np.abs(epochs - telling).argmin()]
    tests = reader.scores(method)["test"].values if method else reader.ids("test")
    test = _just_learned(reader, tests, int(epoch))
    return Selection(epoch=int(epoch), test=test, method=method)


def _just_learned(reader: RunReader, tests: np.ndarray, epoch: int) -> int | None:
    """A test example that is right at this epoch and was wrong before; else the first."""
    if not len(tests):
        return None
    if reader.has("dynamics/test") and "correct" in reader.group("dynamics/test"):
        dynamics = reader.group("dynamics/test")
        upto = dynamics["correct"].isel(epoch=np.nonzero(dynamics["epoch"].values <= epoch)[0])
        known = tests[np.isin(tests, upto["test"].values)]
        correct = upto.sel(test=known).values if len(known) else np.zeros((0, 0), bool)
        if correct.shape[0] > 1:
            learned = np.nonzero(correct[-1] & (correct.mean(0) < 0.6))[0]
            if len(learned):
                return int(known[learned[0]])
    return int(tests[0])
