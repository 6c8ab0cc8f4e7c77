"""What the record says about how far its scores may be believed, as curves over training."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ..reading.blocks import Block
from .removal import KIND as REMOVAL
from .sources import Sources

# variable -> its plain words. What a user wrote to `validity` is shown under its own name; of the
# checks of this package what is named here.
TITLES = {
    "lds": "Linear datamodeling score",
    "metasmoothness": "Metasmoothness",
    "smoothness": "Metasmoothness",
    "derivative_error": "What a derivative misses",
    "beyond_band": "Removal against chance",
    "distance": "Replay against the record",
}
ABOUT = {
    "lds": "rank correlation of predicted and retrained outputs over random training subsets",
    "metasmoothness": "share of parameters that answer small changes of the training set steadily",
    "smoothness": "share of parameters that answer small changes of the training set steadily",
    "derivative_error": "what short look-aheads with changed weights leave unexplained, at least",
    "beyond_band": "share of test examples that the named removal moved further than random ones",
    "distance": "how far the training, taken again, ends from the recorded weights (L2 norm)",
}
_BOUNDS = ("low", "high")
_NOT = ("light", "level", "n_subsets", "n_models", "per_query")


def validity(sources: Sources, rest: str = "") -> dict[str, Block]:
    """Curves of checks: names, about, method, said (each a string a curve), and for curve `<i>`
    epoch, value, and low and high where an interval is recorded. `said` is what a check found, in
    its own words.

    A check that also has dims other than the epoch is averaged over them. Of several checks of
    one kind and method the newest is shown.
    """
    reader = sources.reader
    names, about, methods, said, out = [], [], [], [], {}
    checks, removals = reader.run.checks(), reader.run.checks(REMOVAL)
    shown: set[tuple] = set()
    for group in groups(sources):
        data = reader.group(group)
        words = " ".join(map(str, data.attrs.get("words") or ()))
        if group in removals:
            data = _beyond(data)
        if "epoch" not in data.dims:
            continue
        ours = group in checks or group == "validity/replay"
        method = data.attrs.get("method") or _kind(group) if group not in removals else ""
        for name in map(str, data.data_vars):
            if name in _NOT or name.endswith(_BOUNDS) or "epoch" not in data[name].dims:
                continue
            if data[name].dtype.kind not in "fiu" or (ours and name not in TITLES):
                continue
            extra = [dim for dim in data[name].dims if dim not in ("epoch", "method")]
            values = data[name].mean(extra, skipna=True)
            several = data["method"].values if "method" in data[name].dims else [None]
            for one in several:
                line = values if one is None else values.sel({"method": one})
                which = _kind(group), name, one, data.attrs.get("start", "this")
                if which in shown or not np.isfinite(line.values).any():
                    continue
                shown.add(which)
                key = f"curve/{len(names)}"
                title = TITLES.get(name, str(name).replace("_", " "))
                names.append(f"{title}, other starts" if which[3] == "any" else title)
                about.append(ABOUT.get(name, str(data[name].attrs.get("about", ""))))
                methods.append(str(one if one is not None else method or ""))
                said.append(words)
                out[f"{key}/epoch"] = line["epoch"].values
                out[f"{key}/value"] = line.values.astype(np.float32)
                for bound in _BOUNDS:
                    found = _bound(data, name, bound)
                    if found is not None and (one is None or "method" in found.dims):
                        found = found if one is None else found.sel({"method": one})
                        rest_dims = [dim for dim in found.dims if dim != "epoch"]
                        out[f"{key}/{bound}"] = found.mean(rest_dims).values.astype(np.float32)
    called = [sources.reader.method_name(m) if m else "" for m in methods]
    return {"names": names, "about": about, "method": called, "said": said, **out}


def _beyond(data: xr.Dataset) -> xr.Dataset:
    """Of a removal check, the share of test examples that moved further than random ones do."""
    if "beyond_band" not in data or "epoch" not in data["beyond_band"].dims:
        return xr.Dataset()
    share = data["beyond_band"].astype(float)
    return xr.Dataset({"beyond_band": share.mean([d for d in share.dims if d != "epoch"])})


def groups(sources: Sources) -> list[str]:
    """The groups of the record that hold checks, the newest of a kind first."""
    reader = sources.reader
    checks = sorted(reader.run.checks()[::-1], key=_kind)
    some = [f"validity/{name}" for name in reader.family("validity/")]
    some = [group for group in ("validity", *some) if reader.has(group) and group not in checks]
    return [*some, *checks]


def _kind(group: str) -> str:
    """What was checked: `lds` of `checks/lds/2`, and of `validity/lds` as it was once called."""
    _, _, kind = group.partition("/")
    before, _, number = kind.rpartition("/")
    return before if number.isdecimal() else kind


def _bound(data, name: str, bound: str):
    for candidate in (f"{name}_{bound}", bound if name == "lds" else ""):
        if candidate and candidate in data and "epoch" in data[candidate].dims:
            return data[candidate]
    return None
