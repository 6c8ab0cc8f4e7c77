"""When a noisy curve passes a level for good, with hysteresis."""

from __future__ import annotations

import numpy as np


def first_crossing(
    time: np.ndarray,
    curve: np.ndarray,
    level: float,
    *,
    band: float = 0.05,
    hold: int = 3,
) -> float:
    """The first recorded time at which a curve reaches a level and stays near it.

    Parameters
    ----------
    time, curve : float arrays, shape (epoch,)
        NaN in the curve is an epoch that was not measured, and is passed over.
    level : float
    band : float
        How far below the level the curve may fall back without the crossing being undone.
    hold : int
        Recorded epochs, the crossing included, for which it must not fall further; fewer
        at the end of the record.

    Returns
    -------
    float
        NaN if it never does.
    """
    time = np.asarray(time, dtype=float)
    curve = np.asarray(curve, dtype=float)
    known = np.isfinite(curve)
    time, curve = time[known], curve[known]
    for start in np.flatnonzero(curve >= level):
        if (curve[start : start + hold] >= level - band).all():
            return float(time[start])
    return float("nan")
