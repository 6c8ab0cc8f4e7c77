"""What a trainer does with batches and gradients beside a plain loop: its facts, its clipping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from ..checkpoints.several import hook_after_passes
from ..training.step.clipping import Clipping


@dataclass(frozen=True, kw_only=True)
class TrainerFacts:
    """What the callback of a trainer reads off it before the training, for the record.

    Parameters
    ----------
    name : str
        The trainer's class.
    accumulate : int
        Batches in a step.
    clip : dict
        `norm` or `value`, as `Clipping` takes them; empty for none.
    mean_over : int, optional
        The step's loss is the sum of its batches' means divided by this number, also in a last
        group of fewer; None where it depends on the model and is found by comparison.
    smoothing : float
        The share by which it smooths labels.
    more : dict
        Whatever else decides the weight of an example: classes, arguments.
    """

    name: str
    accumulate: int = 1
    clip: dict[str, float] = field(default_factory=dict)
    mean_over: int | None = None
    smoothing: float = 0.0
    more: dict = field(default_factory=dict)

    def weights(self, batches: Sequence[int]) -> np.ndarray | None:
        """The weight of each slot, 1 for the mean over the step's slots, where it is plain.

        Parameters
        ----------
        batches : sequence of int
            How many examples each batch of the step has.
        """
        if self.mean_over is None:
            return None
        each = [np.full(n, sum(batches) / (self.mean_over * n)) for n in batches]
        return np.concatenate(each) if each else None

    def told(self) -> dict:
        """Plain values for the record."""
        return asdict(self)


class NormWatch:
    """The norm of all gradients of each step as it was before clipping, and the factor of that.

    A trainer clips between the last backward pass and the step, where no callback is. So the norm
    of a gradient is taken when a backward pass has added to it; the last one of a step counts.
    """

    def __init__(self, model, optimizer, largest: float):
        self._clipping = Clipping(norm=largest)
        self._norms: dict[torch.Tensor, torch.Tensor] = {}
        self._factors: list[torch.Tensor] = []
        trained = [p for p in model.parameters() if p.requires_grad]
        self._handles = [p.register_post_accumulate_grad_hook(self._look) for p in trained]
        self._handles.append(hook_after_passes(optimizer, self._end_step))

    def take(self, n: int) -> np.ndarray:
        """The factor of each step since the last call, float64, shape (step,)."""
        factors, self._factors = self._factors[-n:], []
        return np.array([float(f) for f in factors])

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def _look(self, parameter: torch.Tensor) -> None:
        self._norms[parameter] = torch.linalg.vector_norm(parameter.grad)

    def _end_step(self, *_) -> None:
        if self._norms:
            total = torch.linalg.vector_norm(torch.stack(list(self._norms.values())))
            self._factors.append(self._clipping.factor(total))
        else:
            self._factors.append(torch.ones(()))
        self._norms = {}
