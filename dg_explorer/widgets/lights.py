"""The validity light: how far the scores on screen may be believed, in plain words."""

from __future__ import annotations

import numpy as np

from ..evaluation import validity_light
from .blocks import Block
from .reader import RunReader

# codes of the browser
_LEVELS = {"red": 0, "amber": 1, "green": 2, "grey": 3}


def lights(reader: RunReader) -> dict[str, Block]:
    """Blocks `light/<method>/...`, at each epoch that anything was checked: epoch, level, text,
    detail.

    Nothing where the record holds no check: the board then says that nothing was checked.
    """
    groups = [g for g in ("validity/metasmoothness", "validity/lds") if reader.has(g)]
    if not groups:
        return {}
    epochs = np.unique(np.concatenate([reader.group(g)["epoch"].values for g in groups]))
    out: dict[str, Block] = {}
    for method in reader.methods:
        found = [validity_light(reader.run, int(epoch), method=method) for epoch in epochs]
        out |= {
            f"light/{method}/epoch": epochs,
            f"light/{method}/level": np.array([_LEVELS[f.colour] for f in found], np.int8),
            f"light/{method}/text": [_short(f) for f in found],
            f"light/{method}/detail": [" ".join(f.reasons) for f in found],
        }
    return out


def _short(light) -> str:
    if light.colour == "grey":
        return "validity not checked here"
    measured = ", ".join(f"{name} {value:.2f}" for name, value in light.measured.items())
    return f"validity {light.colour}: {measured}"
