"""The dress rehearsal: everything of the paper plan is started, nothing of it is a result."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from reclaim.inference import measurements, verdicts
from reclaim.learning.data import fetch_data, load, synthetic
from reclaim.learning.data.weights import fetch_weights
from reclaim.learning.evaluate import evaluate
from reclaim.learning.nets import build_encoder
from reclaim.learning.train import pretrain
from reclaim.records import REHEARSAL, Plan, ReclaimError, RunManifest, read, render
from reclaim.registry import cost, jobs, rehearsal
from reclaim.registry.datasets import DATASETS
from reclaim.registry.weights import LOCK, WEIGHTS, lock_of

MADE_UP = [name for name, facts in DATASETS.items() if facts.stands_for]
# One of each family of recipes and of each data set, small enough for a test.
FAMILIES = [
    ("sscl", "tiny_imagenet"),
    ("mochi", "cifar100"),
    ("byol", "tiny_imagenet"),
    ("psm_released", "tiny_imagenet"),
    ("simclr_dino_enlarge", "cifar100"),
    ("supervised", "tiny_imagenet"),
    ("raw_pixels", "cifar10"),
]


@pytest.fixture(scope="module")
def paper() -> Plan:
    return jobs.read_plan("paper")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results with all made-up data and weights in it."""
    root = tmp_path_factory.mktemp("results")
    for name in MADE_UP:
        fetch_data(name, root / "data")
    fetch_weights("rehearsal_dino_resnet50", root / "weights", root / "lock.json")
    return root


# --- made-up data --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MADE_UP)
def test_an_archive_has_its_own_pin_wherever_it_is_built(name: str) -> None:
    facts = DATASETS[name]
    [pin] = facts.archives
    built = synthetic.build(facts)
    assert (len(built), hashlib.sha256(built).hexdigest()) == (pin.bytes, pin.sha256)


@pytest.mark.parametrize("name", MADE_UP)
def test_what_is_read_is_what_was_made(name: str, store: Path) -> None:
    facts, images = DATASETS[name], load(name, store / "data")
    made = synthetic.split(facts, "train", facts.n_train)
    by_class = np.argsort(made.labels, kind="stable") if "tiny" in name else slice(None)
    assert np.array_equal(images.train_labels, made.labels[by_class])
    difference = images.train_images.astype(int) - made.images[by_class]
    assert np.abs(difference).mean() < (4 if "tiny" in name else 1e-9)  # JPEGs lose a little
    assert set(images.train_labels) == set(range(facts.classes))


@pytest.mark.parametrize("name", MADE_UP)
def test_a_real_set_and_its_stand_in_share_no_pin_and_no_file(name: str) -> None:
    made_up = DATASETS[name]
    real = DATASETS[made_up.stands_for or ""]
    assert not {pin.file for pin in real.archives} & {pin.file for pin in made_up.archives}
    assert real.sites and not made_up.sites
    assert replace(real, name="", title="", archives=(), sites=(), n_train=0, n_test=0) == replace(
        made_up, name="", title="", archives=(), sites=(), n_train=0, n_test=0, stands_for=None
    )


def test_a_made_up_archive_under_a_real_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECLAIM_MIRROR", str(tmp_path))
    monkeypatch.setitem(DATASETS, "cifar10", replace(DATASETS["cifar10"], sites=()))
    made = synthetic.build(DATASETS["rehearsal_cifar10"])
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(made)
    with pytest.raises(ReclaimError, match="has 1310843 bytes, expected 170498071"):
        fetch_data("cifar10", tmp_path / "data")


def test_a_damaged_archive_is_built_anew(tmp_path: Path) -> None:
    name = "rehearsal_cifar100"
    [pin] = DATASETS[name].archives
    (tmp_path / "archives").mkdir()
    kept = tmp_path / "archives" / pin.file
    kept.write_bytes(bytes(pin.bytes))
    fetch_data(name, tmp_path)
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == pin.sha256


def test_made_up_weights_are_pinned_outside_the_repository() -> None:
    assert WEIGHTS["rehearsal_dino_resnet50"].shapes == WEIGHTS["dino_resnet50"].shapes
    assert lock_of("dino_resnet50") == LOCK
    assert lock_of("rehearsal_dino_resnet50").parts[0] == "results"


# --- the plan ------------------------------------------------------------------------------------


def test_every_config_is_rehearsed_once_as_it_is_but_short(paper: Plan) -> None:
    made = rehearsal.rehearse(paper)
    assert render(made) == render(rehearsal.rehearse(paper))
    assert len({run.id for run in made.runs}) == len(made.runs) == len(paper.configs)
    firsts = [run for run in paper.runs if run.seed == 0]
    for planned, run in zip(firsts, made.runs, strict=True):
        real, cut = paper.configs[planned.config], made.configs[run.config]
        kept = ("recipe", "network", "views", "local_views", "twin", "online", "temperature",
                "batch", "replacement", "precision")  # fmt: skip
        assert {name: getattr(cut, name) for name in kept} == {
            name: getattr(real, name) for name in kept
        }
        assert cut.dataset.name == run.dataset == f"rehearsal_{real.dataset.name}"
        assert (cut.dataset.size, cut.dataset.held_out) == (
            real.dataset.size,
            real.dataset.held_out,
        )
        assert run.cost.steps == (2 if real.epochs else 0)
        assert [made.protocols[name].kind for name in run.protocols] == [
            paper.protocols[name].kind for name in planned.protocols
        ]
        assert (run.claims, run.variant) == ((), "")
        assert run.init == (planned.init and planned.init.replace("dino", "rehearsal_dino"))
    assert made.scale == REHEARSAL
    assert {config.scale for config in made.configs.values()} == {REHEARSAL}


def test_whatever_a_reading_measures_by_is_rehearsed_once(paper: Plan) -> None:
    made = rehearsal.rehearse(paper)
    measured = {run.id: {name.partition("-")[2] for name in jobs.measures(made, run)}
                for run in made.runs}  # fmt: skip
    again = [name for names in measured.values() for name in names if name]
    wanted = {name for readings in paper.readings.values() for read in readings.values()
              for name in read.protocols}  # fmt: skip
    assert {"encoder-last", "test_batch-256", "batch-96"} <= set(again)
    assert len(wanted) <= sum(
        len(read.protocols) for readings in made.readings.values() for read in readings.values()
    ) < 2 * len(wanted)  # fmt: skip
    assert len({run.config for run in made.runs} & made.readings.keys()) == len(made.readings)


def test_fetched_weights_fit_every_encoder_that_starts_from_them() -> None:
    made = jobs.committed_plan("paper", sweeps=True)
    starts = {run.config: run.init.partition("/")[2] for run in made.runs if run.init}
    assert starts
    for key, weights in starts.items():
        config = made.configs[key]
        with torch.device("meta"):
            encoder, _ = build_encoder(config.network, config.dataset)
        shapes = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
        assert shapes == dict(WEIGHTS[weights].shapes), key


def test_two_runs_at_once_fit_into_24_gib(paper: Plan) -> None:
    made = rehearsal.rehearse(paper)
    assert max(run.cost.memory_mib for run in made.runs) <= 12 * 1024
    [key] = [key for key, c in paper.configs.items() if (c.recipe, c.dataset.name) == (
        "sscl", "cifar10")]  # fmt: skip
    [large] = [config for config in paper.configs.values() if config == paper.configs[key]]
    large = large.model_copy(update={"batch": 4096})
    only = paper.model_copy(
        update={
            "configs": {key: large},
            "runs": tuple(run for run in paper.runs if run.config == key),
        }
    )
    [run] = rehearsal.rehearse(only).runs
    [cut] = rehearsal.rehearse(only).configs.values()
    assert run.variant == f"batch {cut.batch} instead of 4096"
    assert (
        cost.memory(cut, ())
        <= 12 * 2**30
        < cost.memory(cut.model_copy(update={"batch": 2 * cut.batch}), ())
    )


def test_only_the_paper_scale_has_a_rehearsal() -> None:
    assert rehearsal.rehearsal_of("paper") == REHEARSAL
    with pytest.raises(ReclaimError, match="scale 'digits' has no rehearsal"):
        rehearsal.rehearsal_of("digits")
    assert jobs.read_plan(REHEARSAL).scale == REHEARSAL
    assert REHEARSAL not in jobs.planned_scales()


# --- a run of each family ------------------------------------------------------------------------


@pytest.mark.parametrize(("recipe", "dataset"), FAMILIES, ids=[recipe for recipe, _ in FAMILIES])
def test_a_family_trains_and_is_measured(
    recipe: str, dataset: str, paper: Plan, store: Path
) -> None:
    plan = rehearsal.rehearse(paper, batch=8, images=8)
    run = next(
        run for run in plan.runs if (run.recipe, run.dataset) == (recipe, f"rehearsal_{dataset}")
    )
    job, results = jobs.job_of(plan, run), store / REHEARSAL
    init = jobs.init_path(results, job.pretrain)
    manifest = pretrain(job.pretrain, results, store / "data", "cpu", init)
    again = read(jobs.run_folder(results, recipe, run.id) / "run.json", RunManifest, "")
    assert again == manifest
    assert (manifest.scale, manifest.dataset) == (REHEARSAL, f"rehearsal_{dataset}")
    curve = (jobs.run_folder(results, recipe, run.id) / "curve.csv").read_text().splitlines()
    assert len(curve) == 1 + run.cost.steps
    made = evaluate(job.pretrain, job.evaluate, results, store / "data", "cpu")
    assert set(made) == set(job.evaluate.protocols)
    for evaluation in made.values():
        assert evaluation.scale == REHEARSAL
        assert all(np.isfinite(value) for value in evaluation.metrics.values())


# --- no result -----------------------------------------------------------------------------------


def test_a_rehearsal_is_neither_gathered_nor_judged_nor_reported(tmp_path: Path) -> None:
    with pytest.raises(ReclaimError, match="measures nothing"):
        measurements.gather(REHEARSAL, tmp_path)
    with pytest.raises(ReclaimError, match="measures nothing"):
        verdicts.judge_scale(REHEARSAL, tmp_path)
    with pytest.raises(ReclaimError, match="measures nothing"):
        verdicts.judged(REHEARSAL, tmp_path)


def test_a_row_of_a_rehearsal_spoils_a_table(tmp_path: Path) -> None:
    row = dict.fromkeys(measurements.COLUMNS, "x")
    row |= {"schema_version": "1", "scale": REHEARSAL, "seed": "0", "value": "0.5"}
    path = tmp_path / "measurements.csv"
    pd.DataFrame([row]).to_csv(path, index=False)
    with pytest.raises(ReclaimError, match=r"line 2: the row is of a rehearsal"):
        measurements.read(path)


def test_a_rehearsed_run_is_no_run_of_the_paper_plan(paper: Plan) -> None:
    made = rehearsal.rehearse(paper)
    assert not {run.id for run in made.runs} & {run.id for run in paper.runs}
