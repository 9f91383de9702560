"""How well denominators are inferred, on simulated tables: prints the two tables of docs/audit.md.

Run `python -m tests.simulations.denominators` (minutes on one core); seeds are fixed. The alarm is
p_corrected < 0.001, as in the check itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, product
from math import gcd, log
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from reclaim.inference.audit import denominators, lattice
from reclaim.inference.audit.denominators import MOST as GREATEST
from reclaim.inference.audit.denominators import Inference, infer
from reclaim.inference.audit.lattice import ROUNDINGS, printed, units

SEED = 20240514
LEAST, MOST = 32, 2000
NULL_SIZES = (9984, 10000)


@dataclass(frozen=True)
class Tabulated:
    """The lattice of one unit, looked up instead of computed: the same answers, ten times faster.

    `reached[rounding]` says for every string v and every n up to 2,000 whether n prints v, and
    `below[rounding]` how many strings up to v it prints.
    """

    unit: int
    reached: dict[str, NDArray[np.bool_]]
    below: dict[str, NDArray[np.uint16]]

    @classmethod
    def of(cls, unit: int) -> Tabulated:
        """Made by the lattice itself."""
        sizes = np.arange(1, GREATEST + 1, dtype=np.int64)
        parts = np.array_split(np.arange(unit + 1, dtype=np.int64)[:, None], 1 + unit // 250)
        reached = {
            name: np.concatenate([lattice.explains(v, sizes, unit, name) for v in parts])
            for name in ROUNDINGS
        }
        below = {name: np.cumsum(made, axis=0, dtype=np.uint16) for name, made in reached.items()}
        return cls(unit, reached, below)

    def explains(self, v: Any, n: Any, unit: Any, rounding: str) -> Any:
        """`lattice.explains` for all n at once."""
        if not np.ndim(v):
            return lattice.explains(v, n, unit, rounding)
        return self.reached[rounding][np.asarray(v)[:, 0]]

    def coverage(self, low: int, high: int, n: Any, unit: int, rounding: str) -> Any:
        """`lattice.coverage` for all n at once."""
        if np.size(n) != GREATEST:
            return lattice.coverage(low, high, n, unit, rounding)
        below = self.below[rounding]
        return below[high].astype(np.int64) - (below[low - 1] if low else 0)

    def use(self) -> None:
        """Let the engine look up instead of compute, for tables of this unit alone."""
        denominators.explains = self.explains
        denominators.coverage = self.coverage


@dataclass(frozen=True)
class Rate:
    """Some of many tables."""

    hits: int
    tables: int

    def wilson(self) -> tuple[float, float]:
        """The 95 % interval of Wilson (1927)."""
        z, share = 1.959963984540054, self.hits / self.tables
        centre = share + z * z / (2 * self.tables)
        half = z * (share * (1 - share) / self.tables + z * z / (4 * self.tables**2)) ** 0.5
        scale = 1 + z * z / self.tables
        return (centre - half) / scale, (centre + half) / scale

    def upper(self) -> float:
        """The one-sided upper 95 % limit of Clopper and Pearson (1934)."""
        return float(beta.ppf(0.95, self.hits + 1, self.tables - self.hits))


def show(value: int, n: int, unit: int, rounding: str, rng: np.random.Generator) -> int:
    """What value of n is printed as; `mixed` takes one of the four roundings at random."""
    name = ROUNDINGS[rng.integers(4)] if rounding == "mixed" else rounding
    return int(printed(value, n, unit, name))


def guess(values: list[int], unit: int, columns: int) -> Inference:
    """The engine on one table with some columns of equal length."""
    rows = len(values) // columns
    groups = {"table": list(range(len(values)))}
    groups |= {f"column{c}": list(range(c * rows, (c + 1) * rows)) for c in range(columns)}
    return infer([(unit, value) for value in values], groups)


def true_tables(
    tables: int, cells: int, decimals: int, rounding: str
) -> Iterator[tuple[int, list[int]]]:
    """Tables on n images, n log-uniform, of distinct k: the least n that tells, and the print."""
    rng = np.random.default_rng([SEED, cells, decimals, ROUNDINGS.index(rounding)])
    unit = units(decimals)
    for _ in range(tables):
        n = int(np.exp(rng.uniform(log(LEAST), log(MOST + 1))))
        counts = rng.choice(np.arange(n // 20, n + 1), size=cells, replace=False).tolist()
        yield n // gcd(n, *counts), [show(k, n, unit, rounding, rng) for k in counts]


def recovered(tables: int, cells: int, decimals: int, rounding: str) -> tuple[Rate, Rate]:
    """How often the true class is first, and how often it is first with an alarm."""
    first = alarms = 0
    for n, values in true_tables(tables, cells, decimals, rounding):
        found = guess(values, units(decimals), columns=2)
        ranked = [*found.classes, *found.nearest]
        first += bool(ranked) and ranked[0].n == n
        alarms += bool(found.classes) and found.classes[0].n == n
    return Rate(first, tables), Rate(alarms, tables)


def null_table(n: int, rng: np.random.Generator) -> list[list[int]]:
    """Accuracies of 3 to 12 methods in 4 columns, as binomial counts of n, printed half up."""
    rows = int(rng.integers(3, 13))
    columns = rng.uniform(0.2, 0.97, size=4)
    chance = np.clip(columns[:, None] + rng.normal(0, 0.03, size=(4, rows)), 0.01, 0.995)
    return [
        [int(printed(int(k), n, 10000, "half_up")) for k in row] for row in rng.binomial(n, chance)
    ]


def false_alarms(tables: int, n: int) -> Rate:
    """How often some denominator up to 2,000 is claimed where the truth is n."""
    rng = np.random.default_rng([SEED, n])
    hits = 0
    for _ in range(tables):
        values = [value for column in null_table(n, rng) for value in column]
        hits += bool(guess(values, 10000, columns=4).classes)
    return Rate(hits, tables)


def report_true(tables: int) -> Iterator[str]:
    """A Markdown table of how often the truth is found."""
    yield "| decimals | cells | rounding | tables | true class first | 95 % | first and alarm |"
    yield "|---|---|---|---|---|---|---|"
    for decimals, cells, rounding in product((2, 1), (12, 24), ROUNDINGS):
        if (cells, rounding) == (12, ROUNDINGS[0]):
            Tabulated.of(units(decimals)).use()
        first, alarms = recovered(tables, cells, decimals, rounding)
        low, high = first.wilson()
        yield (
            f"| {decimals} | {cells} | {rounding} | {tables} | {first.hits / tables:.1%} | "
            f"{low:.1%} to {high:.1%} | {alarms.hits / tables:.1%} |"
        )


def report_null(tables: int) -> Iterator[str]:
    """A Markdown table of how often something is found where there is nothing to find."""
    yield "| true n | null tables | alarms | one-sided upper 95 % limit |"
    yield "|---|---|---|---|"
    Tabulated.of(units(2)).use()
    for n in NULL_SIZES:
        rate = false_alarms(tables, n)
        yield f"| {n:,} | {rate.tables:,} | {rate.hits} | {rate.upper():.3%} |"


def main() -> None:
    """Print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=2000, help="true tables a row")
    parser.add_argument("--null-tables", type=int, default=10000, help="null tables for each n")
    options = parser.parse_args()
    for line in chain(report_null(options.null_tables), [""], report_true(options.tables)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
