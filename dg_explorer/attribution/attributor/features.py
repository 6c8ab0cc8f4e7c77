"""Features: what an attributor keeps of a set of examples, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ...errors import DGExplorerError
from ..gradients.factors import Factor
from ..gradients.joining import concatenate


class FeatureMismatchError(DGExplorerError, ValueError):
    """Features of different checkpoints, layers, tasks or projections were combined."""


@dataclass(frozen=True)
class Origin:
    """Where features come from; features combine only where all of it is the same."""

    checkpoints: tuple[str, ...]  # digests of the weights
    parameters: tuple[str, ...]
    task: str
    kind: str  # "gradients", or what was done to them
    #: fingerprint of the plan; a plan may learn more without making other features of it
    plan: str = field(default="", compare=False)


@dataclass
class GradientFeatures:
    """Per-example gradients of one set of examples, kept as factors.

    models : [checkpoint][row][layer] factors; one row unless the method needs more
    weight, output : float64, shape (checkpoint, example)
    ids : int64, shape (example,)
    """

    models: list[list[list[Factor]]]
    weight: torch.Tensor
    output: torch.Tensor
    ids: np.ndarray
    origin: Origin
    #: a matrix of curvature for each checkpoint, where a method needs one; of all examples
    curvature: list[torch.Tensor] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def shape(self) -> tuple[int, int]:
        """(examples, gradient entries an example), though the entries are never written out."""
        return len(self), sum(f.numel for f in self.models[0][0])

    @property
    def nbytes(self) -> int:
        return sum(f.nbytes for rows in self.models for layers in rows for f in layers)

    def __repr__(self) -> str:
        n, p = self.shape
        return (
            f"GradientFeatures({n} examples x {p} gradient entries, "
            f"{len(self.models)} checkpoint(s), {self.nbytes / 1e6:.1f} MB)"
        )

    def take(self, index) -> GradientFeatures:
        """The features of the examples at positions `index` (slice, array or tensor)."""
        if not isinstance(index, slice):
            index = torch.as_tensor(index)
        ids = self.ids[index if isinstance(index, slice) else index.cpu().numpy()]
        models = [[[f.take(index) for f in layers] for layers in rows] for rows in self.models]
        return replace(
            self,
            models=models,
            weight=self.weight[:, index],
            output=self.output[:, index],
            ids=ids,
        )

    def cpu(self) -> GradientFeatures:
        models = [[[f.to("cpu") for f in layers] for layers in rows] for rows in self.models]
        return replace(self, models=models, weight=self.weight.cpu(), output=self.output.cpu())


def join_features(parts: list[GradientFeatures]) -> GradientFeatures:
    """Features of consecutive chunks of examples as one.

    Raises
    ------
    FeatureMismatchError
        The chunks come from different checkpoints, layers or tasks.
    """
    first = parts[0]
    for part in parts[1:]:
        check_same_origin(first.origin, part.origin, "chunks")
    models = [
        [concatenate([part.models[m][r] for part in parts]) for r in range(len(first.models[m]))]
        for m in range(len(first.models))
    ]
    curvature = None
    if first.curvature is not None:  # sums over examples
        curvature = [sum(each) for each in zip(*(p.curvature for p in parts), strict=True)]
    return replace(
        first,
        models=models,
        weight=torch.cat([p.weight for p in parts], 1),
        output=torch.cat([p.output for p in parts], 1),
        ids=np.concatenate([p.ids for p in parts]),
        curvature=curvature,
    )


def check_same_origin(a: Origin, b: Origin, what: str = "train and test features") -> None:
    """Raise `FeatureMismatchError` saying in which respect two origins differ."""
    if a == b:
        return
    if len(a.checkpoints) != len(b.checkpoints):
        told = f"{len(a.checkpoints)} checkpoint(s) against {len(b.checkpoints)}"
    elif a.checkpoints != b.checkpoints:
        told = "the weights of the model changed in between"
    elif a.parameters != b.parameters:
        told = f"layers {', '.join(a.parameters[:3])}... against {', '.join(b.parameters[:3])}..."
    elif a.task != b.task:
        told = f"the task {a.task!r} against {b.task!r}"
    else:
        told = f"{a.kind} against {b.kind}"
    raise FeatureMismatchError(
        f"These {what} do not belong together: {told}. Compute both with the same "
        f"attributor at the same checkpoint."
    )
