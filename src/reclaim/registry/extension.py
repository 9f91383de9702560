"""Further seeds of planned configs, which the committed plan does not have.

The committed plan never changes from results: seeds that judging asks for stand beside it, in
`results/<scale>/plan.json`, and are merged when a plan is read. Of a row there only config and seed
count; the rest is taken from the plan, so a claim that is new there is served by these runs too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from reclaim.records import Plan, Run


def extend(plan: Plan, seeds: Mapping[str, int], before: Plan | None = None) -> Plan:
    """The extension that gives each named config of a plan so many seeds in all.

    What was added `before` stays: a claim that further seeds settled asks for none, and would lose
    them. Raises KeyError for a config that the plan does not have.
    """
    wanted = [(config, seed) for config, count in seeds.items() for seed in range(count)]
    wanted += [(run.config, run.seed) for run in (before.runs if before else ())]
    runs = further(plan, wanted)
    used = {name for run in runs for name in run.protocols}
    configs = dict.fromkeys(run.config for run in runs)
    return Plan(
        scale=plan.scale,
        gpu=plan.gpu,
        configs={key: plan.configs[key] for key in configs},
        protocols={name: p for name, p in plan.protocols.items() if name in used},
        runs=runs,
    )


def further(plan: Plan, wanted: Iterable[tuple[str, int]]) -> tuple[Run, ...]:
    """The rows by config and seed that a plan lacks, in its order, with what they start from.

    Seed i starts from seed i of another run, or from the same fetched weights. Raises KeyError for
    a config that the plan does not have.
    """
    there = {run.id: run for run in plan.runs}
    samples = {run.config: run for run in reversed(plan.runs)}
    added: dict[str, Run] = {}
    waiting = list(dict.fromkeys(wanted))
    for config, seed in waiting:
        sample = samples[config]
        first = there.get(sample.init or "")
        if first is not None:
            waiting.append((first.config, seed))
        init = sample.init if first is None else _id(first, seed)
        added[_id(sample, seed)] = sample.model_copy(
            update={"id": _id(sample, seed), "seed": seed, "init": init}
        )
    place = {config: n for n, config in enumerate(dict.fromkeys(r.config for r in plan.runs))}
    rows = [run for name, run in added.items() if name not in there]
    return tuple(sorted(rows, key=lambda run: (place[run.config], run.seed)))


def _id(sample: Run, seed: int) -> str:
    """The id of another seed of a run."""
    return f"{sample.id.removesuffix(f'-s{sample.seed}')}-s{seed}"
