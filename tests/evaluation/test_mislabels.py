"""Self-influence points at planted mislabels, and at nothing where labels are pure chance."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from dg_explorer.attribution.methods import method_class
from dg_explorer.errors import DataError
from dg_explorer.evaluation import mislabel_auroc

N, FLIPPED = 200, 20


@pytest.fixture(scope="module")
def learned():
    """Three clusters, a tenth of them with a wrong label, half learned."""
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 3, (N,), generator=generator)
    x = 2 * nn.functional.one_hot(label, 3).float()
    x = torch.cat([x + 0.5 * torch.randn(N, 3, generator=generator),
                   torch.randn(N, 5, generator=generator)], 1)  # fmt: skip
    flipped = torch.zeros(N, dtype=torch.bool)
    flipped[torch.randperm(N, generator=generator)[:FLIPPED]] = True
    given = torch.where(flipped, (label + 1) % 3, label)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 3))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), given).backward()
        optimizer.step()
    return model, TensorDataset(x, given), flipped.numpy()


@pytest.mark.parametrize("method", ["trak", "influence", "tracin"])
def test_self_influence_finds_planted_mislabels(learned, method):
    model, train, flipped = learned
    attributor = method_class(method)(model)
    suspicion = attributor.self_influence(attributor.compute_train_features(train)).numpy()
    found = mislabel_auroc(suspicion, flipped)
    assert float(found.auroc) > 0.95
    assert float(found.low) <= float(found.auroc) <= float(found.high)


def test_self_influence_says_nothing_of_flags_set_by_chance(learned):
    model, train, flipped = learned
    attributor = method_class("trak")(model)
    suspicion = attributor.self_influence(attributor.compute_train_features(train)).numpy()
    order = torch.randperm(N, generator=torch.Generator().manual_seed(1)).numpy()
    found = mislabel_auroc(suspicion, flipped[order])
    assert float(found.low) < 0.5 < float(found.high)


def test_flags_that_are_not_true_or_false_are_refused():
    with pytest.raises(DataError, match="true or false"):
        mislabel_auroc(np.arange(4.0), np.array([0, 1, -1, 0]))
