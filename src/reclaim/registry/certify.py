"""Carry finished runs and evaluations over a change of code that changed no bit of them.

One seed of a config, the witness, is trained or measured again; where its bits are the old ones,
what the other seeds left is stamped with the present job. Nothing that was trained is touched: a
carried manifest names one file more, its certificate, and takes the older one's place in one
rename, so a kill leaves the one or the other.

A witness speaks for the seeds that were trained where it was: on a device of its name, in its
precision, by its torch. An evaluation does not say where it was measured, and is taken to have been
where its run was trained.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reclaim.records import (
    EvaluateJob,
    EvaluationManifest,
    FileStamp,
    Plan,
    PretrainJob,
    ReclaimError,
    RunManifest,
    canonical,
    content_hash,
    plain,
    read,
    stamp,
    stamps_hold,
    write,
    write_bytes,
    write_text,
)
from reclaim.registry import jobs

CERTIFICATE = "certificate-"
LEARNED = (*jobs.ENCODERS.values(), "curve.csv")
MADE_ON = ("device", "precision", "torch")


@dataclass(frozen=True)
class OldRun:
    """A run with the config it stands for; `before`: its earlier manifests, hash and run id."""

    folder: Path
    manifest: RunManifest
    config: Mapping[str, Any]
    before: Mapping[str, str]
    made_on: Mapping[str, str]

    @property
    def kin(self) -> str:
        """All that made it, but for its seed and the encoder that it started from."""
        made = self.manifest
        return content_hash([self.config, made.code, made.data, dict(self.made_on)])

    def unlike(self, witness: RunManifest, made_on: Mapping[str, str]) -> str:
        """Why a witness made there does not vouch for it; nothing where it learned the same."""
        here, there = self.manifest, witness
        same = all(here.files.get(name) == there.files[name] for name in LEARNED)
        same = same and (here.init, here.data) == (there.init, there.data)
        return _elsewhere(self.made_on, made_on) or ("" if same else "learns something else now")


@dataclass(frozen=True)
class StaleRun:
    """A run that is not as its present job asks for, and an older one that may be."""

    job: PretrainJob
    old: OldRun


def stale_runs(plan: Plan, results: Path, data: Path = jobs.DATA) -> Iterator[StaleRun]:
    """The runs of a plan that may be carried now: those whose first encoder is there."""
    for run in plan.runs:
        job = jobs.job_of(plan, run).pretrain
        old = old_run(job, results)
        if old is None or old.manifest.data != jobs.data_hash(run.dataset, data):
            continue
        if jobs.finished_run(results, job, old.manifest.data):
            continue
        try:
            jobs.check_init(plan, job, results, data)
        except ReclaimError:
            continue
        first = jobs.init_path(results, job)
        if old.manifest.init == (None if first is None else stamp(first).sha256):
            yield StaleRun(job, old)


def old_run(job: PretrainJob, results: Path) -> OldRun | None:
    """A whole run of the recipe and seed whose job the present one does not deny, if there is one.

    Its own folder comes first; a plan of old may have named it otherwise.
    """
    present = job.config.model_dump(mode="json")
    own = jobs.run_folder(results, job.recipe, job.id)
    for folder in (own, *sorted(own.parent.glob("*"))):
        found = _read_run(folder)
        if found is None or found.manifest.seed != job.seed:
            continue
        if _within(found.config, present) and stamps_hold(folder, found.manifest.files):
            return found
    return None


def _read_run(folder: Path) -> OldRun | None:
    """A run with what its certificates say of it; None where one of them says no such thing."""
    try:
        manifest = read(folder / "run.json", RunManifest, "train the run again")
        job, before = json.loads((folder / "config.json").read_bytes()), {}
        for name in manifest.files:
            if name.startswith(CERTIFICATE):  # in the order in which they were given
                certificate = json.loads((folder / name).read_bytes())
                job = certificate["job"]
                before[certificate["carried"]] = plain(certificate["carried_id"])
        config = dict(job["config"])
    except (ReclaimError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    before[content_hash(manifest)] = manifest.id
    return OldRun(folder, manifest, config, before, made_on(folder))


def made_on(folder: Path) -> dict[str, str]:
    """The device, precision and torch of a folder's provenance; empty where it does not say."""
    try:
        said = json.loads((folder / jobs.PROVENANCE).read_bytes())
        return {name: str(said[name]) for name in MADE_ON}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _elsewhere(old: Mapping[str, str], witness: Mapping[str, str]) -> str:
    """Why a witness made there cannot speak for what was made here; nothing where it can."""
    if old and old == witness:
        return ""
    places = [", ".join(made.values()) or "a machine not known" for made in (old, witness)]
    return f"made on {places[0]}, its witness on {places[1]}"


def _within(old: Any, new: Any) -> bool:
    """Whether all that an old value says is in the new one, which may say more."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(
            k in new and _within(v, new[k]) for k, v in old.items()
        )
    if isinstance(old, list):
        return isinstance(new, list) and len(old) == len(new) and all(map(_within, old, new))
    return bool(old == new)


def carry_run(stale: StaleRun, witness: RunManifest, results: Path) -> bool:
    """Stamp an old run with its present job; False where another process was there first."""
    job, old = stale.job, stale.old
    folder = jobs.run_folder(results, job.recipe, job.id)
    with jobs.alone_with(results, job.id, old.manifest.id):
        if old_run(job, results) != old:
            return False
        _copy(old.folder, folder, [*old.manifest.files, jobs.PROVENANCE])
        certificate = _certify(
            folder, old.manifest, job=job.model_dump(mode="json"),
            carried_id=old.manifest.id, witness=witness.id, made_on=dict(old.made_on),
        )  # fmt: skip
        files = {**old.manifest.files, **certificate}
        update = {"id": job.id, "job": content_hash(job), "code": job.code, "files": files}
        write(folder / "run.json", old.manifest.model_copy(update=update))
        jobs.drop_checkpoints(results, job.id)
        _renew_benchmarks(results, job.id)
    return True


@dataclass(frozen=True)
class StaleEvaluation:
    """An evaluation of a valid run that is not as its present job asks for."""

    job: EvaluateJob
    protocol: str
    run: RunManifest
    folder: Path
    old: EvaluationManifest
    made_on: Mapping[str, str]

    @property
    def kin(self) -> str:
        """All that made it, but for the run that it measured."""
        asked = content_hash(self.job.protocols[self.protocol])
        return content_hash([self.old.code, asked, dict(self.made_on)])

    def unlike(self, witness: EvaluationManifest, made_on: Mapping[str, str]) -> str:
        """Why a witness made there does not vouch for it; nothing where every image is the same."""
        files = {name: self.old.files.get(name) for name in witness.files}
        same = (witness.metrics, witness.files) == (self.old.metrics, files)
        return _elsewhere(self.made_on, made_on) or ("" if same else "measures something else now")


def stale_evaluations(
    plan: Plan, results: Path, data: Path = jobs.DATA
) -> Iterator[tuple[PretrainJob, StaleEvaluation]]:
    """The stale evaluations of valid runs that measured their very encoder by the same protocol."""
    for run in plan.runs:
        job = jobs.job_of(plan, run)
        folder = jobs.run_folder(results, run.recipe, run.id)
        if not (folder / "run.json").is_file():
            continue
        trained = jobs.finished_run(results, job.pretrain, jobs.data_hash(run.dataset, data))
        if trained is None:
            continue
        for protocol in jobs.unfinished(results, job.evaluate, trained):
            old = _old_evaluation(job.evaluate, protocol, folder, results)
            if old is not None:
                yield job.pretrain, old


def _old_evaluation(
    job: EvaluateJob, protocol: str, folder: Path, results: Path
) -> StaleEvaluation | None:
    """What an older code measured of this run, under the run's present name or an older one."""
    run = _read_run(folder)
    if run is None:
        return None
    for name in dict.fromkeys((job.id, *run.before.values())):
        place = jobs.evaluation_folder(results, job.recipe, name, protocol)
        try:
            old = read(place / "metrics.json", EvaluationManifest, "evaluate again")
        except ReclaimError:
            continue
        asked = {"id": old.run, "code": {protocol: old.code}}
        same = old.job == content_hash(jobs.part_of(job, [protocol]).model_copy(update=asked))
        if same and old.run_manifest in run.before and stamps_hold(place, old.files):
            return StaleEvaluation(job, protocol, run.manifest, place, old, run.made_on)
    return None


def carry_evaluation(
    stale: StaleEvaluation, witness: EvaluationManifest | None, results: Path
) -> bool:
    """Stamp an old evaluation with its present job and run; False where it was made meanwhile.

    `witness` is None where its code is the same: then the run's certificate says enough.
    """
    job, old, protocol = stale.job, stale.old, stale.protocol
    folder = jobs.evaluation_folder(results, job.recipe, job.id, protocol)
    with jobs.alone_with(results, job.id, old.run):
        run = jobs.run_folder(results, job.recipe, job.id)
        if _old_evaluation(job, protocol, run, results) != stale:
            return False
        _copy(stale.folder, folder, list(old.files))
        certificate = {}
        if witness is not None:
            certificate = _certify(folder, old, witness=witness.run, made_on=dict(stale.made_on))
        update = {
            "run": job.id, "job": jobs.protocol_hash(job, protocol),
            "code": job.code[protocol], "run_manifest": content_hash(stale.run),
            "files": {**old.files, **certificate},
        }  # fmt: skip
        write(folder / "metrics.json", old.model_copy(update=update))
        jobs.drop_checkpoints(results, f"{job.id}-{protocol}")
        _renew_benchmarks(results, job.id)
    return True


def _renew_benchmarks(results: Path, run: str) -> None:
    """So that Snakemake has no job to do: it takes a benchmark for an output of its job."""
    for path in results.glob(f"benchmarks/*/{run}.*.tsv"):
        path.touch()


def _copy(old: Path, new: Path, names: list[str]) -> None:
    for name in names:
        if new != old and (old / name).is_file():
            write_bytes(new / name, (old / name).read_bytes())


def _certify(
    folder: Path, carried: RunManifest | EvaluationManifest, **said: Any
) -> dict[str, FileStamp]:
    """Write why an old manifest still holds, in a file that no older manifest names."""
    hashed = content_hash(carried)
    name = f"{CERTIFICATE}{hashed[:8]}.json"
    said |= {"carried": hashed, "made_by": carried.code}
    write_text(folder / name, canonical(said) + "\n")
    return {name: stamp(folder / name)}
