"""Add the geometry of a layer's features at each recorded epoch to a run."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from ...arguments import checked
from ...errors import SettingError
from ...maths.dimension import effective_rank, participation_ratio
from ...maths.neural_collapse import neural_collapse
from ...maths.separability import class_means, fisher_ratio, silhouette
from ...maths.similarity import linear_cka
from ...record.run import as_run
from .layers import feature_group

COLLAPSE = ("nc1", "nc2_norms", "nc2_angles", "nc3", "nc4")
NEEDS_LABELS = ("silhouette_score", "fisher_ratio", *COLLAPSE)


@checked
def add_feature_measures(
    run,
    layer: str,
    *,
    split: str = "train",
    classifier: str | None = None,
    overwrite: bool = True,
) -> xr.Dataset:
    """Separability, dimension, similarity over time and neural collapse of a layer.

    Parameters
    ----------
    run : Run
        With `features/<layer>` and labels in `<split>_examples`.
    layer : str
    split : "train" or "test"
        The split to read features of; the other where this one has none.
    classifier : name of a linear module, optional
        The one that reads this layer's outputs as they are, with no activation between. With it,
        `nc3` and `nc4` are measured at the epochs that have a checkpoint; else they are NaN.

    Returns
    -------
    Dataset over `epoch`, as written to `analyses/features/<layer>`
        silhouette_score, fisher_ratio, effective_rank, participation_ratio, cka_to_previous,
        cka_to_last, cka_to_first, nc1, nc2_norms, nc2_angles, nc3, nc4, feature_norm (mean
        length), class_distance (mean distance of class means). NaN where features are not
        finite, constant, or of one class.

    Raises
    ------
    MissingGroupError
        The layer is not recorded; the closest are listed.
    SettingError
        The checkpoints have no such classifier, or it does not read a layer of this width.
    """
    run = as_run(run)
    features = run[feature_group(run, layer)]
    here = (features["split"] == split).values
    if not here.any():
        split = str(features["split"].values[0])
        here = (features["split"] == split).values
    ids = features["id"].values[here]
    values = features["activation"].values[:, here]
    labels = _labels(run, split, ids)
    readers = _classifiers(run, classifier, features["epoch"].values, values.shape[-1])
    rows = [_measure(row, labels, *reader) for row, reader in zip(values, readers)]
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


def _classifiers(run, name: str | None, epochs, width: int) -> list[tuple]:
    """Weight and bias of the classifier at each epoch; empty where there is no checkpoint."""
    if name is None:
        return [()] * len(epochs)
    from ...checkpoints.store import load_weights, saved_epochs

    saved, found = set(saved_epochs(run)), []
    for epoch in map(int, epochs):
        if epoch not in saved:
            found.append(())
            continue
        weights = load_weights(run, epoch)
        weight = weights.get(f"{name}.weight")
        if weight is None or weight.ndim != 2 or weight.shape[1] != width:
            fitting = [
                f"{key.removesuffix('.weight')!r}"
                for key, value in weights.items()
                if key.endswith(".weight") and value.ndim == 2 and value.shape[1] == width
            ]
            raise SettingError(
                f"No linear module {name!r} reads a layer of {width} units in the checkpoint of "
                f"{run.time_unit} {epoch}. Those that could: {', '.join(fitting) or 'none'}."
            )
        bias = weights.get(f"{name}.bias")
        found.append((weight.numpy(), None if bias is None else bias.numpy()))
    return found


def _measure(row: np.ndarray, labels, weight=None, bias=None) -> dict[str, float]:
    nan = float("nan")
    names = (*NEEDS_LABELS, "effective_rank", "participation_ratio", "class_distance")
    found: dict[str, float] = {name: nan for name in (*names, "feature_norm")}
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
    collapse = neural_collapse(row, labels, weight, bias)
    found |= {name: getattr(collapse, name) for name in COLLAPSE}
    means = class_means(row, labels)
    apart = np.linalg.norm(means[:, None] - means[None], axis=-1)
    found["class_distance"] = float(apart[np.triu_indices(len(means), 1)].mean())
    return found
