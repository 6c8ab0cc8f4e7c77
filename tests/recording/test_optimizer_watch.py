"""Whoever steps the weights is seen: another optimizer, a second one, or none at all."""

import contextlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dg_explorer import Recorder
from dg_explorer.errors import SettingError


def step(task, model, optimizer):
    optimizer.zero_grad()
    F.cross_entropy(model(task.x), task.y).backward()
    optimizer.step()


def replaced(task, run):
    """Two epochs by SGD, two by an Adam that nobody told the recorder of."""
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), 0.3)
    with Recorder(run, model, optimizer, train=task.train, gradient_every=1) as recorder:
        for epoch in range(4):
            if epoch == 2:
                optimizer = torch.optim.Adam(model.parameters(), 0.05)
            step(task, model, optimizer)
            recorder.epoch(epoch)


def test_steps_and_rates_follow_an_optimizer_that_takes_over(task):
    run = task.run()
    with pytest.warns(UserWarning, match="Another optimizer .Adam. has taken over"):
        replaced(task, run)
    assert run["metrics"].steps_taken.values.tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(run["metrics"].learning_rate.values, [0.3, 0.3, 0.05, 0.05])
    assert run["gradients"].sampled_steps.values.tolist() == [1, 1, 1, 1]


def test_two_recorders_of_one_optimizer_both_see_its_steps(task):
    models = task.model(0), task.model(1)
    optimizer = torch.optim.SGD([p for m in models for p in m.parameters()], 0.3)
    runs = task.run(), task.run()
    recorders = [
        Recorder(run, model, optimizer, train=task.train) for run, model in zip(runs, models)
    ]
    for epoch in range(3):
        optimizer.zero_grad()
        sum(F.cross_entropy(model(task.x), task.y) for model in models).backward()
        optimizer.step()
        for recorder in recorders:
            recorder.epoch(epoch)
    for recorder, run in zip(recorders, runs):
        recorder.close()
        assert run["metrics"].steps_taken.values.tolist() == [1, 2, 3]


def updated_by_hand(task, run):
    """Two epochs whose updates no optimizer takes and no counter of torch sees."""
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), 0.3)
    with Recorder(run, model, optimizer, train=task.train) as recorder:
        for epoch in range(2):
            for p in model.parameters():
                p.data.sub_(0.01)
            recorder.epoch(epoch)


class Shrinking(torch.optim.SGD):
    """Its own step calls its parent's, which has hooks too, and goes on writing after it."""

    fails = False

    def step(self, closure=None):
        found = super().step(closure)
        if self.fails:
            raise ValueError("a step that raises")
        with torch.no_grad():
            for p in self.param_groups[0]["params"]:
                p.mul_(0.99)
        return found


def test_a_step_that_calls_its_parents_counts_once_and_raising_hides_no_later_one(task):
    torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], 0.1)  # whose step has hooks from now on
    run, model = task.run(), task.model()
    optimizer = Shrinking(model.parameters(), 0.1)
    with Recorder(run, model, optimizer, test=task.test, gradient_every=1) as recorder:
        for fails in (False, True, False, False):
            Shrinking.fails = fails
            logits = model(task.x)
            F.cross_entropy(logits, task.y).backward()
            recorder.batch(logits, task.y, task.ids)
            with contextlib.suppress(ValueError):
                optimizer.step()
        recorder.epoch(0)
    assert run["metrics"].steps_taken.item() == 4
    assert run["gradients"].sampled_steps.item() == 4
    assert (run["gradients"].update_ratio > 0.005).all()


def test_weights_that_change_without_a_step_are_said_and_have_no_rate(task):
    run = task.run()
    with pytest.warns(UserWarning, match="no step of a torch optimizer was seen"):
        updated_by_hand(task, run)
    assert np.isnan(run["metrics"].learning_rate.values).all()
    assert run["metrics"].steps_taken.values.tolist() == [0, 0]


@pytest.mark.filterwarnings("error")
def test_recording_twice_without_training_in_between_is_no_alarm(task):
    run, model = task.run(), task.model()
    optimizer = torch.optim.SGD(model.parameters(), 0.3)
    with Recorder(run, model, optimizer, train=task.train, test=task.test) as recorder:
        recorder.epoch(0)
        step(task, model, optimizer)
        recorder.epoch(1)
        recorder.epoch(2)
    assert run.attrs["weights_watched"] == {}


def test_pruning_between_two_steps_is_noticed_with_its_step(task):
    run, model = task.run(), task.model()
    optimizer = torch.optim.SGD(model.parameters(), 0.3)
    with Recorder(run, model, optimizer, train=task.train) as recorder:
        for k in range(4):
            step(task, model, optimizer)
            if k == 1:
                with torch.no_grad():
                    model[0].weight.mul_(model[0].weight.abs() > 0.1)
        recorder.epoch(0)
    (what,) = run.attrs["weights_watched"]
    assert "written to between two steps" in what
    assert run.attrs["weights_watched"][what] == 2


class Around(torch.optim.SGD):
    """Steps by another optimizer inside its own step, as SAM does."""

    def __init__(self, parameters, base):
        super().__init__(parameters, lr=0.1)
        self.base = base

    def step(self, closure=None):
        self.base.step()


def test_averaged_weights_that_are_put_in_for_an_epochs_end_are_noticed(task):
    run, model = task.run(), task.model()
    optimizer = torch.optim.SGD(model.parameters(), 0.3)
    with Recorder(run, model, optimizer, test=task.test) as recorder:
        for epoch in range(3):
            step(task, model, optimizer)
            if epoch == 2:
                kept = {name: p.clone() for name, p in model.state_dict().items()}
                model.load_state_dict({name: 0.9 * p for name, p in kept.items()})
            recorder.epoch(epoch)
            if epoch == 1:
                assert run.attrs["weights_watched"] == {}
    (what,) = run.attrs["weights_watched"]
    assert "averaging" in what


def test_an_optimizer_within_the_step_of_the_watched_one_is_not_counted_again(task):
    run, model = task.run(), task.model()
    base = torch.optim.SGD(model.parameters(), 0.1)
    optimizer = Around(model.parameters(), base)
    with Recorder(run, model, optimizer, train=task.train) as recorder:
        step(task, model, optimizer)
        recorder.epoch(0)
    assert run["metrics"].steps_taken.values.tolist() == [1]
    assert run.attrs["weights_watched"] == {}


def test_the_update_of_a_second_optimizers_layer_is_not_taken_for_zero(task):
    run, model = task.run(), task.model()
    first = torch.optim.SGD(model[0].parameters(), 0.1)
    second = torch.optim.Adam(model[3].parameters(), 0.1)
    with Recorder(run, model, first, train=task.train, gradient_every=1) as recorder:
        first.zero_grad()
        second.zero_grad()
        F.cross_entropy(model(task.x), task.y).backward()
        first.step()
        second.step()
        recorder.epoch(0)
    ratio = run["gradients"].update_ratio.isel(epoch=0)
    assert ratio.sel(layer="0") > 0
    assert np.isnan(ratio.sel(layer="3"))
    assert any("second optimizer (Adam)" in what for what in run.attrs["weights_watched"])


def test_several_optimizers_that_step_with_one_gradient_take_one_step(task):
    run, model = task.run(), task.model()
    first = torch.optim.SGD(model[0].parameters(), 0.1)
    second = torch.optim.Adam(model[3].parameters(), 0.2)
    with Recorder(run, model, (first, second), train=task.train, gradient_every=1) as recorder:
        for epoch in range(3):
            model.zero_grad()
            F.cross_entropy(model(task.x), task.y).backward()
            first.step()
            if epoch != 1:
                second.step()
            second.param_groups[0]["lr"] = 0.05
            recorder.epoch(epoch)
    metrics = run["metrics"]
    assert metrics.steps_taken.values.tolist() == [1, 2, 3]
    np.testing.assert_allclose(metrics.learning_rate.values, 0.1)
    # that of the last step it took: in the second epoch it rested
    np.testing.assert_allclose(metrics.learning_rate_1.values, [0.2, 0.2, 0.05])
    moved = run["gradients"].update_ratio.sel(layer="3").values > 0
    assert moved.tolist() == [True, False, True]
    assert run.attrs["weights_watched"] == {}


def test_a_parameter_of_two_optimizers_is_refused_by_its_name(task):
    model = task.model()
    both = [torch.optim.SGD(model.parameters(), 0.1), torch.optim.Adam(model[3].parameters())]
    with pytest.raises(SettingError, match=r"3\.weight is held by two of the optimizers"):
        Recorder(task.run(), model, both)


def test_a_layer_that_begins_to_train_later_has_gradients_from_then_on(task):
    run, model = task.run(), task.model()
    model[0].requires_grad_(False)
    optimizer = torch.optim.SGD(model[3].parameters(), 0.1)
    norms = []
    with Recorder(run, model, optimizer, train=task.train, gradient_every=1) as recorder:
        for epoch in range(4):
            if epoch == 2:
                model[0].requires_grad_(True)
                optimizer.add_param_group({"params": list(model[0].parameters())})
            optimizer.zero_grad()
            F.cross_entropy(model(task.x), task.y).backward()
            grads = [p.grad for p in model[0].parameters()]
            norms.append(
                np.nan if epoch < 2 else float(torch.cat([g.flatten() for g in grads]).norm())
            )
            optimizer.step()
            recorder.epoch(epoch)
    np.testing.assert_allclose(run["gradients"].norm.sel(layer="0").values, norms, rtol=1e-5)


@pytest.mark.filterwarnings("error")
def test_a_training_of_which_only_the_gradients_are_recorded_has_its_steps(task):
    run, model = task.run(), task.model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Recorder(run, model, optimizer) as recorder:
        for epoch in range(2):
            step(task, model, optimizer)
            recorder.epoch(epoch)
    assert run["metrics"].steps_taken.values.tolist() == [1, 2]
