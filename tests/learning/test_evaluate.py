"""Evaluation against second engines, slow loops and closed forms."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from torch import nn

from reclaim.learning import evaluate as ev
from reclaim.learning import train
from reclaim.learning.frozen import load_frozen, whole_batches
from reclaim.learning.geometry import geometry
from reclaim.learning.images import ImageSet, load_images
from reclaim.learning.knn import knn_scores
from reclaim.records import (
    EvaluateJob,
    GeometryProtocol,
    KnnProtocol,
    LinearProtocol,
    Op,
    PretrainJob,
    ReclaimError,
)
from reclaim.registry.jobs import (
    data_hash,
    evaluation_folder,
    finished_evaluations,
    finished_run,
    run_folder,
)

CLEAN = (Op(op="normalise", params={"mean": [0.5], "std": [0.5]}),)
LINEAR = LinearProtocol(epochs=60, batch=64, lr=0.5, test_views=CLEAN)
KNN = KnnProtocol(neighbours=5, temperature=0.2, test_views=CLEAN)
GEOMETRY = GeometryProtocol(views=(Op(op="horizontal_flip", p=0.5), *CLEAN), test_views=CLEAN)
PROTOCOLS = {"linear": LINEAR, "knn": KNN, "geometry": GEOMETRY}


@pytest.fixture(autouse=True)
def _restore_determinism() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def frozen(train_count: int = 60, test_count: int = 30, classes: int = 3) -> ev.Frozen:
    """Random 4x4 images whose mean grey depends on their class, and the pixels as encoder."""
    draws = torch.Generator().manual_seed(0)
    labels = torch.arange(train_count + test_count) % classes
    noise = torch.randint(0, 120, (len(labels), 1, 4, 4), generator=draws)
    images = (noise + 40 * labels.view(-1, 1, 1, 1)).to(torch.uint8)
    held = ImageSet(
        images[:train_count], labels[:train_count], images[train_count:], labels[train_count:]
    )
    return ev.Frozen(nn.Flatten(), 16, classes, held, 0, torch.device("cpu"))


def features(images: torch.Tensor) -> np.ndarray:
    return ((images.double() / 255 - 0.5) / 0.5).flatten(1).numpy()


def test_predictions_rank_the_true_label() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.5], [0.3, 0.3, 0.2], [3.0, 2.0, 1.0]])
    table = ev.predictions(scores, torch.tensor([2, 1, 2]))
    assert table.to_dict("list") == {"label": [2, 1, 2], "top1": [1, 0, 0], "rank": [2, 2, 3]}
    assert ev.accuracies(table) == {"top1": 0.0, "top5": 1.0}


def test_accuracies_agree_with_torch_topk() -> None:
    draws = torch.Generator().manual_seed(1)
    scores = torch.randn(500, 20, generator=draws)
    labels = torch.randint(20, (500,), generator=draws)
    found = ev.accuracies(ev.predictions(scores, labels))
    for k in (1, 5):
        hits = (scores.topk(k).indices == labels.unsqueeze(1)).any(dim=1)
        assert found[f"top{k}"] == pytest.approx(hits.double().mean().item(), abs=1e-12)


def test_knn_equals_a_slow_loop() -> None:
    case = frozen()
    bank, queries = features(case.images.train), features(case.images.test)
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    votes = np.zeros((len(queries), 3))
    for i, query in enumerate(queries):
        near = sorted(range(len(bank)), key=lambda j: -(query @ bank[j]))[:5]
        for j in near:
            votes[i, case.images.train_labels[j]] += math.exp((query @ bank[j] - 1) / 0.2)
    np.testing.assert_allclose(knn_scores(case, KNN).numpy(), votes, rtol=1e-5, atol=1e-6)


def test_geometry_equals_a_slow_loop() -> None:
    case = frozen(test_count=12)
    found = geometry(case, GEOMETRY)
    clean = features(case.images.test)
    clean /= np.linalg.norm(clean, axis=1, keepdims=True)
    pairs = [(i, j) for i in range(12) for j in range(12) if i != j]
    mean = sum(math.exp(-2 * float(((clean[i] - clean[j]) ** 2).sum())) for i, j in pairs)
    assert found["uniformity"] == pytest.approx(math.log(mean / len(pairs)), rel=1e-6)
    one, two = (
        torch.nn.functional.normalize(case.embed(case.images.test, GEOMETRY.views, view)).numpy()
        for view in ("view 1", "view 2")
    )
    expected = sum(float(((a - b) ** 2).sum()) for a, b in zip(one, two, strict=True)) / 12
    assert found["alignment"] == pytest.approx(expected, rel=1e-5)
    assert found["alignment"] > 0


def test_a_ragged_test_batch_is_dropped() -> None:
    images = frozen(test_count=30).images
    for batch, kept in ((None, 30), (30, 30), (7, 28), (16, 16)):
        left = whole_batches(images, batch)
        assert torch.equal(left.test, images.test[:kept])
        assert torch.equal(left.test_labels, images.test_labels[:kept])
        assert torch.equal(left.train, images.train)
    with pytest.raises(ReclaimError, match=r"test_batch 31: only 30 test images; take a smaller"):
        whole_batches(images, 31)


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ReclaimError, match="no numbers; lower its lr"):
        ev.predictions(torch.tensor([[1.0, math.nan]]), torch.tensor([0]))


@pytest.fixture
def trained(
    tiny_job: Callable[..., PretrainJob], data: Path, tmp_path: Path
) -> tuple[PretrainJob, EvaluateJob]:
    job = tiny_job("simclr", epochs=1)
    train.pretrain(job, tmp_path, data)
    return job, EvaluateJob(
        id=job.id, recipe=job.recipe, dataset=job.config.dataset, seed=0, protocols=PROTOCOLS,
        code=dict.fromkeys(PROTOCOLS, "test"),
    )  # fmt: skip


def test_an_evaluation_keeps_what_its_metrics_come_from(
    trained: tuple[PretrainJob, EvaluateJob], data: Path, tmp_path: Path
) -> None:
    pretrained, job = trained
    made = ev.evaluate(pretrained, job, tmp_path, data)
    assert set(made) == set(PROTOCOLS)
    for name in ("linear", "knn"):
        folder = evaluation_folder(tmp_path, job.recipe, job.id, name)
        table = pd.read_parquet(folder / "predictions.parquet")
        assert len(table) == 500
        assert made[name].metrics["top1"] == (table["rank"] == 1).mean()
        assert made[name].metrics["top1"] == (table["label"] == table["top1"]).mean()
    assert set(made["geometry"].metrics) == {"alignment", "uniformity"}


def test_a_protocol_says_which_encoder_and_which_images(
    trained: tuple[PretrainJob, EvaluateJob], data: Path, tmp_path: Path
) -> None:
    pretrained, job = trained
    folder = run_folder(tmp_path, job.recipe, job.id)
    stored = safetensors.torch.load_file(folder / "encoder.safetensors")
    other = {name: value + 1 if value.is_floating_point() else value for name, value in
             stored.items()}  # fmt: skip
    (folder / "encoder_lowest.safetensors").write_bytes(safetensors.torch.save(other))
    images, cpu = load_images(job.dataset, torch.device("cpu"), data), torch.device("cpu")
    for which, expected in (("last", stored), ("lowest_loss", other)):
        asked = KNN.model_copy(update={"encoder": which, "test_batch": 64})
        loaded = load_frozen(pretrained, tmp_path, asked, images, cpu)
        assert not loaded.encoder.training
        assert len(loaded.images.test) == 448
        for name, value in loaded.encoder.state_dict().items():
            assert torch.equal(value, expected[name])


def test_predictions_hold_the_images_that_were_kept(
    trained: tuple[PretrainJob, EvaluateJob], data: Path, tmp_path: Path
) -> None:
    pretrained, job = trained
    whole = ev.evaluate(pretrained, job, tmp_path, data)
    folder = evaluation_folder(tmp_path, job.recipe, job.id, "knn")
    before = pd.read_parquet(folder / "predictions.parquet")
    fewer = job.model_copy(update={"protocols": {"knn": KNN.model_copy(update={"test_batch": 64})}})
    made = ev.evaluate(pretrained, fewer, tmp_path, data)["knn"]
    after = pd.read_parquet(folder / "predictions.parquet")
    pd.testing.assert_frame_equal(after, before.head(448))
    assert made.metrics["top1"] == (after["rank"] == 1).mean()
    assert made.files != whole["knn"].files


def test_what_is_measured_is_not_measured_again(
    trained: tuple[PretrainJob, EvaluateJob],
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretrained, job = trained
    first = job.model_copy(update={"protocols": {"knn": KNN}})
    ev.evaluate(pretrained, first, tmp_path, data)
    monkeypatch.setattr(ev, "knn_scores", lambda *_: pytest.fail("measured again"))
    made = ev.evaluate(pretrained, job, tmp_path, data)
    run = finished_run(tmp_path, pretrained, data_hash("digits", data))
    assert run is not None
    assert finished_evaluations(tmp_path, job, run) == made
    other = job.model_copy(update={"code": {**job.code, "linear": "edited probe"}})
    assert set(finished_evaluations(tmp_path, other, run)) == {"knn", "geometry"}
    path = evaluation_folder(tmp_path, job.recipe, job.id, "knn") / "predictions.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    assert set(finished_evaluations(tmp_path, job, run)) == {"linear", "geometry"}


def test_the_same_run_is_measured_under_another_reading_beside(
    trained: tuple[PretrainJob, EvaluateJob], data: Path, tmp_path: Path
) -> None:
    pretrained, job = trained
    planned = ev.evaluate(pretrained, job, tmp_path, data)
    reading, other = "knn-neighbours-1", KNN.model_copy(update={"neighbours": 1})
    both = job.model_copy(update={
        "protocols": {**job.protocols, reading: other},
        "code": {**job.code, reading: job.code["knn"]},
    })  # fmt: skip
    made = ev.evaluate(pretrained, both, tmp_path, data)
    assert {name: made[name] for name in planned} == planned, "nothing is measured again"
    assert made[reading].protocol == reading
    assert made[reading].metrics != planned["knn"].metrics
    alone = {"protocols": {"knn": other}, "code": {"knn": job.code["knn"]}}
    shutil.rmtree(evaluation_folder(tmp_path, job.recipe, job.id, "knn"))
    asked = ev.evaluate(pretrained, job.model_copy(update=alone), tmp_path, data)
    assert made[reading].metrics == asked["knn"].metrics


def test_a_run_of_other_code_is_not_evaluated(
    trained: tuple[PretrainJob, EvaluateJob], data: Path, tmp_path: Path
) -> None:
    pretrained, job = trained
    edited = pretrained.model_copy(update={"code": "edited"})
    with pytest.raises(ReclaimError, match="no finished run of the present plan and code"):
        ev.evaluate(edited, job, tmp_path, data)
    assert run_folder(tmp_path, job.recipe, job.id).is_dir()
    assert not (tmp_path / "evaluations").exists()
