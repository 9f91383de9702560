"""What a check is given: a paper, its printed accuracies as exact numbers, the stated facts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

from reclaim.inference.audit.findings import Basis, finding
from reclaim.records import AuditVerdict, Finding
from reclaim.registry.claims import Paper, ProtocolValue, Reading, ValueClaim, decimals, split
from reclaim.registry.datasets import DATASETS

if TYPE_CHECKING:
    from reclaim.inference.audit.denominators import Inference
    from reclaim.inference.audit.granularity import Distinct

# Settings that count images; metrics that are a share of correct answers, of those that are known.
SIZES = frozenset({"batch", "test_batch", "test_images", "queue", "subset", "local_crops"})
COUNTED = re.compile(r"top\d+|acc|accuracy")
# Columns (or rows) of a table of data sets that count images, and how such a number is printed.
PARTS = {
    part: re.compile(rf"{name}(_?(set|data|size|images|samples|examples))?")
    for part, name in {"train": "train(ing)?", "test": "test(ing)?"}.items()
}
IMAGES = re.compile(r"\d{1,3}([ ,'\u00a0\u2009\u202f]\d{3})+|\d{1,12}", re.ASCII)


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
        return {cell: c for cell, c in self.values.items() if COUNTED.fullmatch(c.metric)}

    @cached_property
    def inference(self) -> Inference:
        """Which denominators explain the paper's accuracies."""
        from reclaim.inference.audit.granularity import inference

        return inference(self)

    @cached_property
    def denominators(self) -> dict[str, tuple[int, ...]]:
        """Inferred numbers of test images by cell; a cell without any is absent."""
        from reclaim.inference.audit.granularity import inferred

        return inferred(self)

    def entity(self, claim: ValueClaim) -> tuple[str, ...]:
        """What a cell measures: its claim's entity, without knobs at the protocol's own value."""
        usual = self.protocol(claim)
        knobs = {
            name: value
            for name, value in claim.knobs.items()
            if (own := usual.get(f"knobs.{name}")) is None or own.value != value
        }
        return (claim.recipe, json.dumps(knobs, sort_keys=True), *claim.entity[2:])

    def decimals(self, claim: ValueClaim) -> int:
        """The digits after the point that a cell's table prints; "75" among 82.81 is 75.00."""
        return self._styles[claim.cell.partition("[")[0], claim.unit]

    def fewest_decimals(self, claim: ValueClaim) -> int:
        """The digits that a cell surely has: as many as one of its row and one of its column.

        Where a whole row or column is short, it may have been printed with fewer digits (copied
        from elsewhere), and its strings hide more than dropped zeros.
        """
        table, column, row = split(claim.cell)
        return min(self._lines[table, "row", row], self._lines[table, "column", column])

    @cached_property
    def _lines(self) -> dict[tuple[str, str, str], int]:
        lines: dict[tuple[str, str, str], int] = {}
        for claim in self.accuracies.values():
            table, column, row = split(claim.cell)
            for key in ((table, "row", row), (table, "column", column)):
                lines[key] = max(lines.get(key, 0), decimals(claim.printed))
        return lines

    @cached_property
    def _styles(self) -> dict[tuple[str, str], int]:
        styles: dict[tuple[str, str], int] = {}
        for claim in self.accuracies.values():
            key = (claim.cell.partition("[")[0], claim.unit)
            styles[key] = max(styles.get(key, 0), decimals(claim.printed))
        return styles

    def protocol(self, claim: ValueClaim) -> dict[str, ProtocolValue]:
        """The protocol that gave a cell, by path."""
        run = claim.recipe, claim.dataset
        if run not in self._protocols:
            self._protocols[run] = self.paper.protocol_of(*run)
        return self._protocols[run]

    @cached_property
    def _protocols(self) -> dict[tuple[str, str], dict[str, ProtocolValue]]:
        return {}

    @cached_property
    def distinct(self) -> Distinct:
        """The paper's distinct measurements, for check `granularity`."""
        from reclaim.inference.audit.granularity import distinct

        return distinct(self)

    def images(self, claim: ValueClaim) -> dict[int, str]:
        """The numbers of test images that are said or taken, and where from, the likeliest first.

        From the protocol (`facts.test_images` and its readings, but none that was itself inferred),
        from an evaluation that drops the last small batch (`evaluate.<kind>.test_batch`), else the
        size of the data set's test set.
        """
        protocol = self.protocol(claim)
        stated: dict[int, str] = {}
        if fact := protocol.get("facts.test_images"):
            said: list[Reading | ProtocolValue] = [fact]
            said += [reading for reading in fact.readings if reading.source != "inferred"]
            for reading in said:
                if _count(reading.value):
                    stated.setdefault(reading.value, f"{reading.source}: {reading.locator}")
        if not stated and (known := self.test_images(claim.dataset)):
            stated[known] = f"the test set of {claim.dataset}"
        batch = protocol.get(f"evaluate.{claim.evaluation}.test_batch")
        if batch is not None and _count(batch.value):
            for size in [size for size in stated if size >= batch.value]:
                whole = size - size % batch.value
                stated.setdefault(whole, f"{batch.source}: {batch.locator}")
        return stated

    def printed_images(self, dataset: str, part: str) -> dict[str, int]:
        """The numbers of "train" or "test" images in the paper's tables of data sets, by cell."""
        found: dict[str, int] = {}
        for name, table in self.paper.tables.items():
            for row, column in product(table.rows, table.columns) if table.kind == "data" else ():
                about = table.columns[column].dataset or table.rows[row].dataset or table.dataset
                named = PARTS[part].fullmatch(column) or PARTS[part].fullmatch(row)
                printed = table.cells[row][column]
                if about == dataset and named and IMAGES.fullmatch(printed):
                    found[f"{name}[{column},{row}]"] = int(re.sub(r"\D", "", printed))
        return found

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

    def finding(
        self,
        check: str,
        cells: Iterable[str],
        verdict: AuditVerdict,
        message: str,
        basis: Basis,
        about: Iterable[str] = (),
        **evidence: Any,
    ) -> Finding:
        """A finding on this paper, with what its author answered about the cells and statements.

        `about` are the ids of the statements.
        """
        named = list(cells)
        evidence["answers"] = self.answers(*about, *named)
        return finding(self.id, check, named, verdict, message, basis, **evidence)

    def answers(self, *about: str) -> list[str]:
        """What the author answered about statements or cells: one line each."""
        asked = set(about) if self.paper.answers else set()
        return [
            f"{answer.text} ({answer.source}, {answer.date})"
            for answer in self.paper.answers.values()
            if asked & set(answer.about)
        ]

    def sizes(self) -> Iterator[tuple[str, int]]:
        """The numbers of images that pass at once or are tested, by name: what n may be made of."""
        for value in self.paper.protocol:
            if value.path.rpartition(".")[2] in SIZES and _count(value.value):
                yield value.path, value.value
        for name in dict.fromkeys(claim.dataset for claim in self.values.values()):
            if size := self.test_images(name):
                yield f"the test set of {name}", size


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def fraction(claim: ValueClaim) -> Fraction:
    """A printed accuracy as a fraction of the images, in [0, 1] if it makes sense at all."""
    return Fraction(claim.printed) / (100 if claim.unit == "percent" else 1)


def last_digit(decimals: int, unit: str) -> Fraction:
    """One unit of the last of `decimals` printed digits, as a fraction of the images."""
    return Fraction(1, 10**decimals) / (100 if unit == "percent" else 1)
