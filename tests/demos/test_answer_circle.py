"""The plane of the answers is found from the logits alone, and shown to no test example."""

import numpy as np
import pytest

from dg_explorer.demos.answer_circle import add_answer_circle, answer_circle
from dg_explorer.run import Run

P = 31


def logits(label, frequency, noise, rng):
    angle = 2 * np.pi * frequency * (np.arange(P) - label[:, None]) / P
    return 5 * np.cos(angle) + rng.normal(0, noise, (len(label), P))


@pytest.mark.parametrize("frequency", [1, 4, 15])
def test_the_planted_frequency_is_found_and_its_plane_is_orthonormal(frequency):
    rng = np.random.default_rng(0)
    label = rng.integers(0, P, 400)
    axes, found = answer_circle(logits(label, frequency, 1.0, rng), label)
    assert found == frequency
    np.testing.assert_allclose(axes.T @ axes, np.eye(2), atol=1e-12)


def test_answers_lie_at_the_angle_of_frequency_times_label():
    label = np.arange(P)
    exact = logits(label, 3, 0.0, np.random.default_rng(0))
    axes, _ = answer_circle(exact, label)
    x, y = (exact @ axes).T
    turned = np.exp(1j * np.angle(x + 1j * y)) / np.exp(2j * np.pi * 3 * label / P)
    np.testing.assert_allclose(turned, np.ones(P), atol=1e-9)


def test_test_examples_have_no_say_in_the_choice_of_the_plane():
    rng = np.random.default_rng(1)
    label = np.tile(np.arange(P), 4)
    train, test = logits(label, 2, 0.1, rng), 50 * logits(label, 9, 0.1, rng)
    n = len(label)
    run = Run.create(
        name="planted", train_examples={"label": label}, test_examples={"label": label}
    )
    run.add("features/fc2", features(np.concatenate([train, test]), n))
    add_answer_circle(run, P)
    assert "Fourier plane 2 " in run["projections/fc2"].attrs["about"]


def features(activation, n):
    import xarray as xr

    return xr.Dataset(
        {"activation": (("epoch", "example", "unit"), activation[None].astype(np.float32))},
        {
            "epoch": [0],
            "split": ("example", np.repeat(["train", "test"], n)),
            "id": ("example", np.tile(np.arange(n), 2)),
        },
    )
