"""Carry finished runs over a change of code that changed no bit of what they learn.

Of a recipe whose runs are stale the first is trained again, apart from the results. Where its
encoders and its curve are bit for bit the old ones, the runs of the other seeds are stamped with
the present job instead of being trained again, and each says so in a file of its own,
`certificate.json`. Where a bit differs the runs stay stale. Runs that start from another's encoder
are left to be trained.

    python workflow/recertify.py SCALE [FOLDER FOR WHAT IS TRAINED AGAIN]
"""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reclaim.records import (
    PretrainJob,
    ReclaimError,
    RunManifest,
    canonical,
    content_hash,
    read,
    stamp,
    stamps_hold,
    write,
    write_text,
)
from reclaim.registry import jobs

LEARNED = (*jobs.ENCODERS.values(), "curve.csv")


@dataclass(frozen=True)
class Older:
    """A whole run that another job made: its folder, its manifest, the job as it was stored."""

    folder: Path
    manifest: RunManifest
    job: dict[str, Any]

    @property
    def family(self) -> str:
        """All that made it, but for its seed."""
        return content_hash({"config": self.job["config"], "code": self.job["code"]})


def recertify(scale: str, results: Path, apart: Path, data: Path = jobs.DATA) -> list[str]:
    """The ids of the runs that were carried over; what was trained `apart` before is used."""
    plan = jobs.read_plan(scale, sweeps=True)
    stale: dict[str, list[PretrainJob]] = {}
    for run in plan.runs:
        job = jobs.job_of(plan, run).pretrain
        done = jobs.finished_run(results, job, jobs.data_hash(run.dataset, data))
        if done is None and job.init is None:
            stale.setdefault(run.config, []).append(job)
    return [name for waiting in stale.values() for name in _family(waiting, results, apart, data)]


def _family(waiting: list[PretrainJob], results: Path, apart: Path, data: Path) -> list[str]:
    """The runs of one config, seed by seed, that were carried over."""
    older = {job.id: found for job in waiting if (found := next(_older(job, results), None))}
    first = waiting[0]
    if first.id not in older:
        return []
    witness, now = older[first.id], _train(first, apart, data)
    if any(witness.manifest.files[name] != now.files[name] for name in LEARNED):
        print(f"{first.id}: learns something else now", file=sys.stderr)
        return []
    kin = [job for job in waiting if job.id in older and older[job.id].family == witness.family]
    same_data = [job for job in kin if older[job.id].manifest.data == now.data]
    for job in same_data:
        _carry(older[job.id], job, now, results)
    return [job.id for job in same_data]


def _older(job: PretrainJob, results: Path) -> Iterator[Older]:
    """Whole runs of the recipe and seed whose stored job the present one does not deny."""
    present = job.config.model_dump(mode="json")
    for path in sorted((results / "runs" / job.recipe).glob("*/run.json")):
        try:
            manifest = read(path, RunManifest, "train the run again")
            stored = json.loads((path.parent / "config.json").read_bytes())
        except (ReclaimError, OSError, ValueError):
            continue
        fits = manifest.seed == job.seed and _within(stored["config"], present)
        if fits and stamps_hold(path.parent, manifest.files):
            yield Older(path.parent, manifest, stored)


def _within(old: Any, new: Any) -> bool:
    """Whether all that an old value says is in the new one, which may say more."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(
            k in new and _within(v, new[k]) for k, v in old.items()
        )
    if isinstance(old, list):
        return isinstance(new, list) and len(old) == len(new) and all(map(_within, old, new))
    return bool(old == new)


def _train(job: PretrainJob, apart: Path, data: Path) -> RunManifest:
    from reclaim.learning.train import pretrain

    return pretrain(job, apart, data, "cpu")


def _carry(old: Older, job: PretrainJob, witness: RunManifest, results: Path) -> None:
    """Stamp an old run with the present job."""
    folder = jobs.run_folder(results, job.recipe, job.id)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*LEARNED, "provenance.json"):
        if folder != old.folder and (old.folder / name).is_file():
            shutil.copy(old.folder / name, folder / name)
    certificate = {
        "witness": witness.id, "encoder": witness.files[jobs.ENCODERS["last"]].sha256,
        "trained_as": old.manifest.id, "trained_by": old.manifest.job,
    }  # fmt: skip
    write_text(folder / "config.json", canonical(job) + "\n")
    write_text(folder / "certificate.json", canonical(certificate) + "\n")
    names = (*LEARNED, "config.json", "certificate.json")
    update = {
        "id": job.id, "job": content_hash(job), "code": job.code,
        "files": {name: stamp(folder / name) for name in names},
    }  # fmt: skip
    write(folder / "run.json", old.manifest.model_copy(update=update))


if __name__ == "__main__":
    scale = sys.argv[1]
    scratch = Path(sys.argv[2]) if sys.argv[2:] else jobs.RESULTS / scale / "recertify"
    carried = recertify(scale, jobs.RESULTS / scale, scratch)
    print(f"{len(carried)} runs carried over")
