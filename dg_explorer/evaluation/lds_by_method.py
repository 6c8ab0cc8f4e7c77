"""Does a score predict retraining, epoch by epoch and method by method?"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
import xarray as xr
from torch.utils.data import TensorDataset

from ..arguments import REQUIRED, Ids, checked
from ..attribution.methods import method_class
from ..errors import DGExplorerError
from ..record.run import as_run
from ..training.training import Training, train_many
from .lds import linear_datamodeling_score
from .provenance import made_of
from .retraining import random_subsets, subset_retraining
from .settings import check_given


class NoScoresError(DGExplorerError, KeyError):
    """There are no scores to be checked."""

    def __str__(self) -> str:
        return Exception.__str__(self)


@checked
def lds_over_time(
    run=None,
    *,
    scores: Mapping[str, xr.DataArray] | None = None,
    truth: xr.Dataset | None = None,
    training: Training = REQUIRED,
    drop: float = 0.05,
    n_subsets: int = 64,
    models_at_once: int = 16,
    path=None,
    seed: int = 0,
) -> xr.Dataset:
    """The linear datamodeling score of every method at every recorded epoch, with intervals.

    Parameters
    ----------
    run : Run, optional
        Its ``scores/<method>`` groups are checked and the result is kept as ``checks/lds/<n>``,
        beside earlier ones.
    scores : mapping method -> (epoch, test, train), optional
        Scores to check instead of, or beside, the run's.
    truth : Dataset, optional
        ``mask`` and ``output`` by epoch, as `subset_retraining` returns them. Without it
        `training` is run again on `n_subsets` subsets that each lack a share `drop`.
    path : folder, optional
        Where finished retrainings are kept, to resume from.

    Returns
    -------
    Dataset
        ``lds``, ``low``, ``high`` over (method, epoch); NaN where a method has no scores.
        ``n_left_out``: retrainings left out since they diverged, for the query with most.

    Raises
    ------
    NoScoresError
        If neither the run nor `scores` has any.
    """
    run = None if run is None else as_run(run)
    scores = dict(scores or {})
    recorded = set()
    if run is not None:
        for group in run.groups():
            method = group.removeprefix("scores/")
            if group.startswith("scores/") and method not in scores:
                scores[method] = run[group]["score"]
                recorded.add(method)
    if not scores:
        raise NoScoresError(
            "There are no scores to check. Add some with attribute(run, ..., method='trak')."
        )
    if truth is None:
        check_given("lds_over_time, without truth= of before,", training)
        epochs = sorted({int(e) for s in scores.values() for e in s["epoch"].values})
        masks = random_subsets(n_subsets, training.train_ids, keep=1 - drop, seed=seed)
        truth = subset_retraining(
            training.with_changes(record_at=tuple(training.counts(epochs).tolist())),
            masks,
            models_at_once=models_at_once,
            path=path,
        )
    rows = []
    for method, score in scores.items():
        shared = np.intersect1d(score["epoch"].values, truth["epoch"].values)
        checked = linear_datamodeling_score(
            score.sel(epoch=shared).load(), truth["mask"], truth["output"], seed=seed
        )
        checked["n_left_out"] = checked["n_left_out"].max("test")
        if run is not None:
            named = [
                made_of(run, f"scores/{method}", int(epoch)) if method in recorded else ""
                for epoch in shared
            ]
            checked["made_of"] = ("epoch", np.array(named, dtype=object))
        rows.append(checked.drop_vars(["per_query", "test"]).expand_dims(method=[method]))
    fill = {n: "" if n == "made_of" else np.nan for n in rows[0].data_vars}
    result = xr.concat(rows, dim="method", join="outer", fill_value=fill).sortby("epoch")
    result.attrs = {"n_subsets": truth.sizes["subset"], "drop": truth.attrs.get("drop", drop)}
    if run is not None:
        run.keep("checks/lds", result)
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
