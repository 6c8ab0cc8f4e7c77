"""Where every example is in a layer's feature space, at every recorded epoch, as 4 bytes each."""

from __future__ import annotations

import numpy as np

from ...maths.extents import NAMES, extents
from ..reading.blocks import Block, smallest_int
from ..reading.reader import SPLITS
from .sources import Sources

# a coordinate that stands for "no position"; all others lie in 0..ABSENT - 1
ABSENT = 65535
CHUNK_BYTES = 2_000_000  # of positions in one answer

_NAMES = {"joint": "PCA of all epochs", "procrustes": "PCA aligned over epochs"}
_NAMES |= {"umap": "UMAP", "tsne": "t-SNE"}


def header(sources: Sources, layer: str) -> dict[str, Block]:
    """What the points of a layer are: split, id, row in the table, label, group, memorization.

    Without id and row where the points are the training table's rows and then the test table's,
    and every id counts the rows of its table.
    """
    reader = sources.reader
    data = reader.group(f"projections/{layer}")
    split = (data["split"].values == "test").astype(np.uint8)
    ids = data["id"].values
    plain = _plain(reader, split, ids)
    out: dict[str, Block] = {
        "epoch": data["epoch"].values,
        "split": split,
        "chunk": np.array([_chunk(sources, layer)], np.int32),
        "about": [_about(data)],
        "frame": _survey(sources, layer)[2],
    }
    columns = {
        "place": np.full(len(ids), -1),
        "label": np.full(len(ids), -1),
        "group": np.full(len(ids), -1),
    }
    for code, name in enumerate(SPLITS):
        mine = split == code
        if not mine.any():
            continue
        if not plain:
            columns["place"][mine] = reader.positions(name, ids[mine])
        if not reader.has(f"{name}_examples"):
            continue
        table = reader.group(f"{name}_examples")
        table = table if plain else table.sel({name: ids[mine]})
        if "label" in table:
            columns["label"][mine] = reader.class_codes(table["label"].values)
        if "group" in table:
            columns["group"][mine] = np.searchsorted(
                sources.faces.groups, table["group"].values.astype(str)
            )
    if not plain:
        out |= {"id": ids, "place": columns["place"].astype(np.int32)}
    for name in ("label", "group"):
        if (columns[name] >= 0).any():
            out[name] = smallest_int(columns[name])
    known = memorization(sources, ids[split == 0])
    if known is not None:
        out["memorization"] = np.full(len(ids), np.nan, np.float32)
        out["memorization"][split == 0] = known
    return out


def _plain(reader, split: np.ndarray, ids: np.ndarray) -> bool:
    parts = [reader.ids(name) for name in SPLITS]
    counted = all(np.array_equal(part, np.arange(len(part))) for part in parts)
    first = len(parts[0])
    return (
        counted
        and len(ids) == first + len(parts[1])
        and not split[:first].any()
        and bool(split[first:].all())
        and np.array_equal(ids, np.concatenate(parts))
    )


def positions(sources: Sources, rest: str) -> dict[str, Block]:
    """One chunk of epochs, `<chunk>/<layer>`: position (epoch, example, 2) as uint16.

    Both axes share one unit over all epochs, so that motion and spread compare; where a
    position is NaN both coordinates are `ABSENT`.
    """
    number, _, layer = rest.partition("/")
    size = _chunk(sources, layer)
    low, extent, _ = _survey(sources, layer)
    position = sources.reader.group(f"projections/{layer}")["position"]
    rows = position.isel(epoch=slice(int(number) * size, (int(number) + 1) * size))
    return {"position": quantised(rows.values[..., :2], low, extent)}


def chunks(sources: Sources, layer: str) -> int:
    """How many answers the positions of a layer fill."""
    n_epochs = sources.reader.sizes(f"projections/{layer}")["epoch"]
    return -(-n_epochs // _chunk(sources, layer))


def quantised(position: np.ndarray, low: np.ndarray, extent: float) -> np.ndarray:
    """Positions (..., 2) in 0..ABSENT - 1 of a square of side `extent` above `low`."""
    # in single precision, whose steps are far below those of the square
    steps = np.subtract(position, low, dtype=np.float32)
    steps *= (ABSENT - 1) / (extent or 1.0)
    np.rint(steps, out=steps)
    absent = ~np.isfinite(steps).all(axis=-1) if not np.isfinite(steps.sum()) else None
    with np.errstate(invalid="ignore"):
        out = np.clip(steps, 0, ABSENT - 1, out=steps).astype(np.uint16)
    if absent is not None:
        out[absent] = ABSENT
    return out


def square(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, float]:
    """The corner and side of the square around the boxes (epoch, 2), its content centred."""
    known = np.isfinite(low).all(axis=1)
    if not known.any():
        return np.zeros(2), 1.0
    low, high = low[known].min(0).astype(float), high[known].max(0).astype(float)
    extent = float((high - low).max()) or 1.0
    return (low + high - extent) / 2, extent


def frames(near_low: np.ndarray, near_high: np.ndarray, low, extent: float) -> np.ndarray:
    """What to show of each epoch: its middle, and half its width and height.

    x, y, across, up as float32 (epoch, 4), in 0..1 of the square; the middle of it where an epoch
    has no points.
    """
    ends = (np.stack([near_low, near_high]) - low) / extent
    shown = np.concatenate([ends.mean(0), np.maximum(np.ptp(ends, axis=0) / 2, 1e-4)], axis=1)
    return np.where(np.isfinite(shown).all(axis=1, keepdims=True), shown, 0.5).astype(np.float32)


def memorization(sources: Sources, ids: np.ndarray) -> np.ndarray | None:
    """How far each training example is memorized (0 to 1), or None where no analysis says."""
    reader = sources.reader
    if not reader.has("analyses/memorization"):
        return None
    data = reader.group("analyses/memorization")
    if "memorization" not in data or "train" not in data["memorization"].dims:
        return None
    return data["memorization"].reindex(train=ids).values


def _survey(sources: Sources, layer: str) -> tuple[np.ndarray, float, np.ndarray]:
    """The square around all positions (corner, side), and what to show of each epoch.

    From the record's own extents, else read epoch by epoch: a million examples fill gigabytes.
    """
    key = ("survey", layer)
    if key not in sources.kept:
        data = sources.reader.group(f"projections/{layer}")
        if set(NAMES) <= set(data.data_vars):
            found = {name: data[name].values for name in NAMES}
        else:
            position, rows = data["position"], range(data.sizes["epoch"])
            each = [extents(position.isel(epoch=[row]).values[..., :2]) for row in rows]
            found = {
                name: np.concatenate([np.empty((0, 2)), *(e[name] for e in each)]) for name in NAMES
            }
        box = {name: ends[:, :2] for name, ends in found.items()}
        low, extent = square(box["low"], box["high"])
        shown = frames(box["near_low"], box["near_high"], low, extent)
        sources.kept[key] = low, extent, shown
    return sources.kept[key]


def _chunk(sources: Sources, layer: str) -> int:
    n = sources.reader.sizes(f"projections/{layer}")["example"]
    return max(1, CHUNK_BYTES // max(1, 4 * n))


def _about(data) -> str:
    if data.attrs.get("about"):
        return str(data.attrs["about"])
    name = _NAMES.get(data.attrs.get("method"), "projection")
    if "explained" in data:
        share = float(np.nanmean(data["explained"].isel(axis=slice(0, 2)).sum("axis").values))
        if np.isfinite(share):
            name += f", {share * 100:.0f} % of variance"
    return name
