"""Gradients of every layer over training, with what has gone wrong marked."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from .blocks import Block

if TYPE_CHECKING:
    from .serve import Sources

MEASURES = ("norm", "update_ratio", "cosine_to_previous", "dead_units")
FINE, VANISHING, EXPLODING, BROKEN = range(4)
MOST_EPOCHS = 1000
_FAINT = 1e-7  # below what float32 can add to a weight of order one
_DWARFED = 1e-4  # of the largest layer at the same moment
_BURST = 100.0  # times the median of the layer's last norms
_LAST = 50


def gradient_flow(sources: Sources, rest: str = "") -> dict[str, Block]:
    """epoch, layer, flag (epoch, layer), and each measure (epoch, layer) that is recorded.

    More than a thousand recorded moments are thinned evenly, moments with a flag kept.
    """
    data = sources.reader.group("gradients")
    time = "epoch" if "epoch" in data["norm" if "norm" in data else MEASURES[1]].dims else "step"
    found = {
        name: data[name].transpose(time, "layer").values.astype(np.float32)
        for name in MEASURES
        if name in data and set(data[name].dims) == {time, "layer"}
    }
    first = next(iter(found.values()))
    flag = flags(found["norm"]) if "norm" in found else np.where(np.isfinite(first), FINE, BROKEN)
    keep = _thinned(len(first), flag)
    return {
        "epoch": data[time].values[keep],
        "layer": [str(layer) for layer in data["layer"].values],
        "flag": flag[keep].astype(np.uint8),
        **{name: values[keep] for name, values in found.items()},
    }


def flags(norm: np.ndarray) -> np.ndarray:
    """What is wrong with each cell of norms (epoch, layer): FINE, VANISHING, EXPLODING, BROKEN.

    Broken is NaN or infinity. Vanishing is below 1e-7, or below 1e-4 of the largest layer at
    the same moment. Exploding is above 100 times the median of the layer's last 50 norms.
    """
    norm = np.asarray(norm, float)
    broken = ~np.isfinite(norm)
    clean = np.where(broken, np.nan, norm)
    largest = np.max(np.where(broken, 0, norm), axis=1, keepdims=True, initial=0)
    out = np.full(norm.shape, FINE)
    out[(clean < _FAINT) | (clean < _DWARFED * largest)] = VANISHING
    for row in range(3, len(norm)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a layer broken all along
            past = clean[max(0, row - _LAST) : row]
            usual = np.where(np.isfinite(past).any(0), np.nanmedian(past, axis=0), np.nan)
        out[row, clean[row] > _BURST * usual] = EXPLODING
    out[broken] = BROKEN
    return out


def _thinned(n: int, flag: np.ndarray) -> np.ndarray:
    if n <= MOST_EPOCHS:
        return np.arange(n)
    even = np.linspace(0, n - 1, MOST_EPOCHS).round().astype(int)
    odd = np.nonzero((flag != FINE).any(1))[0]
    return np.unique(np.concatenate([even, odd[:MOST_EPOCHS]]))
