"""Where every example lies in a layer's feature space, at every recorded epoch, as 4 bytes each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .blocks import Block, smallest_int
from .reader import SPLITS

if TYPE_CHECKING:
    from .serve import Sources

# a coordinate that stands for "no position"; all others lie in 0..ABSENT - 1
ABSENT = 65535
CHUNK_BYTES = 2_000_000  # of positions in one answer
_SAMPLED = 8_000  # examples that stand for all where it is decided what to show

_NAMES = {"joint": "PCA of all epochs", "procrustes": "PCA aligned over epochs"}
_NAMES |= {"umap": "UMAP", "tsne": "t-SNE"}


def header(sources: Sources, layer: str) -> dict[str, Block]:
    """Who the points of a layer are: split, id, row in the table, label, group, memorization.

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


def frame(position: np.ndarray) -> tuple[np.ndarray, float]:
    """The corner and side of the square around all finite positions, its content centred."""
    flat = position.reshape(-1, position.shape[-1])[:, :2]
    flat = flat[np.isfinite(flat).all(axis=1)]
    if not len(flat):
        return np.zeros(2), 1.0
    low, high = flat.min(0), flat.max(0)
    extent = float((high - low).max()) or 1.0
    return (low + high - extent) / 2, extent


def moving_frames(position: np.ndarray, low: np.ndarray, extent: float) -> np.ndarray:
    """What to show of each epoch: its middle, and half its width and height.

    x, y, across, up as float32 (epoch, 4), in 0..1 of the square.

    All examples, unless a few lie more than 1.35 times further out than 97 % of them.
    """
    out = np.empty((len(position), 4), np.float32)
    for row, spots in enumerate(position[..., :2]):
        spots = (spots[np.isfinite(spots).all(axis=1)] - low) / (extent or 1.0)
        if not len(spots):
            out[row] = 0.5
            continue
        far = np.abs(spots - np.median(spots, axis=0)).max(axis=1)
        near = spots[far <= 1.35 * np.quantile(far, 0.97)]
        ends = np.stack([near.min(axis=0), near.max(axis=0)])
        out[row] = *ends.mean(axis=0), *np.maximum(np.ptp(ends, axis=0) / 2, 1e-4)
    return out


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

    Read once, epoch by epoch: a million examples fill gigabytes. Of more than `_SAMPLED` examples
    a random few say what to show; the square is exact.
    """
    key = ("survey", layer)
    if key not in sources.kept:
        position = sources.reader.group(f"projections/{layer}")["position"]
        n = position.sizes["example"]
        few = np.sort(np.random.default_rng(0).permutation(n)[:_SAMPLED])
        ends, seen = [], []
        for row in range(position.sizes["epoch"]):
            # in single precision: half precision has no room for the steps of the square
            spots = np.asarray(position.isel(epoch=row).values[:, :2], np.float32)
            seen.append(spots[few])
            if not np.isfinite([spots.min(initial=0), spots.max(initial=0)]).all():
                spots = spots[np.isfinite(spots).all(axis=1)]
            if len(spots):
                # by column: along the first axis numpy takes thirty times as long
                ends += [[pick(column) for column in spots.T] for pick in (np.min, np.max)]
        low, extent = frame(np.array(ends).reshape(-1, 2))
        shown = moving_frames(np.array(seen).reshape(-1, len(few), 2), low, extent)
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
