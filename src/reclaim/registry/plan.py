"""From claims to runs: every run once, however many claims ask for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from reclaim.records import (
    Artifact,
    Config,
    Cost,
    Model,
    Plan,
    Protocol,
    ReclaimError,
    Run,
    content_hash,
    first_fault,
)
from reclaim.registry.claims import Paper, load_papers
from reclaim.registry.claims.names import setting
from reclaim.registry.claims.text import read_yaml
from reclaim.registry.datasets import DATASETS
from reclaim.registry.datasets import dataset as dataset_facts
from reclaim.registry.recipes import KNOBS, NOT_YET, RECIPES, knobs_of, recipe, resolve_terms

SCALES = Path("workflow/scales")
PROTOCOLS: TypeAdapter[Protocol] = TypeAdapter(Protocol)


class ScaleValue(Model):
    """A setting of a scale and where it comes from."""

    value: Any
    mark: Literal["paper", "scaled", "assumed"]
    why: str


class Anchor(Model):
    """A stated training time, from which other runs' times are scaled by the images they see."""

    gpu: str
    hours: float = Field(gt=0)
    epochs: int = Field(gt=0)
    steps: int = Field(gt=0)
    batch: int = Field(gt=0)
    source: str


class Scale(Artifact):
    """`workflow/scales/<scale>.yaml`: the settings that a scale decides, by dotted path.

    At a transfer scale all settings are its own; else they are what a paper's protocol leaves
    open. The recipes of `besides` run on every data set, whether or not a claim asks for them.
    """

    scale: str
    transfer: bool
    seeds: int = Field(ge=1)
    besides: tuple[str, ...]
    anchor: Anchor | None = None
    values: dict[str, ScaleValue]


def load_scale(name: str) -> Scale:
    """A scale's file. Raises ReclaimError for one that is unknown or does not fit the schema."""
    known = sorted(path.stem for path in SCALES.glob("*.yaml"))
    if name not in known:
        raise ReclaimError(f"unknown scale {name!r}; known: {', '.join(known) or 'none here'}")
    path = SCALES / f"{name}.yaml"
    document = read_yaml(path)
    try:
        scale = Scale.model_validate(document.value)
    except ValidationError as error:
        raise document.fault(error.errors()[0]["loc"], first_fault(error)) from error
    for setting_path in scale.values:
        kind, _, knob = setting_path.partition(".")
        if setting(setting_path) is None or (kind == "knobs" and knob not in KNOBS):
            message = f"unknown setting {setting_path!r}; expected a path of records.Config, "
            message += f"evaluate.<protocol>.<value> or knobs.<{' | '.join(KNOBS)}>"
            raise document.fault(("values", setting_path), message)
    return scale


def build_plan(name: str) -> Plan:
    """The plan of a scale from its file and all claims."""
    scale = load_scale(name)
    papers = load_papers()
    rows: dict[str, list[str]] = {}
    configs: dict[str, Config] = {}
    protocols: dict[str, Protocol] = {}
    used: dict[str, tuple[str, ...]] = {}
    not_run = {
        claim.id: "a sweep, which this version does not plan"
        for paper in papers.values()
        for claim in paper.cells()
        if claim.knobs
    }
    for recipe_name, dataset, paper, claims in _wanted(scale, papers):
        if recipe_name in NOT_YET:
            not_run |= dict.fromkeys(claims, f"recipe {recipe_name} {NOT_YET[recipe_name]}")
            continue
        settings = _settings(scale, paper, recipe_name, dataset)
        config = resolve_config(scale.scale, recipe_name, settings)
        key = f"{recipe_name}-{config.dataset.name}-{content_hash(config)[:8]}"
        configs[key] = config
        rows.setdefault(key, []).extend(claims)
        measured = {f"{p.kind}-{content_hash(p)[:8]}": p for p in resolve_protocols(settings)}
        protocols |= measured
        used[key] = tuple(measured)
    runs = [
        Run(
            id=f"{key}-s{seed}",
            recipe=config.recipe,
            dataset=config.dataset.name,
            seed=seed,
            config=key,
            protocols=used[key],
            claims=tuple(dict.fromkeys(rows[key])),
            cost=cost(config, scale.anchor),
        )
        for key, config in configs.items()
        for seed in range(scale.seeds)
    ]
    return Plan(
        scale=scale.scale, configs=configs, protocols=protocols, not_run=not_run, runs=tuple(runs)
    )


def _wanted(
    scale: Scale, papers: Mapping[str, Paper]
) -> Iterable[tuple[str, str, Paper | None, tuple[str, ...]]]:
    """Recipe, dataset, paper (None at a transfer scale) and the claims that ask for them."""
    asked: dict[tuple[str, str, str], list[str]] = {}
    for paper in papers.values():
        for claim in paper.cells():
            if not claim.knobs:
                asked.setdefault((claim.recipe, claim.dataset, paper.id), []).append(claim.id)
    if scale.transfer:
        yield from _merged(scale, asked)
        return
    for paper_id, dataset in dict.fromkeys((p, d) for _, d, p in asked):
        for name in scale.besides:
            asked.setdefault((name, dataset, paper_id), [])
    for (name, dataset, paper_id), claims in asked.items():
        yield name, dataset, papers[paper_id], tuple(claims)


def _merged(
    scale: Scale, asked: Mapping[tuple[str, str, str], Sequence[str]]
) -> Iterable[tuple[str, str, None, tuple[str, ...]]]:
    """All data sets' claims on a recipe, asked of the one data set of a transfer scale."""
    dataset = scale.values["dataset.name"].value
    merged: dict[str, list[str]] = {name: [] for name in scale.besides}
    for (name, _, _), claims in asked.items():
        merged.setdefault(name, []).extend(claims)
    for name in (*RECIPES, *NOT_YET):
        if name in merged:
            yield name, dataset, None, tuple(merged[name])


def _settings(scale: Scale, paper: Paper | None, name: str, dataset: str) -> dict[str, Any]:
    """Settings by dotted path: the scale's, and over them, at paper scale, the paper's."""
    settings = {path: entry.value for path, entry in scale.values.items()}
    settings["dataset.name"] = dataset
    if paper is not None:
        settings |= paper.settings(recipe=name, dataset=dataset)
    return settings


def resolve_config(scale: str, name: str, settings: Mapping[str, Any]) -> Config:
    """The full config of a recipe from settings by dotted path.

    Raises ReclaimError for a value out of range or a setting that is missing.
    """
    row = recipe(name)
    facts = dataset_facts(settings["dataset.name"])
    tree = _nested(settings)
    if row.arch is not None:
        tree["network"] = {"arch": row.arch}
    tree["dataset"] |= {"size": facts.size, "channels": facts.channels, "classes": facts.classes}
    if not row.terms:
        tree["epochs"] = 0
    knobs = {knob: value for knob, value in tree.get("knobs", {}).items() if knob in knobs_of(name)}
    fields = {key: value for key, value in tree.items() if key in Config.model_fields}
    try:
        config = Config.model_validate(fields | {"scale": scale, "recipe": name, "terms": ()})
    except ValidationError as error:
        raise ReclaimError(f"recipe {name!r} at scale {scale!r}: {first_fault(error)}") from error
    images = config.dataset.subset or facts.n_train
    if images > facts.n_train or (row.terms and config.batch > images):
        raise ReclaimError(
            f"recipe {name!r} at scale {scale!r}: a batch of {config.batch} from {images} "
            f"of the {facts.n_train} training images of {facts.name}; take fewer"
        )
    return config.model_copy(update={"terms": resolve_terms(name, config.batch, knobs)})


def resolve_protocols(settings: Mapping[str, Any]) -> list[Protocol]:
    """The evaluation protocols of the settings: linear, knn and geometry."""
    tree = _nested(settings)
    evaluate = tree.get("evaluate", {})
    linear = evaluate.get("linear", {})
    shared = {key: linear[key] for key in ("encoder", "test_views") if key in linear}
    chosen = {
        "linear": linear,
        "knn": shared | evaluate.get("knn", {}),
        "geometry": shared | {"views": tree.get("views")},
    }
    try:
        return [
            PROTOCOLS.validate_python({"kind": kind, **values}) for kind, values in chosen.items()
        ]
    except ValidationError as error:
        raise ReclaimError(f"evaluation protocol: {first_fault(error)}") from error


def cost(config: Config, anchor: Anchor | None) -> Cost:
    """Steps and images (views) of a training; GPU-hours in proportion to an anchor's images."""
    images = config.dataset.subset or DATASETS[config.dataset.name].n_train
    steps = config.epochs * (images // config.batch)
    seen = 2 * steps * config.batch
    if anchor is None:
        return Cost(steps=steps, images_seen=seen)
    per_hour = 2 * anchor.epochs * anchor.steps * anchor.batch / anchor.hours
    return Cost(steps=steps, images_seen=seen, gpu_hours=round(seen / per_hour, 2))


def _nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in settings.items():
        *parents, leaf = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree


def summary(plan: Plan) -> Sequence[tuple[str, str, int, int, float | None]]:
    """Recipe, dataset, seeds, steps and GPU-hours in all, a row per config."""
    rows = []
    for key, config in plan.configs.items():
        runs = [run for run in plan.runs if run.config == key]
        hours = [run.cost.gpu_hours for run in runs if run.cost.gpu_hours is not None]
        rows.append(
            (config.recipe, config.dataset.name, len(runs), sum(run.cost.steps for run in runs),
             sum(hours) if hours else None)
        )  # fmt: skip
    return rows
