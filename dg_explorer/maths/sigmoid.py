"""A four-parameter sigmoid through a curve: where it turns, how widely, and how surely."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SigmoidFit:
    """A fitted rise (or fall) from `low` to `high`, half way at `t50`.

    `width` is the time from 10 to 90 % of the way and `interval` holds `t50` at 95 %.
    `log_time` says on which axis the curve is a logistic; on a log axis it is Hill's function.
    """

    low: float
    high: float
    t50: float
    width: float
    interval: tuple[float, float]
    log_time: bool
    squared_error: float
    scale: float
    origin: float

    def __call__(self, time: np.ndarray) -> np.ndarray:
        x = _axis(np.asarray(time, dtype=float) - self.origin, self.log_time)
        middle = _axis(np.asarray(self.t50 - self.origin), self.log_time)
        return _logistic(x, self.low, self.high, middle, self.scale)


def fit_sigmoid(
    time: np.ndarray, curve: np.ndarray, *, origin: float = 0.0, log_time: bool | None = None
) -> SigmoidFit | None:
    """Fit low, high, t50 and width by least squares, in time or in log time, whichever is closer.

    The interval comes from the curvature at the optimum; residuals that hang together count
    as fewer epochs, or a slow wave around the fit would pass for certainty.

    Parameters
    ----------
    time, curve : float arrays, shape (epoch,)
    origin : float
        When training began; log time is log(time - origin + the first spacing).
    log_time : bool, optional
        Only on this axis.

    Returns
    -------
    SigmoidFit or None
        None when the curve is constant, has fewer than 6 epochs, or no fit converges.
    """
    time = np.asarray(time, dtype=float)
    curve = np.asarray(curve, dtype=float)
    if len(time) < 6 or not np.ptp(curve) > 1e-12:
        return None
    # half a spacing keeps log(0) away from the first epoch
    start = origin - 0.5 * float(np.median(np.diff(time)))
    axes = (False, True) if log_time is None else (log_time,)
    fits = [_fit(time, curve, start, axis) for axis in axes]
    fits = [fit for fit in fits if fit is not None]
    return min(fits, key=lambda fit: fit.squared_error) if fits else None


def _fit(time: np.ndarray, curve: np.ndarray, origin: float, log_time: bool) -> SigmoidFit | None:
    from scipy.optimize import OptimizeWarning, curve_fit  # slow to load, and views never fit

    elapsed = time - origin
    if log_time and elapsed.min() <= 0:
        return None
    x = _axis(elapsed, log_time)
    # below a tenth of the spacing it is a step: the data cannot tell how steep
    floor = max(0.1 * np.diff(x).min(), 1e-9)
    middle, scale = _closest_on_a_grid(x, curve, floor)
    design = np.stack([1 - _rise(x, middle, scale), _rise(x, middle, scale)], axis=1)
    low, high = np.linalg.lstsq(design, curve, rcond=None)[0]

    def logistic(x, low, high, middle, log_scale):
        return _logistic(x, low, high, middle, np.maximum(np.exp(log_scale), floor))

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)  # an infinite interval says it
            (low, high, middle, log_scale), covariance = curve_fit(
                logistic, x, curve, p0=(low, high, middle, np.log(scale)), maxfev=300
            )
    except RuntimeError:
        return None
    scale = max(float(np.exp(min(log_scale, 700.0))), floor)
    residual = curve - _logistic(x, low, high, middle, scale)
    error = float((residual**2).sum())
    half = 1.96 * np.sqrt(max(covariance[2, 2], 0.0) * _inflation(residual))
    back = (
        (lambda v: float(origin + np.exp(min(v, 700.0))))
        if log_time
        else (lambda v: float(origin + v))
    )
    reach = np.log(9.0) * scale  # a logistic goes from 10 to 90 % in 2 log 9 scales
    return SigmoidFit(
        low=float(low),
        high=float(high),
        t50=back(middle),
        width=back(middle + reach) - back(middle - reach),
        interval=(back(middle - half), back(middle + half)),
        log_time=log_time,
        squared_error=error,
        scale=float(scale),
        origin=origin,
    )


def _closest_on_a_grid(x: np.ndarray, curve: np.ndarray, floor: float) -> tuple[float, float]:
    """Middle and scale that fit best among a few hundred, low and high chosen freely for each."""
    spread = np.ptp(x)
    middles = np.linspace(x.min(), x.max(), 42)[1:-1]
    best = (np.inf, x.mean(), spread / 10)
    deviation = curve - curve.mean()
    for scale in np.maximum(spread * np.geomspace(0.003, 0.5, 12), 2 * floor):
        rise = _rise(x, middles[:, None], scale)
        rise = rise - rise.mean(axis=1, keepdims=True)
        squares = (rise**2).sum(axis=1)
        explained = np.divide(
            (rise @ deviation) ** 2, squares, out=np.zeros(len(middles)), where=squares > 1e-12
        )
        index = explained.argmax()
        if -explained[index] < best[0]:
            best = (-explained[index], middles[index], scale)
    return float(best[1]), float(best[2])


def _rise(x, middle, scale):
    # tanh does not overflow where exp would
    return 0.5 * (1 + np.tanh((x - middle) / (2 * scale)))


def _axis(elapsed: np.ndarray, log_time: bool) -> np.ndarray:
    return np.log(elapsed) if log_time else elapsed


def _logistic(x, low, high, middle, scale):
    return low + (high - low) * _rise(x, middle, scale)


def _inflation(residual: np.ndarray) -> float:
    """(1 + r) / (1 - r) with r the lag-one correlation: epochs per independent epoch."""
    total = (residual**2).sum()
    if not total > 0:
        return 1.0
    r = float(np.clip((residual[1:] * residual[:-1]).sum() / total, 0.0, 0.95))
    return (1 + r) / (1 - r)
