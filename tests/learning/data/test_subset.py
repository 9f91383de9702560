"""Stratified subsets: equal counts, fixed by the seed, nested."""

from __future__ import annotations

import numpy as np
import pytest

from reclaim.learning.data import stratified
from reclaim.records import ReclaimError

LABELS = np.random.default_rng(5).permutation(np.repeat(np.arange(10), 60))


@pytest.mark.parametrize("count", [1, 7, 10, 100, 123, 599, 600])
def test_counts_are_equal_up_to_one(count: int) -> None:
    chosen = stratified(LABELS, count, seed=0)
    counts = np.bincount(LABELS[chosen], minlength=10)
    assert counts.sum() == count and counts.max() - counts.min() <= 1
    assert (np.diff(chosen) > 0).all()


def test_a_class_that_is_too_small_is_filled_up_by_others() -> None:
    labels = np.array([0] * 3 + [1] * 20 + [7] * 20)
    assert np.bincount(labels[stratified(labels, 23, seed=1)])[[0, 1, 7]].tolist() == [3, 10, 10]
    assert stratified(labels, 43, seed=1).tolist() == list(range(43))


def test_the_seed_decides() -> None:
    first = stratified(LABELS, 100, seed=3)
    np.random.default_rng().random()
    assert stratified(LABELS, 100, seed=3).tolist() == first.tolist()
    assert stratified(LABELS, 100, seed=4).tolist() != first.tolist()
    assert set(first) < set(stratified(LABELS, 200, seed=3))


def test_every_image_is_chosen_equally_often() -> None:
    labels = np.array([0, 1] * 10)
    hits = np.zeros(20)
    for seed in range(2000):
        hits[stratified(labels, 5, seed)] += 1
    # 2000 draws with p = 1/4: a standard deviation of 19.4; five of them either side.
    assert np.abs(hits - 500).max() < 97


@pytest.mark.parametrize("count", [0, -1, 601])
def test_a_count_that_cannot_be(count: int) -> None:
    with pytest.raises(ReclaimError, match="from 1 to 600"):
        stratified(LABELS, count, seed=0)
