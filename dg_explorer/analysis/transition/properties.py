"""What a set of training examples has in common: every property against the whole set."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from ...data.ids import known_ids
from ...maths.enrichment import enrichments, into_bins, mean_shift

# names an example rather than describing it
_NAMES = ("text", "thumbnail", "id")
# numbers with more distinct values than this are compared in bins
_MOST_VALUES = 20


def property_enrichment(
    examples: xr.Dataset,
    chosen,
    *,
    properties=None,
    permutations: int = 2000,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare the properties of chosen examples with those of all.

    Parameters
    ----------
    examples : Dataset over `train`
        `train_examples`, or any table of properties.
    chosen : int array, shape (example,)
        Ids.
    properties : names, optional
        By default every column but text and thumbnail.

    Returns
    -------
    values : DataFrame
        One row a property and value: count, share, share_of_all, ratio, p_value, and p_adjusted
        for having looked at all rows of the table. Smallest p first. Shares are of the
        examples that have the property: missing values (None, NaN, NA) count for nothing.
    means : DataFrame
        One row a numeric property: inside, outside, p_value.

    Raises
    ------
    SettingError, UnknownExampleError
        What is chosen are no ids (a mask of true and false), or none of the table.
    """
    ids = examples["train"].values
    inside = np.isin(ids, known_ids(np.asarray(list(chosen)), ids, "training"))
    names = properties or [
        str(name)
        for name, column in examples.data_vars.items()
        if name not in _NAMES and column.dims == ("train",)
    ]
    kinds_of, means = {}, []
    for name in names:
        values = examples[name].values
        numeric = values.dtype.kind in "iuf"
        if numeric:
            shift = mean_shift(values, inside, permutations=permutations, seed=seed)
            means.append({"property": name, **shift._asdict()})
        # a value that is missing is no kind of its own: such examples are left out
        known = ~pd.isna(values)
        values = values[known]
        if numeric and len(pd.unique(values)) > _MOST_VALUES:
            values = into_bins(values)
        elif values.dtype.kind == "O":
            values = values.astype(str)
        kinds, code = np.unique(values, return_inverse=True)
        if not len(values) or len(kinds) > len(values) // 2:
            continue  # an identifier: no value occurs often enough to be enriched
        member = np.full(len(known), -1)
        member[known] = code
        kinds_of[name] = kinds, member
    rows = []
    for name, found in enrichments(kinds_of, inside, permutations=permutations, seed=seed).items():
        table = pd.DataFrame(vars(found))
        table.insert(0, "property", name)
        rows.append(table)
    columns = ["property", "value", *_COLUMNS]
    values = pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)
    values = values.sort_values(["p_adjusted", "p_value"], kind="stable", ignore_index=True)
    return values, pd.DataFrame(means, columns=["property", "inside", "outside", "p_value"])


_COLUMNS = ("count", "share", "share_of_all", "ratio", "p_value", "p_adjusted")
