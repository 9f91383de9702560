"""Copy what is kept of a scale into results/reference: numbers, predictions, manifests."""

import shutil
import sys
from pathlib import Path

from reclaim.inference import measurements
from reclaim.records import ReclaimError
from reclaim.registry import jobs

FILES = ("measurements.csv", "verdicts.json")


def keep(scale: str, sweeps: bool, results: Path, reference: Path) -> int:
    """Replace a scale's reference by the plan's verified runs; returns how many files it has.

    Runs of older plans and encoders stay out; the old reference stays until the new one is whole.
    Raises ReclaimError if a run is not as planned, or the measurements hold sweeps and `sweeps` is
    not asked for.
    """
    plan, source, target = jobs.read_plan(scale, sweeps), results / scale, reference / scale
    jobs.verify(scale, results, sweeps)
    measured = set(measurements.read(source / "measurements.csv")["run"])
    if strangers := sorted(measured - {run.id for run in plan.runs}):
        raise ReclaimError(
            f"{source}: measurements of {strangers[0]}, a run of a sweep; keep the sweeps too: "
            f"`python workflow/keep.py {scale} sweeps`"
        )
    names = [Path(name) for name in FILES]
    for run in plan.runs:
        names.append(jobs.run_folder(Path(), run.recipe, run.id) / "run.json")
        for kind in jobs.job_of(plan, run).evaluate.protocols:
            folder = jobs.evaluation_folder(Path(), run.recipe, run.id, kind)
            names += [path.relative_to(source) for path in sorted((source / folder).glob("[!.]*"))]
    fresh = reference / f".{scale}.new"
    shutil.rmtree(fresh, ignore_errors=True)
    for name in names:
        (fresh / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name, fresh / name)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    return len(names)


if __name__ == "__main__":
    asked = sys.argv[2:] == ["sweeps"]
    try:
        print(keep(sys.argv[1], asked, jobs.RESULTS, jobs.RESULTS / "reference"), "files kept")
    except ReclaimError as error:
        sys.exit(f"keep: {error}")
