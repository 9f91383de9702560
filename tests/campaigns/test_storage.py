"""A sample of the faults of storage: nothing corrupt is taken, nothing good destroyed."""

from __future__ import annotations

import errno
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from reclaim import cli, records
from reclaim.learning.data import store
from reclaim.registry import jobs
from tests.campaigns.storage import (
    BAD,
    Reader,
    Seen,
    Store,
    cross_writers,
    damage_readers,
    fail_stories,
    fail_writers,
    made,
    outcome_of,
    replaced,
)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    yield made(tmp_path_factory.mktemp("kept"))
    torch.use_deterministic_algorithms(False)


def test_no_reader_takes_a_damaged_file(kept: Store) -> None:
    seen = Seen()
    damage_readers(list(kept.readers()), 12, 3, random.Random(0), seen)
    assert seen.outcomes.total() > 41 * 20
    assert not seen.wrong


def test_no_writer_destroys_what_is_there(tmp_path: Path) -> None:
    seen = Seen()
    fail_writers(tmp_path, seen, 5, random.Random(0))
    cross_writers(tmp_path, seen)
    assert seen.outcomes.total() > 500
    assert not seen.wrong


def test_a_verb_that_met_a_fault_can_be_started_again(tmp_path: Path) -> None:
    seen = Seen()
    fail_stories(tmp_path, seen, random.Random(0), most=8)
    assert seen.outcomes.total() == 8
    assert not seen.wrong
    torch.use_deterministic_algorithms(False)


def test_a_reader_that_checks_no_hash_is_noticed(
    kept: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (jobs, store):
        monkeypatch.setattr(module, "stamps_hold", lambda *_: True)
    readers = [one for one in kept.readers() if one.name.startswith(("curve", "train_images"))]
    assert {outcome for _, _, outcome in seen_by(readers)} & set(BAD)


@pytest.mark.parametrize(
    ("name", "written", "flipped"),
    [
        ("metrics.json: gather", '"seed": 1', '"seed": 3'),
        ("seeds_wanted.json: plan --extend", '"simclr": 4', '"simclr": 6'),
        ("committed plan: what is to be run", '"seed": 1', '"seed": 3'),
        ("plan of added seeds: what is to be run", '"seed": 3', '"seed": 7'),
    ],
)
def test_an_artifact_without_its_checksum_is_noticed(
    name: str, written: str, flipped: str, kept: Store
) -> None:
    [reader] = [one for one in kept.readers() if one.name == name]
    expected, text = reader.read(), reader.file.read_text()
    assert written in text
    changed = text.replace(written, flipped, 1)
    with replaced(reader.file, changed.encode()):
        assert outcome_of(reader, expected)[0] == "refused"
    values = json.loads(changed)
    del values[records.SEAL]
    with replaced(reader.file, json.dumps(values).encode()):
        assert outcome_of(reader, expected)[0] == "ACCEPTED"


@pytest.mark.parametrize("name", ["a job file: resolve", "jobs/plan.json: resolve"])
def test_a_file_that_is_no_text_is_written_anew(name: str, kept: Store) -> None:
    [reader] = [one for one in kept.readers() if one.name == name]
    expected = reader.read()
    with replaced(reader.file, b"\xff"):
        assert reader.read() == expected


def test_a_file_says_a_text_or_does_not(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    assert not records.says(path, "é")
    path.write_bytes("é".encode())
    assert records.says(path, "é")
    path.write_bytes(b"\xff")
    assert not records.says(path, "é")
    assert not records.says(tmp_path, "é")


def seen_by(readers: list[Reader]) -> Counter[tuple[str, str, str]]:
    seen = Seen()
    damage_readers(readers, 200, 0, random.Random(0), seen)
    return seen.outcomes


def test_a_sealed_artifact_has_to_hold_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    made = records.DataManifest(name="a", source="é", classes=2, files={})
    records.write(path, made)
    assert records.read(path, records.DataManifest, "") == made
    text = path.read_text()
    path.write_text(text.replace('"classes": 2', '"classes": 3'))
    with pytest.raises(records.ReclaimError, match=r"manifest.json: .* damaged .*; fetch again"):
        records.read(path, records.DataManifest, "fetch again")
    older = {name: value for name, value in json.loads(text).items() if name != records.SEAL}
    path.write_text(json.dumps(older))
    assert records.read(path, records.DataManifest, "") == made


def test_a_fault_of_the_disk_that_no_verb_knows_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **named: object) -> None:
        raise OSError(errno.EIO, "Input/output error", "some/file")

    monkeypatch.setattr(jobs, "resolve", broken)
    monkeypatch.setattr(sys, "argv", ["reclaim", "resolve"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("reclaim: some/file: Input/output error; mend the disk")
