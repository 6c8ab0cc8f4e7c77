"""Keep a run's table of examples in step with the examples an analyzer meets."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ...errors import DataError


def note_examples(run, split: str, ids: np.ndarray, labels: np.ndarray) -> None:
    """Write `<split>_examples` if the run has none, else check that these are the same.

    Raises
    ------
    DataError
        The run knows other examples, or the same ids with other labels: the loader belongs
        to another dataset, or ids were given by position in a shuffled order.
    """
    group = f"{split}_examples"
    if group not in run:
        run.add(group, xr.Dataset({"label": (split, labels)}, {split: ids}))
        return
    known = run[group]
    strangers = np.setdiff1d(ids, known[split].values)
    if strangers.size:
        raise DataError(
            f"{strangers.size} of {len(ids)} {split} examples are not in this run, such as id "
            f"{strangers[0]}; it has {known.sizes[split]}, up to id {known[split].values.max()}. "
            f"Is this the loader of another dataset?"
        )
    if "label" not in known:
        return
    there = known["label"].sel({split: ids}).values
    wrong = np.flatnonzero((there != labels) & (there >= 0))
    if wrong.size:
        i = wrong[0]
        raise DataError(
            f"{wrong.size} of {len(ids)} {split} examples have another label than before: example "
            f"{ids[i]} was {int(there[i])} and is now {labels[i]}. Either this is the loader of "
            f"another dataset, or ids were given by position under a shuffled loader; "
            f"wrap the dataset: DataLoader(with_ids(dataset), shuffle=True, ...)."
        )
