"""`DemoRun`: a recorded demo with all that is needed to attribute it or to train it again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from ..arguments import Brief
from ..data.ids import WithIds
from ..recording import Recorder
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


def in_full_batches(
    run: Run,
    recipe,
    seed: int,
    train: WithIds,
    test: WithIds,
    *,
    model: Callable,
    optimizer: Callable,
    layers: list[str],
    replay: bool = False,
    progress: bool = True,
) -> DemoRun:
    """Train on all examples at each step, and record the steps that the recipe names.

    Parameters
    ----------
    recipe : with a name, `steps` and `recorded_steps`
    model : function (recipe, seed) -> module
    optimizer : function (module, recipe) -> torch optimizer
    replay : bool
        Every step can be trained again; the recorder is told of each.
    """
    net = model(recipe, seed)
    opt = optimizer(net, recipe)
    inputs, labels = train.dataset.tensors
    ids = torch.from_numpy(train.ids)
    recorded = set(recipe.recorded_steps())
    recorder = Recorder(run, net, opt, train=train, test=test, layers=layers, replay=replay)
    with one_thread(), recorder as rec:
        bar = tqdm(range(recipe.steps + 1), desc=f"training {recipe.name}", disable=not progress)
        for step in bar:
            logits = net(inputs)
            if replay or step in recorded:
                rec.batch(logits, labels, ids)
            if step in recorded:
                rec.epoch(step)
            if step == recipe.steps:
                break
            loss = F.cross_entropy(logits, labels)
            opt.zero_grad()
            loss.backward()
            opt.step()
    return DemoRun(
        run=run,
        model=lambda: model(recipe, seed),
        optimizer=lambda net: optimizer(net, recipe),
        train=train,
        test=test,
        batches=lambda step: [np.arange(len(train))],
        epochs=recipe.steps,
        recipe=recipe.name,
        seed=seed,
        settings=asdict(recipe),
    )


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
