"""While a model trains, the recorder notices another loss and gradients that were changed."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dg_explorer import CustomTask, DataError, Recorder, attribute
from dg_explorer.recording.gradient_witness import GradientWitness, next_comparison
from dg_explorer.training.loss.trained_loss import (
    TrainedLossError,
    TrainedLossWarning,
    trained_loss,
)


def train(task, loss=F.cross_entropy, *, change=None, after=None, dropout=0.0, steps=6, **how):
    """One batch a step; `change` acts between backward and step, `after` after the step."""
    run, model = task.run(), task.model(dropout=dropout)
    model = how.pop("wrap", lambda m: m)(model)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Recorder(run, model, optimizer, test=task.test, **how) as recorder:
        for step in range(steps):
            logits = model(task.x)
            optimizer.zero_grad()
            loss(logits, task.y).backward()
            if change:
                change(model, step)
            recorder.batch(logits, task.y, task.ids)
            optimizer.step()
            recorder.epoch(step)
    return run, model


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_plain_cross_entropy_is_confirmed_with_or_without_dropout(task, dropout):
    found = trained_loss(train(task, dropout=dropout)[0])
    assert (found.kind, found.gradient) == ("same", "same")
    assert found.weight_rule == "each example weighs 1/(examples of the step)"
    assert found.steps == [0, 1, 4]


def test_another_loss_is_said_at_once_and_attribute_asks_for_the_task(task):
    def squared(logits, labels):
        return F.mse_loss(logits, F.one_hot(labels, 3).float())

    with pytest.warns(TrainedLossWarning, match="squared error on one-hot labels"):
        run, model = train(task, squared, steps=2)
    data = (task.train, task.test)
    with pytest.raises(TrainedLossError, match="without task= would assume that cross-entropy"):
        attribute(run, model, *data, method="gradient_dot", progress=False)
    named = attribute(
        run, model, *data, method="gradient_dot", task="classification", progress=False
    )
    assert named.sizes["epoch"] == 2


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_weights_of_classes_are_put_into_words(task):
    weights = torch.tensor([0.5, 1.0, 3.0])
    found = trained_loss(train(task, lambda z, y: F.cross_entropy(z, y, weight=weights))[0])
    assert found.kind == "weighted"
    share = weights / weights[task.y].mean()
    assert f"0: {share[0]:.4g}, 1: {share[1]:.4g}, 2: {share[2]:.4g}" in found.weight_rule


def clip(model, step):
    nn.utils.clip_grad_norm_(model.parameters(), 0.05)


def decay(model, step):
    for p in model.parameters():
        p.grad += 0.3 * p.detach()


def filtered(model, step):
    kept = model.__dict__.setdefault("kept_gradients", [])
    kept.append([p.grad.clone() for p in model.parameters()])
    if step >= 3:
        for p, *past in zip(model.parameters(), *kept):
            p.grad += sum(past)


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (clip, "scaled", "to a norm of 0.05"),
        (decay, "other", "0.3 times the weights themselves"),
        (filtered, "other", "At step 4 something was added"),
    ],
)
def test_what_changes_a_gradient_before_the_step_is_named(task, change, kind, words):
    found = trained_loss(train(task, change=change)[0])
    assert found.kind == "same"
    assert found.gradient == kind
    assert words in found.gradient_words


def test_clipping_shows_in_the_weight_of_an_example(task):
    found = trained_loss(train(task, change=clip, steps=1)[0])
    model = task.model()
    F.cross_entropy(model(task.x), task.y).backward()
    factor = 0.05 / torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    assert f"weighs {factor:.4g}/" in found.weight_rule


def test_batches_that_are_accumulated_weigh_by_their_share(task):
    run, model = task.run(), task.model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Recorder(run, model, optimizer) as recorder:
        for part in (slice(0, 20), slice(20, 60)):
            logits = model(task.x[part])
            (F.cross_entropy(logits, task.y[part], reduction="sum") / 60).backward()
            recorder.batch(logits, task.y[part], task.ids[part])
        optimizer.step()
        recorder.epoch(0)
    found = trained_loss(run)
    assert (found.kind, found.gradient) == ("same", "same")
    assert found.weight_rule == "each example weighs 1/(examples of the step)"


def test_no_labels_no_verdict_about_the_loss_but_one_about_the_gradient(task):
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    run = task.run()
    with Recorder(run, model, optimizer, train=task.train) as recorder:
        F.cross_entropy(model(task.x), task.y).backward()
        optimizer.step()
        recorder.epoch(0)
    found = trained_loss(run)
    assert (found.kind, found.gradient) == ("unknown", "same")
    assert found.words.startswith("Whether cross-entropy was trained is not known")
    assert "nor rec.order(ids) was called" in found.words


def by_order(task, loss, *, recorded=None, train=True, steps=3, repeat=1):
    model, run = task.model(), task.run()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    given = {"train": task.train} if train else {}
    with Recorder(run, model, optimizer, task=recorded, **given) as recorder:
        for step in range(steps):
            for part in torch.arange(60).flip(0).split(20):
                recorder.order(task.ids[part].repeat(repeat))
                loss(model(task.x[part]), task.y[part]).backward()
                optimizer.step()
                optimizer.zero_grad()
            recorder.epoch(step)
    return trained_loss(run)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("train", [True, False])
def test_who_is_in_a_step_is_enough_to_compare_the_loss(task, train):
    plain = by_order(task, F.cross_entropy, recorded="classification", train=train)
    assert (plain.kind, plain.gradient) == ("same", "same")
    smooth = partial(F.cross_entropy, label_smoothing=0.1)
    other = by_order(task, smooth, recorded="classification", train=train)
    assert other.kind == "other"
    assert "label smoothing 0.1" in other.words


def test_an_inferred_task_is_inferred_from_the_examples_of_a_step(task):
    assert by_order(task, F.cross_entropy).kind == "same"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_loss_of_ones_own_is_compared_on_the_batches_of_the_data(task):
    def squared(z, y):
        return (z - F.one_hot(y, 3)).square().sum(1)

    own = CustomTask(output=lambda p, b: p[:, 0], loss=lambda p, b: squared(p, b[1]))
    assert by_order(task, lambda z, y: squared(z, y).mean(), recorded=own).kind == "same"
    other = by_order(task, F.cross_entropy, recorded=own)
    assert other.kind == "other"
    alone = by_order(task, F.cross_entropy, recorded=own, train=False)
    assert alone.kind == "unknown"
    assert "neither in the record nor in Recorder(train=...)" in alone.words


def test_examples_that_are_not_those_of_the_pass_give_no_verdict_in_words(task):
    found = by_order(task, F.cross_entropy, recorded="classification", repeat=2)
    assert found.kind == "unknown"
    assert "that were named (40) are not those of the passes (20)" in found.words


class WithLabels(nn.Module):
    """Takes its labels by name and returns a loss and logits, as Hugging Face's models do."""

    def __init__(self, inner, smoothing):
        super().__init__()
        self.inner, self.smoothing = inner, smoothing

    def forward(self, x, labels):
        logits = self.inner(x)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.smoothing)
        return {"loss": loss, "logits": logits}


@pytest.mark.parametrize(("smoothing", "kind"), [(0.0, "same"), (0.2, "other")])
def test_labels_that_the_model_takes_by_name_are_labels(task, smoothing, kind):
    model = WithLabels(task.model(), smoothing)
    witness = GradientWitness(model)
    model(task.x, labels=task.y)["loss"].backward()
    witness.before_step()
    witness.close()
    (fit,) = witness.comparisons[0].losses
    assert fit.kind == kind


class Noisy(nn.Module):
    """Adds noise from a generator of its own, which nobody can set back."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.generator = inner, torch.Generator().manual_seed(0)

    def forward(self, x):
        return self.inner(x + torch.randn(x.shape, generator=self.generator))


def test_a_pass_that_cannot_be_repeated_gives_no_verdict_and_says_so(task):
    found = trained_loss(train(task, wrap=Noisy)[0])
    assert (found.kind, found.gradient) == ("same", "unknown")
    assert "answers otherwise when the pass is repeated" in found.gradient_words


def test_running_statistics_are_not_touched_by_looking(task):
    def trained(record):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3))
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        witness = GradientWitness(model) if record else None
        for _ in range(5):
            logits = model(task.x)
            optimizer.zero_grad()
            F.cross_entropy(logits, task.y).backward()
            if witness:
                witness.batch(logits, task.y)
                witness.before_step()
            optimizer.step()
        if witness:
            witness.close()
            assert [c.gradient.kind for c in witness.comparisons] == ["same"] * 3
        return model.state_dict()

    plain, watched = trained(False), trained(True)
    assert all(torch.equal(plain[name], watched[name]) for name in plain)


def test_every_quarter_of_a_training_has_a_comparison_and_few_steps_have_one():
    steps = [0]
    while steps[-1] < 20_000:
        steps.append(next_comparison(steps[-1]))
    for n in (1_000, 3_456, 20_000):
        for quarter in range(4):
            assert any(quarter * n / 4 <= s < (quarter + 1) * n / 4 for s in steps)
        assert sum(s < n for s in steps) <= n / 75


class TwoHeads(nn.Module):
    """Answers by `head`, and beside it says what else there is."""

    def __init__(self, first):
        super().__init__()
        self.body, self.head, self.aside = nn.Linear(5, 4), nn.Linear(4, 3), nn.Linear(4, 3)
        self.first = first

    def forward(self, x):
        hidden = torch.tanh(self.body(x))
        return (self.head(hidden), hidden, self.aside(hidden))[:: 1 if self.first else -1]


def train_two(task, share, *, first=True):
    run, model = task.run(), TwoHeads(first)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Recorder(run, model, optimizer, test=task.test) as recorder:
        answers = model(task.x)
        logits, _, aside = answers if first else answers[::-1]
        loss = F.cross_entropy(logits, task.y) + share * aside.square().mean()
        loss.backward()
        recorder.batch(logits, task.y, task.ids)
        optimizer.step()
        recorder.epoch(0)
    return trained_loss(run)


@pytest.mark.filterwarnings("error")
def test_a_hidden_layer_that_is_returned_too_is_no_second_loss(task):
    assert train_two(task, 0.0).kind == "same"


def test_a_loss_that_reads_another_head_too_is_said(task):
    with pytest.warns(TrainedLossWarning, match="also reads 2 of what the model returns"):
        assert train_two(task, 1.0).kind == "other"


def test_answers_that_are_not_what_is_evaluated_are_refused(task):
    with pytest.raises(DataError, match=r"entry 2 of what .*forward="):
        train_two(task, 0.0, first=False)
    body, head = nn.Linear(5, 4), nn.Linear(4, 3)
    optimizer = torch.optim.SGD([*body.parameters(), *head.parameters()], 0.1)
    with Recorder(task.run(), body, optimizer) as recorder:
        with pytest.raises(DataError, match="parameters that the model does not hold"):
            recorder.batch(head(body(task.x)), task.y, task.ids)
        with pytest.warns(TrainedLossWarning, match="other numbers than the model returned"):
            recorder.batch(body(task.x)[:, :3] / 2, task.y, task.ids)
