import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dg_explorer.maths.forgetting import (
    first_learned,
    forgetting_events,
    last_unlearned,
    learned_for_good,
)

histories = st.integers(1, 9).flatmap(
    lambda n: st.tuples(arrays(bool, (n, 3)), arrays(bool, (n, 3)))
)


def slow_history(correct, seen, epochs):
    """One example, told as a story: events, first, last lost, good from."""
    events, first, lost, good, state = 0, np.nan, np.nan, np.nan, False
    for right, here, epoch in zip(correct, seen, epochs):
        if not here:
            continue
        if state and not right:
            events, lost, good = events + 1, epoch, np.nan
        if right and not state:
            good = epoch
            first = epoch if np.isnan(first) else first
        state = right
    return events, first, lost, good


@given(histories)
def test_histories_agree_with_a_slow_walk_through_each_example(history):
    correct, seen = history
    epochs = 10 * np.arange(len(correct)) + 3
    expected = [slow_history(*columns, epochs) for columns in zip(correct.T, seen.T)]
    got = [
        forgetting_events(correct, seen),
        first_learned(correct, epochs, seen),
        last_unlearned(correct, epochs, seen),
        learned_for_good(correct, epochs, seen),
    ]
    np.testing.assert_array_equal(np.array(got, dtype=float).T, np.array(expected, dtype=float))


def test_forgetting_by_hand():
    right = np.array([[1, 0, 0], [0, 0, 1], [1, 0, 1], [0, 0, 1]], dtype=bool)
    assert forgetting_events(right).tolist() == [2, 0, 0]


def test_never_learned_and_never_forgotten_are_told_apart():
    right = np.array([[0, 1], [0, 1]], dtype=bool)
    assert forgetting_events(right).tolist() == [0, 0]
    assert first_learned(right, np.array([0, 1])).tolist() == [
        pytest.approx(np.nan, nan_ok=True),
        0,
    ]


def test_a_gap_in_the_record_is_not_forgetting():
    correct = np.array([[True], [False], [True]])
    seen = np.array([[True], [False], [True]])
    assert forgetting_events(correct, seen) == 0
    assert forgetting_events(correct) == 1
