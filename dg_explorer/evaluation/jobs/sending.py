"""A training on its way to a process of its own.

What is sent is our own object, over a pipe of our own: no pickle is ever read from a file.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import torch
from torch import nn

from ...checkpoints.loading import copied
from ...training.many import outputs_of
from ...training.training import Training

_HERE = b"__main__"  # a class of a notebook, which another process cannot import


@dataclass(frozen=True)
class OneStart:
    """The model of a record, which has one start: a fresh copy at every call."""

    module: nn.Module

    def __call__(self, seed: int) -> nn.Module:
        return copied(self.module)


def packed(training: Training, *, own: bool = False) -> bytes | None:
    """The training as bytes that another process can make it from; None where there is no way.

    With `own` the model's own modules and optimizer go along, which step as the recorded training
    did, to the bit; there is no graph in their place.

    Functions of a library or of a module on the path go by their name. A model whose class stands
    in the notebook itself goes as its traced graph, which is compared with it first. What else
    stands in the notebook goes by cloudpickle, where that is installed.
    """
    names = ("own", "proof", "draws")
    stepper: dict = {name: getattr(training, name) if own else None for name in names}
    if training.one_start:
        training = training.with_changes(model=OneStart(training.start().module), **stepper)
    else:
        training = training.with_changes(**stepper)
    for form in (training, None if own else _traced(training)):
        if form is None:
            continue
        try:
            told = pickle.dumps(form)
        except (pickle.PicklingError, AttributeError, TypeError):
            continue
        if _HERE not in told:
            return told
    try:
        import cloudpickle

        return cloudpickle.dumps(training)
    except Exception:  # not installed, or something that no process can be sent
        return None


def _traced(training: Training) -> Training | None:
    """The same training of a graph in place of the model's class; None where that is another."""
    if not training.one_start:
        return None
    try:
        graph = torch.fx.symbolic_trace(training.start().module)
        form = training.with_changes(model=OneStart(graph))
        few: dict = {"test_inputs": training.test_inputs[:4]}
        few["test_labels"] = training.test_labels[:4]
        few["test_ids"] = training.test_ids[:4]
        start = training.start().theta[None]
        ours, theirs = (outputs_of(one.with_changes(**few), start) for one in (training, form))
    except Exception:  # its code depends on the data
        return None
    same_order = form.start().names == training.start().names
    return form if same_order and torch.equal(ours, theirs) else None
