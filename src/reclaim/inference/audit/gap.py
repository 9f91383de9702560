"""Check `gap`: could a claimed gap between two accuracies on one test set be a draw of the images?

Print gives the range of the exact McNemar p over everything that it leaves open (`pairing`); a gap
is significant always, never, or depending on the images. One run a cell, so whatever p says, it
says about two checkpoints and not about two methods.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from reclaim.inference.audit.cases import Case, fraction
from reclaim.inference.audit.exact import MOST, Bounds
from reclaim.inference.audit.findings import Basis
from reclaim.inference.audit.pairing import Gap, Significance, measure, significance
from reclaim.inference.audit.sizes import Size, correct, entity, holm_by_family, sizes
from reclaim.records import AuditVerdict, Finding
from reclaim.registry.claims import Difference, Magnitude, Statement, Trend, ValueClaim

MOST_GAPS = 10_000  # of one paper: about a minute
REMINDER = "One run a cell is assumed: this is about two checkpoints, not about two methods."
PAIRED = Basis(
    "both numbers are of one run each on the same test images, which are independent of each other",
    "the per-image outcomes of both; more runs of each, for a claim about methods",
)
VERDICTS: dict[Significance, AuditVerdict] = {
    "never": "unsupported",
    "depends": "untestable",
    "always": "consistent",
}
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
        yield case.finding("gap", (), "untestable", message, PAIRED, gaps=len(gaps))
        return
    measured: dict[tuple[int, Size], Gap] = {}
    unfit: list[list[int]] = [[] for _ in gaps]
    for i, gap in enumerate(gaps):
        for size in sizes(case, *gap.pairs):
            one, other = (correct(case, claim, size.images) for claim in gap.first)
            if one and other:
                measured[i, size] = measure(one, other, size.images)
            else:
                unfit[i].append(size.images)
    seen: list[list[dict[str, Any]]] = [[] for _ in gaps]
    least = holm_by_family({key: gap.p_min for key, gap in measured.items()})
    most = holm_by_family({key: gap.p_max for key, gap in measured.items()})
    families = Counter(size.family for _, size in measured)
    for (i, size), found in measured.items():
        about = _evidence(found, size, least[i, size], most[i, size])
        seen[i].append(about | {"gaps": families[size.family]})
    for gap, evidence, numbers in zip(gaps, seen, unfit, strict=True):
        yield _finding(case, gap, evidence, numbers)


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


def _finding(
    case: Case, gap: Claimed, seen: Sequence[dict[str, Any]], unfit: Sequence[int]
) -> Finding:
    """`unfit`: the numbers of images of which not both cells are shares."""
    (one, other), about = gap.first, gap.statements
    evidence: dict[str, Any] = {
        "statement": gap.statements[0],
        "statements": list(gap.statements),
        "gap": fraction(one) - fraction(other),
        "no_share_of": list(unfit),
    }
    head = f"{one.printed} against {other.printed}"
    shares = [f"Not both are shares of {number:,} images." for number in unfit]
    if not seen:
        message = " ".join((f"{head}: {_why_not(gap, unfit)}.", *shares))
        return case.finding("gap", gap.cells, "untestable", message, PAIRED, about, **evidence)
    main, *also = seen
    message = " ".join((head, _says(main), *(_beside(it) for it in also), *shares, REMINDER))
    verdict = VERDICTS[main["significance"]]
    evidence |= main | {"also": also}
    return case.finding("gap", gap.cells, verdict, message, PAIRED, about, **evidence)


def _why_not(gap: Claimed, unfit: Sequence[int]) -> str:
    runs = [claim.runs for claim in gap.first if (claim.runs or 1) > 1]
    if runs:
        return f"a mean over {runs[0]} runs is no count of one test set, and its spread is needed"
    if unfit:
        return "the numbers are no counts that can be compared"
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
