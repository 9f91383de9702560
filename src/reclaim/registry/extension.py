"""Further runs that judging asks for, which the committed plan does not start by itself.

The committed plan never changes from results: seeds that open claims want, and the sweeps of
readings that could bear a claim out, stand beside it, in `results/<scale>/plan.json`, and are
merged when a plan is read. Of a row there only config and seed count; the rest is taken from the
plan, so a claim that is new there is served by these runs too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reclaim.records import Plan, Run


def extend(plan: Plan, whole: Plan, seeds: Mapping[str, int], before: Plan | None = None) -> Plan:
    """The extension that gives each named config so many seeds in all.

    `whole` is the plan with its sweeps. What was added `before` stays: a claim that further seeds
    settled asks for none, and would lose them. Raises KeyError for a config that is not planned.
    """
    wanted = [(config, seed) for config, count in seeds.items() for seed in range(count)]
    wanted += [(run.config, run.seed) for run in (before.runs if before else ())]
    return further(plan, whole, wanted)


def further(plan: Plan, whole: Plan, wanted: Iterable[tuple[str, int]]) -> Plan:
    """The rows by config and seed that a plan lacks, in the order of the whole one.

    What they start from comes with them: seed i starts from seed i of another run, or from the same
    fetched weights. Raises KeyError for a config that is not planned.
    """
    there = {run.id: run for run in whole.runs}
    samples = {run.config: run for run in reversed(whole.runs)}
    added: dict[str, Run] = {}
    waiting = list(dict.fromkeys(wanted))
    for config, seed in waiting:
        sample = samples[config]
        first = there.get(sample.init or "")
        if first is not None:
            waiting.append((first.config, seed))
        init = sample.init if first is None else _id(first, seed)
        name = _id(sample, seed)
        made = sample.model_copy(update={"id": name, "seed": seed, "init": init})
        added[name] = there.get(name, made)
    place = {config: n for n, config in enumerate(dict.fromkeys(r.config for r in whole.runs))}
    known = {run.id for run in plan.runs}
    rows = [run for name, run in added.items() if name not in known]
    return _part(whole, sorted(rows, key=lambda run: (place[run.config], run.seed)))


def _part(whole: Plan, runs: Iterable[Run]) -> Plan:
    """The part of a plan that some rows need."""
    runs = tuple(runs)
    configs = dict.fromkeys(run.config for run in runs)
    readings = {key: whole.readings[key] for key in configs if key in whole.readings}
    used = {name for run in runs for name in run.protocols}
    used |= {name for reread in readings.values() for r in reread.values() for name in r.protocols}
    return Plan(
        scale=whole.scale,
        gpu=whole.gpu,
        configs={key: whole.configs[key] for key in configs},
        protocols={name: p for name, p in whole.protocols.items() if name in used},
        readings=readings,
        runs=runs,
    )


def _id(sample: Run, seed: int) -> str:
    """The id of another seed of a run."""
    return f"{sample.id.removesuffix(f'-s{sample.seed}')}-s{seed}"
