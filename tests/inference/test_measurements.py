"""Gathering depends on the evaluations alone; reading names the file and the line of a fault."""

import hashlib
from pathlib import Path

import pandas as pd
import pytest

from reclaim.inference.measurements import (
    COLUMNS,
    check_planned,
    digest,
    expected_of,
    gather,
    read,
    render,
)
from reclaim.records import (
    Cost,
    EvaluationManifest,
    KnnProtocol,
    Plan,
    ReclaimError,
    Run,
    write,
)

LINES = [
    ",".join(COLUMNS),
    "1,digits,a-s0,simclr,digits,0,linear,top1,0.9611111111111111,c0de",
    "1,digits,a-s0,simclr,digits,0,linear,top5,0.99,c0de",
    "1,digits,a-s1,simclr,digits,1,geometry,uniformity,-2.5,c0de",
]


def evaluation(
    root: Path,
    recipe: str,
    seed: int,
    protocol: str = "linear",
    scale: str = "digits",
    **more: float,
) -> Path:
    run = f"{recipe}-s{seed}"
    manifest = EvaluationManifest(
        run=run, recipe=recipe, dataset="digits", scale=scale, seed=seed, protocol=protocol,
        job="j", code="c", run_manifest="m", metrics={"top1": 0.1 + 0.2, "top5": 1.0}, files={},
    )  # fmt: skip
    path = root / "digits" / "evaluations" / recipe / run / protocol / "metrics.json"
    write(path, manifest)
    return path


def test_gathering_is_deterministic_sorted_and_exact(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    jobs = [("simclr", 1), ("simclr", 0), ("hcl", 10), ("hcl", 2)]
    for job in jobs:
        evaluation(one, *job)
    for job in reversed(jobs):
        evaluation(two, *job)
    first, second = gather("digits", one), gather("digits", two)
    assert first == one / "digits" / "measurements.csv"
    assert first.read_bytes() == second.read_bytes()
    found = read(first)
    assert list(found["seed"]) == [2, 2, 10, 10, 0, 0, 1, 1]
    assert set(found["value"]) == {0.1 + 0.2, 1.0}
    assert digest(found) == hashlib.sha256(first.read_bytes()).hexdigest()
    assert digest(found.sample(frac=1, random_state=1)) == digest(found)


def test_a_plan_decides_what_belongs(tmp_path: Path) -> None:
    knn = KnnProtocol(neighbours=5, temperature=0.1, test_views=())
    runs = tuple(
        Run(id=f"simclr-s{seed}", recipe="simclr", dataset="digits", seed=seed, config="c",
            protocols=("knn-1234",), cost=Cost(steps=1, images_seen=1))
        for seed in range(2)
    )  # fmt: skip
    plan = Plan(scale="digits", configs={}, protocols={"knn-1234": knn}, runs=runs)
    expected = expected_of(plan)
    assert expected == [("simclr-s0", "knn"), ("simclr-s1", "knn")]
    evaluation(tmp_path, "simclr", 1, "knn")
    evaluation(tmp_path, "simclr", 1, "linear")
    evaluation(tmp_path, "simclr", 7, "knn")
    table = read(gather("digits", tmp_path, expected))
    assert set(zip(table["run"], table["protocol"], strict=True)) == {("simclr-s1", "knn")}


def test_what_cannot_be_gathered_leaves_the_old_table(tmp_path: Path) -> None:
    with pytest.raises(ReclaimError, match="no evaluation of the plan"):
        gather("digits", tmp_path)
    evaluation(tmp_path, "simclr", 0)
    before = gather("digits", tmp_path).read_bytes()
    path = evaluation(tmp_path, "hcl", 0, scale="fashion")
    with pytest.raises(ReclaimError, match=r"hcl-s0/linear/metrics\.json: says it is fashion/hcl"):
        gather("digits", tmp_path)
    path.write_text("{")
    with pytest.raises(ReclaimError, match=r"metrics\.json: not readable as JSON"):
        gather("digits", tmp_path)
    assert (tmp_path / "digits" / "measurements.csv").read_bytes() == before


def test_reading_gives_numbers_back(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("\n".join(LINES) + "\n")
    found = read(path)
    assert list(found["value"]) == [0.9611111111111111, 0.99, -2.5]
    assert list(found["seed"]) == [0, 0, 1]
    assert set(render(found).splitlines()) == set(LINES)


@pytest.mark.parametrize(
    ("line", "old", "new", "message"),
    [
        (2, "1,digits", "2,digits", "line 3: schema version '2', this reclaim reads 1"),
        (1, "c0de", "", "line 2: code is missing"),
        (1, "linear", " ", "line 2: protocol is missing"),
        (2, ",c0de", "", "line 3: code is missing"),
        (2, "0.99", "nan", "line 3: value is not a finite number (given 'nan')"),
        (2, "0.99", "inf", "line 3: value is not a finite number (given 'inf')"),
        (2, "0.99", "high", "line 3: value is not a finite number (given 'high')"),
        (2, "0.99", "99.0", "line 3: an accuracy lies in [0, 1] (given '99.0')"),
        (1, "0.96", "-0.96", "line 2: an accuracy lies in [0, 1]"),
        (3, ",1,geo", ",1.5,geo", "line 4: seed is not a whole number (given '1.5')"),
        (3, ",1,geo", ",-1,geo", "line 4: seed is not a whole number (given '-1')"),
        (2, "top5", "top1", "line 3: a second row for the same run, protocol and metric"),
        (2, ",0,lin", ",3,lin", "line 3: the run has another seed above (given '3')"),
        (2, "simclr", "hcl", "line 3: the run has another recipe above (given 'hcl')"),
        (0, "metric", "measure", "line 1: column metric is missing"),
        (0, "code", "code,colour", "line 1: unknown column colour"),
        (3, "c0de", "c0de,1,2", "not readable as CSV"),
    ],
)
def test_a_fault_is_one_line_with_file_and_row(
    tmp_path: Path, line: int, old: str, new: str, message: str
) -> None:
    lines = list(LINES)
    assert old in lines[line]
    lines[line] = lines[line].replace(old, new, 1)
    path = tmp_path / "measurements.csv"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ReclaimError) as caught:
        read(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert message in text
    assert "reclaim gather" in text
    assert "\n" not in text


def table_of(runs: list[str], metrics: tuple[str, ...] = ("top1", "top5")) -> pd.DataFrame:
    rows = [
        (1, "digits", run, run.split("-")[0], "digits", int(run[-1]), "linear", metric, 0.5, "c0de")
        for run in runs
        for metric in metrics
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def plan_of(*names: str, variant: str = "") -> Plan:
    runs = tuple(
        Run(id=f"{name}-s{seed}", recipe=name.split("-")[0], dataset="digits", seed=seed,
            config=name, variant=variant, protocols=("linear",), cost=Cost(steps=1, images_seen=1))
        for name in names
        for seed in range(3)
    )  # fmt: skip
    return Plan(scale="digits", configs={}, protocols={}, runs=runs)


def test_whole_runs_of_the_plan_are_let_through() -> None:
    path, plan = Path("m.csv"), plan_of("hcl", "simclr")
    check_planned(
        path, table_of([f"{name}-s{i}" for name in ("hcl", "simclr") for i in (0, 1, 2)]), plan
    )
    check_planned(path, table_of(["hcl-s0", "hcl-s1", "simclr-s0"]), plan)  # not finished yet
    check_planned(path, table_of(["hcl-s0", "hcl-s2"]), plan_of("hcl", variant="k=1"))


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (["hcl-s0", "sscl-s0"], "line 4: a measurement without a run in the plan of 'digits' "
                                "(given 'sscl-s0')"),
        (["hcl-s0", "hcl-s2"], "line 4: linear: seed 1 is missing before this seed 2; "
                               "run `reclaim evaluate hcl-s1`"),
        (["simclr-s0", "hcl-s1", "hcl-s2"], "line 4: linear: seed 0 is missing before this seed 1"),
    ],
)  # fmt: skip
def test_what_a_plan_does_not_explain_is_named_by_line(runs: list[str], message: str) -> None:
    with pytest.raises(ReclaimError) as caught:
        check_planned(Path("m.csv"), table_of(runs), plan_of("hcl", "simclr"))
    assert str(caught.value).startswith(f"m.csv: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("row", range(6))
def test_a_row_that_was_taken_out_is_missed(row: int) -> None:
    """Of three seeds with two metrics any row but a whole last seed leaves a gap."""
    whole = table_of(["hcl-s0", "hcl-s1", "hcl-s2"])
    with pytest.raises(ReclaimError, match=r"m\.csv: line \d: linear: top[15] is missing"):
        check_planned(Path("m.csv"), whole.drop(index=row), plan_of("hcl"))


@pytest.mark.parametrize(
    ("column", "value"), [("recipe", "simclr"), ("dataset", "cifar10"), ("seed", 7),
                          ("scale", "fashion")],
)  # fmt: skip
def test_a_row_that_the_plan_has_otherwise_is_refused(column: str, value: str | int) -> None:
    frame = table_of(["hcl-s0", "hcl-s1"])
    frame.loc[2, column] = value
    with pytest.raises(ReclaimError) as caught:
        check_planned(Path("m.csv"), frame, plan_of("hcl"))
    assert str(caught.value).startswith("m.csv: line 4: the plan ")


@pytest.mark.parametrize("content", ["", LINES[0] + "\n", "\n", None, b"\xff\xfe\x00"])
def test_an_empty_or_unreadable_table_is_one_line(
    tmp_path: Path, content: str | bytes | None
) -> None:
    path = tmp_path / "measurements.csv"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ReclaimError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_blank_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "measurements.csv"
    path.write_text("\n".join([*LINES[:2], "", *LINES[2:]]) + "\n")
    with pytest.raises(ReclaimError, match="line 3"):
        read(path)


def test_every_value_survives_writing(tmp_path: Path) -> None:
    values = [1 / 3, 0.1 + 0.2, 1e-17, 1.0]
    rows = [(1, "s", f"r{i}", "a", "d", i, "p", "top1", v, "c") for i, v in enumerate(values)]
    path = tmp_path / "m.csv"
    path.write_text(render(pd.DataFrame(rows, columns=list(COLUMNS))))
    assert list(read(path)["value"]) == values
