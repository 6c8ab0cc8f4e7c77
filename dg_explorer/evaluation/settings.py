"""What every check takes, and what to write where it was not given or makes no sense."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from ..errors import SettingError
from ..training.training import Training

_HOW = {
    "training": "training=, a Training: training_of_run(run, model, train=..., test=...) makes one "
    "of a run recorded with replay=True, Training(...) one of your own",
    "remove": "remove=, the ids of training examples to train without",
    "train": "train=, the ids of training examples",
    "windows": "windows=, the edges of the windows in epochs, as in [0, 10, 20]",
}


def check_given(function: str, training, **needed) -> None:
    """Refuse a check that was not told what to train, or about what.

    Parameters
    ----------
    function : the name of the check
    **needed : settings that must not be None
    """
    missing = [name for name, value in {"training": training, **needed}.items() if value is None]
    if missing:
        said = "; ".join(_HOW.get(name, f"{name}=") for name in missing)
        raise SettingError(f"{function} trains again, and lacks {said}.")
    if not isinstance(training, Training):
        raise SettingError(
            f"{function} was given a {type(training).__name__} for a training. "
            f"Give {_HOW['training']}."
        )


def check_retraining(function: str, training, masks) -> None:
    """Refuse what cannot be trained on subsets, or subsets without labels."""
    if not isinstance(training, (Training, Callable)):
        raise SettingError(
            f"{function} was given a {type(training).__name__} for a training. Give a function "
            f"(kept, seed) -> outputs, or {_HOW['training']}."
        )
    if not isinstance(masks, xr.DataArray) or set(masks.dims) != {"subset", "train"}:
        raise SettingError(
            f"{function} takes masks over (subset, train), as random_subsets(n, ids, keep=.5) "
            f"makes them, not a {type(masks).__name__}."
        )


def check_count(name: str, value, least: int = 1) -> int:
    """A whole number that is large enough."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise SettingError(f"{name}={value!r}: a whole number, {least} or more.")
    return int(value)
