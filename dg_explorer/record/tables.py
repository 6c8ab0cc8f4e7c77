"""Tables of examples, as people have them, into the record's labelled form."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import xarray as xr

from ..errors import SchemaError

_EXACT = 2**53  # integers up to this size are exact as floats, which can be missing


def examples_dataset(table, dim: str) -> xr.Dataset:
    """A DataFrame, a dict of columns or a Dataset as a Dataset labelled along `dim`.

    Raises
    ------
    SchemaError
        It is none of these, or a column is of a type that the record does not hold; the column
        is named.
    """
    if isinstance(table, xr.Dataset):
        return table
    if isinstance(table, dict):
        columns = {str(name): column_values(name, column) for name, column in table.items()}
        n = len(next(iter(columns.values()))) if columns else 0
        ids = columns.pop(dim, np.arange(n))
    elif isinstance(table, pd.DataFrame):
        columns = {str(name): column_values(name, column) for name, column in table.items()}
        n, ids = len(table), table.index.to_numpy()
    else:
        raise SchemaError(
            f"{dim}_examples takes a DataFrame, a dict of columns or a Dataset, "
            f"not {type(table).__name__}."
        )
    for name, values in columns.items():
        if len(values) != n:
            raise SchemaError(
                f"The column {name!r} of {dim}_examples has {len(values)} values, the first {n}."
            )
    if "thumbnail" in columns and columns["thumbnail"].ndim == 3:
        columns["thumbnail"] = columns["thumbnail"][..., None]
    dims = {"thumbnail": (dim, "height", "width", "channel")}
    return xr.Dataset(
        {name: (dims.get(name, (dim,)), values) for name, values in columns.items()}, {dim: ids}
    )


def column_values(name, column) -> np.ndarray:
    """A column as an array in which a missing value is NaN, NaT or None.

    Categories become what they stand for; times with a zone become UTC.

    Raises
    ------
    SchemaError
        The values are of a type, or of several types, that the record does not hold.
    """
    if isinstance(column, pd.Series) and isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    if isinstance(column, pd.Categorical):
        column = np.asarray(column.astype(object))
    if isinstance(column, pd.Series) and isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    values = np.asarray(column)
    if values.ndim == 0:
        raise SchemaError(f"The column {name!r} is one value; it takes one an example.")
    if values.dtype.kind in "UT":
        return values.astype(object)
    return _of_objects(name, values) if values.dtype.kind == "O" else values


def _of_objects(name, values: np.ndarray) -> np.ndarray:
    missing = np.array([_is_missing(value) for value in values.ravel()]).reshape(values.shape)
    there = values[~missing].tolist()
    if all(isinstance(value, str) for value in there):
        return np.where(missing, np.array(None, dtype=object), values)
    if all(isinstance(value, (bool, np.bool_)) for value in there):
        if not missing.any():
            return values.astype(bool)
        raise SchemaError(
            f"The column {name!r} is true, false or missing, and the record has no such type. "
            f"Make it text: column.map({{True: 'yes', False: 'no'}})."
        )
    if all(isinstance(value, (int, float, np.number)) for value in there):
        whole = all(isinstance(value, (int, np.integer)) for value in there)
        if whole and not missing.any():
            return np.array(there, dtype=None).reshape(values.shape)
        if whole and max(map(abs, there), default=0) > _EXACT:
            raise SchemaError(
                f"The column {name!r} has missing values and integers beyond 2**53, which floats "
                f"do not hold. Make it text: column.astype(str)."
            )
        found = np.full(values.shape, np.nan)
        found[~missing] = [float(value) for value in there]
        return found
    if all(isinstance(value, (datetime.date, np.datetime64)) for value in there):
        found = np.full(values.shape, np.datetime64("NaT"), "datetime64[us]")
        found[~missing] = [pd.Timestamp(value).to_datetime64() for value in there]
        return found
    kinds = ", ".join(sorted({type(value).__name__ for value in there}))
    raise SchemaError(
        f"The column {name!r} holds {kinds}. The record holds numbers, true or false, text, "
        f"categories and dates: give the column one of these types, for text column.astype(str)."
    )


def _is_missing(value) -> bool:
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))
