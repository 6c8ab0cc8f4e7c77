"""The model of removals against one dense Gaussian, written out in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from dg_explorer.evaluation.retrainings.posterior import (
    RemovalModel,
    Settings,
    choose_settings,
    foreseen_by,
    pooled_slopes,
)


def drawn(seed=0, m=24, n=40, q=5, sizes=(2, 8), slope=0.6, deviation=0.0, noise=0.05):
    """Removals, changes and scores of one world that is as the model says; seed is of removals."""
    world, rng = np.random.default_rng(77), np.random.default_rng(seed)
    scores = world.normal(size=(1, q, n))
    effects = slope * scores[0] + deviation * world.normal(size=(q, n))
    removed = np.zeros((m, n), bool)
    for i, row in enumerate(removed):
        row[rng.choice(n, sizes[i % len(sizes)], replace=False)] = True
    change = -(removed @ effects.T) - 0.1 * removed.sum(1)[:, None]
    return removed, change + noise * rng.normal(size=change.shape), scores


SETTINGS = Settings(slopes=np.array([0.7]), deviation=0.4, power=1.0, spread=0.2)


def dense(removed, change, scores, settings, new, far=1e7):
    """Mean and covariance of new removals, and of all: the joint Gaussian of one test example.

    The flat prior on the effects of sizes is one of variance `far`.
    """
    rows = np.concatenate([removed, new]).astype(float)
    m, sizes = len(removed), rows.sum(1)
    middle = np.median(sizes[:m])
    prior = -(rows @ scores.T)  # (row, prior)
    scale = (prior[:m] ** 2).mean(0)
    covariance = np.diag((sizes / middle) ** settings.power)
    covariance += settings.deviation / middle * rows @ rows.T
    covariance += settings.spread * (prior / scale) @ prior.T
    for power in (1, 2):
        covariance += far * np.outer((sizes / middle) ** power, (sizes / middle) ** power)
    mean = prior @ settings.slopes
    known = covariance[:m, :m]
    gain = np.linalg.solve(known, covariance[:m, m:]).T
    return (
        mean[m:] + gain @ (change - mean[:m]),
        covariance[m:, m:] - gain @ covariance[:m, m:],
    )


def test_predictions_are_those_of_the_joint_gaussian():
    removed, change, scores = drawn()
    new = drawn(seed=1, m=3, sizes=(1, 5, 12))[0]
    model = RemovalModel(removed, change, scores, SETTINGS)
    mean, deviation = model.posterior(new)
    for test in range(change.shape[1]):
        expected, covariance = dense(removed, change[:, test], scores[:, test], SETTINGS, new)
        np.testing.assert_allclose(mean[:, test], expected, rtol=1e-4, atol=1e-5)
        variance = np.diag(covariance) * model.noise()[test]
        np.testing.assert_allclose(deviation[:, test] ** 2, variance, rtol=1e-4)


def test_leaving_one_out_is_fitting_without_it():
    removed, change, scores = drawn(m=30, sizes=(5,))
    whole = RemovalModel(removed, change, scores, SETTINGS)
    off, _ = whole.left_out()
    for row in (0, 7, 29):
        rest = np.arange(30) != row
        less = RemovalModel(removed[rest], change[rest], scores, SETTINGS)
        ratio = (less.scale / whole.scale) ** 2  # by which the unit of the spread differs
        for test in range(change.shape[1]):
            same = replace(SETTINGS, spread=SETTINGS.spread * float(ratio[test, 0]))
            less = RemovalModel(removed[rest], change[rest], scores, same)
            mean, _ = less.posterior(removed[[row]])
            expected = mean[0, test] - change[row, test]
            np.testing.assert_allclose(off[row, test], expected, rtol=1e-6, atol=1e-9)


def test_likelihoods_differ_as_those_of_the_joint_gaussian():
    """Of two settings, each noise at its most likely value, by the density of what was seen."""
    removed, change, scores = drawn(q=1)
    other = Settings(np.array([0.3]), 1.5, 2.0, 0.6)

    def density(settings, far=1e7):
        rows, sizes = removed.astype(float), removed.sum(1)
        middle = np.median(sizes)
        prior = -(rows @ scores[:, 0].T)
        covariance = np.diag((sizes / middle) ** settings.power)
        covariance += settings.deviation / middle * rows @ rows.T
        covariance += settings.spread * (prior / (prior**2).mean(0)) @ prior.T
        for power in (1, 2):
            covariance += far * np.outer((sizes / middle) ** power, (sizes / middle) ** power)
        off = change[:, 0] - prior @ settings.slopes
        misfit = off @ np.linalg.solve(covariance, off)
        degrees = len(rows) - 2
        return -0.5 * degrees * np.log(misfit) - 0.5 * np.linalg.slogdet(covariance)[1]

    ours = [RemovalModel(removed, change, scores, s).log_likelihood for s in (SETTINGS, other)]
    np.testing.assert_allclose(
        ours[0] - ours[1], density(SETTINGS) - density(other), rtol=1e-4, atol=1e-3
    )


def test_the_slope_is_found_from_all_test_examples():
    removed, change, scores = drawn(m=40, q=30)
    slopes = pooled_slopes(removed, change, foreseen_by(scores, removed), 0.1, 1.0)
    np.testing.assert_allclose(slopes, 0.6, atol=0.02)


def test_scores_that_say_nothing_get_no_trust_and_a_second_method_is_added():
    removed, change, scores = drawn(m=40, q=30)
    noise = np.random.default_rng(5).normal(size=scores.shape)
    slopes = choose_settings(removed, change, np.concatenate([noise, scores])).slopes
    np.testing.assert_allclose(slopes, [0, 0.6], atol=0.03)


def test_deviations_are_believed_where_there_are_some():
    few, many = (
        choose_settings(*drawn(m=60, q=30, deviation=d, noise=0.3)).deviation for d in (0.0, 0.5)
    )
    assert few < 0.05 < 1 < many


@pytest.mark.parametrize("m", [10, 40])
def test_intervals_cover_what_they_say(m):
    world = {"q": 60, "deviation": 0.2, "noise": 0.3}
    removed, change, scores = drawn(m=m, **world)
    model = RemovalModel(removed, change, scores, choose_settings(removed, change, scores))
    new, truth, _ = drawn(seed=1, m=200, **world)
    mean, deviation = model.predict(new)
    covered = (np.abs(truth - mean) < model.reach(0.9) * deviation).mean()
    assert 0.86 < covered < 0.95
    off, left = model.left_out()
    assert 0.86 < (np.abs(off) < model.reach(0.9) * left).mean() < 0.95
    np.testing.assert_allclose(model.reach(0.9), student.ppf(0.95, model.degrees + 4))


def test_what_scores_say_far_beyond_all_that_was_tried_saturates_and_widens():
    removed, change, scores = drawn(m=30, sizes=(4,))
    model = RemovalModel(removed, change, scores, SETTINGS)
    slope = model.coefficients[0, model.n_sizes :]
    tried = np.abs((removed @ scores[0, 0]) * slope).max()
    left = []
    for k in (6, 10, 20):
        best = np.zeros((1, 40), bool)
        best[0, np.argsort(-scores[0, 0])[:k]] = True  # of the first test example
        inside, widened = model.posterior(best)[1][0, 0], model.predict(best)[1][0, 0]
        expected, linear = model.predict(best)[0][0, 0], model.posterior(best)[0][0, 0]
        said = (best @ scores[0, 0])[0] * slope[0]
        left.append(1 - (expected - linear) / (said - tried))
        np.testing.assert_allclose(left[-1], min(1, 3 * tried / said))
        np.testing.assert_allclose(widened**2 - inside**2, ((said - tried) / 2 / 1.645) ** 2)
    assert left == sorted(left, reverse=True)
    assert left[0] == 1 > left[-1]  # near to what was tried all of it is expected
    for mine, other in zip(model.predict(removed), model.posterior(removed), strict=True):
        np.testing.assert_array_equal(mine, other)
