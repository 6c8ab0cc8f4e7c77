"""An attribution that is killed at any file operation goes on, and ends as if it had not been."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import dg_explorer as dg

sys.path.insert(0, str(Path(__file__).parents[1] / "record"))
from faults import killed_at, leftovers

GENERATOR = torch.Generator().manual_seed(0)
X, Y = torch.randn(8, 3, generator=GENERATOR), torch.arange(8) % 2
TRAIN, TEST = TensorDataset(X, Y), TensorDataset(X[:4] + 0.1, Y[:4])


def network():
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def score(run):
    dg.attribute(run, network(), TRAIN, TEST, method="gradient_dot", progress=False)


def score_trajectory(run):
    dg.attribute_trajectory(run, network(), TRAIN, TEST, method="source", n_checkpoints=3)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A run of three epochs with a checkpoint at each."""
    path = tmp_path_factory.mktemp("killed") / "run"
    run = dg.Run.create(path, name="r", train_examples={"label": Y}, test_examples={"label": Y[:4]})
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with dg.Recorder(run, model, optimizer, train=dg.with_ids(TRAIN), test=TEST) as recorder:
        for epoch in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(X), Y).backward()
            optimizer.step()
            recorder.epoch(epoch)
    return path


def scores_of(run):
    return {g: run[g].score.load() for g in run.groups() if g.startswith("scores/")}


@pytest.mark.second_ring(sample=0)
@pytest.mark.parametrize("act", [score, score_trajectory])
def test_an_attribution_killed_at_any_operation_ends_as_if_it_had_not_been(recorded, tmp_path, act):
    shutil.copytree(recorded, tmp_path / "whole")
    whole = dg.Run.open(tmp_path / "whole")
    act(whole)
    right = scores_of(whole)
    for n in range(1, 200):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        shutil.copytree(recorded, tmp_path / "run")
        came = killed_at(n, lambda: act(dg.Run.open(tmp_path / "run")))
        run = dg.Run.open(tmp_path / "run")
        for group, found in scores_of(run).items():  # what is there is right
            np.testing.assert_array_equal(found, right[group].sel(epoch=found.epoch))
        assert leftovers(run) == [], n
        act(run)
        assert {g: s.identical(right[g]) for g, s in scores_of(run).items()} == dict.fromkeys(
            right, True
        ), n
        if not came:
            return
    raise AssertionError("never done")
