"""Running out of memory names the settings to lower."""

import numpy as np
import pytest
import torch
from attribution_models import examples, mlp

from dg_explorer.attribution import InfluenceFunctionAttributor, TRAKAttributor
from dg_explorer.attribution.traker.traker import TRAKer
from dg_explorer.memory import OutOfMemoryError, memory_advice

TOO_MUCH = 1 << 50  # bytes: refused at once by any machine


def hungry(*_, **__):
    return torch.empty(TOO_MUCH, dtype=torch.uint8)


@pytest.mark.parametrize(
    "take", [hungry, lambda: np.empty(TOO_MUCH, np.uint8), lambda: bytearray(1 << 62)]
)
def test_a_failed_allocation_of_any_library_gets_the_advice(take):
    advice = memory_advice("Lower batch_size")
    with pytest.raises(OutOfMemoryError, match=r"memory ran out .*Lower batch_size\."), advice:
        take()


def test_other_errors_pass_through():
    with pytest.raises(RuntimeError, match=r"^shape$"), memory_advice("Lower batch_size"):
        raise RuntimeError("shape")


@pytest.mark.parametrize("settings", [{}, {"proj_dim": 64}])
def test_features_that_do_not_fit_say_what_to_lower(monkeypatch, settings):
    attributor = TRAKAttributor(mlp(), **settings)
    monkeypatch.setattr("dg_explorer.attribution.gradients.reading.Reading.__call__", hungry)
    with pytest.raises(OutOfMemoryError, match="batch_size"):
        attributor.compute_train_features(examples(4))


@pytest.mark.parametrize(
    ("attributor", "where", "lower"),
    [
        (TRAKAttributor(mlp()), "methods.trak", "proj_dim"),
        (InfluenceFunctionAttributor(mlp()), "solve.gauss_newton", "rows="),
    ],
)
def test_a_kernel_that_does_not_fit_says_what_to_lower(monkeypatch, attributor, where, lower):
    features = attributor.compute_train_features(examples(4))
    test = attributor.compute_test_features(examples(3, seed=1))
    monkeypatch.setattr(f"dg_explorer.attribution.{where}.gram", hungry)
    with pytest.raises(OutOfMemoryError, match=lower):
        attributor.compute_attributions(features, test)


def test_a_streamed_batch_that_does_not_fit_says_what_to_lower(tmp_path):
    traker = TRAKer(mlp(dtype=torch.float32), "image_classification", 4, tmp_path)
    traker.load_checkpoint(traker.model.state_dict(), 0)
    traker.gradient_computer.compute_factors = hungry
    with pytest.raises(OutOfMemoryError, match="smaller batches"):
        traker.featurize(examples(4)[:4])
