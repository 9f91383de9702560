"""The dress rehearsal: the plan of the paper scale, cut to two steps on made-up images.

It starts every distinct config once, with the real network, image size, queue and batch, so that
what would fail after days in a queue fails within minutes. What it writes lies under a scale of
its own, on data sets of other names, and is never taken for a result.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reclaim.records import (
    PAPER,
    REHEARSAL,
    Config,
    Dataset,
    FineTuneProtocol,
    GeometryProtocol,
    LinearProtocol,
    Plan,
    Protocol,
    ReclaimError,
    Run,
    StandIn,
    Step,
    Term,
    content_hash,
)
from reclaim.registry.cost import MIB, cost, memory
from reclaim.registry.datasets import DATASETS

EPOCHS = 2  # of one step: the end of an epoch, and mixing that starts later, are rehearsed too
MEMORY_MIB = 12 * 1024  # two runs at once on a machine of 24 GiB
TEST_BATCH = 8


def rehearse(plan: Plan, batch: int | None = None, images: int | None = None) -> Plan:
    """The rehearsal of a plan: one seed of every config, cut short, serving no claim.

    What other readings measure by is rehearsed once each, on the first config that it is for. A
    batch that needs more than half of 24 GiB is halved until it does not; the run's `variant` says
    so. For tests `batch` and `images` make the steps and the data smaller still.
    """
    protocols = {name: _brief(protocol) for name, protocol in plan.protocols.items()}
    named = {name: f"{p.kind}-{content_hash(p)[:8]}" for name, p in protocols.items()}
    configs = {key: _cut(config, batch, images) for key, config in plan.configs.items()}
    keys = {
        key: f"{config.recipe}-{config.dataset.name}-{content_hash(config)[:8]}"
        for key, config in configs.items()
    }
    trained = {run.id: f"{keys[run.config]}-s0" for run in plan.runs}
    runs: dict[str, Run] = {}
    for run in plan.runs:
        key, config = keys[run.config], configs[run.config]
        wished = batch or plan.configs[run.config].batch
        runs[key] = runs.get(key) or Run(
            id=f"{key}-s0",
            recipe=run.recipe,
            dataset=config.dataset.name,
            seed=0,
            init=run.init and trained.get(run.init, run.init.replace("/", "/rehearsal_")),
            variant="" if config.batch == wished else f"batch {config.batch} instead of {wished}",
            config=key,
            protocols=tuple(named[name] for name in run.protocols),
            cost=cost(config, [protocols[name] for name in run.protocols], None),
        )
    return Plan(
        scale=REHEARSAL,
        configs={keys[key]: config for key, config in configs.items()},
        protocols={named[name]: protocol for name, protocol in protocols.items()},
        readings=_each_once(plan, keys, named),
        runs=tuple(runs.values()),
    )


def rehearsal_of(scale: str) -> str:
    """The scale that rehearses another. Raises ReclaimError for one that needs no rehearsal."""
    if scale != PAPER:
        raise ReclaimError(
            f"scale {scale!r} has no rehearsal, it runs as it is; only {PAPER!r} has one"
        )
    return REHEARSAL


def _each_once(
    plan: Plan, keys: Mapping[str, str], named: Mapping[str, str]
) -> dict[str, dict[str, StandIn]]:
    """The readings of a plan that measure by what no reading before them did, under new names."""
    met: set[str] = set()
    kept: dict[str, dict[str, StandIn]] = {}
    for config, key in keys.items():
        for reading, stand_in in plan.readings.get(config, {}).items():
            if not met.issuperset(stand_in.protocols):
                met.update(stand_in.protocols)
                protocols = tuple(named[name] for name in stand_in.protocols)
                kept.setdefault(key, {})[reading] = StandIn(config=key, protocols=protocols)
    return kept


def _cut(config: Config, batch: int | None, images: int | None) -> Config:
    """A config of two epochs of one step on made-up images, of a batch that memory allows."""
    smaller = min(config.batch, batch or config.batch)
    while True:
        cut = _of_batch(config, smaller, images)
        if memory(cut, ()) <= MEMORY_MIB * MIB or smaller % 2 or smaller <= 2:
            return cut
        smaller //= 2


def _of_batch(config: Config, batch: int, images: int | None) -> Config:
    epochs = min(config.epochs, EPOCHS)
    changes: dict[str, Any] = {
        "scale": REHEARSAL,
        "dataset": _made_up(config.dataset, images),
        "terms": tuple(_term(term, batch) for term in config.terms),
        "optimiser": config.optimiser.model_copy(
            update={"warmup_epochs": min(config.optimiser.warmup_epochs, epochs // 2)}
        ),
        "epochs": epochs,
        "max_steps": 1,
        "batch": batch,
    }
    return Config.model_validate({**dict(config), **changes})


def _made_up(dataset: Dataset, images: int | None) -> Dataset:
    """The rehearsal's images in the place of a real set, a subset in its proportion."""
    real, made_up = DATASETS[dataset.name], DATASETS[f"rehearsal_{dataset.name}"]
    changes: dict[str, Any] = {"name": made_up.name}
    if images is not None:
        changes |= {"subset": images, "held_out": False}
    elif dataset.subset is not None:
        changes |= {"subset": dataset.subset * made_up.n_train // real.n_train}
    return dataset.model_copy(update=changes)


def _term(term: Term, batch: int) -> Term:
    """A term whose mixing starts in the last epoch at the latest, from what a small batch has."""
    most = {"start": EPOCHS - 1}
    if term.pairing == "in_batch":
        most |= dict.fromkeys(("hardest", "synthetics", "query_mixes"), 2 * batch - 2)
    steps = tuple(
        Step(name=step.name, knobs={k: min(v, most.get(k, v)) for k, v in step.knobs.items()})
        for step in term.steps
    )
    return term.model_copy(update={"steps": steps})


def _brief(protocol: Protocol) -> Protocol:
    """A protocol of one epoch, and of test batches that a handful of images fills."""
    changes: dict[str, int] = {}
    if isinstance(protocol, LinearProtocol | FineTuneProtocol):
        changes["epochs"] = 1
    if not isinstance(protocol, GeometryProtocol) and protocol.test_batch:
        changes["test_batch"] = min(protocol.test_batch, TEST_BATCH)
    return protocol.model_copy(update=changes)
