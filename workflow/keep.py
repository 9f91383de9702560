"""Copy what is kept of a scale into results/reference: its bundle, without the encoders."""

import argparse
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from reclaim.inference import measurements
from reclaim.records import ReclaimError, write
from reclaim.registry import bundle, jobs


def keep(
    scale: str, results: Path, reference: Path, partial: bool = False, fewer: bool = False
) -> tuple[int, int]:
    """Replace a scale's reference by its verified runs, with those of sweeps that are there.

    Returns how many runs were kept and how many the plan has beside them. Runs of older plans and
    encoders stay out; the old reference stays until the new one is whole. Raises ReclaimError if
    the measurements hold a run that is not as planned, if a run of the plan is not there and
    `partial` is not asked for, or if the reference has more runs now and `fewer` is not.
    """
    plan, source = jobs.read_plan(scale, sweeps=True, results=results), results / scale
    target, old = reference / scale, reference / f".{scale}.old"
    if old.exists() and not target.exists():  # killed between the two renames below
        old.rename(target)
    if not partial:
        jobs.verify(scale, results)
    data = results / jobs.DATA.name
    lacking = {run.id: jobs.lacking(plan, run, source, data) for run in plan.runs}
    runs = {run for run, lacks in lacking.items() if not lacks}
    _check_measured(scale, source / bundle.TABLE, runs, lacking)
    if not fewer:
        _check_kept(target, runs)
    made = bundle.make(scale, source)
    fresh = reference / f".{scale}.new"
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


def _check_measured(
    scale: str, table: Path, runs: set[str], lacking: Mapping[str, list[str]]
) -> None:
    """Raises ReclaimError unless the whole runs, and no others, are in the table."""
    strangers = sorted(set(measurements.read(table)["run"]) ^ runs)
    if not strangers:
        return
    again = f"`reclaim gather --scale {scale}` and `reclaim judge --scale {scale}`"
    run = strangers[0]
    if lacks := lacking.get(run):
        raise ReclaimError(
            f"{table}: {run} is there, but its {', '.join(lacks)} is missing, damaged or of other "
            f"code; run `reclaim pretrain {run}` and `reclaim evaluate {run}`, then {again}"
        )
    what = "is whole, and not in it" if run in runs else "is in it, and in no plan"
    raise ReclaimError(f"{table}: {run} {what}; run {again}")


def _check_kept(target: Path, runs: set[str]) -> None:
    """Raises ReclaimError if a reference has more runs than would take their place."""
    there = {path.parent.name for path in target.glob("runs/*/*/run.json")}
    if len(runs) >= len(there):
        return
    gone = sorted(there - runs)
    raise ReclaimError(
        f"{target}: has {len(there)} runs and would have {len(runs)}: {len(gone)} would go, the "
        f"first {gone[0]}; train and measure what is not there, or say --fewer to let them go"
    )


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("scale", help="one of the planned scales, with its sweeps")
    parser.add_argument("--partial", action="store_true", help="runs of the plan may be missing")
    parser.add_argument("--fewer", action="store_true", help="the reference may lose runs")
    asked = parser.parse_args()
    reference = jobs.RESULTS / "reference"
    try:
        kept, left = keep(asked.scale, jobs.RESULTS, reference, asked.partial, asked.fewer)
    except (ReclaimError, OSError) as error:
        print(f"keep: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{kept} runs kept, {left} of the plan and its sweeps are not there")


if __name__ == "__main__":
    main()
