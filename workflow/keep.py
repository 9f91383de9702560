"""Copy what is kept of a scale into results/reference: numbers, predictions, manifests."""

import shutil
import sys
from pathlib import Path

from reclaim.inference import measurements
from reclaim.records import ReclaimError
from reclaim.registry import jobs

FILES = ("measurements.csv", "verdicts.json")


def keep(scale: str, results: Path, reference: Path) -> tuple[int, int]:
    """Replace a scale's reference by its verified runs, sweeps included.

    Returns how many runs were kept and how many the plan has beside them. Runs of older plans and
    encoders stay out; the old reference stays until the new one is whole. Raises ReclaimError if
    the measurements hold a run that is not as planned.
    """
    plan, source, target = jobs.read_plan(scale, sweeps=True), results / scale, reference / scale
    runs = [run for run in plan.runs if jobs.verified(plan, run, source)]
    measured = set(measurements.read(source / "measurements.csv")["run"])
    if strangers := sorted(measured ^ {run.id for run in runs}):
        raise ReclaimError(
            f"{source}/measurements.csv: {strangers[0]} is measured and not as planned, or the "
            f"other way round; run `reclaim gather --scale {scale}` and `reclaim judge` again"
        )
    names = [Path(name) for name in FILES]
    for run in runs:
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
    return len(runs), len(plan.runs) - len(runs)


if __name__ == "__main__":
    try:
        kept, left_out = keep(sys.argv[1], jobs.RESULTS, jobs.RESULTS / "reference")
        print(f"{kept} runs kept, {left_out} of the plan and its sweeps are not there")
    except ReclaimError as error:
        sys.exit(f"keep: {error}")
