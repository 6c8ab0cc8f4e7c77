"""A recording killed at any moment loses at most the row being written, and goes on exactly."""

import subprocess
import sys
from pathlib import Path

import killed_training
import numpy as np
import pytest

from dg_explorer import Run
from dg_explorer.checkpoints.store import load_weights, saved_epochs

N_KILLS = 20
GROUPS = ("metrics", "dynamics/train", "features/1", "gradients")


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    script = Path(killed_training.__file__)
    subprocess.run([sys.executable, script, folder, str(N_KILLS), "7"], check=True, timeout=400)
    return folder


@pytest.fixture(scope="module")
def longest(killed):
    """The epochs finished before each kill, as the killed processes noted them."""
    return [int((killed / f"done_{k}").read_text().split()[-1]) for k in range(N_KILLS)]


@pytest.fixture(scope="module")
def whole(longest):
    """The same training, never interrupted."""
    run = killed_training.create(None)
    killed_training.train(run, max(longest) + 8)
    return {group: run[group].load() for group in run.groups()}


@pytest.mark.second_ring(sample=0)
def test_twenty_killed_recordings_open_with_every_finished_row_intact(killed, longest, whole):
    assert len(set(longest)) > 5  # the kills fell at many different moments
    for k, last in enumerate(longest):
        run = Run.open(killed / f"run_{k}")
        for group in GROUPS if k < 4 else GROUPS[:2]:
            rows = run[group].load()
            n = rows.sizes["epoch"]
            assert n in (last + 1, last + 2), (k, group)
            assert rows.epoch.values.tolist() == list(range(n))
            expected = whole[group].isel(epoch=slice(0, n))
            for name in expected.data_vars:
                assert np.array_equal(rows[name], expected[name], equal_nan=True), (k, group, name)
        saved = saved_epochs(run)
        assert saved[-1] >= last - 2
        assert load_weights(run, saved[-1])  # checks the digest


@pytest.mark.second_ring(sample=0)
def test_a_killed_recording_goes_on_to_the_same_record(killed, longest, whole):
    for k in (3,):
        run = Run.open(killed / f"run_{k}")
        n_epochs = int(run.epochs()[-1]) + 5
        killed_training.train(run, n_epochs, resume=True)
        for group in ("metrics", "dynamics/train", "features/1"):
            rows = run[group].load()
            expected = whole[group].sel(epoch=range(n_epochs))
            for name in expected.data_vars:
                assert np.array_equal(rows[name], expected[name], equal_nan=True), (k, group, name)
