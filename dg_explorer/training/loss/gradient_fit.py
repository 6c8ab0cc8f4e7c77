"""What became of a gradient between the loss and the optimizer: nothing, a factor, or more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

Tensors = Sequence[torch.Tensor]


@dataclass(frozen=True)
class GradientFit:
    """The gradient that the optimizer was given, against that of the loss.

    Attributes
    ----------
    factor : float
        The multiple of the loss's gradient that comes nearest to what the optimizer was given.
    left : float
        What that multiple does not explain, as a share of what the optimizer was given.
    allowed : float
        What rounding may leave.
    kind : "same", "scaled", "other" or "unknown"
    words : str
        What was found, by its pattern where it has one.
    """

    factor: float
    left: float
    allowed: float
    kind: str
    words: str


def fit_gradient(given: Tensors, of_loss: Tensors, parameters: Tensors) -> GradientFit:
    """Compare two gradients, tensor by tensor and as a whole.

    Parameters
    ----------
    given : list of Tensor
        What the optimizer was given, one a parameter.
    of_loss : list of Tensor
        Derivative of the loss of the step's answers by the same parameters.
    parameters : list of Tensor
        The parameters themselves, for a penalty on them.
    """
    given, of_loss = ([t.detach() for t in tensors] for tensors in (given, of_loss))
    eps = max((torch.finfo(p.dtype).eps for p in parameters), default=1e-7)
    # Devices add up a batch in another order each time; half precision rounds every sum.
    allowed = max(1e-5, 4 * eps)
    size, own = _norm(given), _norm(of_loss)
    if size == 0 or own == 0 or not all(torch.isfinite(t).all() for t in given):
        return GradientFit(float("nan"), float("nan"), allowed, "unknown", "no gradient to compare")
    factor = _dot(given, of_loss) / own**2
    left = _norm([g.sub(h, alpha=factor) for g, h in zip(given, of_loss, strict=True)]) / size
    if left <= allowed:
        if abs(factor - 1) <= 10 * allowed:
            return GradientFit(factor, left, allowed, "same", "the optimizer got the loss's slope")
        how = (
            f"the gradient was {'shrunk' if factor < 1 else 'stretched'} to {factor:.4g} of the "
            f"loss's before the step, to a norm of {size:.4g} (clipping, or a factor on the loss)"
        )
        return GradientFit(factor, left, allowed, "scaled", how)
    words = (
        _penalty(given, of_loss, parameters, allowed)
        or _by_tensor(given, of_loss, allowed)
        or f"something was added to the gradient or taken from it between backward and step: "
        f"{left:.0%} of it is not the loss's (a filter, noise, a projection, a penalty)"
    )
    return GradientFit(factor, left, allowed, "other", words)


def _penalty(given, of_loss, parameters, allowed) -> str | None:
    """A penalty on the size of the weights, whole or tensor by tensor."""
    rest = [g - h for g, h in zip(given, of_loss, strict=True)]
    for name, slope in (
        ("the weights themselves: an L2 penalty in the loss", lambda p: p),
        ("the signs of the weights: an L1 penalty in the loss", torch.sign),
    ):
        toward = [slope(p.detach()) for p in parameters]
        sizes = [float((d * d).sum()) for d in toward]
        factors = [
            float((r * d).sum()) / s if s else 0.0
            for r, d, s in zip(rest, toward, sizes, strict=True)
        ]
        off = [r - f * d for r, f, d in zip(rest, factors, toward, strict=True)]
        # Single numbers are multiples of anything: a pattern must explain whole tensors.
        judged = sum(p.numel() for p in parameters) > 3 * len(parameters)
        if judged and _norm(off) / _norm(given) <= 10 * allowed:
            strongest = max(factors, key=abs)
            return f"the gradient is the loss's plus {strongest:.3g} times {name}"
    return None


def _by_tensor(given, of_loss, allowed) -> str | None:
    """Each tensor's gradient scaled by a factor of its own (layer-wise clipping or rates)."""
    factors, off = [], []
    for g, h in zip(given, of_loss, strict=True):
        square = float((h * h).sum())
        factor = float((g * h).sum()) / square if square else 0.0
        factors.append(factor)
        off.append(g - factor * h)
    if _norm(off) / _norm(given) <= allowed:
        low, high = min(factors), max(factors)
        return f"each tensor's gradient was scaled by itself, by {low:.3g} to {high:.3g}"
    return None


def _norm(tensors: Tensors) -> float:
    """Without a copy in float64: the tensors may be as large as the model."""
    norms = torch.stack([n.double().cpu() for n in torch.ops.aten._foreach_norm(tensors)])
    return float(norms.norm())


def _dot(a: Tensors, b: Tensors) -> float:
    dots = [torch.dot(x.flatten(), y.flatten()).double() for x, y in zip(a, b, strict=True)]
    return float(torch.stack([dot.cpu() for dot in dots]).sum())
