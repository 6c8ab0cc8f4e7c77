"""Really remove examples: does it matter more than removing as many at random?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from ...errors import DataError
from ...maths.crossing import first_crossing


def verify_removal(
    train_without: Callable,
    chosen: np.ndarray,
    everyone: np.ndarray,
    *,
    level: float = 0.5,
    n_random: int = 10,
    seed: int = 0,
) -> dict:
    """Train without chosen examples and date the transition, beside random removals.

    Parameters
    ----------
    train_without : function (removed ids) -> (epochs, test accuracies)
    chosen : int array
        Ids to remove.
    everyone : int array
        Ids of the whole training set; random removals are drawn from those not chosen.
    level : float
        Test accuracy that dates the transition.

    Returns
    -------
    dict
        time_with_all, time_without_chosen, times_without_random (NaN = never within the
        record); shift_chosen and shifts_random, against training with all, a transition that never
        comes counting as the end of the record; p_value (share of random removals that
        shift it at least as far either way, itself included); beyond_random (further than every
        random one); n_removed; note; curves (Dataset for `removal_figure`).

    Raises
    ------
    DataError
        Nothing to remove, too few other examples to draw from, or curves of unequal epochs.
    """
    chosen = np.unique(chosen)
    others = np.setdiff1d(everyone, chosen)
    if not len(chosen) or len(others) < len(chosen):
        raise DataError(
            f"To remove {len(chosen)} of {len(everyone)} examples and as many others at random, "
            f"choose at least 1 and at most half of them."
        )
    generator = np.random.default_rng(seed)
    epochs, with_all = _curve(train_without, np.empty(0, dtype=np.int64), None)
    _, without_chosen = _curve(train_without, chosen, epochs)
    random = [
        _curve(train_without, np.sort(generator.permutation(others)[: len(chosen)]), epochs)[1]
        for _ in range(n_random)
    ]

    def when(curve):
        return first_crossing(epochs, curve, level, hold=2)

    end = float(epochs[-1])
    times = np.array([when(curve) for curve in (with_all, without_chosen, *random)])
    censored = np.where(np.isfinite(times), times, end)
    shifts = censored[1:] - censored[0]
    beyond = np.abs(shifts[1:]) >= abs(shifts[0])
    curves = xr.Dataset(
        {
            "with_all": ("epoch", with_all),
            "without_chosen": ("epoch", without_chosen),
            "without_random": (("draw", "epoch"), np.array(random).reshape(-1, len(epochs))),
        },
        {"epoch": np.asarray(epochs, dtype=np.int64)},
        {"n_removed": len(chosen), "level": level, "seed": seed},
    )
    low, high = (shifts[1:].min(), shifts[1:].max()) if n_random else (np.nan, np.nan)
    return {
        "n_removed": len(chosen),
        "time_with_all": float(times[0]),
        "time_without_chosen": float(times[1]),
        "times_without_random": times[2:],
        "shift_chosen": float(shifts[0]),
        "shifts_random": shifts[1:],
        "p_value": float((1 + beyond.sum()) / (1 + n_random)),
        "beyond_random": bool(n_random and not low <= shifts[0] <= high),
        "note": (
            f"Without the {len(chosen)} chosen examples test accuracy {level:g} moves by "
            f"{shifts[0]:+.0f}; without as many random ones by {low:+.0f} to {high:+.0f}."
        ),
        "curves": curves,
    }


def _curve(train_without, removed, epochs) -> tuple[np.ndarray, np.ndarray]:
    found = train_without(removed)
    if isinstance(found, xr.DataArray):
        found = found["epoch"].values, found.values
    time, accuracy = (np.asarray(part, dtype=float) for part in found)
    if epochs is not None and not np.array_equal(time, epochs):
        raise DataError(
            "train_without must give test accuracy at the same epochs each time; they differ."
        )
    return time, accuracy
