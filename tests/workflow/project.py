"""A small project in a folder of its own, and its commands as whole processes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from reclaim.records import SEAL, Plan, Run, render
from reclaim.registry import plan

ROOT = Path(__file__).parents[2]
RECIPES = ("simclr", "hcl", "dino", "simclr_dino", "untrained")
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

    def made(self, *arguments: str) -> dict[str, int]:
        """How many jobs of each rule Snakemake ran."""
        text = self.snakemake(*arguments)
        counts = re.findall(r"^([a-z_]+) +(\d+)$", text, flags=re.MULTILINE)
        return {rule: int(count) for rule, count in counts if rule not in ("all", "total")}

    def planned(self, *arguments: str) -> dict[str, int]:
        """How many jobs of each rule a dry run wants."""
        return self.made(*arguments, "-n")

    def repro(self) -> list[str]:
        """The stages that DVC ran, in order."""
        return re.findall(r"^Running stage '(.*)'", self.run("dvc", "repro"), flags=re.MULTILINE)

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
    """A copy of the project with a scale of seconds, and a few recipes."""

    def __init__(self, folder: Path, recipes: Sequence[str] = RECIPES) -> None:
        super().__init__(folder)
        self.recipes = recipes
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
        rows = "".join(f"  {name}: {{}}\n" for name in recipes if name != "simclr_dino")
        params = f"scale: tiny\nsweeps: false\ndataset: digits\njobs: 2\nrecipes:\n{rows}"
        params += "from_dino:\n  simclr_dino: {}\n"
        params += "flags: {sweeps: false}\nweights: {}\nfrom_weights: {}\n"
        (folder / "params.yaml").write_text(params, encoding="utf-8")
        self.write_plan(seeds=1)

    def write_plan(self, seeds: int, added: frozenset[tuple[str, int]] = frozenset()) -> None:
        """The plan of the scale, cut down to the recipes, and one row of a sweep.

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
            if (run.recipe in self.recipes and run.seed < seeds) or (run.recipe, run.seed) in added
        ]
        self.cut(made, "tiny", kept)
        there = {run.id for run in kept}
        swept = [run for run in apart.runs if run.recipe == SWEPT and run.init in there]
        self.cut(apart, "tiny.sweeps", swept[:1])

    def edit_plan(self, old: str, new: str) -> None:
        """Edit the plan of the scale as a text, and give it the checksum of what it says then."""
        path = self.folder / "workflow/plans/tiny.json"
        self.edit("workflow/plans/tiny.json", old, new)
        values = json.loads(path.read_text(encoding="utf-8"))
        del values[SEAL]
        path.write_text(render(Plan.model_validate(values)), encoding="utf-8")

    def add_claim(self) -> None:
        """A claim that no run has to serve: `liu2024:s0_added`."""
        statement = (
            "kind: unprinted, text: New., locator: Section 1, recipes: [dcl, simclr], "
            "unprinted: No."
        )
        added = f"statements:\n  s0_added: {{{statement}}}\n"
        self.edit("workflow/claims/liu2024/statements.yaml", "statements:\n", added)

    def cut(self, made: Plan, name: str, kept: list[Run]) -> None:
        """Write a plan with some of its runs alone."""
        configs = {run.config: made.configs[run.config] for run in kept}
        less = made.model_copy(update={"runs": tuple(kept), "configs": configs})
        (self.folder / f"workflow/plans/{name}.json").write_text(render(less), encoding="utf-8")
