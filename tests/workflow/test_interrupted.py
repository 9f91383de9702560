"""What is cut, fails or grows old is left out, told, and made again: two recipes, three runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import time

from reclaim.registry import jobs
from tests.workflow.project import Project

STORY = ("simclr", "hcl")
TABLE = "results/tiny/measurements.csv"


def test_a_signal_to_a_recipe_reaches_all_its_runs_and_they_can_go_on(project: Project) -> None:
    project.write_plan(seeds=1, added=frozenset({("hcl", 1)}))
    project.run("reclaim", "fetch", "data", "digits")
    command = ("reclaim", "pretrain", "--recipe", "hcl", "--scale", "tiny", "--jobs", "2")
    started = project.begin(*command)
    time.sleep(2)
    started.terminate()
    assert started.wait(timeout=120) == 2
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert not [line for line in listed.stdout.splitlines() if "reclaim pretrain hcl" in line]
    project.run(*command)
    assert len(list((project.folder / "results/tiny/runs/hcl").glob("*/run.json"))) == 2


def test_checkpoints_of_other_code_are_put_away(project: Project) -> None:
    [row] = [run for run in project.plan.runs if (run.recipe, run.seed) == ("hcl", 1)]
    keep = jobs.checkpoint_folder(project.folder / "results/tiny", row.id)
    keep.mkdir(parents=True, exist_ok=True)
    (keep / "job").write_text("of other code")
    (keep / "999999999999.pt").write_bytes(b"newer by its name")
    shutil.rmtree(project.folder / "results/tiny/runs/hcl" / row.id)
    project.run("reclaim", "pretrain", row.id, "--scale", "tiny")
    assert not keep.exists()


def test_gather_leaves_out_what_other_code_measured(project: Project) -> None:
    project.snakemake()
    probe = "src/reclaim/learning/probe.py"
    project.edit(probe, "std=0.01", "std=0.03")
    said = project.run("reclaim", "gather", "--scale", "tiny")
    assert "3 of 10 evaluations are not there yet, the first simclr-" in said
    assert re.search(r"\d+ evaluations are stale and count for nothing, the first simclr-", said)
    assert "by linear: measured by other code" in said
    table = project.folder / "results/tiny/measurements.csv"
    measured = table.read_text(encoding="utf-8")
    assert ",linear," not in measured and ",knn," in measured and ",fine_tune," in measured
    project.edit(probe, "std=0.03", "std=0.01")
    assert "not there" not in project.run("reclaim", "gather", "--scale", "tiny")
    assert ",linear," in table.read_text(encoding="utf-8")


def test_what_a_failed_job_had_measured_is_kept_and_not_measured_again(project: Project) -> None:
    start = ("snakemake", "--cores", "2", "--config", "scale=tiny", "--", TABLE)
    [row] = [run for run in project.plan.runs if (run.recipe, run.seed) == ("simclr", 0)]
    folder = project.folder / "results/tiny/evaluations/simclr" / row.id
    shutil.rmtree(folder)
    (project.folder / TABLE).unlink()  # else nobody asks for what is gone
    file = "src/reclaim/learning/checkpoints.py"  # in no result's hash
    sound = "        for path in reversed(self.paths):\n"
    broken = f'        if "-linear" in self.folder.name:\n            raise MemoryError\n{sound}'
    project.edit(file, sound, broken)
    assert project.start(*start).returncode != 0
    made = {name: folder / name / "metrics.json" for name in ("knn", "geometry", "linear")}
    assert not made.pop("linear").exists()
    kept = {path: (path.read_bytes(), path.stat().st_ino) for path in made.values()}
    project.edit(file, broken, sound)
    project.run(*start)
    assert (folder / "linear/metrics.json").is_file()
    assert {path: (path.read_bytes(), path.stat().st_ino) for path in kept} == kept


def test_a_failed_job_leaves_its_checkpoints_and_all_that_was_made(project: Project) -> None:
    before = project.trained()
    [row] = [run for run in project.plan.runs if (run.recipe, run.seed) == ("simclr", 0)]
    keep = jobs.checkpoint_folder(project.folder / "results/tiny", row.id)
    start = ("snakemake", "--cores", "2", "--config", "scale=tiny")
    project.edit("src/reclaim/learning/steps.py", "def debias(", "def mended(")
    done = project.start(*start)
    assert done.returncode != 0
    assert "defines no 'debias'" in done.stdout + done.stderr
    project.edit("src/reclaim/learning/steps.py", "def mended(", "def debias(")
    project.edit_plan('"lr": 0.1', '"lr": 1e30')
    assert project.start(*start).returncode != 0
    keep.mkdir(exist_ok=True)
    (keep / "000000000001.pt").write_bytes(b"not whole")
    done = project.start(*start)
    assert done.returncode != 0
    log = project.folder / "results/tiny/logs/simclr" / f"{row.id}.pretrain.log"
    assert "reclaim: run" in log.read_text().splitlines()[-1], done.stdout + done.stderr
    assert (keep / "000000000001.pt").read_bytes() == b"not whole"
    assert project.trained() == before
