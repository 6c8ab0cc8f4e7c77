"""Add the geometry of a layer's features at each recorded epoch to a run."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from ..maths.dimension import effective_rank, participation_ratio
from ..maths.neural_collapse import neural_collapse
from ..maths.separability import class_means, fisher_ratio, silhouette
from ..maths.similarity import linear_cka
from .layers import feature_group

NEEDS_LABELS = ("silhouette_score", "fisher_ratio", "nc1", "nc2_norms", "nc2_angles", "nc4")


def add_feature_measures(
    run, layer: str, *, split: str = "train", overwrite: bool = True
) -> xr.Dataset:
    """Separability, dimension, similarity over time and neural collapse of a layer.

    Parameters
    ----------
    run : Run
        With `features/<layer>` and labels in `<split>_examples`.
    layer : str
    split : "train" or "test"
        Whose features; the other split's where this one has none.

    Returns
    -------
    Dataset over `epoch`, as written to `analyses/features/<layer>`
        silhouette_score, fisher_ratio, effective_rank, participation_ratio, cka_to_previous,
        cka_to_last, cka_to_first, nc1, nc2_norms, nc2_angles, nc4 (against the class
        means alone NaN), feature_norm (mean length), class_distance (mean distance of class
        means). NaN where features are not finite, constant, or of one class.

    Raises
    ------
    MissingGroupError
        The layer is not recorded; the closest are listed.
    """
    features = run[feature_group(run, layer)]
    here = (features["split"] == split).values
    if not here.any():
        split = str(features["split"].values[0])
        here = (features["split"] == split).values
    ids = features["id"].values[here]
    values = features["activation"].values[:, here]
    labels = _labels(run, split, ids)
    rows = [_measure(row, labels) for row in values]
    finite = [bool(np.isfinite(row).all()) for row in values]
    for index, row in enumerate(rows):
        for name, other in (("first", 0), ("previous", index - 1), ("last", len(values) - 1)):
            known = other >= 0 and finite[index] and finite[other]
            row[f"cka_to_{name}"] = linear_cka(values[index], values[other]) if known else np.nan
    result = xr.Dataset(
        {name: ("epoch", np.array([row[name] for row in rows], float)) for name in rows[0]},
        {"epoch": features["epoch"].values},
        {"layer": layer, "settings": json.dumps({"split": split, "n_examples": len(ids)})},
    )
    run.add(f"analyses/features/{layer}", result, overwrite=overwrite)
    return result


def _labels(run, split: str, ids: np.ndarray) -> np.ndarray | None:
    group = f"{split}_examples"
    if group not in run or "label" not in run[group]:
        return None
    return run[group]["label"].sel({split: ids}).values


def _measure(row: np.ndarray, labels) -> dict[str, float]:
    nan = float("nan")
    names = (*NEEDS_LABELS, "effective_rank", "participation_ratio", "class_distance")
    found = dict.fromkeys((*names, "feature_norm"), nan)
    if not np.isfinite(row).all():
        return found
    row = row.astype(float)
    found["effective_rank"] = effective_rank(row)
    found["participation_ratio"] = participation_ratio(row)
    found["feature_norm"] = float(np.linalg.norm(row, axis=1).mean())
    if labels is None or len(np.unique(labels)) < 2:
        return found
    found["silhouette_score"] = silhouette(row, labels)
    found["fisher_ratio"] = fisher_ratio(row, labels)
    collapse = neural_collapse(row, labels)
    found |= {name: getattr(collapse, name) for name in ("nc1", "nc2_norms", "nc2_angles", "nc4")}
    means = class_means(row, labels)
    apart = np.linalg.norm(means[:, None] - means[None], axis=-1)
    found["class_distance"] = float(apart[np.triu_indices(len(means), 1)].mean())
    return found
