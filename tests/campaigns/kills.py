"""Whole processes killed by SIGKILL: the same command again ends with the same bits.

`python -m tests.campaigns.kills [KILLS [NAMES]]` starts `reclaim pretrain`, `evaluate`, `gather`,
`snakemake`, `make` and `dvc repro` in a small project, kills each and all it started at some time,
starts the same command again, and compares what is there at the end with what an uncut run left.
The verbs are forked from this process, which has imported everything, so that the kills fall into
the work.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from reclaim import cli
from reclaim.learning import checkpoints
from tests.workflow.project import ROOT, Project

KILLS = 60
SHARES = {"verbs": 48, "snakemake": 6, "make": 3, "dvc": 3}  # of 60
WAIT = 900.0
OFTEN = 0.05  # seconds between checkpoints
RECIPES = ("dino", "simclr_dino", "untrained")  # the second begins with the first one's encoder
ENGINES = {
    "snakemake": ("snakemake", "--cores", "2", "--config", "scale=tiny"),
    "make": ("make", "-o", ".venv/.installed", "SCALE=tiny"),
    "dvc": ("dvc", "repro"),
}
UNLOCK = {"snakemake": (sys.executable, "workflow/unlock.py")}
"""What `make` does before Snakemake, for those who start Snakemake by itself."""


@dataclass
class Row:
    """What was killed how often, and how it ended."""

    what: str
    kills: int = 0
    early: int = 0
    late: int = 0
    different: list[str] = field(default_factory=list)


class Started(Protocol):
    """A process that can be waited for, as `subprocess.Popen`."""

    pid: int

    def wait(self, timeout: float | None = None) -> int: ...


Words = tuple[str, ...]
Start = Callable[[Project, Words], Started]


def project_in(folder: Path) -> Project:
    """A small project of three runs that saves checkpoints often."""
    folder.mkdir()
    made = Project(folder, RECIPES)
    for name in ("Makefile", "pyproject.toml", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    often = f"CHECKPOINT_SECONDS = {OFTEN}"
    made.edit("src/reclaim/learning/checkpoints.py", "CHECKPOINT_SECONDS = 10.0", often)
    made.run("reclaim", "fetch", "data", "digits")
    return made


def verbs(project: Project) -> list[Words]:
    """The verbs from a first training to the table of measurements."""
    run = {run.recipe: run.id for run in project.plan.runs}
    scale = ("--scale", "tiny")
    return [
        ("reclaim", "pretrain", run["dino"], *scale),
        ("reclaim", "pretrain", run["simclr_dino"], *scale),
        ("reclaim", "evaluate", run["simclr_dino"], *scale),
        ("reclaim", "gather", *scale),
    ]


@dataclass(frozen=True)
class Forked:
    """A process that was forked from this one."""

    process: multiprocessing.context.ForkProcess

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status. Raises TimeoutExpired."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("reclaim", timeout or 0.0)
        return self.process.exitcode


def fork(project: Project, command: Words) -> Forked:
    """A verb as a process of its own that needs not import anything any more."""
    process = multiprocessing.get_context("fork").Process(
        target=verb, args=(project.folder, command)
    )
    process.start()
    return Forked(process)


def verb(folder: Path, command: Words) -> None:
    """What such a process does."""
    os.setsid()
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    os.chdir(folder)
    checkpoints.CHECKPOINT_SECONDS = OFTEN
    sys.argv = list(command)
    cli.main()


def begin(project: Project, command: Words) -> Started:
    """A command with a process group of its own."""
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        command, cwd=project.folder, env=project.environment, stdout=quiet, stderr=quiet,
        start_new_session=True,
    )  # fmt: skip


def kill_after(process: Started, seconds: float) -> bool:
    """Kill a process and all it started; False if it had come to its end before."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(WAIT)
        return True
    return False


def outcome(project: Project) -> dict[str, bytes]:
    """Every file of the results but what says how fast it went."""
    results = project.folder / "results/tiny"
    parts = ("runs", "evaluations", "measurements.csv")
    paths = [path for part in parts for path in [results / part, *(results / part).rglob("*")]]
    return {
        str(path.relative_to(results)): path.read_bytes()
        for path in sorted(paths)
        if path.is_file() and path.name != "provenance.json" and path.name[0] != "."
    }


def kill_verbs(project: Project, kills: int, rng: random.Random, start: Start = fork) -> Row:
    """Each verb in its turn, killed up to so often, until all of them ended."""
    row, commands = Row("`reclaim pretrain`, `evaluate`, `gather`"), verbs(project)
    expected = uncut(project, commands, start)
    while row.kills < kills:
        shutil.rmtree(project.folder / "results/tiny")
        for command in commands:
            for _ in range(6):
                moment = rng.uniform(0.1, 1) * expected.seconds[command]
                if row.kills == kills or not kill_after(start(project, command), moment):
                    break
                count(row, project)
            assert start(project, command).wait(WAIT) == 0
        compare(row, expected.files, outcome(project))
    return row


def kill_engine(name: str, project: Project, kills: int, rng: random.Random) -> Row:
    """An engine and its jobs, killed so often, then started once more and left alone."""
    command = ENGINES[name]
    first = ", after `python workflow/unlock.py`" if name in UNLOCK else ""
    row = Row(f"`{' '.join(command).replace(sys.prefix, '.venv')}`{first}")
    expected = uncut(project, [command], begin)
    while row.kills < kills:
        shutil.rmtree(project.folder / "results/tiny")
        for _ in range(3):
            unlock(name, project)
            moment = rng.uniform(0.1, 0.9) * expected.seconds[command]
            if row.kills == kills or not kill_after(begin(project, command), moment):
                break
            count(row, project)
        unlock(name, project)
        assert begin(project, command).wait(WAIT) == 0
        compare(row, expected.files, outcome(project))
    return row


def unlock(name: str, project: Project) -> None:
    """What frees a lock whose holder is dead, where the engine does not do it itself."""
    if name in UNLOCK:
        project.run(*UNLOCK[name])


def count(row: Row, project: Project) -> None:
    """Count a kill, by whether a training had a checkpoint or a result by then."""
    row.kills += 1
    results = project.folder / "results/tiny"
    started = any(results.glob("checkpoints/*/*.pt")) or any(results.glob("runs/*/*/*"))
    row.late += started
    row.early += not started


def compare(row: Row, expected: dict[str, bytes], found: dict[str, bytes]) -> None:
    """Note every file that is not as it was."""
    names = expected.keys() | found.keys()
    row.different += sorted(name for name in names if expected.get(name) != found.get(name))


@dataclass(frozen=True)
class Uncut:
    """What is left when nothing is killed, and how long each command took."""

    files: dict[str, bytes]
    seconds: dict[Words, float]


def uncut(project: Project, commands: Sequence[Words], start: Start) -> Uncut:
    """Start from nothing and let every command end."""
    shutil.rmtree(project.folder / "results/tiny", ignore_errors=True)
    seconds = {}
    for command in commands:
        started = time.monotonic()
        assert start(project, command).wait(WAIT) == 0, command
        seconds[command] = time.monotonic() - started
    return Uncut(outcome(project), seconds)


def campaign(kills: int, names: Sequence[str], scratch: Path, seed: int = 0) -> Iterator[Row]:
    """A row for the verbs and for each engine, or for those that are named."""
    rng, project = random.Random(seed), project_in(scratch / "project")
    total = sum(SHARES[name] for name in names)
    for name in names:
        share = max(1, kills * SHARES[name] // total)
        if name == "verbs":
            yield kill_verbs(project, share, rng)
            continue
        if name == "dvc":
            in_git(project)
        yield kill_engine(name, project, share, rng)


def in_git(project: Project) -> None:
    """DVC works in a repository."""
    project.run("git", "init", "-q")
    project.run("dvc", "init", "-q")
    project.run("git", "add", "-A")
    project.run("git", "commit", "-qm", "start")


def main() -> None:
    """Run the campaign and print its table."""
    kills = int(sys.argv[1]) if sys.argv[1:] else KILLS
    different = []
    print("| command | SIGKILLs | before a first checkpoint | later | different files |")
    print("|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        for row in campaign(kills, sys.argv[2:] or list(SHARES), Path(scratch)):
            cells = (row.what, row.kills, row.early, row.late, len(row.different))
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
            different += row.different
    print("\n".join(different))
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
