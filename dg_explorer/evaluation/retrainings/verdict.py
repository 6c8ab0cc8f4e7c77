"""What a true curve says beside what was expected and beside chance, in words."""

from __future__ import annotations

import numpy as np


def verdict(
    epoch: np.ndarray,
    now: np.ndarray | None,
    true: np.ndarray,
    random: tuple[np.ndarray | None, np.ndarray | None],
    expected: tuple[np.ndarray | None, np.ndarray | None],
    *,
    unit: str,
    time_unit: str = "epoch",
) -> list[str]:
    """Sentences about an output that was trained again without some examples.

    Parameters
    ----------
    epoch, now, true : the moments, the recorded curve and the true one, shape (epoch,)
        NaN where a curve has no value.
    random, expected : low and high ends of the band of random removals and of the interval

    Returns
    -------
    list of str
        How far the output moved at the last moment, at how many moments it moved further than
        random removals do, and at how many it lies in the interval.
    """
    said = []
    if now is not None and (known := np.flatnonzero(np.isfinite(now) & np.isfinite(true))).size:
        at = int(known[-1])
        moved = true[at] - now[at]
        said.append(
            f"At {time_unit} {epoch[at]} the output is {abs(moved):.2g} {unit} "
            f"{'lower' if moved < 0 else 'higher'} without them: {true[at]:.3g} instead of "
            f"{now[at]:.3g}."
        )
    below, above, n = _outside(true, *random)
    if n:
        said.append(_beside_chance(below, above, n))
    below, above, n = _outside(true, *expected)
    if n:
        said.append(
            f"What was expected held the truth at {n - below - above} of {n} "
            f"moment{'s' * (n != 1)}."
        )
    return said


def _beside_chance(below: int, above: int, n: int) -> str:
    if not below + above:
        return (
            "That is no further than removing as many at random moves it, at any of "
            f"{n} moments: these examples mattered no more than others."
        )
    parts = [f"{side} it at {k}" for side, k in (("below", below), ("above", above)) if k]
    return (
        f"Beside the band of random removals it is {' and '.join(parts)} of {n} moments, "
        f"inside at {n - below - above}."
    )


def _outside(true, low, high) -> tuple[int, int, int]:
    """At how many moments a curve lies below and above a band, of how many that can be told."""
    if low is None or high is None:
        return 0, 0, 0
    known = np.isfinite(true) & np.isfinite(low) & np.isfinite(high)
    below, above = (true < low) & known, (true > high) & known
    return int(below.sum()), int(above.sum()), int(known.sum())
