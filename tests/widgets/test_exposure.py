"""The strip under a score's course says when in training it was laid down, or is not there."""

import numpy as np
import xarray as xr

from dg_explorer.testing import tiny_run
from dg_explorer.widgets.answers.trajectories import exposure
from dg_explorer.widgets.reading.reader import RunReader

TEST, AT = 1003, 50


def run_with_exposures(scale=1.0, edges=(0, 10, 30, 50)):
    run = tiny_run()
    score = run["scores/trak"]["score"].sel(epoch=AT).load()
    share = np.random.default_rng(0).dirichlet(np.ones(len(edges) - 1), score.sizes["train"]).T
    windows = score.values[:, None] * share[None] * scale
    run.keep(
        "exposures/trak",
        xr.Dataset(
            {"score": (("test", "window", "train"), windows.astype(np.float32))},
            {
                "test": score["test"].values,
                "train": score["train"].values,
                "window_start": ("window", list(edges[:-1])),
                "window_end": ("window", list(edges[1:])),
            },
            {"epoch": AT},
        ),
    )
    return run


def test_each_column_is_in_shares_of_its_own_largest_window():
    run, train = run_with_exposures(), np.array([107, 103])
    found = exposure(RunReader(run), "trak", TEST, train)
    there = run["exposures/trak"]["score"].sel(test=TEST).load()
    for row, id in zip(found["exposure/share"], train, strict=True):
        values = there.sel(train=id).values
        np.testing.assert_allclose(row / 127, values / np.abs(values).max(), atol=1 / 127)
    assert found["exposure/edge"].tolist() == [0, 10, 30, 50]
    assert found["exposure/at"].tolist() == [AT]


def test_exposures_of_other_scores_are_not_shown():
    assert exposure(RunReader(run_with_exposures(1.1)), "trak", TEST, np.array([107])) == {}


def test_a_run_without_exposures_has_no_strip():
    assert exposure(RunReader(tiny_run()), "trak", TEST, np.array([107])) == {}


def test_windows_that_count_steps_are_drawn_at_the_epochs_of_the_record():
    run = run_with_exposures(edges=(0, 100, 300, 500))
    metrics = run["metrics"].load()
    taken = metrics.assign(steps_taken=("epoch", metrics["epoch"].values * 10.0))
    run.add("metrics", taken, overwrite=True)
    run.add("replay", xr.Dataset({"lr": ("step", [0.1])}, {"step": [0]}))
    found = exposure(RunReader(run), "trak", TEST, np.array([107]))
    assert found["exposure/edge"].tolist() == [0, 10, 30, 50]
