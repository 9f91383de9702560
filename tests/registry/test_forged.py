"""Bundles that somebody changed and stamped anew: named, refused or compared, never a traceback."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reclaim import cli
from reclaim.records import (
    SEAL,
    Bundle,
    EvaluationManifest,
    FileStamp,
    ReclaimError,
    RunManifest,
    content_hash,
    read,
    render,
    stamp,
    write,
)
from reclaim.registry import bundle, jobs
from tests.registry import made_results
from tests.registry.made_results import RUNS, SCALE

PUT: tuple[Any, ...] = (
    None, True, -1, 10**30, 0.5, "", ".", "x", "a/../b", "\0", "\ud800", [], ["x"], {}, {"x": {}}
)  # fmt: skip
NAMES = (
    "", ".", "x", "run.json", "metrics.json", "a/run.json", "a/metrics.json", "run.json/x",
    "runs/a/b/run.json", "a/" * 5000 + "x",
)  # fmt: skip
TRIALS = 60
Value = dict[str, Any]
Change = Callable[[Value], None]


def sampled(value: Value) -> list[Change]:
    """So many of the changes, drawn once and for all."""
    every = list(changes(value))
    return random.Random(0).sample(every, min(TRIALS, len(every)))


def changes(value: Value) -> Iterator[Change]:
    """Every key of a JSON value taken away, renamed, or given another value."""
    for place in places(value):
        yield lambda made, place=place: parent(made, place).pop(place[-1])
        for put in PUT:
            yield lambda made, place=place, put=put: parent(made, place).update({place[-1]: put})
        for name in NAMES:
            yield lambda made, place=place, name=name: rename(parent(made, place), place[-1], name)


def places(value: Value) -> Iterator[tuple[str, ...]]:
    """Where the keys of a value are, the first three of each table in it."""
    for key, part in value.items():
        yield (key,)
        if isinstance(part, dict):
            yield from ((key, *rest) for rest in places(dict(list(part.items())[:3])))


def parent(value: Value, place: tuple[str, ...]) -> Value:
    for key in place[:-1]:
        value = value[key]
    return value


def rename(value: Value, old: str, new: str) -> None:
    value[new] = value.pop(old)


def stamped_anew(folder: Path, made: Value) -> None:
    """Write a bundle with the root of what it lists, as far as it still lists something."""
    try:
        facts, files = made["facts"], {k: FileStamp(**v) for k, v in made["files"].items()}
        made["branches"] = bundle._branches(facts, files)
        made["root"] = content_hash(made["branches"])
        text = render(Bundle.model_validate(made))
    except (KeyError, TypeError, ValueError, AttributeError):
        text = json.dumps(made)
    (folder / bundle.BUNDLE).write_bytes(text.encode(errors="surrogatepass"))


def said(*words: str) -> str:
    """What a verb answers: it ends with status 0, 1 or 2, or with one line."""
    done = CliRunner().invoke(cli.app, list(words))
    if isinstance(done.exception, ReclaimError | OSError):
        text = str(done.exception)
        assert "\n" not in text.strip(), text
        return text
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.output


def answered(pair: tuple[Path, Path]) -> str:
    """What both verbs say of the copy; never a traceback."""
    real, copy = map(str, pair)
    return said("verify", copy) + said("compare", real, copy) + said("compare", copy, real)


def test_a_forged_bundle_is_answered(pair: tuple[Path, Path]) -> None:
    real = json.loads((pair[1] / bundle.BUNDLE).read_text(encoding="utf-8"))
    for change in sampled(real):
        made = deepcopy(real)
        change(made)
        stamped_anew(pair[1], made)
        with moved_too(pair[1], real, made):
            answered(pair)


@contextmanager
def moved_too(folder: Path, real: Value, made: Value) -> Iterator[None]:
    """A forger who lists a file elsewhere moves it there."""
    files = made.get("files")
    new = [name for name in files if name not in real["files"]] if isinstance(files, dict) else []
    gone = [name for name in real["files"] if name not in files] if new else []
    pairs = [(folder / a, folder / b) for a, b in zip(gone, new, strict=False)]
    done = []
    with suppress(OSError, ValueError):
        for source, target in pairs:
            target.parent.mkdir(parents=True, exist_ok=True)
            source.rename(target)
            done.append((source, target))
    yield
    for source, target in done:
        target.rename(source)


LINES = (
    "",
    ",,,",
    "x",
    '"',
    "\0",
    "\n",
    "tiny,../../x",
    "1,tiny,a,b,c,0,knn,top1,0.5",
    "," * 10**5,
)


@pytest.mark.parametrize("line", LINES)
def test_a_forged_table_is_answered(pair: tuple[Path, Path], line: str) -> None:
    table = pair[1] / "measurements.csv"
    rows = table.read_text(encoding="utf-8").splitlines()
    columns = rows[0].split(",")
    for at in range(3):
        for text in (line, ",".join([line] * len(columns))):
            table.write_text("\n".join([*rows[:at], text, *rows[at + 1 :]]), encoding="utf-8")
            listed = json.loads((pair[1] / bundle.BUNDLE).read_text(encoding="utf-8"))
            listed["files"]["measurements.csv"] = stamp(table).model_dump()
            stamped_anew(pair[1], listed)
            answered(pair)


def forge(pair: tuple[Path, Path], name: str, content: bytes) -> None:
    """Put another content into a file of the copy, and list it so."""
    path = min(pair[1].rglob(name))
    path.write_bytes(content)
    listed = json.loads((pair[1] / bundle.BUNDLE).read_text(encoding="utf-8"))
    listed["files"][path.relative_to(pair[1]).as_posix()] = stamp(path).model_dump()
    stamped_anew(pair[1], listed)


def test_what_a_manifest_does_not_stamp_is_not_believed(pair: tuple[Path, Path]) -> None:
    forge(pair, "predictions.parquet", b"PAR1 no table PAR1")
    assert "lists other files than the manifests" in answered(pair)


def test_a_stray_file_hides_no_forgery(pair: tuple[Path, Path]) -> None:
    (pair[1] / "stray").write_text("")
    assert "same  " in said("compare", *map(str, pair)), "what lies beside is not compared"
    (pair[1] / "x").mkdir()
    shutil.copy(min(pair[1].rglob("metrics.json")), pair[1] / "x")
    forge(pair, "x/metrics.json", (pair[1] / "x/metrics.json").read_bytes())
    assert "lists other files than the manifests" in said("compare", *map(str, pair))
    assert "stray: added" in answered(pair)


def test_a_file_of_a_run_is_no_evaluation_by_its_name(pair: tuple[Path, Path]) -> None:
    """Though its manifest stamps it."""
    folder = jobs.run_folder(pair[0], RUNS[0].recipe, RUNS[0].id)
    shutil.copy(min(pair[0].rglob("metrics.json")), folder)
    made = read(folder / "run.json", RunManifest, "")
    more = {"metrics.json": stamp(folder / "metrics.json")}
    write(folder / "run.json", made.model_copy(update={"files": {**made.files, **more}}))
    made_results.measure(RUNS[0], pair[0], right=7)
    made_results.gather(pair[0])
    write(pair[0] / bundle.BUNDLE, bundle.make(SCALE, pair[0]))
    assert "3 same" in answered(pair)


def test_predictions_that_are_no_table_are_refused(pair: tuple[Path, Path]) -> None:
    """Stamped by their manifest too."""
    path = min(pair[0].rglob("predictions.parquet"))
    path.write_bytes(b"PAR1 no table PAR1")
    made = read(path.parent / "metrics.json", EvaluationManifest, "")
    write(path.parent / "metrics.json", made.model_copy(update={"files": {path.name: stamp(path)}}))
    made_results.gather(pair[0])
    write(pair[0] / bundle.BUNDLE, bundle.make(SCALE, pair[0]))
    assert "are as they were" in said("verify", str(pair[0]))
    assert "not readable as predictions" in said("compare", *map(str, pair))


def test_an_unmeasured_run_is_refused(pair: tuple[Path, Path]) -> None:
    place = f"evaluations/simclr/{RUNS[0].id}/"
    shutil.rmtree(pair[1] / place)
    table = pair[1] / "measurements.csv"
    rows = [row for row in table.read_text().splitlines() if RUNS[0].id not in row]
    table.write_text("\n".join(rows) + "\n")
    listed = json.loads((pair[1] / bundle.BUNDLE).read_text(encoding="utf-8"))
    files = {k: v for k, v in listed["files"].items() if not k.startswith(place)}
    listed["files"] = files | {table.name: stamp(table).model_dump()}
    stamped_anew(pair[1], listed)
    assert "its facts are not those" in answered(pair)


@pytest.mark.parametrize("name", ["run.json", "metrics.json", "verdicts.json"])
def test_a_forged_file_is_answered(pair: tuple[Path, Path], name: str) -> None:
    """Sealed and stamped anew in the bundle."""
    listed = json.loads((pair[1] / bundle.BUNDLE).read_text(encoding="utf-8"))
    path = min(pair[1].rglob(name))
    place = path.relative_to(pair[1]).as_posix()
    real = json.loads(path.read_bytes())
    real.pop(SEAL, None)
    for change in sampled(real):
        made = deepcopy(real)
        change(made)
        path.write_text(json.dumps(made), encoding="utf-8")
        listed["files"][place] = stamp(path).model_dump()
        stamped_anew(pair[1], deepcopy(listed))
        answered(pair)
