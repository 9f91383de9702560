"""DVC and Snakemake on a small plan: each takes up what the other made, whichever began."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.workflow.project import ROOT, Checkout, Project


def commit(project: Project, message: str) -> None:
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", message)


def test_after_dvc_snakemake_trains_nothing(project: Project) -> None:
    """From nothing, by `dvc repro`."""
    project.run("git", "init", "-q")
    shutil.copy(ROOT / ".gitignore", project.folder / ".gitignore")
    project.run("dvc", "init", "-q")
    shutil.copytree(ROOT / ".dvc/plots", project.folder / ".dvc/plots")
    made = project.repro()
    assert made.index("pretrain@dino") < made.index("pretrain_from_dino@simclr_dino")
    before = project.trained()
    assert len(before) == 5
    commit(project, "start")
    project.snakemake()
    assert project.trained() == before


def test_after_snakemake_dvc_trains_nothing_also_where_it_had_trained_before(
    project: Project,
) -> None:
    before = project.trained()
    project.edit("src/reclaim/learning/steps.py", "weight = (share *", "weight = (1.0 * share *")
    commit(project, "an edited step")
    assert project.made()["pretrain"] == 1
    assert project.retrained(before) == {"hcl"}
    after = project.trained()
    measurements = (project.folder / "results/tiny/measurements.csv").read_bytes()
    project.repro()
    assert project.trained() == after
    assert (project.folder / "results/tiny/measurements.csv").read_bytes() == measurements
    changed = project.run("git", "status", "--porcelain").splitlines()
    assert [line.split()[1] for line in changed] == ["dvc.lock"]


def test_dvc_makes_stale_runs_of_either_anew_and_snakemake_nothing_after_it(
    project: Project,
) -> None:
    before = project.trained()
    project.edit("src/reclaim/learning/steps.py", "weight = (1.0 * share *", "weight = (share *")
    project.edit(
        "src/reclaim/learning/objectives.py", "torch.stack(pairs).mean()",
        "2.0 * torch.stack(pairs).mean()",
    )  # fmt: skip
    project.repro()
    assert project.retrained(before) == {"hcl", "dino", "simclr_dino"}
    after = project.trained()
    project.snakemake()
    assert project.trained() == after


def test_dvc_judges_and_shows_anew_by_edited_statistics_and_nothing_else(project: Project) -> None:
    assert project.repro() == ["resolve"]
    project.edit("src/reclaim/inference/verdicts/evidence.py", ": transfer scale", ": other scale")
    assert project.repro() == ["resolve", "judge", "report", "bundle"]
    project.edit("src/reclaim/report/page.html.j2", "</p>", "!</p>")
    assert project.repro() == ["resolve", "report"]


def written(results: Path) -> dict[Path, int]:
    """Which file each evaluation's manifest is: a touch changes its date, a write the file."""
    return {path: path.stat().st_ino for path in results.glob("evaluations/*/*/*/metrics.json")}


def test_dvc_makes_what_is_new_or_stale_and_snakemake_nothing_after_it(project: Project) -> None:
    """A recipe, a seed, a claim and an edited probe at once."""
    commit(project, "verdicts")
    before, results = project.trained(), project.folder / "results/tiny"
    old = written(results)
    project.write_plan(seeds=1, added=frozenset({("dcl", 0), ("simclr", 2)}))
    project.edit("params.yaml", "  hcl: {}", "  dcl: {}\n  hcl: {}")
    project.edit("src/reclaim/learning/probe.py", "std=0.01", "std=0.02")
    project.add_claim()
    project.repro()
    after = project.trained()
    assert {name: after[name] for name in before} == before
    new = {name.split("-")[0] + name[-3:] for name in set(after) - set(before)}
    assert new == {"dcl-s0", "simclr-s2"}
    made = written(results)
    assert {path.parts[-2] for path, file in old.items() if made[path] != file} == {"linear"}
    verdicts = json.loads((results / "verdicts.json").read_text())["verdicts"]
    assert "liu2024:s0_added" in {verdict["claim"] for verdict in verdicts}
    project.snakemake()
    assert project.trained() == after
    assert written(results) == made
    assert "7 runs verified" in project.run("reclaim", "verify", "--scale", "tiny")


def test_dvc_shows_metrics_and_curves_and_takes_settings(project: Project) -> None:
    commit(project, "a recipe, a seed, a claim")
    shown = project.run("dvc", "metrics", "show", "--json")
    [found] = json.loads(shown)[""]["data"].values()
    assert {"simclr", "dcl"} <= set(found["data"]["linear"])
    assert found["data"]["claims"]["untestable"] > 0
    changed = json.loads(project.run("dvc", "metrics", "diff", "--json", "HEAD~1"))
    assert "old" in json.dumps(changed)
    plots = json.loads(project.run("dvc", "plots", "show", "--json"))["data"]
    assert len(plots) == 2
    assert "errors" not in plots
    assert "psm" not in json.dumps(plots) and '"recipe": "dcl"' in json.dumps(plots)
    said = project.run("dvc", "exp", "run", "-S", "jobs=1", "pretrain@dcl")
    assert "reclaim pretrain --recipe dcl --scale tiny --jobs 1" in said
    assert "already trained" in said
    project.run("git", "checkout", "-q", "params.yaml", "dvc.lock")


def clone(project: Project, folder: Path) -> Checkout:
    project.run("git", "clone", "-q", str(project.folder), str(folder))
    return Checkout(folder)


SERVER = """
import boto3, sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
server.start()
url = "http://%s:%d" % server.get_host_and_port()
boto3.client("s3", endpoint_url=url).create_bucket(Bucket="results")
print(url, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an S3 server of this machine, with the bucket `results`."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "made-up")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        yield next(line.strip() for line in process.stdout if line.startswith("http"))
        process.stdin.close()


def copied(project: Project, fresh: Checkout, request: pytest.FixtureRequest) -> None:
    """The folder of results, as somebody hands it on."""
    shutil.copytree(project.folder / "results", fresh.folder / "results", dirs_exist_ok=True)


def from_a_folder(project: Project, fresh: Checkout, request: pytest.FixtureRequest) -> None:
    """By DVC, from a remote that is a local folder."""
    store = str(request.getfixturevalue("tmp_path") / "store")
    for checkout in (project, fresh):
        checkout.run("dvc", "remote", "add", "--local", "folder", store)
    project.run("dvc", "push", "--remote", "folder")
    fresh.run("dvc", "pull", "--remote", "folder")


def from_s3(project: Project, fresh: Checkout, request: pytest.FixtureRequest) -> None:
    """By DVC, from S3."""
    server = request.getfixturevalue("server")
    for checkout in (project, fresh):
        checkout.run("dvc", "remote", "add", "--local", "s3", "s3://results/tiny")
        checkout.run("dvc", "remote", "modify", "--local", "s3", "endpointurl", server)
    project.run("dvc", "push", "--remote", "s3")
    fresh.run("dvc", "pull", "--remote", "s3")


ADOPT = ("make", "adopt", "READY=", "SCALE=tiny")
STALE = r"1 of \d runs are missing, damaged or of other code, the first hcl-"


@pytest.mark.parametrize("restored", [copied, from_a_folder, from_s3])
def test_a_clone_with_restored_results_is_adopted_and_stale_runs_are_not(
    restored: Callable[[Project, Checkout, pytest.FixtureRequest], None],
    project: Project, tmp_path: Path, request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    fresh = clone(project, tmp_path / "clone")
    restored(project, fresh, request)
    before = same_files(project, fresh)
    audit = fresh.folder / "results/audit.json"
    sound = audit.read_bytes()
    audit.write_text("of other claims")
    fresh.run(*ADOPT)
    assert audit.read_bytes() == sound
    assert "Nothing to be done" in fresh.snakemake()
    assert fresh.repro() == ["resolve"]
    assert fresh.trained() == before
    fresh.run("reclaim", "verify", "results/tiny")
    fresh.edit("src/reclaim/learning/steps.py", "weight = (share *", "weight = (1.0 * share *")
    refused = fresh.start(*ADOPT)
    assert refused.returncode != 0
    assert re.search(STALE, refused.stderr)


def same_files(project: Project, fresh: Checkout) -> dict[str, tuple[int, int]]:
    """The runs of a clone, of which every file that came is as it was there."""
    came = [path for path in (fresh.folder / "results").rglob("*") if path.is_file()]
    assert {path.name for path in came} >= {"run.json", "predictions.parquet", "bundle.json"}
    for path in came:
        there = project.folder / path.relative_to(fresh.folder)
        assert path.read_bytes() == there.read_bytes()
    return fresh.trained()


def test_after_certifying_neither_engine_has_anything_to_train_or_measure(
    project: Project,
) -> None:
    """An edit that changes no bit; the witness of `workflow/recertify.py` is truly trained."""
    project.snakemake()
    before = project.trained()
    project.edit("src/reclaim/learning/steps.py", "weight = (share *", "weight = (1.0 * share *")
    assert project.planned()["pretrain"] == 1
    assert "trained by other code" in project.start("reclaim", "gather", "--scale", "tiny").stderr
    said = project.run("python", "workflow/recertify.py", "tiny", "--jobs", "1", "--device", "cpu")
    [row] = [run for run in project.plan.runs if run.recipe == "hcl"]
    assert f"1 runs and {len(row.protocols)} evaluations carried over" in said
    assert not {"pretrain", "evaluate", "fine_tune"} & set(project.planned())
    project.run(*ADOPT)
    assert project.planned() == {}
    assert set(json.loads(project.run("dvc", "status", "--json"))) == {"resolve"}
    assert project.trained() == before
