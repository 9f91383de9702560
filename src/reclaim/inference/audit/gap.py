"""Check `gap`: could a claimed gap between two accuracies on one test set be a draw of the images?

Two methods tested on the same n images are right on a and b of them. Print gives (a, b) up to
rounding, but not on which images. With d = |a - b|, and j images on which the lesser method alone
is right, the discordant images are d + 2j, where every j from 0 to J = min(a, b, n - a, n - b) is
possible. Each has its exact McNemar p, so print leaves a range of p-values; here are its two ends.

One run a cell, so whatever p says, it says about two checkpoints and not about two methods.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import erfc, floor, sqrt
from statistics import NormalDist
from typing import Any, Literal

from reclaim.inference.audit.cases import Case, fraction
from reclaim.inference.audit.exact import MOST, Bounds, mcnemar
from reclaim.inference.audit.findings import finding
from reclaim.inference.audit.sizes import Counts, Size, correct, entity, holm_by_family, sizes
from reclaim.records import AuditVerdict, Finding
from reclaim.registry.claims import Difference, Magnitude, Statement, Trend, ValueClaim

ALPHA = Fraction(1, 20)
MOST_GAPS = 10_000  # of one paper: about a minute

Significance = Literal["never", "depends", "always"]
VERDICTS: dict[Significance, AuditVerdict] = {
    "never": "unsupported",
    "depends": "untestable",
    "always": "consistent",
}


@dataclass(frozen=True)
class Gap:
    """What print says about a gap on `images` images: the p-values of all pairings and counts.

    `expected` is the discordance if the two methods erred independently, `p_expected` the McNemar
    p there, `p_unpaired` that of two separate test sets, each at the middle counts.
    """

    images: int
    p_min: Bounds
    p_max: Bounds
    flip: int | None
    expected: Fraction
    p_expected: Bounds
    p_unpaired: float


def fewest(one: int, other: int, images: int) -> int:
    """J: on how many images at most the method with the lower count alone can be right.

    n11 = min(a, b) - j and n00 = n - max(a, b) - j may not be negative.

    >>> fewest(7, 5, 10)
    3
    """
    return min(one, other, images - one, images - other)


def _ordered(one: Counts, other: Counts) -> tuple[Counts, Counts]:
    """The greater one first, by their middles."""
    return (one, other) if one.least + one.most >= other.least + other.most else (other, one)


def p_range(one: Counts, other: Counts, images: int) -> tuple[Bounds, Bounds]:
    """The least and the greatest exact McNemar p over all pairings and all counts.

    With p(d, j) = min(1, 2 P(X <= j)), X ~ Bin(2j + d, 1/2) and d >= 0:
    p falls with d, as one more trial cannot make X smaller;
    p grows with j, as P(X_{m+2} <= j+1) - P(X_m <= j) = (P(X_m = j+1) - P(X_m = j)) / 4, which is
    not negative because P(X_m = j+1) / P(X_m = j) = (j+d) / (j+1) (for d = 0, p is 1 everywhere);
    and a step of the counts towards each other lowers d and does not lower J. So the least p is
    p(widest gap, 0) = 2^(1-d) and the greatest p(narrowest gap, J there). Raises ValueError for
    counts that are no counts of `images`.

    >>> low, high = p_range(Counts(9, 9), Counts(2, 2), 10)
    >>> low.upper, high.upper
    (Fraction(1, 64), Fraction(5, 128))
    """
    if not all(0 <= c.least <= c.most <= images for c in (one, other)):
        raise ValueError(f"{one} and {other}; expected counts from 0 to {images}")
    upper, lower = _ordered(one, other)
    p_min, narrowest = mcnemar(upper.most - lower.least, 0), upper.least - lower.most
    if narrowest <= 0:
        return p_min, Bounds.of(1)
    return p_min, mcnemar(narrowest, fewest(upper.least, lower.most, images))


def flip(gap: int, most: int, alpha: Fraction = ALPHA) -> int | None:
    """The largest discordance d + 2j, j <= `most`, at which a gap of d images has p <= alpha.

    As p grows with j (`p_range`), significance is lost above it. None where it never is reached.

    >>> flip(6, 100), flip(5, 100)
    (6, None)
    >>> flip(130, 4000)
    4332
    """
    if mcnemar(gap, most).upper <= alpha:
        return gap + 2 * most
    if mcnemar(gap, 0).upper > alpha:
        return None
    z = NormalDist().inv_cdf(1 - float(alpha) / 2)
    fewer = max(0, min(most, floor((((gap - 1) / z) ** 2 - gap) / 2)))  # a guess, then exactly
    while mcnemar(gap, fewer).upper > alpha:
        fewer -= 1
    while mcnemar(gap, fewer + 1).upper <= alpha:
        fewer += 1
    return gap + 2 * fewer


def expected_discordance(one: int, other: int, images: int) -> Fraction:
    """(a(n-b) + b(n-a)) / n: the discordance of two methods that err independently.

    >>> expected_discordance(9, 2, 10)
    Fraction(37, 5)
    """
    return Fraction(one * (images - other) + other * (images - one), images)


def p_expected(one: int, other: int, images: int) -> Bounds:
    """The McNemar p at the possible discordance nearest to the expected one, the larger of two.

    >>> p_expected(9, 2, 10).upper  # 7.4 discordant images are expected, and 7 are possible
    Fraction(1, 64)
    """
    gap = abs(one - other)
    near = floor((expected_discordance(one, other, images) - gap) / 2 + Fraction(1, 2))
    return mcnemar(gap, max(0, min(near, fewest(one, other, images))))


def unpaired(one: int, other: int, images: int) -> float:
    """The two-sided p of the pooled two-proportion z test, as for two separate test sets.

    z = (a - b) / sqrt(2 n p (1 - p)), p = (a + b) / 2n (normal approximation, so no exact number).

    >>> round(unpaired(8620, 8591, 10_000), 4)
    0.5539
    """
    share = (one + other) / (2 * images)
    deviation = sqrt(2 * images * share * (1 - share))
    return erfc(abs(one - other) / deviation / sqrt(2)) if deviation else 1.0


def significance(p_min: Bounds, p_max: Bounds, alpha: Fraction = ALPHA) -> Significance:
    """Whether p <= alpha for no pairing, for some (or not certainly none or all), or for all.

    >>> significance(Bounds.of(0), Bounds.of(1))
    'depends'
    """
    if p_min.lower > alpha:
        return "never"
    return "always" if p_max.upper <= alpha else "depends"


def measure(one: Counts, other: Counts, images: int) -> Gap:
    """Everything that print says about the gap between two counts of correct images.

    >>> gap = measure(Counts(8620, 8620), Counts(8591, 8591), 10_000)
    >>> gap.flip, float(gap.expected), significance(gap.p_min, gap.p_max)
    (203, 2400.116, 'depends')
    """
    p_min, p_max = p_range(one, other, images)
    upper, lower = _ordered(one, other)
    a, b = upper.middle, lower.middle
    return Gap(
        images=images,
        p_min=p_min,
        p_max=p_max,
        flip=flip(upper.most - lower.least, fewest(upper.most, lower.least, images)),
        expected=expected_discordance(a, b, images),
        p_expected=p_expected(a, b, images),
        p_unpaired=unpaired(a, b, images),
    )


# --- the claimed gaps of papers ------------------------------------------------------------------

REMINDER = "One run a cell is assumed: this is about two checkpoints, not about two methods."
WORDS: dict[Significance, str] = {
    "never": "not significant",
    "depends": "open",
    "always": "significant",
}


@dataclass(frozen=True)
class Claimed:
    """A gap that statements claim, and every pair of cells that prints it: (greater, lesser)."""

    pairs: tuple[tuple[ValueClaim, ValueClaim], ...]
    statements: tuple[str, ...]

    @property
    def first(self) -> tuple[ValueClaim, ValueClaim]:
        """The pair of cells that is shown."""
        return self.pairs[0]

    @property
    def cells(self) -> tuple[str, ...]:
        """All cells, in order."""
        return tuple(claim.cell for pair in self.pairs for claim in pair)


def claimed_gaps(case: Case) -> list[Claimed]:
    """Every gap between two printed accuracies on one data set that a statement claims, once.

    A gap that print shows the other way round is no gap in print (check `order` lists it), and a
    gap that the text calls negligible is not claimed.
    """
    found: dict[Any, tuple[dict[Any, None], dict[str, None]]] = {}
    for name, said in case.paper.statements.items():
        if getattr(said, "quantifier", "all") in ("some", "none"):
            continue  # not of every pair
        for greater, lesser in _pairs(said):
            one, other = case.accuracies.get(greater), case.accuracies.get(lesser)
            if one is None or other is None or not _comparable(one, other):
                continue
            pairs, statements = found.setdefault(entity(case, (one, other)), ({}, {}))
            pairs[greater, lesser] = None
            statements[name] = None
    return [
        Claimed(
            tuple((case.accuracies[one], case.accuracies[other]) for one, other in pairs),
            tuple(statements),
        )
        for pairs, statements in found.values()
    ]


def _pairs(said: Statement) -> Sequence[tuple[str, str]]:
    """(greater, lesser) as claimed."""
    if isinstance(said, Trend):
        return [(said.at, cell) for cell in said.curve if said.at and cell != said.at]
    if isinstance(said, Magnitude) and said.size == "negligible":
        return ()
    falls = isinstance(said, Magnitude) and said.direction == "decrease"
    falls = falls or (isinstance(said, Difference) and said.printed.startswith("-"))
    return [(other, one) for one, other in said.pairs] if falls else said.pairs


def _comparable(one: ValueClaim, other: ValueClaim) -> bool:
    same = one.dataset == other.dataset and one.metric == other.metric
    return same and fraction(one) > fraction(other)


def check(cases: Sequence[Case]) -> Iterator[Finding]:
    """A finding for every claimed gap, corrected over the gaps of its paper by Holm's method."""
    for case in cases:
        yield from _check(case)


def _check(case: Case) -> Iterator[Finding]:
    gaps = claimed_gaps(case)
    if len(gaps) > MOST_GAPS:
        message = f"{len(gaps):,} claimed gaps are more than the {MOST_GAPS:,} that are compared."
        yield finding(case.id, "gap", (), "untestable", message, gaps=len(gaps))
        return
    measured: dict[tuple[int, Size], Gap] = {}
    for i, gap in enumerate(gaps):
        for size in sizes(case, *gap.pairs):
            one, other = (correct(case, claim, size.images) for claim in gap.first)
            if one and other:
                measured[i, size] = measure(one, other, size.images)
    least = holm_by_family({key: gap.p_min for key, gap in measured.items()})
    most = holm_by_family({key: gap.p_max for key, gap in measured.items()})
    families = Counter(size.family for _, size in measured)
    for i, gap in enumerate(gaps):
        seen = [
            _evidence(found, size, least[j, size], most[j, size]) | {"gaps": families[size.family]}
            for (j, size), found in measured.items()
            if j == i
        ]
        yield _finding(case, gap, seen)


def _evidence(gap: Gap, size: Size, least: Bounds, most: Bounds) -> dict[str, Any]:
    """`least` and `most` are p_min and p_max after Holm's correction over the paper's gaps."""
    return {
        "images": gap.images,
        "source": size.source,
        "p_min": gap.p_min.readable(),
        "p_max": gap.p_max.readable(),
        "significance": significance(least, most),
        "flip": gap.flip,
        "p_min_holm": float(least),
        "p_max_holm": float(most),
        "significance_alone": significance(gap.p_min, gap.p_max),
        "discordance_expected": gap.expected,
        "p_expected": gap.p_expected.readable(),
        "p_unpaired": gap.p_unpaired,
    }


def _finding(case: Case, gap: Claimed, seen: Sequence[dict[str, Any]]) -> Finding:
    one, other = gap.first
    evidence: dict[str, Any] = {
        "statement": gap.statements[0],
        "statements": list(gap.statements),
        "gap": fraction(one) - fraction(other),
        "answers": case.answers(*gap.statements, *gap.cells),
    }
    head = f"{one.printed} against {other.printed}"
    if not seen:
        message = f"{head}: {_why_not(case, gap)}."
        return finding(case.id, "gap", gap.cells, "untestable", message, **evidence)
    main, *also = seen
    message = " ".join((head, _says(main), *(_beside(it) for it in also), REMINDER))
    verdict = VERDICTS[main["significance"]]
    evidence |= main | {"also": also}
    return finding(case.id, "gap", gap.cells, verdict, message, **evidence)


def _why_not(case: Case, gap: Claimed) -> str:
    runs = [claim.runs for claim in gap.first if (claim.runs or 1) > 1]
    if runs:
        return f"a mean over {runs[0]} runs is no count of one test set, and its spread is needed"
    if found := sizes(case, *gap.pairs):
        numbers = ", ".join(f"{size.images:,}" for size in found)
        return f"not both are shares of {numbers} images, so they are no counts to compare"
    return f"no number of test images up to {MOST:,} is stated or can be inferred"


def _says(main: dict[str, Any]) -> str:
    """What the first number of images leaves open, as the rest of a sentence."""
    on = f"on {main['images']:,} images ({main['source']})"
    p = f"exact McNemar {_range(main)}"
    if main["gaps"] > 1:
        p += f" before Holm's correction over {main['gaps']} claimed gaps"
    if main["significance"] != "depends":
        return f"is {WORDS[main['significance']]} {on}, whichever images the two share ({p})."
    return (
        f"needs per-image outcomes: {on} print leaves both open ({p}). Alone it is significant up "
        f"to {main['flip']:,} discordant images; errors that are independent would make "
        f"{float(main['discordance_expected']):,.0f} discordant (p {_p(main['p_expected'])}; "
        f"two separate test sets: p {_p(main['p_unpaired'])})."
    )


def _beside(it: dict[str, Any]) -> str:
    source = it["source"].partition(":")[0]
    return f"With {it['images']:,} images ({source}): {WORDS[it['significance']]}, {_range(it)}."


def _range(it: dict[str, Any]) -> str:
    least, most = _p(it["p_min"]), _p(it["p_max"])
    return f"p {least}" if least == most else f"p {least} to {most}"


def _p(p: Fraction | float) -> str:
    return f"{float(p):.2g}" if float(p) >= 1e-99 else "below 1e-99"
