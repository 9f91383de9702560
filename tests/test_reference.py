"""What is committed under results/reference follows, file by file, from what lies beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from reclaim.inference.measurements import expected_of, gather, read
from reclaim.inference.verdicts import judge, plan_of
from reclaim.records import EvaluationManifest, RunManifest, content_hash, render, stamps_hold
from reclaim.records import read as read_record
from reclaim.registry.claims import load_papers
from reclaim.registry.jobs import read_plan

REFERENCE = Path("results/reference")
SCALES = ("digits", "fashion")
# Recipes whose seeds are not all there yet.
INCOMPLETE = {
    "fashion": {
        "moco_v1", "moco_v2", "mochi", "moco_sscl_synthesis", "moco_sscl_sampling", "moco_sscl",
        "byol", "simclr_dino", "simclr_enlarge", "simclr_dino_enlarge", "psm_released", "psm_soft",
    }
}  # fmt: skip


def evaluations(scale: str) -> list[tuple[Path, EvaluationManifest]]:
    paths = sorted((REFERENCE / scale / "evaluations").glob("*/*/*/metrics.json"))
    return [(path.parent, read_record(path, EvaluationManifest, "")) for path in paths]


@pytest.mark.parametrize("scale", SCALES)
def test_what_is_there_is_planned_and_measured_in_every_way(scale: str) -> None:
    plan = read_plan(scale, sweeps=True)
    runs = {path.parent.name for path in (REFERENCE / scale / "runs").glob("*/*/run.json")}
    assert runs <= {run.id for run in plan.runs}
    found = {(manifest.run, manifest.protocol) for _, manifest in evaluations(scale)}
    assert found == {(run, kind) for run, kind in expected_of(plan) if run in runs}
    missing = {run.recipe for run in read_plan(scale).runs if run.id not in runs}
    assert not missing - INCOMPLETE.get(scale, set())


@pytest.mark.parametrize("scale", SCALES)
def test_an_evaluation_is_of_the_run_beside_it_and_its_files_are_whole(scale: str) -> None:
    for folder, manifest in evaluations(scale):
        path = REFERENCE / scale / "runs" / manifest.recipe / manifest.run / "run.json"
        assert manifest.run_manifest == content_hash(read_record(path, RunManifest, ""))
        assert stamps_hold(folder, manifest.files)


@pytest.mark.parametrize("scale", SCALES)
def test_accuracies_follow_from_the_per_image_predictions(scale: str) -> None:
    for folder, manifest in evaluations(scale):
        if manifest.protocol == "geometry":
            continue
        table = pd.read_parquet(folder / "predictions.parquet")
        assert ((table["rank"] == 1) == (table["top1"] == table["label"])).all()
        for k in (1, 5):
            assert manifest.metrics[f"top{k}"] == (table["rank"] <= k).mean()


@pytest.mark.parametrize("scale", SCALES)
def test_measurements_and_verdicts_are_what_the_verbs_make_of_them(
    scale: str, tmp_path: Path
) -> None:
    shutil.copytree(REFERENCE / scale / "evaluations", tmp_path / scale / "evaluations")
    made = gather(scale, tmp_path, expected_of(plan_of(scale)))
    assert made.read_bytes() == (REFERENCE / scale / "measurements.csv").read_bytes()
    verdicts = judge(scale, load_papers(), plan_of(scale), read(made))
    assert render(verdicts) == (REFERENCE / scale / "verdicts.json").read_text(encoding="utf-8")
    assert {verdict.verdict.split(":")[0] for verdict in verdicts.verdicts} == {"untestable"}
