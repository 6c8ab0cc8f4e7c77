"""Examples without a gradient: one is worth nothing, all together are refused."""

import pytest
import torch
from attribution_models import examples
from torch import nn
from torch.utils.data import TensorDataset

from dg_explorer.attribution import InfluenceFunctionAttributor, TRAKAttributor
from dg_explorer.errors import DataError

ATTRIBUTORS = {
    "trak": TRAKAttributor,
    "trak, projected": lambda model: TRAKAttributor(model, proj_dim=32),
    "trak, nystrom": lambda model: TRAKAttributor(model, proj_dim=32, projection="nystrom"),
    "influence": InfluenceFunctionAttributor,
    "ekfac": lambda model: InfluenceFunctionAttributor(model, solver="ekfac"),
}


def without_bias():
    """A linear model: an example that is all zeros has no gradient."""
    torch.manual_seed(0)
    return nn.Linear(6, 4, bias=False)


@pytest.fixture(params=ATTRIBUTORS)
def attributor(request):
    return ATTRIBUTORS[request.param](without_bias())


def test_an_example_without_gradient_scores_zero_and_moves_no_order(attributor):
    x, y = examples(12, dtype=torch.float32).tensors
    x[3] = 0
    test = examples(5, seed=1, dtype=torch.float32)
    scores = attributor.attribute(TensorDataset(x, y), test)
    assert torch.isfinite(scores).all()
    assert (scores[:, 3] == 0).all()
    others = [i for i in range(12) if i != 3]
    assert (scores[:, others] != 0).all()


def test_training_examples_that_all_lack_a_gradient_are_refused(attributor):
    x, y = examples(12, dtype=torch.float32).tensors
    test = examples(5, seed=1, dtype=torch.float32)
    with pytest.raises(DataError, match="Every training gradient is zero"):
        attributor.attribute(TensorDataset(torch.zeros_like(x), y), test)
