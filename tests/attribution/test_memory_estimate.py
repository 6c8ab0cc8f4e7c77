"""Work that cannot fit into memory is refused before it begins, with the setting to lower."""

import numpy as np
import pandas as pd
import pytest
from attribution_models import examples, mlp

from dg_explorer import Run, with_ids
from dg_explorer.attribution import TRAKAttributor, attribute, memory_estimate
from dg_explorer.attribution.memory_estimate import estimate_memory
from dg_explorer.checkpoints.store import save_checkpoint
from dg_explorer.memory import OutOfMemoryError

TRAIN, TEST = with_ids(examples(40), np.arange(40)), with_ids(examples(10, 1), np.arange(10))


def test_features_are_estimated_from_the_first_few():
    attributor = TRAKAttributor(mlp())
    kept = attributor.compute_train_features(TRAIN).nbytes
    kept += attributor.compute_test_features(TEST).nbytes
    assert estimate_memory(attributor, TRAIN, TEST).features == 2 * kept


def test_projected_features_are_counted_by_their_width():
    found = estimate_memory(TRAKAttributor(mlp(), proj_dim=16), TRAIN, TEST)
    assert found.features == (40 + 10) * 16 * 12
    assert found.kernel == 3 * 8 * 16 * 16  # the system has the smaller of both sides
    assert found.scores == 12 * 400


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({}, r"10 test and 40 training examples need about .* free\. Pass proj_dim="),
        ({"proj_dim": 512}, "Lower proj_dim"),
    ],
)
def test_too_little_memory_is_said_before_anything_is_written(monkeypatch, settings, match):
    run = Run.create(
        None,
        name="a run",
        train_examples=pd.DataFrame({"label": TRAIN.dataset.tensors[1].numpy()}),
        test_examples=pd.DataFrame({"label": TEST.dataset.tensors[1].numpy()}),
    )
    save_checkpoint(run, 0, mlp())
    monkeypatch.setattr(memory_estimate, "available_memory", lambda device: 50_000)
    with pytest.raises(OutOfMemoryError, match=match):
        attribute(run, mlp(), TRAIN, TEST, progress=False, **settings)
    assert "scores/trak" not in run
