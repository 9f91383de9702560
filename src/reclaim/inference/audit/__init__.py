"""The audit: what a paper's own printed numbers prove, before anything is trained.

It reads claims alone, never a measurement. Arithmetic on printed numbers is exact: printed strings
become fractions, rounding becomes intervals, and there is no epsilon.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import cast

from reclaim.inference.audit.cases import Case as Case
from reclaim.inference.audit.findings import gravest_first
from reclaim.records import Audit, Finding, ReclaimError, render, write_text_if_changed
from reclaim.registry.claims import Paper, load_papers
from reclaim.registry.claims.load import ROOT
from reclaim.registry.jobs import RESULTS

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


def audit_claims(root: Path = ROOT, only: Sequence[str] = (), checks: Sequence[str] = ()) -> Audit:
    """`audit` of a claims folder, or of some of its papers; `results/audit.json` if it is `whole`.

    Raises ReclaimError, one line with file and line, for claims that are not right.
    """
    made = audit(load_papers(root, only), checks)
    if whole(root, only, checks):
        write_text_if_changed(RESULTS / "audit.json", render(made))
    return made


def whole(root: Path, only: Sequence[str], checks: Sequence[str]) -> bool:
    """Whether an audit is that of all checks on all papers of `workflow/claims`: only such a one is
    written, so that a look at one paper or check takes nothing from the file."""
    return not (only or checks) and root.resolve() == ROOT.resolve()


def _check(name: str) -> Check:
    """A check's function, imported when it is asked for: some bring scipy."""
    return cast(Check, import_module(f"reclaim.inference.audit.{name}").check)
