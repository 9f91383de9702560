"""On how many test images a claim is looked at, and how many correct ones its number stands for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from reclaim.inference.audit import lattice
from reclaim.inference.audit.cases import Case, fraction
from reclaim.inference.audit.exact import MOST, Bounds, holm
from reclaim.registry.claims import ValueClaim

Key = TypeVar("Key")


@dataclass(frozen=True)
class Counts:
    """A number of images known to lie between two whole numbers, both included."""

    least: int
    most: int

    @property
    def middle(self) -> int:
        """The count in the middle, the lower one of two."""
        return (self.least + self.most) // 2


@dataclass(frozen=True)
class Size:
    """A number of test images and where it comes from.

    Claims of one `family` are corrected together: the first stated number of each claim, its
    second, ..., and every inferred number by itself.
    """

    images: int
    source: str
    inferred: bool
    family: str


def counts(printed: int, images: int, units: int) -> Counts | None:
    """Every number of correct ones of `images` images that prints as `printed` of `units`.

    (`lattice` has the meaning of both.) Rounded half up or half to even; if no number prints so,
    truncated or rounded up too; None if still none does.

    >>> counts(8235, 10_000, units=10_000)
    Counts(least=8235, most=8235)
    >>> counts(6197, 192, units=10_000)  # 119/192 = 0.61979..., truncated
    Counts(least=119, most=119)
    """
    for roundings in (("half_up", "half_even"), ("mixed",)):
        ends = [lattice.counts(printed, images, units, rounding) for rounding in roundings]
        least, most = min(first for first, _ in ends), max(last for _, last in ends)
        if max(0, least) <= min(images, most):
            return Counts(max(0, least), min(images, most))
    return None


def sizes(case: Case, *printings: Sequence[ValueClaim]) -> tuple[Size, ...]:
    """The numbers of test images that claims which are compared share, the stated ones first.

    `printings` are the same comparison, printed in different places. Means over runs have none, and
    no number is above `MOST`.
    """
    found: dict[int, Size] = {}
    for claims in printings:
        if not any((claim.runs or 1) > 1 for claim in claims):
            for size in (*_stated(case, claims), *_inferred(case, claims)):
                found.setdefault(size.images, size)
    within = (size for size in found.values() if size.images <= MOST)
    return tuple(sorted(within, key=lambda size: size.inferred))


def _stated(case: Case, claims: Sequence[ValueClaim]) -> Iterator[Size]:
    for rank, (n, where) in enumerate(case.images(claims[0]).items()):
        if all(n in case.images(claim) for claim in claims):
            yield Size(n, where, False, f"stated {rank}")


def _inferred(case: Case, claims: Sequence[ValueClaim]) -> Iterator[Size]:
    for n in case.denominators.get(claims[0].cell, ()):
        if all(n in case.denominators.get(claim.cell, ()) for claim in claims):
            yield Size(n, "inferred from the printed numbers", True, f"inferred {n}")


def correct(case: Case, claim: ValueClaim, images: int) -> Counts | None:
    """The `counts` of a printed accuracy on `images` images, with the digits that it surely has."""
    units = lattice.units(case.fewest_decimals(claim), claim.unit == "percent")
    return counts(int(fraction(claim) * units), images, units)


def entity(case: Case, claims: Iterable[ValueClaim]) -> tuple[Any, ...]:
    """What claims print, and the number: equal for two printings of one thing."""
    return tuple((*case.entity(claim), fraction(claim)) for claim in claims)


def holm_by_family(values: Mapping[tuple[Key, Size], Bounds]) -> dict[tuple[Key, Size], Bounds]:
    """Holm's adjustment of p-values, within every family of sizes."""
    families: dict[str, list[tuple[Key, Size]]] = {}
    for key in values:
        families.setdefault(key[1].family, []).append(key)
    return {
        key: adjusted
        for keys in families.values()
        for key, adjusted in zip(keys, holm([values[key] for key in keys]), strict=True)
    }
