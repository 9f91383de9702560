"""The few numbers and curves that `dvc metrics` and `dvc plots` show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from reclaim.inference import summary
from reclaim.inference.measurements import read
from reclaim.records import Plan, ReclaimError, Run, RunManifest, Verdict, Verdicts, stamp, write
from reclaim.records import read as read_record
from reclaim.registry import jobs
from tests.registry import made_results
from tests.registry.made_results import PLAN, RUNS, SCALE


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return made_results.write_results(tmp_path)


def verdict(claim: str, word: str, transfer: str | None = None) -> Verdict:
    return Verdict.model_validate(
        {"claim": claim, "paper": "p", "kind": "value", "text": "", "verdict": word}
        | {"transfer": transfer}
    )


def retrained(results: Path, run: Run, curve: str) -> None:
    """The run with another curve."""
    folder = jobs.run_folder(results, run.recipe, run.id)
    (folder / "curve.csv").write_text(curve)
    made = read_record(folder / "run.json", RunManifest, "")
    files = made.files | {"curve.csv": stamp(folder / "curve.csv")}
    write(folder / "run.json", made.model_copy(update={"files": files}))


def written(results: Path, plan: Plan, said: tuple[Verdict, ...]) -> Any:
    """What summary.json says."""
    verdicts = Verdicts(scale=SCALE, measurements="", verdicts=said)
    measured = read(results / "measurements.csv")
    return json.loads(summary.write_summary(results, plan, verdicts, measured).read_bytes())


def test_claims_are_counted_and_top1_is_averaged_over_seeds(results: Path) -> None:
    said = (
        verdict("a", "untestable: transfer scale", "holds"),
        verdict("b", "untestable: not run: apart"),
        verdict("c", "untestable: no protocol: unknown"),
        verdict("d", "reproduced"),
    )
    made = written(results, PLAN, said)
    assert made["claims"] == {"holds": 1, "reproduced": 1, "untestable": 2}
    assert made["knn"] == {"hcl": 90.0, "simclr": 75.0}  # 9, 7 and 8 of ten images
    assert made["recipes"] == [{"recipe": "hcl", "knn": 90.0}, {"recipe": "simclr", "knn": 75.0}]


def test_a_recipe_on_two_data_sets_has_two_numbers(results: Path) -> None:
    measured = read(results / "measurements.csv")
    other = measured.assign(dataset="fashion_mnist", value=measured["value"] / 2)
    made = summary.summary([], pd.concat([measured, other]))
    assert made["knn"]["hcl on digits"] == 90.0
    assert made["knn"]["hcl on fashion_mnist"] == 45.0


def test_the_runs_of_sweeps_stay_out(results: Path) -> None:
    swept = RUNS[1].model_copy(update={"variant": "beta=2"})
    plan = PLAN.model_copy(update={"runs": (RUNS[0], swept, RUNS[2])})
    made = written(results, plan, ())
    assert made["knn"] == {"hcl": 90.0, "simclr": 70.0}
    retrained(results, RUNS[1], "epoch,loss,lr\n0,2.5,0.1\n")
    means = pd.read_csv(summary.write_curves(plan, results.parent, {run.id for run in RUNS}))
    assert means.loc[means["recipe"] == "simclr", "loss"].tolist() == [1.5, 1.25]


def test_curves_are_means_over_the_given_runs(results: Path) -> None:
    retrained(results, RUNS[1], "epoch,loss,lr\n0,2.5,0.1\n1,2.25,0.1\n")
    both, one = {run.id for run in RUNS}, {RUNS[0].id}
    means = pd.read_csv(summary.write_curves(PLAN, results.parent, both))
    assert means.to_dict("list") == {
        "recipe": ["hcl", "hcl", "simclr", "simclr"],
        "epoch": [0, 1, 0, 1],
        "loss": [1.5, 1.25, 2.0, 1.75],
    }
    means = pd.read_csv(summary.write_curves(PLAN, results.parent, one))
    assert means["loss"].tolist() == [1.5, 1.25]
    assert pd.read_csv(summary.write_curves(PLAN, results.parent, [])).empty


def test_a_curve_that_no_run_left_is_refused(results: Path) -> None:
    path = jobs.run_folder(results, "simclr", RUNS[1].id) / "curve.csv"
    path.write_text("epoch,loss,lr\n0,0.5,0.1\n")
    with pytest.raises(ReclaimError, match=r"curve\.csv: changed since run\.json was written"):
        summary.write_curves(PLAN, results.parent, {RUNS[1].id})
