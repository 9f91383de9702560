"""What a check is given: a paper, its printed accuracies as exact numbers, the stated facts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

from reclaim.registry.claims import Paper, ValueClaim
from reclaim.registry.datasets import DATASETS

# Metrics that are no share of correctly answered images, whatever their unit.
NOT_COUNTED = frozenset({"alignment", "uniformity", "loss", "map", "miou", "f1", "auc", "ece"})


@dataclass(frozen=True)
class Case:
    """One paper under audit.

    `denominators` gives, by cell, the numbers of test images that check `granularity` infers for
    the cell's table beyond chance (best first, often none): other checks look at those too.
    """

    paper: Paper

    @property
    def id(self) -> str:
        """The paper's id."""
        return self.paper.id

    @cached_property
    def values(self) -> dict[str, ValueClaim]:
        """Every printed number of the results tables, by cell."""
        return {claim.cell: claim for claim in self.paper.cells()}

    @cached_property
    def accuracies(self) -> dict[str, ValueClaim]:
        """Those of `values` that are shares of correctly answered images."""
        return {
            cell: claim for cell, claim in self.values.items() if claim.metric not in NOT_COUNTED
        }

    @cached_property
    def denominators(self) -> dict[str, tuple[int, ...]]:
        """Inferred numbers of test images by cell; a cell without any is absent."""
        from reclaim.inference.audit.granularity import inferred

        return inferred(self)

    def entity(self, claim: ValueClaim) -> tuple[str, ...]:
        """What a cell measures: its claim's entity, without knobs at the protocol's own value."""
        usual = self.paper.protocol_of(claim.recipe, claim.dataset)
        knobs = {
            name: value
            for name, value in claim.knobs.items()
            if (own := usual.get(f"knobs.{name}")) is None or own.value != value
        }
        return (claim.recipe, json.dumps(knobs, sort_keys=True), *claim.entity[2:])

    def images(self, claim: ValueClaim) -> dict[int, str]:
        """The stated numbers of test images and where each is stated, the likeliest first.

        From the protocol (`facts.test_images` and its readings), from an evaluation that drops the
        last small batch (`evaluate.<kind>.test_batch`), else from what is known of the data set.
        """
        protocol = self.paper.protocol_of(claim.recipe, claim.dataset)
        stated: dict[int, str] = {}
        if fact := protocol.get("facts.test_images"):
            for reading in (fact, *fact.readings):
                if isinstance(reading.value, int) and reading.value > 0:
                    stated.setdefault(reading.value, reading.locator)
        if not stated and (known := self.test_images(claim.dataset)):
            stated[known] = f"the test set of {claim.dataset}"
        batch = protocol.get(f"evaluate.{claim.evaluation}.test_batch")
        if batch is not None and isinstance(batch.value, int) and batch.value > 0:
            for size in list(stated):
                if size >= batch.value:
                    stated.setdefault(size - size % batch.value, batch.locator)
        return stated

    def test_images(self, dataset: str) -> int | None:
        """The size of a data set's test set, by the paper's own entry or the registry."""
        if own := self.paper.about.datasets.get(dataset):
            return own.test_images
        return DATASETS[dataset].n_test if dataset in DATASETS else None

    def classes(self, dataset: str) -> int | None:
        """How many classes a data set has, by the paper's own entry or the registry."""
        if own := self.paper.about.datasets.get(dataset):
            return own.classes
        return DATASETS[dataset].classes if dataset in DATASETS else None

    def answers(self, *about: str) -> list[str]:
        """What the author answered about statements or cells: one line each."""
        return [
            f"{answer.text} ({answer.source}, {answer.date})"
            for answer in self.paper.answers.values()
            if set(about) & set(answer.about)
        ]

    def protocol_integers(self) -> Iterator[tuple[str, int]]:
        """Every whole number above 1 among the protocol's values, with its path."""
        for value in self.paper.protocol:
            yield from _integers(value.path, value.value)


def _integers(path: str, value: Any) -> Iterator[tuple[str, int]]:
    if isinstance(value, bool):
        return
    if isinstance(value, int) and value > 1:
        yield path, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _integers(f"{path}.{name}", inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _integers(path, inner)


def fraction(claim: ValueClaim) -> Fraction:
    """A printed accuracy as a fraction of the images, in [0, 1] if it makes sense at all."""
    return Fraction(claim.printed) / (100 if claim.unit == "percent" else 1)


def last_digit(claim: ValueClaim) -> Fraction:
    """One unit of the last printed digit, as a fraction of the images."""
    digits = len(claim.printed.partition(".")[2])
    return Fraction(1, 10**digits) / (100 if claim.unit == "percent" else 1)
