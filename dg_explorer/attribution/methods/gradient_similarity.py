"""Gradient similarity and TracIn: first-order attribution, without any inverse."""

from __future__ import annotations

import numpy as np
import torch

from ...arguments import checked
from ...errors import CheckpointError, SettingError
from ..attributor.base import Attributor
from ..attributor.features import GradientFeatures
from ..projections.kernel import diagonal, gram, gram_by_layer
from ..projections.of_gradients import sketch_of

SIMILARITIES = ("dot", "cosine")


class GradientSimilarityAttributor(Attributor):
    """How far a step on a training example would move the output of a test example.

    score(q, i) = grad f_q . (-grad l_i), or the cosine of the two, averaged over checkpoints.

    Parameters
    ----------
    similarity : "dot" or "cosine"
        The dot product is what one step of gradient descent does to the output, to first order;
        large losses give large scores. The cosine compares directions alone.
    proj_dim : int, optional
        Project gradients to this many numbers: less memory, and inner products that are right on
        average.
    projection : "factored", "rademacher", "gaussian" or "sparse"
    projection_seed : int
    **settings
        `task`, `checkpoints`, `layers`, `device`, `batch_size`, as for every attributor.

    References
    ----------
    Charpiat et al. (2019), "Input similarity from the neural network perspective", NeurIPS.
    """

    method = "gradient_cosine"
    similarity = "cosine"

    @checked
    def __init__(
        self,
        model,
        *,
        similarity: str | None = None,
        proj_dim: int | None = None,
        projection: str = "factored",
        projection_seed: int = 0,
        task=None,
        checkpoints=None,
        layers=None,
        device=None,
        batch_size: int = 256,
    ):
        super().__init__(
            model,
            task=task,
            checkpoints=checkpoints,
            layers=layers,
            device=device,
            batch_size=batch_size,
        )
        self.similarity = similarity or self.similarity
        if self.similarity not in SIMILARITIES:
            raise SettingError(f"similarity={similarity!r}; there are {', '.join(SIMILARITIES)}.")
        self.sketch = sketch_of(proj_dim, projection, projection_seed)

    @property
    def unit(self) -> str:
        """The unit of a score."""
        if self.similarity == "cosine":
            return "cosine of gradients, rank only"
        return "change of output in a step of learning rate 1, to first order"

    @property
    def linear(self) -> bool:
        """A cosine is not linear in the gradient."""
        return self.similarity == "dot"

    def settings(self) -> dict:
        known = super().settings() | {"similarity": self.similarity}
        return {name: value for name, value in known.items() if name != "damping"}

    @property
    def kind(self) -> str:
        return f"gradients of output and loss{self.sketched}"

    def compute_train_features(self, dataloader, num_samples=None) -> GradientFeatures:
        """Minus the gradients of the loss; second row, those of the output."""
        return self.compute_features(dataloader, num_samples, self._train_outputs)

    def _train_outputs(self, prediction, batch):
        return torch.stack(
            [self.task.ascent(prediction, batch), self.task.output(prediction, batch)], 1
        )

    def compute_attributions(self, train_features, test_features) -> torch.Tensor:
        self.check_pair(train_features, test_features)
        pairs = zip(train_features.models, test_features.models, strict=True)
        scores = [self._score(train[0], test[0]) for train, test in pairs]
        return self._combine(scores)

    def compute_attributions_by_layer(self, train_features, test_features):
        if self.sketch is not None:
            return super().compute_attributions_by_layer(train_features, test_features)
        self.check_pair(train_features, test_features)
        pairs = list(zip(train_features.models, test_features.models, strict=True))
        each = [gram_by_layer(test[0], train[0]) for train, test in pairs]
        return {
            name: self._combine(
                [
                    self._scaled(one[name].double(), train[0], test[0])
                    for one, (train, test) in zip(each, pairs, strict=True)
                ]
            )
            for name in each[0]
        }

    not_by_layer = "with proj_dim= mix the layers"

    def _candidate_scores(self, candidates, test_features) -> torch.Tensor:
        return self.compute_attributions(self.compute_train_features(candidates), test_features)

    def self_influence(self, train_features: GradientFeatures) -> torch.Tensor:
        return self._combine([self._own(*rows) for rows in train_features.models])

    def own_scores(self, train_features) -> torch.Tensor | None:
        return self.self_influence(train_features)

    def _score(self, train, test) -> torch.Tensor:
        return self._scaled(gram(test, train).double(), train, test)

    def _scaled(self, scores, train, test) -> torch.Tensor:
        if self.similarity == "cosine":
            scores /= _norms(test)[:, None]
            scores /= _norms(train)
        return scores

    def _own(self, loss, output) -> torch.Tensor:
        """Inner product of the two gradients of the same example."""
        steps = range(0, len(loss[0]), 32)
        parts = []
        for start in steps:
            rows = slice(start, start + 32)
            parts.append(
                self._score([f.take(rows) for f in loss], [f.take(rows) for f in output]).diagonal()
            )
        return torch.cat(parts)

    def _combine(self, scores: list[torch.Tensor]) -> torch.Tensor:
        first, *more = scores
        return (sum(more, first) / len(scores)).cpu()


class GradientDotAttributor(GradientSimilarityAttributor):
    """`GradientSimilarityAttributor` with the dot product."""

    method = "gradient_dot"
    similarity = "dot"


class TracInAttributor(GradientSimilarityAttributor):
    """TracInCP: the effect of every step on an example, added up over checkpoints.

    score(q, i) = sum over checkpoints of lr * grad f_q . (-grad l_i). The sum stands for the
    whole training if checkpoints are evenly spaced in steps. In `attribute(run, ...)` the scores
    at an epoch are the sum up to it, with the learning rates of the run's `metrics`.

    Parameters
    ----------
    learning_rates : float or sequence of float, optional
        One for each checkpoint, or one for all; by default 1, or the run's own. A run whose
        parameter groups were trained at several rates has each layer's scores times its own.
    **settings
        `proj_dim`, `projection`, `projection_seed`, as for `GradientSimilarityAttributor`;
        `task`, `checkpoints`, `layers`, `device`, `batch_size`, as for every attributor.

    References
    ----------
    Pruthi et al. (2020), "Estimating Training Data Influence by Tracing Gradient Descent",
    NeurIPS, sec. 3.3.
    """

    method = "tracin"
    similarity = "dot"

    @checked
    def __init__(
        self,
        model,
        *,
        learning_rates=None,
        proj_dim: int | None = None,
        projection: str = "factored",
        projection_seed: int = 0,
        task=None,
        checkpoints=None,
        layers=None,
        device=None,
        batch_size: int = 256,
    ):
        super().__init__(
            model,
            proj_dim=proj_dim,
            projection=projection,
            projection_seed=projection_seed,
            task=task,
            checkpoints=checkpoints,
            layers=layers,
            device=device,
            batch_size=batch_size,
        )
        self.learning_rates = _rates(learning_rates, self.n_checkpoints)

    @property
    def unit(self) -> str:
        return "change of output over the steps of the checkpoints, to first order"

    def settings(self) -> dict:
        rates = None if self.learning_rates is None else self.learning_rates.tolist()
        known = super().settings() | {"learning_rates": rates}
        return {name: value for name, value in known.items() if name != "similarity"}

    def _combine(self, scores):
        rates = np.ones(len(scores)) if self.learning_rates is None else self.learning_rates
        zero = torch.zeros((), dtype=scores[0].dtype, device=scores[0].device)
        return sum((r * s for r, s in zip(rates, scores, strict=True)), zero).cpu()

    def own_scores(self, train_features) -> None:
        """None: the scores of a record are sums over its epochs, one checkpoint's are not."""
        return None

    def layers_needed(self, run) -> bool:
        """Whether parameter groups of the run were trained at several learning rates."""
        rates = run["metrics"] if self.learning_rates is None and "metrics" in run else ()
        if "learning_rate_1" not in rates:
            return False
        if self.sketch is not None:
            raise SettingError(
                "This run trained its parameter groups at several learning rates, and proj_dim= "
                "mixes the layers. Leave proj_dim= out, or pass learning_rates=, one for all."
            )
        return True

    def over_epochs(self, run, group: str, rows, per_layer: bool = False):
        """Turn the scores of single checkpoints of a run into sums up to each of them."""
        total, layers, last = 0.0, 0.0, -1
        if group in run:
            there = run[group]
            last = int(there["epoch"].values[-1])
            total = there["score"].sel(epoch=last).values
            if per_layer:
                layers = run[f"by_layer/{group}"]["score"].sel(epoch=last).values
        several = self.layers_needed(run)
        for epoch, row in rows:
            if epoch < last:
                raise SettingError(
                    f"{group!r} holds sums of TracIn up to {run.time_unit} {last}, so {epoch} "
                    f"cannot be added before it. Pass overwrite=True with all the epochs."
                )
            if several:
                rates = self._rates_at(run, epoch, row["layer"])
                row |= {"by_layer": rates[:, None, None] * row["by_layer"]}
                total = total + row["by_layer"].sum(0)
            else:
                rate = np.float32(self._rate_at(run, epoch))
                row |= {"by_layer": rate * row.get("by_layer", 0.0)}
                total = total + rate * row["score"]
            layers = layers + row["by_layer"]
            yield epoch, row | {"score": total, "by_layer": layers}

    def _rates_at(self, run, epoch: int, layers) -> np.ndarray:
        """The learning rate of each layer's parameters, float32, 0 where none was trained."""
        metrics = run["metrics"]
        names = [name for name in metrics if name.startswith("learning_rate")]
        groups = run.attrs.get("parameter_groups") or []
        known = metrics[names].dropna("epoch", how="all")
        before = known["epoch"].values <= epoch
        if len(groups) != len(names) or not before.any():
            raise CheckpointError(
                f"TracIn needs the learning rates at {run.time_unit} {epoch} of the run's "
                f"{len(names)} parameter groups, and the record has not which are in which. Pass "
                f"learning_rates=, one for all."
            )
        row = known.isel(epoch=int(np.flatnonzero(before)[-1]))
        first = float(row["learning_rate"])  # of all groups, where the others have none noted
        rates = [float(row[name]) if np.isfinite(row[name]) else first for name in names]
        of = {p: rate for group, rate in zip(groups, rates, strict=True) for p in group}
        found = []
        for layer in layers:
            mine = [p for p in self.plan.parameters if layer in (p, p.rpartition(".")[0])]
            each = {of.get(p, 0.0) for p in mine}
            if len(each) > 1:
                raise SettingError(
                    f"The parameters of layer {layer!r} were trained at several learning rates "
                    f"({', '.join(f'{rate:g}' for rate in sorted(each))}), and TracIn takes one a "
                    f"layer. Pass learning_rates=, one for all."
                )
            found.append(each.pop())
        return np.array(found, np.float32)

    def _rate_at(self, run, epoch: int) -> float:
        if self.learning_rates is not None:
            return 1.0  # it is in the scores already
        if "metrics" in run and "learning_rate" in run["metrics"]:
            rates = run["metrics"]["learning_rate"].dropna("epoch")
            before = rates["epoch"].values <= epoch
            if before.any():
                return float(rates.values[before][-1])
        raise CheckpointError(
            f"TracIn needs the learning rate at {run.time_unit} {epoch}, and the run's metrics "
            f"have none. Record it, or pass learning_rates=, such as 1.0."
        )


def _rates(rates, n: int) -> np.ndarray | None:
    if rates is None:
        return None
    rates = np.atleast_1d(np.asarray(rates, dtype=np.float64))
    if len(rates) == 1:
        rates = np.repeat(rates, n)
    if rates.shape != (n,) or not np.isfinite(rates).all():
        raise SettingError(f"{n} checkpoint(s) need as many finite learning rates, not {rates}.")
    return rates


def _norms(layers) -> torch.Tensor:
    norms = diagonal(layers).sqrt()
    # a gradient of exactly zero points nowhere: its cosine is 0
    return torch.where(norms > 0, norms, 1.0)
