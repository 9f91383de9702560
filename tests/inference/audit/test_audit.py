"""The verb `reclaim audit` and its function: findings, JSON, exit codes, start."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from reclaim import cli
from reclaim.inference.audit import CHECKS, audit
from reclaim.inference.audit.findings import MEANING, WORDS, Basis, finding, gravest_first, plain
from reclaim.records import Audit, ReclaimError, read
from tests.inference.audit.papers import paper, table

ROOT = Path(__file__).parents[3]
BASIS = Basis("all is well", "a look")
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


AS_IT_IS = "Not written to results/audit.json, which has all checks on all papers."


def test_a_whole_audit_of_the_project_s_claims_is_written(
    claims: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("workflow").mkdir()
    claims.rename("workflow/claims")
    for words in ([], ["--claims", "workflow/claims"], ["--json"]):
        assert run(monkeypatch, *words) == 0
        made = read(Path("results/audit.json"), Audit, "run it")
        assert (made.papers, made.checks) == (("made_up",), CHECKS)
        assert "arithmetic" in {one.check for one in made.findings}
        assert AS_IT_IS not in capsys.readouterr().out
        Path("results/audit.json").unlink()


@pytest.mark.parametrize(
    "words",
    [["made_up"], ["--check", "order", "arithmetic"], ["--claims", "workflow/claims/made_up"]],
)
def test_a_part_of_it_is_printed_and_takes_nothing_from_the_file(
    claims: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
) -> None:
    Path("workflow").mkdir()
    claims.rename("workflow/claims")
    assert run(monkeypatch, *words) == 0
    assert not Path("results").exists()
    assert run(monkeypatch) == 0
    whole = Path("results/audit.json").read_bytes()
    capsys.readouterr()
    assert run(monkeypatch, *words) == 0
    assert Path("results/audit.json").read_bytes() == whole
    out = capsys.readouterr().out
    assert AS_IT_IS in out
    assert "contradiction" in out
    if "--check" in words:
        assert "1 findings from print alone: 1 contradiction" in out


def test_the_terminal_says_what_a_grave_finding_rests_on(
    claims: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "answers:\n  slip: {about: [gain], date: May, text: In points., source: mail}\n"
    (claims / "made_up" / "answers.yaml").write_text(said)
    assert run(monkeypatch, "--claims", str(claims)) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "assumes: the cells and the number are rounded values of the same results" in out
    assert "resolved by: the unrounded results, or which cells and which kind of number" in out
    assert "the author: In points. (mail, May)" in out
    assert out.count("assumes: ") == 2  # arithmetic's and granularity's: grave findings alone


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
    Path("workflow").mkdir()
    claims.rename("workflow/claims")
    run(monkeypatch)
    first = Path("results/audit.json").read_bytes()
    run(monkeypatch)
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
        finding(name, "order", [], verdict, "…", BASIS)
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
    made = finding("p", "c", ["x", "y", "x"], "consistent", "…", BASIS, n=3)
    assert made.cells == ("x", "y")
    assert made.evidence == {"n": 3, "assumption": "all is well", "resolve": "a look"}


def test_every_finding_says_what_it_rests_on(claims: Path) -> None:
    from reclaim.registry.claims import load_papers

    for found in (audit(load_papers(ROOT / "workflow/claims")), audit(load_papers(claims))):
        assert found.findings
        for one in found.findings:
            for field in ("assumption", "resolve"):
                assert len(one.evidence[field].split()) > 2, one
            assert isinstance(one.evidence["answers"], list)


def test_an_author_s_answer_stands_in_every_finding_that_it_is_about() -> None:
    from reclaim.registry.claims import load_papers
    from reclaim.registry.claims.files import Answer

    papers = load_papers()
    for name, own in papers.items():
        about = [*own.statements]
        for table_ in own.tables.values():
            about += [f"{table_.id}[{c},{r}]" for c, r in product(table_.columns, table_.rows)]
        said = Answer.model_construct(about=about, date="May", text="Yes.", source="mail")
        papers[name] = own.model_copy(update={"answers": {"all": said}})
    for one in audit(papers).findings:
        of_all = bool(one.cells or one.evidence.get("statement"))
        assert one.evidence["answers"] == (["Yes. (mail, May)"] if of_all else []), one


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
    names += ("protocol.yaml", "answers.yaml")
    write(tmp_path, dict(zip(names, blocks, strict=True)))
    found = audit(load_papers(tmp_path)).findings
    (wrong,) = (one for one in found if one.verdict == "contradiction")
    assert (wrong.check, wrong.evidence["statement"]) == ("arithmetic", "gain")
    assert wrong.evidence["reading"] == "two digits of the text swapped"
    assert "73.94 − 71.20 is 2.74 points" in wrong.message
    (answer,) = wrong.evidence["answers"]
    assert answer.startswith("The number in the text is from an older run.")
    (held,) = (one for one in found if one.evidence.get("relations"))
    assert held.evidence["relations"] == ["test_images"]
