"""Killed at any instant and started again by the same command, everything ends with the same bits.

`python -m tests.campaigns.crashes [KILLS]` plays short stories (fetch, pretrain, evaluate, gather,
judge, report, audit) in this process, ends each at a chosen call, spoils the disk as a power cut
would, plays the story again and compares all it leaves with what an uncut one left.
`python -m tests.campaigns.kills` does the same to whole processes with SIGKILL.
"""

from __future__ import annotations

import hashlib
import io
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from reclaim import cli
from reclaim.inference import measurements, verdicts
from reclaim.inference.audit import audit_claims
from reclaim.learning import checkpoints, fitting, train
from reclaim.learning import evaluate as ev
from reclaim.learning.checkpoints import Checkpoints
from reclaim.learning.data import fetch_data
from reclaim.learning.data.formats import Splits
from reclaim.learning.data.store import store
from reclaim.learning.frozen import Frozen
from reclaim.learning.twin import Twin
from reclaim.records import (
    EvaluateJob,
    FineTuneProtocol,
    GeometryProtocol,
    KnnProtocol,
    LinearProtocol,
    Op,
    PretrainJob,
    Protocol,
)
from reclaim.registry.datasets import DATASETS, DatasetFacts
from reclaim.registry.jobs import init_path, run_folder
from reclaim.registry.recipes import RECIPES
from reclaim.report import page
from tests.campaigns.sites import DISK, Phase, Site, Watched, watching
from tests.conftest import tiny_config

KILLS = 1000
SCALE = "tiny"
EVERY = 0.0  # seconds between checkpoints of a training: one after each step
EFFECTS = ("none", "half a temporary file", "renames lost", "file cut", "file of zeros")
"""What a power cut leaves of what was written last; `none` is the end of a process alone."""
ENDS = (("finish", "before"), ("fit", "after"))
"""Where pre-training, a probe or fine-tuning has made its last step."""
Effect = Literal["none", "half a temporary file", "renames lost", "file cut", "file of zeros"]

CODE: tuple[Watched, ...] = (
    (train, "load_images", "load"),
    (train, "start", "start"),
    (train, "resume", "resume"),
    (train, "train_step", "step"),
    (train, "forward", "forward"),
    (train, "total_loss", "loss"),
    (torch.optim.SGD, "step", "optimiser"),
    (Twin, "follow", "follow"),
    (Twin, "remember", "enqueue"),
    (Twin, "recentre", "recentre"),
    (train, "_end_epoch", "end of epoch"),
    (train, "_finish", "finish"),
    (Checkpoints, "save", "save"),
    (Checkpoints, "newest", "resume"),
    (Checkpoints, "clear", "clear"),
    (torch, "save", "save"),
    (ev, "linear_scores", "evaluate"),
    (ev, "knn_scores", "evaluate"),
    (ev, "geometry", "evaluate"),
    (ev, "fine_tune", "fine-tune"),
    (ev, "predictions", "evaluate"),
    (Frozen, "embed", "embed"),
    (fitting, "fit", "fit"),
    (fitting, "resume", "fit resume"),
    (fitting, "fit_step", "fit step"),
    (measurements, "rows_of", "gather"),
    (verdicts, "judge_scale", "judge"),
    (page, "write_report", "report"),
)
FLIP = Op(op="horizontal_flip", p=0.5)
CLEAN = (Op(op="normalise", params={"mean": [0.5], "std": [0.5]}),)
PROTOCOLS: Mapping[str, Protocol] = {
    "linear": LinearProtocol(
        epochs=2, batch=16, lr=0.5, momentum=0.9, views=(FLIP, *CLEAN), test_views=CLEAN
    ),
    "knn": KnnProtocol(encoder="lowest_loss", neighbours=5, temperature=0.2, test_views=CLEAN),
    "geometry": GeometryProtocol(views=CLEAN, test_views=CLEAN),
    "fine_tune": FineTuneProtocol(epochs=2, batch=16, lr=0.1, views=CLEAN, test_views=CLEAN),
}
FACTS = DatasetFacts(
    name="campaign", title="made-up images of four classes", format="digits", size=8, channels=1,
    classes=4, n_train=48, n_test=20,
)  # fmt: skip


class Killed(BaseException):
    """A process that ends at once."""


# --- how a process ends --------------------------------------------------------------------------


@dataclass(frozen=True)
class Kill:
    """The end of a process: at the `count`-th call of a site, or at that of all if it is None."""

    site: Site | None
    count: int
    phase: Phase = "before"
    effect: Effect = "none"


@dataclass
class Power:
    """What keeps a process alive until its kill. `states` are those that trainings ended in."""

    kill: Kill | None
    folder: Path
    rng: random.Random
    states: set[str] = field(default_factory=set)
    counts: Counter[Site] = field(default_factory=Counter)
    renamed: list[tuple[Path, bytes | None]] = field(default_factory=list)
    dead: bool = False

    def notify(self, site: Site, phase: Phase, args: tuple[Any, ...]) -> None:
        """Count a call; die where it is time. A dead process calls nothing any more."""
        if self.dead:
            raise Killed
        if phase == "before":
            self.counts[site] += 1
            if site.what == "rename":
                target = Path(args[1])
                old = target.read_bytes() if target.is_file() else None
                self.renamed.append((target.absolute(), old))
        if (site.what, phase) in ENDS:
            self.states.add(state_of(args[0]))
        if self.kill is not None and self.strikes(self.kill, site, phase):
            if phase == "before" and site.what == "rename":
                self.renamed.pop()
            self.dead = True
            self.spoil(self.kill.effect)
            raise Killed

    def strikes(self, kill: Kill, site: Site, phase: Phase) -> bool:
        count = self.counts.total() if kill.site is None else self.counts[site]
        return kill.site in (None, site) and count == kill.count and phase == kill.phase

    def spoil(self, effect: Effect) -> None:
        """What did not reach the disk in time."""
        if effect == "half a temporary file":
            for path in self.folder.rglob(".*"):
                if path.is_file():
                    os.truncate(path, path.stat().st_size // 2)
        elif effect == "renames lost":
            for target, old in reversed(self.renamed[-self.rng.randint(1, 2) :]):
                put_back(target, old)
        elif self.renamed and self.renamed[-1][0].is_file():
            target = self.renamed[-1][0]
            size = target.stat().st_size
            if effect == "file cut":
                os.truncate(target, self.rng.randrange(size))
            elif effect == "file of zeros":
                target.write_bytes(bytes(size))


def put_back(target: Path, old: bytes | None) -> None:
    """Undo a rename."""
    if old is None:
        target.unlink(missing_ok=True)
    elif target.parent.is_dir():
        target.write_bytes(old)


def state_of(made: train.Training | fitting.Fitting) -> str:
    """A digest of all that a training is: weights, buffers, twin, queue, centre, optimiser."""
    parts: list[Any] = [made.model.state_dict(), made.optimiser.state_dict(), made.epoch]
    if isinstance(made, train.Training):
        parts += [made.twin.state_dict() if made.twin else {}, made.curve, made.lowest]
    digest = hashlib.sha256()
    for piece in pieces(parts):
        digest.update(piece)
    return digest.hexdigest()


def pieces(value: Any) -> Iterator[bytes]:
    """A nested value as bytes."""
    if isinstance(value, Tensor):
        yield f"{value.dtype} {tuple(value.shape)}".encode()
        yield value.detach().cpu().contiguous().numpy().tobytes()
    elif isinstance(value, Mapping):
        for key in value:
            yield repr(key).encode()
            yield from pieces(value[key])
    elif isinstance(value, list | tuple):
        for part in value:
            yield from pieces(part)
    else:
        yield repr(value).encode()


# --- stories -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Story:
    """Verbs on a folder: `prepare` is done before, `play` may be cut and started again."""

    name: str
    prepare: Callable[[Path], None]
    play: Callable[[Path], None]
    job: PretrainJob | None = None
    evaluate: EvaluateJob | None = None


def learns(recipe: str, base: Path) -> Story:
    """Pretrain, evaluate in every way, and gather; `base` holds the data and a DINO encoder."""
    changes: dict[str, Any] = {"dataset__name": FACTS.name, "dataset__subset": None, "epochs": 2}
    config = tiny_config(recipe, **changes)
    init = "dino-s0" if RECIPES[recipe].init == "dino" else None
    job = PretrainJob(
        id=f"{recipe}-s1", recipe=recipe, seed=1, init=init, init_job=init and "test",
        config=config, code="test",
    )  # fmt: skip
    asked = EvaluateJob(
        id=job.id, recipe=recipe, dataset=config.dataset, seed=1,
        protocols={name: p for name, p in PROTOCOLS.items() if has_weights(recipe, name)},
        code=dict.fromkeys(PROTOCOLS, "test"),
    )  # fmt: skip

    def prepare(folder: Path) -> None:
        shutil.copytree(base, folder, dirs_exist_ok=True)

    def play(folder: Path) -> None:
        results, data = folder / SCALE, folder / "data"
        train.pretrain(job, results, data, "cpu", init_path(results, job))
        ev.evaluate(job, asked, results, data, "cpu")
        measurements.gather(SCALE, folder)

    return Story(recipe, prepare, play, job, asked)


def has_weights(recipe: str, protocol: str) -> bool:
    """Raw pixels cannot be fine-tuned."""
    return (recipe, protocol) != ("raw_pixels", "fine_tune")


def made_up_data(root: Path) -> None:
    """Store images of four classes, different from image to image."""
    DATASETS[FACTS.name] = FACTS
    rng = np.random.default_rng(0)
    blocks = []
    for count in (FACTS.n_train, FACTS.n_test):
        labels = np.arange(count, dtype=np.int64) % FACTS.classes
        noise = rng.integers(0, 120, FACTS.shape(count))
        blocks.append(((noise + 40 * labels.reshape(-1, 1, 1, 1)).astype(np.uint8), labels))
    store(FACTS, Splits(iter(blocks[:1]), iter(blocks[1:])), root)


def base_of(folder: Path) -> Path:
    """The data, and a DINO encoder that others start from."""
    made_up_data(folder / "data")
    changes: dict[str, Any] = {"dataset__name": FACTS.name, "dataset__subset": None, "epochs": 1}
    config = tiny_config("dino", **changes)
    job = PretrainJob(id="dino-s0", recipe="dino", seed=0, config=config, code="test")
    with redirect_stderr(io.StringIO()):
        train.pretrain(job, folder / SCALE, folder / "data", "cpu")
    assert run_folder(folder / SCALE, "dino", "dino-s0").is_dir()
    return folder


def fetches(name: str) -> Story:
    """Fetch an image set that needs no network."""

    def play(folder: Path) -> None:
        fetch_data(name, folder / "data")

    return Story(f"fetch {name}", lambda folder: None, play)


def judges(project: Path) -> Story:
    """Gather, judge, report and audit what a recipe measured on the digits."""
    kept = Path("evaluations/simclr")
    runs = Path("runs/simclr")

    def prepare(folder: Path) -> None:
        (folder / "workflow").symlink_to(project / "workflow")
        for part in (kept, runs):
            shutil.copytree(
                project / "results/reference/digits" / part, folder / "results/digits" / part
            )

    def play(folder: Path) -> None:
        with chdir(folder), redirect_stdout(io.StringIO()):
            measurements.gather("digits", Path("results"))
            cli.judge("digits")
            cli.report("digits")
            audit_claims(Path("workflow/claims"), ["liu2024"], ["granularity"])

    return Story("gather, judge, report, audit", prepare, play)


# --- trials --------------------------------------------------------------------------------------


@dataclass
class Outcome:
    """What a story left: its files, and the states that its trainings ended in.

    `litter` counts what a killed process left that nothing reads: hidden temporary files, and the
    checkpoints of a run that was finished when it was killed (the verbs and `reclaim clean` drop
    them).
    """

    files: dict[str, bytes]
    states: set[str]
    litter: int

    @classmethod
    def of(cls, folder: Path, states: set[str]) -> Outcome:
        kept, litter = {}, 0
        for path in sorted(folder.rglob("*")):
            if not path.is_file() or path.name == "provenance.json" or path.suffix == ".lock":
                continue
            if path.name.startswith(".") or path.suffix == ".pt":
                litter += 1
            else:
                kept[str(path.relative_to(folder))] = path.read_bytes()
        return cls(kept, states, litter)

    def same(self, other: Outcome) -> bool:
        return (self.files, self.states) == (other.files, other.states)


def played(story: Story, folder: Path, power: Power, spacing: int = 1) -> bool:
    """Play a story, with a checkpoint every `spacing` steps; whether it came to its end."""
    save = Checkpoints.save

    def sparse(self: Checkpoints, progress: int, state: dict[str, Any]) -> Path | None:
        return save(self, progress, state) if progress % spacing == 0 else None

    with ExitStack() as stack:
        stack.enter_context(patch.object(checkpoints, "CHECKPOINT_SECONDS", EVERY))
        stack.enter_context(patch.object(Checkpoints, "save", sparse))
        stack.enter_context(redirect_stderr(io.StringIO()))
        stack.enter_context(watching((*CODE, *DISK), power.notify))
        try:
            story.play(folder)
        except Killed:
            return False
    return True


@dataclass
class Tally:
    """What a campaign saw: kill points by story, call site and effect."""

    kills: Counter[tuple[str, Site, Effect]] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)
    different: list[tuple[str, Kill]] = field(default_factory=list)
    litter: int = 0
    sites: dict[str, set[Site]] = field(default_factory=dict)

    def killed(self, site: Site) -> int:
        return sum(count for (_, where, _), count in self.kills.items() if where == site)


def try_story(story: Story, kills: int, tally: Tally, rng: random.Random, scratch: Path) -> None:
    """Kill a story so many times, the least killed sites first, and note what became different."""
    counts, expected = uncut(story, rng, scratch)
    tally.sites[story.name] = set(counts)
    for _ in range(kills):
        site = min(counts, key=lambda site: (tally.killed(site), rng.random()))
        kill = Kill(
            site, rng.randint(1, counts[site]), rng.choice(("before", "after")),
            rng.choice(EFFECTS),  # type: ignore[arg-type]
        )  # fmt: skip
        second = Kill(None, rng.randint(1, counts.total())) if rng.random() < 0.2 else None
        tally.kills[story.name, site, kill.effect] += 1
        found = cut(story, kill, second, rng, scratch, tally)
        tally.litter += found.litter
        if not found.same(expected):
            tally.different.append((story.name, kill))


def uncut(story: Story, rng: random.Random, scratch: Path) -> tuple[Counter[Site], Outcome]:
    """How often each site is called when nothing happens, and what is left then."""
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = Path(name)
        story.prepare(folder)
        power = Power(None, folder, rng)
        assert played(story, folder, power)
        return power.counts, Outcome.of(folder, power.states)


def cut(
    story: Story, kill: Kill, second: Kill | None, rng: random.Random, scratch: Path, tally: Tally
) -> Outcome:
    """What a story leaves that was killed once or twice and then started again."""
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        folder, spacing, states = Path(name), rng.choice((1, 1, 3)), set()
        story.prepare(folder)
        if kill.site is not None and kill.site.where.startswith("checkpoints"):
            spacing = 1  # the count is that of a story with every checkpoint
        ended = played(story, folder, Power(kill, folder, rng, states), spacing)
        assert not ended, f"{story.name}: {kill} was never reached"
        if second is not None and not played(story, folder, Power(second, folder, rng, states)):
            tally.again[story.name] += 1
        assert played(story, folder, Power(None, folder, rng, states))
        return Outcome.of(folder, states)


def campaign(kills: int, recipes: list[str], scratch: Path, seed: int = 0) -> Tally:
    """So many kill points over the recipes and the other verbs."""
    rng, tally = random.Random(seed), Tally()
    others = [judges(Path.cwd()), fetches("rehearsal_cifar10"), fetches("rehearsal_tiny_imagenet")]
    stories = [*(learns(recipe, base_of(scratch / "base")) for recipe in recipes[:1])]
    stories += [learns(recipe, scratch / "base") for recipe in recipes[1:]]
    share = kills // (len(stories) + 2)
    for story in stories:
        try_story(story, share, tally, rng, scratch)
        show(story, tally)
    for number, story in enumerate(others):
        left = kills - sum(tally.kills.values())
        try_story(story, left // (len(others) - number), tally, rng, scratch)
        show(story, tally)
    return tally


def show(story: Story, tally: Tally) -> None:
    done = sum(tally.kills.values())
    print(f"{story.name}: {done} kill points, {len(tally.different)} different", file=sys.stderr)


# --- tables --------------------------------------------------------------------------------------


def by_story(tally: Tally) -> Iterator[str]:
    """A row per story: kill points by effect, second kills, what became different."""
    yield f"| story | call sites | kill points | {' | '.join(EFFECTS)} | killed again | different |"
    yield "|---" * (len(EFFECTS) + 5) + "|"
    for name, sites in tally.sites.items():
        counts = [
            sum(n for (story, _, how), n in tally.kills.items() if (story, how) == (name, effect))
            for effect in EFFECTS
        ]
        wrong = sum(story == name for story, _ in tally.different)
        cells = [name, len(sites), sum(counts), *counts, tally.again[name], wrong]
        yield f"| {' | '.join(map(str, cells))} |"


def by_call(tally: Tally) -> Iterator[str]:
    """A row per kind of call: how many sites there are, how many were killed at, how often."""
    yield "| call | call sites | of them killed at | kill points | different |"
    yield "|---|---|---|---|---|"
    every = set().union(*tally.sites.values())
    for what in sorted({site.what for site in every}):
        sites = {site for site in every if site.what == what}
        hit = {site for _, site, _ in tally.kills if site.what == what}
        count = sum(n for (_, site, _), n in tally.kills.items() if site.what == what)
        wrong = sum(kill.site in sites for _, kill in tally.different)
        yield f"| {what} | {len(sites)} | {len(hit)} | {count} | {wrong} |"


def main() -> None:
    """Run the campaign and print its tables."""
    kills = int(sys.argv[1]) if sys.argv[1:] else KILLS
    with tempfile.TemporaryDirectory() as scratch:
        tally = campaign(kills, list(RECIPES), Path(scratch))
    print("\n".join((*by_story(tally), "", *by_call(tally), "")))
    print(f"{sum(tally.kills.values())} kill points, {len(tally.different)} different; ", end="")
    print(f"{tally.litter} files that nothing reads left behind")
    for name, kill in tally.different:
        print(f"DIFFERENT: {name}: {kill}")
    sys.exit(bool(tally.different))


if __name__ == "__main__":
    main()
