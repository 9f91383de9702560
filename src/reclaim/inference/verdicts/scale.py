"""Judging a scale: every paper's claims, and the files that it leaves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reclaim import records
from reclaim.inference.controls import controls
from reclaim.inference.measurements import digest, read
from reclaim.inference.replication.families import benjamini_hochberg
from reclaim.inference.replication.noise import agreement, noise_floor
from reclaim.inference.replication.orders import Ranking, ranking, worst
from reclaim.inference.stale import marks, with_marks
from reclaim.inference.summary import write_summary
from reclaim.inference.verdicts.evidence import Evidence, Place, margins_of, unit_of
from reclaim.inference.verdicts.orders import order_of_two
from reclaim.inference.verdicts.statements import repeated_draft, statement_draft
from reclaim.inference.verdicts.values import (
    OPEN,
    UNREAD,
    Draft,
    Family,
    Order,
    not_charged,
    value_draft,
)
from reclaim.inference.verdicts.wanted import seeds_wanted
from reclaim.records import (
    REHEARSAL,
    Noise,
    Plan,
    RankingVerdict,
    ReadingVerdict,
    ReclaimError,
    Verdict,
    Verdicts,
)
from reclaim.registry.claims import Paper, ValueClaim, exact, load_papers, split
from reclaim.registry.datasets import DATASETS
from reclaim.registry.jobs import (
    RESULTS,
    added_runs,
    committed_plan,
    extension_path,
    plan_path,
    read_plan,
)

if TYPE_CHECKING:
    import pandas as pd

MEASUREMENTS = Path("measurements.csv")


def judge(
    scale: str,
    papers: Mapping[str, Paper],
    plan: Plan,
    measurements: pd.DataFrame,
    results: Path | None = None,
    added: frozenset[str] = frozenset(),
) -> Verdicts:
    """One verdict for every claim of every paper, in the papers' order.

    `results` is the scale's folder, whose predictions are looked at; `added` are the ids of runs
    that were planned after a look at results. Raises ReclaimError for another scale, rows that the
    plan does not explain, or predictions of different images.
    """
    source = MEASUREMENTS if results is None else results / MEASUREMENTS
    evidence = Evidence.of(scale, papers, plan, measurements, source, results, added)
    return judged_by(evidence, digest(measurements))


def judged_by(evidence: Evidence, measurements: str) -> Verdicts:
    """The verdicts from evidence; `measurements` is the hash of their file."""
    settled: list[Verdict] = []
    rankings: list[RankingVerdict] = []
    for paper in evidence.papers.values():
        drafts, columns = list(drafts_of(paper, evidence)), list(columns_of(paper, evidence))
        orders = [order for column in columns for order, _ in column.orders if order]
        family = Family.of(drafts, orders)
        settled += [family.settled(draft) for draft in drafts]
        rankings += [column.settled(family, evidence.transfers) for column in columns]
    return Verdicts(
        scale=evidence.scale,
        measurements=measurements,
        verdicts=tuple(overview(settled)),
        rankings=tuple(rankings),
        noise=tuple(noise_of(evidence)),
    )


def overview(judged: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts with what Benjamini and Hochberg make of all papers' differences together."""
    fields = ("p", "order_p")
    found = [
        (i, field)
        for i, v in enumerate(judged)
        for field in fields
        if getattr(v, field) is not None
    ]
    p = benjamini_hochberg([getattr(judged[i], field) for i, field in found])
    update: dict[int, dict[str, float]] = {}
    for (i, field), value in zip(found, p, strict=True):
        update.setdefault(i, {})[f"{field}_overview"] = value
    return [verdict.model_copy(update=update.get(i, {})) for i, verdict in enumerate(judged)]


def drafts_of(paper: Paper, evidence: Evidence) -> Iterator[Draft]:
    """The drafts on one paper: its numbers, then its statements."""
    cells = evidence.cells(paper.id)
    margins = margins_of(paper, cells)
    for claim in evidence.claims[paper.id]:
        if isinstance(claim, ValueClaim):
            yield value_draft(claim, cells, margins[split(claim.cell)[0]], evidence)
        elif claim.statement.kind == "value":
            yield repeated_draft(claim, cells, margins, evidence)
        else:
            yield statement_draft(claim, cells, margins, evidence)


def judge_scale(scale: str, results: Path = RESULTS, plan: Plan | None = None) -> Path:
    """Judge a scale's gathered measurements: verdicts.json, seeds_wanted.json, summary.json.

    `plan` is that of `plan_of`, read if not given. Returns the path of the verdicts. Raises
    ReclaimError for a missing or faulty plan, claim, measurement or prediction; nothing is written
    then.
    """
    plan, folder = plan or plan_of(scale, results), results / scale
    measured, file = measured_in(folder)
    further = extension_path(scale, results).is_file()
    added = added_runs(scale, results) if further else frozenset[str]()
    papers = load_papers()
    evidence = Evidence.of(scale, papers, plan, measured, folder / MEASUREMENTS, folder, added)
    found = judged_by(evidence, file)
    wanted = seeds_wanted(found, evidence)
    verdicts = with_marks(found, marks(plan, papers, results))
    records.write(folder / "seeds_wanted.json", wanted)
    records.write(folder / "verdicts.json", verdicts)
    write_summary(folder, plan, verdicts, measured)
    return folder / "verdicts.json"


def measured_in(folder: Path) -> tuple[pd.DataFrame, str]:
    """A scale's measurements and the hash of their file, that of before it was read, if any."""
    path = folder / MEASUREMENTS
    file = records.stamp(path).sha256 if path.is_file() else ""  # `read` says what is missing
    return read(path), file


def judged(
    scale: str,
    results: Path = RESULTS,
    papers: Mapping[str, Paper] | None = None,
    plan: Plan | None = None,
) -> tuple[Verdicts, pd.DataFrame, pd.DataFrame]:
    """What was judged, for the report: verdicts, measurements, and recipes beside controls.

    `papers` are the present claims and `plan` is that of `plan_of`, read if not given. Raises
    ReclaimError where the verdicts are missing, stale (other measurements or claims) or of another
    scale.
    """
    remedy = f"run `reclaim judge --scale {scale}`"
    path = results / scale / "verdicts.json"
    plan = plan or plan_of(scale, results)
    verdicts = records.read(path, Verdicts, remedy)
    measured, file = measured_in(results / scale)
    if (verdicts.scale, verdicts.measurements) != (scale, file):
        raise ReclaimError(f"{path}: not made from the present measurements; {remedy}")
    known = load_papers() if papers is None else papers
    claims = [claim.id for paper in known.values() for claim in paper.claims]
    if claims != [verdict.claim for verdict in verdicts.verdicts]:
        raise ReclaimError(f"{path}: not made from the present claims; {remedy}")
    return verdicts, measured, controls(measured, plan)


def plan_of(scale: str, results: Path = RESULTS) -> Plan:
    """The plan that measurements are judged by: with its sweeps and added runs, as they are.

    Raises ReclaimError for a scale without a plan, and for a rehearsal, which measures nothing.
    """
    if scale == REHEARSAL:
        raise ReclaimError(
            "a rehearsal measures nothing: two steps on made-up images; judge and report take "
            "the results of other scales"
        )
    plan = read_plan(scale, True, results)
    if not plan_path(scale, sweeps=True).is_file():
        return plan
    return plan.model_copy(update={"not_run": committed_plan(scale).not_run})


# --- what stands beside the verdicts -------------------------------------------------------------


WORDS = {"reproduced": "holds", "not reproduced": "reversed", OPEN: "open"}  # at transfer scales
ROWS = range(3, 51)  # two are a difference, and of more than fifty no reader compares all pairs


@dataclass(frozen=True)
class Column:
    """A printed column's ranking, and each pair of printed neighbours: its test, its readings.

    No test: of a pair that cannot be tested.
    """

    name: str
    cells: list[ValueClaim]
    found: Ranking
    orders: list[tuple[Order | None, tuple[ReadingVerdict, ...]]]

    def settled(self, family: Family, transfers: bool) -> RankingVerdict:
        """The worst of the printed neighbours, each adjusted with all tests of the paper.

        Of those that are open, one that was not run under all readings comes before the others.
        """
        words = [family.of_order(order)[1] if order else OPEN for order, _ in self.orders]
        named = [
            WORDS[word] if transfers else (word == OPEN and not_charged(readings)) or word
            for word, (_, readings) in zip(words, self.orders, strict=True)
        ]
        adjacent = tuple(
            (self.cells[first].cell, self.cells[second].cell, name)
            for (first, second), name in zip(self.found.adjacent, named, strict=True)
        )
        poor = [name for word, name in zip(words, named, strict=True) if word == worst(words)]
        return RankingVerdict(
            paper=self.cells[0].paper, column=self.name,
            cells=tuple(claim.cell for claim in self.cells), tau=self.found.tau,
            interval=self.found.interval, separable=self.found.separable, pairs=self.found.pairs,
            adjacent=adjacent, verdict=max(poor, key=lambda name: name.startswith(UNREAD)),
        )  # fmt: skip


def columns_of(paper: Paper, evidence: Evidence) -> Iterator[Column]:
    """Every printed column of which three different rows were measured."""
    columns: dict[str, list[ValueClaim]] = {}
    for claim in evidence.cells(paper.id).values():
        table, column, _ = split(claim.cell)
        columns.setdefault(f"{table}[{column}]", []).append(claim)
    for name, claims in columns.items():
        found = column_of(name, claims, evidence)
        if found is not None:
            yield found


def column_of(name: str, claims: list[ValueClaim], evidence: Evidence) -> Column | None:
    """A column's ranking beside ours, by the seeds that all its measured rows have."""
    distinct: dict[Place, ValueClaim] = {}
    for claim in claims:
        if (place := evidence.place(claim)) and evidence.values(place):
            distinct.setdefault(place, claim)
    cells = list(distinct.values())
    if len(cells) not in ROWS:
        return None
    values = [evidence.of_claim(claim) for claim in cells]
    seeds = [seed for seed in values[0] if all(seed in other for other in values)]
    if len(seeds) < 2:
        return None
    table = np.array([[column[seed] for column in values] for seed in seeds])
    printed = [exact(claim.printed) * unit_of(claim) for claim in cells]
    found = ranking(printed, table, evidence.start(seeds, *distinct))
    if found is None:
        return None
    orders = [order_of_two(cells[i], cells[j], evidence) for i, j in found.adjacent]
    return Column(name, cells, found, orders)


def noise_of(evidence: Evidence) -> Iterator[Noise]:
    """The noise of the top-1 of every planned config that has two seeds or more."""
    for config, run in evidence.measured.configs.items():
        if run.variant:
            continue
        for protocol, metric in evidence.measured.values.get(config, {}):
            if metric == "top1":
                yield from noise_at((config, protocol, metric), evidence)


def noise_at(place: Place, evidence: Evidence) -> Iterator[Noise]:
    """The noise of one config by one protocol."""
    config, protocol, metric = place
    values, run = evidence.values(place), evidence.measured.configs[config]
    if len(values) < 2:
        return
    runs = {seed: evidence.runs[config][seed] for seed in values}
    found = evidence.images and evidence.images.correct(runs, protocol, metric)
    images = len(found[0].labels) if found else test_images(evidence, config)
    if images is None:
        return
    floor = noise_floor(list(values.values()), images, agreement(found[1]) if found else None)
    yield Noise(
        config=config, recipe=run.recipe, dataset=run.dataset, protocol=protocol, metric=metric,
        seeds=len(values), images=images, mean=sum(values.values()) / len(values),
        run_sd=floor.run_sd or 0.0, run_sd_interval=floor.interval, bound=floor.bound,
        plug_in=floor.plug_in,
    )  # fmt: skip


def test_images(evidence: Evidence, config: str) -> int | None:
    """How many images a config is tested on; None for an unknown data set."""
    known, run = evidence.plan.configs.get(config), evidence.measured.configs[config]
    facts = DATASETS.get(run.dataset)
    if facts is None:
        return None
    held_out = known and known.dataset.held_out and known.dataset.subset
    return facts.n_train - held_out if held_out else facts.n_test
