"""Two bundles of one plan, run by run: the same, within the drift that was measured, or not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from reclaim import cli
from reclaim.records import (
    EvaluationManifest,
    ReclaimError,
    Run,
    RunManifest,
    StandIn,
    read,
    write,
)
from reclaim.registry import bundle, compare, jobs
from tests.registry import made_results
from tests.registry.made_results import RUNS, SCALE

FIRST, SECOND, THIRD = (f"{run.recipe}/{run.id}" for run in RUNS)
SAME, WITHIN, DIFFERENT, MISSING, NOT_COMPARED = compare.WORDS


def bundle_anew(results: Path) -> None:
    made_results.gather(results)
    write(results / bundle.BUNDLE, bundle.make(SCALE, results))


def write_drift(text: str) -> None:
    compare.DRIFT.parent.mkdir(exist_ok=True)
    compare.DRIFT.write_text(f"command: made up\nfinal:\n  tiny: {text}\n")


def words(pair: tuple[Path, Path]) -> dict[str, str]:
    return {found.run: found.word for found in compare.compare(*pair)}


def test_a_copy_is_the_same(pair: tuple[Path, Path]) -> None:
    assert words(pair) == {FIRST: SAME, SECOND: SAME, THIRD: SAME}


def test_other_weights_with_the_same_metrics_are_within_any_budget(
    pair: tuple[Path, Path],
) -> None:
    made_results.finish(RUNS[1], pair[0], b"other weights")
    made_results.measure(RUNS[1], pair[0], right=8)
    bundle_anew(pair[0])
    assert words(pair) == {FIRST: SAME, SECOND: WITHIN, THIRD: SAME}


def test_runs_on_other_images_are_different_within_any_budget(pair: tuple[Path, Path]) -> None:
    write_drift("{knn: {top1: 0.2}, geometry: {alignment: 0.2}}")
    for n, run in enumerate(RUNS):
        path = jobs.run_folder(pair[0], run.recipe, run.id) / "run.json"
        made = read(path, RunManifest, "")
        write(path, made.model_copy(update={"data": "others"}))
        made_results.measure(run, pair[0], right=8 + n)
    bundle_anew(pair[0])
    assert words(pair) == {FIRST: DIFFERENT, SECOND: DIFFERENT, THIRD: DIFFERENT}
    assert {found.why for found in compare.compare(*pair)} == {"learned from other images"}


@pytest.mark.parametrize(
    ("drift", "word"),
    [
        (None, DIFFERENT),
        ("{knn: {top1: 0.1}}", DIFFERENT),
        ("{knn: {top1: 0.1}, geometry: {alignment: 0.1}}", WITHIN),
        ("{knn: {top1: 0.099}, geometry: {alignment: 0.1}}", DIFFERENT),
    ],
)
def test_the_budget_decides_between_other_metrics(
    pair: tuple[Path, Path], drift: str | None, word: str
) -> None:
    made_results.measure(RUNS[1], pair[0], right=9)
    bundle_anew(pair[0])
    if drift:
        write_drift(drift)
    assert words(pair) == {FIRST: SAME, SECOND: word, THIRD: SAME}
    assert words((pair[1], pair[0])) == {FIRST: SAME, SECOND: word, THIRD: SAME}


def test_under_another_reading_a_protocol_drifts_as_its_kind_does(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RUNS[1].config
    reading = {"evaluate.geometry.x=1": StandIn(config=config, protocols=("geometry-1",))}
    plan = made_results.PLAN.model_copy(update={"readings": {config: reading}})
    monkeypatch.setattr(made_results, "PLAN", plan)
    write(jobs.plan_path(SCALE), plan)
    for run in RUNS[:2]:
        made_results.measure(run, pair[0], right=8, plan=plan)
    shutil.rmtree(pair[1])
    bundle_anew(pair[0])
    shutil.copytree(*pair)
    made_results.measure(RUNS[1], pair[0], right=9, plan=plan)
    bundle_anew(pair[0])
    write_drift("{knn: {top1: 0.1}, geometry: {alignment: 0.1}}")
    assert words(pair) == {FIRST: SAME, SECOND: WITHIN, THIRD: SAME}


def test_the_worst_metric_is_named(pair: tuple[Path, Path]) -> None:
    made_results.measure(RUNS[1], pair[0], right=9)
    bundle_anew(pair[0])
    write_drift("{knn: {top1: 0.01}, geometry: {alignment: 0.2}}")
    found = {one.run: one.why for one in compare.compare(*pair)}
    assert found[SECOND] == "knn top1 0.9 and 0.8, 0.1 apart; drift makes 0.01"
    shown = CliRunner().invoke(cli.app, ["compare", *map(str, pair)])
    assert shown.exit_code == 1
    assert f"{DIFFERENT}  {SECOND}: knn top1 0.9 and 0.8" in shown.output
    assert "2 same, 0 same within the drift budget, 1 different, 0 missing" in shown.output
    write_drift("{knn: {top1: 0.1}, geometry: {alignment: 0.2}}")
    shown = CliRunner().invoke(cli.app, ["compare", *map(str, pair)])
    assert shown.exit_code == 0


def without(results: Path, *runs: Run) -> None:
    """Take runs and their evaluations away, and bundle what is left."""
    for run in runs:
        shutil.rmtree(jobs.run_folder(results, run.recipe, run.id))
        shutil.rmtree(results / "evaluations" / run.recipe / run.id)
    bundle_anew(results)


def say(pair: tuple[Path, Path]) -> tuple[int, list[str]]:
    """The exit status of the verb, and its lines."""
    shown = CliRunner().invoke(cli.app, ["compare", *map(str, pair)])
    return shown.exit_code, shown.output.splitlines()


def test_a_planned_run_in_one_of_them_alone_is_missing(pair: tuple[Path, Path]) -> None:
    without(pair[0], RUNS[2])
    assert words(pair) == {FIRST: SAME, SECOND: SAME, THIRD: MISSING}
    status, (*_, last, counts) = say(pair)
    assert status == 1
    assert last == f"missing  {THIRD}: only in the second, and the plan asks for it"
    assert counts.endswith("0 different, 1 missing, 0 not compared")
    status, (*_, last, counts) = say((pair[1], pair[0]))
    assert status == 1
    assert last == f"missing  {THIRD}: only in the first, and the plan asks for it"


def test_sweeps_and_added_seeds_in_one_of_them_alone_are_counted_in_a_line(
    pair: tuple[Path, Path],
) -> None:
    """As where results were made without sweeps, and the reference has all of them."""
    write(jobs.plan_path(SCALE), made_results.PLAN.model_copy(update={"runs": RUNS[:1]}))
    without(pair[0], *RUNS[1:])
    status, said = say((pair[1], pair[0]))
    assert status == 0
    why = "only in the first, as sweeps, added seeds or other plans are"
    assert said == [
        f"same  {FIRST}: bit for bit",
        f"not compared  {THIRD} and 1 more: {why}",
        "1 same, 0 same within the drift budget, 0 different, 0 missing, 2 not compared",
    ]
    made_results.measure(RUNS[0], pair[0], right=9)
    bundle_anew(pair[0])
    assert say(pair)[0] == 1, "what both have still counts"


def test_what_has_no_run_in_common_cannot_be_compared(pair: tuple[Path, Path]) -> None:
    shutil.rmtree(pair[1])
    without(pair[0], RUNS[2])
    shutil.copytree(*pair)
    made_results.write_results(Path())
    without(pair[0], *RUNS[:2])
    with pytest.raises(ReclaimError, match="no run is in both"):
        compare.compare(*pair)


def test_predictions_are_compared_by_what_they_say(pair: tuple[Path, Path]) -> None:
    """Another version of the parquet library writes other bytes."""
    path = jobs.evaluation_folder(pair[0], "hcl", RUNS[2].id, "knn") / "predictions.parquet"
    table = pd.read_parquet(path)
    for changed, word in ((table, SAME), (table.assign(top1=1), WITHIN)):
        changed.to_parquet(path, index=False, compression="gzip")
        manifest = path.parent / "metrics.json"
        made = read(manifest, EvaluationManifest, "")
        files = {path.name: bundle.stamp(path)}
        write(manifest, made.model_copy(update={"files": files}))
        bundle_anew(pair[0])
        assert words(pair)[THIRD] == word


def test_a_certificate_on_one_side_is_no_difference(pair: tuple[Path, Path]) -> None:
    """As where a change of code was certified, and the other side was made by the new code."""
    for kind in ("knn", "geometry"):
        folder = jobs.evaluation_folder(pair[0], "hcl", RUNS[2].id, kind)
        certificate, manifest = folder / "certificate-0.json", folder / "metrics.json"
        certificate.write_text("{}")
        made = read(manifest, EvaluationManifest, "")
        files = {**made.files, certificate.name: bundle.stamp(certificate)}
        write(manifest, made.model_copy(update={"files": files}))
    bundle_anew(pair[0])
    assert words(pair) == {FIRST: SAME, SECOND: SAME, THIRD: SAME}


def test_what_cannot_be_compared(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ReclaimError, match=r"bundle\.json: not found"):
        compare.compare(pair[0], tmp_path)
    write_drift("{knn: much}")
    with pytest.raises(ReclaimError, match=r"drift\.yaml: tiny\.knn"):
        compare.compare(*pair)
    compare.DRIFT.write_text("command: made up\n")
    with pytest.raises(ReclaimError, match=r"drift\.yaml: final is missing"):
        compare.compare(*pair)
    (pair[1] / "measurements.csv").write_text("gone")
    with pytest.raises(ReclaimError, match=r"measurements\.csv: 4 bytes long .* names all 1 fault"):
        compare.compare(*pair)
