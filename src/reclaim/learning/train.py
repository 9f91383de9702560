"""Pre-training: one run, one seed, from a job to a folder with its encoders and its manifest."""

from __future__ import annotations

import math
import platform
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import safetensors.torch
import torch
from torch import Tensor
from torch.nn.functional import normalize

from reclaim.learning import checkpoints
from reclaim.learning.candidates import Context, Outputs
from reclaim.learning.device import (
    autocast,
    generator,
    make_deterministic,
    pick_device,
    resolve_precision,
    use_one_thread,
)
from reclaim.learning.images import ImageSet, load_images
from reclaim.learning.losses import total_loss
from reclaim.learning.nets import Model, build_model
from reclaim.learning.optimise import build_optimiser, learning_rate
from reclaim.learning.progress import EpochProgress
from reclaim.learning.views import augment, check_ops
from reclaim.records import (
    Config,
    PretrainJob,
    ReclaimError,
    RunManifest,
    canonical,
    content_hash,
    stamp,
    write,
    write_bytes,
    write_text,
)
from reclaim.registry.jobs import ENCODERS, checkpoint_folder, data_hash, finished_run, run_folder

CHECKPOINT_SECONDS = 10.0
COLLAPSED = 1e-4


@dataclass
class Training:
    """What a run is made of while it trains. `step` counts within `epoch`; both are the next."""

    config: Config
    seed: int
    images: ImageSet
    model: Model
    optimiser: torch.optim.Optimizer
    device: torch.device
    dtype: torch.dtype
    epoch: int = 0
    step: int = 0
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    curve: list[list[float]] = field(default_factory=list)
    lowest: dict[str, Tensor] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Optimiser steps in an epoch: the last, ragged batch is dropped."""
        return len(self.images.train) // self.config.batch

    @property
    def lowest_epoch(self) -> int | None:
        """The epoch (counted from 0) of the lowest mean loss, the first of equals."""
        losses = [row[1] for row in self.curve]
        return losses.index(min(losses)) if losses else None


def pretrain(
    job: PretrainJob,
    results: Path,
    data: Path,
    device: str = "auto",
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> RunManifest:
    """Train a run, or return at once if a valid finished one is there.

    A run that was cut short goes on from its newest checkpoint and ends with the same bits.
    Raises ReclaimError for missing data, a batch that does not fit, a loss that is no number,
    collapse, too little memory or a full disk; the last good checkpoint stays.
    """
    folder = run_folder(results, job.recipe, job.id)
    data_sha = data_hash(job.config.dataset.name, data)
    finished = finished_run(results, job, data_sha)
    if finished is not None:
        return finished
    use_one_thread()
    make_deterministic()
    where = pick_device(device)
    keep = checkpoint_folder(results, job.id)
    started = time.monotonic()
    with memory_faults(job.id), stop_signals() as stopped:
        training = start(job, load_images(job.config.dataset, where, data), where)
        resume(training, keep, content_hash(job))
        _train(training, job, keep, checkpoint_seconds, stopped)
    manifest = _finish(training, job, folder, data_sha, time.monotonic() - started)
    checkpoints.clear(keep)
    return manifest


def start(job: PretrainJob, images: ImageSet, device: torch.device) -> Training:
    """A training before its first step. Raises ReclaimError if a batch does not fit."""
    config = job.config
    if config.epochs and len(images.train) < config.batch:
        raise ReclaimError(
            f"batch {config.batch} of run {job.id}: only {len(images.train)} training images; "
            "take a smaller batch"
        )
    check_ops(config.views, config.dataset.channels, config.dataset.size)
    dtype = resolve_precision(config.precision, device)
    model = build_model(config, generator("cpu", job.seed, "weights"))
    model = model.to(device).to(memory_format=torch.channels_last)
    model = model.double() if dtype is torch.float64 else model
    optimiser = build_optimiser(config.optimiser, model)
    training = Training(config, job.seed, images, model, optimiser, device, dtype)
    training.loss_sum = training.loss_sum.to(device)
    return training


def train_step(training: Training, order: Tensor) -> Tensor:
    """One optimiser step on the next batch of an epoch's order; its loss, detached."""
    config, key = training.config, (training.seed, training.epoch, training.step)
    chosen = order[training.step * config.batch :][: config.batch]
    batch = training.images.train[chosen]
    views = torch.cat(
        [
            augment(batch, config.views, generator("cpu", *key, purpose))
            for purpose in ("view 1", "view 2")
        ]
    )
    labels = training.images.train_labels[chosen].repeat(2)
    draws = generator(training.device, *key, "steps")
    context = Context(config.temperature, draws, training.epoch, training.step)
    loss = total_loss(config.terms, forward(training, views, labels), context)
    training.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    training.optimiser.step()
    return loss.detach()


def forward(training: Training, views: Tensor, labels: Tensor) -> Outputs:
    """Both views in one pass, so that batch norm sees 2B images; the loss is never autocast."""
    full = torch.float64 if training.dtype is torch.float64 else torch.float32
    with autocast(training.device, training.dtype):
        out = training.model(views.to(full, memory_format=torch.channels_last))
    z1, z2 = out.to(full).chunk(2)
    return Outputs(z1, z2, logits=out.to(full), labels=labels)


def epoch_order(training: Training) -> Tensor:
    """An epoch's images in order: a permutation, or draws with replacement (SSCL's sampler)."""
    images = len(training.images.train)
    draws = generator("cpu", training.seed, training.epoch, "order")
    if training.config.replacement:
        return torch.randint(images, (images,), generator=draws).to(training.device)
    return torch.randperm(images, generator=draws).to(training.device)


def _train(
    training: Training, job: PretrainJob, keep: Path, every: float, stopped: list[int]
) -> None:
    config = training.config
    saved = time.monotonic()
    done = training.epoch * training.steps + training.step
    with EpochProgress(job.id, config.epochs, training.steps, done) as progress:
        while training.epoch < config.epochs:
            lr = learning_rate(config.optimiser, training.epoch, config.epochs)
            for group in training.optimiser.param_groups:
                group["lr"] = lr
            order = epoch_order(training)
            while training.step < training.steps:
                training.loss_sum += train_step(training, order)
                training.step += 1
                progress.step(2 * config.batch)
                if stopped or time.monotonic() - saved >= every:
                    _checkpoint(training, job, keep)
                    saved = time.monotonic()
                if stopped:
                    name = signal.Signals(stopped[0]).name
                    raise ReclaimError(
                        f"run {job.id} stopped by {name} after a checkpoint; start the same "
                        "command again to go on"
                    )
            loss = _end_epoch(training, job, order, lr)
            progress.epoch(training.epoch - 1, loss, lr)


def _end_epoch(training: Training, job: PretrainJob, order: Tensor, lr: float) -> float:
    _check_finite(training, job)
    _check_spread(training, job, order)
    loss = training.loss_sum.item() / training.steps
    training.curve.append([training.epoch, loss, lr])
    if training.lowest_epoch == training.epoch:
        training.lowest = encoder_weights(training.model)
    training.epoch, training.step = training.epoch + 1, 0
    training.loss_sum.zero_()
    return loss


def _check_finite(training: Training, job: PretrainJob) -> None:
    if not math.isfinite(training.loss_sum.item()):
        raise ReclaimError(
            f"run {job.id}: the loss is no longer a number in epoch {training.epoch + 1}; the "
            "checkpoints before it are kept; lower optimiser.lr or raise temperature"
        )


def _check_spread(training: Training, job: PretrainJob, order: Tensor) -> None:
    """A run whose outputs all point one way has learned nothing: 1 - |mean unit vector|^2 is 0."""
    batch = training.images.train[order[: training.config.batch]]
    draws = generator("cpu", training.seed, training.epoch, "spread")
    with torch.no_grad():
        training.model.eval()
        out = forward(training, augment(batch, training.config.views, draws), torch.zeros(0)).logits
        training.model.train()
    assert out is not None
    spread = 1 - normalize(out, dim=1).mean(dim=0).square().sum().item()
    if spread < COLLAPSED:
        raise ReclaimError(
            f"run {job.id} collapsed in epoch {training.epoch + 1}: all outputs point one way "
            f"(spread {spread:.1e}); the checkpoints before it are kept; lower optimiser.lr"
        )


def encoder_weights(model: Model) -> dict[str, Tensor]:
    """A copy of the encoder's weights and buffers."""
    return {
        name: value.detach().cpu().clone().contiguous()
        for name, value in model.encoder.state_dict().items()
    }


def _checkpoint(training: Training, job: PretrainJob, keep: Path) -> None:
    _check_finite(training, job)
    state = {
        "job": content_hash(job),
        "epoch": training.epoch,
        "step": training.step,
        "loss_sum": training.loss_sum,
        "curve": training.curve,
        "lowest": training.lowest,
        "model": training.model.state_dict(),
        "optimiser": training.optimiser.state_dict(),
    }
    checkpoints.save(keep, training.epoch * training.steps + training.step, state)


def resume(training: Training, keep: Path, job: str) -> None:
    """Go on from the newest whole checkpoint of this job, if there is one."""
    state = checkpoints.newest(keep, job, training.device)
    if state is None:
        return
    training.model.load_state_dict(state["model"])
    training.optimiser.load_state_dict(state["optimiser"])
    training.loss_sum.copy_(state["loss_sum"])
    training.epoch, training.step = state["epoch"], state["step"]
    training.curve = state["curve"]
    training.lowest = {name: value.cpu() for name, value in state["lowest"].items()}


def _finish(
    training: Training, job: PretrainJob, folder: Path, data_sha: str, seconds: float
) -> RunManifest:
    """Write what the run leaves; the manifest goes first and comes back last."""
    (folder / "run.json").unlink(missing_ok=True)
    weights = encoder_weights(training.model)
    lowest = training.lowest or weights
    write_bytes(folder / ENCODERS["last"], safetensors.torch.save(weights))
    write_bytes(folder / ENCODERS["lowest_loss"], safetensors.torch.save(lowest))
    rows = "".join(f"{epoch:.0f},{loss!r},{lr!r}\n" for epoch, loss, lr in training.curve)
    write_text(folder / "curve.csv", "epoch,loss,lr\n" + rows)
    write_text(folder / "config.json", canonical(job) + "\n")
    write_text(folder / "provenance.json", canonical(provenance(training, seconds)) + "\n")
    names = (*ENCODERS.values(), "curve.csv", "config.json")
    manifest = RunManifest(
        id=job.id,
        recipe=job.recipe,
        dataset=job.config.dataset.name,
        scale=job.config.scale,
        seed=job.seed,
        job=content_hash(job),
        code=job.code,
        data=data_sha,
        final_loss=training.curve[-1][1] if training.curve else None,
        lowest_loss_epoch=training.lowest_epoch,
        files={name: stamp(folder / name) for name in names},
    )
    write(folder / "run.json", manifest)
    return manifest


def provenance(training: Training, seconds: float) -> dict[str, Any]:
    """Where and how fast: never hashed, for a reader's eyes."""
    name = (
        torch.cuda.get_device_name(training.device)
        if training.device.type == "cuda"
        else f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"
    )
    views = 2 * training.config.batch * training.steps * training.config.epochs
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": f"{training.device.type}: {name}",
        "precision": str(training.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "seconds": round(seconds, 3),
        "views_per_second": round(views / seconds, 1),
    }


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that fills when the process is asked to stop (SIGTERM, SIGUSR1 of a scheduler)."""
    stopped: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        stopped.append(number)

    asked = (signal.SIGTERM, signal.SIGUSR1)
    before = {number: signal.signal(number, note) for number in asked}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def memory_faults(run: str) -> Iterator[None]:
    """Turn "out of memory", of either device, into a message for people."""
    remedy = "free some, run fewer jobs at once (--cores), or take a smaller batch"
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise ReclaimError(f"run {run}: out of memory; {remedy}") from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise ReclaimError(f"run {run}: out of memory; {remedy}") from error
