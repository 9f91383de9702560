"""Whatever a claims folder holds: a correct answer, or one line with file and line, status 2."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reclaim.inference.audit import audit
from reclaim.records import Audit, ReclaimError
from reclaim.registry.claims import load_papers
from tests.inference.audit.test_audit import FILES, write

QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def audited(folder: Path, **files: str) -> Audit | str:
    """The findings, or the one line that says why there are none."""
    changed = {name.replace("__", "/").replace("_dot_", "."): text for name, text in files.items()}
    write(folder, FILES | changed)
    try:
        return audit(load_papers(folder))
    except ReclaimError as error:
        line = str(error)
        assert "\n" not in line
        assert "made_up" in line
        return line


CSV, YAML, SAID = "tables__main_dot_csv", "tables__main_dot_yaml", "statements_dot_yaml"


@pytest.mark.parametrize(
    ("file", "text", "fault"),
    [
        (CSV, 'row,top1\n"theirs,80.50\nours,82.37\n', "main.csv:"),
        (CSV, "row,top1\ntheirs,80.50,1\nours,82.37\n", "main.csv:2: 3 fields; expected 2"),
        (CSV, "", "main.csv:1: empty"),
        (CSV, "row,top1\ntheirs,NaN\nours,82.37\n", "main.csv:2: top1: 'NaN' is not a printed"),
        (CSV, "row,top1\ntheirs,inf\nours,82.37\n", "main.csv:2"),
        (CSV, "row,top1\ntheirs,=1+1\nours,82.37\n", "main.csv:2: top1: '=1+1'"),
        (CSV, "row,top1\ntheirs,@SUM(A1)\nours,82.37\n", "main.csv:2"),
        (CSV, "row,top1\ntheirs,8e1\nours,82.37\n", "main.csv:2"),
        (CSV, "row,top1\ntheirs,٨٠.٥٠\nours,82.37\n", "main.csv:2"),
        (CSV, "row,top1\ntheirs,1e999999\nours,82.37\n", "main.csv:2"),
        (YAML, "title: [", "main.yaml:"),
        (YAML, "title: &a [*a]", "main.yaml:1: an anchor"),
        (YAML, "- 1\n- 2\n", "main.yaml:1"),
        (SAID, FILES["statements.yaml"].replace("main[top1,ours]", "main[top1,nobody]"),
         "statements.yaml:7: statements.gain.difference.minuend"),
        (SAID, FILES["statements.yaml"].replace("[top1,ours]", ""), "statements.yaml:7"),
        (SAID, FILES["statements.yaml"].replace('"1.87"', '"a lot"'), "statements.yaml:9"),
        (SAID, FILES["statements.yaml"].replace('"1.87"', ".nan"), "statements.yaml:9"),
        (SAID, FILES["statements.yaml"].replace("difference", "divination"), "statements.yaml:"),
    ],
)  # fmt: skip
def test_a_fault_is_one_line_with_file_and_line(
    tmp_path: Path, file: str, text: str, fault: str
) -> None:
    line = audited(tmp_path, **{file: text})
    assert isinstance(line, str), line
    assert fault in line or fault.replace(".difference", "") in line, line


def test_per_cents_above_a_hundred_are_a_finding(tmp_path: Path) -> None:
    made = audited(tmp_path, **{CSV: "row,top1\ntheirs,180.50\nours,999999999999.999999999999\n"})
    assert isinstance(made, Audit)
    grave = {one.check for one in made.findings if one.verdict == "contradiction"}
    assert "bounds" in grave


def test_negative_and_tiny_numbers_are_no_accident(tmp_path: Path) -> None:
    made = audited(tmp_path, **{CSV: "row,top1\ntheirs,-0.000000000001\nours,.5\n"})
    assert isinstance(made, Audit)


def test_a_hundred_megabytes_are_refused_before_they_are_read(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    with (tmp_path / "made_up/tables/main.csv").open("wb") as file:
        file.truncate(100 << 20)
    with pytest.raises(ReclaimError, match=r"main.csv:1: 104857600 bytes; expected at most"):
        load_papers(tmp_path)


def big(rows: int, columns: int) -> dict[str, str]:
    """A table of so many cells, and its description."""
    names = [f"top{j}" for j in range(1, columns + 1)]
    lines = (
        f"r{i}," + ",".join(f"{(i * 37 + j * 101) % 10001 / 100:.2f}" for j in range(columns))
        for i in range(rows)
    )
    about = "title: Big\nlocator: Table 1\nkind: results\ndataset: small\nevaluation: linear\n"
    about += "columns:\n" + "".join(f"  {n}: {{metric: {n}, unit: percent}}\n" for n in names)
    about += "rows:\n" + "".join(f"  r{i}: {{label: r, recipe: ours}}\n" for i in range(rows))
    return {
        CSV: f"row,{','.join(names)}\n" + "\n".join(lines) + "\n",
        YAML: about,
        SAID: "statements: {}\n",
    }


def test_many_cells_are_audited(tmp_path: Path) -> None:
    made = audited(tmp_path, **big(50, 50))
    assert isinstance(made, Audit)
    assert any(one.check == "granularity" for one in made.findings)


def test_a_million_cells_are_refused(tmp_path: Path) -> None:
    """By the size of their description or by their number, before any arithmetic."""
    line = audited(tmp_path / "long", **big(100_000, 10))
    assert isinstance(line, str)
    assert "bytes; expected at most" in line
    line = audited(tmp_path / "square", **big(1000, 1000))
    assert isinstance(line, str)
    assert "main.csv:102: too many cells; expected at most 100,000 in a table" in line


# --- fuzzing -------------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
DIGITS = st.from_regex(r"-?([0-9]{1,12}(\.[0-9]{1,12})?|\.[0-9]{1,12})", fullmatch=True)
CELL = st.one_of(DIGITS, TEXT, st.sampled_from(["-", "", "75", "100", "0", "100.00", "=1", "NaN"]))


@QUICK
@given(cells=st.lists(CELL, min_size=2, max_size=2), printed=DIGITS)
def test_any_cells_are_answered_or_refused(cells: list[str], printed: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        said = FILES["statements.yaml"].replace("1.87", printed)
        rows = f"row,top1\ntheirs,{cells[0]}\nours,{cells[1]}\n"
        made = audited(Path(folder), **{CSV: rows, SAID: said})
    assert isinstance(made, str) or made.findings


@QUICK
@given(file=st.sampled_from([CSV, YAML, SAID, "paper_dot_yaml"]), data=st.data())
def test_any_damage_to_a_file_is_answered_or_refused(file: str, data: Any) -> None:
    name = file.replace("__", "/").replace("_dot_", ".")
    text = FILES[name]
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 30)))
    with tempfile.TemporaryDirectory() as folder:
        made = audited(Path(folder), **{file: text[:start] + data.draw(TEXT) + text[end:]})
    assert isinstance(made, (str, Audit))


@QUICK
@given(
    values=st.lists(DIGITS, min_size=3, max_size=8),
    unit=st.sampled_from(["points", "relative_percent", "percent"]),
    quantifier=st.sampled_from(["all", "almost_all", "most", "some", "none"]),
    runs=st.sampled_from(["", ", runs: 3"]),
)
def test_any_numbers_and_statements_are_answered(
    values: list[str], unit: str, quantifier: str, runs: str
) -> None:
    names = [f"r{i}" for i in range(len(values))]
    rows = "".join(f"  {n}: {{label: x, recipe: ours{runs}}}\n" for n in names)
    said = f"""
statements:
  d: {{kind: difference, text: x, locator: x, minuend: "main[top1,r0]", subtrahend: "main[top1,r1]",
      printed: "{values[2]}", unit: {unit}, word: gain}}
  v: {{kind: value, text: x, locator: x, cell: "main[top1,r0]", printed: "{values[1]}"}}
  s: {{kind: sum, text: x, locator: x, terms: ["main[*,*]"], printed: "{values[1]}"}}
  o: {{kind: order, text: x, locator: x, greater: ["main[top1,r0]"], lesser: ["main[*,*]"],
      quantifier: {quantifier}}}
  b: {{kind: superlative, text: x, locator: x, best: ["main[*,r1]"], among: ["main[*,*]"]}}
"""
    with tempfile.TemporaryDirectory() as folder:
        head = FILES["tables/main.yaml"].split("rows:")[0]
        lines = "".join(f"{n},{v}\n" for n, v in zip(names, values, strict=True))
        csv = "row,top1\n" + lines
        made = audited(Path(folder), **{CSV: csv, YAML: f"{head}rows:\n{rows}", SAID: said})
    assert isinstance(made, Audit), made
    assert {"arithmetic", "order"} <= {one.check for one in made.findings}
