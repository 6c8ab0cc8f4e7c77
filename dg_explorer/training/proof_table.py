"""`ReplayProof`: which segments of a training were proved to replay; read without torch."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import xarray as xr

from ..arguments import Brief

GROUP = "validity/replay"


@dataclass(frozen=True)
class Segment:
    """The steps from one checkpoint (None: the state before the first step) to the next."""

    first: int
    last: int
    begin: int | None
    end: int


@dataclass(frozen=True, repr=False)
class ReplayProof(Brief):
    """Which segments of a training were taken again, and how near they ended.

    Attributes
    ----------
    table : Dataset over epoch
        Of each segment, labelled by the epoch of the checkpoint at its end: `first_step`,
        `last_step`, `moved` (L2 distance from its beginning to its end), `distance` (from its
        replayed end to the recorded one), `proved`, `bits` (no bit differs).
    segments : list of Segment
        All there are, proved or not.
    """

    table: xr.Dataset | None
    segments: list[Segment]

    def counts(self, epoch: int | None = None) -> tuple[int, int]:
        """Segments proved, and segments that there are to prove, up to an epoch."""
        ends = [s.end for s in self.segments if epoch is None or s.end <= epoch]
        if self.table is None:
            return 0, len(ends)
        moved = self.table.moved.sel(epoch=self.table.epoch.isin(ends)).values
        proved = self.table.proved.sel(epoch=self.table.epoch.isin(ends)).values
        return int(proved.sum()), len(ends) - int((moved == 0).sum())

    @property
    def all_bits(self) -> bool:
        """Whether every segment was taken again without the difference of a bit."""
        return (
            self.table is not None
            and self.table.sizes["epoch"] == len(self.segments)
            and bool(self.table.bits.all())
        )

    def __str__(self) -> str:
        proved, there = self.counts()
        return f"{proved} of {there} segments proved"


def segments_of(run) -> list[Segment]:
    """The segments of a run between its checkpoints; none where it has no count of its steps."""
    if "metrics" not in run or "checkpoints" not in run:
        return []
    metrics = run["metrics"]
    if "steps_taken" not in metrics:
        return []
    column = metrics["steps_taken"].dropna("epoch")
    taken = dict(zip(column.epoch.values.tolist(), column.values.astype(int).tolist()))
    saved = [int(epoch) for epoch in run.epochs("checkpoints")]
    marks: list[tuple] = [(0, None)] + [(taken[e], e) for e in saved if e in taken]
    return [Segment(a[0], b[0], a[1], b[1]) for a, b in itertools.pairwise(marks) if b[0] > a[0]]


def read_proof(run) -> xr.Dataset | None:
    """What the record holds of a proof, whatever it was made from."""
    return run[GROUP].load() if GROUP in run else None
