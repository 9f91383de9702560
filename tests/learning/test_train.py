"""Training: the same bits, whatever happens on the way; and it learns."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from reclaim.learning import checkpoints, device, train
from reclaim.learning.checkpoints import Checkpoints
from reclaim.learning.device import generator
from reclaim.learning.gpu import memory_faults
from reclaim.learning.images import load_images
from reclaim.learning.provenance import SWITCHES, arithmetic
from reclaim.records import PretrainJob, ReclaimError, content_hash
from reclaim.registry.jobs import checkpoint_folder, data_hash, finished_run, run_folder
from reclaim.registry.recipes import RECIPES

Job = Callable[..., PretrainJob]
TRAINED = [name for name, row in RECIPES.items() if row.terms]


class Killed(BaseException):
    """A process that ends at once."""


@pytest.fixture(autouse=True)
def _restore_determinism() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def _saving_after_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0)


def bits(results: Path, job: PretrainJob) -> dict[str, bytes]:
    """Every hashed file of a run."""
    folder = run_folder(results, job.recipe, job.id)
    names = json.loads((folder / "run.json").read_text())["files"]
    return {name: (folder / name).read_bytes() for name in names}


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(
    recipe: str, tiny_job: Job, data: Path, tmp_path: Path
) -> None:
    first, again, other = tiny_job(recipe), tiny_job(recipe), tiny_job(recipe, seed=1)
    torch.manual_seed(1)
    train.pretrain(first, tmp_path / "a", data)
    torch.manual_seed(2)  # the global generator must not matter
    train.pretrain(again, tmp_path / "b", data)
    train.pretrain(other, tmp_path / "c", data)
    assert bits(tmp_path / "a", first) == bits(tmp_path / "b", again)
    if recipe != "raw_pixels":
        encoder = "encoder.safetensors"
        assert bits(tmp_path / "a", first)[encoder] != bits(tmp_path / "c", other)[encoder]


@pytest.mark.usefixtures("_saving_after_each_step")
@pytest.mark.parametrize("recipe", TRAINED)
def test_a_run_killed_after_any_step_resumes_to_the_same_bits(
    recipe: str, tiny_job: Job, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = tiny_job(recipe)
    train.pretrain(job, tmp_path / "whole", data)
    step, killed = train.train_step, {2, 5, 8}

    def dying(training: train.Training, order: torch.Tensor) -> torch.Tensor:
        place = training.epoch * training.steps + training.step
        if place in killed:
            killed.remove(place)
            raise Killed
        return step(training, order)

    monkeypatch.setattr(train, "train_step", dying)
    for _ in range(3):
        with pytest.raises(Killed):
            train.pretrain(job, tmp_path / "cut", data)
    train.pretrain(job, tmp_path / "cut", data)
    assert not killed
    assert bits(tmp_path / "cut", job) == bits(tmp_path / "whole", job)
    assert not checkpoint_folder(tmp_path / "cut", job.id).exists()


@pytest.mark.usefixtures("_saving_after_each_step")
def test_resume_does_not_repeat_steps(
    tiny_job: Job, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, places, step = tiny_job("simclr"), [], train.train_step

    def counting(training: train.Training, order: torch.Tensor) -> torch.Tensor:
        places.append((training.epoch, training.step))
        if len(places) == 6:
            raise Killed
        return step(training, order)

    monkeypatch.setattr(train, "train_step", counting)
    with pytest.raises(Killed):
        train.pretrain(job, tmp_path, data)
    train.pretrain(job, tmp_path, data)
    assert len(places) == 12 + 1
    assert len(set(places)) == 12


@pytest.mark.usefixtures("_saving_after_each_step")
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_checkpoint_is_passed_for_the_one_before(
    damage: str, tiny_job: Job, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = tiny_job("sscl")
    train.pretrain(job, tmp_path / "whole", data)
    step, seen = train.train_step, []

    def dying(training: train.Training, order: torch.Tensor) -> torch.Tensor:
        seen.append(training.step)
        if len(seen) == 7:
            raise Killed
        return step(training, order)

    monkeypatch.setattr(train, "train_step", dying)
    with pytest.raises(Killed):
        train.pretrain(job, tmp_path / "cut", data)
    kept = sorted(checkpoint_folder(tmp_path / "cut", job.id).glob("*.pt"))
    assert len(kept) == checkpoints.KEPT
    content = bytearray(kept[-1].read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "remove":
        kept[-1].unlink()
    else:
        kept[-1].write_bytes(bytes(content) if damage == "flip" else bytes(content[:100]))
    train.pretrain(job, tmp_path / "cut", data)
    assert bits(tmp_path / "cut", job) == bits(tmp_path / "whole", job)


def test_a_checkpoint_of_another_job_is_neither_used_nor_dropped(tmp_path: Path) -> None:
    mine, other = (Checkpoints(tmp_path / "keep", key * 16, "cpu in float32") for key in "mo")
    for progress in (7, 8, 9):
        other.save(progress, {"epoch": progress})
    assert mine.newest(torch.device("cpu")) is None
    mine.save(1, {"epoch": 1})
    for keep, epoch in ((other, 9), (mine, 1)):
        found = keep.newest(torch.device("cpu"))
        assert found is not None
        assert found["epoch"] == epoch
    assert len(other.paths) == checkpoints.KEPT


def test_a_checkpoint_before_damaged_ones_is_kept(tmp_path: Path) -> None:
    keep = Checkpoints(tmp_path, "key" * 16, "cpu in float32")
    for progress in (500, 600):
        keep.save(progress, {"epoch": progress})
    for path in keep.paths:
        path.write_bytes(path.read_bytes()[:-1])
    assert keep.newest(torch.device("cpu")) is None
    for progress in (50, 100):
        path = keep.save(progress, {"epoch": progress})
        assert path == keep.paths[-1]
        found = keep.newest(torch.device("cpu"))
        assert found is not None
        assert found["epoch"] == progress
    assert len(keep.paths) == checkpoints.KEPT


@pytest.mark.usefixtures("_saving_after_each_step")
def test_a_run_does_not_go_on_in_another_precision(
    tiny_job: Job, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine decides what `auto` is: the same job resumed on another kind of machine."""
    job = tiny_job("simclr", precision="auto")
    step = train.train_step

    def machine(gains: bool) -> None:
        monkeypatch.setattr(device, "gains_from_bfloat16", lambda _: gains)

    def dying(training: train.Training, order: torch.Tensor) -> torch.Tensor:
        if training.done == 5:
            raise Killed
        return step(training, order)

    machine(gains=False)
    train.pretrain(job, tmp_path / "whole", data)
    with monkeypatch.context() as patch:
        patch.setattr(train, "train_step", dying)
        with pytest.raises(Killed):
            train.pretrain(job, tmp_path / "cut", data)
    machine(gains=True)
    said = r"other arithmetic \(there: float32; here: bfloat16\), .*; go on there, or remove"
    with pytest.raises(ReclaimError, match=said):
        train.pretrain(job, tmp_path / "cut", data)
    machine(gains=False)
    train.pretrain(job, tmp_path / "cut", data)
    assert bits(tmp_path / "cut", job) == bits(tmp_path / "whole", job)


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_librarys_switch_is_part_of_the_arithmetic(
    switch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(switch, raising=False)
    without = set(arithmetic(torch.device("cpu"), torch.float32).split(", "))
    monkeypatch.setenv(switch, "AVX2")
    with_it = set(arithmetic(torch.device("cpu"), torch.float32).split(", "))
    assert with_it - without == {f"{switch}=AVX2"}


@pytest.mark.usefixtures("_saving_after_each_step")
def test_a_resumed_run_tells_the_time_of_all_its_processes(
    tiny_job: Job, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that goes on by a second a step, and by hours while nothing runs."""
    job, step, clock = tiny_job("simclr"), train.train_step, [0.0]
    monkeypatch.setattr(train.time, "monotonic", lambda: clock[0])

    def timed(training: train.Training, order: torch.Tensor) -> torch.Tensor:
        if training.done == 5 and clock[0] < 3600:
            raise Killed
        clock[0] += 1
        return step(training, order)

    monkeypatch.setattr(train, "train_step", timed)
    with pytest.raises(Killed):
        train.pretrain(job, tmp_path, data)
    clock[0] += 3600
    train.pretrain(job, tmp_path, data)
    path = run_folder(tmp_path, job.recipe, job.id) / "provenance.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    steps = job.config.epochs * (70 // job.config.batch)
    assert told["seconds"] == steps > 5
    views = 2 * job.config.batch * steps
    assert told["views_per_second"] == pytest.approx(views / steps, abs=0.1)


def test_a_finished_run_returns_without_a_training_step(
    tiny_job: Job, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = tiny_job("simclr")
    made = train.pretrain(job, tmp_path, data)
    monkeypatch.setattr(train, "train_step", lambda *_: pytest.fail("a step was taken"))
    assert train.pretrain(job, tmp_path, data) == made


@pytest.mark.parametrize("file", ["encoder.safetensors", "curve.csv"])
def test_a_damaged_or_other_run_is_not_taken_for_finished(
    file: str, tiny_job: Job, data: Path, tmp_path: Path
) -> None:
    job, sha = tiny_job("simclr"), data_hash("digits", data)
    train.pretrain(job, tmp_path, data)
    assert finished_run(tmp_path, job, sha) is not None
    assert finished_run(tmp_path, job, "other data") is None
    assert finished_run(tmp_path, job.model_copy(update={"code": "other"}), sha) is None
    path = run_folder(tmp_path, job.recipe, job.id) / file
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(bytes(content))
    assert finished_run(tmp_path, job, sha) is None


def test_sigterm_checkpoints_and_says_how_to_go_on(
    tiny_job: Job, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, step = tiny_job("simclr"), train.train_step
    train.pretrain(job, tmp_path / "whole", data)

    def asked_to_stop(training: train.Training, order: torch.Tensor) -> torch.Tensor:
        if (training.epoch, training.step) == (1, 2):
            os.kill(os.getpid(), signal.SIGTERM)
        return step(training, order)

    with monkeypatch.context() as patch:
        patch.setattr(train, "train_step", asked_to_stop)
        with pytest.raises(ReclaimError, match="SIGTERM after a checkpoint; start the same"):
            train.pretrain(job, tmp_path / "cut", data)
    assert list(checkpoint_folder(tmp_path / "cut", job.id).glob("*.pt"))
    train.pretrain(job, tmp_path / "cut", data)
    assert bits(tmp_path / "cut", job) == bits(tmp_path / "whole", job)


@pytest.mark.parametrize("recipe", TRAINED)
def test_a_fixed_batch_is_overfitted(
    recipe: str, tiny_job: Job, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin is frozen, and so are its queue of other images and its centre."""
    changes: dict[str, Any] = {"optimiser__schedule": "constant", "network__widths": [16, 32]}
    if RECIPES[recipe].queue:  # random keys lie close together
        changes["temperature"] = 0.1
    job = tiny_job(recipe, twin__momentum=1.0, **changes)
    monkeypatch.setattr(train, "_remember", lambda *_: None)
    images = load_images(job.config.dataset, torch.device("cpu"), data)
    training = train.start(job, images, torch.device("cpu"))
    order = torch.arange(len(images.train))
    if RECIPES[recipe].queue and training.twin:
        others = order[16:48]  # not in the batch
        training.twin.remember(training.twin(train.make_views(training, others)[0])[:32], others)
    losses = [train.train_step(training, order).item() for _ in range(60)]
    assert losses[-1] < losses[0] - 0.25  # the same views and draws each time: (epoch, step) stay


@pytest.mark.usefixtures("_saving_after_each_step")
def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoints(
    tiny_job: Job, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, step = tiny_job("simclr"), train.train_step

    def broken(training: train.Training, order: torch.Tensor) -> torch.Tensor:
        loss = step(training, order)
        return loss * math.nan if (training.epoch, training.step) == (1, 1) else loss

    monkeypatch.setattr(train, "train_step", broken)
    with pytest.raises(ReclaimError, match="no longer a number in epoch 2"):
        train.pretrain(job, tmp_path, data)
    key = content_hash([content_hash(job), data_hash("digits", data), None])
    made_on = arithmetic(torch.device("cpu"), torch.float32)
    keep = Checkpoints(checkpoint_folder(tmp_path, job.id), key, made_on)
    state = keep.newest(torch.device("cpu"))
    assert state is not None
    assert (state["epoch"], state["step"]) == (1, 1)
    assert all(torch.isfinite(value).all() for value in state["model"].values())


def test_collapse_stops_the_run(
    tiny_job: Job, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, step = tiny_job("simclr"), train.train_step

    def collapsing(training: train.Training, order: torch.Tensor) -> torch.Tensor:
        loss = step(training, order)
        with torch.no_grad():
            training.model.head[-1].weight.zero_()
            training.model.head[-1].bias.fill_(1)
        return loss

    monkeypatch.setattr(train, "train_step", collapsing)
    with pytest.raises(ReclaimError, match="collapsed in epoch 1"):
        train.pretrain(job, tmp_path, data)


def test_a_batch_larger_than_the_data_is_refused(tiny_job: Job, data: Path, tmp_path: Path) -> None:
    job = tiny_job("simclr")
    large = job.model_copy(update={"config": job.config.model_copy(update={"batch": 71})})
    with pytest.raises(ReclaimError, match=r"batch 71 .* only 70 training images"):
        train.pretrain(large, tmp_path, data)
    assert not (tmp_path / "runs").exists()


def test_missing_data_name_the_remedy(tiny_job: Job, tmp_path: Path) -> None:
    with pytest.raises(ReclaimError, match="run `reclaim fetch data digits`"):
        train.pretrain(tiny_job("simclr"), tmp_path, tmp_path / "nowhere")


def test_memory_that_runs_out_is_a_message() -> None:
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")):
        with pytest.raises(ReclaimError, match="out of memory; free"), memory_faults("r"):
            raise error
    with pytest.raises(RuntimeError, match="another"), memory_faults("r"):
        raise RuntimeError("another fault")


def test_an_order_is_a_permutation_or_draws_with_replacement(tiny_job: Job, data: Path) -> None:
    for replacement in (False, True):
        job = tiny_job("simclr", replacement=replacement)
        images = load_images(job.config.dataset, torch.device("cpu"), data)
        training = train.start(job, images, torch.device("cpu"))
        order = train.epoch_order(training)
        assert len(order) == 70
        assert (len(set(order.tolist())) == 70) is not replacement


def test_the_lowest_loss_encoder_is_that_of_its_epoch(
    tiny_job: Job, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, step = tiny_job("simclr"), train.train_step
    seen: list[dict[str, torch.Tensor]] = []

    def rising(training: train.Training, order: torch.Tensor) -> torch.Tensor:
        loss = step(training, order)
        if training.step == training.steps - 1:
            seen.append(train.encoder_weights(training))
        return loss * (2 if training.epoch != 1 else 1)

    monkeypatch.setattr(train, "train_step", rising)
    made = train.pretrain(job, tmp_path, data)
    assert made.lowest_loss_epoch == 1
    import safetensors.torch

    folder = run_folder(tmp_path, job.recipe, job.id)
    lowest = safetensors.torch.load_file(folder / "encoder_lowest.safetensors")
    assert all(torch.equal(lowest[name], seen[1][name]) for name in lowest)
    assert not all(torch.equal(lowest[name], seen[2][name]) for name in lowest)


def test_generators_are_a_function_of_their_key() -> None:
    def draw(*key: int | str) -> float:
        return torch.rand((), generator=generator("cpu", *key)).item()

    assert draw(0, 1, "a") == draw(0, 1, "a")
    assert len({draw(0, 1, "a"), draw(1, 0, "a"), draw(0, 1, "b"), draw(0, "1", "a")}) == 4
