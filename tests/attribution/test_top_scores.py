"""Streamed top scores against the whole matrix."""

import pytest
import torch
from attribution_models import examples, mlp

from dg_explorer.attribution import TRAKAttributor
from dg_explorer.attribution.top import top_scores
from dg_explorer.attribution.top.row_scores import RowScores
from dg_explorer.attribution.top.top_scores import top_attributions
from dg_explorer.errors import DataError, SettingError


def features(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(n, 9, generator=generator, dtype=dtype) for n in (37, 5))


def whole(train, test, relative):
    ridge = relative * train.square().sum(1).mean()
    system = train.T @ train + ridge * torch.eye(9, dtype=train.dtype)
    return test @ torch.linalg.inv(system) @ train.T


@pytest.mark.parametrize("block", [4, 10, 4096])
@pytest.mark.parametrize("lowest", [False, True])
def test_streamed_scores_are_those_of_the_whole_matrix(monkeypatch, block, lowest):
    monkeypatch.setattr(top_scores, "BLOCK", block)
    train, test = features()
    weight = torch.linspace(0.1, 1, 37, dtype=train.dtype)
    full = whole(train, test, 0.5) * weight
    value, place = full.topk(6, 1, largest=not lowest)
    found = top_attributions(train, test, k=6, damping=0.5, weight=weight, lowest=lowest)
    assert torch.equal(found[0], place)
    torch.testing.assert_close(found[1], value)


def test_streamed_and_single_scores_are_those_of_the_attributor():
    attributor = TRAKAttributor(mlp(dtype=torch.float32), proj_dim=32)
    train = attributor.compute_train_features(examples(40, dtype=torch.float32))
    test = attributor.compute_test_features(examples(5, seed=1, dtype=torch.float32))
    value, place = attributor.compute_attributions(train, test).float().topk(6, 1)
    z, weight = train[:, :-2], train[:, -2]
    found = top_attributions(z, test[:, :-2], k=6, weight=weight)
    assert torch.equal(found[0], place)
    torch.testing.assert_close(found[1], value, rtol=1e-4, atol=1e-7)
    row = RowScores(z, weight=weight)
    assert row.damping_used == pytest.approx(attributor.damping_used[0], rel=1e-5)
    torch.testing.assert_close(row.top(test[0, :-2], 6)[1], value[0], rtol=1e-4, atol=1e-7)


def test_weights_that_are_no_doubts_need_a_damping():
    train, test = features()
    with pytest.raises(SettingError, match="between 0 and 1"):
        top_attributions(train, test, weight=torch.linspace(0.5, 2, 37))


def test_no_more_than_there_are_are_returned():
    train, test = features()
    assert top_attributions(train, test, k=100)[0].shape == (5, 37)


def test_features_of_other_widths_are_refused():
    train, test = features()
    with pytest.raises(DataError, match="9 columns and test features 8"):
        top_attributions(train, test[:, :8])
