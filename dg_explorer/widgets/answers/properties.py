"""Properties of the training examples as numbers: what a set of them may have in common."""

from __future__ import annotations

import numpy as np

from ..reading.blocks import Block, smallest_int
from ..reading.faces import cell
from .sources import Sources

MOST = 12  # properties
KINDS = 60  # distinct values; a number with more is put into bins, a text with more is left out
BINS = 24
_NOT = ("text", "thumbnail")


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
