"""Runs and evaluations are carried over a change of code that changes no bit, and only there."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from reclaim.learning import evaluate as ev
from reclaim.learning import losses, train, witness
from reclaim.learning.provenance import this_machine
from reclaim.records import (
    Cost,
    DataManifest,
    EvaluationManifest,
    KnnProtocol,
    LinearProtocol,
    Op,
    Plan,
    ReclaimError,
    Run,
    RunManifest,
    content_hash,
    read,
    stamp,
    write,
    write_text,
)
from reclaim.registry import certify, clean, jobs
from tests.conftest import tiny_config

RECIPES, SEEDS = ("simclr", "dino", "simclr_dino"), (0, 1, 2)
CLEAN = (Op(op="normalise", params={"mean": [0.5], "std": [0.5]}),)
PROTOCOLS = {
    "linear-0": LinearProtocol(epochs=1, batch=64, lr=0.5, test_views=CLEAN),
    "knn-0": KnnProtocol(neighbours=5, temperature=0.2, test_views=CLEAN),
}
COST = Cost(steps=1, images_seen=1, memory_mib=7)
Script = dict[str, Any]
Carried = tuple[list[str], list[tuple[str, str]]]


class Killed(BaseException):
    """A process that ends at once."""


@pytest.fixture(autouse=True)
def _restore_determinism() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def planned(prefix: str = "") -> Plan:
    """Three recipes with three seeds each; one starts from another's encoder, seed by seed."""
    keys = {name: f"{name}-digits-0" for name in RECIPES}
    runs = tuple(
        Run(
            id=f"{keys[name]}{prefix}-s{seed}", recipe=name, dataset="digits", seed=seed,
            config=keys[name], protocols=tuple(PROTOCOLS), cost=COST,
            init=f"{keys['dino']}{prefix}-s{seed}" if name == "simclr_dino" else None,
        )
        for name in RECIPES
        for seed in SEEDS
    )  # fmt: skip
    configs = {keys[name]: tiny_config(name, epochs=1, scale="tiny") for name in RECIPES}
    return Plan(scale="tiny", configs=configs, protocols=PROTOCOLS, runs=runs)


Kinds = tuple[str, ...]
EVERY = ("pretrain", "linear", "knn")


def older(kinds: Kinds = EVERY) -> pytest.MonkeyPatch:
    """The code of these kinds is another; to be undone."""
    patch = pytest.MonkeyPatch()
    measured = jobs.evaluate_code
    if "pretrain" in kinds:
        patch.setattr(jobs, "pretrain_code", lambda config: "old")
    patch.setattr(jobs, "evaluate_code", lambda k: "old" if k in kinds else measured(k))
    return patch


def make(plan: Plan, results: Path, data: Path) -> None:
    """All runs of a plan, trained and measured."""
    for run in plan.runs:
        job = jobs.job_of(plan, run)
        init = jobs.init_path(results, job.pretrain)
        train.pretrain(job.pretrain, results, data, "cpu", init)
        ev.evaluate(job.pretrain, job.evaluate, results, data, "cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    """The results of an older code."""
    results = tmp_path_factory.mktemp("made") / "tiny"
    patch = older()
    make(planned(), results, data)
    patch.undo()
    return results


@pytest.fixture(scope="module")
def witnesses(made: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the present code trains and measures apart."""
    folder = tmp_path_factory.mktemp("witnesses")
    shutil.copytree(made, folder / "tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "read_plan", lambda *_, **__: planned())
        script()["recertify"]("tiny", folder / "tiny", folder / "apart", map, "cpu", data)
    return folder / "apart"


@pytest.fixture
def results(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of them, and the plan that they are of."""
    monkeypatch.setattr(jobs, "read_plan", lambda *_, **__: planned())
    shutil.copytree(made, tmp_path / "tiny")
    return tmp_path / "tiny"


def script() -> Script:
    return runpy.run_path("workflow/recertify.py")


@pytest.fixture
def recertify(results: Path, data: Path, tmp_path: Path, witnesses: Path) -> Callable[[], Carried]:
    """The function of the script; the folder apart holds what is right for the present code."""
    shutil.copytree(witnesses, tmp_path / "apart")

    def run() -> Carried:
        found = script()["recertify"]("tiny", results, tmp_path / "apart", map, "cpu", data)
        assert isinstance(found, tuple)
        return found

    return run


def valid(plan: Plan, results: Path, data: Path) -> tuple[set[str], set[tuple[str, str]]]:
    """The finished runs, and the evaluations of them, by the present code."""
    runs, evaluations = set(), set()
    for run in plan.runs:
        job = jobs.job_of(plan, run)
        trained = jobs.finished_run(results, job.pretrain, jobs.data_hash("digits", data))
        if trained is not None:
            runs.add(run.id)
            done = jobs.finished_evaluations(results, job.evaluate, trained)
            evaluations |= {(run.id, kind) for kind in done}
    return runs, evaluations


def learned(results: Path) -> dict[str, bytes]:
    """Every file that training or measuring left, but the manifests."""
    names = (*certify.LEARNED, "config.json", "predictions.parquet")
    return {
        str(path.relative_to(results)): path.read_bytes()
        for path in results.rglob("*")
        if path.name in names and "recertify" not in path.parts
    }


ALL_RUNS = {run.id for run in planned().runs}
ALL = (ALL_RUNS, {(run, kind) for run in ALL_RUNS for kind in ("linear", "knn")})


def test_what_has_the_same_bits_is_carried_over(
    recertify: Callable[[], Carried], results: Path, data: Path, tmp_path: Path
) -> None:
    before = learned(results)
    assert valid(planned(), results, data) == (set(), set())
    runs, evaluations = recertify()
    assert (set(runs), set(evaluations)) == ALL
    assert valid(planned(), results, data) == ALL
    assert learned(results) == before
    trained = sorted(path.name for path in (tmp_path / "apart/runs").glob("*/*"))
    assert trained == sorted(f"{name}-digits-0-s0" for name in RECIPES)  # one seed of each
    for run in planned().runs:
        folder = jobs.run_folder(results, run.recipe, run.id)
        manifest = read(folder / "run.json", RunManifest, "")
        [certificate] = [folder / n for n in manifest.files if n.startswith("certificate-")]
        assert f"{run.config}-s0" in certificate.read_text()
        machine = this_machine(torch.device("cpu"), torch.float32)
        assert json.loads(certificate.read_text())["made_on"] == machine
    assert recertify() == ([], [])
    assert clean.leftovers(planned(), results.parent, data) == []


def test_runs_of_other_images_are_left_alone(
    recertify: Callable[[], Carried], results: Path, data: Path, tmp_path: Path
) -> None:
    recertify()
    before = {path for path in results.rglob("*") if path.is_file()}
    shutil.copytree(data, tmp_path / "other")
    path = tmp_path / "other/digits/manifest.json"
    images = read(path, DataManifest, "")
    more = {**images.files, "more": stamp(path)}
    write(path, images.model_copy(update={"files": more}))
    shutil.rmtree(tmp_path / "apart/runs")
    found = script()["recertify"](
        "tiny", results, tmp_path / "apart", map, "cpu", tmp_path / "other"
    )
    assert found == ([], [])
    assert {path for path in results.rglob("*") if path.is_file()} == before
    assert not (tmp_path / "apart/runs").exists(), "nothing was trained for it"


def move(results: Path, run: str, device: str) -> None:
    """A run of the recipe simclr was trained elsewhere; its bits are the same."""
    path = jobs.run_folder(results, "simclr", run) / "provenance.json"
    said = json.loads(path.read_text()) | {"device": device}
    write_text(path, json.dumps(said)) if device else path.unlink()


@pytest.mark.parametrize("device", ["cuda: NVIDIA H100", ""])
def test_a_witness_does_not_speak_for_another_machine(
    device: str, recertify: Callable[[], Carried], results: Path, data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    moved = {"simclr-digits-0-s1", "simclr-digits-0-s2"}
    for run in moved:
        move(results, run, device)
    runs, evaluations = recertify()
    assert set(runs) == ALL_RUNS - moved
    assert {run for run, _ in evaluations} == set(runs)
    assert f"simclr-digits-0-s1: made on {device or 'a machine'}" in capsys.readouterr().err
    assert valid(planned(), results, data) == (set(runs), set(evaluations))


def test_a_measurement_does_not_speak_for_another_machine(
    recertify: Callable[[], Carried], results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch = older(("knn",))
    recertify()
    patch.undo()
    move(results, "simclr-digits-0-s2", "cuda: NVIDIA H100")
    note = tmp_path / "apart/evaluations/simclr/simclr-digits-0-s0/provenance.json"
    write_text(note, json.dumps(this_machine(torch.device("cpu"), torch.float32) | {"torch": "1"}))
    measured, measure = [], ev._measure
    monkeypatch.setattr(ev, "_measure", lambda *a: measured.append(a[3].id) or measure(*a))
    _, evaluations = recertify()
    assert set(evaluations) == {(run, "knn") for run in ALL_RUNS - {"simclr-digits-0-s2"}}
    assert "simclr-digits-0-s0" in measured, "what was measured there before is of another torch"


def test_a_stale_encoder_apart_is_not_in_the_way(
    recertify: Callable[[], Carried], results: Path, data: Path, tmp_path: Path
) -> None:
    recertify()
    apart = tmp_path / "apart"
    shutil.rmtree(apart / "evaluations")
    (apart / "runs/dino/dino-digits-0-s0/encoder.safetensors").write_bytes(b"older")
    [run] = [run for run in planned().runs if run.id == "simclr_dino-digits-0-s0"]
    job = jobs.job_of(planned(), run)
    made = witness.measure_again(job.pretrain, job.evaluate, 7, results, apart, data, "cpu")
    assert not isinstance(made, ReclaimError)
    assert set(made) == {"linear", "knn"}


def test_each_witness_has_its_place_on_a_gpu(
    recertify: Callable[[], Carried], monkeypatch: pytest.MonkeyPatch, results: Path, tmp_path: Path
) -> None:
    asked = []

    @contextmanager
    def gpu_for(*of: Any) -> Iterator[None]:
        asked.append(of)
        yield

    monkeypatch.setattr(witness, "gpu_for", gpu_for)
    recertify()
    assert sorted(asked) == sorted(2 * [(f"{name}-digits-0-s0", 7, "cpu") for name in RECIPES])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ReclaimError, match="torch finds no CUDA device"):
        script()["recertify"]("tiny", results, tmp_path / "apart", map, "cuda")


def test_what_is_carried_is_newer_than_its_job_files(
    recertify: Callable[[], Carried], results: Path
) -> None:
    benchmarks = [
        results / "benchmarks/simclr" / f"simclr-digits-0-s1.{job}.tsv"
        for job in ("pretrain", "evaluate")
    ]
    for path in benchmarks:
        write_text(path, "s")
        os.utime(path, (0, 0))
    recertify()
    job = results / "jobs/simclr/simclr-digits-0-s1.json"
    assert all(path.stat().st_mtime_ns > job.stat().st_mtime_ns for path in benchmarks)
    for run in planned().runs:
        job = results / "jobs" / run.recipe / f"{run.id}.json"
        manifest = jobs.run_folder(results, run.recipe, run.id) / "run.json"
        measured = jobs.evaluation_folder(results, run.recipe, run.id, "linear") / "metrics.json"
        asked = job.with_suffix(".evaluate.json")
        made = [path.stat().st_mtime_ns for path in (job, asked, manifest, measured)]
        assert made == sorted(made)
    assert jobs.resolve("tiny", results.parent, sweeps=True) == []


def test_checkpoints_of_what_is_carried_go(recertify: Callable[[], Carried], results: Path) -> None:
    for name in ("simclr-digits-0-s1", "simclr-digits-0-s1-linear"):
        write_text(results / "checkpoints" / name / "1.pt", "state")
    recertify()
    assert [path for path in (results / "checkpoints").iterdir() if path.is_dir()] == []


def test_clean_leaves_to_it_what_it_may_carry(
    results: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever its witnesses are trained."""
    run = script()["recertify"]
    monkeypatch.setitem(
        run.__globals__,
        "_carry_runs",
        lambda *_: clean.leftovers(planned(), results.parent, data),
    )
    [found], _ = run("tiny", results, tmp_path / "apart", map, "cpu", data)
    assert found.why.startswith("recertify is at work")
    assert len(clean.leftovers(planned(), results.parent, data)) > len(ALL_RUNS), "all is stale"


@pytest.mark.parametrize(
    "fault", [OSError(28, "No space left on device"), BrokenProcessPool("a process died")]
)
def test_a_fault_is_one_line(
    fault: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise fault

    main = script()["main"]
    monkeypatch.setitem(main.__globals__, "recertify", fail)
    monkeypatch.setattr(sys, "argv", ["recertify.py", "tiny", "--jobs", "1"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("recertify: ")
    assert str(fault) in line


def test_a_second_change_is_carried_over_too(
    recertify: Callable[[], Carried], results: Path, data: Path, tmp_path: Path
) -> None:
    recertify()
    shutil.rmtree(tmp_path / "apart")
    patch = older(("pretrain", "knn"))
    runs, evaluations = recertify()
    assert (set(runs), set(evaluations)) == ALL == valid(planned(), results, data)
    patch.undo()


def test_runs_that_the_plan_names_otherwise_now_are_found(
    results: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed = planned("x")
    monkeypatch.setattr(jobs, "read_plan", lambda *_, **__: renamed)
    before, alone, replace = learned(results), jobs.alone, os.replace
    locked, replaced = set(), set()
    monkeypatch.setattr(jobs, "alone", lambda lock: locked.add(lock) or alone(lock))
    monkeypatch.setattr(os, "replace", lambda a, b: replaced.add(b) or replace(a, b))
    runs, _ = script()["recertify"]("tiny", results, tmp_path / "apart", map, "cpu", data)
    assert set(runs) == {run.id for run in renamed.runs}
    assert {jobs.lock_path(results, run) for run in ALL_RUNS} <= locked, "the old names' too"
    assert set(results.glob("runs/*/*x-s?/*")) <= replaced, "no file half-written"
    names = set(runs)
    assert valid(renamed, results, data) == (
        names,
        {(run, kind) for run in names for kind in ("linear", "knn")},
    )
    assert before.items() <= learned(results).items()


def test_an_edited_protocol_is_measured_again_and_nothing_trained(
    results: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    recertify: Callable[[], Carried],
) -> None:  # fmt: skip
    recertify()
    shutil.rmtree(tmp_path / "apart")
    monkeypatch.setattr(train, "train_step", lambda *_: pytest.fail("trained"))
    measured, scores = [], ev.knn_scores
    monkeypatch.setattr(ev, "knn_scores", lambda *a: measured.append(a) or scores(*a))
    monkeypatch.setattr(ev, "linear_scores", lambda *_: pytest.fail("measured"))
    patch = older(("knn",))
    runs, evaluations = recertify()
    assert valid(planned(), results, data) == ALL
    patch.undo()
    assert runs == []
    assert {kind for _, kind in evaluations} == {"knn"}
    assert len(measured) == len(RECIPES)


def test_a_protocol_that_measures_something_else_stays_stale(
    recertify: Callable[[], Carried], results: Path, data: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    shutil.rmtree(tmp_path / "apart/evaluations")
    scores = ev.knn_scores
    monkeypatch.setattr(ev, "knn_scores", lambda *a: -scores(*a))
    runs, evaluations = recertify()
    assert set(runs) == ALL_RUNS
    assert set(evaluations) == {(run, "linear") for run in ALL_RUNS}
    assert valid(planned(), results, data) == (ALL_RUNS, set(evaluations))


def test_a_recipe_that_learns_something_else_stays_stale_with_those_that_start_from_it(
    recertify: Callable[[], Carried], results: Path, data: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    shutil.rmtree(tmp_path / "apart")
    loss = losses.total_loss

    def newer(terms: Any, *rest: Any) -> Any:
        return loss(terms, *rest) * (1 + 1e-3 * (terms[0].loss == "distil"))

    monkeypatch.setattr(train, "total_loss", newer)
    runs, evaluations = recertify()
    assert set(runs) == {run.id for run in planned().runs if run.recipe == "simclr"}
    assert {run for run, _ in evaluations} == set(runs)
    assert valid(planned(), results, data) == (set(runs), set(evaluations))
    assert "dino-digits-0-s0: learns something else now" in capsys.readouterr().err


def test_damaged_runs_and_those_of_another_config_are_not_carried(
    recertify: Callable[[], Carried], results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = jobs.run_folder(results, "simclr", "simclr-digits-0-s1")
    (damaged / "encoder.safetensors").write_bytes(b"other")
    other = planned()
    config = other.configs["dino-digits-0"].model_copy(update={"temperature": 0.4})
    other = other.model_copy(update={"configs": {**other.configs, "dino-digits-0": config}})
    monkeypatch.setattr(jobs, "read_plan", lambda *_, **__: other)
    runs, _ = recertify()
    assert set(runs) == {"simclr-digits-0-s0", "simclr-digits-0-s2"}


@pytest.mark.parametrize("said", [{}, [], {"config": 1}, {"confih": {}}])
def test_a_job_that_says_no_config_is_none(results: Path, said: Any) -> None:
    """As one bit of config.json, or of the job in a certificate, may leave it."""
    [run] = [run for run in planned().runs if run.id == "simclr-digits-0-s1"]
    job = jobs.job_of(planned(), run).pretrain
    assert certify.old_run(job, results) is not None
    folder = jobs.run_folder(results, "simclr", run.id)
    (folder / "config.json").write_text(json.dumps(said))
    assert certify.old_run(job, results) is None


@pytest.mark.parametrize("renames", range(1, 8))
def test_a_kill_leaves_the_old_run_or_the_new_one(
    renames: int, recertify: Callable[[], Carried], results: Path, data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """At every rename of the first runs: each is whole, and starting again carries the rest."""
    jobs.resolve("tiny", results.parent, sweeps=True)  # so that none of the renames is its
    seen, replace = [], os.replace

    def cut(source: Any, target: Any) -> None:
        seen.append(target)
        if len(seen) == renames:
            raise Killed
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", cut)
        with pytest.raises(Killed):
            recertify()
    for run in planned().runs:
        assert certify.old_run(jobs.job_of(planned(), run).pretrain, results) is not None
    monkeypatch.setattr(train, "train_step", lambda *_: pytest.fail("trained again"))
    recertify()
    assert valid(planned(), results, data) == ALL


def test_another_process_works_on_a_run_meanwhile(
    recertify: Callable[[], Carried], results: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it made while the lock was awaited stays."""
    plan, alone = planned(), jobs.alone
    run = plan.runs[1]

    def waited(lock: Path) -> Any:
        if lock == jobs.lock_path(results, run.id):
            monkeypatch.setattr(jobs, "alone", alone)
            job = jobs.job_of(plan, run).pretrain
            train.pretrain(job, results, data, "cpu")
        return alone(lock)

    monkeypatch.setattr(jobs, "alone", waited)
    runs, _ = recertify()
    assert set(runs) == ALL_RUNS - {run.id}
    folder = jobs.run_folder(results, run.recipe, run.id)
    made = read(folder / "run.json", RunManifest, "")
    assert made.job == content_hash(jobs.job_of(plan, run).pretrain)
    assert not [name for name in made.files if name.startswith("certificate")]


def test_an_evaluation_of_another_encoder_is_not_carried(
    recertify: Callable[[], Carried], results: Path
) -> None:
    name = "simclr-digits-0-s1"
    folder = jobs.evaluation_folder(results, "simclr", name, "knn")
    made = read(folder / "metrics.json", EvaluationManifest, "")
    write(folder / "metrics.json", made.model_copy(update={"run_manifest": "another"}))
    runs, evaluations = recertify()
    assert name in runs
    assert (name, "knn") not in evaluations
    assert (name, "linear") in evaluations


def test_nothing_to_carry_is_one_line(data: Path, tmp_path: Path, results: Path) -> None:
    empty = tmp_path / "empty"
    with pytest.raises(ReclaimError, match="no finished run, so nothing to carry; train first"):
        script()["recertify"]("tiny", empty, tmp_path / "apart", map, "cpu", data)
    assert not empty.exists()
