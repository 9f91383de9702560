"""The claims of papers: what is read, what is refused and how, and what dong2024 says.

`test_claims_papers` has what all papers must fit, and the other papers.
"""

import json
import re
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reclaim.records import ReclaimError
from reclaim.registry.claims import (
    Paper,
    Trend,
    decimals,
    exact,
    half_width,
    load_papers,
    schemas,
    split,
    write_schemas,
)

ROOT = Path(__file__).parents[2]
CLAIMS = ROOT / "workflow" / "claims"
RECIPES = {"simclr", "hcl", "sscl"}
DATASETS = {"cifar10", "cifar100"}

PAPER = """\
title: A paper
authors: Somebody
year: 2024
"""
TABLE = """\
title: Results
locator: Table 1
kind: results
evaluation: linear
baseline: simclr
columns:
  top1: {dataset: cifar10, metric: top1, unit: percent}
  top5: {dataset: cifar10, metric: top5, unit: percent}
rows:
  simclr: {label: SimCLR, recipe: simclr, role: baseline}
  hcl: {label: HCL, recipe: hcl, role: baseline}
  ours: {label: Ours, recipe: sscl, role: ours}
margin:
  rule: half_smallest_interpreted_gap
  cells:
    - ["table1[top1,ours]", "table1[top1,hcl]"]
"""
CELLS = """\
row,top1,top5
simclr,82.35,99.32
hcl,85.91,99.53
ours,86.20,99.37
"""
STATEMENTS = """\
statements:
  gap:
    kind: difference
    text: Ours lies above HCL.
    locator: Section 4
    minuend: table1[top1,ours]
    subtrahend: table1[top1,hcl]
    printed: "0.29"
    unit: points
  best:
    kind: superlative
    text: Ours is best nearly everywhere.
    locator: Section 4
    best: ["table1[*,ours]"]
    among: ["table1[*,*]"]
    quantifier: almost_all
"""
PROTOCOL = """\
values:
  - path: batch
    value: 256
    source: printed
    locator: Table 2
  - path: knobs.prior
    value: 0.1
    source: printed
    locator: Table 2
    when: {recipes: [sscl, hcl], datasets: [cifar10]}
  - path: optimiser.weight_decay
    value: 0.0001
    source: released-code
    locator: config.conf
    readings:
      - {value: 0.001, source: released-code, locator: main.py}
"""
DIVERGENCES = """\
divergences:
  queue:
    what: The queue
    where: Text and code
    paths: [twin.queue]
    readings:
      - {value: 16385, source: printed, locator: Section 4}
      - {value: 16384, source: released-code, locator: config.conf}
    default: 16384
    why: A batch of 256 does not divide it.
"""
ANSWERS = """\
answers:
  first:
    about: [gap, "table1[top1,ours]"]
    date: "2024-05-01"
    text: It is as printed.
    source: A letter
"""
FILES = {
    "paper.yaml": PAPER,
    "tables/table1.yaml": TABLE,
    "tables/table1.csv": CELLS,
    "statements.yaml": STATEMENTS,
    "protocol.yaml": PROTOCOL,
    "divergences.yaml": DIVERGENCES,
    "answers.yaml": ANSWERS,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a small paper in which everything is right."""
    for name, text in FILES.items():
        path = tmp_path / "claims" / "paper" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "claims" / "paper"


def load(folder: Path) -> Paper:
    return load_papers(folder.parent, recipes=RECIPES, datasets=DATASETS)["paper"]


def refused(folder: Path) -> str:
    with pytest.raises(ReclaimError) as caught:
        load(folder)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 1000
    return message.removeprefix(f"{folder}/")


@pytest.fixture(scope="module")
def dong() -> Paper:
    return load_papers(CLAIMS, ["dong2024"])["dong2024"]


# --- what is refused: file, what is changed, the line, words of the message ----------------------

FAULTS = [
    # unknown keys
    ("paper.yaml", "year: 2024", "year: 2024\nyears: 2", 4, "unknown key 'years'; expected one of"),
    ("tables/table1.yaml", "role: ours", "rôle: ours", 12, "unknown key 'rôle'; expected one of"),
    ("tables/table1.yaml", "  rule:", "  rules:", 14, "unknown key 'rules'; expected one of rule"),
    ("statements.yaml", "    unit: points", "    units: points", 9, "unknown key 'units'"),
    ("protocol.yaml", "    source: printed\n", "    from: printed\n", 4, "unknown key 'from'"),
    ("protocol.yaml", "recipes: [sscl", "recipe: [sscl", 10, "unknown key 'recipe'; expected one"),
    ("divergences.yaml", "    why:", "    because:", 10, "unknown key 'because'; expected one of"),
    ("answers.yaml", "    date:", "    when:", 4, "unknown key 'when'; expected one of about"),
    # missing keys
    ("paper.yaml", "title: A paper\n", "", 1, "expected the key 'title'"),
    ("statements.yaml", "    locator: Section 4\n    m", "    m", 2, "expected the key 'locator'"),
    ("statements.yaml", "    kind: difference\n", "", 2, "gap: expected the key 'kind'"),
    # numbers that are no printed decimals
    ("tables/table1.csv", "85.91", "85,91", 3, "4 fields; expected 3"),
    ("tables/table1.csv", "85.91", "8O.91", 3, "top1: '8O.91' is not a printed decimal; expected"),
    ("tables/table1.csv", "85.91", "", 3, "top1: '' is not a printed decimal; expected digits"),
    ("tables/table1.csv", "85.91", "nan", 3, "top1: 'nan' is not a printed decimal"),
    ("tables/table1.csv", "85.91", "inf", 3, "is not a printed decimal"),
    ("tables/table1.csv", "85.91", "8.591e1", 3, "is not a printed decimal"),
    ("tables/table1.csv", "85.91", "85.91%", 3, "is not a printed decimal"),
    ("tables/table1.csv", "85.91", " 85.91", 3, "is not a printed decimal"),
    ("tables/table1.csv", "85.91", "85.", 3, "is not a printed decimal"),
    ("tables/table1.csv", "85.91", "٨٥", 3, "is not a printed decimal"),
    ("tables/table1.csv", "85.91", "9" * 50, 3, "is not a printed decimal"),
    ("tables/table1.csv", "99.53", "=A1+B2", 3, "top5: '=A1+B2' is not a printed decimal"),
    ("tables/table1.csv", "99.53", "+cmd|' /C'!A0", 3, "is not a printed decimal"),
    ("statements.yaml", '"0.29"', "0.29", 8, "0.29 is not a printed decimal; expected digits"),
    ("statements.yaml", '"0.29"', '"0.29 points"', 8, "statements.gap.printed"),
    # names
    ("tables/table1.yaml", "recipe: sscl", "recipe: scsl", 12, "unknown recipe 'scsl'; expected"),
    ("tables/table1.yaml", "dataset: cifar10, metric: top5", "dataset: cifar, metric: top5", 8,
     "unknown dataset 'cifar'; expected one of cifar10, cifar100"),
    ("protocol.yaml", "[sscl, hcl]", "[sscl, hdl]", 10, "unknown recipe 'hdl'; expected one of"),
    ("protocol.yaml", "[cifar10]", "[cifar11]", 10, "unknown dataset 'cifar11'"),
    ("protocol.yaml", "path: batch", "path: batsh", 2, "unknown path 'batsh'; expected"),
    ("protocol.yaml", "path: batch", "path: optimiser", 2, "unknown path 'optimiser'"),
    ("protocol.yaml", "path: batch", "path: evaluate.linear.rate", 2, "unknown path"),
    ("protocol.yaml", "path: batch", "path: recipe", 2, "unknown path 'recipe'"),
    ("protocol.yaml", "path: batch", "path: queue", 2, "unknown path 'queue'; expected one of"),
    ("protocol.yaml", "path: batch", "path: twin", 2, "unknown path 'twin'"),
    ("protocol.yaml", "path: batch", "path: twin.size", 2, "unknown path 'twin.size'"),
    ("protocol.yaml", "path: batch", "path: batch.size", 2, "unknown path 'batch.size'"),
    (
        "protocol.yaml",
        "locator: main.py}",
        "locator: main.py, also: {optimiser.wd: 1}}",
        16,
        "unknown path 'optimiser.wd'",
    ),
    (
        "protocol.yaml",
        "locator: main.py}",
        "locator: main.py, also: {batch: many}}",
        16,
        "batch: expected",
    ),
    ("divergences.yaml", "paths: [twin.queue]", "paths: [queue]", 5, "unknown path 'queue'"),
    ("protocol.yaml", "source: released-code\n", "source: rumour\n", 13, "expected: Input should"),
    ("statements.yaml", "kind: difference", "kind: different", 2, "unknown kind; expected one of"),
    ("statements.yaml", "  gap:", "  Gap 1:", 2, "'Gap 1' is no name; expected lower-case letters"),
    ("tables/table1.yaml", "baseline: simclr", "baseline: byol", 5, "'byol' is no row; expected"),
    # values out of range
    ("protocol.yaml", "value: 256", "value: 1", 3, "batch: expected: Input should be"),
    ("protocol.yaml", "value: 0.0001", "value: -1", 12, "optimiser.weight_decay: expected: Input"),
    ("protocol.yaml", "{value: 0.001,", "{value: soon,", 16, "optimiser.weight_decay: exp"),
    ("protocol.yaml", "path: batch\n    value: 256", "path: twin.momentum\n    value: 2", 3,
     "twin.momentum: expected: Input should be less than or equal to 1"),
    ("protocol.yaml", "path: batch\n    value: 256", "path: twin.queue\n    value: 0", 3,
     "twin.queue: expected: Input should be greater than 0"),
    ("protocol.yaml", "path: batch\n    value: 256", "path: evaluate.fine_tune.lr\n    value: 0", 3,
     "evaluate.fine_tune.lr: expected: Input should be greater than 0"),
    ("divergences.yaml", "default: 16384", "default: 16386", 9,
     "16386 is no reading; expected one of 16385, 16384"),
    ("protocol.yaml", "value: 256", "value: .nan", 3, "'.nan'; expected a finite number"),
    ("protocol.yaml", "value: 256", "value: 1e999", 3, "'1e999'; expected a finite number"),
    # duplicates
    ("statements.yaml", "  best:", "  gap:", 10, "duplicate 'gap'; expected each name once"),
    ("paper.yaml", "year: 2024", "year: 2024\nyear: 2024", 4, "duplicate 'year'; expected each"),
    ("tables/table1.csv", "ours,", "hcl,", 4, "duplicate row 'hcl'; expected each row once"),
    ("tables/table1.csv", "top5", "top1", 1, "duplicate column 'top1'; expected each column"),
    ("protocol.yaml", "path: optimiser.weight_decay",
     "when: {recipes: [hcl], datasets: [cifar10]}\n    path: knobs.prior", 12,
     "protocol.yaml:12: values.2.path: duplicate of line 6; expected one value where both hold"),
    # cells that are not there
    ("statements.yaml", "minuend: table1[top1,ours]", "minuend: table1[top2,ours]", 6,
     "'table1[top2,ours]' points at no cell; expected table[column,row]"),
    ("statements.yaml", "minuend: table1[top1,ours]", "minuend: table9[top1,ours]", 6, "no cell"),
    ("statements.yaml", "minuend: table1[top1,ours]", "minuend: top1 of ours", 6, "no cell"),
    ("statements.yaml", "minuend: table1[top1,ours]", "minuend: table1[*,ours]", 6, "no cell"),
    ("statements.yaml", '["table1[*,ours]"]', '["table1[*,our]"]', 14, "points at no cell"),
    ("statements.yaml", '["table1[*,ours]"]', "[]", 14, "expected"),
    ("statements.yaml", '["table1[*,*]"]', '["table1[top1,*]"]', 10,
     "table1[top5,ours] points at no cell to compare with"),
    ("tables/table1.yaml", "table1[top1,hcl]", "table1[top1,dcl]", 16, "points at no cell"),
    ("answers.yaml", "[gap,", "[gab,", 3, "'gab' is no statement and no cell; expected"),
    # tables whose two files differ
    ("tables/table1.csv", "ours,", "our,", 4, "'our' is not among the rows of table1.yaml"),
    ("tables/table1.csv", "top5", "top6", 1, "'top6' is not among the columns of table1.yaml"),
    ("tables/table1.csv", "row,", "name,", 1, "expected a header that begins with 'row'"),
    ("tables/table1.csv", CELLS, "", 1, "empty; expected a header and at least one row"),
    ("tables/table1.csv", "99.53\n", '"99.53\n', 4, "not CSV"),
    ("tables/table1.yaml", ", recipe: sscl", "", 12, "rows.ours: expected a recipe"),
    ("tables/table1.yaml", "metric: top5, ", "", 8, "columns.top5: expected a metric"),
    ("tables/table1.yaml", "evaluation: linear\n", "", 9, "expected an evaluation"),
    ("tables/table1.yaml", "{dataset: cifar10, metric: top1", "{metric: top1", 10, "a dataset"),
    # YAML that is broken or more than plain values
    ("paper.yaml", "title: A paper", "title: [A paper", 2, "not YAML"),
    ("paper.yaml", "title: A paper", "title: A\tpaper: B", 1, "not YAML"),
    ("paper.yaml", "year: 2024", "year: !!python/object/apply:os.getcwd []", 3, "expected a plain"),
    ("paper.yaml", "year: 2024", "year: !!int 2024", 3, "the tag 'tag:yaml.org,2002:int'"),
    ("paper.yaml", "title: A paper", "title: &a A paper", 1, "an anchor or alias; expected"),
    ("paper.yaml", "year: 2024", "year: *a", 3, "an anchor or alias; expected the value"),
    ("paper.yaml", "year: 2024", "year: 2024\n<<: {note: x}", 4, "unknown key '<<'"),
    ("paper.yaml", "year: 2024", "year: 2024\n? [a]\n: b", 4, "expected a name"),
    ("paper.yaml", "year: 2024", "year: " + "[" * 3000, 3, "nested too deeply; expected at most"),
    ("paper.yaml", "year: 2024", "year: 2024\n---\na: b", 4, "not YAML"),
    ("paper.yaml", "year: 2024", "year: 2024\nnote: \x07", 4, "not YAML"),
    ("paper.yaml", "year: 2024", "year: 2024-05-01", 3, "year: given '2024-05-01'; expected"),
    ("paper.yaml", PAPER, "", 1, "expected"),
    ("paper.yaml", PAPER, "- a\n- b\n", 1, "expected"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "line", "words"), FAULTS)
def test_a_fault_is_one_line_with_file_and_line(
    folder: Path, name: str, old: str, new: str, line: int, words: str
) -> None:
    path = folder / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    message = refused(folder)
    assert message.startswith(f"{name}:{line}: ")
    assert words in message


def test_every_part_of_the_small_paper_is_read(folder: Path) -> None:
    paper = load(folder)
    assert [claim.id for claim in paper.claims] == [
        "paper:table1[top1,simclr]", "paper:table1[top5,simclr]", "paper:table1[top1,hcl]",
        "paper:table1[top5,hcl]", "paper:table1[top1,ours]", "paper:table1[top5,ours]",
        "paper:gap", "paper:best",
    ]  # fmt: skip
    assert paper.statements["best"].pairs == (
        ("table1[top1,ours]", "table1[top1,simclr]"),
        ("table1[top1,ours]", "table1[top1,hcl]"),
        ("table1[top5,ours]", "table1[top5,simclr]"),
        ("table1[top5,ours]", "table1[top5,hcl]"),
    )
    assert paper.answers["first"].about == ("gap", "table1[top1,ours]")
    assert paper.divergences["queue"].readings[0].value == 16385


def test_a_paper_needs_only_its_name_and_a_table(folder: Path) -> None:
    for name in ("statements", "protocol", "divergences", "answers"):
        (folder / f"{name}.yaml").unlink()
    assert len(list(load(folder).claims)) == 6
    assert load_papers(folder, recipes=RECIPES, datasets=DATASETS)["paper"] == load(folder)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("statement.yaml", "unknown file; expected one of answers.yaml"),
        ("tables/table2.csv", "no such file"),
        ("tables/table2.yaml", "no such file"),
        ("tables/table1.txt", "unknown file; expected one of table1.csv, table1.yaml"),
        ("tables/Table 2.csv", "'Table 2' is no name; expected lower-case letters"),
    ],
)
def test_a_stray_file_is_refused(folder: Path, name: str, words: str) -> None:
    text = {".csv": CELLS, ".yaml": TABLE}.get(Path(name).suffix, "") if "table2" in name else ""
    (folder / name).write_text(text)
    assert words in refused(folder)


def test_a_row_of_which_nothing_is_printed_is_refused(folder: Path) -> None:
    (folder / "tables" / "table1.csv").write_text(CELLS.replace("ours,86.20,99.37\n", ""))
    expected = "tables/table1.yaml:12: rows.ours: not among the rows of table1.csv; expected one of"
    assert refused(folder).startswith(expected)


def test_missing_files_and_papers_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ReclaimError, match="unknown paper 'other'; expected one of paper"):
        load_papers(folder.parent, ["other"], recipes=RECIPES, datasets=DATASETS)
    with pytest.raises(ReclaimError, match="no papers there"):
        load_papers(tmp_path / "nowhere", recipes=RECIPES, datasets=DATASETS)
    (folder / "paper.yaml").unlink()
    assert refused(folder).startswith("paper.yaml:1: no such file")


def test_text_that_is_not_utf8_is_refused_with_its_line(folder: Path) -> None:
    (folder / "paper.yaml").write_bytes(b"title: A\nauthors: M\xfcller\nyear: 2024\n")
    assert refused(folder).startswith("paper.yaml:2: not UTF-8")


def test_a_byte_order_mark_and_windows_line_ends_are_read(folder: Path) -> None:
    expected = load(folder)
    for name, text in FILES.items():
        data = text.replace("\n", "\r\n").encode("utf-8-sig")
        (folder / name).write_bytes(data)
    assert load(folder) == expected


@pytest.mark.parametrize(
    ("name", "size"), [("statements.yaml", 1 << 20), ("tables/table1.csv", 1 << 25)]
)
def test_a_huge_file_is_refused_unread(folder: Path, name: str, size: int) -> None:
    with (folder / name).open("wb") as file:
        file.truncate(size + 1)
    assert refused(folder) == f"{name}:1: {size + 1} bytes; expected at most {size}"


def test_a_statement_over_too_many_cells_is_refused(folder: Path) -> None:
    rows = [f"r{i}" for i in range(400)]
    label = "{label: A row, recipe: sscl}"
    about = TABLE[: TABLE.index("rows:")].replace("baseline: simclr\n", "")
    about += "rows:\n" + "".join(f"  {row}: {label}\n" for row in rows)
    (folder / "tables" / "table2.yaml").write_text(about)
    cells = "row,top1,top5\n" + "".join(f"{row},1.0,2.0\n" for row in rows)
    (folder / "tables" / "table2.csv").write_text(cells)
    text = STATEMENTS.replace("table1[*,ours]", "table2[*,*]").replace("table1[*,*]", "table2[*,*]")
    (folder / "statements.yaml").write_text(text)
    assert "compares too much; expected at most 100000 pairs" in refused(folder)


SLOW = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NAMES = st.sampled_from(sorted(FILES))


def survives(folder: Path, name: str, data: bytes) -> None:
    """Either it is read or it is refused in one line that names the file."""
    old = (folder / name).read_bytes()
    (folder / name).write_bytes(data)
    try:
        load(folder)
    except ReclaimError as error:
        message = str(error).removeprefix(f"{folder}/")
        assert re.match(r"[a-z0-9/]+\.(yaml|csv):\d+: \S", message) and "\n" not in message
    finally:
        (folder / name).write_bytes(old)


@SLOW
@given(name=NAMES, data=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(folder: Path, name: str, data: bytes) -> None:
    survives(folder, name, data)


@SLOW
@given(
    name=NAMES,
    at=st.floats(0, 1),
    cut=st.integers(0, 12),
    text=st.text(st.sampled_from("aA0.,:-[]{}\"'#&*!|>%@`=+\n\t \x00é"), max_size=8),
)
def test_any_edit_is_read_or_refused(
    folder: Path, name: str, at: float, cut: int, text: str
) -> None:
    old = FILES[name]
    start = int(at * len(old))
    survives(folder, name, (old[:start] + text + old[start + cut :]).encode())


# --- what is read --------------------------------------------------------------------------------


def test_a_printed_number_is_read_exactly() -> None:
    assert exact("59.9") == Fraction(599, 10) != Fraction(59.9)
    assert exact("75") == exact("75.00")
    assert (decimals("75"), decimals("75.00"), decimals("-.5")) == (0, 2, 1)
    assert half_width("75") == Fraction(1, 2)
    assert half_width("75.00") == Fraction(1, 200)
    with pytest.raises(ReclaimError, match="not a printed decimal"):
        exact("1e3")


@given(st.integers(-(10**9), 10**9), st.integers(0, 9))
def test_rounding_hides_at_most_the_half_width(numerator: int, digits: int) -> None:
    value = Fraction(numerator, 7919)
    printed = f"{Decimal(round(value * 10**digits)).scaleb(-digits):f}"
    assert decimals(printed) == digits
    assert abs(value - exact(printed)) <= half_width(printed)


def test_a_locator_is_split_into_table_column_row() -> None:
    assert split("table3[cifar10.top1,simclr_sscl]") == ("table3", "cifar10.top1", "simclr_sscl")
    for wrong in ("table3", "table3[a]", "table3[a,b", "table3[a,b,c]", "Table 3[a,b]"):
        with pytest.raises(ReclaimError, match="names no cell"):
            split(wrong)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("no", "no"), ("012", 12), ("1:30", "1:30"), ("2024-05-01", "2024-05-01"),
     ("'1'", "1"), ("true", True), ("~", None), ("1_000", "1_000"), ("0x10", "0x10")],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(folder: Path, text: str, value: object) -> None:
    entry = f"values:\n  - {{path: facts.x, value: {text}, source: printed, locator: here}}\n"
    (folder / "protocol.yaml").write_text(entry)
    found = load(folder).protocol[0].value
    assert found == value and type(found) is type(value)


def test_the_most_specific_protocol_value_holds(folder: Path) -> None:
    entry = "  - {{path: epochs, value: {}, source: printed, locator: here, when: {}}}\n"
    conditions = ["{}", "{datasets: [cifar10]}", "{recipes: [hcl]}",
                  "{recipes: [hcl], datasets: [cifar10]}"]  # fmt: skip
    for order in (conditions, conditions[::-1]):
        values = {condition: i for i, condition in enumerate(conditions)}
        text = "".join(entry.format(values[condition], condition) for condition in order)
        (folder / "protocol.yaml").write_text(f"values:\n{text}")
        paper = load(folder)
        found = [
            paper.settings(recipe, dataset)["epochs"]
            for recipe in ("sscl", "hcl")
            for dataset in ("cifar100", "cifar10")
        ]
        assert found == [0, 1, 2, 3]


def test_a_recipe_weighs_more_than_a_data_set(folder: Path) -> None:
    entry = "  - {{path: epochs, value: {}, source: printed, locator: here, when: {}}}\n"
    by_recipe, by_dataset = (
        entry.format(1, "{recipes: [hcl]}"),
        entry.format(2, "{datasets: [cifar10]}"),
    )
    for values in (by_recipe + by_dataset, by_dataset + by_recipe):
        (folder / "protocol.yaml").write_text(f"values:\n{values}")
        assert load(folder).protocol_of("hcl", "cifar10")["epochs"].value == 1


def test_a_cell_without_a_number_is_no_claim(folder: Path) -> None:
    (folder / "tables" / "table1.csv").write_text(CELLS.replace("99.53", "-"))
    paper = load(folder)
    assert "table1[top5,hcl]" not in [claim.cell for claim in paper.cells()]
    assert "table1[top5,hcl]" not in paper.statements["best"].cells
    text = STATEMENTS.replace("subtrahend: table1[top1,hcl]", "subtrahend: table1[top5,hcl]")
    (folder / "statements.yaml").write_text(text)
    assert "'table1[top5,hcl]' points at no cell" in refused(folder)


def test_a_table_may_be_laid_out_by_rows(folder: Path) -> None:
    """One data set for all, a protocol and a baseline per row, a sweep, a printed deviation."""
    (folder / "tables" / "sweep.yaml").write_text("""\
title: A sweep
locator: Table 4
kind: results
dataset: cifar10
evaluation: linear
runs: 3
columns:
  top1: {metric: top1, unit: percent}
  top1.sd: {metric: top1, unit: percent, statistic: sd, of: top1}
rows:
  0.25: {label: "0.25", recipe: sscl, evaluation: fine_tune, knobs: {threshold: 0.25}}
  "0.75": {label: "0.75", recipe: sscl, baseline: "0.25", knobs: {threshold: 0.75}}
  "0.9": {label: "0.9", recipe: sscl, knobs: {threshold: 0.9}}
""")
    (folder / "tables" / "sweep.csv").write_text(
        "row,top1,top1.sd\n0.25,68.23,0.4\n0.75,75,-\n0.9,-,-\n"
    )
    (folder / "statements.yaml").write_text("""\
statements:
  optimum:
    kind: trend
    text: The best threshold is three quarters.
    locator: Section 3.4
    knob: threshold
    shape: peak
    curve: ["sweep[top1,0.25]", "sweep[top1,0.75]"]
    values: ["0.25", "0.75"]
    at: sweep[top1,0.75]
""")
    (folder / "answers.yaml").unlink()
    first, second = (claim for claim in load(folder).cells() if claim.cell.startswith("sweep"))
    assert (first.evaluation, first.sd, first.runs, first.baseline) == ("fine_tune", "0.4", 3, None)
    assert (second.evaluation, second.sd, second.printed) == ("linear", None, "75")
    assert second.baseline == "paper:sweep[top1,0.25]"
    assert first.entity != second.entity
    optimum = load(folder).statements["optimum"]
    assert isinstance(optimum, Trend) and optimum.at == optimum.cells[1]


SWEEP = """\
title: A sweep
locator: Table 4
kind: results
dataset: cifar10
evaluation: linear
columns:
  top1: {metric: top1, unit: percent}
rows:
  "1": {label: "1", recipe: sscl, knobs: {threshold: 1}}
  "2": {label: "2", recipe: sscl, knobs: {threshold: 2, delta: 0.5}}
"""
DEFAULT = """\
values:
  - path: knobs.threshold
    value: 1.0
    source: printed
    locator: Section 3
    when: {recipes: [%s], datasets: [cifar10]}
"""


def test_a_row_of_a_sweep_at_the_protocols_value_is_no_other_run(folder: Path) -> None:
    (folder / "tables" / "sweep.yaml").write_text(SWEEP)
    (folder / "tables" / "sweep.csv").write_text("row,top1\n1,86.20\n2,80\n")

    def knobs_and_entities(recipe: str) -> tuple[list[object], bool]:
        (folder / "protocol.yaml").write_text(DEFAULT % recipe)
        claims = {claim.cell: claim for claim in load(folder).cells()}
        first, second = claims["sweep[top1,1]"], claims["sweep[top1,2]"]
        assert first.entity != second.entity
        same = first.entity == claims["table1[top1,ours]"].entity
        return [first.knobs, second.knobs], same

    assert knobs_and_entities("sscl") == ([{}, {"threshold": 2, "delta": 0.5}], True)
    assert knobs_and_entities("hcl") == (
        [{"threshold": 1}, {"threshold": 2, "delta": 0.5}],
        False,
    )


def test_a_paper_may_declare_what_the_registry_does_not_have(folder: Path) -> None:
    text = TABLE.replace("recipe: hcl", "recipe: newcomer").replace("cifar10", "imagenet")
    (folder / "tables" / "table1.yaml").write_text(text)
    assert "unknown dataset 'imagenet'" in refused(folder)
    (folder / "paper.yaml").write_text(
        PAPER + "methods: {newcomer: Not in the registry}\n"
        "datasets: {imagenet: {title: ImageNet, classes: 1000, test_images: 50000}}\n"
    )
    assert {claim.recipe for claim in load(folder).cells()} == {"simclr", "newcomer", "sscl"}


# --- the schemas ---------------------------------------------------------------------------------


def test_the_committed_schemas_are_fresh(tmp_path: Path) -> None:
    write_schemas(tmp_path)
    committed = {path.name: path.read_text() for path in ROOT.glob("workflow/schemas/claims.*")}
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == committed == schemas()


YAMLS = sorted(path for path in CLAIMS.rglob("*.yaml"))


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.relative_to(CLAIMS).as_posix())
def test_every_file_names_its_schema_and_fits_it(path: Path) -> None:
    text = path.read_text()
    head = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert head, f"{path} does not begin with the comment that names its schema"
    schema = (path.parent / head[1]).resolve()
    kind = "table" if path.parent.name == "tables" else path.stem
    assert schema == ROOT / "workflow" / "schemas" / f"claims.{kind}.schema.json"
    jsonschema.validate(yaml.safe_load(text), json.loads(schema.read_text()))


# --- dong2024 ------------------------------------------------------------------------------------


def test_every_table_is_there(dong: Paper) -> None:
    shapes = {name: (len(table.rows), len(table.columns)) for name, table in dong.tables.items()}
    assert shapes == {
        "table1": (3, 4), "table2": (8, 3), "table3": (7, 6), "table4": (5, 6), "table5": (4, 6)
    }  # fmt: skip
    assert len(list(dong.cells())) == 16 * 6


def test_one_entity_prints_one_number(dong: Paper) -> None:
    """Tables 4 and 5 repeat rows of Table 3: a slip of the pen in one of them shows here."""
    seen: dict[tuple[str, ...], set[str]] = {}
    for claim in dong.cells():
        seen.setdefault(claim.entity, set()).add(claim.printed)
    assert all(len(numbers) == 1 for numbers in seen.values())
    assert len(seen) == 96 - 6 * 4  # simclr, hcl, sscl and moco_v2 are each printed twice
    assert dong.tables["table4"].cells["sampling"] == dong.tables["table3"].cells["hcl"]
    assert dong.tables["table5"].cells["moco_v2"] == dong.tables["table3"].cells["moco_v2"]


def test_printed_accuracies_are_possible(dong: Paper) -> None:
    claims = {claim.cell: claim for claim in dong.cells()}
    for cell, claim in claims.items():
        assert decimals(claim.printed) == 2
        assert 0 < exact(claim.printed) < 100
        if claim.metric == "top1":
            assert exact(claim.printed) < exact(claims[cell.replace("top1", "top5")].printed)


def test_claims_know_their_baseline(dong: Paper) -> None:
    claims = {claim.id: claim for claim in dong.cells()}
    ours = claims["dong2024:table3[cifar10.top1,simclr_sscl]"]
    assert (ours.recipe, ours.dataset, ours.metric, ours.printed) == (
        "sscl",
        "cifar10",
        "top1",
        "86.20",
    )
    assert ours.baseline == "dong2024:table3[cifar10.top1,simclr]"
    assert claims["dong2024:table5[cifar10.top1,sampling]"].baseline == (
        "dong2024:table5[cifar10.top1,moco_v2]"
    )
    assert claims["dong2024:table3[cifar10.top1,simclr]"].baseline is None


def gaps(paper: Paper, statement: str) -> list[Fraction]:
    pairs = paper.statements[statement].pairs
    return [exact(paper.printed(a)) - exact(paper.printed(b)) for a, b in pairs]


def test_what_the_text_says_follows_from_the_tables(dong: Paper) -> None:
    assert gaps(dong, "s42_gap_to_hcl") == [exact(dong.statements["s42_gap_to_hcl"].printed)]
    best = gaps(dong, "s42_best_almost_everywhere")
    assert (len(best), sum(gap <= 0 for gap in best)) == (36, 3)  # DCL, HCL, BYOL: top-5, CIFAR10
    for name in ("s42_hcl_best_existing", "s43_sampling_helps", "s43_synthesis_little",
                 "s43_synthesis_worse_cifar100", "s44_synthesis_helps", "s44_sampling_helps",
                 "s44_no_setback", "s44_sscl_generalises"):  # fmt: skip
        assert min(gaps(dong, name)) > 0, name
    assert [gap > 0 for gap in gaps(dong, "s43_sscl_over_sampling")].count(False) == 1
    assert [gap > 0 for gap in gaps(dong, "s44_sscl_over_parts")].count(False) == 1  # a tie
    assert [gap > 0 for gap in gaps(dong, "s43_debias_helps")].count(False) == 1


def test_figures_are_said_to_be_untestable(dong: Paper) -> None:
    for name, said in dong.statements.items():
        shown = {"s43_more_is_not_better", "s43_falls_beyond_s", "s43_tsne_separation"}
        assert (not said.cells) == (getattr(said, "unprinted", None) is not None) == (name in shown)


@pytest.mark.parametrize(
    ("recipe", "dataset", "expected"),
    [
        ("sscl", "cifar10", {"prior": 0.1, "beta": 1.0, "hardest": 32, "synthetics": 8}),
        ("sscl", "tiny_imagenet", {"prior": 0.05, "beta": 1.0, "hardest": 32, "synthetics": 8}),
        ("sscl_synthesis", "cifar10", {"hardest": 32, "synthetics": 8}),
        ("hcl", "cifar100", {"prior": 0.05, "beta": 1.0}),
        ("dcl", "cifar10", {"prior": 0.1}),
        ("simclr", "cifar10", {}),
        ("moco_sscl", "cifar10", {"prior": 0, "beta": 0.2, "hardest": 1024, "synthetics": 1024}),
        ("moco_sscl_sampling", "cifar10", {"prior": 0, "beta": 0.2}),
        ("moco_sscl_synthesis", "cifar10", {"hardest": 1024, "synthetics": 1024}),
        (
            "mochi",
            "cifar10",
            {"hardest": 1024, "synthetics": 1024, "query_mixes": 128, "start": 10},
        ),
        ("moco_v2", "cifar10", {}),
        ("byol", "cifar10", {}),
    ],
)
def test_each_recipe_has_its_knobs(
    dong: Paper, recipe: str, dataset: str, expected: dict[str, float]
) -> None:
    found = dong.settings(recipe, dataset).items()
    assert {path[6:]: value for path, value in found if path.startswith("knobs.")} == expected


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "tiny_imagenet"])
def test_each_data_set_has_its_views(dong: Paper, dataset: str) -> None:
    settings = dong.settings("sscl", dataset)
    ops = [op["op"] for op in settings["views"]]
    cifar = dataset != "tiny_imagenet"
    assert ("gaussian_blur" in ops) is not cifar
    assert (ops.index("colour_jitter") < ops.index("random_resized_crop")) is cifar
    assert settings["network.stem"] == ("cifar_maxpool" if cifar else "imagenet")
    assert settings.get("dataset.subset") == (None if cifar else 90_000)
    assert settings.get("dataset.held_out") == (None if cifar else True)
    assert settings["evaluate.linear.encoder"] == "lowest_loss"


@pytest.mark.parametrize("recipe", ["moco_v2", "mochi", "moco_sscl", "byol", "sscl"])
def test_each_recipe_has_its_twin(dong: Paper, recipe: str) -> None:
    found = dong.settings(recipe, "cifar10").items()
    twin = {path[5:]: value for path, value in found if path.startswith("twin.")}
    follows = {"momentum": 0.99, "schedule": "constant"}
    queue = {"queue": 16_384, "mask_own": False}
    assert twin == {"byol": follows, "sscl": {}}.get(recipe, follows | queue)
