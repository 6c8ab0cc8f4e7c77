"""Random projections: what they keep, and that nothing but their name decides their entries."""

import subprocess
import sys

import pytest
import torch
from attribution_models import TinyTransformer, examples, mlp
from torch.utils.data import TensorDataset

from dg_explorer.attribution import TRAKAttributor
from dg_explorer.attribution.gradients.factors import Explicit
from dg_explorer.attribution.projections.dense import KINDS, Projection
from dg_explorer.attribution.projections.kernel import gram
from dg_explorer.attribution.projections.random_entries import mix, sparse
from dg_explorer.errors import SettingError


def factors_of(model, data):
    return TRAKAttributor(model).compute_train_features(data).models[0][0]


def flat(layers):
    return {k: v for factor in layers for k, v in factor.gradients().items()}


@pytest.fixture
def layers():
    return factors_of(mlp(hidden=40), examples(9))


@pytest.mark.parametrize("kind", KINDS)
def test_projecting_factors_is_multiplying_by_the_matrix(layers, kind):
    projection = Projection(16, kind, seed=3)
    gradients = flat(layers)
    matrix = projection.matrix({k: v.shape[1:] for k, v in gradients.items()}).double()
    written_out = torch.cat([v.flatten(1) for v in gradients.values()], 1) @ matrix.T
    torch.testing.assert_close(projection(layers), written_out, rtol=1e-5, atol=1e-6)
    one = projection.vector({k: v[4] for k, v in gradients.items()})
    torch.testing.assert_close(one, written_out[4], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_inner_products_are_right_on_average_over_seeds(layers, kind):
    exact = gram(layers)
    size = exact.diagonal().sqrt()
    found = torch.stack([(z := Projection(32, kind, s)(layers)) @ z.T for s in range(150)])
    error = (found.mean(0) - exact) / (size[:, None] * size)
    # one projection is off by up to sqrt(2 / 32) = .25, 150 of them by .02
    assert float(error.abs().max()) < 0.085
    assert float(error.square().mean().sqrt()) < 0.025


@pytest.mark.parametrize("kind", KINDS)
def test_a_wider_projection_is_closer(layers, kind):
    exact = gram(layers)

    def off(dim):
        errors = [((z := Projection(dim, kind, s)(layers)) @ z.T - exact).norm() for s in range(8)]
        return float(torch.stack(errors).mean() / exact.norm())

    assert off(1024) < off(64) / 2.5  # sqrt(16) = 4 expected


@pytest.mark.parametrize("kind", KINDS)
def test_entries_do_not_depend_on_the_other_layers_or_on_the_batch(layers, kind):
    projection = Projection(24, kind)
    parts = sum(projection([layer]) for layer in layers)
    torch.testing.assert_close(projection(layers), parts, rtol=1e-6, atol=1e-7)
    alone = projection([layer.take(slice(3, 4)) for layer in layers])
    torch.testing.assert_close(projection(layers)[3:4], alone, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_of_columns_join_seamlessly(kind):
    gradient = torch.randn(3, 5_000, dtype=torch.float64)
    projection = Projection(20, kind)
    whole = projection([Explicit(gradient, ("w",), ((5_000,),))])
    matrix = projection.matrix({"w": (5_000,)}).double()
    torch.testing.assert_close(whole, gradient @ matrix.T, rtol=1e-5, atol=1e-5)


def test_embeddings_raw_parameters_and_sequences_are_projected_too():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 11, (12, 3), generator=generator)
    layers = factors_of(TinyTransformer(), TensorDataset(tokens, tokens[:, 0]))
    exact = gram(layers)
    z = Projection(16_384)(layers)
    assert float((z @ z.T - exact).norm() / exact.norm()) < 0.03


def test_another_process_draws_the_same_matrix():
    code = (
        "from dg_explorer.attribution.projections.dense import KINDS, Projection;"
        "print([Projection(3, k, 5).matrix({'fc.weight': (2, 2)}).tolist() for k in KINDS])"
    )
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONHASHSEED": "7"}
    )
    here = [Projection(3, k, 5).matrix({"fc.weight": (2, 2)}).tolist() for k in KINDS]
    assert there.stdout.strip() == str(here)


def test_another_seed_or_parameter_name_draws_another_matrix():
    first = Projection(64).matrix({"a": (50,)})
    for other in (Projection(64, seed=1).matrix({"a": (50,)}), Projection(64).matrix({"b": (50,)})):
        agreement = float((first.sign() == other.sign()).float().mean())
        assert agreement == pytest.approx(0.5, abs=0.05)


def test_signs_are_even_and_uncorrelated():
    signs = Projection(256, seed=2).matrix({"w": (4096,)}) * 16
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert abs(float(signs.mean())) < 0.005
    correlation = (signs @ signs.T / 4096).fill_diagonal_(0)
    assert float(correlation.abs().max()) < 6 / 64  # six standard deviations
    assert float((signs[:, 1:] * signs[:, :-1]).mean(1).abs().max()) < 6 / 64


def test_the_mixing_function_is_one_to_one_on_a_range():
    import numpy as np

    assert len(np.unique(mix(np.arange(200_000)))) == 200_000


def test_nonzeros_of_a_sparse_row_never_fall_on_one_column():
    columns, signs = sparse(7, 0, 5000, 30, 4)
    assert all(len(set(row)) == 4 for row in columns.tolist())
    assert columns.min() == 0
    assert columns.max() == 29
    assert abs(signs.mean()) < 0.03


def test_settings_out_of_range_are_refused():
    with pytest.raises(SettingError, match="rademacher"):
        Projection(8, "hadamard")
    with pytest.raises(SettingError, match="at least 1"):
        Projection(0)
    with pytest.raises(SettingError, match="integer"):
        Projection(8, seed="x")
