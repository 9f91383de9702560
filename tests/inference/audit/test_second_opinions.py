"""The lattice against other people's GRIM tests, where they cover the same case."""

import decimal
import warnings

import grim
import numpy as np
import pytest
import scrutipy
from mlscorecheck.check.binary import check_1_testset_no_kfold

from reclaim.inference.audit.lattice import explains, units

MODES = {
    "half_up": decimal.ROUND_HALF_UP,
    "half_even": decimal.ROUND_HALF_EVEN,
    "truncated": decimal.ROUND_DOWN,
    "ceiling": decimal.ROUND_CEILING,
}
SIZES = (7, 23, 40, 64, 96, 97, 192)


def in_per_cent(value: int) -> str:
    return f"{value // 100}.{value % 100:02d}"


@pytest.mark.parametrize("rounding", MODES)
def test_grim_agrees_on_every_rounding(rounding: str) -> None:
    """`grim` tests the mean of n integers: a share in per cent is the mean of n times 0 or 100.

    It takes whole numbers as items, so the share is given to it as a fraction with four decimals.
    """
    rng = np.random.default_rng(5)
    for n in SIZES:
        for value in rng.choice(10001, 60, replace=False).tolist():
            theirs = grim.mean_tester.consistency_check(
                f"{value / 10000:.4f}", str(n), rounding_method=MODES[rounding]
            )
            assert theirs == bool(explains(value, n, units(2), rounding)), (value, n)


@pytest.mark.parametrize(
    ("rounding", "name", "end"),
    [
        ("half_up", "up", 1),
        ("half_even", "even", 1),
        ("truncated", "trunc", 2),
        ("ceiling", "ceiling", 2),
    ],
)
def test_scrutipy_agrees_but_where_a_share_lies_on_an_end(
    rounding: str, name: str, end: int
) -> None:
    """`scrutipy` works in floating point with a tolerance, so it takes both ends of an interval.

    Where it differs it says yes, and some k/n is exactly half a unit away from the printed number
    (a tie that goes the other way: 2/64 = 3.125 % is 3.13 half up, and it takes 3.12 too), or a
    whole unit if the number was cut or raised (1/1 = 100.00 %, and it takes 99.99 too).
    """
    rng = np.random.default_rng(6)
    for n in SIZES:
        for value in [*rng.choice(10001, 300, replace=False).tolist(), 312, 9999, 249, 501]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs = scrutipy.grim_scalar(in_per_cent(value), n, rounding=name, percent=True)
            ours = bool(explains(value, n, units(2), rounding))
            ends = [2 * value - end, 2 * value + end]
            on_an_end = any(k * 2 * 10000 == x * n for k in range(n + 1) for x in ends)
            assert theirs == ours or (theirs and on_an_end), (value, n)


def test_mlscorecheck_agrees_on_intervals_of_half_a_unit() -> None:
    """`mlscorecheck` asks whether an accuracy lies within eps of some k/n.

    That is rounding to nearest with both ends: what half_up or half_even can print. Its
    `numerical_tolerance` only widens the ends by less than any k/n is away from them.
    """
    rng = np.random.default_rng(7)
    for n in SIZES:
        for value in rng.choice(np.arange(1, 10000), 12, replace=False).tolist():
            found = check_1_testset_no_kfold(
                testset={"p": n // 2, "n": n - n // 2},
                scores={"acc": value / 10000},
                eps=0.00005,
                numerical_tolerance=1e-9,
            )
            ours = explains(value, n, units(2), "half_up") or explains(
                value, n, units(2), "half_even"
            )
            assert found["inconsistency"] != bool(ours), (value, n)
