"""How well a number for each example finds the mislabelled ones."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.stats import rankdata

from ..arguments import checked
from ..errors import DataError


@checked
def mislabel_auroc(
    suspicion: xr.DataArray | np.ndarray,
    mislabelled: xr.DataArray | np.ndarray,
    *,
    n_bootstrap: int = 400,
    seed: int = 0,
) -> xr.Dataset:
    """Chance that a mislabelled example is more suspicious than a rightly labelled one.

    Parameters
    ----------
    suspicion : shape (train,)
        Such as self-influence; higher is more suspicious. Examples without one (NaN) are left
        out, and counted.
    mislabelled : bool, shape (train,)
        Joined by id where both carry labels.

    Returns
    -------
    Dataset
        ``auroc`` with ``low`` and ``high`` (95 % interval over examples), and ``n_left_out``.

    Raises
    ------
    DataError
        If all or none of those with a suspicion are mislabelled, what is mislabelled is not true
        or false, or ids differ.
    """
    if isinstance(suspicion, xr.DataArray) and isinstance(mislabelled, xr.DataArray):
        if set(suspicion["train"].values) - set(mislabelled["train"].values):
            raise DataError("Some examples have a suspicion but no flag of being mislabelled.")
        mislabelled = mislabelled.sel(train=suspicion["train"])
    values = np.asarray(suspicion)
    if values.dtype.kind not in "fiub":
        raise DataError(f"Suspicion is a number for each example, not {values.dtype}.")
    values = values.astype(float)
    told = np.asarray(mislabelled)
    if told.dtype.kind not in "biuf" or not np.isin(told, (0, 1)).all():
        raise DataError(
            "What is mislabelled is true or false (or 1 or 0) for each example. Leave out examples "
            "of which it is not known."
        )
    flags = told.astype(bool)
    if values.shape != flags.shape:
        raise DataError(f"Suspicion of shape {values.shape} and flags of shape {flags.shape}.")
    known = ~np.isnan(values)
    n_left_out = int((~known).sum())
    values, flags = values[known], flags[known]
    if flags.all() or not flags.any():
        without = f" ({n_left_out} others have no suspicion, NaN)" if n_left_out else ""
        raise DataError(
            f"{flags.sum()} of {len(flags)} examples with a suspicion{without} are mislabelled; "
            f"there must be some of each kind."
        )
    rng = np.random.default_rng(seed)
    bad, good = values[flags], values[~flags]
    again = [
        _auroc(rng.choice(bad, len(bad)), rng.choice(good, len(good))) for _ in range(n_bootstrap)
    ]
    low, high = np.quantile(again, [0.025, 0.975])
    return xr.Dataset(
        {"auroc": _auroc(bad, good), "low": low, "high": high, "n_left_out": n_left_out}
    )


def _auroc(bad: np.ndarray, good: np.ndarray) -> float:
    ranks = rankdata(np.concatenate([bad, good]))[: len(bad)]
    return float((ranks.sum() - len(bad) * (len(bad) + 1) / 2) / (len(bad) * len(good)))
