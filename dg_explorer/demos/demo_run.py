"""`DemoRun`: a recorded demo with all that is needed to attribute it or to train it again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F

from ..arguments import Brief
from ..data.ids import WithIds
from ..run import Run


@dataclass(repr=False)
class DemoRun(Brief):
    """What `demos.make` returns.

    Attributes
    ----------
    run : Run
    model : function () -> module
        A fresh model with the initial weights of this seed; every call gives the same.
    optimizer : function (model) -> torch optimizer
        The optimizer the demo was trained with.
    train, test : datasets that yield (inputs, label, id)
    batches : function (epoch) -> list of int arrays
        Positions in `train` of the batches of an epoch (or the one of a full-batch step).
    epochs : int
        How many epochs (steps, where the run's time unit is "step") training takes.
    settings : dict of the recipe's settings
    """

    run: Run
    model: Callable
    optimizer: Callable
    train: WithIds
    test: WithIds
    batches: Callable
    epochs: int
    recipe: str
    seed: int = 0
    settings: dict = field(default_factory=dict)

    def retrain(self, *, remove=(), epochs: int | None = None, each: Callable | None = None):
        """Train again from the same start in the same order, without some training examples.

        Parameters
        ----------
        remove : ids of training examples to leave out
        epochs : stop earlier than the recipe
        each : function (epoch, model), called with the weights after so many epochs (steps),
            from 0: what the record holds under the same label

        Returns
        -------
        module
            The trained model.
        """
        keep = ~np.isin(self.train.ids, np.asarray(remove, dtype=np.int64))
        model = self.model()
        optimizer = self.optimizer(model)
        inputs, labels = self.train.dataset.tensors
        with one_thread():
            each = each or (lambda epoch, model: None)
            each(0, model)
            for epoch in range(self.epochs if epochs is None else epochs):
                for batch in self.batches(epoch):
                    batch = batch[keep[batch]]
                    loss = F.cross_entropy(model(inputs[batch]), labels[batch])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                each(epoch + 1, model)
        return model


@contextmanager
def one_thread():
    """Deterministic algorithms on one thread: small models train faster so, and repeatably."""
    threads, deterministic = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
    )
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
