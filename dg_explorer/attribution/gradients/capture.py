"""`Capture`: a plan at one model's weights, which learns what a batch does that it did not know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from ...data.batch import calling
from ...data.padding import check_left_padding, has_left_padding
from ...errors import DGExplorerError
from ...memory import memory_advice
from .explicit import Outputs
from .plan import Plan
from .proof import UnsupportedModelError, check_company, extend, prove
from .reading import FAILURES, Captured, Reading, UncoveredError
from .watching import undisturbed


@dataclass
class Capture:
    """From a batch to the gradients of its examples, by a `Plan`, at one model's weights."""

    model: nn.Module
    plan: Plan

    @property
    def parameters(self) -> list[str]:
        """Every parameter attributed, in the model's own order."""
        return list(self.plan.parameters)

    def __call__(self, batch, outputs: Outputs | None = None, ids=None) -> Captured:
        """Gradients of `outputs` (by default the task's output) for every example of a batch.

        Parameters
        ----------
        ids : of the examples, for messages

        Raises
        ------
        NonFiniteError
            An output or a gradient is NaN or infinite; names the examples.
        CoupledBatchError
            Examples of a batch see each other, where so few as a proof takes did not show it.
        DataError
            The model cannot be called with the batch; or padding on the left changes its answers.
        UnsupportedModelError
            The batch does what none did before, and no way gives its gradients correctly.
        """
        advice = "Lower batch_size (or serve smaller batches), or name fewer layers with layers="
        read, outputs = Reading(self.model, self.plan), outputs or self.plan.task.output
        with memory_advice(advice), self._taking(batch):
            check_company(self.plan, self.model, batch)
            if not self.plan.padding and has_left_padding(batch, self.model):
                self.plan.padding = True
                with undisturbed(self.model):
                    check_left_padding(self.model, batch, self.plan.task.predict)
            for attempt in range(4):
                try:
                    return read(batch, outputs, ids)
                except UncoveredError as error:
                    if attempt == 3:
                        raise UnsupportedModelError(
                            f"No rule gives the gradients of {error} in this batch, though the "
                            f"proof on a few examples found one. Leave them out with layers=."
                        ) from error
                    extend(self.plan, self.model, batch, error.names)
            raise AssertionError("unreachable")

    @contextmanager
    def _taking(self, batch) -> Iterator[None]:
        """Say what the model was given, where that is what it cannot take."""
        try:
            yield
        except DGExplorerError:
            raise
        except FAILURES:
            with calling(batch), undisturbed(self.model), torch.no_grad():
                self.plan.task.predict(self.model, batch)
            raise


def capture_of(model: nn.Module, task, batch, *, layers=None) -> Capture:
    """Prove a plan on the examples of one batch; the gradients of any batch of that model."""
    return Capture(model, prove(model, task, [batch], layers=layers))
