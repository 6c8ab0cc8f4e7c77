"""The retrainings that a run keeps: each is done once, and everything that asks reads them.

They stand in `checks/retrainings/<n>`, one group for a training and a set of moments.
"""

from __future__ import annotations

import hashlib

import numpy as np
import xarray as xr

from ...errors import DataError, SettingError
from ...record.run import as_run

FAMILY = "checks/retrainings"
THIS = -1  # the start and the order of the training itself
WHY = ("random", "asked", "whole")


def add_rows(run, rows: xr.Dataset) -> str:
    """Keep finished retrainings beside those of the same training and moments.

    Parameters
    ----------
    rows : Dataset
        As `train_again` yields them. One that is there already is not kept twice.

    Returns
    -------
    str
        The group they are in.
    """
    run = as_run(run)
    group = next((g for g in _groups(run, rows.attrs["training"]) if _alike(run[g], rows)), None)
    if group is None:
        first = rows.assign_coords(retraining=np.arange(rows.sizes["retraining"]))
        return run.keep(FAMILY, first)
    there = run[group]
    known = set(names_of(there))
    fresh = [i for i, name in enumerate(names_of(rows)) if name not in known]
    if fresh:
        after = int(there["retraining"].values[-1]) + 1
        rows = rows.isel(retraining=fresh)
        run.append(group, rows.assign_coords(retraining=after + np.arange(len(fresh))))
    return group


def names_of(rows: xr.Dataset) -> list[str]:
    """A name for each retraining: equal where the weights and the start are."""
    starts = rows["start_digest"].values
    return [
        name_of(weight, str(start))
        for weight, start in zip(rows["weight"].values, starts, strict=True)
    ]


def name_of(weight: np.ndarray, start_digest: str) -> str:
    """The name of the retraining with these weights, shape (train,), from this start."""
    told = hashlib.sha256(np.ascontiguousarray(weight, np.float32).tobytes())
    told.update(start_digest.encode())
    return told.hexdigest()


def kept_retrainings(
    run, *, start: str | int | None = None, training: str | None = None, epochs=None
) -> xr.Dataset | None:
    """All kept retrainings of one training, from every group that has its moments.

    Parameters
    ----------
    start : "this", "any" or a seed, optional
        "this": from the start of the training itself; "any": from others.
    training : digest, optional
        Of which training; by default the one that was last retrained.
    epochs : ids, optional
        Moments that are needed; by default those of the newest group.

    Returns
    -------
    Dataset or None
        As the schema describes `checks/retrainings/*`. Those that ended in NaN are left out;
        the attribute `n_diverged` counts them. None where there is none.
    """
    run = as_run(run)
    groups = _groups(run, training)
    if not groups:
        return None
    newest = run[groups[-1]]
    wanted = newest["epoch"].values if epochs is None else np.asarray(epochs)
    parts: list[xr.Dataset] = []
    for group in groups:
        data = run[group]
        same = data.attrs["training"] == newest.attrs["training"] and _same_examples(data, newest)
        if same and np.isin(wanted, data["epoch"].values).all():
            parts.append(data.sel(epoch=wanted).load())
    if not parts:
        return None
    rows: xr.Dataset = xr.concat(parts, dim="retraining", combine_attrs="override")
    named = names_of(rows)
    rows = rows.isel(
        retraining=sorted({name: i for i, name in reversed([*enumerate(named)])}.values())
    )
    rows = rows.assign_coords(retraining=np.arange(rows.sizes["retraining"]))
    if start is not None:
        starts = rows["start"].values
        here = starts == THIS
        rows = rows.isel(
            retraining=np.flatnonzero(
                here if start == "this" else ~here if start == "any" else starts == start
            )
        )
    finite = np.isfinite(rows["output"].values).all(axis=(1, 2))
    found = rows.isel(retraining=np.flatnonzero(finite))
    found.attrs = {**rows.attrs, "n_diverged": int((~finite).sum())}
    return found if found.sizes["retraining"] or found.attrs["n_diverged"] else None


def finished(run, training: str, epochs, test: np.ndarray) -> set[str]:
    """The names of the retrainings of a training that need not be done again."""
    found: set[str] = set()
    for group in _groups(run, training):
        data = run[group]
        if np.isin(epochs, data["epoch"].values).all() and np.array_equal(data["test"], test):
            found.update(names_of(data))
    return found


def check_of_this_run(run, training) -> None:
    """Refuse a training of other examples than the run's.

    Raises
    ------
    DataError
        It has ids that the run does not.
    """
    for split in ("train", "test"):
        if f"{split}_examples" not in run:
            continue
        ids, known = getattr(training, f"{split}_ids"), run[f"{split}_examples"][split].values
        unknown = np.setdiff1d(ids, known)
        if len(unknown):
            raise DataError(
                f"The training has {len(unknown)} {split} examples that this run does not know, "
                f"such as {unknown[0]}; retrainings of it say nothing about this run. "
                f"training_of_run(run, model, train=..., test=...) makes the run's own."
            )


def check_start(start: str) -> None:
    """Refuse another word for a truth than the two there are."""
    if start not in ("this", "any"):
        raise SettingError(
            f"start={start!r}: 'this' (the start of the training itself) or 'any' (other starts)."
        )


def _groups(run, training: str | None = None) -> list[str]:
    """The groups of a training, oldest first; by default of all."""
    there = run.kept(FAMILY)
    if training is None:
        return there
    return [group for group in there if run[group].attrs.get("training") == training]


def _alike(there: xr.Dataset, rows: xr.Dataset) -> bool:
    return np.array_equal(there["epoch"], rows["epoch"]) and _same_examples(there, rows)


def _same_examples(there: xr.Dataset, rows: xr.Dataset) -> bool:
    return all(np.array_equal(there[dim], rows[dim]) for dim in ("train", "test"))
