"""Tables of examples, as people have them, into the record's labelled form."""

from __future__ import annotations

import datetime
from typing import Any

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
    if isinstance(table, (dict, pd.DataFrame)):
        _check_names(list(table), dim)
    if isinstance(table, dict):
        if dim not in table:
            _check_numbered(table, dim)
        columns = {str(name): column_values(name, column) for name, column in table.items()}
        n = len(next(iter(columns.values()))) if columns else 0
        ids = columns.pop(dim, np.arange(n))
    elif isinstance(table, pd.DataFrame):
        columns = {str(name): column_values(name, column) for name, column in table.items()}
        n, ids = len(table), table.index.to_numpy()
        if dim in columns:
            if not _counts_up(table.index):
                raise SchemaError(
                    f"The ids of {dim}_examples come from the index of the table, and it has a "
                    f"column {dim!r} too. Drop one: table.set_index({dim!r}), or rename the column."
                )
            ids = columns.pop(dim)
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
        wanted = (3, 4) if name == "thumbnail" else (1,)
        if values.ndim not in wanted:
            what = "height x width (x channel)" if name == "thumbnail" else "one value"
            raise SchemaError(
                f"The column {name!r} of {dim}_examples has the shape {values.shape}: it takes "
                f"{what} an example. Give each quantity a column of its own."
            )
    if "thumbnail" in columns and columns["thumbnail"].ndim == 3:
        columns["thumbnail"] = columns["thumbnail"][..., None]
    elif "thumbnail" in columns and _channels_come_first(columns["thumbnail"].shape):
        columns["thumbnail"] = np.moveaxis(columns["thumbnail"], 1, -1)
    dims = {"thumbnail": (dim, "height", "width", "channel")}
    return xr.Dataset(
        {name: (dims.get(name, (dim,)), values) for name, values in columns.items()}, {dim: ids}
    )


def _channels_come_first(shape: tuple[int, ...]) -> bool:
    """Whether pictures are channel x height x width, as torch has them, and nothing else."""
    kinds = (1, 3, 4)  # grey, RGB, RGBA
    return shape[1] in kinds and min(shape[2:]) > max(kinds)


def column_values(name, column) -> np.ndarray:
    """A column as an array in which a missing value is NaN, NaT or None.

    Categories become what they stand for; times with a zone become UTC.

    Raises
    ------
    SchemaError
        The values are of a type, or of several types, that the record does not hold.
    """
    if hasattr(column, "detach") and hasattr(column, "cpu"):
        column = _of_tensor(column)
    if isinstance(column, np.ma.MaskedArray) and np.ma.is_masked(column):
        hidden = np.ma.getmaskarray(column)
        column = column.data.astype(object)
        column[hidden] = None
    if isinstance(column, pd.Series) and isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    if isinstance(column, pd.Series) and pd.api.types.is_integer_dtype(column.dtype):
        column = column.array
    extended = isinstance(column, pd.api.extensions.ExtensionArray)
    if extended and pd.api.types.is_integer_dtype(column.dtype) and column.isna().any():
        column = column.astype(object)  # as floats, large ones would lose digits
    if isinstance(column, pd.Categorical):
        column = np.asarray(column.astype(object))
    if isinstance(column, pd.Series) and isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    try:
        values = np.asarray(column)
    except (ValueError, TypeError) as error:
        raise SchemaError(
            f"The column {name!r} is no column of values ({error}). It takes one value an example."
        ) from None
    if values.ndim == 0:
        raise SchemaError(f"The column {name!r} is one value; it takes one an example.")
    if values.dtype.kind in "UT":
        return values.astype(object)
    return _of_objects(name, values) if values.dtype.kind == "O" else values


def _check_names(names: list, dim: str) -> None:
    seen: set[str] = set()
    for name in map(str, names):
        if name in seen:
            raise SchemaError(f"{dim}_examples has two columns called {name!r}. Rename one.")
        seen.add(name)


def _check_numbered(table: dict, dim: str) -> None:
    """The columns of a dict are numbered from 0; an index of their own would be lost."""
    for name, column in table.items():
        if isinstance(column, pd.Series) and not _counts_up(column.index):
            raise SchemaError(
                f"The column {name!r} of {dim}_examples is a Series with an index of its own, "
                f"{column.index[:4].tolist()}..., and a dict of columns is numbered from 0. Pass "
                f"pd.DataFrame(columns) with the ids as its index, or values: column.to_numpy()."
            )


def _counts_up(index: pd.Index) -> bool:
    if isinstance(index, pd.MultiIndex):
        return False
    return bool(np.array_equal(index.to_numpy(), np.arange(len(index))))


def _of_tensor(column) -> np.ndarray:
    """A tensor as an array; single precision holds what half precisions hold."""
    column = column.detach().cpu()
    column = column.to_dense() if column.is_sparse else column
    return column.float().numpy() if "bfloat16" in str(column.dtype) else column.numpy()


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
        floats = whole or any(isinstance(value, (float, np.floating)) for value in there)
        integers = [abs(int(v)) for v in there if isinstance(v, (int, np.integer))]
        if floats and max(integers, default=0) > _EXACT:
            raise SchemaError(
                f"The column {name!r} has integers beyond 2**53 beside missing values or "
                f"fractions, and floats do not hold them. Make it text: column.astype(str)."
            )
        found = np.full(values.shape, np.nan)
        found[~missing] = [float(value) for value in there]
        return found
    if all(isinstance(value, (datetime.date, np.datetime64)) for value in there):
        times = [_time(value) for value in there]
        fine = any(time.nanosecond for time in times)
        found = np.full(values.shape, np.datetime64("NaT"), "datetime64[ns]" if fine else "M8[us]")
        try:
            found[~missing] = [
                time.as_unit("ns" if fine else "us").to_datetime64() for time in times
            ]
        except (OverflowError, ValueError):
            raise SchemaError(
                f"The column {name!r} has dates far apart of which some count nanoseconds: no "
                f"type holds all of them. Round them: column.dt.round('us')."
            ) from None
        return found
    kinds = ", ".join(sorted({type(value).__name__ for value in there}))
    raise SchemaError(
        f"The column {name!r} holds {kinds}. The record holds numbers, true or false, text, "
        f"categories and dates: give the column one of these types, for text column.astype(str)."
    )


def _time(value) -> pd.Timestamp:
    """A date in UTC where it names a zone, else as it is."""
    time: Any = pd.Timestamp(value)
    return time if time.tz is None else time.tz_convert("UTC").tz_localize(None)


def _is_missing(value) -> bool:
    if value is None or value is pd.NA or value is pd.NaT or value is np.ma.masked:
        return True
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))
