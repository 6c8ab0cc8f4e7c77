"""How linear a training is in the weights of its examples, seen from a few short stretches of it.

A derivative says what a small change of the weights does. Where the training is taken on for some
steps with all weights changed by +h and by -h, the two ends lie opposite each other about the end
with unchanged weights, if the change acts in proportion; what is left of their middle is what the
derivative misses at that size of change.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .flat_model import FlatModel
from .products import LossProducts
from .replay import states_in_order
from .step.generic import OptimizerStep
from .training import Training

# Outputs are a summary: so few test examples tell how far they bend.
_OUTPUTS = 64


@dataclass(frozen=True)
class Stretch:
    """What a stretch of a training showed.

    Attributes
    ----------
    first, last : int
        The step at which it began, and after which it ended.
    parameters, outputs : float
        Second difference over first, in norm, of the parameters and of the attributed outputs at
        its end: |up + down - 2 base| / |up - down|, the mean over directions. 0 where a change
        acts in proportion; 1 where the two ends have nothing to do with each other.
    """

    first: int
    last: int
    parameters: float
    outputs: float


def stretches(
    training: Training, starts: Sequence[int], n_steps: int, directions: torch.Tensor, h: float
) -> list[Stretch]:
    """Take a training on from some of its states, with the weights of its examples changed.

    Parameters
    ----------
    starts : steps, ascending
        Those of the recorded training: the changed weights act from there on.
    n_steps : int
        Of a stretch; the last ones may be cut short by the training's end.
    directions : Tensor, shape (direction, train)
    h : float
        Size of the change along a direction.

    Notes
    -----
    Taken in float64, which is more than the differences need, unless the training draws random
    numbers, which differ in another precision.
    """
    steps, wanted = list(training.steps()), set(starts)
    wide = training if training.draws is not None else training.in_dtype(torch.float64)
    flat = wide.start()
    products = LossProducts(wide, flat)
    found = []
    for step, state in enumerate(states_in_order(training, training.start(), steps)):
        if step not in wanted or step >= len(steps):
            continue
        last = min(step + n_steps, len(steps))
        state = tuple(part.to(flat.theta.dtype) for part in state)

        def end(weights, state=state, first=step, last=last):
            rule: Any = apart(training.optimizer)
            for k in range(first, last):
                share, batch = wide.slot_weight(k), steps[k][1]
                own = weights if batch is None else weights[batch]
                loss = products.of(batch, own if share is None else own * share.to(own), k)
                given = loss.gradient if rule.generic else loss.gradient(state[0])
                state = rule.step(state, given, k, rule.lr_at(k, len(steps)))
            return state[0]

        ones = torch.ones(training.n_train, dtype=flat.theta.dtype, device=flat.theta.device)
        base, bends = end(ones), []
        for direction in directions.to(ones):
            ends = base, end(ones + h * direction), end(ones - h * direction)
            bends.append([_bend(*ends), _bend(*(_outputs(wide, flat, theta) for theta in ends))])
        found.append(
            Stretch(step, last, *torch.tensor(bends, dtype=torch.float64).mean(0).tolist())
        )
    return found


def apart(rule):
    """A rule that learns what an optimizer remembers by itself, not for the training's own."""
    rule = copy.copy(rule)
    if isinstance(rule, OptimizerStep):
        rule.forget_shared()
    return rule


def _outputs(training: Training, flat: FlatModel, theta: torch.Tensor) -> torch.Tensor:
    rested = flat if training.draws is None else training.at_rest()
    few = slice(_OUTPUTS)
    with torch.no_grad():
        answers = rested(theta, training.test_inputs[few])
        return training.output(answers, training.test_labels[few])


def _bend(base: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> float:
    first, second = (up - down).norm(), (up + down - 2 * base).norm()
    return float(second / first)
