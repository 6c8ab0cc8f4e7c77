"""Add the picture of a layer's features over time to a run."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from ...arguments import checked
from ...errors import DataError, SettingError
from ...maths.extents import extents
from ...maths.projection import best_rotation, joint_pca, procrustes_pca
from ...record.run import as_run
from .layers import feature_group

METHODS = ("procrustes", "joint", "umap", "tsne")


@checked
def add_projections(
    run,
    layer: str,
    *,
    method: str = "joint",
    n_axes: int = 2,
    axes: np.ndarray | None = None,
    about: str = "",
    seed: int = 0,
    overwrite: bool = True,
) -> xr.Dataset:
    """Project a layer's recorded features to two or three axes that hold still over epochs.

    Parameters
    ----------
    run : Run
        With `features/<layer>`.
    layer : str
    method : "joint", "procrustes", "umap" or "tsne"
        "joint" is one PCA of all epochs together; "procrustes" a PCA of each epoch, turned onto
        the next; the other two embed all epochs together (UMAP) or each from where the
        one before ended (t-SNE), and their distances mean little.
    n_axes : 2 or 3
    axes : float array, shape (unit, axis), optional
        Directions of your own, the same at every epoch, instead of a method: where a theory says
        what to look for, such as a Fourier basis. `about` says in words what they are.

    Returns
    -------
    Dataset
        As written to `projections/<layer>`: `position` (epoch, example, axis) and, for PCA,
        `explained` (epoch, axis), the share of that epoch's variance each axis shows; and how far
        the points of each epoch reach, as `maths.extents` says.

    Raises
    ------
    MissingGroupError
        No features of this layer are recorded; the closest layers are listed.
    DataError
        The features hold NaN or infinity.
    """
    run = as_run(run)
    if method not in METHODS:
        raise SettingError(f"There is no method {method!r}; choose from {', '.join(METHODS)}.")
    if n_axes not in (2, 3):
        raise SettingError(f"Pictures have 2 or 3 axes, not {n_axes!r}.")
    group = feature_group(run, layer)
    features = run[group].load()
    values = features["activation"].values
    finite = np.isfinite(values).all(axis=(1, 2))
    if not finite.all():
        epoch = features["epoch"].values[~finite][0]
        lost = ~np.isfinite(values[~finite][0]).all(axis=1)
        if not lost.all():
            some = ", ".join(map(str, features["example"].values[lost][:5].tolist()))
            raise DataError(
                f"{int(lost.sum())} of {len(lost)} examples have no features of {layer!r} at "
                f"{run.time_unit} {epoch}: {some}{', ...' if lost.sum() > 5 else ''}. A picture "
                f"needs all examples at all epochs: record the features of the same ones each time."
            )
        raise DataError(
            f"The features of {layer!r} are not finite from {run.time_unit} {epoch} on, so they "
            f"have no projection. Look at run['gradients'] to see where training diverged."
        )
    data = {}
    if axes is not None:
        method, position = "given", _on_axes(values, layer, axes)
        n_axes = position.shape[2]
    elif method in ("joint", "procrustes"):
        project = joint_pca if method == "joint" else procrustes_pca
        found = project(values, n_axes=n_axes)
        position = found.position
        data["explained"] = (("epoch", "axis"), found.explained.astype(np.float32))
    elif method == "umap":
        position = _umap(values, n_axes, seed)
    else:
        position = _tsne(values, n_axes, seed)
    position = position.astype(np.float32)
    data["position"] = (("epoch", "example", "axis"), position)
    data |= {name: (("epoch", "axis"), ends) for name, ends in extents(position).items()}
    coords = {name: c for name, c in features.coords.items() if "unit" not in c.dims}
    result = xr.Dataset(
        data,
        {**coords, "axis": np.arange(1, n_axes + 1)},
        {
            "method": method,
            "layer": layer,
            "about": about,
            "settings": json.dumps({"n_axes": n_axes, "seed": seed}),
        },
    )
    run.add(f"projections/{layer}", result, overwrite=overwrite)
    return result


def _on_axes(values: np.ndarray, layer: str, axes) -> np.ndarray:
    axes = np.asarray(axes, dtype=float)
    if axes.ndim != 2 or axes.shape[0] != values.shape[2] or axes.shape[1] not in (2, 3):
        raise SettingError(
            f"axes of shape {axes.shape} do not fit {layer!r}, which has {values.shape[2]} units; "
            f"give ({values.shape[2]}, 2) or ({values.shape[2]}, 3)."
        )
    return values.astype(float) @ axes


def _umap(values: np.ndarray, n_axes: int, seed: int) -> np.ndarray:
    try:
        from umap import UMAP  # pyright: ignore[reportMissingImports]: an extra
    except ImportError as error:
        raise SettingError(
            "method='umap' needs umap-learn: pip install 'dg_explorer[umap]'. "
            "method='joint' needs nothing more."
        ) from error
    flat = values.reshape(-1, values.shape[-1])
    embedded = UMAP(n_components=n_axes, random_state=seed, n_jobs=1).fit_transform(flat)
    return np.asarray(embedded, dtype=float).reshape(*values.shape[:2], n_axes)


def _tsne(values: np.ndarray, n_axes: int, seed: int) -> np.ndarray:
    from sklearn.manifold import TSNE

    n = values.shape[1]
    if n < 4:
        raise DataError(f"t-SNE needs at least 4 examples; these features have {n}.")
    position = np.empty((*values.shape[:2], n_axes))
    start = joint_pca(values, n_axes=n_axes).position[0]
    for index, rows in enumerate(values):
        # beginning where the last epoch ended is what keeps the picture still
        start = start / (start[:, 0].std() or 1.0) * 1e-4
        embedded = TSNE(
            n_components=n_axes, init=start, perplexity=min(30.0, (n - 1) / 3), random_state=seed
        ).fit_transform(rows.astype(np.float32))
        if index:
            embedded = embedded @ best_rotation(embedded, position[index - 1])
        position[index] = start = embedded.astype(float)
    return position
