"""The EMA twin: what it follows, what it keeps, in which order."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from reclaim import records
from reclaim.learning import train
from reclaim.learning.images import load_images
from reclaim.learning.nets import Model, build_model
from reclaim.learning.twin import Twin, momentum
from reclaim.records import PretrainJob
from tests.conftest import tiny_config

Job = Callable[..., PretrainJob]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def twin_of(model: Model, **settings: object) -> Twin:
    config = records.Twin.model_validate({"sees": "apart", "momentum": 0.9, **settings})
    return Twin(config, model, 8, generator(5))


@pytest.fixture
def model() -> Model:
    return build_model(tiny_config("byol"), generator())


def test_a_twin_starts_equal_never_learns_and_follows_by_the_average(model: Model) -> None:
    twin = twin_of(model)
    first = [weight.clone() for weight in twin.encoder.parameters()]
    assert all(
        torch.equal(mine, its) for mine, its in zip(first, model.encoder.parameters(), strict=True)
    )
    assert not any(weight.requires_grad for weight in twin.parameters())
    twin.follow(model, 0.0)  # nothing has been learned: not a bit may change
    assert all(map(torch.equal, first, twin.encoder.parameters()))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1.0)
    twin.follow(model, 0.0)
    for before, after in zip(first, twin.encoder.parameters(), strict=True):
        torch.testing.assert_close(after, before + 0.1, rtol=1e-5, atol=1e-6)


def test_the_model_keeps_its_own_weights_and_norms(model: Model) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    twin = twin_of(model)
    twin(torch.rand(4, 1, 8, 8, generator=generator()))
    twin.follow(model, 0.0)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    name = "bn1.running_mean"  # buffers are the twin's own
    assert not torch.equal(twin.encoder.state_dict()[name], model.encoder.state_dict()[name])


def test_momentum_is_constant_or_grows_to_one() -> None:
    constant, cosine = (
        records.Twin.model_validate({"sees": "apart", "momentum": 0.96, "schedule": schedule})
        for schedule in ("constant", "cosine")
    )
    assert [momentum(constant, progress) for progress in (0, 0.5, 1)] == [0.96] * 3
    steps = 8
    for step in range(steps + 1):
        byol = 1 - (1 - 0.96) * (math.cos(math.pi * step / steps) + 1) / 2
        assert momentum(cosine, step / steps) == pytest.approx(byol, rel=1e-15)
    assert momentum(cosine, 1) == 1


def test_a_queue_forgets_the_oldest_first(model: Model) -> None:
    twin = twin_of(model, queue=12)
    expected: deque[tuple[int, list[float]]] = deque(
        ((-1, row.tolist()) for row in twin.queue), maxlen=12
    )
    for step in range(7):
        keys, images = torch.randn(4, 8, generator=generator(step)), torch.arange(4) + 10 * step
        twin.remember(keys, images)
        expected.extend(zip(images.tolist(), keys.tolist(), strict=True))
        found = {
            (int(o), tuple(row.tolist())) for o, row in zip(twin.owners, twin.queue, strict=True)
        }
        assert found == {(owner, tuple(row)) for owner, row in expected}


def test_an_images_own_keys_are_marked_where_a_reading_asks_for_it(model: Model) -> None:
    images = torch.tensor([3, 4])
    for masked in (False, True):
        twin = twin_of(model, queue=4, mask_own=masked)
        twin.remember(torch.zeros(3, 8), torch.tensor([4, 5, 3]))
        own = twin.own(images)
        if not masked:
            assert own is None
            continue
        assert own is not None
        assert own.tolist() == [[False, False, True, False], [True, False, False, False]]


def test_the_centre_is_a_running_mean(model: Model) -> None:
    twin, expected = twin_of(model, centre_momentum=0.75), torch.zeros(8)
    for step in range(3):
        outputs = torch.randn(6, 8, generator=generator(step))
        twin.recentre(outputs, 0.75)
        expected = 0.75 * expected + 0.25 * outputs.mean(dim=0)
    torch.testing.assert_close(twin.centre, expected)


def test_a_step_follows_then_compares_with_the_old_queue_then_remembers(
    tiny_job: Job, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = tiny_job("moco_v2")
    training = train.start(
        job, load_images(job.config.dataset, torch.device("cpu"), data), torch.device("cpu")
    )
    twin, order, seen = training.twin, train.epoch_order(training), []
    assert twin is not None
    forward = train.forward

    def watched(of: train.Training, views: list[Tensor], chosen: Tensor) -> object:
        out = forward(of, views, chosen)
        seen.append((out.need("queue").clone(), out.need("k2"), chosen))
        return out

    monkeypatch.setattr(train, "forward", watched)
    for step in range(3):
        online = [weight.clone() for weight in training.model.encoder.parameters()]
        before = [weight.clone() for weight in twin.encoder.parameters()]
        training.step = step
        train.train_step(training, order)
        for old, now, followed in zip(before, twin.encoder.parameters(), online, strict=True):
            torch.testing.assert_close(now, 0.9 * old + 0.1 * followed, rtol=1e-5, atol=1e-7)
    (_, first_keys, _), (second_queue, *_), _ = seen
    assert torch.equal(second_queue[:16], first_keys)  # what the second step is compared with
    assert torch.equal(twin.owners[16:], seen[1][2])


def test_a_kept_twin_is_what_the_run_leaves(tiny_job: Job, data: Path) -> None:
    for recipe, kept in (("dino", True), ("byol", False)):
        job = tiny_job(recipe)
        training = train.start(
            job, load_images(job.config.dataset, torch.device("cpu"), data), torch.device("cpu")
        )
        order = train.epoch_order(training)
        for step in range(2):
            training.step = step
            train.train_step(training, order)
        assert training.twin is not None
        left = train.encoder_weights(training)
        twins, learned = training.twin.encoder.state_dict(), training.model.encoder.state_dict()
        assert all(torch.equal(left[name], (twins if kept else learned)[name]) for name in left)
        assert any(not torch.equal(twins[name], learned[name]) for name in left)
