"""Damping and solve: the ridge, its choice, and (K + damping I)^-1 in float64.

The ridge is read off the checkpoint, without training again. Where training with a ridge l has
come to rest, what is left of the loss gradients is what the ridge takes: sum_j w_j g_j = l theta,
with g_j the gradient of the margin and w_j = 1 - p_j. In the linearised model g_i'theta is the
margin, so the product of both sides with sum_i w_i g_i gives l = |sum_j w_j g_j|^2 / sum_i w_i m_i
for margins m_i. Training that was cut short rests on no ridge but behaves as if it did (Ali,
Kolter, Tibshirani 2019), and the same ratio measures that one.

A ridge acts on each direction by itself, but the mean curvature of an example is a sum over
directions. Gradients spread over about D = (tr K)^2 / tr K^2 of them, with K the kernel: few where
there are two classes, many where hardly two examples have anything in common. So l is taken
relative to the mean curvature times D.

The rest was found by trying, on trainings from two classes to 23, on other subsets than
`evaluation.damping_choice` compares the choice with grids on. All margins count as one size, which
FOLD stands for: with their own, mislabelled examples that a network has not learned cancel the
others. FOLD also holds what LDS likes above the ridge itself: one checkpoint's kernel is not that
of the next, least of all in its weak directions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ...errors import DataError, SettingError

# times the mean of the kernel's diagonal, for outputs with another weight than 1 - p
DEFAULT_RELATIVE = 1.0
FOLD = 10.0
# above, scores are plain products of gradients; below, solves amplify the rounding of gradients
# kept in float32
LOWEST, HIGHEST = 1e-2, 100.0


def check_damping(damping) -> None:
    """Raise `SettingError` unless damping is "auto", a number above zero, or ("absolute", one)."""
    if damping == "auto":
        return
    value = damping[1] if _is_absolute(damping) else damping
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value < float("inf"):
        raise SettingError(
            f"damping={damping!r} is neither 'auto' nor a number above 0. A number is relative: "
            f"times the mean diagonal of the kernel, so 1.0 is a strong and 1e-3 a weak ridge. "
            f"damping=('absolute', 1e-3) adds 1e-3 itself to the sum over the training examples."
        )


def _is_absolute(damping) -> bool:
    return isinstance(damping, (tuple, list)) and len(damping) == 2 and damping[0] == "absolute"


def resting_damping(
    weight: torch.Tensor,
    squared_length: torch.Tensor,
    left_over: torch.Tensor | float,
    squared_kernel: torch.Tensor | float,
) -> float:
    """The ridge a classifier's training came to rest on, relative to its mean curvature.

    Parameters
    ----------
    weight : shape (example,), 1 - p of the right class
    squared_length : shape (example,), |g_i|^2 of the gradients of the margins
    left_over : |sum_i w_i g_i|^2, the squared length of the gradient of the total loss
    squared_kernel : sum over pairs of (g_i'g_j)^2

    Returns
    -------
    float
        Between .01 and 100.

    References
    ----------
    Ali, Kolter, Tibshirani (2019), "A Continuous-Time View of Early Stopping for Least Squares
    Regression", AISTATS.
    """
    w, squared_length = weight.double(), squared_length.double()
    curvature = float((w * (1 - w) * squared_length).mean())
    directions = float(squared_length.sum()) ** 2 / max(float(squared_kernel), 1e-300)
    held_down = float(w.sum()) * curvature * directions
    if not held_down > 0:
        return HIGHEST
    return min(max(FOLD * float(left_over) / held_down, LOWEST), HIGHEST)


def damping_of_features(
    features: torch.Tensor, weight: torch.Tensor | None, system: torch.Tensor, damping="auto"
) -> float:
    """What is added to Z'Z, or to ZZ', of features Z: the same ridge as the kernel's.

    Parameters
    ----------
    features : shape (example, dim)
    weight : shape (example,), 1 - p, from which "auto" chooses; without it "auto" is
        the mean squared length of the features
    system : float64, Z'Z or ZZ'
    """
    chosen = DEFAULT_RELATIVE
    if weight is not None and damping == "auto":
        if not bool(((weight >= 0) & (weight <= 1)).all()):
            raise SettingError(
                f"Weights run from {float(weight.min()):.3g} to {float(weight.max()):.3g}, but "
                f"damping='auto' takes them for 1 - p, between 0 and 1. Give damping= a number."
            )
        lengths = torch.linalg.vector_norm(features, dim=1).double().square()
        left_over = (weight.to(features) @ features).double().square().sum()
        chosen = resting_damping(weight, lengths, left_over, system.norm() ** 2)
    # the mean diagonal of ZZ' is the trace of either product over the examples
    scale = (system.diagonal().sum() / len(features)).reshape(1, 1)
    return absolute_damping(scale, damping, chosen)


def absolute_damping(
    kernel: torch.Tensor, damping="auto", chosen: float = DEFAULT_RELATIVE
) -> float:
    """What is added to the diagonal: `damping` times the mean of the diagonal.

    "auto" stands for the relative damping `chosen`; ("absolute", x) for x, whatever the diagonal.

    Raises
    ------
    DataError
        Every gradient is zero, so that no ridge has a scale.
    """
    scale = float(kernel.diagonal().double().mean())
    if not scale > 0:
        raise DataError(
            "Every training gradient is zero, so there is nothing to attribute. Are all the "
            "attributed layers used by the model, and is the loss not saturated?"
        )
    if _is_absolute(damping):
        return float(damping[1])
    relative = chosen if damping == "auto" else float(damping)
    return relative * scale


def damped_solve(kernel: torch.Tensor, right: torch.Tensor, added: float) -> torch.Tensor:
    """(K + added I)^-1 applied to the rows of `right`, by Cholesky in float64.

    Parameters
    ----------
    kernel : shape (n, n), symmetric and positive semi-definite
    right : shape (m, n)

    Returns
    -------
    float64, shape (m, n)
    """
    return damped_solver(kernel, added)(right)


def damped_solver(
    kernel: torch.Tensor, added: float, *, overwrite: bool = False
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The function right -> `damped_solve(kernel, right, added)`; it does not hold the kernel.

    With `overwrite`, a float64 kernel is written to: n x n doubles less in memory.
    """
    system = kernel.double()
    if system is kernel and not overwrite:
        system = kernel.clone()
    system.diagonal().add_(added)
    factor, failed = torch.linalg.cholesky_ex(system)
    if not int(failed):
        return lambda right: torch.cholesky_solve(right.double().T, factor).T
    # rounding of a float32 kernel made it indefinite by more than the ridge
    values, vectors = torch.linalg.eigh(system - added * torch.eye(len(system)).to(system))
    values = values.clamp(min=0) + added
    return lambda right: (right.double() @ vectors / values) @ vectors.T


def leverage(solve: Callable[[torch.Tensor], torch.Tensor], n: int, added: float, device):
    """The diagonal of K (K + added I)^-1, float64, shape (n,): how far each example is its own.

    It is 1 - added times the diagonal of the inverse, so K is not needed any more. `solve` is what
    `damped_solver` returned; the cost is that of scores for n test examples, without their kernel.
    """
    own = []
    for start in range(0, n, 256):
        rows = torch.arange(start, min(start + 256, n), device=device)
        one_hot = torch.zeros(len(rows), n, dtype=torch.float64, device=device)
        one_hot[torch.arange(len(rows), device=device), rows] = 1
        own.append(solve(one_hot)[:, rows].diagonal())
    return 1 - added * torch.cat(own)
