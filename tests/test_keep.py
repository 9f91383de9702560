"""`workflow/keep.py` replaces a reference by a whole one, or leaves it."""

from __future__ import annotations

import re
import runpy
import shutil
import sys
from pathlib import Path
from typing import Protocol

import pytest

from reclaim.records import ReclaimError, Verdicts, stamp, write
from reclaim.registry import jobs
from reclaim.registry.bundle import check
from tests.registry import made_results
from tests.registry.made_results import RUNS, SCALE

REFERENCE = jobs.RESULTS / "reference"


class Killed(BaseException):
    """The process is gone."""


class Keep(Protocol):
    """The function of the script."""

    def __call__(
        self, scale: str, results: Path, reference: Path, partial: bool = ..., fewer: bool = ...
    ) -> tuple[int, int]: ...


@pytest.fixture
def keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keep:
    """The function, in a project with results whose reference was kept before."""
    made: Keep = runpy.run_path("workflow/keep.py")["keep"]
    monkeypatch.chdir(tmp_path)
    made_results.write_results(tmp_path)
    assert made(SCALE, jobs.RESULTS, REFERENCE) == (3, 0)
    return made


def files() -> dict[Path, bytes]:
    """What lies under the reference of the scale."""
    paths = (REFERENCE / SCALE).rglob("*")
    return {path: path.read_bytes() for path in paths if path.is_file()}


def test_it_is_a_whole_bundle_without_encoders(keep: Keep) -> None:
    assert check(REFERENCE / SCALE)[1] == []
    assert not list(REFERENCE.rglob("*.safetensors"))
    (REFERENCE / SCALE / "of_old").write_text("")
    assert keep(SCALE, jobs.RESULTS, REFERENCE) == (3, 0)
    assert check(REFERENCE / SCALE)[1] == []
    assert [path.name for path in REFERENCE.iterdir()] == [SCALE]


def test_a_copy_that_goes_wrong_replaces_nothing(
    keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, copy = files(), shutil.copy

    def short(source: Path, target: Path) -> None:
        copy(source, target)
        if target.name == "curve.csv":
            target.write_bytes(target.read_bytes()[:-1])

    monkeypatch.setattr(shutil, "copy", short)
    with pytest.raises(ReclaimError, match=r"curve\.csv: 34 bytes long instead of 35"):
        keep(SCALE, jobs.RESULTS, REFERENCE)
    assert files() == before
    assert [path.name for path in REFERENCE.iterdir()] == [SCALE]


def test_the_old_one_goes_after_the_new_one_is_in_its_place(
    keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = shutil.rmtree

    def watch(path: Path, ignore_errors: bool = False) -> None:
        assert path.name != SCALE, "removed before it was replaced"
        remove(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", watch)
    assert keep(SCALE, jobs.RESULTS, REFERENCE) == (3, 0)


def test_a_damaged_run_is_not_kept(keep: Keep) -> None:
    before = files()
    jobs.run_folder(jobs.RESULTS / SCALE, RUNS[0].recipe, RUNS[0].id).joinpath("curve.csv").unlink()
    with pytest.raises(ReclaimError, match="1 of 3 runs are missing, damaged"):
        keep(SCALE, jobs.RESULTS, REFERENCE)
    assert files() == before


def test_the_references_are_made_anew_with_the_sweeps_that_they_hold() -> None:
    makefile = Path("Makefile").read_text(encoding="utf-8")
    made = re.findall(r"\$\(MAKE\) all SCALE=(\w+)(.*)\n.* workflow/keep\.py \1\n", makefile)
    assert {scale for scale, _ in made} == {"digits", "fashion"}
    for scale, more in made:
        swept = {run.id for run in jobs.committed_plan(scale, sweeps=True).runs}
        swept -= {run.id for run in jobs.committed_plan(scale).runs}
        kept = {path.parent.name for path in (REFERENCE / scale).glob("runs/*/*/run.json")}
        assert more == (" SWEEPS=true" if kept & swept else ""), scale


def test_what_a_measured_run_lacks_is_named(keep: Keep) -> None:
    """As where the readings of a sweep were measured of some runs alone."""
    run = RUNS[1]
    folder = jobs.evaluation_folder(jobs.RESULTS / SCALE, run.recipe, run.id, "geometry")
    shutil.rmtree(folder)
    lacks = rf"{run.id} is there, but its geometry is missing, .* run .*`reclaim evaluate {run.id}`"
    with pytest.raises(ReclaimError, match=lacks):
        keep(SCALE, jobs.RESULTS, REFERENCE, partial=True)
    jobs.run_folder(jobs.RESULTS / SCALE, run.recipe, run.id).joinpath("run.json").unlink()
    with pytest.raises(ReclaimError, match=f"its training is missing.*`reclaim pretrain {run.id}`"):
        keep(SCALE, jobs.RESULTS, REFERENCE, partial=True)


def test_a_table_of_other_runs_is_named(keep: Keep) -> None:
    table = jobs.RESULTS / SCALE / "measurements.csv"
    text = table.read_text()
    whole = text.splitlines(keepends=True)
    table.write_text("".join(line for line in whole if RUNS[1].id not in line))
    with pytest.raises(ReclaimError, match=f"{RUNS[1].id} is whole, and not in it; run `reclaim g"):
        keep(SCALE, jobs.RESULTS, REFERENCE)
    table.write_text(text.replace(RUNS[1].id, "a-run-of-old"))
    with pytest.raises(ReclaimError, match="a-run-of-old is in it, and in no plan; run `reclaim g"):
        keep(SCALE, jobs.RESULTS, REFERENCE)


def test_a_number_that_was_not_measured_is_not_kept(keep: Keep) -> None:
    before, table = files(), jobs.RESULTS / SCALE / "measurements.csv"
    table.write_text(table.read_text().replace(",0.7,", ",0.8,"))
    verdicts = Verdicts(scale=SCALE, measurements=stamp(table).sha256, verdicts=())
    write(table.with_name("verdicts.json"), verdicts)
    with pytest.raises(ReclaimError, match=rf"{RUNS[0].id}/knn are not what was measured there"):
        keep(SCALE, jobs.RESULTS, REFERENCE)
    assert files() == before


def refuses_to_lose_a_run(keep: Keep, before: dict[Path, bytes]) -> None:
    """One is gone from the results; the reference is as it was before."""
    results, run = jobs.RESULTS / SCALE, RUNS[1]
    shutil.rmtree(jobs.run_folder(results, run.recipe, run.id))
    shutil.rmtree(results / "evaluations" / run.recipe / run.id)
    made_results.gather(results)
    with pytest.raises(ReclaimError, match=f"has 3 runs and would have 2: 1 would go.*{run.id}"):
        keep(SCALE, jobs.RESULTS, REFERENCE, partial=True)
    assert files() == before


def test_a_reference_loses_no_run_unless_asked_to(keep: Keep) -> None:
    refuses_to_lose_a_run(keep, files())
    assert keep(SCALE, jobs.RESULTS, REFERENCE, partial=True, fewer=True) == (2, 1)
    assert keep(SCALE, jobs.RESULTS, REFERENCE, partial=True) == (2, 1)


def test_a_reference_that_was_killed_between_its_names_loses_no_run(
    keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, rename = files(), Path.rename

    def dying(path: Path, target: Path) -> Path:
        if path.name == f".{SCALE}.new":
            raise Killed
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", dying)
        with pytest.raises(Killed):
            keep(SCALE, jobs.RESULTS, REFERENCE)
    assert not (REFERENCE / SCALE).exists()
    refuses_to_lose_a_run(keep, before)
    assert keep(SCALE, jobs.RESULTS, REFERENCE, partial=True, fewer=True) == (2, 1)
    assert [path.name for path in REFERENCE.iterdir()] == [SCALE]


def test_a_fault_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["keep.py", "digist"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path("workflow/keep.py", run_name="__main__")
    assert left.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("keep: unknown scale 'digist'")
