"""The validity light: how far the scores on screen may be believed, in plain words."""

from __future__ import annotations

import numpy as np
import xarray as xr

from .blocks import Block
from .reader import RunReader

RED, AMBER, GREEN, GREY = range(4)
# share of parameters whose finite differences agree in sign (metasmoothness, arXiv 2503.13751)
_GREEN, _AMBER = 0.9, 0.5


def lights(reader: RunReader) -> dict[str, Block]:
    """Blocks `light/...` (any method) and `light/<method>/...`: epoch, level, text, detail.

    Nothing where the record holds no check: the board then says that nothing was checked.
    """
    out: dict[str, Block] = {}
    for group in ["validity", *(f"validity/{name}" for name in reader.family("validity/"))]:
        if not reader.has(group):
            continue
        data = reader.group(group)
        if "epoch" not in data.dims or not ({"metasmoothness", "lds"} & set(data.data_vars)):
            continue
        method = data.attrs.get("method")
        prefix = f"light/{method}" if method in reader.methods else "light"
        smooth, lds = (_per_epoch(data, name) for name in ("metasmoothness", "lds"))
        level, text, detail = zip(*map(_light, smooth, lds), strict=True)
        out |= {
            f"{prefix}/epoch": data["epoch"].values,
            f"{prefix}/level": np.array(level, np.int8),
            f"{prefix}/text": list(text),
            f"{prefix}/detail": list(detail),
        }
    return out


def _per_epoch(data: xr.Dataset, name: str) -> np.ndarray:
    if name not in data:
        return np.full(data.sizes["epoch"], np.nan)
    values = data[name]
    return values.mean([d for d in values.dims if d != "epoch"], skipna=True).values


def _light(smooth: float, lds: float) -> tuple[int, str, str]:
    parts = []
    if np.isfinite(smooth):
        parts.append(f"metasmoothness {smooth:.2f}".replace("0.", "."))
    if np.isfinite(lds):
        parts.append(f"LDS {lds:.2f}".replace("0.", "."))
    if not parts:
        return GREY, "validity not checked here", "No check of these scores at this moment."
    if np.isfinite(smooth):
        level = GREEN if smooth >= _GREEN else AMBER if smooth >= _AMBER else RED
    else:
        level = GREEN if lds >= 0.3 else AMBER if lds >= 0.1 else RED
    words = {
        GREEN: "Small changes of the training set move this model predictably here: scores may be "
        "read as causes, within the LDS.",
        AMBER: "Training responds to small changes only partly predictably here: read the scores "
        "as hints and check the important ones by removal.",
        RED: "Training is chaotic here: even exact derivatives do not predict what retraining "
        "would do. These scores describe similarity, not causes.",
    }
    names = {GREEN: "green", AMBER: "amber", RED: "red"}
    return level, f"validity {names[level]}: {', '.join(parts)}", words[level]
