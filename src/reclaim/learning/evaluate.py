"""Evaluation of a finished run: every protocol of its row in one process."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, one_hot

from reclaim.learning.checkpoints import Checkpoints
from reclaim.learning.device import (
    generator,
    make_deterministic,
    pick_device,
    use_one_thread,
)
from reclaim.learning.finetune import fine_tune
from reclaim.learning.frozen import CHUNK, Frozen, load_frozen
from reclaim.learning.gpu import memory_faults
from reclaim.learning.images import load_images
from reclaim.learning.optimise import learning_rate
from reclaim.learning.progress import EpochProgress
from reclaim.records import (
    EvaluateJob,
    EvaluationManifest,
    FineTuneProtocol,
    GeometryProtocol,
    KnnProtocol,
    LinearProtocol,
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
    checkpoint_folder,
    data_hash,
    evaluation_folder,
    finished_evaluations,
    finished_run,
    protocol_hash,
    run_folder,
)

PAUSE = 5.0


def evaluate(
    pretrained: PretrainJob, job: EvaluateJob, results: Path, data: Path, device: str = "auto"
) -> Mapping[str, EvaluationManifest]:
    """Measure a finished run by every protocol of its job; those already made are kept.

    Fine-tuning that was cut short goes on from its newest checkpoint. Raises ReclaimError if the
    run is not there or is not the one the plan asks for now, or memory runs out.
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
        with memory_faults(job.id):
            images = load_images(job.dataset, where, data)
            for name, protocol in missing.items():
                frozen = load_frozen(pretrained, results, protocol, images, where)
                made[name] = _measure(frozen, pretrained, protocol, job, run, results)
    return made


def _measure(
    frozen: Frozen,
    pretrained: PretrainJob,
    protocol: Protocol,
    job: EvaluateJob,
    run: RunManifest,
    results: Path,
) -> EvaluationManifest:
    kind, done = protocol.kind, protocol_hash(job, protocol)
    folder = evaluation_folder(results, job.recipe, job.id, kind)
    keep = Checkpoints(
        checkpoint_folder(results, f"{job.id}-{kind}"), content_hash([done, content_hash(run)])
    )
    files = {}
    if isinstance(protocol, GeometryProtocol):
        metrics = geometry(frozen, protocol)
    else:
        scores = _scores(frozen, protocol, f"{job.id} {kind}", pretrained.config.precision, keep)
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
        protocol=kind,
        job=done,
        code=job.code[kind],
        run_manifest=content_hash(run),
        metrics=metrics,
        files=files,
    )
    write(folder / "metrics.json", manifest)
    keep.clear()
    return manifest


def _scores(
    frozen: Frozen,
    protocol: LinearProtocol | KnnProtocol | FineTuneProtocol,
    name: str,
    precision: str,
    keep: Checkpoints,
) -> Tensor:
    match protocol:
        case LinearProtocol():
            return linear_scores(frozen, protocol, name)
        case KnnProtocol():
            return knn_scores(frozen, protocol)
        case FineTuneProtocol():
            return fine_tune(frozen, protocol, name, precision, keep)


def predictions(scores: Tensor, labels: Tensor) -> pd.DataFrame:
    """A row per test image from its class scores (N, C): label, top-1, rank of the label from 1.

    Of equal scores the lower class comes first. Raises ReclaimError for scores that are no numbers.
    """
    if not scores.isfinite().all():
        raise ReclaimError("the probe's scores are no numbers; lower its lr in `evaluate`")
    order = scores.argsort(dim=1, descending=True, stable=True)
    rank = (order == labels.unsqueeze(1)).int().argmax(dim=1) + 1
    columns = {"label": labels, "top1": order[:, 0], "rank": rank}
    arrays = {name: value.cpu().numpy() for name, value in columns.items()}
    return pd.DataFrame(arrays, dtype="int16")


def accuracies(table: pd.DataFrame) -> dict[str, float]:
    """Top-1 and top-5 accuracy as fractions."""
    return {f"top{k}": float((table["rank"] <= k).mean()) for k in (1, 5)}


def linear_scores(frozen: Frozen, protocol: LinearProtocol, name: str = "probe") -> Tensor:
    """Logits (N, C) of a linear probe of the last epoch on the test images.

    Weights start as N(0, 0.01), biases at 0; SGD under cosine decay to 0, stepped once an epoch
    (Dong et al. 2024, 4.1.2, and the authors' `linear` script). Without augmentation the features
    are computed once; `standardise` scales them to mean 0 and SD 1 over the training images;
    with `replacement` an epoch draws images with replacement, as the authors' sampler.
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
    steps = -(-len(images) // protocol.batch)
    with EpochProgress(name, protocol.epochs, steps, pause=PAUSE) as progress:
        for epoch in range(protocol.epochs):
            lr = optimiser.param_groups[0]["lr"] = learning_rate(schedule, epoch, protocol.epochs)
            order = probe_order(frozen, protocol, epoch)
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
                progress.step(len(chosen))
            progress.epoch(epoch, loss.item(), lr)
    with torch.no_grad():
        return probe((test - mean) / deviation)


def probe_order(frozen: Frozen, protocol: LinearProtocol, epoch: int) -> Tensor:
    """An epoch's images in order: a permutation, or draws with replacement."""
    images = len(frozen.images.train)
    draws = generator("cpu", frozen.seed, epoch, "probe order")
    if protocol.replacement:
        return torch.randint(images, (images,), generator=draws).to(frozen.device)
    return torch.randperm(images, generator=draws).to(frozen.device)


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
