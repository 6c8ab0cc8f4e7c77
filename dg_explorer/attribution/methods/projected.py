"""Projected features as plain tensors: to chunk, save, load and concatenate as one likes.

A row is `proj_dim` numbers, float32: the projected gradient in all but the last two columns,
then the example's weight (1 - p), then a tag of the checkpoint, layers, task and projection it
came from, scaled to vanish beside the rest. So features of different origins are refused even
after `torch.save`, `torch.cat` and a night's sleep. An ensemble has one such block a checkpoint.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch

from ...errors import DataError, SettingError
from ..attributor.features import FeatureMismatchError, GradientFeatures
from ..gradients.joining import concatenate
from ..projections.dense import Projection
from ..projections.fidelity import half_of
from ..projections.nystrom import Nystrom, NystromFeatures
from ..projections.of_gradients import of_checkpoint
from ..projections.sketches import FactoredSketch
from ..solve.damping import damping_of_features
from ..solve.ridge import damped_inverse

KEPT = 2  # columns that hold no gradient: weight and tag
PENDING = 512  # examples projected together: the matrix is drawn once for all of them
TAG = 2.0**-100  # times a whole number below 2^24, exact in float32


Map = Projection | FactoredSketch | NystromFeatures


def projection_of(proj_dim: int, kind: str, seed: int) -> Projection | FactoredSketch | Nystrom:
    """The projection behind features of `proj_dim` columns."""
    if isinstance(proj_dim, bool) or not isinstance(proj_dim, int) or proj_dim <= KEPT:
        raise SettingError(
            f"proj_dim={proj_dim!r} must be a whole number above {KEPT}, such as 512; or None for "
            f"exact scores without a projection."
        )
    if kind == "factored":
        return FactoredSketch(proj_dim - KEPT, seed)
    if kind == "nystrom":
        return Nystrom(proj_dim - KEPT, seed)
    return Projection(proj_dim - KEPT, kind, seed)


def projected_features(attributor, data, num_samples: int | None = None) -> torch.Tensor:
    """Features of a loader, float32, shape (example, checkpoints * proj_dim), on its device."""
    blocks, data = [], attributor.served(data, num_samples)
    for checkpoint, (model, digest) in enumerate(attributor.models()):
        ids, rows, pending = [], [], []
        capture: Any = None
        projection: Any = of_checkpoint(attributor.projection, checkpoint)
        for batch, which in attributor.batches(data, None, model):
            capture = attributor.capture(model, data)
            if isinstance(projection, Nystrom):
                projection = projection.at(capture, digest, attributor.outputs)
            pending.append(capture(batch, attributor.outputs, which))
            ids.append(which)
            waiting = sum(map(len, pending))
            size = sum(f.nbytes for found in pending for f in found.factors[0])
            if waiting >= PENDING or size > 1 << 28:
                rows.append(_project(projection, pending))
                pending = []
        if pending:
            rows.append(_project(projection, pending))
        found = torch.cat(rows)
        found[:, -1] = tag(digest, capture.parameters, attributor.task.name, projection)
        order = attributor.order(data, np.concatenate(ids))
        blocks.append(found[order.to(found.device)])
    return torch.cat(blocks, 1)


def projected_queries(attributor, features: GradientFeatures) -> torch.Tensor:
    """Features of questions from their gradients, in the same form as `projected_features`."""
    blocks, origin = [], features.origin
    for checkpoint, (model, digest) in enumerate(attributor.models()):
        projection: Any = of_checkpoint(attributor.projection, checkpoint)
        if isinstance(projection, Nystrom):
            capture = attributor.capture(model, ())
            projection = projection.at(capture, digest, attributor.outputs)
        rows = projection(features.models[checkpoint][0]).float()
        mark = tag(digest, origin.parameters, origin.task, projection)
        kept = torch.zeros(len(rows), KEPT, device=rows.device)
        kept[:, -1] = mark
        blocks.append(torch.cat([rows, kept], 1))
    return torch.cat(blocks, 1)


def tag(digest: str, parameters, task: str, projection: Map) -> float:
    """A number that stands for where features come from."""
    origin = "/".join([digest, task, str(projection), *parameters])
    return (zlib.crc32(origin.encode()) % (1 << 24)) * TAG


def _project(projection: Map, pending) -> torch.Tensor:
    factors = concatenate([found.factors[0] for found in pending])
    weight = torch.cat([found.weight for found in pending])
    rows = projection(factors).float()
    return torch.cat([rows, weight[:, None].to(rows), torch.zeros_like(rows[:, :1])], 1)


def check_projected(train: torch.Tensor, test: torch.Tensor, proj_dim: int) -> None:
    """Refuse tensors that are not features, or that do not belong together."""
    for name, features in (("train", train), ("test", test)):
        if not torch.is_tensor(features):
            raise DataError(
                f"{name} features must come from compute_{name}_features of this attributor; "
                f"got {type(features).__name__}."
            )
        width = features.shape[1] if features.ndim == 2 else 0
        if not width or width % proj_dim or features.shape[0] == 0:
            raise FeatureMismatchError(
                f"{name} features of shape {tuple(features.shape)} were not made with "
                f"proj_dim={proj_dim}. Compute both with one attributor."
            )
        if not torch.isfinite(features).all():
            raise DataError(f"The {name} features hold NaN or infinity.")
    if train.shape[1] != test.shape[1]:
        raise FeatureMismatchError(
            f"{train.shape[1] // proj_dim} checkpoint(s) in the train features against "
            f"{test.shape[1] // proj_dim} in the test features."
        )
    tags = torch.cat([_tags(train, proj_dim).to(test.device), _tags(test, proj_dim)])
    if not bool((tags == tags[:1]).all()):
        raise FeatureMismatchError(
            "These features do not belong together: they come from different checkpoints, "
            "layers, tasks or projections, or an older version of this package projected some of "
            "them another way. Compute both with the same attributor while the model holds the "
            "same weights."
        )


def projected_scores(
    train: torch.Tensor, test: torch.Tensor, proj_dim: int, damping, doubts: bool
) -> tuple[torch.Tensor, list[float]]:
    """TRAK scores before the weight, and the ridge of each checkpoint.

    Parameters
    ----------
    doubts : bool
        The weights are 1 - p, and "auto" damping is chosen from them.

    Returns
    -------
    scores : float64, shape (n_test, n_train)
    damping : list of float
    """
    total, used = torch.zeros((), dtype=torch.float64), []
    for start in range(0, train.shape[1], proj_dim):
        columns = slice(start, start + proj_dim - KEPT)
        z, query = train[:, columns].double(), test[:, columns].double()
        wide = z.shape[1] > z.shape[0]
        system = z @ z.T if wide else z.T @ z
        weight = train[:, start + proj_dim - KEPT].double() if doubts else None
        added = damping_of_features(z, weight, system, damping)
        inverse = damped_inverse(system, added)
        scores = (query @ z.T) @ inverse if wide else (query @ inverse) @ z.T
        total = total + scores
        used.append(added)
    return total / len(used), used


def half_features(features: torch.Tensor, proj_dim: int, half: int) -> torch.Tensor:
    """Features by every second number of their projection; weights and tags stay."""
    parts = []
    for block in features.split(proj_dim, 1):
        parts += [half_of(block[:, :-KEPT], half), block[:, -KEPT:]]
    return torch.cat(parts, 1)


def projected_weight(features: torch.Tensor, proj_dim: int) -> torch.Tensor:
    """Mean over checkpoints of the examples' weights, float64, shape (example,)."""
    return features[:, proj_dim - KEPT :: proj_dim].double().mean(1)


def _tags(features: torch.Tensor, proj_dim: int) -> torch.Tensor:
    return features[:, proj_dim - 1 :: proj_dim]
