"""What a board shows of a test example's scores, against slow rankings of the dense matrix."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dg_explorer.testing import tiny_run
from dg_explorer.widgets.answers.trajectories import trajectories, trajectories_of
from dg_explorer.widgets.reading.reader import RunReader


def slow_top(row, k):
    """The k highest positive and k lowest negative scores, one at a time."""
    sides = []
    for sign in (1, -1):
        good = [i for i in range(len(row)) if np.isfinite(row[i]) and sign * row[i] > 0]
        sides.append(sorted(good, key=lambda i: (-sign * row[i], i))[:k])
    return sides


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 4), st.floats(0, 0.5))
def test_top_lists_agree_with_a_slow_ranking(seed, n, epochs, missing):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(epochs, n)) * 10.0 ** rng.integers(-9, 3, (epochs, 1))
    scores[rng.random(scores.shape) < missing] = np.nan
    ids = 100 + rng.permutation(n)
    blocks = trajectories(scores, ids, np.arange(n), k=5)
    for epoch in range(epochs):
        for side, expected in enumerate(slow_top(scores[epoch], 5)):
            columns = blocks["top"][epoch, side]
            columns = columns[columns != 255]
            assert blocks["train"][columns].tolist() == ids[expected].tolist()
            sent = blocks["score"][columns, epoch].astype(float) * blocks["scale"][epoch]
            np.testing.assert_allclose(sent, scores[epoch, expected], rtol=1e-3)


def test_whoever_was_on_top_once_keeps_its_whole_course():
    scores = np.zeros((3, 6))
    scores[0, 2], scores[1, 4], scores[:, 5] = 9, 8, 0.5
    blocks = trajectories(scores, np.arange(6), np.arange(6), k=1)
    assert blocks["train"].tolist() == [2, 4, 5]
    course = blocks["score"].astype(float) * blocks["scale"]
    np.testing.assert_allclose(course, scores[:, [2, 4, 5]].T, rtol=1e-3)


def test_the_histogram_counts_every_finite_score_once():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(4, 300))
    scores[2, :50] = np.inf
    counts = trajectories(scores, np.arange(300), np.arange(300))["counts"]
    assert counts.sum(1).tolist() == [300, 300, 250, 300]
    # -scale..scale: the sign of a score decides its half
    assert counts[0, : counts.shape[1] // 2].sum() == (scores[0] < 0).sum()


def test_the_cut_is_the_quantile_of_the_finite_scores():
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(3, 101))
    scores[1, 40:] = np.nan
    blocks = trajectories(scores, np.arange(101), np.arange(101))
    for epoch in range(3):
        finite = scores[epoch][np.isfinite(scores[epoch])]
        cut = blocks["cut"][epoch].astype(float) * blocks["scale"][epoch]
        np.testing.assert_allclose(cut, np.quantile(finite, (0.95, 0.05)), rtol=2e-3)


def test_an_epoch_of_nothing_but_nan_has_no_scale_and_no_top():
    scores = np.full((2, 5), np.nan)
    scores[1] = 1
    blocks = trajectories(scores, np.arange(5), np.arange(5))
    assert np.isnan(blocks["scale"][0])
    assert (blocks["top"][0] == 255).all()


def test_no_training_examples_at_all_is_not_an_error():
    blocks = trajectories(np.zeros((2, 0)), np.zeros(0, int), np.zeros(0, int))
    assert blocks["train"].size == 0


def test_stored_top_scores_show_the_same_top_as_the_dense_ones():
    run = tiny_run(seed=3)
    dense = run["scores/trak"].load()
    order = np.argsort(-np.abs(dense["score"].values), axis=2, kind="stable")[..., :20]
    kept = np.take_along_axis(dense["score"].values, order, 2)
    import xarray as xr

    dims = ("epoch", "test", "rank")
    run.delete("scores/trak")
    run.add(
        "top_scores/trak",
        xr.Dataset(
            {"score": (dims, kept), "train_id": (dims, dense["train"].values[order])},
            {"epoch": dense["epoch"], "test": dense["test"], "rank": np.arange(20)},
        ),
    )
    test = int(dense["test"][4])
    sparse = trajectories_of(RunReader(run), "trak", test, k=3)
    full = trajectories_of(RunReader(tiny_run(seed=3)), "trak", test, k=3)
    for epoch in range(len(dense["epoch"])):
        for side in range(2):
            a, b = (t["train"][t["top"][epoch, side]] for t in (sparse, full))
            assert a.tolist() == b.tolist()


@pytest.mark.parametrize("test", [1, 999_999])
def test_an_unknown_test_example_is_named(test):
    with pytest.raises(KeyError, match=str(test)):
        trajectories_of(RunReader(tiny_run()), "trak", test)


@pytest.mark.parametrize("seed", range(3))
def test_a_brief_page_keeps_what_is_named_and_rounds_what_is_drawn(seed):
    rng = np.random.default_rng(seed)
    scores = rng.standard_t(2, size=(9, 300)) * rng.uniform(1e-4, 10, (9, 1))
    scores[3, ::5] = np.nan
    scores[4] = np.nan
    ids = 100 + np.arange(300)
    full, brief = (trajectories(scores, ids, np.arange(300), 6, brief=b) for b in (False, True))
    for name in set(full) - {"score"}:
        np.testing.assert_array_equal(full[name], brief[name])
    exact, drawn = full["score"].astype(float), brief["score"].astype(float)
    np.testing.assert_array_equal(np.isnan(exact), np.isnan(drawn))
    assert np.nanmax(np.abs(drawn - exact)) <= 1 / 128
    for epoch, side, rank in np.ndindex(full["top"].shape):
        if (column := full["top"][epoch, side, rank]) != 255:
            assert exact[column, epoch] == drawn[column, epoch]
    high, low = (full["cut"][:, side].astype(float) for side in (0, 1))
    np.testing.assert_array_equal(exact >= high, drawn >= high)
    np.testing.assert_array_equal(exact <= low, drawn <= low)
