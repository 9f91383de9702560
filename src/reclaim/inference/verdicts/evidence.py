"""What was measured, seen from the claims: claims, plan and measurements joined.

A claim's runs are those whose row of the plan lists it. Its readings are the other ways that the
paper's protocol gives to take the paper, where the plan says what stands for these runs; at a
transfer scale those that a sweep has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from reclaim.inference.controls import Measured
from reclaim.inference.measurements import check_planned
from reclaim.inference.predictions import Predictions
from reclaim.inference.replication.differences import one_sample
from reclaim.inference.replication.estimates import Estimate, mean_interval
from reclaim.inference.replication.sequences import mean_sequence, sequence_p
from reclaim.records import PAPER, REHEARSAL, Margin, PerImage, Plan, ReclaimError, Run
from reclaim.registry.claims import Claim, Paper, Table, ValueClaim, exact
from reclaim.registry.jobs import place_under
from reclaim.registry.recipes import RECIPES

if TYPE_CHECKING:
    import pandas as pd

Place = tuple[str, str, str]  # config, protocol, metric
Sides = tuple[float, float]  # one-sided p-values for and against a claim


@dataclass(frozen=True)
class Reading:
    """A way to take a paper: where the numbers of a planned config and kind of protocol are then.

    `name` is what it sets, "" for the plan's own reading. A place names config and protocol as
    measured; a config "" is not planned.
    """

    name: str
    places: Mapping[tuple[str, str], tuple[str, str]] = field(default_factory=dict)


PLANNED = Reading("")


@dataclass(frozen=True)
class Pair:
    """Two measured places by their shared seeds, accuracies in percent.

    `start`: of these seeds, how many the committed plan has, once seeds were added; else None.
    """

    places: tuple[Place, Place]
    first: tuple[float, ...]
    second: tuple[float, ...]
    start: int | None

    @cached_property
    def differences(self) -> list[float]:
        """First minus second, by seed."""
        return [a - b for a, b in zip(self.first, self.second, strict=True)]

    @cached_property
    def gap(self) -> Estimate:
        """The mean difference with its paired t interval, or with its confidence sequence."""
        return estimate(self.differences, self.start)

    def sides(self, offset: float = 0.0) -> Sides | None:
        """p-values that the difference is above an offset, and that it is below; None without.

        Those of a confidence sequence are two-sided at every look, so the one against the sign that
        was seen is 1.
        """
        beyond = [difference - offset for difference in self.differences]
        test = one_sample(beyond)
        if test is None or (self.start is not None and self.start < 2):
            return None
        other = 1 - test.p / 2
        p = test.p
        if self.start is not None:
            p, other = sequence_p(beyond, self.start), 1.0
        return (p / 2, other) if test.mean > 0 else (other, p / 2)


def estimate(values: Sequence[float], start: int | None) -> Estimate:
    """A mean with its t interval; where seeds were added to `start`, with its sequence's."""
    found = mean_interval(values)
    if start is None or found.interval is None:
        return found
    ends = mean_sequence(values, start) if start > 1 else None
    return Estimate(found.mean, found.sd, found.seeds, ends)


@dataclass(frozen=True)
class Evidence:
    """The measurements behind each claim; without `images` no predictions are looked at."""

    plan: Plan
    papers: Mapping[str, Paper]
    measured: Measured
    added: frozenset[str]
    images: Predictions | None

    @classmethod
    def of(
        cls,
        scale: str,
        papers: Mapping[str, Paper],
        plan: Plan,
        measurements: pd.DataFrame,
        source: Path,
        results: Path | None = None,
        added: frozenset[str] = frozenset(),
    ) -> Evidence:
        """Join a plan with its measurements.

        Raises ReclaimError for another scale, or rows that `measurements.check_planned` refuses.
        """
        if plan.scale != scale:
            raise ReclaimError(f"asked to judge {scale!r}, but the plan is of {plan.scale!r}")
        check_planned(source, measurements, plan)
        there = results is not None and (results / "evaluations").is_dir()
        images = Predictions(results) if results and there else None
        return cls(plan, papers, Measured.of(measurements, plan), added, images)

    @cached_property
    def claims(self) -> dict[str, tuple[Claim, ...]]:
        """The claims of each paper."""
        return {name: tuple(paper.claims) for name, paper in self.papers.items()}

    def cells(self, paper: str) -> dict[str, ValueClaim]:
        """A paper's printed numbers by claim id."""
        claims = self.claims[paper]
        return {claim.id: claim for claim in claims if isinstance(claim, ValueClaim)}

    @property
    def scale(self) -> str:
        """The scale of plan and measurements."""
        return self.plan.scale

    @property
    def transfers(self) -> bool:
        """Whether this scale says nothing about the papers' own numbers."""
        return self.scale != PAPER

    @cached_property
    def config_of(self) -> dict[str, str]:
        """The planned config that serves each claim."""
        found: dict[str, str] = {}
        for run in self.plan.runs:
            for claim in run.claims:
                found.setdefault(claim, run.config)
        return found

    @cached_property
    def runs(self) -> dict[str, dict[int, Run]]:
        """The runs of each config by seed."""
        found: dict[str, dict[int, Run]] = {}
        for run in sorted(self.plan.runs, key=lambda run: run.seed):
            found.setdefault(run.config, {}).setdefault(run.seed, run)
        return found

    # --- numbers ---------------------------------------------------------------------------------

    def place(self, claim: ValueClaim, reading: Reading = PLANNED) -> Place | None:
        """Where a claim's numbers are, under a reading; None where no run serves it."""
        planned = self.config_of.get(claim.id, ""), claim.evaluation
        config, protocol = reading.places.get(planned, planned)
        return (config, protocol, claim.metric) if config else None

    def values(self, place: Place | None) -> dict[int, float]:
        """Measured value by seed, in order of seeds; accuracies in percent."""
        if place is None:
            return {}
        if place not in self._values:
            config, protocol, metric = place
            found = self.measured.values.get(config, {}).get((protocol, metric), {})
            self._values[place] = dict(sorted(found.items()))
        return self._values[place]

    @cached_property
    def _values(self) -> dict[Place, dict[int, float]]:
        return {}

    def of_claim(self, claim: ValueClaim, reading: Reading = PLANNED) -> dict[int, float]:
        """A claim's measured values by seed."""
        return self.values(self.place(claim, reading))

    def start(self, seeds: Iterable[int], *places: Place) -> int | None:
        """How many of some seeds the committed plan has; None where none were added at this scale.

        A fixed look at all claims, and a sequence for those that it left open, would err more often
        than either: once seeds were added, every claim of the scale is judged by its sequence.
        """
        if not self.added:
            return None
        configs = [self.runs[config] for config, *_ in places]
        return sum(all(runs[seed].id not in self.added for runs in configs) for seed in seeds)

    def unfinished(self, place: Place | None) -> tuple[str, ...]:
        """A note that only some of the committed plan's seeds were measured."""
        if place is None:
            return ()
        planned = [run for run in self.runs[place[0]].values() if run.id not in self.added]
        there = len(self.values(place))
        return (f"{there} of {len(planned)} planned seeds",) if there < len(planned) else ()

    def pair(
        self, first: ValueClaim, second: ValueClaim, reading: Reading = PLANNED
    ) -> Pair | None:
        """Two claims by the seeds that both have; None where there is nothing to compare.

        At a transfer scale two cells can be one measurement (two data sets became one).
        """
        places = self.place(first, reading), self.place(second, reading)
        if places[0] is None or places[1] is None or places[0] == places[1]:
            return None
        a, b = self.values(places[0]), self.values(places[1])
        seeds = [seed for seed in a if seed in b]
        if not seeds:
            return None
        start = self.start(seeds, places[0], places[1])
        both = (places[0], places[1])
        return Pair(both, tuple(a[s] for s in seeds), tuple(b[s] for s in seeds), start)

    def per_image(self, pair: Pair | None) -> PerImage | None:
        """What the predictions of each image add to a difference; None where there are none."""
        if self.images is None or pair is None:
            return None
        sides = [
            ({seed: self.runs[config][seed] for seed in self.values(place)}, protocol, metric)
            for place in pair.places
            for config, protocol, metric in [place]
        ]
        return self.images.compare(sides[0], sides[1])

    def runs_of(self, claims: Sequence[ValueClaim]) -> tuple[str, ...]:
        """The measured runs behind some claims."""
        configs = (
            (self.runs[self.config_of[c.id]], self.of_claim(c))
            for c in claims
            if c.id in self.config_of
        )
        found = (runs[seed].id for runs, values in configs for seed in values)
        return tuple(dict.fromkeys(found))

    def control(self, claim: ValueClaim) -> str | None:
        """Where a claim's result stands between its controls."""
        place = self.place(claim)
        return None if place is None else self.measured.control(*place)

    # --- readings --------------------------------------------------------------------------------

    @cached_property
    def _swept(self) -> dict[tuple[str, str], str]:
        """The config that a sweep made of a planned one, by that and what it varies."""
        found: dict[tuple[str, str], str] = {}
        for config, run in self.measured.configs.items():
            if run.variant and (base := self.measured.planned(config)):
                found.setdefault((base, run.variant), config)
        return found

    def options(self, claim: ValueClaim) -> tuple[str, ...]:
        """The other readings that a claim's protocol gives, named as a sweep names them."""
        key = claim.paper, claim.recipe, claim.dataset, tuple(claim.knobs)
        if key not in self._options:
            self._options[key] = tuple(
                reading.name for reading in self.papers[key[0]].readings(*key[1:])
            )
        return self._options[key]

    @cached_property
    def _options(self) -> dict[tuple[str, str, str, tuple[str, ...]], tuple[str, ...]]:
        return {}

    def readings(self, claims: Sequence[ValueClaim]) -> tuple[Reading, ...]:
        """The planned reading of some claims, then every other that their protocol gives.

        A reading that does not concern a claim leaves its numbers as planned; one that concerns
        none is no reading of theirs. What the plan does not have was not measured; it is left out
        at a transfer scale, which charges no paper.
        """
        options = {claim.id: self.options(claim) for claim in claims}
        names = dict.fromkeys(name for given in options.values() for name in given)
        found = [PLANNED]
        for name in names:
            concerned = (claim for claim in claims if name in options[claim.id])
            planned = [(self.config_of.get(claim.id, ""), claim.evaluation) for claim in concerned]
            places = {place: self._under(name, *place) for place in planned}
            known = all(config for config, _ in places.values()) or not self.transfers
            if known and any(place != other for place, other in places.items()):
                found.append(Reading(name, places))
        return tuple(found)

    def _under(self, name: str, config: str, kind: str) -> tuple[str, str]:
        """Where the numbers of a planned config and kind are under a reading; a config "": nowhere.

        At a transfer scale, which plans no readings, a sweep of that name stands for one.
        """
        swept = self._swept.get((config, name), "") if self.transfers else ""
        return place_under(self.plan, config, kind, name) or (swept, kind)

    # --- why not ---------------------------------------------------------------------------------

    def reason(self, claims: Sequence[ValueClaim]) -> str:
        """Why claims were not measured."""
        for claim in claims:
            if claim.id in self.plan.not_run:
                return f"untestable: not run: {self.plan.not_run[claim.id]}"
        for claim in claims:
            if claim.recipe not in RECIPES:
                return f"untestable: no protocol: nothing says how {claim.recipe} is run"
            config = self.config_of.get(claim.id)
            if config and claim.evaluation not in self._kinds(config):
                what = f"its run is not measured by {claim.evaluation}"
                return f"untestable: no protocol: {what}"
        if any(claim.id in self.config_of for claim in claims):
            return "untestable: not run: planned, but not measured yet"
        return "untestable: not run: no run of this plan serves it"

    def _kinds(self, config: str) -> set[str]:
        """The kinds of protocol that a config's runs are measured by."""
        names = self.measured.configs[config].protocols
        known = self.plan.protocols
        return {known[name].kind if name in known else name.partition("-")[0] for name in names}

    def no_verdict(self) -> str | None:
        """Why this scale has no verdicts on papers."""
        if self.scale == REHEARSAL:
            return "untestable: rehearsal"
        return "untestable: transfer scale" if self.transfers else None


def margins_of(paper: Paper, cells: Mapping[str, ValueClaim]) -> dict[str, Margin | None]:
    """The margin of each table of a paper, by its name."""
    return {name: margin_of(table, cells, paper.id) for name, table in paper.tables.items()}


def margin_of(table: Table, cells: Mapping[str, ValueClaim], paper: str) -> Margin | None:
    """Half the smallest gap that the text interprets in a table, in points; None without one."""
    if table.margin is None:
        return None
    gaps = {pair: abs(points_of(cells, paper, pair)) for pair in table.margin.cells}
    smallest = min(gaps, key=lambda pair: gaps[pair])
    half = gaps[smallest] / 2
    if not half:
        return None
    return Margin(points=float(half), exact=str(half), cells=smallest)


def points_of(cells: Mapping[str, ValueClaim], paper: str, pair: tuple[str, str]) -> Fraction:
    """The printed gap of two cells in percentage points, exactly."""
    first, second = (cells[f"{paper}:{cell}"] for cell in pair)
    return exact(first.printed) * unit_of(first) - exact(second.printed) * unit_of(second)


def unit_of(claim: ValueClaim) -> int:
    """What turns a printed number into a percentage (other metrics stay as they are)."""
    return 100 if claim.unit == "fraction" else 1
