"""Both engines on a small plan, as a user starts them: whole processes in a project of their own.

Each test is a chapter of one story, so the runs are trained once.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reclaim.records import Plan, Run, render
from reclaim.registry import jobs, plan

ROOT = Path(__file__).parents[1]
RECIPES = ("simclr", "hcl", "dino", "simclr_dino", "untrained")
TUNED = ("simclr", "simclr_dino", "untrained")
SWEPT = "simclr_dino_enlarge"
PARTS = (
    "Snakefile", "Makefile", "dvc.yaml", ".dvcignore", "profiles", "workflow", "src", "envs",
)  # fmt: skip


class Checkout:
    """A folder of the project's files, and its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def plan(self) -> Plan:
        text = (self.folder / "workflow/plans/tiny.json").read_text(encoding="utf-8")
        return Plan.model_validate_json(text)

    @property
    def environment(self) -> dict[str, str]:
        """Where a command finds the project's own copy of the source."""
        bin_folder = Path(sys.executable).parent
        environment = os.environ | {
            "PYTHONPATH": str(self.folder / "src"),
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b.c",
            "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b.c",
        }  # fmt: skip
        environment.pop("PYTEST_XDIST_WORKER", None)
        return environment

    def begin(self, *command: str) -> subprocess.Popen[str]:
        """A command that goes on while the test does."""
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, text=True, stderr=subprocess.DEVNULL
        )

    def start(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command, to its end."""
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip

    def run(self, *command: str) -> str:
        """What a command printed; it must succeed."""
        done = self.start(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def snakemake(self, *arguments: str) -> str:
        """Snakemake at the scale; the first arguments may be more of the configuration."""
        return self.run("snakemake", "--cores", "2", "--config", "scale=tiny", *arguments)

    def planned(self, *arguments: str) -> dict[str, int]:
        """How many jobs of each rule a dry run wants."""
        text = self.snakemake(*arguments, "-n")
        counts = re.findall(r"^([a-z_]+) +(\d+)$", text, flags=re.MULTILINE)
        return {rule: int(count) for rule, count in counts if rule not in ("all", "total")}

    def trained(self) -> dict[str, tuple[int, int]]:
        """When each run's encoder was written, to the nanosecond, and as which file."""
        found = {}
        for path in sorted((self.folder / "results/tiny/runs").glob("*/*/encoder.safetensors")):
            found[path.parent.name] = (path.stat().st_mtime_ns, path.stat().st_ino)
        return found

    def retrained(self, before: dict[str, tuple[int, int]]) -> set[str]:
        """The recipes of which an encoder was written since."""
        now = self.trained()
        return {name.split("-")[0] for name in now if now[name] != before.get(name)}

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")


class Project(Checkout):
    """A copy of the project with a scale of seconds."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
                shutil.copytree(source, folder / part, ignore=ignore, symlinks=True)
            else:
                shutil.copy(source, folder / part)
        scale = (ROOT / "workflow/scales/digits.yaml").read_text(encoding="utf-8")
        for old, new in (
            ("scale: digits", "scale: tiny"),
            ("seeds: 3", "seeds: 1"),
            ("epochs: {value: 30", "epochs: {value: 2"),
            ("fine_tune.epochs: {value: 10", "fine_tune.epochs: {value: 1"),
            ("warmup_epochs: {value: 3", "warmup_epochs: {value: 1"),
            ("value: [16, 32, 64]", "value: [4, 8]"),
        ):
            assert old in scale
            scale = scale.replace(old, new, 1)
        (folder / "workflow/scales/tiny.yaml").write_text(scale, encoding="utf-8")
        recipes = "".join(f"  {name}: {{}}\n" for name in RECIPES if name != "simclr_dino")
        params = f"scale: tiny\nsweeps: false\ndataset: digits\njobs: 2\nrecipes:\n{recipes}"
        params += "from_dino:\n  simclr_dino: {}\n"
        params += "flags: {sweeps: false}\nweights: {}\nfrom_weights: {}\n"
        (folder / "params.yaml").write_text(params, encoding="utf-8")
        self.write_plan(seeds=1)

    def write_plan(self, seeds: int, added: frozenset[tuple[str, int]] = frozenset()) -> None:
        """The plan of the scale, cut down to a few recipes, and one row of a sweep.

        `added` recipes and seeds come beside.
        """
        here = Path.cwd()
        os.chdir(self.folder)
        try:
            scale = Path("workflow/scales/tiny.yaml")
            most = max([seeds, *(seed + 1 for _, seed in added)])
            text = re.sub(r"seeds: \d", f"seeds: {most}", scale.read_text(encoding="utf-8"))
            scale.write_text(text, encoding="utf-8")
            made, apart = plan.build_plans("tiny")
        finally:
            os.chdir(here)
        kept = [
            run
            for run in made.runs
            if (run.recipe in RECIPES and run.seed < seeds) or (run.recipe, run.seed) in added
        ]
        self.cut(made, "tiny", kept)
        swept = [run for run in apart.runs if (run.recipe, run.seed) == (SWEPT, 0)]
        self.cut(apart, "tiny.sweeps", swept[:1])

    def cut(self, made: Plan, name: str, kept: list[Run]) -> None:
        """Write a plan with some of its runs alone."""
        configs = {run.config: made.configs[run.config] for run in kept}
        less = made.model_copy(update={"runs": tuple(kept), "configs": configs})
        (self.folder / f"workflow/plans/{name}.json").write_text(render(less), encoding="utf-8")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


def test_one_command_leads_from_nothing_to_the_report(project: Project) -> None:
    assert project.planned() == {
        "fetch": 1, "pretrain": 5, "evaluate": 5, "fine_tune": 3, "gather": 1, "judge": 1,
        "report": 1, "bundle": 1, "audit": 1,
    }  # fmt: skip
    project.snakemake()
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
    assert "Nothing to be done" in project.snakemake()


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
    assert project.planned()["pretrain"] == 1
    project.snakemake()
    assert project.retrained(before) == {"hcl"}


def test_an_edited_loss_of_a_first_training_retrains_what_starts_from_it(project: Project) -> None:
    before = project.trained()
    project.edit(
        "src/reclaim/learning/objectives.py", "torch.stack(pairs).mean()",
        "2.0 * torch.stack(pairs).mean()",
    )  # fmt: skip
    assert project.planned()["pretrain"] == 2
    project.snakemake()
    assert project.retrained(before) == {"dino", "simclr_dino"}
    assert "Nothing to be done" in project.snakemake()


def test_an_edited_probe_retrains_nothing_and_measures_anew(project: Project) -> None:
    before = project.trained()
    project.edit("src/reclaim/learning/evaluate.py", "std=0.01", "std=0.02")
    wanted = project.planned()
    assert "pretrain" not in wanted
    assert wanted["evaluate"] == 5
    assert "fine_tune" not in wanted
    project.snakemake()
    assert project.trained() == before
    assert "Nothing to be done" in project.snakemake()


def test_edited_fine_tuning_does_no_probe_again(project: Project) -> None:
    probes = project.folder / "results/tiny/evaluations"
    before = {path: path.stat().st_mtime_ns for path in probes.glob("*/*/linear/metrics.json")}
    project.edit("src/reclaim/learning/finetune.py", "std=0.01", "std=0.02")
    wanted = project.planned()
    assert wanted["fine_tune"] == 3
    assert not {"pretrain", "evaluate"} & set(wanted)
    project.snakemake()
    assert len(before) == 5
    assert all(path.stat().st_mtime_ns == made for path, made in before.items())
    assert "Nothing to be done" in project.snakemake()


def test_a_sweep_is_planned_apart_and_shares_the_other_runs(project: Project) -> None:
    assert not project.planned()
    wanted = project.planned("sweeps=true")
    assert (wanted["pretrain"], wanted["evaluate"], wanted["fine_tune"]) == (1, 1, 1)
    before = project.trained()
    project.snakemake("sweeps=true")
    assert project.retrained(before) == {SWEPT}
    table = project.folder / "results/tiny/measurements.csv"
    assert f",{SWEPT}-" in table.read_text(encoding="utf-8")
    assert "Nothing to be done" in project.snakemake("sweeps=true")
    assert set(project.planned()) <= {"gather", "judge", "report", "bundle"}
    project.snakemake()
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


def test_an_added_seed_trains_that_seed_alone(project: Project) -> None:
    before = project.trained()
    project.write_plan(seeds=2)
    assert project.planned()["pretrain"] == 5
    project.snakemake()
    after = project.trained()
    assert {name: after[name] for name in before} == before
    assert {name[-3:] for name in set(after) - set(before)} == {"-s1"}


def test_after_snakemake_dvc_trains_nothing(project: Project) -> None:
    project.run("git", "init", "-q")
    shutil.copy(ROOT / ".gitignore", project.folder / ".gitignore")
    project.run("dvc", "init", "-q")
    shutil.copytree(ROOT / ".dvc/plots", project.folder / ".dvc/plots")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "start")
    before = project.trained()
    measurements = (project.folder / "results/tiny/measurements.csv").read_bytes()
    project.run("dvc", "repro")
    assert project.trained() == before
    assert (project.folder / "results/tiny/measurements.csv").read_bytes() == measurements
    changed = project.run("git", "status", "--porcelain").splitlines()
    assert [line.split()[1] for line in changed] == ["dvc.lock"]


def test_after_dvc_snakemake_trains_nothing_and_stale_runs_of_either_are_made_anew(
    project: Project,
) -> None:
    folder = project.folder / "results/tiny"
    for name in ("runs/hcl", "evaluations/hcl", "runs/dino", "runs/simclr_dino"):
        shutil.rmtree(folder / name)
    ordered = project.run("dvc", "repro")
    assert ordered.index("'pretrain@dino'") < ordered.index("'pretrain_from_dino@simclr_dino'")
    before = project.trained()
    project.snakemake()
    assert project.trained() == before
    project.edit("src/reclaim/learning/steps.py", "weight = (1.0 * share *", "weight = (share *")
    project.edit("src/reclaim/learning/objectives.py", "2.0 * torch.stack(", "torch.stack(")
    project.run("dvc", "repro")
    assert project.retrained(before) == {"hcl", "dino", "simclr_dino"}
    after = project.trained()
    project.snakemake()
    assert project.trained() == after


def written(results: Path) -> dict[Path, int]:
    """Which file each evaluation's manifest is: a touch changes its date, a write the file."""
    return {path: path.stat().st_ino for path in results.glob("evaluations/*/*/*/metrics.json")}


def test_dvc_makes_what_is_new_or_stale_and_snakemake_nothing_after_it(project: Project) -> None:
    """A recipe, a seed, a claim and an edited probe at once."""
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "two seeds")
    before, results = project.trained(), project.folder / "results/tiny"
    old = written(results)
    project.write_plan(seeds=2, added=frozenset({("dcl", 0), ("simclr", 2)}))
    project.edit("params.yaml", "  hcl: {}", "  dcl: {}\n  hcl: {}")
    project.edit("src/reclaim/learning/evaluate.py", "std=0.02", "std=0.01")
    statements = "workflow/claims/liu2024/statements.yaml"
    claim = (
        "kind: unprinted, text: New., locator: Section 1, recipes: [dcl, simclr], unprinted: No."
    )
    project.edit(statements, "statements:\n", f"statements:\n  s0_added: {{{claim}}}\n")
    project.run("dvc", "repro")
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
    assert "12 runs verified" in project.run("reclaim", "verify", "--scale", "tiny")


def test_dvc_shows_metrics_and_curves_and_takes_settings(project: Project) -> None:
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "a recipe, a seed, a claim")
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


def test_a_clone_with_pulled_results_is_adopted_and_stale_runs_are_not(
    project: Project, tmp_path: Path
) -> None:
    project.run("dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    project.run("dvc", "push")
    project.run("git", "commit", "-qam", "a remote")
    fresh = clone(project, tmp_path / "clone")
    fresh.run("dvc", "pull")
    before = fresh.trained()
    assert set(before) == {name for name in project.trained() if SWEPT not in name.split("-")}
    adopt = ("make", "adopt", "READY=", "SCALE=tiny")
    fresh.run(*adopt)
    assert "Nothing to be done" in fresh.snakemake()
    assert re.findall(r"Running stage '(.*)'", fresh.run("dvc", "repro")) == ["resolve"]
    assert fresh.trained() == before
    fresh.run("reclaim", "verify", "results/tiny")
    fresh.edit("src/reclaim/learning/steps.py", "weight = (share *", "weight = (1.0 * share *")
    done = fresh.start(*adopt)
    assert done.returncode != 0
    assert "2 of 12 runs are missing, damaged or of other code, the first hcl-" in done.stderr
    assert fresh.planned()["pretrain"] == 2
    assert "trained by other code" in fresh.start("reclaim", "gather", "--scale", "tiny").stderr


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


def test_results_go_through_an_s3_server(project: Project, server: str, tmp_path: Path) -> None:
    project.run("dvc", "remote", "add", "s3", "s3://results/tiny")
    project.run("dvc", "remote", "modify", "s3", "endpointurl", server)
    project.run("dvc", "push", "--remote", "s3")
    project.run("git", "commit", "-qam", "another remote")
    fresh = clone(project, tmp_path / "clone")
    fresh.run("dvc", "pull", "--remote", "s3")
    pulled = [path for path in (fresh.folder / "results").rglob("*") if path.is_file()]
    assert {path.name for path in pulled} >= {"run.json", "predictions.parquet", "bundle.json"}
    for path in pulled:
        there = project.folder / path.relative_to(fresh.folder)
        assert path.read_bytes() == there.read_bytes()


def test_a_signal_to_a_recipe_reaches_all_its_runs_and_they_can_go_on(project: Project) -> None:
    shutil.rmtree(project.folder / "results/tiny/runs/hcl")
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
    probe = "src/reclaim/learning/evaluate.py"
    project.edit(probe, "std=0.01", "std=0.03")
    said = project.run("reclaim", "gather", "--scale", "tiny")
    assert "12 of 43 evaluations are not there yet, the first simclr-" in said
    assert re.search(r"\d+ evaluations are stale and count for nothing, the first simclr-", said)
    assert "by linear: measured by other code" in said
    table = project.folder / "results/tiny/measurements.csv"
    measured = table.read_text(encoding="utf-8")
    assert ",linear," not in measured and ",knn," in measured and ",fine_tune," in measured
    project.edit(probe, "std=0.03", "std=0.01")
    assert "not there" not in project.run("reclaim", "gather", "--scale", "tiny")
    assert ",linear," in table.read_text(encoding="utf-8")


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
    project.edit("workflow/plans/tiny.json", '"lr": 0.1', '"lr": 1e30')
    assert project.start(*start).returncode != 0
    keep.mkdir(exist_ok=True)
    (keep / "000000000001.pt").write_bytes(b"not whole")
    done = project.start(*start)
    assert done.returncode != 0
    log = project.folder / "results/tiny/logs/simclr" / f"{row.id}.pretrain.log"
    assert "reclaim: run" in log.read_text().splitlines()[-1], done.stdout + done.stderr
    assert (keep / "000000000001.pt").read_bytes() == b"not whole"
    assert project.trained() == before


def test_an_unknown_scale_is_one_line(project: Project) -> None:
    done = project.start("snakemake", "--cores", "1", "--config", "scale=digist")
    assert done.returncode != 0
    assert "unknown scale 'digist'; planned: digits, fashion, paper, tiny" in done.stderr
