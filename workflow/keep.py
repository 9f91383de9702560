"""Copy what is kept of a scale into results/reference: numbers, predictions, manifests."""

import shutil
import sys
from pathlib import Path

from reclaim.registry import jobs

FILES = ("measurements.csv", "verdicts.json")


def keep(scale: str, results: Path, reference: Path) -> int:
    """Replace a scale's reference by the plan's verified runs; returns how many files it has.

    Runs of older plans and encoders stay out; the old reference stays until the new one is whole.
    """
    plan, source, target = jobs.read_plan(scale), results / scale, reference / scale
    jobs.verify(scale, results)
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
    print(keep(sys.argv[1], jobs.RESULTS, jobs.RESULTS / "reference"), "files kept")
