"""How a check says what it found: verdict words, and evidence that keeps exact numbers exact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, get_args

from reclaim.records import AuditVerdict, Finding

WORDS: tuple[AuditVerdict, ...] = get_args(AuditVerdict)  # gravest first

MEANING = {
    "contradiction": "cannot be true as printed",
    "implausible": "possible, but with the stated small probability under a stated model",
    "unsupported": "true as arithmetic, but the evidence cannot carry the claim",
    "consistent": "nothing in print speaks against it",
    "untestable": "print cannot tell, and why",
}


@dataclass(frozen=True)
class Basis:
    """What a finding assumes beyond the printed numbers, and what would resolve it."""

    assumption: str
    resolve: str


def finding(
    paper: str,
    check: str,
    cells: Iterable[str],
    verdict: AuditVerdict,
    message: str,
    basis: Basis,
    **evidence: Any,
) -> Finding:
    """A finding whose evidence is ready for JSON (`plain`) and ends with its basis.

    >>> basis = Basis("b", "c")
    >>> finding("a", "gap", ["t[top1,x]"], "consistent", "…", basis, p=Fraction(1, 4)).evidence
    {'p': 0.25, 'p_exact': '1/4', 'assumption': 'b', 'resolve': 'c'}
    """
    return Finding(
        paper=paper,
        check=check,
        cells=tuple(dict.fromkeys(cells)),
        verdict=verdict,
        message=message,
        evidence=plain(evidence) | {"assumption": basis.assumption, "resolve": basis.resolve},
    )


def plain(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """JSON values: a fraction `x` (or a list of them) as a number, and exactly under `x_exact`.

    >>> plain({"gaps": [Fraction(13, 10), Fraction(2)], "n": 192})
    {'gaps': [1.3, 2], 'gaps_exact': ['13/10', '2'], 'n': 192}
    """
    made: dict[str, Any] = {}
    for name, value in evidence.items():
        made[name] = _number(value)
        if (exactly := _exact(value)) is not None:
            made[f"{name}_exact"] = exactly
    return made


def _number(value: Any) -> Any:
    if isinstance(value, Fraction):
        return value.numerator if value.denominator == 1 else float(value)
    if isinstance(value, Mapping):
        return plain(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_number(item) for item in value]
    return value


def _exact(value: Any) -> Any:
    if isinstance(value, Fraction):
        return str(value)
    if isinstance(value, (list, tuple)) and value:
        parts = [_exact(item) for item in value]
        return parts if None not in parts else None
    return None


def gravest_first(findings: Iterable[Finding]) -> list[Finding]:
    """By paper as given, within a paper by the gravity of the verdict; otherwise as given."""
    made = list(findings)
    papers = {name: i for i, name in enumerate(dict.fromkeys(found.paper for found in made))}
    return sorted(made, key=lambda found: (papers[found.paper], WORDS.index(found.verdict)))
