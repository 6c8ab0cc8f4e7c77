"""From the record alone the training can be run again, bit for bit; or the record says why not."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dg_explorer import Recorder, Run, training_of_run
from dg_explorer.checkpoints.store import load_checkpoint, load_initial, load_weights
from dg_explorer.errors import CheckpointError, DGExplorerError, SettingError
from dg_explorer.training.recorded_steps import ReplayMissingError, recorded_steps
from dg_explorer.training.step.by_hand import UnsupportedOptimizerError


@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_the_training_can_be_replayed_from_the_record_alone(task, name):
    run, model = task.run(), task.model().double()
    settings = {"AdamW": {"weight_decay": 0.1}, "SGD": {"momentum": 0.9}}[name]
    optimizer = getattr(torch.optim, name)(model.parameters(), 1e-2, **settings)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    with Recorder(run, model, optimizer, replay=True) as rec:
        for epoch in range(3):
            for x, y, ids in task.loader(epoch):
                logits = model(x.double())
                optimizer.zero_grad()
                F.cross_entropy(logits, y).backward()
                rec.batch(logits, y, ids)
                optimizer.step()
                schedule.step()
            rec.epoch(epoch)

    # nothing but the record and the examples from here on
    replay, examples = run["replay"].load(), dict(zip(task.ids.tolist(), range(60)))
    attrs = replay.attrs
    assert json.loads(attrs["missing"]) == []
    again = task.model(seed=7).double()
    kept = json.loads(attrs["settings"])[0]
    kept = {k: v for k, v in kept.items() if k in settings}
    optimizer = getattr(torch.optim, attrs["optimizer"])(again.parameters(), 1e-2, **kept)
    load_initial(run).restore(again, optimizer)
    taken = dict(zip(run["metrics"].steps_taken.values.tolist(), run.epochs().tolist()))
    for step in replay.step.values.tolist():
        row = replay.sel(step=step)
        at = [examples[i] for i in row.train_id.values.tolist() if i >= 0]
        optimizer.param_groups[0]["lr"] = float(row.learning_rate)
        optimizer.zero_grad()
        F.cross_entropy(again(task.x[at].double()), task.y[at]).backward()
        optimizer.step()
        if step + 1 in taken:
            recorded = load_weights(run, taken[step + 1])
            assert all(torch.equal(v, recorded[k]) for k, v in again.state_dict().items())
    state = load_checkpoint(run, 2).optimizer_state()
    assert set(state) == {k for k, _ in again.named_parameters()}


def test_a_replay_without_the_order_of_the_examples_names_the_call_that_gives_it(task):
    run, model = task.run(), task.model()
    optimizer = torch.optim.SGD(model.parameters(), 1e-2)
    with Recorder(run, model, optimizer, train=task.loader(0).dataset, replay=True) as rec:
        for x, y, _ in task.loader(0):
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
        rec.epoch(0)
    with pytest.raises(ReplayMissingError, match=r"order of the examples: call rec\.batch"):
        recorded_steps(run, task.ids, task.y.numpy(), [])


def test_the_record_says_plainly_that_there_is_no_replay_and_what_remains(task):
    run = task.run()
    Recorder(run, task.model(), test=task.test)
    assert "replay=True" in run.attrs["replay"]
    assert "trak" in run.attrs["replay"]
    with pytest.raises(CheckpointError, match="replay=True"):
        load_initial(run)


def test_what_an_exact_replay_lacks_is_listed(task):
    run, model = task.run(), task.model(dropout=0.5)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Recorder(run, model, optimizer, replay=True, test=task.test) as rec:
        for epoch in range(2):
            F.cross_entropy(model(task.x), task.y).backward()
            optimizer.step()  # nobody said who was in this step
            optimizer.param_groups[0]["weight_decay"] = 0.1 * epoch
            rec.epoch(epoch)
    missing = " | ".join(json.loads(run["replay"].attrs["missing"]))
    assert "dropout" in missing
    assert "order of the examples" in missing
    assert "optimizer's settings" in missing


def test_a_freeze_on_the_way_is_missing(task):
    run, model = task.run(), task.model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Recorder(run, model, optimizer, test=task.test, replay=True) as recorder:
        for epoch in range(2):
            logits = model(task.x)
            F.cross_entropy(logits, task.y).backward()
            recorder.batch(logits, task.y, task.ids)
            optimizer.step()
            model[0].requires_grad_(False)
            recorder.epoch(epoch)
    words = "of which parameters train"
    assert any(words in lacking for lacking in json.loads(run["replay"].attrs["missing"]))


def test_a_larger_batch_later_widens_the_table_of_the_order(task):
    run, model = task.run(), task.model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Recorder(run, model, optimizer, replay=True) as rec:
        for epoch, size in enumerate((4, 9, 2)):
            logits = model(task.x[:size])
            optimizer.zero_grad()
            F.cross_entropy(logits, task.y[:size]).backward()
            rec.batch(logits, task.y[:size], task.ids[:size])
            optimizer.step()
            rec.epoch(epoch)
    order = run["replay"].train_id.values
    assert [row[row >= 0].tolist() for row in order] == [task.ids[:k].tolist() for k in (4, 9, 2)]


def test_replay_without_an_optimizer_is_refused(task):
    with pytest.raises(SettingError, match="needs the optimizer"):
        Recorder(task.run(), task.model(), replay=True)


def test_what_no_derivative_goes_through_is_said_before_the_training():
    model = nn.Linear(3, 2)
    run = Run.create(name="run", train_examples={"label": np.zeros(2, dtype=int)})
    with pytest.raises(UnsupportedOptimizerError, match="through Rprop: it steps by the sign"):
        Recorder(run, model, torch.optim.Rprop(model.parameters()), replay=True)
    mixing = nn.Sequential(model, nn.BatchNorm1d(2))
    with pytest.warns(UserWarning, match="lacks gradients of single examples"):
        Recorder(run, mixing, torch.optim.SGD(model.parameters()), replay=True)


def _go_on(task, run, model, optimizer, epochs, *, named=True, **settings):
    with Recorder(run, model, optimizer, train=task.train, test=task.test, **settings) as rec:
        for epoch in epochs:
            for x, y, ids in task.loader(epoch):
                logits = model(x)
                optimizer.zero_grad()
                F.cross_entropy(logits, y).backward()
                if named:
                    rec.batch(logits, y, ids)
                optimizer.step()
            rec.epoch(epoch)


def test_a_training_that_goes_on_in_another_cell_is_one_training(task):
    run, model = task.run(), task.model()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2, eps=1e-3)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    _go_on(task, run, model, optimizer, (0, 1), replay=True)
    _go_on(task, run, model, optimizer, (2, 3), replay=True)
    assert run["metrics"].steps_taken.values.tolist() == [4, 8, 12, 16]
    assert run["replay"].step.values.tolist() == list(range(16))
    kept = load_initial(run).weights
    assert all(torch.equal(kept[name], value) for name, value in start.items())
    order = [i for e in range(4) for _, _, ids in task.loader(e) for i in ids.tolist()]
    assert [i for row in run["replay"].train_id.values for i in row if i >= 0] == order
    proof = training_of_run(run, model, train=task.train, test=task.test).proof
    assert proof.counts() == (4, 4)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"replay": True}, {}, "steps 4 to 7, recorded without replay=True"),
        ({}, {"replay": True}, "before its first step"),
        ({"replay": True, "named": False}, {"replay": True}, "order of the examples"),
    ],
)
def test_what_one_of_two_recorders_left_out_is_missing(task, first, second, words):
    run, model = task.run(), task.model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    _go_on(task, run, model, optimizer, (0,), **first)
    _go_on(task, run, model, optimizer, (1,), **second)
    with pytest.raises(DGExplorerError, match=words):
        training_of_run(run, model, train=task.train, test=task.test)


@pytest.mark.parametrize("what", ["settings", "optimizer"])
def test_a_recorder_that_goes_on_with_another_optimizer_says_so(task, what):
    run, model = task.run(), task.model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    _go_on(task, run, model, optimizer, (0,), replay=True)
    if what == "settings":
        optimizer.param_groups[0]["weight_decay"] = 0.1
    else:
        optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    _go_on(task, run, model, optimizer, (1,), replay=True)
    words = {"settings": "optimizer's settings", "optimizer": "AdamW took over at step 4"}[what]
    with pytest.raises(ReplayMissingError, match=words):
        training_of_run(run, model, train=task.train, test=task.test)
