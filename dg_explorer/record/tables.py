"""Tables of examples, as people have them, into the record's labelled form."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from ..errors import SchemaError


def examples_dataset(table, dim: str) -> xr.Dataset:
    """A DataFrame, a dict of columns or a Dataset as a Dataset labelled along `dim`."""
    if isinstance(table, xr.Dataset):
        return table
    if isinstance(table, dict):
        arrays = {name: np.asarray(column) for name, column in table.items()}
        n = len(next(iter(arrays.values()))) if arrays else 0
        dims = {"thumbnail": (dim, "height", "width", "channel")}
        ids = arrays.pop(dim, np.arange(n))
        if "thumbnail" in arrays and arrays["thumbnail"].ndim == 3:
            arrays["thumbnail"] = arrays["thumbnail"][..., None]
        return xr.Dataset(
            {name: (dims.get(name, (dim,)), values) for name, values in arrays.items()},
            {dim: ids},
        )
    if isinstance(table, pd.DataFrame):
        columns = {name: (dim, column.to_numpy()) for name, column in table.items()}
        return xr.Dataset(columns, {dim: table.index.to_numpy()})
    raise SchemaError(
        f"{dim}_examples takes a DataFrame, a dict of columns or a Dataset, "
        f"not {type(table).__name__}."
    )
