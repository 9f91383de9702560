"""Check 4: superlatives, comparisons and trends of the text, evaluated cell by cell.

A comparison of two printed numbers holds, is an exception, or is a tie (equal as printed). Words of
quantity are read as loosely as they can be: `almost_all` and `most` are contradicted where half or
more are exceptions, `some` where all are, `none` where one holds. No size is typed in for words
like "slight" or "significant": they are compared with each other, gap by gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from reclaim.inference.audit.cases import Case
from reclaim.inference.audit.findings import finding
from reclaim.records import AuditVerdict, Finding
from reclaim.registry.claims import (
    Magnitude,
    Order,
    Statement,
    Superlative,
    Trend,
    Unprinted,
    exact,
    split,
)

CHECK = "order"
Pair = tuple[str, str]
GREAT, SMALL = ("large",), ("small", "negligible")


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
    return finding(case.id, CHECK, said.cells, "untestable", message, **about)


@dataclass(frozen=True)
class Comparison:
    """A statement that compares cells."""

    case: Case
    name: str
    said: Order | Superlative | Magnitude | Trend

    def value(self, cell: str) -> Fraction:
        """What a cell prints."""
        return exact(self.case.paper.printed(cell))

    def pairs(self) -> list[Pair]:
        """(greater, lesser) as the statement has it."""
        said = self.said
        if isinstance(said, Trend):
            if said.at:
                return [(said.at, cell) for cell in said.curve if cell != said.at]
            steps = [(after, before) for before, after in pairwise(said.curve)]
            return [(b, a) for a, b in steps] if said.shape == "falls" else steps
        if isinstance(said, Magnitude) and said.direction == "decrease":
            return [(b, a) for a, b in said.pairs]
        return list(said.pairs)

    def items(self) -> list[int]:
        """One sign for each thing that the quantifier counts.

        Of a superlative these are its best cells, of everything else the pairs. A best cell that is
        equalled is still a best one.
        """
        signs = {pair: sign(*map(self.value, pair)) for pair in self.pairs()}
        if not isinstance(self.said, Superlative):
            return list(signs.values())
        best = {cell: [signs[pair] for pair in signs if cell in pair] for cell in self.said.best}
        return [-1 if -1 in found else 1 for found in best.values() if found]

    def quantifier(self) -> str:
        """How many must hold."""
        if isinstance(self.said, Trend):
            return "not_all" if self.said.shape == "no_steady_rise" else "all"
        return self.said.quantifier

    def finding(self) -> Finding:
        """The verdict with its exceptions and ties."""
        said, pairs = self.said, self.pairs()
        if isinstance(said, Trend) and said.unprinted:
            return _unprinted(self.case, self.name, said, said.unprinted)
        signs = [sign(*map(self.value, pair)) for pair in pairs]
        count = tally(self.items())
        against = [pair for pair, found in zip(pairs, signs, strict=True) if found < 0]
        level = [pair for pair, found in zip(pairs, signs, strict=True) if found == 0]
        no_sign = isinstance(said, Magnitude) and said.size == "negligible"
        verdict = quantified(count, self.quantifier())
        if no_sign and verdict == "contradiction":
            verdict = "untestable"
        return finding(
            self.case.id,
            CHECK,
            said.cells,
            verdict,
            self.message(count, against, level, no_sign),
            statement=self.name,
            word=said.word,
            quantifier=self.quantifier(),
            holding=count.holding,
            total=count.total,
            pairs=len(pairs),
            exceptions=[self.shown(pair) for pair in against],
            ties=[self.shown(pair) for pair in level],
            gaps=[abs(self.value(a) - self.value(b)) for a, b in pairs[:1000]],
            answers=self.case.answers(self.name, *said.cells),
        )

    def shown(self, pair: Pair) -> dict[str, object]:
        """A pair of cells with what they print and the gap between them."""
        printed = [self.case.paper.printed(cell) for cell in pair]
        return {
            "cells": list(pair),
            "printed": printed,
            "gap": exact(printed[0]) - exact(printed[1]),
        }

    def message(self, count: Count, against: list[Pair], level: list[Pair], no_sign: bool) -> str:
        """What holds and what does not, in words."""
        said = self.said
        word = f" ({said.word!r})" if said.word else ""
        things = "best cells are best" if isinstance(said, Superlative) else "comparisons hold"
        text = f"{count.holding} of {count.total} {things}{word}"
        if isinstance(said, Magnitude):
            sizes = [abs(self.value(a) - self.value(b)) for a, b in said.pairs]
            text += f", gaps {float(min(sizes)):g} to {float(max(sizes)):g}"
        if no_sign and (against or level):
            text += "; a gap that is said to be negligible claims no sign"
        for name, pairs, mark in (("exceptions", against, "<"), ("ties", level, "=")):
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
    return finding(
        case.id,
        CHECK,
        [*pair, *cells],
        "unsupported",
        message,
        statement=name,
        other=other,
        gap=_gap(case, pair),
        other_gap=gap,
        answers=case.answers(name, other),
    )


def _gap(case: Case, pair: Pair) -> Fraction:
    return abs(exact(case.paper.printed(pair[0])) - exact(case.paper.printed(pair[1])))


def _context(case: Case, pair: Pair) -> tuple[str, ...]:
    claim = case.values[pair[0]]
    return (claim.dataset, claim.evaluation, claim.metric, split(claim.cell)[0], claim.unit)
