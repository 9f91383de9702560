"""Runs are carried over a change of code where the new one learns the same bits, and only there."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from reclaim.learning import losses, train
from reclaim.records import Cost, Plan, PretrainJob, Run, canonical, content_hash
from reclaim.registry import jobs
from tests.conftest import tiny_config

RECIPES, SEEDS = ("simclr", "moco_v2"), (0, 1, 2)


@pytest.fixture(autouse=True)
def _restore_determinism() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def recertify() -> Callable[..., list[str]]:
    """The function of the script."""
    made: Callable[..., list[str]] = runpy.run_path("workflow/recertify.py")["recertify"]
    return made


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Two recipes with three seeds each, as the committed plan of a scale."""
    configs = {f"{name}-digits-0": tiny_config(name) for name in RECIPES}
    runs = tuple(
        Run(
            id=f"{key}-s{seed}", recipe=key.split("-")[0], dataset="digits", seed=seed,
            config=key, protocols=(), cost=Cost(steps=1, images_seen=1),
        )
        for key in configs
        for seed in SEEDS
    )  # fmt: skip
    made = Plan(scale="tiny", configs=configs, protocols={}, runs=runs)
    monkeypatch.setattr(jobs, "read_plan", lambda scale, sweeps=False: made)
    return made


def train_of_old(plan: Plan, results: Path, data: Path, **changes: Any) -> None:
    """All runs as an older code made and named them."""
    for run in plan.runs:
        config = plan.configs[run.config].model_copy(update=changes)
        train.pretrain(
            PretrainJob(
                id=f"old-{run.id}", recipe=run.recipe, seed=run.seed, config=config, code="old"
            ),
            results,
            data,
        )


def finished(plan: Plan, results: Path, data: Path) -> list[str]:
    made = jobs.data_hash("digits", data)
    jobs_of = {run.id: jobs.job_of(plan, run).pretrain for run in plan.runs}
    return [name for name, job in jobs_of.items() if jobs.finished_run(results, job, made)]


def test_runs_of_the_same_bits_are_carried_over(
    plan: Plan, recertify: Callable[..., list[str]], data: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    train_of_old(plan, results, data)
    assert finished(plan, results, data) == []
    carried = recertify("tiny", results, tmp_path / "apart", data)
    assert carried == [run.id for run in plan.runs]
    assert finished(plan, results, data) == carried
    assert len(list((tmp_path / "apart/runs").glob("*/*"))) == len(RECIPES)  # one seed of each
    for run in plan.runs:
        folder = jobs.run_folder(results, run.recipe, run.id)
        old = jobs.run_folder(results, run.recipe, f"old-{run.id}")
        for name in jobs.ENCODERS.values():
            assert (folder / name).read_bytes() == (old / name).read_bytes()
        job = jobs.job_of(plan, run).pretrain
        assert (folder / "config.json").read_text() == canonical(job) + "\n"
        assert content_hash(job) in (folder / "run.json").read_text()
        assert f"old-{run.id}" in (folder / "certificate.json").read_text()
    assert recertify("tiny", results, tmp_path / "apart", data) == []


def test_a_recipe_that_learns_something_else_stays_stale(
    plan: Plan,
    recertify: Callable[..., list[str]],
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results, loss = tmp_path / "results", losses.total_loss

    def older(terms: Any, *rest: Any) -> Any:
        return loss(terms, *rest) * (1 + 1e-6 * (terms[0].pairing == "queued"))

    with monkeypatch.context() as patch:
        patch.setattr(train, "total_loss", older)
        train_of_old(plan, results, data)
    carried = recertify("tiny", results, tmp_path / "apart", data)
    assert carried == [run.id for run in plan.runs if run.recipe == "simclr"]
    assert finished(plan, results, data) == carried


def test_runs_of_another_config_or_damaged_ones_are_not_carried(
    plan: Plan, recertify: Callable[..., list[str]], data: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    train_of_old(plan, results, data, temperature=0.4)
    assert recertify("tiny", results, tmp_path / "apart", data) == []
    train_of_old(plan, results, data)
    damaged = jobs.run_folder(results, "simclr", "old-simclr-digits-0-s1")
    (damaged / "encoder.safetensors").write_bytes(b"other")
    carried = recertify("tiny", results, tmp_path / "apart", data)
    assert "simclr-digits-0-s1" not in carried
    assert len(carried) == len(plan.runs) - 1
