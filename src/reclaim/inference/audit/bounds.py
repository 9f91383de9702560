"""Check `bounds`: shares that lie outside what any, or a plausible, classifier can reach.

A share of images lies between 0 and 1; the true class is among the top k + 1 wherever it is among
the top k. Two things are possible and unlikely: an accuracy below that of guessing, and a top-5
accuracy below what a classifier reaches that, where its first answer is wrong, orders the other
classes at random.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import Any, Literal

from reclaim.inference.audit.cases import Case, fraction, last_digit
from reclaim.inference.audit.exact import MOST, Bounds, binomial_tail
from reclaim.inference.audit.findings import Basis
from reclaim.inference.audit.sizes import Counts, Size, correct, entity, holm_by_family, sizes
from reclaim.records import Finding
from reclaim.registry.claims import ValueClaim, decimals, split

CHECK = "bounds"
ALPHA = Fraction(1, 20)
_TOP = re.compile(r"top_?([1-9]\d{0,3})")

# P(X <= k) for a binomial X with mean at most k, as its median is at most the mean rounded up
# (Kaas & Buhrman 1980); computing it would not change what is said.
AT_LEAST_HALF = Bounds(Fraction(1, 2), Fraction(1))

Order = Literal["possible", "last digit", "impossible"]

SHARE = Basis("the number is a share of test images", "the number of correct answers")
ONE_MODEL = Basis(
    "both numbers are of one model on one test set", "the unrounded numbers, or the predictions"
)


def possible(share: Fraction) -> bool:
    """Whether a printed share can be one: 0 and 1 are printed as such under every rounding.

    >>> possible(Fraction("1.0001")), possible(Fraction(1))
    (False, True)
    """
    return 0 <= share <= 1


def order(lower: Fraction, lower_digit: Fraction, upper: Fraction, upper_digit: Fraction) -> Order:
    """Whether `lower` <= `upper` can hold for the shares behind two printed ones.

    Whatever the rounding, what is printed lies less than one unit of its last digit from what was
    rounded. So a difference of the sum of both units, or more, is "impossible"; a smaller one that
    is the wrong way round needs two different roundings ("last digit").

    >>> digit = Fraction("0.01")
    >>> order(Fraction("0.50"), digit, Fraction("0.48"), digit)
    'impossible'
    >>> order(Fraction("0.50"), digit, Fraction("0.49"), digit)
    'last digit'
    """
    if lower - upper >= lower_digit + upper_digit:
        return "impossible"
    return "possible" if lower <= upper else "last digit"


def p_below_chance(correct: Counts, images: int, classes: int, top: int = 1) -> Bounds:
    """The greatest P(X <= k), X ~ Bin(n, top/C), over the counts k that the rounding allows: how
    often as little, or less, is reached by drawing `top` of C equally frequent classes at random.

    It grows with k, so it is that of the greatest count.

    >>> p_below_chance(Counts(0, 1), 4, classes=2).upper
    Fraction(5, 16)
    """
    return binomial_tail(correct.most, images, Fraction(min(top, classes), classes))


def p_floor(first: Counts, top: Counts, images: int, classes: int, k: int = 5) -> Bounds:
    """The greatest P(X <= k5 - k1), X ~ Bin(n - k1, (k-1)/(C-1)), over the counts k1 of the top-1
    and k5 of the top-k accuracy that the rounding allows.

    Model: where the first answer is wrong, the true class is equally likely to stand at each of the
    other C - 1 ranks, and images are independent; any knowledge about the classes does better. It
    grows with k5, and falls with k1: of one trial less and one success less, the event implies the
    old one. So it is that of the least k1 and the greatest k5. Raises ValueError for fewer than
    two classes.

    >>> p_floor(Counts(6, 6), Counts(7, 7), 10, classes=10).upper  # 1 of 4, 4/9 each
    Fraction(875, 2187)
    """
    if classes < 2:
        raise ValueError(f"{classes} classes; expected 2 or more")
    chance = Fraction(min(k, classes) - 1, classes - 1)
    return binomial_tail(top.most - first.least, images - first.least, chance)


# --- the cells of papers -------------------------------------------------------------------------


def check(cases: Sequence[Case]) -> Iterator[Finding]:
    """What cannot be or is unlikely, cell by cell; what is in order in one finding of each kind."""
    for case in cases:
        pairs = top_pairs(case)
        yield from _ranges(case)
        yield from _orders(case, pairs)
        floors = [pair for pair in pairs if top(pair[0]) == 1]
        guesses = [(claim,) for claim in case.accuracies.values() if top(claim)]
        yield from _judged(case, [_floor(case, *same) for same in _merged(case, floors)], FLOOR)
        yield from _judged(case, [_guess(case, *same) for same in _merged(case, guesses)], GUESSING)


def top(claim: ValueClaim) -> int | None:
    """k of a top-k accuracy, 1 of a plain one; None for what is no accuracy."""
    if match := _TOP.fullmatch(claim.metric):
        return int(match[1])
    return 1 if claim.metric in ("accuracy", "acc") else None


def top_pairs(case: Case) -> list[tuple[ValueClaim, ValueClaim]]:
    """A row's accuracies for fewer and for more answers, on one data set and in one setting.

    Each stands beside the plain ones and beside the highest of those for fewer answers: where it
    may be at least that one, it may be at least all of them.
    """
    rows: dict[Any, list[ValueClaim]] = {}
    for claim in case.accuracies.values():
        if top(claim):
            table, _, row = split(claim.cell)
            rows.setdefault((table, row, claim.dataset), []).append(claim)
    return [pair for row in rows.values() for claims in _settings(row) for pair in _pairs(claims)]


def _pairs(claims: Sequence[ValueClaim]) -> Iterator[tuple[ValueClaim, ValueClaim]]:
    ranked = sorted(claims, key=lambda claim: top(claim) or 0)
    fewer: list[ValueClaim] = []  # the plain ones, and the highest of all so far
    for k, several in groupby(ranked, key=top):
        now = list(several)
        yield from ((one, other) for other in now for one in fewer)
        highest = max((*fewer, *now), key=lambda claim: fraction(claim) - _digit(claim))
        plain = now if k == 1 else [claim for claim in fewer if top(claim) == 1]
        fewer = plain if highest in plain else [*plain, highest]


def _settings(row: Sequence[ValueClaim]) -> Iterable[list[ValueClaim]]:
    """Columns that belong together: where a metric repeats, by what else is in their names, as in
    200_epochs.top1 and 200_epochs.top5."""
    if len({top(claim) for claim in row}) == len(row):
        return [list(row)]
    settings: dict[str, list[ValueClaim]] = {}
    for claim in row:
        setting = re.sub(r"\W*(top|accuracy|acc)_?\d*\W*", "", split(claim.cell)[1])
        settings.setdefault(setting, []).append(claim)
    return settings.values()


def _ranges(case: Case) -> Iterator[Finding]:
    wrong = {cell for cell, claim in case.accuracies.items() if not possible(fraction(claim))}
    for cell in case.accuracies:
        if cell in wrong:
            message = f"{case.values[cell].printed}: a share of images lies between 0 and 100 %."
            yield case.finding(CHECK, (cell,), "contradiction", message, SHARE, kind="range")
    if sound := [cell for cell in case.accuracies if cell not in wrong]:
        message = f"{len(sound)} accuracies lie between 0 and 100 %."
        about: dict[str, Any] = {"kind": "range", "number": len(sound)}
        yield case.finding(CHECK, sound, "consistent", message, SHARE, **about)


def _orders(case: Case, pairs: Sequence[tuple[ValueClaim, ValueClaim]]) -> Iterator[Finding]:
    fine: list[str] = []
    for one, other in pairs:
        cells, classes = (one.cell, other.cell), case.classes(other.dataset)
        name = f"{other.metric} {other.printed} and {one.metric} {one.printed}"
        found = order(fraction(one), _digit(one), fraction(other), _digit(other))
        if found == "impossible":
            message = f"{name}: what is among the first is among the first {top(other)}, so the "
            message += "second number cannot be greater for one model and one test set."
            yield case.finding(CHECK, cells, "contradiction", message, ONE_MODEL, kind="order")
        elif classes is not None and _must_be_whole(other, classes):
            message = f"{name}: with {classes} classes the true one is always among {top(other)}."
            about: dict[str, Any] = {"kind": "order", "classes": classes}
            yield case.finding(CHECK, cells, "contradiction", message, ONE_MODEL, **about)
        elif found == "last digit":
            message = f"{name}: only two ways of rounding could print this."
            yield case.finding(CHECK, cells, "untestable", message, ONE_MODEL, kind="order")
        else:
            fine += cells
    if fine:
        message = f"{len(fine) // 2} rows have a top-k accuracy at least as high as their top-1."
        about = {"kind": "order", "number": len(fine) // 2}
        yield case.finding(CHECK, fine, "consistent", message, ONE_MODEL, **about)


def _must_be_whole(claim: ValueClaim, classes: int) -> bool:
    known = (top(claim) or 0) >= classes
    return known and order(Fraction(1), Fraction(0), fraction(claim), _digit(claim)) == "impossible"


def _digit(claim: ValueClaim) -> Fraction:
    return last_digit(decimals(claim.printed), claim.unit)


# --- probabilities -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    """What printed numbers are compared with, in words."""

    kind: str
    low: str
    fine: str
    basis: Basis


FLOOR = Model(
    "floor",
    "fewer true classes among the first {top} than if, wherever the first answer is wrong, the "
    "other classes were ordered at random, which gives {share:.2%}",
    "top-k accuracies are not clearly below what random order of the other classes gives",
    Basis(
        "one run on independent images, each counted once, and both numbers from one ranking of "
        "the classes",
        "the per-image predictions",
    ),
)
GUESSING = Model(
    "guessing",
    "below guessing, which gives {share:.2%}",
    "accuracies are not clearly below guessing",
    Basis(
        "one run on independent images, each counted once, of equally frequent classes",
        "the per-image predictions",
    ),
)


@dataclass(frozen=True)
class Test:
    """Numbers, in all places that print them, and the p-value of each number of images.

    `evidence` is empty where the number of classes leaves nothing to test.
    """

    printings: Sequence[tuple[ValueClaim, ...]]
    p: dict[Size, Bounds]
    evidence: dict[str, Any]

    @property
    def cells(self) -> list[str]:
        """All cells, in order."""
        return [claim.cell for claims in self.printings for claim in claims]


def _merged(
    case: Case, found: Iterable[tuple[ValueClaim, ...]]
) -> Iterable[list[tuple[ValueClaim, ...]]]:
    """The places that print the same numbers of the same things, together."""
    merged: dict[Any, list[tuple[ValueClaim, ...]]] = {}
    for claims in found:
        merged.setdefault(entity(case, claims), []).append(claims)
    return merged.values()


def _floor(case: Case, *printings: tuple[ValueClaim, ...]) -> Test:
    one, other = printings[0]
    classes, k = case.classes(one.dataset), top(other) or 0
    if classes is None or k >= classes:
        return Test(printings, {}, {})
    share = fraction(one) + (1 - fraction(one)) * Fraction(k - 1, classes - 1)
    p = {}
    for size in sizes(case, *printings):
        first, more = (correct(case, claim, size.images) for claim in (one, other))
        if first and more:
            trials, chance = size.images - first.least, Fraction(k - 1, classes - 1)
            low = more.most - first.least < trials * chance
            p[size] = p_floor(first, more, size.images, classes, k) if low else AT_LEAST_HALF
    return Test(printings, p, {"top": k, "classes": classes, "share": share})


def _guess(case: Case, *printings: tuple[ValueClaim, ...]) -> Test:
    (claim,) = printings[0]
    classes, k = case.classes(claim.dataset), top(claim) or 0
    if classes is None or k >= classes:
        return Test(printings, {}, {})
    share = Fraction(k, classes)
    p = {}
    for size in sizes(case, *printings):
        if found := correct(case, claim, size.images):
            low = found.most < size.images * share
            p[size] = p_below_chance(found, size.images, classes, k) if low else AT_LEAST_HALF
    return Test(printings, p, {"top": k, "classes": classes, "share": share})


def _judged(case: Case, tests: Sequence[Test], model: Model) -> Iterator[Finding]:
    """The tests of one model, corrected over the paper: unlikely ones alone, others together."""
    adjusted = holm_by_family(
        {(i, size): p for i, test in enumerate(tests) for size, p in test.p.items()}
    )
    fine: list[tuple[Test, float]] = []
    for i, test in enumerate(tests):
        seen = [_seen(size, p, adjusted[i, size]) for size, p in test.p.items()]
        if seen and adjusted[i, next(iter(test.p))].upper <= ALPHA:
            yield _unlikely(case, test, model, seen)
        elif seen:
            fine.append((test, seen[0]["p_holm"]))
    if fine:
        least = min(p for _, p in fine)
        cells = [cell for test, _ in fine for cell in test.cells]
        compared = sum(bool(test.p) for test in tests)
        message = f"{len(fine)} {model.fine} (p above {float(ALPHA)}, corrected by Holm's method "
        message += f"over {compared}, at the first stated number of test images)."
        about: dict[str, Any] = {"kind": model.kind, "number": len(fine), "p_holm": least}
        yield case.finding(CHECK, cells, "consistent", message, model.basis, **about)
    yield from _untested(case, tests, model)


def _seen(size: Size, p: Bounds, adjusted: Bounds) -> dict[str, Any]:
    about = {"images": size.images, "source": size.source}
    return about | {"p": p.readable(), "p_holm": float(adjusted)}


def _unlikely(case: Case, test: Test, model: Model, seen: list[dict[str, Any]]) -> Finding:
    main, *also = seen
    numbers = " and ".join(f"{claim.metric} {claim.printed}" for claim in test.printings[0])
    low = model.low.format(top=test.evidence["top"], share=float(test.evidence["share"]))
    message = f"{numbers} on {main['images']:,} images ({main['source']}): {low}"
    message += f" (p {float(main['p']):.2g} at most, {main['p_holm']:.2g} over the paper)."
    for it in also:
        message += f" With {it['images']:,} images ({it['source']}): p {float(it['p']):.2g}, "
        message += f"{it['p_holm']:.2g} over the paper."
    evidence = {"kind": model.kind} | test.evidence | main | {"also": also}
    return case.finding(CHECK, test.cells, "implausible", message, model.basis, **evidence)


def _untested(case: Case, tests: Sequence[Test], model: Model) -> Iterator[Finding]:
    reasons: dict[str, list[Test]] = {}
    for test in tests:
        if not test.p:
            reasons.setdefault(_why_not(case, test), []).append(test)
    for reason, left in reasons.items():
        cells = [cell for test in left for cell in test.cells]
        message = f"{len(left)} accuracies are not compared ({model.kind}): {reason}."
        about = {"kind": model.kind}
        yield case.finding(CHECK, cells, "untestable", message, model.basis, **about)


def _why_not(case: Case, test: Test) -> str:
    if not test.evidence:
        return "the data set has no known number of classes above k"
    runs = max(claim.runs or 1 for claims in test.printings for claim in claims)
    if runs > 1:
        return f"means over {runs} runs are no counts of one test set"
    images = [f"{size.images:,}" for size in sizes(case, *test.printings)]
    if images:
        return f"they are no shares of {' or '.join(images)} images"
    return f"no number of test images up to {MOST:,} is stated or can be inferred"
