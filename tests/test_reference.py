"""What is committed under results/reference follows, file by file, from what lies beside it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from reclaim.inference.measurements import expected_of, gather
from reclaim.inference.verdicts import judge_scale, plan_of
from reclaim.records import EvaluationManifest, RunManifest, Verdicts, content_hash, stamps_hold
from reclaim.records import read as read_record
from reclaim.registry.bundle import check
from reclaim.registry.jobs import read_plan

REFERENCE = Path("results/reference")
SCALES = ("digits", "fashion")


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
    assert {run.id for run in read_plan(scale).runs} <= runs


@pytest.mark.parametrize("scale", SCALES)
def test_an_evaluation_is_of_the_run_beside_it_and_its_files_are_whole(scale: str) -> None:
    for folder, manifest in evaluations(scale):
        path = REFERENCE / scale / "runs" / manifest.recipe / manifest.run / "run.json"
        assert manifest.run_manifest == content_hash(read_record(path, RunManifest, ""))
        assert stamps_hold(folder, manifest.files)


@pytest.mark.parametrize("scale", SCALES)
def test_its_bundle_is_whole(scale: str) -> None:
    bundle, faults = check(REFERENCE / scale)
    assert bundle.scale == scale
    assert faults == []


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
    for kind in ("runs", "evaluations"):
        shutil.copytree(REFERENCE / scale / kind, tmp_path / scale / kind)
    table = gather(scale, tmp_path, expected_of(plan_of(scale)))
    assert table.read_bytes() == (REFERENCE / scale / "measurements.csv").read_bytes()
    ours, theirs = (
        read_record(path, Verdicts, "").verdicts
        for path in (judge_scale(scale, tmp_path), REFERENCE / scale / "verdicts.json")
    )
    for word in ("claim", "verdict", "transfer", "direction", "seeds", "control", "runs"):
        assert [getattr(v, word) for v in ours] == [getattr(v, word) for v in theirs]
    for number in ("mean", "sd", "difference"):  # their last bits are the processor's
        found, kept = (
            np.array([getattr(v, number) for v in made], dtype=float) for made in (ours, theirs)
        )
        np.testing.assert_allclose(found, kept, rtol=1e-9, atol=1e-9)
    assert {verdict.verdict.split(":")[0] for verdict in ours} == {"untestable"}
