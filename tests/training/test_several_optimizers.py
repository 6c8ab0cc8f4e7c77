"""Several optimizers in one training are one replay, and its scores are exact, or it is refused."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

from dg_explorer import Recorder, Run, training_of_run, with_ids
from dg_explorer.attribution.unrolled.attributor import UnrolledAttributor
from dg_explorer.checkpoints.store import load_checkpoint
from dg_explorer.errors import CheckpointError, SettingError
from dg_explorer.training.loss.trained_loss import TrainedLossError
from dg_explorer.training.many import train_many
from dg_explorer.training.recorded_steps import ReplayMissingError
from dg_explorer.training.step.by_hand import UnsupportedOptimizerError
from dg_explorer.training.step.check import step_error
from dg_explorer.training.step.clipping import Clipping
from dg_explorer.training.step.generic import OptimizerStep
from dg_explorer.training.training import margin

O = torch.optim
G = torch.Generator().manual_seed(2)
N, STEPS = 12, 5
X = torch.randn(N, 6, generator=G).double()
Y = X[:, :3].argmax(1)
XT = torch.randn(4, 6, generator=G).double()
YT = XT[:, :3].argmax(1)
ONES = torch.ones(N).double()


def network(drop=0.0):
    torch.manual_seed(0)
    layers = [nn.Linear(6, 5), nn.Tanh(), nn.Dropout(drop), nn.Linear(5, 3)]
    return nn.Sequential(*(layers if drop else [*layers[:2], layers[3]])).double()


def sgd_and_adamw(p):
    """One for the matrices, one for the rest: at rates whose ways differ by a hundred times."""
    return [
        O.SGD([x for x in p if x.dim() == 2], 0.5, momentum=0.5, weight_decay=0.01),
        O.AdamW([x for x in p if x.dim() < 2], 5e-3, eps=1e-3),
    ]


def muon_and_adamw(p):
    muon = O.Muon([x for x in p if x.dim() == 2], 0.02)
    return [muon, O.AdamW([x for x in p if x.dim() < 2], 0.01, eps=1e-3)]


def three(p):
    first, second = sgd_and_adamw(p)
    bias = second.param_groups[0]["params"].pop()
    return [first, second, O.RAdam([bias], 0.02)]


def cross_entropy(answers, labels):
    return F.cross_entropy(answers, labels, reduction="none")


def usual(model, optimizers, weights, recording, *, every=1, clip=None, steps=range(STEPS)):
    """One gradient a batch; further optimizers step at every so many, each on its schedule."""
    firsts = [one.param_groups[0]["lr"] for one in optimizers]
    for step in steps:
        for k, (one, first) in enumerate(zip(optimizers, firsts, strict=True)):
            one.param_groups[0]["lr"] = first * (0.9, 0.7, 0.8)[k] ** step
        at = torch.arange(N).roll(5 * step)[:7]
        answers = model(X[at].to(next(model.parameters())))
        model.zero_grad()
        (cross_entropy(answers, Y[at]) * weights[at]).mean().backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        if recording:
            recording.batch(answers, Y[at], at)
        for k, one in enumerate(optimizers):
            if k == 0 or step % every == 0:
                one.step()
        if recording:
            recording.epoch(step)


def in_turn(model, optimizers, weights, recording, *, losses=(cross_entropy,) * 2, name=True):
    """A gradient of its own for each optimizer, at the weights that the others left."""
    for step in range(STEPS):
        at = torch.arange(N).roll(5 * step)[:7]
        for k, (one, loss) in enumerate(zip(optimizers, losses, strict=True)):
            answers = model(X[at])
            model.zero_grad()
            (loss(answers, Y[at]) * weights[at]).mean().backward()
            if recording and (name or k == 0):
                recording.batch(answers, Y[at], at)
            one.step()
        if recording:
            recording.epoch(step)


def trained(make, loop=usual, weights=ONES, run=None, model=None, **how):
    model = model or network()
    optimizers = make(list(model.parameters()))
    if run is None:
        loop(model, optimizers, weights, None, **how)
        return model
    kind = next(model.parameters()).dtype
    train, test = with_ids(TensorDataset(X.to(kind), Y)), TensorDataset(XT.to(kind), YT)
    with Recorder(run, model, optimizers, train=train, test=test, replay=True) as recording:
        loop(model, optimizers, weights, recording, **how)
    return model


def new_run():
    return Run.create(name="run", train_examples={"label": Y}, test_examples={"label": YT})


def of_run(run, model=None, **given):
    model = model or network()
    kind = next(model.parameters()).dtype
    train, test = with_ids(TensorDataset(X.to(kind), Y)), TensorDataset(XT.to(kind), YT)
    return training_of_run(run, model, train=train, test=test, **given)


def differences(make, loop=usual, h=1e-5, **how):
    columns = []
    for direction in torch.eye(N).double():
        ends = [
            margin(trained(make, loop, 1 + sign * h * direction, **how)(XT), YT).detach()
            for sign in (1, -1)
        ]
        columns.append((ends[0] - ends[1]) / (2 * h))
    return torch.stack(columns, 1).numpy()


def scores(training, mode):
    last = [training.recorded_epochs()[-1]]
    found = UnrolledAttributor(training, dtype=torch.float64, mode=mode).attribute(epochs=last)
    return found.score.values[0]


def assert_exact(training, wanted, modes=("reverse", "forward"), tolerance=1e-6):
    assert training.proof.all_bits
    for mode in modes:
        off = np.linalg.norm(scores(training, mode) - wanted)
        assert off <= tolerance * np.linalg.norm(wanted)


def test_two_optimizers_at_their_own_paces_and_rates_are_one_replay_with_exact_scores():
    run, how = new_run(), {"every": 2, "clip": 0.1}
    trained(sgd_and_adamw, run=run, **how)
    log = run["replay"].load()
    assert log.stepped.values.tolist() == [1] * STEPS
    assert log.stepped_1.values.tolist() == [1, 0, 1, 0, 1]
    training = of_run(run, change_gradient=Clipping(norm=0.1))
    assert str(training.proof) == "5 of 5 segments proved"
    assert_exact(training, differences(sgd_and_adamw, **how))


@pytest.mark.second_ring(sample=2)
@pytest.mark.parametrize("clip", [None, 0.1])
@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("make", [sgd_and_adamw, muon_and_adamw, three])
def test_any_optimizers_at_any_pace_have_exact_scores(monkeypatch, make, every, clip):
    # Muon in float64, where a difference can see it; its derivative leaves rounding out anyway
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda tensor: tensor)
    run, how = new_run(), {"every": every, "clip": clip}
    trained(make, run=run, **how)
    given = {"change_gradient": Clipping(norm=clip)} if clip else {}
    assert_exact(of_run(run, **given), differences(make, **how))


@pytest.mark.second_ring(sample=1)
@pytest.mark.parametrize("make", [sgd_and_adamw, muon_and_adamw])
def test_in_single_precision_scores_are_the_differences_of_double_precision(monkeypatch, make):
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda tensor: tensor)
    run = new_run()
    trained(make, run=run, model=network().float(), weights=ONES.float(), every=2)
    training = of_run(run, network().float())
    assert_exact(training, differences(make, every=2), tolerance=1e-3)


def test_muon_as_it_rounds_and_adamw_for_the_rest_are_replayed_to_the_bit():
    run = new_run()
    trained(muon_and_adamw, run=run)
    assert of_run(run).proof.all_bits


@pytest.mark.second_ring(sample=1)
def test_optimizers_that_take_turns_with_a_gradient_each_have_exact_scores():
    run = new_run()
    trained(sgd_and_adamw, in_turn, run=run)
    assert run["metrics"].steps_taken.values[-1] == 2 * STEPS
    assert_exact(of_run(run), differences(sgd_and_adamw, in_turn))


def squared(answers, labels):
    return (answers - F.one_hot(labels, 3)).square().sum(1)


@pytest.mark.filterwarnings("ignore:Another loss than cross-entropy was trained")
def test_two_losses_in_turn_are_refused_by_name():
    run = new_run()
    trained(sgd_and_adamw, in_turn, run=run, losses=(cross_entropy, squared))
    with pytest.raises(TrainedLossError, match="squared error on one-hot labels"):
        of_run(run)


def left_over(model, optimizers, weights, recording):
    """The second steps at every other batch, with the gradients of both."""
    first, second = optimizers
    for step in range(STEPS):
        at = torch.arange(N).roll(5 * step)[:7]
        answers = model(X[at])
        first.zero_grad(set_to_none=False)
        cross_entropy(answers, Y[at]).mean().backward()
        recording.batch(answers, Y[at], at)
        first.step()
        if step % 2:
            second.step()
            second.zero_grad(set_to_none=False)
        recording.epoch(step)


def with_closures(model, optimizers, weights, recording):
    def closure():
        model.zero_grad()
        loss = cross_entropy(model(X), Y).mean()
        loss.backward()
        return loss

    for step in range(STEPS):
        recording.order(torch.arange(N))
        for one in optimizers:
            one.step(closure)
        recording.epoch(step)


def with_a_third_by_hand(model, optimizers, weights, recording):
    optimizers[1].param_groups[0]["params"].pop()
    for step in range(STEPS):
        answers = model(X)
        model.zero_grad()
        cross_entropy(answers, Y).mean().backward()
        recording.batch(answers, Y, torch.arange(N))
        for one in optimizers:
            one.step()
        model[2].bias.data -= 1e-4 * model[2].bias.grad
        recording.epoch(step)


def named_once(model, optimizers, weights, recording):
    in_turn(model, optimizers, weights, recording, name=False)


@pytest.mark.parametrize(
    ("loop", "words"),
    [
        (left_over, "those of AdamW also hold what was left in them by earlier batches"),
        (with_closures, "AdamW took one in a closure, after another optimizer had moved"),
        (with_a_third_by_hand, "who moves 2.bias, which no optimizer given to the recorder holds"),
        (named_once, "after SGD had stepped, another optimizer stepped with a new gradient"),
    ],
)
def test_steps_that_are_not_those_of_one_gradient_are_named_while_training(loop, words):
    run = new_run()
    with pytest.warns(UserWarning, match=f"will not allow an exact replay; .*{words}"):
        trained(sgd_and_adamw, loop, run=run)
    with pytest.raises(ReplayMissingError, match=words):
        of_run(run)


def test_a_small_parameter_that_no_recorded_optimizer_moved_is_not_lost_in_the_way_of_all():
    run = new_run()
    trained(sgd_and_adamw, run=run)
    log = run["replay"].load()
    settings = log.attrs["settings"].replace('"frozen": []', '"frozen": ["0.bias"]')
    run.add("replay", log.assign_attrs(settings=settings), overwrite=True)  # as if it stood still
    with pytest.raises(ReplayMissingError, match=r"0\.bias moved in steps 0 to 1"):
        of_run(run)


@pytest.mark.parametrize("drop", [0.0, 0.3])
def test_a_training_by_several_that_was_interrupted_goes_on_as_it_would_have(drop):
    whole, broken = new_run(), new_run()
    torch.manual_seed(1)
    model = trained(sgd_and_adamw, run=whole, model=network(drop), every=2)
    torch.manual_seed(1)
    trained(sgd_and_adamw, run=broken, model=network(drop), every=2, steps=range(3))

    def resumed(model, optimizers, weights, recording):
        assert recording.resume() == 2
        for one, first in zip(optimizers, (0.5, 5e-3), strict=True):
            one.param_groups[0]["lr"] = first
        usual(model, optimizers, weights, recording, every=2, steps=range(3, STEPS))

    again = trained(sgd_and_adamw, resumed, run=broken, model=network(drop))
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    assert broken["replay"].load().equals(whole["replay"].load())
    assert of_run(broken, network(drop)).proof.all_bits


def test_the_states_of_several_are_kept_in_their_order():
    run, model = new_run(), network()
    optimizers = sgd_and_adamw(list(model.parameters()))
    with Recorder(run, model, optimizers, replay=True, train=TensorDataset(X, Y)) as recording:
        usual(model, optimizers, ONES, recording)
    checkpoint = load_checkpoint(run, STEPS - 1)
    state = checkpoint.optimizer_state()
    assert set(state["0.weight"]) == {"momentum_buffer"}
    assert torch.equal(state["0.bias"]["exp_avg"], optimizers[1].state[model[0].bias]["exp_avg"])
    fresh = network()
    others = sgd_and_adamw(list(fresh.parameters()))
    checkpoint.restore(fresh, others)
    assert others[1].state_dict()["state"][0]["step"] == STEPS
    with pytest.raises(CheckpointError, match="the same optimizers in the same order"):
        checkpoint.restore(fresh, others[::-1])


class Both(O.Optimizer):
    """Leaves its steps to two others, as many people write it."""

    def __init__(self, optimizers):
        self.inner = dict(enumerate(optimizers))
        super().__init__([p for o in optimizers for p in o.param_groups[0]["params"]], {"lr": 1.0})

    def step(self, closure=None):
        for one in self.inner.values():
            one.step()


def test_an_optimizer_that_leaves_its_steps_to_others_is_replayed_as_those():
    def loop(model, optimizer, weights, recording):
        usual(model, [optimizer], weights, recording)

    def make(p):
        return Both(sgd_and_adamw(p))

    run = new_run()
    trained(make, loop, run=run)
    assert run["replay"].attrs["optimizer"] == "SGD and AdamW"
    training = of_run(run)
    assert_exact(training, differences(make, loop), modes=["reverse"])


def test_what_cannot_be_told_apart_is_refused_by_name_before_training():
    model = network()
    p = list(model.parameters())
    both = Both(sgd_and_adamw(p))
    both.inner[2] = O.SGD(p[:1], 0.1)
    cases = [
        (both, UnsupportedOptimizerError, r"Both holds other optimizers \(SGD and AdamW and SGD\)"),
        ([O.SGD(p[:2], 0.1), O.LBFGS(p[2:])], UnsupportedOptimizerError, "through LBFGS"),
        ([O.SGD(p[:3], 0.1), O.Adam(p[2:])], SettingError, r"2\.weight is held by two"),
        ([O.SGD(p, 0.1), network()], SettingError, "has no param_groups"),
    ]
    for optimizers, error, words in cases:
        with pytest.raises(error, match=words):
            Recorder(new_run(), model, optimizers, replay=True)


def test_many_models_at_once_rest_where_the_recorded_one_did():
    run = new_run()
    trained(sgd_and_adamw, run=run, every=2)
    training = of_run(run)
    weights = torch.ones(2, N).double()
    weights[1, 3] = 0
    starts = training.start().theta.expand(2, -1)
    for end, row in zip(train_many(training, weights, starts)[0], weights, strict=True):
        model = trained(sgd_and_adamw, weights=row, every=2)
        wanted = torch.cat([p.detach().flatten() for p in model.parameters()])
        torch.testing.assert_close(end, wanted, rtol=1e-12, atol=1e-14)


class BySign(O.SGD):
    @torch.no_grad()
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            p.add_(p.grad.sign(), alpha=-self.param_groups[0]["lr"])


def test_a_step_by_signs_is_found_beside_the_long_steps_of_another():
    model = network()
    p = list(model.parameters())
    pair = [O.SGD(p[:2], 100.0), BySign(p[2:], 1e-6)]
    rule = OptimizerStep(pair, list(model.named_parameters()))
    theta = torch.cat([x.detach().flatten() for x in p])
    state, gradient = rule.initial_state(theta), torch.ones_like(theta)
    assert step_error(rule, state, gradient, 0, None) == 1.0
    alone = OptimizerStep(pair, list(model.named_parameters()), turns=np.array([[True, False]]))
    assert step_error(alone, state, gradient, 0, None) < 1e-6
