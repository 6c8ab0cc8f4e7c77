"""`train_many`: one training under many weights of its examples, all models at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.func import grad, vmap

from .flat_model import NotDeterministicError
from .step.by_hand import State
from .training import Training


def train_many(
    training: Training,
    weights: torch.Tensor | Callable[[int], torch.Tensor],
    starts: torch.Tensor,
    *,
    batches: Callable[[int], torch.Tensor | None] | None = None,
    n_nominal: int | None = None,
    on_epoch: Callable[[int, torch.Tensor], None] | None = None,
) -> State:
    """Train one model for each row of weights, all at once.

    Parameters
    ----------
    weights : Tensor, shape (model, train) or (model, train, epoch)
        Weight of each example in the loss; with a third axis, in each epoch. A callable
        ``epoch -> (model, train)`` saves holding them all.
    starts : Tensor, shape (model, parameter)
    batches : callable ``epoch -> int tensor (model, step, batch)``, optional
        Each model's own batches. Without it all models see the batches of `training`.
    n_nominal : int, optional
        What a full-batch loss is divided by; default the number of training examples.
    on_epoch : callable ``(epoch, theta)``, optional
        Called at each epoch of ``record_at`` with the parameters, shape (model, parameter).

    Returns
    -------
    State, each of shape (model, parameter)
    """
    if training.draws is not None:
        raise NotDeterministicError(
            "This training drops units at random; trained with other weights of its examples for "
            "many models at once, it would draw others. Its exact scores draw as it did."
        )
    if training.mixed:
        raise NotDeterministicError(
            f"This training was in mixed precision ({training.mixed}); trained with other weights "
            f"of its examples for many models at once, it would be in single precision, which is "
            f"another training. Its exact scores follow it. To train it again, pass a function "
            f"(kept, seed) -> outputs that trains as you did."
        )
    flat = training.start()
    state = training.optimizer.initial_state(starts)
    n_steps = _count_steps(training, batches)

    def mean_loss(theta, inputs, labels, weight, n):
        return (weight * training.loss(flat(theta, inputs), labels)).sum() / n

    shared = vmap(grad(mean_loss), in_dims=(0, None, None, 0, None))
    own = vmap(grad(mean_loss), in_dims=(0, 0, 0, 0, None))
    record_at = set(training.record_at)
    step = 0
    if on_epoch and 0 in record_at:
        on_epoch(0, state[0])
    for epoch in range(training.n_epochs):
        weight = _weights_at(weights, epoch)
        for batch in _epoch_batches(training, batches, epoch):
            own_share = None if batches is not None else training.slot_weight(step)
            gradients = own
            if batch is None:
                n, share, gradients = n_nominal or training.n_train, weight, shared
                examples = training.inputs, training.labels
            elif batch.dim() == 1:
                n, share, gradients = len(batch), weight[:, batch], shared
                examples = training.inputs[batch], training.labels[batch]
                share = share if own_share is None else share * own_share
            else:
                n, share = batch.shape[1], weight.gather(1, batch)
                examples = training.inputs[batch], training.labels[batch]
            lr: Any = training.optimizer.lr_at(step, n_steps)  # as its own `step` takes it
            if training.optimizer.generic:  # which may ask for a gradient elsewhere
                g: Any = [
                    partial(_one_model, gradients, examples, share, n, i, gradients is own)
                    for i in range(len(starts))
                ]
            else:
                g = gradients(state[0], *examples, share, n)
            state = training.optimizer.step(state, g, step, lr)
            step += 1
        if on_epoch and epoch + 1 in record_at:
            on_epoch(epoch + 1, state[0])
    return state


def _one_model(gradients, examples, weight, n, i, each, theta):
    """The gradient of model `i` at other weights; `each`: models have examples of their own."""
    examples = [part[i : i + 1] if each else part for part in examples]
    return gradients(theta[None], *examples, weight[i : i + 1], n)[0]


def outputs_of(training: Training, theta: torch.Tensor) -> torch.Tensor:
    """Output of every test example under each row of parameters, shape (model, test)."""
    flat = training.start() if training.draws is None else training.at_rest()

    def one(vector):
        return training.output(flat(vector, training.test_inputs), training.test_labels)

    with torch.no_grad():
        return vmap(one)(theta)


def _weights_at(weights: Any, epoch: int) -> torch.Tensor:
    if callable(weights):
        return torch.as_tensor(weights(epoch))
    return weights if weights.dim() == 2 else weights[:, :, epoch]


def _epoch_batches(training: Training, batches, epoch: int):
    if batches is not None:
        return batches(epoch).unbind(1)
    drawn = training.batches(epoch)
    return [None] if drawn is None else [torch.as_tensor(batch) for batch in drawn]


def _count_steps(training: Training, batches) -> int:
    if batches is not None:
        return training.n_epochs * batches(0).shape[1]
    return sum(len(training.batches(epoch) or [None]) for epoch in range(training.n_epochs))
