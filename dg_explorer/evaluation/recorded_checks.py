"""What a record holds about the validity of its scores, read once for many epochs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import xarray as xr

from ..errors import MissingGroupError
from ..record.run import as_run
from ..training.proof_table import read_proof, segments_of

# of what scores were made; which version computed the same ones does not matter
_NOT = ("version",)


class RecordedChecks:
    """The checks of a run, and what its scores say of themselves.

    Parameters
    ----------
    checks : names of groups, optional
        Go by these checks and no others.
    """

    def __init__(self, run, checks: Sequence[str] | None = None):
        self.run = as_run(run)
        self._checks = checks
        for name in checks or ():
            if name not in self.run.checks():
                raise MissingGroupError.of(f"the check {name!r}", self.run.checks())

    def _newest_first(self, kind: str) -> list[str]:
        there = self.run.checks(kind)[::-1]
        return there if self._checks is None else [c for c in there if c in self._checks]

    @cached_property
    def _smooth(self) -> list[xr.DataArray]:
        return [
            self.run[check]["metasmoothness"].dropna("epoch").load()
            for check in self._newest_first("metasmoothness")
        ]

    @cached_property
    def _ahead(self) -> list[xr.DataArray]:
        """Errors of the derivative in short look-aheads."""
        return [
            self.run[check]["derivative_error"].dropna("epoch").load()
            for check in self._newest_first("derivative_error")
        ]

    @cached_property
    def _lds(self) -> list[xr.Dataset]:
        return [self.run[check].load() for check in self._newest_first("lds")]

    def _lds_of(self, method: str, start: str | None = None) -> list[xr.Dataset]:
        # `sel(method=...)` would be taken for a way to interpolate.
        rows = [
            lds.sel({"method": method})
            for lds in self._lds
            if method in lds["method"].values and start in (None, lds.attrs.get("start", "this"))
        ]
        rows = [row.dropna("epoch", subset=["lds"]) for row in rows]
        return [row for row in rows if row.sizes["epoch"]]

    @cached_property
    def _proof(self) -> xr.Dataset | None:
        return read_proof(self.run)

    @cached_property
    def _segments(self) -> list:
        return segments_of(self.run)

    def _attrs(self, method: str) -> dict:
        return self._scores_of(method)[0]

    def _made_of(self, method: str) -> dict:
        return self._scores_of(method)[1]

    def _made_now(self, method: str, epoch: int) -> str:
        """As `made_of`, of a method's scores."""
        attrs, made = self._scores_of(method)
        said = made.get(int(epoch))
        return _short_name(said, attrs) if said else made_of(self.run, f"scores/{method}", epoch)

    def _scores_of(self, method: str) -> tuple[dict, dict]:
        """The attributes of a method's scores, and of what each epoch was made."""
        group = f"scores/{method}"
        if method not in self._read:
            there = group in self.run
            made = self.run.made_from(group) if there else {}
            self._read[method] = (dict(self.run[group].attrs) if there else {}, made)
        return self._read[method]

    @cached_property
    def _read(self) -> dict[str, tuple[dict, dict]]:
        return {}

    def _void(self, method: str) -> list[int]:
        return [int(epoch) for epoch in json.loads(self._attrs(method).get("void_epochs", "[]"))]

    def _is_older(self, epoch: int, method: str) -> bool:
        then = self._made_of(method).get(epoch, {}).get("weights")
        now = self._weights.get(epoch)
        return bool(then and now and then != now)

    @cached_property
    def _weights(self) -> dict[int, str]:
        if "checkpoints" not in self.run or "digest" not in self.run["checkpoints"]:
            return {}
        listed = self.run["checkpoints"]
        return dict(zip(listed["epoch"].values.tolist(), listed["digest"].values.tolist()))

    def _is_replayed(self, method: str) -> bool:
        """Whether a method's scores go through the recorded training, taken again."""
        if "replay" not in self.run:
            return False
        attrs = self._attrs(method) or {"method": method}
        return attrs.get("method") == "unrolled" and attrs.get("replay") != "given as a function"

    def _removals(self, method: str) -> list[xr.DataArray]:
        """For each removal check, newest first, the share of test examples that moved as said."""
        if method in self._moved:
            return self._moved[method]
        found: list[xr.DataArray] = []
        for check in self._newest_first("removal"):
            group = f"scores/{method}"
            if group in self.run and "removed" in self.run[check].attrs:
                found.append(_moved_as_said(self.run[check], self.run[group]["score"]))
        self._moved[method] = found
        return found

    @cached_property
    def _moved(self) -> dict[str, list[xr.DataArray]]:
        return {}


def _moved_as_said(check: xr.Dataset, score: xr.DataArray) -> xr.DataArray:
    """Share, over (epoch), of the test examples that a removal moved beyond chance as foreseen.

    Of those alone for which the sum of scores is 2 standard deviations from that of random
    removals of as many; epochs without any are left out. The attribute `clear` counts them.
    """
    epochs = np.intersect1d(check["epoch"], score["epoch"])
    tests = np.intersect1d(check["test"], score["test"])
    removed = score["train"].isin(check.attrs["removed"]).values
    shares, there, most = [], [], 0
    for epoch in epochs:
        scores = score.sel(epoch=epoch, test=tests).transpose("test", "train").values.astype(float)
        at = check.sel(epoch=epoch, test=tests)
        k, n = removed.sum(), len(removed)
        foreseen = -(scores[:, removed].sum(1) - k * scores.mean(1))
        chance = scores.std(1) * np.sqrt(k * (n - k) / max(n - 1, 1))
        clear = np.abs(foreseen) > 2 * chance
        if not clear.any():
            continue
        beyond = np.where(
            foreseen > 0,
            at["change"].values > at["band_high"].values,
            at["change"].values < at["band_low"].values,
        )
        shares.append(beyond[clear].mean())
        there.append(int(epoch))
        most = max(most, int(clear.sum()))
    found = xr.DataArray(np.array(shares, float), {"epoch": np.array(there, int)}, ("epoch",))
    return found.assign_attrs(clear=most)


def made_of(run, group: str, epoch: int) -> str:
    """A short name of the scores at an epoch, the same for as long as they are the same.

    By what their writer says that they were made from, and otherwise by their values; "" where
    there are none.
    """
    if group not in run:
        return ""
    said = run.made_from(group).get(int(epoch))
    if said:
        return _short_name(said, run[group].attrs)
    scores = run[group]["score"]
    if epoch not in scores["epoch"].values:
        return ""
    told = hashlib.sha256()
    row = scores.sel(epoch=epoch).transpose("test", "train")
    told.update(np.ascontiguousarray(row.values).tobytes())
    for dim in ("test", "train"):
        told.update(np.asarray(row[dim].values).tobytes())
    return told.hexdigest()[:16]


def _short_name(said: dict, attrs: dict) -> str:
    kept = {k: v for k, v in said.items() if k not in _NOT}
    kept |= {k: attrs.get(k) for k in ("method", "settings", "output")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:16]
