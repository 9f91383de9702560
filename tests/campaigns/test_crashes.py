"""A sample of the crashes: the same command again ends with the same bits; and it would be seen."""

from __future__ import annotations

import os
import random
import signal
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
from tests.campaigns.sites import Site, watching


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


@pytest.mark.parametrize("effect", EFFECTS)
def test_whatever_a_power_cut_leaves_of_a_checkpoint(
    effect: str, story: Story, tmp_path: Path
) -> None:
    rng = random.Random(0)
    counts, expected = uncut(story, rng, tmp_path)
    [site] = [site for site in counts if site.what == "rename" and "checkpoint" in site.where]
    kill = Kill(site, 4, "after", effect)  # type: ignore[arg-type]
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


@pytest.mark.parametrize("fault", [forgets_momentum, forgets_twin, takes_what_is_torn])
def test_a_resume_that_forgets_something_is_noticed(
    fault: object, story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(0)
    counts, expected = uncut(story, rng, tmp_path)
    [site] = [site for site in counts if site.what == "step"]
    assert callable(fault)
    fault(monkeypatch)
    found = cut(story, Kill(site, 5), None, rng, tmp_path, Tally())
    assert found.files.keys() == expected.files.keys()
    assert not found.same(expected)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("what", ["step", "fine-tune"])
def test_a_warning_before_the_end_is_used_for_a_checkpoint(
    what: str,
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
    folder.mkdir()
    story.prepare(folder)

    def warn(site: Site, phase: str, args: object) -> None:
        if (site.what, phase) == (what, "before") and "_scores" not in site.where:
            done.append(what)
            if len(done) == 4:
                os.kill(os.getpid(), number)

    with watching(CODE, warn), pytest.raises(ReclaimError, match=f"{number.name} after a check"):
        story.play(folder)
    assert len(done) == 4
    power = Power(None, folder, rng, states)
    assert played(story, folder, power)
    steps = {
        site.what: count for site, count in power.counts.items() if "_scores" not in site.where
    }
    assert steps.get(what, 0) == 6 - 4
    assert Outcome.of(folder, states).files == expected.files
