"""Error rates of differences, orders and plans on simulated seeds: tables of docs/statistics.md.

    python -m tests.simulations.effects               minutes on one core; seeds are fixed

Every function takes what a row and a column of its table say and returns shares of simulated
studies. Over 100,000 draws a share has a standard error of at most 0.07 points at 95 %, 0.16 at
50 %. What the functions under test do to one study is done here to all at once, with their own
arithmetic where that takes arrays; tests/simulations/test_effects.py holds the two together.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import combinations, combinations_with_replacement, product
from math import factorial, prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats
from scipy.optimize import brentq

from reclaim.inference.replication.differences import (
    crossed_error,
    own_part,
    share_limit,
)
from reclaim.inference.replication.distributions import dunnett, noncentral_t
from reclaim.inference.replication.planning import Future, order_power, seeds_for_order
from reclaim.inference.replication.values import Printed, difference_p, equivalence_p, quantile

SEED = 20241122
DRAWS = 100_000
PILOTS = 2000  # plans from five seeds: a search each
Floats = NDArray[np.float64]
Shares = tuple[float, ...]


@dataclass(frozen=True)
class Noise:
    """Seed noise of mean 0 and standard deviation 1: how it is drawn, and P(noise > −x)."""

    draw: Callable[[np.random.Generator, tuple[int, ...]], Floats]
    above: Callable[[float], float]


NOISE: Mapping[str, Noise] = {
    "normal": Noise(lambda rng, shape: rng.normal(size=shape), lambda x: stats.norm.cdf(x)),
    "skewed (χ², 4 df)": Noise(
        lambda rng, shape: (rng.chisquare(4, shape) - 4) / sqrt(8),
        lambda x: stats.chi2.sf(4 - x * sqrt(8), 4),
    ),
    "heavy tails (t, 5 df)": Noise(
        lambda rng, shape: rng.standard_t(5, shape) / sqrt(5 / 3),
        lambda x: stats.t.cdf(x * sqrt(5 / 3), 5),
    ),
}


def generator(*what: Any) -> np.random.Generator:
    """A generator that depends on the table and the cell alone."""
    return np.random.default_rng([SEED, *(hash_of(part) for part in what)])


def hash_of(part: Any) -> int:
    """A number of a cell's name or value."""
    return int.from_bytes(repr(part).encode(), "little") % 2**61


def shares(*hits: Any) -> Shares:
    """The shares of simulated studies that hit."""
    return tuple(float(np.mean(each)) for each in hits)


def t_ratio(d: Floats) -> Any:
    """Student's t of the rows of (draws, k)."""
    return sqrt(d.shape[1]) * d.mean(axis=1) / d.std(axis=1, ddof=1)


# --- an order and a size -------------------------------------------------------------------------


def order(noise: str, ratio: float, k: int, draws: int = DRAWS) -> Shares:
    """Paired t at 5 %: the claimed order found, the opposite one found."""
    t = t_ratio(NOISE[noise].draw(generator("order", noise, ratio, k), (draws, k)) + ratio)
    limit = quantile(0.975, k - 1)
    return shares(t > limit, t < -limit)


def pairs_of(rng: np.random.Generator, covariance: Any, shape: tuple[int, ...]) -> Floats:
    """Normal seeds of settings with a covariance matrix, (..., settings)."""
    return rng.normal(size=(*shape, len(covariance))) @ np.linalg.cholesky(covariance).T


def sizes(
    runs: int, ratio: float, correlation: float, k: int, draws: int
) -> tuple[Floats, Floats, Floats]:
    """Our difference less a printed one that is right, its standard error, and its df."""
    rng = generator("size", runs, ratio, correlation, k)
    covariance = np.array([[1, correlation * ratio], [correlation * ratio, ratio**2]])
    pairs = pairs_of(rng, covariance, (draws, k))
    printed = rng.normal(size=(draws, 2)) / sqrt(runs) @ np.array([1, -ratio])
    centred = pairs - pairs.mean(axis=1, keepdims=True)
    arm = Printed(Fraction(0), Fraction(0), runs)
    ours, df = own_part(centred.transpose(0, 2, 1) @ centred / (k - 1), k, arm, arm)
    return (pairs[..., 0] - pairs[..., 1]).mean(axis=1) - printed, np.sqrt(ours), df


def size_interval(
    runs: int, ratio: float, correlation: float, k: int, draws: int = DRAWS
) -> Shares:
    """Coverage of the interval for a printed difference."""
    gap, error, df = sizes(runs, ratio, correlation, k, draws)
    return shares(abs(gap) <= quantile(0.975, df) * error)


def size_verdicts(runs: int, wrong: float, margin: float, k: int, draws: int = DRAWS) -> Shares:
    """Reproduced, not reproduced, for a printed difference that is `wrong` off (arms: 0.5)."""
    gap, error, df = sizes(runs, 1, 0.5, k, draws)
    same = equivalence_p(abs(gap + wrong), margin, error, df) < 0.05
    return shares(same, ~same & (difference_p(gap + wrong, error, df) < 0.05))


# --- new images ----------------------------------------------------------------------------------


def crossed_interval(
    by_seed: float, by_image: float, k: int, draws: int = DRAWS, images: int = 10_000
) -> Shares:
    """Coverage, and σ²_seed estimated below 0; from three mean squares and the mean.

    `by_seed` is n σ²_seed/σ²_rest, `by_image` σ²_image/σ²_rest.
    """
    rng = generator("crossed", by_seed, by_image, k)
    expected = np.array([1 + by_seed, 1 + k * by_image, 1])
    degrees = np.array([k - 1, images - 1, (k - 1) * (images - 1)])
    squares = expected * rng.chisquare(degrees, (draws, 3)) / degrees
    error, df = crossed_error(*squares.T, k, images)
    mean = rng.normal(0, sqrt(expected @ [1, 1, -1] / (k * images)), draws)
    return shares(abs(mean) <= quantile(0.975, df) * error, squares[:, 0] < squares[:, 2])


def outcome_intervals(by_seed: float, k: int, draws: int = DRAWS, images: int = 300) -> Shares:
    """Coverage for new images: crossed effects, and paired t; outcomes of 0 and 1, probit model.

    Of 300 images; both arms find the same images hard (0.8), and each some of its own (0.6).
    """
    rng = generator("outcomes", by_seed, k)
    scale = sqrt(1 + 1.5**2 + by_seed**2)
    truth = special.ndtr(1.2 / scale) - special.ndtr(1.0 / scale)
    parts = []
    for _ in range(max(1, draws // 500)):
        image = rng.normal(0, 1.5, (3, 500, 1, images))
        run = rng.normal(0, by_seed, (2, 500, k, 1)) + np.array([1.2, 1.0])[:, None, None, None]
        chance = special.ndtr(run + 0.6 * image[:2] + 0.8 * image[2])
        a, b = (rng.random(chance.shape, np.float32) < chance).astype(np.int8)
        parts.append(outcome_hits(a - b, truth))
    return shares(*np.concatenate(parts, axis=1))


def outcome_hits(x: NDArray[np.int8], truth: float) -> Any:
    """Which of the two intervals of differences (draws, k, n) hold the truth, (2, draws)."""
    _, k, n = x.shape
    mean, rows, columns = x.mean(axis=(1, 2)), x.mean(axis=2), x.mean(axis=1)
    by_seed, by_image = n * rows.var(axis=1, ddof=1), k * columns.var(axis=1, ddof=1)
    total = (x != 0).sum(axis=(1, 2)) - k * n * mean**2
    rest = (total - (k - 1) * by_seed - (n - 1) * by_image) / ((k - 1) * (n - 1))
    error, df = crossed_error(by_seed, by_image, rest, k, n)
    paired = rows.std(axis=1, ddof=1) / sqrt(k)
    return abs(mean - truth) <= np.array(
        [quantile(0.975, df) * error, quantile(0.975, k - 1) * paired]
    )


# --- effect sizes, and the bootstrap that is not offered -----------------------------------------


@cache
def noncentral_quantile(probability: float, df: int, noncentrality: float) -> float:
    """The t at which noncentral t has a probability."""

    def below(t: float) -> float:
        return (
            noncentral_t(t, df, noncentrality)
            if t > 0
            else 1 - noncentral_t(-t, df, -noncentrality)
        )

    reach = 60 * (abs(noncentrality) + 4)
    return float(brentq(lambda t: below(t or 1e-300) - probability, -reach, reach))


def effect_intervals(noise: str, ratio: float, k: int, draws: int = DRAWS) -> Shares:
    """Coverage of δ/σ_D, of P(A > B) by normal differences, and by wins.

    An interval by inverting noncentral t holds a truth where t lies between its two quantiles.
    """
    d = NOISE[noise].draw(generator("effect", noise, ratio, k), (draws, k)) + ratio
    t, chance = t_ratio(d), float(NOISE[noise].above(ratio))
    covered = []
    for truth in (ratio, float(special.ndtri(chance))):
        low, high = (noncentral_quantile(p, k - 1, sqrt(k) * truth) for p in (0.025, 0.975))
        covered.append((low <= t) & (t <= high))
    limits = np.array([share_limit(wins, k) for wins in range(k + 1)])
    wins = (d > 0).sum(axis=1)
    return shares(*covered, (limits[wins] <= chance) & (chance <= 1 - limits[k - wins]))


def percentile_bootstrap(values: Floats) -> tuple[Floats, Floats]:
    """The exact 2.5 % and 97.5 % percentiles of all k^k resampled means of each row (draws, k)."""
    k = values.shape[1]
    resamples = combinations_with_replacement(range(k), k)
    counts = np.array([np.bincount(drawn, minlength=k) for drawn in resamples])
    ways = np.array([factorial(k) / prod(map(factorial, row)) for row in counts.tolist()]) / k**k
    means = values @ counts.T / k
    order = means.argsort(axis=1)
    below = ways[order].cumsum(axis=1)
    low, high = (
        np.take_along_axis(order, np.argmax(below >= p - 1e-12, axis=1)[:, None], axis=1)
        for p in (0.025, 0.975)
    )
    return (
        np.take_along_axis(means, low, axis=1)[:, 0],
        np.take_along_axis(means, high, axis=1)[:, 0],
    )


def bootstrap(noise: str, k: int, draws: int = DRAWS) -> Shares:
    """Coverage of 95 % intervals of a mean: percentile bootstrap, paired t."""
    d = NOISE[noise].draw(generator("bootstrap", noise, k), (draws, k))
    held = []
    for part in np.array_split(d, max(1, draws // 10_000)):
        low, high = percentile_bootstrap(part)
        held.append((low <= 0) & (high >= 0))
    return shares(np.concatenate(held), abs(t_ratio(d)) <= quantile(0.975, k - 1))


def telescopes(correlation: float, size: float, k: int, draws: int = DRAWS) -> Shares:
    """A difference of `size` · d33 is called too small to have been seen."""
    covariance = np.array([[1, correlation], [correlation, 1]])
    pairs = pairs_of(generator("telescope", correlation, k), covariance, (draws, k))
    factor = (special.ndtri(0.975) + special.ndtri(0.33)) * sqrt(2)
    return shares(too_small(pairs + np.array([size * factor, 0]), factor))


def too_small(pairs: Floats, factor: float) -> Any:
    """Whether the upper limit of each difference, (draws, k, 2), is below `factor` · σ."""
    k, d = pairs.shape[1], pairs[..., 0] - pairs[..., 1]
    sigma = np.sqrt(pairs.var(axis=1, ddof=1).mean(axis=1))
    upper = d.mean(axis=1) + quantile(0.95, k - 1) * d.std(axis=1, ddof=1) / sqrt(k)
    return upper < factor * sigma


# --- rankings and optima -------------------------------------------------------------------------


def tau_interval(g: int, step: float, k: int, draws: int = DRAWS) -> Shares:
    """Coverage of the interval of τ, and pairs told apart; g settings `step` σ apart."""
    rng = generator("tau", g, step, k)
    true = step * rng.permutation(g)  # print says 0, 1, 2, ...; the truth is another order
    values = rng.normal(size=(draws, k, g)) + true
    known, told = taus(values)
    pairs = list(combinations(range(g), 2))
    truth = sum(np.sign(true[j] - true[i]) for i, j in pairs)
    unsure = len(pairs) - told
    covered = (known - unsure <= truth) & (truth <= known + unsure)
    return shares(covered, told / len(pairs))


def taus(values: Floats) -> tuple[Any, Any]:
    """The sum of signs of the pairs told apart, and their number, in (draws, k, g)."""
    _, k, g = values.shape
    pairs = list(combinations(range(g), 2))
    t = np.array([t_ratio(values[..., j] - values[..., i]) for i, j in pairs])
    sure = abs(t) > quantile(1 - 0.025 / len(pairs), k - 1)
    return (np.sign(t) * sure).sum(axis=0), sure.sum(axis=0)


STRUCTURES: Mapping[str, Callable[[int], Floats]] = {
    "independent, equal variances": np.eye,
    "equally correlated, 0.8": lambda g: 0.2 * np.eye(g) + 0.8,
    "neighbours alike, 0.8 to the distance": lambda g: (
        0.8 ** abs(np.subtract.outer(np.arange(g), np.arange(g)))
    ),
    "σ from 1 to 3 along the sweep": lambda g: np.diag(np.linspace(1, 3, g) ** 2),
    "σ = 3 at the optimum alone": lambda g: np.diag([9.0] + [1.0] * (g - 1)),
}


def left_out(values: Floats, best: int) -> tuple[Any, Any]:
    """Whether setting `best` is left out of the sets of (draws, k, g): paired tests, pooled."""
    _, k, g = values.shape
    gaps = np.delete(values, best, axis=2) - values[:, :, [best]]
    t = sqrt(k) * gaps.mean(axis=1) / gaps.std(axis=1, ddof=1)
    rest = values - values.mean(axis=1, keepdims=True) - values.mean(axis=2, keepdims=True)
    rest += values.mean(axis=(1, 2), keepdims=True)
    df = (k - 1) * (g - 1)
    error = np.sqrt(2 / k * (rest**2).sum(axis=(1, 2)) / df)
    return (
        t.max(axis=1) > quantile(1 - 0.05 / (g - 1), k - 1),
        gaps.mean(axis=1).max(axis=1) / error > dunnett_limit(g - 1, df),
    )


@cache
def dunnett_limit(others: int, df: int) -> float:
    """Dunnett's one-sided 5 % limit."""
    return float(brentq(lambda t: dunnett(t, others, df) - 0.95, 0, 50))


def optimum_set(structure: str, g: int, k: int, draws: int = DRAWS) -> Shares:
    """Coverage of the best, the first of a sweep of equals: paired tests, pooled."""
    rng = generator("optimum", structure, g, k)
    values = pairs_of(rng, STRUCTURES[structure](g), (draws, k))
    return shares(*(~out for out in left_out(values, 0)))


def optimum_power(structure: str, g: int, k: int, draws: int = DRAWS) -> Shares:
    """The middle of the sweep left out, the best 3 σ ahead of all: paired tests, pooled."""
    rng = generator("optimum power", structure, g, k)
    values = pairs_of(rng, STRUCTURES[structure](g), (draws, k))
    values[:, :, 0] += 3
    return shares(*left_out(values, g // 2))


# --- plans ---------------------------------------------------------------------------------------


def order_plan(ratio: float, draws: int = DRAWS, pilots: int = PILOTS) -> dict[str, str]:
    """The seeds planned for an order and the power there: from the truth, and from five seeds."""
    rng = generator("order plan", ratio)
    k = seeds_for_order([ratio - 1, ratio, ratio + 1]).seeds or 0
    found = t_ratio(rng.normal(ratio, 1, (draws, k))) > quantile(0.975, k - 1)
    planned = [
        seeds_for_order(five).seeds or 1000 for five in rng.normal(ratio, 1, (pilots, 5)).tolist()
    ]
    powers = np.array([order_power(ratio, seeds) for seeds in planned])
    quartiles = np.percentile(planned, (25, 50, 75)).astype(int)
    return {
        "by the truth": str(k),
        "power": f"{100 * order_power(ratio, k):.1f}",
        "simulated": f"{100 * found.mean():.1f}",
        "by five seeds: quartiles": " / ".join(map(str, quartiles)),
        "mean power": f"{100 * powers.mean():.1f}",
        "power ≥ 80": f"{100 * (powers >= 0.8).mean():.1f}",
    }  # fmt: skip


def value_plan(gap: float, runs: int, margin: float | None, k: int, draws: int = DRAWS) -> Shares:
    """A printed value `gap` σ off our mean: its planned chance to be settled, and the ladder's."""
    values = generator("value plan", gap, runs, margin, k).normal(size=(draws, k))
    printed = Printed(Fraction(gap), Fraction(gap), runs)
    future = Future(0.0, np.diag([1.0, 0.0]), printed, (printed, printed), margin)
    away = values.mean(axis=1) - gap
    error = values.std(axis=1, ddof=1) * sqrt(1 / runs + 1 / k)
    settled = difference_p(away, error, k - 1) < 0.05
    if margin is not None:
        settled |= equivalence_p(abs(away), margin, error, k - 1) < 0.05
    return future.settled(k), float(settled.mean())


# --- the tables ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """A Markdown table: a row for each of `rows`, a column for each of `seeds`."""

    title: str
    labels: Sequence[str]
    rows: Sequence[tuple[Any, ...]]
    seeds: Sequence[int]
    shares: Callable[..., Shares]

    def lines(self, draws: int) -> Iterator[str]:
        """Shares in percent, several of them with a stroke between."""
        yield from (f"**{self.title}** ({draws:,} draws a cell)", "")
        yield from header(*self.labels, *(f"k = {k}" for k in self.seeds))
        for row in self.rows:
            found = (self.shares(*row, k, draws=draws) for k in self.seeds)
            shown = [" / ".join(f"{100 * share:.1f}" for share in cell) for cell in found]
            yield line(*("none" if part is None else part for part in row), *shown)
        yield ""


def line(*cells: Any) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def header(*cells: str) -> Iterator[str]:
    """The first two lines of a Markdown table."""
    yield line(*cells)
    yield line(*["---"] * len(cells))


SEEDS = (3, 5, 10, 20)
TABLES = [
    Table(
        "An order by paired t: claimed order found / opposite order found, %",
        ("noise", "δ/σ_D"), [*product(NOISE, (0.0, 0.5, 1.0, 2.0))], SEEDS, order,
    ),
    Table(
        "The interval for a printed difference: coverage, %",
        ("m", "σ_B/σ_A", "correlation of our arms"),
        [*product((1, 3), (1, 3), (0.0, 0.5, 0.9))], SEEDS, size_interval,
    ),
    Table(
        "The ladder of a size, in σ of one arm: reproduced / not reproduced, %",
        ("m", "wrong by", "margin"),
        [*product((1, 5), (0, 2, 4), (2, 4))], SEEDS, size_verdicts,
    ),
    Table(
        "Crossed random effects, 10,000 images: coverage / σ²_seed estimated below 0, %",
        ("n σ²_seed / σ²_rest", "σ²_image / σ²_rest"),
        [*product((0, 1, 3, 10, 100), (0, 0.1, 1))], SEEDS, crossed_interval,
    ),
    Table(
        "Outcomes of 0 and 1 on 300 images, for new images: coverage of crossed effects / of "
        "paired t, which is about these images, %",
        ("σ of the seed effect",), [(0.0,), (0.05,), (0.2,)], (3, 5, 10), outcome_intervals,
    ),
    Table(
        "Effect sizes: coverage of δ/σ_D / of P(A > B), normal / of P(A > B), by wins, %",
        ("noise", "δ/σ_D"), [*product(NOISE, (0.0, 0.5, 1.0))], SEEDS, effect_intervals,
    ),
    Table(
        "A mean of differences: coverage of the percentile bootstrap / of paired t, %",
        ("noise",), [(name,) for name in NOISE], (3, 4, 5, 6), bootstrap,
    ),
    Table(
        "Small telescopes: called too small to have been seen, %",
        ("correlation of our arms", "δ / d33"),
        [*product((0.0, 0.5, 0.9), (0, 0.5, 1, 1.5))], SEEDS, telescopes,
    ),
    Table(
        "The interval of Kendall's τ: coverage / pairs told apart, %",
        ("settings", "step, σ"), [*product((4, 6), (0.5, 2))], SEEDS, tau_interval,
    ),
    Table(
        "Confidence sets of optima: coverage by paired tests / pooled (Dunnett), %",
        ("noise of a seed", "settings"), [*product(STRUCTURES, (4, 8))], (3, 5, 10), optimum_set,
    ),
    Table(
        "The same: another setting left out, the best 3 σ ahead, %",
        ("noise of a seed", "settings"), [*product(STRUCTURES, (4, 8))], (3, 5, 10), optimum_power,
    ),
    Table(
        "A printed value: planned chance to settle it / simulated, %",
        ("y − μ, σ", "m", "margin, σ"),
        [(0.0, 1, 2.5), (0.0, 3, 1.5), (0.5, 5, 1.5), (1.0, 3, None), (1.5, 3, None),
         (2.5, 1, None), (3.0, 1, 2.0)],
        (4, 10, 30), value_plan,
    ),
]  # fmt: skip


def plan_lines(draws: int, pilots: int = PILOTS) -> Iterator[str]:
    """The table of plans for an order."""
    yield from (f"**Seeds for an order** ({draws:,} draws, {pilots:,} sets of five seeds)", "")
    plans = {ratio: order_plan(ratio, draws, pilots) for ratio in (0.3, 0.5, 1.0, 1.5)}
    yield from header("δ/σ_D", *plans[0.3])
    yield from (line(ratio, *plan.values()) for ratio, plan in plans.items())


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=DRAWS, help="draws a cell")
    draws = parser.parse_args().draws
    for table in TABLES:
        for text in table.lines(draws):
            print(text, flush=True)
    for text in plan_lines(draws):
        print(text, flush=True)


if __name__ == "__main__":
    main()
