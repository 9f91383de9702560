"""Evaluation of a finished run: every protocol of its row in one process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, one_hot

from reclaim.learning.device import (
    generator,
    make_deterministic,
    pick_device,
    use_one_thread,
)
from reclaim.learning.images import ImageSet, load_images
from reclaim.learning.nets import build_encoder
from reclaim.learning.optimise import learning_rate
from reclaim.learning.views import augment
from reclaim.records import (
    EvaluateJob,
    EvaluationManifest,
    GeometryProtocol,
    KnnProtocol,
    LinearProtocol,
    Op,
    Optimiser,
    PretrainJob,
    Protocol,
    ReclaimError,
    RunManifest,
    content_hash,
    stamp,
    write,
    write_bytes,
)
from reclaim.registry.jobs import (
    ENCODERS,
    data_hash,
    evaluation_folder,
    finished_evaluations,
    finished_run,
    protocol_hash,
    run_folder,
)

CHUNK = 500


@dataclass(frozen=True)
class Frozen:
    """A frozen encoder with the images it is judged on."""

    encoder: nn.Module
    features: int
    classes: int
    images: ImageSet
    seed: int
    device: torch.device

    def embed(self, images: Tensor, views: tuple[Op, ...], *key: int | str) -> Tensor:
        """Features (N, F) of uint8 images (N, C, H, W), float32, without gradient."""
        parts = []
        with torch.no_grad():
            for start in range(0, len(images), CHUNK):
                draws = generator("cpu", self.seed, *key, start)
                batch = augment(images[start : start + CHUNK], views, draws)
                batch = batch.contiguous(memory_format=torch.channels_last)
                parts.append(self.encoder(batch).float())
        features = torch.cat(parts)
        if not features.isfinite().all():
            raise ReclaimError(
                "the encoder gives features that are no numbers: its training broke in the last "
                "step; lower optimiser.lr and train again"
            )
        return features


def evaluate(
    pretrained: PretrainJob, job: EvaluateJob, results: Path, data: Path, device: str = "auto"
) -> Mapping[str, EvaluationManifest]:
    """Measure a finished run by every protocol of its job; those already made are kept.

    Raises ReclaimError if the run is not there, or is not the one the plan asks for now.
    """
    run = finished_run(results, pretrained, data_hash(job.dataset.name, data))
    if run is None:
        raise ReclaimError(
            f"{run_folder(results, job.recipe, job.id)}: no finished run of the present plan and "
            f"code; run `reclaim pretrain {job.id}` first"
        )
    made = dict(finished_evaluations(results, job, run))
    missing = {name: p for name, p in job.protocols.items() if name not in made}
    if missing:
        use_one_thread()
        make_deterministic()
        where = pick_device(device)
        images = load_images(job.dataset, where, data)
        for name, protocol in missing.items():
            frozen = load_frozen(pretrained, results, protocol.encoder, images, where)
            made[name] = _measure(frozen, protocol, job, run, results)
    return made


def load_frozen(
    pretrained: PretrainJob, results: Path, which: str, images: ImageSet, device: torch.device
) -> Frozen:
    """A run's encoder, of the last epoch or of the lowest loss, in evaluation mode."""
    config = pretrained.config
    path = run_folder(results, pretrained.recipe, pretrained.id) / ENCODERS[which]
    encoder, features = build_encoder(config.network, config.dataset)
    encoder.load_state_dict(safetensors.torch.load(path.read_bytes()))
    encoder = encoder.float().to(device).to(memory_format=torch.channels_last).eval()
    return Frozen(encoder, features, config.dataset.classes, images, pretrained.seed, device)


def _measure(
    frozen: Frozen, protocol: Protocol, job: EvaluateJob, run: RunManifest, results: Path
) -> EvaluationManifest:
    folder = evaluation_folder(results, job.recipe, job.id, protocol.kind)
    files = {}
    if isinstance(protocol, GeometryProtocol):
        metrics = geometry(frozen, protocol)
    else:
        scores = (
            linear_scores(frozen, protocol)
            if isinstance(protocol, LinearProtocol)
            else knn_scores(frozen, protocol)
        )
        table = predictions(scores, frozen.images.test_labels)
        metrics = accuracies(table)
        write_bytes(folder / "predictions.parquet", table.to_parquet(index=False))
        files["predictions.parquet"] = stamp(folder / "predictions.parquet")
    manifest = EvaluationManifest(
        run=job.id,
        recipe=job.recipe,
        dataset=job.dataset.name,
        scale=run.scale,
        seed=job.seed,
        protocol=protocol.kind,
        job=protocol_hash(job, protocol),
        code=job.code,
        run_manifest=content_hash(run),
        metrics=metrics,
        files=files,
    )
    write(folder / "metrics.json", manifest)
    return manifest


def predictions(scores: Tensor, labels: Tensor) -> pd.DataFrame:
    """A row per test image from its class scores (N, C): label, top-1, rank of the label from 1.

    Of equal scores the lower class comes first.
    """
    order = scores.argsort(dim=1, descending=True, stable=True)
    rank = (order == labels.unsqueeze(1)).int().argmax(dim=1) + 1
    columns = {"label": labels, "top1": order[:, 0], "rank": rank}
    arrays = {name: value.cpu().numpy() for name, value in columns.items()}
    return pd.DataFrame(arrays, dtype="int16")


def accuracies(table: pd.DataFrame) -> dict[str, float]:
    """Top-1 and top-5 accuracy as fractions."""
    return {f"top{k}": float((table["rank"] <= k).mean()) for k in (1, 5)}


def linear_scores(frozen: Frozen, protocol: LinearProtocol) -> Tensor:
    """Logits (N, C) of a linear probe of the last epoch on the test images.

    Weights start as N(0, 0.01), biases at 0; SGD under cosine decay to 0, stepped once an epoch
    (Dong et al. 2024, 4.1.2, and the authors' `linear` script). Without augmentation the features
    are computed once; `standardise` scales them to mean 0 and SD 1 over the training images.
    """
    images, labels = frozen.images.train, frozen.images.train_labels
    clean = frozen.embed(images, protocol.test_views, "clean")
    test = frozen.embed(frozen.images.test, protocol.test_views, "clean")
    mean, deviation = clean.mean(dim=0), clean.std(dim=0).clamp(min=1e-6)
    if not protocol.standardise:
        mean, deviation = torch.zeros_like(mean), torch.ones_like(deviation)
    probe = nn.Linear(frozen.features, frozen.classes).to(frozen.device)
    first = generator(frozen.device, frozen.seed, "probe")
    nn.init.normal_(probe.weight, std=0.01, generator=first)
    nn.init.zeros_(probe.bias)
    schedule = Optimiser(lr=protocol.lr)
    optimiser = torch.optim.SGD(
        probe.parameters(), protocol.lr, protocol.momentum, weight_decay=protocol.weight_decay
    )
    for epoch in range(protocol.epochs):
        optimiser.param_groups[0]["lr"] = learning_rate(schedule, epoch, protocol.epochs)
        draws = generator("cpu", frozen.seed, epoch, "probe order")
        order = torch.randperm(len(images), generator=draws).to(frozen.device)
        for step, chosen in enumerate(order.split(protocol.batch)):
            batch = (
                frozen.embed(images[chosen], protocol.views, epoch, step, "probe view")
                if protocol.views
                else clean[chosen]
            )
            loss = cross_entropy(probe((batch - mean) / deviation), labels[chosen])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
    with torch.no_grad():
        return probe((test - mean) / deviation)


def knn_scores(frozen: Frozen, protocol: KnnProtocol) -> Tensor:
    """Votes (N, C) of the nearest training images, weighted by e^(cosine / temperature).

    (Wu et al. 2018, section 3.4.)
    """
    embed = partial(frozen.embed, views=protocol.test_views)
    bank = normalize(embed(frozen.images.train), dim=1)
    queries = normalize(embed(frozen.images.test), dim=1)
    labels = frozen.images.train_labels
    votes = torch.zeros(len(queries), frozen.classes, device=frozen.device)
    neighbours = min(protocol.neighbours, len(bank))
    for start in range(0, len(queries), CHUNK):
        near = (queries[start : start + CHUNK] @ bank.T).topk(neighbours, dim=1)
        weight = ((near.values - 1) / protocol.temperature).exp()
        classes = one_hot(labels[near.indices], frozen.classes).float()
        votes[start : start + CHUNK] = torch.einsum("qn,qnc->qc", weight, classes)
    return votes


def geometry(frozen: Frozen, protocol: GeometryProtocol) -> dict[str, float]:
    """Alignment and uniformity of the unit features of the test images.

    alignment = E |f(x) - f(x+)|^2 over two views of an image; uniformity =
    log E e^(-2 |f(x) - f(y)|^2) over pairs of different images.
    (Wang & Isola 2020, section 4.1, alpha = 2 and t = 2.)
    """
    test = frozen.images.test
    one, two = (
        normalize(frozen.embed(test, protocol.views, name), dim=1) for name in ("view 1", "view 2")
    )
    clean = normalize(frozen.embed(test, protocol.test_views), dim=1).double()
    total = torch.zeros((), dtype=torch.float64, device=frozen.device)
    for start in range(0, len(clean), CHUNK):
        squared = (2 - 2 * clean[start : start + CHUNK] @ clean.T).clamp(min=0)
        total += (-2 * squared).exp().sum()
    pairs = len(clean) * (len(clean) - 1)
    own = torch.full((), float(len(clean)), dtype=torch.float64)
    return {
        "alignment": (one - two).square().sum(dim=1).mean().item(),
        "uniformity": ((total.cpu() - own) / pairs).log().item(),
    }
