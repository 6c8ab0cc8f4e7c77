"""A few values of every variable of a group, in a form that JSON can hold."""

import numpy as np


def values_of(group):
    """Dims, kind, first and last value and, of numbers, the sum without NaN: by variable."""
    return {str(name): _of_one(array) for name, array in group.variables.items()}


def _of_one(array):
    values = np.asarray(array.values)
    flat = values.reshape(-1)
    known = {
        "dims": list(map(str, array.dims)),
        "shape": list(values.shape),
        # text is stored in one of several ways; what counts is that it is text
        "kind": "text" if values.dtype.kind in "UTO" else str(values.dtype),
        "first": _plain(flat[0]),
        "last": _plain(flat[-1]),
    }
    if values.dtype.kind in "iufb":
        known["sum"] = float(f"{np.nansum(values.astype(np.float64)):.8g}")
    return known


def _plain(value):
    if isinstance(value, (float, np.floating)):
        return None if np.isnan(value) else float(f"{value:.8g}")
    return value.item() if isinstance(value, np.generic) else value
