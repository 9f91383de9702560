"""Faults of storage: nothing corrupt is taken, nothing good destroyed, the error says what to do.

`python -m tests.campaigns.storage [FLIPS]` damages every file that a verb reads (each reader must
refuse it, or not take it, so that it is made anew), lets every writer fail at each of its calls
(what was there before must stay), and lets two writers of one file run into each other.
"""

from __future__ import annotations

import builtins
import errno
import io
import itertools
import json
import os
import random
import runpy
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from reclaim import records
from reclaim.inference import measurements
from reclaim.learning.checkpoints import Checkpoints
from reclaim.learning.data.fetch import Folder, Unavailable, alone_in
from reclaim.learning.data.formats import Splits
from reclaim.learning.data.store import load, store, stored
from reclaim.records import (
    Cost,
    DataManifest,
    EvaluationManifest,
    FileStamp,
    Plan,
    ReclaimError,
    Run,
    RunManifest,
    SeedsWanted,
    Verdicts,
    WeightsLock,
    WeightsManifest,
    read,
    stamp,
)
from reclaim.registry import jobs, plan
from reclaim.registry.certify import CERTIFICATE, StaleRun, carry_run, old_run
from reclaim.registry.claims import load_papers
from reclaim.registry.claims.text import read_yaml
from reclaim.registry.compare import budget_of
from reclaim.registry.datasets import Archive
from reclaim.registry.weights import pin, pinned, stored_weights
from tests.campaigns.crashes import (
    FACTS,
    SCALE,
    Kill,
    Killed,
    Outcome,
    Power,
    Story,
    base_of,
    fetches,
    learns,
    pieces,
    played,
    uncut,
)
from tests.campaigns.sites import DISK, Phase, Site, watching
from tests.conftest import tiny_config
from tests.learning.data.conftest import no_file_over

ROOT = Path(__file__).parents[2]
check_settings = runpy.run_path(str(ROOT / "workflow/settings.py"))["check"]
FLIPS = 600
CUTS = 60
UNREADABLE = Path("/proc/self/mem")  # opens, and gives an I/O error when it is read
WEIGHTS = "small"


class NotTaken(Exception):
    """A reader found no whole file, so that the verb makes it anew."""


# --- what is read --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reader:
    """A stored file and how a verb reads it: a value, a ReclaimError, or NotTaken.

    What people write `by_hand` and keep in git has no checksum: another value is what it says.
    """

    name: str
    file: Path
    read: Callable[[], Any]
    by_hand: bool = False


def found(value: Any) -> Any:
    """A value; None stands for a file that is not taken. Raises NotTaken."""
    if value is None:
        raise NotTaken
    return value


@dataclass(frozen=True)
class Store:
    """A folder with one of every artifact, and the story that made most of them."""

    root: Path
    story: Story

    @property
    def results(self) -> Path:
        return self.root / SCALE

    @property
    def data(self) -> Path:
        return self.root / "data"

    def readers(self) -> Iterator[Reader]:
        """Every artifact with every reader of it."""
        yield from self.of_a_run()
        yield from self.of_evaluations()
        yield from self.of_data()
        yield from self.of_weights()
        yield from self.of_tables()
        yield from self.of_certificates()
        yield from self.of_plans()
        yield from self.of_sources()

    def of_a_run(self) -> Iterator[Reader]:
        job = self.story.job
        assert job is not None
        folder = jobs.run_folder(self.results, job.recipe, job.id)
        first = jobs.init_path(self.results, job)
        assert first is not None

        def finished() -> RunManifest:
            sha = jobs.data_hash(FACTS.name, self.data)
            manifest: RunManifest = found(jobs.finished_run(self.results, job, sha))
            return manifest

        yield Reader("run.json: is the run finished", folder / "run.json", finished)
        for name in ("encoder.safetensors", "encoder_lowest.safetensors", "curve.csv"):
            yield Reader(f"{name}: is the run finished", folder / name, finished)
        yield Reader("config.json: is the run finished", folder / "config.json", finished)
        yield Reader("encoder of another run: start from it", first, finished)
        keep = Checkpoints(self.root / "kept", "k" * 64, "cpu in float32")
        newest = keep.paths[-1]

        def resume() -> Any:
            state = found(keep.newest(torch.device("cpu")))
            if state["epoch"] != 2:  # the older one of the two
                raise NotTaken
            return b"".join(pieces(state))

        yield Reader("checkpoint: resume", newest, resume)

    def of_evaluations(self) -> Iterator[Reader]:
        job = self.story.evaluate
        assert job is not None
        folder = jobs.evaluation_folder(self.results, job.recipe, job.id, "linear")
        path = jobs.run_folder(self.results, job.recipe, job.id) / "run.json"
        run = read(path, RunManifest, "")

        def finished() -> EvaluationManifest:
            made = jobs.finished_evaluations(self.results, job, run)
            manifest: EvaluationManifest = found(made.get("linear"))
            return manifest

        def rows() -> Any:
            return measurements.rows_of(folder / "metrics.json", SCALE)

        yield Reader("metrics.json: is it evaluated", folder / "metrics.json", finished)
        yield Reader("metrics.json: gather", folder / "metrics.json", rows)
        predictions = folder / "predictions.parquet"
        yield Reader("predictions.parquet: is it evaluated", predictions, finished)

    def of_data(self) -> Iterator[Reader]:
        folder = self.data / FACTS.name

        def loaded() -> list[bytes]:
            return [
                np.asarray(array).tobytes() for array in vars(load(FACTS.name, self.data)).values()
            ]

        def whole() -> Any:
            return found(stored(FACTS, self.data))

        manifest = folder / "manifest.json"
        yield Reader("manifest of data: train", manifest, loaded)
        yield Reader(
            "manifest of data: its hash", manifest, lambda: jobs.data_hash(FACTS.name, self.data)
        )
        yield Reader("manifest of data: is it fetched", manifest, whole)
        for name in ("train_images", "train_labels", "test_images", "test_labels"):
            yield Reader(f"{name}.npy: train", folder / f"{name}.npy", loaded)
        yield Reader("train_images.npy: is it fetched", folder / "train_images.npy", whole)
        archive = self.root / "archives/set.tar"
        made_of = stamp(archive)
        pins = Archive(archive.name, made_of.bytes, sha256=made_of.sha256)

        def taken() -> bytes:
            try:
                with alone_in(self.root, "set", "reclaim fetch data set") as archives:
                    return Folder(archives).get(pins).read_bytes()
            except Unavailable as error:
                raise NotTaken from error

        yield Reader("archive: fetch", archive, taken)

    def of_weights(self) -> Iterator[Reader]:
        folder, lock = self.root / "weights" / WEIGHTS, self.root / "weights.lock.json"

        def whole() -> Any:
            return found(stored_weights(folder, lock))

        yield Reader("manifest of weights: are they fetched", folder / "manifest.json", whole)
        yield Reader("weights: are they fetched", folder / "encoder.safetensors", whole)
        yield Reader("lock of weights: is it the pinned file", lock, lambda: found_pin(lock))

    def of_tables(self) -> Iterator[Reader]:
        table, verdicts = self.root / SCALE / "measurements.csv", self.root / "verdicts.json"

        def judged() -> tuple[Verdicts, Any]:
            made, frame = read(verdicts, Verdicts, "judge again"), measurements.read(table)
            if made.measurements != measurements.digest(frame):
                raise ReclaimError(f"{verdicts}: not made from the present {table}; judge again")
            return made, measurements.render(frame)

        yield Reader("measurements.csv: report", table, judged)
        yield Reader("verdicts.json: report", verdicts, judged)

    def of_certificates(self) -> Iterator[Reader]:
        job = self.story.job
        assert job is not None
        results, data = self.root / "carried" / SCALE, jobs.data_hash(FACTS.name, self.data)
        newer = job.model_copy(update={"code": "newer"})
        [certificate] = jobs.run_folder(results, job.recipe, job.id).glob(f"{CERTIFICATE}*")

        def finished() -> Any:
            return found(jobs.finished_run(results, newer, data))

        def carried() -> Any:
            return found(old_run(job, results))

        yield Reader("certificate: is the run finished", certificate, finished)
        yield Reader("certificate: recertify", certificate, carried)

    def of_plans(self) -> Iterator[Reader]:
        plans, results = self.root / "plans", self.root / "planned"
        folder, added = results / SCALE, jobs.extension_path(SCALE, results)
        with here(plans):
            whole = jobs.read_plan(SCALE, sweeps=True, results=results)
        last = len(whole.runs)

        def planned() -> Any:
            with here(plans):
                plan = jobs.read_plan(SCALE, sweeps=True, results=results)
            return plan if len(plan.runs) == last else found(None)

        def extended() -> Any:
            added.unlink(missing_ok=True)
            with here(plans):
                return jobs.extend_plan(SCALE, results=results)

        def resolved() -> Any:
            with here(plans):
                jobs.resolve(SCALE, results, sweeps=True)
            return [json.loads(text_of(path)) for path in sorted(folder.glob("jobs/**/*.json"))]

        resolved()
        job = folder / "jobs" / whole.runs[0].recipe / f"{whole.runs[0].id}.json"
        yield Reader("seeds_wanted.json: plan --extend", folder / "seeds_wanted.json", extended)
        yield Reader("committed plan: what is to be run", plans / f"{SCALE}.json", planned)
        yield Reader("plan of sweeps: what is to be run", plans / f"{SCALE}.sweeps.json", planned)
        yield Reader("plan of added seeds: what is to be run", added, planned)
        yield Reader("jobs/plan.json: resolve", folder / "jobs/plan.json", resolved)
        yield Reader("a job file: resolve", job, resolved)

    def of_sources(self) -> Iterator[Reader]:
        claims, scale = self.root / "claims", self.root / "scales/digits.yaml"
        drift, params = self.root / "drift.yaml", self.root / "params.yaml"

        def scaled() -> Any:
            with patch.object(plan, "SCALES", scale.parent):
                return plan.load_scale("digits")

        def budget() -> Any:
            return found(budget_of("digits", drift) or None)

        for name in (*(f"{name}.yaml" for name in CLAIMS), "tables/abstract.csv"):
            path = claims / PAPER / name
            yield Reader(f"{Path(name).name}: plan, audit", path, lambda: load_papers(claims), True)
        yield Reader("a scale's settings: plan", scale, scaled, by_hand=True)
        yield Reader("drift.yaml: compare", drift, budget, by_hand=True)
        yield Reader("params.yaml: both engines", params, lambda: settings(params), by_hand=True)


PAPER = "dong2023"  # the smallest
CLAIMS = ("paper", "protocol", "statements", "divergences", "tables/abstract")


def settings(path: Path) -> Any:
    """params.yaml as both engines look at it before anything else."""
    check_settings(path)
    return read_yaml(path).value


def here(plans: Path) -> AbstractContextManager[Any]:
    """The committed plans are those of a folder."""
    return patch.object(jobs, "PLANS", plans)


def text_of(path: Path) -> bytes:
    """What a file says, also while opening it by its name fails."""
    with os.fdopen(os.open(path, os.O_RDONLY), "rb") as file:
        return file.read()


def found_pin(lock: Path) -> FileStamp:
    """The pin, compared with the file it pins, as a fetch does. Raises NotTaken."""
    kept = pinned(WEIGHTS, lock)
    file = stamp(lock.parent / "weights" / WEIGHTS / "encoder.safetensors")
    if kept is not None and kept != file:
        raise NotTaken
    return FileStamp.model_validate(found(kept))


def made(root: Path) -> Store:
    """One of every artifact."""
    base = base_of(root / "base")
    story = learns("simclr_dino", base)
    story.prepare(root)
    with redirect_stderr(io.StringIO()):
        story.play(root)
    keep = Checkpoints(root / "kept", "k" * 64, "cpu in float32")
    for epoch in (1, 2):
        keep.save(epoch, {"epoch": epoch, "model": {"w": torch.arange(50.0) * epoch}})
    records.write_bytes(root / "archives/set.tar", random.Random(0).randbytes(3000))
    folder, lock = root / "weights" / WEIGHTS, root / "weights.lock.json"
    records.write_bytes(folder / "encoder.safetensors", random.Random(1).randbytes(2000))
    encoder = stamp(folder / "encoder.safetensors")
    pin(WEIGHTS, encoder, lock)
    files = {"encoder.safetensors": encoder}
    manifest = WeightsManifest(name=WEIGHTS, source="made up", checkpoint=encoder, files=files)
    records.write(folder / "manifest.json", manifest)
    digest = measurements.digest(measurements.read(root / SCALE / "measurements.csv"))
    empty = Verdicts(scale=SCALE, measurements=digest, verdicts=())
    records.write(root / "verdicts.json", empty)
    carry(story, root / SCALE, root / "carried" / SCALE)
    write_plans(story, root / "plans", root / "planned")
    for name in ("workflow/drift.yaml", "params.yaml", "workflow/scales/digits.yaml"):
        place = root / name.removeprefix("workflow/")
        place.parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, place)
    shutil.copytree(ROOT / "workflow/claims" / PAPER, root / "claims" / PAPER)
    return Store(root, story)


def carry(story: Story, source: Path, results: Path) -> None:
    """A copy of the run of a story, certified for newer code."""
    shutil.copytree(source, results)
    assert story.job is not None
    newer = story.job.model_copy(update={"code": "newer"})
    old = old_run(newer, results)
    assert old is not None
    assert carry_run(StaleRun(newer, old), old.manifest, results)


def write_plans(story: Story, plans: Path, results: Path) -> None:
    """A plan of two seeds, a sweep planned apart, and the seeds that were added to them."""
    config = tiny_config("simclr")
    assert story.evaluate is not None
    first = Run(
        id="simclr-s0", recipe="simclr", dataset="digits", seed=0, config="simclr",
        protocols=("knn",), cost=Cost(steps=1, images_seen=1),
    )  # fmt: skip
    second = first.model_copy(update={"id": "simclr-s1", "seed": 1})
    swept = first.model_copy(update={"id": "swept-s0", "config": "swept", "variant": "batch 8"})
    knn = {"knn": story.evaluate.protocols["knn"]}
    parts = ((SCALE, "simclr", (first, second)), (f"{SCALE}.sweeps", "swept", (swept,)))
    for name, key, runs in parts:
        made = Plan(scale=SCALE, configs={key: config}, protocols=knn, runs=runs)
        records.write(plans / f"{name}.json", made)
    wanted = SeedsWanted(scale=SCALE, configs={"simclr": 4}, claims={"a:b": 4})
    records.write(results / SCALE / "seeds_wanted.json", wanted)
    with here(plans):
        jobs.extend_plan(SCALE, results=results)


# --- damage --------------------------------------------------------------------------------------


@contextmanager
def replaced(path: Path, content: bytes) -> Iterator[None]:
    """A file with other content for a while."""
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


@contextmanager
def aside(path: Path) -> Iterator[None]:
    """A file moved away for a while; whatever took its place is removed."""
    kept = path.with_name(f".{path.name}.aside")
    path.rename(kept)
    try:
        yield
    finally:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        path.unlink(missing_ok=True)
        kept.rename(path)


@contextmanager
def linked(path: Path) -> Iterator[None]:
    """The kernel itself gives an I/O error when the file is read."""
    with aside(path):
        path.symlink_to(UNREADABLE)
        yield


@contextmanager
def folder_there(path: Path) -> Iterator[None]:
    """A folder lies where the file was."""
    with aside(path):
        path.mkdir()
        yield


@contextmanager
def not_opened(path: Path, number: int) -> Iterator[None]:
    """Opening the file fails with an error number."""
    opens = io.open

    def failing(file: Any, *args: Any, **named: Any) -> Any:
        if not isinstance(file, int) and Path(os.fsdecode(file)) == path:
            raise OSError(number, os.strerror(number), str(path))
        return opens(file, *args, **named)

    with patch.object(io, "open", failing), patch.object(builtins, "open", failing):
        yield


Damage = Callable[[Path], Any]


def damages(file: Path, flips: int, cuts: int, rng: random.Random) -> Iterator[tuple[str, Damage]]:
    """Every kind of damage to a file, with different places; a small file is flipped whole."""
    whole = file.read_bytes()
    bits = range(8 * len(whole))
    for bit in bits if len(bits) <= flips else rng.sample(bits, flips):
        yield "one bit flipped", lambda path, bit=bit: replaced(path, flipped(whole, bit))
    for size in {0, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(cuts))}:
        yield "truncated", lambda path, size=size: replaced(path, whole[:size])
    yield "zeros", lambda path: replaced(path, bytes(len(whole)))
    yield "missing", aside
    yield "a folder in its place", folder_there
    yield "I/O error in reading", linked
    yield "I/O error in opening", lambda path: not_opened(path, errno.EIO)
    yield "no permission", lambda path: not_opened(path, errno.EACCES)


def flipped(content: bytes, bit: int) -> bytes:
    """The content with one other bit."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@dataclass
class Seen:
    """What became of the faults: (who, fault, outcome), and what must not happen."""

    outcomes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def note(self, who: str, fault: str, outcome: str, detail: str = "") -> None:
        self.outcomes[who, fault, outcome] += 1
        if outcome in BAD:
            self.wrong.append(f"{who}: {fault}: {outcome} {detail}")


GOOD = ("refused", "made anew", "same value", "as it says")
BAD = ("ACCEPTED", "TRACEBACK", "UNCLEAR", "DESTROYED")


def damage_readers(
    readers: list[Reader], flips: int, cuts: int, rng: random.Random, seen: Seen
) -> None:
    """Damage every file in every way and see what its reader says."""
    for reader in readers:
        expected = reader.read()
        for fault, damage in list(damages(reader.file, flips, cuts, rng)):
            with damage(reader.file):
                outcome, detail = outcome_of(reader, expected)
            seen.note(reader.name, fault, outcome, detail)
        assert reader.read() == expected


def outcome_of(reader: Reader, expected: Any) -> tuple[str, str]:
    """What a reader makes of its file as it is now."""
    try:
        value = reader.read()
    except NotTaken:
        return "made anew", ""
    except ReclaimError as error:
        clear = is_clear(str(error), reader.file, reader.by_hand)
        return ("refused" if clear else "UNCLEAR"), str(error)
    except Exception as error:  # noqa: BLE001 - whatever else comes out is what is looked for
        return "TRACEBACK", repr(error)
    other = "as it says" if reader.by_hand else "ACCEPTED"
    return ("same value" if value == expected else other), ""


def is_clear(message: str, file: Path, by_hand: bool = False) -> bool:
    """One line that names the file, or the folder it lies in, and says what to do.

    Of a file that people write: its line, and what is expected there.
    """
    names = str(file) in message or str(file.parent) in message
    remedy = ";" in message or (by_hand and "expected" in message)
    return names and "\n" not in message and remedy


# --- faults in writing ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Writer:
    """Something that writes a file: `write(n)` writes the n-th content."""

    name: str
    file: Path
    write: Callable[[int], object]


def writers(root: Path) -> Iterator[Writer]:
    """One of each kind of writer, each in a folder of its own."""
    data = root / "data"
    sizes = FileStamp(sha256="0" * 64, bytes=1)

    def manifest(n: int) -> None:
        made = DataManifest(name=str(n), source="x" * 99, classes=n + 2, files={"a": sizes})
        records.write(root / "artifact/manifest.json", made)

    def table(n: int) -> None:
        records.write_text(root / "text/table.csv", f"line {n}\n" * 99)

    def job(n: int) -> None:
        records.write_text_if_changed(root / "job/job.json", f"job {n}\n" * 99)

    def encoder(n: int) -> None:
        records.write_bytes(root / "bytes/encoder.safetensors", bytes([n]) * 9000)

    def checkpoint(n: int) -> None:
        for progress in (1, 2) if n == 1 else (3,):
            Checkpoints(root / "checkpoint", "k" * 64, "cpu in float32").save(
                progress, {"epoch": n}
            )

    def lock(n: int) -> None:
        path = root / "lock/weights.lock.json"
        records.write(path, WeightsLock(pins={"a": FileStamp(sha256=str(n) * 64, bytes=n)}))

    def arrays(n: int) -> None:
        rng = np.random.default_rng(n)
        blocks = [
            (rng.integers(0, 255, FACTS.shape(count), np.uint8), np.zeros(count, np.int64))
            for count in (FACTS.n_train, FACTS.n_test)
        ]
        store(FACTS, Splits(iter(blocks[:1]), iter(blocks[1:])), data)

    yield Writer("an artifact (JSON)", root / "artifact/manifest.json", manifest)
    yield Writer("a table or page (text)", root / "text/table.csv", table)
    yield Writer("a job file", root / "job/job.json", job)
    yield Writer("an encoder or predictions (bytes)", root / "bytes/encoder.safetensors", encoder)
    name = f"{'k' * 16}-{3:012d}.pt"
    yield Writer("a checkpoint", root / "checkpoint" / name, checkpoint)
    yield Writer("the lock of weights", root / "lock/weights.lock.json", lock)
    yield Writer(SET, data / FACTS.name / "manifest.json", arrays)


SET = "an image set (arrays)"  # only written where none is whole
WRITTEN = 150  # bytes; every writer writes more
CALLS = tuple(call for call in DISK if call[2] != "remove")  # that one is told to ignore faults
WRITE_FAULTS: Mapping[str, int] = {
    "no space left": errno.ENOSPC,
    "I/O error": errno.EIO,
    "read-only folder": errno.EROFS,
    "no permission": errno.EACCES,
    "quota": errno.EDQUOT,
}


def fail_writers(root: Path, seen: Seen, short: int, rng: random.Random) -> None:
    """Let every writer fail at each of its calls, over an old file and without one."""
    for writer in writers(root):
        for old in (True, False):
            for number in range(1, calls_of(writer, old) + 1):
                for fault, code in WRITE_FAULTS.items():
                    check_write(writer, old, fault, failing_call(number, code), seen)
            for size in rng.sample(range(WRITTEN), short):
                check_write(writer, old, "short write", no_file_over(size), seen)


def prepare(writer: Writer, old: bool) -> None:
    """An older file, or none."""
    shutil.rmtree(writer.file.parent, ignore_errors=True)
    if old:
        writer.write(1)


def calls_of(writer: Writer, old: bool) -> int:
    """How many calls to the disk a write makes."""
    phases: list[Phase] = []
    prepare(writer, old)
    with watching(CALLS, lambda site, phase, args: phases.append(phase)):
        writer.write(2)
    return phases.count("before")


@contextmanager
def failing_call(number: int, code: int) -> Iterator[None]:
    """The n-th call to the disk fails with an error number."""
    calls = itertools.count(1)

    def notify(site: Site, phase: Phase, args: tuple[Any, ...]) -> None:
        if phase == "before" and next(calls) == number:
            raise OSError(code, os.strerror(code))

    with watching(CALLS, notify):
        yield


def check_write(
    writer: Writer, old: bool, fault: str, trouble: AbstractContextManager[None], seen: Seen
) -> None:
    """A write in trouble: it is done all the same, or there is a clear error and the old file."""
    prepare(writer, old)
    before, outcome, detail = content_of(writer), "same value", ""
    with trouble:
        try:
            writer.write(2)
        except ReclaimError as error:
            detail = str(error)
            outcome = "refused" if is_clear(detail, writer.file) else "UNCLEAR"
        except Exception as error:  # noqa: BLE001 - whatever else comes out is what is looked for
            outcome, detail = "TRACEBACK", repr(error)
    after = content_of(writer)
    if outcome == "refused" and after != before and not (writer.name == SET and not after):
        outcome = "DESTROYED"
    if outcome == "same value":
        writer.write(2)
        outcome = outcome if after.items() >= content_of(writer).items() else "ACCEPTED"
    seen.note(f"write {writer.name}", fault, outcome, detail)


def content_of(writer: Writer) -> dict[str, bytes]:
    """The files that a reader would find."""
    folder = writer.file.parent
    if not writer.file.is_file() or (writer.name == SET and not fits(writer.file)):
        return {}
    return {
        path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name[0] != "."
    }


def fits(manifest: Path) -> bool:
    """Whether an image set is as its manifest says; else no reader takes it."""
    made = records.read(manifest, DataManifest, "")
    return records.stamps_hold(manifest.parent, made.files)


# --- faults in the midst of a verb ---------------------------------------------------------------


def fail_stories(scratch: Path, seen: Seen, rng: random.Random, most: int | None = None) -> None:
    """Verbs of which one call to the disk fails, each call site twice; then they start again.

    `most` limits the sample.
    """
    stories = [learns("moco_sscl", base_of(scratch / "base")), fetches("rehearsal_cifar10")]
    known = {what for _, _, what in CALLS}
    for number, story in enumerate(stories):
        counts, expected = uncut(story, rng, scratch)
        sites = sorted(site for site in counts if site.what in known)
        if most is not None:
            sites = rng.sample(sites, most // len(stories))
        for site in sites:
            for fault, code in rng.sample(list(WRITE_FAULTS.items()), 1 if most else 2):
                kill = Kill(site, rng.randint(1, counts[site]))
                outcome, detail = fail_story(story, kill, code, expected, rng, scratch)
                seen.note(VERBS[number], fault, outcome, detail)


VERBS = ("in pretrain, evaluate, gather", "in fetch")


def fail_story(
    story: Story, kill: Kill, code: int, expected: Outcome, rng: random.Random, scratch: Path
) -> tuple[str, str]:
    """A story of which one call fails: a clear error or none; played again, it ends the same."""
    outcome, detail = "same value", ""
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = Path(name)
        story.prepare(folder)
        states: set[str] = set()
        try:
            played(story, folder, Failing(kill, folder, rng, states, code=code))
        except ReclaimError as error:
            detail = str(error)
            outcome = "refused" if "\n" not in detail and ";" in detail else "UNCLEAR"
        except Exception as error:  # noqa: BLE001 - whatever else comes out is what is looked for
            outcome, detail = "TRACEBACK", f"{kill.site}: {error!r}"
        played(story, folder, Power(None, folder, rng, states))
        same = Outcome.of(folder, states).same(expected)
    return (outcome, detail) if same else ("ACCEPTED", str(kill.site))


@dataclass
class Failing(Power):
    """A disk of which one call fails."""

    code: int = 0

    def notify(self, site: Site, phase: Phase, args: tuple[Any, ...]) -> None:
        """Count a call as ever; raise OSError at the chosen one."""
        try:
            super().notify(site, phase, args)
        except Killed:
            self.kill, self.dead = None, False
            raise OSError(self.code, os.strerror(self.code)) from None


# --- two writers of one file ---------------------------------------------------------------------


def cross_writers(root: Path, seen: Seen) -> None:
    """While one writes, at each of its calls another writes the same file: one of them is there."""
    for writer in writers(root):
        if writer.name == SET:  # has a lock: tests.campaigns.many
            continue
        for old in (True, False):
            for moment in range(1, 2 * calls_of(writer, old) + 1):
                outcome = crossed(writer, old, moment)
                seen.note(f"write {writer.name}", "two writers", outcome)


def crossed(writer: Writer, old: bool, moment: int) -> str:
    """What is there after a second write in the midst of a first, before or after a call."""
    whole = []
    for n in (2, 3):
        prepare(writer, False)
        writer.write(n)
        whole.append(writer.file.read_bytes())
    prepare(writer, old)
    moments = itertools.count(1)

    def notify(site: Site, phase: Phase, args: tuple[Any, ...]) -> None:
        if next(moments) == moment:
            writer.write(3)

    with watching(CALLS, notify):
        try:
            writer.write(2)
        except ReclaimError:
            return "refused" if writer.file.read_bytes() in whole else "DESTROYED"
    return "same value" if writer.file.read_bytes() in whole else "ACCEPTED"


# --- tables --------------------------------------------------------------------------------------


def table(seen: Seen, who: Callable[[str], bool]) -> Iterator[str]:
    """A row per reader or writer, a column per fault, then what became of them."""
    rows = list(dict.fromkeys(name for name, _, _ in seen.outcomes if who(name)))
    faults = list(dict.fromkeys(fault for name, fault, _ in seen.outcomes if who(name)))
    last = [how for how in GOOD if any(count(seen, row, outcome=how) for row in rows)] + ["wrong"]
    yield f"| what | {' | '.join([*faults, *last])} |"
    yield "|---" * (1 + len(faults) + len(last)) + "|"
    for row in rows:
        counts = [count(seen, row, fault=fault) for fault in faults]
        counts += [count(seen, row, outcome=outcome) for outcome in last[:-1]]
        counts.append(sum(count(seen, row, outcome=outcome) for outcome in BAD))
        yield f"| {row} | {' | '.join(map(str, counts))} |"


def count(seen: Seen, row: str, fault: str | None = None, outcome: str | None = None) -> int:
    """How many faults of a row."""
    return sum(
        n
        for (name, what, how), n in seen.outcomes.items()
        if name == row and fault in (None, what) and outcome in (None, how)
    )


def is_writer(name: str) -> bool:
    """Whether a row is of the second table."""
    return name.startswith(("write ", "in "))


def campaign(flips: int, cuts: int, scratch: Path, seed: int = 0) -> Seen:
    """All faults, on one of every artifact and of every writer."""
    rng, seen = random.Random(seed), Seen()
    kept = made(scratch / "readers")
    damage_readers(list(kept.readers()), flips, cuts, rng, seen)
    fail_writers(scratch / "writers", seen, cuts, rng)
    cross_writers(scratch / "writers", seen)
    fail_stories(scratch, seen, rng)
    return seen


def main() -> None:
    """Run the campaign and print its tables."""
    flips = int(sys.argv[1]) if sys.argv[1:] else FLIPS
    with tempfile.TemporaryDirectory() as scratch:
        seen = campaign(flips, CUTS, Path(scratch))
    print("\n".join(table(seen, lambda name: not is_writer(name))), end="\n\n")
    print("\n".join(table(seen, is_writer)), end="\n\n")
    print(f"{seen.outcomes.total()} faults, {len(seen.wrong)} with a wrong outcome")
    print("\n".join(sorted(set(seen.wrong))))
    sys.exit(bool(seen.wrong))


if __name__ == "__main__":
    main()
