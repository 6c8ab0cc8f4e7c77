"""What was never seen, or has no value, counts for nothing: not as learned, wrong or a kind."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import dg_explorer as dg
from dg_explorer.analysis import LearningDynamicsAnalyzer, find_mislabeled
from dg_explorer.analysis.transition.properties import property_enrichment
from dg_explorer.maths.forgetting import forgetting_events
from dg_explorer.maths.mislabels import combine_signals


def history(correct, *, seen=None, labels=None):
    """A run whose training examples were right and wrong as given, shape (epoch, example)."""
    correct = np.asarray(correct, dtype=bool)
    seen = np.ones_like(correct) if seen is None else np.broadcast_to(seen, correct.shape)
    labels = np.zeros(correct.shape[1], int) if labels is None else labels
    run = dg.Run.create(name="history", train_examples={"label": labels})
    for epoch, (right, there) in enumerate(zip(correct, seen, strict=True)):
        columns = {
            "loss": np.where(there, np.where(right, 0.1, 3.0), np.nan),
            "margin": np.where(there, np.where(right, 2.0, -2.0), np.nan),
            "correct": right & there,
            "prediction": np.where(there, np.where(right, labels, 1 - labels), -1),
        }
        data = {name: (("epoch", "train"), value[None]) for name, value in columns.items()}
        coords = {"epoch": [epoch], "train": np.arange(correct.shape[1])}
        run.append("dynamics/train", xr.Dataset(data, coords))
    return run


def test_statistics_are_of_the_examples_that_were_seen():
    correct = np.random.default_rng(0).random((9, 40)) < 0.5
    correct[:, :3] = False
    seen = np.arange(40) % 2 == 0
    run = history(correct, seen=seen)
    found = LearningDynamicsAnalyzer(2, run=run).analyze_learning_patterns()
    statistics = found["forgetting_statistics"]
    events = forgetting_events(correct[:, seen])
    assert statistics["never_learned"] == len(found["never_learned"]) == 2
    assert statistics["mean_events"] == pytest.approx(events.mean())
    assert statistics["never_forgotten"] == (correct.any(0)[seen] & (events == 0)).sum()


def test_an_example_that_was_never_seen_is_ranked_last():
    correct = np.ones((12, 20), bool)
    correct[:9, :4] = False
    seen = np.arange(20) != 19
    found = find_mislabeled(history(correct, seen=seen))
    assert found.index[-1] == 19
    assert np.isnan(found.loc[19, "suspicion"])
    assert found.loc[19, "action"] == "keep"
    assert set(found.index[:4]) == {0, 1, 2, 3}


def test_an_example_that_lacks_a_signal_is_judged_by_the_others():
    signals = {"a": np.array([0.0, 1.0, 2.0, 3.0]), "b": np.array([0.0, np.nan, 5.0, np.nan])}
    found = combine_signals(signals, {"a": 1.0, "b": 3.0})
    np.testing.assert_allclose(found, [0, 1 / 3, (2 / 3 + 3) / 4, 1])
    assert np.isnan(combine_signals({"a": np.array([np.nan, 1.0])}, {"a": 1.0})[0])


def test_an_example_without_features_can_be_named():
    """Features are kept for some examples only; the others have no neighbours to ask."""
    correct = np.ones((12, 30), bool)
    correct[:8, 20:24] = False
    run = history(correct, labels=np.arange(30) % 2)
    places = np.random.default_rng(0).normal(size=(1, 20, 4)) + 5 * (np.arange(20) % 2)[:, None]
    run.add(
        "features/layer",
        xr.Dataset(
            {"activation": (("epoch", "example", "unit"), places.astype(np.float32))},
            {
                "epoch": [0],
                "example": np.arange(20),
                "split": ("example", np.array(["train"] * 20, dtype=object)),
                "id": ("example", np.arange(20)),
            },
        ),
    )
    found = find_mislabeled(run)
    assert set(found.index[found["action"] != "keep"]) == {20, 21, 22, 23}


def test_where_most_labels_are_wrong_none_is_named_and_it_is_said():
    correct = np.zeros((10, 50), bool)
    correct[:, :20] = True
    with pytest.warns(UserWarning, match=r"accuracy never reaches 50 % \(at most 40%\).*share="):
        found = find_mislabeled(history(correct))
    assert (found["action"] == "keep").all()
    assert (found["suspicion"].to_numpy()[:30] > found["suspicion"].to_numpy()[30:].max()).all()


@pytest.mark.parametrize(
    "missing",
    [
        np.array(["web", "book", None] * 8, dtype=object),
        np.array(["web", "book", np.nan] * 8, dtype=object),
        pd.array(["web", "book", pd.NA] * 8, dtype="string").to_numpy(dtype=object),
    ],
)
def test_a_missing_value_is_no_kind(missing):
    examples = xr.Dataset({"source": ("train", missing)}, {"train": np.arange(24)})
    found, _ = property_enrichment(examples, np.arange(2, 24, 3))
    assert sorted(found["value"]) == ["book", "web"]
    assert found["count"].tolist() == [0, 0]
    assert found["share_of_all"].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("kinds", [3, 200])
def test_a_missing_number_is_no_kind(kinds):
    values = (np.arange(600) % kinds).astype(float)
    values[::3] = np.nan
    examples = xr.Dataset({"size": ("train", values)}, {"train": np.arange(600)})
    found, _ = property_enrichment(examples, np.arange(0, 600, 3))
    assert "missing" not in found["value"].astype(str).tolist()
    assert "nan" not in found["value"].astype(str).tolist()
    assert found["share_of_all"].sum() == pytest.approx(1)


@pytest.mark.parametrize("chosen", [np.arange(24) % 3 == 0, [3, 99]])
def test_what_is_chosen_are_ids_of_the_table(chosen):
    examples = xr.Dataset({"group": ("train", np.arange(24) % 2)}, {"train": np.arange(24)})
    with pytest.raises(dg.DGExplorerError, match=r"whole numbers|No training example has id 99"):
        property_enrichment(examples, chosen)
