"""Where a curve changes, by exact penalised segmentation (PELT)."""

from __future__ import annotations

import numpy as np


def change_points(
    curve: np.ndarray,
    *,
    penalty: float,
    minimum: int = 2,
    model: str = "mean",
    time: np.ndarray | None = None,
) -> np.ndarray:
    """Split a curve into segments of least squared error plus a penalty for each.

    Parameters
    ----------
    curve : float array, shape (epoch,)
    penalty : float
        What one more segment must save, in squared units of the curve. For noise of
        variance s2, `k * s2 * log(n)` with k parameters a segment is the BIC.
    minimum : int
        Fewest epochs in a segment.
    model : "mean" or "line"
        A segment is a constant, or a straight line in time.
    time : float array, shape (epoch,), optional
        When each value was recorded (for "line"); by default evenly spaced.

    Returns
    -------
    int array
        Positions at which a new segment starts, ascending, without 0.

    References
    ----------
    Killick, Fearnhead and Eckley (2012), "Optimal Detection of Changepoints With a Linear
    Computational Cost", JASA 107.
    """
    curve = np.asarray(curve, dtype=float)
    n = len(curve)
    cost = SegmentCost(curve, np.arange(n) if time is None else time, model)
    best = np.full(n + 1, np.inf)
    best[0] = -penalty
    previous = np.zeros(n + 1, dtype=int)
    starts = np.array([0])
    last_use = np.array([n])  # of each start: the furthest end for which it may still win
    for end in range(minimum, n + 1):
        useful = last_use >= end
        starts, last_use = starts[useful], last_use[useful]
        total = best[starts] + cost(starts, end) + penalty
        choice = total.argmin()
        best[end], previous[end] = total[choice], starts[choice]
        # a start that is dearer than a new segment from here on loses to it wherever that segment
        # is long enough, and not before
        dearer = total - penalty > best[end]
        last_use[dearer] = np.minimum(last_use[dearer], end + minimum - 1)
        starts, last_use = np.append(starts, end - minimum + 1), np.append(last_use, n)
    found = []
    end = n
    while end > 0 and previous[end] > 0:
        end = previous[end]
        found.append(end)
    return np.array(found[::-1], dtype=int)


class SegmentCost:
    """Squared error of the best constant or line on [start, end), in constant time."""

    def __init__(self, curve: np.ndarray, time: np.ndarray, model: str = "mean"):
        time = np.asarray(time, dtype=float)
        # centred, so that differences of cumulative sums keep their digits
        y, t = curve - curve.mean(), time - time.mean()
        t = t / (np.abs(t).max() or 1.0)
        self._sums = {
            name: np.concatenate([[0.0], np.cumsum(values)])
            for name, values in {"y": y, "t": t, "yy": y * y, "tt": t * t, "ty": t * y}.items()
        }
        self._line = model == "line"

    def __call__(self, starts: np.ndarray, end: int) -> np.ndarray:
        n = end - starts
        y, t, yy, tt, ty = (s[end] - s[starts] for s in self._sums.values())
        error = yy - y * y / n
        if self._line:
            spread = tt - t * t / n
            moved = ty - t * y / n
            error = error - np.divide(moved**2, spread, out=np.zeros(len(n)), where=spread > 1e-15)
        return np.maximum(error, 0.0)


def noise_variance(curve: np.ndarray) -> float:
    """Variance of the noise on a smooth curve, from second differences and blind to jumps.

    The larger of a robust estimate (median absolute deviation) and half the plain one, since
    accuracy that is constant for most epochs has a median deviation of 0.
    """
    second = np.diff(np.asarray(curve, dtype=float), n=2)
    if not len(second):
        return 0.0
    robust = (1.4826 * np.median(np.abs(second - np.median(second)))) ** 2 / 6
    return float(max(robust, np.minimum(second**2, np.quantile(second**2, 0.9)).mean() / 6))
