"""Mark the layers and epochs at which gradients vanish, explode or are not finite."""

from __future__ import annotations

import numpy as np
import xarray as xr


def gradient_flags(
    gradients: xr.Dataset, *, vanishing: float = 1e-3, exploding: float = 10.0
) -> xr.DataArray:
    """One word a layer and epoch.

    Parameters
    ----------
    gradients : Dataset
        The group `gradients`, with `norm` (epoch, layer).
    vanishing : float
        Below this share of the largest layer's norm at the same epoch.
    exploding : float
        Above this multiple of the largest norm the layer ever had before; not judged before
        the fourth recorded epoch.

    Returns
    -------
    DataArray of str (epoch, layer)
        "vanishing", "exploding", "not finite" (infinite, or NaN although other epochs of
        the layer have a value) or "". An epoch at which every gradient is as small as rounding,
        as after a perfect fit, is not vanishing: there is nothing left to send.
    """
    norm = gradients["norm"].transpose("epoch", "layer")
    values = norm.values.astype(float)
    finite = np.isfinite(values)
    flags = np.full(values.shape, "", dtype=object)
    largest = np.where(finite, values, 0.0).max(axis=1, keepdims=True, initial=0.0)
    with np.errstate(invalid="ignore"):
        flags[finite & (values < vanishing * largest) & (largest > 1e-12)] = "vanishing"
    for layer in range(values.shape[1]):
        flags[_explosions(values[:, layer], exploding), layer] = "exploding"
    sampled = np.any(~np.isnan(values), axis=1)
    # an epoch without any sample is a gap in the record, not a broken gradient
    broken = np.isnan(values) & np.any(finite, axis=0) & np.asarray(sampled)[:, None]
    flags[np.isinf(values) | broken] = "not finite"
    return xr.DataArray(flags, norm.coords, norm.dims, name="flag")


def _explosions(norms: np.ndarray, multiple: float) -> list[int]:
    found, largest, n_before = [], 0.0, 0
    for index, norm in enumerate(norms):
        if not np.isfinite(norm):
            continue
        if n_before >= 3 and norm > multiple * largest:
            found.append(index)
            continue
        largest, n_before = max(largest, norm), n_before + 1
    return found
