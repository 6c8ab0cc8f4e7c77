"""What attributors score with: per-example gradients of data at every checkpoint."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from ...arguments import Brief
from ...checkpoints.formats import model_checkpoints
from ...checkpoints.loading import check_weights_finite, copied, load_into, parameters_of
from ...data.batch import Batch
from ...data.served import Served
from ...errors import CheckpointError, SettingError
from ...memory import memory_advice
from ...tasks import Task, as_task
from ..gradients.capture import Capture
from ..gradients.examples import LARGE, SMALL
from ..gradients.joining import compact, concatenate
from ..gradients.plan import Plan
from ..gradients.proof import prove
from ..gradients.watching import check_ready, whatever_the_caller_does
from ..projections.dense import Projection
from ..projections.of_gradients import of_checkpoint, projected_factor
from ..projections.sketches import FactoredSketch
from ..queries.gradients import query_gradient
from ..queries.query import Questions
from ..solve.damping import check_damping
from .features import GradientFeatures, Origin


class GradientReader(Brief):
    """Reads the gradients of examples off a model at each checkpoint, by one plan.

    The model is only ever read: it leaves every call as it came, bit by bit. Parameters as for
    `Attributor`, which is built on it.
    """

    method = ""
    #: "output" attributes gradients of the output, "loss" those of the training loss
    gradient_of = "output"
    #: keep inputs and output gradients apart even where writing gradients out is smaller
    keeps_factors = False
    #: a map of gradients to fewer numbers, applied as they are made
    sketch: FactoredSketch | Projection | None = None
    #: scores are linear in the gradient of the test example
    linear = True

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

    def models(self):
        """Yield (model holding a checkpoint's weights, digest of the weights), one by one."""
        if self._checkpoints is None:
            check_weights_finite(parameters_of(self.model, self.model.state_dict()))
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

    def _origin(self, digests: list[str], plan: Plan | None) -> Origin:
        names, fingerprint = ((), "") if plan is None else (plan.parameters, plan.fingerprint)
        return Origin(tuple(digests), names, self.task.name, self.kind, fingerprint)

    @property
    def plan(self) -> Plan:
        """How gradients are taken, once data have been seen; `SettingError` before."""
        if self._plan is None:
            raise SettingError(f"{type(self).__name__} has seen no data yet: prepare(data) first.")
        return self._plan

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
