"""What lies in a scale's results that no plan and code of today owns: shown, and removed if asked.

A finished run of the present plan and code is never in it, nor anything that a living process has:
a run is locked, and looked at once more, before anything of it is removed.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from filelock import Timeout

from reclaim.records import (
    EvaluationManifest,
    Plan,
    PretrainJob,
    ReclaimError,
    Run,
    RunManifest,
    read,
    stamp,
    stamps_hold,
)
from reclaim.registry import jobs
from reclaim.registry.certify import CERTIFICATE

RUN_ID = re.compile(r"[a-z0-9_]+-[a-z0-9_]+-[0-9a-f]{8}-s[0-9]+")
TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}")  # as `records.write_bytes` names them
OLD = 600.0  # seconds: a younger temporary file may be one that somebody writes now
NO_PLAN = "no plan has it"
ENCODERS = frozenset(jobs.ENCODERS.values())


@dataclass(frozen=True)
class Leftover:
    """A file or folder that is not needed any more, and why; `run` is whose it is, if a run's.

    `look` says again why: nothing where a process has made it anew since.
    """

    path: Path
    why: str
    run: str = ""
    look: Callable[[], str] | None = field(default=None, compare=False)

    @property
    def bytes(self) -> int:
        """What it takes on the disk."""
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return sum(path.lstat().st_size for path in files)


def leftovers(plan: Plan, results: Path = jobs.RESULTS, data: Path = jobs.DATA) -> list[Leftover]:
    """All that a plan (given with its sweeps) and the present code do not own, by path.

    Checkpoints of an unfinished run stay: it goes on from them, or puts away those of other code.
    """
    folder, runs = results / plan.scale, {run.id: run for run in plan.runs}
    if _recertifies(folder):
        return [
            Leftover(
                jobs.lock_path(folder, jobs.RECERTIFY),
                "recertify is at work: what is stale is left to it",
                jobs.RECERTIFY,
                look=str,  # says nothing, ever: a lock stays
            )
        ]
    valid = {
        run.id
        for run in plan.runs
        if _has_encoders(folder, run) and not _why(plan, run, folder, data)
    }
    evaluations = list(_evaluations(plan, runs, folder))
    again = {left.path for left in evaluations}
    measured = {
        f"{path.parent.name}-{path.name}"
        for path in folder.glob("evaluations/*/*/*")
        if path.parent.name in valid and path not in again
    }
    found = [
        *_runs(plan, runs, folder, data),
        *evaluations,
        *_certificates(folder),
        *_checkpoints(runs, valid, measured, folder),
        *_named_by_run(runs, folder),
        *_temporary(folder),
    ]
    if (folder / jobs.RECERTIFY).is_dir():
        why = "trained again to certify other runs"
        found.append(Leftover(folder / jobs.RECERTIFY, why, jobs.RECERTIFY))
    paths = {left.path for left in found}
    return sorted(
        (left for left in found if not paths & set(left.path.parents)), key=lambda left: left.path
    )


def _recertifies(folder: Path) -> bool:
    """Whether a process certifies runs of a scale now: any stale one may be what it carries."""
    try:
        with jobs.alone_with(folder, jobs.RECERTIFY, wait=False):
            return False
    except Timeout:
        return True


def _runs(plan: Plan, runs: Mapping[str, Run], folder: Path, data: Path) -> Iterator[Leftover]:
    """Runs that no plan has, and those that would have to be trained again."""
    for path in folder.glob("runs/*/*"):
        run = runs.get(path.name)
        if run is None or run.recipe != path.parent.name:
            yield Leftover(path, NO_PLAN, path.name)
            continue
        look = partial(_why, plan, run, folder, data)
        if why := look():
            yield Leftover(path, why, path.name, look)


def _why(plan: Plan, run: Run, folder: Path, data: Path) -> str:
    """What is wrong with a run that is there; nothing where it is finished and valid."""
    job = jobs.job_of(plan, run).pretrain
    path = jobs.run_folder(folder, run.recipe, run.id) / "run.json"
    try:
        made = read(path, RunManifest, "")
    except ReclaimError:
        return "not finished" if not path.exists() else "its manifest is damaged"
    stored = (data / run.dataset / "manifest.json").is_file()
    present = jobs.data_hash(run.dataset, data) if stored else made.data
    if made.data != present:
        return "learned from other images than are there"
    with_encoders = _has_encoders(folder, run)
    files = {k: v for k, v in made.files.items() if with_encoders or k not in ENCODERS}
    valid = made.id == run.id and stamps_hold(path.parent, files)
    valid = valid and not (with_encoders and _from_another(folder, job, made))
    return jobs.why_stale(made, job) or ("" if valid else "damaged, or from another encoder")


def _from_another(folder: Path, job: PretrainJob, made: RunManifest) -> bool:
    """Whether a run started from another encoder than the one that is there.

    One that is damaged counts as what its manifest says; without a manifest it denies nothing.
    """
    first = jobs.init_path(folder, job)
    if first is None or not first.is_file() or stamp(first).sha256 == made.init:
        return False
    return jobs.said_of_init(folder, job) not in (None, made.init)


def _has_encoders(folder: Path, run: Run) -> bool:
    """Whether an encoder of a run is there: a copy of a bundle may do without all of them."""
    place = jobs.run_folder(folder, run.recipe, run.id)
    return any((place / name).exists() for name in ENCODERS)


def _evaluations(plan: Plan, runs: Mapping[str, Run], folder: Path) -> Iterator[Leftover]:
    """Evaluations that no plan has, and those that would have to be made again."""
    for path in folder.glob("evaluations/*/*/*"):
        run = runs.get(path.parent.name)
        protocols = {} if run is None else jobs.job_of(plan, run).evaluate.protocols
        if run is None or run.recipe != path.parts[-3] or path.name not in protocols:
            yield Leftover(path, NO_PLAN, path.parent.name)
            continue
        look = partial(_why_measured_anew, plan, run, path, folder)
        if why := look():
            yield Leftover(path, why, run.id, look)


def _why_measured_anew(plan: Plan, run: Run, path: Path, folder: Path) -> str:
    """What is wrong with an evaluation that is there; nothing where it is valid."""
    job = jobs.job_of(plan, run)
    try:
        made = read(path / "metrics.json", EvaluationManifest, "")
        trained = read(jobs.run_folder(folder, run.recipe, run.id) / "run.json", RunManifest, "")
    except ReclaimError:
        return "its manifest, or that of its run, is missing or damaged"
    why = jobs.why_stale(trained, job.pretrain) or jobs.why_measured_anew(
        made, job.evaluate, path.name, trained
    )
    return why or ("" if stamps_hold(path, made.files) else "damaged")


def _certificates(folder: Path) -> Iterator[Leftover]:
    """Certificates of what was trained or measured anew since."""
    for kind, manifest in (("runs/*/*", RunManifest), ("evaluations/*/*/*", EvaluationManifest)):
        for path in folder.glob(f"{kind}/{CERTIFICATE}*.json"):
            look = partial(_why_unnamed, path, manifest)
            if why := look():
                run = path.parent.name if manifest is RunManifest else path.parents[1].name
                yield Leftover(path, why, run, look)


def _why_unnamed(path: Path, kind: type[RunManifest] | type[EvaluationManifest]) -> str:
    """Why a certificate is not needed; nothing where its manifest names it or cannot be read."""
    manifest = path.parent / ("run.json" if kind is RunManifest else "metrics.json")
    try:
        named = read(manifest, kind, "").files
    except ReclaimError:
        return ""
    return "" if path.name in named else "its manifest does not name it"


def _checkpoints(
    runs: Mapping[str, Run], valid: Collection[str], measured: Collection[str], folder: Path
) -> Iterator[Leftover]:
    """Checkpoints and locks of runs that no plan has, and checkpoints of what is finished."""
    for path in folder.glob("checkpoints/*"):
        name = _run_of(path)
        if name and name not in runs:
            yield Leftover(path, NO_PLAN, name)
        elif name in valid and path.name == name:
            yield Leftover(path, "the run is finished", name)
        elif path.name in measured:
            yield Leftover(path, "the evaluation is finished", name)


def _named_by_run(runs: Mapping[str, Run], folder: Path) -> Iterator[Leftover]:
    """Job files, logs and benchmarks of runs that no plan has."""
    for kind in ("jobs", "logs", "benchmarks"):
        for path in folder.glob(f"{kind}/*/*"):
            name = _run_of(path)
            if name and name not in runs:
                yield Leftover(path, NO_PLAN, name)


def _temporary(folder: Path) -> Iterator[Leftover]:
    """Files that a killed process was writing."""
    for path in folder.rglob(".*"):
        ours = TEMPORARY.fullmatch(path.name) and path.is_file()
        if ours and time.time() - path.stat().st_mtime > OLD:
            yield Leftover(path, "half-written")


def _run_of(path: Path) -> str:
    """The run that a file is named by, if by any."""
    found = RUN_ID.match(path.name)
    return found.group() if found else ""


def remove(left: Sequence[Leftover], folder: Path) -> list[Leftover]:
    """Remove leftovers of a scale's folder; returns those that a process holds or has made anew.

    Raises ReclaimError for one that cannot be removed.
    """
    held = []
    for item in left:
        locks = [item.run, jobs.RECERTIFY] if item.run else []
        try:
            with jobs.alone_with(folder, *locks, wait=False):
                if item.look is not None and not item.look():
                    held.append(item)
                    continue
                shutil.rmtree(item.path) if item.path.is_dir() else item.path.unlink(True)
        except Timeout:
            held.append(item)
        except OSError as error:
            raise ReclaimError(
                f"{item.path}: cannot remove: {error.strerror or error}; mend the permissions"
            ) from error
    return held
