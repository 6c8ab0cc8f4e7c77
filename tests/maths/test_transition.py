import numpy as np
import pytest

from dg_explorer.maths.crossing import first_crossing
from dg_explorer.maths.sigmoid import fit_sigmoid
from dg_explorer.maths.transition import find_fall, find_transition


def monotone_curves():
    """Twenty ways to rise steadily from 10 to 90 % with noise: learning, but no transition."""
    rng = np.random.default_rng(0)
    x = np.linspace(0, 1, 120)
    shapes = [x, x**2, x**3, x**0.5, x**0.25, np.sin(np.pi / 2 * x), np.minimum(2 * x, 1)]
    shapes += [(1 - np.exp(-k * x)) / (1 - np.exp(-k)) for k in (1, 3, 6, 12, 30)]
    shapes += [np.log1p(k * x) / np.log1p(k) for k in (3, 30, 300)]
    shapes += [x / (x + h) * (1 + h) for h in (0.03, 0.1, 0.3)]
    shapes += [np.sort(rng.random(120)), np.cumsum(rng.exponential(size=120)) / 130]
    assert len(shapes) == 20
    return [np.clip(0.1 + 0.8 * s, 0, 1) for s in shapes]


@pytest.mark.parametrize("noise", [0.005, 0.02, 0.05])
def test_no_transition_is_reported_on_twenty_monotone_curves_with_noise(noise):
    time = 10.0 * np.arange(120)
    for index, curve in enumerate(monotone_curves()):
        noisy = curve + noise * np.random.default_rng(index).normal(size=120)
        found = find_transition(time, noisy)
        assert not found.found, (index, found)
        assert np.isnan(found.t50)


@pytest.mark.parametrize("seed", range(10))
def test_a_planted_transition_is_found_where_it_was_put(seed):
    rng = np.random.default_rng(seed)
    time = np.arange(0.0, 1500, 10)
    middle, scale = rng.uniform(400, 1000), rng.uniform(5, 70)
    curve = 0.1 + 0.85 / (1 + np.exp(-(time - middle) / scale)) + 0.02 * rng.normal(size=150)
    found = find_transition(time, curve)
    assert found.found
    assert found.agree >= 2
    assert abs(found.t50 - middle) < max(10, 0.15 * scale)
    assert abs(found.width - 2 * np.log(9) * scale) < max(25, 0.2 * 2 * np.log(9) * scale)


def test_a_falling_transition_is_found_as_well():
    time = np.arange(100.0)
    curve = 1 / (1 + np.exp((time - 60) / 4)) + 0.01 * np.random.default_rng(0).normal(size=100)
    assert abs(find_transition(time, curve).t50 - 60) < 1


def test_noise_alone_a_constant_and_a_short_record_have_none():
    rng = np.random.default_rng(1)
    assert not find_transition(np.arange(80.0), 0.5 + 0.1 * rng.normal(size=80)).found
    assert not find_transition(np.arange(80.0), np.full(80, 0.5)).found
    short = find_transition(np.arange(3.0), np.array([0.0, 0.5, 1.0]))
    assert not short.found
    assert "at least 6" in short.note


def test_learning_within_the_first_two_epochs_is_no_transition():
    time = np.arange(30.0)
    assert not find_transition(time, 1 - np.exp(-time)).found
    assert not find_transition(time, (time > 0).astype(float)).found


def test_epochs_that_were_not_measured_do_not_matter():
    time = np.arange(120.0)
    curve = 1 / (1 + np.exp(-(time - 70) / 3))
    gaps = np.full(240, np.nan)
    gaps[::2] = curve
    whole, sparse = find_transition(time, curve), find_transition(np.arange(240) / 2, gaps)
    assert whole == sparse


def test_fewer_than_two_detectors_means_none_and_the_note_says_so():
    # a plateau and a rise that is still going on when the record ends
    time = np.arange(100.0)
    found = find_transition(time, np.where(time < 60, 0.1, 0.1 + (time - 60) / 50))
    assert not found.found
    assert found.agree < 2
    assert "Fewer than two agree" in found.note


@pytest.mark.parametrize("log_time", [False, True])
def test_the_sigmoid_gives_back_its_own_parameters(log_time):
    time = np.arange(1.0, 301)
    x, middle, scale = (np.log(time), np.log(90), 0.3) if log_time else (time, 90, 12)
    fit = fit_sigmoid(time, 0.2 + 0.7 / (1 + np.exp(-(x - middle) / scale)), origin=0.5)
    assert fit.log_time == log_time
    np.testing.assert_allclose((fit.low, fit.high, fit.t50), (0.2, 0.9, 90), rtol=0.02)
    # 10 to 90 % of the way, read off the fitted curve itself
    rise = fit(np.linspace(1, 300, 100_000))
    inside = ((rise - fit.low) / (fit.high - fit.low) > 0.1) & (rise - fit.low < 0.9 * 0.7)
    np.testing.assert_allclose(fit.width, inside.mean() * 299, rtol=0.02)


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    time, hits = np.arange(100.0), []
    for seed in range(100):
        noise = 0.05 * np.random.default_rng(seed).normal(size=100)
        low, high = fit_sigmoid(time, 1 / (1 + np.exp(-(time - 47.3) / 5)) + noise).interval
        hits.append(low <= 47.3 <= high)
    assert 0.88 <= np.mean(hits) <= 1.0


def test_a_crossing_must_hold():
    time = np.arange(0, 80, 10)
    curve = np.array([0.1, 0.96, 0.5, 0.94, 0.96, 0.93, 0.97, 0.2])
    assert first_crossing(time, curve, 0.95) == 40
    assert first_crossing(time, curve, 0.95, hold=1) == 10
    assert np.isnan(first_crossing(time, curve, 0.99))
    assert first_crossing(time, [0, 0, np.nan, 0, 1, np.nan, 1, 1], 1.0) == 40


@pytest.mark.parametrize("share", [0.01, 0.03, 0.1])
def test_a_rise_early_in_a_long_record_is_found(share):
    time = np.arange(3000.0)
    middle = share * 3000
    curve = 0.02 + 0.97 / (1 + np.exp(-(time - middle) / (middle / 12)))
    found = find_transition(time, curve, origin=0.0)
    assert found.found
    assert abs(found.t50 - middle) < 0.1 * middle


def slow_rise(time, at):
    """From 5 % at a quarter of `at` to 95 % at four times of it: no plateau of its own."""
    return np.clip(0.5 + 0.45 * np.log(time / at) / np.log(4), 0.02, 1)


def test_a_slow_rise_long_after_memorizing_is_a_transition_and_alone_is_none():
    time = np.arange(50.0, 6000, 50)
    curve = slow_rise(time, 600) + 0.004 * np.random.default_rng(0).normal(size=len(time))
    late = find_transition(time, curve, origin=0.0, memorized=150)
    assert late.found
    assert 300 <= late.t50 <= 900
    assert not find_transition(time, curve, origin=0.0).found
    # a test accuracy that rises with the training accuracy
    assert not find_transition(time, curve, origin=0.0, memorized=550).found


def test_a_dip_does_not_move_the_moment():
    time = np.arange(0.0, 7000, 50)
    curve = 1 / (1 + np.exp(-(time - 2500) / 150))
    whole = find_transition(time, curve)
    curve[(time > 6000) & (time < 6300)] = 0.4
    dipped = find_transition(time, curve)
    assert dipped.found
    assert abs(dipped.by_threshold - whole.by_threshold) <= 50
    assert abs(dipped.t50 - whole.t50) < 100


def test_detectors_that_name_different_moments_do_not_agree():
    from dg_explorer.maths.transition import _at_one_time

    time = np.arange(0.0, 7000, 50)
    assert _at_one_time({"threshold": 6100, "sigmoid": 2500}, time, 0.0) in (
        {"threshold": 6100},
        {"sigmoid": 2500},
    )
    three = {"threshold": 6100, "sigmoid": 2500, "change points": 2400}
    assert set(_at_one_time(three, time, 0.0)) == {"sigmoid", "change points"}


def test_a_fall_is_found_where_it_was_put_and_nothing_else_is_one():
    time = np.arange(0.0, 1000.0, 10)
    noise = 0.01 * np.random.default_rng(0).normal(size=100)
    up, down = (1 / (1 + np.exp(-(time - at) / 15)) for at in (200, 700))
    for before in (np.ones(100), up):
        fall = find_fall(time, 0.1 + 0.8 * before * (1 - 0.6 * down) + noise)
        assert 660 <= fall.begins <= 690
        assert abs(fall.half - 700) <= 10
        assert (round(fall.top, 1), round(fall.end, 1)) == (0.9, 0.4)
    for curve in (0.1 + 0.8 * up + noise, np.full(100, 0.5) + noise):
        assert find_fall(time, curve) is None
    dipped = 0.1 + 0.8 * up + noise
    dipped[60:65] = 0.2
    assert find_fall(time, dipped) is None


def test_a_rise_at_the_very_end_is_no_fall_and_is_said_to_be_one():
    time = np.arange(100.0)
    late = 0.1 + 0.85 / (1 + np.exp(-(time - 97) / 0.5))
    assert find_fall(time, late) is None
    assert find_fall(time, 0.5 + 0.3 * np.sin(time / 3)) is None
    found = find_transition(time, late)
    assert not found.found
    assert "rises at the end, from 9" in found.note
