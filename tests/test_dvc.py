"""The committed dvc.lock is that of this tree: its stages, commands and dependencies.

The hashes of outputs, and of what lies in results/, differ between machines and are not compared.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from reclaim.registry.jobs import read_plan

ROOT = Path(__file__).parents[1]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))

NOT_AT_PAPER = ("dino", "moco_v1")


def dvc(*arguments: str, folder: Path = ROOT) -> str:
    done = subprocess.run(
        [Path(sys.executable).parent / "dvc", *arguments], cwd=folder, text=True, check=True,
        capture_output=True, env=os.environ | {"DVC_NO_ANALYTICS": "1"},
    )  # fmt: skip
    return done.stdout


@pytest.fixture(scope="module")
def status() -> dict[str, list[Any]]:
    """What DVC finds changed since the lock was written, by stage."""
    found: dict[str, list[Any]] = json.loads(dvc("status", "--json"))
    return found


def test_every_stage_is_locked_and_no_other() -> None:
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text(encoding="utf-8"))
    assert sorted(lock["stages"]) == sorted(dvc("stage", "list", "--name-only").split())


def test_commands_are_as_locked(status: dict[str, list[Any]]) -> None:
    assert [stage for stage, found in status.items() if "changed command" in found] == []


def test_dependencies_that_are_committed_are_as_locked(status: dict[str, list[Any]]) -> None:
    changed = {
        path: state
        for found in status.values()
        for part in found
        if isinstance(part, dict)
        for path, state in part.get("changed deps", {}).items()
        if not path.startswith("results/")
    }
    assert changed == {}, "run `dvc repro` and commit dvc.lock"


def test_there_is_a_stage_for_every_recipe_of_the_plan() -> None:
    runs = read_plan(PARAMS["scale"], sweeps=True).runs
    from_dino = {run.recipe for run in runs if run.init is not None}
    assert set(PARAMS["from_dino"]) == from_dino
    assert set(PARAMS["recipes"]) == {run.recipe for run in runs} - from_dino


def test_at_paper_scale_runs_start_from_fetched_weights(tmp_path: Path) -> None:
    """With params.yaml changed as it says itself."""
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    params = {**PARAMS, "scale": "paper", "dataset": "cifar10", "from_dino": {}}
    params["from_weights"] = PARAMS["from_dino"]
    params["weights"] = {"dino_resnet50": {}}
    params["recipes"] = {name: {} for name in PARAMS["recipes"] if name not in NOT_AT_PAPER}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    dvc("init", "--no-scm", folder=tmp_path)
    edges = dvc("dag", "--dot", "pretrain_from_weights@simclr_dino", folder=tmp_path)
    assert '"weights@dino_resnet50" -> "pretrain_from_weights@simclr_dino"' in edges
    runs = read_plan("paper", sweeps=True).runs
    assert {run.init for run in runs} == {None, "weights/dino_resnet50"}
    assert {run.recipe for run in runs} == {*params["recipes"], *params["from_weights"]}
