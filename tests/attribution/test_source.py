"""SOURCE: what it must equal where its approximations are exact."""

import numpy as np
import pytest
import torch
from attribution_models import examples, mlp
from torch import nn

from dg_explorer.attribution.methods.gradient_similarity import TracInAttributor
from dg_explorer.attribution.methods.influence import InfluenceFunctionAttributor
from dg_explorer.attribution.methods.source import SourceAttributor
from dg_explorer.attribution.unrolled.attributor import UnrolledAttributor
from dg_explorer.errors import SettingError
from dg_explorer.training.many import train_many
from dg_explorer.training.step.by_hand import OptimizerSettings
from dg_explorer.training.training import Training, cross_entropy, margin

N_TRAIN = 23


@pytest.fixture
def data():
    return examples(N_TRAIN), examples(7, seed=1)


def close(a, b, rtol=1e-8):
    torch.testing.assert_close(a, b, rtol=rtol, atol=rtol * float(b.abs().max()))


def test_one_segment_without_end_is_an_influence_function(data):
    source = SourceAttributor(mlp(), damping=0.3).attribute(*data)
    settings = {"solver": "ekfac", "temperature": 1.0, "rows": 16, "damping": 0.3}
    close(source, InfluenceFunctionAttributor(mlp(), **settings).attribute(*data))


def test_a_segment_cut_in_two_is_the_segment(data):
    weights = mlp().state_dict()
    whole = SourceAttributor(mlp(), checkpoints=[weights], time=6.0).attribute(*data)
    cut = SourceAttributor(mlp(), checkpoints=[weights] * 2, segments=2, time=[2.0, 4.0])
    close(cut.attribute(*data), whole)


def test_short_segments_add_up_gradients_as_tracin_does(data):
    weights = [mlp(seed).state_dict() for seed in range(3)]
    time = 1e-7
    source = SourceAttributor(mlp(), checkpoints=weights, segments=3, time=time)
    (last,) = [source.compute_test_features(data[1]).models[-1][0]]
    train = source.compute_train_features(data[0]).models
    wanted = 0.0
    for model in train:
        for query, ascent in zip(last, model[0], strict=True):
            wanted = wanted + time * query.flat().double() @ ascent.flat().double().T / N_TRAIN
    close(source.attribute(*data), wanted, rtol=1e-5)
    final = SourceAttributor(mlp(), checkpoints=weights[-1:], time=time).attribute(*data)
    tracin = TracInAttributor(mlp(), checkpoints=weights[-1:], learning_rates=time)
    close(final, tracin.attribute(*data) / N_TRAIN, rtol=1e-5)


class Softmax(nn.Module):
    """Logits linear in a parameter that is no matrix: its curvature is held exactly."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(12, dtype=torch.float64))

    def forward(self, x):
        return x @ self.table.view(4, 3)


def test_many_segments_come_near_the_derivative_through_training():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(30, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (30,), generator=generator)
    at = (1, *range(4, 41, 4))
    training = Training(
        model=lambda seed: Softmax(),
        inputs=inputs,
        labels=labels,
        test_inputs=inputs[:5] + 0.3,
        test_labels=labels[:5],
        optimizer=OptimizerSettings(kind="sgd", lr=0.5),
        n_epochs=40,
        record_at=at,
        loss=cross_entropy,
        output=margin,
    )
    exact = UnrolledAttributor(training, dtype=torch.float64).attribute(epochs=[40])
    states = []
    theta = training.start().theta[None]
    ones = torch.ones(1, 30, dtype=torch.float64)
    train_many(training, ones, theta, on_epoch=lambda _, t: states.append(t[0]))
    attributor = SourceAttributor(
        Softmax(),
        checkpoints=[{"table": state} for state in states[1:]],
        segments=10,
        time=0.5 * 4,
    )
    train = torch.utils.data.TensorDataset(inputs, labels)
    test = torch.utils.data.TensorDataset(training.test_inputs, training.test_labels)
    scores = attributor.attribute(train, test).numpy()
    wanted = exact["score"].values[0]
    assert np.corrcoef(scores.ravel(), wanted.ravel())[0, 1] > 0.995
    assert np.linalg.norm(scores - wanted) < 0.1 * np.linalg.norm(wanted)


def test_times_must_be_as_many_as_segments():
    weights = mlp().state_dict()
    with pytest.raises(SettingError, match="2 segment"):
        SourceAttributor(mlp(), checkpoints=[weights] * 2, segments=2, time=[1.0, 2.0, 3.0])
