"""Brittleness: how few supporting examples must go before a right answer turns wrong."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ...arguments import REQUIRED, Ids, checked
from ...errors import SettingError
from ...training.training import Training
from ..settings import check_count, check_given
from .counterfactual import retrain_with_weights


@checked
def brittleness(
    scores: xr.DataArray,
    *,
    training: Training = REQUIRED,
    sizes: Ids = (1, 2, 5, 10, 20, 40),
    at: int | None = None,
    models_at_once: int = 16,
) -> xr.Dataset:
    """Remove each test example's top supporters, more and more of them, and retrain.

    Parameters
    ----------
    scores : DataArray, dims (test, train)
        Positive where training on the example raised the output.
    sizes : ints
        How many of the highest-scored training examples are removed.
    at : epoch, optional
        Where the answer is taken; default the last recorded.

    Returns
    -------
    Dataset
        ``output`` (size, test), where size 0 is training on everything; ``smallest`` (test): the
        smallest size at which the output is below 0, NaN if none is or if it was below 0
        before.

    References
    ----------
    Ilyas et al. (2022), "Datamodels", section 4.1; Park et al. (2023), "TRAK", figure 6.
    """
    check_given("brittleness", training)
    if not isinstance(scores, xr.DataArray) or set(scores.dims) != {"test", "train"}:
        raise SettingError(
            "brittleness takes scores over (test, train) at one epoch, with their ids: "
            "run['scores/trak']['score'].sel(epoch=...)."
        )
    for size in sizes:
        check_count("sizes", size)
    scores = scores.transpose("test", "train").sel(train=training.train_ids)
    sizes = np.unique(np.asarray(sizes, dtype=int))
    weights = np.ones((1 + len(sizes) * scores.sizes["test"], training.n_train))
    ranked = np.argsort(-scores.values, axis=1, kind="stable")
    rows = iter(weights[1:])
    for supporters in ranked:
        for size in sizes:
            next(rows)[supporters[:size]] = 0
    label = int(training.recorded_epochs()[-1]) if at is None else int(at)
    outputs, _ = retrain_with_weights(training, weights, training.counts([label]), models_at_once)
    found = xr.DataArray(
        outputs[:, 0], dims=("model", "test"), coords={"test": training.test_ids}
    ).sel(test=scores["test"])
    own = np.arange(found.sizes["test"])
    without = found.values[1:].reshape(len(own), len(sizes), -1)[own, :, own]
    output = np.concatenate([found.values[:1], without.T])
    wrong = without < 0
    smallest = np.where(wrong.any(1), sizes[wrong.argmax(1)].astype(float), np.nan)
    smallest[output[0] < 0] = np.nan
    return xr.Dataset(
        {"output": (("size", "test"), output), "smallest": ("test", smallest)},
        coords={"size": np.concatenate([[0], sizes]), "test": scores["test"]},
        attrs={"epoch": label},
    )
