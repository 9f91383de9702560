"""The job files: what each run of a plan is asked to do, and whether it has been done.

A job is the resolved row plus the hash of the code it depends on; that of a run which starts from
another's encoder holds the hash of that run's job too. Both engines rerun a run when its job file
changes, so the files are rewritten only where their content differs.
"""

from __future__ import annotations

import glob
import json
import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from reclaim.records import (
    PAPER,
    PLAIN,
    REHEARSAL,
    DataManifest,
    EvaluateJob,
    EvaluationManifest,
    Plan,
    PretrainJob,
    Protocol,
    ReclaimError,
    Run,
    RunManifest,
    SeedsWanted,
    WeightsManifest,
    content_hash,
    did_you_mean,
    read,
    render,
    stamp,
    stamps_hold,
    write_text_if_changed,
)
from reclaim.registry.code import evaluate_code, forget, pretrain_code
from reclaim.registry.extension import extend, further
from reclaim.registry.rehearsal import rehearse
from reclaim.registry.weights import stored_weights

PLANS = Path("workflow/plans")
RESULTS = Path("results")
DATA = RESULTS / "data"
WEIGHTS = RESULTS / "weights"
ENCODERS = {"last": "encoder.safetensors", "lowest_loss": "encoder_lowest.safetensors"}
EVALUATIONS = {"evaluate": ("linear", "knn", "geometry"), "fine_tune": ("fine_tune",)}
"""The kinds of protocol by the job that measures them: editing one job's code leaves the other."""
KEEPING = ("linear", "fine_tune")  # the kinds that go on from a checkpoint: those that take long
REREAD = "reread"  # the job that measures by what other readings of a paper change in protocols
RECERTIFY = "recertify"  # the lock and the folder of what carries runs over a change of code
PROVENANCE = "provenance.json"
OTHER_INIT = "trained from another encoder than is there now"


@dataclass(frozen=True)
class Job:
    """A run's jobs: `evaluate` is all of it; a file for each job of `parts_of` has its part."""

    pretrain: PretrainJob
    evaluate: EvaluateJob


def planned_scales() -> list[str]:
    """The scales that have a committed plan."""
    return sorted(path.stem for path in PLANS.glob("*.json") if "." not in path.stem)


def plan_path(scale: str, sweeps: bool = False) -> Path:
    """Where the plan of a scale lies, or that of its sweeps."""
    return PLANS / (f"{scale}.sweeps.json" if sweeps else f"{scale}.json")


def extension_path(scale: str, results: Path = RESULTS) -> Path:
    """Where the further runs of a scale lie: beside its results, and not in git."""
    return results / scale / "plan.json"


def committed_plan(scale: str, sweeps: bool = False) -> Plan:
    """The committed plan of a scale, with `sweeps` also what is planned apart, after the rest.

    That of the scale `rehearsal` is made here. Raises ReclaimError for a scale that has none.
    """
    if scale == REHEARSAL:
        return rehearse(committed_plan(PAPER, sweeps))
    known = planned_scales()
    if scale not in known:
        if not PLANS.is_dir():
            raise ReclaimError(f"{PLANS}: not found; run reclaim in the project's top folder")
        raise ReclaimError(f"unknown scale {scale!r}; planned: {', '.join(known)} ({PLANS})")
    remedy = f"run `reclaim plan --scale {scale}`"
    plan = read(plan_path(scale), Plan, remedy)
    if not sweeps or not plan_path(scale, sweeps=True).exists():
        return plan
    return _united(plan, read(plan_path(scale, sweeps=True), Plan, remedy))


def read_plan(scale: str, sweeps: bool = False, results: Path = RESULTS) -> Plan:
    """What is to be run: the committed plan and, after it, the runs that results asked for.

    Raises ReclaimError for a scale without a plan, or runs of a config that it no longer has.
    """
    plan = committed_plan(scale, sweeps)
    if not extension_path(scale, results).exists():
        return plan
    whole = plan if sweeps else committed_plan(scale, sweeps=True)
    extension = _extension(scale, whole, results)
    asked = [(run.config, run.seed) for run in extension.runs] if extension else []
    return _united(plan, further(plan, whole, asked))


def _extension(scale: str, whole: Plan, results: Path) -> Plan | None:
    """The further runs of a scale, if there are any; all their configs are still planned."""
    path = extension_path(scale, results)
    if not path.exists():
        return None
    remedy = (
        f"delete the file, then `reclaim judge --scale {scale}` and "
        f"`reclaim plan --extend --scale {scale}` make another"
    )
    extension = read(path, Plan, remedy)
    if extension.scale != scale:
        raise ReclaimError(f"{path}: adds runs to the plan of {extension.scale!r}; {remedy}")
    planned = {run.config for run in whole.runs}
    for run in extension.runs:
        if run.config not in planned:
            raise ReclaimError(
                f"{path}: adds runs of {run.config}, which is no longer planned; {remedy}"
            )
    return extension


def added_runs(scale: str, results: Path = RESULTS) -> frozenset[str]:
    """The ids of the seeds that were added to the plan of a scale because of its results."""
    planned = {run.id for run in committed_plan(scale, sweeps=True).runs}
    runs = read_plan(scale, sweeps=True, results=results).runs
    return frozenset(run.id for run in runs) - planned


def extend_plan(scale: str, seeds: int | None = None, results: Path = RESULTS) -> Plan:
    """Write the extension that gives claims the runs they want; it only ever grows.

    Readings that are not among the runs yet come first, alone: seeds that are added as well would
    turn every interval of the scale into a sequence. With `seeds` every config that an open claim
    needs gets so many in all instead, once no reading is left. Raises ReclaimError for verdicts
    that are not there or speak about other configs than are planned.
    """
    remedy = f"run `reclaim judge --scale {scale}`"
    path = results / scale / "seeds_wanted.json"
    plan, whole = committed_plan(scale), committed_plan(scale, sweeps=True)
    before = _extension(scale, whole, results)
    wanted = read(path, SeedsWanted, remedy)
    planned = {run.config for run in whole.runs}
    if wanted.scale != scale or (gone := sorted({*wanted.configs, *wanted.readings} - planned)):
        what = gone[0] if wanted.scale == scale else f"the scale {wanted.scale!r}"
        raise ReclaimError(f"{path}: speaks about {what}, which is not planned; {remedy}")
    asked = {config: seeds or count for config, count in wanted.configs.items()}
    there = {(run.config, run.seed) for run in (*plan.runs, *(before.runs if before else ()))}
    readings = {
        config: count
        for config, count in wanted.readings.items()
        if any((config, seed) not in there for seed in range(count))
    }
    counts = readings or asked
    extension = extend(plan, whole, counts, before)
    if extension.runs:
        write_text_if_changed(extension_path(scale, results), render(extension))
    return extension


def _united(plan: Plan, apart: Plan) -> Plan:
    """A plan and its sweeps: what the sweeps serve is no longer left out."""
    served = {claim for run in apart.runs for claim in run.claims}
    there = {run.id for run in plan.runs}
    return plan.model_copy(
        update={
            "configs": {**apart.configs, **plan.configs},
            "protocols": {**apart.protocols, **plan.protocols},
            "readings": {**apart.readings, **plan.readings},
            "not_run": {c: why for c, why in plan.not_run.items() if c not in served},
            "runs": (*plan.runs, *(run for run in apart.runs if run.id not in there)),
        }
    )


def job_of(plan: Plan, run: Run) -> Job:
    """The jobs of one row.

    Raises ReclaimError for a name that the plan does not explain or that is no plain one (folders
    are named by them), or two protocols whose evaluations had one folder.
    """
    for name in (run.id, run.recipe, run.dataset, (run.init or "none").removeprefix("weights/")):
        if not PLAIN.fullmatch(name):
            raise ReclaimError(
                f"{plan_path(plan.scale)}: {name!r} is no plain name (letters, digits, _ and -); "
                f"run `reclaim plan --scale {plan.scale}`"
            )
    try:
        config = plan.configs[run.config]
        protocols = measures(plan, run)
        init_job = None if run.init is None else _init_job(plan, run.init)
    except KeyError as error:
        raise ReclaimError(
            f"{plan_path(plan.scale)}: run {run.id} names {error}, which is not in it; "
            f"run `reclaim plan --scale {plan.scale}`"
        ) from error
    return Job(
        PretrainJob(
            id=run.id, recipe=run.recipe, seed=run.seed, init=run.init, init_job=init_job,
            config=config, code=pretrain_code(config),
        ),
        EvaluateJob(
            id=run.id, recipe=run.recipe, seed=run.seed, protocols=protocols,
            dataset=config.dataset.model_copy(update={"part": 0}),
            code={name: evaluate_code(protocol.kind) for name, protocol in protocols.items()},
        ),
    )  # fmt: skip


def measures(plan: Plan, run: Run) -> dict[str, Protocol]:
    """What measures a run, by the name of the folder: its own protocols by their kinds.

    What another reading changes of one is named by kind and reading: `linear-encoder-last`. Raises
    KeyError for a protocol that the plan does not have, and ReclaimError for two of one name.
    """
    named: list[tuple[str, str]] = [(plan.protocols[name].kind, name) for name in run.protocols]
    named += [
        (reread_name(plan.protocols[name].kind, reading), name)
        for reading, read in plan.readings.get(run.config, {}).items()
        for name in read.protocols
    ]
    found = {folder: plan.protocols[name] for folder, name in named}
    if len(found) < len(named):
        raise ReclaimError(
            f"{plan_path(plan.scale)}: run {run.id} is measured twice in one way: "
            f"{', '.join(name for _, name in named)}; give one of its claims a setting of its own"
        )
    return found


def reread_name(kind: str, reading: str) -> str:
    """The plain name of what a reading changes of a kind of protocol, as `linear-encoder-last`."""
    words = re.sub(r"\W+", " ", re.sub(r"evaluate\.\w+\.", "", reading), flags=re.ASCII)
    return "-".join([kind, *words.split()])


def place_under(plan: Plan, config: str, kind: str, reading: str) -> tuple[str, str] | None:
    """The config and the folder that stand for a config's by a kind of protocol under a reading.

    None where the plan has nothing for that reading.
    """
    found = plan.readings.get(config, {}).get(reading)
    if found is None:
        return None
    if found.config != config:
        return found.config, kind
    changed = any(plan.protocols[name].kind == kind for name in found.protocols)
    return config, reread_name(kind, reading) if changed else kind


def parts_of(job: EvaluateJob) -> Iterator[tuple[str, EvaluateJob]]:
    """The parts of a job that are done apart, each by its name; those that measure something."""
    planned = {name for name, protocol in job.protocols.items() if name == protocol.kind}
    chosen = {stage: planned.intersection(kinds) for stage, kinds in EVALUATIONS.items()}
    for stage, names in (chosen | {REREAD: job.protocols.keys() - planned}).items():
        if names:
            yield stage, part_of(job, names)


def longest_last(job: EvaluateJob) -> EvaluateJob:
    """The same job in the order in which it is measured: what takes long comes after the rest.

    Where a job fails, Snakemake puts back the manifests that were there before it, also over those
    of what the job had measured anew by then. So all that this can cost is seconds to minutes.
    """
    names = sorted(job.protocols, key=lambda name: job.protocols[name].kind in KEEPING)
    return job.model_copy(update={"protocols": {name: job.protocols[name] for name in names}})


def _init_job(plan: Plan, init: str) -> str | None:
    """The hash of the job that makes what a run starts from; fetched weights are pinned instead.

    Raises KeyError if the plan does not have it.
    """
    if is_fetched(init):
        return None
    return content_hash(job_of(plan, {run.id: run for run in plan.runs}[init]).pretrain)


def is_fetched(init: str) -> bool:
    """Whether a run starts from fetched weights, `weights/<name>`, and not from another run."""
    return init.startswith("weights/")


def part_of(job: EvaluateJob, names: Collection[str]) -> EvaluateJob:
    """The part of a job that measures by some of its protocols."""
    protocols = {name: protocol for name, protocol in job.protocols.items() if name in names}
    return job.model_copy(
        update={"protocols": protocols, "code": {name: job.code[name] for name in protocols}}
    )


def find_run(run_id: str, scale: str | None = None) -> tuple[Plan, Run]:
    """A run by its id, in one scale's plan or in whichever has it, sweeps included.

    Raises ReclaimError for an unknown id, with the nearest known one.
    """
    ids: list[str] = []
    for name in [scale] if scale else planned_scales() or ["digits"]:
        plan = read_plan(name, sweeps=True)
        for run in plan.runs:
            if run.id == run_id:
                return plan, run
        ids += [run.id for run in plan.runs]
    hint = did_you_mean(run_id, ids)
    raise ReclaimError(f"unknown run {run_id!r}: {hint}`reclaim plan --scale S` lists them")


def runs_of(plan: Plan, recipe: str | None = None) -> tuple[Run, ...]:
    """The rows of a plan, or those of one recipe. Raises ReclaimError if it has none."""
    rows = tuple(run for run in plan.runs if recipe in (None, run.recipe))
    if not rows:
        known = ", ".join(dict.fromkeys(run.recipe for run in plan.runs))
        raise ReclaimError(f"no recipe {recipe!r} in plan {plan.scale!r}; it has: {known}")
    return rows


def resolve(scale: str, results: Path = RESULTS, sweeps: bool = False) -> list[Path]:
    """Write the job files of a scale; return those whose text changed.

    Beside them `plan.json`: all that is planned, with sweeps and added runs, in one file that is
    always there, for the stages that follow from the plan as a whole.
    """
    whole = read_plan(scale, sweeps=True, results=results)
    write_text_if_changed(results / scale / "jobs/plan.json", render(whole))
    plan = read_plan(scale, sweeps, results)
    return [
        path
        for run in plan.runs
        for path, job, made in _job_files(results / scale, job_of(plan, run))
        if _write_job(path, render(job), made)
    ]


def _job_files(
    results: Path, job: Job
) -> Iterator[tuple[Path, PretrainJob | EvaluateJob, Mapping[Path, Mapping[str, str]]]]:
    """A run's job files: path, content, and what the manifests that they ask for have to say."""
    recipe, run = job.pretrain.recipe, job.pretrain.id
    path = results / "jobs" / recipe / f"{run}.json"
    manifest = run_folder(results, recipe, run) / "run.json"
    yield path, job.pretrain, {manifest: {"job": content_hash(job.pretrain)}}
    of_run = _measured_of(manifest)
    for stage, part in parts_of(job.evaluate):
        folders = {name: evaluation_folder(results, recipe, run, name) for name in part.protocols}
        yield (
            path.with_suffix(f".{stage}.json"),
            part,
            {
                folder / "metrics.json": {"job": protocol_hash(part, name), **of_run}
                for name, folder in folders.items()
            },
        )


def _measured_of(manifest: Path) -> dict[str, str]:
    """What evaluations of a run say of it; nothing where it is not there."""
    try:
        run = read(manifest, RunManifest, "train the run again")
    except ReclaimError:
        return {}
    return {"run_manifest": content_hash(run)}


def _write_job(path: Path, text: str, made: Mapping[Path, Mapping[str, str]]) -> bool:
    """Write a job file if its content differs, or if its job was tried and failed.

    Snakemake takes a failed job for done where its old output is kept: it gives that output a new
    date and notes the inputs it failed on. One more blank line makes it try again.
    """
    old = _text_of(path)
    if old.rstrip() == text.rstrip():
        failed = any(_newer_of_another_job(file, asked, path) for file, asked in made.items())
        text = old + "\n" * failed
    return write_text_if_changed(path, text)


def _text_of(path: Path) -> str:
    """What a file says; nothing where it is not there or cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _newer_of_another_job(manifest: Path, asked: Mapping[str, str], path: Path) -> bool:
    if not manifest.is_file() or manifest.stat().st_mtime_ns <= path.stat().st_mtime_ns:
        return False
    try:
        said = json.loads(manifest.read_bytes())
        return any(said.get(name) != value for name, value in asked.items())
    except (OSError, ValueError, AttributeError, RecursionError):
        return True


def claim_files() -> list[str]:
    """Every file of every paper's claims: what a judgement depends on beside the measurements."""
    return _files(Path("workflow/claims"))


def code_files(stage: str) -> list[str]:
    """Every file of the code that `dvc.yaml` lists for a stage, for both engines."""
    import yaml

    stages = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    code = [dep for dep in stages[stage]["deps"] if dep.startswith("src/")]
    return [file for dep in code for file in _files(Path(dep))]


def _files(path: Path) -> list[str]:
    """A file, or all that a folder holds but byte code."""
    found = path.rglob("*") if path.is_dir() else [path]
    return sorted(str(p) for p in found if p.is_file() and "__pycache__" not in p.parts)


def run_folder(results: Path, recipe: str, run_id: str) -> Path:
    """Where a run lies, below its scale's results."""
    return results / "runs" / recipe / run_id


def evaluation_folder(results: Path, recipe: str, run_id: str, protocol: str) -> Path:
    """Where an evaluation lies, below its scale's results."""
    return results / "evaluations" / recipe / run_id / protocol


def checkpoint_folder(results: Path, run_id: str) -> Path:
    """Where a run keeps its checkpoints while it trains."""
    return results / "checkpoints" / run_id


def lock_path(results: Path, run_id: str, job: str = "pretrain") -> Path:
    """What a process holds while it does a run's job: training and `evaluate` share the run's lock.

    Fine-tuning has one of its own, and so has each evaluation under another reading: its `job` is
    the name of its folder.
    """
    name = run_id if job in ("pretrain", "evaluate") else f"{run_id}-{job}"
    return results / "checkpoints" / f"{name}.lock"


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """One process a job: another waits, and then finds the work done.

    Raises ReclaimError if the lock cannot be made.
    """
    from filelock import FileLock

    with ExitStack() as held:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(FileLock(lock))  # freed by the system when its holder dies
        except OSError as error:
            raise ReclaimError(
                f"{lock.parent}: {error.strerror or error}; mend it and start again"
            ) from error
        yield


@contextmanager
def alone_with(results: Path, *runs: str, wait: bool = True) -> Iterator[None]:
    """Nobody trains, tunes or measures these runs meanwhile; by readings, those `_locks` knows.

    Without `wait` it makes no lock, so what had none yet is not held off, and raises
    filelock.Timeout where a process holds one.
    """
    from filelock import FileLock

    with ExitStack() as stack:
        for lock in _locks(results, runs):
            if wait:
                stack.enter_context(alone(lock))
            elif lock.exists():
                stack.enter_context(FileLock(lock, timeout=0))
        yield


def _locks(results: Path, runs: Collection[str]) -> list[Path]:
    """Every lock of some runs, each once, and in one order for all processes.

    A reading is known by what it measured of one of the runs, or by its lock there.
    """
    jobs = set(EVALUATIONS)
    for run in runs:
        named = glob.escape(run)
        jobs |= {folder.name for folder in results.glob(f"evaluations/*/{named}/*-*")}
        locks = results.glob(f"checkpoints/{named}-*.lock")
        jobs |= {lock.stem.removeprefix(f"{run}-") for lock in locks}
    return sorted({lock_path(results, run, job) for run in runs for job in jobs})


def drop_checkpoints(results: Path, run_id: str) -> None:
    """Remove the checkpoints of what is finished: a process killed at the very end leaves them."""
    shutil.rmtree(checkpoint_folder(results, run_id), ignore_errors=True)


def init_manifest(results: Path, init: str) -> Path:
    """The manifest of what a run starts from: of another run's folder, or of fetched weights."""
    if is_fetched(init):
        return results.parent / init / "manifest.json"
    return run_folder(results, init.split("-")[0], init) / "run.json"


def init_path(results: Path, job: PretrainJob) -> Path | None:
    """The file of the encoder that a run starts from, if it starts from one."""
    if job.init is None:
        return None
    return init_manifest(results, job.init).parent / ENCODERS["last"]


def said_of_init(results: Path, job: PretrainJob) -> str | None:
    """The sha256 of the encoder that a run starts from, as its manifest says; None for unknown."""
    if job.init is None:
        return None
    kind: type[RunManifest] | type[WeightsManifest] = (
        WeightsManifest if is_fetched(job.init) else RunManifest
    )
    try:
        said = read(init_manifest(results, job.init), kind, "").files.get(ENCODERS["last"])
    except ReclaimError:
        return None
    return said.sha256 if said else None


def check_init(plan: Plan, job: PretrainJob, results: Path, data: Path = DATA) -> None:
    """See that the encoder which a run starts from is there, whole and of the present code.

    Raises ReclaimError that says how to make it.
    """
    if job.init is None:
        return
    if is_fetched(job.init):
        folder = init_manifest(results, job.init).parent
        if stored_weights(folder) is None:
            raise ReclaimError(
                f"{folder}: no whole, pinned weights, from which run {job.id} starts; run "
                f"`reclaim fetch weights {folder.name}` first"
            )
        return
    first = job_of(plan, next(run for run in plan.runs if run.id == job.init)).pretrain
    if finished_run(results, first, data_hash(first.config.dataset.name, data)) is None:
        raise ReclaimError(
            f"run {job.id} starts from the encoder of {first.id}, of which there is no finished "
            f"run of the present plan and code; run `reclaim pretrain {first.id}` first"
        )


def data_hash(name: str, root: Path = DATA) -> str:
    """The content hash of the stored arrays, from their manifest."""
    manifest = read(root / name / "manifest.json", DataManifest, f"run `reclaim fetch data {name}`")
    return content_hash({file: stamp.sha256 for file, stamp in manifest.files.items()})


def check_images(name: str, root: Path = DATA) -> None:
    """See that the stored arrays are whole. Raises ReclaimError that says how to get them."""
    remedy = f"run `reclaim fetch data {name}`"
    manifest = read(root / name / "manifest.json", DataManifest, remedy)
    if not stamps_hold(root / name, manifest.files):
        raise ReclaimError(f"{root / name}: its images are damaged or missing; {remedy}")


def finished_run(results: Path, job: PretrainJob, data: str) -> RunManifest | None:
    """The manifest of a run that this very job made from these data, every file still whole.

    A run that started from another encoder than is there now does not count.
    """
    folder = run_folder(results, job.recipe, job.id)
    try:
        manifest = read(folder / "run.json", RunManifest, "train the run again")
    except ReclaimError:
        return None
    init = init_path(results, job)
    if init is not None and init.is_file() and stamp(init).sha256 != manifest.init:
        return None
    said, asked = (manifest.id, manifest.job, manifest.data), (job.id, content_hash(job), data)
    return manifest if said == asked and stamps_hold(folder, manifest.files) else None


def check_unedited(job: PretrainJob | EvaluateJob) -> None:
    """See that the code is still what the job was made for, once a process has loaded it.

    It may have waited for a lock, and what was edited meanwhile would count as the code before.
    Raises ReclaimError.
    """
    forget()
    now = (
        pretrain_code(job.config)
        if isinstance(job, PretrainJob)
        else {name: evaluate_code(protocol.kind) for name, protocol in job.protocols.items()}
    )
    if now != job.code:
        raise ReclaimError(
            f"run {job.id}: the code was edited after this command began; start it again"
        )


def protocol_hash(job: EvaluateJob, name: str) -> str:
    """What an evaluation by one protocol is checked against: the other protocols do not count."""
    return content_hash(part_of(job, [name]))


def finished_evaluations(
    results: Path, job: EvaluateJob, run: RunManifest
) -> Mapping[str, EvaluationManifest]:
    """The evaluations that this very job made of this very run, every file still whole."""
    found = {}
    for name in job.protocols:
        folder = evaluation_folder(results, job.recipe, job.id, name)
        try:
            manifest = read(folder / "metrics.json", EvaluationManifest, "evaluate again")
        except ReclaimError:
            continue
        said = manifest.run, manifest.job, manifest.run_manifest
        asked = job.id, protocol_hash(job, name), content_hash(run)
        if said == asked and stamps_hold(folder, manifest.files):
            found[name] = manifest
    return found


def unfinished(results: Path, job: EvaluateJob, run: RunManifest) -> list[str]:
    """The evaluations of a job, by folder, that are still to be made of this very run."""
    done = finished_evaluations(results, job, run)
    return [name for name in job.protocols if name not in done]


def fresh(plan: Plan, results: Path = RESULTS) -> list[tuple[str, str]]:
    """The evaluations (run id, protocol) that the present plan and code made; no file is hashed.

    An evaluation counts where the run it was made of is one of the present plan and code too.
    """
    return [pair for pair, why in _standing(plan, results) if not why]


def stale(plan: Plan, results: Path = RESULTS) -> dict[tuple[str, str], str]:
    """The evaluations (run id, protocol) that are there and not fresh, and why; no file is hashed.

    They stay out of every table until they are made again, or their run is certified anew.
    """
    return {pair: why for pair, why in _standing(plan, results) if why}


def _standing(plan: Plan, results: Path) -> Iterator[tuple[tuple[str, str], str]]:
    """Every evaluation of the plan that is there, and what makes it stale, if anything does."""
    there = {path.name for path in (results / plan.scale / "evaluations").glob("*/*")}
    for run in plan.runs:
        if run.id not in there:
            continue
        job, path = job_of(plan, run), run_folder(results / plan.scale, run.recipe, run.id)
        trained, of_run = None, why_stale(None, job.pretrain)
        if (path / "run.json").is_file():
            trained = read(path / "run.json", RunManifest, "train the run again")
            of_run = why_stale(trained, job.pretrain)
            if said_of_init(results / plan.scale, job.pretrain) not in (None, trained.init):
                of_run = of_run or OTHER_INIT
        for name in job.evaluate.protocols:
            file = evaluation_folder(results / plan.scale, run.recipe, run.id, name)
            if (file / "metrics.json").is_file():
                made = read(file / "metrics.json", EvaluationManifest, "evaluate the run again")
                why = of_run or why_measured_anew(made, job.evaluate, name, trained)
                yield (run.id, name), why


def why_stale(run: RunManifest | None, job: PretrainJob) -> str:
    """What makes a run another than its job asks for; nothing where it is the same."""
    if run is None:
        return "the run is gone"
    if run.job == content_hash(job):
        return ""
    return (
        "trained by other code"
        if run.code != job.code
        else "trained for another plan, or from another encoder"
    )


def why_measured_anew(
    made: EvaluationManifest, job: EvaluateJob, protocol: str, run: RunManifest | None
) -> str:
    """What makes an evaluation another than its job asks for; nothing where it is the same."""
    if made.job != protocol_hash(job, protocol):
        other = made.code != job.code[protocol]
        return "measured by other code" if other else "measured as another plan asked"
    of_this = run is not None and made.run_manifest == content_hash(run)
    return "" if of_this else "measured before the run was trained again"


def verify(scale: str, results: Path = RESULTS, sweeps: bool = False) -> int:
    """The number of runs of a plan, all of them finished, whole and of the present code.

    Raises ReclaimError that counts the others and names the first: nothing stale is blessed. And
    for images or fetched weights that are not whole.
    """
    plan = read_plan(scale, sweeps, results)
    data = results / DATA.name
    for name in dict.fromkeys(run.dataset for run in plan.runs):
        check_images(name, data)
    for run in {run.init: run for run in plan.runs if is_fetched(run.init or "")}.values():
        check_init(plan, job_of(plan, run).pretrain, results / scale, data)
    found = [run.id for run in plan.runs if lacking(plan, run, results / scale, data)]
    if found:
        also = " sweeps=true" if sweeps else ""
        raise ReclaimError(
            f"{results / scale}: {len(found)} of {len(plan.runs)} runs are missing, damaged or of "
            f"other code, the first {found[0]}; run "
            f"`snakemake --cores all --config scale={scale}{also}`"
        )
    return len(plan.runs)


def lacking(plan: Plan, run: Run, results: Path, data: Path = DATA) -> list[str]:
    """What of a run is not finished, whole and of the present code: `training`, or evaluations."""
    job = job_of(plan, run)
    trained = finished_run(results, job.pretrain, data_hash(run.dataset, data))
    return ["training"] if trained is None else unfinished(results, job.evaluate, trained)
