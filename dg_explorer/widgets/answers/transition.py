"""Which examples gained and lost influence between two moments, and what those have in common.

The properties of the training examples are sent as numbers, to be counted in any set of them.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from ...analysis.transition import course
from ..reading.blocks import Block, smallest_int
from ..reading.faces import cell
from .sources import Sources

MOST = 12  # properties
KINDS = 60  # distinct values; a number with more is put into bins, a text with more is left out
BINS = 24
_NOT = ("text", "thumbnail")


def course_blocks(sources: Sources, method: str) -> dict[str, Block]:
    """The mean score of every training example over test examples, at each scored epoch.

    Blocks: epoch; mean (epoch, train) as float16 in units of `scale` (epoch), NaN where nothing
    finite is recorded; plain_mean, plain_scale the same without the factor 1 - p, where the
    record keeps it apart; flips (epoch, epoch): the share of (test, train) pairs whose score has
    opposite signs at the two epochs, pairs with a zero or NaN left out; tests: how many test
    examples it rests on, of how many.
    """
    found = _course(sources, method)
    out = {"epoch": found["epoch"].values, **_scaled("", found["mean"].values)}
    if "plain" in found:
        out |= _scaled("plain_", found["plain"].values)
    return out | {
        "flips": found["flips"].values.astype(np.float32),
        "tests": np.array([found.attrs["n_test"], found.attrs["of"]], np.int32),
    }


def gain_table(sources: Sources, method: str | None, ends: tuple | None) -> xr.Dataset:
    """before, after and change of the mean score, over `train`, as the view shows it."""
    method = method or next(iter(sources.reader.methods), "trak")
    table = course.gains(_course(sources, method), *(ends or ()))
    return table.assign_attrs(method=method)


def _course(sources: Sources, method: str) -> xr.Dataset:
    data = sources.reader.scores(method)
    if "train" not in data.dims:
        raise KeyError("Only the top scores of this method are recorded, not every score.")
    return course.influence_course(data, sources.reader.ids("train"))


def _scaled(prefix: str, mean: np.ndarray) -> dict[str, Block]:
    """Values (epoch, train) as float16 in units of the largest at each epoch, and those units."""
    finite = np.where(np.isfinite(mean), mean, np.nan)
    scale = np.nanmax(np.abs(finite), axis=1, initial=0)
    unit = np.where(scale > 0, scale, 1)[:, None]
    return {
        f"{prefix}mean": (finite / unit).astype(np.float16),
        f"{prefix}scale": unit[:, 0].astype(np.float32),
    }


def property_blocks(sources: Sources, rest: str = "") -> dict[str, Block]:
    """For each property `<name>`: code (train,), names of the codes in order; -1 where missing.

    Numbers with few values are a code each, in ascending order; others, and measurements, go into
    bins of equal width, named by their lower ends. `names` lists the properties, `id` the
    examples.
    """
    reader = sources.reader
    train = reader.ids("train")
    if not reader.has("train_examples"):
        return {"id": train, "names": []}
    table = reader.group("train_examples").sel(train=train)
    names, out = [], {}
    # what somebody added is more telling than the label, which every table has
    order = sorted(
        table.data_vars, key=lambda name: (name in ("label", "group"), name == "group", name)
    )
    for name in order:
        if name in _NOT or table[name].dims != ("train",) or len(names) == MOST:
            continue
        values = table[name].values
        if name == "label":
            coded = reader.class_codes(values), reader.classes
        else:
            coded = codes_of(values)
        if coded is None:
            continue
        names.append(str(name))
        out[f"code/{name}"] = smallest_int(coded[0])
        out[f"kinds/{name}"] = coded[1]
    return {"id": train, "names": names, **out}


def codes_of(values: np.ndarray) -> tuple[np.ndarray, list[str]] | None:
    """Codes and names of a property's values; None where it does not sort examples into kinds."""
    if values.dtype.kind in "OUT":
        kinds, codes = np.unique(values.astype(str), return_inverse=True)
        return None if not 1 < len(kinds) <= KINDS else (codes, [str(kind) for kind in kinds])
    if values.dtype.kind not in "biuf":
        return None
    known = np.isfinite(values.astype(float))
    kinds = np.unique(values[known])
    if len(kinds) < 2:
        return None
    # measurements hardly repeat: as kinds they would be one example each
    counted = values.dtype.kind != "f" or (kinds == np.rint(kinds)).all()
    if len(kinds) <= (KINDS if counted else BINS):
        codes = np.where(known, np.searchsorted(kinds, np.where(known, values, kinds[0])), -1)
        return codes, [cell(kind) if kind.dtype.kind == "f" else str(kind) for kind in kinds]
    edges = np.linspace(kinds[0], kinds[-1], BINS + 1)
    found = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, BINS - 1)
    return np.where(known, found, -1), [cell(edge) for edge in edges[:-1]]
