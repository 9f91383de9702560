"""The predictions of each image: what they add, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from reclaim.inference.predictions import Predictions
from reclaim.inference.verdicts import judge
from reclaim.records import Cost, ReclaimError, Run, Verdicts
from reclaim.registry.claims import Paper
from reclaim.registry.jobs import evaluation_folder
from tests.inference.made_paper import TRUE, drawn, frame_of, papers, plan_of
from tests.registry.made_results import RUNS, write_results

IMAGES, SEEDS = 400, 3


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Paper]:
    return papers(tmp_path_factory.mktemp("claims"))


def write(root: Path, run: str, ranks: np.ndarray, labels: np.ndarray | None = None) -> Path:
    """A run's predictions, below a scale's results."""
    shown = np.arange(len(ranks)) % 10 if labels is None else labels
    path = root / "evaluations" / run.split("-")[0] / run / "linear" / "predictions.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"label": shown, "top1": shown, "rank": ranks}).to_parquet(path, index=False)
    return path


def answers(rng: np.random.Generator, share: float) -> np.ndarray:
    """Ranks of the true label: 1 where it is right."""
    return np.where(rng.random((SEEDS, IMAGES)) < share, 1, 3)


def judged(paper: dict[str, Paper], root: Path, frame: pd.DataFrame | None = None) -> Verdicts:
    values = drawn(np.random.default_rng(0), TRUE, SEEDS)
    measured = frame_of(values) if frame is None else frame
    return judge("paper", paper, plan_of(paper, values), measured, results=root)


def both(root: Path) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    found = answers(rng, 0.8), answers(rng, 0.7)
    for name, ranks in zip(("hcl", "simclr"), found, strict=True):
        for seed in range(SEEDS):
            write(root, f"{name}-s{seed}", ranks[seed])
    return found[0] == 1, found[1] == 1


def test_a_difference_has_an_interval_for_new_images(
    paper: dict[str, Paper], tmp_path: Path
) -> None:
    a, b = both(tmp_path)
    made = judged(paper, tmp_path)
    found = {verdict.claim: verdict for verdict in made.verdicts}
    images = found["made:gap"].images
    assert images is not None
    x = 100.0 * a - 100.0 * b
    rows, columns = x.mean(axis=1), x.mean(axis=0)
    left = [x[i, j] - rows[i] - columns[j] + x.mean() for i, j in np.ndindex(x.shape)]
    rest = sum(value**2 for value in left) / ((SEEDS - 1) * (IMAGES - 1))
    squares = [IMAGES * rows.var(ddof=1), SEEDS * columns.var(ddof=1)]
    error = np.sqrt((sum(max(ms, rest) for ms in squares) - rest) / (SEEDS * IMAGES))
    assert images.interval is not None
    assert (images.interval.low + images.interval.high) / 2 == pytest.approx(x.mean())
    assert images.interval.high - images.interval.low > 2 * 1.96 * error
    only = int((a[0] & ~b[0]).sum()), int((b[0] & ~a[0]).sum())
    assert (images.images, images.discordant) == (IMAGES, only)
    exact = stats.binomtest(only[0], sum(only), 0.5).pvalue
    assert images.mcnemar_p == pytest.approx(exact, rel=1e-10, abs=0)
    assert found["made:relative"].images is None  # there are no files of dcl


def test_the_noise_floor_knows_how_the_seeds_agree(paper: dict[str, Paper], tmp_path: Path) -> None:
    a, _ = both(tmp_path)
    noise = {found.recipe: found for found in judged(paper, tmp_path).noise}
    p = a.mean(axis=0)
    pairs = np.mean([(a[i] == a[j]).mean() for i in range(SEEDS) for j in range(i)])
    assert noise["hcl"].plug_in == pytest.approx(100 * np.sqrt((1 - pairs) / 2 / IMAGES))
    unbiased = SEEDS / (SEEDS - 1) * (p * (1 - p)).mean()  # from the images' own shares
    assert noise["hcl"].plug_in == pytest.approx(100 * np.sqrt(unbiased / IMAGES))
    assert noise["hcl"].images == IMAGES
    assert noise["dcl"].plug_in is None
    assert noise["dcl"].images == 10_000  # CIFAR-10's


def spoiled(root: Path, how: str) -> str:
    """Spoil a file; gives what the error must say."""
    both(root)
    labels = np.arange(IMAGES) % 10
    ranks = np.ones(IMAGES, dtype=int)
    if how == "order of seeds":
        path = write(root, "hcl-s1", ranks, np.roll(labels, 1))
        return f"{path}: row 1: an image of label 9, in {root}/evaluations/hcl/hcl-s0"
    if how == "order of recipes":
        labels[7] = 3
        for seed in range(SEEDS):
            path = write(root, f"simclr-s{seed}", ranks, labels)
        return f"{root}/evaluations/simclr/simclr-s0/linear/predictions.parquet: row 8: an image"
    if how == "length":
        path = write(root, "hcl-s2", ranks[:-3])
        return f"{path}: row 398: 397 images"
    if how == "rank":
        ranks[4] = 0
        return f"{write(root, 'hcl-s0', ranks)}: row 5: no label and rank"
    if how == "text":
        words = np.where(np.arange(IMAGES) == 4, "first", "1")
        return f"{write(root, 'hcl-s0', words)}: row 5: no label and rank"
    path = write(root, "hcl-s0", ranks)
    path.write_bytes(b"PAR1 is not enough")
    return f"{path}: not readable as predictions"


@pytest.mark.parametrize(
    "how", ["order of seeds", "order of recipes", "length", "rank", "text", "bytes"]
)
def test_other_images_are_refused_by_file_and_row(
    paper: dict[str, Paper], tmp_path: Path, how: str
) -> None:
    message = spoiled(tmp_path, how)
    with pytest.raises(ReclaimError) as caught:
        judged(paper, tmp_path)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_no_fault_and_no_number(paper: dict[str, Paper], tmp_path: Path) -> None:
    both(tmp_path)
    (tmp_path / "evaluations/hcl/hcl-s1/linear/predictions.parquet").unlink()
    with_some = judged(paper, tmp_path).verdicts
    without = judge(
        "paper", paper, plan_of(paper, drawn(np.random.default_rng(0), TRUE, SEEDS)),
        frame_of(drawn(np.random.default_rng(0), TRUE, SEEDS)),
    ).verdicts  # fmt: skip
    assert with_some == without


def test_a_file_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path, "hcl-s0", np.array([1, 2, 6]))
    run = Run(id="hcl-s0", recipe="hcl", dataset="cifar10", seed=0, config="hcl",
              protocols=("linear",), cost=Cost(steps=1, images_seen=1))  # fmt: skip
    kept = Predictions(tmp_path)
    first = kept.correct({0: run}, "linear", "top1")
    path.unlink()
    fifth = kept.correct({0: run}, "linear", "top5")
    assert first is not None
    assert fifth is not None
    assert (first[1].tolist(), fifth[1].tolist()) == ([[True, False, False]], [[True, True, False]])
    assert kept.correct({0: run}, "linear", "uniformity") is None


def test_predictions_changed_after_their_manifest_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    results = write_results(tmp_path)
    run = RUNS[0]
    folder = evaluation_folder(results, run.recipe, run.id, "knn")
    assert Predictions(results).of(run, "knn") is not None
    table = pd.read_parquet(folder / "predictions.parquet")
    table.assign(rank=1).to_parquet(folder / "predictions.parquet", index=False)
    with pytest.raises(ReclaimError, match=r"predictions\.parquet: changed since metrics\.json"):
        Predictions(results).of(run, "knn")
