"""The contract of every attributor: features of train and test, then a matrix of scores."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from ...arguments import Brief
from ...checkpoints.copies import copied
from ...checkpoints.formats import model_checkpoints
from ...checkpoints.loading import check_finite, load_into, parameters_of
from ...data.batch import Batch
from ...data.served import Served
from ...errors import CheckpointError, DataError, SettingError
from ...memory import memory_advice
from ...tasks import Task, as_task
from ..gradients.capture import Capture
from ..gradients.examples import LARGE, SMALL
from ..gradients.factors import Explicit
from ..gradients.joining import compact, concatenate
from ..gradients.plan import Plan
from ..gradients.proof import prove
from ..gradients.watching import check_ready, whatever_the_caller_does
from ..projections.dense import Projection
from ..projections.fidelity import TEST, TRAIN, fidelity, half_of, spread_over
from ..projections.of_gradients import of_checkpoint, projected_factor
from ..projections.sketches import FactoredSketch
from ..queries.gradients import query_gradient
from ..queries.query import Questions
from ..solve.damping import check_damping
from .features import GradientFeatures, Origin, check_same_origin
from .patterns import analyze_attribution_patterns, find_top_attributions


class Attributor(Brief):
    """Scores of training examples for test examples, from one checkpoint or an ensemble.

    Score > 0: training on the example raised the output of the test example.
    The model is only ever read: it leaves every call as it came, bit by bit.

    Parameters
    ----------
    model : torch module
        Its present weights are used unless `checkpoints` are given.
    task : str, Task, or pair (loss, output) of functions, optional
        What is attributed: "classification" (the margin of the right class),
        "language_modeling", "regression", ... By default what the model's class, its answers and
        the labels speak for; where they could mean several tasks, it is asked for.
    checkpoints : list or mapping of state dicts, models or paths, or a folder, optional
        An ensemble, such as the same recipe from several seeds.
    layers : list of str, optional
        Module or parameter names, or patterns; by default every trainable parameter.
    damping : "auto", float or ("absolute", float)
        Ridge, relative to the mean diagonal of the kernel. "auto" reads it off the checkpoint of
        a classifier (see `damping`) and is 1 for other tasks. ("absolute", x) adds x itself to
        the sum over the training examples (n times what is added to a mean). `damping_used`
        holds what was added, in absolute terms, at each checkpoint.
    batch_size : int
        Used where a dataset is given instead of a loader. Scores do not depend on it.
    """

    method = ""
    #: the unit of a score, or that scores only rank
    unit = "rank only"
    #: "output" attributes gradients of the output, "loss" those of the training loss
    gradient_of = "output"
    #: keep inputs and output gradients apart even where writing gradients out is smaller
    keeps_factors = False
    #: a map of gradients to fewer numbers, applied as they are made
    sketch: FactoredSketch | Projection | None = None

    def __init__(
        self,
        model: nn.Module,
        *,
        task=None,
        checkpoints=None,
        layers=None,
        device=None,
        damping="auto",
        batch_size: int = 256,
    ):
        if not isinstance(model, nn.Module):
            raise SettingError(f"model must be a torch module, not {type(model).__name__}.")
        check_ready(model)
        check_damping(damping)
        self.task: Task = as_task(task)
        self.model = model if device is None else model.to(device)
        self.layers = layers
        self.damping = damping
        self.batch_size = batch_size
        self.damping_used: list[float] = []
        self._checkpoints = _as_checkpoints(checkpoints)
        self._scratch: nn.Module | None = None
        self._plan: Plan | None = None
        self._fitted = None

    # ---------------------------------------------------------------- the contract

    def compute_train_features(self, dataloader, num_samples: int | None = None):
        """Features of the training examples (of the first `num_samples`)."""
        return self.compute_features(dataloader, num_samples)

    def compute_test_features(self, dataloader, num_samples: int | None = None):
        """Features of the test examples (of the first `num_samples`)."""
        return self.compute_features(dataloader, num_samples)

    def compute_query_features(self, questions: Questions) -> Any:
        """Features of questions, one row each, as `compute_test_features` has them of examples.

        Parameters
        ----------
        questions : Questions
            As `QuerySet.served` gives them.

        Raises
        ------
        SettingError
            The method's scores are not linear in the gradient, so that the score of a mean is not
            the mean of the scores.
        """
        if not self.linear:
            raise SettingError(
                f"{self.method!r} compares single examples, so it cannot be asked about a mean. "
                f"Methods that can: 'trak', 'influence', 'tracin', 'gradient_dot', 'source'."
            )
        rows, values, digests, plan = [], [], [], None
        for checkpoint, (model, digest) in enumerate(self.models()):
            terms = next(iter(questions.questions.values())).terms
            plan = self.capture(model, terms[0].data).plan
            found = [
                query_gradient(model, plan, query, self.test_outputs, self.moved)
                for query in questions.questions.values()
            ]
            layers = concatenate([layers for layers, _ in found])
            if self.sketch is not None:
                layers = [projected_factor(of_checkpoint(self.sketch, checkpoint), layers)]
            rows.append([layers])
            values.append(torch.tensor([value for _, value in found], dtype=torch.float64))
            digests.append(digest)
        origin = self._origin(digests, plan)
        output = torch.stack(values)
        return GradientFeatures(
            rows, torch.zeros_like(output), output, np.arange(len(questions)), origin
        )

    #: scores are linear in the gradient of the test example
    linear = True

    def compute_attributions(self, train_features, test_features) -> torch.Tensor:
        """Scores, float64, shape (n_test, n_train)."""
        raise NotImplementedError

    def self_influence(self, train_features) -> torch.Tensor:
        """Each training example's score for itself, float64, shape (n_train,)."""
        raise NotImplementedError

    def own_scores(self, train_features) -> torch.Tensor | None:
        """`self_influence` where it costs little beside the scores just computed, else None."""
        return None

    @whatever_the_caller_does()
    def attribute(self, train, test) -> torch.Tensor:
        """Features and scores in one go, float64, shape (n_test, n_train)."""
        return self.compute_attributions(
            self.compute_train_features(train), self.compute_test_features(test)
        )

    @whatever_the_caller_does()
    def attribute_by_layer(self, train, test) -> dict[str, torch.Tensor]:
        """Scores of each layer by itself, from one pass; over the layers they sum to the score.

        Returns
        -------
        dict of module name -> float64, shape (n_test, n_train)
            What the part of the test example's gradient that is in the layer is worth.

        Raises
        ------
        SettingError
            Scores of this method are no sum over layers.
        """
        return self.compute_attributions_by_layer(
            self.compute_train_features(train), self.compute_test_features(test)
        )

    def compute_attributions_by_layer(
        self, train_features, test_features
    ) -> dict[str, torch.Tensor]:
        """`attribute_by_layer` from features."""
        raise self.refused_by_layer()

    def check_by_layer(self) -> None:
        """Raise `SettingError` where scores of this method and these settings are no such sum."""
        one = type(self).compute_attributions_by_layer is Attributor.compute_attributions_by_layer
        if one or self.sketch is not None or getattr(self, "projection", None) is not None:
            raise self.refused_by_layer()

    def refused_by_layer(self) -> SettingError:
        """The error that says why scores are no sum over layers."""
        return SettingError(
            f"Scores of {self.method!r} {self.not_by_layer}. Those of 'trak', 'influence', "
            f"'tracin', 'gradient_dot' and 'gradient_cosine' are, without proj_dim=."
        )

    #: why `attribute_by_layer` is refused
    not_by_layer = "are no sum over layers"
    #: whether a row of a run has the scores of each layer beside their sum
    layers_too = False

    def layers_needed(self, run) -> bool:
        """Whether scores of this run are made from those of its layers."""
        return False

    def projection_fidelity(self, train_features, test_features) -> float | None:
        """The correlation with exact scores that two halves of the projection speak for, 0 to 1.

        Returns
        -------
        float, or None where nothing is projected at random; see `projections.fidelity`
        """
        if self.sketch is None or self.sketch.dim < 4:
            return None
        kept, places = self.damping_used, (TRAIN, TEST)
        some = [
            f.take(spread_over(len(f), most))
            for f, most in zip((train_features, test_features), places, strict=True)
        ]
        found = fidelity(lambda half: self.compute_attributions(*(_half(f, half) for f in some)))
        self.damping_used = kept
        return found

    # ------------------------------------------------------------ fitted once, asked often

    @whatever_the_caller_does()
    def fit(self, train, num_samples: int | None = None) -> Attributor:
        """Keep what scores need of the training examples, so that `score` can be called often.

        Parameters
        ----------
        train : data
            Of which curvature, kernel and damping are, whatever is scored later.

        Returns
        -------
        The attributor itself.
        """
        self._fitted = self.compute_train_features(train, num_samples)
        return self

    @whatever_the_caller_does()
    def score(self, test, *, candidates=None) -> torch.Tensor:
        """Scores for test examples that may have come up after `fit`.

        Parameters
        ----------
        test : data, or features of this attributor
        candidates : data, optional
            Examples to score in place of those of `fit`: such as never were trained on. Their
            scores say what a little weight on them would have done, by the curvature of `fit`.

        Returns
        -------
        float64, shape (n_test, n_train), or (n_test, n_candidates)

        Raises
        ------
        SettingError
            `fit` has not been called, or the method cannot score other candidates.
        FeatureMismatchError
            The model holds other weights than in `fit`.
        """
        if self._fitted is None:
            raise SettingError(f"{type(self).__name__}.score needs fit(train) before it.")
        if not hasattr(test, "origin") and not torch.is_tensor(test):
            test = self.compute_test_features(test)
        if candidates is None:
            return self.compute_attributions(self._fitted, test)
        return self._candidate_scores(candidates, test)

    def _candidate_scores(self, candidates, test_features) -> torch.Tensor:
        raise SettingError(
            f"candidates= goes with methods that score an example apart from the others: "
            f"'influence', 'tracin', 'gradient_dot' and 'gradient_cosine', not {self.method!r}."
        )

    find_top_attributions = staticmethod(find_top_attributions)
    analyze_attribution_patterns = staticmethod(analyze_attribution_patterns)

    # ------------------------------------------------------------ gradients of a loader

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def kind(self) -> str:
        """What the features are; features of another kind are refused."""
        return f"gradients of {self.gradient_of}{self.sketched}"

    @property
    def sketched(self) -> str:
        """By what gradients were made smaller, for `kind`."""
        return "" if self.sketch is None else f", {self.sketch}"

    @property
    def n_checkpoints(self) -> int:
        return 1 if self._checkpoints is None else len(self._checkpoints)

    def settings(self) -> dict:
        """Everything that shapes the scores, as plain values for the record."""
        layers = self.layers if self.layers is None or isinstance(self.layers, str) else None
        return {
            "method": self.method,
            "task": self.task.name,
            "layers": layers if self.layers is None else list(np.atleast_1d(self.layers)),
            "damping": self.damping,
            "n_checkpoints": self.n_checkpoints,
        } | ({} if self.sketch is None else {"projection": str(self.sketch)})

    def models(self):
        """Yield (model holding a checkpoint's weights, digest of the weights), one by one."""
        if self._checkpoints is None:
            check_finite(parameters_of(self.model, self.model.state_dict()))
            yield self.model, weights_digest(self.model)
            return
        if self._scratch is None:
            self._scratch = copied(self.model)
        for key in self._checkpoints:
            load_into(self._scratch, self._checkpoints[key])
            yield self._scratch, weights_digest(self._scratch)

    @whatever_the_caller_does()
    @memory_advice("Pass proj_dim=, name fewer layers with layers=, or attribute fewer examples")
    def compute_features(self, data, num_samples: int | None = None, outputs=None) -> Any:
        """Per-example gradients of a loader at every checkpoint, kept as factors."""
        differentiated, data = outputs or self.outputs, self.served(data, num_samples)
        models, weights, outputs, digests = [], [], [], []
        ids, order = [], torch.empty(0)
        for checkpoint, (model, digest) in enumerate(self.models()):
            sketch = None if self.sketch is None else of_checkpoint(self.sketch, checkpoint)
            parts, ids = [], []
            for batch, which in self.batches(data, None, model):
                capture = self.capture(model, data)
                found = capture(batch, differentiated, which)
                if sketch is not None:
                    found.factors = [[projected_factor(sketch, row)] for row in found.factors]
                elif not self.keeps_factors:
                    found.factors = [[compact(f) for f in row] for row in found.factors]
                parts.append(found)
                ids.append(which)
            order = self.order(data, np.concatenate(ids))
            rows = [
                concatenate([p.factors[r] for p in parts]) for r in range(len(parts[0].factors))
            ]
            if not torch.equal(order, torch.arange(len(order))):  # a copy of everything otherwise
                rows = [[f.take(order) for f in layers] for layers in rows]
            models.append(rows)
            weights.append(torch.cat([p.weight for p in parts])[order].cpu())
            outputs.append(torch.cat([p.output for p in parts])[order].cpu())
            digests.append(digest)
        origin = self._origin(digests, self._plan)
        ids = np.concatenate(ids)[order.numpy()]
        weight, output = torch.stack(weights), torch.stack(outputs)
        return GradientFeatures(models, weight, output, ids, origin)

    def _origin(self, digests: list[str], plan: Plan | None) -> Origin:
        names, fingerprint = ((), "") if plan is None else (plan.parameters, plan.fingerprint)
        return Origin(tuple(digests), names, self.task.name, self.kind, fingerprint)

    def prepare(self, data, num_samples: int | None = None) -> Plan:
        """How each parameter's gradient is taken, proved on examples from all over the data.

        Decided once, from whatever data come first; all features of this attributor go by it.
        """
        model = next(self.models())[0] if self._plan is None else self.model
        return self.capture(model, data, num_samples).plan

    def capture(self, model, data, num_samples: int | None = None) -> Capture:
        """The plan at one model's weights, proved on examples from all over the data."""
        if self._plan is None:
            data = self.served(data, num_samples)
            found = data.samples(LARGE + SMALL) if isinstance(data, Served) else data[:1]
            batches = [self.moved(batch, model) for batch in found]
            ids = [batch.ids for batch in batches]
            self._plan = prove(model, self.task, batches, layers=self.layers, ids=ids)
        return Capture(model, self._plan)

    def outputs(self, prediction, batch) -> torch.Tensor:
        """What is differentiated: shape (example,), or (example, row) for several."""
        return getattr(self.task, self.gradient_of)(prediction, batch)

    def test_outputs(self, prediction, batch) -> torch.Tensor:
        """The scalar of a test example that is differentiated, shape (example,)."""
        return self.outputs(prediction, batch)

    def served(self, data, num_samples: int | None = None) -> Any:
        """The examples of a data set or loader; batches that somebody holds stay as they are."""
        if isinstance(data, list) and data and all(isinstance(part, Batch) for part in data):
            return data
        if not isinstance(data, Served):
            how = {"batch_size": self.batch_size, "by_task": self.task.reads_batch}
            data = Served(data, model=self.model, **how)
        if num_samples is None or num_samples >= len(data):
            return data
        return data.part(0, num_samples)

    def batches(self, data, num_samples, model) -> Iterator[tuple[Batch, np.ndarray]]:
        """Batches of a loader or dataset on the model's device, with their ids."""
        for batch in self.served(data, num_samples):
            yield self.moved(batch, model), batch.ids

    @staticmethod
    def moved(batch: Batch, model) -> Batch:
        """The batch on the model's device and in its precision."""
        parameter = next(model.parameters())
        return batch.to(parameter.device, parameter.dtype.to_real())

    @staticmethod
    def order(data, seen: np.ndarray) -> torch.Tensor:
        """Positions that bring examples as they came into the data's own order.

        A collate function may sort the examples of a batch.
        """
        if not isinstance(data, Served) or np.array_equal(seen, data.ids):
            return torch.arange(len(seen))
        rank = np.argsort(data.ids)
        places = rank[np.searchsorted(data.ids[rank], seen)]
        return torch.as_tensor(np.argsort(places, kind="stable"))

    @staticmethod
    def check_pair(train: GradientFeatures, test: GradientFeatures) -> None:
        """Refuse features that do not belong together."""
        for name, features in (("train", train), ("test", test)):
            if not isinstance(features, GradientFeatures):
                raise DataError(
                    f"{name} features must come from compute_{name}_features of this attributor; "
                    f"got {type(features).__name__}."
                )
        check_same_origin(train.origin, test.origin)


def _half(features: GradientFeatures, half: int) -> GradientFeatures:
    """Features by every second number of their projection."""
    models = [
        [
            [
                Explicit(half_of(f.gradient, half), f.names, ((f.numel // 2,),))
                for f in layers
                if isinstance(f, Explicit)  # as all are that are projected
            ]
            for layers in rows
        ]
        for rows in features.models
    ]
    return replace(features, models=models)


def weights_digest(model: nn.Module) -> str:
    """A short name for the present weights and buffers of a model."""
    crc = 0
    for name, tensor in model.state_dict().items():
        if torch.is_tensor(tensor):
            crc = zlib.crc32(name.encode(), crc)
            raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            crc = zlib.crc32(raw.numpy().data, crc)
    return f"{crc:08x}"


def _as_checkpoints(checkpoints) -> Mapping | None:
    if checkpoints is None:
        return None
    if isinstance(checkpoints, (list, tuple)):
        checkpoints = dict(enumerate(checkpoints))
    found = model_checkpoints(checkpoints)
    if len(found) == 0:
        raise CheckpointError("checkpoints= is empty; leave it out to use the model's own weights.")
    return found
