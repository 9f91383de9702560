"""The linear probe against a second engine, and the same bits whatever happens on the way."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from reclaim.learning import checkpoints, fitting, probe, train
from reclaim.learning import evaluate as ev
from reclaim.learning.checkpoints import Checkpoints
from reclaim.records import EvaluateJob, LinearProtocol, Op, PretrainJob, ReclaimError
from reclaim.registry.jobs import checkpoint_folder
from tests.learning.test_evaluate import CLEAN, LINEAR, features, frozen

SHORT = LINEAR.model_copy(update={"epochs": 3, "batch": 16, "momentum": 0.9})  # 60 images: 4 steps
VIEWS = (Op(op="horizontal_flip", p=0.5), *CLEAN)
AUGMENTED = SHORT.model_copy(update={"views": VIEWS})


class Killed(BaseException):
    """A process that ends at once."""


@pytest.fixture(autouse=True)
def _restore_determinism() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


Probe = Callable[[ev.Frozen, LinearProtocol], torch.Tensor]


@pytest.fixture
def scores(tmp_path: Path) -> Probe:
    """A probe's scores; at the end it clears its checkpoints, as an evaluation does."""

    def of(case: ev.Frozen, protocol: LinearProtocol) -> torch.Tensor:
        keep = Checkpoints(tmp_path / "keep", "key" * 10, "cpu in float32")
        found = probe.linear_scores(case, protocol, "a run linear", keep)
        keep.clear()
        return found

    return of


def test_the_probe_reaches_the_optimum_of_a_second_engine(scores: Probe) -> None:
    case = frozen(train_count=300)
    protocol = LinearProtocol(
        epochs=400, batch=300, lr=1.0, momentum=0.9, weight_decay=0.02, test_views=CLEAN
    )
    found = scores(case, protocol).softmax(dim=1).numpy()
    # decay 0.02 of the mean loss is C = 1 / (0.02 n); the bias decays too, so it is a feature here
    second = LogisticRegression(C=1 / (0.02 * 300), max_iter=5000, tol=1e-10, fit_intercept=False)
    train_set, test_set = (
        np.pad(features(images), ((0, 0), (0, 1)), constant_values=1)
        for images in (case.images.train, case.images.test)
    )
    second.fit(train_set, case.images.train_labels.numpy())
    expected = second.predict_proba(test_set)
    assert np.abs(found - expected).max() < 0.02
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.95


def test_the_probe_with_augmentation_sees_other_views_each_epoch(scores: Probe) -> None:
    case = frozen()
    plain = scores(case, LINEAR)
    assert torch.equal(plain, scores(case, LINEAR))
    augmented = scores(case, LINEAR.model_copy(update={"views": VIEWS}))
    assert not torch.equal(plain, augmented)


def test_a_probe_draws_a_permutation_or_with_replacement(
    scores: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, again = frozen(), LINEAR.model_copy(update={"replacement": True})
    for protocol, distinct in ((LINEAR, 60), (again, None)):
        orders = [probe.probe_order(case, protocol, epoch).tolist() for epoch in (0, 1)]
        assert orders[0] != orders[1]
        for order in orders:
            assert len(order) == 60
            assert set(order) <= set(range(60))
            assert len(set(order)) == distinct or (distinct is None and 30 <= len(set(order)) <= 46)
    # The loop learns from that very order: with the permutation put in its place it is the other.
    with_replacement = scores(case, again)
    plain = scores(case, LINEAR)
    assert not torch.equal(with_replacement, plain)
    order = probe.probe_order
    monkeypatch.setattr(probe, "probe_order", lambda case, _, epoch: order(case, LINEAR, epoch))
    assert torch.equal(scores(case, again), plain)


@pytest.mark.parametrize(("pause", "lines"), [(0.0, 60), (3600.0, 0)])
def test_a_probe_shows_its_progress_now_and_then(
    pause: float, lines: int, scores: Probe, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(fitting, "PAUSE", pause)
    scores(frozen(), LINEAR)
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == lines
    assert all(line.startswith("a run linear  epoch ") for line in shown)


def test_standardising_makes_the_scale_of_features_irrelevant(scores: Probe) -> None:
    case = frozen()
    far = (Op(op="normalise", params={"mean": [0.1], "std": [5.0]}),)
    near = LINEAR.model_copy(update={"standardise": True, "lr": 0.1})
    torch.testing.assert_close(
        scores(case, near),
        scores(case, near.model_copy(update={"test_views": far})),
        rtol=1e-3, atol=1e-3,
    )  # fmt: skip


# --- cut short ------------------------------------------------------------------------------------


def dying(
    places: list[int], killed: set[int]
) -> Callable[[fitting.Fitting, torch.Tensor], torch.Tensor]:
    """A step that notes where it is, and ends the process once at each of some places."""
    step = fitting.fit_step

    def die(fit: fitting.Fitting, chosen: torch.Tensor) -> torch.Tensor:
        if fit.done in killed:
            killed.remove(fit.done)
            raise Killed
        places.append(fit.done)
        return step(fit, chosen)

    return die


@pytest.mark.parametrize("protocol", [SHORT, AUGMENTED], ids=["clean", "augmented"])
def test_a_killed_probe_goes_on_to_the_same_bits(
    protocol: LinearProtocol, scores: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = scores(frozen(), protocol)
    places, killed = list[int](), {2, 5, 8}
    monkeypatch.setattr(checkpoints, "CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr(fitting, "fit_step", dying(places, killed))
    for _ in range(3):
        with pytest.raises(Killed):
            scores(frozen(), protocol)
    assert torch.equal(scores(frozen(), protocol), whole)
    assert not killed
    assert places == list(range(12))  # no step was repeated


def test_a_stopped_probe_says_how_to_go_on_and_ends_with_the_same_files(
    tiny_job: Callable[..., PretrainJob], data: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pretrained = tiny_job("simclr", epochs=1)
    job = EvaluateJob(
        id=pretrained.id, recipe="simclr", dataset=pretrained.config.dataset, seed=0,
        protocols={"linear": AUGMENTED}, code={"linear": "test"},
    )  # fmt: skip
    for folder in ("whole", "cut"):
        train.pretrain(pretrained, tmp_path / folder, data)
    whole = ev.evaluate(pretrained, job, tmp_path / "whole", data)
    seen, step = list[int](), fitting.fit_step

    def asked_to_stop(fit: fitting.Fitting, chosen: torch.Tensor) -> torch.Tensor:
        seen.append(fit.done)
        if len(seen) == 7:
            os.kill(os.getpid(), signal.SIGUSR1)
        return step(fit, chosen)

    monkeypatch.setattr(fitting, "fit_step", asked_to_stop)
    with pytest.raises(ReclaimError, match="linear stopped by SIGUSR1 after a checkpoint; start"):
        ev.evaluate(pretrained, job, tmp_path / "cut", data)
    kept = checkpoint_folder(tmp_path / "cut", f"{job.id}-linear")
    assert len(list(kept.glob("*.pt"))) == 1
    assert ev.evaluate(pretrained, job, tmp_path / "cut", data) == whole
    assert seen == list(range(len(seen)))  # and none was repeated
    assert not kept.exists()
