"""Check 2: are the differences, relative gains, sums and repeated numbers of the text right?

A printed number stands for every value that prints like it: an interval of half a unit of its last
digit on either side, or of a whole unit if it may have been cut or rounded up. What the text states
is recomputed from such intervals, exactly. A contradiction is claimed only where the widest ones
do not meet.

On failure a search looks for the reading that makes the number true: another kind of number on the
same cells, another print of the same measurement, another baseline, row or metric, two digits that
changed places, or two such changes. It stops at the first kind of change that fits. With it comes
the chance that a wrong number finds a reading: the share of all strings of the same decimals from 0
to twice the printed value that at least one tried reading would match.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from typing import Any

from reclaim.inference.audit.cases import Case
from reclaim.inference.audit.findings import Basis
from reclaim.inference.audit.readings import (
    HALF,
    KINDS,
    MOST_READINGS,
    WHOLE,
    Interval,
    Reading,
    Search,
    in_digits,
    interval,
    meets,
    points,
    printed_range,
    reading,
    search,
    swapped,
    swaps,
)
from reclaim.records import AuditVerdict, Finding
from reclaim.registry.claims import Difference, Sum, Value, decimals, exact, split

CHECK = "arithmetic"
ROUNDED = Basis(
    "the cells and the number are rounded values of the same results",
    "the unrounded results, or which cells and which kind of number the sentence means",
)
ONE_WORD = Basis(
    "one word, used in one breath, stands for one kind of number",
    "which of the numbers are points and which are relative",
)
STATED = {
    "points": ("points",),
    "relative_percent": ("relative",),
    "percent": ("points", "relative"),
}


def check(cases: Sequence[Case]) -> Iterator[Finding]:
    """A finding for each number of each paper's text, and for each word that covers two kinds."""
    for case in cases:
        kinds: dict[str, set[str]] = {}
        for name, said in case.paper.statements.items():
            if isinstance(said, (Value, Sum, Difference)):
                found, fitting = Text(case, name, said).finding()
                kinds[name] = fitting
                yield found
        yield from mixed_words(case, kinds)


@dataclass(frozen=True)
class Text:
    """A statement that prints a number, with the cells it speaks about."""

    case: Case
    name: str
    said: Value | Sum | Difference

    @property
    def digits(self) -> int:
        """How many decimals the text prints."""
        return decimals(self.said.printed)

    def cell(self, name: str, slack: Fraction = HALF, digits: str | None = None) -> Interval:
        """A cell's interval in per cent; `digits` replaces the printed string.

        A short string among longer ones has lost its zeros ("75" is 75.00); the widest interval,
        of a whole unit, allows for a row or column that was printed with fewer digits.
        """
        claim, places = self.case.values[name], None
        if name in self.case.accuracies:
            nearest = slack == HALF
            places = (self.case.decimals if nearest else self.case.fewest_decimals)(claim)
        low, high = interval(digits or claim.printed, places, slack)
        return (100 * low, 100 * high) if claim.unit == "fraction" else (low, high)

    def finding(self) -> tuple[Finding, set[str]]:
        """The verdict, and of which kinds the number can be (differences alone)."""
        said = self.said
        near = {kind: meets(said.printed, value) for kind, value in self.stated().items()}
        wide = any(meets(said.printed, v, WHOLE) for v in self.stated(WHOLE).values())
        about = self.evidence()
        if not near:
            message = f"{self.recomputed()}; nothing is relative to what may be 0"
            return self._make("untestable", message, about), set()
        if any(near.values()):
            return self._right(about, [kind for kind in near if near[kind]])
        if wide:
            about |= {"rounding": "any"}
            message = (
                f"{self.recomputed()}; {said.printed} is right if a number was cut, not rounded"
            )
            return self._make("consistent", message, about), set()
        found = search(said.printed, self.tiers())
        named = [fit.name for fit in found.fits]
        about |= {
            "reading": named[0] if found.unique else None,
            "fits": named,
            "tried": found.tried,
            "chance": found.chance,
        }
        message = f"{self.recomputed()}; the text prints {said.printed}{self._as()}. "
        message += self._explained(found)
        kinds = {fit.kind for fit in found.fits if fit.kind} if found.unique else set()
        return self._make("contradiction", message, about), kinds

    def _right(self, about: dict[str, Any], kinds: list[str]) -> tuple[Finding, set[str]]:
        about |= {"rounding": "nearest"}
        note = ""
        if isinstance(self.said, Difference) and self.said.unit == "percent":
            note = f", as {' or '.join(kinds)}; the text does not say which"
            about |= {"kinds": kinds}
        message = f"{self.recomputed()}: {self.said.printed} is right{note}"
        return self._make("consistent", message, about), set(kinds)

    def _make(self, verdict: AuditVerdict, message: str, about: dict[str, Any]) -> Finding:
        cells = self.said.cells
        return self.case.finding(CHECK, cells, verdict, message, ROUNDED, [self.name], **about)

    def _as(self) -> str:
        if isinstance(self.said, Difference):
            return {"points": " points", "relative_percent": " % as relative"}.get(
                self.said.unit, " %"
            )
        return ""

    def _explained(self, found: Search) -> str:
        chance = f"{found.tried} readings tried, chance of a fit {float(found.chance):.1%}"
        if found.unique:
            return f"It is right as {found.fits[0].name} ({chance})"
        if not found.fits:
            return f"No reading makes it true ({chance})"
        return f"No unique reading: {len(found.fits)} fit ({chance})"

    def evidence(self) -> dict[str, Any]:
        """What every finding on a statement carries."""
        return {
            "statement": self.name,
            "printed": self.said.printed,
            "unit": getattr(self.said, "unit", None),
            "word": self.said.word,
            "values": [self.case.paper.printed(cell) for cell in self.said.cells],
            "recomputed": {kind: _middle(value) for kind, value in self.stated().items()},
        }

    def recomputed(self) -> str:
        """The numbers from the table, in words."""
        shown = {kind: float(_middle(value)) for kind, value in self.every().items()}
        words = [f"{value:.{self.digits}f}{_UNITS.get(kind, '')}" for kind, value in shown.items()]
        cells = [self.case.paper.printed(cell) for cell in self.said.cells]
        if isinstance(self.said, Value):
            return f"{self.said.cell} prints {cells[0]}"
        sign = " − " if isinstance(self.said, Difference) else " + "
        return f"{sign.join(cells)} is {', '.join(words)}"

    # what the statement says, recomputed

    def stated(self, slack: Fraction = HALF) -> dict[str, Interval]:
        """The recomputed number by the kinds that the statement's unit allows."""
        if isinstance(self.said, Difference):
            allowed = STATED[self.said.unit]
            return {kind: v for kind, v in self.every(slack).items() if kind in allowed}
        return self.every(slack)

    def every(self, slack: Fraction = HALF) -> dict[str, Interval]:
        """The recomputed number by kind: for a difference in points and relative."""
        said = self.said
        if isinstance(said, Difference):
            both = self.cell(said.minuend, slack), self.cell(said.subtrahend, slack)
            made = {kind: KINDS[kind](*both) for kind in ("points", "relative")}
            return {kind: value for kind, value in made.items() if value is not None}
        terms = [self.cell(cell, slack) for cell in said.cells]
        total = sum(low for low, _ in terms), sum(high for _, high in terms)
        made_sum: dict[str, Interval] = {"": (Fraction(total[0]), Fraction(total[1]))}
        if all(self.case.values[cell].unit == "fraction" for cell in said.cells):
            made_sum["fraction"] = (Fraction(total[0]) / 100, Fraction(total[1]) / 100)
        return made_sum

    # other readings

    def tiers(self) -> Iterator[Iterator[Reading]]:
        """The readings to try, by kind of change, the smallest first."""
        if isinstance(self.said, Difference):
            yield from self._difference_tiers(self.said)
        elif isinstance(self.said, Value):
            yield from self._value_tiers(self.said)
            yield self._digits()
        else:
            yield from self._sum_tiers(self.said)
            yield self._digits()

    def _value_tiers(self, said: Value) -> Iterator[Iterator[Reading]]:
        for change, cells in self._others(said.cell):
            yield (reading(f"{cell} ({change})", self.cell(cell), self.digits) for cell in cells)

    def _sum_tiers(self, said: Sum) -> Iterator[Iterator[Reading]]:
        terms = [self.cell(cell) for cell in said.terms]
        (total,) = [value for kind, value in self.every().items() if not kind]
        count = len(terms)
        yield iter([reading("the mean", (total[0] / count, total[1] / count), self.digits)])
        yield (
            reading(f"the sum without {cell}", points(total, term), self.digits)
            for cell, term in zip(said.terms, terms, strict=True)
        )

    def _difference_tiers(self, said: Difference) -> Iterator[Iterator[Reading]]:
        allowed, pair = STATED[said.unit], (said.minuend, said.subtrahend)
        yield self._readings([pair], [kind for kind in KINDS if kind not in allowed], "")
        yield self._readings([pair[::-1]], allowed, "the other way round")
        moved = list(self._moved(said))
        for change, pairs in moved:
            yield self._readings(pairs, allowed, change)
        yield self._digits()
        others = [kind for kind in ("points", "relative") if kind not in allowed]
        for change, pairs in moved:
            yield self._readings(pairs, others, change)

    def _moved(self, said: Difference) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """Pairs of cells that a slip may have taken instead, by what slipped."""
        minuend, subtrahend = said.minuend, said.subtrahend
        subtrahends, minuends = dict(self._others(subtrahend)), dict(self._others(minuend))
        same = "another print"
        stale = [(minuend, cell) for cell in subtrahends[same]]
        yield "another print", stale + [(cell, subtrahend) for cell in minuends[same]]
        rows = [(minuend, cell) for cell in subtrahends["other row"] if cell != minuend]
        yield "other baseline", rows
        rows = [(cell, subtrahend) for cell in minuends["other row"] if cell != subtrahend]
        yield "other row", rows
        metrics = zip(minuends["other metric"], subtrahends["other metric"], strict=False)
        yield "other metric", [(a, b) for a, b in metrics if split(a)[1] == split(b)[1]]

    def _readings(
        self, pairs: Iterable[tuple[str, str]], kinds: Iterable[str], change: str
    ) -> Iterator[Reading]:
        chosen = list(kinds)
        for minuend, subtrahend in pairs:
            for kind in chosen:
                value = KINDS[kind](self.cell(minuend), self.cell(subtrahend))
                if value is not None:
                    how = f", {change}" if change else ""
                    name = f"{kind} ({minuend} against {subtrahend}{how})"
                    yield reading(name, value, self.digits, kind)

    def _others(self, cell: str) -> Iterator[tuple[str, list[str]]]:
        """The cells that might be meant for a cell, by what changes."""
        table, column, row = split(cell)
        values, claim = self.case.values, self.case.values[cell]
        own = self.case.entity(claim)
        cells = self.case.paper.tables[table].cells
        rows = islice((name for name in cells if name != row), MOST_READINGS)
        columns = islice((name for name in cells[row] if name != column), MOST_READINGS)
        yield (
            "another print",
            [
                other
                for other, claim in values.items()
                if other != cell and self.case.entity(claim) == own
            ],
        )
        yield "other row", [c for r in rows if (c := f"{table}[{column},{r}]") in values]
        yield "other metric", [c for n in columns if (c := f"{table}[{n},{row}]") in values]

    def _digits(self) -> Iterator[Reading]:
        """Two digits that changed places, in the text or in one of the cells."""
        for kind, made in self.stated().items():
            ranges = (printed_range(made, self.digits),)
            yield swapped("two digits of the text swapped", ranges, self.digits, kind)
        for cell in self.said.cells if isinstance(self.said, Difference) else ():
            printed = self.case.paper.printed(cell)
            places = decimals(printed)
            for value in swaps(int(exact(printed) * 10**places), places):
                yield from self._with_digits(cell, in_digits(value, places))

    def _with_digits(self, cell: str, digits: str) -> Iterator[Reading]:
        said = self.said
        assert isinstance(said, Difference)
        pair = [
            self.cell(name, digits=digits if name == cell else None)
            for name in (said.minuend, said.subtrahend)
        ]
        for kind in STATED[said.unit]:
            value = KINDS[kind](pair[0], pair[1])
            if value is not None:
                name = f"{kind} with {cell} as {digits} (two digits swapped)"
                yield reading(name, value, self.digits, kind)


_UNITS = {"points": " points", "relative": " % relative", "": ""}


def _middle(value: Interval) -> Fraction:
    return (value[0] + value[1]) / 2


def mixed_words(case: Case, kinds: dict[str, set[str]]) -> Iterator[Finding]:
    """Words that stand, in one breath, for absolute and for relative gains."""
    breaths: dict[tuple[str, str], list[str]] = {}
    printed: dict[str, str] = {}
    for name in kinds:
        said = case.paper.statements[name]
        if said.word and kinds[name] and isinstance(said, Difference):
            printed[name] = said.printed
            breaths.setdefault((said.word.lower(), said.group or said.locator), []).append(name)
    for (word, _), names in breaths.items():
        if not set.intersection(*(kinds[name] for name in names)):
            shown = [f"{printed[name]} ({' or '.join(sorted(kinds[name]))})" for name in names]
            cells = [cell for name in names for cell in case.paper.statements[name].cells]
            yield case.finding(
                CHECK,
                cells,
                "unsupported",
                f"{word!r} covers two kinds of number in one breath: {', '.join(shown)}; a reader "
                "cannot compare them without knowing which is which",
                ONE_WORD,
                names,
                statements=names,
                word=word,
                kinds={name: sorted(kinds[name]) for name in names},
            )
