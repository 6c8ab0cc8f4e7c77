"""What a run's scores are worth as predictions of retraining: slope, noise, trust, intervals."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import xarray as xr

from ...arguments import Ids, checked
from ...errors import DataError, MissingGroupError
from ...record.run import as_run
from ..lds import bootstrap_draws, rank_agreement
from ..recorded_checks import made_of
from .joined import Joined, spread
from .kept import FAMILY, THIS, check_start, kept_retrainings
from .posterior import RemovalModel, Settings, choose_settings
from .removals import removed_ids

LEAST = 8  # retrainings below which nothing is calibrated
_MOMENTS, _TESTS, _ROWS = 6, 32, 96  # what the settings are chosen from, at most
EXACT = "unrolled"


@dataclass(frozen=True)
class Calibration:
    """A linear model of what removals do, by scores and retrainings together.

    Attributes
    ----------
    methods : names of the scores it starts from
    start : "this" or "any"
    epoch : the moments at which there are both scores and retrainings
    n : retrainings it rests on, beside those that lack nothing
    n_diverged : retrainings that ended in NaN and were left out
    table : Dataset over (epoch), at a few moments
        ``slope`` of the truth on each method's scores (method, epoch), ``deviation``, ``power``,
        ``spread`` (see `Settings`); ``lds`` with ``low`` and ``high``: of the scores alone;
        ``lds_calibrated``: of the model, each retraining predicted from the others;
        ``coverage``: of its 90 % intervals, likewise.
    """

    methods: tuple[str, ...]
    start: str
    epoch: np.ndarray
    n: int
    n_diverged: int
    table: xr.Dataset
    _data: Joined = field(repr=False)

    @property
    def slope(self) -> float:
        """Median over moments of the truth's slope on the scores of the first method."""
        return float(np.median(self.table["slope"].values[0]))

    @property
    def coverage(self) -> float:
        """Share of retrainings inside their 90 % interval, each predicted from the others."""
        return float(self.table["coverage"].mean())

    @property
    def lds(self) -> dict[str, float]:
        """The scores' datamodeling score with its 95 % interval, as means over moments."""
        return {
            name: float(self.table[key].mean())
            for name, key in (("mean", "lds"), ("low", "low"), ("high", "high"))
        }

    @property
    def test(self) -> np.ndarray:
        """Ids of the test examples that have scores and retrainings."""
        return self._data.test

    @property
    def sizes(self) -> tuple[int, int]:
        """How many examples the retrainings lack, at least and at most."""
        removed = self._data.removed.sum(1)
        return int(removed.min()), int(removed.max())

    @checked
    def predict(
        self,
        train: Ids,
        test: int | Ids | None = None,
        *,
        level: float = 0.9,
    ) -> xr.Dataset:
        """The outputs after training without some examples, as far as they can be expected.

        Parameters
        ----------
        train : ids of the examples to remove
        test : id or ids, optional
            Default: the mean output over all test examples.
        level : float
            Of the interval, which is one for a single retraining.

        Returns
        -------
        Dataset
            ``expected``, ``low``, ``high`` over (epoch), and ``test`` where several are asked for.
        """
        data = self._data
        removed = np.isin(data.train, removed_ids(train, data.train))[None]
        if test is None:
            mean, reach = self._mean.predict(removed)
            reach = reach * self._mean.reach(level)
            now, dims = data.now.mean(1), ("epoch",)
            bounds = now + mean[0], now + mean[0] - reach[0], now + mean[0] + reach[0]
        else:
            several = not np.isscalar(test) and np.ndim(test) > 0
            ids = np.atleast_1d(np.asarray(test))
            places = data.places(ids)
            bounds = np.stack(
                [self._at(i, places, removed, level) for i in range(len(self.epoch))], 1
            )
            dims = ("epoch", "test") if several else ("epoch",)
            bounds = bounds if several else bounds[:, :, 0]
        coords = {"epoch": self.epoch} | ({"test": np.asarray(test)} if len(dims) == 2 else {})
        names = ("expected", "low", "high")
        return xr.Dataset(
            {name: (dims, values) for name, values in zip(names, bounds, strict=True)},
            coords,
            {"level": level, "start": self.start, "methods": list(self.methods), "n": self.n},
        )

    def accuracy(self, train: Ids, *, level: float = 0.9) -> xr.Dataset | None:
        """Test accuracy likewise, between 0 and 1; None where the task has none."""
        data, model = self._data, self._accuracy
        if model is None:
            return None
        removed = np.isin(data.train, removed_ids(train, data.train))[None]
        mean, reach = model.predict(removed)
        reach = reach[0] * model.reach(level)
        expected = data.accuracy_now + mean[0]
        bounds = (expected, expected - reach, expected + reach)
        return xr.Dataset(
            {
                name: ("epoch", np.clip(values, 0, 1))
                for name, values in zip(("expected", "low", "high"), bounds, strict=True)
            },
            {"epoch": self.epoch},
        )

    def __repr__(self) -> str:
        lds = self.lds
        return (
            f"Calibration({' and '.join(self.methods)}, {self.start} start: {self.n} retrainings; "
            f"LDS {lds['mean']:.2f} ({lds['low']:.2f} to {lds['high']:.2f}), slope "
            f"{self.slope:.2f}, 90 % intervals cover {self.coverage:.0%})"
        )

    def prepare(self) -> None:
        """Fit now what an answer needs beside the table, so that the first one comes at once."""
        _ = self._mean, self._accuracy

    def as_check(self, run) -> xr.Dataset:
        """The table as a check of the first method's scores, as `lds_over_time` keeps one."""
        method = self.methods[0]
        epochs = self.table["epoch"].values
        made = [made_of(run, f"scores/{method}", int(epoch)) for epoch in epochs]
        rows = self.table.sel({"method": [method]}).drop_vars(("deviation", "power", "spread"))
        rows = rows.assign(made_of=("epoch", np.array(made, dtype=object)))
        return rows.map(
            lambda row: row if "method" in row.dims else row.expand_dims(method=[method])
        ).assign_attrs(start=self.start, n_subsets=self.n, n_diverged=self.n_diverged)

    # ------------------------------------------------------------------ inside

    def settings(self, place: int) -> Settings:
        """The settings of a moment: those of the nearest moment they were chosen at."""
        chosen = self.table["epoch"].values
        row = int(np.argmin(np.abs(chosen - self.epoch[place])))
        at = self.table.isel(epoch=row)
        return Settings(
            at["slope"].values, float(at["deviation"]), float(at["power"]), float(at["spread"])
        )

    def _at(self, place: int, tests: np.ndarray, removed: np.ndarray, level: float) -> np.ndarray:
        """Expected output, low and high at a moment, shape (3, test)."""
        data = self._data
        scores = data.scores_at(self.epoch[place], tests)
        change = data.change[:, place, tests]
        model = RemovalModel(data.removed, change, scores, self.settings(place))
        mean, reach = model.predict(removed)
        expected, reach = data.now[place, tests] + mean[0], reach[0] * model.reach(level)
        return np.stack([expected, expected - reach, expected + reach])

    @cached_property
    def _mean(self) -> RemovalModel:
        """Of the mean output at all moments, which stand for test examples here."""
        return self._data.model_of_moments(self._data.change.mean(2), self._data.mean_scores)

    @cached_property
    def _accuracy(self) -> RemovalModel | None:
        change = self._data.accuracy_change
        if not np.isfinite(change).all():
            return None
        return self._data.model_of_moments(change, self._data.accuracy_scores)


@checked
def calibrate(
    run,
    *,
    method: str | Sequence[str] | None = None,
    retrainings: xr.Dataset | None = None,
    start: str = "this",
) -> Calibration:
    """Take a run's scores as a prior and its retrainings as data, for predictions with intervals.

    A sum of scores ranks removals, but its size is off: nothing that it says in numbers should be
    read before this.

    Parameters
    ----------
    run : Run
        With scores, and retrainings that `retrain` made.
    method : name of scores, or several
        Default: the exact ones ("unrolled"), else the first there are. Several are weighed
        against each other.
    retrainings : Dataset, optional
        As `retrain` returns them; default all that the run keeps.
    start : "this" or "any"
        Which truth: retraining from the start of the recorded training, or from other starts.

    Returns
    -------
    Calibration
        What it found of the run's own retrainings is kept as ``checks/lds/<n>``, from which the
        light takes it.

    Raises
    ------
    MissingGroupError
        The run has no such scores.
    DataError
        There are fewer than 8 retrainings, or none from the start asked for.

    Notes
    -----
    The prior mean of what an example does is slope x score, with one slope for all test examples
    at a moment. Slope, noise, trust and how noise grows with the size of a removal are those under
    which the retrainings are most likely.
    """
    run = as_run(run)
    if retrainings is not None:
        return _calibrated(run, method, retrainings, start)
    found = calibration_of(run, method, start=start)
    run.keep("checks/lds", found.as_check(run))
    return found


def note_calibrations(run, start: str) -> None:
    """Calibrate every method for which there are scores and retrainings enough, and keep it."""
    for group in run.groups():
        if group.startswith("scores/"):
            with suppress(DataError):
                calibrate(run, method=group.removeprefix("scores/"), start=start).prepare()


def _calibrated(run, method, retrainings: xr.Dataset | None, start: str) -> Calibration:
    check_start(start)
    methods = methods_of(run, method)
    rows = retrainings if retrainings is not None else kept_retrainings(run)
    if rows is not None:
        here = rows["start"].values == THIS
        rows = rows.isel(retraining=np.flatnonzero(here if start == "this" else ~here))
    if rows is None or not rows.sizes["retraining"]:
        more = "" if start == "this" else ", start='any'"
        raise DataError(
            f"No retraining from {start} start is kept: retrain(run, training{more}) makes some."
        )
    data = Joined(run, methods, rows)
    n = len(data.removed)
    if n < LEAST:
        raise DataError(
            f"{n} retrainings without some examples are kept, and {LEAST} or more are needed, "
            f"better 32: retrain(run, training, n=32) makes them."
        )
    if not len(data.epoch) or not len(data.test):
        raise DataError(
            f"The scores of {' and '.join(methods)} and the retrainings have no "
            f"{'moment' if not len(data.epoch) else 'test example'} in common: retrain at the "
            f"epochs {rows['epoch'].values[:5].tolist()} ..., or score those."
        )
    return Calibration(
        methods=methods,
        start=start,
        epoch=data.epoch,
        n=n,
        n_diverged=int(rows.attrs.get("n_diverged", 0)),
        table=_table(data, methods),
        _data=data,
    )


_LAST: dict[tuple, Calibration] = {}


def calibration_of(
    run, method: str | Sequence[str] | None = None, *, start: str = "this"
) -> Calibration:
    """As `calibrate`; the last few are remembered for as long as the record says the same."""
    run = as_run(run)
    methods = methods_of(run, method)
    groups = [*run.kept(FAMILY), *(f"scores/{name}" for name in methods)]
    key = (
        str(run.path) if run.path is not None else id(run),
        start,
        methods,
        *((g, str(run.sizes(g)), str(run.made_from(g)), str(run[g].attrs)) for g in groups),
    )
    found = _LAST.get(key)
    if found is None:
        found = _calibrated(run, method, None, start)
        while len(_LAST) > 3:
            _LAST.pop(next(iter(_LAST)))
        _LAST[key] = found
    return found


def methods_of(run, method: str | Sequence[str] | None) -> tuple[str, ...]:
    """The names of the scores to start from; `MissingGroupError` where there are none such."""
    there = [g.removeprefix("scores/") for g in run.groups() if g.startswith("scores/")]
    if method is None:
        if not there:
            raise MissingGroupError.of(
                "scores", run.groups(), "Add some with attribute(run, ..., method='trak')."
            )
        return (EXACT if EXACT in there else there[0],)
    wanted = (method,) if isinstance(method, str) else tuple(method)
    for name in wanted:
        if name not in there:
            raise MissingGroupError.of(f"scores/{name}", [f"scores/{t}" for t in there])
    return wanted


def _table(data: Joined, methods: tuple[str, ...]) -> xr.Dataset:
    places = spread(len(data.epoch), _MOMENTS)
    tests = spread(len(data.test), _TESTS)
    some = spread(len(data.removed), _ROWS)
    rows: list[dict[str, float]] = []
    slopes: list[np.ndarray] = []
    for place in places:
        scores = data.scores_at(data.epoch[place], tests)
        change = data.change[:, place][:, tests]
        settings = choose_settings(data.removed[some], change[some], scores)
        model = RemovalModel(data.removed, change, scores, settings)
        off, deviation = model.left_out()
        predicted = -np.einsum("mn,pqn->pmq", data.removed.astype(float), scores)[0]
        mean, low, high = _agreement(data, predicted, change)
        rows.append(
            {
                "deviation": float(settings.deviation),
                "power": float(settings.power),
                "spread": float(settings.spread),
                "coverage": float((np.abs(off) < model.reach(0.9) * deviation).mean()),
                "lds": mean,
                "low": low,
                "high": high,
                "lds_calibrated": _agreement(data, change + off, change)[0],
            }
        )
        slopes.append(settings.slopes)
    table: dict = {name: ("epoch", np.array([row[name] for row in rows])) for name in rows[0]}
    slope = ("method", "epoch"), np.stack(slopes, 1)
    return xr.Dataset(
        {"slope": slope, **table}, {"epoch": data.epoch[places], "method": [*methods]}
    )


def _agreement(data: Joined, predicted, change) -> tuple[float, float, float]:
    """LDS of random removals with its interval, each size compared with itself; else NaN."""
    removed, first, which = np.unique(data.removed, axis=0, return_index=True, return_inverse=True)
    # what several starts do without the same examples is one truth: their mean
    truth = np.stack([change[which == i].mean(0) for i in range(len(removed))])
    predicted, change, random = predicted[first].copy(), truth, data.random[first]
    sizes = removed.sum(1)
    used = np.zeros(len(sizes), bool)
    for size in np.unique(sizes[random]):
        same = random & (sizes == size)
        if same.sum() >= 4:
            used |= same
            for values in (predicted, change):
                part = values[same] - values[same].mean(0)
                sd = part.std(0)
                values[same] = part / np.where(sd > 0, sd, 1)
    if used.sum() < LEAST:
        return float("nan"), float("nan"), float("nan")
    draws = bootstrap_draws(int(used.sum()), predicted.shape[1], 200, 0)
    return rank_agreement(predicted[used], change[used], *draws)[1:]
