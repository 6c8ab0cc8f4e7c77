"""`Clipping`: gradients made shorter before a step, as torch and the trainers do it."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ...errors import SettingError

# what torch.nn.utils.clip_grad_norm_ adds to a norm, lest it divide by zero
_LEAST = 1e-6


class Clipping:
    """What `clip_grad_norm_` or `clip_grad_value_` does to the gradients, with its derivative.

    A `change_gradient` for `OptimizerStep`: operation by operation as torch does it, so that a
    replay keeps its bits, and differentiable, for a gradient that is clipped also turns.

    Parameters
    ----------
    norm : float, optional
        The largest L2 norm of all gradients together.
    value : float, optional
        The largest entry of any, instead.
    """

    #: keeps nothing from step to step, so that a checkpoint holds all there is
    stateless = True

    def __init__(self, *, norm: float | None = None, value: float | None = None):
        given = [limit for limit in (norm, value) if limit is not None]
        if len(given) != 1 or not given[0] > 0:
            raise SettingError(f"Clipping by norm={norm} and value={value}: give one, above 0.")
        self.norm, self.value = norm, value
        self.__qualname__ = f"Clipping(norm={norm}, value={value})"

    def __call__(self, gradients: Mapping[str, torch.Tensor], theta, memory) -> dict:
        """The clipped gradients by parameter name."""
        if self.value is not None:
            return {n: g.clamp(min=-self.value, max=self.value) for n, g in gradients.items()}
        # an absent gradient adds nothing, and the norm of zeros has no derivative
        norms = [torch.linalg.vector_norm(g) for g in gradients.values() if bool(g.any())]
        if not norms:
            return dict(gradients)
        factor = self.factor(torch.linalg.vector_norm(torch.stack(norms)))
        return {n: g * factor for n, g in gradients.items()}

    def factor(self, total: torch.Tensor) -> torch.Tensor:
        """What a gradient of this norm is multiplied by."""
        limit = torch.inf if self.norm is None else self.norm
        return torch.clamp(limit / (total + _LEAST), max=1.0)

    def settings(self) -> dict[str, float]:
        """For the record; `Clipping(**settings)` is the same again."""
        both = {"norm": self.norm, "value": self.value}
        return {name: limit for name, limit in both.items() if limit is not None}
