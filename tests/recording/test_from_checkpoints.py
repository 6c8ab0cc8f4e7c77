"""A run made from checkpoints is the run that was recorded while the model trained."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

import dg_explorer as dg
from dg_explorer.errors import ArchitectureMismatchError, CheckpointError, SettingError

generator = torch.Generator().manual_seed(3)
X = torch.randn(30, 5, generator=generator)
Y = X[:, :3].argmax(1)
TRAIN, TEST = TensorDataset(X[:20], Y[:20]), TensorDataset(X[20:], Y[20:])
LAYERS = ["1"]


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))


@pytest.fixture
def recorded(tmp_path):
    """A training that was recorded, and left checkpoints as other tools write them."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    tables = {"train_examples": {"label": Y[:20]}, "test_examples": {"label": Y[20:]}}
    run = dg.Run.create(name="recorded", **tables)
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    with dg.Recorder(run, model, optimizer, train=TRAIN, test=TEST, layers=LAYERS) as recorder:
        for epoch in range(5):
            optimizer.zero_grad()
            F.cross_entropy(model(X[:20]), Y[:20]).backward()
            optimizer.step()
            recorder.epoch(epoch)
            wrapped = {f"module.{k}": v for k, v in model.state_dict().items()}
            named = folder / f"net_{epoch}_acc{90 - epoch}.pt"
            torch.save({"model": wrapped, "optimizer": optimizer.state_dict()}, named)
        torch.save(model.state_dict(), folder / "best.pt")
    return run, folder


def same_rows(one, other):
    for group in ("metrics", "dynamics/train", "dynamics/test", "features/1"):
        a, b = one[group].load(), other[group].load()
        assert a.epoch.values.tolist() == b.epoch.values.tolist()
        for name in a.data_vars:
            assert np.allclose(a[name], b[name], atol=1e-6, equal_nan=True), (group, name)


def test_it_is_the_record_of_the_training(recorded, tmp_path):
    run, folder = recorded
    model = net(1)
    found = dg.Run.from_checkpoints(folder, model, TRAIN, TEST, layers=LAYERS, progress=False)
    same_rows(found, run)
    assert found["train_examples"].label.values.tolist() == Y[:20].tolist()
    assert all(torch.equal(v, net(1).state_dict()[k]) for k, v in model.state_dict().items())
    about = found.attrs["config"]["from_checkpoints"]
    assert about["files"]["2"] == "net_2_acc88.pt"
    assert "Left out: best.pt" in about["notes"][0]


def test_scores_of_it_are_those_of_the_recorded_run(recorded):
    run, folder = recorded
    found = dg.Run.from_checkpoints(folder, net(1), TRAIN, TEST, progress=False)
    scores = [
        dg.attribute(r, net(), TRAIN, TEST, method="gradient_dot", progress=False).score.values
        for r in (run, found)
    ]
    np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-6)


class Stop(Exception):
    pass


@pytest.mark.parametrize("after", [1, 3])
def test_interrupted_it_goes_on_where_it_stopped(recorded, tmp_path, after, monkeypatch):
    run, folder = recorded
    settings = {"path": tmp_path / "run", "layers": LAYERS, "progress": False}
    plain, left = dg.Recorder.epoch, iter(range(after))

    def until(self, epoch):
        if next(left, None) is None:
            raise Stop
        return plain(self, epoch)

    monkeypatch.setattr(dg.Recorder, "epoch", until)
    with pytest.raises(Stop):
        dg.Run.from_checkpoints(folder, net(1), TRAIN, TEST, **settings)
    evaluated = []
    monkeypatch.setattr(
        dg.Recorder, "epoch", lambda self, e: (evaluated.append(e), plain(self, e))[1]
    )
    found = dg.Run.from_checkpoints(folder, net(1), TRAIN, TEST, **settings)
    assert evaluated == list(range(after, 5))
    same_rows(found, run)


def test_a_run_of_other_checkpoints_is_not_gone_on_with(recorded, tmp_path):
    _, folder = recorded
    settings = {"path": tmp_path / "run", "progress": False}
    dg.Run.from_checkpoints(folder, net(1), TRAIN, TEST, **settings)
    others = {epoch: net(epoch) for epoch in range(6)}
    with pytest.raises(CheckpointError, match="other weights at epoch 4"):
        dg.Run.from_checkpoints(others, net(1), TRAIN, TEST, **settings)
    with pytest.raises(CheckpointError, match="not among these"):
        dg.Run.from_checkpoints({9: net()}, net(1), TRAIN, TEST, **settings)


def test_unclear_names_leave_no_run_behind(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    for name in ("net_3_71.pt", "net_4_69.pt"):
        torch.save(net(0).state_dict(), folder / name)
    with pytest.raises(CheckpointError, match="pattern="):
        dg.Run.from_checkpoints(folder, net(), TRAIN, TEST, path=tmp_path / "run")
    wrong = nn.Linear(5, 3)
    with pytest.raises(ArchitectureMismatchError):
        dg.Run.from_checkpoints(
            folder, wrong, TRAIN, TEST, path=tmp_path / "run", pattern="net_{epoch}_*.pt"
        )
    assert not (tmp_path / "run").exists()


def test_steps_are_steps(tmp_path):
    states = {f"step_{s}.pt": net(s).state_dict() for s in (10, 20)}
    for name, state in states.items():
        torch.save(state, tmp_path / name)
    run = dg.Run.from_checkpoints(tmp_path, net(), TRAIN, TEST, progress=False)
    assert run.time_unit == "step"
    assert run.epochs().tolist() == [10, 20]


def test_labels_inputs_and_tasks_are_named_as_elsewhere():
    rows = TensorDataset(Y, X, X.sum(1))  # label first, and a target of regression last
    run = dg.Run.from_checkpoints(
        {0: nn.Linear(5, 1), 1: nn.Linear(5, 1)},
        nn.Linear(5, 1),
        rows,
        rows,
        forward=lambda model, batch: model(batch[1])[:, 0],
        label=2,
        task="regression",
        progress=False,
    )
    assert "test_accuracy" not in run["metrics"]
    assert np.isfinite(run["metrics"].test_loss).all()


def test_what_only_a_training_knows_is_refused():
    with pytest.raises(SettingError, match="while it runs"):
        dg.Run.from_checkpoints({0: net()}, net(), TRAIN, TEST, replay=True)
