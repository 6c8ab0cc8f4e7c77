"""Attribution by representation: what is near in a layer's space, signed by label agreement."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from ...arguments import checked
from ...data.batch import calling
from ...data.evaluation import LayerOutputs
from ...errors import DataError, NonFiniteError, SettingError
from ...tasks.parts import labels_of
from ..attributor.base import Attributor
from ..attributor.features import Origin, check_same_origin
from ..gradients.watching import undisturbed, whatever_the_caller_does


@dataclass
class RepresentationFeatures:
    """Activations of one layer.

    values : float64, shape (checkpoint, example, unit)
    labels : shape (example,), or None where the task has no class labels
    """

    values: torch.Tensor
    labels: torch.Tensor | None
    ids: np.ndarray
    origin: Origin

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def shape(self) -> tuple[int, int]:
        """(examples, units)"""
        return self.values.shape[1], self.values.shape[2]

    def cpu(self) -> RepresentationFeatures:
        return replace(self, values=self.values.cpu())


class RepresentationSimilarityAttributor(Attributor):
    """Cosine of activations: +cosine for examples of the test example's class, -cosine for others.

    A baseline that looks at what the model computes and not at how it learned it. For tasks
    without class labels the cosine is not signed.

    Parameters
    ----------
    layer : str, optional
        A module; its output is the representation (averaged over positions of a sequence). By
        default what goes into the last linear layer.
    **settings
        `task`, `checkpoints`, `device`, `batch_size`, as for every attributor. Scores of several
        checkpoints are averaged.

    References
    ----------
    Hanawa et al. (2021), "Evaluation of Similarity-based Explanations", ICLR.
    """

    method = "representation_similarity"
    linear = False
    unit = "cosine of activations, rank only"

    @checked
    def __init__(
        self,
        model,
        *,
        layer: str | None = None,
        task=None,
        checkpoints=None,
        device=None,
        batch_size: int = 256,
    ):
        super().__init__(
            model, task=task, checkpoints=checkpoints, device=device, batch_size=batch_size
        )
        modules = dict(model.named_modules())
        if layer is not None and layer not in modules:
            raise SettingError(
                f"No layer {layer!r}; the model has {', '.join(n for n in modules if n)}."
            )
        self.layer = layer

    def settings(self) -> dict:
        known = super().settings() | {"layer": self.layer}
        return {k: v for k, v in known.items() if k not in ("damping", "layers")}

    @whatever_the_caller_does()
    def compute_features(self, data, num_samples=None, outputs=None) -> RepresentationFeatures:
        """Activations of a loader at every checkpoint."""
        values, digests, layer = [], [], self.layer
        labels, ids, order = [], [], torch.empty(0)
        data = self.served(data, num_samples)
        for model, digest in self.models():
            parts, labels, ids, listen = [], [], [], None
            for batch, which in self.batches(data, None, model):
                layer = layer or last_linear(model, self.task, batch)
                if listen is None:
                    modules = {layer: dict(model.named_modules())[layer]}
                    listen = LayerOutputs(modules, inputs=self.layer is None, keep_space=True)
                with undisturbed(model), torch.no_grad(), calling(batch):
                    prediction, rows = listen(model, batch, self.task.predict)
                    self.task.check(prediction, batch)
                parts.append(rows[layer])
                labels.append(labels_of(batch))
                ids.append(which)
            order = self.order(data, np.concatenate(ids))
            found = torch.cat(parts)[order.to(parts[0].device)].double()
            bad = ~torch.isfinite(found).all(1).cpu().numpy()
            if bad.any():
                named = np.concatenate(ids)[order.numpy()][bad]
                raise NonFiniteError(
                    f"Activations of {layer!r} are not finite (NaN or infinite) for "
                    f"{len(named)} examples, such as id {named[0]}. Check these rows of the data."
                )
            values.append(found)
            digests.append(digest)
        classes = all(torch.is_tensor(y) and _is_class(y) for y in labels)
        origin = Origin(tuple(digests), (str(layer),), self.task.name, "activations")
        return RepresentationFeatures(
            torch.stack(values),
            torch.cat(labels)[order.to(labels[0].device)] if classes else None,
            np.concatenate(ids)[order.numpy()],
            origin,
        )

    def compute_attributions(self, train_features, test_features) -> torch.Tensor:
        for features in (train_features, test_features):
            if not isinstance(features, RepresentationFeatures):
                raise DataError(
                    f"Features must come from this attributor; got {type(features).__name__}."
                )
        check_same_origin(train_features.origin, test_features.origin)
        scores: Any = sum(
            self.similarity(train, test)
            for train, test in zip(train_features.values, test_features.values, strict=True)
        )
        scores = scores / len(train_features.values)
        if train_features.labels is not None and test_features.labels is not None:
            same = test_features.labels[:, None] == train_features.labels
            scores = torch.where(same, scores, -scores)
        return scores.cpu()

    def self_influence(self, train_features) -> torch.Tensor:
        """The similarity of each example to itself."""
        return self.compute_attributions(train_features, train_features).diagonal()

    def similarity(self, train: torch.Tensor, test: torch.Tensor) -> torch.Tensor:
        """Similarities of activations, shape (n_test, n_train), before they are signed."""
        unit = [x / x.norm(dim=1, keepdim=True).clamp(min=1e-300) for x in (test, train)]
        return unit[0] @ unit[1].T


class FeatureKNNAttributor(RepresentationSimilarityAttributor):
    """Soft nearest neighbours: weights exp(-d^2 / s) that spread over k examples.

    The scale s of each row is such that the weights, which sum to 1, have perplexity k: they are
    as spread as k equal ones. Weights of other classes count negative, so that the sum of a row is
    the vote for the test example's class. Far examples keep their order.

    Parameters
    ----------
    k : int
        How many neighbours share the weight; with `k` >= n_train all do, equally.
    **settings
        Those of `RepresentationSimilarityAttributor`.

    References
    ----------
    Khandelwal et al. (2020), "Generalization through Memorization: Nearest Neighbor Language
    Models", ICLR; van der Maaten & Hinton (2008), "Visualizing Data using t-SNE", for the scale.
    """

    method = "feature_knn"
    unit = "share of the vote, rank only"

    @checked
    def __init__(
        self,
        model,
        *,
        k: int = 10,
        layer: str | None = None,
        task=None,
        checkpoints=None,
        device=None,
        batch_size: int = 256,
    ):
        super().__init__(
            model,
            layer=layer,
            task=task,
            checkpoints=checkpoints,
            device=device,
            batch_size=batch_size,
        )
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise SettingError(f"k={k!r} must be a whole number, at least 1.")
        self.k = k

    def settings(self) -> dict:
        return super().settings() | {"k": self.k}

    def similarity(self, train, test):
        square = torch.cdist(test, train, compute_mode="donot_use_mm_for_euclid_dist").square()
        return neighbour_weights(square, self.k)


def neighbour_weights(square: torch.Tensor, k: int) -> torch.Tensor:
    """exp(-d^2 / s), each row summing to 1 with entropy log k.

    Parameters
    ----------
    square : float64, shape (n_test, n_train)
        Squared distances.
    k : int
        Where more than k examples are at the smallest distance they share the weight, and where
        there are no more than k examples all have the same.
    """
    n = square.shape[1]
    if k >= n:
        return torch.full_like(square, 1 / n)
    # distances to the nearest, in units of the row, so that one bracket serves all
    gap = square - square.amin(1, keepdim=True)
    unit = gap.mean(1, keepdim=True)
    gap = gap / torch.where(unit > 0, unit, 1.0)
    low, high = torch.full_like(unit, -30.0), torch.full_like(unit, 30.0)
    weights = torch.full_like(square, 1 / n)
    for _ in range(60):
        middle = (low + high) / 2
        logits = -gap * middle.exp()
        weights = logits.softmax(1)
        entropy = -(weights * logits.log_softmax(1)).sum(1, keepdim=True)
        spread = entropy > float(np.log(k))
        low, high = torch.where(spread, middle, low), torch.where(spread, high, middle)
    return weights


def last_linear(model, task, batch) -> str:
    """The linear layer that is called last: its input is the default representation."""
    called = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: called.append(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        with undisturbed(model), torch.no_grad():
            task.check(task.predict(model, batch), batch)
    finally:
        for handle in handles:
            handle.remove()
    if not called:
        raise SettingError("The model calls no linear layer; name one of its modules with layer=.")
    return called[-1]


def _is_class(target: torch.Tensor) -> bool:
    return target.ndim == 1 and not target.is_floating_point()
