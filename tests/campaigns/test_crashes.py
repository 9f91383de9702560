"""A sample of the crashes: the same command again ends with the same bits; and it would be seen."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from reclaim.learning import checkpoints
from reclaim.learning.checkpoints import Checkpoints
from reclaim.learning.twin import Twin
from reclaim.records import ReclaimError
from tests.campaigns import crashes
from tests.campaigns.crashes import (
    CODE,
    EFFECTS,
    Kill,
    Outcome,
    Power,
    Story,
    Tally,
    base_of,
    cut,
    fetches,
    learns,
    played,
    try_story,
    uncut,
)
from tests.campaigns.hostile import packed, sound, weights
from tests.campaigns.sites import Phase, Site, watching


@pytest.fixture(autouse=True)
def _restore_determinism() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_of(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def story(base: Path) -> Story:
    return learns("moco_sscl", base)


@pytest.mark.parametrize("recipe", ["moco_sscl", "dino"])
def test_a_story_killed_anywhere_ends_with_the_same_bits(
    recipe: str, base: Path, tmp_path: Path
) -> None:
    tally = Tally()
    try_story(learns(recipe, base), 7, tally, random.Random(recipe), tmp_path)
    assert sum(tally.kills.values()) == 7
    assert not tally.different


def test_a_fetch_killed_anywhere_is_whole_the_next_time(tmp_path: Path) -> None:
    tally = Tally()
    try_story(fetches("rehearsal_cifar10"), 8, tally, random.Random(0), tmp_path)
    assert not tally.different


def test_weights_that_were_cut_in_fetching_are_whole_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that the disk lost after all is refused: it has to come from the repository."""
    monkeypatch.setattr(crashes, "EFFECTS", EFFECTS[:3])
    body, tally = packed(sound()), Tally()
    story = Story(
        "fetch weights", lambda folder: None, lambda folder: weights(lambda: body, folder)
    )
    try_story(story, 16, tally, random.Random(0), tmp_path)
    assert not tally.different


def places(counts: Counter[Site], what: str, where: str) -> list[Site]:
    """The sites of a kind of call in some module."""
    found = [site for site in counts if site.what == what and where in site.where]
    assert found
    return found


@pytest.mark.parametrize("effect", EFFECTS)
def test_whatever_a_power_cut_leaves_of_a_checkpoint(
    effect: str, story: Story, tmp_path: Path
) -> None:
    rng = random.Random(0)
    counts, expected = uncut(story, rng, tmp_path)
    for site in places(counts, "rename", "checkpoint"):
        kill = Kill(site, 4, "after", effect)  # type: ignore[arg-type]
        assert cut(story, kill, None, rng, tmp_path, Tally()).same(expected)


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("what", ["fit step", "save", "rename", "resume", "embed"])
def test_a_probe_killed_anywhere_ends_with_the_same_bits(
    what: str, phase: Phase, story: Story, tmp_path: Path
) -> None:
    rng = random.Random(0)
    counts, expected = uncut(story, rng, tmp_path)
    for site in places(counts, what, "probe"):
        kill = Kill(site, min(4, counts[site]), phase)
        assert cut(story, kill, None, rng, tmp_path, Tally()).same(expected)


def forgets_momentum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.optim.SGD, "load_state_dict", lambda *_: None)


def forgets_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Twin, "load_state_dict", lambda *_: None)


def takes_what_is_torn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint is taken whatever its checksum, and is another one's."""
    newest = Checkpoints.newest

    def first(self: Checkpoints, device: torch.device) -> dict[str, object] | None:
        state = newest(self, device)
        return state and {**state, "step": 0}

    monkeypatch.setattr(checkpoints.Checkpoints, "newest", first)


@pytest.mark.parametrize(
    ("fault", "what", "where"),
    [
        (forgets_momentum, "step", "train"),
        (forgets_twin, "step", "train"),
        (takes_what_is_torn, "step", "train"),
        (forgets_momentum, "fit step", "probe"),
        (takes_what_is_torn, "fit step", "probe"),
        (forgets_momentum, "fit step", "finetune"),
    ],
)
def test_a_resume_that_forgets_something_is_noticed(
    fault: object, what: str, where: str, story: Story, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    rng = random.Random(0)
    counts, expected = uncut(story, rng, tmp_path)
    [site] = places(counts, what, where)
    assert callable(fault)
    fault(monkeypatch)
    found = cut(story, Kill(site, 5), None, rng, tmp_path, Tally())
    assert found.files.keys() == expected.files.keys()
    assert not found.same(expected)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("where", ["train", "probe", "finetune"])
def test_a_warning_before_the_end_is_used_for_a_checkpoint(
    where: str,
    number: signal.Signals,
    story: Story,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a batch system gives before it takes a machine away: no step is lost."""
    monkeypatch.setattr(crashes, "EVERY", 1e9)
    rng = random.Random(0)
    _, expected = uncut(story, rng, tmp_path)
    folder, states, done = tmp_path / "run", set[str](), list[str]()

    def a_step(site: Site) -> bool:
        return site.what in ("step", "fit step") and site.where.startswith(where)

    folder.mkdir()
    story.prepare(folder)

    def warn(site: Site, phase: str, args: object) -> None:
        if a_step(site) and phase == "before":
            done.append(where)
            if len(done) == 4:
                os.kill(os.getpid(), number)

    with watching(CODE, warn), pytest.raises(ReclaimError, match=f"{number.name} after a check"):
        story.play(folder)
    assert len(done) == 4
    power = Power(None, folder, rng, states)
    assert played(story, folder, power)
    assert sum(count for site, count in power.counts.items() if a_step(site)) == 6 - 4
    assert Outcome.of(folder, states).files == expected.files
