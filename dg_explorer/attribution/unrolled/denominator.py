"""What an example's leaving does to a step: the denominator of its loss stays, or it follows.

*Fixed*: the weight of an example multiplies its own loss, and what the step divides by stays. The
derivative is additive: the score of a group is the sum of its members'.

*Follows*: the example is masked out of its batch, and what the step divides by becomes smaller. A
mean over n labels with gradient G turns into ``(n G - g_i) / (n - n_i)``, so the example's effect
is ``(g_i - n_i G) / (n - n_i)``, with g_i the gradient of its summed loss and n_i its labels. Both
are linear in the gradients of the examples, so one follows from the other.
"""

from __future__ import annotations

import torch

from ...errors import SettingError
from ...training.loss.trained_loss import Denominators
from ...training.training import Training

#: what each is called, and what it says
WORDS = {
    "fixed": "a little more of an example, what the loss is divided by held",
    "follows": "an example masked out of its batch, what the loss is divided by smaller by it",
}


class Following:
    """Turns derivatives with the denominator fixed into effects with a denominator that follows.

    Raises
    ------
    SettingError
        The record does not tell what the losses were divided by.
    """

    def __init__(self, training: Training):
        self.training = training
        self.denominators = training.denominators or Denominators(_ones(training))
        if self.denominators.over is None:
            raise SettingError(
                "denominator='follows' needs to know what the loss of a step was divided by, and "
                "this record does not tell: its weights fit no rule (class weights), or as well "
                "the labels of a whole step as those of each batch. Say it: dataclasses.replace("
                "training, denominators=dataclasses.replace(training.denominators, over='step'))."
            )

    def scores(self, step: int, batch, by_weight: torch.Tensor) -> torch.Tensor:
        """Effects of leaving, from slopes by the weights, both of shape (query, slot)."""
        group, share, alone = self._shares(step, batch, by_weight)
        sums = by_weight.new_zeros(len(by_weight), int(group.max()) + 1).index_add(
            1, group, by_weight
        )
        left = torch.where(alone, 1.0, 1 - share)
        return torch.where(alone, by_weight, (by_weight - share * sums[:, group]) / left)

    def directions(self, step: int, batch, rows: torch.Tensor) -> torch.Tensor:
        """Directions of the weights that act as these directions of leaving do: the transpose."""
        group, share, alone = self._shares(step, batch, rows)
        own = rows / torch.where(alone, 1.0, 1 - share)
        off = torch.where(alone, 0.0, share * own)
        sums = rows.new_zeros(len(rows), int(group.max()) + 1).index_add(1, group, off)
        return own - torch.where(alone, 0.0, sums[:, group])

    def _shares(self, step: int, batch, like: torch.Tensor):
        places = torch.arange(self.training.n_train) if batch is None else batch
        group, share = self.denominators.shares(step, places.cpu().numpy())
        share = torch.as_tensor(share).to(like)
        # a batch of one example has no mean without it: all of its gradient goes
        return torch.as_tensor(group).to(like.device), share, share >= 1


def _ones(training: Training):
    return torch.ones(training.n_train).double().numpy()
