"""Which dtype holds the values of two, and what stands where a value is missing."""

from __future__ import annotations

import numpy as np

_EXACT = 2**53  # integers up to this size are exact in float64
_FILL = {"f": np.nan, "c": np.nan, "M": np.datetime64("NaT"), "m": np.timedelta64("NaT"), "S": b""}


def wider(a: np.dtype, b: np.dtype) -> np.dtype | None:
    """The dtype that holds the values of both, or None where none does."""
    kinds = {a.kind, b.kind}
    if a == b:
        return a
    if len(kinds) > 1 and not (kinds <= set("iuf") or kinds <= set("iufc")):
        return None
    if kinds == {"i", "u"} and max(a.itemsize, b.itemsize) == 8:
        return np.dtype(np.int64)  # numpy would take float64; `fits` looks at the values
    return np.result_type(a, b)


def fits(piece, dtype: np.dtype) -> bool:
    """Whether a dtype holds each value of a piece exactly."""
    old = piece.dtype
    if old == dtype or old.kind in "O":
        return True
    if old.kind in "iu" and dtype.kind in "fc":
        if old.itemsize < dtype.itemsize // (1 + (dtype.kind == "c")):
            return True
        values = piece.whole()
        return values.size == 0 or bool(max(abs(int(values.min())), int(values.max())) <= _EXACT)
    if old.kind == "u" and dtype.kind == "i" and old.itemsize >= dtype.itemsize:
        values = piece.whole()
        return values.size == 0 or int(values.max()) <= np.iinfo(dtype).max
    if old.kind in "Mm":
        values = piece.whole()
        return bool(np.array_equal(values.astype(dtype).astype(old), values, equal_nan=True))
    return np.can_cast(old, dtype, "safe")


def cast(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values in a dtype of which `fits` has said that it holds them."""
    return values if values.dtype == dtype else values.astype(dtype)


def fill_of(dtype: np.dtype, *, named: bool = False):
    """What stands in a row that lacks a variable.

    Variables that the schema names have the values it documents: -1 for integers, False, "".
    Of others a missing text is None; a missing number makes the whole variable float, with NaN.
    """
    if dtype.kind == "O":
        return "" if named else None
    if dtype.kind in _FILL:
        return _FILL[dtype.kind]
    return False if dtype.kind == "b" else (0 if dtype.kind == "u" else -1)
