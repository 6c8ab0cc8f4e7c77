"""Compare runs: grokking against bias against normal training, on one time axis."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from ..arguments import checked
from ..errors import SettingError
from ..maths.memorization import memorization_gap
from ..record.run import as_run
from .examples.cartography import history
from .sources.curves import accuracy_curves
from .transition.transitions import find_transitions

_CURVES = ("train_accuracy", "test_accuracy")


@checked
def compare_runs(runs: Mapping, *, moments: int = 101) -> xr.Dataset:
    """Put several runs on one normalised time axis.

    Parameters
    ----------
    runs : dict of name -> Run
        They may differ in time unit, length and data.
    moments : int
        Points of the common axis, from 0 (first record) to 1 (last).

    Returns
    -------
    Dataset
        `train_accuracy`, `test_accuracy`, `memorization_score` over (run, moment), linearly
        interpolated; and over `run`: t_memorized, t50, t95, delay, delay_ratio, found, onset,
        peak_memorization, final_train_accuracy, final_test_accuracy, hard_examples, easy_examples,
        ambiguous_examples, examples_with_forgetting, n_train, time_unit, first_epoch, last_epoch.
        NaN where a run does not know.

    Raises
    ------
    SettingError
        `runs` is no dict, or empty.
    """
    if not isinstance(runs, Mapping) or not runs:
        raise SettingError("compare_runs takes a dict of runs: compare_runs({'grokking': run}).")
    grid = np.linspace(0, 1, moments)
    curves, facts = [], []
    for run in map(as_run, runs.values()):
        found = _curves(run, grid)
        curves.append(found)
        facts.append(_facts(run, found))
    names = np.array([str(name) for name in runs], dtype=object)
    data: dict[str, tuple] = {
        name: (("run", "moment"), np.array([c[name] for c in curves]))
        for name in (*_CURVES, "memorization_score")
    }
    table = pd.DataFrame(facts)
    for name in table:
        values = np.asarray(table[name])
        data[str(name)] = ("run", values.astype(object) if values.dtype.kind in "OTU" else values)
    return xr.Dataset(data, {"run": names, "moment": grid})


@checked
def comparison_table(comparison: xr.Dataset) -> pd.DataFrame:
    """One row a run, without the curves."""
    return comparison.drop_dims("moment").to_dataframe()


@checked
def plot_comparison(runs, save_dir=None, *, theme: str = "light"):
    """Runs side by side as a Figure; writes `comparison.html`.

    Parameters
    ----------
    runs : dict of name -> Run, or what `compare_runs` gave
    """
    from ..figures.comparison import comparison_figure
    from ..figures.saving import save_figure

    data = runs if isinstance(runs, xr.Dataset) else compare_runs(runs)
    return save_figure(comparison_figure(data, theme=theme), save_dir, "comparison")


def _curves(run, grid: np.ndarray) -> dict[str, np.ndarray]:
    curves = accuracy_curves(run)
    time = curves["epoch"].values.astype(float)
    share = (time - time[0]) / (time[-1] - time[0] or 1.0)
    found = {}
    for name in _CURVES:
        values = curves[name].values if name in curves else np.full(len(time), np.nan)
        known = np.isfinite(values)
        found[name] = (
            np.interp(grid, share[known], values[known], left=np.nan, right=np.nan)
            if known.any()
            else np.full(len(grid), np.nan)
        )
    found["memorization_score"] = memorization_gap(*(found[name] for name in _CURVES))
    return found


def _facts(run, curves: dict[str, np.ndarray]) -> dict:
    transitions = find_transitions(run)
    names = ("t_memorized", "t50", "t95", "delay", "delay_ratio", "onset")
    facts = {name: float(transitions[name]) for name in names}
    facts["found"] = bool(transitions["found"])
    gap = curves["memorization_score"]
    facts["peak_memorization"] = float(np.nanmax(gap)) if np.isfinite(gap).any() else np.nan
    for name in _CURVES:
        known = curves[name][np.isfinite(curves[name])]
        facts[f"final_{name}"] = float(known[-1]) if len(known) else np.nan
    facts |= _example_facts(run)
    epochs = accuracy_curves(run)["epoch"].values
    facts |= {"time_unit": run.time_unit, "first_epoch": epochs[0], "last_epoch": epochs[-1]}
    return facts


def _example_facts(run) -> dict:
    names = ("hard_examples", "easy_examples", "ambiguous_examples")
    if "dynamics/train" not in run:
        return dict.fromkeys((*names, "examples_with_forgetting", "n_train"), np.nan)
    table = history(run["dynamics/train"].load(), "train")
    region = table["region"].values.astype(str)
    facts = {name: float((region == name.split("_")[0]).sum()) for name in names}
    facts["examples_with_forgetting"] = float((table["forgetting_events"] > 0).sum())
    facts["n_train"] = float(table.sizes["train"])
    return facts
