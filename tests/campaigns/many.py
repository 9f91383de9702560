"""Many processes at once on one folder: the work is done once, nothing is mixed, no lock is stale.

`python -m tests.campaigns.many` starts eight processes that fetch, train and gather at the same
time, kills the holder of each lock, and prints a table.
"""

from __future__ import annotations

import csv
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reclaim.records import DataManifest, RunManifest, read, stamps_hold
from reclaim.registry import jobs
from tests.learning.data import conftest as official
from tests.workflow.project import Project

PROCESSES = 8
WAIT = 600.0  # seconds, after which something hangs

FETCH = """
import pickle, sys
from pathlib import Path
from reclaim.learning.data import fetch_data
from reclaim.registry.datasets import DATASETS
facts = pickle.loads(Path(sys.argv[1]).read_bytes())
DATASETS[facts.name] = facts
print("ready", flush=True)
sys.stdin.readline()
print(fetch_data(facts.name, Path(sys.argv[2])))
"""
HOLD = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""


@dataclass(frozen=True)
class Row:
    """What was done by how many processes, what was seen, and whether that is right."""

    what: str
    processes: int
    seen: str
    right: bool


def together(
    commands: Sequence[Sequence[str]], environment: dict[str, str], folder: Path
) -> list[str]:
    """Start processes that say when they are ready, let all go at once; what each said."""
    pipe = subprocess.PIPE
    started = [
        subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment, cwd=folder
        )
        for command in commands
    ]
    for process in started:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    said = []
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in started:
        out, complaint = process.communicate(timeout=WAIT)
        said.append(out.strip() if process.returncode == 0 else f"FAILED: {complaint}")
    return said


def fetch_at_once(folder: Path, processes: int) -> Row:
    """They all want one image set of a site: it is asked once, and the set is whole."""
    folder.mkdir()
    made = official.cifar("cifar10")
    (folder / "facts").write_bytes(pickle.dumps(made.facts))
    command = [sys.executable, "-c", FETCH, str(folder / "facts"), str(folder / "data")]
    with official.serving(official.Server(made.archives)) as server:
        environment = os.environ | {"RECLAIM_MIRROR": server.address, "NO_PROXY": "*"}
        said = together([command] * processes, environment, folder)
        asked = len(server.asked)
    path = folder / "data/cifar10/manifest.json"
    whole = stamps_hold(path.parent, read(path, DataManifest, "").files)
    same = set(said) == {str(path)}
    return Row("fetch one image set", processes, f"{asked} download", asked == 1 and whole and same)


def train_at_once(project: Project, processes: int) -> Row:
    """They all want one run: one trains it, the others find it done."""
    run = next(run.id for run in project.plan.runs if run.recipe == "simclr")
    started = [
        subprocess.Popen(
            ("reclaim", "pretrain", run, "--scale", "tiny"), cwd=project.folder,
            env=project.environment, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(processes)
    ]  # fmt: skip
    said = [process.communicate(timeout=WAIT)[1] for process in started]
    ended = [process.returncode for process in started]
    found = sum("already trained" in text for text in said)
    trained = sum("epoch 1/" in text for text in said)
    folder = jobs.run_folder(project.folder / "results/tiny", "simclr", run)
    whole = stamps_hold(folder, read(folder / "run.json", RunManifest, "").files)
    names = {path.name for path in folder.iterdir()}
    kept = {*read(folder / "run.json", RunManifest, "").files, "run.json", "provenance.json"}
    right = whole and names == kept and not any(ended) and (trained, found) == (1, processes - 1)
    return Row("pretrain one run", processes, f"{trained} trained, {found} found it done", right)


def gather_meanwhile(project: Project, processes: int) -> Row:
    """Gather again and again while evaluations end: every table read is whole and only grows."""
    project.run("reclaim", "pretrain", "--recipe", "hcl", "--scale", "tiny")
    project.run("reclaim", "pretrain", "--recipe", "untrained", "--scale", "tiny")
    measuring = [
        subprocess.Popen(
            ("reclaim", "evaluate", run.id, "--scale", "tiny"), cwd=project.folder,
            env=project.environment, stderr=subprocess.DEVNULL,
        )
        for run in project.plan.runs
        if run.recipe in ("simclr", "hcl", "untrained")
    ]  # fmt: skip
    gathering = [gather_loop(project) for _ in range(processes - len(measuring))]
    path, tables = project.folder / "results/tiny/measurements.csv", [set[str]()]
    while any(process.poll() is None for process in measuring):
        tables.append(rows_of(path) if path.is_file() else set())
        time.sleep(0.05)
    ended = [process.wait(WAIT) for process in measuring]
    for process in gathering:
        process.terminate()
        process.wait(WAIT)
    project.run("reclaim", "gather", "--scale", "tiny")
    last = rows_of(path)
    right = not any(ended) and all(table <= last for table in tables)
    shown = f"{len(tables)} tables read, {len(set(map(frozenset, tables)))} different, all whole"
    return Row("gather while evaluations end", processes, shown, right)


def gather_loop(project: Project) -> subprocess.Popen[str]:
    """A process that gathers until it is stopped."""
    code = (
        "import time\nfrom pathlib import Path\nfrom reclaim.inference.measurements import gather\n"
        "from reclaim.records import ReclaimError\n"
        "while True:\n    try:\n        gather('tiny', Path('results'))\n"
        "    except ReclaimError:\n        time.sleep(0.05)\n"
    )
    return subprocess.Popen(
        (sys.executable, "-c", code), cwd=project.folder, env=project.environment, text=True
    )


def rows_of(path: Path) -> set[str]:
    """The lines of a table, each of them whole."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    assert len({len(line) for line in lines}) == 1, "a line is torn"
    return {",".join(line) for line in lines}


def killed_holder(what: str, lock: Path, then: Callable[[], object]) -> Row:
    """A process that holds a lock is killed: the next one goes on at once."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", HOLD, str(lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGKILL)
    started = time.monotonic()
    then()
    seconds = time.monotonic() - started
    return Row(f"{what}, whose holder was killed", 2, f"goes on, done after {seconds:.1f} s", True)


def campaign(folder: Path, processes: int) -> Iterator[Row]:
    """All of it, a row each."""
    yield fetch_at_once(folder / "fetch", processes)
    (folder / "project").mkdir()
    project = Project(folder / "project")
    project.run("reclaim", "fetch", "data", "digits")
    yield train_at_once(project, processes)
    yield gather_meanwhile(project, processes)
    run = next(run.id for run in project.plan.runs if run.recipe == "simclr")
    results = project.folder / "results"
    yield killed_holder(
        "the lock of a run", results / f"tiny/checkpoints/{run}.lock",
        lambda: project.run("reclaim", "pretrain", run, "--scale", "tiny"),
    )  # fmt: skip
    (results / "data/digits/manifest.json").unlink()
    yield killed_holder(
        "the lock of an image set", results / "data/archives/digits.lock",
        lambda: project.run("reclaim", "fetch", "data", "digits"),
    )  # fmt: skip


def main() -> None:
    """Run the campaign and print its table."""
    right = True
    print("| what | processes | seen | right |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for row in campaign(Path(scratch), PROCESSES):
            right &= row.right
            print(f"| {row.what} | {row.processes} | {row.seen} | {'yes' if row.right else 'NO'} |")
    sys.exit(not right)


if __name__ == "__main__":
    main()
