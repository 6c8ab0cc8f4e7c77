import numpy as np
import pytest
import xarray as xr

from dg_explorer.attribution.unrolled.mixed import mixed_scores
from dg_explorer.errors import SettingError


def scores(seed, train):
    rng = np.random.default_rng(seed)
    return xr.DataArray(
        rng.standard_normal((2, 3, len(train))),
        dims=("epoch", "test", "train"),
        coords={"epoch": [5, 9], "test": [7, 8, 9], "train": train},
    )


def test_each_rows_share_of_the_other_has_the_size_asked_for():
    exact, other = scores(0, [3, 1, 2, 5]), 1e6 * scores(1, [3, 1, 2, 5])
    added = mixed_scores(exact, other, weight=0.25) - exact
    one = {"epoch": 9, "test": 8}
    norms = [np.linalg.norm(a.sel(one)) for a in (added, exact)]
    assert norms[0] == pytest.approx(0.25 * norms[1])
    assert np.corrcoef(added.sel(one), other.sel(one))[0, 1] == pytest.approx(1)


def test_scores_are_joined_by_label():
    exact, other = scores(0, [3, 1, 2]), scores(1, [1, 2, 3])
    shuffled = other.isel(train=[2, 0, 1], test=[1, 2, 0])
    np.testing.assert_allclose(mixed_scores(exact, shuffled), mixed_scores(exact, other))


def test_scores_of_other_examples_are_refused():
    with pytest.raises(SettingError, match="'train'"):
        mixed_scores(scores(0, [3, 1, 2]), scores(1, [3, 1, 4]))
