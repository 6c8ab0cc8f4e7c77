"""What a checkpoint holds comes back exactly, and what does not fit is named."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from dg_explorer.checkpoints import (
    load_checkpoint,
    load_into,
    load_weights,
    model_checkpoints,
    save_checkpoint,
)
from dg_explorer.errors import (
    ArchitectureMismatchError,
    CheckpointError,
    DamagedRecordError,
    NonFiniteError,
)
from dg_explorer.record.store import writer
from dg_explorer.run import Run


def net(width=4, dtype=torch.float32):
    return nn.Sequential(
        nn.Linear(3, width, dtype=dtype), nn.Dropout(0.5), nn.Linear(width, 2, dtype=dtype)
    )


def train(model, optimizer, steps):
    for _ in range(steps):
        x = torch.randn(8, 3, dtype=next(model.parameters()).dtype)
        loss = model(x).square().mean() + np.random.rand() * model[0].weight.sum()  # noqa: NPY002
        loss = loss * random.random()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.fixture(params=["memory", "disk"])
def run(request, tmp_path):
    return Run.create(tmp_path / "run" if request.param == "disk" else None, name="r")


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.AdamW(p, lr=1e-2, amsgrad=True),
        lambda p: torch.optim.SGD(p, lr=1e-2, momentum=0.9, nesterov=True),
        lambda p: torch.optim.Adam(p, lr=torch.tensor(1e-2), capturable=False, foreach=False),
    ],
    ids=["AdamW", "SGD", "tensor lr"],
)
def test_a_restored_training_ends_on_the_same_bits(run, make):
    torch.manual_seed(0)
    model = net(dtype=torch.float64)
    optimizer = make(model.parameters())
    train(model, optimizer, 3)
    save_checkpoint(run, 3, model, optimizer, extra={"steps_taken": 3})
    train(model, optimizer, 4)
    again = net(dtype=torch.float64)
    optimizer_again = make(again.parameters())
    checkpoint = load_checkpoint(run, 3)
    checkpoint.restore(again, optimizer_again)
    train(again, optimizer_again, 4)
    for a, b in zip(model.state_dict().values(), again.state_dict().values()):
        assert torch.equal(a, b)
    assert checkpoint.extra == {"steps_taken": 3}


def test_the_record_lists_what_each_checkpoint_holds(run):
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    save_checkpoint(run, 0, model)
    save_checkpoint(run, 10, model, optimizer, rng=False)
    listed = run["checkpoints"]
    assert listed.holds.values.tolist() == ["weights, rng", "weights, optimizer"]
    assert list(model_checkpoints(run)) == [0, 10]
    with pytest.raises(CheckpointError, match=r"no optimizer state; it holds weights, rng"):
        load_checkpoint(run, 0).restore(model, optimizer)


def test_nothing_is_a_pickle_and_anybody_can_read_the_weights(tmp_path):
    from safetensors.torch import load

    run = Run.create(tmp_path / "r", name="r")
    model = net()
    save_checkpoint(run, 400, model, torch.optim.Adam(model.parameters()))
    files = run.blobs.names("checkpoints/epoch_000400")
    assert {name.rpartition(".")[2] for name in files} <= {"json", "safetensors"}
    raw = load(run.blobs.read("checkpoints/epoch_000400/weights.safetensors"))
    assert all(torch.equal(raw[k], v) for k, v in model.state_dict().items())


def test_optimizer_state_is_found_by_the_name_of_its_parameter(run):
    model = net()
    # numbered in another order than named_parameters gives
    groups = [{"params": [model[2].weight]}, {"params": [model[0].bias], "lr": 0.5}]
    optimizer = torch.optim.Adam(groups)
    train(model, optimizer, 2)
    save_checkpoint(run, 1, model, optimizer)
    state = load_checkpoint(run, 1).optimizer_state()
    assert set(state) == {"2.weight", "0.bias"}
    assert torch.equal(state["0.bias"]["exp_avg"], optimizer.state[model[0].bias]["exp_avg"])


def test_tied_weights_are_stored_once_and_come_back(run):
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    save_checkpoint(run, 0, model)
    weights = load_weights(run, 0)
    assert torch.equal(weights["1.weight"], model[0].weight)
    load_into(model, {"0.weight": torch.ones(3, 3)})
    assert model[1].weight.sum() == 9


def test_a_changed_byte_is_noticed(tmp_path):
    run = Run.create(tmp_path / "r", name="r")
    save_checkpoint(run, 0, net())
    run.flush()
    weights = run.blobs.read("checkpoints/epoch_000000/weights.safetensors")
    [path] = (tmp_path / "r" / "record" / "rows").iterdir()
    data = bytearray(path.read_bytes())
    data[data.index(weights) + len(weights) - 1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedRecordError, match=path.name):
        load_weights(run, 0)


def test_a_second_checkpoint_of_an_epoch_is_refused_and_leaves_the_first(run):
    model = net()
    digest = save_checkpoint(run, 5, model)
    with pytest.raises(CheckpointError, match="at epoch 5 already"):
        save_checkpoint(run, 5, net())
    assert run["checkpoints"].digest.values.tolist() == [digest]
    assert torch.equal(load_weights(run, 5)["0.weight"], model[0].weight)


def test_an_epoch_without_checkpoint_names_those_there_are(run):
    with pytest.raises(CheckpointError, match="this run has none"):
        load_weights(run, 3)
    save_checkpoint(run, 5, net())
    with pytest.raises(CheckpointError, match="No checkpoint at epoch 3; this run has 5"):
        load_weights(run, 3)


def test_another_architecture_names_the_first_keys_that_differ():
    model = net(width=4)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(
        ArchitectureMismatchError, match=r"0\.weight: \(5, 3\) in the checkpoint, \(4, 3\)"
    ):
        load_into(model, net(width=5).state_dict())
    wrong = {k.replace("2.", "head."): v for k, v in net().state_dict().items()}
    with pytest.raises(ArchitectureMismatchError, match=r"only in the model: 2\.weight, 2\.bias"):
        load_into(model, wrong)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_nan_weights_are_named():
    state = net().state_dict()
    state["2.bias"] = torch.tensor([0.0, torch.nan])
    with pytest.raises(NonFiniteError, match=r"1 of 4 weights.*2\.bias"):
        load_into(net(), state)


@pytest.mark.parametrize("prefix", ["model.", "module."])
def test_a_prefix_shared_by_all_names_may_differ(prefix):
    inner, wrapped = net(), nn.ModuleDict({prefix[:-1]: net()})
    load_into(wrapped, inner.state_dict())
    assert torch.equal(wrapped[prefix[:-1]][0].weight, inner[0].weight)
    load_into(inner, {k: v + 1 for k, v in wrapped.state_dict().items()})
    assert torch.equal(inner[0].weight, wrapped[prefix[:-1]][0].weight + 1)


def test_state_that_only_pickle_could_store_is_refused(run):
    with pytest.raises(CheckpointError, match=r"'hook' is a function"):
        save_checkpoint(run, 0, {"w": torch.ones(1), "hook": net})
    assert run.blobs.names("checkpoints") == []


@pytest.mark.parametrize("width", [40, 400_000])  # in a file that checkpoints share; of its own
def test_states_that_newer_ones_replaced_do_not_fill_the_folder(tmp_path, monkeypatch, width):
    monkeypatch.setattr(writer, "REPLACED_BYTES", 1 << 20)
    run, model = Run.create(tmp_path / "run", name="r"), net(width)
    optimizer = torch.optim.Adam(model.parameters())
    train(model, optimizer, 1)
    for epoch in range(8):
        save_checkpoint(run, epoch, model, optimizer, keep_state=epoch == 2)
    again = Run.open(tmp_path / "run")
    held = {epoch: load_checkpoint(again, epoch).holds for epoch in range(8)}
    every = ("weights", "optimizer", "rng")
    assert held == {e: every if e in (2, 7) else ("weights",) for e in range(8)}
    weights = sum(p.nbytes for p in model.parameters())
    again.flush()
    size = sum(path.stat().st_size for path in (tmp_path / "run").rglob("*"))
    assert size < (8 + 2 * 2 + 0.5) * weights + 120_000


def test_a_checkpoint_saved_anew_does_not_take_the_state_of_the_one_before_it(run):
    model = net()
    optimizer = torch.optim.Adam(model.parameters())
    train(model, optimizer, 1)
    save_checkpoint(run, 0, model, optimizer, keep_state=False)
    train(model, optimizer, 1)
    save_checkpoint(run, 0, model, rng=False, overwrite=True)
    assert load_checkpoint(run, 0).holds == ("weights",)
