"""The job files: what each run of a plan is asked to do, and whether it has been done.

A job is the resolved row plus the hash of the code it depends on. Both engines rerun a run when
its job file changes, so the files are rewritten only where their content differs.
"""

from __future__ import annotations

import difflib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reclaim.records import (
    DataManifest,
    EvaluateJob,
    EvaluationManifest,
    Plan,
    PretrainJob,
    Protocol,
    ReclaimError,
    Run,
    RunManifest,
    content_hash,
    read,
    render,
    stamps_hold,
    write_text,
    write_text_if_changed,
)
from reclaim.registry.code import evaluate_code, pretrain_code

PLANS = Path("workflow/plans")
RESULTS = Path("results")
DATA = RESULTS / "data"
ENCODERS = {"last": "encoder.safetensors", "lowest_loss": "encoder_lowest.safetensors"}


@dataclass(frozen=True)
class Job:
    """A run's two jobs."""

    pretrain: PretrainJob
    evaluate: EvaluateJob


def read_plan(scale: str) -> Plan:
    """The committed plan of a scale. Raises ReclaimError for a scale that has none."""
    known = sorted(path.stem for path in PLANS.glob("*.json"))
    if scale not in known:
        if not PLANS.is_dir():
            raise ReclaimError(f"{PLANS}: not found; run reclaim in the project's top folder")
        raise ReclaimError(f"unknown scale {scale!r}; planned: {', '.join(known)}")
    return read(PLANS / f"{scale}.json", Plan, f"run `reclaim plan --scale {scale}`")


def job_of(plan: Plan, run: Run) -> Job:
    """The jobs of one row. Raises ReclaimError for a name that the plan does not explain."""
    try:
        config = plan.configs[run.config]
        protocols = {name.split("-")[0]: plan.protocols[name] for name in run.protocols}
    except KeyError as error:
        raise ReclaimError(
            f"{PLANS / plan.scale}.json: run {run.id} names {error}, which is not in it; "
            f"run `reclaim plan --scale {plan.scale}`"
        ) from error
    return Job(
        PretrainJob(
            id=run.id, recipe=run.recipe, seed=run.seed, init=run.init, config=config,
            code=pretrain_code(config),
        ),
        EvaluateJob(
            id=run.id, recipe=run.recipe, dataset=config.dataset, seed=run.seed,
            protocols=protocols, code=evaluate_code(),
        ),
    )  # fmt: skip


def find_run(run_id: str, scale: str | None = None) -> tuple[Plan, Run]:
    """A run by its id, in one scale's plan or in whichever has it.

    Raises ReclaimError for an unknown id, with the nearest known one.
    """
    scales = [scale] if scale else sorted(path.stem for path in PLANS.glob("*.json")) or ["digits"]
    ids: list[str] = []
    for plan in map(read_plan, scales):
        for run in plan.runs:
            if run.id == run_id:
                return plan, run
        ids += [run.id for run in plan.runs]
    near = difflib.get_close_matches(run_id, ids, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ReclaimError(f"unknown run {run_id!r}: {hint}`reclaim plan --scale S` lists them")


def runs_of(plan: Plan, recipe: str | None = None) -> tuple[Run, ...]:
    """The rows of a plan, or those of one recipe. Raises ReclaimError if it has none."""
    rows = tuple(run for run in plan.runs if recipe in (None, run.recipe))
    if not rows:
        known = ", ".join(dict.fromkeys(run.recipe for run in plan.runs))
        raise ReclaimError(f"no recipe {recipe!r} in plan {plan.scale!r}; it has: {known}")
    return rows


def resolve(scale: str, results: Path = RESULTS) -> list[Path]:
    """Write the job files of a scale; return those whose text changed."""
    plan = read_plan(scale)
    written = []
    for run in plan.runs:
        job = job_of(plan, run)
        path = results / scale / "jobs" / run.recipe / f"{run.id}.json"
        trained = run_folder(results / scale, run.recipe, run.id) / "run.json"
        measured = {
            evaluation_folder(results / scale, run.recipe, run.id, name)
            / "metrics.json": protocol_hash(job.evaluate, protocol)
            for name, protocol in job.evaluate.protocols.items()
        }
        for target, part, made in (
            (path, job.pretrain, {trained: content_hash(job.pretrain)}),
            (path.with_suffix(".evaluate.json"), job.evaluate, measured),
        ):
            if _write_job(target, render(part), made):
                written.append(target)
    return written


def _write_job(path: Path, text: str, made: Mapping[Path, str]) -> bool:
    """Write a job file if its content differs, or if its job was tried and failed.

    Snakemake takes a failed job for done where its old output is kept: it gives that output a new
    date and notes the inputs it failed on. One more blank line makes it try again.
    """
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    if old.rstrip() == text.rstrip():
        failed = any(_newer_of_another_job(file, job, path) for file, job in made.items())
        text = old + "\n" * failed
    return write_text_if_changed(path, text)


def _newer_of_another_job(manifest: Path, job: str, path: Path) -> bool:
    if not manifest.is_file() or manifest.stat().st_mtime_ns <= path.stat().st_mtime_ns:
        return False
    try:
        return bool(json.loads(manifest.read_bytes()).get("job") != job)
    except (OSError, ValueError, AttributeError):
        return True


def claim_files() -> list[str]:
    """Every file of every paper's claims: what a judgement depends on beside the measurements."""
    return sorted(str(path) for path in Path("workflow/claims").rglob("*") if path.is_file())


def run_folder(results: Path, recipe: str, run_id: str) -> Path:
    """Where a run lies, below its scale's results."""
    return results / "runs" / recipe / run_id


def evaluation_folder(results: Path, recipe: str, run_id: str, protocol: str) -> Path:
    """Where an evaluation lies, below its scale's results."""
    return results / "evaluations" / recipe / run_id / protocol


def checkpoint_folder(results: Path, run_id: str) -> Path:
    """Where a run keeps its checkpoints while it trains."""
    return results / "checkpoints" / run_id


def claim_checkpoints(results: Path, job: PretrainJob, data: str) -> None:
    """Empty a run's checkpoints of those that another job, or the same on other data, left.

    A run's id does not hold the hash of its code, so after an edit its folder is the same.
    """
    folder, mark = checkpoint_folder(results, job.id), content_hash([content_hash(job), data])
    if (folder / "job").is_file() and (folder / "job").read_text(encoding="utf-8") == mark:
        return
    for path in folder.glob("*"):
        path.unlink()
    write_text(folder / "job", mark)


def release_checkpoints(results: Path, run_id: str) -> None:
    """Put away the folder of a run that has finished, with what a killed process left in it."""
    shutil.rmtree(checkpoint_folder(results, run_id), ignore_errors=True)


def data_hash(name: str, root: Path = DATA) -> str:
    """The content hash of the stored arrays, from their manifest."""
    manifest = read(root / name / "manifest.json", DataManifest, f"run `reclaim fetch data {name}`")
    return content_hash({file: stamp.sha256 for file, stamp in manifest.files.items()})


def finished_run(results: Path, job: PretrainJob, data: str) -> RunManifest | None:
    """The manifest of a run that this very job made from these data, every file still whole."""
    folder = run_folder(results, job.recipe, job.id)
    try:
        manifest = read(folder / "run.json", RunManifest, "train the run again")
    except ReclaimError:
        return None
    same = manifest.job == content_hash(job) and manifest.data == data
    return manifest if same and stamps_hold(folder, manifest.files) else None


def protocol_hash(job: EvaluateJob, protocol: Protocol) -> str:
    """What an evaluation by one protocol is checked against: the other protocols do not count."""
    return content_hash(job.model_copy(update={"protocols": {protocol.kind: protocol}}))


def finished_evaluations(
    results: Path, job: EvaluateJob, run: RunManifest
) -> Mapping[str, EvaluationManifest]:
    """The evaluations that this very job made of this very run, every file still whole."""
    found = {}
    for name, protocol in job.protocols.items():
        folder = evaluation_folder(results, job.recipe, job.id, name)
        try:
            manifest = read(folder / "metrics.json", EvaluationManifest, "evaluate again")
        except ReclaimError:
            continue
        same = (manifest.job, manifest.run_manifest) == (
            protocol_hash(job, protocol),
            content_hash(run),
        )
        if same and stamps_hold(folder, manifest.files):
            found[name] = manifest
    return found


def fresh(plan: Plan, results: Path = RESULTS) -> list[tuple[str, str]]:
    """The evaluations (run id, protocol) that the present plan and code made; no file is hashed."""
    made = []
    for run in plan.runs:
        job = job_of(plan, run).evaluate
        for name, protocol in job.protocols.items():
            folder = evaluation_folder(results / plan.scale, run.recipe, run.id, name)
            if (folder / "metrics.json").is_file():
                found = read(folder / "metrics.json", EvaluationManifest, "evaluate the run again")
                if found.job == protocol_hash(job, protocol):
                    made.append((run.id, name))
    return made


def verify(scale: str, results: Path = RESULTS) -> int:
    """The number of runs of a plan, all of them finished, whole and of the present code.

    Raises ReclaimError that counts the others and names the first: nothing stale is blessed.
    """
    plan = read_plan(scale)
    stale = [run.id for run in plan.runs if not _verified(plan, run, results / scale)]
    if stale:
        raise ReclaimError(
            f"{results / scale}: {len(stale)} of {len(plan.runs)} runs are missing, damaged or of "
            f"other code, the first {stale[0]}; run `snakemake --cores all --config scale={scale}`"
        )
    return len(plan.runs)


def _verified(plan: Plan, run: Run, results: Path) -> bool:
    job = job_of(plan, run)
    trained = finished_run(results, job.pretrain, data_hash(run.dataset))
    return trained is not None and len(finished_evaluations(results, job.evaluate, trained)) == len(
        run.protocols
    )
