"""Mark the layers and epochs at which gradients vanish, explode or are not finite."""

from __future__ import annotations

import numpy as np
import xarray as xr


def gradient_flags(
    gradients: xr.Dataset, *, vanishing: float = 1e-3, exploding: float = 100.0
) -> xr.DataArray:
    """One word a layer and epoch.

    Parameters
    ----------
    gradients : Dataset
        The group `gradients`, with `norm` (epoch, layer).
    vanishing : float
        Below this share of the largest layer's norm at the same epoch.
    exploding : float
        Above this multiple of the layer's own median over epochs.

    Returns
    -------
    DataArray of str (epoch, layer)
        "vanishing", "exploding", "not finite" (infinite, or NaN although other epochs of
        the layer have a value) or "". An epoch at which every gradient is as small as rounding, as
        after a perfect fit, is not vanishing: there is nothing left to send.
    """
    norm = gradients["norm"].transpose("epoch", "layer")
    values = norm.values.astype(float)
    finite = np.isfinite(values)
    known = np.where(finite, values, np.nan)
    sampled = finite.any(axis=1) | np.isinf(values).any(axis=1)
    flags = np.full(values.shape, "", dtype=object)
    if finite.any():
        with np.errstate(all="ignore"):
            largest = np.where(finite, values, 0.0).max(axis=1, keepdims=True)
            median = np.array(
                [
                    [
                        np.median(column[f]) if f.any() else np.nan
                        for column, f in zip(known.T, finite.T)
                    ]
                ]
            )
            flags[finite & (values < vanishing * largest) & (largest > 1e-12)] = "vanishing"
            flags[finite & (values > exploding * median)] = "exploding"
    used = finite.any(axis=0)
    # an epoch without any sample is a gap in the record, not a broken gradient
    flags[np.isinf(values) | (np.isnan(values) & used[None] & sampled[:, None])] = "not finite"
    return xr.DataArray(flags, norm.coords, norm.dims, name="flag")
