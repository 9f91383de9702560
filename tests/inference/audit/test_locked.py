"""The findings on the three papers, as they are committed."""

from collections import Counter
from pathlib import Path

import pytest
from pytest_regressions.file_regression import FileRegressionFixture

from reclaim.inference.audit import audit
from reclaim.records import Audit, read, render
from reclaim.registry.claims import load_papers

REFERENCE = Path("results/reference/audit.json")


@pytest.mark.regression
def test_the_committed_audit_is_what_the_claims_give(
    file_regression: FileRegressionFixture,
) -> None:
    made = audit(load_papers())
    file_regression.check(render(made), fullpath=REFERENCE.resolve(), encoding="utf-8")


def test_what_is_known_of_the_three_papers_is_found() -> None:
    """The list that was read by hand, in docs/audit.md, rests on these."""
    found = read(REFERENCE, Audit, "make it with `make lock`").findings
    grave = {
        (one.paper, one.check, one.evidence.get("statement"))
        for one in found
        if one.verdict == "contradiction"
    }
    assert ("liu2024", "arithmetic", "s344_c10_tuned_simclr_top5_first") in grave
    assert ("dong2024", "order", "s43_debias_helps") in grave
    (odds,) = (
        one for one in found if one.check == "cross_table" and one.verdict == "contradiction"
    )
    assert odds.evidence["sets"] == [["table1[top5,simclr_ft]", "table3[top5,f_f]"]]
    (sizes,) = (one for one in found if one.verdict == "implausible" and one.check == "granularity")
    assert (sizes.paper, sizes.evidence["denominators"]) == ("liu2024", [192])
    assert sizes.evidence["named"] == ["2 x batch (96)"]
    for one in found:
        if one.paper != "liu2024":
            assert not one.evidence.get("denominators")


def test_the_list_that_was_read_by_hand_is_of_these_findings() -> None:
    found = read(REFERENCE, Audit, "make it with `make lock`").findings
    lines = Path("docs/audit_findings.md").read_text(encoding="utf-8").splitlines()
    rows = [[part.strip() for part in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    commented = (row for row in rows if row[4])
    listed = Counter((paper, check, verdict) for paper, check, _, verdict, _ in commented)
    made = Counter((one.paper, one.check, one.verdict) for one in found)
    assert listed - Counter({("paper", "check", "verdict"): 1, ("---", "---", "---"): 1}) == made
