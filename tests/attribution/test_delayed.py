"""Scores over epochs: the record of DelayedGeneralizationTRAK, and what is read from it."""

import numpy as np
import pytest
import torch
import xarray as xr
from attribution_models import examples, mlp
from scipy.stats import spearmanr
from torch.utils.data import DataLoader

from dg_explorer import Run, with_ids
from dg_explorer.attribution import TRAKAttributor
from dg_explorer.attribution.over_epochs.delayed import DelayedGeneralizationTRAK
from dg_explorer.attribution.over_epochs.score_changes import (
    attribution_evolution,
    epoch_scores,
    phase_transition_examples,
)
from dg_explorer.errors import MissingGroupError, SettingError, UnknownExampleError

N_TRAIN, N_TEST, EPOCHS = 17, 5, (0, 100, 400)


@pytest.fixture
def data():
    return examples(N_TRAIN), examples(N_TEST, seed=1)


def shown(data, epochs=EPOCHS, **settings):
    """An attributor that was shown a checkpoint an epoch."""
    model = mlp(9)
    trak = DelayedGeneralizationTRAK(model=model, task="classification", **settings)
    for epoch in epochs:
        model.load_state_dict(mlp(epoch).state_dict())
        trak.compute_epoch_features(dataloader=DataLoader(data[0], 4), epoch=epoch, split="train")
        trak.compute_epoch_features(dataloader=DataLoader(data[1], 4), epoch=epoch, split="test")
    return trak


@pytest.mark.parametrize("proj_dim", [None, 64])
def test_the_record_holds_the_scores_of_each_epoch(data, proj_dim):
    trak = shown(data, proj_dim=proj_dim)
    for epoch in EPOCHS:
        expected = TRAKAttributor(mlp(epoch), proj_dim=proj_dim).attribute(*data)
        found = trak.run["scores/trak"]["score"].sel(epoch=epoch)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
    labels = trak.run["train_examples"]["label"].values
    assert np.array_equal(labels, data[0].tensors[1].numpy())


def test_epochs_may_come_in_any_order(data):
    straight, mixed = shown(data), shown(data, epochs=(400, 0, 100))
    xr.testing.assert_identical(mixed.run["scores/trak"].load(), straight.run["scores/trak"].load())


def test_scores_without_the_weight_times_the_weight_are_the_scores(data):
    trak = shown(data)
    plain = epoch_scores(trak.run, 100)
    weight = trak.run["scores/trak"]["weight"].sel(epoch=100).values
    np.testing.assert_allclose(
        plain * weight, epoch_scores(trak.run, 100, weighted=True), rtol=1e-6
    )
    unweighted = TRAKAttributor(mlp(100))
    features = [unweighted.compute_features(d) for d in data]
    np.testing.assert_allclose(plain, unweighted.unweighted(*features), rtol=1e-4, atol=1e-8)


def test_evolution_agrees_with_a_slow_count(data):
    trak = shown(data)
    found = trak.analyze_attribution_evolution(test_idx=3, epochs=EPOCHS, top_k=4)
    rows = {e: epoch_scores(trak.run, e).sel(test=3).values for e in EPOCHS}
    for epoch in EPOCHS:
        order = sorted(range(N_TRAIN), key=lambda i: -rows[epoch][i])[:4]
        assert found["top_train"].sel(epoch=epoch).values.tolist() == order
        assert found["top_score"].sel(epoch=epoch).values == pytest.approx(rows[epoch][order])
    now, before = rows[100], rows[0]
    assert float(found["rank_correlation"].sel(epoch=100)) == pytest.approx(
        spearmanr(now, before).statistic
    )
    turned = sum(1 for a, b in zip(now, before) if (a > 0) != (b > 0)) / N_TRAIN
    assert float(found["sign_changes"].sel(epoch=100)) == pytest.approx(turned)
    shared = set(found["top_train"].sel(epoch=100).values) & set(
        found["top_train"].sel(epoch=0).values
    )
    assert float(found["top_overlap"].sel(epoch=100)) == len(shared) / 4
    assert np.isnan(found["rank_correlation"].sel(epoch=0))


def test_who_gains_and_who_loses_agrees_with_a_slow_count(data):
    trak = shown(data)
    found = trak.find_phase_transition_examples(
        pre_transition_epoch=0, post_transition_epoch=400, top_k=5
    )
    pre, post = epoch_scores(trak.run, 0).values, epoch_scores(trak.run, 400).values
    change = [np.mean(post[:, i]) - np.mean(pre[:, i]) for i in range(N_TRAIN)]
    up = sorted((i for i in range(N_TRAIN) if change[i] > 0), key=lambda i: -change[i])[:5]
    down = sorted((i for i in range(N_TRAIN) if change[i] < 0), key=lambda i: change[i])[:5]
    assert found["gained_influence_indices"].tolist() == up
    assert found["lost_influence_indices"].tolist() == down
    assert found["gained_influence_scores"] == pytest.approx([change[i] for i in up])
    assert found["lost_influence_scores"] == pytest.approx([change[i] for i in down])
    flips = [[pre[q, i] * post[q, i] < 0 for i in range(N_TRAIN)] for q in range(N_TEST)]
    assert found["sign_flip_share"] == pytest.approx(np.mean(flips))
    shares = np.mean(flips, 0)
    assert found["sign_flip_shares"] == pytest.approx(sorted(shares[shares > 0])[::-1][:5])
    assert [shares[i] for i in found["sign_flip_indices"]] == pytest.approx(
        found["sign_flip_shares"]
    )


def planted():
    """Three epochs in which example 12 rises, 15 falls and 14 turns its sign."""
    score = np.zeros((2, 3, 4))
    score[0] = [[1, 1, 1, -1]] * 3
    score[1] = [[1, 3, 1, 1]] * 3
    score[1][:, 2] = -2
    run = Run.create(name="planted")
    coords = {"epoch": [1, 2], "test": [7, 8, 9], "train": [11, 12, 14, 15]}
    run.add("scores/own", xr.Dataset({"score": (("epoch", "test", "train"), score)}, coords))
    return run


def test_planted_changes_are_found_by_id():
    found = phase_transition_examples(planted(), 1, 2, name="own")
    assert found["gained_influence_indices"].tolist() == [12, 15]
    assert found["gained_influence_scores"].tolist() == [2, 2]
    assert found["lost_influence_indices"].tolist() == [14]
    assert found["lost_influence_scores"].tolist() == [-3]
    assert sorted(found["sign_flip_indices"].tolist()) == [14, 15]
    assert found["sign_flip_share"] == 0.5


def test_no_change_means_that_nobody_gains():
    found = phase_transition_examples(planted(), 1, 1, name="own")
    for key in ("gained_influence", "lost_influence", "sign_flip"):
        assert len(found[f"{key}_indices"]) == 0
    assert found["sign_flip_share"] == 0


def test_ids_name_the_examples(data):
    train = with_ids(data[0], 100 + np.arange(N_TRAIN))
    test = with_ids(data[1], 1000 + np.arange(N_TEST))
    model = mlp()
    trak = DelayedGeneralizationTRAK(model)
    loader = DataLoader(train, 5, shuffle=True)
    for epoch in (0, 1):
        model.load_state_dict(mlp(epoch).state_dict())
        trak.compute_epoch_features(loader, epoch, "train")
        trak.compute_epoch_features(test, epoch, "test")
    plain = TRAKAttributor(mlp(1)).attribute(*data)
    found = trak.run["scores/trak"]["score"].sel(epoch=1, test=1003, train=104)
    assert float(found) == pytest.approx(float(plain[3, 4]), rel=1e-4)
    with pytest.raises(UnknownExampleError, match="from 1000 to 1004"):
        trak.analyze_attribution_evolution(3)


def test_a_saved_record_is_gone_on_with(tmp_path, data):
    shown(data, epochs=(0, 100)).save(tmp_path / "run")
    model = mlp(400)
    loaded = DelayedGeneralizationTRAK.load(tmp_path / "run", model)
    loaded.compute_epoch_features(data[0], 400, "train")
    loaded.compute_epoch_features(data[1], 400, "test")
    assert loaded.run.epochs("scores/trak").tolist() == list(EPOCHS)
    expected = shown(data).find_phase_transition_examples(0, 400)
    found = loaded.find_phase_transition_examples(0, 400)
    assert np.array_equal(found["gained_influence_indices"], expected["gained_influence_indices"])


def test_what_an_epoch_lacks_is_said(data):
    trak = shown(data, epochs=(0,))
    trak.compute_epoch_features(data[0], 7, "train")
    with pytest.raises(MissingGroupError, match="its test features are missing"):
        trak.find_phase_transition_examples(0, 7)
    with pytest.raises(MissingGroupError, match="train and test features are missing"):
        trak.analyze_attribution_evolution(0, epochs=[0, 8])
    with pytest.raises(SettingError, match="No scores of 'trak' at epoch 9"):
        attribution_evolution(trak.run, 0, epochs=[9])


def test_an_epoch_stands_for_one_set_of_weights(data):
    trak = shown(data, epochs=(0,))
    trak.model.load_state_dict(mlp(5).state_dict())
    trak.compute_epoch_features(data[0], 0, "train")
    with pytest.raises(SettingError, match="other weights"):
        trak.compute_epoch_features(data[1], 0, "test")
    trak.compute_epoch_features(data[0], 1, "train")
    trak.model.load_state_dict(mlp(6).state_dict())
    with pytest.raises(SettingError, match="changed between"):
        trak.compute_epoch_features(data[1], 1, "test")


def test_the_same_epoch_may_be_shown_twice(data):
    trak = shown(data, epochs=(0, 0, 100))
    assert trak.run.epochs("scores/trak").tolist() == [0, 100]


def test_other_examples_settings_and_splits_are_refused(data):
    trak = shown(data, epochs=(0,))
    trak.compute_epoch_features(examples(9), 1, "train")
    with pytest.raises(SettingError, match="9 of them against 17"):
        trak.compute_epoch_features(data[1], 1, "test")
    with pytest.raises(SettingError, match="'train' or 'test'"):
        trak.compute_epoch_features(data[0], 1, "validation")
    again = DelayedGeneralizationTRAK(mlp(1), run=trak.run, damping=0.1)
    again.compute_epoch_features(data[0], 1, "train")
    with pytest.raises(SettingError, match="other settings"):
        again.compute_epoch_features(data[1], 1, "test")
    with pytest.raises(SettingError, match="checkpoints="):
        DelayedGeneralizationTRAK(mlp(), checkpoints=[mlp().state_dict()])


def test_weights_that_underflow_give_zero_and_not_nan():
    run = planted()
    data = run["scores/own"].load()
    weight = (("epoch", "train"), np.array([[1.0, 0, 1, 1], [1, 1, 1, 0]]))
    run.add("scores/other", data.assign(weight=weight))
    assert np.isfinite(epoch_scores(run, 1, name="other")).all()
    assert torch.isfinite(torch.as_tensor(epoch_scores(run, 2, name="other").values)).all()
