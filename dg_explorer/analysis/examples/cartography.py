"""Add what the history of each example says: cartography, forgetting, when it was learned."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from ...arguments import checked
from ...errors import MissingGroupError
from ...maths.cartography import cartography, regions
from ...maths.forgetting import first_learned, forgetting_events, last_unlearned, learned_for_good
from ...maths.margin_area import area_under_margin
from ...maths.mislabels import mean_over_time
from ...record.run import as_run
from ..sources.curves import check_answers, seen_at

ANALYSES = {"train": "analyses/cartography", "test": "analyses/test_cartography"}


@checked
def add_cartography(
    run, *, split: str = "train", share: float = 1 / 3, overwrite: bool = True
) -> xr.Dataset:
    """Sum up the history of every example and write it to `analyses/cartography`.

    Parameters
    ----------
    run : Run
        With `dynamics/<split>`.
    split : "train" or "test"
        The test examples' go to `analyses/test_cartography`.
    share : float
        Share of the examples in the map's "ambiguous" and "hard" regions.

    Returns
    -------
    Dataset over `train` (or `test`)
        confidence, variability, correctness, region; forgetting_events; first_learned,
        last_unlearned, learned_for_good (NaN = never); area_under_margin, mean_loss,
        n_seen (epochs), n_nan_loss (epochs evaluated with a loss that is not a number).
    """
    run = as_run(run)
    group = f"dynamics/{split}"
    if group not in run:
        hint = f"Record examples with Recorder(run, model, {split}=...)."
        raise MissingGroupError.of(repr(group), run.groups(), hint)
    result = history(run[group].load(), split, share=share)
    result.attrs["time_unit"] = run.time_unit
    run.add(ANALYSES[split], result, overwrite=overwrite)
    return result


def history(dynamics: xr.Dataset, split: str, *, share: float = 1 / 3) -> xr.Dataset:
    """What `add_cartography` writes, from a `dynamics/<split>` Dataset alone."""
    dynamics = dynamics.transpose("epoch", split)
    check_answers(dynamics, split)
    seen = seen_at(dynamics).values
    correct = dynamics["correct"].values & seen
    epochs = dynamics["epoch"].values
    loss = dynamics["loss"].values
    if "confidence" in dynamics:
        probability = dynamics["confidence"].values
    else:
        probability = np.exp(-loss)  # cross-entropy is -log of it
    chart = cartography(np.where(seen, probability, np.nan), correct)
    columns = {
        **chart._asdict(),
        "region": regions(chart, share=share).astype(object),
        "forgetting_events": forgetting_events(correct, seen),
        "first_learned": first_learned(correct, epochs, seen),
        "last_unlearned": last_unlearned(correct, epochs, seen),
        "learned_for_good": learned_for_good(correct, epochs, seen),
        "mean_loss": mean_over_time(loss),
        "n_seen": seen.sum(axis=0),
        "n_nan_loss": (seen & ~np.isfinite(loss)).sum(axis=0),
    }
    if "margin" in dynamics:
        columns["area_under_margin"] = area_under_margin(dynamics["margin"].values)
    result = xr.Dataset(
        {name: (split, values) for name, values in columns.items()},
        {split: dynamics[split].values},
        {"settings": json.dumps({"share": share}), "n_epochs": len(epochs)},
    )
    units = {"mean_loss": "nats", "area_under_margin": "log odds", "n_seen": "epochs"}
    for name, unit in units.items():
        if name in result:
            result[name].attrs["unit"] = unit
    return result
