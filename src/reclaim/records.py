"""The artifacts that pass between the verbs, and the only place that reads and writes them.

Every artifact is a JSON file with a schema version. Writing is atomic (temporary name, fsync,
rename), so a reader sees the old file or the new one, never half of one.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import to_json

SCHEMA_VERSION = 1
SEAL = "sha256"  # the key of an artifact's own checksum
PAPER = "paper"  # the scale whose results speak about what a paper printed
REHEARSAL = "rehearsal"  # the scale of runs that are no results
PLAIN = re.compile(r"\w[\w-]*", re.ASCII)
PLAIN_FILE = re.compile(r"\w[\w.-]*", re.ASCII)


class ReclaimError(Exception):
    """A fault that a person can mend: one line that says what is wrong, where, and what to do.

    The command line prints it and exits with status 2.
    """


def plain(name: str) -> str:
    """The name of a folder, as it is. Raises ValueError for one that may lead out of a folder."""
    if not PLAIN.fullmatch(name):
        raise ValueError("no plain name (letters, digits, _ and -)")
    return name


def plain_file(name: str) -> str:
    """The name of a file, as it is. Raises ValueError for one that may lead out of a folder."""
    if not PLAIN_FILE.fullmatch(name):
        raise ValueError("no plain name of a file (letters, digits, _, - and .)")
    return name


Name = Annotated[str, AfterValidator(plain)]


class Model(BaseModel):
    """A frozen value with no unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Artifact(Model):
    """A file between two verbs. A `sealed` one is written with the checksum of its values."""

    sealed: ClassVar[bool] = False
    schema_version: Literal[1] = 1

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, value: Any) -> Any:
        """The values without their checksum, which has to be theirs; older files have none."""
        if not isinstance(value, dict) or SEAL not in value:
            return value
        values = {name: part for name, part in value.items() if name != SEAL}
        if content_hash(values) != value[SEAL]:
            raise ValueError("the values are not those that were written: the file is damaged")
        return values


# --- what a run is: the resolved row of the plan -----------------------------------------------


class Dataset(Model):
    """Which images: `subset` training images (stratified, chosen by `subset_seed`) or all of them.

    `part` 1, 2, ... are further subsets of that size, without a common image. With `held_out`,
    the images that the subset leaves out are the test set.
    """

    name: str
    size: int = Field(gt=0)
    channels: int = Field(gt=0)
    classes: int = Field(gt=1)
    subset: int | None = Field(default=None, gt=0)
    subset_seed: int = 0
    part: int = Field(default=0, ge=0)
    held_out: bool = False

    @model_validator(mode="after")
    def _part_of_a_subset(self) -> Self:
        if self.part and (self.subset is None or self.held_out):
            raise ValueError("a further part needs a subset, and a test set of its own")
        return self


class Network(Model):
    """An encoder, its projection head and, where a recipe has one, its predictor.

    `widths` and `stem` describe the narrow ResNet; ResNet-18/50 take a stem only; `pixels` is the
    identity on the flattened image (the control `raw_pixels`). The forms of `head` and the norms
    are those of `learning.nets.build_head`; the predictor is a head without `prototypes`.
    """

    arch: Literal["narrow", "resnet18", "resnet50", "pixels"]
    stem: Literal["cifar", "cifar_maxpool", "imagenet", "stride2", "stride1"] | None = None
    widths: tuple[int, ...] = ()
    head_hidden: int = Field(default=512, gt=0)
    head_out: int = Field(default=128, gt=0)
    head: Literal["mlp", "linear", "prototypes"] = "mlp"
    head_norm: bool = False
    head_out_norm: bool = False
    predictor: bool = False
    predictor_hidden: int = Field(default=512, gt=0)
    prototypes: int = Field(default=1024, gt=0)

    @model_validator(mode="after")
    def _stem_fits(self) -> Self:
        stems = {"narrow": ("stride1", "stride2"), "pixels": (None,)}.get(
            self.arch, ("cifar", "cifar_maxpool", "imagenet")
        )
        if self.stem not in stems:
            raise ValueError(f"stem {self.stem!r} of {self.arch}; take one of {stems}")
        if self.arch == "narrow" and not (self.widths and min(self.widths) > 0):
            raise ValueError("a narrow network needs widths, each above 0")
        return self


class Op(Model):
    """One operation on a batch of images, by name, with its parameters (see `learning.views`)."""

    op: Literal[
        "random_resized_crop", "horizontal_flip", "colour_jitter", "greyscale", "gaussian_blur",
        "centre_crop", "normalise",
    ]  # fmt: skip
    p: float = Field(default=1.0, ge=0, le=1)
    params: dict[str, Any] = Field(default_factory=dict)


class Step(Model):
    """One step on the candidates, by name, with its knobs (see `learning.steps`)."""

    name: str
    knobs: dict[str, float | int | bool] = Field(default_factory=dict)


class Term(Model):
    """One term of an objective: a pairing, its steps, one loss, a weight.

    `symmetric`: the mean of the term and of itself with the two views changed over.
    """

    pairing: str | None
    pairing_knobs: dict[str, float | int | bool] = Field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    loss: str
    loss_knobs: dict[str, float | int | bool] = Field(default_factory=dict)
    weight: float = 1.0
    symmetric: bool = False


class Optimiser(Model):
    """SGD or LARS under linear warm-up and cosine decay, both stepped once per epoch."""

    name: Literal["sgd", "lars"] = "sgd"
    lr: float = Field(gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    schedule: Literal["warmup_cosine", "constant"] = "warmup_cosine"
    warmup_epochs: int = Field(default=0, ge=0)
    warmup_lr: float = Field(default=0.0, ge=0)
    final_lr: float = Field(default=0.0, ge=0)
    trust: float = Field(default=0.001, gt=0)


Sees = Literal["first", "second", "together", "apart"]


class Twin(Model):
    """A copy of encoder and head that follows them as an exponential moving average.

    `sees`: which views pass through it, as `Config.online`. `schedule: cosine` lets the momentum
    grow to 1 (BYOL). `queue` keys of earlier steps are kept (MoCo); with `mask_own` an image's own
    old keys are no candidates. `centre_momentum` is that of the running mean of its outputs (DINO).
    With `kept`, the run leaves this encoder and not the one that learned.
    """

    sees: Sees
    momentum: float = Field(ge=0, le=1)
    schedule: Literal["constant", "cosine"] = "constant"
    queue: int | None = Field(default=None, gt=0)
    mask_own: bool = False
    centre_momentum: float | None = Field(default=None, ge=0, lt=1)
    kept: bool = False

    @model_validator(mode="after")
    def _sees_enough(self) -> Self:
        if self.centre_momentum is not None and self.sees in ("first", "second"):
            raise ValueError("a centre (centre_momentum) needs a twin that sees both views")
        if self.queue is not None and self.sees == "first":
            raise ValueError("a queue keeps keys of the second view, which the twin has to see")
        return self


class Config(Model):
    """Everything that decides what a run learns, apart from its seed and the code.

    `online`: which views pass through the network that learns: both in one pass (batch norm sees
    2B images), both in passes of their own, or the first alone. `local_crops` more views an image
    are made by `local_views` (DINO's multi-crop). `max_steps` cuts every epoch short.
    """

    scale: str
    recipe: str
    dataset: Dataset
    network: Network
    views: tuple[Op, ...]
    local_views: tuple[Op, ...] = ()
    local_crops: int = Field(default=0, ge=0)
    terms: tuple[Term, ...]
    online: Sees = "together"
    twin: Twin | None = None
    temperature: float = Field(gt=0)
    optimiser: Optimiser
    epochs: int = Field(ge=0)
    max_steps: int | None = Field(default=None, gt=0)
    batch: int = Field(ge=2)
    replacement: bool = False
    precision: Literal["auto", "float32", "bfloat16", "float64"] = "auto"

    @model_validator(mode="after")
    def _warms_up_in_time(self) -> Self:
        if self.epochs and self.optimiser.warmup_epochs > self.epochs:
            raise ValueError(f"{self.optimiser.warmup_epochs} warm-up of {self.epochs} epochs")
        return self

    @model_validator(mode="after")
    def _queue_fits(self) -> Self:
        queue = self.twin.queue if self.twin else None
        if queue and queue % self.batch:
            below, above = queue - queue % self.batch, queue + self.batch - queue % self.batch
            near = f"{below} or {above}" if below else f"{above}"
            raise ValueError(
                f"a queue of {queue} is no multiple of the batch {self.batch}: take {near}"
            )
        return self


class LinearProtocol(Model):
    """A linear probe on the frozen encoder, trained by SGD under cosine decay to zero."""

    kind: Literal["linear"] = "linear"
    encoder: Literal["last", "lowest_loss"] = "last"
    epochs: int = Field(gt=0)
    batch: int = Field(gt=0)
    lr: float = Field(gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    standardise: bool = False
    replacement: bool = False
    views: tuple[Op, ...] = ()
    test_views: tuple[Op, ...]
    test_batch: int | None = Field(default=None, gt=0)

    @property
    def needs_clean(self) -> bool:
        """Whether it asks for the features of the training images without augmentation."""
        return self.standardise or not self.views


class KnnProtocol(Model):
    """A weighted vote of the nearest training images by cosine (Wu et al. 2018, eq. 5)."""

    kind: Literal["knn"] = "knn"
    encoder: Literal["last", "lowest_loss"] = "last"
    neighbours: int = Field(gt=0)
    temperature: float = Field(gt=0)
    test_views: tuple[Op, ...]
    test_batch: int | None = Field(default=None, gt=0)


class GeometryProtocol(Model):
    """Alignment and uniformity of the test features (Wang & Isola 2020, eq. 2 and 4)."""

    kind: Literal["geometry"] = "geometry"
    encoder: Literal["last", "lowest_loss"] = "last"
    views: tuple[Op, ...]
    test_views: tuple[Op, ...]


class FineTuneProtocol(Model):
    """Encoder and a new linear layer trained together on the labels, by SGD under cosine decay."""

    kind: Literal["fine_tune"] = "fine_tune"
    encoder: Literal["last", "lowest_loss"] = "last"
    epochs: int = Field(gt=0)
    batch: int = Field(gt=0)
    lr: float = Field(gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    views: tuple[Op, ...]
    test_views: tuple[Op, ...]
    test_batch: int | None = Field(default=None, gt=0)


Protocol = Annotated[
    LinearProtocol | KnnProtocol | GeometryProtocol | FineTuneProtocol,
    Field(discriminator="kind"),
]


class Cost(Model):
    """What a run is expected to need (`registry.cost`); hours only where a throughput is stated.

    `images_seen` counts views. `memory_mib` is the peak of the training or of an evaluation.
    """

    steps: int
    images_seen: int
    memory_mib: int = 0
    gpu_hours: float | None = None
    evaluation_gpu_hours: float | None = None


class Run(Model):
    """One row of a plan: one training, one seed.

    `init`: the run whose encoder it starts from, or `weights/<name>`. `variant`: what a sweep
    varied, for a reader.
    """

    id: str
    recipe: str
    dataset: str
    seed: int = Field(ge=0)
    init: str | None = None
    variant: str = ""
    config: str
    protocols: tuple[str, ...]
    claims: tuple[str, ...] = ()
    cost: Cost


class StandIn(Model):
    """What stands for a config's runs under another reading of its paper.

    `config`: another one, or the same; `protocols`: what measures its runs then beside their own.
    """

    config: str
    protocols: tuple[str, ...] = ()


class Plan(Artifact):
    """`workflow/plans/<scale>.json`: every run once, however many claims ask for it.

    `configs` and `protocols` hold each distinct value once, under the name the rows use. `readings`
    says by config what stands for its runs under each other reading of its paper, which may be
    among the sweeps. `gpu` is the one whose hours the costs count.
    """

    sealed: ClassVar[bool] = True
    scale: str
    gpu: str | None = None
    configs: dict[str, Config]
    protocols: dict[str, Protocol]
    readings: dict[str, dict[str, StandIn]] = Field(default_factory=dict)
    not_run: dict[str, str] = Field(default_factory=dict)
    runs: tuple[Run, ...]


class PretrainJob(Artifact):
    """What `pretrain` is asked to do; a finished run is checked against its content hash.

    `init` is the run whose encoder it starts from, and `init_job` the content hash of that run's
    job; or `weights/<name>`, fetched.
    """

    id: str
    recipe: str
    seed: int
    init: str | None = None
    init_job: str | None = None
    config: Config
    code: str


class EvaluateJob(Artifact):
    """What `evaluate` is asked to do: protocols and the hashes of their code, by folder."""

    id: str
    recipe: str
    dataset: Dataset
    seed: int
    protocols: dict[str, Protocol]
    code: dict[str, str]


# --- what a run leaves ---------------------------------------------------------------------------


class FileStamp(Model):
    sha256: str
    bytes: int


# Results may be a stranger's: what names a folder or a file in them is no path.
Files = dict[Annotated[str, AfterValidator(plain_file)], FileStamp]


class RunManifest(Artifact):
    """`run.json`, written last: the job that made the run and the hash of every file it left."""

    sealed: ClassVar[bool] = True
    id: Name
    recipe: Name
    dataset: Name
    scale: Name
    seed: int
    job: str
    code: str
    data: str
    init: str | None = None
    final_loss: float | None
    lowest_loss_epoch: int | None
    files: Files


class EvaluationManifest(Artifact):
    """`metrics.json`, written last: metrics are fractions in [0, 1] where they are accuracies."""

    sealed: ClassVar[bool] = True
    run: Name
    recipe: Name
    dataset: Name
    scale: Name
    seed: int
    protocol: Name
    job: str
    code: str
    run_manifest: str
    metrics: dict[str, float]
    files: Files

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Its rows in a table of measurements: by column, one a metric."""
        alike = {
            "schema_version": SCHEMA_VERSION, "scale": self.scale, "run": self.run,
            "recipe": self.recipe, "dataset": self.dataset, "seed": self.seed,
            "protocol": self.protocol, "code": self.code,
        }  # fmt: skip
        return [{**alike, "metric": name, "value": value} for name, value in self.metrics.items()]


class DataManifest(Artifact):
    """`results/data/<name>/manifest.json`, written last: the stored arrays and their source."""

    sealed: ClassVar[bool] = True
    name: Name
    source: str
    classes: int
    files: Files


class WeightsManifest(Artifact):
    """`results/weights/<name>/manifest.json`, written last: the encoder and what it was made of."""

    sealed: ClassVar[bool] = True
    name: Name
    source: str
    checkpoint: FileStamp
    files: Files


class WeightsLock(Artifact):
    """`workflow/weights.lock.json`: the published files that were fetched first, by name."""

    pins: dict[str, FileStamp] = Field(default_factory=dict)


# --- what it means -------------------------------------------------------------------------------


class Interval(Model):
    low: float
    high: float


class Margin(Model):
    """An equivalence margin: half the smallest gap that a table's text interprets.

    `exact` is the fraction in percentage points, `cells` the two whose gap it halves.
    """

    points: float
    exact: str
    cells: tuple[str, str]


class Telescope(Model):
    """Small telescopes (Simonsohn 2015): could the paper's sample have seen what we measure?

    `upper` is our one-sided 95 % limit in the claimed direction, `d33` the difference that the
    paper's sample sees with a power of a third.
    """

    upper: float
    d33: float
    too_small: bool


class Sparse(Model):
    """A value that is written without its blanks: without None, False and empty lists."""

    @model_serializer(mode="wrap")
    def _without_blanks(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        said: dict[str, Any] = write(self)
        # A number 0 equals False, and is no blank.
        return {
            key: value
            for key, value in said.items()
            if value is not None and value is not False and value not in ([], ())
        }


class ReadingVerdict(Sparse):
    """What a claim comes to under one reading, not adjusted; `value` is the mean or difference.

    `stands` is a rung of the ladder, at a transfer scale a word of `transfer`, or why neither.
    """

    reading: str
    stands: str
    value: float | None = None
    interval: Interval | None = None
    p: float | None = None
    tost_p: float | None = None


class PerImage(Sparse):
    """What the predictions of each image add: nothing here decides.

    `interval`: of the difference for new seeds and new images (crossed random effects).
    `discordant`: the images that only the first, only the second gets right, and McNemar's p, of
    the first seed: about two checkpoints.
    """

    images: int
    interval: Interval | None = None
    p: float | None = None
    discordant: tuple[int, int]
    mcnemar_p: float


class Effect(Model):
    """How large a difference is: Hedges' g of the pairs, and P(A > B) of a new pair of runs."""

    g: float
    g_interval: Interval
    chance: float
    chance_interval: Interval


class Verdict(Sparse):
    """One per claim, always. Numbers are percentages, as papers print them.

    `difference` and `interval`: of a value, from its table's baseline; of a statement, of its one
    difference, as it is printed: paired over seeds, in points. `prediction`: where the printed
    number should fall, in points unless there is a `unit`. `p`: that the printed number differs
    from ours (none where a reading was not measured: there is no such test then), `tost_p`: that it
    differs by the margin or more, `order_p`: that the claimed order is nil, two-sided;
    `*_adjusted`: by Holm within the paper, `*_overview`: by Benjamini and Hochberg over all papers,
    which decides nothing.
    `verdict` follows from `size` (a printed number) and `order` (a claimed one), the worse of the
    two. `sequence`: seeds were added after a look: what decides holds at every look, what is beside
    it (`telescope`, `effect`, `images`) does not.
    """

    claim: str
    paper: str
    kind: str
    text: str
    printed: str | None = None
    unit: str | None = None
    recipe: str | None = None
    dataset: str | None = None
    metric: str | None = None
    verdict: str
    order: str | None = None
    size: str | None = None
    transfer: Literal["holds", "reversed", "open"] | None = None
    direction: str | None = None
    mean: float | None = None
    sd: float | None = None
    seeds: int = 0
    difference: float | None = None
    interval: Interval | None = None
    prediction: Interval | None = None
    p: float | None = None
    p_adjusted: float | None = None
    tost_p: float | None = None
    tost_p_adjusted: float | None = None
    order_p: float | None = None
    order_p_adjusted: float | None = None
    p_overview: float | None = None
    order_p_overview: float | None = None
    margin: Margin | None = None
    sequence: bool = False
    readings: tuple[ReadingVerdict, ...] = ()
    control: str | None = None
    images: PerImage | None = None
    effect: Effect | None = None
    telescope: Telescope | None = None
    notes: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()


class RankingVerdict(Model):
    """A printed column's ranking beside ours: Kendall's tau, and which rows can be told apart.

    `separable` of `pairs` pairs differ beyond their noise; `adjacent` are the printed neighbours,
    greater first, each with its rung, adjusted within the paper; `verdict` is the worst of them.
    """

    paper: str
    column: str
    cells: tuple[str, ...]
    tau: float
    interval: Interval
    separable: int
    pairs: int
    adjacent: tuple[tuple[str, str, str], ...]
    verdict: str


class Noise(Sparse):
    """The noise of one config's accuracy, in points: measured over seeds, and what images bound.

    `bound` is for independent images, `plug_in` from the agreement of the seeds on each image.
    """

    config: str
    recipe: str
    dataset: str
    protocol: str
    metric: str
    seeds: int
    images: int
    mean: float
    run_sd: float
    run_sd_interval: Interval | None = None
    bound: float
    plug_in: float | None = None


class Verdicts(Artifact):
    """`results/<scale>/verdicts.json`: a verdict on every claim, rankings and noise beside them."""

    sealed: ClassVar[bool] = True
    scale: str
    measurements: str
    verdicts: tuple[Verdict, ...]
    rankings: tuple[RankingVerdict, ...] = ()
    noise: tuple[Noise, ...] = ()


class SeedsWanted(Artifact):
    """`results/<scale>/seeds_wanted.json`: how many seeds in all would settle what is open.

    `configs` counts by config of the plan, for `reclaim plan --extend`; `claims`, for a reader, by
    claim (or ranked column), or says why no number of seeds settles it. Counted as planned and for
    one look at the end: other readings, and the sequences that judge added seeds, need more.
    `readings` counts the runs of readings that were not measured, for what fails under all that
    were.
    """

    sealed: ClassVar[bool] = True
    scale: str
    configs: dict[str, Annotated[int, Field(ge=1)]]
    readings: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    claims: dict[str, int | str] = Field(default_factory=dict)


class Bundle(Artifact):
    """`bundle.json`, written last: a scale's evidence file by file, under one hash.

    `root` is the Merkle root of `facts` and `files` (`registry.bundle`), `branches` the hashes one
    level below it. `facts`: the hash of the code that made all this, that of the environment's
    lock, that of each data set.
    """

    scale: str
    root: str
    branches: dict[str, str]
    facts: dict[str, str]
    files: dict[str, FileStamp]


# --- what print alone proves ---------------------------------------------------------------------

AuditVerdict = Literal["contradiction", "implausible", "unsupported", "consistent", "untestable"]


class Finding(Model):
    """What one check of the audit says about some printed cells or statements.

    `evidence` holds JSON values; beside a number `x` that is known exactly stands the fraction, as
    a string, under `x_exact`.
    """

    paper: str
    check: str
    cells: tuple[str, ...]
    verdict: AuditVerdict
    message: str
    evidence: dict[str, Any] = Field(default_factory=dict)


class Audit(Artifact):
    """`results/audit.json`: the findings of some checks on the papers of one claims folder."""

    papers: tuple[str, ...]
    checks: tuple[str, ...]
    findings: tuple[Finding, ...]


# --- reading and writing -------------------------------------------------------------------------

AnyModel = TypeVar("AnyModel", bound=BaseModel)


def canonical(value: Any) -> str:
    """JSON text that is the same for equal values: sorted keys, no spaces."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def content_hash(value: Any) -> str:
    """sha256 of a model's or a plain value's canonical JSON."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def stamp(path: Path) -> FileStamp:
    """The sha256 and size of a file. Raises ReclaimError if it cannot be read."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileStamp(sha256=digest, bytes=path.stat().st_size)
    except OSError as error:
        raise ReclaimError(
            f"{path}: cannot read: {error.strerror or error}; mend the disk or the permissions, or "
            "delete the file, and start again"
        ) from error


def stamps_hold(folder: Path, files: Mapping[str, FileStamp]) -> bool:
    """Whether every stamped file is there with the content that was stamped."""
    return all(
        (folder / name).is_file()
        and (folder / name).stat().st_size == expected.bytes
        and stamp(folder / name) == expected
        for name, expected in files.items()
    )


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all.

    Raises ReclaimError if the folder cannot be written or the disk is full; an older file stays.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise ReclaimError(
            f"{path}: cannot write: {error.strerror or error}; free some space or mend the "
            "permissions and start again, nothing was changed"
        ) from error


def sync(folder: Path) -> None:
    """Bring a folder's names to the disk, where the system can: a power cut keeps a rename."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: Path, text: str) -> None:
    """`write_bytes` for UTF-8 text."""
    write_bytes(path, text.encode())


def says(path: Path, text: str) -> bool:
    """Whether a file is this very text; one that cannot be read is not."""
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False


def write_text_if_changed(path: Path, text: str) -> bool:
    """Write only where the content differs, so that no engine sees a touch. True if written."""
    if says(path, text):
        return False
    write_text(path, text)
    return True


def render(record: BaseModel) -> str:
    """A record as the JSON text of its file, a sealed one with the checksum of its values."""
    value = record.model_dump(mode="json")
    if isinstance(record, Artifact) and record.sealed:
        value[SEAL] = content_hash(value)
    if isinstance(record, Verdicts):  # thousands: seven times as fast, but writes 1e-9 for 1e-09
        return to_json(value, indent=1).decode() + "\n"
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def write(path: Path, record: Artifact) -> None:
    """Write an artifact, whole or not at all."""
    write_text(path, render(record))


def read(path: Path, model: type[AnyModel], remedy: str) -> AnyModel:
    """Read an artifact.

    `remedy` says what makes the file anew. Raises ReclaimError for a missing or unreadable file,
    broken or too deeply nested JSON, another schema version, or a field that does not fit.
    """
    try:
        return _read(path, model, remedy)
    except RecursionError as error:  # in its text, its checksum, its fields or what is said of them
        raise ReclaimError(f"{path}: not readable as JSON (nested too deeply); {remedy}") from error


def _read(path: Path, model: type[AnyModel], remedy: str) -> AnyModel:
    """`read`, but for JSON that is nested too deeply: raises RecursionError for that."""
    try:
        raw = path.read_bytes()
        value = json.loads(raw)
        if b"\\u" in raw:  # an escape may stand for half a character, which has no hash
            canonical(value).encode()
    except FileNotFoundError as error:
        raise ReclaimError(f"{path}: not found; {remedy}") from error
    except (OSError, ValueError) as error:
        raise ReclaimError(f"{path}: not readable as JSON ({error}); {remedy}") from error
    version = value.get("schema_version") if isinstance(value, dict) else None
    if version != SCHEMA_VERSION:
        raise ReclaimError(
            f"{path}: schema version {version}, this reclaim reads {SCHEMA_VERSION}; {remedy}"
        )
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise ReclaimError(f"{path}: {first_fault(error)}; {remedy}") from error


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """ "did you mean X? " for the nearest known name, nothing where none is near."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}? " if near else ""


def printable(text: str) -> str:
    """A text on one line of a terminal: what is no printable character stands as its escape."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def first_fault(error: ValidationError) -> str:
    """The first fault of a validation error on one line: where, what, what was given."""
    fault = error.errors()[0]
    where = printable(".".join(str(part) for part in fault["loc"])) or "top level"
    given = repr(fault["input"])
    return f"{where}: {fault['msg']} (given {given if len(given) <= 60 else given[:57] + '...'})"
