"""`complete`: each step is taken once, a second call goes on, and what is not possible is named."""

import contextlib

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import dg_explorer as dg
from dg_explorer.analysis.whole_board import THERE, spread

EPOCHS = 6


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))


def data():
    x = torch.randn(36, 4, generator=torch.Generator().manual_seed(1))
    y = x[:, :3].argmax(1)
    return tuple(
        dg.with_ids(TensorDataset(x[rows], y[rows])) for rows in np.split(np.arange(36), [24])
    )


def trained(*, layers=("1",), checkpoint_every=1, n_epochs=EPOCHS):
    train, test = data()
    run = dg.Run.create(
        name="small",
        train_examples={"label": train.dataset.tensors[1].numpy()},
        test_examples={"label": test.dataset.tensors[1].numpy()},
    )
    go_on(run, range(n_epochs), layers=layers, checkpoint_every=checkpoint_every)
    return run


def go_on(run, epochs, **settings):
    train, test = data()
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    x, y = train.dataset.tensors
    with dg.Recorder(run, model, optimizer, train=train, test=test, **settings) as recorder:
        for epoch in epochs:
            loss = torch.nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            recorder.epoch(epoch)


def test_one_call_adds_what_four_calls_add():
    run, by_hand = trained(), trained()
    outcomes = dg.complete(run, network(), *data(), progress=False)
    dg.attribute(by_hand, network(), *data(), progress=False)
    dg.add_projections(by_hand, "1")
    dg.add_transitions(by_hand)
    dg.add_cartography(by_hand)
    assert run.groups() == by_hand.groups()
    assert set(outcomes) == {"scores/trak", "projections/1", "transitions", "analyses/cartography"}
    for group in outcomes:
        assert run[group].load().identical(by_hand[group].load()), group


def test_a_second_call_keeps_everything(capsys):
    run = trained()
    dg.complete(run, network(), *data())
    before = {group: run[group].load() for group in run.groups()}
    outcomes = dg.complete(run, network(), *data())
    assert set(outcomes.values()) == {THERE}
    assert all(run[group].load().identical(there) for group, there in before.items())
    said = capsys.readouterr().out
    assert all(f"{step} ..." in said for step in outcomes)


def test_a_run_that_went_on_is_completed_to_its_end():
    run = trained(n_epochs=3)
    dg.complete(run, network(), *data(), progress=False)
    go_on(run, range(3, 6), layers=("1",))
    outcomes = dg.complete(run, network(), *data(), progress=False)
    assert outcomes["scores/trak"] == "3 epochs scored"
    for group in ("scores/trak", "projections/1"):
        assert run.epochs(group).tolist() == list(range(6))
    assert run["analyses/cartography"].attrs["n_epochs"] == 6


class Interrupted(torch.nn.Sequential):
    """The network, but during its n-th forward pass somebody presses Ctrl-C."""

    def __init__(self, left):
        super().__init__(*network())
        self.left = left  # a list, which copies share: the passes are counted together

    def forward(self, x):
        self.left[0] -= 1
        if self.left[0] < 0:
            raise KeyboardInterrupt
        return super().forward(x)

    def __deepcopy__(self, memo):
        return Interrupted(self.left)


def test_interrupted_it_goes_on_when_called_again():
    run, whole = trained(), trained()
    passes, scored = 4, []
    while not scored or scored[-1] < EPOCHS:
        with contextlib.suppress(KeyboardInterrupt):
            dg.complete(run, Interrupted([passes]), *data(), progress=False)
        scored.append(len(run.epochs("scores/trak")) if "scores/trak" in run else 0)
        passes += 4
        assert len(scored) < 40
    assert any(0 < n < EPOCHS for n in scored)  # it was cut short between two rows
    dg.complete(whole, network(), *data(), progress=False)
    scores = [r["scores/trak"]["score"].values for r in (run, whole)]
    np.testing.assert_array_equal(*scores)


def test_what_the_record_does_not_allow_is_named_and_the_rest_is_done():
    run = trained(layers=())
    outcomes = dg.complete(run, progress=False)
    assert outcomes["scores"] == "not possible: they need complete(run, model, train, test)"
    assert "Recorder(run, model, layers=[...])" in outcomes["projections"]
    assert {"transitions", "analyses/cartography"} <= set(run.groups())
    bare = dg.Run.create(name="nothing was recorded")
    assert all(
        said.startswith("not possible: ") for said in dg.complete(bare, progress=False).values()
    )


def test_settings_of_your_own_are_kept():
    run = trained()
    dg.add_transitions(run, memorized_at=0.5)
    before = run["transitions"].load()
    assert dg.complete(run, progress=False)["transitions"] == THERE
    assert run["transitions"].load().identical(before)


@pytest.mark.parametrize(
    ("error", "said", "run", "model", "settings"),
    [
        (dg.CheckpointError, "no checkpoints", {"checkpoint_every": 0}, network, {}),
        (dg.ArchitectureMismatchError, "fit", {}, lambda: torch.nn.Linear(4, 3), {}),
        (dg.SettingError, "no setting 'dampning'", {}, network, {"dampning": 1}),
        (dg.SettingError, "moments=1", {}, network, {"moments": 1}),
    ],
)
def test_input_that_does_not_fit_is_refused(error, said, run, model, settings):
    with pytest.raises(error, match=said):
        dg.complete(trained(**run), model(), *data(), progress=False, **settings)


def test_half_of_what_scores_need_is_refused_with_the_other_half():
    with pytest.raises(dg.SettingError, match="test is missing"):
        dg.complete(trained(), network(), data()[0])


def test_scored_moments_are_spread_evenly_and_keep_both_ends():
    recorded = list(range(0, 1000, 7))
    chosen = spread(recorded, 20)
    assert len(set(chosen)) == 20
    assert (chosen[0], chosen[-1]) == (recorded[0], recorded[-1])
    assert chosen == sorted(chosen)
    assert set(chosen) <= set(recorded)
    assert spread([3, 5, 9], 20) == [3, 5, 9]
