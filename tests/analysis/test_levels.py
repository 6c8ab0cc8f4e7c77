"""The levels of the analyses, on one seed of each demo; `levels.py` measures five."""

from __future__ import annotations

import levels
import pytest


# `critical` has no level, and retrains eleven times
@pytest.mark.second_ring(sample=1)
@pytest.mark.parametrize("level", ["transitions", "mislabels", "debiasing"])
def test_the_level_is_reached_on_a_real_run(level):
    found = levels.LEVELS[level](0)
    assert levels.meets(level, found), found
