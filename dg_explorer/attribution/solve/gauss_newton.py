"""The inverse Gauss-Newton matrix, exactly, from kernels alone.

With rows a_r whose squares sum to the Gauss-Newton matrix, A'A, Woodbury's identity gives
q'(A'A + l I)^-1 v = [q'v - q'A' (A A' + l I)^-1 A v] / l: only inner products are needed, and
a system as large as there are rows, however many parameters.
"""

from __future__ import annotations

import torch

from ...errors import NonFiniteError
from ..gradients.factors import Factor
from ..gradients.joining import concatenate
from ..projections.kernel import diagonal, gram
from .damping import absolute_damping
from .solvers import leading_eigenpairs, solve

# rows that add less than this share to the trace are left out
NEGLIGIBLE = 1e-3
MOST_ROWS = 12_000


def stacked_rows(rows: list[list[Factor]]) -> tuple[list[Factor], torch.Tensor]:
    """All curvature rows of all examples as one list of factors, without negligible ones.

    Returns
    -------
    layers : factors, one "example" a row
    trace : float64 scalar, of the whole Gauss-Newton matrix before anything is left out
    """
    layers = concatenate(rows)
    weight = diagonal(layers)
    trace = weight.sum()
    if not torch.isfinite(trace):
        raise NonFiniteError("The Gauss-Newton matrix is not finite; the gradients overflow.")
    ordered, order = weight.sort(descending=True, stable=True)
    needed = int((ordered.cumsum(0) < (1 - NEGLIGIBLE) * trace).sum()) + 1
    # equal examples stay together: whatever ties with the last one kept is kept too
    limit = ordered[min(needed, len(ordered)) - 1] * (1 - 1e-4)
    keep = order[ordered >= limit][:MOST_ROWS].sort().values
    return [f.take(keep) for f in layers], trace


def gauss_newton_scores(
    rows: list[list[Factor]],
    ascent: list[Factor],
    test: list[Factor],
    damping,
    solver: str = "exact",
    steps: int = 1000,
) -> tuple[torch.Tensor, float]:
    """q' (A'A + damping I)^-1 v for every test gradient q and train direction v.

    Parameters
    ----------
    rows : [row][layer] factors of the curvature, one row of every training example each
    ascent : factors of minus the gradient of the loss, by training example
    test : factors of the gradient of the output, by test example
    damping : "auto" or float
        Relative to the mean over examples of the trace of their part of the curvature.
    solver : "exact", "cg", "lissa", or "arnoldi", which keeps only the leading `steps`
        eigenvectors of the curvature

    Returns
    -------
    scores : float64, shape (n_test, n_train)
    added : the absolute damping
    """
    layers, trace = stacked_rows(rows)
    kernel = gram(layers).double()
    added = absolute_damping((trace / len(ascent[0]))[None, None], damping)
    left, right = gram(test, layers).double(), gram(layers, ascent).double()
    if solver == "arnoldi":
        # eigenvector w of A A' with value m is A'w / sqrt(m) of A'A, with the same value
        values, vectors = leading_eigenpairs(kernel, steps)
        kept = values > 1e-9 * values[0]
        values, vectors = values[kept], vectors[:, kept]
        return ((left @ vectors) / (values * (values + added))) @ (vectors.T @ right), added
    solved = solve(kernel, left, added, solver, steps=steps)
    return (gram(test, ascent).double() - solved @ right) / added, added
