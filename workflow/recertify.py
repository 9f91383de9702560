"""Carry finished runs and evaluations over a change of code that changed no bit of them.

Of each config one seed is trained again, apart from the results, and where the code of its
evaluations changed, measured again. Where the bits are the old ones, what is there of all seeds is
stamped with the present job, and a certificate says so (`reclaim.registry.certify`); where a bit
differs it stays stale, as does what another device, precision or torch made. Runs that start from
another's encoder come once that one is carried. Started again, it uses what it had trained.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from reclaim.records import Plan, PretrainJob, ReclaimError, content_hash
from reclaim.registry import certify, jobs
from reclaim.registry.certify import StaleEvaluation

Each = Callable[..., Iterable[Any]]
Stale = TypeVar("Stale")


def recertify(
    scale: str,
    results: Path,
    apart: Path,
    each: Each = map,
    device: str = "auto",
    data: Path = jobs.DATA,
) -> tuple[list[str], list[tuple[str, str]]]:
    """The runs, and the evaluations (run, folder), that were carried.

    `each` is `map`, or that of a pool of processes. Raises ReclaimError where there is no run.
    """
    from reclaim.learning.preflight import check_device
    from reclaim.learning.witness import measure_again, train_again

    check_device(device)
    plan = jobs.read_plan(scale, sweeps=True, results=results.parent)
    if not any(results.glob("runs/*/*/run.json")):
        raise ReclaimError(f"{results}/runs: no finished run, so nothing to carry; train first")
    jobs.resolve(scale, results.parent, sweeps=True)  # older than what is carried: no engine reruns
    again: dict[str, Any] = {"results": results, "apart": apart, "data": data, "device": device}
    train = partial(each, partial(train_again, **again))
    measure = partial(each, partial(measure_again, **again))
    with jobs.alone(jobs.lock_path(results, jobs.RECERTIFY)), jobs.alone(apart / "recertify.lock"):
        runs = list(_carry_runs(plan, results, data, apart, train))
        evaluations = list(_carry_evaluations(plan, results, data, apart, measure))
    return runs, evaluations


def _carry_runs(plan: Plan, results: Path, data: Path, apart: Path, train: Each) -> Iterator[str]:
    mib, tried = _memory(plan), set[str]()
    while waiting := [
        stale for stale in certify.stale_runs(plan, results, data) if stale.job.id not in tried
    ]:
        tried |= {stale.job.id for stale in waiting}
        families = _families((stale.job, stale.old.kin, stale) for stale in waiting)
        first = [family[0].job for family in families]
        witnesses = train(first, [mib[job.id] for job in first])
        for family, job, witness in zip(families, first, witnesses, strict=True):
            made_on = certify.made_on(jobs.run_folder(apart, job.recipe, job.id))
            if not _vouches(witness, job.id, partial(family[0].old.unlike, made_on=made_on)):
                continue
            for stale in reversed(family):
                if certify.carry_run(stale, witness, results):
                    yield stale.job.id


def _carry_evaluations(
    plan: Plan, results: Path, data: Path, apart: Path, measure: Each
) -> Iterator[tuple[str, str]]:
    edited: list[tuple[PretrainJob, str, StaleEvaluation]] = []
    for pretrained, stale in certify.stale_evaluations(plan, results, data):
        if stale.old.code != stale.job.code[stale.protocol]:
            edited.append((pretrained, stale.kin, stale))
        elif certify.carry_evaluation(stale, None, results):
            yield stale.job.id, stale.protocol
    families = _families(edited)
    run_of = {pretrained.id: pretrained for pretrained, _, _ in edited}
    found = _measured(families, run_of, _memory(plan), measure)
    for family in families:
        job, protocol = family[0].job, family[0].protocol
        made = found[job.id]
        witness: Any = made if isinstance(made, ReclaimError) else made[protocol]
        there = jobs.evaluation_folder(apart, job.recipe, job.id, protocol).parent
        unlike = partial(family[0].unlike, made_on=certify.made_on(there))
        if not _vouches(witness, f"{job.id} {protocol}", unlike):
            continue
        for stale in reversed(family):
            if certify.carry_evaluation(stale, witness, results):
                yield stale.job.id, stale.protocol


def _measured(
    families: list[list[StaleEvaluation]],
    run_of: Mapping[str, PretrainJob],
    mib: Mapping[str, int],
    measure: Each,
) -> dict[str, Any]:
    """The first of each family measured again, or why not, by its run: its protocols at once."""
    asked: dict[str, set[str]] = {}
    for first, *_ in families:
        asked.setdefault(first.job.id, set()).add(first.protocol)
    part = {first.job.id: jobs.part_of(first.job, asked[first.job.id]) for first, *_ in families}
    made = measure([run_of[name] for name in part], part.values(), [mib[name] for name in part])
    return dict(zip(part, made, strict=True))


def _memory(plan: Plan) -> dict[str, int]:
    """The MiB of a GPU that each run is planned to need."""
    return {run.id: run.cost.memory_mib for run in plan.runs}


def _families(stale: Iterable[tuple[PretrainJob, str, Stale]]) -> list[list[Stale]]:
    """What one config and the same code made, seed by seed: the first vouches for all.

    It is carried last, so that a script that was cut and started again finds the same one first.
    """
    families: dict[tuple[str, str], list[Stale]] = {}
    for job, kin, one in stale:
        families.setdefault((content_hash(job.config), kin), []).append(one)
    return list(families.values())


def _vouches(witness: Any, name: str, unlike: Callable[[Any], str]) -> bool:
    """Whether a witness is there and has the old bits; else says why not."""
    if isinstance(witness, ReclaimError):
        print(witness, file=sys.stderr)
        return False
    if why := unlike(witness):
        print(f"{name}: {why}", file=sys.stderr)
    return not why


@contextmanager
def spread(count: int) -> Iterator[Each]:
    """`map` over so many processes; over this one alone where that is enough."""
    if count == 1:
        yield map
        return
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        yield pool.map


def main() -> None:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("scale", help="one of the planned scales, with its sweeps")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--jobs", type=int, default=cores, help=f"processes [{cores}]")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--apart", type=Path, help="folder [results/SCALE/recertify]")
    asked = parser.parse_args()
    results = jobs.RESULTS / asked.scale
    try:
        with spread(max(1, asked.jobs)) as each:
            runs, evaluations = recertify(
                asked.scale, results, asked.apart or results / jobs.RECERTIFY, each, asked.device
            )
    except (ReclaimError, OSError, BrokenProcessPool) as error:
        print(f"recertify: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{len(runs)} runs and {len(evaluations)} evaluations carried over")


if __name__ == "__main__":
    main()
