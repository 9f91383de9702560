"""A quick sample of the simulation of verdicts, and that it simulates the package's own."""

from fractions import Fraction

import numpy as np
import pytest

from reclaim.inference.replication.families import holm
from reclaim.inference.replication.sequences import (
    compare_difference_sequentially,
    compare_value_sequentially,
    mean_sequence,
)
from reclaim.inference.replication.values import Printed, compare_value
from tests.simulations import coverage


@pytest.mark.parametrize("runs", [1, 3])
def test_the_simulated_test_is_the_packages(runs: int) -> None:
    rng = np.random.default_rng(runs)
    seeds, low = rng.normal(0, 1, (40, 20)), rng.normal(1, 1, 40)
    mean, sd = coverage.running(seeds)
    for k in (3, 20):
        found = coverage.judged(mean[:, k - 1], sd[:, k - 1], k, low, low + 0.5, runs, 2.0)
        for i, row in enumerate(seeds[:, :k].tolist()):
            box = Printed(Fraction(low[i]), Fraction(low[i]) + Fraction(1, 2), runs)
            test = compare_value(row, box, 2.0)
            assert test is not None
            assert (test.p, test.tost_p) == pytest.approx((found[0][i], found[1][i]), rel=1e-9)


def test_the_simulated_sequences_are_the_packages() -> None:
    values = np.random.default_rng(1).normal(0, 1, 30).tolist()
    means, noises = (coverage.factors(5, runs, True) for runs in (None, 3))
    for k in (5, 12, 30):
        ours = mean_sequence(values[:k], 5)
        both = compare_value_sequentially(values[:k], coverage.unrounded(3), 5)
        assert ours is not None and both is not None
        half = (ours.high - ours.low) / 2, (both.interval.high - both.interval.low) / 2
        sd = np.std(values[:k], ddof=1)
        assert half == pytest.approx((means[k - 5] * sd, noises[k - 5] * sd), rel=1e-9)


def test_the_simulated_sequence_of_a_difference_is_the_packages() -> None:
    rng, box = np.random.default_rng(4), coverage.unrounded(3)
    a, b = rng.normal(0, 1, (2, 30))
    own, arm = coverage.size_factors(5, 3)
    for k in (5, 12, 30):
        one, other = a[:k], b[:k]
        found = compare_difference_sequentially(list(one), list(other), box, box, box, 5)
        assert found is not None
        sds = [np.std(x, ddof=1) for x in (one - other, one, other)]
        half = own[k - 5] * sds[0] + arm[k - 5] * (sds[1] + sds[2])
        assert (found.interval.high - found.interval.low) / 2 == pytest.approx(half, rel=1e-9)


def test_a_difference_is_looked_at_after_every_seed() -> None:
    """Without the paper's noise in its reach, the sequence errs often: the simulation can fail."""
    draws = 500
    assert coverage.upper(coverage.peeked_size(draws, 5, 1, 0.5), draws) < 0.03
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coverage.sequences, "noise_of_paper", lambda *_: 0.0)
        assert coverage.peeked_size(draws, 5, 1, 0.5) > 0.5 * draws


def test_the_simulated_holm_is_the_packages() -> None:
    p = np.random.default_rng(2).uniform(0, 0.2, (3, 6))
    for row, found in zip(p.tolist(), coverage.stepped_down(p).tolist(), strict=True):
        assert found == pytest.approx(holm(row), rel=1e-12)


@pytest.mark.parametrize(("noise", "ratio"), coverage.SHAPES.values(), ids=coverage.SHAPES)
def test_noise_has_mean_0_and_sd_1(noise: coverage.Noise, ratio: float) -> None:
    drawn = noise(np.random.default_rng(3), (400, 500))
    assert ratio > 0
    assert drawn.mean() == pytest.approx(0, abs=0.02)
    assert drawn.std() == pytest.approx(1, abs=0.1)  # of t with 3 df it settles slowly


def test_a_quick_sample() -> None:
    ks, n = (3, 10), 4000
    found = coverage.covered(n, ks, 1, coverage.normal, 1)
    assert found == pytest.approx([0.95, 0.95], abs=4 * (0.05 * 0.95 / n) ** 0.5)
    fixed, sequence, _ = coverage.peeked(1000, 5, None)
    assert coverage.upper(round(sequence[-1] * 1000), 1000) < 0.075 < 0.2 < fixed[-1]


def test_every_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    quick = [name for name in coverage.TABLES if name not in {"peeking", "peeking_sizes", "widths"}]
    coverage.main(["--draws", "50", "--only", *quick])
    printed = capsys.readouterr().out
    for name in quick:
        assert f"\n{name}\n\n| {' | '.join(coverage.TABLES[name][0])} |" in printed
    assert "nan" not in printed
