"""Was there a transition, and when? Three detectors that fail in different ways must agree.

A transition is a plateau, a rise that is short beside the wait before it, and a plateau; or,
where it is known when the training set was memorized, a rise whose middle comes at least as long
after that as memorizing took. Steady improvement, fast at first and slower later, has no first
plateau; improvement that is still going on has no second. Either is learning, not a transition.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from .change_points import change_points, noise_variance
from .sigmoid import SigmoidFit, fit_sigmoid


@dataclass(frozen=True)
class Transition:
    """What three detectors say of one curve; times are NaN where there is no answer.

    `found` needs two of three at about the same time. `t50` is the fitted middle of the rise (the
    median over the detectors that found it where no sigmoid fits) and `interval` its 95 % interval.
    """

    found: bool
    agree: int
    by_threshold: float
    by_sigmoid: float
    by_change_points: float
    t50: float
    width: float
    interval: tuple[float, float]
    low: float
    high: float
    note: str


@dataclass(frozen=True)
class Fall:
    """A curve that ends below where it had been: it rests at `top` until `begins`.

    `half` is when half of the way down to `end` has passed.
    """

    begins: float
    half: float
    top: float
    end: float


def find_fall(time: np.ndarray, curve: np.ndarray, *, least: float = 0.1) -> Fall | None:
    """How a curve falls at last, None where it ends about as high as it ever was.

    Parameters
    ----------
    time, curve : float arrays, shape (epoch,)
        Ascending times; NaN is passed over.
    least : float
        Smallest fall, in the curve's own unit.
    """
    time, curve = np.asarray(time, dtype=float), np.asarray(curve, dtype=float)
    known = np.isfinite(curve)
    time, curve = time[known], curve[known]
    if len(time) < 6:
        return None
    smooth = _running_median(curve, max(3, len(curve) // 30))
    edge = max(2, len(curve) // 10)
    top, end = float(smooth.max()), float(np.median(curve[-edge:]))
    depth = top - end
    if depth < least or depth < 4 * np.sqrt(noise_variance(curve)):
        return None
    begins, half = (int(np.flatnonzero(smooth >= top - share * depth)[-1]) for share in (0.1, 0.5))
    if begins >= len(curve) - edge:  # it is up there at the end: a late rise, or swings
        return None
    return Fall(float(time[begins]), float(time[half]), top, end)


def find_transition(
    time: np.ndarray,
    curve: np.ndarray,
    *,
    origin: float | None = None,
    memorized: float = float("nan"),
    least_rise: float = 0.1,
) -> Transition:
    """Look for one rise between two plateaus.

    Parameters
    ----------
    time, curve : float arrays, shape (epoch,)
        Ascending times; a falling curve is looked at upside down, NaN is passed over.
    origin : float, optional
        When training began; by default the first time.
    memorized : float
        When the training set was memorized, NaN if that is not known: a rise long after it is
        late, however slow.
    least_rise : float
        Smallest rise, in the curve's own unit, worth calling a transition.
    """
    time = np.asarray(time, dtype=float)
    curve = np.asarray(curve, dtype=float)
    known = np.isfinite(curve)
    time, curve = time[known], curve[known]
    if len(time) < 6:
        return _nothing(f"{len(time)} measured epochs; at least 6 are needed.")
    origin = float(time[0]) if origin is None else origin
    time, curve = _without_long_rest(time, curve, origin)
    edge = max(2, len(curve) // 10)
    first, last = np.median(curve[:edge]), np.median(curve[-edge:])
    turned = -curve if last < first else curve
    rise = abs(last - first)
    late = _is_late(time, turned, origin, memorized)
    if rise < least_rise or rise < 4 * np.sqrt(noise_variance(curve)):
        told = "the curve ends about where it began."
        noise = 4 * np.sqrt(noise_variance(curve[:-edge]))
        if curve[-1] - first >= max(least_rise, noise):
            begun = time[len(curve) - edge :][curve[-edge:] - first >= least_rise][0]
            told = f"the curve rises at the end, from {begun:g}; record on to see where it stays."
        return _nothing(told, low=first, high=last)
    fit = fit_sigmoid(time, curve, origin=origin, log_time=True if late else None)
    answers = {
        "threshold": _by_threshold(time, turned, origin, late),
        "sigmoid": _by_sigmoid(time, curve, fit, origin, late),
        "change points": _by_change_points(time, turned),
    }
    said = {name: t for name, t in answers.items() if np.isfinite(t)}
    together = _at_one_time(said, time, origin)
    found = len(together) >= 2
    note = f"{', '.join(said) or 'no detector'} of 3 found a transition."
    if not found:
        note += " Fewer than two agree, so none is reported."
    elif len(together) < len(said):
        apart = next(name for name in said if name not in together)
        note += f" {apart} puts it elsewhere, at {said[apart]:g}, and does not count."
    t50 = width = np.nan
    interval = (np.nan, np.nan)
    if found:
        t50 = float(np.median(list(together.values())))
        # disagreement between detectors is uncertainty too
        interval = (min(together.values()), max(together.values()))
        if fit is not None and "sigmoid" in together:
            t50, width = fit.t50, fit.width
            interval = (min(interval[0], fit.interval[0]), max(interval[1], fit.interval[1]))
    return Transition(
        found=found,
        agree=len(together),
        by_threshold=answers["threshold"],
        by_sigmoid=answers["sigmoid"],
        by_change_points=answers["change points"],
        t50=t50,
        width=width,
        interval=interval,
        low=float(first),
        high=float(last),
        note=note,
    )


def _without_long_rest(time: np.ndarray, curve: np.ndarray, origin: float):
    """The record up to three times the time at which the curve has settled.

    A rise may lie in the first hundredth of a long record; what rests after it says no more of it.
    """
    smooth = _running_median(curve, max(3, len(curve) // 30))
    low, high = smooth.min(), smooth.max()
    # from where on the curve stays within a twentieth of its height around its end
    away = np.flatnonzero(
        np.abs(smooth - np.median(curve[-len(curve) // 2 :])) > 0.05 * (high - low)
    )
    settled = time[min(away[-1] + 1, len(time) - 1)] if len(away) else time[0]
    keep = max(int(np.searchsorted(time, origin + 3 * (settled - origin), "right")), 20)
    return time[:keep], curve[:keep]


def _shares(curve: np.ndarray) -> np.ndarray:
    """How much of its rise a curve has covered, 0 to 1, single outliers left out."""
    smooth = _running_median(curve, max(3, len(curve) // 30))
    # the lowest of the first few: a curve that rises at once has no plateau to take a median of
    low, high = smooth[: max(2, len(curve) // 20)].min(), np.median(smooth[-len(curve) // 10 :])
    return (smooth - low) / (high - low) if high > low else np.zeros(len(curve))


def _is_late(time: np.ndarray, curve: np.ndarray, origin: float, memorized: float) -> bool:
    """Whether half of the rise comes at least as long after memorizing as that took."""
    half = _passes(time, _shares(curve), 0.5)
    return bool(memorized > origin and half - origin >= 2 * (memorized - origin))


def _passes(time: np.ndarray, share: np.ndarray, level: float) -> float:
    """When a share reaches a level for good: at nine in ten of the times from then on."""
    above = share >= level
    ahead = np.cumsum(above[::-1])[::-1] / np.arange(len(above), 0, -1)
    there = np.flatnonzero(above & (ahead >= 0.9))
    return float(time[there[0]]) if len(there) else np.nan


def _at_one_time(said: dict[str, float], time: np.ndarray, origin: float) -> dict[str, float]:
    """The most detectors with times that differ by at most half of the later one's wait."""
    step = float(np.median(np.diff(time)))
    groups = []
    for last in said.values():
        least = origin + (last - origin) / 1.5 - 2 * step
        groups.append({name: t for name, t in said.items() if least <= t <= last})
    return max(groups, key=len, default={})


def _by_threshold(time: np.ndarray, curve: np.ndarray, origin: float, late: bool) -> float:
    """Half-way time, if the wait below 10 % is long, or late enough, and 90 % is held."""
    share = _shares(curve)
    # one epoch below is where training began, not a plateau
    if not (share[:2] < 0.1).all():
        return np.nan
    tenth, half, most = (_passes(time, share, level) for level in (0.1, 0.5, 0.9))
    if not np.isfinite(most):
        return np.nan
    waited = (tenth - origin) / (half - origin)
    settled = (time[-1] - most) / (time[-1] - origin)
    return half if (late or waited >= 0.35) and settled >= 0.1 else np.nan


def _by_sigmoid(
    time: np.ndarray, curve: np.ndarray, fit: SigmoidFit | None, origin: float, late: bool
) -> float:
    """Fitted middle, if the fit has both plateaus on record and beats curves without them.

    A late rise is fitted in log time, and need not beat them: its wait is that after memorizing.
    """
    if fit is None or not time[0] < fit.t50 < time[-1]:
        return np.nan
    height = fit.high - fit.low
    reached = (fit(time[-1:])[0] - fit.low) / height
    begun = (fit(time[1:2])[0] - fit.low) / height
    if begun > 0.1 or reached < 0.9:
        return np.nan
    # slope at the middle on a log axis, in units of the height: Hill's exponent
    steepness = 1 / fit.scale if fit.log_time else (fit.t50 - origin) / fit.scale
    if late and steepness >= 1:
        return fit.t50
    if steepness < 2:
        return np.nan
    rivals = min(_steady(time, curve, origin))
    n = len(time)
    gain = n * np.log(rivals / max(fit.squared_error, 1e-300))
    return fit.t50 if gain > 10 + np.log(n) else np.nan


def _steady(time: np.ndarray, curve: np.ndarray, origin: float) -> list[float]:
    """Squared errors of curves that rise without a plateau before: power, saturation, ramp."""
    elapsed = (time - origin) / np.ptp(time) + 0.5 / len(time)
    shapes = [elapsed**power for power in (0.25, 0.5, 1.0, 2.0, 3.0)]
    shapes += [1 - np.exp(-elapsed * rate) for rate in (1, 2, 3, 5, 8, 13, 20, 35)]
    shapes += [elapsed / (elapsed + half) for half in (0.02, 0.05, 0.1, 0.2, 0.4)]
    shapes += [np.minimum(elapsed / end, 1.0) for end in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)]
    shapes.append(np.log(elapsed))
    errors = []
    for shape in shapes:
        design = np.stack([np.ones_like(shape), shape], axis=1)
        weights = np.linalg.lstsq(design, curve, rcond=None)[0]
        errors.append(float(((curve - design @ weights) ** 2).sum()))
    return errors


def _by_change_points(time: np.ndarray, curve: np.ndarray) -> float:
    """Middle of the steep segments, if flatter ones lie on both sides of them."""
    n = len(curve)
    variance = max(noise_variance(curve), (0.005 * np.ptp(curve)) ** 2)
    starts = change_points(
        curve, penalty=4 * variance * np.log(n), minimum=max(3, n // 30), model="line", time=time
    )
    edges = [0, *starts.tolist(), n]
    pieces = [(a, b) for a, b in itertools.pairwise(edges)]
    slopes = np.array([np.polyfit(time[a:b], curve[a:b], 1)[0] for a, b in pieces])
    steep = int(slopes.argmax())
    first = last = steep
    while first > 0 and slopes[first - 1] > slopes[steep] / 3:
        first -= 1
    while last < len(pieces) - 1 and slopes[last + 1] > slopes[steep] / 3:
        last += 1
    if first == 0 or last == len(pieces) - 1:
        return np.nan
    a, b = pieces[first][0], pieces[last][1]
    half = (curve[a:b].min() + curve[a:b].max()) / 2
    rise = np.ptp(curve[a:b])
    waited = (time[a] - time[0]) / (time[b - 1] - time[0])
    if rise < 0.3 * np.ptp(curve) or waited < 0.15:
        return np.nan
    return float(time[a + np.argmax(curve[a:b] >= half)])


def _running_median(curve: np.ndarray, width: int) -> np.ndarray:
    width += 1 - width % 2
    padded = np.pad(curve, width // 2, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1)


def _nothing(note: str, low: float = np.nan, high: float = np.nan) -> Transition:
    nan = np.nan
    return Transition(
        False, 0, nan, nan, nan, nan, nan, (nan, nan), float(low), float(high), f"None: {note}"
    )
