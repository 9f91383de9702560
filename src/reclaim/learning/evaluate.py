"""Evaluation of a finished run: every protocol of its row in one process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from torch import Tensor

from reclaim.learning.checkpoints import Checkpoints
from reclaim.learning.device import (
    make_deterministic,
    pick_device,
    resolve_precision,
    use_one_thread,
)
from reclaim.learning.finetune import fine_tune
from reclaim.learning.frozen import Frozen, load_frozen
from reclaim.learning.geometry import geometry
from reclaim.learning.gpu import memory_faults
from reclaim.learning.images import load_images
from reclaim.learning.knn import knn_scores
from reclaim.learning.probe import linear_scores
from reclaim.learning.provenance import arithmetic
from reclaim.records import (
    EvaluateJob,
    EvaluationManifest,
    FineTuneProtocol,
    GeometryProtocol,
    KnnProtocol,
    LinearProtocol,
    PretrainJob,
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


def evaluate(
    pretrained: PretrainJob, job: EvaluateJob, results: Path, data: Path, device: str = "auto"
) -> Mapping[str, EvaluationManifest]:
    """Measure a finished run by every protocol of its job; those already made are kept.

    A probe or fine-tuning that was cut short goes on from its newest checkpoint. Raises
    ReclaimError if the run is not there or is not the one the plan asks for now, memory runs out,
    or the checkpoint is of other arithmetic.
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
                made[name] = _measure(name, frozen, pretrained, job, run, results)
    return made


def _measure(
    name: str,
    frozen: Frozen,
    pretrained: PretrainJob,
    job: EvaluateJob,
    run: RunManifest,
    results: Path,
) -> EvaluationManifest:
    protocol, done = job.protocols[name], protocol_hash(job, name)
    precision = pretrained.config.precision if protocol.kind == "fine_tune" else "float32"
    folder = evaluation_folder(results, job.recipe, job.id, name)
    keep = Checkpoints(
        checkpoint_folder(results, f"{job.id}-{name}"),
        content_hash([done, content_hash(run)]),
        arithmetic(frozen.device, resolve_precision(precision, frozen.device)),
    )
    files = {}
    if isinstance(protocol, GeometryProtocol):
        metrics = geometry(frozen, protocol)
    else:
        scores = _scores(frozen, protocol, f"{job.id} {name}", precision, keep)
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
        protocol=name,
        job=done,
        code=job.code[name],
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
            return linear_scores(frozen, protocol, name, keep)
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
