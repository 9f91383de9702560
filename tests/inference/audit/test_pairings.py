"""The range of McNemar p-values is that of brute force, in exact fractions, up to 40 images."""

from __future__ import annotations

import pytest

from reclaim.inference.audit.pairing import p_range
from reclaim.inference.audit.sizes import Counts
from tests.inference.audit.pairings import brute_force


@pytest.mark.parametrize("images", range(1, 41))
def test_the_range_is_that_of_all_pairings(images: int) -> None:
    every = brute_force(images)
    assert len(every) == (images + 1) ** 2
    for (one, other), found in every.items():
        low, high = p_range(Counts(one, one), Counts(other, other), images)
        assert (low.lower, high.lower) == (low.upper, high.upper) == found
