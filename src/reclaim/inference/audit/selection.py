"""Check `selection`: how much of a gain can be the luck of choosing the best of m on the test set?

The best of m settings, chosen by their accuracy on n test images, is on average more accurate on
these images than on others, even if all m are equally good. Print does not say how alike the
settings are, so it bounds this optimism only from two sides: 0 (settings that answer alike) and the
value for settings that err independently and are equally good. Other training seeds would add to
it; print does not bound that. So no number is taken off an accuracy here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from reclaim.inference.audit.cases import Case, fraction, last_digit
from reclaim.inference.audit.findings import Basis
from reclaim.inference.audit.gap import Claimed, claimed_gaps
from reclaim.inference.audit.sizes import sizes
from reclaim.records import AuditVerdict, Finding
from reclaim.registry.claims import Trend, ValueClaim, split

CHECK = "selection"
CHOSEN = Basis(
    "the settings were compared on the test set, and at the upper end err independently and are "
    "equally good; other seeds would add to the luck",
    "the accuracy on images that chose nothing, or a validation set that chose",
)
NOT_SHOWN = Basis(
    "the best setting was chosen among those that a figure shows", "the numbers behind the figure"
)


def optimism(settings: int, images: int, accuracy: Fraction) -> float:
    """E[max of m] / n - p for m independent X ~ Bin(n, p): the optimism of the best of m settings.

    From the order statistics: E[max] = sum over k < n of 1 - P(X <= k)^m (David & Nagaraja 2003,
    section 3.1). In floating point; exact brute force agrees. Assumes independent images, and all
    settings equally accurate at the printed p; a positive correlation between settings lowers it.
    Raises ValueError for no settings, no images or an accuracy outside [0, 1].

    >>> optimism(2, 2, Fraction(1, 2))  # of 2 coins' 2 tosses: 11/8 heads, not 1
    0.1875
    >>> round(optimism(7, 10_000, Fraction("0.8281")), 5)
    0.00509
    """
    from scipy.special import bdtr  # late, as it takes longer to import than the check runs

    if settings < 1 or images < 1 or not 0 <= accuracy <= 1:
        raise ValueError(f"best of {settings} settings at {accuracy} of {images} images")
    below = bdtr(np.arange(images), images, float(accuracy))
    return float(np.sum(1 - below**settings) / images - float(accuracy))


def explained(gain: Fraction, most: float) -> bool:
    """Whether a gain lies in [0, the greatest optimism].

    >>> explained(Fraction(1, 100), 0.02), explained(Fraction(3, 100), 0.02)
    (True, False)
    """
    return 0 <= gain <= most


# --- the sweeps of papers ------------------------------------------------------------------------


@dataclass(frozen=True)
class Sweep:
    """Cells that differ in a method's knobs alone: one column of one table."""

    claims: tuple[ValueClaim, ...]

    @property
    def knobs(self) -> str:
        """What is varied."""
        return ", ".join(dict.fromkeys(name for claim in self.claims for name in claim.knobs))


def sweeps(case: Case) -> list[Sweep]:
    """Every set of two or more settings of one method in one column."""
    found: dict[Any, dict[Any, ValueClaim]] = {}
    for claim in case.accuracies.values():
        table, column, _ = split(claim.cell)
        place = (table, column, claim.recipe, claim.dataset, claim.evaluation)
        found.setdefault(place, {}).setdefault(case.entity(claim), claim)
    return [Sweep(tuple(claims.values())) for claims in found.values() if len(claims) > 1]


def ranked(case: Case, sweep: Sweep) -> tuple[list[ValueClaim], list[ValueClaim]]:
    """The settings that may be the best, whatever the rounding, and the others; greater first."""
    made = sorted(sweep.claims, key=fraction, reverse=True)
    unit = {claim.cell: last_digit(case.fewest_decimals(claim), claim.unit) for claim in made}
    most = max(fraction(claim) - unit[claim.cell] for claim in made)
    best = [claim for claim in made if fraction(claim) + unit[claim.cell] > most]
    return best, [claim for claim in made if claim not in best]


def check(cases: Sequence[Case]) -> Iterator[Finding]:
    """A finding for every claimed gain of the best of a sweep; one for sweeps without numbers."""
    for case in cases:
        gaps: dict[Any, list[Claimed]] = {}
        for gap in claimed_gaps(case):
            gaps.setdefault(case.entity(gap.first[0]), []).append(gap)
        for sweep in sweeps(case):
            best, rest = ranked(case, sweep)
            others = {case.entity(claim) for claim in rest[1:]}  # within it, the second alone
            for claim in best:
                for gap in gaps.get(case.entity(claim), ()):
                    if case.entity(gap.first[1]) not in others:
                        yield _gained(case, sweep, gap)
        yield from _unprinted(case)


def _gained(case: Case, sweep: Sweep, gap: Claimed) -> Finding:
    one, other = gap.first
    gain, best, number = (
        fraction(one) - fraction(other),
        max(sweep.claims, key=fraction),
        len(sweep.claims),
    )
    seen = []
    for size in sizes(case, *gap.pairs) if 0 <= fraction(best) <= 1 else ():
        most = optimism(number, size.images, fraction(best))
        about = {"images": size.images, "source": size.source, "optimism": [0.0, most]}
        seen.append(about | {"inside": explained(gain, most)})
    names = gap.statements
    cells = dict.fromkeys((*gap.cells, *(claim.cell for claim in sweep.claims)))
    evidence: dict[str, Any] = {
        "statement": gap.statements[0],
        "statements": list(gap.statements),
        "settings": number,
        "knobs": sweep.knobs,
        "accuracy": fraction(best),
        "gain": gain,
    }
    head = f"{one.printed} against {other.printed}: "
    head += f"{one.printed} is the best of {number} printed settings ({sweep.knobs})"
    if not seen:
        message = f"{head}; no number of test images is known, so its optimism cannot be bounded."
        return case.finding(CHECK, cells, "untestable", message, CHOSEN, names, **evidence)
    main, *also = seen
    message = " ".join((f"{head}.", *(_says(gain, it) for it in seen)))
    verdict: AuditVerdict = "unsupported" if main["inside"] else "consistent"
    evidence |= main | {"also": also}
    return case.finding(CHECK, cells, verdict, message, CHOSEN, names, **evidence)


def _says(gain: Fraction, it: dict[str, Any]) -> str:
    where = "inside" if it["inside"] else "beyond"
    return (
        f"On {it['images']:,} images ({it['source']}) the gain of {100 * float(gain):.2f} points "
        f"lies {where} the 0 to {100 * it['optimism'][1]:.2f} that choosing alone can give."
    )


def _unprinted(case: Case) -> Iterator[Finding]:
    """Sweeps that only a figure shows: how many settings were tried is not printed."""
    for name, said in case.paper.statements.items():
        if isinstance(said, Trend) and said.unprinted:
            message = f"{said.locator}: a sweep of {said.knob} without printed numbers, so neither "
            message += "the settings compared nor the gain of the best can be counted."
            about = {"statement": name}
            yield case.finding(CHECK, (), "untestable", message, NOT_SHOWN, [name], **about)
