"""A run's jobs: what it starts from, how it is measured, and the plan of the sweeps beside."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout

from reclaim import cli
from reclaim.records import (
    PLAIN,
    Config,
    Cost,
    DataManifest,
    EvaluateJob,
    EvaluationManifest,
    FileStamp,
    KnnProtocol,
    LinearProtocol,
    Plan,
    ReclaimError,
    Run,
    RunManifest,
    SeedsWanted,
    StandIn,
    WeightsManifest,
    content_hash,
    read,
    render,
    stamp,
    write,
    write_text,
)
from reclaim.registry import code, jobs, weights
from tests.conftest import tiny_config

KNN = KnnProtocol(neighbours=5, temperature=0.1, test_views=())
MORE = KNN.model_copy(update={"neighbours": 6})
DATA = DataManifest(name="digits", source="x", classes=10, files={})


def row(config: Config, init: str | None = None, **changes: Any) -> Run:
    return Run(
        id=f"{config.recipe}-digits-{content_hash(config)[:8]}-s0", recipe=config.recipe,
        dataset="digits", seed=0, init=init, config=content_hash(config), protocols=("knn-1",),
        cost=Cost(steps=0, images_seen=0, **COSTS),
    ).model_copy(update=changes)  # fmt: skip


COSTS: dict[str, Any] = {
    name: 0
    for name, field in Cost.model_fields.items()
    if field.is_required() and name not in ("steps", "images_seen")
}
FIRST = row(tiny_config("dino", dataset__part=1))
NEXT = row(tiny_config("simclr_dino"), init=FIRST.id)
OTHER = row(tiny_config("simclr"))
FETCHED = row(tiny_config("simclr_dino", epochs=2), init="weights/dino_resnet50")
CONFIGS = [
    tiny_config("dino", dataset__part=1), tiny_config("simclr_dino"), tiny_config("simclr"),
    tiny_config("simclr_dino", epochs=2),
]  # fmt: skip


def plan_of(*runs: Run, **changes: Any) -> Plan:
    return Plan(
        scale="tiny", configs={content_hash(config): config for config in CONFIGS},
        protocols={"knn-1": KNN, "knn-2": MORE}, runs=runs,
    ).model_copy(update=changes)  # fmt: skip


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes a folder with a plan and, if given, that of the sweeps; it is the current one."""
    monkeypatch.chdir(tmp_path)

    def make(plan: Plan, sweeps: Plan | None = None) -> Path:
        write(jobs.plan_path("tiny"), plan)
        if sweeps is not None:
            write(jobs.plan_path("tiny", sweeps=True), sweeps)
        write(jobs.DATA / "digits" / "manifest.json", DATA)
        return tmp_path / "results" / "tiny"

    return make


def finish(plan: Plan, run: Run, results: Path, encoder: str = "weights") -> RunManifest:
    """Leave what training would: an encoder and a manifest."""
    job, folder = jobs.job_of(plan, run).pretrain, jobs.run_folder(results, run.recipe, run.id)
    write_text(folder / "encoder.safetensors", encoder)
    first = jobs.init_path(results, job)
    manifest = RunManifest(
        id=run.id, recipe=run.recipe, dataset="digits", scale="tiny", seed=0,
        job=content_hash(job), code=job.code, data=content_hash({}),
        init=None if first is None else stamp(first).sha256, final_loss=None,
        lowest_loss_epoch=None,
        files={"encoder.safetensors": stamp(folder / "encoder.safetensors")},
    )  # fmt: skip
    write(folder / "run.json", manifest)
    return manifest


def measured_by(job: EvaluateJob, run: RunManifest, name: str = "knn") -> EvaluationManifest:
    """What measuring that run by one protocol of a job would leave."""
    return EvaluationManifest(
        run=job.id, recipe=job.recipe, dataset="digits", scale="tiny", seed=0, protocol=name,
        job=jobs.protocol_hash(job, name), code="x", run_manifest=content_hash(run),
        metrics={"top1": 0.5}, files={},
    )  # fmt: skip


# --- what a run starts from ----------------------------------------------------------------------


def test_a_run_that_starts_from_another_depends_on_that_runs_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = plan_of(NEXT, FIRST, OTHER)

    def hashes() -> dict[str, str]:
        return {run.recipe: content_hash(jobs.job_of(plan, run).pretrain) for run in plan.runs}

    before = hashes()
    job = jobs.job_of(plan, NEXT).pretrain
    assert (job.init, job.init_job) == (FIRST.id, before["dino"])
    assert jobs.job_of(plan, OTHER).pretrain.init_job is None
    real = code.pretrain_code
    monkeypatch.setattr(
        jobs, "pretrain_code", lambda c: "edited" if c.recipe == "dino" else real(c)
    )
    after = hashes()
    assert {name for name in before if before[name] != after[name]} == {"dino", "simclr_dino"}


def test_where_the_first_encoder_lies(tmp_path: Path) -> None:
    plan, results = plan_of(FIRST, NEXT, OTHER, FETCHED), tmp_path / "results" / "tiny"
    found = [jobs.init_path(results, jobs.job_of(plan, run).pretrain) for run in plan.runs]
    assert found == [
        None,
        results / "runs/dino" / FIRST.id / "encoder.safetensors",
        None,
        tmp_path / "results/weights/dino_resnet50/encoder.safetensors",
    ]
    assert jobs.job_of(plan, FETCHED).pretrain.init_job is None


def test_a_run_from_another_encoder_than_is_there_is_not_finished(
    project: Callable[..., Path],
) -> None:
    plan = plan_of(FIRST, NEXT)
    results = project(plan)
    finish(plan, FIRST, results)
    made = finish(plan, NEXT, results)
    job, data = jobs.job_of(plan, NEXT).pretrain, content_hash({})
    assert jobs.finished_run(results, job, data) == made
    path = jobs.init_path(results, job)
    assert path is not None
    path.write_text("other weights")
    assert jobs.finished_run(results, job, data) is None
    path.unlink()
    assert jobs.finished_run(results, job, data) == made, "as in a clone without encoders"


def test_a_run_that_says_it_is_another_is_not_finished(project: Callable[..., Path]) -> None:
    plan = plan_of(OTHER)
    results, job = project(plan), jobs.job_of(plan, OTHER).pretrain
    made = finish(plan, OTHER, results)
    assert jobs.finished_run(results, job, made.data) == made
    path = jobs.run_folder(results, "simclr", OTHER.id) / "run.json"
    write(path, made.model_copy(update={"id": FIRST.id}))
    assert jobs.finished_run(results, job, made.data) is None


def test_an_unfinished_first_training_is_refused(project: Callable[..., Path]) -> None:
    plan = plan_of(FIRST, NEXT, OTHER)
    results = project(plan)
    job = jobs.job_of(plan, NEXT).pretrain
    jobs.check_init(plan, jobs.job_of(plan, OTHER).pretrain, results)
    with pytest.raises(ReclaimError, match=f"run `reclaim pretrain {FIRST.id}` first"):
        jobs.check_init(plan, job, results)
    finish(plan, FIRST, results)
    jobs.check_init(plan, job, results)
    path = jobs.init_path(results, job)
    assert path is not None
    path.write_text("damaged")
    with pytest.raises(ReclaimError, match="no finished run of the present plan and code"):
        jobs.check_init(plan, job, results)


def test_weights_that_are_not_fetched_are_refused(project: Callable[..., Path]) -> None:
    plan = plan_of(FETCHED)
    results = project(plan)
    job = jobs.job_of(plan, FETCHED).pretrain
    with pytest.raises(ReclaimError, match="run `reclaim fetch weights dino_resnet50` first"):
        jobs.check_init(plan, job, results)
    folder = results.parent / "weights/dino_resnet50"
    write_text(folder / "encoder.safetensors", "weights")
    checkpoint = FileStamp(sha256="0" * 64, bytes=1)
    files = {"encoder.safetensors": stamp(folder / "encoder.safetensors")}
    manifest = WeightsManifest(name="dino_resnet50", source="x", checkpoint=checkpoint, files=files)
    write(folder / "manifest.json", manifest)
    with pytest.raises(ReclaimError, match="no whole, pinned weights"):
        jobs.check_init(plan, job, results)
    weights.pin("dino_resnet50", checkpoint)
    jobs.check_init(plan, job, results)


def test_a_name_that_the_plan_does_not_explain() -> None:
    for run, name in (
        (NEXT, FIRST.id),
        (OTHER.model_copy(update={"config": "gone"}), "gone"),
        (OTHER.model_copy(update={"protocols": ("gone",)}), "gone"),
    ):
        with pytest.raises(ReclaimError, match=f"names '{name}', which is not in it"):
            jobs.job_of(plan_of(run), run)


# --- how it is measured --------------------------------------------------------------------------


def test_a_run_is_judged_on_the_standard_images_whatever_it_learned_from() -> None:
    job = jobs.job_of(plan_of(FIRST), FIRST)
    assert job.pretrain.config.dataset.part == 1
    assert job.evaluate.dataset == job.pretrain.config.dataset.model_copy(update={"part": 0})


def test_two_protocols_of_one_kind_are_refused() -> None:
    run = OTHER.model_copy(update={"protocols": ("knn-1", "knn-2")})
    with pytest.raises(ReclaimError, match="measured twice in one way: knn-1, knn-2"):
        jobs.job_of(plan_of(run), run)


def test_what_a_reading_changes_is_measured_beside_and_in_a_folder_of_its_name() -> None:
    reading = {"evaluate.linear.encoder=last": StandIn(config=OTHER.config, protocols=("knn-2",))}
    elsewhere = {"prior=0.2, beta=0.0": StandIn(config=FIRST.config)}
    plan = plan_of(OTHER, FIRST, readings={OTHER.config: reading | elsewhere})
    assert jobs.measures(plan, OTHER) == {"knn": KNN, "knn-encoder-last": MORE}
    assert jobs.measures(plan, FIRST) == {"knn": KNN}
    job, plain = (jobs.job_of(p, OTHER).evaluate for p in (plan, plan_of(OTHER)))
    assert job.code["knn-encoder-last"] == job.code["knn"]
    assert jobs.protocol_hash(job, "knn") == jobs.protocol_hash(plain, "knn")
    parts = dict(jobs.parts_of(job))
    assert {stage: list(part.protocols) for stage, part in parts.items()} == {
        "evaluate": ["knn"], "reread": ["knn-encoder-last"]
    }  # fmt: skip
    assert dict(jobs.parts_of(plain)) == {"evaluate": plain}


def test_two_readings_whose_evaluations_had_one_folder_are_refused() -> None:
    read = StandIn(config=OTHER.config, protocols=("knn-2",))
    both = {"evaluate.knn.neighbours=6": read, "evaluate.knn.neighbours.6": read}
    with pytest.raises(ReclaimError, match="measured twice in one way"):
        jobs.job_of(plan_of(OTHER, readings={OTHER.config: both}), OTHER)


def test_a_run_is_verified_with_all_that_readings_ask_of_it(project: Callable[..., Path]) -> None:
    reading = {"evaluate.knn.neighbours=6": StandIn(config=OTHER.config, protocols=("knn-2",))}
    plan = plan_of(OTHER, readings={OTHER.config: reading})
    results = project(plan)
    trained, job = finish(plan, OTHER, results), jobs.job_of(plan, OTHER).evaluate
    own, reread = "knn", "knn-neighbours-6"
    for name, left in ((reread, [own]), (own, [])):
        assert jobs.lacking(plan, OTHER, results)
        folder = jobs.evaluation_folder(results, "simclr", OTHER.id, name)
        made = measured_by(job, trained, name)
        write(folder / "metrics.json", made)
        assert jobs.unfinished(results, job, trained) == left
    assert jobs.verify("tiny") == 1
    write(folder / "metrics.json", made.model_copy(update={"run": FIRST.id}))
    assert jobs.unfinished(results, job, trained) == [own]
    gone = {"train_images.npy": FileStamp(sha256="0" * 64, bytes=1)}
    write(jobs.DATA / "digits/manifest.json", DATA.model_copy(update={"files": gone}))
    with pytest.raises(ReclaimError, match="digits: its images are damaged or missing; run `recl"):
        jobs.verify("tiny")


def test_the_folder_of_a_reading_has_a_plain_name() -> None:
    names = {
        "evaluate.linear.encoder=last": "linear-encoder-last",
        "replacement=False, evaluate.linear.replacement=False":
            "linear-replacement-False-replacement-False",
        "evaluate.linear.lr=0.05": "linear-lr-0-05",
        "temperature=../../up": "linear-temperature-up",
    }  # fmt: skip
    for reading, name in names.items():
        assert jobs.reread_name("linear", reading) == name
        assert PLAIN.fullmatch(name)


# --- one process a job ---------------------------------------------------------------------------


def test_a_reading_is_measured_beside_the_run_and_every_other(tmp_path: Path) -> None:
    run, *beside = (
        jobs.lock_path(tmp_path, OTHER.id, job)
        for job in ("evaluate", "fine_tune", "knn-encoder-last", "linear-encoder-last")
    )
    assert run == jobs.lock_path(tmp_path, OTHER.id)
    assert len({run, *beside}) == 4
    assert {lock.parent for lock in beside} == {run.parent}


def held(results: Path) -> set[str]:
    """The locks that a process has."""
    found = set()
    for lock in results.glob("checkpoints/*.lock"):
        try:
            with FileLock(lock, timeout=0):
                pass
        except Timeout:
            found.add(lock.stem)
    return found


def test_alone_with_a_run_is_alone_with_its_readings(tmp_path: Path) -> None:
    own = {f"{run}{job}" for run in ("a-s1", "b-s1") for job in ("", "-fine_tune")}
    with jobs.alone_with(tmp_path, "b-s1", "a-s1", "b-s1"):
        assert held(tmp_path) == own
    for name in ("a-s1-knn-encoder-last", "a-s10-knn-encoder-last", "a-s10"):
        write_text(tmp_path / f"checkpoints/{name}.lock", "")
    jobs.evaluation_folder(tmp_path, "b", "b-s1", "linear-lr-1").mkdir(parents=True)
    names = ("knn-encoder-last", "linear-lr-1")
    read = {f"{run}-{name}" for run in ("a-s1", "b-s1") for name in names}
    with jobs.alone_with(tmp_path, "b-s1", "a-s1"):
        assert held(tmp_path) == own | read
    with jobs.alone_with(tmp_path, "a-s10"):
        assert held(tmp_path) == {"a-s10", "a-s10-fine_tune", "a-s10-knn-encoder-last"}
    assert held(tmp_path) == set()


def test_an_evaluation_depends_on_its_own_kind_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"linear": "a", "knn": "b", "fine_tune": "c"}
    job = jobs.job_of(plan_of(OTHER), OTHER).evaluate
    job = job.model_copy(update={"protocols": dict.fromkeys(kinds, KNN), "code": kinds})
    other = job.model_copy(update={"code": kinds | {"fine_tune": "edited"}})
    assert jobs.protocol_hash(job, "knn") == jobs.protocol_hash(other, "knn")
    part = jobs.part_of(job, jobs.EVALUATIONS["evaluate"])
    assert part == jobs.part_of(other, jobs.EVALUATIONS["evaluate"])
    assert (set(part.protocols), set(part.code)) == ({"linear", "knn"}, {"linear", "knn"})
    tuned = jobs.EVALUATIONS["fine_tune"]
    assert jobs.part_of(job, tuned) != jobs.part_of(other, tuned)


# --- the sweeps ----------------------------------------------------------------------------------


def test_the_sweeps_are_read_when_asked_for(project: Callable[..., Path]) -> None:
    main = plan_of(FIRST, not_run={"a": "apart", "b": "never"})
    main = main.model_copy(update={"configs": {FIRST.config: main.configs[FIRST.config]}})
    swept = NEXT.model_copy(update={"claims": ("a",), "variant": "prior=0"})
    results = project(main, plan_of(FIRST, swept))
    assert jobs.read_plan("tiny") == main
    both = jobs.read_plan("tiny", sweeps=True)
    assert both.runs == (FIRST, swept)
    assert both.not_run == {"b": "never"}
    assert jobs.job_of(both, swept).pretrain.init == FIRST.id
    assert jobs.find_run(swept.id) == (both, swept)
    assert jobs.planned_scales() == ["tiny"]
    with pytest.raises(ReclaimError, match=r"unknown scale 'tiny\.sweeps'; planned: tiny"):
        jobs.read_plan("tiny.sweeps")
    finish(main, FIRST, results)
    with pytest.raises(ReclaimError, match="1 of 1 runs"):
        jobs.verify("tiny")


def followed() -> Plan:
    """The plan that later stages follow, as it lies beside the job files."""
    return read(jobs.RESULTS / "tiny/jobs/plan.json", Plan, "")


def test_later_stages_follow_the_plan_with_its_sweeps_whoever_asks(
    project: Callable[..., Path],
) -> None:
    project(plan_of(FIRST))
    apart = plan_of(OTHER)
    jobs.plan_path("tiny", sweeps=True).write_text(render(apart), encoding="utf-8")
    for sweeps in (False, True):
        jobs.resolve("tiny", sweeps=sweeps)
        assert followed() == jobs.read_plan("tiny", sweeps=True)


def test_a_scale_without_sweeps(project: Callable[..., Path]) -> None:
    project(plan_of(OTHER))
    assert jobs.read_plan("tiny", sweeps=True) == jobs.read_plan("tiny")
    jobs.resolve("tiny")
    assert followed() == jobs.read_plan("tiny")


# --- seeds that results asked for ----------------------------------------------------------------

SEVERAL = tuple(
    run.model_copy(
        update={
            "id": run.id.replace("-s0", f"-s{seed}"),
            "init": run.init and run.init.replace("-s0", f"-s{seed}"),
            "seed": seed,
        }
    )
    for run in (FIRST, NEXT, OTHER, FETCHED)
    for seed in (0, 1)
)


def want(results: Path, configs: dict[str, int], scale: str = "tiny") -> None:
    write(results / "seeds_wanted.json", SeedsWanted(scale=scale, configs=configs))


def test_the_seeds_wanted_are_added_with_what_they_start_from(
    project: Callable[..., Path],
) -> None:
    results = project(plan_of(*SEVERAL))
    committed = jobs.plan_path("tiny").read_bytes()
    want(results, {NEXT.config: 4, OTHER.config: 3, FETCHED.config: 2})
    made = jobs.extend_plan("tiny")
    assert [(run.recipe, run.seed) for run in made.runs] == [
        ("dino", 2), ("dino", 3), ("simclr_dino", 2), ("simclr_dino", 3), ("simclr", 2)
    ]  # fmt: skip
    assert set(made.configs) == {FIRST.config, NEXT.config, OTHER.config}
    assert jobs.plan_path("tiny").read_bytes() == committed
    both = jobs.read_plan("tiny")
    assert both.runs == (*SEVERAL, *made.runs)
    assert jobs.committed_plan("tiny").runs == SEVERAL
    assert jobs.added_runs("tiny") == {run.id for run in made.runs}
    inits = {run.id: jobs.job_of(both, run).pretrain.init for run in made.runs}
    assert inits[NEXT.id.replace("-s0", "-s3")] == FIRST.id.replace("-s0", "-s3")
    run = made.runs[-1]
    assert jobs.find_run(run.id) == (both, run)
    written = {path.name for path in jobs.resolve("tiny")}
    assert {f"{run.id}.json" for run in made.runs} < written
    assert followed().runs == both.runs
    jobs.extension_path("tiny").unlink()
    jobs.resolve("tiny")
    assert followed().runs == SEVERAL


def test_a_further_seed_of_fetched_weights_starts_from_the_same(
    project: Callable[..., Path],
) -> None:
    results = project(plan_of(*SEVERAL))
    want(results, {FETCHED.config: 3})
    [run] = jobs.extend_plan("tiny").runs
    assert (run.seed, run.init) == (2, "weights/dino_resnet50")


def test_an_extension_only_grows_and_may_be_asked_for_by_number(
    project: Callable[..., Path],
) -> None:
    results = project(plan_of(*SEVERAL))
    want(results, {OTHER.config: 500})
    assert len(jobs.extend_plan("tiny", seeds=3).runs) == 1
    want(results, {FIRST.config: 3})
    grown = jobs.extend_plan("tiny")
    assert {(run.recipe, run.seed) for run in grown.runs} == {("simclr", 2), ("dino", 2)}
    want(results, {})
    assert jobs.extend_plan("tiny") == grown


def test_readings_come_before_seeds_and_as_often_as_planned(project: Callable[..., Path]) -> None:
    main = plan_of(OTHER, FIRST)
    kept = {run.config: main.configs[run.config] for run in main.runs}
    results = project(main.model_copy(update={"configs": kept}), plan_of(NEXT))
    both = SeedsWanted(scale="tiny", configs={OTHER.config: 40}, readings={NEXT.config: 1})
    write(results / "seeds_wanted.json", both)
    assert [run.id for run in jobs.extend_plan("tiny", seeds=9).runs] == [NEXT.id]
    assert jobs.added_runs("tiny") == frozenset()  # so judge looks once, as before
    more = both.model_copy(update={"configs": {OTHER.config: 2}})  # it was not run, or did not end
    write(results / "seeds_wanted.json", more)
    assert {run.id for run in jobs.extend_plan("tiny").runs} == {
        NEXT.id, OTHER.id.replace("-s0", "-s1")
    }  # fmt: skip


def test_no_seed_wanted_leaves_no_file(project: Callable[..., Path]) -> None:
    results = project(plan_of(*SEVERAL))
    want(results, {OTHER.config: 2})
    assert jobs.extend_plan("tiny").runs == ()
    assert not jobs.extension_path("tiny").exists()
    assert jobs.added_runs("tiny") == frozenset()


def test_a_sweep_that_results_ask_for_comes_without_the_others(
    project: Callable[..., Path],
) -> None:
    main = plan_of(OTHER, FIRST)
    kept = {run.config: main.configs[run.config] for run in main.runs}
    apart = [NEXT, FETCHED.model_copy(update={"variant": "epochs=2"})]
    results = project(main.model_copy(update={"configs": kept}), plan_of(*apart))
    want(results, {NEXT.config: 2})
    jobs.extend_plan("tiny")
    further = {run.id.replace("-s0", "-s1") for run in (FIRST, NEXT)}
    for sweeps in (False, True):
        made = jobs.read_plan("tiny", sweeps)
        there = {OTHER.id, FIRST.id, NEXT.id, *([FETCHED.id] if sweeps else [])}
        assert {run.id for run in made.runs} == there | further
        assert all(jobs.job_of(made, run) for run in made.runs)
    assert jobs.added_runs("tiny") == further  # that of the sweep itself was planned before


def test_a_claim_that_is_new_in_the_plan_is_served_by_added_seeds_too(
    project: Callable[..., Path],
) -> None:
    results = project(plan_of(*SEVERAL))
    want(results, {OTHER.config: 3})
    jobs.extend_plan("tiny")
    more = [run.model_copy(update={"claims": ("new",)}) for run in SEVERAL]
    write(jobs.plan_path("tiny"), plan_of(*more))
    assert jobs.read_plan("tiny").runs[-1].claims == ("new",)


def test_an_extension_of_another_plan_is_refused(project: Callable[..., Path]) -> None:
    results = project(plan_of(*SEVERAL))
    want(results, {OTHER.config: 3})
    jobs.extend_plan("tiny")
    write(jobs.plan_path("tiny"), plan_of(FIRST))
    for act in (jobs.read_plan, jobs.resolve, jobs.verify, jobs.added_runs, jobs.extend_plan):
        with pytest.raises(ReclaimError, match=r"tiny/plan\.json: adds runs of") as fault:
            act("tiny")
        assert "no longer planned; delete the file" in str(fault.value)
    write(jobs.plan_path("tiny"), plan_of(*SEVERAL))
    path = jobs.extension_path("tiny")
    write(path, read(path, Plan, "").model_copy(update={"scale": "small"}))
    with pytest.raises(ReclaimError, match="adds runs to the plan of 'small'; delete the file"):
        jobs.read_plan("tiny")
    path.write_text("{")
    with pytest.raises(ReclaimError, match=r"plan\.json: not readable as JSON"):
        jobs.read_plan("tiny")


def test_wishes_that_do_not_fit_the_plan_are_refused(project: Callable[..., Path]) -> None:
    results = project(plan_of(*SEVERAL))
    with pytest.raises(ReclaimError, match=r"seeds_wanted\.json: not found; run `reclaim judge"):
        jobs.extend_plan("tiny")
    want(results, {"gone": 3})
    with pytest.raises(ReclaimError, match="speaks about gone, which is not planned"):
        jobs.extend_plan("tiny")
    want(results, {OTHER.config: 3}, scale="small")
    with pytest.raises(ReclaimError, match="speaks about the scale 'small'"):
        jobs.extend_plan("tiny")
    assert not jobs.extension_path("tiny").exists()


# --- the job files -------------------------------------------------------------------------------


def test_a_job_file_for_each_part_is_written_where_it_differs(
    project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(OTHER)
    results = project(plan, plan_of(FIRST))
    written = jobs.resolve("tiny")
    names = [f"{OTHER.id}.json", f"{OTHER.id}.evaluate.json"]
    assert [path.name for path in written] == names
    assert (results / "jobs/simclr" / names[0]).read_text() == render(
        jobs.job_of(plan, OTHER).pretrain
    )
    assert jobs.resolve("tiny") == []
    assert [path.name for path in jobs.resolve("tiny", sweeps=True)] == [
        f"{FIRST.id}.json", f"{FIRST.id}.evaluate.json"
    ]  # fmt: skip
    monkeypatch.setattr(jobs, "evaluate_code", lambda kind: "edited")
    assert [path.name for path in jobs.resolve("tiny")] == names[1:]


def test_a_job_that_failed_and_left_an_old_manifest_with_a_new_date_is_tried_again(
    project: Callable[..., Path],
) -> None:
    """As Snakemake leaves it, of a job of other code or of a run that was trained again since."""
    plan = plan_of(OTHER)
    results = project(plan)
    _, evaluation = jobs.resolve("tiny")
    trained, job = finish(plan, OTHER, results), jobs.job_of(plan, OTHER).evaluate
    measured = measured_by(job, trained)
    metrics = jobs.evaluation_folder(results, "simclr", OTHER.id, "knn") / "metrics.json"
    write(metrics, measured)
    assert jobs.resolve("tiny") == []
    write(metrics, measured.model_copy(update={"job": "of other code"}))
    assert jobs.resolve("tiny") == [evaluation]
    assert jobs.resolve("tiny") == [], "it is newer than what was left, until that is again"
    finish(plan, OTHER, results, "other weights")
    write(metrics, measured)
    assert jobs.resolve("tiny") == [evaluation]


def test_what_takes_long_is_measured_last() -> None:
    job = jobs.job_of(plan_of(OTHER), OTHER).evaluate
    linear = LinearProtocol.model_construct(kind="linear")
    protocols = {"linear": linear, "knn": KNN, "knn-neighbours-6": MORE}
    job = job.model_copy(update={"protocols": protocols, "code": dict.fromkeys(protocols, "a")})
    ordered = jobs.longest_last(job)
    assert list(ordered.protocols) == ["knn", "knn-neighbours-6", "linear"]
    assert ordered == job, "no job's hash follows from the order"


def test_an_evaluation_counts_where_its_run_is_of_the_present_code(
    project: Callable[..., Path],
) -> None:
    plan = plan_of(OTHER)
    results = project(plan)
    job = jobs.job_of(plan, OTHER)
    run = RunManifest(
        id=OTHER.id, recipe="simclr", dataset="digits", scale="tiny", seed=0, data="x",
        job=content_hash(job.pretrain), code="x", final_loss=None, lowest_loss_epoch=None, files={},
    )  # fmt: skip
    folder, measured = jobs.run_folder(results, "simclr", OTHER.id), measured_by(job.evaluate, run)
    write(jobs.evaluation_folder(results, "simclr", OTHER.id, "knn") / "metrics.json", measured)
    assert jobs.fresh(plan, results.parent) == []  # the run itself is not there
    write(folder / "run.json", run)
    assert jobs.fresh(plan, results.parent) == [(OTHER.id, "knn")]
    for other in ({"job": "of older code"}, {"data": "of other images"}):
        write(folder / "run.json", run.model_copy(update=other))
        assert jobs.fresh(plan, results.parent) == []


def test_an_evaluation_does_not_count_once_its_run_started_from_another_encoder(
    project: Callable[..., Path],
) -> None:
    plan = plan_of(FIRST, NEXT)
    results = project(plan)
    finish(plan, FIRST, results)
    trained, job = finish(plan, NEXT, results), jobs.job_of(plan, NEXT).evaluate
    folder = jobs.evaluation_folder(results, NEXT.recipe, NEXT.id, "knn")
    write(folder / "metrics.json", measured_by(job, trained))
    assert jobs.fresh(plan, results.parent) == [(NEXT.id, "knn")]
    finish(plan, FIRST, results, encoder="trained again elsewhere")
    assert jobs.fresh(plan, results.parent) == []
    assert jobs.stale(plan, results.parent) == {(NEXT.id, "knn"): jobs.OTHER_INIT}


@pytest.mark.parametrize(
    ("file", "command"), [("train.py", cli._pretrain), ("evaluate.py", cli._evaluate)]
)
def test_a_command_stops_if_its_code_was_edited_while_it_waited(
    file: str, command: Callable[..., None], project: Callable[..., Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = tmp_path / "learning"
    shutil.copytree(code.LEARNING, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "LEARNING", folder)
    code.forget()

    @contextmanager
    def waiting(path: Path) -> Iterator[None]:
        with (folder / file).open("a") as edited:
            edited.write("EDITED = True\n")
        yield

    plan = plan_of(OTHER)
    results = project(plan)
    if command is cli._evaluate:
        finish(plan, OTHER, results)
    monkeypatch.setattr(jobs, "alone", waiting)
    asked = (OTHER.id, "tiny", cli.Device.cpu)
    with pytest.raises(ReclaimError, match="code was edited after this command began; start it"):
        command(*asked, *([[]] if command is cli._evaluate else []))
    code.forget()
