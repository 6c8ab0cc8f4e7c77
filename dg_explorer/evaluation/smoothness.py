"""Does training answer small changes of its data in a predictable way?

`metasmoothness` trains again with changed weights; `derivative_error` looks ahead from recorded
states for some steps, where training again costs too much.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr

from ..arguments import REQUIRED, checked
from ..errors import SettingError
from ..record.run import as_run
from ..training.look_ahead import stretches
from ..training.many import train_many
from ..training.training import Training
from .settings import check_count, check_given


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
    progress: Callable[[float], None] | None = None,
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
    progress : callable ``(share)``, optional
        Called at each recorded epoch with the share of them that is done.

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
        if progress:
            progress(len(rows) / len(training.recorded_epochs()))

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


@checked
def derivative_error(
    run=None,
    *,
    training: Training = REQUIRED,
    h: float = 0.05,
    n_steps: int | None = None,
    moments: int = 4,
    directions: int = 2,
    seed: int = 0,
) -> xr.Dataset:
    """How far exact scores are off at least, for a change of size h, without training again.

    From the start and from some recorded moments the training is taken on for a few steps with
    the weights of all examples changed by +h v and by -h v, where v is +1 or -1 at random. The
    second difference of the ends over the first is what a derivative misses. It is a lower bound:
    a change that has acted longer, from the start on, bends further, which `metasmoothness`
    measures by training again.

    Parameters
    ----------
    run : Run, optional
        The result is kept in it as ``checks/derivative_error/<n>``, beside earlier ones.
    training : Training
        `training_of_run` makes one from a run; dropout, clipping and accumulation are followed.
    h : float
        Size of the change of each weight.
    n_steps : int, optional
        Of a look-ahead; default a twentieth of the training, at least 10. All together take
        ``moments (1 + 2 directions) n_steps`` steps.
    moments : int
        Look-aheads: the first from the start, the others from recorded moments, evenly chosen.
    directions : int
        Random v to average over.

    Returns
    -------
    Dataset
        ``derivative_error`` over (epoch): the largest of the parameters' and outputs' relative
        error in the look-aheads that began before the epoch. About 0 where a change acts in
        proportion; 1 where what +h does says nothing about what -h does. Over (look_ahead): the
        steps ``first`` and ``last``, and the errors of ``parameters`` and ``outputs``.
    """
    run = None if run is None else as_run(run)
    check_given("derivative_error", training)
    if not 0 < h < 1:
        raise SettingError(f"h={h!r}: how much the weights of examples change, between 0 and 1.")
    for name, value in (("moments", moments), ("directions", directions)):
        check_count(name, value)
    of_step = np.array([epoch for epoch, _ in training.steps()], dtype=int)
    length = max(10, len(of_step) // 20) if n_steps is None else check_count("n_steps", n_steps)
    epochs = np.array(sorted(epoch for epoch in training.record_at if epoch > 0), dtype=int)
    if not len(epochs):
        raise SettingError("derivative_error needs a recorded epoch after the start of training.")
    ends = np.searchsorted(of_step, epochs)  # steps taken at each
    chosen = ends[np.linspace(0, len(ends) - 1, moments + 1).round().astype(int)[:-1]][1:]
    starts = np.unique([0, *chosen[chosen < len(of_step)]])
    rng = np.random.default_rng(seed)
    v = torch.as_tensor(rng.choice([-1.0, 1.0], size=(directions, training.n_train)))
    found = stretches(training, starts.tolist(), length, v, h)
    worst = [
        max(max(s.parameters, s.outputs) for s in found if s.first < end) for end in ends.tolist()
    ]
    result = xr.Dataset(
        {
            "derivative_error": ("epoch", worst),
            "parameters": ("look_ahead", [s.parameters for s in found]),
            "outputs": ("look_ahead", [s.outputs for s in found]),
            "first": ("look_ahead", [s.first for s in found]),
            "last": ("look_ahead", [s.last for s in found]),
        },
        coords={"epoch": training.recorded_as(epochs), "look_ahead": np.arange(len(found))},
        attrs={"h": h, "n_steps": length, "directions": directions, "seed": seed},
    )
    if run is not None:
        run.keep("checks/derivative_error", result)
    return result
