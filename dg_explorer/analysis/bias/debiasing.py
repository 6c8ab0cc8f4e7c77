"""Drop the training examples that hold the worst groups back, and see whether it helped (D3M)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import xarray as xr

from ...arguments import checked
from ...errors import SettingError
from ...maths.debiasing import balanced_removal, most_harmful, worst_group


@checked
def debias(
    alignment: xr.DataArray,
    retrain: Callable,
    evaluate_groups: Callable,
    *,
    train_groups: np.ndarray,
    share: float = 0.1,
    n_random: int = 3,
    seed: int = 0,
) -> pd.DataFrame:
    """Retrain without the most harmful examples, without random ones, and without balanced ones.

    Parameters
    ----------
    alignment : DataArray (train)
        Negative = harms the worst groups. Made from test examples that `evaluate_groups` does not
        use, or the comparison would be judged by what it was tuned on.
    retrain : function (removed ids) -> model
    evaluate_groups : function (model) -> (correct, groups), one entry a held-out example
    train_groups : array, shape (train,)
        Group of each training example, for balanced removal.
    share : float
        At most this share is dropped; less where fewer examples are harmful.
    n_random : int
        Draws of random and of balanced removal.

    Returns
    -------
    DataFrame
        One row a training: removal ("none", "d3m", "random", "balanced"), draw, n_removed,
        worst_group_accuracy, worst_group, accuracy.
    """
    if not 0 < share < 1:
        raise SettingError(f"share is between 0 and 1, not {share!r}.")
    ids = alignment["train"].values
    most = int(share * len(ids))
    harmful = most_harmful(alignment.values, most=most)
    n = len(harmful)
    generator = np.random.default_rng(seed)
    removals = [("none", 0, np.empty(0, dtype=int)), ("d3m", 0, harmful)]
    for draw in range(n_random):
        removals.append(("random", draw, generator.permutation(len(ids))[:n]))
        balanced = balanced_removal(train_groups, remove=n, seed=seed + draw)
        removals.append(("balanced", draw, balanced))
    rows = []
    for name, draw, chosen in removals:
        correct, groups = evaluate_groups(retrain(ids[chosen]))
        lowest, which = worst_group(correct, groups)
        rows.append(
            {
                "removal": name,
                "draw": draw,
                "n_removed": len(chosen),
                "worst_group_accuracy": lowest,
                "worst_group": which,
                "accuracy": float(np.mean(correct)),
            }
        )
    return pd.DataFrame(rows)
