"""How many seeded errors an auditor finds, and how often it cries over a true paper.

    python -m tests.simulations.scored_auditor [--tables N] [--true N] [--kind KIND] [--keep DIR]

prints two markdown tables. An error counts as found only by a finding of a check that fits its
kind, with a verdict that fits, whose cells include the seeded ones, and which the same paper
without the error does not get. On true papers any `contradiction` is a false alarm and is printed
with its seed. Seeds are 0, 1, ...: the same numbers on any machine.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from statsmodels.stats.proportion import proportion_confint

from reclaim.registry.claims import Paper
from tests.simulations import errors, tables
from tests.simulations.errors import Case, Kind


class Finding(Protocol):
    """What is read of a finding."""

    @property
    def check(self) -> str:
        """Which check."""

    @property
    def cells(self) -> Sequence[str]:
        """The locators that it is about."""

    @property
    def verdict(self) -> str:
        """One word."""

    @property
    def message(self) -> str:
        """One sentence for people."""


Auditor = Callable[[Mapping[str, Paper], Sequence[str]], Sequence[Finding]]


@dataclass
class Score:
    """What became of the papers of one kind: counts, the checks that found, the seeds missed."""

    papers: int = 0
    detectable: int = 0
    found: int = 0
    found_detectable: int = 0
    by: Counter[str] = field(default_factory=Counter)
    missed: list[int] = field(default_factory=list)


@dataclass
class Alarms:
    """Verdicts of the checks on true papers (papers that got one), and every contradiction."""

    papers: int = 0
    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    false: list[tuple[int, Finding]] = field(default_factory=list)

    @property
    def seeds(self) -> list[int]:
        """The true papers that got a contradiction."""
        return sorted({seed for seed, _ in self.false})


def reclaim_audit(papers: Mapping[str, Paper], checks: Sequence[str] = ()) -> Sequence[Finding]:
    """The findings of `reclaim audit`."""
    from reclaim.inference.audit import audit

    return audit(papers, checks).findings


def finders(case: Case, kind: Kind, auditor: Auditor) -> set[str]:
    """The checks that find a case's error."""
    found = {_key(f) for f in _about(case, kind, auditor, case.draft)}
    if found and case.clean is not None:
        found -= {_key(f) for f in _about(case, kind, auditor, case.clean)}
    return {check for check, _, _ in found}


def _about(case: Case, kind: Kind, auditor: Auditor, draft: tables.Draft) -> Iterator[Finding]:
    for finding in auditor({draft.id: tables.paper(draft)}, tuple(kind.checks)):
        fits = finding.verdict in kind.checks.get(finding.check, ())
        if fits and any(cells <= set(finding.cells) for cells in case.seeded):
            yield finding


def _key(finding: Finding) -> tuple[str, str, frozenset[str]]:
    return finding.check, finding.verdict, frozenset(finding.cells)


def score(name: str, seeds: Sequence[int], auditor: Auditor) -> Score:
    """An auditor on the seeded papers of one kind."""
    total = Score()
    for seed in seeds:
        case = errors.case(name, seed)
        by = finders(case, errors.KINDS[name], auditor)
        total.papers += 1
        total.detectable += case.detectable
        total.found += bool(by)
        total.found_detectable += bool(by) and case.detectable
        total.by.update(by)
        if case.detectable and not by:
            total.missed.append(seed)
    return total


def alarms(seeds: Sequence[int], auditor: Auditor) -> Alarms:
    """An auditor on true papers."""
    total = Alarms()
    for seed in seeds:
        drafts = tables.true_papers(seed)
        found = auditor({draft.id: tables.paper(draft) for draft in drafts}, ())
        total.papers += 1
        total.verdicts.update({(finding.check, finding.verdict) for finding in found})
        wrong = [finding for finding in found if finding.verdict == "contradiction"]
        total.false += [(seed, finding) for finding in wrong]
    return total


# --- as markdown ---------------------------------------------------------------------------------


def share(part: int, whole: int) -> str:
    """A share in percent with its 95 % Wilson interval."""
    if not whole:
        return "–"
    low, high = proportion_confint(part, whole, method="wilson")
    return f"{100 * part / whole:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def row(name: str, total: Score) -> str:
    """A kind's line."""
    rest = total.papers - total.detectable
    beyond = f"{total.found - total.found_detectable} of {rest}"
    by = ", ".join(f"{check} {times}" for check, times in total.by.most_common()) or "–"
    cells = [name, total.papers, share(total.found, total.papers), total.detectable,
             share(total.found_detectable, total.detectable), beyond, by]  # fmt: skip
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


HEAD = """| seeded error | papers | found of all, % | detectable | found of these, % \
| found of the others | by check |
|---|---:|---:|---:|---:|---:|---|"""


def alarm_table(total: Alarms) -> str:
    """How many true papers got each verdict that is an alarm."""
    lines = ["| true papers with a verdict | check | papers | % |", "|---|---|---:|---:|"]
    for verdict in ("contradiction", "implausible", "unsupported"):
        for check in sorted({check for check, word in total.verdicts if word == verdict}):
            papers = total.verdicts[check, verdict]
            lines.append(f"| {verdict} | {check} | {papers} | {share(papers, total.papers)} |")
    line = f"| contradiction | any | {len(total.seeds)} | {share(len(total.seeds), total.papers)} |"
    return "\n".join([*lines, line])


def keep(folder: Path, kind: str, seed: int) -> None:
    """Write a paper that was judged wrongly, for `reclaim audit --claims`."""
    drafts = tables.true_papers(seed) if kind == "true" else [errors.case(kind, seed).draft]
    for draft in drafts:
        tables.write(draft, folder / kind.replace(" ", "_") / str(seed))


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulations.scored_auditor")
    parser.add_argument("--tables", type=int, default=1000, metavar="N", help="papers per kind")
    parser.add_argument("--true", type=int, default=2000, metavar="N", help="true papers")
    parser.add_argument("--kind", nargs="*", default=list(errors.KINDS), choices=errors.KINDS)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write papers judged wrongly here")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None, auditor: Auditor = reclaim_audit) -> int:
    """Print the tables; 1 if a true paper got a contradiction."""
    chosen = options(arguments)
    wrong: list[tuple[str, int]] = []
    print(HEAD, flush=True)
    for name in chosen.kind:
        total = score(name, range(chosen.tables), auditor)
        print(row(name, total), flush=True)
        wrong += [(name, seed) for seed in total.missed]
    on_true = alarms(range(chosen.true), auditor)
    wrong += [("true", seed) for seed in on_true.seeds]
    print(f"\n{alarm_table(on_true)}")
    for seed, finding in on_true.false:
        print(f"\nfalse alarm, seed {seed}: {finding.check} {list(finding.cells)}", finding.message)
    for kind, seed in wrong if chosen.keep else ():
        keep(chosen.keep, kind, seed)
    return 1 if on_true.false else 0


if __name__ == "__main__":
    sys.exit(main())
