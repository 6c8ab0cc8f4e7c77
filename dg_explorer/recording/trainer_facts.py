"""`TrainerFacts`: what a trainer does with batches and gradients beside a plain loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np


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
    more : dict
        Whatever else decides the weight of an example: classes, arguments.
    """

    name: str
    accumulate: int = 1
    clip: dict[str, float] = field(default_factory=dict)
    mean_over: int | None = None
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
