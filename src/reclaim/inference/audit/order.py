"""Check 4: superlatives, comparisons and trends of the text, evaluated cell by cell.

A comparison of two printed numbers holds, is an exception, or is a tie (equal as printed). Words of
quantity are read as loosely as they can be: `almost_all` and `most` are contradicted where half or
more are exceptions, `some` where all are, `none` where one holds. What speaks against a statement
in print is a contradiction only if no rounding of the numbers undoes it: "37" beside 37.1 may be
either way round, if its row was printed with fewer digits. No size is typed in for words like
"slight" or "significant": they are compared with each other, gap by gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from reclaim.inference.audit.cases import Case
from reclaim.inference.audit.findings import Basis
from reclaim.inference.audit.readings import WHOLE, Interval, interval
from reclaim.records import AuditVerdict, Finding
from reclaim.registry.claims import (
    Magnitude,
    Order,
    Statement,
    Superlative,
    Trend,
    Unprinted,
    decimals,
    exact,
    split,
)

CHECK = "order"
Pair = tuple[str, str]
GREAT, SMALL = ("large",), ("small", "negligible")
THESE_CELLS = Basis(
    "the sentence is about these cells, and they are rounded values of comparable results",
    "which cells the sentence means, or the unrounded results",
)
NOT_SHOWN = Basis(
    "the sentence rests on numbers that were measured", "the numbers behind the figure or the words"
)
ONE_SCALE = Basis(
    "words of size are meant on one scale for one data set, evaluation and metric",
    "numbers in place of the words",
)


@dataclass(frozen=True)
class Count:
    """How many comparisons hold, are exceptions, or are ties."""

    holding: int
    exceptions: int
    ties: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.holding + self.exceptions + self.ties


def sign(greater: Fraction, lesser: Fraction) -> int:
    """1 where a comparison holds, −1 for an exception, 0 for a tie.

    >>> sign(Fraction(86, 10), Fraction(86, 10))
    0
    """
    return (greater > lesser) - (greater < lesser)


def surely(greater: Interval, lesser: Interval) -> int:
    """1 where a comparison holds for all numbers of two open intervals, −1 where it is an exception
    for all, else 0.

    >>> surely((Fraction(36), Fraction(38)), (Fraction(37), Fraction(372, 10)))
    0
    >>> surely((Fraction(36), Fraction(38)), (Fraction(38), Fraction(40)))
    -1
    """
    return (greater[0] >= lesser[1]) - (greater[1] <= lesser[0])


def tally(signs: Sequence[int]) -> Count:
    """Count signs.

    >>> tally([1, 1, -1, 0])
    Count(holding=2, exceptions=1, ties=1)
    """
    return Count(signs.count(1), signs.count(-1), signs.count(0))


def quantified(count: Count, quantifier: str) -> AuditVerdict:
    """What a quantifier makes of comparisons; a tie may turn out either way.

    >>> quantified(Count(5, 1, 0), "almost_all"), quantified(Count(5, 1, 0), "all")
    ('consistent', 'contradiction')
    """
    least, most, total = count.holding, count.holding + count.ties, count.total
    sure, possible = {
        "all": (least == total, most == total),
        "almost_all": (2 * least > total, 2 * most > total),
        "most": (2 * least > total, 2 * most > total),
        "some": (least > 0, most > 0),
        "none": (most == 0, least == 0),
        "not_all": (count.exceptions > 0, least < total),
    }[quantifier]
    if sure:
        return "consistent"
    return "untestable" if possible else "contradiction"


def check(cases: Sequence[Case]) -> Iterator[Finding]:
    """A finding for each statement that compares, and for each gap called both large and small."""
    for case in cases:
        for name, said in case.paper.statements.items():
            if isinstance(said, (Order, Superlative, Magnitude, Trend)):
                yield Comparison(case, name, said).finding()
            elif isinstance(said, Unprinted):
                yield _unprinted(case, name, said, said.unprinted)
        yield from words_at_odds(case)


def _unprinted(case: Case, name: str, said: Statement, why: str) -> Finding:
    message = f"no number is printed: {why}"
    about = {"statement": name, "word": said.word}
    return case.finding(CHECK, said.cells, "untestable", message, NOT_SHOWN, [name], **about)


@dataclass(frozen=True)
class Comparison:
    """A statement that compares cells."""

    case: Case
    name: str
    said: Order | Superlative | Magnitude | Trend

    def value(self, cell: str) -> Fraction:
        """What a cell prints."""
        return exact(self.case.paper.printed(cell))

    def wide(self, cell: str) -> Interval:
        """What a cell may stand for if it was rounded in any way: a unit on either side."""
        claim = self.case.values[cell]
        counted = cell in self.case.accuracies
        places = self.case.fewest_decimals(claim) if counted else decimals(claim.printed)
        return interval(claim.printed, places, WHOLE)

    def pairs(self) -> list[Pair]:
        """(greater, lesser) as the statement has it."""
        said = self.said
        if isinstance(said, Trend):
            if said.at:
                return [(said.at, cell) for cell in said.curve if cell != said.at]
            if said.shape == "falls":
                return self._steps(said.curve[::-1])[::-1]
            return self._steps(said.curve)
        if isinstance(said, Magnitude) and said.direction == "decrease":
            return [(b, a) for a, b in said.pairs]
        return list(said.pairs)

    def _steps(self, curve: Sequence[str]) -> list[Pair]:
        """The steps of a rise, (after, before): of neighbours, and of cells further apart that
        surely fall."""
        steps = [(after, before) for before, after in pairwise(curve)]
        highest = curve[0]
        for cell in curve[1:]:
            if surely(self.wide(cell), self.wide(highest)) < 0:
                steps.append((cell, highest))
            highest = max(highest, cell, key=lambda name: self.wide(name)[0])
        return list(dict.fromkeys(steps))

    def count(self, signs: Mapping[Pair, int], equalled: int) -> Count:
        """What the quantifier counts: of a superlative its best cells, of all else the pairs.

        `equalled` is the sign of a best cell that is not above all others, but below none.
        """
        if not isinstance(self.said, Superlative):
            return tally(list(signs.values()))
        best = {cell: [signs[pair] for pair in signs if cell in pair] for cell in self.said.best}
        least = [min(found) for found in best.values() if found]
        return tally([found or equalled for found in least])

    def quantifier(self) -> str:
        """How many must hold."""
        if isinstance(self.said, Trend):
            return "not_all" if self.said.shape == "no_steady_rise" else "all"
        return self.said.quantifier

    def verdict(self, printed: Count, sure: Count) -> AuditVerdict:
        """By what is printed; a contradiction if it is one for all that rounding allows."""
        said, verdict = self.said, quantified(printed, self.quantifier())
        if verdict != "contradiction":
            return verdict
        no_sign = isinstance(said, Magnitude) and said.size == "negligible"
        certain = quantified(sure, self.quantifier()) == "contradiction"
        return "contradiction" if certain and not no_sign else "untestable"

    def finding(self) -> Finding:
        """The verdict with its exceptions and ties."""
        said = self.said
        if isinstance(said, Trend) and said.unprinted:
            return _unprinted(self.case, self.name, said, said.unprinted)
        pairs = self.pairs()
        signs = {pair: sign(*map(self.value, pair)) for pair in pairs}
        wide = {pair: surely(*map(self.wide, pair)) for pair in pairs}
        count = self.count(signs, equalled=1)  # a best cell that is equalled is still a best one
        verdict = self.verdict(count, self.count(wide, equalled=0))
        odd = {
            "exceptions": [pair for pair in pairs if signs[pair] < 0 and wide[pair]],
            "exceptions that rounding may undo": [
                pair for pair in pairs if signs[pair] < 0 and not wide[pair]
            ],
            "ties": [pair for pair in pairs if signs[pair] == 0],
        }
        return self.case.finding(
            CHECK,
            said.cells,
            verdict,
            self.message(count, verdict, odd),
            THESE_CELLS,
            [self.name],
            statement=self.name,
            word=said.word,
            quantifier=self.quantifier(),
            read_as=self.read_as(),
            holding=count.holding,
            total=count.total,
            pairs=len(pairs),
            **{name.replace(" ", "_"): list(map(self.shown, some)) for name, some in odd.items()},
            gaps=[abs(self.value(a) - self.value(b)) for a, b in pairs[:1000]],
        )

    def read_as(self) -> str | None:
        """How a statement without a word of quantity is taken, where that makes a difference."""
        said = self.said
        if isinstance(said, Trend) or "quantifier" in said.model_fields_set:
            return None
        places = [split(cell) for cell in said.cells]
        columns, rows = ({place[i] for place in places} for i in (1, 2))
        if len(columns) > 1:
            return "in every column"
        best = isinstance(said, Superlative)  # "the best" says by itself among what
        return "against every row" if len(rows) > 2 and not best else None

    def shown(self, pair: Pair) -> dict[str, object]:
        """A pair of cells with what they print and the gap between them."""
        printed = [self.case.paper.printed(cell) for cell in pair]
        return {
            "cells": list(pair),
            "printed": printed,
            "gap": exact(printed[0]) - exact(printed[1]),
        }

    def message(
        self, count: Count, verdict: AuditVerdict, odd: Mapping[str, Sequence[Pair]]
    ) -> str:
        """What holds and what does not, in words."""
        said, marks = self.said, ("<", "<", "=")
        word = f" ({said.word!r})" if said.word else ""
        things = "best cells are best" if isinstance(said, Superlative) else "comparisons hold"
        text = f"{count.holding} of {count.total} {things}{word}"
        if verdict == "contradiction" and (taken := self.read_as()):
            text += f", read as: {taken}"
        if isinstance(said, Magnitude):
            sizes = [abs(self.value(a) - self.value(b)) for a, b in said.pairs]
            text += f", gaps {float(min(sizes)):g} to {float(max(sizes)):g}"
            if said.size == "negligible" and any(odd.values()):
                text += "; a gap that is said to be negligible claims no sign"
        for (name, pairs), mark in zip(odd.items(), marks, strict=True):
            if pairs:
                shown = "; ".join(self._compared(pair, mark) for pair in pairs[:6])
                text += f"; {name}: {shown}{' …' if len(pairs) > 6 else ''}"
        return text

    def _compared(self, pair: Pair, mark: str) -> str:
        a, b = (self.case.paper.printed(cell) for cell in pair)
        return f"{a} {mark} {b} ({pair[0]} against {pair[1]})"


def words_at_odds(case: Case) -> Iterator[Finding]:
    """Gaps called small that are no smaller than one that is called large.

    Compared are gaps of one data set, evaluation and metric.
    """
    sized = [
        (name, said, pair)
        for name, said in case.paper.statements.items()
        if isinstance(said, Magnitude) and said.quantifier == "all"
        for pair in said.pairs
    ]
    great: dict[tuple[str, ...], list[tuple[Fraction, str, Pair]]] = {}
    for name, said, pair in sized:
        if said.size in GREAT:
            great.setdefault(_context(case, pair), []).append((_gap(case, pair), name, pair))
    for name, said, pair in sized:
        others = great.get(_context(case, pair), [])
        least = min(others, default=None)
        if said.size in SMALL and least and least[0] <= _gap(case, pair) and _gap(case, pair) > 0:
            yield _odd_words(case, name, said, pair, least)


def _odd_words(
    case: Case, name: str, said: Magnitude, pair: Pair, least: tuple[Fraction, str, Pair]
) -> Finding:
    gap, other, cells = least
    large = case.paper.statements[other]
    same = "the same gap" if set(cells) == set(pair) else f"one of {float(gap):g} points"
    message = (
        f"a gap of {float(_gap(case, pair)):g} points is called {said.word or said.size!r}, and "
        f"{same} {large.word or 'large'!r} in {other}: words of size carry no claim here"
    )
    return case.finding(
        CHECK,
        [*pair, *cells],
        "unsupported",
        message,
        ONE_SCALE,
        [name, other],
        statement=name,
        other=other,
        gap=_gap(case, pair),
        other_gap=gap,
    )


def _gap(case: Case, pair: Pair) -> Fraction:
    return abs(exact(case.paper.printed(pair[0])) - exact(case.paper.printed(pair[1])))


def _context(case: Case, pair: Pair) -> tuple[str, ...]:
    claim = case.values[pair[0]]
    return (claim.dataset, claim.evaluation, claim.metric, split(claim.cell)[0], claim.unit)
