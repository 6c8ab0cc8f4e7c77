import numpy as np
import pytest
import torch
from torch import nn

from dg_explorer.training.many import train_many
from dg_explorer.training.step.by_hand import (
    OptimizerSettings,
    UnsupportedOptimizerError,
    settings_from_torch,
)
from dg_explorer.training.training import Training

CASES = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.01),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, betas=(0.8, 0.95)),
}


def two_layers(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()


def small_training(settings, **changes):
    generator = torch.Generator().manual_seed(1)
    fields = dict(
        model=two_layers,
        inputs=torch.randn(17, 4, generator=generator, dtype=torch.float64),
        labels=torch.randint(0, 3, (17,), generator=generator),
        test_inputs=torch.randn(5, 4, generator=generator, dtype=torch.float64),
        test_labels=torch.randint(0, 3, (5,), generator=generator),
        optimizer=settings,
        n_epochs=6,
        batch_size=5,
    )
    return Training(**(fields | changes))


@pytest.mark.parametrize("name", CASES)
def test_training_by_function_ends_where_torch_ends(name):
    model = two_layers()
    optimizer = CASES[name](model.parameters())
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=24)
    rates = []
    training = small_training(OptimizerSettings(kind="sgd", lr=0.0))
    for _, batch in training.steps():
        rates.append(optimizer.param_groups[0]["lr"])
        loss = nn.functional.cross_entropy(model(training.inputs[batch]), training.labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    settings = settings_from_torch(
        optimizer, list(model.named_parameters()), lr=lambda step, _: rates[step]
    )
    training = training.with_changes(optimizer=settings)
    theta = train_many(training, torch.ones(1, 17).double(), training.start().theta[None])[0][0]
    torchs = torch.cat([p.detach().reshape(-1) for p in model.parameters()])
    np.testing.assert_allclose(theta, torchs, rtol=1e-10, atol=1e-12)


def test_parameter_groups_keep_their_own_decay_and_rate():
    model = two_layers()
    groups = [
        {"params": [p for n, p in model.named_parameters() if "weight" in n], "lr": 0.2},
        {"params": [p for n, p in model.named_parameters() if "bias" in n], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.SGD(groups, lr=0.1, weight_decay=0.3)
    settings = settings_from_torch(optimizer, list(model.named_parameters()))
    theta = torch.ones(sum(p.numel() for p in model.parameters())).double()
    after = settings.step((theta,), torch.zeros_like(theta), 0, settings.lr_at(0, 1))[0]
    parts = after.split([p.numel() for p in model.parameters()])
    np.testing.assert_allclose(parts[0], 1 - 0.2 * 0.3)
    np.testing.assert_allclose(parts[1], 1)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("sgd", {}),
        ("momentum", {"momentum": 0.9}),
        ("momentum", {"momentum": 0.9, "nesterov": True}),
        ("adam", {"eps": 1e-3}),
        ("adamw", {"eps": 1e-3}),
    ],
)
def test_pull_back_is_the_transpose_of_autograds_jacobian(kind, fields):
    settings = OptimizerSettings(kind=kind, lr=0.1, weight_decay=0.2, **fields)
    generator = torch.Generator().manual_seed(0)
    before = tuple(
        torch.rand(4, generator=generator).double() for _ in range(settings.n_moments + 1)
    )
    g = torch.randn(4, generator=generator).double().requires_grad_()
    before = tuple(part.requires_grad_() for part in before)
    adjoint = tuple(torch.randn(4, generator=generator).double() for _ in before)
    after = settings.step(before, g, 3, 0.1)
    wanted = torch.autograd.grad(
        sum((a * b).sum() for a, b in zip(after, adjoint, strict=True)), (g, *before)
    )
    detached = tuple(part.detach() for part in before)
    after = tuple(part.detach() for part in after)
    by_gradient, kept = settings.pull_back(
        detached, after, tuple(a.clone() for a in adjoint), 3, 0.1
    )
    for ours, autograds in zip((by_gradient, *kept), wanted, strict=True):
        np.testing.assert_allclose(ours, autograds, rtol=1e-10)


def test_an_optimizer_without_a_derivative_is_refused_by_name():
    model = two_layers()
    with pytest.raises(UnsupportedOptimizerError, match="Adagrad"):
        settings_from_torch(torch.optim.Adagrad(model.parameters()), list(model.named_parameters()))
    with pytest.raises(UnsupportedOptimizerError, match="amsgrad"):
        settings_from_torch(
            torch.optim.Adam(model.parameters(), amsgrad=True), list(model.named_parameters())
        )
