"""Gradients of every layer over training, with what has gone wrong marked."""

from __future__ import annotations

import numpy as np

from ...analysis.gradients.flow_flags import gradient_flags
from ..reading.blocks import Block
from .sources import Sources

MEASURES = ("norm", "update_ratio", "cosine_to_previous", "dead_units")
FLAGS = ("", "vanishing", "exploding", "not finite")
MOST_EPOCHS = 1000


def gradient_flow(sources: Sources, rest: str = "") -> dict[str, Block]:
    """epoch, layer, flag (epoch, layer), and each measure (epoch, layer) that is recorded.

    A flag is a position in `FLAGS`. More than a thousand recorded moments are thinned
    evenly, moments with a flag kept.
    """
    data = sources.reader.group("gradients")
    recorded = [name for name in MEASURES if name in data and "layer" in data[name].dims]
    time = next((dim for name in recorded for dim in data[name].dims if dim != "layer"), "epoch")
    data = data[[name for name in recorded if time in data[name].dims]].transpose(time, "layer")
    measures = {str(name): data[name].values.astype(np.float32) for name in data.data_vars}
    flag = np.zeros((data.sizes[time], data.sizes["layer"]), np.uint8)
    if "norm" in data:
        words = gradient_flags(data.rename({time: "epoch"}) if time != "epoch" else data).values
        for code, word in enumerate(FLAGS):
            flag[words == word] = code
    keep = thinned(flag)
    return {
        "epoch": data[time].values[keep],
        "layer": [str(layer) for layer in data["layer"].values],
        "flag": flag[keep],
        **{name: values[keep] for name, values in measures.items()},
    }


def thinned(flag: np.ndarray, most: int = MOST_EPOCHS) -> np.ndarray:
    """The moments to send: all of them, or evenly spaced ones and up to as many with a flag."""
    n = len(flag)
    if n <= most:
        return np.arange(n)
    even = np.linspace(0, n - 1, most).round().astype(int)
    return np.unique(np.concatenate([even, np.nonzero(flag.any(1))[0][:most]]))
