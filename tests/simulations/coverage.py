"""How often verdicts on printed values err, by simulation: prints the tables of docs/statistics.md.

Run `python -m tests.simulations.coverage` (minutes on one core); `--draws` simulated papers a cell,
`--only` some of the tables. Seeds are fixed. What is simulated is the package's own arithmetic, on
arrays; a test holds it to `compare_value` and `compare_value_sequentially` one by one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from statsmodels.stats.proportion import proportion_confint

from reclaim.inference.replication import sequences
from reclaim.inference.replication.estimates import t_limit
from reclaim.inference.replication.values import (
    ALPHA,
    Printed,
    difference_p,
    distances,
    equivalence_p,
    standard_error,
    welch,
)

SEED, DRAWS, CHUNK = 20240531, 100_000, 20_000
MOST, PEEKS = 20, 200
KS = (3, 5, 10, 20)
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Noise = Callable[[np.random.Generator, tuple[int, int]], Floats]


def unrounded(runs: int) -> Printed:
    """A number of so many runs with all its digits; where it lies is the simulation's."""
    return Printed.of("0", runs)


# --- noise, of mean 0 and SD 1 -------------------------------------------------------------------


def normal(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """The noise that the intervals assume."""
    return rng.standard_normal(shape)


def skewed(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Exponential, skewness 2, its tail towards bad runs."""
    return 1 - rng.standard_exponential(shape)


def heavy(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Student's t with 3 degrees of freedom."""
    return rng.standard_t(3, shape) / sqrt(3)


def uneven(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Every run with an SD of its own, from a quarter to four times the typical one."""
    spread = 4 ** rng.uniform(-1, 1, shape)
    return rng.standard_normal(shape) * spread / sqrt(255 / 16 / (4 * np.log(4)))


def binomial(images: int, right: float) -> Noise:
    """Shares right of independent images, in standard deviations."""

    def noise(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
        counts = rng.binomial(images, right, shape)
        return (counts - images * right) / sqrt(images * right * (1 - right))

    return noise


SHAPES: Mapping[str, tuple[Noise, float]] = {  # noise, and the paper's SD over ours
    "normal": (normal, 1),
    "skewed: exponential": (skewed, 1),
    "heavy-tailed: t with 3 df": (heavy, 1),
    "heteroscedastic: each run its own SD, 1/4 to 4": (uneven, 1),
    "heteroscedastic: the paper's SD half of ours": (normal, 0.5),
    "heteroscedastic: the paper's SD twice ours": (normal, 2),
    "binomial: 10,000 images, 90 % right": (binomial(10_000, 0.9), 1),
    "binomial: 1,000 images, 99 % right": (binomial(1000, 0.99), 1),
    "binomial: 360 images, 99 % right": (binomial(360, 0.99), 1),
}


# --- papers --------------------------------------------------------------------------------------


def chunks(draws: int, *key: int) -> Iterator[tuple[np.random.Generator, int]]:
    """Pieces of a simulation, with the generator of that simulation."""
    rng = np.random.default_rng([SEED, *key])
    for begun in range(0, draws, CHUNK):
        yield rng, min(CHUNK, draws - begun)


def running(values: Floats) -> tuple[Floats, Floats]:
    """Mean and SD of the first 1, 2, … columns; the SD of one is NaN."""
    k = np.arange(1, values.shape[1] + 1)
    mean = values.cumsum(axis=1) / k
    squares = (values**2).cumsum(axis=1) - k * mean**2
    with np.errstate(invalid="ignore", divide="ignore"):
        return mean, np.sqrt(np.maximum(squares, 0) / (k - 1))


def judged(
    mean: Floats, sd: Floats, seeds: int, low: Floats, high: Floats, runs: int, margin: float = 0
) -> tuple[Floats, Floats]:
    """The p-values of a difference and of an equivalence, as `compare_value` has them."""
    error, df = standard_error(sd, seeds, unrounded(runs))
    nearest, farthest = distances(mean, low, high)
    return difference_p(nearest, error, df), equivalence_p(farthest, margin, error, df)


def percent(share: float, decimals: int = 2) -> str:
    """A share as a percentage."""
    return f"{100 * share:.{decimals}f}"


def upper(hits: int, draws: int) -> float:
    """The upper end of Wilson's (1927) 95 % interval."""
    return float(proportion_confint(hits, draws, method="wilson")[1])


def table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    """A Markdown table."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    yield from ("| " + " | ".join(row) + " |" for row in rows)


# --- the interval --------------------------------------------------------------------------------


def covered(draws: int, ks: Sequence[int], runs: int, noise: Noise, ratio: float) -> Floats:
    """How often no difference is seen where there is none, by k; of seeds that differ at all."""
    kept, tested = np.zeros(len(ks)), np.zeros(len(ks))
    for rng, n in chunks(draws, runs):
        mean, sd = running(noise(rng, (n, max(ks))))
        theirs = ratio * noise(rng, (n, runs)).mean(axis=1)
        for place, k in enumerate(ks):
            varied = sd[:, k - 1] > 1e-9
            m, s, y = mean[varied, k - 1], sd[varied, k - 1], theirs[varied]
            kept[place] += (judged(m, s, k, y, y, runs)[0] >= ALPHA).sum()
            tested[place] += varied.sum()
    return kept / tested


def interval(draws: int) -> Iterator[Sequence[str]]:
    """Coverage under normal noise, unrounded."""
    ks = range(3, MOST + 1)
    columns = [covered(draws, ks, runs, normal, 1) for runs in (1, 3, 5)]
    for place, k in enumerate(ks):
        yield [str(k), *(percent(column[place]) for column in columns)]


def shapes(draws: int) -> Iterator[Sequence[str]]:
    """Coverage under other noise."""
    for name, (noise, ratio) in SHAPES.items():
        found = [covered(draws, KS, runs, noise, ratio) for runs in (1, 3)]
        yield [name, *(percent(share, 1) for column in found for share in column)]


def rounded(draws: int) -> Iterator[Sequence[str]]:
    """Coverage where the paper's number is rounded, by σ over half a unit of its last digit."""
    for place, ratio in enumerate((0.1, 0.25, 0.5, 1, 2, 4, 8, 16)):
        kept = np.zeros(len(KS))
        for rng, n in chunks(draws, 100 + place):
            centre = rng.uniform(-1, 1, n)  # half a unit is 1
            mean, sd = running(ratio * normal(rng, (n, MOST)) + centre[:, None])
            theirs = 2 * np.round((centre + ratio * normal(rng, (n, 1))[:, 0]) / 2)
            for i, k in enumerate(KS):
                p, _ = judged(mean[:, k - 1], sd[:, k - 1], k, theirs - 1, theirs + 1, 1)
                kept[i] += (p >= ALPHA).sum()
        yield [f"{ratio:g}", *(f"{percent(h)} ({100 * h - 95:+.2f})" for h in kept / draws)]


def with_sd(draws: int) -> Iterator[Sequence[str]]:
    """Coverage of Welch's interval where the paper printed its SD, by the paper's SD over ours."""
    for runs, k in product((3, 5, 10), KS):
        shares = []
        for place, ratio in enumerate((0.25, 0.5, 1, 2, 4)):
            kept = 0
            for rng, n in chunks(draws, 200 + place, runs, k):
                ours, theirs = normal(rng, (n, k)), ratio * normal(rng, (n, runs))
                error, df = welch(ours.std(axis=1, ddof=1), k, theirs.std(axis=1, ddof=1), runs)
                gap = ours.mean(axis=1) - theirs.mean(axis=1)
                kept += int((difference_p(gap, error, df) >= ALPHA).sum())
            shares.append(percent(kept / draws))
        yield [str(runs), str(k), *shares]


# --- the ladder ----------------------------------------------------------------------------------


def ladder(draws: int) -> Iterator[Sequence[str]]:
    """Shares of the three verdicts, by margin, k and where the truth lies."""
    for (place, margin), runs in product(enumerate((3.0, 6.0)), (1, 5)):
        for k in KS:
            cells = []
            for step, away in enumerate((0, 0.5, 1, 2)):
                rungs = np.zeros(3)
                for rng, n in chunks(draws, 300 + place, runs, k, step):
                    ours = normal(rng, (n, k))
                    theirs = away * margin + normal(rng, (n, runs)).mean(axis=1)
                    mean, sd = ours.mean(axis=1), ours.std(axis=1, ddof=1)
                    p, tost = judged(mean, sd, k, theirs, theirs, runs, margin)
                    same, other = tost < ALPHA, (p < ALPHA) & (tost >= ALPHA)
                    rungs += [same.sum(), (~same & ~other).sum(), other.sum()]
                cells.append(" / ".join(percent(rung, 1) for rung in rungs / draws))
            yield [f"{margin:g} σ", str(runs), str(k), *cells]


def stepped_down(p: Floats) -> Floats:
    """`families.holm` on the rows of an array."""
    order = p.argsort(axis=1)
    sizes = np.arange(p.shape[1], 0, -1)
    raised = np.maximum.accumulate(np.take_along_axis(p, order, axis=1) * sizes, axis=1)
    found = np.empty_like(p)
    np.put_along_axis(found, order, np.minimum(raised, 1), axis=1)
    return found


def families(draws: int) -> Iterator[Sequence[str]]:
    """How often a right paper is charged with anything, by claims, and with a shared noise."""
    for place, (claims, shared) in enumerate(product((5, 20, 60), (0.0, 0.5))):
        raw = adjusted = 0
        for rng, n in chunks(draws, 400 + place):
            p = np.column_stack(list(paper_of(rng, n, claims, shared)))
            raw += int((p < ALPHA).any(axis=1).sum())
            adjusted += int((stepped_down(p) < ALPHA).any(axis=1).sum())
        correlation = f"{shared:g}"
        yield [str(claims), correlation, percent(raw / draws), percent(adjusted / draws)]


def paper_of(rng: np.random.Generator, n: int, claims: int, shared: float) -> Iterator[Floats]:
    """The difference p-values of some right claims of n papers, judged by five seeds each."""
    ours, theirs = normal(rng, (n, 5)), normal(rng, (n, 1))
    for _ in range(claims):
        seeds = sqrt(shared) * ours + sqrt(1 - shared) * normal(rng, (n, 5))
        y = (sqrt(shared) * theirs + sqrt(1 - shared) * normal(rng, (n, 1)))[:, 0]
        yield judged(seeds.mean(axis=1), seeds.std(axis=1, ddof=1), 5, y, y, 1)[0]


def readings(draws: int) -> Iterator[Sequence[str]]:
    """What several readings do to the two errors, each reading with ten seeds of its own."""
    margin, k = 4.0, 10
    for count in (1, 2, 4, 8):
        once = bonferroni = one_true = first = 0
        for rng, n in chunks(draws, 500 + count):
            y = normal(rng, (n, 1))[:, 0]
            seeds = normal(rng, (n, count * k)).reshape(n, count, k)
            mean, sd = seeds.mean(axis=2), seeds.std(axis=2, ddof=1)
            box = np.broadcast_to(y[:, None], mean.shape)
            tost = judged(mean + margin, sd, k, box, box, 1, margin)[1].min(axis=1)
            once += int((tost < ALPHA).sum())
            bonferroni += int((count * tost < ALPHA).sum())
            away = np.where(np.arange(count) == 0, 0, 2 * margin)
            p = judged(mean + away, sd, k, box, box, 1)[0]
            one_true += int((p.max(axis=1) < ALPHA).sum())
            first += int((p.min(axis=1) < ALPHA).sum())
        yield [str(count), *(percent(h / draws) for h in (once, bonferroni, first, one_true))]


# --- looking after every seed --------------------------------------------------------------------


def factors(start: int, runs: int | None, sequence: bool) -> Floats:
    """Half-widths in SDs for k = start … 200: of our mean (`runs` None) or of a printed value."""
    ks = range(start, PEEKS + 1)
    if sequence and runs is None:
        return np.array([sequences.mean_factor(k, start, ALPHA) for k in ks])
    if sequence:
        box = unrounded(runs or 1)
        return np.array([sequences.width(1.0, k, box, start, ALPHA) for k in ks])
    extra = 0 if runs is None else 1 / runs
    return np.array([t_limit(k) * sqrt(extra + 1 / k) for k in ks])


def peeked(
    draws: int, start: int, runs: int | None, noise: Noise = normal
) -> tuple[Floats, Floats, Floats]:
    """Errors by k of fixed intervals, of the sequence, and of one fixed look and the sequence."""
    fixed, sequence = factors(start, runs, False), factors(start, runs, True)
    last = PEEKS - start + 1
    counts = np.zeros((3, last))
    for rng, n in chunks(draws, 600, start, runs or 0):
        mean, sd = running(noise(rng, (n, PEEKS)))
        truth = np.zeros(n) if runs is None else noise(rng, (n, runs)).mean(axis=1)
        away = np.abs(mean - truth[:, None])[:, start - 1 :] / sd[:, start - 1 :]
        naive, holds = away > fixed, away > sequence
        both = holds.copy()
        both[:, 0] |= naive[:, 0]
        for row, wrong in enumerate((naive, holds, both)):
            counts[row] += np.maximum.accumulate(wrong, axis=1).sum(axis=0)
    return counts[0] / draws, counts[1] / draws, counts[2] / draws


def peeking(draws: int) -> Iterator[Sequence[str]]:
    """Error rates of whoever looks after every seed."""
    cases: list[tuple[str, int | None, Noise]] = [
        ("paired difference", None, normal),
        ("paired difference, exponential noise", None, skewed),
        ("paired difference, t noise with 3 df", None, heavy),
        ("printed value, 1 run", 1, normal),
        ("printed value, 3 runs", 3, normal),
        ("printed value, 5 runs", 5, normal),
    ]
    for (name, runs, noise), start in product(cases, (3, 5)):
        fixed, sequence, both = peeked(draws, start, runs, noise)
        at_50 = 50 - start
        limit = upper(round(sequence[-1] * draws), draws)
        yield [
            name, str(start), percent(fixed[at_50], 1), percent(fixed[-1], 1),
            percent(sequence[-1]), percent(limit), percent(both[-1]),
        ]  # fmt: skip


def size_factors(start: int, runs: int) -> tuple[Floats, Floats]:
    """Half-widths for k = start … 200: in SDs of our differences, and of either arm."""
    ks, arm = range(start, PEEKS + 1), unrounded(runs)
    noise = [sequences.noise_of_paper(1.0, k, arm, start, ALPHA / 4) for k in ks]
    return np.array([sequences.mean_factor(k, start, ALPHA / 2) for k in ks]), np.array(noise)


def peeked_size(draws: int, start: int, runs: int, shared: float) -> int:
    """How often a right printed difference is ever excluded; `shared` correlates our arms."""
    own, arm = size_factors(start, runs)
    wrong = 0
    for rng, n in chunks(draws, 700, start, runs):
        both = sqrt(shared) * normal(rng, (n, PEEKS))
        first, second = (both + sqrt(1 - shared) * normal(rng, (n, PEEKS)) for _ in range(2))
        truth = normal(rng, (n, runs)).mean(axis=1) - normal(rng, (n, runs)).mean(axis=1)
        mean, spread = running(first - second)
        reach = own * spread[:, start - 1 :]
        reach += arm * (running(first)[1] + running(second)[1])[:, start - 1 :]
        wrong += int((np.abs(mean - truth[:, None])[:, start - 1 :] > reach).any(axis=1).sum())
    return wrong


def peeking_sizes(draws: int) -> Iterator[Sequence[str]]:
    """Error rates of the sequence of a printed difference, looked at after every seed."""
    for runs, shared, start in product((1, 5), (0.0, 0.9), (3, 5)):
        wrong = peeked_size(draws, start, runs, shared)
        limit = upper(wrong, draws)
        yield [str(runs), f"{shared:g}", str(start), percent(wrong / draws), percent(limit)]


def widths(_: int) -> Iterator[Sequence[str]]:
    """Half-widths in SDs, fixed and of sequences from 3 and 5 seeds on."""
    for name, runs in (("our mean", None), ("printed value, 1 run", 1)):
        fixed = factors(3, runs, False)
        chosen = {start: factors(start, runs, True) for start in (3, 5)}
        for k in (5, 10, 20, 50, 100, 200):
            both = [f"{chosen[start][k - start]:.2f}" for start in chosen]
            yield [name, str(k), f"{fixed[k - 3]:.2f}", *both]


TABLES: Mapping[str, tuple[Sequence[str], Callable[[int], Iterator[Sequence[str]]]]] = {
    "interval": (("k", "m = 1", "m = 3", "m = 5"), interval),
    "rounded": (("σ / half unit", *(f"k = {k}" for k in KS)), rounded),
    "shapes": (
        ("noise", *(f"m = {m}, k = {k}" for m in (1, 3) for k in KS)), shapes,
    ),
    "with_sd": (("m", "k", *(f"SD × {r}" for r in ("1/4", "1/2", "1", "2", "4"))), with_sd),
    "ladder": (
        ("margin", "m", "k", "truth: equal", "half a margin", "one margin", "two margins"), ladder,
    ),
    "families": (("claims", "correlation", "raw", "Holm"), families),
    "readings": (
        ("readings", "smallest TOST p", "R × smallest", "smallest p", "largest p"), readings,
    ),
    "peeking": (
        ("what", "start", "fixed, to k = 50", "fixed, to k = 200", "sequence, to k = 200",
         "its upper Wilson limit", "fixed at the start, then sequence"), peeking,
    ),
    "peeking_sizes": (
        ("runs an arm", "correlation of our arms", "start", "sequence, to k = 200",
         "its upper Wilson limit"), peeking_sizes,
    ),
    "widths": (("of", "k", "fixed", "sequence from 3", "sequence from 5"), widths),
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=DRAWS, help="simulated papers a cell")
    parser.add_argument("--only", nargs="+", choices=TABLES, default=list(TABLES))
    options = parser.parse_args(arguments)
    for name in options.only:
        head, rows = TABLES[name]
        print(f"\n{name}\n")
        for line in table(head, rows(options.draws)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
