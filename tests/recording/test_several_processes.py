"""A training by several processes is recorded as one process with all their batches would be."""

import contextlib
import os
import time

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as distributed_checkpoint
import torch.nn.functional as F
from several import launch
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import dg_explorer as dg
from dg_explorer.checkpoints import load_checkpoint, load_weights, model_checkpoints
from dg_explorer.errors import CheckpointError
from dg_explorer.training.from_run import training_of_run
from dg_explorer.training.proof import NotDeterministicError

BATCH, ACCUMULATE, EPOCHS = 3, 2, 4


def examples(n):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n + 6, 5, generator=generator)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    ids = torch.randperm(n, generator=generator) * 3 + 7
    return x[:n], y[:n], ids, (x[n:], y[n:])


def network(*, normalized=False, dropout=0.0):
    torch.manual_seed(1)
    middle = [nn.BatchNorm1d(8)] if normalized else []
    return nn.Sequential(nn.Linear(5, 8), *middle, nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 3))


def new_run(path, n):
    _, y, ids, (_, test_y) = examples(n)
    tables = {"train": ids.numpy(), "label": y.numpy()}, {"label": test_y.numpy()}
    return dg.Run.create(path, name="several", train_examples=tables[0], test_examples=tables[1])


def data(n):
    x, y, ids, test = examples(n)
    return dg.with_ids(TensorDataset(x, y), ids.numpy()), TensorDataset(*test)


def batches(n, rank, world, epoch):
    """What a process is served in an epoch: repeats fill up, and the last batch may be short."""
    sampler = DistributedSampler(data(n)[0], world, rank, seed=3)
    sampler.set_epoch(epoch)
    return list(DataLoader(data(n)[0], BATCH, sampler=sampler))


def in_steps(served):
    return [served[i : i + ACCUMULATE] for i in range(0, len(served), ACCUMULATE)]


def optimizer_of(model):
    return torch.optim.AdamW(model.parameters(), 0.05, weight_decay=0.1)


def together(settings):
    """Where a short wait is asked for, have it begin for all at the same moment."""
    if "wait" in settings:
        torch.distributed.barrier()


def train(rank, world, path, n, settings):
    """One process of the training; `settings` say what is unusual about it."""
    bare = network(normalized=settings.get("normalized"), dropout=settings.get("dropout", 0.0))
    sharded = settings.get("sharded", False)
    if sharded:
        fully_shard(bare[0], mesh=init_device_mesh("cpu", (world,)))
        fully_shard(bare, mesh=init_device_mesh("cpu", (world,)))
    model = bare if sharded else DistributedDataParallel(bare)
    optimizer = optimizer_of(bare)
    torch.manual_seed(10 + rank)
    recorder = contextlib.nullcontext()
    if path is not None:
        there = path.exists()
        run = None if rank else dg.Run.open(path) if there else new_run(path, n)
        train_set, test = data(n)
        how = {"train": train_set, "test": test, "gradient_every": 1, "layers": ["0"]}
        how["wait"] = settings.get("wait", 120)
        together(settings)
        recorder = dg.Recorder(run, model, optimizer, **how, replay=settings.get("replay", False))
    with recorder as rec:
        first = 0
        if settings.get("resume"):
            first = rec.resume() + 1
        for epoch in range(first, settings.get("epochs", EPOCHS)):
            together(settings)
            served = batches(n, rank, world, epoch)
            for step in [[one] for one in served] if settings.get("singly") else in_steps(served):
                for k, (x, y, ids) in enumerate(step):
                    last = k == len(step) - 1
                    with contextlib.nullcontext() if last else model.no_sync():
                        logits = model(x)
                        (F.cross_entropy(logits, y) / len(step)).backward()
                    if rec is not None:
                        rec.batch(logits, y, ids)
                optimizer.step()
                optimizer.zero_grad()
            if settings.get("forgets") == (rank, epoch):
                return None
            if settings.get("dies") == (rank, epoch):
                os._exit(3)
            if settings.get("dies_writing") == (rank, epoch):
                rec._write = lambda *_: os._exit(3)  # it has the parts of all by then
            if settings.get("breaks") == (rank, epoch):
                rec.batch(torch.zeros(1, 3), torch.zeros(1, dtype=torch.long), torch.tensor([5]))
            if rec is not None:
                rec.epoch(epoch)
    if "saves_to" in settings:
        pieces = {"model": get_model_state_dict(bare), "epoch": 4}
        distributed_checkpoint.save(pieces, checkpoint_id=settings["saves_to"])
    state = get_model_state_dict(bare, options=StateDictOptions(full_state_dict=True))
    return {name: value.numpy() for name, value in state.items()}


def alone(path, n, world, *, weights="kept"):
    """The same training in one process: every slot of a step at once, by its weight."""
    model = network()
    optimizer = optimizer_of(model)
    train_set, test = data(n)
    how = {"train": train_set, "test": test, "gradient_every": 1, "layers": ["0"], "replay": True}
    with dg.Recorder(new_run(path, n), model, optimizer, **how) as rec:
        for epoch in range(EPOCHS):
            parts = [in_steps(batches(n, rank, world, epoch)) for rank in range(world)]
            for step in zip(*parts):
                slots = []
                for micro in range(max(map(len, step))):
                    for rank, own in enumerate(step):
                        if weights == "of the first process" and rank:
                            continue
                        if micro < len(own):
                            x, y, ids = own[micro]
                            share = 1 / (world * len(own) * len(x))
                            slots += [(x[i], y[i], ids[i], share) for i in range(len(x))]
                if weights == "of distinct examples":
                    slots = list({int(slot[2]): slot for slot in slots}.values())
                x, y, ids = (torch.stack([slot[k] for slot in slots]) for k in range(3))
                share = torch.tensor([slot[3] for slot in slots])
                if weights != "kept":
                    share = torch.full_like(share, 1 / len(share))
                logits = model(x)
                optimizer.zero_grad()
                (share * F.cross_entropy(logits, y, reduction="none")).sum().backward()
                rec.batch(logits, y, ids)
                optimizer.step()
            rec.epoch(epoch)
    return {name: value.numpy() for name, value in model.state_dict().items()}


def farthest(one, other):
    return max(np.abs(one[name] - other[name]).max() for name in one)


def check_equal(found, wanted):
    """Every group of two records: ids, labels, counts and predictions equal, numbers to 1e-5."""
    groups = {"dynamics/train", "dynamics/test", "features/0", "gradients", "metrics", "replay"}
    for run in (found, wanted):
        assert groups <= set(run.groups())
    for group in groups:
        one, other = found[group].load(), wanted[group].load()
        for name in other.variables:
            a, b = one[name].values, other[name].values
            if a.dtype.kind == "f":
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=f"{group} {name}")
            else:
                np.testing.assert_array_equal(a, b, err_msg=f"{group} {name}")


def check_joined(tmp_path, n, world):
    weights = launch(world, train, tmp_path / "joined", n, {"replay": True})
    wanted = alone(tmp_path / "alone", n, world)
    for own in weights:
        assert farthest(own, wanted) < 1e-5
    run = dg.Run.open(tmp_path / "joined")
    check_equal(run, dg.Run.open(tmp_path / "alone"))
    assert not np.isnan(run["dynamics/train"].loss.values).any()
    saved = load_weights(run, EPOCHS - 1)
    assert farthest({k: v.numpy() for k, v in saved.items()}, wanted) < 1e-5
    return run


def test_two_processes_are_recorded_as_one_that_has_all_their_batches(tmp_path):
    run = check_joined(tmp_path, 9, 2)
    replay = run["replay"].load()
    there = replay.train_id.values >= 0
    slots = there.sum(1)
    share = np.where(np.isnan(replay.weight), 1 / slots[:, None], replay.weight) * there
    np.testing.assert_allclose(share.sum(1), 1, rtol=1e-6)
    assert set(replay["rank"].values[there]) == set(replay.micro.values[there]) == {0, 1}
    # 9 examples fill 10 places: one is there twice in each epoch, and stays two slots
    assert there.sum() == 10 * EPOCHS
    # every stretch of the training is taken again from what is recorded
    x, y, ids, test = examples(9)
    settings = {"train": dg.with_ids(TensorDataset(x, y), ids.numpy()), "test": test}
    assert training_of_run(run, network(), **settings).proof is not None
    run.add("replay", run["replay"].load().drop_vars("weight"), overwrite=True)
    with pytest.raises(NotDeterministicError):
        training_of_run(run, network(), **settings)


@pytest.mark.second_ring(sample=0)
def test_three_processes_are_recorded_as_one_that_has_all_their_batches(tmp_path):
    check_joined(tmp_path, 13, 3)


@pytest.mark.parametrize("weights", ["even", "of the first process", "of distinct examples"])
def test_the_comparison_would_notice_other_weights(tmp_path, weights):
    wanted, other = alone(tmp_path / "a", 9, 2), alone(tmp_path / "b", 9, 2, weights=weights)
    assert farthest(wanted, other) > 0.05


BOTH = {"replay": True, "normalized": True, "dropout": 0.3}


@pytest.mark.second_ring(sample=0)
@pytest.mark.filterwarnings("ignore:replay=True will not allow")
def test_recording_changes_no_bit_of_the_training_of_several(tmp_path):
    watched = launch(2, train, tmp_path / "run", 9, BOTH)
    left_alone = launch(2, train, None, 9, BOTH)
    for one, other in zip(watched, left_alone):
        for name, values in one.items():
            np.testing.assert_array_equal(values, other[name])
    attrs = dg.Run.open(tmp_path / "run")["dynamics/test"].attrs
    assert "normalized by what the first process (rank 0) saw" in attrs["measured"]


@pytest.mark.second_ring(sample=0)
def test_resumed_in_all_processes_it_ends_where_it_would_have_ended(tmp_path):
    settings = {"dropout": 0.3}
    whole = launch(2, train, tmp_path / "whole", 9, settings)
    launch(2, train, tmp_path / "run", 9, settings | {"epochs": 2})
    resumed = launch(2, train, tmp_path / "run", 9, settings | {"resume": True})
    for one, other in zip(whole, resumed):
        for name, values in one.items():
            np.testing.assert_array_equal(values, other[name])
    one, other = (dg.Run.open(tmp_path / name) for name in ("whole", "run"))
    for group in ("dynamics/train", "metrics"):
        for name, values in one[group].load().variables.items():
            np.testing.assert_array_equal(values, other[group][name].values)
    # by one process it could not go on with the same random numbers
    model = network(dropout=0.3)
    with dg.Recorder(other, model, optimizer_of(model)) as rec:
        with pytest.raises(CheckpointError, match="2 processes wrote this checkpoint"):
            rec.resume()
        assert rec.resume(rng=False) == EPOCHS - 1


def apart(rank, world, path):
    """Each process trains a model of its own."""
    model = network()
    run = new_run(path, 9) if rank == 0 else None
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with dg.Recorder(run, model, optimizer, wait=120) as rec:
        for x, y, ids in batches(9, rank, world, 0):
            logits = model(x)
            F.cross_entropy(logits, y).backward()
            rec.batch(logits, y, ids)
            optimizer.step()
        rec.epoch(0)


def one_recorder(rank, world, path):
    """Only the first process makes a recorder."""
    if rank == 0:
        dg.Recorder(new_run(path, 9), network(), wait=3)
    else:
        time.sleep(5)


@pytest.mark.second_ring(sample=1)
@pytest.mark.parametrize(
    ("function", "settings", "said"),
    [
        (train, {"forgets": (1, 1)}, ["at epoch 1, and another has not come", None]),
        (train, {"breaks": (1, 1)}, ["could not record epoch 1: The record has", "The record has"]),
        (train, {"dies": (1, 1)}, ["at epoch 1, and another has not come", None]),
        (train, {"dies": (0, 1)}, [None, "at epoch 1, and another has not come"]),
        (train, {"dies_writing": (0, 1)}, [None, "at epoch 1, and another has not come"]),
        (apart, None, ["rank) 1 has other weights than the first one"] * 2),
        (one_recorder, None, ["waited 3 s for the others to make a Recorder", None]),
    ],
)
def test_a_process_that_is_missing_or_fails_is_an_error_in_all(tmp_path, function, settings, said):
    path = tmp_path / "run"
    arguments = (path,) if settings is None else (path, 9, settings | {"wait": 5})
    found = launch(2, function, *arguments, fails=True)
    for words, wanted in zip(found, said):
        assert wanted is None or wanted in words
    # the record has whole epochs only
    run = dg.Run.open(path)
    epochs = run.epochs("metrics").tolist() if "metrics" in run else []
    assert epochs == ([0] if settings else [])


@pytest.mark.second_ring(sample=0)
def test_weights_shared_out_among_processes_are_recorded_as_if_each_had_all(tmp_path):
    settings = {"singly": True, "replay": True}
    wanted = launch(2, train, tmp_path / "whole", 9, settings)
    folder = tmp_path / "saved" / "step_4"
    settings["saves_to"] = folder
    found = launch(2, train, tmp_path / "shared", 9, settings | {"sharded": True})
    del settings["saves_to"]
    assert farthest(found[0], wanted[0]) < 1e-5
    whole, shared = (dg.Run.open(tmp_path / name) for name in ("whole", "shared"))
    check_equal(shared, whole)
    one, other = (load_checkpoint(run, EPOCHS - 1) for run in (shared, whole))
    assert one.weights.keys() == other.weights.keys()
    for name, state in other.optimizer_state().items():
        for key, value in state.items():
            torch.testing.assert_close(
                one.optimizer_state()[name][key], value, rtol=1e-4, atol=1e-6
            )
    # so are the pieces that the processes saved themselves, whatever the model
    assert len(list(folder.glob("*.distcp"))) == 2
    saved = model_checkpoints(folder.parent)
    assert list(saved) == [4]
    assert farthest({k: v.numpy() for k, v in saved[4].items()}, found[0]) == 0
    # it goes on from its checkpoint; and one process goes on from the same
    launch(2, train, tmp_path / "run", 9, settings | {"sharded": True, "epochs": 2})
    resumed = launch(2, train, tmp_path / "run", 9, settings | {"sharded": True, "resume": True})
    assert farthest(resumed[0], found[0]) == 0
    model = network()
    with dg.Recorder(shared, model, optimizer_of(model)) as rec:
        assert rec.resume(rng=False) == EPOCHS - 1
    assert farthest({k: v.numpy() for k, v in model.state_dict().items()}, found[0]) == 0
