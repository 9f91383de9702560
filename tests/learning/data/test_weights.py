"""Published weights: exactly the expected tensors, of the pinned file, or one clear error."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torchvision
from torch import Tensor

from reclaim.learning.data.weights import fetch_weights
from reclaim.records import ReclaimError, WeightsLock, WeightsManifest, read, stamp, stamps_hold
from reclaim.registry.weights import WEIGHTS, WeightsFacts, stored_weights
from tests.learning.data.conftest import no_file_over

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])  # the servers of these tests

NAME, FILE = "small", "small.pth"
SHAPES = {
    "conv1.weight": (3, 1, 2, 2),
    "bn1.weight": (3,),
    "bn1.running_var": (3,),
    "bn1.num_batches_tracked": (),
}
State = dict[str, Any]
Serve = Callable[..., Any]


@pytest.fixture(autouse=True)
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small weights that are known, and a folder of one's own for their file."""
    facts = WeightsFacts(NAME, "Small weights", FILE, 76, (), SHAPES)
    monkeypatch.setitem(WEIGHTS, NAME, facts)
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv("RECLAIM_MIRROR", str(folder))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("reclaim.learning.data.weights.MOST", 100)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "weights"


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "workflow" / "weights.lock.json"


def state(**changes: Any) -> State:
    """Sound tensors by name; a change to None takes one out."""
    draws = torch.Generator().manual_seed(0)
    made: State = {
        name: torch.rand(shape, generator=draws) if shape else torch.tensor(7)
        for name, shape in SHAPES.items()
    }
    made |= {name.replace("__", "."): value for name, value in changes.items()}
    return OrderedDict((name, value) for name, value in made.items() if value is not None)


def packed(content: object, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def pins(lock: Path) -> dict[str, str]:
    return {name: pin.sha256 for name, pin in read(lock, WeightsLock, "").pins.items()}


def holds(root: Path, lock: Path, expected: State) -> bool:
    """Whether the weights are stored whole, as safetensors, with these numbers."""
    manifest = read(root / NAME / "manifest.json", WeightsManifest, "")
    assert {path.name for path in (root / NAME).iterdir()} == {"manifest.json", *manifest.files}
    assert stamps_hold(root / NAME, manifest.files)
    assert pins(lock) == {NAME: manifest.checkpoint.sha256}
    found = safetensors.torch.load_file(root / NAME / "encoder.safetensors")
    assert {name: value.dtype for name, value in found.items()} == {
        name: value.dtype for name, value in expected.items()
    }
    return all(torch.equal(found[name], value) for name, value in expected.items())


def error_of(root: Path, lock: Path) -> str:
    """The one line of a fetch that fails; it stores and pins nothing."""
    before = lock.read_bytes() if lock.exists() else None
    with pytest.raises(ReclaimError) as error:
        fetch_weights(NAME, root, lock)
    assert "\n" not in str(error.value)
    assert not (root / NAME / "manifest.json").exists()
    assert (lock.read_bytes() if lock.exists() else None) == before
    return str(error.value)


# --- what is expected ----------------------------------------------------------------------------


def test_the_published_resnet50_is_torchvisions_without_fc() -> None:
    facts = WEIGHTS["dino_resnet50"]
    with torch.device("meta"):
        model = torchvision.models.resnet50()
    model.fc = torch.nn.Identity()
    own = model.state_dict()
    assert {name: tuple(value.shape) for name, value in own.items()} == facts.shapes
    assert len(own) == 318
    assert {value.dtype for name, value in own.items() if "num_batches" in name} == {torch.int64}
    assert facts.least == sum(value.numel() * value.element_size() for value in own.values())


# --- what is taken -------------------------------------------------------------------------------


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("named", ["folder", "file"])
def test_a_checkpoint_becomes_safetensors_and_is_pinned(
    legacy: bool, named: str, mirror: Path, root: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = mirror / FILE
    if named == "file":
        path = mirror / "another name.pth"
        monkeypatch.setenv("RECLAIM_MIRROR", str(path))
    path.write_bytes(packed(state(), legacy))
    assert fetch_weights(NAME, root, lock) == root / NAME / "manifest.json"
    assert holds(root, lock, state())
    assert pins(lock)[NAME] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [path.name for path in (root / "archives").iterdir()] == [f"{NAME}.lock"]


def test_tensors_that_share_their_numbers_are_stored_apart(
    mirror: Path, root: Path, lock: Path
) -> None:
    both = torch.arange(6.0)
    shared = state(bn1__weight=both[:3], bn1__running_var=both[::2])
    (mirror / FILE).write_bytes(packed(shared))
    fetch_weights(NAME, root, lock)
    assert holds(root, lock, shared)


def test_a_second_fetch_does_nothing(
    mirror: Path, root: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mirror / FILE).write_bytes(packed(state()))
    fetch_weights(NAME, root, lock)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    (mirror / FILE).unlink()
    monkeypatch.delenv("RECLAIM_MIRROR")
    fetch_weights(NAME, root, lock)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


@pytest.mark.parametrize("damage", ["byte", "missing", "manifest", "lock"])
def test_damaged_weights_are_made_again(damage: str, mirror: Path, root: Path, lock: Path) -> None:
    (mirror / FILE).write_bytes(packed(state()))
    manifest = fetch_weights(NAME, root, lock)
    encoder = root / NAME / "encoder.safetensors"
    match damage:
        case "byte":
            encoder.write_bytes(encoder.read_bytes()[:-1] + b"?")
        case "missing":
            encoder.unlink()
        case "manifest":
            manifest.write_text("{")
        case "lock":
            lock.unlink()
    assert stored_weights(root / NAME, lock) is None
    fetch_weights(NAME, root, lock)
    assert holds(root, lock, state())


def test_a_site_that_cuts_is_asked_for_the_rest(
    serve: Serve, root: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = packed(state())
    server = serve({FILE: body}, cut=100, cuts=3)
    monkeypatch.setenv("RECLAIM_MIRROR", server.address)
    fetch_weights(NAME, root, lock)
    assert holds(root, lock, state())
    assert [wanted for _, wanted in server.asked] == [None, None, "bytes=100-", "bytes=200-"]
    assert (root / "archives" / FILE).read_bytes() == body


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (state(bn1__weight=None), "lacks the tensor 'bn1.weight' (1 in all)"),
        (state(fc__weight=torch.ones(2)), "holds an unexpected tensor 'fc.weight'"),
        (state(bn1__weight=torch.ones(4)), "bn1.weight is ('float32', (4,)), expected ('float32'"),
        (state(bn1__weight=torch.ones(3).double()), "bn1.weight is ('float64', (3,)), expected"),
        (state(bn1__weight=torch.ones(3).bool()), "torch.BoolStorage is not allowed in weights"),
        (state(bn1__weight=torch.tensor([1, torch.nan, 1])), "bn1.weight holds what is no number"),
        (state(bn1__running_var=torch.tensor([1, torch.inf, 1])), "bn1.running_var holds what"),
        ({"student": state(), "teacher": state()}, "holds 'student', which is no tensor"),
        ({"bn1.weight": ("float32", (3,))}, "lacks the tensor"),
        (state(bn1__weight=("float32", (3,))), "bn1.weight is a tuple and no tensor"),
        ([1, 2, 3], "no table of tensors"),
        ({}, "no table of tensors"),
    ],
)
def test_other_content(
    content: object, words: str, legacy: bool, mirror: Path, root: Path, lock: Path
) -> None:
    (mirror / FILE).write_bytes(packed(content, legacy).ljust(76))
    message = error_of(root, lock)
    assert words in message
    assert "RECLAIM_MIRROR=FOLDER" in message and f"reclaim fetch weights {NAME}" in message


def test_another_file_than_the_pinned_one(mirror: Path, root: Path, lock: Path) -> None:
    (mirror / FILE).write_bytes(packed(state()))
    fetch_weights(NAME, root, lock)
    before = {path: path.read_bytes() for path in (root / NAME).iterdir()}
    [first] = pins(lock).values()
    other = packed(state(bn1__weight=torch.zeros(3)))
    assert len(other) == (mirror / FILE).stat().st_size
    (mirror / FILE).write_bytes(other)
    fetch_weights(NAME, root, lock)
    assert {path: path.read_bytes() for path in (root / NAME).iterdir()} == before
    (root / NAME / "encoder.safetensors").unlink()
    (root / NAME / "manifest.json").unlink()
    message = error_of(root, lock)
    assert f"{FILE} has sha256 {hashlib.sha256(other).hexdigest()}, expected {first}" in message
    assert f"{lock} pins sha256 {first}" in message


class Runs:
    """Pickled as a call that makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.mark}'",)


def last_pickles(body: bytes, keep: int, then: object) -> bytes:
    """A legacy checkpoint with another pickle after its first `keep` ones."""

    class Any_(pickle.Unpickler):
        def persistent_load(self, pid: Any) -> Any:
            return None

        def find_class(self, module: str, name: str) -> Any:
            return OrderedDict if name == "OrderedDict" else lambda *_: None

    file = io.BytesIO(body)
    for _ in range(keep):
        Any_(file).load()
    return body[: file.tell()] + pickle.dumps(then, protocol=2)


@pytest.mark.parametrize("where", ["zip", "legacy", "before", "after"])
def test_a_pickle_that_runs_code_is_refused_and_not_run(
    where: str, tmp_path: Path, mirror: Path, root: Path, lock: Path
) -> None:
    mark = tmp_path / "ran"
    whole = packed(state(), legacy=True)
    body = {
        "zip": packed(state(bn1__weight=Runs(mark))),
        "legacy": packed(state(bn1__weight=Runs(mark)), legacy=True),
        "before": last_pickles(whole, 0, Runs(mark)) + whole,
        "after": last_pickles(whole, 4, Runs(mark)),
    }[where]
    (mirror / FILE).write_bytes(body)
    message = error_of(root, lock)
    assert "system is not allowed in weights" in message or "not readable as a check" in message
    assert not mark.exists()
    pickle.loads(pickle.dumps(Runs(mark)))
    assert mark.exists(), "the pickle does run where nobody looks"


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("left", [20, 0.5, 0.95])
def test_a_truncated_checkpoint(
    left: float, legacy: bool, mirror: Path, root: Path, lock: Path
) -> None:
    body = packed(state(), legacy)
    (mirror / FILE).write_bytes(body[: int(left * len(body)) if left < 1 else int(left)])
    message = error_of(root, lock)
    assert "not " in message or "expected 76 or a little more" in message


@pytest.mark.parametrize("body", [b"<html>" * 50, b"PK\3\4" + b"?" * 200, b"?" * 20, b"0" * 99_999])
def test_what_is_no_checkpoint(body: bytes, mirror: Path, root: Path, lock: Path) -> None:
    (mirror / FILE).write_bytes(body)
    assert any(
        words in error_of(root, lock)
        for words in ("not a plain checkpoint", "not readable", "or a little more")
    )


def test_an_archive_that_unpacks_to_too_much(mirror: Path, root: Path, lock: Path) -> None:
    path = mirror / FILE
    path.write_bytes(packed(state()))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/9", bytes(10_000))
    assert path.stat().st_size < 76 * 100
    assert "over 7600" in error_of(root, lock)


def test_a_wrong_download_is_not_kept(
    serve: Serve, root: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve({FILE: packed(state(bn1__weight=None))})
    monkeypatch.setenv("RECLAIM_MIRROR", server.address)
    assert "lacks the tensor" in error_of(root, lock)
    assert [path.name for path in (root / "archives").iterdir()] == [f"{NAME}.lock"]
    server.files[FILE] = packed(state())
    fetch_weights(NAME, root, lock)
    assert holds(root, lock, state())


def test_a_site_that_does_not_say_how_much_or_has_no_file(
    serve: Serve, root: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECLAIM_MIRROR", serve({FILE: packed(state())}, lengths=False).address)
    assert "does not say how long it is" in error_of(root, lock)
    monkeypatch.setenv("RECLAIM_MIRROR", serve({}).address)
    assert "status 404" in error_of(root, lock)


def test_the_sources_follow_one_another(
    serve: Serve, mirror: Path, root: Path, lock: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    (mirror / FILE).write_bytes(b"<html>" * 50)
    server = serve({FILE: packed(state())})
    facts = WeightsFacts(NAME, "Small weights", FILE, 76, (server.address,), SHAPES)
    monkeypatch.setitem(WEIGHTS, NAME, facts)
    with caplog.at_level(logging.INFO):
        fetch_weights(NAME, root, lock)
    assert holds(root, lock, state())
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_an_unknown_name_names_the_known(root: Path, lock: Path) -> None:
    with pytest.raises(ReclaimError, match=r"not known; did you mean dino_resnet50\?"):
        fetch_weights("dino_resnet18", root, lock)
    assert not root.exists()


def test_a_damaged_lock_is_refused(mirror: Path, root: Path, lock: Path) -> None:
    (mirror / FILE).write_bytes(packed(state()))
    lock.parent.mkdir()
    lock.write_text("{")
    assert "take it back from the repository" in error_of(root, lock)


# --- a full disk ---------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0, 100])
def test_no_space_for_the_encoder(limit: int, mirror: Path, root: Path, lock: Path) -> None:
    (mirror / FILE).write_bytes(packed(state()))
    with no_file_over(limit):
        assert "free some space" in error_of(root, lock)
    fetch_weights(NAME, root, lock)
    assert holds(root, lock, state())


def test_no_space_while_downloading_keeps_the_piece(
    serve: Serve, root: Path, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve({FILE: packed(state())})
    monkeypatch.setenv("RECLAIM_MIRROR", server.address)
    with no_file_over(1000):
        message = error_of(root, lock)
    assert "free some space" in message and f"reclaim fetch weights {NAME}" in message
    assert (root / "archives" / f"{FILE}.part").stat().st_size == 1000
    fetch_weights(NAME, root, lock)
    assert holds(root, lock, state())
    assert server.asked[-1][1] == "bytes=1000-"


def test_the_first_file_stays_pinned(mirror: Path, root: Path, lock: Path) -> None:
    (mirror / FILE).write_bytes(packed(state()))
    fetch_weights(NAME, root, lock)
    assert read(lock, WeightsLock, "").pins == {NAME: stamp(mirror / FILE)}
    numbers: dict[str, Tensor] = state()
    assert holds(root, lock, numbers)
