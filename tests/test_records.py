"""Artifacts: whole or not there, and a fault names the file and the remedy."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from reclaim import records
from reclaim.records import (
    Artifact,
    DataManifest,
    EvaluationManifest,
    FileStamp,
    ReclaimError,
    RunManifest,
    WeightsManifest,
)

MANIFEST = DataManifest(
    name="digits", source="here", classes=10, files={"a.npy": FileStamp(sha256="0" * 64, bytes=3)}
)


def test_an_artifact_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "manifest.json"
    records.write(path, MANIFEST)
    assert records.read(path, DataManifest, "again") == MANIFEST
    assert [other.name for other in path.parent.iterdir()] == ["manifest.json"]


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_fault_while_writing_keeps_the_old_file_and_leaves_no_other(
    call: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "artifact"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    if call == "write":
        opened = os.fdopen

        class Full:
            """A file that takes no byte."""

            def __init__(self, handle: int, mode: str) -> None:
                self.file = opened(handle, mode)

            def __enter__(self) -> Full:
                return self

            def __exit__(self, *_: object) -> None:
                self.file.close()

            write = fail

        monkeypatch.setattr(os, "fdopen", Full)
    else:
        monkeypatch.setattr(os, call, fail)
    with pytest.raises(ReclaimError, match=f"{path}: cannot write: {os.strerror(number)}; free"):
        records.write_bytes(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [other.name for other in tmp_path.iterdir()] == ["artifact"]


def test_a_folder_that_is_none_is_a_message(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReclaimError, match="cannot write"):
        records.write_text(tmp_path / "file" / "below", "text")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "not found; again"),
        ("{", "not readable as JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a\\ud800": 1}', "not readable as JSON"),
        ("\xff\xfe", "not readable as JSON"),
        ("[]", "schema version None, this reclaim reads 1; again"),
        (json.dumps(MANIFEST.model_dump() | {"schema_version": 0}), "schema version 0"),
        (json.dumps(MANIFEST.model_dump() | {"schema_version": 2}), "schema version 2"),
        (json.dumps(MANIFEST.model_dump() | {"colour": "red"}), "colour: Extra inputs"),
        (json.dumps(MANIFEST.model_dump() | {"a\nb": "red"}), r"a\\nb: Extra inputs"),
        (json.dumps(MANIFEST.model_dump() | {"classes": "ten"}), "classes: .*valid integer"),
        (json.dumps({"schema_version": 1}), "name: Field required"),
    ],
)
def test_an_artifact_that_does_not_fit_is_one_line_with_the_remedy(
    content: str | None, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "manifest.json"
    if content is not None:
        path.write_text(content, encoding="latin-1")
    with pytest.raises(ReclaimError, match=words) as fault:
        records.read(path, DataManifest, "again")
    assert str(fault.value).startswith(f"{path}: ")
    assert str(fault.value).endswith("; again")
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("more", [{}, {records.SEAL: "0" * 64}, {"escaped": "\0"}])
def test_an_artifact_nested_to_any_depth_is_one_line(more: dict[str, str], tmp_path: Path) -> None:
    """What goes too deep first, of all that looks at the values, is decided by a level or two."""
    path = tmp_path / "manifest.json"
    text = json.dumps(MANIFEST.model_dump() | more | {"deep": []})
    limit = sys.getrecursionlimit()
    for depth in range(limit - 250, limit):
        path.write_text(text.replace("[]", "[" * depth + "]" * depth))
        with pytest.raises(ReclaimError, match=r"; again$") as fault:
            records.read(path, DataManifest, "again")
        assert "\n" not in str(fault.value)


MADE = {
    "dataset": "digits", "recipe": "hcl", "scale": "tiny", "seed": 0, "job": "a", "code": "b",
    "files": {"certificate-1a.json": FileStamp(sha256="0" * 64, bytes=3)},
}  # fmt: skip
RUN = {**MADE, "id": "hcl-digits-0-s1", "data": "c", "final_loss": None, "lowest_loss_epoch": None}
MEASURED = {
    **MADE, "run": RUN["id"], "protocol": "knn-encoder-last", "run_manifest": "d", "metrics": {}
}  # fmt: skip
WEIGHTS = {**MANIFEST.model_dump(), "checkpoint": FileStamp(sha256="0" * 64, bytes=3)}
del WEIGHTS["classes"]


@pytest.mark.parametrize(
    ("model", "value", "names"),
    [
        (RunManifest, RUN, ("id", "recipe", "dataset", "scale")),
        (EvaluationManifest, MEASURED, ("run", "recipe", "dataset", "scale", "protocol")),
        (DataManifest, MANIFEST.model_dump(), ("name",)),
        (WeightsManifest, WEIGHTS, ("name",)),
    ],
)
def test_what_names_a_folder_or_a_file_of_results_leads_nowhere_else(
    model: type[Artifact], value: dict[str, object], names: tuple[str, ...]
) -> None:
    assert model.model_validate(value)
    for sly in ("", ".", "..", ".x", "../x", "a/x", "a/../x", "/x", "a\\x", "x\n", "x\0", "é"):
        for field in names:
            with pytest.raises(ValidationError, match=r"no plain name \(letters"):
                model.model_validate(value | {field: sly})
        with pytest.raises(ValidationError, match="no plain name of a file"):
            model.model_validate(value | {"files": {sly: FileStamp(sha256="0" * 64, bytes=3)}})


def test_equal_content_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    assert records.write_text_if_changed(path, "one")
    before = path.stat()
    assert not records.write_text_if_changed(path, "one")
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert records.write_text_if_changed(path, "two")


def test_stamps_hold_only_for_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    stamps = {"file": records.stamp(path)}
    assert records.stamps_hold(tmp_path, stamps)
    for other in (b"abx", b"ab", b"abcd"):
        path.write_bytes(other)
        assert not records.stamps_hold(tmp_path, stamps)
    path.unlink()
    assert not records.stamps_hold(tmp_path, stamps)


def test_a_content_hash_depends_on_content_alone() -> None:
    assert records.content_hash({"a": 1, "b": 2}) == records.content_hash({"b": 2, "a": 1})
    assert records.content_hash({"a": 1}) != records.content_hash({"a": 1.5})
    assert records.content_hash(MANIFEST) == records.content_hash(MANIFEST.model_dump(mode="json"))
