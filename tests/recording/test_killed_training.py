"""A recording killed at any moment loses at most the row being written, and goes on exactly."""

import subprocess
import sys
from pathlib import Path

import killed_training
import numpy as np
import pytest

from dg_explorer import Run
from dg_explorer.checkpoints import load_weights, saved_epochs

N_KILLS = 20


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


def test_twenty_killed_recordings_open_with_every_finished_row_intact(killed, longest, whole):
    assert len(set(longest)) > 5  # the kills fell at many different moments
    for k, last in enumerate(longest):
        run = Run.open(killed / f"run_{k}")
        epochs = run.epochs()
        assert epochs.tolist() == list(range(len(epochs)))
        assert epochs[-1] in (last, last + 1)
        for group in ("metrics", "dynamics/train", "features/1", "gradients")[: 4 if k < 4 else 2]:
            rows = run[group].load()
            assert rows.sizes["epoch"] >= last + 1
            expected = whole[group].sel(epoch=rows.epoch)
            for name in expected.data_vars:
                assert np.array_equal(rows[name], expected[name], equal_nan=True), (k, group, name)
        for epoch in saved_epochs(run)[-1:]:
            assert load_weights(run, epoch)  # checks the digest
        assert saved_epochs(run)[-1] >= last - 2


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
