"""A verdict counts moments and says how far the output moved."""

import numpy as np

from dg_explorer.evaluation.retrainings.verdict import verdict

EPOCH = np.array([0, 10, 20, 30])
NOW = np.array([0.0, 1.0, 2.0, 3.0])
LOW, HIGH = NOW - 0.5, NOW + 0.5
NONE = (None, None)


def said(true, random=(LOW, HIGH), expected=NONE, now=NOW):
    return " ".join(verdict(EPOCH, now, np.array(true, float), random, expected, unit="nats"))


def test_the_last_moment_that_both_have_is_named():
    words = said([0, 0, 0, np.nan], NONE)
    assert words == "At epoch 20 the output is 2 nats lower without them: 0 instead of 2."


def test_moments_outside_the_band_are_counted_on_either_side():
    words = said([0, 0, 3, 3])
    assert "below it at 1 and above it at 1 of 4 moments, inside at 2." in words


def test_what_moves_no_further_than_chance_is_said_to_matter_no_more():
    assert "mattered no more than others" in said(NOW)


def test_moments_that_cannot_be_told_are_not_counted():
    low = np.array([np.nan, 0.5, 1.5, 2.5])
    words = said([0, 0, np.nan, 3], (low, HIGH), (low, HIGH))
    assert "below it at 1 of 2 moments, inside at 1." in words
    assert "held the truth at 1 of 2 moments." in words


def test_without_a_band_nothing_is_compared():
    assert verdict(EPOCH, None, NOW, NONE, NONE, unit="nats") == []
