"""The committed dvc.lock is that of this tree: its stages, commands and dependencies.

The hashes of outputs, and of what lies in results/, differ between machines and are not compared.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from reclaim.registry import jobs
from reclaim.registry.jobs import read_plan

ROOT = Path(__file__).parents[1]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]

NOT_AT_PAPER = ("dino",)


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


def rules() -> dict[str, str]:
    """Snakemake's rules as text, by name."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    return dict(re.findall(r"^rule (\w+):\n(.*?)(?=^rule |\Z)", text, re.MULTILINE | re.DOTALL))


def depends(stage: dict[str, Any]) -> list[str]:
    """What a stage of DVC depends on."""
    deps: list[str] = stage.get("do", stage).get("deps", [])
    return deps


def test_both_engines_name_the_same_code_and_the_plan_for_the_same_stages() -> None:
    stages = {name: depends(stage) for name, stage in STAGES.items()}
    code = {name for name, deps in stages.items() if any(dep.startswith("src/") for dep in deps)}
    assert code == {"gather", "audit", "judge", "report", "bundle"}  # no run is made by an edit
    asked = {name: re.findall(r'code_files\("(\w+)"\)', rule) for name, rule in rules().items()}
    assert {name: found for name, found in asked.items() if found} == {c: [c] for c in code}
    planned = {name for name, deps in stages.items() if "results/${scale}/jobs/plan.json" in deps}
    assert planned == {name for name, rule in rules().items() if "/jobs/plan.json" in rule}


@pytest.mark.parametrize("stage", ["gather", "audit", "judge", "report"])
def test_the_code_of_a_stage_names_all_that_it_imports_of_these_folders(stage: str) -> None:
    """So that no edit of statistics, checks, the page or the reading of claims is missed."""
    files = jobs.code_files(stage)
    assert files == sorted(set(files), key=files.index) and "__pycache__" not in "".join(files)
    folders = r"(?:inference|report|registry\.claims)"
    for name in files:
        text = (ROOT / name).read_text(encoding="utf-8")
        for module in re.findall(rf"^ *from reclaim\.({folders}[\w.]*) import", text, re.MULTILINE):
            path = f"src/reclaim/{module.replace('.', '/')}"
            assert {f"{path}.py", f"{path}/__init__.py"} & set(files), f"{name}: {module}"


def test_every_stage_looks_at_the_settings_before_a_shell_gets_one() -> None:
    commands = {name: stage.get("do", stage)["cmd"] for name, stage in STAGES.items()}
    given = {name: cmd for name, cmd in commands.items() if "${" in str(cmd)}
    assert set(commands) - set(given) == {"audit"}
    for name, (first, *others) in given.items():
        assert first == "python workflow/settings.py" and others, name


def test_snakemake_measures_by_the_protocols_of_each_job() -> None:
    asked = {
        name: tuple(found[1].split())
        for name, rule in rules().items()
        if (found := re.search(r"--protocol ([a-z_ ]+[a-z])", rule))
    }
    assert asked == jobs.EVALUATIONS


def test_there_is_a_stage_for_every_recipe_of_the_plan() -> None:
    runs = read_plan(PARAMS["scale"], sweeps=True).runs
    from_dino = {run.recipe for run in runs if run.init is not None}
    assert set(PARAMS["from_dino"]) == from_dino
    assert set(PARAMS["recipes"]) == {run.recipe for run in runs} - from_dino


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scale", "../../x"), ("scale", "digits\n"), ("scale", "digits; true"),
        ("scale", ["digits"]), ("scale", "x" * 5000), ("dataset", "/etc"), ("jobs", 10**30),
        ("jobs", "2; true"), ("jobs", 0), ("flags", {"sweeps; true": True}),
        ("recipes", {"../x": {}}), ("recipes", {"hcl": {"a": 1}}), ("weights", {"$(true)": {}}),
        ("from_dino", ["simclr_dino"]), ("sweep", True),
    ],
)  # fmt: skip
def test_settings_that_name_no_plain_thing_are_refused(key: str, value: object) -> None:
    schema = yaml.safe_load((ROOT / "workflow/schemas/params.schema.yaml").read_text())
    check = jsonschema.Draft202012Validator(schema)
    check.validate(PARAMS)
    assert not check.is_valid(PARAMS | {key: value})


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
