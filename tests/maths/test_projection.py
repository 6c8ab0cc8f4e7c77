import numpy as np
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA

from dg_explorer.maths.projection import best_rotation, joint_pca, procrustes_pca


def turning(n_epochs=6, seed=0, n=40, width=7):
    """The same cloud, turned a little and mirrored now and then, as independent PCAs are."""
    rng = np.random.default_rng(seed)
    cloud = rng.normal(size=(n, width)) * np.array([5, 3, 1, 1, 1, 0.5, 0.5])[:width]
    return np.stack([cloud + 0.05 * rng.normal(size=cloud.shape) for _ in range(n_epochs)])


def test_joint_pca_equals_scikit_learn_on_all_epochs_stacked():
    features = turning()
    pca = PCA(2).fit(features.reshape(-1, 7))
    expected = pca.transform(features.reshape(-1, 7)).reshape(6, 40, 2)
    got = joint_pca(features).position
    signs = np.sign((got * expected).sum((0, 1)))
    np.testing.assert_allclose(got * signs, expected, atol=1e-8)


def test_each_epoch_of_procrustes_is_its_own_pca_up_to_a_turn():
    features = turning()
    found = procrustes_pca(features)
    for rows, position, explained in zip(features, found.position, found.explained):
        expected = PCA(2).fit_transform(rows)
        turned = expected @ best_rotation(expected, position)
        np.testing.assert_allclose(turned, position, atol=1e-8)
        total = PCA(2).fit(rows).explained_variance_ratio_.sum()
        np.testing.assert_allclose(explained.sum(), total, rtol=1e-8)


def test_the_best_rotation_equals_scipys():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(9, 3)), rng.normal(size=(9, 3))
    np.testing.assert_allclose(best_rotation(a, b), orthogonal_procrustes(a, b)[0], atol=1e-12)


def test_alignment_takes_out_flips_and_leaves_real_motion():
    features = turning()
    flips = np.ones((6, 1, 7))
    flips[::2] = -1  # a mirrored epoch is the same picture
    still = procrustes_pca(features * flips).position
    step = np.linalg.norm(np.diff(still, axis=0), axis=-1).mean()
    assert step < 0.05 * still.std()


def test_too_few_directions_leave_an_axis_empty():
    line = np.linspace(-1, 1, 10)[None, :, None] * np.ones((3, 1, 1))
    for project in (joint_pca, procrustes_pca):
        found = project(line)
        assert found.position.shape == (3, 10, 2)
        np.testing.assert_allclose(found.position[..., 1], 0)
        np.testing.assert_allclose(found.explained[:, 0], 1)


def test_constant_features_stay_put_and_explain_nothing():
    found = procrustes_pca(np.full((3, 10, 4), 2.0))
    np.testing.assert_allclose(found.position, 0, atol=1e-12)
    assert np.isnan(found.explained).all()
