"""What two halves of a projection say of its error, against scores without one."""

import numpy as np
import pytest
import torch
from attribution_models import examples, mlp
from test_walk import TEST, TRAIN, a_run

from dg_explorer.attribution import (
    GradientDotAttributor,
    InfluenceFunctionAttributor,
    TRAKAttributor,
    attribute,
)
from dg_explorer.attribution.projections.fidelity import fidelity

MODEL = {"hidden": 40, "inputs": 30, "dtype": torch.float32}


def correlation(a, b):
    return float(np.mean([np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]))


@pytest.mark.parametrize(
    "made", [TRAKAttributor, InfluenceFunctionAttributor, GradientDotAttributor]
)
@pytest.mark.parametrize("kind", ["rademacher", "factored"])
@pytest.mark.parametrize("dim", [66, 402])
def test_fidelity_is_near_the_correlation_with_exact_scores(made, kind, dim):
    model = mlp(**MODEL)
    train, test = (
        examples(n, seed=s, inputs=30, dtype=torch.float32) for n, s in ((150, 0), (12, 1))
    )
    exact = made(model).attribute(train, test)
    projected = made(model, proj_dim=dim, projection=kind)
    features = projected.compute_train_features(train), projected.compute_test_features(test)
    true = correlation(projected.compute_attributions(*features), exact)
    said = projected.projection_fidelity(*features)
    assert said < true + 0.1
    if kind == "rademacher":  # halves of a factored sketch have less in common
        assert said > true - 0.1


def test_halves_with_a_known_error_give_its_known_correlation():
    generator = torch.Generator().manual_seed(0)
    signal, *errors = torch.randn(3, 40, 3000, generator=generator)
    halves = [signal + 1.5 * error for error in errors]
    whole = (halves[0] + halves[1]) / 2
    assert abs(fidelity(lambda half: halves[half]) - correlation(whole, signal)) < 0.01


def test_halves_that_have_nothing_in_common_have_no_fidelity():
    halves = torch.randn(2, 40, 3000, generator=torch.Generator().manual_seed(0))
    assert fidelity(lambda half: halves[half]) < 0.25


@pytest.mark.parametrize("method", ["trak", "influence", "tracin"])
def test_attribute_prints_and_keeps_the_fidelity_of_each_epoch(tmp_path, method, capsys):
    given = {"learning_rates": 0.1} if method == "tracin" else {}
    run = a_run(tmp_path / "run")
    kept = attribute(run, mlp(), TRAIN, TEST, method=method, proj_dim=34, **given)
    printed = capsys.readouterr().out
    values = kept["fidelity"].values
    assert values.shape == (3,)
    assert ((values >= 0) & (values < 1)).all()
    assert f"correlate about {values.min():.2f}" in printed
    exact = attribute(run, mlp(), TRAIN, TEST, method=method, name="exact", **given)
    assert "fidelity" not in exact
    assert capsys.readouterr().out == ""
