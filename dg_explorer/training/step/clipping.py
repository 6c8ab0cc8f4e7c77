"""`Clipping`: gradients made shorter before a step, as torch and the trainers do it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    each : list of lists of parameter names, optional
        Groups that are clipped each by its own norm, such as those of two optimizers; others are
        left alone. Default: all parameters together.
    """

    #: keeps nothing from step to step, so that a checkpoint holds all there is
    stateless = True

    def __init__(
        self,
        *,
        norm: float | None = None,
        value: float | None = None,
        each: Sequence[Sequence[str]] | None = None,
    ):
        given = [limit for limit in (norm, value) if limit is not None]
        if len(given) != 1 or not given[0] > 0:
            raise SettingError(f"Clipping by norm={norm} and value={value}: give one, above 0.")
        self.norm, self.value = norm, value
        self.each = None if each is None else [list(names) for names in each]
        apart = "" if each is None else f", each={self.each}"
        self.__qualname__ = f"Clipping(norm={norm}, value={value}{apart})"

    def __call__(self, gradients: Mapping[str, torch.Tensor], theta, memory) -> dict:
        """The clipped gradients by parameter name."""
        clipped = dict(gradients)
        for names in [list(gradients)] if self.each is None else self.each:
            unknown = [name for name in names if name not in gradients]
            if unknown:
                raise SettingError(
                    f"Clipping(each=...) names {unknown[0]!r}, which does not train."
                )
            clipped |= self._together({name: gradients[name] for name in names})
        return clipped

    def _together(self, gradients: Mapping[str, torch.Tensor]) -> dict:
        """Gradients clipped by one norm."""
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

    def settings(self) -> dict:
        """For the record; `Clipping(**settings)` is the same again."""
        all_of_them = {"norm": self.norm, "value": self.value, "each": self.each}
        return {name: given for name, given in all_of_them.items() if given is not None}
