"""Drop the training examples that hold the worst groups back, and see whether it helped (D3M)."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from ...arguments import checked
from ...errors import SettingError
from ...maths.debiasing import advantage, balanced_removal, most_harmful, worst_group

SEEDS = tuple(range(6))


@checked
def debias(
    alignment: xr.DataArray,
    retrain: Callable,
    evaluate_groups: Callable,
    *,
    train_groups: np.ndarray,
    share: float = 0.1,
    n_random: int | None = None,
    seeds: Sequence[int] | None = None,
    seed: int = 0,
    verbose: bool = True,
) -> pd.DataFrame:
    """Retrain without the most harmful examples, without random ones, and without balanced ones.

    Parameters
    ----------
    alignment : DataArray (train)
        Negative = harms the worst groups. Made from test examples that `evaluate_groups` does not
        use, or the comparison would be judged by what it was tuned on.
    retrain : function (removed ids) -> model, or (removed ids, seed) -> model
        With a parameter called `seed`, from the start and in the order of that seed: then the
        table holds six of them. Without it every row is of one start, and the words say so.
    evaluate_groups : function (model) -> (correct, groups), one entry a held-out example
    train_groups : array, shape (train,)
        Group of each training example, for balanced removal.
    share : float
        At most this share is dropped; less where fewer examples are harmful.
    n_random : int, optional
        Draws of random and of balanced removal from each start; by default one where there are
        several starts, six where there is one.
    seeds : ints, optional
        Starts, where `retrain` takes them; default six.
    verbose : bool
        Print what came out, in words.

    Returns
    -------
    DataFrame
        One row a training: removal ("none", "d3m", "random", "balanced"), seed, draw, n_removed,
        worst_group_accuracy, worst_group, accuracy. ``attrs["words"]``: what it says, a list of
        sentences.
    """
    if not 0 < share < 1:
        raise SettingError(f"share is between 0 and 1, not {share!r}.")
    starts = _starts(retrain, seeds, seed)
    if n_random is None:
        n_random = 1 if len(starts) > 1 else len(SEEDS)
    ids = alignment["train"].values
    harmful = most_harmful(alignment.values, most=int(share * len(ids)))
    n = len(harmful)
    generator = np.random.default_rng(seed)
    rows = []
    for start in starts:
        removals = [("none", 0, np.empty(0, dtype=int)), ("d3m", 0, harmful)]
        for draw in range(n_random):
            removals.append(("random", draw, generator.permutation(len(ids))[:n]))
            # another draw from each start, or all balanced removals would be one and the same
            other = seed + draw + (0 if start is None else n_random * int(start))
            balanced = balanced_removal(train_groups, remove=n, seed=other)
            removals.append(("balanced", draw, balanced))
        for name, draw, chosen in removals:
            model = retrain(ids[chosen]) if start is None else retrain(ids[chosen], seed=start)
            correct, groups = evaluate_groups(model)
            lowest, which = worst_group(correct, groups)
            rows.append(
                {
                    "removal": name,
                    "seed": seed if start is None else start,
                    "draw": draw,
                    "n_removed": len(chosen),
                    "worst_group_accuracy": lowest,
                    "worst_group": which,
                    "accuracy": float(np.mean(correct)),
                }
            )
    frame = pd.DataFrame(rows)
    frame.attrs["words"] = in_words(frame)
    if verbose:
        print("\n".join(frame.attrs["words"]))
    return frame


def in_words(frame: pd.DataFrame, value: str = "worst_group_accuracy") -> list[str]:
    """What a table of removals says: each start, and the mean advantage with its interval."""
    frame = frame.assign(draw=frame["draw"].astype(int))
    by_start = {
        name: part.pivot(index="seed", columns="draw", values=value)
        for name, part in frame.groupby("removal")
    }
    n = int(frame["n_removed"].to_numpy().max())
    if not n:
        return ["No example lowers the margins of the worst groups: nothing was removed."]
    chosen = by_start["d3m"].iloc[:, 0]
    words = [f"Accuracy of the worst group, {n} of the training examples removed:"]
    for start in chosen.index:
        parts = [f"with all {by_start['none'].loc[start, 0]:.1%}"]
        for name in ("random", "balanced"):
            if name in by_start:
                row = by_start[name].loc[start]
                ends = sorted({f"{row.min():.1%}", f"{row.max():.1%}"}, key=lambda t: float(t[:-1]))
                parts.append(f"without {name} ones {' to '.join(ends)}")
        parts.append(f"without the most harmful {chosen.loc[start]:.1%}")
        words.append(f"  seed {start}: {', '.join(parts)}")
    for name in ("random", "balanced"):
        if name not in by_start:
            continue
        others = by_start[name].loc[chosen.index].to_numpy()
        mean, low, high = (100 * part for part in advantage(chosen.to_numpy(), others))
        above = int((chosen.to_numpy()[:, None] > others).all(axis=1).sum())
        words.append(
            f"Beyond {name} removal: {mean:+.1f} points (95 % interval {low:+.1f} to {high:+.1f}), "
            f"above {'each draw' if others.shape[1] > 1 else 'it'} for {above} of {len(chosen)}."
        )
    words.append(
        "One start and one order: whether it holds for others was not tried. Give `retrain` a "
        "parameter `seed` to ask."
        if len(chosen) == 1
        else f"Over {len(chosen)} starts, none of which chose the examples."
    )
    return words


def _starts(retrain: Callable, seeds, seed: int) -> Sequence[int | None]:
    """The seeds to retrain from; (None,) where `retrain` knows of none."""
    try:
        takes = "seed" in inspect.signature(retrain).parameters
    except (TypeError, ValueError):  # some callables written in C have no signature
        takes = False
    if takes:
        chosen = SEEDS if seeds is None else tuple(int(s) for s in seeds)
        if not chosen:
            raise SettingError("seeds=[]: at least one start; six are the default.")
        return chosen
    if seeds is not None:
        raise SettingError(
            f"seeds={list(seeds)!r} were asked for, and `retrain` has no parameter `seed`: write "
            f"it as def retrain(removed, seed), which trains from the start of that seed."
        )
    return (None,)
