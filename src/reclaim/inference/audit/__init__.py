"""The audit: what a paper's own printed numbers prove, before anything is trained.

It reads claims alone, never a measurement. Arithmetic on printed numbers is exact: printed strings
become fractions, rounding becomes intervals, and there is no epsilon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import cast

from reclaim.inference.audit.cases import Case as Case
from reclaim.inference.audit.findings import gravest_first
from reclaim.records import Audit, Finding, ReclaimError
from reclaim.registry.claims import Paper

CHECKS = (
    "granularity",
    "arithmetic",
    "cross_table",
    "order",
    "bounds",
    "gap",
    "selection",
    "protocol",
)

Check = Callable[[Sequence[Case]], Iterator[Finding]]


def audit(papers: Mapping[str, Paper], checks: Sequence[str] = ()) -> Audit:
    """All findings of some checks (default: all) on some papers, the gravest of each paper first.

    Raises ReclaimError for a check that does not exist.
    """
    names = tuple(checks) or CHECKS
    if unknown := [name for name in names if name not in CHECKS]:
        raise ReclaimError(f"unknown check {unknown[0]!r}; expected one of {', '.join(CHECKS)}")
    cases = [Case(paper) for paper in papers.values()]
    found = [finding for name in names for finding in _check(name)(cases)]
    order = {name: i for i, name in enumerate(papers)}
    found.sort(key=lambda finding: order.get(finding.paper, len(order)))
    return Audit(papers=tuple(papers), checks=names, findings=tuple(gravest_first(found)))


def _check(name: str) -> Check:
    """A check's function, imported when it is asked for: some bring scipy."""
    return cast(Check, import_module(f"reclaim.inference.audit.{name}").check)
