"""Which numbers of images explain a set of printed accuracies (check 1 b), on plain integers.

With n unknown, every n up to 2,000 is tried under five roundings on every grouping of cells. If
the cells had nothing to do with n, each would be explained with the chance coverage
c = (strings between the least and the greatest cell that n can print) / (all of them), so
p = P(X ≥ explained), X ~ Bin(total, c), and p_corrected = p times all (n, rounding, grouping)
tried. Since k/n = 2k/2n, an n stands for its class {n, 2n, …}. The best class takes the cells it
explains; the next must explain what is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reclaim.inference.audit.lattice import ROUNDINGS, coverage, explains

MOST = 2000  # the greatest denominator tried
ALARM = 0.001  # of p_corrected
FEWEST = 3  # cells of a grouping

Cell = tuple[int, int]  # U and the printed integer (see `lattice`)


@dataclass(frozen=True)
class Class:
    """A denominator n with its multiples, on the grouping and under the rounding that suit it."""

    n: int
    multiples: tuple[int, ...]
    rounding: str
    explained: int
    total: int
    chance: Fraction
    p_corrected: float
    grouping: str


@dataclass(frozen=True)
class Inference:
    """The classes whose p_corrected is below the alarm, the nearest of the rest, and the power.

    `detectable` is the greatest n that would be found if it explained every cell under half-up
    (None: no n would); `tried` is the number of hypotheses.
    """

    classes: tuple[Class, ...]
    nearest: tuple[Class, ...]
    tried: int
    detectable: int | None


def infer(cells: Sequence[Cell], groups: Mapping[str, Sequence[int]]) -> Inference:
    """Denominators of groupings of cells, which are given as indices into `cells`.

    Cells of one grouping have one unit; groupings of fewer than three cells are left out, and of
    equal ones the first counts. Assumes that the cells are distinct measurements.

    >>> sevenths = [(10000, round(10000 * k / 49)) for k in (5, 9, 13, 22, 30, 31, 38, 45)]
    >>> found = infer(sevenths, {"paper": range(8)})
    >>> [(best.n, best.explained, best.chance) for best in found.classes]
    [(49, 8, Fraction(41, 8165))]
    """
    distinct: dict[tuple[int, ...], str] = {}
    for name, index in groups.items():
        distinct.setdefault(tuple(sorted(set(index))), name)
    kept = {name: list(index) for index, name in distinct.items() if len(index) >= FEWEST}
    sizes = np.arange(1, MOST + 1, dtype=np.int64)
    tried = len(kept) * len(ROUNDINGS) * MOST
    explained = _explained(cells, sizes)
    detectable = _detectable(cells, kept, sizes, tried)
    classes: list[Class] = []
    while ranked := _ranked(cells, kept, explained, sizes, tried):
        best = ranked[0]
        if best.p_corrected >= ALARM:
            break
        classes.append(best)
        gone = explained[ROUNDINGS.index(best.rounding), :, best.n - 1]
        kept = {name: [i for i in index if not gone[i]] for name, index in kept.items()}
        kept = {name: index for name, index in kept.items() if len(index) >= FEWEST}
    return Inference(tuple(classes), tuple(ranked[:3]), tried, detectable)


def _explained(cells: Sequence[Cell], sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each n explains each cell: (roundings, cells, sizes)."""
    small = all(3 * unit * MOST < 2**31 for unit, _ in cells)  # then half the width is enough
    width = np.int32 if small else np.int64
    unit, value = np.array(cells, dtype=width).reshape(-1, 2).T[:, :, None]
    n = sizes.astype(width)
    return np.stack([explains(value, n, unit, rounding) for rounding in ROUNDINGS])


def _ranked(
    cells: Sequence[Cell],
    groups: Mapping[str, Sequence[int]],
    explained: NDArray[np.bool_],
    sizes: NDArray[np.int64],
    tried: int,
) -> list[Class]:
    """The ten likeliest classes, least p first; of an n, the grouping and rounding with least p."""
    if not groups:
        return []
    tails = np.stack(
        [
            tail(
                explained[:, list(index)].sum(axis=1),
                len(index),
                np.stack([chances(cells, index, sizes, rounding)[0] for rounding in ROUNDINGS])
                / chances(cells, index, sizes, "half_up")[1],
            )
            for index in groups.values()
        ]
    )  # groups, roundings, sizes
    p = tails.reshape(-1, len(sizes))
    best, where = p.min(axis=0), p.argmin(axis=0)
    made: list[Class] = []
    for n in (np.lexsort((sizes, best)) + 1).tolist():
        if len(made) == 10 or best[n - 1] >= 1:
            break
        if all(n % other.n for other in made):
            group, rounding = divmod(int(where[n - 1]), len(ROUNDINGS))
            name = list(groups)[group]
            made.append(_class(n, name, ROUNDINGS[rounding], cells, groups[name], best, tried))
    return made


def _class(
    n: int,
    grouping: str,
    rounding: str,
    cells: Sequence[Cell],
    index: Sequence[int],
    tails: NDArray[np.float64],
    tried: int,
) -> Class:
    count, width = chances(cells, index, np.array([n]), rounding)
    return Class(
        n=n,
        multiples=tuple(range(2 * n, MOST + 1, n)),
        rounding=rounding,
        explained=sum(bool(explains(cells[i][1], n, cells[i][0], rounding)) for i in index),
        total=len(index),
        chance=Fraction(int(count[0]), width),
        p_corrected=min(1.0, float(f"{tails[n - 1] * tried:.4g}")),  # the same on every machine
        grouping=grouping,
    )


def chances(
    cells: Sequence[Cell], index: Sequence[int], sizes: NDArray[np.int64], rounding: str
) -> tuple[NDArray[np.int64], int]:
    """How many strings between the least and the greatest cell each n prints, and of how many.

    >>> counts, width = chances([(100, 20), (100, 60)], [0, 1], np.array([4, 10]), "half_up")
    >>> counts.tolist(), width
    ([2, 5], 41)
    """
    values = [cells[i][1] for i in index]
    low, high = min(values), max(values)
    return coverage(low, high, sizes, cells[index[0]][0], rounding), high - low + 1


def tail(explained: Any, total: int, chance: Any) -> NDArray[np.float64]:
    """P(X ≥ explained) for X ~ Bin(total, chance), as arrays; 1 where it surely exceeds 1/1000.

    It surely does where e^(−total·KL(explained/total ‖ chance)) / (total + 1) does, a lower bound
    of P(X = explained) (method of types; Cover & Thomas, theorem 11.1.4).

    >>> float(tail(np.array([3]), 3, np.array([0.01]))[0])  # doctest: +ELLIPSIS
    1.0000000...e-06
    """
    from scipy.special import betainc, rel_entr

    share = np.asarray(explained) / total
    divergence = rel_entr(share, chance) + rel_entr(1 - share, 1 - chance)
    rare = (share > chance) & (np.exp(-total * divergence) / (total + 1) < 0.001)
    made = np.ones(share.shape)
    x = np.asarray(explained)[rare]
    made[rare] = betainc(x, total - x + 1, np.asarray(chance)[rare])
    return made


def _detectable(
    cells: Sequence[Cell],
    groups: Mapping[str, Sequence[int]],
    sizes: NDArray[np.int64],
    tried: int,
) -> int | None:
    found = 0
    for index in groups.values():
        count, width = chances(cells, index, sizes, "half_up")
        able = count >= len({cells[i] for i in index})  # prints as many strings as there are cells
        sure = able & ((count / width) ** len(index) * tried < ALARM)
        found = max(found, int(sizes[sure].max(initial=0)))
    return found or None
