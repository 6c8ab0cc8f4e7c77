"""Log odds from logits: the one formula for how sure a model is of an answer."""

from __future__ import annotations

import torch


def margin(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """log p/(1-p) of the right class, from logits alone.

    Parameters
    ----------
    logits : shape (..., classes)
    labels : int64, shape (...)

    Returns
    -------
    shape (...)
        z_y - logsumexp of the other logits: finite where 1 - p rounds to zero.

    References
    ----------
    Park et al. (2023), "TRAK: Attributing Model Behavior at Scale", eq. 13.
    """
    right = logits.gather(-1, labels[..., None])
    others = logits.scatter(-1, labels[..., None], float("-inf"))
    return right[..., 0] - others.logsumexp(-1)


def margin_of_rows(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """`margin` of logits (example, class), without a graph and three times as fast.

    Classes first: sums over the short axis are then quicker, and may be taken in place.
    """
    others, row = logits.t().contiguous(), labels[None]
    own = others.gather(0, row)[0]
    others.scatter_(0, row, -torch.inf)
    highest = others.amax(0)
    return own - others.sub_(highest).exp_().sum(0).log_().add_(highest)


def loss_and_confidence(margin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """-log p in nats and p, from log p/(1-p): softplus(-m) and sigmoid(m) of one exponential."""
    small = (-margin.abs()).exp()
    loss = small.log1p() + (-margin).clamp(min=0)
    return loss, torch.where(margin >= 0, 1.0, small) / (1 + small)


def monte_carlo_rows(
    logits: torch.Tensor, counts: torch.Tensor, rows: int, temperature: float
) -> torch.Tensor:
    """Log-probabilities of answers drawn from the model, over sqrt(rows), shape (example, row).

    Their squared gradients sum, on average, to the Gauss-Newton matrix of the sum of the
    positions' losses. The numbers that draw them depend on position and row alone, so rows depend
    neither on the batch nor on chance.

    Parameters
    ----------
    logits : shape (example, position, class)
    counts : bool, shape (example, position)
        Which positions have a label.
    """
    log_p = (logits * temperature).log_softmax(-1)
    edges = log_p.detach().double().exp().cumsum(-1)
    position = torch.arange(1, counts.shape[1] + 1, device=logits.device).double()
    scalars = []
    for row in range(rows):
        u = torch.frac(position * 0.6180339887498949 + (row + 1) * 0.4142135623730951)
        drawn = (edges < (u * edges[..., -1])[..., None]).sum(-1).clamp(max=log_p.shape[-1] - 1)
        nats = log_p.gather(-1, drawn[..., None])[..., 0]
        scalars.append((nats * counts).sum(-1) / (temperature * rows**0.5))
    return torch.stack(scalars, -1)
