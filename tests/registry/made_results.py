"""Results made up: a plan of three runs, each measured in two ways, with table and verdicts."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from reclaim.inference import measurements
from reclaim.records import (
    Cost,
    DataManifest,
    EvaluationManifest,
    GeometryProtocol,
    KnnProtocol,
    Plan,
    Run,
    RunManifest,
    Verdicts,
    canonical,
    content_hash,
    stamp,
    write,
    write_bytes,
    write_text,
)
from reclaim.registry import jobs
from tests.conftest import tiny_config

SCALE = "tiny"
DATA = DataManifest(name="digits", source="x", classes=10, files={})
CONFIGS = {name: tiny_config(name) for name in ("simclr", "hcl")}
KEYS = {name: f"{name}-digits-{content_hash(config)[:8]}" for name, config in CONFIGS.items()}
RUNS = tuple(
    Run(
        id=f"{KEYS[name]}-s{seed}", recipe=name, dataset="digits", seed=seed, config=KEYS[name],
        protocols=("knn-1", "geometry-1"), cost=Cost(steps=1, images_seen=1),
    )
    for name, seed in (("simclr", 0), ("simclr", 1), ("hcl", 0))
)  # fmt: skip
PLAN = Plan(
    scale=SCALE,
    configs={KEYS[name]: config for name, config in CONFIGS.items()},
    protocols={
        "knn-1": KnnProtocol(neighbours=5, temperature=0.1, test_views=()),
        "geometry-1": GeometryProtocol(views=(), test_views=()),
    },
    runs=RUNS,
)


def write_results(folder: Path) -> Path:
    """All of it in the current folder, which `folder` is: the plan too; returns results/tiny."""
    write(folder / jobs.plan_path(SCALE), PLAN)
    write_text(folder / "envs/requirements.lock", "numpy==2\n")
    write(folder / jobs.DATA / "digits/manifest.json", DATA)
    results = folder / jobs.RESULTS / SCALE
    for n, run in enumerate(PLAN.runs):
        finish(run, results, f"weights {n}".encode())
        measure(run, results, right=7 + n)
    gather(results)
    return results


def gather(results: Path) -> None:
    """The table of what the present plan and code measured, and verdicts on it."""
    table = measurements.gather(SCALE, results.parent, jobs.fresh(PLAN, results.parent))
    verdicts = Verdicts(scale=SCALE, measurements=stamp(table).sha256, verdicts=())
    write(results / "verdicts.json", verdicts)


def finish(run: Run, results: Path, encoder: bytes, plan: Plan = PLAN) -> RunManifest:
    """Leave what training would."""
    job, folder = jobs.job_of(plan, run).pretrain, jobs.run_folder(results, run.recipe, run.id)
    for name in jobs.ENCODERS.values():
        write_bytes(folder / name, encoder)
    write_text(folder / "curve.csv", "epoch,loss,lr\n0,1.5,0.1\n1,1.25,0.1\n")
    write_text(folder / "config.json", canonical(job) + "\n")
    write_text(folder / "provenance.json", "{}\n")
    manifest = RunManifest(
        id=run.id, recipe=run.recipe, dataset="digits", scale=SCALE, seed=run.seed,
        job=content_hash(job), code=job.code, data=content_hash({}), final_loss=1.25,
        lowest_loss_epoch=1,
        files={
            name: stamp(folder / name)
            for name in (*jobs.ENCODERS.values(), "curve.csv", "config.json")
        },
    )  # fmt: skip
    write(folder / "run.json", manifest)
    return manifest


def measure(run: Run, results: Path, right: int, plan: Plan = PLAN) -> None:
    """Leave what evaluation would: so many of ten images right."""
    job = jobs.job_of(plan, run).evaluate
    made = RunManifest.model_validate_json(
        (jobs.run_folder(results, run.recipe, run.id) / "run.json").read_bytes()
    )
    for kind in job.protocols:
        folder, files = jobs.evaluation_folder(results, run.recipe, run.id, kind), {}
        metrics = {"alignment": -right / 10}
        if kind == "knn":
            table = pd.DataFrame(
                {"label": range(10), "top1": 0, "rank": [1] * right + [2] * (10 - right)}
            )
            write_bytes(folder / "predictions.parquet", table.to_parquet(index=False))
            files["predictions.parquet"] = stamp(folder / "predictions.parquet")
            metrics = {"top1": right / 10, "top5": 1.0}
        manifest = EvaluationManifest(
            run=run.id, recipe=run.recipe, dataset="digits", scale=SCALE, seed=run.seed,
            protocol=kind, job=jobs.protocol_hash(job, kind), code=job.code[kind],
            run_manifest=content_hash(made), metrics=metrics, files=files,
        )  # fmt: skip
        write(folder / "metrics.json", manifest)
