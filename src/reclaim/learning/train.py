"""Pre-training: one run, one seed, from a job to a folder with its encoders and its manifest."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from reclaim.learning.candidates import Context, Outputs
from reclaim.learning.checkpoints import Checkpoints, Save, State, saving
from reclaim.learning.device import (
    autocast,
    generator,
    make_deterministic,
    pick_device,
    resolve_precision,
    use_one_thread,
)
from reclaim.learning.gpu import memory_faults
from reclaim.learning.images import ImageSet, load_images
from reclaim.learning.losses import total_loss
from reclaim.learning.nets import Model, build_model, load_encoder, projection_width
from reclaim.learning.optimise import build_optimiser, learning_rate
from reclaim.learning.progress import EpochProgress
from reclaim.learning.provenance import arithmetic, provenance
from reclaim.learning.twin import Twin
from reclaim.learning.views import augment, check_ops
from reclaim.records import (
    Config,
    PretrainJob,
    ReclaimError,
    RunManifest,
    Sees,
    canonical,
    content_hash,
    stamp,
    write,
    write_bytes,
    write_text,
)
from reclaim.registry.jobs import ENCODERS, checkpoint_folder, data_hash, finished_run, run_folder

COLLAPSED = 1e-4
Network = TypeVar("Network", bound=nn.Module)


@dataclass
class Training:
    """What a run is made of while it trains. `step` counts within `epoch`; both are the next.

    `began` is on this process's clock: when the training would have begun had it never been cut.
    """

    config: Config
    seed: int
    images: ImageSet
    model: Model
    twin: Twin | None
    optimiser: torch.optim.Optimizer
    device: torch.device
    dtype: torch.dtype
    began: float
    epoch: int = 0
    step: int = 0
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    curve: list[list[float]] = field(default_factory=list)
    lowest: dict[str, Tensor] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """How long it has trained, without what came after a checkpoint and was lost."""
        return time.monotonic() - self.began

    @property
    def steps(self) -> int:
        """Optimiser steps in an epoch: the last, ragged batch is dropped."""
        whole = len(self.images.train) // self.config.batch
        return min(whole, self.config.max_steps or whole)

    @property
    def done(self) -> int:
        """Optimiser steps made since the first epoch."""
        return self.epoch * self.steps + self.step

    @property
    def views(self) -> int:
        """Views that a step sees."""
        return (2 + self.config.local_crops) * self.config.batch

    @property
    def full(self) -> torch.dtype:
        """The dtype of images, projections and losses: what autocast leaves alone."""
        return torch.float64 if self.dtype is torch.float64 else torch.float32

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
    init: Path | None = None,
) -> RunManifest:
    """Train a run, or return at once if a valid finished one is there.

    `init` is the file of the encoder that the job starts from, if it names one. A run that was cut
    short goes on from its newest checkpoint and ends with the same bits.
    Raises ReclaimError for missing data, a batch that does not fit, a loss that is no number,
    collapse, too little memory, a full disk, or a checkpoint of other arithmetic (device,
    precision, torch); the last good checkpoint stays.
    """
    folder = run_folder(results, job.recipe, job.id)
    data_sha = data_hash(job.config.dataset.name, data)
    finished = finished_run(results, job, data_sha)
    if finished is not None:
        return finished
    use_one_thread()
    make_deterministic()
    where = pick_device(device)
    first = None if init is None else init.read_bytes()
    init_sha = None if first is None else hashlib.sha256(first).hexdigest()
    key = content_hash([content_hash(job), data_sha, init_sha])
    made_on = arithmetic(where, resolve_precision(job.config.precision, where))
    keep = Checkpoints(checkpoint_folder(results, job.id), key, made_on)
    with memory_faults(job.id), saving(keep, f"run {job.id}") as save:
        training = start(job, load_images(job.config.dataset, where, data), where, first)
        resume(training, keep)
        _train(training, job, save)
    sources = {"data": data_sha, "init": init_sha}
    manifest = _finish(training, job, folder, sources)
    keep.clear()
    return manifest


def start(
    job: PretrainJob, images: ImageSet, device: torch.device, init: bytes | None = None
) -> Training:
    """A training before its first step; `init` is the safetensors of the encoder it starts from.

    Raises ReclaimError if a batch does not fit, or the encoder is another one.
    """
    config = job.config
    if config.epochs and len(images.train) < config.batch:
        raise ReclaimError(
            f"batch {config.batch} of run {job.id}: only {len(images.train)} training images; "
            "take a smaller batch"
        )
    check_ops(config.views, config.dataset.channels, config.dataset.size)
    check_ops(config.local_views, config.dataset.channels, config.dataset.size)
    dtype = resolve_precision(config.precision, device)
    model = build_model(config, generator("cpu", job.seed, "weights"))
    if init is not None:
        load_encoder(model.encoder, init, f"{job.init}, which run {job.id} starts from")
    twin = None
    if config.twin is not None:
        first_keys = generator("cpu", job.seed, "queue")
        twin = Twin(config.twin, model, projection_width(config.network), first_keys)
        twin = _placed(twin, device, dtype)
    model = _placed(model, device, dtype)
    optimiser = build_optimiser(config.optimiser, model)
    began = time.monotonic()
    training = Training(config, job.seed, images, model, twin, optimiser, device, dtype, began)
    training.loss_sum = training.loss_sum.to(device)
    return training


def _placed(network: Network, device: torch.device, dtype: torch.dtype) -> Network:
    network = network.to(device).to(memory_format=torch.channels_last)
    return network.double() if dtype is torch.float64 else network


def train_step(training: Training, order: Tensor) -> Tensor:
    """One optimiser step on the next batch of an epoch's order; its loss, detached.

    The twin follows first, then makes its keys; the queue takes them in after the loss.
    """
    config, twin = training.config, training.twin
    chosen = order[training.step * config.batch :][: config.batch]
    if twin is not None:
        twin.follow(training.model, training.done / (training.steps * config.epochs))
    draws = generator(training.device, training.seed, training.epoch, training.step, "steps")
    context = Context(config.temperature, draws, training.epoch, training.step)
    outputs = forward(training, make_views(training, chosen), chosen)
    loss = total_loss(config.terms, outputs, context)
    training.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    training.optimiser.step()
    if twin is not None:
        _remember(twin, outputs, chosen)
    return loss.detach()


def make_views(training: Training, chosen: Tensor) -> list[Tensor]:
    """The global views of the chosen images as one tensor (2B, C, S, S), then each local crop."""
    config, key = training.config, (training.seed, training.epoch, training.step)
    batch = training.images.train[chosen]
    purposes = [("view 1", config.views), ("view 2", config.views)]
    purposes += [(f"crop {n + 1}", config.local_views) for n in range(config.local_crops)]
    made = [augment(batch, ops, generator("cpu", *key, purpose)) for purpose, ops in purposes]
    full, last = training.full, torch.channels_last
    return [view.to(full, memory_format=last) for view in (torch.cat(made[:2]), *made[2:])]


def forward(training: Training, views: Sequence[Tensor], chosen: Tensor) -> Outputs:
    """What the networks of a run make of the views of the chosen images, in full precision."""
    config, model, twin = training.config, training.model, training.twin
    both, *crops = views
    with autocast(training.device, training.dtype):
        online = _seen(model, both, config.online)
        predicted = (
            [None if z is None else model.predictor(z) for z in online]
            if model.predictor
            else [None, None]
        )
        local = torch.stack([model(crop) for crop in crops]) if crops else None
        keys = _seen(twin, both, twin.config.sees) if twin else (None, None)
    full = [
        None if part is None else part.to(training.full)
        for part in (*online, *predicted, *keys, local)
    ]
    z1, z2, p1, p2, k1, k2, local = full
    return Outputs(
        z1, z2, p1, p2, k1, k2,
        queue=twin.queue if twin and len(twin.queue) else None,
        own=twin.own(chosen) if twin and len(twin.queue) else None,
        local=local,
        centre=twin.centre if twin else None,
        labels=training.images.train_labels[chosen].repeat(2),
    )  # fmt: skip


def _seen(
    network: Callable[[Tensor], Tensor], views: Tensor, sees: Sees
) -> tuple[Tensor | None, Tensor | None]:
    """A network's outputs for the two views, those it is to see."""
    if sees == "together":
        first, second = network(views).chunk(2)
        return first, second
    one, two = views.chunk(2)
    return (
        network(one) if sees in ("apart", "first") else None,
        network(two) if sees in ("apart", "second") else None,
    )


def _remember(twin: Twin, outputs: Outputs, chosen: Tensor) -> None:
    if twin.config.queue is not None:
        twin.remember(outputs.need("k2"), chosen)
    if twin.config.centre_momentum is not None:
        both = torch.cat([outputs.need("k1"), outputs.need("k2")])
        twin.recentre(both, twin.config.centre_momentum)


def epoch_order(training: Training) -> Tensor:
    """An epoch's images in order: a permutation, or draws with replacement (SSCL's sampler)."""
    images = len(training.images.train)
    draws = generator("cpu", training.seed, training.epoch, "order")
    if training.config.replacement:
        return torch.randint(images, (images,), generator=draws).to(training.device)
    return torch.randperm(images, generator=draws).to(training.device)


def _train(training: Training, job: PretrainJob, save: Save) -> None:
    config = training.config
    with EpochProgress(job.id, config.epochs, training.steps, training.done) as progress:
        while training.epoch < config.epochs:
            lr = learning_rate(config.optimiser, training.epoch, config.epochs)
            for group in training.optimiser.param_groups:
                group["lr"] = lr
            order = epoch_order(training)
            while training.step < training.steps:
                training.loss_sum += train_step(training, order)
                training.step += 1
                progress.step(training.views)
                save(training.done, partial(_state, training, job))
            loss = _end_epoch(training, job, order, lr)
            progress.epoch(training.epoch - 1, loss, lr)


def _end_epoch(training: Training, job: PretrainJob, order: Tensor, lr: float) -> float:
    _check_finite(training, job)
    _check_spread(training, job, order)
    loss = training.loss_sum.item() / training.steps
    training.curve.append([training.epoch, loss, lr])
    if training.lowest_epoch == training.epoch:
        training.lowest = encoder_weights(training)
    training.epoch, training.step = training.epoch + 1, 0
    training.loss_sum.zero_()
    return loss


def _check_finite(training: Training, job: PretrainJob) -> None:
    weights = training.model.parameters()
    sound = math.isfinite(training.loss_sum.item())
    if not sound or not all(weight.isfinite().all() for weight in weights):
        what = "weights are" if sound else "loss is"
        raise ReclaimError(
            f"run {job.id}: the {what} no longer a number in epoch {training.epoch + 1}; the "
            "checkpoints before it are kept; lower optimiser.lr or raise temperature"
        )


def _check_spread(training: Training, job: PretrainJob, order: Tensor) -> None:
    """A run whose outputs all point one way has learned nothing: 1 - |mean unit vector|^2 is 0."""
    batch = training.images.train[order[: training.config.batch]]
    draws = generator("cpu", training.seed, training.epoch, "spread")
    views = augment(batch, training.config.views, draws).to(training.full)
    with torch.no_grad(), autocast(training.device, training.dtype):
        training.model.eval()
        out = training.model(views.contiguous(memory_format=torch.channels_last))
        training.model.train()
    spread = 1 - normalize(out.to(training.full), dim=1).mean(dim=0).square().sum().item()
    if not spread >= COLLAPSED:  # NaN too
        raise ReclaimError(
            f"run {job.id} collapsed in epoch {training.epoch + 1}: all outputs point one way "
            f"(spread {spread:.1e}); the checkpoints before it are kept; lower optimiser.lr"
        )


def encoder_weights(training: Training) -> dict[str, Tensor]:
    """A copy of the weights and buffers of the encoder that the run leaves."""
    twin = training.twin
    kept = twin.encoder if twin is not None and twin.config.kept else training.model.encoder
    return {
        name: value.detach().cpu().clone().contiguous() for name, value in kept.state_dict().items()
    }


def _state(training: Training, job: PretrainJob) -> State:
    _check_finite(training, job)
    return {
        "seconds": training.seconds,
        "epoch": training.epoch,
        "step": training.step,
        "loss_sum": training.loss_sum,
        "curve": training.curve,
        "lowest": training.lowest,
        "model": training.model.state_dict(),
        "twin": training.twin.state_dict() if training.twin else {},
        "optimiser": training.optimiser.state_dict(),
    }


def resume(training: Training, keep: Checkpoints) -> None:
    """Go on from the newest whole checkpoint, if there is one. Raises as `Checkpoints.newest`."""
    state = keep.newest(training.device)
    if state is None:
        return
    training.model.load_state_dict(state["model"])
    if training.twin:
        training.twin.load_state_dict(state["twin"])
    training.optimiser.load_state_dict(state["optimiser"])
    training.loss_sum.copy_(state["loss_sum"])
    training.epoch, training.step = state["epoch"], state["step"]
    training.curve = state["curve"]
    training.began -= state["seconds"]
    training.lowest = {name: value.cpu() for name, value in state["lowest"].items()}


def _finish(
    training: Training,
    job: PretrainJob,
    folder: Path,
    sources: Mapping[str, str | None],
) -> RunManifest:
    """Write what the run leaves, the manifest last: until then an older one fits no file."""
    _check_finite(training, job)
    weights = encoder_weights(training)
    lowest = training.lowest or weights
    write_bytes(folder / ENCODERS["last"], safetensors.torch.save(weights))
    write_bytes(folder / ENCODERS["lowest_loss"], safetensors.torch.save(lowest))
    rows = "".join(f"{epoch:.0f},{loss!r},{lr!r}\n" for epoch, loss, lr in training.curve)
    write_text(folder / "curve.csv", "epoch,loss,lr\n" + rows)
    write_text(folder / "config.json", canonical(job) + "\n")
    views = training.views * training.steps * training.config.epochs
    where = provenance(training.device, training.dtype, views, training.seconds)
    write_text(folder / "provenance.json", canonical(where) + "\n")
    names = (*ENCODERS.values(), "curve.csv", "config.json")
    manifest = RunManifest(
        id=job.id,
        recipe=job.recipe,
        dataset=job.config.dataset.name,
        scale=job.config.scale,
        seed=job.seed,
        job=content_hash(job),
        code=job.code,
        **sources,
        final_loss=training.curve[-1][1] if training.curve else None,
        lowest_loss_epoch=training.lowest_epoch,
        files={name: stamp(folder / name) for name in names},
    )
    write(folder / "run.json", manifest)
    return manifest
