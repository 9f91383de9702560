"""Snakemake on a small plan, as a user starts it: from nothing to the page, then edit by edit."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from tests.workflow.project import RECIPES, ROOT, SWEPT, Checkout, Project

TUNED = ("simclr", "simclr_dino", "untrained")
AFTER = {"judge": 1, "report": 1, "bundle": 1}


def test_one_command_leads_from_nothing_to_the_report(project: Project) -> None:
    assert project.made() == {
        "fetch": 1, "pretrain": 5, "evaluate": 5, "fine_tune": 3, "gather": 1, "audit": 1, **AFTER
    }  # fmt: skip
    results = project.folder / "results/tiny"
    assert (results / "report.html").stat().st_size > 10_000
    verdicts = json.loads((results / "verdicts.json").read_text())["verdicts"]
    assert {verdict["verdict"].split(":")[0] for verdict in verdicts} == {"untestable"}
    assert len(project.trained()) == 5
    tuned = sorted(
        path.parts[-4] for path in results.glob("evaluations/*/*/fine_tune/metrics.json")
    )
    assert tuned == sorted(TUNED)
    log = next((results / "logs/simclr").glob("*.pretrain.log")).read_text().splitlines()
    assert [line.split("epoch ")[1].split()[0] for line in log] == ["1/2", "2/2"]


def test_a_second_start_does_nothing_and_says_so(project: Project) -> None:
    assert "Nothing to be done" in project.snakemake()


def test_forcing_every_rule_trains_nothing(project: Project) -> None:
    before = project.trained()
    project.snakemake("-F")
    assert project.trained() == before
    assert not project.planned()


def test_the_runs_are_those_that_the_verbs_make(project: Project, tmp_path: Path) -> None:
    """Another process, another order, without an engine: the same bits."""
    other = project.folder / "results" / "kept"
    shutil.move(project.folder / "results/tiny/runs/hcl", other)
    project.run("reclaim", "pretrain", "--recipe", "hcl", "--scale", "tiny", "--jobs", "2")
    for path in sorted(other.glob("*/*")):
        again = project.folder / "results/tiny/runs/hcl" / path.relative_to(other)
        if path.name != "provenance.json":
            assert again.read_bytes() == path.read_bytes(), path.name
    shutil.rmtree(other)
    project.snakemake()


def test_an_edited_step_retrains_the_runs_that_use_it(project: Project) -> None:
    before = project.trained()
    project.edit("src/reclaim/learning/steps.py", "weight = (share *", "weight = (1.0 * share *")
    assert project.made()["pretrain"] == 1
    assert project.retrained(before) == {"hcl"}


def test_an_edited_loss_of_a_first_training_retrains_what_starts_from_it(project: Project) -> None:
    before = project.trained()
    project.edit(
        "src/reclaim/learning/objectives.py", "torch.stack(pairs).mean()",
        "2.0 * torch.stack(pairs).mean()",
    )  # fmt: skip
    assert project.made()["pretrain"] == 2
    assert project.retrained(before) == {"dino", "simclr_dino"}


def test_an_edited_probe_retrains_nothing_and_measures_anew(project: Project) -> None:
    before = project.trained()
    project.edit("src/reclaim/learning/probe.py", "std=0.01", "std=0.02")
    assert project.made() == {"evaluate": 5, "gather": 1, **AFTER}
    assert project.trained() == before


def test_edited_fine_tuning_does_no_probe_again(project: Project) -> None:
    probes = project.folder / "results/tiny/evaluations"
    before = {path: path.stat().st_mtime_ns for path in probes.glob("*/*/linear/metrics.json")}
    project.edit("src/reclaim/learning/finetune.py", "std=0.01", "std=0.02")
    assert project.made() == {"fine_tune": 3, "gather": 1, **AFTER}
    assert len(before) == 5
    assert all(path.stat().st_mtime_ns == made for path, made in before.items())


def test_edited_statistics_judge_and_show_anew_and_nothing_else(project: Project) -> None:
    verdicts = project.folder / "results/tiny/verdicts.json"
    project.edit("src/reclaim/inference/verdicts/evidence.py", ": transfer scale", ": other scale")
    assert project.made() == AFTER
    assert "untestable: other scale" in verdicts.read_text(encoding="utf-8")
    assert not project.planned()


def test_an_edited_check_or_page_is_run_anew_and_no_run_is(project: Project) -> None:
    project.edit("src/reclaim/report/page.html.j2", "</p>", "!</p>")
    assert project.planned() == {"report": 1}
    for name in ("audit/sizes.py", "measurements.py"):
        path = f"src/reclaim/inference/{name}"
        project.edit(path, "import annotations", "import annotations  # edited")
    assert project.made() == {"gather": 1, "audit": 1, **AFTER}


def test_a_sweep_is_planned_apart_and_shares_the_other_runs(project: Project) -> None:
    assert not project.planned()
    before = project.trained()
    made = project.made("sweeps=true")
    assert (made["pretrain"], made["evaluate"], made["fine_tune"]) == (1, 1, 1)
    assert project.retrained(before) == {SWEPT}
    table = project.folder / "results/tiny/measurements.csv"
    assert f",{SWEPT}-" in table.read_text(encoding="utf-8")
    assert "Nothing to be done" in project.snakemake("sweeps=true")
    assert set(project.made()) <= {"gather", *AFTER}
    assert f",{SWEPT}-" in table.read_text(encoding="utf-8")


def test_a_run_whose_first_training_is_missing_says_so(project: Project) -> None:
    runs = project.folder / "results/tiny/runs"
    kept = project.folder / "results/kept"
    kept.mkdir()
    for name in ("dino", "simclr_dino"):
        shutil.move(runs / name, kept / name)
    [row] = [run for run in project.plan.runs if run.recipe == "simclr_dino"]
    done = project.start("reclaim", "pretrain", row.id)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"run `reclaim pretrain {row.init}` first" in done.stderr
    assert not (runs / "simclr_dino").exists()
    project.snakemake()
    for path in sorted(kept.glob("*/*/encoder.safetensors")):
        assert (runs / path.relative_to(kept)).read_bytes() == path.read_bytes()
    shutil.rmtree(kept)


def test_an_added_seed_recipe_and_claim_make_themselves_alone(project: Project) -> None:
    before = project.trained()
    project.write_plan(seeds=2, added=frozenset({("dcl", 0)}))
    project.add_claim()
    assert project.made()["pretrain"] == 6
    after = project.trained()
    assert {name: after[name] for name in before} == before
    new = {name.split("-")[0] + name[-3:] for name in set(after) - set(before)}
    assert new == {"dcl-s0", *(f"{recipe}-s1" for recipe in RECIPES)}
    verdicts = (project.folder / "results/tiny/verdicts.json").read_text(encoding="utf-8")
    assert "liu2024:s0_added" in verdicts


def test_an_unknown_scale_is_one_line(project: Project) -> None:
    done = project.start("snakemake", "--cores", "1", "--config", "scale=digist")
    assert done.returncode != 0
    assert "unknown scale 'digist'; planned: digits, fashion, paper, tiny" in done.stderr


def test_what_the_container_copies_is_all_that_planning_reads(tmp_path: Path) -> None:
    """Named at the top of the project, as `envs/Containerfile` does it."""
    lines = (ROOT / "envs/Containerfile").read_text(encoding="utf-8").splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ")]
    for name in {name for names in copied for name in names if "/" not in name}:
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "profiles").symlink_to("workflow/profiles")
    planned = Checkout(tmp_path).run("snakemake", "--cores", "1", "-n")
    assert re.search(r"^gather +1$", planned, re.MULTILINE)
