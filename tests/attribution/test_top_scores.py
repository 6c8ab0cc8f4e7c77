"""Streamed top scores against the whole matrix."""

import pytest
import torch

from dg_explorer.attribution import top_scores
from dg_explorer.attribution.top_scores import top_attributions
from dg_explorer.errors import DataError


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


def test_no_more_than_there_are_are_returned():
    train, test = features()
    assert top_attributions(train, test, k=100)[0].shape == (5, 37)


def test_features_of_other_widths_are_refused():
    train, test = features()
    with pytest.raises(DataError, match="9 columns and test features 8"):
        top_attributions(train, test[:, :8])
