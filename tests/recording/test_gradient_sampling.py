"""Sampled gradients equal what a slow loop over the parameters gives."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dg_explorer.recording.gradient_sampling import GradientSampler, dead_units


def flat(module, what):
    return torch.cat([what(p).flatten() for p in module.parameters()]).double()


@pytest.mark.parametrize("optimizer_class", [torch.optim.SGD, torch.optim.AdamW])
def test_samples_agree_with_a_slow_count_at_every_step(task, optimizer_class):
    model = task.model()
    optimizer = optimizer_class(model.parameters(), 0.05)
    sampler = GradientSampler(model, optimizer, every=1)
    layers = {"0": model[0], "3": model[3]}
    assert list(sampler.layers) == list(layers)
    previous = None
    for _ in range(4):
        optimizer.zero_grad()
        F.cross_entropy(model(task.x), task.y).backward()
        gradients = {k: flat(m, lambda p: p.grad) for k, m in layers.items()}
        before = {k: flat(m, torch.detach) for k, m in layers.items()}
        optimizer.step()
        change = {k: flat(m, torch.detach) - before[k] for k, m in layers.items()}
        means, count = sampler.take()
        assert count == 1
        for i, k in enumerate(layers):
            assert means["norm"][i] == pytest.approx(float(gradients[k].norm()), rel=1e-5)
            ratio = float(change[k].norm() / before[k].norm())
            assert means["update_ratio"][i] == pytest.approx(ratio, rel=1e-4)
            if previous:
                cosine = float(torch.cosine_similarity(gradients[k], previous[k], dim=0))
                assert means["cosine_to_previous"][i] == pytest.approx(cosine, abs=1e-5)
        previous = gradients


def test_every_epoch_of_two_steps_gets_a_sample_and_few_steps_are_sampled(task):
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    sampler = GradientSampler(model, optimizer, every=100)
    counts = []
    for n_steps in (250, 3, 2, 1, 1, 2, 120):
        for _ in range(n_steps):
            optimizer.zero_grad()
            F.cross_entropy(model(task.x), task.y).backward()
            optimizer.step()
        means, count = sampler.take()
        counts.append(count)
        assert np.isfinite(means["norm"]).all() == np.isfinite(means["cosine_to_previous"]).all()
    # a single step has no step before it to compare with, unless that one was kept
    assert counts == [3, 1, 1, 1, 1, 1, 2]


def test_a_step_with_a_closure_is_measured_as_one_without(task):
    def sampled(closure):
        model = task.model()
        optimizer = torch.optim.SGD(model.parameters(), 0.05)
        sampler = GradientSampler(model, optimizer, every=1)
        rows = []

        def backward():
            optimizer.zero_grad()
            loss = F.cross_entropy(model(task.x), task.y)
            loss.backward()
            return loss

        for _ in range(3):
            if closure:
                optimizer.step(closure=backward)
            else:
                backward()
                optimizer.step()
            rows.append(sampler.take()[0])
        return rows

    for with_closure, without in zip(sampled(True), sampled(False)):
        for name, values in without.items():
            assert np.array_equal(with_closure[name], values, equal_nan=True)


def test_dead_units_are_those_that_no_example_activates():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        model[0].bias[:3] = -1e3
    x = torch.randn(50, 4)
    F.cross_entropy(model(x), torch.randint(0, 2, (50,))).backward()
    never = (model[1](model[0](x)) == 0).all(0).double().mean()
    assert dead_units(model[0]) == float(never) >= 3 / 8
    assert dead_units(model[2]) == 0
    assert np.isnan(dead_units(model[1]))


def test_a_layer_without_gradient_is_nan_and_does_not_spoil_the_others(task):
    model = nn.ModuleDict({"used": nn.Linear(5, 3), "unused": nn.Linear(5, 3)})
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    sampler = GradientSampler(model, optimizer, every=1)
    F.cross_entropy(model["used"](task.x), task.y).backward()
    optimizer.step()
    norm = sampler.take()[0]["norm"]
    assert norm[0] > 0
    assert np.isnan(norm[1])


@pytest.mark.parametrize("table", [nn.Embedding, nn.EmbeddingBag])
def test_a_sparse_table_is_measured_as_a_dense_one(table):
    def samples(sparse):
        torch.manual_seed(0)
        model = nn.Sequential(table(9, 4, sparse=sparse), nn.Flatten(), nn.LazyLinear(3))
        tokens = torch.arange(24).reshape(8, 3) % 7
        model(tokens)
        optimizer = torch.optim.SGD(model.parameters(), 0.5)
        sampler = GradientSampler(model, optimizer, every=1)
        found = []
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(model(tokens), torch.arange(8) % 3).backward()
            optimizer.step()
            found.append(sampler.take()[0])
        return found

    for sparse, dense in zip(samples(True), samples(False), strict=True):
        for name in dense:
            np.testing.assert_allclose(sparse[name], dense[name], rtol=1e-5)
