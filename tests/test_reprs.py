"""What a notebook shows of an object fits a screen and holds no table of numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import dg_explorer as dg
from dg_explorer.arguments import brief
from dg_explorer.checkpoints.store import load_checkpoint

LINES, WIDTH = 20, 100


@pytest.fixture(scope="module")
def objects(tmp_path_factory) -> dict[str, object]:
    """A small training and what is made of it, by name."""
    torch.manual_seed(0)
    x, y = torch.randn(60, 4), torch.arange(60) % 3
    train, test = dg.with_ids(TensorDataset(x[:40], y[:40])), TensorDataset(x[40:], y[40:])
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    run = dg.Run.create(tmp_path_factory.mktemp("run") / "run", name="small")
    recorder = dg.Recorder(run, model, optimizer, train=train, test=test, replay=True)
    with recorder:
        for epoch in range(1, 4):
            for start in range(0, 40, 10):
                logits = model(x[start : start + 10])
                optimizer.zero_grad()
                nn.functional.cross_entropy(logits, y[start : start + 10]).backward()
                recorder.batch(logits, y[start : start + 10], torch.arange(start, start + 10))
                optimizer.step()
            recorder.epoch(epoch)
    dg.attribute(run, model, train, test, method="trak", progress=False)
    attributor = dg.InfluenceFunctionAttributor(model)
    training = dg.training_of_run(run, model, train=train, test=test)
    served = attributor.served(train)
    batch = next(iter(served))
    return {
        "run": run,
        "recorder": recorder,
        "training": training,
        "rule": training.optimizer,
        "proof": training.proof,
        "checkpoint": load_checkpoint(run, 3),
        "attributor": attributor,
        "trak": dg.TRAKAttributor(model, proj_dim=16),
        "features": attributor.compute_train_features(train),
        "plan": attributor.prepare(train),
        "served": served,
        "batch": batch,
        "factors": attributor.capture(model, train)(batch).factors[0][0],
        "light": dg.validity_light(run, 3, method="trak"),
        "explorer": dg.explore(run),
        "query": dg.Query.mean(test),
    }


def test_no_object_fills_more_than_a_screen(objects):
    for name, one in objects.items():
        lines = repr(one).splitlines()
        assert len(lines) <= LINES, f"{name}: {len(lines)} lines"


def test_no_object_prints_its_numbers(objects):
    for name, one in objects.items():
        assert "tensor(" not in repr(one), name
        assert "array(" not in repr(one), name
        assert " at 0x" not in repr(one), name


def test_an_array_is_shown_by_its_type_and_shape():
    assert brief(torch.zeros(3, 5)) == "<float32 (3, 5)>"
    assert brief([1, 2]) == "[1, 2]"
    assert brief(list(range(2000))) == "<list of 2,000>"
