"""Ridge regression features of explicit gradients: G (G'G + lambda)^-1, however long G is."""

from __future__ import annotations

import numpy as np
import torch

from .damping import DEFAULT_RELATIVE, absolute_damping, resting_damping

RIDGE_AUTO = "auto"
BLOCK = 8192


def ridge_features(
    grads: np.ndarray,
    out: np.ndarray,
    ridge: float | None,
    device: torch.device | str = "cpu",
    *,
    weight: np.ndarray | None = None,
) -> float:
    """Write G (G'G + ridge I)^-1 into `out`, block by block, solved in float64.

    Parameters
    ----------
    grads, out : shape (example, width); may be memory-mapped
    ridge : float, optional
        By default chosen from the data; 0 means the pseudo-inverse.
    weight : shape (example,), optional
        1 - p of a classifier's answers, from which to choose; without it the ridge is the mean
        squared length of the gradients.

    Returns
    -------
    float
        The ridge that was added.
    """
    n, width = grads.shape
    wide = width > n
    system = _outer(grads, device) if wide else _inner(grads, device)
    if ridge is None:
        # the mean diagonal of GG' is the trace of either product over the examples
        scale = system.diagonal().sum() / n
        chosen = DEFAULT_RELATIVE if weight is None else _resting(grads, weight, system)
        ridge = absolute_damping(scale.reshape(1, 1), "auto", chosen)
    inverse = damped_inverse(system, float(ridge))
    if wide:
        for start in range(0, width, BLOCK):
            columns = slice(start, start + BLOCK)
            out[:, columns] = (inverse @ _tensor(grads[:, columns], device)).cpu().numpy()
    else:
        for start in range(0, n, BLOCK):
            rows = slice(start, start + BLOCK)
            out[rows] = (_tensor(grads[rows], device) @ inverse).cpu().numpy()
    return float(ridge)


def _resting(grads, weight: np.ndarray, system: torch.Tensor) -> float:
    squared, device = [], system.device
    total = torch.zeros((), dtype=system.dtype, device=device)
    for start in range(0, len(grads), BLOCK):
        block = _tensor(grads[start : start + BLOCK], device)
        squared.append(block.square().sum(1))
        total = total + _tensor(weight[start : start + BLOCK], device) @ block
    left_over, squared_kernel = total.square().sum(), system.norm() ** 2
    return resting_damping(_tensor(weight, device), torch.cat(squared), left_over, squared_kernel)


def damped_inverse(system: torch.Tensor, ridge: float) -> torch.Tensor:
    """(S + ridge I)^-1 in float64; the pseudo-inverse where ridge is 0."""
    if ridge > 0:
        damped = system + ridge * torch.eye(len(system)).to(system)
        factor, failed = torch.linalg.cholesky_ex(damped)
        if not int(failed):
            return torch.cholesky_inverse(factor)
    values, vectors = torch.linalg.eigh(system)
    # below this a direction is rounding of gradients kept in float32
    keep = values > values[-1] * 1e-12 * len(values)
    inverse = torch.where(keep, 1 / torch.where(keep, values + ridge, 1.0), 0.0)
    return (vectors * inverse) @ vectors.T


def _inner(grads, device) -> torch.Tensor:
    total = torch.zeros(grads.shape[1], grads.shape[1], dtype=torch.float64, device=device)
    for start in range(0, len(grads), BLOCK):
        block = _tensor(grads[start : start + BLOCK], device)
        total += block.T @ block
    return total


def _outer(grads, device) -> torch.Tensor:
    total = torch.zeros(len(grads), len(grads), dtype=torch.float64, device=device)
    for start in range(0, grads.shape[1], BLOCK):
        block = _tensor(grads[:, start : start + BLOCK], device)
        total += block @ block.T
    return total


def _tensor(array, device) -> torch.Tensor:
    return torch.from_numpy(np.array(array)).to(device=device, dtype=torch.float64)
