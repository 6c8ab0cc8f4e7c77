"""Exact influence averaged over subsets: what to expect of removing several examples at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
import torch
import xarray as xr

from dg_explorer.attribution.unrolled import UnrolledAttributor
from dg_explorer.attribution.unrolled_training import Training
from dg_explorer.errors import SettingError


def smoothed_scores(
    training: Training,
    test: Sequence[int] | None = None,
    epochs: Sequence[int] | None = None,
    *,
    drop: float,
    draws: int = 4,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    **settings,
) -> xr.Dataset:
    """Mean of the exact scores of trainings that each lack a random share of the examples.

    The derivative at the full training set says what an infinitely small change does. Removing
    a share of the examples is a change of finite size, for which the best linear forecast is
    the derivative averaged over such changes.

    Parameters
    ----------
    drop : float
        Share of the examples that each draw lacks: that of the removals to be foretold.
    draws : int
        Each costs one `UnrolledAttributor.attribute`. In turn they leave out different
        examples, until all have been left out.
    progress : callable ``(done, total)``
        Called after each draw.
    **settings
        Of `UnrolledAttributor`: ``dtype``, ``memory``.

    Returns
    -------
    Dataset
        ``score`` over (epoch, test, train), and ``spread``: its standard deviation over draws.

    References
    ----------
    Stein (1981), "Estimation of the Mean of a Multivariate Normal Distribution", lemma 2: the
    mean derivative is the coefficient of the best linear fit.
    """
    if not 0 <= drop < 1 or draws < 1:
        raise SettingError(f"drop={drop} must be in [0, 1) and draws={draws} at least 1.")
    found = []
    for done, left_out in enumerate(_left_out(training.n_train, drop, draws, seed)):
        weights = torch.ones(training.n_train, dtype=training.start().theta.dtype)
        weights[left_out] = 0
        here = UnrolledAttributor(training.with_changes(weights=weights), **settings)
        found.append(here.attribute(test, epochs))
        if progress:
            progress(done + 1, draws)
    result = found[0].copy()
    values = np.stack([draw["score"].values for draw in found])
    result["score"] = (("epoch", "test", "train"), values.mean(0))
    result["spread"] = (("epoch", "test", "train"), values.std(0))
    chosen = {"drop": drop, "draws": draws, "seed": seed}
    result.attrs["settings"] = json.dumps(json.loads(result.attrs["settings"]) | chosen)
    result.attrs["method"] = "unrolled_smoothed"
    return result


def _left_out(n: int, drop: float, draws: int, seed: int):
    """Positions that each draw lacks: shuffled examples dealt out one share after another."""
    rng = np.random.default_rng(seed)
    share, dealt = round(drop * n), np.array([], dtype=int)
    for _ in range(draws):
        if len(dealt) < share:
            dealt = rng.permutation(n)
        yield dealt[:share]
        dealt = dealt[share:]
