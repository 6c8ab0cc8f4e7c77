"""Does a score predict retraining, epoch by epoch and method by method?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
import xarray as xr
from torch.utils.data import TensorDataset

from ..arguments import Ids
from ..attribution.methods import method_class
from ..errors import DGExplorerError
from ..training.many import train_many
from ..training.training import Training
from .lds import linear_datamodeling_score
from .recorded_checks import made_of


class NoScoresError(DGExplorerError, KeyError):
    """There are no scores to be checked."""

    def __str__(self) -> str:
        return Exception.__str__(self)


def scores_to_check(
    run, scores: Mapping[str, xr.DataArray] | None
) -> tuple[dict[str, xr.DataArray], set[str]]:
    """Scores by method, and which of them are the run's own.

    Raises
    ------
    NoScoresError
        There are none.
    """
    found, recorded = dict(scores or {}), set()
    for group in () if run is None else run.groups():
        method = group.removeprefix("scores/")
        if run is not None and group.startswith("scores/") and method not in found:
            found[method] = run[group]["score"]
            recorded.add(method)
    if not found:
        raise NoScoresError(
            "There are no scores to check. Add some with attribute(run, ..., method='trak')."
        )
    return found, recorded


def lds_of_truth(
    run, scores: Mapping[str, xr.DataArray], recorded: set[str], truth: xr.Dataset, seed: int
) -> xr.Dataset:
    """``lds``, ``low``, ``high``, ``n_left_out``, ``made_of`` over (method, epoch).

    Parameters
    ----------
    recorded : methods with scores in the run
    truth : ``mask`` (subset, train) and ``output`` (subset, epoch, test)
    """
    rows = []
    for method, score in scores.items():
        shared = np.intersect1d(score["epoch"].values, truth["epoch"].values)
        found = linear_datamodeling_score(
            score.sel(epoch=shared).load(), truth["mask"], truth["output"], seed=seed
        )
        found["n_left_out"] = found["n_left_out"].max("test")
        if run is not None:
            named = [
                made_of(run, f"scores/{method}", int(epoch)) if method in recorded else ""
                for epoch in shared
            ]
            found["made_of"] = ("epoch", np.array(named, dtype=object))
        rows.append(found.drop_vars(["per_query", "test"]).expand_dims(method=[method]))
    fill = {n: "" if n == "made_of" else np.nan for n in rows[0].data_vars}
    result = xr.concat(rows, dim="method", join="outer", fill_value=fill).sortby("epoch")
    result.attrs = {"n_subsets": truth.sizes["subset"]}
    return result


def scores_by_epoch(
    training: Training,
    method: str,
    test: Ids,
    *,
    history: Ids = (),
    settings: Callable[[list[int]], dict] | None = None,
) -> xr.DataArray:
    """Scores of a checkpoint method at each recorded epoch of a training, (epoch, test, train).

    The training is run once; nothing is written.

    Parameters
    ----------
    history : epochs, optional
        The scores at an epoch are from the checkpoints at those of them before it, and at it;
        by default from the one at it.
    settings : callable, optional
        From the epochs of those checkpoints to the attributor's settings.
    """
    flat = training.start()
    wanted = sorted({*training.record_at, *history})
    states: dict[int, dict] = {}
    train_many(
        training.with_changes(record_at=tuple(wanted)),
        torch.ones(1, training.n_train, dtype=flat.theta.dtype),
        flat.theta[None],
        on_epoch=lambda epoch, theta: states.update({epoch: flat.unflatten(theta[0])}),
    )
    position = {int(id): i for i, id in enumerate(training.test_ids)}
    rows = torch.as_tensor([position[int(id)] for id in test])
    train = TensorDataset(training.inputs, training.labels)
    asked = TensorDataset(training.test_inputs[rows], training.test_labels[rows])
    attributor_class = method_class(method)
    by_epoch = []
    for epoch in sorted(training.record_at):
        used = [e for e in wanted if e == epoch or (e < epoch and e in history)]
        attributor = attributor_class(
            training.model(training.seed),
            checkpoints=[states[e] for e in used],
            **(settings(used) if settings else {}),
        )
        by_epoch.append(attributor.attribute(train, asked).numpy())
    return xr.DataArray(
        np.stack(by_epoch),
        dims=("epoch", "test", "train"),
        coords={
            "epoch": training.recorded_epochs(),
            "test": np.asarray(test),
            "train": training.train_ids,
        },
    )
