"""The random-removal band says what the retraining left in the record."""

import numpy as np
import pytest
import xarray as xr

from dg_explorer.testing import tiny_run
from dg_explorer.widgets.answers.panels import facts
from dg_explorer.widgets.answers.removal import removal
from dg_explorer.widgets.answers.sources import Sources
from dg_explorer.widgets.answers.validity import validity
from dg_explorer.widgets.reading.faces import Faces
from dg_explorer.widgets.reading.reader import RunReader

REMOVED = [101, 105, 120]


def sources_of(run):
    reader = RunReader(run)
    return Sources(reader, Faces(reader))


@pytest.fixture
def checked():
    run = tiny_run()
    rng = np.random.default_rng(0)
    dims = ("epoch", "test")
    change = rng.normal(size=(2, 3))
    variables = {
        "change": (dims, change),
        "band_low": (dims, change - 1),
        "band_high": (dims, change + 1),
        "beyond_band": (dims, np.array([[True, False, False], [True, True, False]])),
        "random_change": (("draw", *dims), rng.normal(size=(5, 2, 3))),
    }
    data = xr.Dataset(variables, {"epoch": [10, 30], "test": [1002, 1000, 1007]})
    data.attrs["removed"] = REMOVED
    run.add("validity/removal", data)
    return run


def test_each_test_example_carries_its_own_band(checked):
    found = removal(sources_of(checked))
    record = checked["validity/removal"].load()
    for row, test in enumerate(found["test"]):
        for column, epoch in enumerate(found["epoch"]):
            there = record.sel(test=test, epoch=epoch)
            for name, variable in (
                ("change", "change"),
                ("low", "band_low"),
                ("high", "band_high"),
            ):
                assert found[name][row, column] == pytest.approx(float(there[variable]), rel=1e-6)
    assert found["draws"].tolist() == [5]


def test_a_prediction_is_minus_the_sum_of_the_removed_scores(checked):
    scores = checked["scores/trak"]["score"].load()
    found = removal(sources_of(checked))
    row = found["test"].tolist().index(1007)
    by_hand = -sum(float(scores.sel(epoch=30, test=1007, train=train)) for train in REMOVED)
    assert found["predicted/trak"][row, 1] == pytest.approx(by_hand, rel=1e-3)


def test_a_run_without_a_check_shows_none():
    assert facts(sources_of(tiny_run()))["has_removal"] is False


def test_the_validity_tab_says_how_many_moved_beyond_chance(checked):
    found = validity(sources_of(checked))
    at = found["names"].index("Removal against chance")
    np.testing.assert_allclose(found[f"curve/{at}/value"], [1 / 3, 2 / 3], rtol=1e-6)
    assert len(found["names"]) == 1  # nothing else of the check is a course over training
