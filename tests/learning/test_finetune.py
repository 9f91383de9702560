"""Fine-tuning against a slow loop, and the same bits whatever happens on the way."""

from __future__ import annotations

import copy
import math
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from reclaim.learning import checkpoints, fitting, train
from reclaim.learning import evaluate as ev
from reclaim.learning import finetune as ft
from reclaim.learning.checkpoints import Checkpoints
from reclaim.learning.device import generator
from reclaim.learning.images import ImageSet
from reclaim.learning.views import augment
from reclaim.records import EvaluateJob, FineTuneProtocol, Op, PretrainJob, ReclaimError
from reclaim.registry.jobs import checkpoint_folder, evaluation_folder

CLEAN = (Op(op="normalise", params={"mean": [0.5], "std": [0.5]}),)
PROTOCOL = FineTuneProtocol(
    epochs=3, batch=16, lr=0.2, momentum=0.9, weight_decay=0.01,
    views=(Op(op="horizontal_flip", p=0.5), *CLEAN), test_views=CLEAN,
)  # fmt: skip


class Killed(BaseException):
    """A process that ends at once."""


@pytest.fixture(autouse=True)
def _restore_determinism() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def subject(train_count: int = 70, seed: int = 5) -> ev.Frozen:
    """Random 6x6 images of three classes, and one convolution with batch norm as encoder."""
    draws = torch.Generator().manual_seed(0)
    labels = torch.arange(train_count + 20) % 3
    noise = torch.randint(0, 120, (len(labels), 1, 6, 6), generator=draws)
    images = (noise + 40 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    held = ImageSet(
        images[:train_count], labels[:train_count], images[train_count:], labels[train_count:]
    )
    encoder = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.AvgPool1d(4),
    )  # fmt: skip
    weight = torch.randn(4, 1, 3, 3, generator=draws)
    encoder[0].weight.data.copy_(weight)
    return ev.Frozen(encoder.eval(), 16, 3, held, seed, torch.device("cpu"))


def slow_loop(case: ev.Frozen, protocol: FineTuneProtocol) -> torch.Tensor:
    """Test logits of fine-tuning in float64: every update and every mean written out."""
    images, labels, seed = case.images.train, case.images.train_labels, case.seed
    kernel = case.encoder[0].weight.detach().double()
    scale, shift = torch.ones(4).double(), torch.zeros(4).double()
    layer = torch.empty(3, 16)
    layer.normal_(0, 0.01, generator=generator("cpu", seed, "fine-tune"))
    weights = [kernel.clone(), scale, shift, layer.double(), torch.zeros(3).double()]
    velocity = [torch.zeros_like(weight) for weight in weights]
    mean, variance = torch.zeros(4).double(), torch.ones(4).double()

    def logits(
        batch: torch.Tensor, weights: list[torch.Tensor], mean: torch.Tensor, var: torch.Tensor
    ) -> torch.Tensor:
        maps = torch.nn.functional.conv2d(batch, weights[0])
        normal = (maps - mean.view(1, 4, 1, 1)) / (var + 1e-5).sqrt().view(1, 4, 1, 1)
        normal = normal * weights[1].view(1, 4, 1, 1) + weights[2].view(1, 4, 1, 1)
        features = normal.clamp(min=0).flatten(1).view(len(batch), 16, 4).mean(dim=2)
        return features @ weights[3].T + weights[4]

    for epoch in range(protocol.epochs):
        lr = protocol.lr * (1 + math.cos(math.pi * epoch / protocol.epochs)) / 2
        order = torch.randperm(
            len(images), generator=generator("cpu", seed, epoch, "fine-tune order")
        ).tolist()
        for step in range(len(images) // protocol.batch):
            chosen = order[step * protocol.batch : (step + 1) * protocol.batch]
            draws = generator("cpu", seed, epoch, step, "fine-tune view")
            batch = augment(images[chosen], protocol.views, draws).double()
            for weight in weights:
                weight.requires_grad_()
            maps = torch.nn.functional.conv2d(batch, weights[0])
            own = torch.stack([maps[:, c].mean() for c in range(4)])
            spread = torch.stack([((maps[:, c] - own[c]) ** 2).mean() for c in range(4)])
            out = logits(batch, weights, own, spread)
            losses = [out[i].logsumexp(0) - out[i, labels[c]] for i, c in enumerate(chosen)]
            gradients = torch.autograd.grad(sum(losses) / len(losses), weights)
            count = maps[:, 0].numel()
            mean = 0.9 * mean + 0.1 * own.detach()
            variance = 0.9 * variance + 0.1 * spread.detach() * count / (count - 1)
            velocity = [
                protocol.momentum * v + g + protocol.weight_decay * w.detach()
                for v, g, w in zip(velocity, gradients, weights, strict=True)
            ]
            weights = [w.detach() - lr * v for w, v in zip(weights, velocity, strict=True)]
    test = augment(case.images.test, protocol.test_views, generator("cpu", 0)).double()
    return logits(test, weights, mean, variance)


def tuned(case: ev.Frozen, folder: Path, precision: str = "float32") -> torch.Tensor:
    keep = Checkpoints(folder, "key" * 10, f"cpu in {precision}")
    return ft.fine_tune(case, PROTOCOL, "r", precision, keep)


def test_fine_tuning_equals_a_slow_loop(tmp_path: Path) -> None:
    case = subject()
    before = copy.deepcopy(case.encoder.state_dict())
    expected = slow_loop(case, PROTOCOL)
    found = tuned(case, tmp_path, "float64")
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)
    assert all(  # the whole encoder was trained, its statistics too
        not torch.equal(value.float(), before[name])
        for name, value in case.encoder.state_dict().items()
    )


def dying(step: Callable[..., torch.Tensor], killed: set[int]) -> Callable[..., torch.Tensor]:
    """A step that ends the process once at each of the places."""

    def die(fit: fitting.Fitting, chosen: torch.Tensor) -> torch.Tensor:
        if fit.done in killed:
            killed.remove(fit.done)
            raise Killed
        return step(fit, chosen)

    return die


def test_killed_fine_tuning_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tuned(subject(), tmp_path / "whole")
    assert torch.equal(whole, tuned(subject(), tmp_path / "again"))
    killed, places, step = {2, 5, 8}, [], fitting.fit_step

    def counting(fit: fitting.Fitting, chosen: torch.Tensor) -> torch.Tensor:
        places.append(fit.done)
        return step(fit, chosen)

    monkeypatch.setattr(fitting, "fit_step", dying(counting, killed))
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0)
    for _ in range(3):
        with pytest.raises(Killed):
            tuned(subject(), tmp_path / "cut")
    assert torch.equal(tuned(subject(), tmp_path / "cut"), whole)
    assert not killed
    assert places == list(range(12))  # no step was repeated


def test_a_checkpoint_of_another_key_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tuned(subject(), tmp_path / "whole")
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0)
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "fit_step", dying(fitting.fit_step, {6}))
        other = PROTOCOL.model_copy(update={"lr": 0.1})
        keep = Checkpoints(tmp_path / "cut", "o" * 30, "cpu in float32")
        with pytest.raises(Killed):
            ft.fine_tune(subject(), other, "r", "float32", keep)
    assert list((tmp_path / "cut").glob("*.pt"))
    assert torch.equal(tuned(subject(), tmp_path / "cut"), whole)


def test_an_epoch_is_another_permutation_without_the_ragged_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """70 images in batches of 16: four of each epoch, no image twice."""
    seen, step = list[torch.Tensor](), fitting.fit_step

    def watched(fit: fitting.Fitting, chosen: torch.Tensor) -> torch.Tensor:
        seen.append(chosen)
        return step(fit, chosen)

    monkeypatch.setattr(fitting, "fit_step", watched)
    tuned(subject(), tmp_path)
    assert [len(batch) for batch in seen] == [16] * 12
    epochs = [torch.cat(seen[start : start + 4]).tolist() for start in (0, 4, 8)]
    assert all(len(set(epoch)) == 64 and set(epoch) < set(range(70)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_fewer_images_than_a_batch_are_one_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, step = [], fitting.fit_step

    def watched(fit: fitting.Fitting, chosen: torch.Tensor) -> torch.Tensor:
        seen.append(len(chosen))
        return step(fit, chosen)

    monkeypatch.setattr(fitting, "fit_step", watched)
    assert tuned(subject(train_count=9), tmp_path).shape == (20, 3)
    assert seen == [9, 9, 9]


def test_a_loss_that_is_no_number_stops_it_and_keeps_the_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = fitting.fit_step

    def broken(fit: fitting.Fitting, chosen: torch.Tensor) -> torch.Tensor:
        return step(fit, chosen) * (math.nan if fit.done == 6 else 1)

    monkeypatch.setattr(fitting, "fit_step", broken)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0)
    with pytest.raises(ReclaimError, match=r"no longer numbers in epoch 2; .*fine_tune\.lr"):
        tuned(subject(), tmp_path)
    state = Checkpoints(tmp_path, "key" * 10, "cpu in float32").newest(torch.device("cpu"))
    assert state is not None
    assert (state["epoch"], state["step"]) == (1, 2)


# --- as an evaluation of a run -------------------------------------------------------------------


def jobs(
    tiny_job: Callable[..., PretrainJob], recipe: str, protocol: FineTuneProtocol = PROTOCOL
) -> tuple[PretrainJob, EvaluateJob]:
    job = tiny_job(recipe, epochs=1, dataset__subset=700)
    evaluation = EvaluateJob(
        id=job.id, recipe=job.recipe, dataset=job.config.dataset, seed=0,
        protocols={"fine_tune": protocol}, code={"fine_tune": "test"},
    )  # fmt: skip
    return job, evaluation


@pytest.mark.parametrize("recipe", ["simclr", "untrained"])
def test_a_run_is_fine_tuned_and_learns(
    recipe: str, tiny_job: Callable[..., PretrainJob], data: Path, tmp_path: Path
) -> None:
    pretrained, job = jobs(tiny_job, recipe, PROTOCOL.model_copy(update={"epochs": 6}))
    train.pretrain(pretrained, tmp_path, data)
    before = {path: path.read_bytes() for path in (tmp_path / "runs").rglob("*.safetensors")}
    made = ev.evaluate(pretrained, job, tmp_path, data)["fine_tune"]
    table = pd.read_parquet(
        evaluation_folder(tmp_path, job.recipe, job.id, "fine_tune") / "predictions.parquet"
    )
    assert len(table) == 500
    assert made.metrics["top1"] == (table["label"] == table["top1"]).mean()
    assert made.metrics["top1"] > 0.4  # chance is 0.1
    assert {path: path.read_bytes() for path in before} == before


def test_stopped_fine_tuning_says_how_to_go_on_and_ends_with_the_same_files(
    tiny_job: Callable[..., PretrainJob], data: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pretrained, job = jobs(tiny_job, "simclr")
    for folder in ("whole", "cut"):
        train.pretrain(pretrained, tmp_path / folder, data)
    whole = ev.evaluate(pretrained, job, tmp_path / "whole", data)
    step, seen = fitting.fit_step, []

    def asked_to_stop(fit: fitting.Fitting, chosen: torch.Tensor) -> torch.Tensor:
        seen.append(fit.done)
        if len(seen) == 50:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(fit, chosen)

    monkeypatch.setattr(fitting, "fit_step", asked_to_stop)
    with pytest.raises(ReclaimError, match="SIGTERM after a checkpoint; start the same"):
        ev.evaluate(pretrained, job, tmp_path / "cut", data)
    kept = checkpoint_folder(tmp_path / "cut", f"{job.id}-fine_tune")
    assert len(list(kept.glob("*.pt"))) == 1
    assert not (tmp_path / "cut" / "evaluations").exists()
    assert ev.evaluate(pretrained, job, tmp_path / "cut", data) == whole
    assert seen == list(range(43 * 3))
    assert not kept.exists()
    assert not list((tmp_path / "cut" / "checkpoints").glob("*"))


def test_another_run_below_is_another_fine_tuning(
    tiny_job: Callable[..., PretrainJob], data: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pretrained, job = jobs(tiny_job, "simclr")
    train.pretrain(pretrained, tmp_path, data)
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0)
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "fit_step", dying(fitting.fit_step, {3}))
        with pytest.raises(Killed):
            ev.evaluate(pretrained, job, tmp_path, data)
    other = pretrained.model_copy(update={"code": "edited training"})
    train.pretrain(other, tmp_path, data)
    seen, step = [], fitting.fit_step

    def counting(fit: fitting.Fitting, chosen: torch.Tensor) -> torch.Tensor:
        seen.append(fit.done)
        return step(fit, chosen)

    monkeypatch.setattr(fitting, "fit_step", counting)
    ev.evaluate(other, job, tmp_path, data)
    assert seen[0] == 0
