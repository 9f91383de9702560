"""The noise floor against closed forms, slow loops, enumeration and simulation."""

import doctest
from itertools import combinations, product
from math import sqrt

import numpy as np
import pytest
from scipy import stats

from reclaim.inference.replication import noise
from reclaim.inference.replication.noise import NoiseFloor, agreement, noise_floor, sd_interval


def test_every_example_is_right() -> None:
    found = doctest.testmod(noise)
    assert found.attempted and not found.failed


def runs(k: int, n: int, seed: int, together: float = 0.0) -> np.ndarray:
    """Outcomes (k, n): image i right with its own chance, moved by what a run's images share."""
    rng = np.random.default_rng(seed)
    image, run = rng.normal(1, 1.5, n), rng.normal(0, together, (k, 1))
    return stats.norm.cdf(image + run) > rng.random((k, n))


def test_each_number_says_what_it_assumes() -> None:
    assert set(NoiseFloor.ASSUMES) == {"run_sd", "bound", "plug_in"}
    assert all("independent" in NoiseFloor.ASSUMES[name] for name in ("bound", "plug_in"))


def test_the_floor_by_hand() -> None:
    found = noise_floor([80.0, 80.4, 79.9], 2500, agreement=0.9)
    assert found.run_sd == pytest.approx(sqrt(0.07))
    share = 0.801
    assert found.bound == pytest.approx(100 * sqrt(share * (1 - share) / 2500))
    assert found.plug_in == pytest.approx(100 * sqrt(0.05 / 2500))
    assert (found.seeds, found.images) == (3, 2500)


@pytest.mark.parametrize("k", [2, 3, 10])
def test_the_interval_of_a_standard_deviation(k: int) -> None:
    found = sd_interval(0.4, k)
    low, high = (0.4 * sqrt((k - 1) / stats.chi2.ppf(p, k - 1)) for p in (0.975, 0.025))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-10)


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng, n = np.random.default_rng(1), 20_000
    deviations = rng.normal(0, 1, (n, 4)).std(axis=1, ddof=1)
    one = sd_interval(1.0, 4)  # intervals scale with the standard deviation
    covered = ((deviations * one.low <= 1) & (deviations * one.high >= 1)).mean()
    assert abs(covered - 0.95) < 4 * sqrt(0.95 * 0.05 / n)


@pytest.mark.parametrize("k", [2, 3, 7])
def test_agreement_is_that_of_a_slow_loop(k: int) -> None:
    correct = runs(k, 50, k)
    pairs = [
        sum(correct[i, image] == correct[j, image] for image in range(50)) / 50
        for i, j in combinations(range(k), 2)
    ]
    assert agreement(correct) == pytest.approx(sum(pairs) / len(pairs), rel=1e-12)
    assert agreement(correct.astype(np.int8)) == agreement(correct)


@pytest.mark.parametrize("k", [2, 3])
def test_disagreement_estimates_the_variance_without_bias(k: int) -> None:
    chances = (0.9, 0.3)
    expected = 0.0
    for bits in product((0, 1), repeat=2 * k):
        correct = np.array(bits).reshape(k, 2)
        weight = np.prod(
            [p if x else 1 - p for row in correct for x, p in zip(row, chances, strict=True)]
        )
        expected += float(weight) * (1 - agreement(correct)) / 2
    assert expected == pytest.approx((0.9 * 0.1 + 0.3 * 0.7) / 2, rel=1e-12)


def test_independent_images_give_the_plug_in_and_stay_below_the_bound() -> None:
    correct = runs(400, 1000, 3)
    found = noise_floor(list(100 * correct.mean(axis=1)), 1000, agreement(correct))
    assert found.run_sd is not None and found.plug_in is not None and found.interval is not None
    assert found.interval.low < found.plug_in < found.interval.high
    assert found.interval.high < found.bound


def test_images_that_err_together_show_above_the_bound() -> None:
    correct = runs(100, 2000, 4, together=0.5)
    found = noise_floor(list(100 * correct.mean(axis=1)), 2000, agreement(correct))
    assert found.interval is not None and found.plug_in is not None
    assert found.interval.low > found.bound > found.plug_in


def test_what_few_seeds_leave_out() -> None:
    alone = noise_floor([80.0], 100)
    assert (alone.run_sd, alone.interval, alone.plug_in) == (None, None, None)
    assert alone.bound == pytest.approx(4)
    same = noise_floor([80.0, 80.0], 100)
    assert (same.run_sd, same.interval) == (0.0, None)


@pytest.mark.parametrize("accuracies", [[], [101.0], [-1.0, 50.0], [float("nan")]])
def test_accuracies_that_are_none(accuracies: list[float]) -> None:
    with pytest.raises(ValueError, match="from 0 to 100"):
        noise_floor(accuracies, 100)


@pytest.mark.parametrize("shape", [(1, 5), (3, 0), (4,)])
def test_outcomes_that_cannot_agree(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        agreement(np.ones(shape, dtype=bool))
