"""Damping and solve: the ridge, its choice, and (K + damping I)^-1 in float64."""

from __future__ import annotations

import torch

from ..errors import DataError, SettingError

# times the mean of the kernel's diagonal
DEFAULT_RELATIVE = 1.0


def check_damping(damping) -> None:
    """Raise `SettingError` unless damping is "auto" or a number above zero."""
    if damping == "auto":
        return
    if isinstance(damping, bool) or not isinstance(damping, (int, float)) or not damping > 0:
        raise SettingError(
            f"damping={damping!r} is neither 'auto' nor a number above 0. It is relative: times "
            f"the mean diagonal of the kernel, so 1.0 is a strong and 1e-3 a weak ridge."
        )


def absolute_damping(kernel: torch.Tensor, damping="auto") -> float:
    """What is added to the diagonal: `damping` times the mean of the diagonal.

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
    relative = DEFAULT_RELATIVE if damping == "auto" else float(damping)
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
    system = kernel.double().clone()
    system.diagonal().add_(added)
    factor, failed = torch.linalg.cholesky_ex(system)
    if int(failed):
        # rounding of a float32 kernel made it indefinite by more than the ridge
        values, vectors = torch.linalg.eigh(system - added * torch.eye(len(system)).to(system))
        values = values.clamp(min=0) + added
        return (right.double() @ vectors / values) @ vectors.T
    return torch.cholesky_solve(right.double().T, factor).T
