"""What nobody owns any more is found and removed; a finished valid run never is."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from reclaim import cli
from reclaim.records import (
    ReclaimError,
    RunManifest,
    WeightsManifest,
    read,
    stamp,
    write,
    write_bytes,
    write_text,
)
from reclaim.registry import clean, code, jobs
from tests.registry import made_results
from tests.registry.made_results import PLAN, RUNS, SCALE

OLDER = "simclr-digits-00000000-s0"
SIMCLR, HCL = RUNS[0].id, RUNS[2].id


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return made_results.write_results(tmp_path)


def found(results: Path) -> dict[str, str]:
    return {
        left.path.relative_to(jobs.RESULTS / SCALE).as_posix(): left.why
        for left in clean.leftovers(PLAN)
    }


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def of(run: str, *kinds: str) -> set[str]:
    """A run's folder, and those of its evaluations."""
    recipe = run.split("-")[0]
    return {f"runs/{recipe}/{run}", *(f"evaluations/{recipe}/{run}/{kind}" for kind in kinds)}


def edit_code(
    monkeypatch: pytest.MonkeyPatch, recipes: Iterable[str], kinds: Iterable[str]
) -> None:
    """The code that some recipes' training and some kinds of protocol rest on is another now."""
    train, measure = code.pretrain_code, code.evaluate_code
    monkeypatch.setattr(jobs, "pretrain_code", lambda c: "new" if c.recipe in recipes else train(c))
    monkeypatch.setattr(
        jobs, "evaluate_code", lambda kind: "new" if kind in kinds else measure(kind)
    )


def test_finished_valid_runs_and_what_a_user_put_there_stay(results: Path) -> None:
    write_text(results / "notes.txt", "mine")
    write_text(results / "runs/.gitkeep", "")
    write_text(results / f"logs/simclr/{SIMCLR}.pretrain.log", "epoch 1")
    write_text(results / f"jobs/simclr/{SIMCLR}.evaluate.json", "{}")
    write_text(results / "logs/gather.log", "")
    assert found(results) == {}
    before = files(results)
    shown = CliRunner().invoke(cli.app, ["clean", "--scale", SCALE, "--yes"])
    assert shown.exit_code == 0 and "tiny: 0 removed" in shown.output
    assert files(results) == before


def test_an_edited_step_makes_stale_the_runs_that_use_it(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit_code(monkeypatch, ["hcl"], [])
    assert found(results) == dict.fromkeys(of(HCL, "knn", "geometry"), "trained by other code")
    assert jobs.stale(PLAN) == {(HCL, k): "trained by other code" for k in ("knn", "geometry")}
    assert {run for run, _ in jobs.fresh(PLAN)} == {run.id for run in RUNS[:2]}


def test_an_edited_probe_makes_stale_what_it_measured(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit_code(monkeypatch, [], ["knn"])
    places = {f"evaluations/{run.recipe}/{run.id}/knn" for run in RUNS}
    assert found(results) == dict.fromkeys(places, "measured by other code")
    assert jobs.stale(PLAN) == {(run.id, "knn"): "measured by other code" for run in RUNS}


def test_what_is_not_whole_or_not_of_these_data(results: Path) -> None:
    (results / f"runs/simclr/{SIMCLR}/encoder.safetensors").write_bytes(b"damaged")
    (results / f"evaluations/hcl/{HCL}/knn/predictions.parquet").unlink()
    (results / f"runs/simclr/{RUNS[1].id}/run.json").unlink()
    gone = "its manifest, or that of its run, is missing or damaged"
    assert found(results) == {
        f"runs/simclr/{SIMCLR}": "damaged, or from another encoder",
        f"evaluations/hcl/{HCL}/knn": "damaged",
        f"runs/simclr/{RUNS[1].id}": "not finished",
        f"evaluations/simclr/{RUNS[1].id}/knn": gone,
        f"evaluations/simclr/{RUNS[1].id}/geometry": gone,
    }
    other = made_results.DATA.model_copy(update={"files": {"x": stamp(results / "verdicts.json")}})
    write(jobs.DATA / "digits/manifest.json", other)
    assert found(results)[f"runs/hcl/{HCL}"] == "learned from other images than are there"
    (jobs.DATA / "digits/manifest.json").unlink()
    assert f"runs/hcl/{HCL}" not in found(results), "nothing says that it is stale"


@pytest.mark.parametrize("fetched", [False, True])
def test_a_run_outlives_the_encoder_that_it_started_from(results: Path, fetched: bool) -> None:
    first, name = RUNS[2], "weights/w" if fetched else HCL
    started = RUNS[0].model_copy(update={"init": name})
    plan = PLAN.model_copy(update={"runs": (started, first)})
    place = results.parent / name if fetched else results / f"runs/hcl/{HCL}"
    encoder = place / "encoder.safetensors"
    write_bytes(encoder, b"weights 2")
    files = {encoder.name: stamp(encoder)}
    if fetched:
        manifest: RunManifest | WeightsManifest = WeightsManifest(
            name="w", source="x", checkpoint=stamp(encoder), files=files
        )
        path = place / "manifest.json"
    else:
        path = place / "run.json"
        manifest = read(path, RunManifest, "")
    write(path, manifest)
    made = made_results.finish(started, results, b"weights", plan)
    at = jobs.run_folder(results, "simclr", SIMCLR)
    write(at / "run.json", made.model_copy(update={"init": stamp(encoder).sha256}))

    def why() -> str:
        return {left.path: left.why for left in clean.leftovers(plan)}.get(
            at.relative_to(Path.cwd()), ""
        )

    assert why() == ""
    write_bytes(encoder, b"damaged")
    assert why() == ""
    path.write_bytes(b"damaged too")
    assert why() == ""
    other = {**manifest.files, encoder.name: stamp(encoder)}
    write(path, manifest.model_copy(update={"files": other}))
    assert why() == "damaged, or from another encoder"
    encoder.unlink()
    assert why() == ""


def test_what_no_plan_has(results: Path) -> None:
    old = [
        f"runs/simclr/{OLDER}/run.json", f"evaluations/simclr/{OLDER}/knn/metrics.json",
        f"evaluations/hcl/{HCL}/linear/metrics.json", f"checkpoints/{OLDER}/1.pt",
        f"checkpoints/{OLDER}-fine_tune/1.pt", f"checkpoints/{OLDER}.lock",
        f"jobs/simclr/{OLDER}.evaluate.json", f"logs/simclr/{OLDER}.pretrain.log",
        f"benchmarks/simclr/{OLDER}.pretrain.tsv", f"runs/hcl/{SIMCLR}/run.json",
    ]  # fmt: skip
    kept = files(results) | {results / f"checkpoints/{HCL}.lock"}
    for name in (*old, f"checkpoints/{HCL}.lock"):
        write_text(results / name, "{}")
    assert set(found(results).values()) == {clean.NO_PLAN}
    assert len(found(results)) == len(old)
    shown = CliRunner().invoke(cli.app, ["clean"])
    assert f"results/tiny/runs/simclr/{OLDER}: no plan has it" in shown.output
    assert "tiny: 10 found" in shown.output
    assert files(results) - kept, "nothing was removed"
    shown = CliRunner().invoke(cli.app, ["clean", "--yes"])
    assert "tiny: 10 removed" in shown.output
    assert files(results) == kept
    assert found(results) == {}


def test_checkpoints_stay_while_their_run_is_not_finished(results: Path) -> None:
    path = results / "checkpoints" / HCL / "1.pt"
    write_bytes(path, b"state")
    assert found(results) == {f"checkpoints/{HCL}": "the run is finished"}
    (results / f"runs/hcl/{HCL}/run.json").unlink()
    assert f"checkpoints/{HCL}" not in found(results)


def test_checkpoints_of_a_finished_evaluation_go(results: Path) -> None:
    for kind in ("knn", "linear"):
        write_bytes(results / "checkpoints" / f"{HCL}-{kind}" / "1.pt", b"state")
    assert found(results) == {f"checkpoints/{HCL}-knn": "the evaluation is finished"}
    (results / f"evaluations/hcl/{HCL}/knn/metrics.json").unlink()
    assert f"checkpoints/{HCL}-knn" not in found(results)


def test_certificates_that_no_manifest_names_go(results: Path) -> None:
    folder = results / f"runs/hcl/{HCL}"
    names = ("certificate-0.json", "certificate-1.json")
    for name in names:
        write_text(folder / name, "{}")
    made = read(folder / "run.json", RunManifest, "")
    files = {**made.files, names[1]: stamp(folder / names[1])}
    write(folder / "run.json", made.model_copy(update={"files": files}))
    place = f"evaluations/simclr/{SIMCLR}/knn/certificate-2.json"
    write_text(results / place, "{}")
    unnamed = {path: why for path, why in found(results).items() if "certificate" in path}
    assert unnamed == dict.fromkeys(
        [place, f"runs/hcl/{HCL}/{names[0]}"], "its manifest does not name it"
    )
    left = [left for left in clean.leftovers(PLAN) if "certificate" in left.path.name]
    write(
        folder / "run.json", made.model_copy(update={"files": {**files, names[0]: files[names[1]]}})
    )
    assert [item.path.name for item in clean.remove(left, results)] == [names[0]], "named since"
    assert not (results / place).exists()


def test_half_written_files_go_when_they_are_old(results: Path) -> None:
    path = results / ".verdicts.json.a1b2c3d_"
    path.write_text("{")
    assert found(results) == {}
    os.utime(path, (1, 1))
    assert found(results) == {path.name: "half-written"}


def test_what_lies_in_a_leftover_is_not_named_again(results: Path) -> None:
    path = results / f"runs/simclr/{OLDER}/.run.json.a1b2c3d_"
    write_text(path, "{")
    os.utime(path, (1, 1))
    assert found(results) == {f"runs/simclr/{OLDER}": clean.NO_PLAN}


@pytest.mark.parametrize("job", ["", "-fine_tune", "-knn-encoder-last"])
def test_what_a_living_process_holds_stays(
    results: Path, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    edit_code(monkeypatch, ["hcl"], [])
    write_text(results / "checkpoints" / f"{HCL}{job}.lock", "")
    left, before = clean.leftovers(PLAN), files(results)
    with FileLock(results / "checkpoints" / f"{HCL}{job}.lock"):
        assert clean.remove(left, results) == left
        assert files(results) == before
        shown = CliRunner().invoke(cli.app, ["clean", "--yes"])
        assert f"a process works on {HCL}" in shown.output
    assert clean.remove(left, results) == []
    assert not (results / "runs/hcl" / HCL).exists()


def test_what_a_living_recertify_may_carry_stays(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit_code(monkeypatch, ["hcl"], [])
    for name in (f"runs/simclr/{OLDER}/run.json", "recertify/runs/hcl/x/run.json"):
        write_text(results / name, "{}")
    lock = jobs.lock_path(results, jobs.RECERTIFY)
    write_text(lock, "")
    left, before = clean.leftovers(PLAN), files(results)
    assert {item.path.name for item in left} >= {HCL, OLDER, "recertify"}
    with FileLock(lock):
        assert clean.remove(left, results) == left, "it began since they were listed"
        [there] = clean.leftovers(PLAN)
        shown = CliRunner().invoke(cli.app, ["clean", "--yes"])
        assert f"{there.path}: recertify is at work: what is stale is left to it" in shown.output
        assert "tiny: 0 removed" in shown.output
        assert files(results) == before
    assert clean.remove([there], results) == [there]
    assert clean.remove(left, results) == []
    assert files(results) < before and lock.exists()


def test_what_was_made_anew_since_it_was_listed_stays(results: Path) -> None:
    path = results / f"runs/simclr/{SIMCLR}/run.json"
    whole = path.read_bytes()
    path.write_bytes(b"")
    left = clean.leftovers(PLAN)
    path.write_bytes(whole)
    before = files(results)
    assert clean.remove(left, results) == left != []
    assert files(results) == before
    assert found(results) == {}


def test_a_copy_without_encoders_stays(results: Path) -> None:
    for path in results.rglob("*.safetensors"):
        path.unlink()
    write_bytes(results / "checkpoints" / HCL / "1.pt", b"of the run that makes them again")
    assert found(results) == {}
    (results / f"runs/simclr/{SIMCLR}/curve.csv").write_bytes(b"damaged")
    assert found(results) == {f"runs/simclr/{SIMCLR}": "damaged, or from another encoder"}


def test_what_cannot_be_removed_is_named(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    edit_code(monkeypatch, ["hcl"], [])
    monkeypatch.setattr(clean.shutil, "rmtree", refuse)
    with pytest.raises(ReclaimError, match="cannot remove: Permission denied"):
        clean.remove(clean.leftovers(PLAN), results)
