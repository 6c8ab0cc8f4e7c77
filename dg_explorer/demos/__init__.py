"""Real runs in seconds: grokking, digits with wrong labels, digits with a shortcut."""

from __future__ import annotations

from ..errors import SettingError
from . import grokking, mislabeled_digits, spurious_digits, transformer
from .demo_run import DemoRun

RECIPES = {
    "grokking": (grokking.make, grokking.FAST),
    "grokking-smooth": (grokking.make, grokking.SMOOTH),
    "mislabeled-digits": (mislabeled_digits.make, mislabeled_digits.RECIPE),
    "spurious-digits": (spurious_digits.make, spurious_digits.RECIPE),
    "transformer": (transformer.make, transformer.RECIPE),  # six minutes; the others take seconds
}

__all__ = ["RECIPES", "DemoRun", "make"]


def make(
    recipe: str = "grokking",
    path=None,
    *,
    seed: int = 0,
    progress: bool = True,
    overwrite: bool = False,
) -> DemoRun:
    """Train a small model for real and record it; takes seconds and no network.

    Parameters
    ----------
    recipe : "grokking", "grokking-smooth", "mislabeled-digits", "spurious-digits", "transformer"
        The last takes six minutes.
    path : where the run goes; None keeps it in memory
    seed : of the split, the weights, and the order of the examples

    Returns
    -------
    DemoRun
        The run, a factory of its initial model, its datasets, and `retrain`.

    Raises
    ------
    SettingError
        No recipe has this name.
    """
    if recipe not in RECIPES:
        raise SettingError(f"No demo is called {recipe!r}; there are {', '.join(RECIPES)}.")
    train, settings = RECIPES[recipe]
    return train(path, recipe=settings, seed=seed, progress=progress, overwrite=overwrite)
