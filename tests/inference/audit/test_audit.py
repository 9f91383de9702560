"""The verb `reclaim audit` and its function: findings, JSON, exit codes, start."""

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from reclaim import cli
from reclaim.inference.audit import CHECKS, audit
from reclaim.inference.audit.findings import MEANING, WORDS, finding, gravest_first, plain
from reclaim.records import Audit, ReclaimError, read
from tests.inference.audit.papers import paper, table

ROOT = Path(__file__).parents[3]
FILES = {
    "paper.yaml": """
title: A made-up paper
authors: Nobody
year: 2024
methods: {ours: Our method, theirs: Their method}
datasets: {small: {title: 200 images, classes: 10, test_images: 200}}
""",
    "tables/main.csv": "row,top1\ntheirs,80.50\nours,82.37\n",
    "tables/main.yaml": """
title: Main results
locator: Table 1
kind: results
dataset: small
evaluation: linear
columns: {top1: {metric: top1, unit: percent}}
rows:
  theirs: {label: Theirs, recipe: theirs}
  ours: {label: Ours, recipe: ours}
""",
    "statements.yaml": """
statements:
  gain:
    kind: difference
    text: Ours is better by 2.32 %, relative.
    locator: Section 4
    minuend: main[top1,ours]
    subtrahend: main[top1,theirs]
    printed: "1.87"
    unit: relative_percent
""",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / "made_up" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "made_up" / name).write_text(text)
    return folder


@pytest.fixture
def claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return write(tmp_path / "claims", FILES)


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["reclaim", "audit", *words])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return int(exit_.value.code or 0)


def test_json_is_a_list_of_findings(
    claims: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--claims", str(claims), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert all(
        list(one) == ["paper", "check", "cells", "verdict", "message", "evidence"] for one in found
    )
    assert {one["paper"] for one in found} == {"made_up"}
    assert {one["verdict"] for one in found} <= set(WORDS)
    by_check = {one["check"]: one for one in found if one["verdict"] == "contradiction"}
    (size,) = (one for one in found if one["verdict"] == "implausible")
    assert (size["check"], size["cells"]) == ("granularity", ["main[top1,ours]"])
    assert by_check["arithmetic"]["evidence"]["reading"].startswith("points")
    assert by_check["arithmetic"]["evidence"]["statement"] == "gain"


def test_a_run_leaves_an_artifact_that_says_what_was_asked(
    claims: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("made_up", "--claims", str(claims), "--check", "order", "arithmetic")
    assert run(monkeypatch, *args) == 0
    made = read(Path("results/audit.json"), Audit, "run it")
    assert made.papers == ("made_up",)
    assert made.checks == ("order", "arithmetic")
    assert {one.check for one in made.findings} == {"arithmetic"}
    out = capsys.readouterr().out
    assert "contradiction" in out
    assert "1 findings from print alone: 1 contradiction" in out


def test_exit_status_one_only_where_asked_and_found(
    claims: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--claims", str(claims))
    assert run(monkeypatch, *where, "--fail-on", "contradiction") == 1
    assert run(monkeypatch, *where, "--fail-on", "contradiction", "--check", "cross_table") == 0
    assert run(monkeypatch, *where, "--fail-on", "implausible", "--check", "arithmetic") == 0
    assert run(monkeypatch, *where) == 0


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--check", "nonsense"], "unknown check 'nonsense'; expected one of granularity"),
        (["--fail-on", "bad"], "unknown verdict 'bad'; expected one of contradiction"),
        (["nobody"], "unknown paper 'nobody'; expected one of made_up"),
    ],
)
def test_a_wrong_word_is_one_line_and_status_two(
    claims: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    fault: str,
) -> None:
    assert run(monkeypatch, "--claims", str(claims), *words) == 2
    err = capsys.readouterr().err
    assert fault in err
    assert err.count("\n") == 1
    assert not Path("results").exists()


def test_one_paper_s_own_folder_will_do(
    claims: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--claims", str(claims / "made_up"), "--json") == 0
    assert json.loads(capsys.readouterr().out)


def test_the_same_audit_is_written_byte_for_byte(
    claims: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, "--claims", str(claims))
    first = Path("results/audit.json").read_bytes()
    run(monkeypatch, "--claims", str(claims))
    assert Path("results/audit.json").read_bytes() == first


def test_the_audit_needs_neither_torch_nor_pandas_nor_sklearn() -> None:
    code = """
import sys
from reclaim.inference.audit import audit
from reclaim.registry.claims import load_papers
audit(load_papers())
print(sorted({"torch", "torchvision", "pandas", "sklearn", "statsmodels"} & sys.modules.keys()))
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert answer.stdout.strip() == "[]"


# --- the function and the findings ---------------------------------------------------------------


def test_an_unknown_check_is_refused() -> None:
    with pytest.raises(ReclaimError, match="unknown check 'x'; expected one of granularity"):
        audit({}, ["x"])


def test_findings_stand_by_paper_the_gravest_first() -> None:
    made = [
        finding(name, "order", [], verdict, "…")
        for name in ("b", "a")
        for verdict in reversed(WORDS)
    ]
    found = gravest_first(made)
    assert [one.paper for one in found] == ["b"] * 5 + ["a"] * 5
    assert [one.verdict for one in found] == [*WORDS, *WORDS]
    assert set(MEANING) == set(WORDS)


def test_papers_come_in_the_order_given() -> None:
    made = table("t", {"a": {"cifar10.top1": "50.00"}})
    papers = {name: paper(made, name=name) for name in ("z", "a")}
    found = audit(papers, ["granularity"]).findings
    assert list(dict.fromkeys(one.paper for one in found)) == ["z", "a"]
    assert audit(papers).checks == CHECKS


@pytest.mark.arithmetic
def test_evidence_keeps_exact_numbers_beside_json_numbers() -> None:
    from fractions import Fraction as F

    assert plain({"a": F(1, 3)}) == {"a": 1 / 3, "a_exact": "1/3"}
    assert plain({"a": F(6, 3)}) == {"a": 2, "a_exact": "2"}
    assert plain({"a": [F(1, 2), F(1, 4)]}) == {"a": [0.5, 0.25], "a_exact": ["1/2", "1/4"]}
    assert plain({"a": [F(1, 2), 3]}) == {"a": [0.5, 3]}
    assert plain({"a": {"b": F(1, 2)}}) == {"a": {"b": 0.5, "b_exact": "1/2"}}
    assert plain({"a": [{"b": F(1, 2)}]}) == {"a": [{"b": 0.5, "b_exact": "1/2"}]}
    assert plain({"a": "text", "b": None, "c": []}) == {"a": "text", "b": None, "c": []}
    assert finding("p", "c", ["x", "y", "x"], "consistent", "…", n=3).cells == ("x", "y")


def test_evidence_is_json(claims: Path) -> None:
    from reclaim.registry.claims import load_papers

    for one in audit(load_papers(claims)).findings:
        again: Any = json.loads(json.dumps(one.evidence, allow_nan=False))
        assert again == one.evidence


def test_the_guide_s_paper_gives_what_the_guide_says(tmp_path: Path) -> None:
    from reclaim.registry.claims import load_papers

    text = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    guide = text.split("## Audit a paper of your own")[1].split("\n## ")[0]
    blocks = [dedent(block.split("\n", 1)[1]) for block in guide.split("```")[1::2]]
    names = ("paper.yaml", "tables/table1.csv", "tables/table1.yaml", "statements.yaml")
    write(tmp_path, dict(zip(names, blocks, strict=True)))
    found = audit(load_papers(tmp_path)).findings
    (wrong,) = (one for one in found if one.verdict == "contradiction")
    assert (wrong.check, wrong.evidence["statement"]) == ("arithmetic", "gain")
    assert wrong.evidence["reading"] == "two digits of the text swapped"
    assert "73.94 − 71.20 is 2.74 points" in wrong.message
