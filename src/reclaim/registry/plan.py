"""From claims to runs: every run once, however many claims ask for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from reclaim.records import (
    Artifact,
    Config,
    Cost,
    Model,
    Plan,
    Protocol,
    ReclaimError,
    Run,
    StandIn,
    content_hash,
    first_fault,
)
from reclaim.registry.claims import Paper, ValueClaim, load_papers
from reclaim.registry.claims.names import setting, variant
from reclaim.registry.claims.text import read_yaml
from reclaim.registry.cost import Anchor, cost
from reclaim.registry.datasets import dataset as dataset_facts
from reclaim.registry.recipes import KNOBS, RECIPES, Recipe, knobs_of, recipe, resolve_terms

SCALES = Path("workflow/scales")
PROTOCOLS: TypeAdapter[Protocol] = TypeAdapter(Protocol)


class ScaleValue(Model):
    """A setting of a scale and where it comes from."""

    value: Any
    mark: Literal["paper", "scaled", "assumed"]
    why: str


class ForRecipes(Model):
    """Settings that a scale gives some recipes alone, over its other ones."""

    recipes: tuple[str, ...] = Field(min_length=1)
    values: dict[str, ScaleValue]


class Sweep(Model):
    """A setting that is varied in runs beside the plan: one at a time, the rest as planned.

    `papers`: under whose protocol, where papers decide; empty means all.
    """

    recipes: tuple[str, ...] = Field(min_length=1)
    papers: tuple[str, ...] = ()
    path: str
    values: tuple[Any, ...] = Field(min_length=1)
    why: str


class Scale(Artifact):
    """`workflow/scales/<scale>.yaml`: the settings that a scale decides, by dotted path.

    At a transfer scale all settings are its own; else they are what a paper's protocol leaves
    open. The recipes of `besides` run whether or not a claim asks for them: on every data set
    (`every`), or on those of one paper. With `readings` the other readings that papers give these
    claims' runs are planned too: with the sweeps, or as further measurements of the planned runs.
    `inits` names fetched weights for a recipe that others start from; without an entry they start
    from that recipe's run of their own seed.
    """

    scale: str
    transfer: bool
    seeds: int = Field(ge=1)
    besides: dict[str, tuple[str, ...]]
    readings: bool = False
    inits: dict[str, str] = Field(default_factory=dict)
    anchor: Anchor | None = None
    values: dict[str, ScaleValue]
    for_recipes: tuple[ForRecipes, ...] = ()
    sweeps: tuple[Sweep, ...] = ()

    @model_validator(mode="after")
    def _readings_are_of_papers(self) -> Self:
        if self.readings and self.transfer:
            raise ValueError("a transfer scale charges no paper, so it has no readings")
        return self


def load_scale(name: str) -> Scale:
    """A scale's file. Raises ReclaimError for one that is unknown or does not fit the schema."""
    known = sorted(path.stem for path in SCALES.glob("*.yaml"))
    if name not in known:
        names = ", ".join(known) or "none here"
        raise ReclaimError(f"unknown scale {name!r}; known: {names} ({SCALES})")
    path = SCALES / f"{name}.yaml"
    document = read_yaml(path)
    try:
        scale = Scale.model_validate(document.value)
    except ValidationError as error:
        message = f"{first_fault(error)}; mend the setting"
        raise document.fault(error.errors()[0]["loc"], message) from error
    places: list[tuple[tuple[str | int, ...], str]] = [(("values", p), p) for p in scale.values]
    for n, part in enumerate(scale.for_recipes):
        places += [(("for_recipes", n, "values", p), p) for p in part.values]
    places += [(("sweeps", n, "path"), sweep.path) for n, sweep in enumerate(scale.sweeps)]
    for place, setting_path in places:
        kind, _, knob = setting_path.partition(".")
        if setting(setting_path) is None or (kind == "knobs" and knob not in KNOBS):
            message = f"unknown setting {setting_path!r}; expected a path of records.Config, "
            message += f"evaluate.<protocol>.<value> or knobs.<{' | '.join(KNOBS)}>"
            raise document.fault(place, message)
    return scale


@dataclass(frozen=True)
class Wanted:
    """A recipe on a data set, with the claims that ask for it; `varied` is what a sweep changes.

    `paper` is whose protocol decides: None at a transfer scale.
    """

    recipe: str
    dataset: str
    paper: Paper | None
    claims: tuple[str, ...]
    protocols: frozenset[str]
    varied: Mapping[str, Any] = field(default_factory=dict)

    @property
    def variant(self) -> str:
        """How a reader tells it from the recipe as planned."""
        return variant(self.varied)


SWEPT = "a sweep, planned apart: `--config sweeps=true`"


def build_plan(name: str) -> Plan:
    """The plan of a scale from its file and all claims, without the sweeps."""
    return build_plans(name)[0]


def build_plans(name: str) -> tuple[Plan, Plan]:
    """The plan of a scale, and the plan of its sweeps: the runs that only these need.

    A sweep's row whose values are the planned ones is the planned run.
    """
    scale = load_scale(name)
    papers = load_papers()
    main, apart = _Rows(), _Rows()
    for wanted in _wanted(scale, papers):
        main.add(scale, wanted)
    for wanted in _swept(scale, papers):
        (main if main.has(scale, wanted) else apart).add(scale, wanted)
    for planned, reading, read in _readings(scale, papers):
        base, key = _key(_config(scale, planned)), _key(_config(scale, read))
        if key != base:  # a run of its own, which one rule measures in all ways, as every other
            whole = replace(read, protocols=FROZEN | read.protocols)
            (main if key in main.configs else apart).add(scale, whole)
        home = main if base in main.configs else apart
        home.note(base, reading, key, _protocols(scale, read))
    not_run = {claim: SWEPT for claims in apart.claims.values() for claim in claims}
    inits = dict(_inits(scale, main, apart))
    return main.plan(scale, not_run, inits), apart.plan(scale, {}, inits)


@dataclass
class _Rows:
    """What a plan collects, by config key."""

    configs: dict[str, Config] = field(default_factory=dict)
    claims: dict[str, list[str]] = field(default_factory=dict)
    protocols: dict[str, dict[str, Protocol]] = field(default_factory=dict)
    readings: dict[str, dict[str, StandIn]] = field(default_factory=dict)
    reread: dict[str, dict[str, Protocol]] = field(default_factory=dict)
    variants: dict[str, str] = field(default_factory=dict)

    def has(self, scale: Scale, wanted: Wanted) -> bool:
        return _key(_config(scale, wanted)) in self.configs

    def add(self, scale: Scale, wanted: Wanted) -> None:
        config = _config(scale, wanted)
        key = _key(config)
        self.configs[key] = config
        self.claims.setdefault(key, []).extend(wanted.claims)
        self.variants.setdefault(key, wanted.variant)
        self.protocols.setdefault(key, {}).update(_protocols(scale, wanted))

    def note(self, base: str, reading: str, key: str, protocols: Mapping[str, Protocol]) -> None:
        """Note which config stands for a row of this plan under a reading, measured by protocols.

        Where that is the row's own, the protocols that the reading changes measure the row too.
        Raises ReclaimError where another config stands for it already.
        """
        found = self.readings.setdefault(base, {}).setdefault(reading, StandIn(config=key))
        if found.config != key:
            raise ReclaimError(
                f"{reading} of {base} would be {found.config} for one claim and {key} for another; "
                "give one of these claims a setting of its own"
            )
        if key == base:
            others = {name: p for name, p in protocols.items() if name not in self.protocols[base]}
            self.reread.setdefault(base, {}).update(others)
            changed = tuple(dict.fromkeys((*found.protocols, *others)))
            self.readings[base][reading] = StandIn(config=key, protocols=changed)

    def plan(
        self, scale: Scale, not_run: dict[str, str], inits: Mapping[tuple[str, str], str]
    ) -> Plan:
        runs = tuple(
            self._run(scale, key, config, seed, inits)
            for key, config in self.configs.items()
            for seed in range(scale.seeds)
        )
        every = {name: p for key in self.configs for name, p in self._measures(key).items()}
        return Plan(
            scale=scale.scale,
            gpu=scale.anchor.gpu if scale.anchor else None,
            configs=self.configs,
            protocols=every,
            readings=self.readings,
            not_run=not_run,
            runs=runs,
        )

    def _run(
        self,
        scale: Scale,
        key: str,
        config: Config,
        seed: int,
        inits: Mapping[tuple[str, str], str],
    ) -> Run:
        source = recipe(config.recipe).init
        init = None if source is None else inits[source, config.dataset.name].format(seed=seed)
        return Run(
            id=f"{key}-s{seed}",
            recipe=config.recipe,
            dataset=config.dataset.name,
            seed=seed,
            init=init,
            variant=self.variants[key],
            config=key,
            protocols=tuple(self.protocols[key]),
            claims=tuple(dict.fromkeys(self.claims[key])),
            cost=cost(config, self._measures(key).values(), scale.anchor),
        )

    def _measures(self, key: str) -> dict[str, Protocol]:
        """All that measures a row, by name."""
        return {**self.protocols[key], **self.reread.get(key, {})}


def _key(config: Config) -> str:
    return f"{config.recipe}-{config.dataset.name}-{content_hash(config)[:8]}"


def _config(scale: Scale, wanted: Wanted) -> Config:
    return resolve_config(scale.scale, wanted.recipe, _settings(scale, wanted))


def _protocols(scale: Scale, wanted: Wanted) -> dict[str, Protocol]:
    """What measures a row as planned, by name."""
    protocols = resolve_protocols(_settings(scale, wanted), wanted.protocols)
    return {f"{protocol.kind}-{content_hash(protocol)[:8]}": protocol for protocol in protocols}


def _inits(scale: Scale, main: _Rows, apart: _Rows) -> Iterable[tuple[tuple[str, str], str]]:
    """What a run starts from, by recipe trained before and data set; `{seed}` stands for its own.

    Raises ReclaimError if that recipe is neither fetched nor planned.
    """
    configs = [*main.configs.values(), *apart.configs.values()]
    asked = {(recipe(config.recipe).init, config.dataset.name) for config in configs}
    for source, dataset in sorted((s, d) for s, d in asked if s is not None):
        keys = [
            key
            for key, config in main.configs.items()
            if (config.recipe, config.dataset.name) == (source, dataset)
        ]
        if source in scale.inits:
            yield (source, dataset), scale.inits[source]
        elif keys:
            yield (source, dataset), f"{keys[0]}-s{{seed}}"
        else:
            raise ReclaimError(
                f"scale {scale.scale!r}: a recipe starts from {source!r}, which is not planned on "
                f"{dataset}: name it under `besides`, or its weights under `inits`"
            )


FROZEN = frozenset({"linear", "knn", "geometry"})
Asked = dict[tuple[str, str, str], list[ValueClaim]]


def _asked(papers: Mapping[str, Paper], swept: bool) -> Asked:
    """The claims by recipe, data set and paper: those of sweeps, or the others."""
    asked: Asked = {}
    for paper in papers.values():
        for claim in paper.cells():
            if bool(claim.knobs) == swept:
                asked.setdefault((claim.recipe, claim.dataset, paper.id), []).append(claim)
    return asked


def _kinds(claims: Iterable[ValueClaim]) -> frozenset[str]:
    return FROZEN | {claim.evaluation for claim in claims}


def _wanted(scale: Scale, papers: Mapping[str, Paper]) -> Iterable[Wanted]:
    """What the claims and the scale ask for, without the sweeps.

    The control `untrained` is measured in every way that a claim beside it asks for.
    """
    asked = _asked(papers, swept=False)
    if scale.transfer:
        yield from _merged(scale, asked)
        return
    for paper_id, dataset in dict.fromkeys((p, d) for _, d, p in asked):
        for name in (*scale.besides.get("every", ()), *scale.besides.get(paper_id, ())):
            asked.setdefault((name, dataset, paper_id), [])
    every = {
        (dataset, paper_id): _kinds(
            claim
            for (_, *place), claims in asked.items()
            for claim in claims
            if place == [dataset, paper_id]
        )
        for _, dataset, paper_id in asked
    }
    for (name, dataset, paper_id), claims in asked.items():
        ids = tuple(claim.id for claim in claims)
        kinds = every[dataset, paper_id] if name == "untrained" else _kinds(claims)
        yield Wanted(name, dataset, papers[paper_id], ids, kinds)


def _merged(scale: Scale, asked: Asked) -> Iterable[Wanted]:
    """All data sets' claims on a recipe, asked of the one data set of a transfer scale."""
    dataset = scale.values["dataset.name"].value
    merged: dict[str, list[ValueClaim]] = {
        name: [] for names in scale.besides.values() for name in names
    }
    for (name, _, _), claims in asked.items():
        merged.setdefault(name, []).extend(claims)
    every = _kinds(claim for claims in merged.values() for claim in claims)
    for name in RECIPES:
        if name in merged:
            kinds = every if name == "untrained" else _kinds(merged[name])
            yield Wanted(name, dataset, None, tuple(claim.id for claim in merged[name]), kinds)


def _swept(scale: Scale, papers: Mapping[str, Paper]) -> Iterable[Wanted]:
    """The claims' own sweeps, row by row, then the scale's."""
    for (name, dataset, paper_id), claims in _asked(papers, swept=True).items():
        place = scale.values["dataset.name"].value if scale.transfer else dataset
        for claim in claims:
            varied = {f"knobs.{knob}": value for knob, value in claim.knobs.items()}
            paper = None if scale.transfer else papers[paper_id]
            yield Wanted(name, place, paper, (claim.id,), _kinds([claim]), varied)
    for sweep in scale.sweeps:
        for wanted in _wanted(scale, papers):
            under = wanted.paper is None or not sweep.papers or wanted.paper.id in sweep.papers
            if under and wanted.recipe in sweep.recipes:
                for value in sweep.values:
                    yield replace(wanted, claims=(), varied={sweep.path: value})


def _readings(scale: Scale, papers: Mapping[str, Paper]) -> Iterable[tuple[Wanted, str, Wanted]]:
    """What each claim asks for as planned, and under each other reading, by its name."""
    if not scale.readings:
        return
    for swept in (False, True):
        for (name, dataset, paper_id), claims in _asked(papers, swept).items():
            paper = papers[paper_id]
            asked = {(tuple(claim.knobs.items()), claim.evaluation) for claim in claims}
            for varied, kind in sorted(asked):
                knobs = {f"knobs.{knob}": value for knob, value in varied}
                planned = Wanted(name, dataset, paper, (), frozenset({kind}), knobs)
                for reading in paper.readings(name, dataset, [knob for knob, _ in varied]):
                    if reading.runs:
                        read = replace(
                            planned,
                            recipe=reading.recipe or name,
                            varied={**knobs, **reading.settings},
                        )
                        yield planned, reading.name, read


def with_unrunnable_readings() -> dict[str, list[str]]:
    """The printed numbers of which a reading can be run by nothing here, by claim, with its names.

    They are never `not reproduced`.
    """
    found = {
        claim.id: [
            reading.name
            for reading in paper.readings(claim.recipe, claim.dataset, claim.knobs)
            if not reading.runs
        ]
        for paper in load_papers().values()
        for claim in paper.cells()
    }
    return {claim: names for claim, names in found.items() if names}


def _settings(scale: Scale, wanted: Wanted) -> dict[str, Any]:
    """By dotted path: the scale's, over them the paper's at paper scale, then a sweep's."""
    settings = {path: entry.value for path, entry in scale.values.items()}
    for part in scale.for_recipes:
        if wanted.recipe in part.recipes:
            settings |= {path: entry.value for path, entry in part.values.items()}
    settings["dataset.name"] = wanted.dataset
    if wanted.paper is not None:
        settings |= wanted.paper.settings(recipe=wanted.recipe, dataset=wanted.dataset)
    return settings | dict(wanted.varied)


def resolve_config(scale: str, name: str, settings: Mapping[str, Any]) -> Config:
    """The full config of a recipe from settings by dotted path.

    Raises ReclaimError for a value out of range or a setting that is missing.
    """
    row = recipe(name)
    facts = dataset_facts(settings["dataset.name"])
    tree = _nested(settings)
    tree |= _decided(row, tree)
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
    _check_online(row, config)
    _check_twin(row, config)
    queue = config.twin.queue if config.twin else None
    return config.model_copy(update={"terms": resolve_terms(name, config.batch, knobs, queue)})


def _check_online(row: Recipe, config: Config) -> None:
    if config.online != row.online and not {config.online, row.online} <= {"together", "apart"}:
        raise ReclaimError(
            f"recipe {config.recipe!r} at scale {config.scale!r}: online = {config.online!r} is "
            f"another method, its network sees {row.online!r}; leave it out"
        )


def _check_twin(row: Recipe, config: Config) -> None:
    twin, name = config.twin, f"recipe {config.recipe!r} at scale {config.scale!r}"
    if row.queue and not (twin and twin.queue):
        raise ReclaimError(f"{name} needs a queue; give twin.queue")
    if row.crops and not (twin and twin.centre_momentum is not None):
        raise ReclaimError(f"{name} needs a centre; give twin.centre_momentum")
    if twin and twin.mask_own and any(term.pairing != "queued" for term in row.terms):
        raise ReclaimError(f"{name} has no use for twin.mask_own: it mines its queue; leave it out")


def _decided(row: Recipe, tree: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of the settings in which a row has a say: what it decides goes over the rest."""
    network = {**tree.get("network", {}), **row.network}
    parts: dict[str, Any] = {
        "online": tree.get("online", row.online),
        "network": network if "arch" not in row.network else dict(row.network),
        "twin": None if row.twin is None else {**tree.get("twin", {}), **row.twin},
    }
    if row.twin is not None:
        unused = set() if row.queue else {"queue", "mask_own"}
        unused |= set() if row.crops else {"centre_momentum"}
        parts["twin"] = {key: value for key, value in parts["twin"].items() if key not in unused}
    return parts if row.crops else parts | {"local_views": (), "local_crops": 0}


def resolve_protocols(
    settings: Mapping[str, Any], kinds: Collection[str] = FROZEN
) -> list[Protocol]:
    """The evaluation protocols of these kinds, in the order linear, knn, geometry, fine_tune."""
    tree = _nested(settings)
    evaluate = tree.get("evaluate", {})
    linear = evaluate.get("linear", {})
    names = ("encoder", "test_views", "test_batch")
    shared = {key: linear[key] for key in names if key in linear}
    own_views = {key: value for key, value in shared.items() if key != "test_batch"}
    chosen = {
        "linear": linear,
        "knn": shared | evaluate.get("knn", {}),
        "geometry": own_views | {"views": tree.get("views")},
        "fine_tune": shared | evaluate.get("fine_tune", {}),
    }
    try:
        return [
            PROTOCOLS.validate_python({"kind": kind, **values})
            for kind, values in chosen.items()
            if kind in kinds
        ]
    except ValidationError as error:
        raise ReclaimError(f"evaluation protocol: {first_fault(error)}") from error


def _nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, value in settings.items():
        *parents, leaf = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree


def summary(plan: Plan) -> list[tuple[Config, Cost]]:
    """Each config of a plan with the cost of one of its runs."""
    costs = {run.config: run.cost for run in plan.runs}
    return [(config, costs[key]) for key, config in plan.configs.items()]
