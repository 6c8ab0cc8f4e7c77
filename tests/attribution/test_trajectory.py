"""Scores of a recorded run from several checkpoints, against the attributors by themselves."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from dg_explorer import Recorder, Run, attribute, with_ids
from dg_explorer.attribution.methods.source import SourceAttributor
from dg_explorer.attribution.methods.trak import TRAKAttributor
from dg_explorer.attribution.over_epochs.trajectory import attribute_trajectory, segment_times
from dg_explorer.checkpoints.store import load_weights
from dg_explorer.errors import CheckpointError, SettingError


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def data(n, seed, first):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, 4, generator=generator)
    labels = torch.randint(0, 3, (n,), generator=generator)
    return with_ids(TensorDataset(inputs, labels), np.arange(n) + first)


TRAIN, TEST = data(20, 0, 100), data(6, 1, 500)


@pytest.fixture(scope="module")
def run():
    """Six epochs of two full-batch steps; the learning rate is .1, then .05."""
    run = Run.create(
        name="small",
        train_examples={"label": [int(TRAIN[i][1]) for i in range(20)], "train": TRAIN.ids},
        test_examples={"label": [int(TEST[i][1]) for i in range(6)], "test": TEST.ids},
    )
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    inputs = torch.stack([TRAIN[i][0] for i in range(20)])
    labels = torch.tensor([int(TRAIN[i][1]) for i in range(20)])
    with Recorder(run, model, optimizer, test=TEST, replay=True) as recorder:
        for epoch in range(6):
            optimizer.param_groups[0]["lr"] = 0.1 if epoch < 3 else 0.05
            for _ in range(2):
                logits = model(inputs)
                optimizer.zero_grad()
                nn.functional.cross_entropy(logits, labels).backward()
                recorder.batch(logits, labels, TRAIN.ids)
                optimizer.step()
            recorder.epoch(epoch)
    return run


def test_times_add_up_learning_rates_over_the_steps_of_each_segment(run):
    np.testing.assert_allclose(segment_times(run, [0, 1, 2, 3, 4, 5], 3), [0.4, 0.3, 0.2])
    np.testing.assert_allclose(segment_times(run, [2, 5], 2), [0.6, 0.3])


def test_source_of_a_run_is_source_of_its_checkpoints(run):
    scores = attribute_trajectory(run, network(), TRAIN, TEST, n_checkpoints=6).score
    weights = [load_weights(run, epoch) for epoch in range(6)]
    alone = SourceAttributor(network(), checkpoints=weights, time=[0.4, 0.3, 0.2])
    wanted = alone.attribute(TRAIN, TEST).numpy()
    np.testing.assert_allclose(scores.sel(epoch=5), wanted, atol=1e-6 * abs(wanted).max())
    assert scores.train.values.tolist() == TRAIN.ids.tolist()


def test_early_checkpoints_alone_are_averaged_where_asked_for(run):
    scores = attribute_trajectory(
        run, network(), TRAIN, TEST, method="trak", epochs=[5], to_share=0.5, name="trak_early"
    )
    weights = [load_weights(run, epoch) for epoch in (0, 1, 2)]
    wanted = TRAKAttributor(network(), checkpoints=weights).attribute(TRAIN, TEST).numpy()
    got = run["scores/trak_early"].score.sel(epoch=5)
    np.testing.assert_allclose(got, wanted, atol=1e-6 * abs(wanted).max())
    assert run.made_from("scores/trak_early") == {5: {"checkpoints": [0, 1, 2]}}
    assert json.loads(scores.attrs["settings"])["to_share"] == 0.5


def test_an_epoch_without_a_checkpoint_has_no_scores(run):
    with pytest.raises(CheckpointError, match="No checkpoint at epoch 99"):
        attribute_trajectory(run, network(), TRAIN, TEST, epochs=[99], name="made_up")
    assert "scores/made_up" not in run


def test_scores_of_one_name_are_not_replaced_unasked(run):
    single = attribute(run, network(), TRAIN, TEST, method="trak", name="same", progress=False)
    with pytest.raises(SettingError, match="name= to keep both"):
        attribute_trajectory(run, network(), TRAIN, TEST, method="trak", name="same")
    np.testing.assert_array_equal(run["scores/same"].score, single.score)
    attribute_trajectory(run, network(), TRAIN, TEST, method="trak", name="same", overwrite=True)
    with pytest.raises(SettingError, match="name= to keep both"):
        attribute(run, network(), TRAIN, TEST, method="trak", name="same", progress=False)


def test_epochs_scored_before_are_kept_beside_new_ones(run):
    late = attribute_trajectory(run, network(), TRAIN, TEST, epochs=[5], name="steps").score
    both = attribute_trajectory(run, network(), TRAIN, TEST, epochs=[3, 5], name="steps").score
    assert sorted(both.epoch.values.tolist()) == [3, 5]
    np.testing.assert_array_equal(both.sel(epoch=5), late.sel(epoch=5))


def test_a_part_without_checkpoints_names_those_there_are(run):
    with pytest.raises(CheckpointError, match="this run has 0, 1, 2, 3, 4, 5"):
        attribute_trajectory(
            run, network(), TRAIN, TEST, method="trak", from_share=0.85, to_share=0.95
        )
