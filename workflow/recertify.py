"""Carry finished runs and evaluations over a change of code that changed no bit of them.

Of each config one seed is trained again, apart from the results, and where the code of its
evaluations changed, measured again. Where the bits are the old ones, what is there of all seeds is
stamped with the present job, and a certificate says so (`reclaim.registry.certify`); where a bit
differs it stays stale. Runs that start from another's encoder come once that one is carried.
Started again, it uses what it had trained.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
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
    """The runs, and the evaluations (run, kind of protocol), that were carried.

    `each` is `map`, or that of a pool of processes. Raises ReclaimError where there is no run.
    """
    from reclaim.learning.witness import measure_again, train_again

    plan = jobs.read_plan(scale, sweeps=True)
    if not any(results.glob("runs/*/*/run.json")):
        raise ReclaimError(f"{results}/runs: no finished run, so nothing to carry; train first")
    train = partial(train_again, results=results, apart=apart, data=data, device=device)
    measure = partial(measure_again, results=results, apart=apart, data=data, device=device)
    with jobs.alone(apart / "recertify.lock"):
        runs = list(_carry_runs(plan, results, data, partial(each, train)))
        evaluations = list(_carry_evaluations(plan, results, data, partial(each, measure)))
    return runs, evaluations


def _carry_runs(plan: Plan, results: Path, data: Path, train: Each) -> Iterator[str]:
    tried: set[str] = set()
    while waiting := [
        stale for stale in certify.stale_runs(plan, results, data) if stale.job.id not in tried
    ]:
        tried |= {stale.job.id for stale in waiting}
        families = _families((stale.job, stale.old.kin, stale) for stale in waiting)
        for family, witness in zip(families, train([f[0].job for f in families]), strict=True):
            first = family[0]
            if _vouches(witness, first.job.id, first.old.same, "learns"):
                yield from (
                    stale.job.id
                    for stale in reversed(family)
                    if certify.carry_run(stale, witness, results)
                )


def _carry_evaluations(
    plan: Plan, results: Path, data: Path, measure: Each
) -> Iterator[tuple[str, str]]:
    edited: list[tuple[PretrainJob, str, StaleEvaluation]] = []
    for pretrained, stale in certify.stale_evaluations(plan, results, data):
        if stale.old.code != stale.job.code[stale.kind]:
            edited.append((pretrained, stale.kin, stale))
        elif certify.carry_evaluation(stale, None, results):
            yield stale.job.id, stale.kind
    families = _families(edited)
    run_of = {pretrained.id: pretrained for pretrained, _, _ in edited}
    kinds: dict[str, set[str]] = {}
    for first, *_ in families:
        kinds.setdefault(first.job.id, set()).add(first.kind)
    part = {first.job.id: jobs.part_of(first.job, kinds[first.job.id]) for first, *_ in families}
    found: dict[str, Any] = dict(
        zip(part, measure([run_of[name] for name in part], part.values()), strict=True)
    )
    for family in families:
        first = family[0]
        made = found[first.job.id]
        witness: Any = made if isinstance(made, ReclaimError) else made[first.kind]
        if _vouches(witness, f"{first.job.id} {first.kind}", first.same, "measures"):
            yield from (
                (stale.job.id, stale.kind)
                for stale in reversed(family)
                if certify.carry_evaluation(stale, witness, results)
            )


def _families(stale: Iterable[tuple[PretrainJob, str, Stale]]) -> list[list[Stale]]:
    """What one config and the same code made, seed by seed: the first vouches for all.

    It is carried last, so that a script that was cut and started again finds the same one first.
    """
    families: dict[tuple[str, str], list[Stale]] = {}
    for job, kin, one in stale:
        families.setdefault((content_hash(job.config), kin), []).append(one)
    return list(families.values())


def _vouches(witness: Any, name: str, same: Callable[[Any], bool], does: str) -> bool:
    """Whether a witness is there and has the old bits; else says why not."""
    if isinstance(witness, ReclaimError):
        print(witness, file=sys.stderr)
    elif not same(witness):
        print(f"{name}: {does} something else now", file=sys.stderr)
    else:
        return True
    return False


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
                asked.scale, results, asked.apart or results / "recertify", each, asked.device
            )
    except ReclaimError as error:
        print(f"recertify: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{len(runs)} runs and {len(evaluations)} evaluations carried over")


if __name__ == "__main__":
    main()
