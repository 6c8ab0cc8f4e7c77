"""Solvers of (M + damping I) x = b for a symmetric M, and its leading eigenvectors.

All are deterministic and use the whole matrix, so scores depend on no batch and no seed.
"""

from __future__ import annotations

import torch

from ...errors import DGExplorerError, SettingError
from .damping import damped_solve

SOLVERS = ("exact", "cg", "lissa", "arnoldi")


class NotConvergedError(DGExplorerError, RuntimeError):
    """An iterative solver ran out of steps; the scores would be wrong."""


def solve(
    matrix: torch.Tensor,
    right: torch.Tensor,
    added: float,
    solver: str = "exact",
    *,
    steps: int = 1000,
    tolerance: float = 1e-6,
) -> torch.Tensor:
    """(M + added I)^-1 applied to the rows of `right`.

    Parameters
    ----------
    matrix : float64, shape (n, n), symmetric; positive semi-definite but for "exact"
    right : shape (m, n)
    solver : "exact" (Cholesky), "cg" (conjugate gradients, preconditioned by the diagonal) or
        "lissa" (the Neumann series of LiSSA, with every example in every step)
    steps, tolerance : of the iterative solvers; the tolerance is on the relative residual

    Raises
    ------
    NotConvergedError
        The residual is above the tolerance after `steps` steps.
    """
    if solver == "exact":
        return damped_solve(matrix, right, added)
    matrix, b = matrix.double(), right.double().T
    if solver == "cg":
        x, residual = _conjugate_gradients(matrix, b, added, steps, tolerance)
    elif solver == "lissa":
        x, residual = _neumann(matrix, b, added, steps, tolerance)
    else:
        raise SettingError(f"No solver {solver!r} here; there are {', '.join(SOLVERS)}.")
    if residual > tolerance:
        raise NotConvergedError(
            f"{solver} left a relative residual of {residual:.1e} after at most {steps} steps, "
            f"above {tolerance:g}. Raise damping= or steps=, or use solver='exact'."
        )
    return x.T


def _conjugate_gradients(matrix, b, added, steps, tolerance):
    """All right sides at once, each with step lengths of its own.

    Reference: Shewchuk (1994), "An Introduction to the Conjugate Gradient Method", B3.
    """
    scale = 1 / (matrix.diagonal() + added)[:, None]
    size = b.norm(dim=0).clamp(min=1e-300)
    x, r = torch.zeros_like(b), b.clone()
    z = scale * r
    p, rz = z.clone(), (r * z).sum(0)
    for _ in range(steps):
        mp = matrix @ p + added * p
        bend = (p * mp).sum(0)
        if bool((bend < 0).any()):
            raise NotConvergedError(
                "The damped curvature is not positive, so conjugate gradients cannot solve it. "
                "Raise damping=, or use solver='exact'."
            )
        alpha = rz / bend.clamp(min=1e-300)
        x += alpha * p
        r -= alpha * mp
        if float((r.norm(dim=0) / size).max()) <= tolerance:
            break
        z = scale * r
        new = (r * z).sum(0)
        p = z + (new / rz.clamp(min=1e-300)) * p
        rz = new
    r = b - matrix @ x - added * x
    return x, float((r.norm(dim=0) / size).max())


def _neumann(matrix, b, added, steps, tolerance):
    """x <- x + (b - (M + added) x) / s with s at least the largest eigenvalue.

    Reference: Agarwal, Bullins, Hazan (2017), "Second-Order Stochastic Optimization", JMLR.
    """
    # the largest row sum bounds the largest eigenvalue
    s = float(matrix.abs().sum(1).max()) + added
    size = b.norm(dim=0).clamp(min=1e-300)
    x, r = b / s, b
    for _ in range(steps):
        r = b - matrix @ x - added * x
        if float((r.norm(dim=0) / size).max()) <= tolerance:
            break
        x = x + r / s
    return x, float((r.norm(dim=0) / size).max())


def leading_eigenpairs(matrix: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The eigenvalues of largest size and their vectors, by Arnoldi's iteration.

    Returns
    -------
    values : float64, shape (k,), k <= rank, in descending size
    vectors : float64, shape (n, k)

    References
    ----------
    Schioppa, Zablotskaia, Vilar, Sokolov (2022), "Scaling Up Influence Functions", AAAI.
    """
    matrix = matrix.double()
    n = len(matrix)
    longest = min(n, 2 * rank + 20)
    # a start that is no eigenvector and does not depend on the order of equal examples
    start = matrix.diagonal() + matrix.sum(1)
    if not float(start.norm()) > 0:
        start = torch.ones_like(start)
    basis = [start / start.norm()]
    small = torch.zeros(longest, longest, dtype=torch.float64, device=matrix.device)
    scale = float(matrix.diagonal().abs().max()) + 1e-300
    for j in range(longest):
        w = matrix @ basis[j]
        q = torch.stack(basis)
        along = q @ w
        w = w - q.T @ along
        w = w - q.T @ (q @ w)  # twice is enough
        small[: j + 1, j] = along
        length = float(w.norm())
        if j + 1 == longest or length < 1e-10 * scale:
            longest = j + 1
            break
        small[j + 1, j] = length
        basis.append(w / length)
    small = small[:longest, :longest]
    values, vectors = torch.linalg.eigh((small + small.T) / 2)
    order = values.abs().argsort(descending=True)[:rank]
    return values[order], torch.stack(basis[:longest]).T @ vectors[:, order]
