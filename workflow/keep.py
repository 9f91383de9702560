"""Copy what is kept of a scale into results/reference: its bundle, without the encoders."""

import shutil
import sys
from pathlib import Path

from reclaim.inference import measurements
from reclaim.records import ReclaimError, write
from reclaim.registry import bundle, jobs


def keep(scale: str, results: Path, reference: Path, partial: bool = False) -> tuple[int, int]:
    """Replace a scale's reference by its verified runs, with those of sweeps that are there.

    Returns how many runs were kept and how many the plan has beside them. Runs of older plans and
    encoders stay out; the old reference stays until the new one is whole. Raises ReclaimError if
    the measurements hold a run that is not as planned, or a run of the plan is not there and
    `partial` is not asked for.
    """
    plan, source = jobs.read_plan(scale, sweeps=True, results=results), results / scale
    target = reference / scale
    if not partial:
        jobs.verify(scale, results)
    data = results / jobs.DATA.name
    runs = [run for run in plan.runs if jobs.verified(plan, run, source, data)]
    measured = set(measurements.read(source / "measurements.csv")["run"])
    if strangers := sorted(measured ^ {run.id for run in runs}):
        raise ReclaimError(
            f"{source}/measurements.csv: {strangers[0]} is measured and not as planned, or the "
            f"other way round; run `reclaim gather --scale {scale}` and `reclaim judge` again"
        )
    made = bundle.make(scale, source)
    fresh, old = reference / f".{scale}.new", reference / f".{scale}.old"
    shutil.rmtree(fresh, ignore_errors=True)  # left by a process that was killed
    try:
        for name in made.files:
            if not bundle.is_encoder(name):
                (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source / name, fresh / name)
        write(fresh / bundle.BUNDLE, made)
        if faults := bundle.check(fresh)[1]:
            raise ReclaimError(f"{faults[0].path}: {faults[0].what} as a copy; start again")
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
            target.rename(old)
        fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    return len(runs), len(plan.runs) - len(runs)


if __name__ == "__main__":
    if not sys.argv[1:]:
        sys.exit("keep: name a scale: python workflow/keep.py SCALE [partial]")
    asked = sys.argv[2:] == ["partial"]
    try:
        kept, left = keep(sys.argv[1], jobs.RESULTS, jobs.RESULTS / "reference", asked)
        print(f"{kept} runs kept, {left} of the plan and its sweeps are not there")
    except (ReclaimError, OSError) as error:
        sys.exit(f"keep: {error}")
