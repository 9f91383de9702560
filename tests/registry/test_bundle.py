"""Any damage to a bundle is found, and the damaged file named; a copy without encoders is whole."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from reclaim import cli
from reclaim.inference import measurements
from reclaim.records import Bundle, ReclaimError, Verdicts, read, render, stamp, write, write_text
from reclaim.registry import bundle, jobs
from tests.campaigns import bitflips
from tests.registry import made_results
from tests.registry.made_results import RUNS, SCALE

CURVE = f"runs/simclr/{RUNS[0].id}/curve.csv"
ENCODER = f"runs/simclr/{RUNS[0].id}/encoder.safetensors"
METRICS = f"evaluations/hcl/{RUNS[2].id}/knn/metrics.json"


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The results of a scale with their bundle, in a project that is the current folder."""
    monkeypatch.chdir(tmp_path)
    folder = made_results.write_results(tmp_path)
    write(folder / bundle.BUNDLE, bundle.make(SCALE, folder))
    return folder


def faults(folder: Path) -> dict[str, str]:
    return {fault.path: fault.what for fault in bundle.check(folder)[1]}


def remade(folder: Path, **changes: Any) -> None:
    """The bundle with other values, and the root that follows from them, as a forger would."""
    made = read(folder / bundle.BUNDLE, Bundle, "").model_copy(update=changes)
    branches = bundle._branches(made.facts, made.files)
    root = bundle.content_hash(branches)
    write(folder / bundle.BUNDLE, made.model_copy(update={"branches": branches, "root": root}))


def judged_anew(table: Path) -> None:
    """Verdicts on a table as it is now."""
    verdicts = Verdicts(scale=SCALE, measurements=stamp(table).sha256, verdicts=())
    write(table.with_name(bundle.VERDICTS), verdicts)


# --- what it covers ------------------------------------------------------------------------------


def test_it_lists_every_file_of_the_evidence_by_its_hash(results: Path) -> None:
    made = read(results / bundle.BUNDLE, Bundle, "")
    listed = {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()}
    beside = {name for name in listed if name.endswith("provenance.json")} | {bundle.BUNDLE}
    assert set(made.files) == listed - beside
    for name, given in made.files.items():
        data = (results / name).read_bytes()
        assert (given.sha256, given.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    lock = hashlib.sha256(bundle.LOCK.read_bytes()).hexdigest()
    assert made.facts["environment"] == lock
    assert made.facts["data/digits"] == jobs.data_hash("digits")


def sha256(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def slow_root(tree: dict[str, Any]) -> str:
    """A folder's hash from the definition; leaves are (text,) or a stamp."""
    return sha256(
        {
            name: below[0] if isinstance(below, tuple)
            else sha256(below) if "sha256" in below
            else slow_root(below)
            for name, below in tree.items()
        }
    )  # fmt: skip


def test_its_root_is_that_of_nested_folders(results: Path) -> None:
    text = json.loads((results / bundle.BUNDLE).read_bytes())
    tree: dict[str, Any] = {}
    leaves = text["files"] | {f"facts/{name}": (value,) for name, value in text["facts"].items()}
    for name, leaf in leaves.items():
        *folders, last = name.split("/")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = leaf
    assert text["root"] == slow_root(tree)


def test_the_code_that_made_one_run_changes_the_root(results: Path) -> None:
    before = read(results / bundle.BUNDLE, Bundle, "")
    path = results / METRICS
    path.write_text(path.read_text().replace('"code": "', '"code": "0'))
    manifest = json.loads(path.read_bytes())
    if "sha256" in manifest:  # its own checksum
        manifest["sha256"] = sha256({k: v for k, v in manifest.items() if k != "sha256"})
        path.write_text(json.dumps(manifest))
    judged_anew(measurements.gather(SCALE, results.parent))
    after = bundle.make(SCALE, results)
    assert after.facts["code"] != before.facts["code"]
    assert after.branches["facts"] != before.branches["facts"]
    assert after.branches["runs"] == before.branches["runs"]


def test_a_copy_without_encoders_has_the_same_root(results: Path, tmp_path: Path) -> None:
    made = read(results / bundle.BUNDLE, Bundle, "")
    copy = tmp_path / "copy"
    shutil.copytree(results, copy)
    for name in jobs.ENCODERS.values():
        for path in copy.rglob(name):
            path.unlink()
    assert faults(copy) == {}
    assert bundle.make(SCALE, copy) == made
    assert "0 of 6 encoders" in bundle.summary(copy, made)


# --- what is not sealed --------------------------------------------------------------------------


def test_what_is_damaged_missing_or_not_judged_is_not_bundled(results: Path) -> None:
    old = (results / CURVE).read_bytes()
    (results / CURVE).write_bytes(old + b"1")
    with pytest.raises(ReclaimError, match=f"{RUNS[0].id}: damaged; run `snakemake"):
        bundle.make(SCALE, results)
    (results / CURVE).write_bytes(old)
    write(results / bundle.VERDICTS, Verdicts(scale=SCALE, measurements="others", verdicts=()))
    with pytest.raises(ReclaimError, match="not made from the present measurements"):
        bundle.make(SCALE, results)
    (results / METRICS).unlink()
    with pytest.raises(ReclaimError, match=r"knn/metrics\.json: not found"):
        bundle.make(SCALE, results)


def test_an_evaluation_of_an_earlier_run_is_not_bundled(results: Path) -> None:
    made_results.finish(RUNS[2], results, b"trained again")
    with pytest.raises(ReclaimError, match="not of the run that is there"):
        bundle.make(SCALE, results)


LINES: dict[str, Callable[[str], str]] = {
    "another number": lambda line: line.replace(",1.0,", ",0.9999999999999999,"),
    "the number in other digits": lambda line: line.replace(",1.0,", ",1.00,"),
    "another metric": lambda line: line.replace(",top5,", ",top9,"),
    "another code": lambda line: line.replace("\n", "0\n"),
    "another seed": lambda line: line.replace(",digits,0,", ",digits,1,"),
    "one cell more": lambda line: line.replace("\n", ",x\n"),
    "a row less": lambda line: "",
    "a row twice": lambda line: line + line,
}


@pytest.mark.parametrize("edit", LINES.values(), ids=LINES)
def test_a_table_that_is_not_of_the_evaluations_is_no_evidence(
    results: Path, edit: Callable[[str], str]
) -> None:
    """Neither made into a bundle nor, as a forger would, stamped into one: verdicts on it too."""
    table = results / bundle.TABLE
    lines = table.read_text().splitlines(keepends=True)
    [at] = [n for n, line in enumerate(lines) if f"{RUNS[2].id},hcl,digits,0,knn,top5" in line]
    lines[at] = edit(lines[at])
    table.write_text("".join(lines))
    judged_anew(table)
    files = read(results / bundle.BUNDLE, Bundle, "").files
    names = (bundle.TABLE, bundle.VERDICTS)
    remade(results, files=files | {name: stamp(results / name) for name in names})
    place = METRICS.removesuffix("/metrics.json")
    said = rf"measurements\.csv: its rows of {place} are not .*; run `reclaim gather`"
    with pytest.raises(ReclaimError, match=said):
        bundle.make(SCALE, results)
    with pytest.raises(ReclaimError, match=said):
        bundle.check(results)


# --- damage --------------------------------------------------------------------------------------


def test_every_damage_is_found_and_named(results: Path, tmp_path: Path) -> None:
    """A sample of `tests.campaigns.bitflips`."""
    flips = list(bitflips.flips(results, 150, np.random.default_rng(1)))
    unseen = {trial.path for trial in flips if not trial.found}
    assert all(name.endswith("provenance.json") for name in unseen)
    assert all(trial.right for trial in flips if trial.path not in unseen)
    assert len({trial.path for trial in flips} - unseen) > 12
    for path in results.rglob("provenance.json"):
        path.unlink()
    others = list(bitflips.damages(results))
    wrong = [trial for trial in others if not trial.right]
    # The encoders may be missing, not renamed: the new name is one that nobody listed.
    assert {(trial.damage, Path(trial.path).name) for trial in wrong} == {
        (damage, name) for damage in ("missing", "renamed") for name in jobs.ENCODERS.values()
    }
    assert all(trial.found for trial in wrong if trial.damage == "renamed")


def test_what_happened_to_a_file_is_said(results: Path) -> None:
    (results / CURVE).rename(results / "runs/simclr/moved.csv")
    (results / METRICS).write_text((results / METRICS).read_text()[:-3])
    (results / "evaluations/notes.txt").write_text("more")
    (results / "logs").mkdir()
    (results / "logs/gather.log").write_text("beside the evidence")
    os.truncate(results / ENCODER, 3)
    assert faults(results) == {
        CURVE: "renamed to runs/simclr/moved.csv",
        METRICS: f"{(results / METRICS).stat().st_size} bytes long instead of "
        f"{(results / METRICS).stat().st_size + 3}",
        "evaluations/notes.txt": "added",
        ENCODER: "3 bytes long instead of 9",
    }


def test_a_folder_in_place_of_a_file_and_a_circle_of_links(results: Path) -> None:
    (results / CURVE).unlink()
    (results / CURVE).mkdir()
    (results / "evaluations/circle").symlink_to(results / "evaluations")
    found = faults(results)
    assert found[CURVE] == "missing"
    assert {name.split("/")[1] for name in found if name != CURVE} == {"circle"}


def test_links_lead_into_no_maze_and_out_to_no_other_disk(results: Path, tmp_path: Path) -> None:
    """Followed, a dozen such links make 12^8 paths, and one to `/` the names of a machine."""
    links = {"evaluations/a": ".", "evaluations/b": ".", "runs/c": "..", "far": tmp_path}
    for name, target in links.items():
        (results / name).symlink_to(target)
    assert faults(results) == dict.fromkeys(links, "added")


def test_a_folder_of_the_evidence_may_lie_behind_a_link(results: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    for name in ("runs", f"evaluations/hcl/{RUNS[2].id}"):
        target = disk / name.replace("/", "-")
        target.parent.mkdir(exist_ok=True)
        (results / name).rename(target)
        (results / name).symlink_to(target)
    (tmp_path / "linked").symlink_to(results)
    assert faults(tmp_path / "linked") == faults(results) == {}
    made = read(results / bundle.BUNDLE, Bundle, "")
    assert "6 of 6 encoders" in bundle.summary(results, made)
    (disk / "runs/simclr/older").mkdir()
    (disk / "runs/simclr/older/run.json").write_text("")
    (disk / "runs/simclr" / RUNS[0].id / "more.csv").write_text("")
    (results / CURVE).unlink()
    assert faults(results) == {
        CURVE: "missing",
        f"runs/simclr/{RUNS[0].id}/more.csv": "added",
        "runs/simclr/older": "added",
    }


def test_a_list_that_leads_through_a_link_is_followed_as_far_as_it_leads(
    results: Path, tmp_path: Path
) -> None:
    """Made anew by a forger, who listed one file of another disk."""
    for name in ("etc/hosts", "etc/ssh/key", "home/a/letter"):
        write_text(tmp_path / "disk" / name, name)
    (results / "x").symlink_to(tmp_path / "disk")
    files = read(results / bundle.BUNDLE, Bundle, "").files
    remade(results, files=files | {"x/etc/hosts": stamp(results / "x/etc/hosts")})
    found = faults(results)
    assert "lists other files" in found.pop(bundle.BUNDLE)
    assert found == {"x/etc/ssh": "added", "x/home": "added"}


@pytest.mark.parametrize("name", ["../../etc/hosts", "/etc/hosts", "runs//x", "./x"])
def test_a_bundle_that_lists_other_places_is_refused(results: Path, name: str) -> None:
    files = read(results / bundle.BUNDLE, Bundle, "").files
    remade(results, files=files | {name: files[CURVE]})
    with pytest.raises(ReclaimError, match="no place inside its folder"):
        bundle.check(results)


def test_facts_that_the_manifests_deny_are_found(results: Path) -> None:
    facts = read(results / bundle.BUNDLE, Bundle, "").facts
    remade(results, facts=facts | {"code": "of the authors"})
    assert "its facts are not those" in faults(results)[bundle.BUNDLE]


def test_a_stray_file_hides_nothing(results: Path) -> None:
    made = read(results / bundle.BUNDLE, Bundle, "")
    (results / "stray").write_text("")
    unlisted = {name: given for name, given in made.files.items() if name != bundle.TABLE}
    for change, said in (
        ({"facts": made.facts | {"code": "of the authors"}}, "its facts are not those"),
        ({"files": made.files | {"runs/more": made.files[CURVE]}}, "it lists other files"),
        ({"files": unlisted}, "it lists other files"),
        ({"scale": "tinz"}, "its scale is not that"),
    ):
        shutil.copy(results / CURVE, results / "runs/more")
        remade(results, **{"facts": made.facts, "files": made.files, "scale": SCALE, **change})
        found = faults(results)
        assert found.pop("stray") == "added"
        assert said in found[bundle.BUNDLE]


def test_verdicts_on_other_measurements_are_found(results: Path) -> None:
    path = results / bundle.VERDICTS
    write(path, Verdicts(scale=SCALE, measurements="others", verdicts=()))
    files = read(results / bundle.BUNDLE, Bundle, "").files
    remade(results, files=files | {path.name: stamp(path)})
    assert "verdicts that it lists are not made from" in faults(results)[bundle.BUNDLE]


def test_another_scale_than_that_of_the_verdicts_is_found(results: Path) -> None:
    path = results / bundle.BUNDLE
    path.write_text(path.read_text().replace('"scale": "tiny"', '"scale": "tinz"'))
    assert list(faults(results)) == [bundle.BUNDLE]
    with pytest.raises(ReclaimError, match="not made from the present"):
        bundle.make("digits", results)


def test_a_name_that_no_terminal_shows_stands_on_one_line(results: Path) -> None:
    (results / "a\nb\udcff\x1b[2J").write_bytes(b"")
    shown = CliRunner().invoke(cli.app, ["verify", str(results)])
    assert shown.exit_code == 1
    assert shown.output.splitlines() == [f"{results}/a\\nb\\udcff\\x1b[2J: added"]


def test_a_bundle_that_says_the_same_in_other_bytes_is_changed(results: Path) -> None:
    path = results / bundle.BUNDLE
    path.write_text(json.dumps(json.loads(path.read_text())))
    with pytest.raises(ReclaimError, match="changed: its root is not that of what it lists"):
        bundle.check(results)
    write_text(path, render(bundle.make(SCALE, results)))
    assert faults(results) == {}


# --- the present checkout ------------------------------------------------------------------------


def test_in_what_it_differs_from_the_present_checkout(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = read(results / bundle.BUNDLE, Bundle, "")
    assert bundle.notes(results, made) == []
    bundle.LOCK.write_text("numpy==3\n")
    write(jobs.DATA / "digits/manifest.json", made_results.DATA.model_copy(
        update={"files": {"x": made.files[CURVE]}}
    ))  # fmt: skip
    monkeypatch.setattr(jobs, "evaluate_code", lambda kind: "edited")
    said = bundle.notes(results, made)
    assert [line.split(" ")[1] for line in said] == ["environment", "digits", "of"]
    assert said[2].startswith("6 of its results are of other code than is here: evaluations/")


# --- the verbs -----------------------------------------------------------------------------------


def test_the_verb_names_every_fault_and_fails(results: Path) -> None:
    (results / bundle.BUNDLE).unlink()
    sealed = CliRunner().invoke(cli.app, ["bundle", "--scale", SCALE])
    checked = CliRunner().invoke(cli.app, ["verify", str(results)])
    assert (sealed.exit_code, checked.exit_code) == (0, 0)
    root = read(results / bundle.BUNDLE, Bundle, "").root
    assert root in sealed.output and root in checked.output
    (results / CURVE).unlink()
    (results / METRICS).write_text("{}")
    checked = CliRunner().invoke(cli.app, ["verify", str(results)])
    assert checked.exit_code == 1
    assert [line.split(": ")[0] for line in checked.output.splitlines()] == [
        str(results / METRICS), str(results / CURVE)
    ]  # fmt: skip
    both = CliRunner().invoke(cli.app, ["verify", str(results), "--scale", SCALE])
    assert isinstance(both.exception, ReclaimError)
