"""A scale's evidence under one hash, so that any changed bit of it is found and named.

The evidence: what was measured and judged, each run's manifest and files, each evaluation's metrics
and per-image predictions; with the hashes of the code, the environment's lock and the data.
Encoders are large and may be left out of a copy; nothing else may. What is made from the evidence
is no part of it: the page, logs, job files, checkpoints.

The tree is that of the folders. A file's hash is that of its stamp, a folder's that of the names
and hashes in it (`records.content_hash` of both: a stamp is never taken for a folder).
"""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from reclaim.records import (
    PLAIN,
    Bundle,
    EvaluationManifest,
    FileStamp,
    Plan,
    ReclaimError,
    RunManifest,
    Verdicts,
    content_hash,
    read,
    render,
    stamp,
    stamps_hold,
)
from reclaim.registry import jobs

BUNDLE, TABLE, VERDICTS = "bundle.json", "measurements.csv", "verdicts.json"
WHERE_THERE = ("plan.json", "seeds_wanted.json")  # seeds added to the plan, and those to add
LOCK = Path("envs/requirements.lock")
BESIDE = (
    BUNDLE, jobs.RECERTIFY, "benchmarks", "checkpoints", "curves.csv", "jobs", "logs",
    "report.html", "summary.json",
)  # fmt: skip
"""What lies in the same folder and is no evidence."""
ADDED = "added"
DEEPEST = 8  # folders within folders: evidence has four
Runs = dict[str, RunManifest]
Evaluations = dict[str, EvaluationManifest]
Row = dict[str, str]


@dataclass(frozen=True)
class Fault:
    """A file of a bundle that is not as it was, and how."""

    path: str
    what: str


# --- making one ----------------------------------------------------------------------------------


def make(scale: str, folder: Path, lock: Path = LOCK) -> Bundle:
    """The bundle of what the table of measurements in a folder rests on.

    Raises ReclaimError if a run or an evaluation of it is damaged or missing, the table says other
    than the evaluations, or the verdicts are not on these measurements.
    """
    runs, measured = manifests(folder)
    table, remedy = stamp(folder / TABLE), f"run `reclaim judge --scale {scale}`"
    verdicts = read(folder / VERDICTS, Verdicts, remedy)
    if (verdicts.scale, verdicts.measurements) != (scale, table.sha256):
        raise ReclaimError(f"{folder / VERDICTS}: not made from the present {TABLE}; {remedy}")
    more = [name for name in WHERE_THERE if (folder / name).is_file()]
    files = {TABLE: table} | {name: stamp(folder / name) for name in (VERDICTS, *more)}
    for place, run in runs.items():
        files |= _stamped(folder, place, "run.json", run.files, scale)
    for place, evaluation in measured.items():
        files |= _stamped(folder, place, "metrics.json", evaluation.files, scale)
    if not lock.is_file():
        raise ReclaimError(f"{lock}: not found; run reclaim in the project's top folder")
    facts = _facts(runs, measured) | {"environment": stamp(lock).sha256}
    branches = _branches(facts, files)
    return Bundle(
        scale=scale, root=content_hash(branches), branches=branches,
        facts=dict(sorted(facts.items())), files=dict(sorted(files.items())),
    )  # fmt: skip


def manifests(folder: Path) -> tuple[Runs, Evaluations]:
    """What a table of measurements was made of, by the folder it lies in.

    Raises ReclaimError if any of it is not there or of another place, or the table says other.
    """
    runs: Runs = {}
    measured: Evaluations = {}
    for (recipe, run, protocol), rows in sorted(_rows(folder / TABLE).items()):
        place = jobs.run_folder(Path(), recipe, run).as_posix()
        made = read(folder / place / "run.json", RunManifest, "train the run again")
        where = jobs.evaluation_folder(Path(), recipe, run, protocol).as_posix()
        path = folder / where / "metrics.json"
        found = read(path, EvaluationManifest, "evaluate the run again")
        if found.run_manifest != content_hash(made):
            raise ReclaimError(f"{path}: not of the run that is there; evaluate the run again")
        said = made.recipe, made.id, found.recipe, found.run, found.protocol
        if said != (recipe, run, recipe, run, protocol):
            raise ReclaimError(f"{path}: it or its run is of another place; get it again")
        if rows != _rows_of(found):
            raise ReclaimError(
                f"{folder / TABLE}: its rows of {where} are not what was measured there; run "
                "`reclaim gather`"
            )
        runs[place], measured[where] = made, found
    return runs, measured


def _rows(table: Path) -> dict[tuple[str, str, str], list[Row]]:
    """The rows of a table, by recipe, run and protocol."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    try:
        with table.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, restval=""):
                found.setdefault((row["recipe"], row["run"], row["protocol"]), []).append(row)
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise ReclaimError(f"{table}: not readable ({error}); run `reclaim gather`") from error
    for name in (name for place in found for name in place if not PLAIN.fullmatch(name)):
        raise ReclaimError(f"{table}: {name[:60]!r} is no plain name; run `reclaim gather`")
    return found


def _rows_of(made: EvaluationManifest) -> list[Row]:
    """The rows of an evaluation, as the text that `reclaim gather` writes."""
    rows = sorted(made.rows, key=lambda row: row["metric"])
    return [{column: str(value) for column, value in row.items()} for row in rows]


def _stamped(
    folder: Path, place: str, manifest: str, files: Mapping[str, FileStamp], scale: str
) -> dict[str, FileStamp]:
    """The stamps of a manifest and of its files, all of them whole; encoders may not be there."""
    there = {
        name: given
        for name, given in files.items()
        if name not in jobs.ENCODERS.values() or (folder / place / name).exists()
    }
    if not stamps_hold(folder / place, there):
        raise ReclaimError(
            f"{folder / place}: damaged; run `snakemake --cores all --config scale={scale}`"
        )
    named = {**files, manifest: stamp(folder / place / manifest)}
    return {f"{place}/{name}": given for name, given in named.items()}


def _facts(runs: Runs, measured: Evaluations) -> dict[str, str]:
    """The hash of all code that made them, and that of each data set they learned from."""
    facts = {"code": content_hash(_codes(runs, measured))}
    for place, run in runs.items():
        if facts.setdefault(f"data/{run.dataset}", run.data) != run.data:
            raise ReclaimError(f"{place}: learned from other images than the runs before it")
    return facts


def _codes(runs: Runs, measured: Evaluations) -> dict[str, str]:
    """The hash of the code that made each run and evaluation, by its folder."""
    return {place: run.code for place, run in runs.items()} | {
        place: evaluation.code for place, evaluation in measured.items()
    }


def _branches(facts: Mapping[str, str], files: Mapping[str, FileStamp]) -> dict[str, str]:
    """The hashes one level below the root."""
    leaves = {tuple(name.split("/")): content_hash(given) for name, given in files.items()}
    leaves |= {("facts", *name.split("/")): given for name, given in facts.items()}
    return _children(leaves)


def _children(leaves: Mapping[tuple[str, ...], str]) -> dict[str, str]:
    """The hashes of what lies in a folder, from those of all leaves below it."""
    below: dict[str, dict[tuple[str, ...], str]] = {}
    for (first, *rest), given in leaves.items():
        below.setdefault(first, {})[tuple(rest)] = given
    return {
        name: part[()] if () in part else content_hash(_children(part))
        for name, part in sorted(below.items())
    }


# --- checking one --------------------------------------------------------------------------------


def open_bundle(folder: Path) -> Bundle:
    """The bundle of a folder, its root computed anew from all that it lists.

    Raises ReclaimError if it is not there, or not as it was written.
    """
    path = folder / BUNDLE
    bundle = read(path, Bundle, "get the file again, or run `reclaim bundle` where it was made")
    if deep := [name for name in (*bundle.facts, *bundle.files) if name.count("/") > DEEPEST]:
        raise ReclaimError(f"{path}: lists {deep[0][:60]!r}..., which is no place of evidence")
    branches = _branches(bundle.facts, bundle.files)
    whole = (bundle.branches, bundle.root) == (branches, content_hash(branches))
    if not whole or path.read_bytes() != render(bundle).encode():
        raise ReclaimError(f"{path}: changed: its root is not that of what it lists; get it again")
    for name in bundle.files:
        parts = PurePosixPath(name).parts
        if PurePosixPath(name).is_absolute() or ".." in parts or "/".join(parts) != name:
            raise ReclaimError(f"{path}: lists {name!r}, which is no place inside its folder")
    return bundle


def check(folder: Path) -> tuple[Bundle, list[Fault]]:
    """A folder's bundle, and every file that is not as it says: changed, missing, added, renamed.

    Raises ReclaimError if the bundle itself is not as it was written, or its table is not of the
    evaluations beside it.
    """
    bundle = open_bundle(folder)
    there = set(_found(folder, _folders(bundle)))
    added = {name for name in there - set(bundle.files) if not _is_beside(name)}
    faults: list[Fault] = []
    for name, given in bundle.files.items():
        if name in there:
            if change := _change(folder, name, given):
                faults.append(Fault(name, change))
        elif not is_encoder(name):
            moved = [other for other in sorted(added) if not _change(folder, other, given)]
            faults.append(Fault(name, f"renamed to {moved[0]}" if moved else "missing"))
            added -= set(moved[:1])
    faults += [Fault(name, ADDED) for name in added]
    # All that is listed is whole.
    if all(fault.what == ADDED for fault in faults) and (denied := _denied(folder, bundle)):
        faults.append(Fault(BUNDLE, denied))
    return bundle, sorted(faults, key=lambda fault: fault.path)


def _denied(folder: Path, bundle: Bundle) -> str:
    """What the files of a bundle, all of them whole, say otherwise than it; nothing if none do."""
    runs, measured = manifests(folder)
    if bundle.facts != _facts(runs, measured) | _environment(bundle):
        return "its facts are not those of the manifests that it lists"
    own = [TABLE, VERDICTS, *(name for name in WHERE_THERE if name in bundle.files)]
    own += [f"{place}/run.json" for place in runs] + [f"{place}/metrics.json" for place in measured]
    made: Mapping[str, RunManifest | EvaluationManifest] = {**runs, **measured}
    stamped = {f"{at}/{name}": given for at in made for name, given in made[at].files.items()}
    if bundle.files != {name: bundle.files.get(name) for name in own} | stamped:
        return "it lists other files than the manifests of what was measured"
    verdicts = read(folder / VERDICTS, Verdicts, "get it again")
    if verdicts.measurements != bundle.files[TABLE].sha256:
        return f"the verdicts that it lists are not made from the {TABLE} that it lists"
    # The root does not hold the scale.
    if bundle.scale != verdicts.scale:
        return "its scale is not that of the verdicts that it lists"
    return ""


def is_encoder(name: str) -> bool:
    """Whether a file of a bundle is an encoder, which a copy may do without."""
    return name.startswith("runs/") and PurePosixPath(name).name in jobs.ENCODERS.values()


def _environment(bundle: Bundle) -> dict[str, str]:
    return {"environment": bundle.facts.get("environment", "")}


def _folders(bundle: Bundle) -> set[str]:
    """The folders of what a bundle lists."""
    return {str(above) for name in bundle.files for above in PurePosixPath(name).parents}


def _found(
    folder: Path, listed: Collection[str], below: str = "", linked: bool = False
) -> Iterator[str]:
    """All files in a folder, by their path in it.

    Links are followed into listed folders alone; any other folder there stands for all that is in
    it. Else links would lead in circles, or through all of a machine.
    """
    with os.scandir(folder / below) as entries:
        for entry in entries:
            name = f"{below}{entry.name}"
            behind = linked or entry.is_symlink()
            entered = name in listed if behind else name.count("/") < DEEPEST
            if entered and entry.is_dir():
                yield from _found(folder, listed, f"{name}/", behind)
            else:
                yield name


def _is_beside(name: str) -> bool:
    return name.partition("/")[0] in BESIDE or name.endswith(f"/{jobs.PROVENANCE}")


def _change(folder: Path, name: str, given: FileStamp) -> str:
    """What is wrong with a file that is there; nothing where it is as it was."""
    path = folder / name
    if not path.is_file():
        return "no file"
    if (size := path.stat().st_size) != given.bytes:
        return f"{size} bytes long instead of {given.bytes}"
    return "" if stamp(path) == given else "changed"


def summary(folder: Path, bundle: Bundle) -> str:
    """What a whole bundle holds, in a line: its root is what two people compare."""
    files = [name for name in bundle.files if not is_encoder(name)]
    there = sum((folder / name).is_file() for name in set(bundle.files) - set(files))
    runs = sum(name.endswith("/run.json") for name in files)
    return (
        f"root {bundle.root}\n{len(files)} files of {runs} runs and {there} of "
        f"{len(bundle.files) - len(files)} encoders are as they were"
    )


def notes(folder: Path, bundle: Bundle, lock: Path = LOCK, data: Path = jobs.DATA) -> list[str]:
    """In what a whole bundle differs from the present checkout: none of it makes it less whole."""
    said = []
    if not lock.is_file() or stamp(lock).sha256 != bundle.facts.get("environment"):
        said.append(f"its environment is not that of {lock} here")
    for fact, given in bundle.facts.items():
        name = fact.removeprefix("data/")
        stored = fact != name and (data / name / "manifest.json").is_file()
        if stored and jobs.data_hash(name, data) != given:
            said.append(f"its {name} are not the arrays in {data / name} here")
    other = _of_other_code(folder, bundle)
    if other:
        said.append(f"{len(other)} of its results are of other code than is here: {other[0]}")
    return said


def _of_other_code(folder: Path, bundle: Bundle) -> list[str]:
    """The runs and evaluations that the present plan and code would not make so; none without."""
    try:
        plan = jobs.read_plan(bundle.scale, sweeps=True)
    except ReclaimError:
        return []
    present, made = _present_codes(plan), _codes(*manifests(folder))
    return [place for place, code in made.items() if present.get(place) != code]


def _present_codes(plan: Plan) -> dict[str, str]:
    """The hash of the code that would make each run and evaluation of a plan, by its folder."""
    code = {}
    for run in plan.runs:
        job = jobs.job_of(plan, run)
        code[jobs.run_folder(Path(), run.recipe, run.id).as_posix()] = job.pretrain.code
        for protocol, hashed in job.evaluate.code.items():
            code[jobs.evaluation_folder(Path(), run.recipe, run.id, protocol).as_posix()] = hashed
    return code
