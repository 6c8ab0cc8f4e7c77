"""A replay is proved segment by segment, to the bit, and refused where it ends elsewhere."""

import functools
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

from dg_explorer import Recorder, Run, add_unrolled_scores, training_of_run, with_ids
from dg_explorer.attribution.unrolled.attributor import UnrolledAttributor
from dg_explorer.checkpoints.store import load_weights, save_checkpoint
from dg_explorer.evaluation.light import validity_light
from dg_explorer.training.flat_model import NotDeterministicError
from dg_explorer.training.loss.trained_loss import TrainedLossError
from dg_explorer.training.recorded_steps import ReplayMissingError
from dg_explorer.training.replay import Replay
from dg_explorer.training.step.by_hand import UnsupportedOptimizerError
from dg_explorer.training.training import margin
from dg_explorer.widgets.reading.lights import lights
from dg_explorer.widgets.reading.reader import RunReader

GENERATOR = torch.Generator().manual_seed(2)
X = torch.randn(24, 6, generator=GENERATOR).double()
Y = X[:, :3].argmax(1)
XT = torch.randn(5, 6, generator=GENERATOR).double()
YT = XT[:, :3].argmax(1)
TRAIN, TEST = with_ids(TensorDataset(X, Y)), TensorDataset(XT, YT)


def network(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)


def trained(make, *, weights=None, recorder=None, rate=None, between=None, steps=6, of=None):
    """Full batches; `between` acts after backward, `of` is the loss of each example."""
    model = network()
    optimizer = make(model)
    schedule = rate and torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    recording = recorder and recorder(model, optimizer)
    of = of or (lambda z, y: F.cross_entropy(z, y, reduction="none"))
    for step in range(steps):
        answers = model(X)
        optimizer.zero_grad()
        losses = of(answers, Y)
        (losses if weights is None else losses * weights).mean().backward()
        if between:
            between(model, step)
        if recording:
            recording.batch(answers, Y, torch.arange(24))
        optimizer.step()
        if schedule:
            schedule.step()
        if recording:
            recording.epoch(step)
    if recording:
        recording.close()
    return model


def recorded(make, **how):
    run = Run.create(name="run", train_examples={"label": Y}, test_examples={"label": YT})
    trained(
        make, recorder=lambda m, o: Recorder(run, m, o, train=TRAIN, test=TEST, replay=True), **how
    )
    return run


def finite_differences(make, h=1e-5, **how):
    columns = []
    for direction in torch.eye(24).double():
        ends = [
            margin(trained(make, weights=1 + sign * h * direction, **how)(XT), YT).detach()
            for sign in (1, -1)
        ]
        columns.append((ends[0] - ends[1]) / (2 * h))
    return torch.stack(columns, 1).numpy()


def sgd(model):
    return torch.optim.SGD(model.parameters(), 0.3, momentum=0.5)


def adamw(model, **settings):
    return torch.optim.AdamW(model.parameters(), 0.05, eps=1e-3, **settings)


def of_run(run, **how):
    return training_of_run(run, network(), train=TRAIN, test=TEST, **how)


@pytest.mark.parametrize("make", [sgd, adamw])
def test_every_segment_of_a_plain_training_is_replayed_to_the_bit(make):
    run = recorded(make)
    proof = of_run(run).proof
    assert str(proof) == "6 of 6 segments proved"
    assert proof.all_bits
    table = run["validity/replay"].load()
    assert (table.distance == 0).all()
    assert (table.moved > 0).all()


def test_the_states_that_derivatives_are_taken_at_are_the_recorded_ones():
    run = recorded(adamw)
    training = of_run(run)
    replay = Replay(training, training.start(), list(training.steps()), 6, segment_length=4)
    for epoch in range(6):
        weights = torch.cat([w.flatten() for w in load_weights(run, epoch).values()])
        assert torch.equal(replay.state(epoch + 1)[0], weights)


def test_a_segment_that_moved_nothing_proves_nothing():
    run = recorded(sgd, rate=lambda step: min(1, step / 3))
    proof = of_run(run).proof
    assert proof.counts() == (5, 5)  # of six: the first step was taken at rate 0


def clip_late(model, step):
    nn.utils.clip_grad_norm_(model.parameters(), 0.15 if step >= 3 else 1e9)


def prune(model, step):
    if step == 4:
        with torch.no_grad():
            model[0].weight.mul_(model[0].weight.abs() > 0.2)


def penalty(model, step):
    for p in model.parameters():
        p.grad += 0.1 * p.detach()


@pytest.mark.parametrize(
    ("between", "words"),
    [
        (clip_late, "steps 3 to 4 again.*shrunk to"),
        (prune, "steps 4 to 5 again.*0.weight.*written to between two steps"),
        (penalty, "steps 0 to 1 again.*L2 penalty"),
    ],
)
def test_what_was_done_between_backward_and_step_is_found_in_its_segment(between, words):
    with pytest.raises(NotDeterministicError, match=words):
        of_run(recorded(sgd, between=between))


def in_batches(model, optimizer, recorder, between=None, epochs=1, named=True):
    """Batches of six; `between` acts after backward."""
    step = 0
    for epoch in range(epochs):
        for part in torch.arange(24).split(6):
            answers = model(X[part])
            optimizer.zero_grad()
            F.cross_entropy(answers, Y[part]).backward()
            if between:
                between(model, step)
            recorder.batch(answers, Y[part], part) if named else recorder.order(part)
            optimizer.step()
            step += 1
        recorder.epoch(epoch)


@pytest.mark.parametrize(
    ("at", "named", "words"),
    [
        (2, True, r"Before step 3 the loss of \d of 6 examples.*: step 2 is the first"),
        (7, True, "All losses recorded up to step 7 agree: it is the first that differs"),
        (4, False, "It differs somewhere in steps 0 to 7"),
    ],
)
def test_within_a_segment_the_recorded_losses_name_the_first_step_that_differs(at, named, words):
    def change(model, step):
        if step == at:
            nn.utils.clip_grad_norm_(model.parameters(), 0.01)

    run = Run.create(name="run", train_examples={"label": Y}, test_examples={"label": YT})
    model = network()
    optimizer = sgd(model)
    data = {"test": TEST} if named else {"train": TRAIN, "test": TEST}
    with Recorder(run, model, optimizer, replay=True, checkpoint_every=0, **data) as recorder:
        in_batches(model, optimizer, recorder, change, epochs=2, named=named)
        save_checkpoint(run, 1, model, optimizer, extra={"steps_taken": 8})
    with pytest.raises(NotDeterministicError, match=words):
        of_run(run)


class Switched(nn.Module):
    """Takes its second layer for some batches only, so that it has a gradient at some steps."""

    def __init__(self):
        super().__init__()
        self.inner, self.extra = network(), nn.Linear(3, 3).double()

    def forward(self, x):
        answers = self.inner(x)
        return answers if x[0, 0] == X[12, 0] else answers + self.extra(answers)


def test_a_rule_that_begins_to_differ_within_a_segment_is_found():
    run = Run.create(name="run", train_examples={"label": Y}, test_examples={"label": YT})
    torch.manual_seed(0)
    model = Switched()
    optimizer = adamw(model, weight_decay=0.5)
    with Recorder(run, model, optimizer, replay=True, test=TEST) as recorder:
        in_batches(model, optimizer, recorder)
    with pytest.raises(UnsupportedOptimizerError, match=r"At step 2 .* moves extra\.weight"):
        training_of_run(run, Switched(), train=TRAIN, test=TEST)


def test_averaged_weights_put_back_are_found():
    average = {}

    def swap(model, step):
        for name, p in model.named_parameters():
            average[name] = 0.5 * average.get(name, p.detach()) + 0.5 * p.detach()
        if step == 3:
            model.load_state_dict(average)

    with pytest.raises(NotDeterministicError, match="steps 3 to 4 again"):
        of_run(recorded(sgd, between=swap))


@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_with_decoupled_decay_is_not_taken_for_coupled_decay(decoupled):
    def make(model):
        return torch.optim.Adam(
            model.parameters(), 0.05, eps=1e-3, weight_decay=0.5, decoupled_weight_decay=decoupled
        )

    run = recorded(make)
    scores = add_unrolled_scores(run, of_run(run), epochs=[5], windows=None).score.values[0]
    np.testing.assert_allclose(scores, finite_differences(make), rtol=1e-4, atol=1e-8)


def test_groups_that_interleave_keep_their_own_decay():
    def make(model):
        matrices = [model[0].weight, model[2].weight]
        rest = [model[0].bias, model[2].bias]
        groups = [{"params": matrices, "weight_decay": 0.5}, {"params": rest, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, 0.02, eps=1e-3)

    run = recorded(make)
    scores = add_unrolled_scores(run, of_run(run), epochs=[5], windows=None).score.values[0]
    np.testing.assert_allclose(scores, finite_differences(make), rtol=1e-4, atol=1e-8)


def test_a_frozen_layer_stays_where_it_is_and_the_rest_has_exact_scores():
    def make(model):
        model[0].requires_grad_(False)
        return torch.optim.AdamW(model[2].parameters(), 0.05, eps=1e-3, weight_decay=0.3)

    run = recorded(make)
    scores = add_unrolled_scores(run, of_run(run), epochs=[5], windows=None).score.values[0]
    np.testing.assert_allclose(scores, finite_differences(make), rtol=1e-4, atol=1e-8)


def test_groups_on_different_schedules_are_stepped_by_the_optimizer_itself():
    def make(model):
        return torch.optim.SGD(
            [{"params": model[0].parameters()}, {"params": model[2].parameters()}], 0.1
        )

    rate = [lambda step: 1.0, lambda step: 0.9**step]
    assert_exact(make, {}, rate=rate)


def assert_exact(make, given, **how):
    """Replayed to the bit, with scores that are finite differences of the training itself."""
    run = recorded(make, **how)
    training = of_run(run, **given)
    assert training.proof.all_bits
    scores = add_unrolled_scores(run, training, epochs=[5], windows=None).score.values[0]
    wanted = finite_differences(make, **how)
    assert np.linalg.norm(scores - wanted) <= 1e-6 * np.linalg.norm(wanted)


def test_a_training_by_another_optimizer_of_torch_has_exact_scores():
    assert_exact(lambda m: torch.optim.Adafactor(m.parameters(), 0.05), {})


class Own(torch.optim.Optimizer):
    """Momentum of someone's own, with a counter among its settings."""

    def __init__(self, params, lr=0.1):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            group["k"] = group.get("k", 0) + 1
            for p in group["params"]:
                kept = self.state[p].setdefault("kept", torch.zeros_like(p))
                kept.mul_(1 - 1 / group["k"]).add_(p.grad.data)
                p.data.add_(kept, alpha=-group["lr"])


def test_an_optimizer_of_ones_own_is_asked_for_and_then_exact():
    def make(model):
        return Own(model.parameters(), 0.2)

    with pytest.raises(
        UnsupportedOptimizerError, match=r"training_of_run\(\.\.\., optimizer=Own\)"
    ):
        of_run(recorded(make))
    assert_exact(make, {"optimizer": Own})


def clip(model, step):
    nn.utils.clip_grad_norm_(model.parameters(), 0.05)


def clipped(gradients, theta, memory):
    norm = torch.linalg.vector_norm(
        torch.stack([torch.linalg.vector_norm(g) for g in gradients.values()])
    )
    return {n: g * (0.05 / (norm + 1e-6)).clamp(max=1.0) for n, g in gradients.items()}


@pytest.mark.parametrize("make", [sgd, adamw])
def test_clipping_that_is_named_is_replayed_and_its_scores_exact(make):
    assert_exact(make, {"change_gradient": clipped}, between=clip)


def test_another_loss_is_named_by_the_caller_and_then_exact():
    def squared(answers, labels):
        return (answers - F.one_hot(labels, 3)).square().sum(1)

    with pytest.warns(UserWarning, match="squared error on one-hot labels"):
        run = recorded(sgd, of=squared)
    with pytest.raises(TrainedLossError, match="Pass loss= with the loss that was trained"):
        of_run(run)
    training = of_run(run, loss=squared)
    scores = add_unrolled_scores(run, training, epochs=[5], windows=None).score.values[0]
    np.testing.assert_allclose(scores, finite_differences(sgd, of=squared), rtol=1e-4, atol=1e-8)


def test_smoothed_labels_are_named_with_the_loss_to_pass_and_then_exact():
    def smoothed(answers, labels):
        return F.cross_entropy(answers, labels, reduction="none", label_smoothing=0.1)

    with pytest.warns(UserWarning, match="label smoothing 0.1"):
        run = recorded(adamw, of=smoothed)
    with pytest.raises(TrainedLossError, match=r"label_smoothing=0\.1\)") as refused:
        of_run(run)
    written = re.search(r"here loss=(.*?\))\.", str(refused.value))[1]
    training = of_run(run, loss=eval(written, {"functools": functools, "torch": torch}))
    assert training.proof.all_bits
    scores = add_unrolled_scores(run, training, epochs=[5], windows=None).score.values[0]
    wanted = finite_differences(adamw, of=smoothed)
    assert np.linalg.norm(scores - wanted) <= 1e-6 * np.linalg.norm(wanted)


@pytest.mark.parametrize("scale", [0.5, 24.0])
def test_a_loss_that_is_scaled_or_summed_is_replayed_with_its_scale(scale):
    def scaled(answers, labels):
        return scale * F.cross_entropy(answers, labels, reduction="none")

    def slow(model):
        return torch.optim.SGD(model.parameters(), 0.02, momentum=0.5)

    run = recorded(slow, of=scaled)
    training = of_run(run)
    assert str(training.proof) == "6 of 6 segments proved"
    scores = add_unrolled_scores(run, training, epochs=[5], windows=None).score.values[0]
    np.testing.assert_allclose(scores, finite_differences(slow, of=scaled), rtol=1e-4, atol=1e-8)


def test_another_activation_is_not_covered_by_the_proof_of_the_first():
    run = recorded(sgd)
    of_run(run)
    other = network()
    other[1] = nn.ReLU()
    with pytest.raises(NotDeterministicError, match="steps 0 to 1 again"):
        training_of_run(run, other, train=TRAIN, test=TEST)


def test_scores_and_their_light_say_how_much_of_the_replay_is_proved():
    run = recorded(sgd)
    unproved = of_run(run, verify=False)
    scores = add_unrolled_scores(run, unproved, epochs=[5], windows=None)
    assert scores.attrs["replay"] == "0 of 6 segments proved"
    light = validity_light(run, 5, method="unrolled")
    assert light.colour == "amber"
    assert "0 of 6 segments" in str(light)
    of_run(run)
    assert "6 of 6 segments" in str(validity_light(run, 5, method="unrolled"))


def test_a_replay_that_failed_makes_the_light_red_from_there_on():
    run = recorded(sgd, between=clip_late)
    with pytest.raises(NotDeterministicError):
        of_run(run)
    colours = [validity_light(run, epoch, method="unrolled").colour for epoch in range(6)]
    assert colours[3:] == ["red"] * 3
    assert "red" not in colours[:3]
    assert lights(RunReader(run)) == {}  # it has no scores
    training = of_run(recorded(sgd))
    run.add("scores/unrolled", UnrolledAttributor(training).attribute(epochs=[1, 5]))
    shown = lights(RunReader(run))
    assert shown["light/unrolled/text"][-1] == "validity red: 3 of 6 segments proved"
    assert (
        "The replay of the training ends elsewhere at epoch 3"
        in (shown["light/unrolled/detail"][-1])
    )


def test_a_recorded_training_has_one_start():
    training = of_run(recorded(sgd))
    with pytest.raises(TypeError, match="Seed 1 was asked for"):
        training.start(seed=1)


CLASS_WEIGHTS = torch.tensor([0.2, 1.0, 6.0]).double()


def by_class(answers, labels):
    return F.cross_entropy(answers, labels, weight=CLASS_WEIGHTS, reduction="none")


@pytest.mark.filterwarnings("ignore:Cross-entropy was trained with weights by label")
@pytest.mark.parametrize("rate", [None, lambda step: min(1, step / 3)])
def test_class_weights_are_replayed_and_their_scores_exact(rate):
    run = recorded(adamw, of=by_class, rate=rate)
    weight = run["replay"].weight.values
    np.testing.assert_allclose(weight, np.tile(CLASS_WEIGHTS[Y] / 24, (6, 1)), rtol=1e-6)
    training = of_run(run)
    assert training.proof.counts() == ((6, 6) if rate is None else (5, 5))
    scores = add_unrolled_scores(run, training, epochs=[5], windows=None).score.values[0]
    wanted = finite_differences(adamw, of=by_class, rate=rate)
    # the weights are read off gradients, to 1e-6 as above, and so the scores
    np.testing.assert_allclose(scores, wanted, rtol=1e-4, atol=1e-6 * np.abs(wanted).max())


def focal(answers, labels):
    losses = F.cross_entropy(answers, labels, reduction="none")
    return (1 - torch.exp(-losses)) ** 2 * losses


@pytest.mark.filterwarnings("ignore:Cross-entropy was trained with weights that fall")
def test_weights_that_follow_the_answers_are_no_weights():
    run = recorded(sgd, of=focal)
    with pytest.raises(TrainedLossError, match="focal"):
        of_run(run)


def accumulated(weights=None, recorder=None, uneven=True):
    """Two batches of 6 and 18 examples a step; the mean of their means, or of all examples."""
    model = network()
    optimizer = sgd(model)
    recording = recorder and recorder(model, optimizer)
    for step in range(5):
        optimizer.zero_grad()
        for part in (slice(0, 6), slice(6, 24)):
            answers, n = model(X[part]), part.stop - part.start
            losses = F.cross_entropy(answers, Y[part], reduction="none")
            losses = losses if weights is None else losses * weights[part]
            (losses.sum() / (2 * n if uneven else 24)).backward()
            if recording:
                recording.batch(answers, Y[part], torch.arange(24)[part])
        optimizer.step()
        if recording:
            recording.epoch(step)
    if recording:
        recording.close()
    return model


@pytest.mark.filterwarnings("ignore:Cross-entropy was trained with weights that differ")
@pytest.mark.parametrize("uneven", [False, True])
def test_accumulated_batches_are_replayed_with_the_weight_of_each_slot(uneven):
    run = Run.create(name="run", train_examples={"label": Y}, test_examples={"label": YT})
    accumulated(
        recorder=lambda m, o: Recorder(run, m, o, train=TRAIN, test=TEST, replay=True),
        uneven=uneven,
    )
    assert ("weight" in run["replay"]) == uneven
    training = of_run(run)
    assert str(training.proof) == "5 of 5 segments proved"
    scores = add_unrolled_scores(run, training, epochs=[4], windows=None).score.values[0]
    h, columns = 1e-5, []
    for direction in torch.eye(24).double():
        up, down = (
            margin(accumulated(1 + sign * h * direction, uneven=uneven)(XT), YT) for sign in (1, -1)
        )
        columns.append((up - down).detach() / (2 * h))
    np.testing.assert_allclose(scores, torch.stack(columns, 1).numpy(), rtol=1e-4, atol=1e-8)


def test_scores_through_which_no_derivative_came_are_red():
    run = recorded(sgd)
    training = of_run(run)
    light = validity_light(run, 5, method="unrolled")
    assert light.parts == {"exact": "green", "predicts": "grey"}
    still = training.with_changes(output=lambda answers, labels: 0 * answers.sum(1))
    add_unrolled_scores(run, still, epochs=[5], windows=None)
    light = validity_light(run, 5, method="unrolled")
    assert (light.colour, light.parts["exact"]) == ("red", "red")
    assert "all 0 or not finite" in str(light)


def test_numbers_are_replayed_by_the_loss_that_the_record_names():
    targets = X @ torch.linspace(-1, 1, 6).double()
    rows = with_ids(TensorDataset(X, targets[:, None])), TensorDataset(XT, XT[:, :1])

    def train(weights, recorder=None):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)).double()
        optimizer = torch.optim.Adam(model.parameters(), 0.02)
        recording = recorder and recorder(model, optimizer)
        for step in range(4):
            answers = model(X)
            optimizer.zero_grad()
            ((answers[:, 0] - targets).square() * weights).mean().backward()
            if recording:
                recording.batch(answers, targets[:, None], torch.arange(24))
            optimizer.step()
            if recording:
                recording.epoch(step)
        return model

    run = Run.create(name="numbers", train_examples={"train": np.arange(24)})

    def recorder(model, optimizer):
        how = {"train": rows[0], "test": rows[1], "task": "regression"}
        return Recorder(run, model, optimizer, replay=True, **how)

    model = train(torch.ones(24).double(), recorder)
    training = training_of_run(run, model, train=rows[0], test=rows[1])
    found = UnrolledAttributor(training, dtype=torch.float64).attribute(epochs=[3])
    h, one = 1e-5, torch.eye(24).double()[7]
    more, less = (train(1 + sign * h * one)(XT).detach()[:, 0] for sign in (1, -1))
    wanted = ((more - less) / (2 * h)).numpy()
    assert np.allclose(found.score.sel(train=7).values[0], wanted, rtol=1e-5, atol=1e-9)


def test_a_step_in_single_precision_is_checked_in_double_precision():
    run = Run.create(name="run", train_examples={"label": Y}, test_examples={"label": YT})
    model = network(torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), 0.05, eps=1e-3, amsgrad=True)
    data = with_ids(TensorDataset(X.float(), Y)), TensorDataset(XT.float(), YT)
    with Recorder(run, model, optimizer, train=data[0], test=data[1], replay=True) as recording:
        for step in range(3):
            answers = model(X.float())
            optimizer.zero_grad()
            F.cross_entropy(answers, Y).backward()
            recording.batch(answers, Y, torch.arange(24))
            optimizer.step()
            recording.epoch(step)
    training = training_of_run(run, network(torch.float32), train=data[0], test=data[1])
    assert training.optimizer.generic
    assert training.proof.all_bits


class Resting(nn.Module):
    """Batch norm and one of two dropouts are left in eval mode, as people do who fine-tune."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
        self.drop, self.never = nn.Dropout(0.3), nn.Dropout(0.9)
        self.norm(torch.randn(50, 8, generator=torch.Generator().manual_seed(0)) * 2 + 1)

    def forward(self, x):
        return self.b(self.never(self.drop(torch.tanh(self.norm(self.a(x))))))

    def train(self, mode=True):
        super().train(mode)
        self.norm.eval()
        self.never.eval()
        return self


def _trained_by_closures(weights, recorder=None):
    """A step's closure says who is in it; batches of 8."""
    torch.manual_seed(3)
    model = Resting().double().train()
    optimizer = adamw(model)
    recording = recorder and recorder(model, optimizer)
    for epoch in range(2):
        for ids in torch.randperm(24, generator=torch.Generator().manual_seed(epoch)).split(8):

            def closure(ids=ids):
                optimizer.zero_grad()
                answers = model(X[ids])
                losses = F.cross_entropy(answers, Y[ids], reduction="none") * weights[ids]
                losses.mean().backward()
                if recording:
                    recording.batch(answers, Y[ids], ids)
                return losses.mean()

            optimizer.step(closure)
        if recording:
            recording.epoch(epoch)
    return model


def test_layers_in_eval_mode_and_steps_with_a_closure_are_replayed_as_they_trained():
    run = Run.create(name="run", train_examples={"label": Y}, test_examples={"label": YT})

    def recorder(model, optimizer):
        return Recorder(run, model, optimizer, train=TRAIN, test=TEST, replay=True)

    ones = torch.ones(24).double()
    model = _trained_by_closures(ones, recorder)  # whose recorder nobody has closed
    nn.Module.train(model)  # as a model comes from its constructor
    training = training_of_run(run, model, train=TRAIN, test=TEST)
    (found,) = add_unrolled_scores(run, training, epochs=[1], windows=None).score.values
    for train in (0, 13):
        h = 1e-5 * (torch.arange(24) == train)
        more, less = (
            margin(_trained_by_closures(ones + sign * h).eval()(XT), YT) for sign in (1, -1)
        )
        slope = ((more - less) / 2e-5).detach().numpy()
        np.testing.assert_allclose(found[:, train], slope, rtol=1e-5, atol=1e-8)


def test_a_batch_norm_that_begins_to_train_later_is_missed():
    run = Run.create(name="run", train_examples={"label": Y}, test_examples={"label": YT})
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)).double().eval()
    optimizer = sgd(model)
    with Recorder(run, model, optimizer, train=TRAIN, test=TEST, replay=True) as recorder:
        for epoch in range(2):
            model.train(epoch == 1)
            answers = model(X)
            optimizer.zero_grad()
            F.cross_entropy(answers, Y).backward()
            recorder.batch(answers, Y, torch.arange(24))
            optimizer.step()
            recorder.epoch(epoch)
    with pytest.raises(ReplayMissingError, match="mixes the examples"):
        training_of_run(run, model, train=TRAIN, test=TEST)


def test_examples_in_single_precision_are_replayed_by_a_model_in_double_precision():
    single = with_ids(TensorDataset(X.float(), Y))
    run = Run.create(name="run", train_examples={"label": Y}, test_examples={"label": YT})
    model = network()
    optimizer = sgd(model)
    with Recorder(run, model, optimizer, train=single, test=TEST, replay=True) as recorder:
        for epoch in range(2):
            answers = model(X.float().double())
            optimizer.zero_grad()
            F.cross_entropy(answers, Y).backward()
            recorder.batch(answers, Y, torch.arange(24))
            optimizer.step()
            recorder.epoch(epoch)
    assert training_of_run(run, model, train=single, test=TEST).proof.all_bits


class SGD(torch.optim.Optimizer):
    """Has the name of one of torch's, and steps half as far."""

    def __init__(self, parameters, lr=0.1):
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(p.grad, alpha=group["lr"] / 2)


def test_an_optimizer_with_the_name_of_one_of_torchs_is_not_taken_for_it():
    run = recorded(lambda model: SGD(model.parameters()), steps=2)
    with pytest.raises(UnsupportedOptimizerError, match=f"SGD of {__name__}.*optimizer=SGD"):
        training_of_run(run, network(), train=TRAIN, test=TEST)
    training = training_of_run(run, network(), train=TRAIN, test=TEST, optimizer=SGD)
    assert training.proof.all_bits
