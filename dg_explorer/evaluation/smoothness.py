"""Metasmoothness: does training answer small changes of its data in a predictable way?"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from ..arguments import REQUIRED, checked
from ..errors import SettingError
from ..record.run import as_run
from ..training.many import train_many
from ..training.training import Training
from .settings import check_given


def sign_agreement(base: torch.Tensor, once: torch.Tensor, twice: torch.Tensor) -> torch.Tensor:
    """How far two successive finite differences of the parameters agree in sign, -1 to 1.

    Parameters
    ----------
    base : Tensor, shape (parameter,)
        Parameters after training with weights w.
    once, twice : Tensor, shape (direction, parameter)
        After training with w + h v and with w + 2 h v.

    Returns
    -------
    Tensor, shape (direction,)
        Share of parameters whose two differences have one sign, less the share where they have
        opposite signs, each weighted by how far the first difference moved it: 1 is smooth, 0
        what noise would give. NaN where nothing moved.

    References
    ----------
    Engstrom et al. (2025), "Optimizing ML Training with Metagradient Descent",
    arXiv 2503.13751, definition of empirical metasmoothness.
    """
    first, second = once - base, twice - once
    moved = first.abs()
    return (torch.sign(first) * torch.sign(second) * moved).sum(-1) / moved.sum(-1)


@checked
def metasmoothness(
    run=None,
    *,
    training: Training = REQUIRED,
    h: float = 0.05,
    directions: int = 4,
    seed: int = 0,
) -> xr.Dataset:
    """The metasmoothness of a training at each of its recorded epochs.

    Trains 1 + 2 `directions` models at once, with example weights w, w + h v and w + 2 h v,
    where v is +1 or -1 at random for each example.

    Parameters
    ----------
    run : Run, optional
        The result is kept in it as ``checks/metasmoothness/<n>``, beside earlier ones.
    training : Training
        `training_of_run` makes one from a run.
    h : float
        Size of the change of each weight.
    directions : int
        Random v to average over.

    Returns
    -------
    Dataset
        ``metasmoothness`` over (epoch), with ``metasmoothness_low`` and ``_high`` (the extremes
        over directions). At or above .9 derivatives may be read as causes; below .5 they may
        not. NaN at the start, where nothing has moved.
    """
    run = None if run is None else as_run(run)
    check_given("metasmoothness", training)
    if not 0 < h < 1:
        raise SettingError(f"h={h!r}: how much the weights of examples change, between 0 and 1.")
    rng = np.random.default_rng(seed)
    v = torch.as_tensor(rng.choice([-1.0, 1.0], size=(directions, training.n_train)))
    theta = training.start().theta
    weights = torch.cat([torch.zeros_like(v[:1]), h * v, 2 * h * v]).add(1).to(theta.dtype)
    rows = []

    def measure(_, after):
        once, twice = after[1:].split(directions)
        rows.append(sign_agreement(after[0], once, twice).double().numpy())

    train_many(training, weights, theta.expand(len(weights), -1), on_epoch=measure)
    by_direction = np.stack(rows)
    result = xr.Dataset(
        {
            "metasmoothness": ("epoch", by_direction.mean(1)),
            "metasmoothness_low": ("epoch", by_direction.min(1)),
            "metasmoothness_high": ("epoch", by_direction.max(1)),
        },
        coords={"epoch": training.recorded_epochs()},
        attrs={"h": h, "directions": directions, "seed": seed},
    )
    if run is not None:
        run.keep("checks/metasmoothness", result)
    return result
