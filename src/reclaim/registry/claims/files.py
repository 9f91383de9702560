"""The files of a paper's folder as models; their JSON Schemas are made from these."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from reclaim.records import Model
from reclaim.registry.claims.names import (
    expand,
    known_path,
    one_of,
    printed,
    refuse,
    setting,
    single,
    subject,
)
from reclaim.registry.claims.printed import DECIMAL, NAME
from reclaim.registry.claims.text import short

Name = Annotated[str, StringConstraints(pattern=f"^{NAME}$")]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
RecipeName = Annotated[str, one_of("recipe", lambda known: known.recipes, "methods")]
DatasetName = Annotated[str, one_of("dataset", lambda known: known.datasets, "datasets")]
Printed = Annotated[
    str, BeforeValidator(printed), WithJsonSchema({"type": "string", "pattern": f"^({DECIMAL})$"})
]
Cell = Annotated[str, AfterValidator(single)]
Cells = Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(expand)]
Subject = Annotated[str, AfterValidator(subject)]
Setting = Annotated[Name, AfterValidator(known_path)]
Source = Literal["printed", "released-code", "inferred", "assumed"]
Unit = Literal["percent", "fraction"]
Role = Literal["baseline", "ours", "ablation"]
Knobs = dict[Name, int | float | bool | str]


class Entry(Model):
    """A mapping of a claim file: an unknown key is refused by name, with the known ones."""

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        for key in value if isinstance(value, dict) else ():
            if key not in cls.model_fields:
                expected = ", ".join(cls.model_fields)
                raise refuse(f"unknown key {short(key)}; expected one of {expected}", key)
        return value


class DatasetAbout(Entry):
    """A dataset that the registry does not have: enough for the audit, not for a run."""

    title: Text
    classes: int | None = Field(default=None, gt=1)
    test_images: int | None = Field(default=None, gt=0)


class PaperFile(Entry):
    """paper.yaml: which paper. `methods` and `datasets` name what the registry does not have."""

    title: Text
    authors: Text
    year: int
    url: Text | None = None
    code: Text | None = None
    methods: dict[Name, Text] = Field(default_factory=dict)
    datasets: dict[Name, DatasetAbout] = Field(default_factory=dict)
    note: Text | None = None


# --- tables --------------------------------------------------------------------------------------


class Column(Entry):
    """A column: in a results table what is measured, on which data, in which unit.

    `statistic: sd` marks the printed standard deviation of the column `of`.
    """

    label: Text | None = None
    dataset: DatasetName | None = None
    metric: Name | None = None
    unit: Unit | None = None
    statistic: Literal["value", "sd"] = "value"
    of: Name | None = None
    note: Text | None = None


class Row(Entry):
    """A row: the label as printed and, in a results table, the recipe and its role.

    `dataset`, `evaluation`, `baseline` and `runs` override the table's; `knobs` are what the paper
    set differently here (a threshold sweep has one row per threshold).
    """

    label: Text
    recipe: RecipeName | None = None
    role: Role | None = None
    dataset: DatasetName | None = None
    evaluation: Name | None = None
    baseline: Name | None = None
    runs: int | None = Field(default=None, gt=0)
    knobs: Knobs = Field(default_factory=dict)
    note: Text | None = None


class Margin(Entry):
    """Where an equivalence margin comes from: half the smallest gap that the text singles out.

    `cells` are pairs; a gap counts where the text names its two rows and its dataset.
    """

    rule: Literal["half_smallest_interpreted_gap"]
    cells: tuple[tuple[Cell, Cell], ...] = Field(min_length=1)


class TableFile(Entry):
    """tables/<table>.yaml: what the cells of the CSV beside it mean.

    `baseline` is the row that the others are compared with, `evaluation` the protocol that gave the
    numbers, `runs` how many runs a number stands for, if the paper says so.
    """

    title: Text
    locator: Text
    kind: Literal["results", "protocol", "data"]
    dataset: DatasetName | None = None
    evaluation: Name | None = None
    baseline: Name | None = None
    runs: int | None = Field(default=None, gt=0)
    columns: dict[Name, Column] = Field(min_length=1)
    rows: dict[Name, Row] = Field(min_length=1)
    margin: Margin | None = None
    note: Text | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self._baseline_known(self.baseline)
        for name, row in self.rows.items():
            self._baseline_known(row.baseline, "rows", name)
        if self.kind == "results":
            self._columns_complete()
            self._rows_complete()
        return self

    def _baseline_known(self, baseline: str | None, *at: str) -> None:
        if baseline is not None and baseline not in self.rows:
            expected = ", ".join(self.rows)
            raise refuse(f"{baseline!r} is no row; expected one of {expected}", *at, "baseline")

    def _columns_complete(self) -> None:
        for name, column in self.columns.items():
            if not column.metric or not column.unit:
                raise refuse("expected a metric and a unit", "columns", name)
            if (column.statistic == "sd") != (column.of in self.columns):
                expected = "expected 'statistic: sd' and 'of: <column>' together"
                raise refuse(expected, "columns", name)

    def _rows_complete(self) -> None:
        whole = self.dataset or all(column.dataset for column in self.columns.values())
        for name, row in self.rows.items():
            if not row.recipe:
                raise refuse("expected a recipe", "rows", name)
            if not (row.dataset or whole):
                raise refuse("expected a dataset: here, for the table or columns", "rows", name)
            if not (row.evaluation or self.evaluation):
                raise refuse("expected an evaluation: here or for the table", "rows", name)


class Table(TableFile):
    """A printed table: its file, its name and its cells as printed, by row and column."""

    id: str
    cells: dict[str, dict[str, str]]


# --- protocol, divergences, answers --------------------------------------------------------------


class Reading(Entry):
    """One way to resolve what a paper leaves open or contradicts."""

    value: Any
    source: Source
    locator: Text
    note: Text | None = None


class OtherReading(Reading):
    """Another value of a protocol's path; `also` is what it sets beside that.

    `recipe`: the one that runs it. `no_run`: why there is nothing to run for it by itself; it then
    bears nothing out.
    """

    also: dict[Setting, Any] = Field(default_factory=dict)
    recipe: RecipeName | None = None
    no_run: Text | None = None


class When(Entry):
    """Where a protocol value holds; an empty list means everywhere."""

    datasets: tuple[DatasetName, ...] = ()
    recipes: tuple[RecipeName, ...] = ()

    def holds(self, recipe: str, dataset: str) -> bool:
        """Whether a run of this recipe on this dataset is meant."""
        return (not self.recipes or recipe in self.recipes) and (
            not self.datasets or dataset in self.datasets
        )

    @property
    def weight(self) -> int:
        """More conditions weigh more, a recipe more than a dataset."""
        return 2 * bool(self.recipes) + bool(self.datasets)


class ProtocolValue(Entry):
    """One value that a re-run needs, at a dotted path of a run's settings (`names.setting`).

    `value` is what a run takes by default; `readings` are the other ways to take the paper.
    """

    path: Setting
    value: Any
    source: Source
    locator: Text
    when: When = When()
    readings: tuple[OtherReading, ...] = ()
    note: Text | None = None

    @model_validator(mode="after")
    def _fits_path(self) -> Self:
        _fits(self.path, self.value, "value")
        for i, reading in enumerate(self.readings):
            _fits(self.path, reading.value, "readings", i, "value")
            for path, value in reading.also.items():
                _fits(path, value, "readings", i, "also", path)
        return self


def _fits(path: str, value: Any, *at: str | int) -> None:
    kind = setting(path)
    try:
        if kind is not None:
            kind.validate_python(value)
    except ValidationError as error:
        fault = error.errors()[0]
        raise refuse(f"{path}: expected: {fault['msg']}", *at, *fault["loc"]) from error


class ProtocolFile(Entry):
    """protocol.yaml: everything needed to re-run the paper, each value with its source."""

    values: tuple[ProtocolValue, ...] = ()


class Divergence(Entry):
    """A point that a paper leaves open, or where it contradicts its released code or itself.

    `paths` are the settings it decides; `default` is the reading that a run takes.
    """

    what: Text
    where: Text
    paths: tuple[Setting, ...] = ()
    readings: tuple[Reading, ...] = Field(min_length=2)
    default: Any
    why: Text

    @model_validator(mode="after")
    def _default_is_a_reading(self) -> Self:
        if self.default not in (known := [reading.value for reading in self.readings]):
            expected = ", ".join(map(short, known))
            message = f"{short(self.default)} is no reading; expected one of {expected}"
            raise refuse(message, "default")
        return self


class DivergencesFile(Entry):
    """divergences.yaml, by id."""

    divergences: dict[Name, Divergence] = Field(default_factory=dict)


class Answer(Entry):
    """What an author answered about statements or cells, in words of our own."""

    about: tuple[Subject, ...] = Field(min_length=1)
    date: Text
    text: Text
    source: Text


class AnswersFile(Entry):
    """answers.yaml, by id."""

    answers: dict[Name, Answer] = Field(default_factory=dict)
